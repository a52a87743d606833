"""Rows of a layer's matrix that a hook replaced: a run used them instead of the formula's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor


@dataclass(frozen=True, eq=False)
class EditedRows:
    """The rows of query positions from `start`; keys after the last column are after all of these queries."""

    start: int
    matrix: Float[Tensor, "batch head row key"]

    def detached(self) -> EditedRows:
        """The same rows, detached from the graph."""
        return EditedRows(self.start, self.matrix.detach())

    @property
    def stop(self) -> int:
        """The first query position after them."""
        return self.start + self.matrix.shape[2]


def put_rows(
    out: Float[Tensor, "batch heads queries keys"],
    edited: Iterable[EditedRows],
    heads: Int64[Tensor, " heads"],
    queries: Int64[Tensor, " queries"],
    keys: Int64[Tensor, " keys"],
    column_scale: Float[Tensor, "batch heads keys"] | None = None,
) -> None:
    """Write edited rows into a window, in place; `column_scale` multiplies columns."""
    for rows in edited:
        i = torch.nonzero((queries >= rows.start) & (queries < rows.stop)).flatten()
        j = torch.nonzero(keys < rows.matrix.shape[3]).flatten()
        device = rows.matrix.device
        part = rows.matrix.index_select(1, heads.to(device))
        part = part.index_select(2, (queries[i] - rows.start).to(device))
        part = part.index_select(3, keys[j].to(device))
        if column_scale is not None:
            part = part * column_scale[:, :, None, j.to(device)]
        out[:, :, i[:, None].to(out.device), j.to(out.device)] = part.to(out)
