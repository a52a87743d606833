"""Components by themselves: wrapping, delegation, aliases, names."""

import inspect
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from components.bridge import (
    DepthwiseConv1DBridge,
    GatedRMSNormBridge,
    GeneralizedComponent,
    ModelBridge,
    SSM2MixerBridge,
)
from components.bridge.hook_point import Run, running
from tests.tiny import random_ids, tiny_model


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return ModelBridge(tiny_model())


def test_signature_is_the_one_users_know() -> None:
    parameters = inspect.signature(SSM2MixerBridge).parameters
    assert {name: p.default for name, p in parameters.items()} == {
        "name": inspect.Parameter.empty,
        "config": None,
        "submodules": None,
        "conversion_rule": None,
        "hook_alias_overrides": None,
        "optional": False,
    }


@pytest.mark.parametrize(
    "kind", [GeneralizedComponent, SSM2MixerBridge, DepthwiseConv1DBridge, GatedRMSNormBridge]
)
def test_a_component_that_wraps_nothing_says_its_name(kind: type[GeneralizedComponent]) -> None:
    component = kind("lonely")
    assert component.original_component is None
    with pytest.raises(RuntimeError, match="'lonely' wraps nothing"):
        component(torch.ones(1))
    with pytest.raises(RuntimeError, match="'lonely' wraps nothing"):
        _ = component.A_log


def test_parameters_are_those_of_the_module(bridge: ModelBridge) -> None:
    mixer = bridge.blocks[1].mixer
    wrapped = bridge.model.backbone.layers[1].mixer
    assert mixer.original_component is wrapped
    for name in ("A_log", "dt_bias", "D"):
        assert getattr(mixer, name) is getattr(wrapped, name)
        assert getattr(mixer, name).shape == (8,)
    assert mixer.inner_norm.original_component is wrapped.norm
    assert mixer.conv1d.weight is wrapped.conv1d.weight
    with pytest.raises(AttributeError, match="no_such_thing"):
        _ = mixer.no_such_thing


def test_aliases_lead_to_their_hooks(bridge: ModelBridge) -> None:
    mixer = bridge.blocks[0].mixer
    assert mixer.hook_aliases == {
        "hook_conv": "conv1d.hook_out",
        "hook_in_proj": "in_proj.hook_out",
        "hook_inner_norm": "inner_norm.hook_out",
        "hook_ssm_out": "hook_out",
    }
    assert mixer.hook_conv is mixer.conv1d.hook_out
    assert mixer.hook_ssm_out is mixer.hook_out
    _, cache = bridge.run_with_cache(random_ids(0, 1, 5))
    assert torch.equal(cache["blocks.0.mixer.hook_conv"], cache["blocks.0.mixer.conv1d.hook_out"])
    assert "blocks.0.mixer.hook_ssm_out" in cache
    other = SSM2MixerBridge("mixer", hook_alias_overrides={"hook_y": "inner_norm.hook_in"})
    assert other.hook_y is other.inner_norm.hook_in


def test_every_promised_hook_exists(bridge: ModelBridge) -> None:
    mixer = [
        *("hook_in", "hook_out", "in_proj.hook_in", "in_proj.hook_out", "conv1d.hook_in", "conv1d.hook_out"),
        *("inner_norm.hook_in", "inner_norm.hook_gate", "inner_norm.hook_out", "out_proj.hook_in"),
        *("out_proj.hook_out", "hook_x", "hook_B", "hook_C", "hook_dt", "hook_decay", "hook_attention"),
        "hook_scan",
    ]
    block = ["hook_in", "hook_out", "norm.hook_out", *(f"mixer.{name}" for name in mixer)]
    promised = {"embed.hook_out", "ln_final.hook_out", "unembed.hook_out"}
    promised |= {f"blocks.{i}.{name}" for i in range(2) for name in block}
    assert promised <= set(bridge.hook_points)
    _, cache = bridge.run_with_cache(random_ids(0, 1, 5))
    assert promised <= set(cache)
    for name in promised:
        assert cache[name].shape[0] == 1


@pytest.mark.parametrize("length", [1, 2, 9])
def test_convolution_hooks_fire_though_the_mixer_never_calls_the_module(
    bridge: ModelBridge, length: int
) -> None:
    shapes = {}

    def look(tensor: Tensor, hook: object) -> None:
        shapes[hook.name] = tuple(tensor.shape)

    names = ["blocks.0.mixer.conv1d.hook_in", "blocks.0.mixer.conv1d.hook_out"]
    bridge.run_with_hooks(random_ids(0, 2, length), fwd_hooks=[(name, look) for name in names])
    assert shapes == {names[0]: (2, 96, length), names[1]: (2, 96, length + 3)}


def test_a_component_wraps_another_module_and_lets_go_of_the_first() -> None:
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    component = GeneralizedComponent("layer")
    component.set_original_component(first)
    component.set_original_component(second)
    assert not first._forward_hooks
    assert len(second._forward_hooks) == 1
    x = torch.ones(1, 2)
    assert torch.equal(component(x), second(x))


def test_a_missing_submodule_is_named_unless_optional() -> None:
    part = GeneralizedComponent("missing")
    with pytest.raises(ValueError, match="Linear has no module 'missing', which 'layer' needs"):
        GeneralizedComponent("layer", submodules={"part": part}).set_original_component(nn.Linear(2, 2))
    part.optional = True
    component = GeneralizedComponent("layer", submodules={"part": part})
    component.set_original_component(nn.Linear(2, 2))
    assert component.real_components == {}


def test_conversion_rule_shows_hooks_another_layout() -> None:
    class Transposed:
        def convert(self, tensor: Tensor) -> Tensor:
            return tensor.transpose(0, 1)

        def revert(self, tensor: Tensor) -> Tensor:
            return tensor.transpose(0, 1)

    component = GeneralizedComponent("layer", conversion_rule=Transposed())
    component.set_original_component(nn.Identity())
    shown = []

    def edit(tensor: Tensor, hook: object) -> Tensor:
        shown.append(tuple(tensor.shape))
        return torch.cat([tensor[:1] * 0, tensor[1:]])

    points = {point.name: point for _, point in component.hook_points()}
    with running(Run(points, {"layer.hook_out": [edit]}, set())):
        out = component(torch.ones(2, 7))
    assert shown == [(7, 2)]
    assert torch.equal(out[:, 0], torch.zeros(2))
    assert torch.equal(out[:, 1:], torch.ones(2, 6))


def test_another_kind_of_model_is_refused_by_name(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=11
    )
    with pytest.raises(
        ValueError, match=r"LlamaForCausalLM cannot be read.*type 'llama'.*Nearest.*Supported"
    ):
        ModelBridge(LlamaForCausalLM(config))


def test_a_hook_name_that_does_not_exist_is_answered_with_the_nearest(bridge: ModelBridge) -> None:
    with pytest.raises(
        ValueError, match=r"no hook 'blocks.0.mixer.hook_atention'.*blocks.0.mixer.hook_attention"
    ):
        bridge.run_with_hooks([1, 2], fwd_hooks=[("blocks.0.mixer.hook_atention", lambda t, hook: None)])
    with pytest.raises(ValueError, match="no hook"):
        bridge.run_with_cache([1, 2], names_filter=["blocks.9.hook_in"])


def test_an_edit_of_another_shape_is_refused(bridge: ModelBridge) -> None:
    with pytest.raises(ValueError, match=r"'blocks.0.mixer.hook_dt' returned \(1, 2, 7\).*\(1, 2, 8\)"):
        bridge.run_with_hooks([1, 2], fwd_hooks=[("blocks.0.mixer.hook_dt", lambda t, hook: t[..., :7])])


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([[97]], "between 0 and 96"),
        ([[-1]], "between 0 and 96"),
        ([[]], "at least one id"),
        ([], "at least one id"),
    ],
)
def test_bad_ids_are_refused(bridge: ModelBridge, ids: list[object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        bridge.run_with_cache(torch.tensor(ids, dtype=torch.int64))
