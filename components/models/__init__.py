"""Loads Mamba-2 models: the embedded one, the public checkpoints, any hub id, any folder."""

from components.models.catalogue import CATALOGUE, DEMO, CatalogueEntry
from components.models.errors import ModelLoadError
from components.models.loader import load_bridge
from components.models.memory import available_memory

__all__ = [
    "CATALOGUE",
    "DEMO",
    "CatalogueEntry",
    "ModelLoadError",
    "available_memory",
    "load_bridge",
]
