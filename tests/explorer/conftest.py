"""The explorer's page without a browser, with the tiny reference model in the place of the embedded one."""

import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import streamlit as st
from streamlit.components.v2 import manifest_scanner
from streamlit.testing.v1 import AppTest
from transformers import Mamba2ForCausalLM, PreTrainedModel

from tests.tokenizers import byte_fallback

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "data" / "golden" / "grouped"


def saved(model: PreTrainedModel, folder: Path) -> Path:
    """A complete folder of this model, with the tiny model's tokenizer."""
    model.save_pretrained(folder)
    for file in GOLDEN.glob("tokenizer*"):
        shutil.copy(file, folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete model folder."""
    return shutil.copytree(GOLDEN, tmp_path / "model", ignore=shutil.ignore_patterns("transformer_lens*"))


@pytest.fixture(autouse=True)
def embedded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let "demo" be the tiny model, and every test begin with empty caches."""
    monkeypatch.setattr("components.models.source.MODEL_FOLDER", folder)
    st.cache_resource.clear()
    st.cache_data.clear()
    yield
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture(scope="session", autouse=True)
def packages_scanned_once() -> Iterator[None]:
    """For each page that a test opens Streamlit reads the metadata of all packages, which stay the same."""
    with pytest.MonkeyPatch.context() as patch:
        scan = manifest_scanner.scan_component_manifests
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(scan))
        yield


@pytest.fixture
def page() -> AppTest:
    """The page at first sight."""
    return AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()


@pytest.fixture
def bytes_of_unknown(folder: Path) -> None:
    """Let the tiny model read text as Mistral's do: what its vocabulary has no name for, byte by byte."""
    tokenizer = byte_fallback()
    model = Mamba2ForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
