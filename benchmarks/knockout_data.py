"""Records for `benchmarks.knockout` that the embedded model can answer: where people are.

    python -m benchmarks.knockout_data

The subject is the sentence that states the fact, such as "Mia is in the kitchen", so that the answer stands
in it. Questions that training held out, always the same ones.
"""

import json
from pathlib import Path

from components.demo import WHERE, questions

FILE = Path(__file__).parent / "data" / "knockout.jsonl"
RECORDS = 40
SENTENCE = 5
"""Tokens from a name to its place."""


def records() -> list[dict[str, str]]:
    """As the columns of the file."""
    return [
        {
            "prompt": "".join(asked.words[: asked.query + 1]),
            "subject": "".join(asked.words[asked.fact - SENTENCE + 1 : asked.fact + 1]).strip(),
            "target": asked.words[asked.query + 1],
        }
        for asked in questions(WHERE, RECORDS)
    ]


if __name__ == "__main__":
    FILE.write_text("".join(f"{json.dumps(record)}\n" for record in records()))
