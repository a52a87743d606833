"""On an accelerator, where there is one: the same pictures, and nothing large comes to the CPU."""

import pytest
import torch

from components.bridge import ModelBridge
from components.charts import Window, head_cells, measure_table
from components.ssd import Place, effective_attention, pooled_attention, softmax_attention
from tests.families import FAMILY_CASES, FamilyCase
from tests.tiny import random_ids, relative

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device; there is none here"),
]
CASES = pytest.mark.parametrize("case", FAMILY_CASES, ids=str)


def on(case: FamilyCase, device: str, dtype: torch.dtype) -> ModelBridge:
    return ModelBridge(case.build(dtype).to(device))


@CASES
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_terms_stay_on_the_device_and_are_faithful(case: FamilyCase, dtype: torch.dtype) -> None:
    bridge, ids = on(case, "cuda", dtype), random_ids(0, 2, 80)
    _, cache = bridge.run_with_cache(ids)
    for layer in bridge.ssm_layers():
        terms = cache.ssd_terms(layer)
        assert {each.device.type for each in (terms.x, terms.B, terms.C, terms.dt)} == {"cuda"}
        assert effective_attention(terms).device.type == "cuda"
        assert pooled_attention(terms, tiles=8, statistic="rms").device.type == "cuda"
        assert cache.faithfulness(layer) <= cache.tolerance(layer)
    for layer in bridge.attention_layers():
        assert cache.softmax_terms(layer).q.device.type == "cuda"


@CASES
def test_matrices_are_those_of_the_cpu(case: FamilyCase) -> None:
    ids = random_ids(0, 1, 60)
    _, here = on(case, "cpu", torch.float32).run_with_cache(ids)
    _, there = on(case, "cuda", torch.float32).run_with_cache(ids)
    # Only the first layer of a kind: rounding before a deeper one is that of another device.
    layer = case.mixers[0]
    M = there.compute_ssm_effective_attention(layer).cpu()
    assert relative(M, here.compute_ssm_effective_attention(layer)) <= 1e-3
    for layer in case.attentions[:1]:
        P = softmax_attention(there.softmax_terms(layer)).cpu()
        assert relative(P, softmax_attention(here.softmax_terms(layer))) <= 1e-3


@CASES
def test_edits_and_decode_steps(case: FamilyCase) -> None:
    bridge, ids = on(case, "cuda", torch.float32), random_ids(0, 2, 20)
    name = f"blocks.{case.mixers[0]}.mixer.hook_attention"
    edited = bridge.run_with_hooks(ids, fwd_hooks=[(name, lambda M, hook: M * 0.5)])
    assert relative(edited, bridge.model(ids.cuda()).logits.detach()) > 1e-3
    _, cache = bridge.generate(ids, max_new_tokens=6, do_sample=False, with_cache=True)
    for layer in bridge.ssm_layers():
        assert cache.faithfulness(layer) <= cache.tolerance(layer)


def test_tables_of_a_picture() -> None:
    case = next(case for case in FAMILY_CASES if case.attentions)
    bridge = on(case, "cuda", torch.bfloat16)
    _, cache = bridge.run_with_cache(random_ids(0, 1, 200))
    layers = {Place(i): cache.ssd_terms(i, with_x=False) for i in case.mixers}
    layers |= {Place(i, "softmax"): cache.softmax_terms(i) for i in case.attentions}
    assert not measure_table(layers)["mean_distance"].isna().any()
    for terms in layers.values():
        for window in (Window.whole(200), Window(range(50, 90), range(10, 60))):
            assert len(head_cells(terms, 0, ["a"] * 200, window).cells)
