"""Trains the demo model and writes it to components/demo/model.

    python -m components.demo.train

Its seeds fix the run. It keeps a checkpoint in `--work` and resumes from there when started again.
"""

import argparse
import math
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional
from transformers import Mamba2Config, Mamba2ForCausalLM, PreTrainedTokenizerFast

from components.demo import MODEL_FOLDER, TASKS, corpus, questions
from components.demo.evaluate import accuracy
from components.demo.fast_forward import CHUNK, blocks, fast_logits
from components.demo.tokenizer import build_tokenizer
from components.demo.vocabulary import one_token_texts

WORK_FOLDER = Path(__file__).parents[2] / ".demo-training"

# The weight of a token in the loss, by its mark in the corpus: answers count most.
LOSS_WEIGHTS = {"": 0.2, "~": 0.02, "^": 1.0}


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the trained weights, beside the corpus."""

    layers: int = 4
    hidden: int = 128
    heads: int = 8
    state: int = 64
    steps: int = 2_500
    batch: int = 12
    tokens: int = 192  # per text
    muon_rate: float = 0.02
    muon_decay: float = 0.1
    adam_rate: float = 4e-3
    warm_up: int = 200
    near_only: int = 600  # steps with only the `near` forms of `training_episode`
    growth: int = 1_000  # steps over which the lists grow from 2 to 8 facts
    seed: int = 2

    def learning_rate(self, step: int) -> float:
        """Share of the full rate: linear warm-up, then a cosine down to zero."""
        if step < self.warm_up:
            return (step + 1) / self.warm_up
        return 0.5 + 0.5 * math.cos(math.pi * (step - self.warm_up) / (self.steps - self.warm_up))

    def largest_list(self, step: int) -> int:
        """The most facts that one list may hold at this step."""
        return min(8, 2 + 6 * step // self.growth)


def build_model(recipe: Recipe, tokenizer: PreTrainedTokenizerFast) -> Mamba2ForCausalLM:
    """A fresh model whose heads range from forgetting within two tokens to remembering a whole text."""
    torch.manual_seed(recipe.seed)
    model = Mamba2ForCausalLM(
        Mamba2Config(
            vocab_size=len(tokenizer),
            hidden_size=recipe.hidden,
            num_hidden_layers=recipe.layers,
            num_heads=recipe.heads,
            head_dim=2 * recipe.hidden // recipe.heads,
            state_size=recipe.state,
            n_groups=1,
            conv_kernel=4,
            chunk_size=64,  # the default 256 would pad every short prompt to 256 positions
            tie_word_embeddings=True,
            time_step_min=0.01,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    rates = torch.logspace(math.log10(0.1), math.log10(8.0), recipe.heads)
    for block in blocks(model):
        block.mixer.A_log.data.copy_(rates.log())
    return model


def training_batch(
    recipe: Recipe, vocabulary: dict[str, int], step: int
) -> tuple[Int[Tensor, "batch seq"], Float[Tensor, "batch seq"]]:
    """The step's texts as token ids and each token's weight in the loss; a function of the step alone."""
    rng = random.Random(f"training-{recipe.seed}-{step}")
    largest, near = recipe.largest_list(step), step < recipe.near_only
    texts = [corpus.training_text(rng, recipe.tokens, largest, near) for _ in range(recipe.batch)]
    ids = torch.tensor([[vocabulary[word.text] for word in text] for text in texts])
    weights = torch.tensor([[LOSS_WEIGHTS[word.mark] for word in text] for text in texts])
    return ids, weights


def word_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Token id of each text of `one_token_texts`."""
    return {text: tokenizer.encode(text)[0] for text in one_token_texts()}


class Training:
    """A model, its optimizers and its progress."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.tokenizer = build_tokenizer()
        self.vocabulary = word_ids(self.tokenizer)
        self.model = build_model(recipe, self.tokenizer)
        self.step = 0
        self.seconds = 0.0
        matrices = [p for n, p in self.model.named_parameters() if n.endswith("_proj.weight")]
        others = [p for n, p in self.model.named_parameters() if not n.endswith("_proj.weight")]
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(matrices, lr=recipe.muon_rate, weight_decay=recipe.muon_decay),
            torch.optim.AdamW(others, lr=recipe.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
        )
        self.full_rates = (recipe.muon_rate, recipe.adam_rate)

    def advance(self) -> float:
        """Takes one optimizer step; returns the mean loss of the batch's answers."""
        started = time.monotonic()
        ids, weights = training_batch(self.recipe, self.vocabulary, self.step)
        for optimizer, rate in zip(self.optimizers, self.full_rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * self.recipe.learning_rate(self.step)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = fast_logits(self.model, ids)
        losses = functional.cross_entropy(
            logits[:, :-1].float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none"
        )
        flat = weights[:, 1:].flatten()
        ((losses * flat).sum() / flat.sum()).backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.step += 1
        self.seconds += time.monotonic() - started
        return losses.detach()[flat == LOSS_WEIGHTS["^"]].mean().item()

    def save(self, path: Path) -> None:
        """Writes a checkpoint; if the run is killed meanwhile, the old one stays whole."""
        state: dict[str, Any] = {
            "recipe": asdict(self.recipe),
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "step": self.step,
            "seconds": self.seconds,
        }
        unfinished = path.with_suffix(".part")
        torch.save(state, unfinished)
        unfinished.replace(path)

    def resume(self, path: Path) -> None:
        """Loads the checkpoint at `path`. Raises ValueError when another recipe wrote it."""
        state = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise ValueError(
                f"{path} belongs to another recipe ({state['recipe']}); delete it or name another --work"
            )
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]

    def figures(self, count: int) -> list[float]:
        """The accuracy on each evaluation task, computed with the training form."""

        def logits_of(ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
            return fast_logits(self.model, functional.pad(ids, (0, -ids.shape[1] % CHUNK)))

        return [accuracy(logits_of, self.tokenizer, questions(task, count)) for task in TASKS]


def main() -> None:
    """Trains from the last checkpoint, if there is one, and writes the finished model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=WORK_FOLDER, help="folder of the checkpoint")
    parser.add_argument("--model", type=Path, default=MODEL_FOLDER, help="folder of the finished model")
    arguments = parser.parse_args()

    # On idle cores a second thread makes a step a quarter faster; where it has to share its core with other
    # work, the first one waits for it at every operation and a step takes several times as long.
    torch.set_num_threads(1)
    arguments.work.mkdir(parents=True, exist_ok=True)
    checkpoint = arguments.work / "checkpoint.pt"
    training = Training(Recipe())
    if checkpoint.exists():
        training.resume(checkpoint)
    while training.step < training.recipe.steps:
        loss = training.advance()
        if training.step % 500 == 0:
            training.save(checkpoint)
            shares = " ".join(f"{share:4.0%}" for share in training.figures(count=100))
            print(
                f"{training.step:6} {training.seconds / 60:5.1f} min  loss {loss:.3f}  {shares}", flush=True
            )
    training.model.save_pretrained(arguments.model)
    training.tokenizer.save_pretrained(arguments.model)


if __name__ == "__main__":
    main()
