"""Tidy tables in, Altair charts out. Nothing here knows of models or pages."""

from components.charts.decay_curves import decay_curves_chart
from components.charts.figure import Figure
from components.charts.head_map import MEASURES, PICK, Measure, head_map_chart
from components.charts.panels import PICK_QUERY, panels_chart
from components.charts.row import row_chart
from components.charts.tables import cell_table, locked_limits, measure_table, row_table, survival_table
from components.charts.tokens import visible_tokens
from components.charts.words import head_in_words

__all__ = [
    "MEASURES",
    "PICK",
    "PICK_QUERY",
    "Figure",
    "Measure",
    "cell_table",
    "decay_curves_chart",
    "head_in_words",
    "head_map_chart",
    "locked_limits",
    "measure_table",
    "panels_chart",
    "row_chart",
    "row_table",
    "survival_table",
    "visible_tokens",
]
