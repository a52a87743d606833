"""How a head reads each token, by the measures that are taken for its importance; to compare with effects."""

from __future__ import annotations

import torch
from jaxtyping import Float32
from torch import Tensor
from torch.nn import functional as F

from components.bridge.contributions import contribution_inputs_of, contributions_of, logit_direction
from components.bridge.model_bridge import ModelBridge
from components.bridge.prompts import Ids
from components.ssd import effective_attention

READINGS = ("|M|", "|M|·dt·‖x‖", "contribution norm", "direct logit", "gradient")
"""The names of the measures, in the order in which each takes in more of the model."""


def readings(
    bridge: ModelBridge, ids: Ids, layer: int, head: int, target: int, foil: int
) -> dict[str, Float32[Tensor, " seq"]]:
    """How a head of a mixer reads each token of one text, by each of READINGS.

    Of what the last position reads: |M|; |M|·dt·‖x‖; the norm of what it adds to the residual stream; and
    that along the logit difference, target less foil, through the frozen final norm. The gradient is that of
    the logit difference along all that the token wrote, for every query: what cutting the token would do if
    the model were linear. Raises as `contributions_of` and `run_with_cache`.
    """
    scan = f"blocks.{layer}.mixer.hook_scan"
    _, cache = bridge.run_with_cache(ids, names_filter=contribution_inputs_of(layer))
    parts = contributions_of(bridge, cache, layer)
    last = parts.terms.length - 1
    found = parts.measures(last, logit_direction(bridge, cache, target, foil)[:, last])
    logits, graph = bridge.run_with_cache(ids, names_filter=scan, logits_to_keep=1, grad=True)
    slopes = graph.gradients(logits[0, -1, target] - logits[0, -1, foil], scan)[scan].float()
    gate = cache._record(layer).gate()
    if gate is not None:  # hook_scan sees y times silu(z)
        slopes = slopes * F.silu(gate.float()).view_as(slopes)
    W = effective_attention(parts.terms, heads=[head], include_dt_scaling=True)[0, 0]
    gradient = torch.einsum("ij,ip,jp->j", W, slopes[0, :, head], parts.terms.x[0, :, head])
    row = (found.attention, found.written, found.contribution, found.direct)
    return dict(zip(READINGS, [*(each[0, head] for each in row), gradient], strict=True))


def rank_correlation(one: Float32[Tensor, " seq"], other: Float32[Tensor, " seq"]) -> float:
    """Spearman's rank correlation of the sizes of two figures; NaN where either is the same for all.

    Equal sizes share the mean of their ranks.
    """
    ranks = [_ranks(each.abs().double()) for each in (one, other)]
    if len(one) < 2 or min(float(each.std()) for each in ranks) == 0:
        return float("nan")
    return float(torch.corrcoef(torch.stack(ranks))[0, 1])


def _ranks(values: Tensor) -> Tensor:
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ranks: Tensor = (counts.cumsum(dim=0).double() - (counts - 1) / 2)[which]
    return ranks
