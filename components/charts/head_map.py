"""The head map: one cell per layer and head, coloured by a measure; a click picks the head."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import altair as alt
import pandas as pd

from components.charts.axes import EDGE, FILL_WIDTH, LABEL_SIZE, TITLE_SIZE, readable_axis, type_scale
from components.charts.colours import ACCENT, BACKGROUND, graded
from components.charts.figure import Figure, built, rows_of, scene, scene_param, undrawn

PICK = "head"
"""Name of the point selection; it holds `layer` and `head` of the clicked cell."""

_CELL_HEIGHT, _LEAST_HEIGHT, _MOST_HEIGHT = 26, 104, 416


@dataclass(frozen=True)
class Measure:
    """A figure per head that the map can show: its column in a `measure_table`, its name and its meaning."""

    column: str
    label: str
    meaning: str


MEASURES = (
    Measure("mean_distance", "Mean distance", "Tokens between a query and what it reads, weighted by |M|."),
    Measure("half_life", "Half-life", "Tokens after which half of what was written is left, at the mean dt."),
)


def head_map_chart(
    measures: pd.DataFrame, measure: Measure, picked: tuple[int, int], *, larger: bool = False
) -> Figure:
    """Layers down, heads across; `measures` is a `measure_table` and `picked` the framed (layer, head).

    Half-lives span powers of ten and are coloured by their logarithm. The frame is drawn from `picked`, not
    from the selection, so a click beside the cells takes nothing away. `larger` type is for a projector.
    """
    values = measures[measure.column]
    finite = values[values.abs() < float("inf")]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    tables = {
        "scene": scene(low=low, high=high),
        "heads": measures.assign(shown=values.clip(upper=high)),
        "picked": pd.DataFrame([picked], columns=["layer", "head"]),
    }
    logarithmic = measure.column == "half_life" and low > 0
    return Figure(_chart(measure.label, measures["layer"].nunique(), logarithmic, larger), tables)


@cache
def _chart(label: str, layers: int, logarithmic: bool, larger: bool) -> dict[str, Any]:
    scale = type_scale(larger)
    pick = alt.selection_point(name=PICK, fields=["layer", "head"], on="click", clear=False, toggle=False)
    place = {
        "x": alt.X("head:O", axis=readable_axis("head", scale, labelAngle=0)),
        "y": alt.Y("layer:O", axis=readable_axis("layer", scale)),
    }
    cells = (
        rows_of("heads")
        .mark_rect(cursor="pointer", stroke=BACKGROUND, strokeWidth=1)
        .encode(
            **place,
            color=alt.Color(
                "shown:Q",
                scale=graded("low", "high", logarithmic=logarithmic),
                legend=alt.Legend(
                    title=f"{label.lower()}, tokens",
                    orient="top",
                    direction="horizontal",
                    gradientLength=180,
                    gradientThickness=10,
                    tickCount=3,
                    format=".2~r",
                    labelFontSize=LABEL_SIZE * scale,
                    titleFontSize=TITLE_SIZE * scale,
                    titlePadding=4,
                    labelPadding=2,
                    offset=4,
                    padding=0,
                ),
            ),
            tooltip=[
                alt.Tooltip("layer:O"),
                alt.Tooltip("head:O"),
                alt.Tooltip("mean_distance:Q", title="mean distance", format=".3~r"),
                alt.Tooltip("half_life:Q", title="half-life", format=".3~r"),
            ],
        )
        .add_params(pick)
    )
    frame = rows_of("picked").mark_rect(fill=None, stroke=ACCENT, strokeWidth=3, tooltip=None).encode(**place)
    return built(
        alt.LayerChart(layer=[cells, frame, undrawn("scene")])
        .add_params(scene_param("low"), scene_param("high"))
        .properties(
            height=min(max(layers * _CELL_HEIGHT * scale, _LEAST_HEIGHT), _MOST_HEIGHT),
            autosize=FILL_WIDTH,
            padding=EDGE,
        )
    )
