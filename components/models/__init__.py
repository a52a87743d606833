"""Loads Mamba-2 models: the embedded one, the public checkpoints, any hub id, any folder."""

from components.models.catalogue import CATALOGUE, CatalogueEntry
from components.models.errors import ModelLoadError
from components.models.loader import load_bridge

__all__ = ["CATALOGUE", "CatalogueEntry", "ModelLoadError", "load_bridge"]
