"""Turns tidy tables into Altair charts. Nothing here depends on models or pages."""

from components.charts.alike import Alike, heads_like
from components.charts.axes import EDGE, FILL_WIDTH, readable_axis
from components.charts.cells import HeadCells, head_cells, row_table
from components.charts.colours import ACCENT, FAINT, INK, NEGATIVE, POSITIVE, QUIET
from components.charts.decay_curves import LONG_TIME, decay_curves_chart, survival_table
from components.charts.effects import effect_map_chart, memory_chart, scatter_chart, token_bars_chart
from components.charts.figure import Figure, Table
from components.charts.gallery import PICK_FROM_GALLERY, gallery_chart, gallery_tiles
from components.charts.head_map import PICK, head_map_chart
from components.charts.heads_table import measure_table
from components.charts.next_token import next_token_chart, next_token_table
from components.charts.overview import overview_picture
from components.charts.panels import OPEN_SPAN, OPEN_WINDOW, PICK_QUERY, panels_chart
from components.charts.patch_map import patch_map_chart
from components.charts.spans import Spans, in_words, spans_of
from components.charts.spread import largest_effect
from components.charts.state import (
    state_norm_chart,
    state_norm_table,
    state_shares_chart,
    state_shares_table,
)
from components.charts.sums import SpanSums, span_sums
from components.charts.tiles import attention_tiles, locked_limits, strongest_tile
from components.charts.tokens import visible_tokens
from components.charts.window import MAX_TILES, Window, in_figures, tiles_of
from components.charts.words import (
    column_in_words,
    exactness,
    head_in_words,
    how_to_read,
    power_of_ten,
    rows_in_words,
    span_in_words,
    what_is_left,
)

__all__ = [
    "ACCENT",
    "EDGE",
    "FAINT",
    "FILL_WIDTH",
    "INK",
    "LONG_TIME",
    "MAX_TILES",
    "NEGATIVE",
    "OPEN_SPAN",
    "OPEN_WINDOW",
    "PICK",
    "PICK_FROM_GALLERY",
    "PICK_QUERY",
    "POSITIVE",
    "QUIET",
    "Alike",
    "Figure",
    "HeadCells",
    "SpanSums",
    "Spans",
    "Table",
    "Window",
    "attention_tiles",
    "column_in_words",
    "decay_curves_chart",
    "effect_map_chart",
    "exactness",
    "gallery_chart",
    "gallery_tiles",
    "head_cells",
    "head_in_words",
    "head_map_chart",
    "heads_like",
    "how_to_read",
    "in_figures",
    "in_words",
    "largest_effect",
    "locked_limits",
    "measure_table",
    "memory_chart",
    "next_token_chart",
    "next_token_table",
    "overview_picture",
    "panels_chart",
    "patch_map_chart",
    "power_of_ten",
    "readable_axis",
    "row_table",
    "rows_in_words",
    "scatter_chart",
    "span_in_words",
    "span_sums",
    "spans_of",
    "state_norm_chart",
    "state_norm_table",
    "state_shares_chart",
    "state_shares_table",
    "strongest_tile",
    "survival_table",
    "tiles_of",
    "token_bars_chart",
    "visible_tokens",
    "what_is_left",
]
