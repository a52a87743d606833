"""The embedded demo model: a small Mamba-2 that this project trains itself and ships with its code."""

from pathlib import Path

from components.demo.findings import by_task, heads_table, in_words, measures_table, read_findings
from components.demo.presets import PRESETS, Preset

__all__ = [
    "MODEL_FOLDER",
    "PRESETS",
    "Preset",
    "by_task",
    "heads_table",
    "in_words",
    "measures_table",
    "read_findings",
]

MODEL_FOLDER = Path(__file__).parent / "model"
"""Where the trained weights, the configuration and the tokenizer lie."""
