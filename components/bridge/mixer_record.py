"""What one run kept of one Mamba-2 mixer, and everything between its projection and its scan.

`in_proj`'s output and the parameters determine all of it: scaled, in families that do so; split into gate,
channels and raw dt; causal convolution and activation of the channels; split into x, B and C;
dt = softplus(raw dt + dt_bias), clamped.
Derived in this order and in the model's dtype, x, B, C and dt are bitwise what the model's scan receives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor, nn
from torch.nn import functional as F

from components.bridge.scan_parameters import ScanParameters
from components.ssd import EditedRows, SSDTerms, decay, effective_attention, log_decay_of

# Between the projection and the scan: no module of the model fires these; the bridge derives them.
DERIVED_HOOKS = (
    "conv1d.hook_in",
    "conv1d.hook_out",
    "hook_x",
    "hook_B",
    "hook_C",
    "hook_dt",
    "hook_log_decay",
    "hook_decay",
    "hook_attention",
)
# Hooks for which a run keeps the projection; in_proj.hook_out gives all DERIVED_HOOKS too.
RECORDED_HOOKS = ("in_proj.hook_out", *DERIVED_HOOKS)
# Derived from the projection without the channels of x, which are most of it.
HOOKS_WITHOUT_X = ("hook_B", "hook_C", "hook_dt", "hook_log_decay", "hook_decay", "hook_attention")

Edit = Callable[[str, Tensor], Tensor]


@dataclass(frozen=True)
class Interior:
    """What one forward step computed between projection and scan: x, B, C and dt in float32, A·dt in float64.

    In a record without x, the channels are those of B and C, and x is empty: [batch, seq, head, 0].
    """

    conv_in: Float[Tensor, "batch channel seq"]
    conv_out: Float[Tensor, "batch channel padded"]
    x: Float32[Tensor, "batch seq head dim"]
    B: Float32[Tensor, "batch seq group state"]
    C: Float32[Tensor, "batch seq group state"]
    dt: Float32[Tensor, "batch seq head"]
    log_decay: Float64[Tensor, "batch seq head"]


@dataclass
class MixerStep:
    """One call of the mixer: a prefill, a piece of one, or one token.

    `projected`: the channels (x, B and C before the convolution; or B and C alone) and raw dt. `gate`: z, of
    a mixer without a norm, to gate the scan's output. `recurrent`: one token after others, for which
    the model takes one step of the recurrence and does not clamp dt.

    `interior` is set when hooks ran on it, since they may have edited it; `L` and `M` only when hooks edited
    the rows of this step; and `y`, the scan's output before hooks, when hooks ran on that.
    """

    projected: Float[Tensor, "batch seq channels_and_dt"]
    mask: Tensor | None
    recurrent: bool
    gate: Float[Tensor, "batch seq inner"] | None = None
    interior: Interior | None = None
    L: Float32[Tensor, "batch head seq key"] | None = None
    M: Float32[Tensor, "batch head seq key"] | None = None
    y: Float[Tensor, "batch seq inner"] | None = None


def leave(name: str, tensor: Tensor) -> Tensor:
    """The edit that changes nothing."""
    return tensor


@dataclass
class MixerRecord:
    """The steps of one mixer in one run, which together give the terms of one pass over the whole text."""

    watched: bool
    with_x: bool = True
    parameters: ScanParameters | None = None
    steps: list[MixerStep] = field(default_factory=list)
    mask: Tensor | None = None
    edited: bool = False
    scan_output: Float[Tensor, "batch seq inner"] | None = None

    @property
    def length(self) -> int:
        """Positions so far."""
        return sum(step.projected.shape[1] for step in self.steps)

    def begin_step(
        self,
        mixer: nn.Module,
        projected: Float[Tensor, "batch seq projection"],
        projection_scale: str | None = None,
        config: Any = None,
    ) -> MixerStep:
        """Record what the mixer projected; RuntimeError when its weights changed since the first step."""
        if self.parameters is None:
            self.parameters = ScanParameters.of(mixer, projection_scale, config)
        elif not self.parameters.are_still_of(mixer, projection_scale):
            raise RuntimeError("The model's weights were changed within this run; run the whole text again.")
        parameters = self.parameters
        if parameters.scale is not None:
            projected = projected * parameters.scale
        # Copy it without the gate, and without x if unwanted, so that the whole can be freed: the next layer
        # has to allocate anew what a run keeps, and that is most of the cost of reading.
        inner = parameters.heads * parameters.head_dim
        kept = projected[..., inner if self.with_x else 2 * inner :].clone()
        step = MixerStep(kept, self.mask, bool(self.steps) and projected.shape[1] == 1)
        if self.with_x and not parameters.has_norm:
            step.gate = projected[..., :inner].clone()
        self.steps.append(step)
        return step

    def interiors(self) -> Iterator[Interior]:
        """The interior of each step: as its hooks left it, or derived now."""
        kernel = self.scan.conv_weight.shape[-1]
        earlier: Tensor | None = None
        for step in self.steps:
            interior = step.interior or self.derive(step, earlier)
            seen = interior.conv_in if earlier is None else torch.cat([earlier, interior.conv_in], dim=-1)
            earlier = seen[..., max(0, seen.shape[-1] - kernel + 1) :]
            yield interior

    def conv_inputs(self) -> Float[Tensor, "batch channel seq"] | None:
        """The inputs of the convolution in the steps so far; None before the first."""
        inputs = [interior.conv_in for interior in self.interiors()] if self.steps else []
        return _joined(inputs, dim=-1) if inputs else None

    def derive(self, step: MixerStep, earlier: Tensor | None, edit: Edit = leave) -> Interior:
        """Everything between projection and scan of one step; `edit` gets each tensor and its hook's name.

        `earlier` [batch, channel, past] are the convolution's inputs before this step.
        """
        scan = self.scan
        batch, seq, _ = step.projected.shape
        grouped = scan.groups * scan.state
        head_dim = scan.head_dim if self.with_x else 0
        inner = scan.heads * head_dim
        channels = step.projected[..., : inner + 2 * grouped]
        conv_in = edit("conv1d.hook_in", channels.transpose(1, 2))
        past = conv_in[..., :0] if earlier is None else earlier
        held = slice(-conv_in.shape[1], None)  # the last channels are those of B and C
        bias = None if scan.conv_bias is None else scan.conv_bias[held]
        conv_out = depthwise_causal_conv(conv_in, past, scan.conv_weight[held], bias)
        conv_out = edit("conv1d.hook_out", conv_out)
        xBC = scan.activation(conv_out[..., :seq]).to(step.projected.dtype).transpose(1, 2)
        if step.mask is not None:
            xBC = (xBC * step.mask[:, :, None].to(xBC.device)).to(xBC.dtype)
        x, B, C = xBC.float().split([inner, grouped, grouped], dim=-1)
        dt = self._unclamped_dt(step)
        if not step.recurrent:
            dt = dt.clamp(*scan.dt_limit)
        x = edit("hook_x", x.reshape(batch, seq, scan.heads, head_dim))
        B = edit("hook_B", B.reshape(batch, seq, scan.groups, scan.state))
        C = edit("hook_C", C.reshape(batch, seq, scan.groups, scan.state))
        dt = edit("hook_dt", dt.float())
        return Interior(
            conv_in=conv_in,
            conv_out=conv_out,
            x=x,
            B=B,
            C=C,
            dt=dt,
            log_decay=edit("hook_log_decay", log_decay_of(dt, scan.A)),
        )

    def _unclamped_dt(self, step: MixerStep) -> Float[Tensor, "batch seq head"]:
        """softplus(raw dt + dt_bias), in the model's precision."""
        raw_dt = step.projected[..., -self.scan.heads :]
        return F.softplus(raw_dt + self.scan.dt_bias.to(raw_dt.dtype))

    def terms(self) -> SSDTerms:
        """The terms over all steps; in a record without x, with an empty x."""
        interiors = list(self.interiors())
        terms = SSDTerms.from_parts(
            x=_joined([i.x for i in interiors], dim=1),
            B=_joined([i.B for i in interiors], dim=1),
            C=_joined([i.C for i in interiors], dim=1),
            dt=_joined([i.dt for i in interiors], dim=1),
            A=self.scan.A,
            D=self.scan.D.float(),
            log_decay=_joined([i.log_decay for i in interiors], dim=1),
        )
        starts = accumulate((step.projected.shape[1] for step in self.steps), initial=0)
        steps = list(zip(starts, self.steps, strict=False))
        return replace(
            terms,
            edited_decay=tuple(EditedRows(start, step.L) for start, step in steps if step.L is not None),
            edited_attention=tuple(EditedRows(start, step.M) for start, step in steps if step.M is not None),
        )

    def gate(self) -> Float[Tensor, "batch seq inner"] | None:
        """The gate z over all steps of a mixer without a norm; None where a norm takes it."""
        gates = [step.gate for step in self.steps if step.gate is not None]
        return torch.cat(gates, dim=1) if gates else None

    def scan_before_hooks(self) -> Float[Tensor, "batch seq inner"] | None:
        """The scan's output before functions at hook_scan; None if there were none."""
        outputs = [step.y for step in self.steps if step.y is not None]
        return torch.cat(outputs, dim=1) if outputs else None

    @property
    def hooks(self) -> tuple[str, ...]:
        """The DERIVED_HOOKS whose tensors this record can give."""
        return DERIVED_HOOKS if self.with_x else HOOKS_WITHOUT_X

    def at_hook(self, name: str) -> Tensor:
        """The tensor at one of `hooks`, over all steps."""
        if name in ("hook_decay", "hook_attention"):
            terms, of_terms = self.terms(), decay if name == "hook_decay" else effective_attention
            edited = terms.edited_decay if name == "hook_decay" else terms.edited_attention
            # Return the edited tensor itself, so that autograd can reach it.
            return edited[0].matrix if edited and len(self.steps) == 1 else of_terms(terms.detached())
        interiors = list(self.interiors())
        match name:
            case "conv1d.hook_in":
                return _joined([i.conv_in for i in interiors], dim=-1)
            case "conv1d.hook_out":
                # Only the last step's columns beyond the text are those of the whole text.
                within = [i.conv_out[..., : i.conv_in.shape[-1]] for i in interiors]
                return _joined([*within[:-1], interiors[-1].conv_out], dim=-1)
            case _:
                return _joined([getattr(i, name.removeprefix("hook_")) for i in interiors], dim=1)

    @property
    def edited_hooks(self) -> list[str]:
        """The `hooks` that the run's output was computed from, if a hook edited any."""
        if not self.edited:
            return []
        read = [name for name in self.hooks if name not in ("hook_decay", "hook_attention")]
        matrices = {"hook_decay": "L", "hook_attention": "M"}
        return read + [
            name for name, rows in matrices.items() if all(getattr(s, rows) is not None for s in self.steps)
        ]

    def unclamped_positions(self) -> list[int]:
        """Generated positions whose dt is outside time_step_limit, since decode steps do not clamp."""
        low, high = self.scan.dt_limit
        if low <= 0 and math.isinf(high):
            return []
        found, start = [], 0
        for step in self.steps:
            if step.recurrent:
                dt = self._unclamped_dt(step)
                outside = ((dt < low) | (dt > high)).any(dim=2).any(dim=0)
                found += [start + offset for offset in torch.nonzero(outside).flatten().tolist()]
            start += step.projected.shape[1]
        return found

    @property
    def clamps_against_config(self) -> bool:
        """Whether this run clamped a dt that the model's configuration would have left as it is."""
        low, high = self.scan.dt_limit
        if self.scan.config_dt_limit == self.scan.dt_limit:
            return False
        read = (self._unclamped_dt(step) for step in self.steps if not step.recurrent)
        return any(bool(((dt < low) | (dt > high)).any()) for dt in read)

    @property
    def scan(self) -> ScanParameters:
        """The parameters of a mixer that has run."""
        if self.parameters is None:
            raise RuntimeError("This mixer has not run; there is nothing to derive.")
        return self.parameters


def _joined(tensors: Sequence[Tensor], dim: int) -> Tensor:
    """The tensors of all steps as one; for one step the tensor itself, so that autograd can reach it."""
    return tensors[0] if len(tensors) == 1 else torch.cat(list(tensors), dim=dim)


def records_for(hooks: Iterable[str], keeps: Iterable[str]) -> dict[str, MixerRecord]:
    """An empty record for every mixer that a run with these hooks has to record, by mixer name."""
    watched = {mixer for mixer, inside in map(_in_mixer, hooks) if inside in DERIVED_HOOKS}
    kept = [(mixer, inside) for mixer, inside in map(_in_mixer, keeps) if inside in RECORDED_HOOKS]
    with_x = watched | {mixer for mixer, inside in kept if inside not in HOOKS_WITHOUT_X}
    recorded = watched | {mixer for mixer, _ in kept}
    return {mixer: MixerRecord(mixer in watched, mixer in with_x) for mixer in recorded}


def gated(
    y: Float[Tensor, "batch seq inner"], gate: Float[Tensor, "batch seq inner"] | None
) -> Float[Tensor, "batch seq inner"]:
    """The scan's output times silu(z), the input of `out_proj` where there is no norm."""
    return y if gate is None else y * F.silu(gate)


def _in_mixer(hook: str) -> tuple[str, str]:
    """`blocks.3.mixer.hook_x` as the mixer's name and the rest; the rest is empty outside mixers."""
    block, _, inside = hook.partition(".mixer.")
    return f"{block}.mixer", inside


def depthwise_causal_conv(
    channels: Float[Tensor, "batch channel seq"],
    earlier: Float[Tensor, "batch channel past"],
    weight: Float[Tensor, "channel 1 kernel"],
    bias: Float[Tensor, " channel"] | None,
) -> Float[Tensor, "batch channel padded"]:
    """The mixer's convolution, padded = seq + kernel − 1; `earlier` are the inputs before these, if any."""
    text = torch.cat([earlier, channels], dim=-1).to(weight.dtype)
    out = F.conv1d(text, weight, bias, padding=weight.shape[-1] - 1, groups=weight.shape[0])
    return out[..., earlier.shape[-1] :]
