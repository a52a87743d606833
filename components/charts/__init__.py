"""Tidy tables in, Altair charts out. Nothing here knows of models or pages."""

from components.charts.decay_curves import decay_curves_chart
from components.charts.head_map import MEASURES, PICK, Measure, head_map_chart
from components.charts.panels import panels_chart
from components.charts.tables import cell_table, measure_table, survival_table
from components.charts.tokens import visible_tokens

__all__ = [
    "MEASURES",
    "PICK",
    "Measure",
    "cell_table",
    "decay_curves_chart",
    "head_map_chart",
    "measure_table",
    "panels_chart",
    "survival_table",
    "visible_tokens",
]
