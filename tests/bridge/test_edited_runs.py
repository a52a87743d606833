"""One truth of an edited run: what the run used is what its cache tells, however the edit was made."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from components.bridge import ActivationCache, ModelBridge
from components.bridge.hook_point import HookPoint
from components.ssd import (
    decay,
    effective_attention,
    half_life,
    mean_distance,
    pooled_attention,
    pooled_content,
    pooled_decay,
    pooled_softmax,
    pooling,
    reconstruct,
    softmax_attention,
    state_contributions,
    state_norms,
    state_shares,
)
from tests.families import FAMILY_CASES
from tests.tiny import random_ids, relative, tiny_model

IDS = random_ids(0, 2, 21)
LAYER = 0
MIXER = f"blocks.{LAYER}.mixer"


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model())


@pytest.fixture(scope="module")
def plain(bridge: ModelBridge) -> ActivationCache:
    return bridge.run_with_cache(IDS)[1]


@pytest.fixture(scope="module")
def hybrid() -> ModelBridge:
    """One mixer and one attention: they have every hook."""
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    layers = {"num_hidden_layers": 2, "attn_layer_indices": [1]}
    return ModelBridge(replace(case, options=case.options | layers).build())


def tilted(M: Tensor, hook: HookPoint) -> Tensor:
    """Another factor for every head and key."""
    factors = torch.linspace(-0.5, 1.5, M.shape[1] * M.shape[3]).reshape(1, M.shape[1], 1, M.shape[3])
    return M * factors


def run(bridge: ModelBridge, *hooks: tuple[str, Callable[..., Tensor | None]]) -> ActivationCache:
    return bridge.run_with_cache(IDS, fwd_hooks=list(hooks))[1]


def by_hand(cache: ActivationCache, M: Tensor) -> Tensor:
    """The scan's output that these entries of M give, in float64."""
    terms = cache.ssd_terms(LAYER)
    written = (terms.dt[..., None] * terms.x).double()
    return torch.einsum("bhij,bjhp->bihp", M.double(), written) + terms.D[:, None] * terms.x


def check(bridge: ModelBridge, cache: ActivationCache, M: Tensor) -> None:
    """Everything that tells of M tells of this one."""
    assert torch.equal(cache[f"{MIXER}.hook_attention"], M)
    assert torch.equal(bridge.blocks[LAYER].mixer.compute_effective_attention(cache, LAYER), M)
    assert torch.equal(cache.compute_ssm_effective_attention(LAYER), M)
    assert torch.equal(cache.compute_ssm_effective_attention()[LAYER], M)
    dt = cache[f"{MIXER}.hook_dt"].transpose(1, 2)[:, :, None]
    scaled = bridge.blocks[LAYER].mixer.compute_effective_attention(cache, LAYER, include_dt_scaling=True)
    assert relative(scaled, M * dt) <= 1e-6
    terms = cache.ssd_terms(LAYER)
    window = effective_attention(terms, heads=[5, 2], queries=[20, 3], keys=slice(2, 9))
    assert relative(window, M[:, [5, 2]][:, :, [20, 3], 2:9]) <= 1e-6
    rms = pooled_attention(terms, tiles=21, statistic="rms")
    assert relative(rms, M.abs()) <= 1e-6
    assert relative(pooled_attention(terms, tiles=1)[..., 0, 0], M.mean(dim=(2, 3))) <= 1e-5
    weight = M.abs()
    lags = (torch.arange(21)[:, None] - torch.arange(21)).clamp(min=0)
    distance = ((weight * lags).sum(-1) / weight.sum(-1)).nanmean(-1)
    assert relative(mean_distance(terms).value, distance) <= 1e-5
    y = by_hand(cache, M)
    assert relative(cache[f"{MIXER}.hook_scan"], y) <= 1e-5
    assert relative(reconstruct(terms), y) <= 1e-5
    assert relative(reconstruct(terms, queries=slice(4, 11)), y[:, 4:11]) <= 1e-5
    assert cache.faithfulness(LAYER) <= 5e-6


def test_after_an_edit_of_attention(bridge: ModelBridge, plain: ActivationCache) -> None:
    own = plain[f"{MIXER}.hook_attention"]
    cache = run(bridge, (f"{MIXER}.hook_attention", tilted))
    check(bridge, cache, tilted(own, HookPoint("")))
    assert torch.equal(cache[f"{MIXER}.hook_decay"], plain[f"{MIXER}.hook_decay"])
    assert relative(cache[f"{MIXER}.hook_scan"], plain[f"{MIXER}.hook_scan"]) > 0.1


def test_after_an_edit_of_decay(bridge: ModelBridge, plain: ActivationCache) -> None:
    L = tilted(plain[f"{MIXER}.hook_decay"], HookPoint(""))
    terms = plain.ssd_terms(LAYER)
    B, C = (part.repeat_interleave(terms.heads_per_group, dim=2) for part in (terms.B, terms.C))
    cache = run(bridge, (f"{MIXER}.hook_decay", tilted))
    M = cache[f"{MIXER}.hook_attention"]
    assert relative(M, L * torch.einsum("bihn,bjhn->bhij", C, B)) <= 1e-5
    check(bridge, cache, M)
    assert torch.equal(cache[f"{MIXER}.hook_decay"], L)
    edited = cache.ssd_terms(LAYER)
    assert torch.equal(decay(edited, heads=[3], queries=slice(5, 9)), L[:, [3], 5:9])
    assert relative(pooled_decay(edited, tiles=7), mean_of_tiles(L, 7)) <= 1e-5
    assert torch.equal(pooled_content(edited, tiles=7), pooled_content(terms, tiles=7))


def test_in_a_window_too_large_to_go_entry_by_entry(
    bridge: ModelBridge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There the sums of M separate, and those of edited rows do not."""
    cache = run(bridge, (f"{MIXER}.hook_attention", tilted))
    monkeypatch.setattr(pooling, "DIRECT_ENTRIES", {"mean": 0, "rms": 0})
    found = pooled_attention(cache.ssd_terms(LAYER), tiles=7)
    assert relative(found, mean_of_tiles(cache[f"{MIXER}.hook_attention"], 7)) <= 1e-5


def mean_of_tiles(matrix: Tensor, tiles: int) -> Tensor:
    size = matrix.shape[-1] // tiles
    return matrix.unflatten(2, (tiles, size)).unflatten(4, (tiles, size)).mean(dim=(3, 5))


def test_after_edits_of_decay_and_attention(bridge: ModelBridge, plain: ActivationCache) -> None:
    seen = []

    def see(M: Tensor, hook: HookPoint) -> Tensor:
        seen.append(M.clone())
        return tilted(M, hook)

    cache = run(bridge, (f"{MIXER}.hook_decay", tilted), (f"{MIXER}.hook_attention", see))
    of_decay = run(bridge, (f"{MIXER}.hook_decay", tilted))[f"{MIXER}.hook_attention"]
    assert torch.equal(seen[0], of_decay)
    check(bridge, cache, tilted(of_decay, HookPoint("")))


@pytest.mark.parametrize("hook", ["hook_decay", "hook_attention"])
def test_a_text_that_goes_on_keeps_what_was_edited(bridge: ModelBridge, hook: str) -> None:
    terms = run(bridge, (f"{MIXER}.{hook}", tilted)).ssd_terms(LAYER)
    M = effective_attention(terms)
    longer = effective_attention(terms.lengthened(terms.length + 5))
    assert torch.equal(longer[..., : terms.length, : terms.length], M)
    assert not longer[:, :, terms.length :].any()
    assert not torch.equal(M, effective_attention(run(bridge).ssd_terms(LAYER)))


def test_a_later_edit_of_another_term_counts_too(bridge: ModelBridge) -> None:
    cache = run(bridge, (f"{MIXER}.hook_dt", lambda t, hook: t * 0.3), (f"{MIXER}.hook_attention", tilted))
    slow = run(bridge, (f"{MIXER}.hook_dt", lambda t, hook: t * 0.3))
    check(bridge, slow, slow[f"{MIXER}.hook_attention"])
    check(bridge, cache, tilted(slow[f"{MIXER}.hook_attention"], HookPoint("")))


def test_after_an_edit_of_the_scan_faithfulness_is_that_of_the_picture(
    bridge: ModelBridge, plain: ActivationCache
) -> None:
    def double(y: Tensor, hook: HookPoint) -> Tensor:
        return y * 2

    cache = run(bridge, (f"{MIXER}.hook_scan", double))
    assert torch.equal(cache[f"{MIXER}.hook_scan"], 2 * plain[f"{MIXER}.hook_scan"])
    assert cache.faithfulness(LAYER) == plain.faithfulness(LAYER)
    both = run(bridge, (f"{MIXER}.hook_scan", double), (f"{MIXER}.hook_attention", tilted))
    assert both.faithfulness(LAYER) <= 5e-6


@pytest.mark.parametrize("hook", ["hook_decay", "hook_attention"])
def test_no_state_is_told_where_none_was_read(bridge: ModelBridge, hook: str) -> None:
    cache = run(bridge, (f"{MIXER}.{hook}", tilted))
    terms, mixer = cache.ssd_terms(LAYER), bridge.blocks[LAYER].mixer
    for tell in (
        lambda: mixer.compute_ssm_state(cache, LAYER),
        lambda: mixer.compute_ssm_state(cache, LAYER, time_step=3),
        lambda: state_norms(terms),
        lambda: state_shares(terms, 3),
        lambda: state_contributions(terms, 3),
    ):
        with pytest.raises(ValueError, match="replaced rows of L or M"):
            tell()
    assert mixer.compute_ssm_state(cache, 1).shape[2] == IDS.shape[1]


def test_looking_at_a_matrix_is_no_edit(bridge: ModelBridge, plain: ActivationCache) -> None:
    logits, _ = bridge.run_with_cache(IDS)
    looks = [(f"{MIXER}.{name}", lambda t, hook: None) for name in ("hook_decay", "hook_attention")]
    looked, cache = bridge.run_with_cache(IDS, fwd_hooks=looks)
    assert torch.equal(looked, logits)
    assert cache.ssd_terms(LAYER).edited_attention == ()
    assert torch.equal(cache[f"{MIXER}.hook_attention"], plain[f"{MIXER}.hook_attention"])


def test_after_an_edit_of_a_pattern(hybrid: ModelBridge) -> None:
    layer = hybrid.attention_layers()[0]
    name = f"blocks.{layer}.attn.hook_pattern"
    own = hybrid.run_with_cache(IDS)[1][name]
    expected = tilted(own, HookPoint(""))
    _, cache = hybrid.run_with_cache(IDS, fwd_hooks=[(name, tilted)])
    terms = cache.softmax_terms(layer)
    assert torch.equal(cache[name], expected)
    assert torch.equal(softmax_attention(terms), expected)
    assert torch.equal(softmax_attention(terms, heads=[2], queries=[9, 4]), expected[:, [2]][:, :, [9, 4]])
    assert relative(pooled_softmax(terms, tiles=7), mean_of_tiles(expected, 7)) <= 1e-5


@pytest.mark.parametrize("hook", ["hook_decay", "hook_attention"])
@pytest.mark.parametrize("piece_tokens", [None, 5])
def test_no_edit_lets_a_query_read_a_later_key(
    bridge: ModelBridge, hook: str, piece_tokens: int | None
) -> None:
    """Columns are edited by their index, above the diagonal too: what is written there is left out."""

    def fill(M: Tensor, hook: HookPoint) -> None:
        M[..., 5:8] = 0.7

    hooks = [(f"{MIXER}.{hook}", fill)]
    logits, cache = bridge.run_with_cache(IDS, fwd_hooks=hooks, piece_tokens=piece_tokens)
    truth, whole = bridge.run_with_cache(IDS, fwd_hooks=hooks)
    assert relative(logits, truth) <= 1e-5
    M = cache[f"{MIXER}.{hook}"]
    assert not M.triu(1).any()
    assert relative(M, whole[f"{MIXER}.{hook}"]) <= 1e-5
    assert cache.faithfulness(LAYER) <= 5e-6
    later = IDS.clone()
    later[:, 6:] = (later[:, 6:] + 1) % 90
    assert torch.equal(bridge.run_with_hooks(later, fwd_hooks=hooks)[:, :6], truth[:, :6])
    of_attention = cache.compute_ssm_effective_attention(LAYER)
    assert not pooled_attention(cache.ssd_terms(LAYER), queries=slice(0, 3), keys=slice(5, 6)).any()
    window = effective_attention(cache.ssd_terms(LAYER), queries=slice(4, 9), keys=slice(5, 8))
    assert torch.equal(window, of_attention[:, :, 4:9, 5:8])


def test_no_edit_of_a_pattern_lets_a_query_read_a_later_key(hybrid: ModelBridge) -> None:
    layer = hybrid.attention_layers()[0]

    def fill(P: Tensor, hook: HookPoint) -> Tensor:
        P[..., 5:8] = 0.7
        return P

    hooks = [(f"blocks.{layer}.attn.hook_pattern", fill)]
    logits, cache = hybrid.run_with_cache(IDS, fwd_hooks=hooks)
    assert not cache[hooks[0][0]].triu(1).any()
    in_pieces, _ = hybrid.run_with_cache(IDS, fwd_hooks=hooks, piece_tokens=5)
    assert relative(in_pieces, logits) <= 1e-5
    terms = cache.softmax_terms(layer)
    assert torch.equal(softmax_attention(terms, queries=[2]), softmax_attention(terms)[:, :, [2]])


@pytest.mark.parametrize("hook", ["blocks.1.hook_in", f"{MIXER}.hook_attention", f"{MIXER}.hook_x"])
def test_what_a_hook_returned_can_be_written_in_again(
    bridge: ModelBridge, plain: ActivationCache, hook: str
) -> None:
    buffer = torch.zeros_like(plain[hook])
    caches, expected = [], []
    for value in (1.0, 2.0):
        buffer.fill_(value)
        caches.append(run(bridge, (hook, lambda t, hook: buffer)))
        expected.append(buffer.tril() if hook.endswith("attention") else buffer.clone())
    for cache, tensor in zip(caches, expected, strict=True):
        assert torch.equal(cache[hook], tensor)
        assert cache.faithfulness(LAYER) <= 5e-6


def test_a_shape_is_kept_in_place_too(bridge: ModelBridge) -> None:
    def turn(t: Tensor, hook: HookPoint) -> None:
        t.transpose_(0, 1)

    def shorten(t: Tensor, hook: HookPoint) -> None:
        t.data = t.data[:, :5]

    for name in ("blocks.0.hook_out", f"{MIXER}.hook_B", f"{MIXER}.hook_attention"):
        for edit in (turn, shorten):
            with pytest.raises(ValueError, match=f"hook at '{name}' returned"):
                run(bridge, (name, edit))


def test_a_half_life_is_not_told_of_a_decay_that_was_replaced(bridge: ModelBridge) -> None:
    with pytest.raises(ValueError, match="replaced rows of L"):
        half_life(run(bridge, (f"{MIXER}.hook_decay", tilted)).ssd_terms(LAYER))
    assert half_life(run(bridge, (f"{MIXER}.hook_attention", tilted)).ssd_terms(LAYER)).shape == (2, 8)


def test_what_a_hook_made_of_dt_is_not_told_of_the_model() -> None:
    bridge = ModelBridge(tiny_model(time_step_limit=(0.0, 100.0)))
    hooks = [("blocks.0.mixer.hook_dt", lambda dt, hook: torch.full_like(dt, 200.0))]
    for given in ([], hooks):
        _, cache = bridge.generate(IDS, max_new_tokens=3, with_cache=True, fwd_hooks=given)
        assert cache.notes == []


# However an edit is made


def in_place(tensor: Tensor, hook: HookPoint) -> None:
    tensor[..., ::2] *= 0.5


def through_data(tensor: Tensor, hook: HookPoint) -> None:
    tensor.data[..., ::2] *= 0.5


def through_numpy(tensor: Tensor, hook: HookPoint) -> None:
    tensor.numpy()[..., ::2] *= 0.5


def in_float64(tensor: Tensor, hook: HookPoint) -> Tensor:
    edited = tensor.double()
    edited[..., ::2] *= 0.5
    return edited


def floats(bridge: ModelBridge) -> list[str]:
    return [name for name in bridge.hook_points if name != "embed.hook_in"]


def test_every_way_to_edit_takes_effect_at_every_hook(hybrid: ModelBridge) -> None:
    def returned(tensor: Tensor, hook: HookPoint) -> Tensor:
        edited = tensor.clone()
        edited[..., ::2] *= 0.5
        return edited

    untouched = hybrid.run_with_hooks(IDS)
    for name in floats(hybrid):
        part = name.rpartition(".")[0]
        beside = [kept for kept in hybrid.hook_points if kept.rpartition(".")[0] == part]
        truth, cache = hybrid.run_with_cache(IDS, names_filter=beside, fwd_hooks=[(name, returned)])
        assert relative(truth, untouched) > 1e-3, name
        expected = {kept: cache[kept] for kept in cache}
        for way in (in_place, through_data, through_numpy, in_float64):
            logits, cache = hybrid.run_with_cache(IDS, names_filter=beside, fwd_hooks=[(name, way)])
            assert torch.equal(logits, truth), (name, way)
            assert set(cache) == set(expected)
            for kept, tensor in expected.items():
                assert torch.equal(cache[kept], tensor), (name, way, kept)
    assert torch.equal(hybrid.run_with_hooks(IDS), untouched)


def test_an_edit_is_of_its_own_hook_alone(bridge: ModelBridge, plain: ActivationCache) -> None:
    """What goes into a norm goes on in the residual stream too, and was what the layer before gave."""
    cache = run(bridge, ("blocks.1.norm.hook_in", in_place))
    assert torch.equal(cache["blocks.0.hook_out"], plain["blocks.0.hook_out"])
    assert torch.equal(cache["blocks.1.hook_in"], plain["blocks.1.hook_in"])
    difference = cache["blocks.1.hook_out"] - cache["blocks.1.mixer.hook_out"]
    assert relative(difference, plain["blocks.1.hook_in"]) <= 1e-6


def test_not_a_number_that_was_there_is_no_edit(bridge: ModelBridge) -> None:
    def spoil(x: Tensor, hook: HookPoint) -> Tensor:
        x[:, 0] = torch.nan
        return x

    hooks: list[Any] = [("blocks.0.hook_out", spoil)]
    truth = bridge.run_with_hooks(IDS, fwd_hooks=hooks)
    looked = bridge.run_with_hooks(IDS, fwd_hooks=[*hooks, ("blocks.1.mixer.hook_x", lambda t, hook: None)])
    assert bool(truth.isnan().any())
    torch.testing.assert_close(looked, truth, rtol=0, atol=0, equal_nan=True)


# One mixer alone


def test_one_mixer_alone_with_the_hooks_of_the_run(bridge: ModelBridge) -> None:
    hooks = [(f"{MIXER}.hook_attention", tilted), (f"{MIXER}.hook_x", lambda x, hook: x * 0.5)]
    _, whole = bridge.run_with_cache(IDS, fwd_hooks=hooks)
    given = whole[f"{MIXER}.hook_in"]
    out, alone = bridge.run_mixer(LAYER, given, fwd_hooks=hooks)
    assert torch.equal(out, whole[f"{MIXER}.hook_out"])
    assert torch.equal(alone[f"{MIXER}.hook_attention"], whole[f"{MIXER}.hook_attention"])
    assert alone.faithfulness(LAYER) == whole.faithfulness(LAYER) <= 5e-6
    without, _ = bridge.run_mixer(LAYER, given)
    assert relative(without, out) > 1e-2
    twice = [*hooks, (f"{MIXER}.hook_in", lambda x, hook: x * 2)]  # what it was given has been edited already
    _, doubled = bridge.run_with_cache(IDS, fwd_hooks=twice)
    out, alone = bridge.run_mixer(LAYER, doubled[f"{MIXER}.hook_in"], fwd_hooks=twice)
    assert torch.equal(out, doubled[f"{MIXER}.hook_out"])
    halved = hooks[1:]  # which in every piece is the same
    in_pieces, cache = bridge.run_mixer(LAYER, given, fwd_hooks=halved, piece_tokens=6)
    assert relative(in_pieces, bridge.run_mixer(LAYER, given, fwd_hooks=halved)[0]) <= 1e-5
    assert cache.faithfulness(LAYER) <= 5e-6
