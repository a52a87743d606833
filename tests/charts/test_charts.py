import base64
import io
import json
import re
from itertools import pairwise

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.charts import (
    MEASURES,
    PICK,
    PICK_QUERY,
    Figure,
    Measure,
    cell_table,
    decay_curves_chart,
    head_map_chart,
    locked_limits,
    measure_table,
    panels_chart,
    row_chart,
    survival_table,
    visible_tokens,
)
from components.charts.colours import amount_levels, amount_palette, diverging_levels, diverging_palette
from components.charts.picture import png_address
from components.charts.strip import COLUMNS, token_places
from components.ssd import SSDTerms
from tests.charts.conftest import random_terms


def panels(length: int, first: int = 0) -> tuple[pd.DataFrame, Figure]:
    tokens = [f"·token{k}" for k in range(length)]
    cells = cell_table(random_terms(length), 0, tokens, first)
    last = first + length - 1
    return cells, panels_chart(cells, tokens, first=first, pointed=(last, first))


def cells_of(length: int) -> tuple[pd.DataFrame, list[str]]:
    tokens = [f"·token{k}" for k in range(length)]
    return cell_table(random_terms(length), 0, tokens), tokens


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


@pytest.mark.parametrize("length", [1, 2, 30, 128])
def test_panels_are_a_valid_chart_of_three_pictures(length: int) -> None:
    _, figure = panels(length)
    alt.LayerChart.from_dict(figure.specification())
    assert len(figure.tables["pictures"]) == 3


def test_every_head_and_text_has_the_same_chart() -> None:
    for length, first in ((1, 0), (30, 0), (128, 7)):
        assert panels(length, first)[1].chart is panels(64)[1].chart
    terms = random_terms(9)
    survival, (cells, tokens) = survival_table(terms), cells_of(9)
    assert decay_curves_chart(survival, 0, 2.0).chart is decay_curves_chart(survival, 2, 1e6).chart
    assert row_chart(cells, tokens, 3).chart is row_chart(cells, tokens, 8).chart
    measures = measure_table({0: terms})
    heads = [head_map_chart(measures, MEASURES[0], (0, head)) for head in (0, 1)]
    assert heads[0].chart is heads[1].chart


def test_every_table_that_a_chart_names_is_there() -> None:
    terms, (cells, tokens) = random_terms(9), cells_of(9)
    for figure in (
        panels(9)[1],
        row_chart(cells, tokens, 8),
        decay_curves_chart(survival_table(terms), 0, 2.0),
        head_map_chart(measure_table({0: terms}), MEASURES[0], (0, 0)),
    ):
        named = {layer["data"]["name"] for layer in figure.chart["layer"] if "name" in layer["data"]}
        assert named == set(figure.tables)
        read = set(re.findall(r"data\('(\w+)'\)", json.dumps(figure.chart)))
        assert read <= named


def test_a_notebook_shows_a_figure() -> None:
    bundle = panels(5)[1]._repr_mimebundle_()
    assert "datasets" in json.dumps(bundle)


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
    _, figure = panels(6, first=10)
    assert (fact(figure, "kept_row"), fact(figure, "kept_key")) == (5, 0)


def test_the_browser_gets_the_numbers_row_by_row() -> None:
    cells, figure = panels(40, first=3)
    i, j = 20, 7
    cell = cells[(cells["i"] == i + 3) & (cells["j"] == j + 3)].iloc[0]
    sent = figure.tables["cells"].iloc[i * (i + 1) // 2 + j]
    assert sent["content"] == cell["content"]
    assert sent["decay"] == cell["decay"]
    assert sent["content"] * sent["decay"] == pytest.approx(cell["attention"], rel=1e-6)
    position = figure.tables["positions"].iloc[j]
    assert (position["text"], position["dt"]) == (cell["key"], cell["dt"])


def test_no_mark_per_cell() -> None:
    _, figure = panels(128)
    layers = figure.chart["layer"]
    drawn_from_cells = [layer for layer in layers if layer["data"].get("name") == "cells"]
    assert [layer["transform"] for layer in drawn_from_cells] == [[{"filter": "false"}]]
    others = [table for name, table in figure.tables.items() if name != "cells"]
    assert max(map(len, others)) <= 128


def test_a_click_holds_the_query() -> None:
    _, figure = panels(5)
    pick = next(each for each in figure.chart["params"] if each["name"] == PICK_QUERY)["select"]
    assert (pick["type"], pick["on"], pick["fields"]) == ("point", "click", ["i"])
    assert not pick["clear"]


@pytest.mark.parametrize("length", [1, 12, 128])
@pytest.mark.parametrize("larger", [False, True])
def test_panels_with_dt_show_the_reconstruction_form(length: int, larger: bool) -> None:
    cells, tokens = cells_of(length)
    figure = panels_chart(cells, tokens, with_dt=True, larger=larger)
    text = json.dumps(figure.chart, ensure_ascii=False)
    assert all(words in text for words in ("attention  M·dt", "· dt", "dt of key j"))
    matrix = np.zeros((length, length), dtype=np.float32)
    matrix[np.tril_indices(length)] = cells["attention_dt"]
    expected = diverging(matrix, float(np.abs(matrix).max()), False)
    np.testing.assert_array_equal(drawn(figure, 2, "light"), expected)


@pytest.mark.parametrize("with_dt", [False, True])
def test_locked_limits_give_one_value_one_colour_in_every_head(with_dt: bool) -> None:
    terms = random_terms(16)
    tokens = [f"t{k}" for k in range(16)]
    limits = locked_limits({0: terms, 3: random_terms(9)}, with_dt)
    value = "attention_dt" if with_dt else "attention"
    for head in range(terms.heads):
        cells = cell_table(terms, head, tokens)
        figure = panels_chart(cells, tokens, limits=limits, with_dt=with_dt)
        for place, name in ((0, "content"), (2, "attention")):
            matrix = np.zeros((16, 16), dtype=np.float32)
            matrix[np.tril_indices(16)] = cells[value if name == "attention" else name]
            expected = diverging(matrix, limits[name], True)
            np.testing.assert_array_equal(drawn(figure, place, "dark"), expected)


def test_hostile_tokens_stay_whole_in_the_strip() -> None:
    tokens = visible_tokens(["🦊", "\u202eabc", "\u0007", " <b>x</b>", "\n", "x" * 300, "日本語", "e\u0301"])
    cells = cell_table(random_terms(8), 0, tokens)
    assert panels_chart(cells, tokens).tables["positions"]["text"].tolist() == tokens
    assert row_chart(cells, tokens, 7).tables["positions"]["text"].tolist() == tokens
    places = token_places(tokens, 5)
    assert [place["text"] for place in places] == tokens
    assert [place["i"] for place in places] == list(range(5, 13))
    assert all(place["column"] + place["columns"] <= COLUMNS for place in places)
    assert [places[k]["columns"] for k in (0, 5, 6, 7)] == [2, COLUMNS, 6, 1]
    for before, after in pairwise(places):
        follows = (before["line"], before["column"] + before["columns"])
        assert (after["line"], after["column"]) in (follows, (before["line"] + 1, 0))


@pytest.mark.parametrize(("length", "query"), [(1, 0), (9, 4), (128, 127)])
@pytest.mark.parametrize("value", ["attention", "attention_dt"])
@pytest.mark.parametrize("limit", [None, 7.5])
def test_row_chart_has_the_bars_of_one_query(
    length: int, query: int, value: str, limit: float | None
) -> None:
    cells, tokens = cells_of(length)
    figure = row_chart(cells, tokens, query, value=value, limit=limit, larger=True)
    bars = figure.tables["row"]
    assert bars["j"].tolist() == list(range(query + 1))
    np.testing.assert_array_equal(bars["value"], cells.loc[cells["i"] == query, value])
    low, high = fact(figure, "low"), fact(figure, "high")
    assert low <= 0 <= high
    assert limit is None or (low, high) == (-limit, limit)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.column)
def test_head_map_frames_the_picked_head(terms: SSDTerms, measure: Measure) -> None:
    figure = head_map_chart(measure_table({1: terms, 3: terms}), measure, (3, 2))
    assert figure.tables["picked"].to_dict("records") == [{"layer": 3, "head": 2}]
    pick = next(p for p in figure.chart["params"] if p["name"] == PICK)
    assert pick["select"]["fields"] == ["layer", "head"]
    assert pick["select"]["clear"] is False


def test_head_map_takes_heads_that_never_decay(terms: SSDTerms) -> None:
    measures = measure_table({0: terms})
    measures.loc[0, "half_life"] = np.inf
    measures.loc[1, "mean_distance"] = np.nan
    for measure in MEASURES:
        figure = head_map_chart(measures, measure, (0, 0))
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
    assert fact(decay_curves_chart(survival_table(random_terms(1)), 0, 3.0), "last") == 1


def test_decay_curves_mark_the_half_lives_of_the_other_heads(terms: SSDTerms) -> None:
    survival = survival_table(terms).assign(half_life=lambda table: table["head"].map({0: 2, 1: 3, 2: 99}))
    halves = decay_curves_chart(survival, 1, 3.0).tables["halves"]
    assert halves.to_dict("records") == [{"head": 0, "lag": 2}]


def test_larger_type_is_larger_everywhere(terms: SSDTerms) -> None:
    measures, survival = measure_table({0: terms}), survival_table(terms)
    cells, tokens = cells_of(9)
    for small, large in (
        (head_map_chart(measures, MEASURES[0], (0, 0), larger=larger) for larger in (False, True)),
        (decay_curves_chart(survival, 0, 2.0, larger=larger) for larger in (False, True)),
        (row_chart(cells, tokens, 8, larger=larger) for larger in (False, True)),
        (panels_chart(cells, tokens, larger=larger) for larger in (False, True)),
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
