"""The settings that decide how the panels' view looks, apart from its data."""

from __future__ import annotations

from dataclasses import dataclass

import altair as alt

from components.charts.axes import type_scale
from components.charts.colours import amount, diverging, strength_expr
from components.ssd import Factor, Kind


@dataclass(frozen=True)
class Look:
    """One specification serves all heads and texts of a look."""

    kind: Kind
    shown: Factor
    """What the last panel shows: attention, or one of the kind's readings."""
    unsigned: bool
    """Whether it has no sign, whatever its nature."""
    with_bars: bool
    """Whether bars of a row stand below the text."""
    logarithmic: bool
    larger: bool
    """Type for a projector."""
    with_brushes: bool
    """Whether a drag opens a window or a span."""

    @property
    def scale(self) -> float:
        """Factor of the type size."""
        return type_scale(self.larger)

    @property
    def panels(self) -> list[str]:
        """The factors, one panel each, by name."""
        return [factor.name for factor in self.kind.factors]

    @property
    def each_panel(self) -> list[dict[str, int]]:
        """Rows of a chart that draws the same in every panel."""
        return [{"panel": panel} for panel in range(len(self.panels))]

    @property
    def shown_title(self) -> str:
        """The name of what is shown beside a number."""
        return self.shown.label or self.shown.name

    @property
    def of_row(self) -> str:
        """What a row is of its query: what it reads or, of anything but attention, that by name."""
        return f"shaded by the {self.shown.label} of" if self.shown.label else "read by"

    @property
    def operators(self) -> tuple[str, ...]:
        """Signs between the panels."""
        own = self.shown.operator
        return (*self.kind.operators[:-1], own) if own else self.kind.operators

    def is_unsigned(self, factor: Factor) -> bool:
        """Whether the colours of a factor start at zero."""
        return self.unsigned if factor is self.kind.attention else not factor.signed

    def colours(self, factor: Factor) -> alt.Scale:
        """The colour scale of a factor's panel; the text and the bars use attention's."""
        return amount() if self.is_unsigned(factor) else diverging()

    def strength(self, value: str, limit: str) -> str:
        """Vega expression: the position of a value on the colour scale that is full at `limit`."""
        return strength_expr(value, limit, logarithmic=self.logarithmic)
