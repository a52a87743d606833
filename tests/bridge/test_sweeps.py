"""A sweep gives what runs with each edit alone give, in every family."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from components.bridge import ModelBridge, sweep
from components.ssd import CutEdge, CutSource, Edit, FreezeDt, KeepLast, Mute, ScaleDecay
from tests.families import SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(3, 1, 19)


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build())


def last_logits(logits: Tensor) -> Tensor:
    return logits


def one_by_one(bridge: ModelBridge, edits: Sequence[Edit]) -> Tensor:
    """In float64 beyond the scan, whose terms are float32."""
    return torch.cat([bridge.run_with_hooks(IDS, fwd_hooks=edit.hooks())[:, -1] for edit in edits])


def every_edit(layers: Sequence[int]) -> list[Edit]:
    at = [range(layer, layer + 1) for layer in layers]
    heads = [Mute(layer, range(head, head + 1)) for layer in (at[0], at[-1]) for head in range(0, 8, 3)]
    sources = [CutSource(at[-1], range(3, 4), range(j, j + 1)) for j in range(0, 19, 6)]
    others = [
        Mute(at[0], range(2, 4), range(5, 19), what="all"),
        Mute(at[0], range(2, 3), what="mean"),
        Mute(at[0], range(2, 5), range(3, 9), what="mean"),
        CutSource(at[0], None, range(4, 7)),
        CutSource(at[0], range(1, 3), range(4, 7), what="skip"),
        CutSource(at[-1], range(1, 3), range(4, 7), what="token"),
        CutEdge(at[0], range(1, 3), range(12, 19), keys=range(2, 6)),
        KeepLast(at[-1], width=2),
        ScaleDecay(at[0], range(1, 5), factor=0.0),
        FreezeDt(at[0]),
    ]
    everywhere = [*(CutSource(positions=range(j, j + 1)) for j in range(0, 19, 9)), ScaleDecay(factor=0.5)]
    everywhere += [KeepLast(width=width) for width in (0, 2, 18, 19, 25)]
    return [*others, *heads, *everywhere, *sources]


def test_a_sweep_gives_what_runs_one_by_one_give(case: FamilyCase, bridge: ModelBridge) -> None:
    edits = every_edit(case.mixers)
    truth = one_by_one(bridge, edits)
    seen: list[tuple[int, int]] = []
    found = sweep(bridge, IDS, edits, last_logits, rows=5, report=lambda *done: seen.append(done))
    assert relative(found, truth) <= 5e-6
    assert seen[-1] == (len(edits), len(edits))
    plain = bridge.run_with_hooks(IDS)[:, -1]
    assert all(relative(row[None], plain) > 1e-5 for row in found[:10])  # each of them does something


def test_edits_of_softmax_heads_are_swept(case: FamilyCase, bridge: ModelBridge) -> None:
    edits = [Mute(range(layer, layer + 1), range(1, 2), kind="softmax") for layer in case.attentions]
    found = sweep(bridge, IDS, edits, last_logits)
    if edits:
        assert relative(found, one_by_one(bridge, edits)) <= 5e-6
    assert len(found) == len(edits)


def test_a_sweep_can_be_stopped_and_leaves_the_model_as_it_was() -> None:
    class StoppedError(Exception):
        pass

    bridge = ModelBridge(tiny_model())
    plain = bridge.run_with_hooks(IDS)

    def report(done: int, of: int) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        sweep(bridge, IDS, [Mute(range(1))], last_logits, report=report)
    assert torch.equal(bridge.run_with_hooks(IDS), plain)


def test_what_cannot_be_swept_is_refused_in_a_sentence() -> None:
    bridge = ModelBridge(tiny_model())
    with pytest.raises(ValueError, match="These are 2 texts; sweep them one by one"):
        sweep(bridge, random_ids(0, 2, 5), [Mute(range(1))], last_logits)
    with pytest.raises(ValueError, match="Layer 0 has 8 heads"):
        sweep(bridge, IDS, [Mute(range(1), range(8, 9))], last_logits)
    with pytest.raises(ValueError, match=r"There is no hook 'blocks\.7\.mixer\.hook_scan'"):
        sweep(bridge, IDS, [Mute(range(7, 8))], last_logits)


def test_a_metric_may_have_several_figures() -> None:
    bridge = ModelBridge(tiny_model())
    edits = [Mute(range(1), range(head, head + 1)) for head in range(3)]
    found = sweep(bridge, IDS[0], edits, lambda logits: logits.log_softmax(-1)[:, [4, 7]])
    assert found.shape == (3, 2)
    assert (found < 0).all()


def test_a_control_takes_as_much_as_the_edit_in_a_random_direction() -> None:
    bridge = ModelBridge(tiny_model())
    name, edit = "blocks.0.mixer.hook_scan", Mute(range(1), range(2, 3))
    _, plain = bridge.run_with_cache(IDS)
    _, edited = bridge.run_with_cache(IDS, fwd_hooks=edit.hooks())
    taken = plain[name] - edited[name]
    drawn = torch.randn(taken.shape, generator=torch.Generator().manual_seed(7))
    drawn *= taken.norm(dim=-1, keepdim=True) / drawn.norm(dim=-1, keepdim=True)
    truth = bridge.run_with_hooks(IDS, fwd_hooks=[(name, lambda y, hook: y - drawn)])[:, -1]
    found = sweep(bridge, IDS, [edit], last_logits, control=torch.Generator().manual_seed(7))
    assert relative(found, truth) <= 1e-4  # rounding of other heads has a direction too
    everywhere = sweep(
        bridge, IDS, [CutSource(positions=range(4, 5))], last_logits, control=torch.Generator().manual_seed(7)
    )
    assert relative(everywhere, bridge.run_with_hooks(IDS)[:, -1]) > 1e-4
    with pytest.raises(ValueError, match="There is no random control"):
        sweep(bridge, IDS, [FreezeDt()], last_logits, control=torch.Generator())
