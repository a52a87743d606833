"""The terms of one Mamba-2 layer: the inputs of its state-space scan.

Names follow the Mamba-2 paper (Dao & Gu 2024, "Transformers are SSMs", arXiv 2405.21060):

    x      [batch, seq, heads, head_dim]  what a head writes to its state
    B      [batch, seq, groups, state]    where it is written (the "key")
    C      [batch, seq, groups, state]    where it reads (the "query")
    dt     [batch, seq, heads]            step size Δ, after softplus and any clamp
    A      [heads]                        decay rate, negative: A = −exp(A_log)
    D      [heads]                        skip connection
    cum_log_decay [batch, heads, seq]     Σ_{k≤i} A·dt[k], the logarithm of what is left of a
                                          state written before the text

Query position i reads key position j ≤ i. Head h reads group h // (heads / groups). The recurrence is

    S[i] = exp(A·dt[i])·S[i−1] + dt[i]·x[i] ⊗ B[i]        state  [head_dim, state]
    y[i] = S[i]·C[i] + D·x[i]                             output [head_dim]
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor
from torch.nn import functional as F

from components.ssd.edited import EditedRows


@dataclass(frozen=True, eq=False)
class SSDTerms:
    """The terms of one layer over texts; the module's docstring is the glossary.

    All tensors are float32, except `cum_log_decay`. That one is float64, because L comes from differences of
    it: with a float32 sum the entries are off by 4e-5 of the largest at 1,024 tokens and, under strong decay,
    by 1e-3 at 4,096; with float64 by 4e-7. It stays on the CPU where the device has no float64 (MPS).

    `edited_decay` and `edited_attention` are rows of L and M that hooks replaced in the run. All functions
    that return L or M use them; no state follows from them.
    """

    kind: ClassVar[str] = "mamba2"

    x: Float32[Tensor, "batch seq head dim"]
    B: Float32[Tensor, "batch seq group state"]
    C: Float32[Tensor, "batch seq group state"]
    dt: Float32[Tensor, "batch seq head"]
    A: Float32[Tensor, " head"]
    D: Float32[Tensor, " head"]
    cum_log_decay: Float64[Tensor, "batch head seq"]
    edited_decay: tuple[EditedRows, ...] = ()
    edited_attention: tuple[EditedRows, ...] = ()

    @staticmethod
    def from_parts(
        *,
        x: Float[Tensor, "batch seq head dim"],
        B: Float[Tensor, "batch seq group state"],
        C: Float[Tensor, "batch seq group state"],
        dt: Float[Tensor, "batch seq head"],
        A: Float[Tensor, " head"],
        D: Float[Tensor, " head"],
        log_decay: Float64[Tensor, "batch seq head"] | None = None,
    ) -> SSDTerms:
        """Terms from raw tensors of any floating type; A is negative, dt is final (softplus and clamp done).

        `log_decay` is what a hook put in the place of A·dt, if one did.

        Raises ValueError when the shapes do not fit each other or the heads do not divide into the groups.
        """
        batch, seq, heads = dt.shape
        shapes = {name: tuple(t.shape) for name, t in (("x", x), ("B", B), ("C", C), ("dt", dt))}
        if x.shape[:3] != dt.shape or B.shape != C.shape or B.shape[:2] != (batch, seq):
            raise ValueError(
                f"The terms do not fit each other: {shapes}. "
                "Expected x [b,s,h,p], B and C [b,s,g,n], dt [b,s,h]."
            )
        if A.shape != (heads,) or D.shape != (heads,):
            raise ValueError(
                f"A and D need one entry for each of {heads} heads, not {tuple(A.shape)}, {tuple(D.shape)}."
            )
        if heads % B.shape[2]:
            raise ValueError(
                f"{heads} heads do not divide into {B.shape[2]} groups; every group serves as many heads."
            )
        log_decay = log_decay_of(dt, A) if log_decay is None else log_decay
        return SSDTerms(
            x=x.float(),
            B=B.float(),
            C=C.float(),
            dt=dt.float(),
            A=A.float(),
            D=D.float(),
            cum_log_decay=log_decay.cumsum(dim=1).transpose(1, 2).contiguous(),
        )

    def detached(self) -> SSDTerms:
        """The same terms, detached from the graph."""
        tensors: dict[str, Any] = {
            name: value.detach() for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(
            self,
            **tensors,
            edited_decay=tuple(rows.detached() for rows in self.edited_decay),
            edited_attention=tuple(rows.detached() for rows in self.edited_attention),
        )

    def lengthened(self, length: int) -> SSDTerms:
        """The terms, without x, with the text padded to `length` by tokens that write and read nothing."""
        more = length - self.length
        still = self.cum_log_decay[..., -1:].expand(-1, -1, more)
        return replace(
            self,
            x=F.pad(self.x[..., :0], (0, 0, 0, 0, 0, more)),
            B=F.pad(self.B, (0, 0, 0, 0, 0, more)),
            C=F.pad(self.C, (0, 0, 0, 0, 0, more)),
            dt=F.pad(self.dt, (0, 0, 0, more)),
            cum_log_decay=torch.cat([self.cum_log_decay, still], dim=-1),
        )

    def check_state(self) -> None:
        """Raise ValueError if a hook replaced rows of M, so that no state gave the output."""
        if self.edited_attention:
            raise ValueError(
                "A hook replaced rows of L or M in this run, so its scan read them and no state. "
                "Look at the state in a run without that hook."
            )

    @property
    def batch(self) -> int:
        """Number of texts."""
        return self.dt.shape[0]

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.dt.shape[1]

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.dt.shape[2]

    @property
    def heads_per_group(self) -> int:
        """How many heads share one B and C."""
        return self.heads // self.B.shape[2]


def log_decay_of(
    dt: Float[Tensor, "batch seq head"], A: Float[Tensor, " head"]
) -> Float64[Tensor, "batch seq head"]:
    """A·dt, the logarithm of what a step leaves of the state; on the CPU where the device has no float64."""
    wide = torch.device("cpu") if dt.device.type == "mps" else dt.device
    return dt.to(wide, torch.float64) * A.to(wide, torch.float64)
