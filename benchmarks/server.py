"""What a session asks of the server: its first page, a pick, a new prompt; the last against the model alone.

    python -m benchmarks.server

From a request to the last change of the page, over Streamlit's own websocket messages, on a warm server with
no other session. The model alone is transformers' plain forward pass, in this process, by turns with the
prompts. Both use all cores.
"""

import argparse
import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

import torch

from benchmarks.browser import APP, serving
from benchmarks.capture import of_130m_shape
from benchmarks.measure import median_ratio, print_table
from benchmarks.page import drawn_text, text_of_64_tokens
from benchmarks.visitor import visiting
from components.bridge import ModelBridge
from components.demo import MODEL_FOLDER
from components.models import load_bridge

PAUSE = 0.3
"""Seconds between two requests: the server tidies up after a run."""
TOKENS = 60, 240
LAYERS, HEADS = 4, 8
"""Of the embedded model."""


def in_ms(seconds: Sequence[float]) -> str:
    """The median and the quartiles."""
    low, middle, high = statistics.quantiles(seconds, n=4)
    return f"{middle * 1e3:.0f} ({low * 1e3:.0f}–{high * 1e3:.0f})"


async def embedded(address: str, repeats: int) -> list[list[object]]:
    """First pages, picks and prompts with the embedded model."""
    firsts, picks, again, prompts = [], [], [], []
    async with visiting(address) as visitor:
        await visitor.open()
    for _ in range(repeats):
        async with visiting(address) as visitor:
            firsts.append((await visitor.open()).seconds)
        await asyncio.sleep(PAUSE)
    async with visiting(address) as visitor:
        await visitor.open()
        for turn in range(repeats):
            prompts.append((await visitor.type_prompt(text_of_64_tokens(turn))).seconds)
            await asyncio.sleep(PAUSE)
            for seconds, layer in itertools.product((picks, again), range(LAYERS)):
                seconds.append((await visitor.pick_head(layer, turn % HEADS)).seconds)
                await asyncio.sleep(PAUSE)
    return [
        ["first page of one more session", in_ms(firsts)],
        ["a new prompt, 64 tokens", in_ms(prompts)],
        ["a pick, 64 tokens", in_ms(picks)],
        ["a pick of a head that was shown before", in_ms(again)],
    ]


async def large(address: str, folder: Path, repeats: int) -> list[list[object]]:
    """New prompts with a model of 24 layers, against its forward pass."""
    bridge = await asyncio.to_thread(load_bridge, str(folder), device="cpu")
    rows: list[list[object]] = []
    async with visiting(address) as visitor:
        opened = await visitor.open(urlencode({"model": folder}))
        assert not opened.exceptions
        assert "head 23" in str((await visitor.pick_head(23, 23)).texts)  # it is this model
        for tokens in TOKENS:
            alone, page = [], []
            for turn in range(repeats + 1):
                ids = bridge.to_tokens(drawn_text(turn, -(-tokens // 6)))[:, :tokens]
                text = bridge.tokenizer.decode(ids[0])
                assert bridge.to_tokens(text).shape[1] == tokens
                alone.append(await asyncio.to_thread(_forward, bridge, ids))
                answer = await visitor.type_prompt(text)
                assert not answer.exceptions
                page.append(answer.last_delta)
                await asyncio.sleep(PAUSE)
            ratio = median_ratio(page[1:], alone[1:])  # the first of a length is slower
            rows.append([tokens, in_ms(alone[1:]), in_ms(page[1:]), f"{ratio:.2f}"])
    return rows


def _forward(bridge: ModelBridge, ids: torch.Tensor) -> float:
    """Seconds of the model's own forward pass."""
    with torch.no_grad():
        began = time.monotonic()
        bridge.model(input_ids=ids, use_cache=False)
        return time.monotonic() - began


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "130m"
        made = of_130m_shape()
        made.model.save_pretrained(folder)
        for file in MODEL_FOLDER.glob("tokenizer*"):
            (folder / file.name).write_bytes(file.read_bytes())
        with serving(APP) as address:
            print_table(["embedded model", "ms, median (quartiles)"], asyncio.run(embedded(address, repeats)))
            print()
            rows = asyncio.run(large(address, folder, repeats))
            print_table(["tokens", "model alone, ms", "new prompt, ms", "new prompt / alone"], rows)


if __name__ == "__main__":
    main()
