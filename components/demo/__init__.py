"""The embedded demo model: a small Mamba-2 that this project trains itself and ships with its code."""

from pathlib import Path

from components.demo.findings import by_task, heads_table, in_words, measures_table, read_findings
from components.demo.presets import PRESETS, Preset
from components.demo.questions import COPY, PAIRS, STORY, TASKS, WHERE, Question, Task, copied, questions
from components.demo.vocabulary import LIST_WORDS

__all__ = [
    "COPY",
    "LIST_WORDS",
    "MODEL_FOLDER",
    "PAIRS",
    "PRESETS",
    "STORY",
    "TASKS",
    "WHERE",
    "Preset",
    "Question",
    "Task",
    "by_task",
    "copied",
    "heads_table",
    "in_words",
    "measures_table",
    "questions",
    "read_findings",
]

MODEL_FOLDER = Path(__file__).parent / "model"
"""Where the trained weights, the configuration and the tokenizer lie."""
