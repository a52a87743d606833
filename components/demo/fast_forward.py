"""The training form of the demo model: the same logits as Hugging Face's, computed faster on a CPU.

It reads the parameters of a real `Mamba2ForCausalLM` and differs from its reference path in two ways: the
depthwise convolution is a sum of shifted products, and the scan works on short chunks, within which it is
the masked quadratic form y = (L ∘ C Bᵀ) (dt · x). It covers only what the demo needs: one group, no cache,
no padding, dt unlimited, silu. tests/demo compares it with the reference path.
"""

from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional
from transformers import Mamba2ForCausalLM
from transformers.models.mamba2.modeling_mamba2 import (
    Mamba2Block,
    Mamba2Mixer,
    Mamba2RMSNorm,
    MambaRMSNormGated,
)

CHUNK = 32


def fast_logits(model: Mamba2ForCausalLM, ids: Int[Tensor, "batch seq"]) -> Float[Tensor, "batch seq vocab"]:
    """Next-token logits; `seq` must be a multiple of CHUNK."""
    residual = model.backbone.embeddings(ids)
    for block in blocks(model):
        residual = residual + _mix(block.mixer, _rms_norm(residual, block.norm))
    return functional.linear(_rms_norm(residual, model.backbone.norm_f), model.lm_head.weight)


def blocks(model: Mamba2ForCausalLM) -> list[Mamba2Block]:
    """The layers of the model, first to last."""
    return cast("list[Mamba2Block]", list(model.backbone.layers))


def _rms_norm(
    states: Float[Tensor, "batch seq width"], norm: Mamba2RMSNorm | MambaRMSNormGated
) -> Float[Tensor, "batch seq width"]:
    return functional.rms_norm(states, states.shape[-1:], norm.weight, norm.variance_epsilon)


def _mix(mixer: Mamba2Mixer, states: Float[Tensor, "batch seq hidden"]) -> Float[Tensor, "batch seq hidden"]:
    inner, state, heads = mixer.intermediate_size, mixer.ssm_state_size, mixer.num_heads
    gate, x_b_c, raw_dt = mixer.in_proj(states).split([inner, inner + 2 * state, heads], dim=-1)
    x, b, c = functional.silu(_causal_conv(x_b_c, mixer.conv1d)).split([inner, state, state], dim=-1)
    dt = functional.softplus(raw_dt + mixer.dt_bias)
    x = x.unflatten(-1, (heads, mixer.head_dim))
    y = _scan(x * dt[..., None], dt * -torch.exp(mixer.A_log), b, c) + x * mixer.D[:, None]
    mixed: Tensor = mixer.out_proj(_rms_norm(y.flatten(-2) * functional.silu(gate), mixer.norm))
    return mixed


def _causal_conv(
    signal: Float[Tensor, "batch seq channel"], conv: nn.Conv1d
) -> Float[Tensor, "batch seq channel"]:
    taps = conv.weight.squeeze(1)  # [channel, kernel]; the last tap weights the current token
    kernel = taps.shape[1]
    padded = functional.pad(signal, (0, 0, kernel - 1, 0))
    length = signal.shape[1]
    assert conv.bias is not None  # use_conv_bias is on
    return sum((padded[:, k : k + length] * taps[:, k] for k in range(kernel)), start=conv.bias)


def _scan(
    dt_x: Float[Tensor, "batch seq head dim"],
    log_decay: Float[Tensor, "batch seq head"],
    b: Float[Tensor, "batch seq state"],
    c: Float[Tensor, "batch seq state"],
) -> Float[Tensor, "batch seq head dim"]:
    """y[i] = Σ_{j≤i} exp(cum[i] − cum[j]) ⟨c[i], b[j]⟩ dt_x[j], by chunks (arXiv 2405.21060, section 6)."""
    dt_x = dt_x.unflatten(1, (-1, CHUNK)).transpose(2, 3)  # [batch, chunk, head, position, dim]
    cum = log_decay.unflatten(1, (-1, CHUNK)).transpose(2, 3).cumsum(-1)  # [batch, chunk, head, position]
    b, c = (t.unflatten(1, (-1, CHUNK)).unsqueeze(2) for t in (b, c))  # [batch, chunk, 1, position, state]

    future = torch.ones(CHUNK, CHUNK, dtype=torch.bool).triu(1)
    decay = (cum[..., :, None] - cum[..., None, :]).masked_fill(future, -torch.inf).exp()
    within = (c @ b.transpose(-1, -2) * decay) @ dt_x

    # What each chunk adds to the state by its end, then the state each chunk starts from.
    to_end = (cum[..., -1:] - cum).exp()[..., None]
    added = b.transpose(-1, -2) @ (dt_x * to_end)  # [batch, chunk, head, state, dim]
    whole = cum[..., -1].exp()[..., None, None]
    start = torch.zeros_like(added[:, 0])
    starts = []
    for chunk in range(added.shape[1]):
        starts.append(start)
        start = start * whole[:, chunk] + added[:, chunk]
    before = (c @ torch.stack(starts, 1)) * cum.exp()[..., None]
    y: Tensor = within + before
    return y.transpose(2, 3).flatten(1, 2)
