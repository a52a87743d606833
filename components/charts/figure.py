"""A chart and, separate from it, the tables it draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from components.charts.axes import CANVAS

Table = pd.DataFrame | Mapping[str, "np.ndarray | Sequence[Any]"]
"""Columns by name. Pandas takes longer to make a short table than a browser to draw it, so charts that are
drawn at every pick have a dictionary."""


@dataclass(frozen=True, eq=False)
class Figure:
    """An Altair chart without data, and the tables that it draws by their names.

    One such chart serves every head and every text. Altair takes a tenth of a second to check and copy a
    chart, and a browser as long to build its view, so both do it once: given the same chart with other
    tables, a page keeps its view and redraws the tables.
    """

    chart: Mapping[str, Any]
    """The Vega-Lite specification as Altair `built` it. Shared between figures: read only."""
    data: Mapping[str, Table]
    """The tables by name."""

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables in pandas, by name."""
        return {name: pd.DataFrame(table) for name, table in self.data.items()}

    def specification(self) -> dict[str, Any]:
        """The specification with the tables inside, row by row: all that a figure needs."""
        rows = {name: alt.to_values(table)["values"] for name, table in self.tables.items()}
        return {**self.chart, "datasets": rows}

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> Any:
        """What a notebook shows."""
        return alt.LayerChart.from_dict(self.specification())._repr_mimebundle_(*args, **options)


def built(chart: alt.LayerChart) -> dict[str, Any]:
    """The specification of a chart; inline values stay inline."""
    specification: dict[str, Any] = chart.to_dict()
    if specification.get("usermeta") == CANVAS:  # its marks are no elements that ARIA could label
        specification["config"]["aria"] = False
    moved = specification.pop("datasets", {})
    for layer in specification["layer"]:
        if layer["data"]["name"] in moved:
            layer["data"] = {"values": moved[layer["data"]["name"]]}
    return specification


def rows_of(table: str) -> alt.Chart:
    """A chart of the table with this name."""
    return alt.Chart(alt.NamedData(table))


def inline(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of rows that are the same in every figure."""
    return alt.Chart(alt.InlineData(values=rows))


def data_only(table: str) -> alt.Chart:
    """A layer that draws nothing: expressions can read a table only if a layer uses it."""
    nothing: alt.Chart = rows_of(table).transform_filter("false").mark_point()
    return nothing


def read(name: str, table: str, column: str) -> alt.Parameter:
    """A parameter `name`: the column of a table as a list."""
    return alt.param(name=name, expr=f"pluck(data('{table}'), '{column}')")


def scene_param(name: str) -> alt.Parameter:
    """A parameter that is the column `name` of the only row of the table "scene"."""
    return alt.param(name=name, expr=f"data('scene')[0].{name}")


def scene(**facts: Any) -> dict[str, list[Any]]:
    """The table "scene": one row of facts about the whole chart."""
    return {name: [fact] for name, fact in facts.items()}
