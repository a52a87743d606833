"""What each head and each source token adds to a mixer's output, exactly, at fixed gate and norm.

What a mixer does behind its scan is linear once gate and norm are held at the values of the run: channels of
y are multiplied by s and projected. With the names of `components.ssd.terms`, and W_h the columns of
`out_proj` that read head h,

    out[i] = bias + Σ_h W_h·(s[i,h] ∘ (Σ_j M[i,j]·dt[j]·x[j] + D·x[i]))

    s[i,h] = w ∘ silu(z[i]) / rms[i]     weight of the norm, gate, and the norm's divisor in its group

so source j contributes M[i,j]·dt[j]·W_h·(s[i,h] ∘ x[j]) to out[i] through head h. The form is that of
value-weighted attention norms, Kobayashi et al. 2020, arXiv 2004.10102; for Mamba, LaTIM, arXiv 2502.15612.
It leaves out what another j would do to gate, norm and M themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from components.ssd.attention import effective_attention, resolve
from components.ssd.pooling import pooled_directly
from components.ssd.terms import SSDTerms

BLOCK_BYTES = 2**23
"""Memory of the projected sources of a block, whatever the length of the text."""

Indices = slice | Sequence[int] | None


@dataclass(frozen=True, eq=False)
class SourceMeasures:
    """Measures of how much one query takes from each source, through every head; zero for later sources.

    Each takes in more of the layer than the one before, so a study can say what the simpler ones miss.
    """

    attention: Float[Tensor, "batch head key"]
    """|M[i,j]|."""
    written: Float[Tensor, "batch head key"]
    """|M[i,j]|·dt[j]·‖x[j]‖: the length of what is added to y."""
    contribution: Float[Tensor, "batch head key"]
    """‖M[i,j]·dt[j]·W_h·(s[i,h] ∘ x[j])‖: the length of what is added to the residual stream."""
    direct: Float[Tensor, "batch head key"]
    """Its component along a direction, signed: with that of a logit, the direct effect on the logit."""


@dataclass(frozen=True, eq=False)
class Contributions:
    """The parts of one mixer's output; the module's docstring has the formula.

    Vectors (`of_sources`, `skip`, `bias`) are parts of the mixer's output and sum to it. Figures (`norms`,
    `toward`) are of what arrives in the residual stream: `scale` times that, in families that scale it.

    `heads`, `queries` and `keys` are slices or lists of indices (negative ones count from the end); None
    means all. Keys after a query add nothing: zero. IndexError when an index does not exist.
    """

    terms: SSDTerms
    """With x, and with the rows of L and M that hooks replaced."""
    passed: Float[Tensor, "batch seq head dim"]
    """s, what each channel of y is multiplied by on its way to `out_proj`."""
    projection: Float[Tensor, "model inner"]
    """W, the weight of `out_proj`."""
    bias: Float[Tensor, " model"]
    """That of `out_proj`; zeros where it has none."""
    scale: float = 1.0
    """What the layer multiplies the mixer's output by before adding it to the residual stream."""

    def of_sources(self, head: int, query: int, *, keys: Indices = None) -> Float[Tensor, "batch keys model"]:
        """What each source adds to out[query] through a head, M[i,j]·dt[j]·W_h·(s[i,h] ∘ x[j])."""
        (h,), (i,), j = self._at([head], [query], keys)
        a = effective_attention(self.terms, heads=[head], queries=[query], keys=keys, include_dt_scaling=True)
        v = self.passed[:, i, h, None] * self.terms.x[:, j, h]
        return (a[:, 0, 0, :, None] * v) @ self._of_head[h].mT

    def skip(self, head: int, query: int) -> Float[Tensor, "batch model"]:
        """What the skip of a head adds to out[query], W_h·(s[i,h] ∘ D·x[i])."""
        (h,), (i,), _ = self._at([head], [query], None)
        v = self.terms.D[h] * self.passed[:, i, h] * self.terms.x[:, i, h]
        return v @ self._of_head[h].mT

    def norms(
        self, *, heads: Indices = None, queries: Indices = None, keys: Indices = None
    ) -> Float[Tensor, "batch heads queries keys"]:
        """‖contribution‖ of each source in the residual stream.

        With W_h = Q·R, Q having orthonormal columns, ‖W_h·v‖ = ‖R·v‖: a vector of head_dim numbers instead
        of one of the model's width. Memory: the output and a constant.
        """
        h, i, j = self._at(heads, queries, keys)
        a = effective_attention(self.terms, heads=heads, queries=queries, keys=keys, include_dt_scaling=True)
        out = a.abs_().mul_(abs(self.scale))
        x = _chosen(_chosen(self.terms.x, 1, j), 2, h).transpose(1, 2)
        s = _chosen(_chosen(self.passed, 1, i), 2, h).transpose(1, 2)
        R = _chosen(self._triangles, 0, h)
        of_key = R.element_size() * R.shape[1] * len(out)
        at_a_time = max(BLOCK_BYTES // of_key, R.shape[2])
        for some, rows in _blocks(of_key * max(min(len(j), at_a_time), R.shape[2]), len(h), len(i)):
            maps = s[:, some, rows, None] * R[some, None]
            read = torch.nonzero(j <= i[rows].max()).flatten()
            reached = int(read[-1]) + 1 if len(read) else 0  # where keys ascend, a triangle, not the square
            for start in range(0, reached, at_a_time):
                part = slice(start, min(start + at_a_time, reached))
                v = x[:, some, part] @ maps.flatten(2, 3).mT
                out[:, some, rows, part] *= v.unflatten(-1, maps.shape[2:4]).norm(dim=-1).mT
        return out

    def skip_norms(
        self, *, heads: Indices = None, queries: Indices = None
    ) -> Float[Tensor, "batch heads queries"]:
        """‖skip‖ of each query in the residual stream."""
        h, i, _ = self._at(heads, queries, None)
        x, s = (_chosen(_chosen(each, 1, i), 2, h) for each in (self.terms.x, self.passed))
        v = torch.einsum("bihp,hrp->bhir", self.terms.D[h, None] * s * x, _chosen(self._triangles, 0, h))
        norms: Tensor = abs(self.scale) * v.norm(dim=-1)
        return norms

    def toward(
        self,
        direction: Float[Tensor, " model"] | Float[Tensor, "batch queries model"],
        *,
        heads: Indices = None,
        queries: Indices = None,
        keys: Indices = None,
    ) -> Float[Tensor, "batch heads queries keys"]:
        """The component of each contribution along a direction of the residual stream, ⟨d, contribution⟩.

        One direction, or one for each of `queries`. With that of a logit it is the direct effect on the
        logit, the part that no later layer passes on: direct logit attribution, Elhage et al. 2021, "A
        Mathematical Framework for Transformer Circuits". Over heads and keys, with `skip_toward` and
        scale·⟨d, bias⟩, it sums to the component of the whole output. ValueError for a direction of another
        shape. Memory: the output and one head.
        """
        h, i, j = self._at(heads, queries, keys)
        along, x = self._along(direction, h, i), _chosen(_chosen(self.terms.x, 1, j), 2, h)
        out = effective_attention(
            self.terms, heads=heads, queries=queries, keys=keys, include_dt_scaling=True
        )  # fmt: skip
        for head in range(len(h)):
            out[:, head] *= along[:, :, head] @ x[:, :, head].mT
        return out

    def skip_toward(
        self,
        direction: Float[Tensor, " model"] | Float[Tensor, "batch queries model"],
        *,
        heads: Indices = None,
        queries: Indices = None,
    ) -> Float[Tensor, "batch heads queries"]:
        """The component of each skip along a direction; as `toward`."""
        h, i, _ = self._at(heads, queries, None)
        along, x = self._along(direction, h, i), _chosen(_chosen(self.terms.x, 1, i), 2, h)
        return torch.einsum("bihp,bihp,h->bhi", along, x, self.terms.D[h])

    def measures(
        self, query: int, direction: Float[Tensor, " model"] | Float[Tensor, "batch model"]
    ) -> SourceMeasures:
        """Measures of one query, for all heads and sources; the direction is that of `direct`.

        ValueError for a direction of another shape.
        """
        M = effective_attention(self.terms, queries=[query])[:, :, 0].abs_()
        written = self.terms.dt * self.terms.x.norm(dim=-1)
        given = direction if direction.ndim == 1 else direction[:, None]
        return SourceMeasures(
            attention=M,
            written=M * written.transpose(1, 2),
            contribution=self.norms(queries=[query])[:, :, 0],
            direct=self.toward(given, queries=[query])[:, :, 0],
        )

    def _at(
        self, heads: Indices, queries: Indices, keys: Indices
    ) -> tuple[Int64[Tensor, " heads"], Int64[Tensor, " queries"], Int64[Tensor, " keys"]]:
        """The chosen heads, queries and keys."""
        return (
            resolve("head", heads, self.terms.heads),
            resolve("query position", queries, self.terms.length),
            resolve("key position", keys, self.terms.length),
        )

    @property
    def _of_head(self) -> Float[Tensor, "head model dim"]:
        """W_h of each head."""
        of_head: Tensor = self.projection.unflatten(1, (self.terms.heads, -1)).transpose(0, 1)
        return of_head

    @cached_property
    def _triangles(self) -> Float[Tensor, "head rank dim"]:
        """R of W_h = Q·R of each head."""
        triangles: Tensor = torch.linalg.qr(self._of_head, mode="r")[1]
        return triangles

    def _along(
        self,
        direction: Float[Tensor, "*shape"],
        heads: Int64[Tensor, " heads"],
        queries: Int64[Tensor, " queries"],
    ) -> Float[Tensor, "batch queries heads dim"]:
        """scale·s ∘ (W_hᵀ·d), whose product with a channel of y is its component along d."""
        width = len(self.projection)
        each = (self.terms.batch, len(queries), width)
        if direction.shape not in ((width,), each):
            raise ValueError(
                f"The direction is of shape {tuple(direction.shape)}; give one for all queries, ({width},), "
                f"or one for each of the chosen queries, {each}."
            )
        W = _chosen(self._of_head, 0, heads)
        read = torch.einsum("...d,hdp->...hp", direction.to(W), W)
        s = _chosen(_chosen(self.passed, 1, queries), 2, heads)
        along: Tensor = self.scale * s * read
        return along


@dataclass(frozen=True, eq=False, kw_only=True)
class ContributionTerms(SSDTerms):
    """The terms of one layer and what they add to the residual stream, for pictures of contributions.

    `direction` is one of the residual stream, for each query: that of a logit, from `logit_direction`.
    """

    parts: Contributions
    direction: Float[Tensor, "batch seq model"] | None = None

    @staticmethod
    def of(
        parts: Contributions, direction: Float[Tensor, "batch seq model"] | None = None
    ) -> ContributionTerms:
        """The terms of these parts."""
        return ContributionTerms(**vars(parts.terms), parts=parts, direction=direction)

    def lengthened(self, length: int) -> SSDTerms:
        """The terms without contributions, lengthened as `SSDTerms` are."""
        return self.parts.terms.lengthened(length)

    def directions(self, queries: Indices) -> Float[Tensor, "batch queries model"]:
        """The direction at each of some queries; ValueError if there is none."""
        if self.direction is None:
            raise ValueError(
                "These terms have no direction to measure contributions along. Give one, such as that of a "
                "logit: contribution_terms(bridge, cache, layer, target, foil)."
            )
        return _chosen(self.direction, 1, resolve("query position", queries, self.length))


def contribution_norms(
    terms: ContributionTerms, *, heads: Indices = None, queries: Indices = None, keys: Indices = None
) -> Float32[Tensor, "batch heads queries keys"]:
    """`Contributions.norms` of the terms."""
    return terms.parts.norms(heads=heads, queries=queries, keys=keys)


def contributions_toward(
    terms: ContributionTerms, *, heads: Indices = None, queries: Indices = None, keys: Indices = None
) -> Float32[Tensor, "batch heads queries keys"]:
    """`Contributions.toward` along the direction of the terms."""
    return terms.parts.toward(terms.directions(queries), heads=heads, queries=queries, keys=keys)


def skip_norms(
    terms: ContributionTerms, *, heads: Indices = None, queries: Indices = None
) -> Float32[Tensor, "batch heads queries"]:
    """`Contributions.skip_norms` of the terms."""
    return terms.parts.skip_norms(heads=heads, queries=queries)


def skips_toward(
    terms: ContributionTerms, *, heads: Indices = None, queries: Indices = None
) -> Float32[Tensor, "batch heads queries"]:
    """`Contributions.skip_toward` along the direction of the terms."""
    return terms.parts.skip_toward(terms.directions(queries), heads=heads, queries=queries)


def pooled_contribution_norms(
    terms: ContributionTerms, **of: Any
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square of `contribution_norms` over each tile of a window; as `pooled_directly`."""
    return pooled_directly(contribution_norms, terms, **of)


def pooled_contributions_toward(
    terms: ContributionTerms, **of: Any
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square of `contributions_toward` over each tile of a window; as `pooled_directly`."""
    return pooled_directly(contributions_toward, terms, **of)


def _chosen(
    tensor: Float[Tensor, "*shape"], dim: int, index: Int64[Tensor, " index"]
) -> Float[Tensor, "*chosen"]:
    """The entries at an index; a view where it is a range, since x outgrows most results."""
    if len(index) and bool((index.diff() == 1).all()):
        return tensor.narrow(dim, int(index[0]), len(index))
    return tensor.index_select(dim, index.to(tensor.device))


def _blocks(of_one: int, heads: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Blocks of heads and rows, each within BLOCK_BYTES where one row of one head takes `of_one` bytes."""
    room = max(1, BLOCK_BYTES // max(of_one, 1))
    high = min(room, max(rows, 1))
    wide = max(1, room // high)
    for first in range(0, heads, wide):
        for top in range(0, rows, high):
            yield slice(first, min(first + wide, heads)), slice(top, min(top + high, rows))
