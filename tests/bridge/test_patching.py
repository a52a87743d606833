"""Patching gives what hooks give, in every family; its identities; its estimate by gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge, attribution_patch, part_at, patch, patched
from tests.families import FAMILY_CASES, SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

CLEAN = random_ids(3, 1, 9)
CORRUPTED = CLEAN.clone()
CORRUPTED[0, [3, 6]] = (CLEAN[0, [3, 6]] + 7) % 90
WHAT = ("residual", "scan")
SMOOTH = [
    next(case for case in FAMILY_CASES if case.family == family)
    for family in ("mamba2", "bamba", "falcon_h1")
]
"""Without experts, between which a model jumps."""


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build())


def difference(logits: Tensor) -> Tensor:
    return logits[:, 3] - logits[:, 8]


def figures(bridge: ModelBridge, ids: Tensor, hooks: Any = ()) -> Tensor:
    logits, _ = bridge.run_with_cache(ids, names_filter=[], fwd_hooks=hooks, logits_to_keep=1)
    return difference(logits[:, 0])


def figure(bridge: ModelBridge, ids: Tensor) -> Tensor:
    return figures(bridge, ids)[0]


def by_hooks(bridge: ModelBridge, what: str) -> Tensor:
    """The logit difference of the corrupted run with each activation of the clean one, one in each row."""
    hook, along = ("hook_in", 1) if what == "residual" else ("mixer.hook_scan", 2)
    layers = range(len(bridge.blocks)) if what == "residual" else bridge.ssm_layers()
    _, clean = bridge.run_with_cache(CLEAN)
    found = []
    for layer in layers:
        name = f"blocks.{layer}.{hook}"
        columns = clean[name].shape[along]

        def put(tensor: Tensor, hook: Any, given: Tensor = clean[name]) -> None:
            for column, row in enumerate(tensor):
                row.select(along - 1, column).copy_(given[0].select(along - 1, column))

        found.append(figures(bridge, CORRUPTED.expand(columns, -1), [(name, put)]))
    return torch.stack(found)


@pytest.mark.parametrize("what", WHAT)
def test_patching_gives_what_hooks_give(bridge: ModelBridge, what: str) -> None:
    truth, clean, corrupted = by_hooks(bridge, what), figure(bridge, CLEAN), figure(bridge, CORRUPTED)
    seen: list[tuple[int, int]] = []
    found = patch(bridge, CLEAN, CORRUPTED, difference, what, rows=5, report=lambda *done: seen.append(done))
    assert relative(found.recovered, (truth - corrupted) / (clean - corrupted)) <= 2e-5
    assert (found.clean, found.corrupted) == (clean, corrupted)
    assert seen[-1] == (int(found.differs.sum()),) * 2
    assert len(found.layers) == len(truth)


@pytest.mark.parametrize("what", WHAT)
def test_a_prompt_patched_into_its_own_run_changes_exactly_nothing(bridge: ModelBridge, what: str) -> None:
    """Clean into clean: the figure stays that of the clean run, which is recovered = 1, and moves by 0.
    Corrupted into corrupted is recovered = 0."""
    clean, corrupted = figure(bridge, CLEAN), figure(bridge, CORRUPTED)
    own = patched(bridge, CLEAN, CLEAN, difference, what)
    assert bool((own - clean == 0).all())
    assert bool(((own - corrupted) / (clean - corrupted) == 1).all())
    own = patched(bridge, CORRUPTED, CORRUPTED, difference, what)
    assert bool(((own - corrupted) / (clean - corrupted) == 0).all())


def test_before_the_texts_part_exactly_nothing_is_recovered(bridge: ModelBridge) -> None:
    found = patch(bridge, CLEAN, CORRUPTED, difference)
    assert part_at(CLEAN, CORRUPTED) == 3
    assert not found.recovered[:, :3].any()
    assert found.differs[:, 3].all()


def test_where_one_token_differs_its_embedding_recovers_all(case: FamilyCase, bridge: ModelBridge) -> None:
    """The patched run is the clean run, except in Zamba2, whose hybrid layers read the embeddings again."""
    corrupted = CLEAN.clone()
    corrupted[0, 4] = (CLEAN[0, 4] + 7) % 90
    found = patch(bridge, CLEAN, corrupted, difference).recovered[0]
    assert (abs(float(found[4]) - 1) <= 1e-5) == (case.family != "zamba2")
    assert int(found.count_nonzero()) == 1


@pytest.mark.parametrize("what", WHAT)
@pytest.mark.parametrize("case", SMOOTH, ids=str)
def test_the_estimate_is_exact_for_a_small_difference(case: FamilyCase, what: str) -> None:
    """Two tokens whose embeddings come closer and closer: there the model is linear."""
    bridge = ModelBridge(case.build(torch.float64))
    corrupted = CLEAN.clone()
    corrupted[0, 4] = other = 90
    weight = bridge.embed.original_component.get_parameter("weight")
    errors = []
    with torch.no_grad():
        step = torch.randn(weight.shape[1], generator=torch.Generator().manual_seed(1)).to(weight)
        for size in (1e-1, 1e-2):
            weight[other] = weight[CLEAN[0, 4]] + size * step
            exact = patch(bridge, CLEAN, corrupted, difference, what)
            estimate = attribution_patch(bridge, CLEAN, corrupted, difference, what)
            errors.append(relative(estimate.recovered, exact.recovered))
    assert errors[1] <= 0.05
    assert errors[1] < errors[0] / 3
    assert exact.correlation(estimate) > 0.999


def test_over_more_points_the_estimates_of_the_embeddings_add_up_to_all() -> None:
    """The integral of the gradient along the line between the embeddings is the whole difference."""
    bridge, errors = ModelBridge(SMOOTH[0].build()), []
    for points in (4, 16):
        found = attribution_patch(bridge, CLEAN, CORRUPTED, difference, points=points)
        errors.append(abs(float(found.recovered[0].sum()) - 1))
    assert errors[1] < errors[0] / 3


def test_correlation_is_of_what_is_recovered_where_the_runs_differ() -> None:
    bridge = ModelBridge(tiny_model())
    exact = patch(bridge, CLEAN, CORRUPTED, difference)
    estimate = attribution_patch(bridge, CLEAN, CORRUPTED, difference, points=4)
    one, other = (each.recovered[exact.differs].double() for each in (exact, estimate))
    one, other = one - one.mean(), other - other.mean()
    expected = float((one * other).sum() / (one.norm() * other.norm()))
    assert exact.correlation(estimate) == pytest.approx(expected)
    assert exact.correlation(exact) == pytest.approx(1)


def test_patching_can_be_stopped_and_leaves_the_model_as_it_was() -> None:
    class StoppedError(Exception):
        pass

    bridge = ModelBridge(tiny_model())
    plain = bridge.run_with_hooks(CLEAN)

    def report(done: int, of: int) -> None:
        raise StoppedError

    for work in (patch, attribution_patch):
        with pytest.raises(StoppedError):
            work(bridge, CLEAN, CORRUPTED, difference, report=report)
    assert torch.equal(bridge.run_with_hooks(CLEAN), plain)
    assert all(parameter.grad is None for parameter in bridge.model.parameters())


def test_what_cannot_be_patched_is_refused_in_a_sentence() -> None:
    bridge = ModelBridge(tiny_model())
    for work in (patch, attribution_patch):
        with pytest.raises(ValueError, match="The metric is the same for both prompts"):
            work(bridge, CLEAN, CLEAN, difference)
        with pytest.raises(ValueError, match="have 9 and 8 tokens, and part at position 3"):
            work(bridge, CLEAN, CORRUPTED[:, :-1], difference)
        with pytest.raises(ValueError, match="These are 2 texts"):
            work(bridge, CLEAN, random_ids(0, 2, 9), difference)
        with pytest.raises(ValueError, match="'mlp' cannot be patched; 'residual' and 'scan' can"):
            work(bridge, CLEAN, CORRUPTED, difference, "mlp")
        with pytest.raises(ValueError, match=r"shape \(2, 97\). It should return one figure for each row"):
            work(bridge, CLEAN, CORRUPTED, lambda logits: logits)
    with pytest.raises(ValueError, match="at least one point; 0 were given"):
        attribution_patch(bridge, CLEAN, CORRUPTED, difference, points=0)


def test_texts_part_where_a_token_differs_or_one_ends() -> None:
    assert part_at(CLEAN, CLEAN) is None
    assert part_at(CLEAN, CORRUPTED) == 3
    assert part_at(CLEAN[:, :2], CORRUPTED) == 2
    assert part_at(CLEAN, CLEAN[:, :8]) == 8
