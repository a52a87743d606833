"""The linked panels of one head, content C·Bᵀ ∘ decay L = attention M, the text and the bars of a row."""

from components.charts.panels.chart import panels_chart
from components.charts.panels.pointer import OPEN_SPAN, OPEN_WINDOW, PICK_QUERY

__all__ = ["OPEN_SPAN", "OPEN_WINDOW", "PICK_QUERY", "panels_chart"]
