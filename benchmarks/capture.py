"""Cost of a capture: `run_with_cache` with the page's filter against the plain forward pass.

    python -m benchmarks.capture

A text that fills a chunk of the model's scan, and a short one; ratios are medians over rounds of one run.
"""

import argparse
import itertools
import statistics

import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

from benchmarks.measure import median_ratio, print_table, rounds
from components.bridge import ModelBridge, matrix_inputs
from components.models import load_bridge

TOKENS = 60, 256


def of_130m_shape() -> ModelBridge:
    """A randomly initialised model of the shape of mamba2-130m."""
    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=768,
        num_hidden_layers=24,
        num_heads=24,
        head_dim=64,
        state_size=128,
        n_groups=1,
        vocab_size=50288,
        tie_word_embeddings=True,
    )
    return ModelBridge(Mamba2ForCausalLM(config))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=31)
    repeats = parser.parse_args().repeats
    table = []
    bridges = {"130m shape": of_130m_shape(), "embedded": load_bridge("demo", device="cpu")}
    for (name, bridge), tokens in itertools.product(bridges.items(), TOKENS):
        ids = torch.randint(0, bridge.model.config.vocab_size, (1, tokens))

        @torch.no_grad()
        def plain(bridge: ModelBridge = bridge, ids: torch.Tensor = ids) -> None:
            bridge.model(input_ids=ids, use_cache=False)

        def captured(bridge: ModelBridge = bridge, ids: torch.Tensor = ids) -> None:
            bridge.run_with_cache(ids, names_filter=matrix_inputs)

        # The embedded model is fast, so its timings vary more: more rounds for a steady median.
        times = 1 if name == "130m shape" else 10
        seconds = rounds({"plain": plain, "captured": captured}, repeats * times)
        table.append(
            [
                name,
                tokens,
                *(f"{statistics.median(seconds[run]) * 1e3:.1f}" for run in ("plain", "captured")),
                f"{median_ratio(seconds['captured'], seconds['plain']):.3f}",
            ]
        )
    print(f"float32, {torch.get_num_threads()} threads\n")
    print_table(["model", "tokens", "plain ms", "captured ms", "captured / plain"], table)


if __name__ == "__main__":
    main()
