"""The devices of a model, and its precision."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from components.models.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

Device = str | int | torch.device
DeviceMap = str | Mapping[str, Device]
MaxMemory = Mapping[str | int, str | int]

AUTOMATIC_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
"""Device maps that accelerate computes; weights that fit nowhere else go to the disk."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class Placement:
    """Where the modules go (`device_map`, as in accelerate), and the devices that it uses."""

    device_map: str | dict[str, Device]
    devices: tuple[torch.device, ...]
    uses_disk: bool = False
    limits: dict[torch.device, int] = field(default_factory=dict)
    """The most bytes to use of a device; without a limit, all of them."""
    offload_folder: Path | None = None
    """Folder of the layers on the disk; None is a temporary folder."""

    @property
    def max_memory(self) -> dict[str | int, int] | None:
        """The limits in the form of accelerate, which identifies a CUDA device by its number."""
        limits = self.limits.items()
        return {d.index if d.type == "cuda" else d.type: size for d, size in limits} or None


def choose_placement(
    device: Device | None,
    device_map: DeviceMap | None,
    *,
    max_memory: MaxMemory | None = None,
    offload_folder: str | os.PathLike[str] | None = None,
) -> Placement:
    """Return the requested placement; the default is one device: CUDA, then MPS, then CPU.

    Raises ModelLoadError for a device that is unknown or that this machine does not have, and for arguments
    that contradict each other.
    """
    placement = _choose_devices(device, device_map)
    if max_memory is not None:
        placement = _limited(placement, max_memory)
    if offload_folder is None:
        return placement
    if not placement.uses_disk:
        raise ModelLoadError(
            f'The offload_folder "{offload_folder}" was given, and nothing goes to the disk. Give with it '
            'device_map="auto", or one that has "disk" in it.'
        )
    return replace(placement, offload_folder=Path(offload_folder).expanduser())


def _choose_devices(device: Device | None, device_map: DeviceMap | None) -> Placement:
    if device is not None and device_map is not None:
        raise ModelLoadError(
            f'Both device ("{device}") and device_map were given. Give device to keep the model '
            "whole, or device_map to spread it."
        )
    if device_map is None:
        return _on_one_device(device if device is not None else _best_device())
    if isinstance(device_map, Mapping):
        return _on_named_devices(device_map)
    if device_map in AUTOMATIC_MAPS:
        return Placement(device_map, _all_devices(), uses_disk=True)
    return _on_one_device(device_map)


def choose_dtype(
    requested: str | torch.dtype | None, config: "PreTrainedConfig", placement: Placement
) -> torch.dtype:
    """Return the precision to load in.

    Without a request it is the checkpoint's own on an accelerator, and float32 on a CPU: there the
    half precisions save memory but no time, and their rounding would show in the matrices.
    """
    if requested is not None:
        return check_dtype(requested)
    if all(device.type == "cpu" for device in placement.devices):
        return torch.float32
    return config.dtype if isinstance(config.dtype, torch.dtype) else torch.float32


def check_dtype(requested: str | torch.dtype) -> torch.dtype:
    """Return the named dtype, or raise ModelLoadError with the supported names."""
    dtype = DTYPES.get(requested) if isinstance(requested, str) else requested
    if dtype is None or dtype not in DTYPES.values():
        raise ModelLoadError(
            f'"{requested}" is not a precision that models can be loaded in. Give one of {", ".join(DTYPES)}.'
        )
    return dtype


def check_device(requested: Device) -> torch.device:
    """Return the named device, or raise ModelLoadError with the available devices."""
    try:
        # As accelerate counts: a bare number is a CUDA device.
        device = torch.device("cuda", requested) if isinstance(requested, int) else torch.device(requested)
    except (RuntimeError, TypeError) as error:
        raise ModelLoadError(f'"{requested}" is not a device. {_devices_here()}') from error
    present = {
        "cpu": device.index in (None, 0),
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not present.get(device.type, False):
        raise ModelLoadError(f'The device "{device}" cannot be used on this machine. {_devices_here()}')
    return device


def _on_one_device(requested: Device) -> Placement:
    device = check_device(requested)
    return Placement({"": device}, (device,))


def _on_named_devices(device_map: Mapping[str, Device]) -> Placement:
    named = set(device_map.values())
    devices = tuple(sorted({check_device(device) for device in named - {"disk"}}, key=str))
    return Placement(dict(device_map), devices, uses_disk="disk" in named)


def _limited(placement: Placement, max_memory: MaxMemory) -> Placement:
    from accelerate.utils.modeling import convert_file_size_to_int

    if not isinstance(placement.device_map, str):
        raise ModelLoadError(
            "max_memory was given, but where the model goes is already fixed. It belongs to a device_map "
            f"that is worked out here: {', '.join(AUTOMATIC_MAPS)}."
        )
    try:
        sizes = {device: int(convert_file_size_to_int(size)) for device, size in max_memory.items()}
    except ValueError as error:
        raise ModelLoadError(
            f"max_memory={dict(max_memory)} cannot be read. Give sizes by device, such as "
            '{"cpu": "8GB"} or {0: "20GB", "cpu": "60GB"}.'
        ) from error
    limits = {check_device(place): size for place, size in sizes.items() if place != "disk"}
    return replace(placement, devices=tuple(limits), limits=limits)


def _best_device() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _all_devices() -> tuple[torch.device, ...]:
    if torch.backends.mps.is_available():  # its memory and the CPU's are the same
        return (torch.device("mps"),)
    return (*(torch.device("cuda", i) for i in range(torch.cuda.device_count())), torch.device("cpu"))


def _devices_here() -> str:
    names = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        names.append("mps")
    return f"Devices here: {', '.join([*names, 'cpu'])}."
