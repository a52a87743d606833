"""The folder of the layers on the disk, while a model is loaded."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from components.models.devices import Placement
from components.models.errors import ModelLoadError
from components.models.memory import free_disk

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# safetensors tells the number of an error in words: a full disk on Linux, macOS and Windows, a used-up quota.
_IN_WORDS = re.compile(r"os error (28|112|122|69)\b|No space left")


@contextmanager
def removed_on_error(folder: Path) -> Iterator[None]:
    """Remove what was written into `folder` if the block raises, but nothing that was there before."""
    was_there = folder.is_dir()
    before = set(folder.glob("*"))
    try:
        yield
    except BaseException:
        with suppress(OSError):
            for file in set(folder.glob("*")) - before:
                file.unlink()
            if not was_there:
                folder.rmdir()
        raise


def refuse_full_disk(error: BaseException, folder: Path, needed: int, name: str) -> None:
    """Raise ModelLoadError if `error` says that nothing more could be written into `folder`."""
    if not _is_full(error):
        return
    raise ModelLoadError(
        f'The disk of the folder "{folder}" is full: the layers of "{name}" that go to the disk need up to '
        f"{_size(needed)}, and {_size(free_disk(folder))} are free. Make space, or give an offload_folder on "
        "another disk. What was written is removed."
    ) from error


def bytes_on_disk(skeleton: "PreTrainedModel", dtype: torch.dtype, placement: Placement) -> int:
    """Return the bytes of the weights that go to the disk; of all where accelerate works out which."""
    keys = [key for key, _ in skeleton.named_parameters() if is_on_disk(key, placement)]
    return sum(skeleton.get_parameter(key).numel() for key in keys) * dtype.itemsize


def is_on_disk(key: str, placement: Placement) -> bool:
    """Whether a weight goes to the disk, or may where accelerate works out which do."""
    devices = placement.device_map
    if isinstance(devices, str):
        return placement.uses_disk
    holders = [module for module in devices if not module or f"{key}.".startswith(f"{module}.")]
    return bool(holders) and devices[max(holders, key=len)] == "disk"


def _is_full(error: BaseException | None) -> bool:
    if error is None:
        return False
    told = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    return told or bool(_IN_WORDS.search(str(error))) or _is_full(error.__cause__ or error.__context__)


def _size(number: int) -> str:
    """Say "1.5 GB"; in MB and kB below."""
    scale, unit = next(((s, u) for s, u in ((1e9, "GB"), (1e6, "MB")) if number >= s), (1e3, "kB"))
    return f"{number / scale:.1f} {unit}"
