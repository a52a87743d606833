import base64
import io
import json
import re
from itertools import pairwise

import altair as alt
import numpy as np
import pytest
from PIL import Image

from components.charts import (
    OPEN_WINDOW,
    PICK,
    PICK_QUERY,
    Figure,
    HeadCells,
    Window,
    decay_curves_chart,
    head_cells,
    head_map_chart,
    locked_limits,
    measure_table,
    panels_chart,
    span_sums,
    survival_table,
    visible_tokens,
)
from components.charts.colours import (
    amount_levels,
    amount_palette,
    diverging_levels,
    diverging_palette,
    strength,
)
from components.charts.picture import png_address
from components.charts.strip import ACROSS, LETTER, letters_across, lines_of, text_columns
from components.ssd import MEASURES, Head, Measure, Place, SSDTerms
from tests.charts.conftest import random_terms

DISTANCE = MEASURES["mean_distance"]


def cells_of(length: int, head: int = 0, window: Window | None = None, reading: str = "") -> HeadCells:
    tokens = [f"·token{k}" for k in range(length)]
    return head_cells(random_terms(length), head, tokens, window, reading=reading)


def panels(length: int, window: Window | None = None) -> tuple[HeadCells, Figure]:
    cells = cells_of(length, window=window)
    return cells, panels_chart(cells, pointed=(cells.window.queries[-1], cells.window.keys[0]))


WINDOWS = {
    "one token": (1, None),
    "a text": (30, None),
    "as many as are drawn": (128, None),
    "tiles": (300, None),
    "away from the diagonal": (300, Window(range(200, 260), range(20, 50))),
    "across the diagonal": (300, Window(range(10, 290), range(0, 200))),
}


def pixels(address: str) -> np.ndarray:
    picture = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    return np.asarray(picture.convert("RGBA"))


def drawn(figure: Figure, panel: int, theme: str) -> np.ndarray:
    """What stands in one panel."""
    return pixels(figure.tables["pictures"].loc[panel, theme])


def diverging(values: np.ndarray, limit: float, dark: bool) -> np.ndarray:
    return diverging_palette(dark)[diverging_levels(values, limit)]


def fact(figure: Figure, name: str) -> object:
    return figure.tables["scene"].loc[0, name]


@pytest.mark.parametrize(("length", "window"), WINDOWS.values(), ids=WINDOWS)
def test_panels_are_three_pictures_of_one_chart(length: int, window: Window | None) -> None:
    _, figure = panels(length, window)
    assert len(figure.tables["pictures"]) == len(figure.specification()["datasets"]["pictures"]) == 3
    assert figure.chart is panels(64)[1].chart


def test_panels_are_a_valid_chart() -> None:
    alt.LayerChart.validate(panels(*WINDOWS["a text"])[1].specification())


def test_every_head_and_text_has_the_same_chart() -> None:
    terms = random_terms(9)
    survival, cells = survival_table(terms), cells_of(9)
    assert decay_curves_chart(survival, 0, 2.0).chart is decay_curves_chart(survival, 2, 1e6).chart
    spans = [span_sums(terms, 0, ["a"] * 9, range(stop), cells.window) for stop in (2, 5)]
    with_span = [panels_chart(cells, with_bars=True, span=span).chart for span in spans]
    assert with_span[0] is with_span[1] is panels_chart(cells, pointed=(8, 3), with_bars=True).chart
    measures = measure_table({Place(0): terms})
    heads = [head_map_chart(measures, DISTANCE, Head(Place(0), head)) for head in (0, 1)]
    assert heads[0].chart is heads[1].chart


def test_every_table_that_a_chart_names_is_there() -> None:
    terms = random_terms(9)
    for figure in (
        panels(9)[1],
        panels_chart(cells_of(9), with_bars=True),
        decay_curves_chart(survival_table(terms), 0, 2.0),
        head_map_chart(measure_table({Place(0): terms}), DISTANCE, Head(Place(0), 0)),
    ):
        named = {layer["data"]["name"] for layer in figure.chart["layer"] if "name" in layer["data"]}
        assert named == set(figure.tables)
        read = set(re.findall(r"data\('(\w+)'\)", json.dumps(figure.chart)))
        assert read <= named


def test_a_notebook_shows_a_figure() -> None:
    shown = panels(5)[1]._repr_mimebundle_()["text/html"]
    assert "vega-embed" in shown
    assert "datasets" in shown


def test_pictures_show_the_triangle_and_nothing_above() -> None:
    _, figure = panels(20)
    for panel in range(3):
        for theme in ("light", "dark"):
            opacity = drawn(figure, panel, theme)[..., 3]
            assert opacity.shape == (20, 20)
            assert (opacity[np.triu_indices(20, 1)] == 0).all()
            assert opacity.diagonal().any()


def test_zero_is_the_background_and_the_signs_differ() -> None:
    for dark in (False, True):
        colours = diverging(np.array([-2.0, 0.0, 2.0], dtype=np.float32), 2.0, dark).astype(int)
        assert colours[1, 3] == 0
        assert colours[0, 3] == colours[2, 3] == 255
        assert colours[0, 0] > colours[0, 2]
        assert colours[2, 2] > colours[2, 0]
        assert amount_palette(dark)[amount_levels(np.zeros(1, dtype=np.float32))][0, 3] == 0
        assert amount_palette(dark)[amount_levels(np.ones(1, dtype=np.float32))][0, 3] == 255


def test_equal_amounts_of_either_sign_are_equally_opaque() -> None:
    values = np.linspace(0, 1, 50, dtype=np.float32)
    up, down = diverging(values, 1.0, False), diverging(-values, 1.0, False)
    np.testing.assert_array_equal(up[:, 3], down[:, 3])
    assert (np.diff(up[:, 3].astype(int)) >= 0).all()


def test_a_png_holds_its_pixels() -> None:
    generator = np.random.default_rng(0)
    levels = generator.integers(0, 255, (5, 7), dtype=np.uint8)
    palette = generator.integers(0, 256, (255, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(png_address(levels, palette)), palette[levels])


def test_the_marked_cell_is_the_one_asked_for() -> None:
    figure = panels_chart(cells_of(40, window=Window(range(10, 16), range(4, 12))), pointed=(13, 9))
    assert (fact(figure, "kept_row"), fact(figure, "kept_key")) == (3, 5)
    tiles = panels_chart(cells_of(300), pointed=(299, 150))
    assert (fact(tiles, "kept_row"), fact(tiles, "kept_key")) == (127, 64)


@pytest.mark.parametrize(("length", "window"), WINDOWS.values(), ids=WINDOWS)
def test_the_browser_gets_the_numbers_row_by_row(length: int, window: Window | None) -> None:
    cells, figure = panels(length, window)
    rows, columns = figure.tables["queries"], figure.tables["keys"]
    assert rows["reach"].sum() == len(figure.tables["cells"]) == len(cells.cells)
    row, key = len(rows) // 2, len(columns) // 3
    key = min(key, rows["reach"][row] - 1)
    cell = cells.cells[(cells.cells["row"] == row) & (cells.cells["column"] == key)].iloc[0]
    sent = figure.tables["cells"].iloc[rows["before"][row] + key]
    for name in ("content", "decay", "attention"):
        assert sent[name] == cell[name]
    assert (columns["text"][key], columns["dt"][key]) == (cell["key"], cell["dt"])
    assert (rows["text"][row], rows["i"][row]) == (cell["query"], cell["i"])
    # The first row that reaches a column is where its mark begins.
    top = columns["top"][key]
    assert rows["reach"][top] > key
    assert top == 0 or rows["reach"][top - 1] <= key


def test_a_window_that_fills_its_panels_has_its_titles_above() -> None:
    for length, window in WINDOWS.values():
        cells, figure = panels(length, window)
        assert (fact(figure, "head_room") > 0) == (cells.window.queries != cells.window.keys)


def test_tiles_say_what_they_are_and_tokens_do_not() -> None:
    assert fact(panels(128)[1], "note") == ""
    assert fact(panels(300)[1], "note") == "{} over 3 × 3 entries"
    assert figure_labels(panels(300)[1])[:3] == ["0", "2", "4"]
    assert figure_labels(panels(30)[1])[:2] == ["·token0", "·token1"]


def figure_labels(figure: Figure) -> list[str]:
    return figure.tables["keys"]["label"].tolist()


def test_a_root_mean_square_has_the_colours_of_an_amount() -> None:
    tokens = ["a"] * 300
    cells = head_cells(random_terms(300), 0, tokens, statistic="rms")
    figure = panels_chart(cells)
    assert figure.chart is not panels(300)[1].chart
    matrix = cells.matrix(cells.columns["attention"])
    assert matrix.min() >= 0
    expected = amount_palette(True)[amount_levels(matrix / matrix.max())]
    np.testing.assert_array_equal(drawn(figure, 2, "dark"), expected)
    assert (figure.tables["queries"]["low"] == 0).all()
    # A tile of one entry is that entry: it keeps its sign.
    single = head_cells(random_terms(30), 0, tokens[:30], statistic="rms")
    assert panels_chart(single).chart is panels(30)[1].chart


def test_the_strip_says_what_shades_it() -> None:
    def said(reading: str) -> str:
        return str(panels_chart(head_cells(random_terms(9), 0, ["a"] * 9, reading=reading)).chart)

    assert ", read by query " in said("")
    assert ", shaded by the attention·dt of query " in said("attention_dt")


def test_no_mark_per_cell() -> None:
    _, figure = panels(128)
    layers = figure.chart["layer"]
    drawn_from_cells = [layer for layer in layers if layer["data"].get("name") == "cells"]
    assert [layer["transform"] for layer in drawn_from_cells] == [[{"filter": "false"}]]
    others = [table for name, table in figure.tables.items() if name != "cells"]
    assert max(map(len, others)) <= 128
    away = panels(900, Window(range(500, 900), range(0, 300)))[1]
    assert len(away.tables["cells"]) == 128 * 128
    assert max(len(table) for name, table in away.tables.items() if name != "cells") <= 2 * 128 + 1


def test_a_press_holds_the_query_and_a_brush_its_window() -> None:
    selections = {each["name"]: each.get("select") for each in panels(5)[1].chart["params"]}
    pick, window = selections[PICK_QUERY], selections[OPEN_WINDOW]
    # When the pointer is let go: a brush then lies over everything, so that it keeps no row.
    assert (pick["type"], pick["on"], pick["fields"]) == ("point", "pointerup", ["i", "j", "stamp"])
    ends = ["query_start", "query_stop", "key_start", "key_stop"]
    assert (window["type"], window["on"], window["fields"]) == ("point", "pointerup", [*ends, "stamp"])
    assert not pick["clear"]
    assert not window["clear"]


@pytest.mark.parametrize("length", [1, 12, 128])
@pytest.mark.parametrize("larger", [False, True])
def test_panels_with_dt_show_the_reconstruction_form(length: int, larger: bool) -> None:
    cells = cells_of(length, reading="attention_dt")
    figure = panels_chart(cells, larger=larger)
    text = json.dumps(figure.chart, ensure_ascii=False)
    assert all(words in text for words in ("attention  M·dt", "· dt", "dt of key j"))
    matrix = np.zeros((length, length), dtype=np.float32)
    matrix[np.tril_indices(length)] = cells.cells["attention_dt"]
    expected = diverging(matrix, float(np.abs(matrix).max()), False)
    np.testing.assert_array_equal(drawn(figure, 2, "light"), expected)


@pytest.mark.parametrize("reading", ["attention", "attention_dt"])
def test_locked_limits_give_one_value_one_colour_in_every_head(reading: str) -> None:
    terms = random_terms(16)
    tokens = [f"t{k}" for k in range(16)]
    limits = locked_limits({Place(0): terms, Place(3): random_terms(9)}, reading=reading)
    for head in range(terms.heads):
        cells = head_cells(terms, head, tokens, reading=reading)
        figure = panels_chart(cells, limits=limits)
        for place, name in ((0, "content"), (2, "attention")):
            matrix = np.zeros((16, 16), dtype=np.float32)
            matrix[np.tril_indices(16)] = cells.cells[reading if name == "attention" else name]
            expected = diverging(matrix, limits[name], True)
            np.testing.assert_array_equal(drawn(figure, place, "dark"), expected)


def test_hostile_tokens_stay_whole_in_the_strip() -> None:
    tokens = visible_tokens(["🦊", "\u202eabc", "\u0007", " <b>x</b>", "\n", "x" * 300, "日本語", "e\u0301"])
    cells = head_cells(random_terms(8), 0, tokens)
    assert panels_chart(cells).tables["text"]["letters"].tolist() == tokens
    assert panels_chart(cells).tables["keys"]["label"].tolist() == tokens
    columns = [text_columns(token) for token in tokens]
    assert [columns[k] for k in (0, 5, 6, 7)] == [2, 300, 6, 1]
    for across in ACROSS:
        lines, begins = lines_of(columns, across)
        for k, (line, begin) in enumerate(zip(lines, begins, strict=True)):
            assert begin + columns[k] <= across or begin == 0
            if k:
                follows = (lines[k - 1], begins[k - 1] + columns[k - 1])
                assert (line, begin) in (follows, (lines[k - 1] + 1, 0))


def test_each_width_of_a_view_has_lines_that_fill_it_with_legible_letters() -> None:
    for scale in (1.0, 1.35):
        expression = letters_across(scale)
        for width in range(300, 2600, 20):
            python = re.sub(r"width >= ([\d.]+) \? (\d+) : ", r"\2 if width >= \1 else ", expression)
            across = eval(python, {"width": width})
            letter = width / (across * LETTER)
            assert letter < 1.32 * 12 * scale
            assert letter >= 12 * scale or across == ACROSS[0]


@pytest.mark.parametrize(("length", "window"), WINDOWS.values(), ids=WINDOWS)
def test_the_strip_holds_every_key_and_every_query_once(length: int, window: Window | None) -> None:
    cells, figure = panels(length, window)
    text = figure.tables["text"]
    for of, tiles, start in (("key", cells.keys, "at"), ("row", cells.queries, "i")):
        shown = text[text[of] >= 0]
        assert shown[of].tolist() == list(range(len(tiles)))
        assert shown[start].tolist() == tiles["start"].tolist()
        assert shown["text"].tolist() == tiles["text"].tolist()
    for across in ACROSS:
        places = text[[f"line_{across}", f"column_{across}", "columns"]].to_numpy()
        assert fact(figure, f"lines_{across}") == places[:, 0].max() + 1
        for (line, column, columns), (next_line, next_column, _) in pairwise(places.tolist()):
            assert column + columns <= across
            assert (next_line, next_column) in ((line, column + columns), (line + 1, 0))


def test_queries_that_do_not_follow_the_keys_stand_below_a_line_that_says_where() -> None:
    _, figure = panels(300, Window(range(200, 260), range(20, 50)))
    text = figure.tables["text"]
    (between,) = text[(text["key"] < 0) & (text["row"] < 0)]["text"]
    assert between == "⋯ queries 200–259"
    for across in ACROSS:
        lines = text[f"line_{across}"]
        (line,) = lines[(text["key"] < 0) & (text["row"] < 0)]
        assert (lines[text["row"] >= 0] > line).all()
        assert (lines[text["key"] >= 0] < line).all()


def test_the_boxes_of_tiles_are_alike_and_hold_what_fits() -> None:
    tokens = ["日本語"] * 300
    figure = panels_chart(head_cells(random_terms(300), 0, tokens))
    text = figure.tables["text"]
    assert text["columns"].nunique() == 1
    assert text["letters"].map(text_columns).max() < text["columns"].max()


@pytest.mark.parametrize(("length", "query"), [(1, 0), (9, 4), (128, 127), (300, 200)])
@pytest.mark.parametrize("reading", ["attention", "attention_dt"])
@pytest.mark.parametrize("limit", [None, 7.5])
def test_the_bars_are_those_of_one_query(length: int, query: int, reading: str, limit: float | None) -> None:
    """A bar is an entry of the list that the panels read too: the row's, from `before` to its `reach`."""
    cells = cells_of(length, reading=reading)
    limits = None if limit is None else {"content": limit, "attention": limit}
    figure = panels_chart(cells, pointed=(query, 0), limits=limits, with_bars=True)
    row = figure.tables["queries"].iloc[cells.row_of(query)]
    values = cells.row(query)[reading]
    bars = figure.tables["cells"]["attention"].iloc[row["before"] : row["before"] + row["reach"]]
    np.testing.assert_array_equal(bars, values)
    assert (row["low"], row["high"]) == (min(values.min(), 0), max(values.max(), 0))
    assert row["here"] == cells.column_of(int(row["stop"]) - 1) + 1
    assert len(figure.tables["bars"]) == len(cells.keys)
    assert bool(fact(figure, "locked")) == (limit is not None)


@pytest.mark.parametrize("read_by", [False, True])
@pytest.mark.parametrize("length", [30, 300])
def test_a_span_has_its_rows_or_columns_and_their_sums(length: int, read_by: bool) -> None:
    cells, terms = cells_of(length), random_terms(length)
    span = span_sums(terms, 0, ["a"] * length, range(7, 12), cells.window, read_by=read_by)
    figure = panels_chart(cells, with_bars=True, span=span)
    tiles = cells.keys if read_by else cells.queries
    shown = tiles.iloc[fact(figure, "span_from") : fact(figure, "span_to")]
    assert shown["start"].iloc[0] <= 7 < shown["stop"].iloc[0]
    assert shown["start"].iloc[-1] <= 11 < shown["stop"].iloc[-1]
    np.testing.assert_array_equal(figure.tables["bars"]["sum"][: len(span.sums)], span.sums)
    assert fact(figure, "kept_row") == -1
    assert (fact(figure, "sums_low"), fact(figure, "sums_high")) == (
        min(span.sums.min(), 0),
        max(span.sums.max(), 0),
    )


def test_logarithmic_colours_show_weak_values_of_either_sign() -> None:
    values = np.array([-1, -1e-2, -1e-3, 0, 1e-3, 1e-2, 1], dtype=np.float32)
    shown = strength(values, 1.0)
    assert shown[3] == 0
    np.testing.assert_allclose(shown, -shown[::-1])
    assert (np.diff(shown) > 0).all()
    assert shown[-1] == 1
    np.testing.assert_allclose(shown[4:6], np.log1p(values[4:6] / 1e-3) / np.log1p(1e3), rtol=1e-5)
    linear, logarithmic = (panels_chart(cells_of(20), logarithmic=log) for log in (False, True))
    opaque = [(drawn(figure, 2, "light")[..., 3]).sum() for figure in (linear, logarithmic)]
    assert opaque[1] > 1.2 * opaque[0]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda measure: measure.name)
def test_head_map_frames_the_picked_head(terms: SSDTerms, measure: Measure) -> None:
    figure = head_map_chart(measure_table({Place(1): terms, Place(3): terms}), measure, Head(Place(3), 2))
    assert figure.tables["picked"].to_dict("records") == [{"row": 1, "head": 2}]
    pick = next(p for p in figure.chart["params"] if p["name"] == PICK)
    assert pick["select"]["fields"] == ["layer", "kind", "head"]
    assert pick["select"]["clear"] is False


def test_head_map_takes_heads_that_never_decay(terms: SSDTerms) -> None:
    measures = measure_table({Place(0): terms})
    measures.loc[0, "half_life"] = np.inf
    measures.loc[1, "mean_distance"] = np.nan
    for measure in MEASURES.values():
        figure = head_map_chart(measures, measure, Head(Place(0), 0))
        assert np.isfinite([fact(figure, "low"), fact(figure, "high")]).all()
        assert np.isfinite(figure.tables["heads"]["shown"].dropna()).all()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("half_life", [0.3, 5.0, 1e4, np.inf])
def test_decay_curves_name_the_half_life(terms: SSDTerms, half_life: float, log: bool) -> None:
    figure = decay_curves_chart(survival_table(terms), 1, half_life, log=log)
    assert str(fact(figure, "name")).startswith(f"half-life {half_life:.3g} tokens")
    assert fact(figure, "within") == (half_life <= 8)
    assert fact(figure, "picked") == 1
    assert set(figure.tables["survival"]["head"]) == {0, 1, 2}
    assert not log or (figure.tables["survival"]["survival"] > 0).all()


def test_decay_curves_of_one_token() -> None:
    for log_time in (False, True):
        figure = decay_curves_chart(survival_table(random_terms(1)), 0, 3.0, log_time=log_time)
        assert fact(figure, "last") == 1
        alt.LayerChart.validate(figure.specification())


def test_a_logarithmic_time_begins_one_token_after_writing() -> None:
    survival = survival_table(random_terms(5000))
    figure = decay_curves_chart(survival, 1, 0.2, log_time=True)
    alt.LayerChart.validate(figure.specification())
    assert figure.tables["survival"]["lag"].min() == 1
    assert (fact(figure, "last"), fact(figure, "name_lag")) == (4999, 1)
    assert (figure.tables["halves"]["lag"] >= 1).all()


def test_decay_curves_mark_the_half_lives_of_the_other_heads(terms: SSDTerms) -> None:
    survival = survival_table(terms).assign(half_life=lambda table: table["head"].map({0: 2, 1: 3, 2: 99}))
    halves = decay_curves_chart(survival, 1, 3.0).tables["halves"]
    assert halves.to_dict("records") == [{"head": 0, "lag": 2}]


def test_larger_type_is_larger_everywhere(terms: SSDTerms) -> None:
    measures, survival = measure_table({Place(0): terms}), survival_table(terms)
    cells = cells_of(9)
    for small, large in (
        (head_map_chart(measures, DISTANCE, Head(Place(0), 0), larger=larger) for larger in (False, True)),
        (decay_curves_chart(survival, 0, 2.0, larger=larger) for larger in (False, True)),
        (panels_chart(cells, with_bars=True, larger=larger) for larger in (False, True)),
    ):
        sizes = [type_sizes(figure.chart) for figure in (small, large)]
        assert sizes[0]
        np.testing.assert_allclose(sizes[1], np.array(sizes[0]) * 1.35)


def type_sizes(spec: object) -> list[float]:
    if isinstance(spec, list):
        return [size for part in spec for size in type_sizes(part)]
    if not isinstance(spec, dict):
        return []
    own = [value for key, value in spec.items() if key.endswith("ontSize") and isinstance(value, float | int)]
    return own + type_sizes(list(spec.values()))
