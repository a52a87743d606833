"""A checkpoint that is broken is refused with a sentence that helps, and the model before it stays usable."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from components.bridge import ModelBridge
from components.models import load_bridge
from tests.models.conftest import GOLDEN, refused
from tests.tiny import random_ids

IDS = random_ids(0, 1, 20)
WEIGHTS = "model.safetensors"

Break = Callable[[Path], object]
"""Damages a complete model folder; beside it is room for what does not belong to it."""


def settings(**changes: object) -> Break:
    def write(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | changes))

    return write


def weight(key: str, make: Callable[[torch.Tensor], torch.Tensor]) -> Break:
    def write(folder: Path) -> None:
        weights = load_file(folder / WEIGHTS)
        save_file(weights | {key: make(weights[key])}, folder / WEIGHTS, metadata={"format": "pt"})

    return write


def without(*files: str) -> Break:
    return lambda folder: [(folder / file).unlink() for file in files]


def truncated(kept: int) -> Break:
    def write(folder: Path) -> None:
        (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:kept])

    return write


def one_number(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def write(tensor: torch.Tensor) -> torch.Tensor:
        tensor.view(-1)[-1] = value
        return tensor

    return write


class TouchesAFile:
    """Unpickled without care, this creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, (str(self.path), "w")


def with_code(*, zipped: bool) -> Break:
    def write(folder: Path) -> None:
        (folder / WEIGHTS).unlink()
        weights = {"backbone.norm_f.weight": TouchesAFile(folder.parent / "touched")}
        torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)

    return write


def linked(file: str, *, absolute: bool = True) -> Break:
    def write(folder: Path) -> None:
        elsewhere = folder.parent / "elsewhere"
        elsewhere.mkdir()
        (folder / file).rename(elsewhere / file)
        place = elsewhere if absolute else Path("..") / "elsewhere"
        (folder / file).symlink_to(place / file)

    return write


def as_if_cached(folder: Path) -> None:
    """Names like those of the hub's cache, and links that are none of it."""
    linked(WEIGHTS)(folder)
    snapshots = folder.parent / "models--someone--tiny-mamba2" / "snapshots"
    snapshots.mkdir(parents=True)
    folder.rename(snapshots / "abc")
    folder.symlink_to(snapshots / "abc")


IN_PROJ = "backbone.layers.1.mixer.in_proj.weight"
DTYPES = "only weights in float32, bfloat16 or float16 can be read. Open the checkpoint it was made from"


@dataclass(frozen=True)
class Fault:
    name: str
    break_: Break
    words: str
    options: tuple[tuple[str, Any], ...] = ()


FAULTS = [
    *(
        Fault(
            f"truncated file {kept}",
            truncated(kept),
            f"{WEIGHTS} of .* is damaged or incomplete .*Download or copy it again",
        )
        for kept in (0, 5, 200, -1)
    ),
    Fault(
        "wrong shapes",
        weight("backbone.layers.0.mixer.D", lambda _: torch.ones(5)),
        r"backbone.layers.0.mixer.D has the shape \[5\] and should have \[8\].*Use the config.json",
    ),
    Fault(
        "NaN weights",
        weight(IN_PROJ, one_number(float("nan"))),
        rf"hold NaN or infinite numbers \({IN_PROJ}\).*Download the model again, or take a",
    ),
    Fault("infinite weights", weight(IN_PROJ, one_number(float("-inf"))), rf"NaN or infinite .*{IN_PROJ}"),
    Fault(
        "NaN weights on the disk",
        weight(IN_PROJ, one_number(float("nan"))),
        rf"NaN or infinite numbers \({IN_PROJ}\)",
        (("device_map", {"backbone": "disk", "lm_head": "cpu"}),),
    ),
    Fault(
        "weights too large for float16",
        weight(IN_PROJ, one_number(1e6)),
        rf"NaN or infinite numbers \({IN_PROJ}\).*float16 ends at 65,504.*give dtype=\"bfloat16\"",
        (("dtype", "float16"),),
    ),
    Fault(
        "missing config",
        without("config.json"),
        "has no config.json, so it is not known.*A model folder holds config.json, model.safetensors",
    ),
    *(
        Fault(
            f"missing tokenizer {len(files)}",
            without(*files),
            "has no tokenizer, so text cannot be split.*Save the tokenizer.*looked for were tokenizer.json",
        )
        for files in (("tokenizer.json",), ("tokenizer.json", "tokenizer_config.json"))
    ),
    Fault(
        "tokenizer larger than the vocabulary",
        settings(vocab_size=90),
        "belongs to another model: it has tokens up to number 96, and the model knows 90. Save the tokenizer",
    ),
    *(
        Fault(
            f"pickle with code {'zipped' if zipped else 'plain'}",
            with_code(zipped=zipped),
            "pytorch_model.bin of .* was refused.*could run a program.*Ask for the model as model.safe",
        )
        for zipped in (True, False)
    ),
    Fault(
        "unknown architecture",
        settings(model_type="of my own", architectures=["MyOwnForCausalLM"]),
        "of type 'of my own'. It is not known to hold Mamba-2 mixers.*Nearest is .*AntonV/mamba2-130m-hf",
    ),
    Fault(
        "zero layers",
        settings(num_hidden_layers=0),
        "says num_hidden_layers = 0; 1 to 1,000 is possible. Use the config.json that was saved",
    ),
    *(
        Fault(f"unsupported dtype {dtype}", settings(dtype=dtype), f"weights are in {dtype} .*{DTYPES}")
        for dtype in ("int8", "float8_e4m3fn", "complex64", "nonsense")
    ),
    Fault(
        "unsupported dtype of the weights",
        weight(IN_PROJ, lambda tensor: tensor.to(torch.int8)),
        f"holds weights in I8 .{IN_PROJ}.*only weights in float32.*Open the checkpoint it was made from",
    ),
    *(
        Fault(
            f"absurd {field}",
            settings(**{field: 10**9}),
            f"says {field} = 1000000000; [01] to [0-9,]+000 is possible. Use the config.json that was saved",
        )
        for field in ("hidden_size", "vocab_size", "state_size", "num_heads", "num_hidden_layers")
    ),
    Fault(
        "absurd size that is possible",
        settings(vocab_size=10**7, hidden_size=10**6, head_dim=10**6, num_heads=2),
        r"needs [0-9]{5,}\.[0-9] GB of memory in float32.*choose a smaller model",
    ),
    *(
        Fault(
            f"link out of the folder {file} {absolute}",
            linked(file, absolute=absolute),
            f'{file} in ".*model" is a link out of that folder, to .*elsewhere/{file}, and was not followed. '
            "Put the file itself there, or give the folder in which it lies",
        )
        for file in ("config.json", "tokenizer.json", WEIGHTS)
        for absolute in (True, False)
    ),
    Fault(
        "link out of what looks like the cache", as_if_cached, "is a link out of that folder, to .*elsewhere"
    ),
]


@pytest.fixture(scope="module")
def before() -> ModelBridge:
    """The model that was open."""
    return load_bridge(GOLDEN)


@pytest.fixture(scope="module")
def expected(before: ModelBridge) -> torch.Tensor:
    logits, _ = before.run_with_cache(IDS)
    return logits.clone()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_broken_checkpoint(
    fault: Fault, folder: Path, before: ModelBridge, expected: torch.Tensor, tmp_path: Path
) -> None:
    fault.break_(folder)
    with refused(fault.words) as caught:
        load_bridge(folder, **dict(fault.options))
    assert not re.search(r"Traceback|[a-z](Error|Exception)\b|\n", str(caught.value))
    assert not (tmp_path / "touched").exists()
    assert torch.equal(before.run_with_cache(IDS)[0], expected)


# Links that lead nowhere else


def test_links_inside_the_folder_and_to_it(folder: Path, tmp_path: Path, expected: torch.Tensor) -> None:
    (folder / WEIGHTS).rename(folder / "the weights")
    (folder / WEIGHTS).symlink_to("the weights")
    (folder / "notes").symlink_to(tmp_path)  # nothing that is read
    (tmp_path / "shortcut").symlink_to(folder)
    assert torch.equal(load_bridge(tmp_path / "shortcut").model(IDS).logits, expected)


def test_links_of_the_cache_to_blobs_that_models_share(
    folder: Path, tmp_path: Path, expected: torch.Tensor
) -> None:
    """As huggingface_hub keeps them: from a snapshot to a blob, and from there to one of the whole cache."""
    cache = tmp_path / "hub"
    model = cache / "models--someone--tiny-mamba2"
    snapshot = model / "snapshots" / "abc"
    for place in (cache / "blobs" / "ab", model / "blobs", snapshot):
        place.mkdir(parents=True)
    for file in ("config.json", "tokenizer.json", WEIGHTS):
        shutil.copy(folder / file, cache / "blobs" / "ab" / file)
        (model / "blobs" / file).symlink_to(f"../../blobs/ab/{file}")
        (snapshot / file).symlink_to(f"../../blobs/{file}")
    for name in (model, snapshot):
        assert torch.equal(load_bridge(name).model(IDS).logits, expected)
