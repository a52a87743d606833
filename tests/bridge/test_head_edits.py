"""Each edit of heads does what its formula says, in every family, and leaves the rest alone."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from components.bridge import ActivationCache, ModelBridge
from components.ssd import (
    EDITS,
    CutEdge,
    CutSource,
    FreezeDt,
    HeadEdit,
    KeepLast,
    Mute,
    ScaleDecay,
    ScaleDt,
    Sizes,
    SSDTerms,
    edit_of,
    hooks_of,
    reference,
)
from tests.families import FAMILY_CASES, SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

LENGTH = 21
IDS = random_ids(0, 2, LENGTH)
HEADS = range(2, 5)
POSITIONS = range(4, 9)


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build())


@dataclass(frozen=True)
class Clean:
    """A layer of an unedited run, in float64, entry by entry."""

    terms: SSDTerms
    mixer: Any
    conv_in: Tensor
    gate: Tensor | None

    def output(self, M: Tensor, dt: Tensor | None = None, x: Tensor | None = None) -> Tensor:
        """What hook_scan sees: y, and times silu(z) where there is no norm."""
        dt = self.terms.dt.double() if dt is None else dt
        x = self.terms.x.double() if x is None else x
        y = torch.einsum("bhij,bjh,bjhp->bihp", M, dt, x) + self.terms.D.double()[:, None] * x
        return y if self.gate is None else y * F.silu(self.gate.double()).unflatten(-1, y.shape[2:])

    @staticmethod
    def decay(log_decay: Tensor) -> Tensor:
        """L, entry by entry."""
        L = log_decay.new_zeros(*log_decay.shape[::2], LENGTH, LENGTH)
        for i in range(LENGTH):
            for j in range(i + 1):
                L[:, :, i, j] = log_decay[:, j + 1 : i + 1].sum(dim=1).exp()
        return L

    def x_without(self, heads: slice, positions: slice) -> Tensor:
        """x after a convolution to which these heads wrote nothing at these positions."""
        count, dim = self.terms.x.shape[2:]
        channels = self.conv_in.double().clone()
        for head in range(count)[heads]:
            channels[:, head * dim : (head + 1) * dim, positions] = 0
        conv = self.mixer.conv1d
        bias = None if conv.bias is None else conv.bias.double()
        width, groups = conv.weight.shape[-1], len(conv.weight)
        out = F.conv1d(channels, conv.weight.double(), bias, padding=width - 1, groups=groups)
        x: Tensor = self.mixer.act(out[..., :LENGTH]).transpose(1, 2)[..., : count * dim]
        return x.unflatten(-1, (count, dim))


def expected(clean: Clean, edit: HeadEdit) -> Tensor:
    """What hook_scan sees under the edit, by its formula."""
    h = slice(None) if edit.heads is None else slice(edit.heads.start, edit.heads.stop)
    k = slice(None) if edit.positions is None else slice(edit.positions.start, edit.positions.stop)
    terms = clean.terms
    M, content = reference.attention(terms), reference.content(terms)
    x, dt, A = terms.x.double().clone(), terms.dt.double().clone(), terms.A.double()
    match edit:
        case Mute(what="attention"):
            for i in range(LENGTH)[k]:
                M[:, h, i] = 0
        case Mute():
            y = clean.output(M)
            y[:, k, h] = 0 if edit.what == "all" else y.mean(dim=1, keepdim=True)[:, :, h]
            return y
        case CutSource(what="reading"):
            M[:, h, :, k] = 0
        case CutSource(what="skip"):
            x[:, k, h] = 0
        case CutSource(what="token"):
            x = clean.x_without(h, k)
        case CutEdge(keys=range()):
            for i in range(LENGTH)[k]:
                M[:, h, i, edit.keys.start : edit.keys.stop] = 0
        case KeepLast():
            for i in range(LENGTH)[k]:
                M[:, h, i, : max(i - edit.width + 1, 0)] = 0
        case ScaleDecay():
            log = dt * A
            log[:, k, h] *= edit.factor
            M = clean.decay(log) * content
        case ScaleDt():
            dt[:, k, h] *= edit.factor
            M = clean.decay(dt * A) * content
        case FreezeDt():
            dt[:, k, h] = dt.mean(dim=1, keepdim=True)[:, :, h]
            M = clean.decay(dt * A) * content
    return clean.output(M, dt, x)


EVERY = [
    Mute(heads=HEADS, positions=POSITIONS),
    Mute(heads=HEADS),
    Mute(heads=HEADS, positions=POSITIONS, what="all"),
    Mute(what="mean", heads=HEADS),
    CutSource(heads=HEADS, positions=POSITIONS),
    CutSource(positions=range(LENGTH)),
    CutSource(heads=HEADS, positions=POSITIONS, what="skip"),
    CutSource(heads=HEADS, positions=POSITIONS, what="token"),
    CutEdge(heads=HEADS, positions=range(7, 12), keys=range(5, 9)),
    KeepLast(heads=HEADS, positions=POSITIONS, width=3),
    KeepLast(heads=HEADS, width=1),
    KeepLast(width=0),
    ScaleDecay(heads=HEADS, factor=0.0),
    ScaleDecay(heads=HEADS, positions=POSITIONS, factor=3.5),
    ScaleDecay(heads=HEADS, positions=range(6, 7), factor=1e6),
    ScaleDt(heads=HEADS, positions=POSITIONS, factor=0.25),
    ScaleDt(heads=HEADS, factor=0.0),
    FreezeDt(heads=HEADS),
    FreezeDt(positions=POSITIONS),
]


READ = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_scan", "conv1d.hook_in")


@pytest.fixture(scope="module")
def unedited(case: FamilyCase, bridge: ModelBridge) -> ActivationCache:
    """What is read of the last mixer."""
    names = [f"blocks.{case.mixers[-1]}.mixer.{name}" for name in READ]
    return bridge.run_with_cache(IDS, names_filter=names)[1]


@pytest.mark.parametrize("edit", EVERY, ids=lambda edit: edit.words)
def test_an_edit_does_what_its_formula_says(
    case: FamilyCase, bridge: ModelBridge, unedited: ActivationCache, edit: HeadEdit
) -> None:
    layer = case.mixers[-1]
    edit = replace(edit, layers=range(layer, layer + 1))
    gate, conv_in = unedited._record(layer).gate(), unedited[f"blocks.{layer}.mixer.conv1d.hook_in"]
    clean = Clean(unedited.ssd_terms(layer), bridge.blocks[layer].mixer, conv_in, gate)
    _, edited = bridge.run_with_cache(IDS, names_filter=list(unedited), fwd_hooks=edit.hooks())
    found, truth = edited[f"blocks.{layer}.mixer.hook_scan"], expected(clean, edit)
    assert relative(found, truth) <= 1e-6
    if not isinstance(edit, Mute) or edit.what == "attention":  # others act behind the terms
        assert edited.faithfulness(layer) <= edited.tolerance(layer)
    others = [head for head in range(8) if edit.heads is not None and head not in edit.heads]
    if others:
        before = unedited[f"blocks.{layer}.mixer.hook_scan"]
        assert relative(found[:, :, others], before[:, :, others]) <= 1e-6


def test_words_and_code_name_the_edit() -> None:
    for edit in (*EVERY, Mute(kind="softmax"), KeepLast(layers=range(3, 9), width=20, kind="softmax")):
        assert edit_of(edit.words) == edit, edit.words
        assert eval(edit.code) == edit
    assert ScaleDecay(layers=range(2, 3), factor=0.5).words == "decay.2.all.all.5e-1"
    assert {type(edit).name for edit in EVERY} == set(EDITS)


def test_only_a_stack_attaches_hooks_and_edits_of_different_heads_commute(
    case: FamilyCase, bridge: ModelBridge
) -> None:
    layer = range(case.mixers[0], case.mixers[0] + 1)
    one, two = CutSource(layer, range(1, 2), POSITIONS), KeepLast(layer, range(5, 7), width=2)
    assert hooks_of([]) == []
    either, other = (
        bridge.run_with_hooks(IDS, fwd_hooks=hooks_of(stack)) for stack in ([one, two], [two, one])
    )
    assert torch.equal(either, other)
    plain = bridge.run_with_hooks(IDS)
    assert not torch.allclose(either, plain)
    nothing = bridge.run_with_hooks(IDS, fwd_hooks=KeepLast(width=LENGTH).hooks())
    assert torch.equal(nothing, plain)  # such a window changes nothing, and writes nothing back


PROMPT = range(LENGTH - 2)


def of_prompt(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """The edit in one pass over the text, with the mean over the positions of the prompt."""
    return lambda tensor, hook: function(tensor, hook.at(hook.positions, PROMPT))


@pytest.mark.parametrize("edit", EVERY[::3], ids=lambda edit: edit.words)
@pytest.mark.parametrize("case", [c for c in FAMILY_CASES if not c.clamped], indirect=True, ids=str)
def test_an_edit_holds_in_a_continuation(case: FamilyCase, bridge: ModelBridge, edit: HeadEdit) -> None:
    """Decode steps give what one pass over the whole text gives. A mean is the prompt's.

    Those of a clamped model do not clamp dt, so that one pass computes another dt.
    """
    names = [f"blocks.{layer}.mixer.hook_scan" for layer in case.mixers]
    run = bridge._run(edit.hooks(), set(names))
    run.prompt = PROMPT
    state = DynamicCache(config=bridge.model.config)
    with bridge._running(run):
        bridge.step(IDS[:1, : PROMPT.stop], 0, state)
        for stop in range(PROMPT.stop + 1, LENGTH + 1):
            bridge.step(IDS[:1, :stop], stop - 1, state)
    stepped = bridge._cache(run)
    hooks = [(where, of_prompt(function)) for where, function in edit.hooks()]
    _, whole = bridge.run_with_cache(IDS[:1], names_filter=names, fwd_hooks=hooks)
    for name in names:
        assert relative(stepped[name], whole[name]) <= 2e-5, name


@pytest.mark.parametrize("edit", [Mute, CutSource, CutEdge, KeepLast])
def test_edits_of_softmax_attention(edit: type[HeadEdit]) -> None:
    bridge = ModelBridge(next(case for case in FAMILY_CASES if case.family == "bamba").build())
    layer = bridge.attention_layers()[0]
    name = f"blocks.{layer}.attn.hook_pattern"
    P = bridge.run_with_cache(IDS, names_filter=name)[1][name].double()
    own: dict[str, Any] = {CutEdge: {"keys": range(5, 9)}, KeepLast: {"width": 3}}.get(edit, {})
    given = edit(range(layer, layer + 1), range(1, 3), POSITIONS, "softmax", **own)
    if edit is Mute:
        P[:, 1:3, 4:9] = 0
    elif edit is CutSource:
        P[:, 1:3, :, 4:9] = 0
    elif edit is CutEdge:
        P[:, 1:3, 4:9, 5:9] = 0
    else:
        for i in POSITIONS:
            P[:, 1:3, i, : max(i - 2, 0)] = 0
    if edit is not Mute:
        P = P / P.sum(dim=-1, keepdim=True)
    logits, found = bridge.run_with_cache(IDS, names_filter=name, fwd_hooks=given.hooks())
    assert relative(found[name], P) <= 1e-6
    assert not torch.allclose(logits, bridge.run_with_hooks(IDS))


def test_what_cannot_be_edited_is_refused_in_a_sentence() -> None:
    bridge = ModelBridge(tiny_model())
    with pytest.raises(ValueError, match=r"blocks\.1\.mixer\.hook_attention has 8 heads, 0 to 7"):
        bridge.run_with_hooks(IDS, fwd_hooks=Mute(range(1, 2), range(7, 9)).hooks())
    with pytest.raises(ValueError, match=r"There is no hook 'blocks\.2\.mixer\.hook_dt'"):
        bridge.run_with_hooks(IDS, fwd_hooks=FreezeDt(range(2, 3)).hooks())
    with pytest.raises(ValueError, match="reads its 21 tokens in pieces of 8"):
        bridge.run_with_cache(IDS, fwd_hooks=FreezeDt().hooks(), piece_tokens=8)
    for wrong in (
        lambda: Mute(heads=range(3, 3)),
        lambda: Mute(heads=range(0, 6, 2)),
        lambda: KeepLast(width=-1),
        lambda: ScaleDt(factor=float("nan")),
        lambda: ScaleDecay(factor=-1.0),
        lambda: ScaleDt(kind="softmax"),
        lambda: CutSource(kind="softmax", what="token"),
        lambda: Mute(kind="softmax", what="mean"),
    ):
        with pytest.raises(ValueError, match=r"give|apply|cut|mute"):
            wrong()
    for words in ("mute", "mute.0", "mute.0.0.0.none", "window.all.all.all.-1", "decay.all.all.all.0.5"):
        assert edit_of(words) is None
    assert edit_of("cut.3-1.all.all.reading") is None


def test_a_mean_leaves_pads_out() -> None:
    bridge, name = ModelBridge(tiny_model()), "blocks.0.mixer.hook_dt"
    short = IDS[:1, 5:]
    padded, mask = F.pad(short, (5, 0), value=96), F.pad(torch.ones_like(short), (5, 0))
    hooks = FreezeDt(range(1)).hooks()
    _, alone = bridge.run_with_cache(short, names_filter=name, fwd_hooks=hooks)
    _, beside = bridge.run_with_cache(padded, attention_mask=mask, names_filter=name, fwd_hooks=hooks)
    assert relative(beside[name][:, 5:], alone[name]) <= 1e-5


def test_sizes_tell_how_much_each_edit_changed() -> None:
    bridge = ModelBridge(tiny_model())
    stack = [CutSource(positions=range(3, 4)), CutSource(positions=range(3, 4)), ScaleDt(factor=0.25)]
    sizes = Sizes(stack)
    logits = bridge.run_with_hooks(IDS, fwd_hooks=sizes.hooks)
    assert torch.equal(logits, bridge.run_with_hooks(IDS, fwd_hooks=hooks_of(stack)))
    first, second, third = sizes.relative
    assert 0 < first < 1
    assert second == 0  # what is cut already is not cut again
    assert third == pytest.approx(0.75)


@pytest.mark.parametrize(
    "edit",
    [
        ScaleDt(factor=0.0),
        ScaleDt(factor=1e6),
        ScaleDecay(factor=1e9),
        KeepLast(width=0),
        Mute(),
        Mute(what="all"),
    ],
    ids=lambda edit: edit.words,
)
@pytest.mark.parametrize("case", SOME_CASES[::3], indirect=True, ids=str)
def test_extremes_give_numbers(case: FamilyCase, bridge: ModelBridge, edit: HeadEdit) -> None:
    logits, cache = bridge.run_with_cache(IDS, fwd_hooks=edit.hooks())
    assert logits.isfinite().all()
    for layer in case.mixers:
        assert cache[f"blocks.{layer}.mixer.hook_attention"].isfinite().all()
