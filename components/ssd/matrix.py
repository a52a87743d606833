"""A matrix of any origin, given entry by entry, to show as the attention of a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, Float32
from torch import Tensor
from torch.nn import functional as F

from components.ssd.attention import position_range, resolve
from components.ssd.pooling import check_statistic, tile_edges


@dataclass(frozen=True, eq=False)
class MatrixTerms:
    """Weights that queries give to keys, zero above the diagonal; see `from_matrix`."""

    kind: ClassVar[str] = "matrix"

    entries: Float32[Tensor, "batch head seq seq"]

    @staticmethod
    def from_matrix(matrix: Float[Tensor, "seq seq"]) -> MatrixTerms:
        """Terms of one text and one head, from a matrix [query, key].

        Raises ValueError for entries that are not finite, or not zero above the diagonal, where the key comes
        after the query.
        """
        if not torch.isfinite(matrix).all():
            raise ValueError("The matrix has entries that are not finite; replace them, for example with 0.")
        if matrix.triu(1).any():
            raise ValueError(
                "The matrix has entries above the diagonal, where the key comes after the query; these are "
                "not drawn. Clear them: torch.tril(matrix), or numpy.tril(matrix)."
            )
        return MatrixTerms(matrix.detach().float()[None, None])

    @property
    def batch(self) -> int:
        """Number of texts."""
        return self.entries.shape[0]

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.entries.shape[2]

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.entries.shape[1]

    @property
    def heads_per_group(self) -> int:
        """One: heads share nothing."""
        return 1

    def lengthened(self, length: int) -> MatrixTerms:
        """The terms with the text padded to `length` by tokens that neither read nor are read."""
        more = length - self.length
        return MatrixTerms(F.pad(self.entries, (0, more, 0, more)))


def matrix_entries(
    terms: MatrixTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    queries: slice | Sequence[int] | None = None,
    keys: slice | Sequence[int] | None = None,
) -> Float32[Tensor, "batch heads queries keys"]:
    """The entries; arguments and errors as for `effective_attention`."""
    out = terms.entries
    for dim, (what, chosen) in enumerate(
        (("head", heads), ("query position", queries), ("key position", keys)), start=1
    ):
        out = out.index_select(dim, resolve(what, chosen, terms.entries.shape[dim]).to(out.device))
    return out


def pooled_entries(
    terms: MatrixTerms,
    *,
    heads: slice | Sequence[int] | None = None,
    tiles: int = 128,
    queries: slice | None = None,
    keys: slice | None = None,
    statistic: str = "mean",
) -> Float32[Tensor, "batch heads query_tiles key_tiles"]:
    """Mean or root mean square over each tile of a window; arguments and errors as for `pooled_attention`."""
    check_statistic(statistic)
    out = matrix_entries(terms, heads=heads, queries=queries, keys=keys)
    out = out if statistic == "mean" else out.square()
    for dim, (what, positions) in ((2, ("queries", queries)), (3, ("keys", keys))):
        sizes = tile_edges(len(position_range(what, positions, terms.length)), tiles).diff()
        tile = torch.repeat_interleave(sizes).to(out.device)
        shape = [len(sizes) if d == dim else size for d, size in enumerate(out.shape)]
        sums = out.new_zeros(shape).index_add_(dim, tile, out)
        out = sums / sizes.to(out.device).reshape([-1 if d == dim else 1 for d in range(4)])
    return out if statistic == "mean" else out.sqrt_()
