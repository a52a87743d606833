"""The embedded demo model: a small Mamba-2 that this project trains itself and ships with its code."""

from pathlib import Path

from components.demo.presets import PRESETS, Preset

__all__ = ["MODEL_FOLDER", "PRESETS", "Preset"]

MODEL_FOLDER = Path(__file__).parent / "model"
"""Where the trained weights, the configuration and the tokenizer lie."""
