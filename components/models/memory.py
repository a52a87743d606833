"""Checks, from its parameter count, that a model fits, before anything large is read."""

import shutil
import sys
import tempfile
from pathlib import Path

import psutil
import torch

from components.models.devices import Placement
from components.models.errors import ModelLoadError

MARGIN = 1.1
"""A model needs its parameters and, while it loads and runs, about a tenth more."""


def check_memory(name: str, parameters: int, dtype: torch.dtype, placement: Placement) -> None:
    """Raise ModelLoadError if `parameters` numbers of `dtype` do not fit on the devices of `placement`."""
    needed = int(parameters * dtype.itemsize * MARGIN)
    limits = placement.limits
    available = sum(min(available_memory(d), limits.get(d, sys.maxsize)) for d in placement.devices)
    if placement.uses_disk:
        available += free_disk(placement.offload_folder)
    if needed <= available:
        return
    devices = [str(device) for device in placement.devices] + ["disk"] * placement.uses_disk
    precision = str(dtype).removeprefix("torch.")
    raise ModelLoadError(
        f'"{name}" needs {needed / 1e9:.1f} GB of memory in {precision}, and {available / 1e9:.1f} GB are '
        f"available ({' + '.join(devices)}). {_advice(parameters, dtype, placement)}"
    )


def available_memory(device: torch.device) -> int:
    """Return the bytes available on `device` now."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return min(psutil.virtual_memory().available, _container_memory())


def free_disk(folder: Path | None) -> int:
    """Return the bytes free where accelerate may put weights: in `folder`, or in a temporary one."""
    wanted = folder.absolute() if folder else Path(tempfile.gettempdir())
    there = next(place for place in (wanted, *wanted.parents) if place.exists())
    return shutil.disk_usage(there).free


def _container_memory(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the bytes left under this container's limit, which psutil does not see (Linux, cgroup 2)."""
    try:
        limit = int((group / "memory.max").read_text())
        used = int((group / "memory.current").read_text())
        statistics = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
        # Cached file pages count as used, but the kernel frees them when memory is short.
        return limit - used + int(statistics["inactive_file"])
    except (OSError, ValueError, KeyError):  # no container, or "max": no limit
        return psutil.virtual_memory().total


def _advice(parameters: int, dtype: torch.dtype, placement: Placement) -> str:
    ways = ["choose a smaller model"]
    if dtype.itemsize == 4:
        ways.append(f'load it with dtype="bfloat16" ({parameters * 2 * MARGIN / 1e9:.1f} GB)')
    if not placement.uses_disk:
        ways.append('spread it with device_map="auto", which is slow but can use the disk')
    return f"Close other programs, {', or '.join(ways)}."
