"""What a cache holds, what it says when something is missing."""

import pytest
import torch

from components.bridge import ModelBridge, matrix_inputs, ssd_inputs
from components.ssd import Place
from tests.tiny import random_ids, tiny_model


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model())


def test_missing_entries_are_named(bridge: ModelBridge) -> None:
    ids = random_ids(0, 1, 5)
    _, cache = bridge.run_with_cache(ids, names_filter="blocks.0.mixer.in_proj.hook_out")
    mixer = bridge.blocks[1].mixer
    for compute in (
        lambda: mixer.compute_effective_attention(cache, 1),
        lambda: mixer.compute_ssm_state(cache, 1),
        lambda: cache.ssd_terms(1),
        lambda: cache.compute_ssm_effective_attention(),
    ):
        with pytest.raises(RuntimeError, match=r"blocks\.1\.mixer\.in_proj\.hook_out"):
            compute()
    with pytest.raises(RuntimeError, match=r"blocks\.0\.mixer\.hook_scan"):
        cache.faithfulness(0)
    with pytest.raises(KeyError, match=r"blocks\.0\.hook_in"):
        cache["blocks.0.hook_in"]
    with pytest.raises(IndexError, match="Layer 7 holds no Mamba-2 mixer; these do: 0, 1"):
        cache.ssd_terms(7)


def test_names_filter_keeps_what_it_names(bridge: ModelBridge) -> None:
    ids = random_ids(0, 1, 5)
    _, one = bridge.run_with_cache(ids, names_filter="ln_final.hook_out")
    assert list(one) == ["ln_final.hook_out"]
    _, two = bridge.run_with_cache(ids, names_filter=["blocks.0.mixer.hook_ssm_out", "embed.hook_out"])
    assert set(two) == {"blocks.0.mixer.hook_out", "embed.hook_out"}
    _, page = bridge.run_with_cache(ids, names_filter=ssd_inputs)
    assert max(page.faithfulness(layer) for layer in bridge.ssm_layers()) <= 5e-6
    assert "blocks.0.hook_in" not in page


@pytest.mark.parametrize("length", [1, 3, 17])
def test_a_run_without_x_gives_the_same_matrices(bridge: ModelBridge, length: int) -> None:
    ids = random_ids(0, 2, length)
    mask = torch.ones_like(ids)
    mask[0, : length // 2] = 0
    _, whole = bridge.run_with_cache(ids, attention_mask=mask)
    _, cache = bridge.run_with_cache(ids, attention_mask=mask, names_filter=matrix_inputs)
    for layer in bridge.ssm_layers():
        for name in ("hook_B", "hook_C", "hook_dt", "hook_decay", "hook_attention"):
            hook = f"blocks.{layer}.mixer.{name}"
            assert torch.equal(cache[hook], whole[hook])
        assert cache.ssd_terms(layer, with_x=False).x.shape == (2, length, 8, 0)
    assert torch.equal(
        cache.compute_ssm_effective_attention(include_dt_scaling=True),
        whole.compute_ssm_effective_attention(include_dt_scaling=True),
    )


def test_a_run_without_x_says_that_it_has_none(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(random_ids(0, 1, 5), names_filter=matrix_inputs)
    assert "blocks.0.mixer.hook_x" not in cache
    with pytest.raises(KeyError, match=r"blocks\.0\.mixer\.hook_x"):
        cache["blocks.0.mixer.hook_x"]
    for compute in (lambda: cache.ssd_terms(0), lambda: cache.faithfulness(0)):
        with pytest.raises(RuntimeError, match=r"blocks\.0\.mixer\.hook_x"):
            compute()


def test_one_mixer_alone_does_what_it_did_in_the_model(bridge: ModelBridge) -> None:
    ids = random_ids(0, 2, 9)
    mask = torch.ones_like(ids)
    mask[0, :4] = 0
    _, whole = bridge.run_with_cache(ids, attention_mask=mask)
    out, alone = bridge.run_mixer(1, whole["blocks.1.mixer.hook_in"], attention_mask=mask)
    assert torch.equal(out, whole["blocks.1.mixer.hook_out"])
    assert torch.equal(alone["blocks.1.mixer.hook_scan"], whole["blocks.1.mixer.hook_scan"])
    assert alone.faithfulness(1) == whole.faithfulness(1) <= 5e-6
    assert not [name for name in alone if not name.startswith("blocks.1.mixer.")]


def test_layers_count_from_the_end_too(bridge: ModelBridge) -> None:
    _, whole = bridge.run_with_cache(random_ids(0, 1, 9))
    last = len(bridge.blocks) - 1
    given = whole[f"blocks.{last}.mixer.hook_in"]
    seen: list[str] = []
    hooks = [(f"blocks.{last}.mixer.hook_dt", lambda tensor, hook: seen.append(hook.name))]
    out, alone = bridge.run_mixer(-1, given, fwd_hooks=hooks)
    assert torch.equal(out, bridge.run_mixer(last, given)[0])
    assert alone.terms(Place(last)).length == 9
    assert seen == [f"blocks.{last}.mixer.hook_dt"]
    with pytest.raises(IndexError):
        bridge.run_mixer(last + 1, given)


@pytest.mark.parametrize("kind", ["softmax", "mamba"])
def test_a_kind_that_a_layer_lacks_is_told(bridge: ModelBridge, kind: str) -> None:
    _, cache = bridge.run_with_cache(random_ids(0, 1, 4))
    with pytest.raises(IndexError, match=f"Layer 1 holds no heads of kind '{kind}'; it holds: mamba2"):
        cache.terms(Place(1, kind))


def test_parameters_put_in_the_place_of_others_are_read(bridge: ModelBridge) -> None:
    ids = random_ids(0, 1, 9)
    mixer = bridge.blocks[0].mixer.original_component
    _, before = bridge.run_with_cache(ids)
    kept = mixer.dt_bias
    mixer.dt_bias = torch.nn.Parameter(kept.detach() + 1)
    try:
        _, after = bridge.run_with_cache(ids)
        assert not torch.equal(after["blocks.0.mixer.hook_dt"], before["blocks.0.mixer.hook_dt"])
        assert after.faithfulness(0) <= 5e-6
    finally:
        mixer.dt_bias = kept


def test_all_layers_are_stacked(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(random_ids(0, 2, 9))
    every = cache.compute_ssm_effective_attention()
    assert every.shape == (2, 2, 8, 9, 9)
    scaled = cache.compute_ssm_effective_attention(1, include_dt_scaling=True)
    assert torch.equal(every[1], cache["blocks.1.mixer.hook_attention"])
    dt = cache["blocks.1.mixer.hook_dt"].transpose(1, 2)[:, :, None]
    torch.testing.assert_close(scaled, every[1] * dt, rtol=1e-5, atol=1e-6)


def test_states_after_each_position_and_after_one(bridge: ModelBridge) -> None:
    _, cache = bridge.run_with_cache(random_ids(0, 2, 9))
    mixer = bridge.blocks[0].mixer
    states = mixer.compute_ssm_state(cache, 0)
    assert states.shape == (2, 8, 9, 8, 8)
    torch.testing.assert_close(mixer.compute_ssm_state(cache, 0, time_step=4), states[:, :, 4])
    terms = cache.ssd_terms(0)
    C = terms.C.repeat_interleave(4, dim=2)
    y = torch.einsum("bhipn,bihn->bihp", states, C) + terms.D[:, None] * terms.x
    torch.testing.assert_close(y, cache["blocks.0.mixer.hook_scan"], rtol=1e-4, atol=1e-4)
