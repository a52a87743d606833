"""Every family of Mamba-2 models in transformers: read exactly, edited, padded, continued, offloaded.

`python -m benchmarks.families` makes README's table of these tests; the word after `test_` is their column,
and the property `error` what it shows.
"""

import copy
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import cpu_offload, disk_offload
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, DynamicCache, PreTrainedModel

from components.bridge import ActivationCache, ModelBridge
from components.bridge.families import SUPPORTED
from components.ssd import SSDTerms, reference, softmax_attention
from tests.families import FAMILY_CASES, LIMIT, SOME_CASES, FamilyCase
from tests.tiny import random_ids, relative

MIXER_HOOKS = {
    "hook_in",
    "hook_out",
    "hook_x",
    "hook_B",
    "hook_C",
    "hook_dt",
    "hook_log_decay",
    "hook_decay",
    "hook_attention",
    "hook_scan",
    "in_proj.hook_in",
    "in_proj.hook_out",
    "conv1d.hook_in",
    "conv1d.hook_out",
    "inner_norm.hook_in",
    "inner_norm.hook_gate",
    "inner_norm.hook_out",
    "out_proj.hook_in",
    "out_proj.hook_out",
}
SCAN_HOOKS = ("hook_x", "hook_B", "hook_C", "hook_dt", "hook_decay", "hook_attention", "hook_scan")
ATTENTION_HOOKS = {"hook_in", "hook_out", "hook_pattern"}
TERMS = ("x", "B", "C", "dt")
NEW = 4  # the width of a convolution


SOME = pytest.mark.parametrize("case", SOME_CASES, ids=str, indirect=True)
HYBRIDS = pytest.mark.parametrize("case", [c for c in FAMILY_CASES if c.attentions], ids=str, indirect=True)
SOME_HYBRIDS = pytest.mark.parametrize(
    "case", [c for c in SOME_CASES if c.attentions], ids=str, indirect=True
)


@pytest.fixture(scope="module", params=FAMILY_CASES, ids=str)
def case(request: pytest.FixtureRequest) -> FamilyCase:
    return request.param


@pytest.fixture(scope="module")
def plain(case: FamilyCase) -> PreTrainedModel:
    """The model as transformers made it; no bridge has seen it."""
    return case.build()


@pytest.fixture(scope="module")
def eager(case: FamilyCase) -> PreTrainedModel:
    """The same, but its attention is told to compute its weights."""
    return case.build(attn_implementation="eager")


@pytest.fixture(scope="module")
def bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build())


@pytest.fixture(scope="module")
def half_bridge(case: FamilyCase) -> ModelBridge:
    return ModelBridge(case.build(torch.bfloat16))


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Callable[[float], float]:
    def note(error: float) -> float:
        record_property("error", error)
        return error

    return note


def padded_ids() -> tuple[Tensor, Tensor]:
    """Two rows, the first behind eleven pads."""
    ids = random_ids(1, 2, 30)
    mask = torch.ones_like(ids)
    ids[0, :11], mask[0, :11] = 96, 0
    return ids, mask


Change = Callable[[str, Tensor], Tensor]


def listen(
    case: FamilyCase,
    monkeypatch: pytest.MonkeyPatch,
    *,
    unclamped_from: int | None = None,
    edit: tuple[int, str] | None = None,
) -> list[dict[str, Tensor]]:
    """What the model's own scan receives from now on, mixer after mixer.

    From position `unclamped_from` on, dt is not clamped, as in decode steps. `edit` is which mixer, in order,
    and the hook whose tensor is tilted there: the same that `tilt` at the hook does, without the bridge.
    """
    received: list[dict[str, Tensor]] = []
    own = case.modeling.mamba2_chunk_scan

    def scan(
        hidden_states: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, **options: Any
    ) -> Tensor | tuple[Tensor, Tensor]:
        given = F.softplus(dt + options["dt_bias"].to(dt.dtype))
        final = given.clamp(*options["dt_limit"])
        if unclamped_from is not None:
            final[:, unclamped_from:] = given[:, unclamped_from:]
        terms = {"x": hidden_states, "B": B, "C": C, "dt": final}
        hook = edit[1] if edit and edit[0] == len(received) else ""
        name = hook.removeprefix("hook_")
        if name in terms:
            terms[name] = tilt(hook, terms[name])
        received.append({name: term.float() for name, term in terms.items()} | {"A": A})
        if hook in ("hook_decay", "hook_attention"):
            return textbook(**received[-1], D=options["D"], hook=hook)
        if edit is None and unclamped_from is None:
            return own(hidden_states, dt, A, B, C, **options)
        options |= {"dt_bias": None, "dt_softplus": False, "dt_limit": (0.0, float("inf"))}
        y = own(terms["x"], terms["dt"], A, terms["B"], terms["C"], **options)
        return tilt(hook, y) if hook == "hook_scan" else y

    monkeypatch.setattr(case.modeling, "mamba2_chunk_scan", scan)
    return received


def tilt(hook: str, tensor: Tensor) -> Tensor:
    """Scale by another factor at every index of the last two dimensions; in a matrix, of heads and keys."""
    dims = (1, -1) if hook in ("hook_decay", "hook_attention", "hook_pattern") else (-2, -1)
    for dim in dims:
        factors = torch.linspace(0.5, 1.5, tensor.shape[dim], dtype=tensor.dtype)
        tensor = tensor * factors.reshape([-1 if d == dim % tensor.ndim else 1 for d in range(tensor.ndim)])
    return tensor


def textbook(x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, hook: str) -> Tensor:
    """The scan's output by the formula in float64, with L or M tilted."""
    terms = SSDTerms.from_parts(x=x, dt=dt, A=A, B=B, C=C, D=D)
    L = reference.decay(terms)
    M = reference.content(terms) * (tilt(hook, L) if hook == "hook_decay" else L)
    M = tilt(hook, M) if hook == "hook_attention" else M
    return reference.output(terms, M).float().contiguous()


@torch.no_grad()
def logits_of(model: PreTrainedModel, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    return model(ids, attention_mask=mask, use_cache=False).logits


# Loads


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_loads_and_leaves_the_model_as_it_was(case: FamilyCase, dtype: torch.dtype) -> None:
    model, plain = case.build(dtype), case.build(dtype)
    keys = list(model.state_dict())
    bridge = ModelBridge(model)
    ids, mask = padded_ids()
    assert torch.equal(bridge.run_with_cache(ids)[0], logits_of(plain, ids))
    looked: set[str] = set()
    every = [(lambda name: True, lambda tensor, hook: looked.add(hook.name))]
    logits, _ = bridge.run_with_cache(ids, attention_mask=mask, fwd_hooks=every)
    assert torch.equal(logits, logits_of(plain, ids, mask))
    assert looked == set(bridge.hook_points)
    assert list(model.state_dict()) == keys
    assert all(
        torch.equal(a, b)
        for a, b in zip(model.state_dict().values(), plain.state_dict().values(), strict=True)
    )


@SOME
def test_loads_from_a_folder_in_half_precision(case: FamilyCase, tmp_path: Path) -> None:
    """Other than a model that is turned to it: some parameters and buffers stay in float32."""
    case.build().save_pretrained(tmp_path)
    model, plain = (AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16) for _ in range(2))
    ids, _ = padded_ids()
    bridge = ModelBridge(model)
    logits, cache = bridge.run_with_cache(ids)
    assert torch.equal(logits, logits_of(plain, ids))
    assert all(cache.faithfulness(layer) <= cache.tolerance(layer) for layer in case.mixers)
    bridge.model.save_pretrained(tmp_path / "again")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "again", dtype=torch.bfloat16)
    assert torch.equal(logits_of(again, ids), logits)


def norms_beside(case: FamilyCase, layer: int) -> set[str]:
    """The norms of a layer beside the one before its mixer."""
    if case.family == "zamba2":
        return {"attn_norm", "mlp_norm"} if layer in case.attentions else set()
    return {"mlp_norm"} if case.family in ("bamba", "granitemoehybrid", "falcon_h1") else set()


def test_loads_with_the_same_hooks_in_every_family(case: FamilyCase, bridge: ModelBridge) -> None:
    assert bridge.ssm_layers() == case.mixers
    assert bridge.attention_layers() == case.attentions
    in_mixers = {h for h in MIXER_HOOKS if case.has_norm or not h.startswith("inner_norm.")}
    expected = {"embed.hook_in", "embed.hook_out", "ln_final.hook_in", "ln_final.hook_out"}
    expected |= {"unembed.hook_in", "unembed.hook_out"}
    for layer in range(bridge.model.config.num_hidden_layers):
        block = {"hook_in", "hook_out", "norm.hook_in", "norm.hook_out"}
        block |= {f"mixer.{hook}" for hook in in_mixers if layer in case.mixers}
        block |= {f"attn.{hook}" for hook in ATTENTION_HOOKS if layer in case.attentions}
        block |= {f"{norm}.hook_{end}" for norm in norms_beside(case, layer) for end in ("in", "out")}
        expected |= {f"blocks.{layer}.{hook}" for hook in block}
    assert set(bridge.hook_points) == expected
    assert set(bridge.hook_aliases.values()) <= expected
    _, cache = bridge.run_with_cache(padded_ids()[0])
    assert set(cache) == expected


@SOME
def test_loads_what_a_copy_of_the_model_is_not(
    case: FamilyCase, bridge: ModelBridge, plain: PreTrainedModel
) -> None:
    ids, mask = padded_ids()
    duplicate = copy.deepcopy(bridge.model)
    _, cache = bridge.run_with_cache(ids)
    kept = {name: cache[name].shape for name in cache}
    assert torch.equal(logits_of(duplicate, ids, mask), logits_of(plain, ids, mask))
    assert {name: cache[name].shape for name in cache} == kept


# Terms exact


@pytest.mark.parametrize("precision", ["bridge", "half_bridge"])
def test_terms_are_what_the_models_scan_receives(
    case: FamilyCase,
    precision: str,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[float], float],
) -> None:
    bridge: ModelBridge = request.getfixturevalue(precision)
    received = listen(case, monkeypatch)
    ids, mask = padded_ids()
    for given in (None, mask):
        received.clear()
        _, cache = bridge.run_with_cache(ids, attention_mask=given)
        errors = [
            relative(getattr(cache.ssd_terms(layer), name), truth)
            for layer, terms in zip(case.mixers, received, strict=True)
            for name, truth in terms.items()
        ]
        assert report(max(errors)) == 0
        dt = torch.cat([terms["dt"] for terms in received])
        assert bool((dt.min() >= LIMIT[0] - 1e-2) == case.clamped)


# Faithfulness


@pytest.mark.parametrize("length", [1, 17, 80])
def test_faithfulness(
    case: FamilyCase, bridge: ModelBridge, length: int, report: Callable[[float], float]
) -> None:
    _, cache = bridge.run_with_cache(random_ids(length, 2, length))
    assert report(max(map(cache.faithfulness, case.mixers))) <= 5e-6
    for layer in case.mixers if case.has_norm else []:
        own = cache[f"blocks.{layer}.mixer.inner_norm.hook_in"]
        assert relative(by_the_whole_matrix(cache, layer).reshape(own.shape), own) <= 5e-6


def by_the_whole_matrix(cache: ActivationCache, layer: int) -> Tensor:
    """The scan's output, M·dt·x + D·x."""
    terms = cache.ssd_terms(layer)
    M = cache.compute_ssm_effective_attention(layer, include_dt_scaling=True)
    return torch.einsum("bhij,bjhp->bihp", M, terms.x) + terms.D[:, None] * terms.x


@SOME
def test_faithfulness_on_a_long_text(bridge: ModelBridge, report: Callable[[float], float]) -> None:
    _, cache = bridge.run_with_cache(random_ids(0, 1, 800))
    assert report(max(map(cache.faithfulness, bridge.ssm_layers()))) <= 1e-5


@SOME
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_faithfulness_in_half_precision(case: FamilyCase, dtype: torch.dtype) -> None:
    bridge = ModelBridge(case.build(dtype))
    ids, mask = padded_ids()
    _, cache = bridge.run_with_cache(ids, attention_mask=mask)
    for layer in case.mixers:
        # Without a norm, what can be compared has been rounded to the model's precision.
        expected = 5e-6 if case.has_norm else torch.finfo(dtype).eps
        assert cache.faithfulness(layer) <= min(expected, cache.tolerance(layer))
        terms = cache.ssd_terms(layer)
        assert {getattr(terms, name).dtype for name in TERMS} == {torch.float32}
        assert terms.cum_log_decay.dtype == torch.float64


# Edits


def test_edits_do_what_they_would_do_to_the_models_own_scan(
    case: FamilyCase, bridge: ModelBridge, plain: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, _ = padded_ids()
    untouched = logits_of(plain, ids)
    for name in SCAN_HOOKS:
        with monkeypatch.context() as patch:
            listen(case, patch, edit=(1, name))
            truth = logits_of(plain, ids)
        hooks = [
            (f"blocks.{case.mixers[1]}.mixer.{name}", lambda tensor, hook, name=name: tilt(name, tensor))
        ]
        edited = bridge.run_with_hooks(ids, fwd_hooks=hooks)
        assert relative(edited, truth) <= 1e-5, name
        assert relative(edited, untouched) > 1e-3, name
    assert torch.equal(bridge.run_with_hooks(ids), untouched)


@SOME
def test_edits_that_change_nothing_leave_the_logits(case: FamilyCase, bridge: ModelBridge) -> None:
    """Those of the scan one by one, as what one does could hide what another does."""
    ids, mask = padded_ids()
    plain = bridge.run_with_hooks(ids, attention_mask=mask)
    alone = [f"blocks.{case.mixers[0]}.mixer.{hook}" for hook in (*SCAN_HOOKS, "hook_log_decay")]
    others = [name for name in bridge.hook_points if not name.endswith((*SCAN_HOOKS, "hook_log_decay"))]
    for names in (*([name] for name in alone), others):
        hooks = [(name, lambda tensor, hook: tensor.clone()) for name in names]
        same = bridge.run_with_hooks(ids, attention_mask=mask, fwd_hooks=hooks)
        assert relative(same[mask.bool()], plain[mask.bool()]) <= 1e-5, names


@HYBRIDS
def test_edits_of_a_pattern_do_what_they_would_do_to_the_models_own(
    case: FamilyCase, bridge: ModelBridge, eager: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids, mask = padded_ids()
    own = case.modeling.eager_attention_forward
    calls = []

    def attend(module: Any, query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
        out, weights = own(module, query, key, value, *args, **options)
        calls.append(module)
        if len(calls) % len(case.attentions) == 0:
            value = value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)
            out = (tilt("hook_pattern", weights) @ value).transpose(1, 2)
        return out, weights

    monkeypatch.setattr(case.modeling, "eager_attention_forward", attend)
    layer = case.attentions[-1]
    name = f"blocks.{layer}.attn.hook_pattern"
    hooks = [(name, lambda pattern, hook: tilt("hook_pattern", pattern))]
    for given in (None, mask):
        truth = logits_of(eager, ids, given)
        edited, cache = bridge.run_with_cache(ids, attention_mask=given, fwd_hooks=hooks)
        untouched, before = bridge.run_with_cache(ids, attention_mask=given)
        real = mask.bool()
        assert relative(edited[real], truth[real]) <= 1e-5
        assert relative(edited[real], untouched[real]) > 1e-3
        assert torch.equal(cache[name], tilt("hook_pattern", softmax_attention(before.softmax_terms(layer))))


@SOME
def test_edits_hold_while_generating(case: FamilyCase, bridge: ModelBridge) -> None:
    """Each decode step goes on from what was edited: the whole equals one edited pass over the same text."""
    names = [f"blocks.{case.mixers[0]}.mixer.hook_x", f"blocks.{case.mixers[1]}.mixer.hook_B"]
    hooks: list[Any] = [(name, lambda tensor, hook: tensor * -0.5) for name in names]
    hooks += [(f"blocks.{layer}.attn.hook_pattern", lambda t, hook: t * 0.5) for layer in case.attentions[:1]]
    mixers = [bridge.blocks[layer].mixer.original_component for layer in case.mixers]
    limits = [mixer.time_step_limit for mixer in mixers]
    for mixer in mixers:
        mixer.time_step_limit = (0.0, float("inf"))
    try:
        ids, cache = bridge.generate(
            random_ids(2, 2, 9), max_new_tokens=NEW, do_sample=False, with_cache=True, fwd_hooks=hooks
        )
        _, whole = bridge.run_with_cache(ids, fwd_hooks=hooks)
    finally:
        for mixer, limit in zip(mixers, limits, strict=True):
            mixer.time_step_limit = limit
    for hook in bridge.hook_points:
        if hook.startswith("blocks.") and hook.endswith(("hook_scan", "hook_pattern", "hook_out")):
            assert relative(cache[hook], whole[hook]) <= 1e-5, hook


# Padding


@pytest.fixture(scope="module")
def bridge_without_projection_bias(case: FamilyCase) -> ModelBridge:
    """A bias of `in_proj` is what the convolution sees of a pad; the model itself then reads otherwise."""
    model = case.build()
    for name, parameter in model.named_parameters():
        if name.endswith("in_proj.bias"):
            torch.nn.init.zeros_(parameter)
    return ModelBridge(model)


def test_padding_on_the_left_leaves_what_is_read(
    case: FamilyCase, bridge_without_projection_bias: ModelBridge
) -> None:
    bridge = bridge_without_projection_bias
    ids, paddings = random_ids(0, 4, 25), (0, 1, 2, 17)
    mask = torch.ones_like(ids)
    for row, padding in enumerate(paddings):
        ids[row, :padding], mask[row, :padding] = 96, 0
    logits, batch = bridge.run_with_cache(ids, attention_mask=mask)
    ways = product(case.mixers, (False, True))  # without dt and with it
    matrices = {way: batch.compute_ssm_effective_attention(*way) for way in ways}
    assert max(map(batch.faithfulness, case.mixers)) <= 5e-6
    for row, padding in enumerate(paddings):
        here = slice(row, row + 1)
        truth, alone = bridge.run_with_cache(ids[here, padding:])
        assert relative(logits[here, padding:], truth) <= 1e-5
        for layer in case.mixers:
            found, expected = batch.ssd_terms(layer), alone.ssd_terms(layer)
            for name in TERMS:
                assert relative(getattr(found, name)[here, padding:], getattr(expected, name)) <= 1e-5, name
        for way, M in matrices.items():
            check_padded(M[here], alone.compute_ssm_effective_attention(*way), padding)
        for name in (f"blocks.{layer}.attn.hook_pattern" for layer in case.attentions):
            check_padded(batch[name][here], alone[name], padding)


def check_padded(M: Tensor, truth: Tensor, padding: int) -> None:
    """Of the tokens, a matrix is that of the text alone; pads neither read nor are read."""
    assert relative(M[..., padding:, padding:], truth) <= 1e-5
    assert not M[..., :padding].any()
    assert not M[..., :padding, :].any()


def test_padding_behind_a_projection_bias_is_read_as_the_model_reads_it(
    case: FamilyCase, bridge: ModelBridge, plain: PreTrainedModel
) -> None:
    ids, mask = padded_ids()
    truth = logits_of(plain, ids, mask)
    alone = logits_of(plain, ids[:1, 11:])
    biased = any(name.endswith("in_proj.bias") for name in plain.state_dict())
    assert (relative(truth[:1, 11:], alone) > 1e-3) == biased
    logits, cache = bridge.run_with_cache(ids, attention_mask=mask)
    assert torch.equal(logits, truth)
    assert max(map(cache.faithfulness, case.mixers)) <= 5e-6


@SOME
def test_padding_while_generating(bridge_without_projection_bias: ModelBridge) -> None:
    bridge = bridge_without_projection_bias
    ids, mask = padded_ids()
    together = bridge.generate(ids, attention_mask=mask, max_new_tokens=NEW, do_sample=False)
    alone = bridge.generate(ids[:1, 11:], max_new_tokens=NEW, do_sample=False)
    assert torch.equal(together[:1, 11:], alone)


@SOME_HYBRIDS
def test_padding_of_several_continuations(case: FamilyCase, bridge: ModelBridge) -> None:
    ids, mask = padded_ids()
    torch.manual_seed(0)
    continued, cache = bridge.generate(
        ids, attention_mask=mask, max_new_tokens=2, do_sample=True, num_return_sequences=2, with_cache=True
    )
    assert torch.equal(continued[:, :30], ids.repeat_interleave(2, dim=0))
    for layer in case.attentions:
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        assert not pattern[:2, ..., :11].any()
        assert (pattern[2:, :, 0, 0] == 1).all()


# Decode


def test_decode_gives_what_one_pass_over_the_text_gives(
    case: FamilyCase,
    bridge: ModelBridge,
    plain: PreTrainedModel,
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[float], float],
) -> None:
    """Where the clamp binds, the pass is one whose scan leaves dt as it is behind the prompt."""
    prompt, mask = padded_ids()
    length = prompt.shape[1]
    greedy = {"max_new_tokens": NEW, "do_sample": False, "attention_mask": mask}
    ids, stepped = bridge.generate(prompt, with_cache=True, **greedy)
    assert torch.equal(ids, plain.generate(prompt, **greedy))
    received = listen(case, monkeypatch, unclamped_from=length)
    mask = F.pad(mask, (0, NEW), value=1)
    _, whole = bridge.run_with_cache(ids, attention_mask=mask)
    real = mask.bool()
    errors = []
    for layer, truth in zip(case.mixers, received, strict=True):
        terms = stepped.ssd_terms(layer)
        errors += [relative(getattr(terms, name), truth[name]) for name in TERMS]
        assert stepped.faithfulness(layer) <= 1e-5
        hooks = ("hook_in", "in_proj.hook_out", "hook_scan", "out_proj.hook_in", "hook_out")
        for hook in (f"blocks.{layer}.mixer.{hook}" for hook in hooks):
            errors.append(relative(stepped[hook][real], whole[hook][real]))
    for layer in case.attentions:
        for hook in (f"blocks.{layer}.attn.{hook}" for hook in ("hook_in", "hook_out")):
            errors.append(relative(stepped[hook][real], whole[hook][real]))
        pattern = f"blocks.{layer}.attn.hook_pattern"
        errors.append(relative(stepped[pattern], whole[pattern]))
    for layer in range(len(bridge.blocks)):
        hook = f"blocks.{layer}.hook_out"
        errors.append(relative(stepped[hook][real], whole[hook][real]))
    logits = stepped["unembed.hook_out"][:, -NEW - 1 :]
    errors.append(relative(logits, whole["unembed.hook_out"][:, -NEW - 1 :]))
    assert report(max(errors)) <= 1e-5
    # Of Nemotron-H there is one more, about its configuration.
    notes = [note for note in stepped.notes if "generated" in note]
    if case.clamped:
        assert [note.partition(":")[0] for note in notes] == [f"blocks.{i}.mixer" for i in case.mixers]
        assert f"clamps dt to [{LIMIT[0]:g}, " in notes[0]
        assert f"the first being {length}" in notes[0]
        assert float(received[0]["dt"][:, length:].min()) < LIMIT[0]
    else:
        assert stepped.notes == []


def test_terms_that_a_configuration_did_not_ask_for_are_told(case: FamilyCase, bridge: ModelBridge) -> None:
    """Nemotron-H's mixers clamp dt to time_step_min at least, whatever time_step_limit says."""
    _, cache = bridge.run_with_cache(random_ids(0, 1, 30))
    if case.family == "nemotron_h" and case.clamped:
        (note,) = cache.notes
        assert note.startswith("blocks.0.mixer and 1 more: transformers clamps dt to [0.2, inf]")
        assert "configuration says [0, 0.1]" in note
        assert note.endswith("What is shown is what this code computes.")
    else:
        assert cache.notes == []


@SOME
def test_decode_in_half_precision(case: FamilyCase, half_bridge: ModelBridge) -> None:
    """Here without pads."""
    prompt = random_ids(1, 2, 30)
    greedy = {"max_new_tokens": NEW, "do_sample": False}
    ids, cache = half_bridge.generate(prompt, with_cache=True, **greedy)
    assert torch.equal(ids, case.build(torch.bfloat16).generate(prompt, **greedy))
    for layer in case.mixers:
        assert cache.faithfulness(layer) <= cache.tolerance(layer)


@SOME
def test_decode_states_are_those_of_the_models_cache(case: FamilyCase, bridge: ModelBridge) -> None:
    prompt = random_ids(3, 2, 21)
    ids, cache = bridge.generate(prompt, max_new_tokens=2, do_sample=False, with_cache=True)
    state = DynamicCache(config=bridge.model.config)
    with torch.no_grad():
        bridge.step(ids[:, :21], 0, state)
        check_states(bridge, cache, state, 20)
        for position in (21, 22):
            bridge.step(ids[:, : position + 1], position, state)
        check_states(bridge, cache, state, 22)


def check_states(bridge: ModelBridge, cache: ActivationCache, state: DynamicCache, position: int) -> None:
    for layer in bridge.ssm_layers():
        held = state.layers[layer].recurrent_states
        held = held[0] if isinstance(held, dict) else held
        mixer = bridge.blocks[layer].mixer
        assert relative(mixer.compute_ssm_state(cache, layer, time_step=position), held) <= 1e-5
        assert relative(mixer.compute_ssm_state(cache, layer)[:, :, position], held) <= 1e-5


# Pieces, and one mixer alone


@SOME
@pytest.mark.parametrize(("piece", "length"), [(2, 9), (16, 36)])
def test_pieces_give_what_one_pass_gives(
    case: FamilyCase, bridge: ModelBridge, piece: int, length: int
) -> None:
    ids = random_ids(4, 2, length)
    logits, whole = bridge.run_with_cache(ids)
    in_pieces, cache = bridge.run_with_cache(ids, piece_tokens=piece)
    assert relative(in_pieces, logits) <= 1e-5
    for layer in case.mixers:
        found, expected = cache.ssd_terms(layer), whole.ssd_terms(layer)
        for name in (*TERMS, "cum_log_decay"):
            assert relative(getattr(found, name), getattr(expected, name)) <= 1e-5
        assert cache.faithfulness(layer) <= 5e-6
    for layer in case.attentions:
        name = f"blocks.{layer}.attn.hook_pattern"
        assert relative(cache[name], whole[name]) <= 1e-5


@SOME
def test_one_mixer_alone_does_what_it_did_in_the_model(case: FamilyCase, bridge: ModelBridge) -> None:
    ids, mask = padded_ids()
    _, whole = bridge.run_with_cache(ids, attention_mask=mask)
    for layer in case.mixers:
        given = whole[f"blocks.{layer}.mixer.hook_in"]
        out, alone = bridge.run_mixer(layer, given, attention_mask=mask)
        assert torch.equal(out, whole[f"blocks.{layer}.mixer.hook_out"])
        assert alone.faithfulness(layer) == whole.faithfulness(layer)
        in_pieces, _ = bridge.run_mixer(layer, given[1:], piece_tokens=8)
        assert relative(in_pieces, out[1:]) <= 1e-5


# Attention


def give(hidden: Tensor, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args, kwargs | {"hidden_states": hidden}


@HYBRIDS
def test_pattern_is_the_models_own(case: FamilyCase, bridge: ModelBridge, eager: PreTrainedModel) -> None:
    ids, mask = padded_ids()
    layers = [module for module in eager.modules() if hasattr(module, "q_proj")]
    for given in (None, mask):
        _, cache = bridge.run_with_cache(ids, attention_mask=given)
        # Each of its layers is given what the other's was, so that rounding before it does not count.
        handles = [
            module.register_forward_pre_hook(
                partial(give, cache[f"blocks.{layer}.attn.hook_in"]), with_kwargs=True
            )
            for layer, module in zip(case.attentions, layers, strict=True)
        ]
        check_patterns(case, cache, eager, ids, given)
        for handle in handles:
            handle.remove()


@SOME_HYBRIDS
def test_pattern_of_eager_attention(case: FamilyCase, eager: PreTrainedModel) -> None:
    bridge = ModelBridge(case.build(attn_implementation="eager"))
    ids, mask = padded_ids()
    for given in (None, mask):
        logits, cache = bridge.run_with_cache(ids, attention_mask=given)
        assert torch.equal(logits, check_patterns(case, cache, eager, ids, given))


@torch.no_grad()
def check_patterns(
    case: FamilyCase, cache: ActivationCache, eager: PreTrainedModel, ids: Tensor, mask: Tensor | None
) -> Tensor:
    """Patterns are the weights that the model computes; its logits."""
    out = eager(ids, attention_mask=mask, output_attentions=True, use_cache=False)
    rows = (torch.ones_like(ids) if mask is None else mask)[:, None, :, None]
    for layer, weights in zip(case.attentions, out.attentions, strict=True):
        pattern = cache[f"blocks.{layer}.attn.hook_pattern"]
        assert relative(pattern, weights * rows) <= 1e-6
        assert torch.equal(softmax_attention(cache.softmax_terms(layer)), pattern)
        assert float(weights[:, :, -1].max(dim=-1).values.mean()) > 3 / ids.shape[1]  # not flat
    return out.logits


# Offload


@SOME
def test_offload(case: FamilyCase, bridge: ModelBridge, half_bridge: ModelBridge, tmp_path: Path) -> None:
    """To the disk in full precision, or to memory in half."""
    if case.clamped:
        model, plain = case.build(), bridge
        disk_offload(model, str(tmp_path), execution_device=torch.device("cpu"))
    else:
        model, plain = case.build(torch.bfloat16), half_bridge
        cpu_offload(model, execution_device=torch.device("cpu"))
    bridge = ModelBridge(model)
    assert bridge.blocks[case.mixers[0]].mixer.A_log.device.type == "meta"
    ids, mask = padded_ids()
    logits, cache = bridge.run_with_cache(ids, attention_mask=mask)
    truth, expected = plain.run_with_cache(ids, attention_mask=mask)
    assert torch.equal(logits, truth)
    for layer in case.mixers:
        found = bridge.blocks[layer].mixer.compute_effective_attention(cache, layer)
        assert torch.equal(found, expected.compute_ssm_effective_attention(layer))
        assert cache.faithfulness(layer) == expected.faithfulness(layer)
    for layer in case.attentions:
        name = f"blocks.{layer}.attn.hook_pattern"
        assert torch.equal(cache[name], expected[name])
    halves = [
        (name, lambda t, hook: t * 0.5)
        for name in bridge.hook_points
        if name.endswith(("hook_attention", "hook_pattern"))
    ]
    assert torch.equal(
        bridge.run_with_hooks(ids, fwd_hooks=halves), plain.run_with_hooks(ids, fwd_hooks=halves)
    )
    continued, cache = bridge.generate(ids, max_new_tokens=2, do_sample=False, with_cache=True)
    assert torch.equal(continued, plain.generate(ids, max_new_tokens=2, do_sample=False))
    assert all(cache.faithfulness(layer) <= cache.tolerance(layer) for layer in case.mixers)
    assert bridge.blocks[case.mixers[0]].mixer.A_log.device.type == "meta"


# Families that cannot be read


def tiny(model_type: str, **options: Any) -> PreTrainedModel:
    common = {"vocab_size": 97, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **(common | options)))


@pytest.mark.parametrize(
    ("model_type", "options", "nature", "nearest"),
    [
        (
            "granitemoehybrid",
            {
                "layer_types": ["attention", "attention"],
                "num_attention_heads": 4,
                "num_local_experts": 0,
                "mamba_n_heads": 8,
            },
            "'granitemoehybrid' can hold Mamba-2 mixers, but none of its 2 layers does",
            "granitemoehybrid",
        ),
        (
            "qwen3_next",
            {
                "num_attention_heads": 4,
                "num_key_value_heads": 2,
                "num_experts": 2,
                "num_experts_per_tok": 1,
                "moe_intermediate_size": 8,
                "shared_expert_intermediate_size": 8,
                "linear_num_key_heads": 2,
                "linear_num_value_heads": 4,
                "linear_key_head_dim": 8,
                "linear_value_head_dim": 8,
            },
            "gated delta nets",
            "granitemoehybrid",
        ),
        ("mamba", {}, "Mamba-1", "mamba2"),
        ("falcon_mamba", {}, "Mamba-1", "falcon_h1"),
        ("llama", {"num_attention_heads": 4}, "It is not known to hold Mamba-2 mixers", "mamba2"),
    ],
)
def test_unsupported_models_are_told_what_they_are_and_what_is_nearest(
    model_type: str, options: dict[str, Any], nature: str, nearest: str
) -> None:
    model = tiny(model_type, **options)
    with pytest.raises(ValueError, match=nature) as error:
        ModelBridge(model)
    message = str(error.value)
    assert type(model).__name__ in message
    assert f"type {model_type!r}" in message
    assert SUPPORTED[nearest].example in message
    assert all(name in message for name in SUPPORTED)


def test_every_supported_family_has_a_case() -> None:
    assert {case.family for case in FAMILY_CASES} == set(SUPPORTED)


def test_another_attention_function_can_be_set_after_wrapping() -> None:
    """Only the layers' copy of the configuration is observed; the model's own says what is called."""
    case = next(case for case in FAMILY_CASES if case.family == "bamba")
    ids = random_ids(0, 1, 20)
    bridge = ModelBridge(case.build())
    name = f"blocks.{case.attentions[0]}.attn.hook_pattern"
    _, before = bridge.run_with_cache(ids, names_filter=name)
    bridge.model.set_attn_implementation("eager")
    eager, after = bridge.run_with_cache(ids, names_filter=name)
    assert torch.equal(eager, case.build(attn_implementation="eager")(ids).logits)
    assert relative(after[name], before[name]) <= 1e-6
