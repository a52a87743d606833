"""The embedded demo model: a small Mamba-2 that this project trains itself and ships with its code."""

from pathlib import Path

MODEL_FOLDER = Path(__file__).parent / "model"
"""Where the trained weights, the configuration and the tokenizer lie."""
