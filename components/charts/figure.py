"""A picture and, apart from it, the tables it draws."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import CANVAS


@dataclass(frozen=True, eq=False)
class Figure:
    """An Altair chart without a number in it, and the tables that it draws by their names.

    One such chart serves every head and every text. Checking and copying a chart takes Altair a tenth of a
    second and a browser as long to build what it describes, so that is done once: a page that is given the
    same chart with other tables keeps what it has built and draws the tables anew.
    """

    chart: Mapping[str, Any]
    """The Vega-Lite specification as Altair `built` it. Shared between figures: read only."""
    tables: Mapping[str, pd.DataFrame]

    def specification(self) -> dict[str, Any]:
        """The specification with the tables inside, row by row: all that it takes to draw the figure."""
        rows = {name: alt.to_values(table)["values"] for name, table in self.tables.items()}
        return {**self.chart, "datasets": rows}

    def _repr_mimebundle_(self, *args: Any, **options: Any) -> Any:
        """What a notebook shows."""
        return alt.LayerChart.from_dict(self.specification())._repr_mimebundle_(*args, **options)


def built(chart: alt.LayerChart) -> dict[str, Any]:
    """The specification of a chart; values that stand in it stay where they are."""
    specification: dict[str, Any] = chart.to_dict()
    if specification.get("usermeta") == CANVAS:  # its marks are no elements, which could be described
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
    """A layer that draws nothing: a table is only there for expressions if something is made of it."""
    nothing: alt.Chart = rows_of(table).transform_filter("false").mark_point()
    return nothing


def read(name: str, table: str, column: str) -> alt.Parameter:
    """A parameter `name`: the column of a table as a list."""
    return alt.param(name=name, expr=f"pluck(data('{table}'), '{column}')")


def scene_param(name: str) -> alt.Parameter:
    """A parameter that is the column `name` of the only row of the table "scene"."""
    return alt.param(name=name, expr=f"data('scene')[0].{name}")


def scene(**facts: Any) -> pd.DataFrame:
    """The table "scene": what is said once of the whole picture."""
    return pd.DataFrame([facts])
