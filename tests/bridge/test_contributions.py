"""The parts of a mixer's output sum to it, in every family, and their direct effects to a logit."""

from collections.abc import Iterator
from typing import Any

import jaxtyping
import pytest
import torch
from accelerate import cpu_offload
from torch import Tensor, nn
from torch.nn import functional as F

from components.bridge import (
    ActivationCache,
    ModelBridge,
    contribution_inputs,
    contributions_of,
    logit_direction,
)
from components.ssd import (
    Contributions,
    CutSource,
    Edit,
    FreezeDt,
    KeepLast,
    Mute,
    ScaleDecay,
    ScaleDt,
    effective_attention,
    hooks_of,
)
from components.ssd import contributions as mathematics
from tests.families import FAMILY_CASES, SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative, tiny_model

LENGTH = 21
IDS = random_ids(0, 2, LENGTH)
QUERIES = [0, 9, 20]
TARGET, FOIL = 17, 58


@pytest.fixture(scope="module", params=SOME_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build())


@pytest.fixture(scope="module")
def cache(bridge: ModelBridge) -> ActivationCache:
    return bridge.run_with_cache(IDS, names_filter=contribution_inputs)[1]


def dense(found: Contributions, query: int) -> Tensor:
    """Every contribution to one query as a vector [b, heads, keys, model]; the last key is the skip."""
    heads = range(found.terms.heads)
    parts = [torch.cat([found.of_sources(h, query), found.skip(h, query)[:, None]], dim=1) for h in heads]
    return torch.stack(parts, dim=1)


def check_sums(bridge: ModelBridge, cache: ActivationCache, tolerance: float, *layers: int) -> None:
    """All parts sum to the output, along a direction of each query that none of them can know."""
    for layer in layers or bridge.ssm_layers():
        found, out = contributions_of(bridge, cache, layer), cache[f"blocks.{layer}.mixer.hook_out"].float()
        d = torch.randn(out.shape, generator=torch.Generator().manual_seed(layer))
        sums = found.toward(d).sum(dim=(1, 3)) + found.skip_toward(d).sum(dim=1)
        truth = found.scale * (d * out).sum(dim=-1)
        assert relative(sums + found.scale * (d @ found.bias), truth) <= tolerance, layer


def test_the_parts_sum_to_the_mixers_output(bridge: ModelBridge, cache: ActivationCache) -> None:
    for layer in bridge.ssm_layers():
        found, out = contributions_of(bridge, cache, layer), cache[f"blocks.{layer}.mixer.hook_out"]
        sums = torch.stack([dense(found, i).sum(dim=(1, 2)) + found.bias for i in QUERIES], dim=1)
        assert relative(sums, out[:, QUERIES]) <= 1e-5, layer
    check_sums(bridge, cache, 1e-5)


def test_a_part_is_what_out_proj_makes_of_the_head(
    case: FamilyCase, bridge: ModelBridge, cache: ActivationCache
) -> None:
    """out_proj, given the channels of one head alone, returns the parts of the head and the bias."""
    layer = case.mixers[-1]
    inside = f"blocks.{layer}.mixer"
    found = contributions_of(bridge, cache, layer)
    given = cache[f"{inside}.out_proj.hook_in"].unflatten(-1, (8, -1))
    for head in (0, 5):
        alone = torch.zeros_like(given)
        alone[:, :, head] = given[:, :, head]
        with torch.no_grad():
            part = bridge.blocks[layer].mixer.out_proj(alone.flatten(2))[:, 9]
        mine = found.of_sources(head, 9).sum(dim=1) + found.skip(head, 9) + found.bias
        assert relative(mine, part) <= 1e-5


def test_figures_are_those_of_the_vectors(
    case: FamilyCase, bridge: ModelBridge, cache: ActivationCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = contributions_of(bridge, cache, case.mixers[-1])
    vectors = torch.stack([dense(found, i) for i in QUERIES], dim=2).double() * found.scale
    direction = torch.randn(2, len(QUERIES), 32, generator=torch.Generator().manual_seed(0))
    along = torch.einsum("bhijd,bid->bhij", vectors, direction.double())
    one = torch.einsum("bhijd,d->bhij", vectors, direction[1, 1].double())
    lengths = vectors.norm(dim=-1)
    for room in (2**23, 5000, 1):  # all at once, in some blocks, row by row
        monkeypatch.setattr(mathematics, "BLOCK_BYTES", room)
        assert relative(found.norms(queries=QUERIES), lengths[..., :-1]) <= 1e-5
    assert relative(found.skip_norms(queries=QUERIES), lengths[..., -1]) <= 1e-5
    assert relative(found.toward(direction, queries=QUERIES), along[..., :-1]) <= 1e-5
    assert relative(found.skip_toward(direction, queries=QUERIES), along[..., -1]) <= 1e-5
    assert relative(found.toward(direction[1, 1], queries=QUERIES), one[..., :-1]) <= 1e-5
    some: dict[str, Any] = {"heads": [6, -7], "queries": [20, 9], "keys": [8, 12, 2, 11]}
    chosen = (slice(None), torch.tensor([6, 1])[:, None, None], torch.tensor([2, 1])[:, None], some["keys"])
    assert relative(found.norms(**some), lengths[chosen]) <= 1e-5
    assert relative(found.toward(direction[:, [2, 1]], **some), along[chosen]) <= 1e-5
    assert (
        relative(found.of_sources(6, 20, keys=some["keys"]) * found.scale, vectors[:, 6, 2, some["keys"]])
        < 1e-6
    )
    assert not found.norms(queries=[4], keys=slice(5, None)).any()  # later tokens


def test_measures_of_a_row(case: FamilyCase, bridge: ModelBridge, cache: ActivationCache) -> None:
    found = contributions_of(bridge, cache, case.mixers[0])
    direction = logit_direction(bridge, cache, TARGET, FOIL)
    row = found.measures(20, direction[:, 20])
    M, terms = effective_attention(found.terms, queries=[20])[:, :, 0].abs(), found.terms
    written = torch.einsum("bhj,bjh,bjh->bhj", M, terms.dt, terms.x.square().sum(dim=-1).sqrt())
    vectors = dense(found, 20)[:, :, :-1] * found.scale
    assert torch.equal(row.attention, M)
    assert relative(row.written, written) <= 1e-6
    assert relative(row.contribution, vectors.norm(dim=-1)) <= 1e-5
    assert relative(row.direct, torch.einsum("bhjd,bd->bhj", vectors, direction[:, 20])) <= 1e-5
    assert relative(found.measures(-1, direction[0, 20]).direct[0], row.direct[0]) <= 1e-6


# To the logit


@pytest.fixture
def in_float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models and the bridge keep in float64 what they would otherwise round to float32."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch, "float", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    jaxtyping.config.update("jaxtyping_disable", True)  # signatures say float32
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


# The norm that reads the residual stream right behind the mixer, where an MLP follows in the same layer.
BEHIND = {
    "bamba": "pre_ff_layernorm",
    "granitemoehybrid": "post_attention_layernorm",
    "falcon_h1": "pre_ff_layernorm",
}


def test_direct_effects_sum_to_the_difference_of_logits(case: FamilyCase, in_float64: None) -> None:
    # Experts in one product take float32 and less.
    bridge = ModelBridge(case.build(torch.float64, experts_implementation="eager"))
    behind: dict[int, Tensor] = {}
    for layer in case.mixers:
        if case.family in BEHIND:
            norm = bridge.blocks[layer].original_component.get_submodule(BEHIND[case.family])
            norm.register_forward_pre_hook(lambda _, given, layer=layer: behind.update({layer: given[0]}))
    logits, cache = bridge.run_with_cache(IDS)
    truth = logits[..., TARGET] - logits[..., FOIL]
    d = logit_direction(bridge, cache, TARGET, FOIL)
    assert d.dtype == torch.float64
    along = {"embed": (cache["blocks.0.hook_in"] * d).sum(dim=-1)}
    for layer in range(len(bridge.blocks)):
        before, after = cache[f"blocks.{layer}.hook_in"], cache[f"blocks.{layer}.hook_out"]
        rest = after - before
        if layer in case.mixers:
            found = contributions_of(bridge, cache, layer)
            heads = found.toward(d).sum(dim=(1, 3)) + found.skip_toward(d).sum(dim=1)
            along[f"mixer {layer}"] = heads + found.scale * (d @ found.bias)
            own = behind.get(layer, after) - before
            if case.family == "falcon_h1":
                attn: Any = bridge.blocks[layer].attn
                own = own - cache[f"blocks.{layer}.attn.hook_out"] * attn.config.attention_out_multiplier
            rest = rest - own
            assert relative(found.scale * cache[f"blocks.{layer}.mixer.hook_out"], own) <= 1e-12
        along[f"rest {layer}"] = (rest * d).sum(dim=-1)
    assert relative(sum(along.values(), torch.zeros_like(truth)), truth) <= 1e-12
    assert (found.scale == 1) == (case.family not in ("granitemoehybrid", "falcon_h1"))
    if case.family in ("mamba2", "zamba2"):  # the residual stream is a sum of mixers alone
        assert max(float(part.abs().max()) for name, part in along.items() if "rest" in name) <= 1e-12


# Runs of every sort


def test_pads_contribute_nothing(case: FamilyCase, bridge: ModelBridge) -> None:
    short = IDS[:1, 5:]
    ids, mask = F.pad(short, (5, 0), value=96), F.pad(torch.ones_like(short), (5, 0))
    _, padded = bridge.run_with_cache(ids, attention_mask=mask, names_filter=contribution_inputs)
    _, alone = bridge.run_with_cache(short, names_filter=contribution_inputs)
    check_sums(bridge, padded, 1e-5)
    layer = case.mixers[0]
    beside, plain = (contributions_of(bridge, each, layer) for each in (padded, alone))
    norms, d = beside.norms(), logit_direction(bridge, padded, TARGET, FOIL)
    assert not norms[..., :5].any()
    assert norms.isfinite().all()
    assert d.isfinite().all()
    if bridge.blocks[layer].mixer.in_proj.bias is None:  # it makes the convolution of a pad more than zero
        assert relative(norms[:, :, 5:, 5:], plain.norms()) <= 1e-5


def test_half_precision(case: FamilyCase) -> None:
    """The parts sum to what the mixer returned, as well as its own precision has it."""
    bridge = ModelBridge(case.build(torch.bfloat16))
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs)
    check_sums(bridge, cache, 4 * torch.finfo(torch.bfloat16).eps)
    assert contributions_of(bridge, cache, case.mixers[0]).norms().dtype == torch.float32
    assert logit_direction(bridge, cache, TARGET, FOIL).dtype == torch.float32


def test_pieces_and_continuations(case: FamilyCase, bridge: ModelBridge) -> None:
    layer = case.mixers[-1]
    names = [*filter(contribution_inputs, bridge.hook_points), f"blocks.{layer}.mixer.hook_in"]
    _, pieces = bridge.run_with_cache(IDS, names_filter=names, piece_tokens=8)
    check_sums(bridge, pieces, 1e-5)
    _, cache = bridge.generate(IDS, max_new_tokens=4, with_cache=True, names_filter=contribution_inputs)
    check_sums(bridge, cache, 1e-5)
    _, alone = bridge.run_mixer(
        layer, pieces[f"blocks.{layer}.mixer.hook_in"], names_filter=contribution_inputs
    )
    check_sums(bridge, alone, 1e-5, layer)


STACKS: list[list[Edit]] = [
    [Mute(), CutSource(positions=range(4, 9), what="token")],
    [
        CutSource(heads=range(2, 5), positions=range(4, 9)),
        ScaleDecay(heads=range(0, 3), factor=0.5),
        ScaleDt(heads=range(3, 4), factor=0.0),
        FreezeDt(heads=range(4, 6)),
        KeepLast(width=3),
    ],
]


@pytest.mark.parametrize("stack", STACKS, ids=len)
def test_edits_up_to_the_scan_are_in_the_parts(
    case: FamilyCase, bridge: ModelBridge, stack: list[Edit]
) -> None:
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs, fwd_hooks=hooks_of(stack))
    check_sums(bridge, cache, 1e-5)
    norms = contributions_of(bridge, cache, case.mixers[0]).norms(queries=[9])
    assert not norms[..., : 7 if len(stack) > 2 else None].any()


def halved(tensor: Tensor, hook: Any) -> Tensor:
    return tensor * 0.5


def one_channel(tensor: Tensor, hook: Any) -> None:
    tensor.flatten(2)[:, 3, 5] += tensor[:, 3].abs().max() * 0.01


def test_edits_of_gate_projection_and_residual_stream_are_in_the_parts(
    case: FamilyCase, bridge: ModelBridge
) -> None:
    last = f"blocks.{case.mixers[-1]}"
    names = [f"{last}.hook_in", f"{last}.mixer.in_proj.hook_out", f"{last}.mixer.hook_in"]
    names += [f"{last}.mixer.inner_norm.{name}" for name in ("hook_gate", "hook_out") if case.has_norm]
    hooks = [(name, halved) for name in names]
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs, fwd_hooks=hooks)
    check_sums(bridge, cache, 1e-5)


@pytest.mark.parametrize("label", ["biases", "no-norm", "norm-before-gate"])
def test_what_is_no_sum_over_sources_is_refused(label: str) -> None:
    case = next(case for case in FAMILY_CASES if case.label == label)
    bridge, layer = ModelBridge(case.build()), case.mixers[-1]
    inside = f"blocks.{layer}.mixer"

    def refused(name: str, words: str, function: Any = one_channel) -> None:
        hooks = [(name, function)]
        _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs, fwd_hooks=hooks)
        with pytest.raises(ValueError, match=words):
            contributions_of(bridge, cache, layer)
        check_sums(bridge, cache, 1e-5, case.mixers[0])  # other layers are as they were

    replaced = f"A hook replaced the scan's output in layer {layer}, so it is no sum over sources"
    ((_, muting),) = Mute(range(layer, layer + 1), range(3), what="all").hooks()
    refused(f"{inside}.hook_scan", replaced)
    refused(f"{inside}.hook_scan", replaced, muting)
    refused(f"{inside}.hook_scan", replaced, halved)
    refused(f"{inside}.out_proj.hook_in", f"input of out_proj in layer {layer} is not")
    for name in ("out_proj.hook_out", "hook_out"):
        refused(f"{inside}.{name}", f"output of the mixer in layer {layer} is not what out_proj makes")
    if case.has_norm:
        refused(f"{inside}.inner_norm.hook_in", replaced)
        refused(f"{inside}.inner_norm.hook_out", f"input of out_proj in layer {layer} is not")
    _, cache = bridge.run_with_cache(
        IDS, names_filter=contribution_inputs, fwd_hooks=[("ln_final.hook_out", one_channel)]
    )
    with pytest.raises(ValueError, match="The final norm's output is not its input times its weights"):
        logit_direction(bridge, cache, TARGET, FOIL)
    looked = [(f"{inside}.hook_scan", lambda tensor, hook: None)]
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs, fwd_hooks=looked)
    check_sums(bridge, cache, 1e-5, layer)


def test_what_is_missing_is_named() -> None:
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    bridge = ModelBridge(case.build())
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs)
    with pytest.raises(IndexError, match=r"Layer 1 holds no Mamba-2 mixer; these do: 0, 2\."):
        contributions_of(bridge, cache, 1)
    for inside in ("hook_x", "hook_scan", "inner_norm.hook_gate", "out_proj.hook_in", "hook_out"):
        lacking = f"blocks.0.mixer.{inside}"
        names = [n for n in bridge.hook_points if contribution_inputs(n) and n != lacking]
        _, less = bridge.run_with_cache(IDS, names_filter=names)
        with pytest.raises(RuntimeError, match=f"{lacking}' was not kept|no '{lacking}'"):
            contributions_of(bridge, less, 0)
    _, less = bridge.run_with_cache(IDS, names_filter="blocks.0.hook_in")
    with pytest.raises(RuntimeError, match=r"ln_final\.hook_in' was not kept"):
        logit_direction(bridge, less, TARGET, FOIL)
    for token in (97, -1):
        with pytest.raises(IndexError, match=rf"no token id {token}: the logits are of ids 0 to 96\."):
            logit_direction(bridge, cache, TARGET, token)
    found = contributions_of(bridge, cache, 0)
    d = logit_direction(bridge, cache, TARGET, FOIL)
    for shape in (d[:, :3], d[:, :1], d[0, 0, :5]):
        with pytest.raises(
            ValueError, match=r"one for all queries, \(32,\), or one for each .* \(2, 2, 32\)"
        ):
            found.toward(shape, queries=[3, 4])
    with pytest.raises(IndexError, match="There is no head 8: there are 8, 0 to 7"):
        found.norms(heads=[8])
    with pytest.raises(IndexError, match="There is no query position 21"):
        found.skip(0, 21)


def test_the_weights_are_those_of_the_run() -> None:
    bridge = ModelBridge(tiny_model(use_bias=True))
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs)
    mixer = bridge.blocks[1].mixer
    found = contributions_of(bridge, cache, 1)
    before = found.of_sources(2, 9)
    with torch.no_grad():
        mixer.out_proj.weight.mul_(1.5)
    assert torch.equal(found.of_sources(2, 9), before)
    with pytest.raises(ValueError, match="or the weights changed since the run"):
        contributions_of(bridge, cache, 1)
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs)
    check_sums(bridge, cache, 1e-5)
    with torch.no_grad():
        mixer.norm.weight[3] *= 1.5
    with pytest.raises(ValueError, match="weights of the norm changed since the run"):
        contributions_of(bridge, cache, 1)


def test_a_projection_that_is_no_matrix_is_refused() -> None:
    model = tiny_model()
    mixer: Any = model.backbone.layers[0].mixer
    mixer.out_proj = nn.Sequential(mixer.out_proj)
    bridge = ModelBridge(model)
    _, cache = bridge.run_with_cache(IDS, names_filter=contribution_inputs)
    with pytest.raises(ValueError, match="out_proj is a Sequential, whose weights"):
        contributions_of(bridge, cache, 0)
    check_sums(bridge, cache, 1e-5, 1)


def test_gradients_and_offloaded_weights_change_nothing() -> None:
    plain = ModelBridge(tiny_model())
    _, cache = plain.run_with_cache(IDS, names_filter=contribution_inputs)
    truth = contributions_of(plain, cache, 1).norms()
    _, cache = plain.run_with_cache(IDS, names_filter=contribution_inputs, grad=True)
    found = contributions_of(plain, cache, 1)
    assert not found.norms().requires_grad
    assert torch.equal(found.norms(), truth)
    direction = logit_direction(plain, cache, TARGET, FOIL)
    assert not direction.requires_grad
    model = tiny_model()
    cpu_offload(model, execution_device=torch.device("cpu"))
    offloaded = ModelBridge(model)
    _, cache = offloaded.run_with_cache(IDS, names_filter=contribution_inputs)
    assert torch.equal(contributions_of(offloaded, cache, 1).norms(), truth)
    assert torch.equal(logit_direction(offloaded, cache, TARGET, FOIL), direction)
    assert model.lm_head.weight.device.type == "meta"
