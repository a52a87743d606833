"""Looking changes nothing: logits, weights, classes."""

import copy

import pytest
import torch

from components.bridge import ModelBridge, ssd_inputs
from tests.tiny import random_ids, tiny_model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("length", [1, 2, 37])
def test_logits_are_bit_for_bit_those_of_the_model(dtype: torch.dtype, length: int) -> None:
    model = tiny_model(dtype=dtype)
    plain = copy.deepcopy(model)
    bridge = ModelBridge(model)
    ids = random_ids(0, 2, length)
    with torch.no_grad():
        truth = plain(ids).logits
    assert torch.equal(bridge.run_with_cache(ids)[0], truth)
    assert torch.equal(bridge.run_with_cache(ids, names_filter=ssd_inputs)[0], truth)
    names = list(bridge.hook_points)
    seen = set()

    def look(tensor: torch.Tensor, hook: object) -> None:
        seen.add(hook.name)

    assert torch.equal(bridge.run_with_hooks(ids, fwd_hooks=[(name, look) for name in names]), truth)
    assert seen == set(names)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_left_padded_batch_is_bit_for_bit_the_models(dtype: torch.dtype) -> None:
    model = tiny_model(dtype=dtype)
    plain = copy.deepcopy(model)
    ids = random_ids(0, 2, 20)
    mask = torch.ones_like(ids)
    mask[0, :9] = 0
    with torch.no_grad():
        truth = plain(ids, attention_mask=mask).logits
    logits, _ = ModelBridge(model).run_with_cache(ids, attention_mask=mask)
    assert torch.equal(logits, truth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decode_steps_are_bit_for_bit_the_models(dtype: torch.dtype) -> None:
    model = tiny_model(dtype=dtype)
    plain = copy.deepcopy(model)
    ids = random_ids(0, 1, 12)
    greedy = {"max_new_tokens": 8, "do_sample": False}
    truth = plain.generate(ids, output_logits=True, return_dict_in_generate=True, **greedy)
    continued, cache = ModelBridge(model).generate(ids, with_cache=True, **greedy)
    assert torch.equal(continued, truth.sequences)
    # generate() keeps one logit row a step; the cache has one more, for the last id.
    logits = cache["unembed.hook_out"].float()
    assert torch.equal(logits[:, :8], torch.stack(truth.logits, dim=1).float())


def test_state_dict_and_classes_stay() -> None:
    model = tiny_model()
    keys = list(model.state_dict())
    classes = [type(module) for module in model.modules()]
    forwards = [module.forward.__func__ for module in model.modules()]
    bridge = ModelBridge(model)
    bridge.run_with_cache(random_ids(0, 1, 5))
    assert list(model.state_dict()) == keys
    assert [type(module) for module in model.modules()] == classes
    assert [module.forward.__func__ for module in model.modules()] == forwards


def test_a_model_used_without_the_bridge_is_not_recorded() -> None:
    bridge = ModelBridge(tiny_model())
    _, cache = bridge.run_with_cache(random_ids(0, 1, 5))
    before = len(cache)
    bridge.model(random_ids(1, 1, 5))
    assert len(cache) == before
    assert cache["embed.hook_out"].shape[1] == 5
