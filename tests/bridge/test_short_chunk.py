"""A text shorter than a chunk runs in a shorter one: bit for bit the model's logits, and nothing stays."""

import copy
import platform
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from components.bridge import ModelBridge, matrix_inputs, short_chunk
from tests.families import FAMILY_CASES, FamilyCase
from tests.tiny import random_ids, tiny_model

CHUNK = 256  # as in most models
# As the families call them. Layers and heads are few: a chunk has all its pairs of positions in each.
SIZES: dict[str, Any] = (
    {"num_hidden_layers": 2, "attn_layer_indices": [0], "hybrid_override_pattern": "M*"}
    | {"layer_types": ["mamba", "attention"], "layers_block_type": ["mamba", "hybrid"]}
    | dict.fromkeys(("chunk_size", "mamba_chunk_size"), CHUNK)
    | dict.fromkeys(("num_heads", "mamba_n_heads", "n_mamba_heads", "mamba_num_heads"), 2)
    | dict.fromkeys(("head_dim", "mamba_d_head", "mamba_head_dim"), 32)
    | dict.fromkeys(("n_groups", "mamba_n_groups", "mamba_ngroups"), 2)
)
# Whether bits are equal depends on the short chunk, a multiple of 16, and on whether a text fills it.
LENGTHS = sorted({*range(1, 18), *(16 * n + k for n in range(2, 17) for k in (-1, 0, 1))})
OF_EACH_FAMILY = list({case.family: case for case in FAMILY_CASES}.values())


def with_chunk(case: FamilyCase) -> FamilyCase:
    return replace(case, options=case.options | {n: SIZES[n] for n in case.options if n in SIZES})


def chunks_of(model: nn.Module) -> list[int]:
    return [module.chunk_size for module in model.modules() if hasattr(module, "chunk_size")]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The models that ran, as `in_short_chunk` gave them."""
    models: list[Any] = []

    def noted(*args: Any) -> nn.Module:
        models.append(short_chunk.in_short_chunk(*args))
        return models[-1]

    monkeypatch.setattr("components.bridge.passes.in_short_chunk", noted)
    monkeypatch.setattr("components.bridge.model_bridge.in_short_chunk", noted)
    return models


@pytest.mark.parametrize(("dtype", "first"), [(torch.float32, 0), (torch.bfloat16, 1)], ids=str)
@pytest.mark.parametrize("case", OF_EACH_FAMILY, ids=str)
def test_logits_are_those_of_the_untouched_model_at_every_length(
    case: FamilyCase, dtype: torch.dtype, first: int
) -> None:
    """In turns: a size of chunk is filled in one precision, and not quite or just exceeded in the other."""
    plain = with_chunk(case).build(dtype)
    bridge = ModelBridge(copy.deepcopy(plain))
    for length in LENGTHS[first::2]:
        ids = random_ids(length, 1, length)
        with torch.no_grad():
            truth = plain(ids, use_cache=False).logits
        assert torch.equal(bridge.run_with_cache(ids, names_filter=matrix_inputs)[0], truth), length
    assert set(chunks_of(bridge.model)) == {CHUNK}


@pytest.mark.parametrize("case", [c for c in FAMILY_CASES if c not in OF_EACH_FAMILY], ids=str)
def test_padded_batches_too(case: FamilyCase) -> None:
    plain = with_chunk(case).build()
    bridge = ModelBridge(copy.deepcopy(plain))
    for length in (2, 60, 130):
        ids, mask = random_ids(0, 3, length), torch.ones(3, length, dtype=torch.int64)
        mask[0, : length // 2] = 0
        with torch.no_grad():
            truth = plain(ids, attention_mask=mask, use_cache=False).logits
        assert torch.equal(bridge.run_with_cache(ids, attention_mask=mask)[0], truth), length


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"), reason="another matrix library may add up otherwise"
)
@pytest.mark.parametrize("case", OF_EACH_FAMILY, ids=str)
def test_a_short_text_takes_a_short_chunk(case: FamilyCase, used: list[Any]) -> None:
    """PyTorch's builds for x86 add up both sizes alike; elsewhere all is right, but may be slow."""
    bridge = ModelBridge(with_chunk(case).build())
    _, cache = bridge.run_with_cache(random_ids(0, 1, 60))
    given = cache[f"blocks.{case.mixers[0]}.mixer.hook_in"]
    out, _ = bridge.run_mixer(case.mixers[0], given)
    assert torch.equal(out, cache[f"blocks.{case.mixers[0]}.mixer.hook_out"])
    assert [set(chunks_of(model)) for model in used] == [{64}, {64}]
    assert set(chunks_of(bridge.model)) == {CHUNK}


def test_the_copy_shares_what_is_not_its_own(used: list[Any]) -> None:
    bridge = ModelBridge(tiny_model(chunk_size=CHUNK))
    bridge.run_with_cache(random_ids(0, 1, 20))
    theirs, ours = dict(used[0].named_modules()), dict(bridge.model.named_modules())
    assert theirs.keys() == ours.keys()
    own = {name for name in ours if theirs[name] is not ours[name]}
    mixers = {"backbone.layers.0.mixer", "backbone.layers.1.mixer"}
    assert own == {"", "backbone", "backbone.layers", "backbone.layers.0", "backbone.layers.1"} | mixers
    parameters = dict(bridge.model.named_parameters())
    assert all(each is parameters[name] for name, each in used[0].named_parameters())


def test_a_hook_of_the_user_fires_once_and_never_on_the_check() -> None:
    model = tiny_model(chunk_size=CHUNK)
    seen: list[tuple[int, ...]] = []
    for module in (model, model.backbone, *model.backbone.layers, *(b.mixer for b in model.backbone.layers)):
        module.register_forward_hook(lambda module, args, output: seen.append((0,)))
    for layer in model.backbone.layers:
        layer.mixer.in_proj.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    short_chunk._equal.clear()
    ModelBridge(model).run_with_cache(random_ids(0, 1, 21))
    assert sorted(seen) == sorted(
        [(0,)] * 6 + [(1, 21, model.backbone.layers[0].mixer.in_proj.out_features)] * 2
    )


def test_a_shape_that_is_not_equal_keeps_the_models_chunk(
    used: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(short_chunk, "_equal", {})

    bridge = ModelBridge(tiny_model(chunk_size=CHUNK))
    mixer = type(bridge.blocks[0].mixer.original_component)
    forward = mixer.forward

    def other(self: Any, *args: Any, **kwargs: Any) -> Any:
        output = forward(self, *args, **kwargs)
        return torch.nextafter(output, output + 1) if self.chunk_size < CHUNK else output

    monkeypatch.setattr(mixer, "forward", other)
    bridge.run_with_cache(random_ids(0, 1, 20))
    assert used == [bridge.model]


def test_threads_with_texts_of_other_lengths_do_not_meet() -> None:
    plain: PreTrainedModel = tiny_model(chunk_size=CHUNK)
    bridge = ModelBridge(copy.deepcopy(plain))
    texts = [random_ids(seed, 1, 5 + 17 * seed) for seed in range(8)]
    with torch.no_grad():
        truths = [plain(ids, use_cache=False).logits for ids in texts]

    def run(turn: int) -> bool:
        found, _ = bridge.run_with_cache(texts[turn % 8], names_filter=matrix_inputs)
        return torch.equal(found, truths[turn % 8])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(160)))
