"""The command `mamba2-explorer snapshot`: a prompt's heads as one page that needs no server."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path


def run(arguments: Sequence[str]) -> None:
    """Write the page, and print what it holds. Ends the program with a sentence if that is impossible."""
    given = _parser().parse_args(arguments)
    try:
        print(_write(given))
    except (ValueError, OSError) as error:
        sys.exit(f"mamba2-explorer snapshot: {error}")


def _parser() -> argparse.ArgumentParser:
    from explorer.exports import MOST_MEGABYTES

    parser = argparse.ArgumentParser(
        prog="mamba2-explorer snapshot",
        description="Write one HTML file with every head of a prompt, to pick, to point at and to read. It "
        "needs no server and no network.",
    )
    prompt = parser.add_mutually_exclusive_group(required=True)
    prompt.add_argument("--prompt", help="the text to run")
    prompt.add_argument(
        "--prompt-file", type=Path, metavar="TEXT", help="a file with it, .txt or .md, in UTF-8"
    )
    parser.add_argument("--model", default="demo", help="a hub id or a folder; by default the embedded model")
    parser.add_argument(
        "--layers", metavar="0,5,9-12", help="only these layers; by default all that have heads"
    )
    parser.add_argument(
        "--most-megabytes",
        type=float,
        default=MOST_MEGABYTES,
        metavar="MB",
        help="size that the page must not exceed (default: %(default)g). It takes the layer that it opens "
        "with, then the others in their order until it is full, and says which it lacks",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="PAGE", help="the file to write")
    return parser


def _write(given: argparse.Namespace) -> str:
    """Write the page. Returns what it holds."""
    out, layers = given.out, _layers(given.layers) if given.layers is not None else None
    if not out.parent.is_dir():
        raise ValueError(f'There is no folder "{out.parent}". Make it first, or name another file.')
    if given.prompt_file is None:
        prompt = given.prompt
    else:
        from explorer.uploads import text_of_file

        prompt = text_of_file(given.prompt_file.name, given.prompt_file.read_bytes())

    from explorer import captures
    from explorer.exports import take_snapshot
    from explorer.models import bridge
    from explorer.selection import first_selection
    from explorer.settings import settings
    from explorer.subject import Subject

    subject = Subject(given.model, prompt)
    cost = captures.cost(subject)
    settings().check_cost(cost.gigabytes, cost.free)
    capture = captures.capture(subject)
    selection = first_selection(given.model).with_prompt(prompt)
    if selection.preset is not None:
        selection = selection.with_preset(selection.preset)
    made = take_snapshot(
        bridge(given.model),
        capture,
        selection,
        partial(captures.terms_of, capture),
        layers=layers,
        most_megabytes=given.most_megabytes,
    )
    out.write_bytes(made.page)
    return f"{out}: {len(made.page) / 1e6:.1f} MB. {made.left_out or 'It has every layer.'}"


def _layers(words: str) -> set[int]:
    """The layers that words such as `0,5,9-12` name."""
    layers: set[int] = set()
    for part in words.split(","):
        if not re.fullmatch(r"\s*\d{1,9}(-\d{1,9})?\s*", part, re.ASCII):
            raise ValueError(f'--layers has "{part}". Give numbers and spans, such as 0,5,9-12.')
        first, _, last = part.strip().partition("-")
        layers.update(range(int(first), int(last or first) + 1))
    return layers
