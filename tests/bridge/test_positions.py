"""Hooks are told which positions of the text they are at, whoever feeds the model and in what portions."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge
from components.bridge.hook_point import HookPoint
from tests.families import SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

LENGTH, NEW, PIECE = 24, 3, 11
SOURCE = 5


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    """With a limit of dt that never binds: decode steps and a whole pass then do the same."""
    bridge = ModelBridge(case.build())
    for layer in case.mixers:
        bridge.blocks[layer].mixer.original_component.time_step_limit = (0.0, float("inf"))
    return bridge


def whole(bridge: ModelBridge, ids: Tensor, hooks: list[Any]) -> Any:
    return bridge.run_with_cache(ids, fwd_hooks=hooks)[1]


def in_pieces(bridge: ModelBridge, ids: Tensor, hooks: list[Any]) -> Any:
    return bridge.run_with_cache(ids, fwd_hooks=hooks, piece_tokens=PIECE)[1]


def generated(bridge: ModelBridge, ids: Tensor, hooks: list[Any]) -> Any:
    """The last ones token by token: what comes is forced, so that every way reads the same text."""
    following = iter(ids[0, -NEW:].tolist())

    def force(prompt: Tensor, scores: Tensor) -> Tensor:
        forced = torch.full_like(scores, -torch.inf)
        forced[:, next(following)] = 0
        return forced

    continued, cache = bridge.generate(
        ids[:, :-NEW], max_new_tokens=NEW, with_cache=True, fwd_hooks=hooks, logits_processor=[force]
    )
    assert torch.equal(continued, ids)
    return cache


def streamed(bridge: ModelBridge, ids: Tensor, hooks: list[Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    following = iter(ids[0, -NEW:].tolist())
    generation = bridge.stream(ids[:, :-NEW], max_new_tokens=NEW, fwd_hooks=hooks)
    monkeypatch.setattr(generation, "_chosen", lambda: torch.tensor([[next(following)]]))
    list(generation)
    assert generation.ids == ids[0].tolist()
    return generation.cache


WAYS = ["whole", "in_pieces", "generated", "streamed"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    if request.param == "streamed":
        return lambda *args: streamed(*args, monkeypatch)
    return globals()[request.param]


def test_every_position_passes_every_hook_once(bridge: ModelBridge, way: Callable[..., Any]) -> None:
    passed: dict[str, list[int]] = defaultdict(list)

    def note(tensor: Tensor, hook: HookPoint) -> None:
        size = tensor.shape[hook.position_dim]
        if hook.name.endswith("conv1d.hook_out"):  # before the trim
            size -= 3
        assert len(hook.positions) == size, hook.name
        passed[hook.name] += hook.positions
        assert hook.index(hook.positions[-1]) == size - 1
        assert hook.index(hook.positions[0] - 1) is None
        if hook.name.endswith(("hook_decay", "hook_attention", "hook_pattern")):
            assert tensor.shape[3] == hook.positions.stop

    way(bridge, random_ids(0, 1, LENGTH), [(lambda name: True, note)])
    assert set(passed) == set(bridge.hook_points)
    for name, positions in passed.items():
        if name.startswith("unembed"):  # of a piece, only the logits that are wanted
            assert positions[-1] == LENGTH - 1
            assert positions == sorted(set(positions))
        else:
            assert positions == list(range(LENGTH)), name


def silence(x: Tensor, hook: HookPoint) -> Tensor | None:
    """Take what one position wrote out of x: an edit that looks for its place in the text."""
    index = hook.index(SOURCE)
    if index is None:
        return None
    x[:, index] = 0
    return x


def cut(M: Tensor, hook: HookPoint) -> Tensor:
    """Column 5: keys begin at position 0 of the text in every portion of it."""
    M[..., SOURCE : SOURCE + 1] = 0
    return M


def cut_edge(M: Tensor, hook: HookPoint) -> Tensor | None:
    row = hook.index(LENGTH - 2)
    if row is None:
        return None
    M[:, :, row, SOURCE] = 0
    return M


def test_an_edit_of_a_place_in_the_text_is_the_same_in_portions(
    case: FamilyCase, bridge: ModelBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, last = case.mixers[0], case.mixers[-1]
    hooks: list[tuple[str, Any]] = [
        (f"blocks.{first}.mixer.hook_x", silence),
        (f"blocks.{last}.mixer.hook_attention", cut),
        (f"blocks.{last}.mixer.hook_attention", cut_edge),
        (f"blocks.{last}.hook_out", silence),
        *((f"blocks.{layer}.attn.hook_pattern", cut) for layer in case.attentions[:1]),
    ]
    ids = random_ids(1, 1, LENGTH)
    truth, untouched = whole(bridge, ids, hooks), whole(bridge, ids, [])
    residual = f"blocks.{len(bridge.blocks) - 1}.hook_out"
    assert relative(untouched[residual], truth[residual]) > 1e-3
    portions = [way(bridge, ids, hooks) for way in (in_pieces, generated)]
    for cache in (truth, *portions, streamed(bridge, ids, hooks, monkeypatch)):
        assert relative(cache[residual], truth[residual]) <= 1e-5
        for layer in case.mixers:
            name = f"blocks.{layer}.mixer.hook_attention"
            assert relative(cache[name], truth[name]) <= 1e-5
            assert cache.faithfulness(layer) <= 1e-5
        M = cache[f"blocks.{last}.mixer.hook_attention"]
        assert not M[..., SOURCE].any()
        for layer in case.attentions[:1]:
            assert not cache[f"blocks.{layer}.attn.hook_pattern"][..., SOURCE].any()


def test_the_head_is_told_that_it_sees_the_last_positions() -> None:
    seen = []
    ModelBridge(tiny_model()).run_with_cache(
        random_ids(0, 1, 9),
        logits_to_keep=2,
        fwd_hooks=[("unembed.hook_out", lambda logits, hook: seen.append(hook.positions))],
    )
    assert seen == [range(7, 9)]


def test_one_mixer_alone_is_told_its_positions() -> None:
    bridge = ModelBridge(tiny_model())
    _, cache = bridge.run_with_cache(random_ids(0, 1, 9))
    seen = []
    bridge.run_mixer(
        1,
        cache["blocks.1.mixer.hook_in"],
        fwd_hooks=[("blocks.1.mixer.out_proj.hook_in", lambda y, hook: seen.append(hook.positions))],
        piece_tokens=4,
    )
    assert seen == [range(4), range(4, 9)]


def test_pads_count_as_positions() -> None:
    bridge = ModelBridge(tiny_model())
    ids = random_ids(0, 2, 9)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    seen = []
    bridge.generate(
        ids,
        attention_mask=mask,
        max_new_tokens=3,
        with_cache=True,
        fwd_hooks=[("blocks.0.mixer.hook_dt", lambda dt, hook: seen.append(hook.positions))],
    )
    assert seen == [range(9), range(9, 10), range(10, 11), range(11, 12)]
