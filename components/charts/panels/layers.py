"""What stands in the panels' view: pictures, labels, marks of the shown cell, words."""

from __future__ import annotations

from typing import Any

import altair as alt

from components.charts.axes import LABEL_SIZE, readable_axis
from components.charts.colours import (
    ACCENT,
    AMOUNT,
    FAINT,
    INK,
    IS_DARK,
    QUIET,
    amount,
    diverging,
    strength_expr,
    value_at_expr,
)
from components.charts.figure import rows_of
from components.charts.panels.geometry import (
    DT_HEIGHT,
    FILLED,
    FILLED_ACROSS,
    GAP,
    dt_room,
    label_limit,
    label_size,
)
from components.ssd import Factor, Kind


def across(field: str) -> alt.X:
    """`field` in pixels from the left."""
    return alt.X(f"{field}:Q", scale=None, axis=None)


def down(field: str) -> alt.Y:
    """`field` in pixels from the top."""
    return alt.Y(f"{field}:Q", scale=None, axis=None)


def inline(rows: list[dict[str, Any]]) -> alt.Chart:
    """A chart of rows that are the same for every head and text."""
    return alt.Chart(alt.InlineData(values=rows))


class Layers:
    """The layers of a look: of a kind of head, with dt or without, with attention that has a sign or none."""

    def __init__(self, kind: Kind, with_dt: bool, unsigned: bool, logarithmic: bool, scale: float) -> None:
        self.kind, self.with_dt, self.unsigned, self.scale = kind, with_dt, unsigned, scale
        self.logarithmic = logarithmic
        self.panels = [factor.name for factor in kind.factors]
        self.places = [{"place": place} for place in range(len(self.panels))]
        self.attention = kind.attention_with(dt=with_dt)
        self.attention_title = self.attention.label or self.attention.name

    def strength(self, value: str, limit: str) -> str:
        """Vega expression: how far a value is on the scale of colours that is full at `limit`."""
        return strength_expr(value, limit, logarithmic=self.logarithmic)

    def attention_colours(self) -> alt.Scale:
        """Those of the last panel, of the text and of the bars."""
        return amount() if self.unsigned else diverging()

    def legends(self) -> list[alt.Chart]:
        """The colour bars of the panels, beside their titles. What carries them is invisible."""
        return [self._legend(factor, place) for place, factor in enumerate(self.kind.factors)]

    def _legend(self, factor: Factor, place: int) -> alt.Chart:
        limit = f"{factor.name}_limit" if factor.limit is None else f"{factor.limit:g}"
        unsigned = self.unsigned if factor is self.kind.attention else not factor.signed
        colours = amount() if unsigned else diverging()
        # In a triangle it ends above the cells.
        length = f"clamp(side - {62 * self.scale + 20}, 50, {120 * self.scale})"
        value = value_at_expr("datum.value", limit, logarithmic=self.logarithmic)
        legend = alt.Legend(
            title=None,
            orient="none",
            direction="horizontal",
            legendX=alt.ExprRef(f"lefts[{place}] + side - {length} - 10"),
            legendY=alt.ExprRef(f"tops[{place}] - head_room + {34 * self.scale}"),
            gradientLength=alt.ExprRef(length),
            gradientThickness=10,
            values=[0, 0.5, 1] if unsigned else [-1, 0, 1],
            labelExpr=f"format({value}, '.2~g')",
            labelFontSize=LABEL_SIZE * self.scale,
            labelColor=QUIET,
            padding=0,
        )
        carrier: alt.Chart = inline([{"value": 0}]).mark_point(size=0, opacity=0, tooltip=None)
        return carrier.encode(color=alt.Color("value:Q", scale=colours, legend=legend))

    def feelers(self) -> list[alt.Chart]:
        """The rows of each panel, open to a press but not drawn, with the panel's labels."""
        return [self._feeler(place) for place in range(len(self.panels))]

    def _feeler(self, place: int) -> alt.Chart:
        wide = [alt.ExprRef(f"lefts[{place}]"), alt.ExprRef(f"lefts[{place}] + side")]
        high = [alt.ExprRef(f"tops[{place}]"), alt.ExprRef(f"tops[{place}] + side")]
        feeler: alt.Chart = (
            rows_of("queries")
            .transform_calculate(
                start="0", end="datum.reach", low="datum.row + 1", stamp="now() + 0 * press_x[0]"
            )
            .mark_rect(opacity=0, cursor="pointer")
            .encode(
                x=alt.X(
                    "start:Q",
                    scale=alt.Scale(domain=[0, alt.ExprRef("key_slots")], range=wide, nice=False, zero=False),
                    axis=self._key_axis(place),
                ),
                x2="end",
                y=alt.Y(
                    "row:Q",
                    scale=alt.Scale(domain=[0, alt.ExprRef("row_slots")], range=high, nice=False, zero=False),
                    axis=self._query_axis(place),
                ),
                y2="low",
                # No tooltip of their own, but a channel for one, else Vega-Lite shuts them to the pointer.
                tooltip=alt.value(None),
            )
        )
        return feeler

    def _query_axis(self, place: int) -> alt.Axis:
        """Rows left of the first panel, or of each where they stand one below the other."""
        here = "true" if place == 0 else "stacked"
        return self._tile_axis(
            "query i",
            "row",
            f"{here} ? rows : 0",
            "labels",
            orient="left",
            titleAnchor="start",
            titleAlign="center",
            titleY=alt.ExprRef(f"tops[{place}] + side * 0.5 * {FILLED}"),
            titleOpacity=alt.ExprRef(f"{here} ? 1 : 0"),
            labelLimit=alt.ExprRef(label_limit(self.scale)),
        )

    def _key_axis(self, place: int) -> alt.Axis:
        """Columns under the panel at `place`, the title under their middle."""
        below = f"stacked && {place} !== 1 ? 0 : {dt_room(self.with_dt, self.scale)}"
        return self._tile_axis(
            "key j",
            "key",
            "columns",
            "key_labels",
            orient="bottom",
            offset=alt.ExprRef(f"tops[{place}] + side * {FILLED} + ({below}) - height"),
            labelAngle=-90,
            titleAnchor="start",
            titleAlign="center",
            titleX=alt.ExprRef(f"lefts[{place}] + side * 0.5 * {FILLED_ACROSS}"),
            labelLimit=alt.ExprRef(label_limit(self.scale)),
        )

    def _tile_axis(self, title: str, what: str, count: str, labels: str, **options: Any) -> alt.Axis:
        """Labels at the middle of their slots. Vega drops evenly what does not fit; none is cut in two."""
        return readable_axis(
            title,
            self.scale,
            values=alt.ExprRef(f"sequence(0.5, {count}, step)"),
            labelExpr=f"{labels}[floor(datum.value)]",
            labelFontSize=alt.ExprRef(label_size(what, self.scale)),
            labelSeparation=-2,
            labelBound=False,
            labelFlush=False,
            grid=False,
            ticks=False,
            domain=False,
            **options,
        )

    def pictures(self) -> alt.Chart:
        """The matrices."""
        pictures: alt.Chart = (
            rows_of("pictures")
            .transform_calculate(
                url=f"{IS_DARK} ? datum.dark : datum.light", x="lefts[datum.place]", y="tops[datum.place]"
            )
            .mark_image(
                align="left",
                baseline="top",
                width=alt.ExprRef(f"side * {FILLED_ACROSS}"),
                height=alt.ExprRef(f"side * {FILLED}"),
                aspect=False,
                smooth=False,
                tooltip=None,
            )
            .encode(x=across("x"), y=down("y"), url="url:N")
        )
        return pictures

    def edges(self) -> list[alt.Chart]:
        """The left and the lower edge of each picture."""
        sides = (
            inline(self.places)
            .transform_calculate(
                left="lefts[datum.place]",
                right=f"datum.left + side * {FILLED_ACROSS}",
                top="tops[datum.place]",
                bottom=f"datum.top + side * {FILLED}",
            )
            .mark_rule(stroke=FAINT, tooltip=None)
        )
        return [
            sides.encode(x=across("left"), y=down("top"), y2="bottom"),
            sides.encode(x=across("left"), x2="right", y=down("bottom")),
        ]

    def dt_bars(self) -> list[alt.Chart]:
        """The dt of each key below the decay: how strongly it was written; its largest stands beside."""
        base = f"(tops[1] + side * {FILLED} + {DT_HEIGHT * self.scale + 4})"
        bars: alt.Chart = (
            rows_of("keys")
            .transform_window(place="row_number()")
            .transform_calculate(
                x="lefts[1] + side * (datum.place - 1) / key_slots",
                x_end="datum.x + 0.85 * side / key_slots",
                base=base,
                top=f"{base} - datum.dt / dt_limit * {DT_HEIGHT * self.scale}",
            )
            .mark_rect(
                fill=alt.ExprRef(f"{IS_DARK} ? '{AMOUNT.dark[1]}' : '{AMOUNT.light[1]}'"), tooltip=None
            )
            .encode(x=across("x"), x2="x_end", y=down("base"), y2="top")
        )
        # Beside the bars; where no panel leaves room there, above them, in the gap.
        words: list[dict[str, Any]] = [{"line": 0, "up": DT_HEIGHT * self.scale - 8}, {"line": 1, "up": 5}]
        name = (
            inline(words)
            .transform_calculate(
                x=f"lefts[1] + side * {FILLED_ACROSS} + 5",
                y=f"{base} - datum.up",
                text="datum.line === 0 ? 'dt of key j' : 'up to ' + format(dt_limit, '.2~g')",
            )
            .transform_filter("!stacked || columns < key_slots")
            .mark_text(fontSize=12 * self.scale, color=QUIET, baseline="middle", align="left", tooltip=None)
            .encode(x=across("x"), y=down("y"), text="text:N")
        )
        return [bars, name]

    def marks_of_shown(self) -> list[alt.Chart]:
        """Query row, key column and frame of the shown cell in every panel; and, while another is pointed at,
        the kept row, dashed.
        """
        shown = (
            inline(self.places)
            .transform_filter("row >= 0")
            .transform_calculate(
                i="query_starts[row]",
                stamp="now() + 0 * press_x[0]",
                query="query_places[row]",
                query_text="query_texts[row]",
                key="key_places[key]",
                key_text="key_texts[key]",
                **{name: f"{name}s[cell]" for name in self.panels},
                **({"dt": "dts[key]"} if self.kind.step_size else {}),
                left="lefts[datum.place]",
                x="datum.left + side * key / key_slots",
                x_end="datum.x + side / key_slots",
                row_end="datum.left + side * reach[row] / key_slots",
                y="tops[datum.place] + side * row / row_slots",
                y_end="datum.y + side / row_slots",
                top="tops[datum.place] + side * tops_of_keys[key] / row_slots",
                bottom=f"tops[datum.place] + side * {FILLED}",
            )
        )
        kept = (
            inline(self.places)
            .transform_filter("pointing && kept_row >= 0 && kept_row !== row")
            .transform_calculate(
                left="lefts[datum.place]",
                row_end="datum.left + side * reach[kept_row] / key_slots",
                y="tops[datum.place] + side * kept_row / row_slots",
                y_end="datum.y + side / row_slots",
            )
            .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1, strokeDash=[3, 3], tooltip=None)
        )
        band = shown.mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        frame = shown.mark_rect(fill="transparent", stroke=ACCENT, strokeWidth=3, cursor="pointer")
        return [
            kept.encode(x=across("left"), x2="row_end", y=down("y"), y2="y_end"),
            band.encode(x=across("left"), x2="row_end", y=down("y"), y2="y_end"),
            band.encode(x=across("x"), x2="x_end", y=down("top"), y2="bottom"),
            frame.encode(
                x=across("x"),
                x2="x_end",
                y=down("y"),
                y2="y_end",
                tooltip=[
                    alt.Tooltip("query:N", title="query i"),
                    alt.Tooltip("query_text:N", title="query token"),
                    alt.Tooltip("key:N", title="key j"),
                    alt.Tooltip("key_text:N", title="key token"),
                    *self._figures(),
                ],
            ),
        ]

    def marks_of_span(self) -> list[alt.Chart]:
        """In every panel, the rows that a span of the text reads with, or the columns in which it is read."""
        spans = (
            inline(self.places)
            .transform_filter("summed && span_to > span_from")
            .transform_calculate(
                x="lefts[datum.place] + (read_by ? side * span_from / key_slots : 0)",
                x_end="lefts[datum.place] + side * (read_by ? span_to : reach[span_to - 1]) / key_slots",
                y="tops[datum.place] + side * (read_by ? tops_of_keys[span_from] : span_from) / row_slots",
                y_end=f"tops[datum.place] + side * (read_by ? {FILLED} : span_to / row_slots)",
            )
            .mark_rect(fill=None, stroke=ACCENT, strokeWidth=1.5, tooltip=None)
        )
        return [spans.encode(x=across("x"), x2="x_end", y=down("y"), y2="y_end")]

    def _figures(self) -> list[alt.Tooltip]:
        """The numbers of the shown cell."""
        *factors, _ = self.kind.factors
        names = {factor.name: factor.label or factor.name for factor in factors}
        names |= {"dt": "dt of key"} if self.kind.step_size else {}
        names |= {"attention": self.attention_title}
        return [alt.Tooltip(f"{name}:Q", title=title, format=".3~g") for name, title in names.items()]

    def words(self) -> list[alt.Chart]:
        """Titles, operators and the figures of the shown cell, in the empty upper triangles or above."""
        *factors, _ = self.kind.factors
        names, operators = [factor.title for factor in (*factors, self.attention)], self.kind.operators
        titles = [
            {
                "place": place,
                "y": 12,
                "y_above": 10,
                "text": name,
                # One below the other, the panels leave no gap for an operator.
                "after": f"{operators[place - 1]}  {name}" if place else name,
            }
            for place, name in enumerate(names)
        ]
        figures = [
            {"place": place, "y": 94, "y_above": 10, "name": name} for place, name in enumerate(self.panels)
        ]
        notes = [
            {"place": place, "y": 70, "y_above": 70, "name": name} for place, name in enumerate(self.panels)
        ]
        shown = ", ".join(f"{name}: {name}s[cell]" for name in self.panels)
        sentence = [
            {"place": 0, "y": 116, "y_above": 38, "of": "row"},
            {"place": 0, "y": 133, "y_above": 55, "of": "key"},
            {"place": 0, "y": 150, "y_above": 72, "of": "state"},
        ]
        gaps = [{"place": place, "text": text} for place, text in enumerate(operators)]
        return [
            self._beside(
                titles,
                17,
                INK,
                left_above=True,
                text="stacked && note === '' ? datum.after : datum.text",
                fontWeight="bold",
            ),
            self._between(gaps, 60.0, 34.0),
            *([self._between([{"place": 1, "text": "· dt"}], 34.0, 20.0)] if self.with_dt else []),
            *(self._about() if self.kind.about else []),
            self._beside(
                notes,
                12,
                QUIET,
                text="replace(note, '{}', datum.name === 'attention' ? statistic : 'mean')",
            ),
            self._beside(
                figures,
                20,
                ACCENT,
                fontWeight="bold",
                text=f"format({{{shown}}}[datum.name], '.3~g')",
            ).transform_filter("row >= 0"),
            self._beside(
                sentence,
                13,
                ACCENT,
                left_above=True,
                limit=alt.ExprRef(f"side - {140 * self.scale}"),  # up to the cells, or up to the legend
                text="datum.of === 'row' ? 'query ' + query_places[row] + '  ' + query_texts[row]"
                " : datum.of === 'key' ? 'reads key ' + key_places[key] + '  ' + key_texts[key]"
                " : pointing ? 'pointed at' : 'kept'",
            ).transform_filter("row >= 0"),
        ]

    def _between(self, rows: list[dict[str, Any]], y: float, size: float) -> alt.Chart:
        """Operators in the gap after the panel at `place`. The mean of a product is not the product of the
        means, so tiles have none.
        """
        words: alt.Chart = (
            inline(rows)
            .transform_filter("note === '' && !stacked")
            .transform_calculate(
                x=f"lefts[datum.place] + side * {1 + GAP / 2}",
                y=f"tops[datum.place] - head_room + {y * self.scale}",
            )
            .mark_text(
                fontSize=size * self.scale, color=QUIET, baseline="middle", align="center", tooltip=None
            )
        )
        return words.encode(x=across("x"), y=down("y"), text="text:N")

    def _about(self) -> list[alt.Chart]:
        """Words in the place of a third panel."""
        rows = [{"line": line, "text": text} for line, text in enumerate(self.kind.about)]
        words: alt.Chart = (
            inline(rows)
            .transform_calculate(
                x="lefts[2]",
                y=f"tops[2] - head_room + {12 * self.scale} + {18 * self.scale} * datum.line",
            )
            .mark_text(fontSize=13 * self.scale, color=QUIET, baseline="middle", align="left", tooltip=None)
        )
        return [words.encode(x=across("x"), y=down("y"), text="text:N")]

    def _beside(
        self,
        rows: list[dict[str, Any]],
        size: int,
        colour: Any,
        *,
        left_above: bool = False,
        text: str = "datum.text",
        **mark: Any,
    ) -> alt.Chart:
        """Text at the right edge of its panel, at `y`; or above it at `y_above`, perhaps at the left edge."""
        at = [row | {y: row[y] * self.scale for y in ("y", "y_above")} for row in rows]
        leftwards = "head_room > 0" if left_above else "false"
        words: alt.Chart = (
            inline(at)
            .transform_calculate(
                x=f"lefts[datum.place] + ({leftwards} ? 0 : side)",
                height="tops[datum.place] - head_room + (head_room > 0 ? datum.y_above : datum.y)",
                words=text,
            )
            .mark_text(
                fontSize=size * self.scale,
                color=colour,
                baseline="middle",
                align=alt.ExprRef(f"{leftwards} ? 'left' : 'right'"),
                tooltip=None,
                **mark,
            )
        )
        return words.encode(x=across("x"), y=down("height"), text="words:N")
