"""Everything that a person may paste as a model's name opens exactly that model, or says what it is."""

import shutil
from pathlib import Path

import pytest
import torch

from components.models import load_bridge
from components.models.hub_address import Repository
from components.models.source import find_source
from tests.models.conftest import COMMIT, GOLDEN, LocalHub, refused
from tests.models.test_families import change_weights
from tests.tiny import random_ids

NAME = "someone/tiny-mamba2"
OTHER_COMMIT = "f" * 40
IDS = random_ids(0, 1, 20)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """The golden model, but for a weight: as another revision of it."""
    folder = shutil.copytree(GOLDEN, tmp_path / "other")
    change_weights(folder, {"backbone.layers.0.mixer.D": torch.full((8,), 3.0)})
    return folder


def logits_of(name: str | Path, **options: str) -> torch.Tensor:
    logits: torch.Tensor = load_bridge(name, **options).model(IDS).logits
    return logits


# Addresses


@pytest.mark.parametrize(
    ("address", "revision"),
    [
        ("https://huggingface.co/someone/tiny-mamba2", None),
        ("https://huggingface.co/someone/tiny-mamba2/", None),
        ("http://www.huggingface.co/someone/tiny-mamba2?library=transformers#readme", None),
        ("https://hf.co/someone/tiny-mamba2", None),
        ("hf.co/someone/tiny-mamba2", None),
        ("huggingface.co/someone/tiny-mamba2", None),
        ("HTTPS://HuggingFace.co/someone/tiny-mamba2", None),
        ("  https://huggingface.co/someone/tiny-mamba2\n", None),
        ("https://huggingface.co/someone/tiny-mamba2/tree/main", "main"),
        ("https://huggingface.co/someone/tiny-mamba2/tree/main/", "main"),
        ("https://huggingface.co/someone/tiny-mamba2/tree/v1.0", "v1.0"),
        ("https://huggingface.co/someone/tiny-mamba2/tree", None),
        ("https://huggingface.co/someone/tiny-mamba2/tree/refs%2Fpr%2F1", "refs/pr/1"),
        ("https://huggingface.co/someone/tiny-mamba2/tree/refs/pr/1", "refs/pr/1"),
        (f"https://huggingface.co/someone/tiny-mamba2/blob/{COMMIT}/config.json", COMMIT),
        ("https://huggingface.co/someone/tiny-mamba2/resolve/dev/model.safetensors?download=true", "dev"),
        ("https://huggingface.co/someone/tiny-mamba2/raw/main/config.json", "main"),
        (f"https://huggingface.co/someone/tiny-mamba2/commit/{COMMIT}", COMMIT),
        ("https://huggingface.co/someone/tiny-mamba2/commits/main", "main"),
        ("https://huggingface.co/someone/tiny-mamba2/discussions/3", None),
    ],
)
def test_the_address_of_a_model(address: str, revision: str | None) -> None:
    assert find_source(address.strip()) == Repository(NAME, revision)


def test_a_name_without_an_owner() -> None:
    assert find_source("https://huggingface.co/gpt2") == Repository("gpt2")


@pytest.mark.parametrize(
    "address",
    [
        f"https://huggingface.co/{NAME}",
        f"https://huggingface.co/{NAME}/tree/main",
        f"hf.co/{NAME}/blob/main/config.json",
        f" huggingface.co/{NAME}/ ",
    ],
)
def test_an_address_opens_its_model(local_hub: LocalHub, address: str) -> None:
    local_hub.repositories[NAME] = GOLDEN
    assert torch.equal(logits_of(address), logits_of(GOLDEN))


@pytest.mark.parametrize("revision", ["dev", "refs/pr/1", OTHER_COMMIT])
def test_an_address_opens_its_revision(local_hub: LocalHub, other: Path, revision: str) -> None:
    local_hub.repositories[NAME] = GOLDEN
    local_hub.branches |= {"dev": (OTHER_COMMIT, other), "refs/pr/1": (OTHER_COMMIT, other)}
    address = f"https://huggingface.co/{NAME}/tree/{revision.replace('/', '%2F')}"
    assert torch.equal(logits_of(address), logits_of(other))
    assert torch.equal(logits_of(address, revision=revision), logits_of(other))
    assert torch.equal(logits_of(f"https://huggingface.co/{NAME}", revision=revision), logits_of(other))
    assert torch.equal(logits_of(f"https://huggingface.co/{NAME}"), logits_of(GOLDEN))


def test_an_address_that_contradicts_the_revision() -> None:
    with refused('address is of the revision "v1", and revision="v2" was given with it. Give one of them'):
        load_bridge(f"https://huggingface.co/{NAME}/tree/v1", revision="v2")


def test_an_unknown_model_or_revision_is_named_without_its_address(local_hub: LocalHub) -> None:
    with refused('no model "someone/none" that you may see'):
        load_bridge("https://huggingface.co/someone/none/tree/main")
    local_hub.repositories[NAME] = GOLDEN
    with refused(f'"{NAME}" has no revision "v9"'):
        load_bridge(f"https://huggingface.co/{NAME}/tree/v9")


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("datasets/someone/words", "a data set"),
        ("spaces/someone/demo", "a Space"),
        ("collections/someone/models-1", "a collection"),
        ("papers/2405.21060", "a paper"),
        ("models?search=mamba2", "no model"),
        ("docs/transformers/index", "no model"),
        ("", "no model"),
    ],
)
def test_the_address_of_something_else(path: str, kind: str) -> None:
    with refused(f'"https://huggingface.co/.*" is the address of {kind} on the.*Give that of a model'):
        load_bridge(f"https://huggingface.co/{path}")


@pytest.mark.parametrize(
    "address", ["https://github.com/state-spaces/mamba", "hf://someone/model", "s3://bucket/model"]
)
def test_an_address_elsewhere(address: str) -> None:
    with refused("is an address outside the Hugging Face Hub.*hub id such as owner/name, or download"):
        load_bridge(address)


@pytest.mark.parametrize("path", ["tree/main/onnx/model", "blob/main/onnx/model/config.json"])
def test_the_address_of_a_folder_inside(path: str) -> None:
    with refused(f'points into the folder onnx/model of "{NAME}".*Download that folder and give its path'):
        load_bridge(f"https://huggingface.co/{NAME}/{path}")


def test_a_folder_of_that_name_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(GOLDEN, tmp_path / "huggingface.co" / "someone" / "model")
    assert find_source("huggingface.co/someone/model") == Path("huggingface.co/someone/model")


# Revisions of what has none


@pytest.mark.parametrize("name", ["demo", str(GOLDEN)])
def test_a_folder_has_no_revision(name: str) -> None:
    with refused('The revision "v1" was given with the folder .* one state only. Leave it out'):
        load_bridge(name, revision="v1")


# The hub's cache


def cached(root: Path, snapshots: dict[str, Path], **references: str) -> Path:
    """A model's folder as huggingface_hub lays it out, but for the links to blobs."""
    folder = root / "models--someone--tiny-mamba2"
    (folder / "refs").mkdir(parents=True)
    (folder / "snapshots").mkdir()
    for commit, content in snapshots.items():
        shutil.copytree(content, folder / "snapshots" / commit)
    for reference, commit in references.items():
        (folder / "refs" / reference).write_text(commit)
    return folder


def test_a_model_in_the_cache_is_its_main_snapshot(tmp_path: Path, other: Path) -> None:
    folder = cached(tmp_path / "hub", {OTHER_COMMIT: other, COMMIT: GOLDEN}, main=COMMIT, dev=OTHER_COMMIT)
    expected = logits_of(GOLDEN)
    assert torch.equal(logits_of(folder), expected)
    assert torch.equal(logits_of(folder / "snapshots"), expected)
    assert torch.equal(logits_of(folder / "snapshots" / COMMIT), expected)
    assert torch.equal(logits_of(folder, revision="main"), expected)


@pytest.mark.parametrize("revision", ["dev", OTHER_COMMIT])
def test_a_revision_in_the_cache(tmp_path: Path, other: Path, revision: str) -> None:
    folder = cached(tmp_path / "hub", {OTHER_COMMIT: other, COMMIT: GOLDEN}, main=COMMIT, dev=OTHER_COMMIT)
    assert torch.equal(logits_of(folder, revision=revision), logits_of(other))


def test_the_only_snapshot_needs_no_reference(tmp_path: Path) -> None:
    folder = cached(tmp_path / "hub", {COMMIT: GOLDEN})
    assert torch.equal(logits_of(folder), logits_of(GOLDEN))


@pytest.mark.parametrize(
    ("commits", "references", "revision", "words"),
    [
        ([COMMIT, OTHER_COMMIT], {}, None, f'"main" is not there; there are: {COMMIT}, {OTHER_COMMIT}'),
        ([COMMIT], {"main": OTHER_COMMIT}, None, f'"main" is not there; there are: {COMMIT}'),
        ([COMMIT], {"main": COMMIT}, "v9", f'"v9" is not there; there are: {COMMIT}'),
        ([], {}, None, '"main" is not there; there are: none'),
    ],
)
def test_a_snapshot_that_is_not_known(
    tmp_path: Path, commits: list[str], references: dict[str, str], revision: str | None, words: str
) -> None:
    folder = cached(tmp_path / "hub", dict.fromkeys(commits, GOLDEN), **references)
    with refused(f"folder of a model in the cache.*{words}.*models--someone--tiny-mamba2/snapshots/ and one"):
        load_bridge(folder, revision=revision)


@pytest.mark.parametrize("above", [0, 1])
def test_the_cache_itself(tmp_path: Path, above: int) -> None:
    root = tmp_path / "hub"
    cached(root, {COMMIT: GOLDEN}, main=COMMIT)
    (root / "models--AntonV--mamba2-130m-hf").mkdir()
    (root / "datasets--someone--words").mkdir()
    with refused("several models: AntonV/mamba2-130m-hf, someone/tiny-mamba2. Give one.*local_files_only"):
        load_bridge(root.parent if above else root)


def test_what_was_downloaded_opens_from_its_folder(local_hub: LocalHub, tmp_path: Path) -> None:
    local_hub.repositories[NAME] = GOLDEN
    expected = logits_of(NAME)
    assert torch.equal(logits_of(tmp_path / "cache" / "models--someone--tiny-mamba2"), expected)
