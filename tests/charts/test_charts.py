import base64
import io
import json
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
from components.charts.colours import paint_amount, paint_diverging
from components.charts.picture import png_address
from components.charts.strip import COLUMNS, token_places
from components.ssd import SSDTerms
from tests.charts.conftest import random_terms

alt.data_transformers.disable_max_rows()


def panels_spec(length: int, first: int = 0) -> tuple[pd.DataFrame, dict[str, object]]:
    tokens = [f"·token{k}" for k in range(length)]
    cells = cell_table(random_terms(length), 0, tokens, first)
    last = first + length - 1
    return cells, panels_chart(cells, tokens, first=first, pointed=(last, first)).to_dict()


def cells_of(length: int) -> tuple[pd.DataFrame, list[str]]:
    tokens = [f"·token{k}" for k in range(length)]
    return cell_table(random_terms(length), 0, tokens), tokens


def pictures(spec: dict[str, object]) -> list[dict[str, str]]:
    rows = [rows for rows in spec["datasets"].values() if rows and "light" in rows[0]]
    inline = [
        layer["data"]["values"]
        for layer in spec["layer"]
        if "light" in layer.get("data", {}).get("values", [{}])[0]
    ]
    return (rows + inline)[0]


def pixels(address: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))


@pytest.mark.parametrize("length", [1, 2, 30, 128])
def test_panels_specification_is_valid(length: int) -> None:
    _, spec = panels_spec(length)
    assert len(pictures(spec)) == 3


def test_pictures_show_the_triangle_and_nothing_above() -> None:
    _, spec = panels_spec(20)
    for panel in pictures(spec):
        for theme in ("light", "dark"):
            opacity = pixels(panel[theme])[..., 3]
            assert opacity.shape == (20, 20)
            assert (opacity[np.triu_indices(20, 1)] == 0).all()
            assert opacity.diagonal().any()


def test_zero_is_the_background_and_the_signs_differ() -> None:
    for dark in (False, True):
        colours = paint_diverging(np.array([-2.0, 0.0, 2.0], dtype=np.float32), 2.0, dark).astype(int)
        assert colours[1, 3] == 0
        assert colours[0, 3] == colours[2, 3] == 255
        assert colours[0, 0] > colours[0, 2]
        assert colours[2, 2] > colours[2, 0]
        assert paint_amount(np.zeros(1, dtype=np.float32), 1.0, dark)[0, 3] == 0


def test_equal_amounts_of_either_sign_are_equally_opaque() -> None:
    values = np.linspace(0, 1, 50, dtype=np.float32)
    up, down = paint_diverging(values, 1.0, False), paint_diverging(-values, 1.0, False)
    np.testing.assert_array_equal(up[:, 3], down[:, 3])
    assert (np.diff(up[:, 3].astype(int)) >= 0).all()


def test_a_png_holds_its_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(png_address(image)), image)


def parameters(spec: dict[str, object]) -> dict[str, dict[str, object]]:
    return {parameter["name"]: parameter for parameter in spec["params"]}


def test_the_marked_cell_is_the_one_asked_for() -> None:
    _, spec = panels_spec(6, first=10)
    assert parameters(spec)["row"]["expr"].endswith(": 5")
    assert parameters(spec)["key"]["expr"].endswith(": 0")


def test_the_browser_gets_the_numbers_row_by_row() -> None:
    cells, spec = panels_spec(40, first=3)
    i, j = 20, 7
    at = i * (i + 1) // 2 + j
    cell = cells[(cells["i"] == i + 3) & (cells["j"] == j + 3)].iloc[0]
    values = {name: json.loads(parameters(spec)[name]["expr"]) for name in ("contents", "decays", "dts")}
    values["labels"] = parameters(spec)["labels"]["value"]
    assert values["contents"][at] == pytest.approx(cell["content"], rel=1e-4)
    assert values["decays"][at] == pytest.approx(cell["decay"], rel=1e-4)
    assert values["contents"][at] * values["decays"][at] == pytest.approx(cell["attention"], rel=2e-4)
    assert values["dts"][j] == pytest.approx(cell["dt"], rel=1e-4)
    assert values["labels"][j] == cell["key"]


def test_no_mark_per_cell_and_a_small_page() -> None:
    _, spec = panels_spec(128)
    assert max(map(len, spec.get("datasets", {}).values()), default=0) <= 128
    assert all(len(layer.get("data", {}).get("values", [])) <= 128 for layer in spec["layer"])
    assert len(json.dumps(spec)) < 500_000
    assert len(json.dumps(panels_spec(64)[1])) < 150_000


def test_a_click_holds_the_query() -> None:
    _, spec = panels_spec(5)
    pick = parameters(spec)[PICK_QUERY]["select"]
    assert (pick["type"], pick["on"], pick["fields"]) == ("point", "click", ["i"])
    assert not pick["clear"]


@pytest.mark.parametrize("length", [1, 12, 128])
@pytest.mark.parametrize("larger", [False, True])
def test_panels_with_dt_show_the_reconstruction_form(length: int, larger: bool) -> None:
    cells, tokens = cells_of(length)
    spec = panels_chart(cells, tokens, with_dt=True, larger=larger).to_dict()
    text = json.dumps(spec, ensure_ascii=False)
    assert all(words in text for words in ("attention  M·dt", "· dt", "dt of key j"))
    shown = pixels(pictures(spec)[2]["light"])
    matrix = np.zeros((length, length), dtype=np.float32)
    matrix[np.tril_indices(length)] = cells["attention_dt"]
    np.testing.assert_array_equal(shown, paint_diverging(matrix, float(np.abs(matrix).max()), False))


@pytest.mark.parametrize("with_dt", [False, True])
def test_locked_limits_give_one_value_one_colour_in_every_head(with_dt: bool) -> None:
    terms = random_terms(16)
    tokens = [f"t{k}" for k in range(16)]
    limits = locked_limits({0: terms, 3: random_terms(9)}, with_dt)
    value = "attention_dt" if with_dt else "attention"
    for head in range(terms.heads):
        cells = cell_table(terms, head, tokens)
        spec = panels_chart(cells, tokens, limits=limits, with_dt=with_dt).to_dict()
        for place, name in ((0, "content"), (2, "attention")):
            matrix = np.zeros((16, 16), dtype=np.float32)
            matrix[np.tril_indices(16)] = cells[value if name == "attention" else name]
            expected = paint_diverging(matrix, limits[name], True)
            np.testing.assert_array_equal(pixels(pictures(spec)[place]["dark"]), expected)


def test_hostile_tokens_stay_whole_in_the_strip() -> None:
    tokens = visible_tokens(["🦊", "\u202eabc", "\u0007", " <b>x</b>", "\n", "x" * 300, "日本語", "e\u0301"])
    cells = cell_table(random_terms(8), 0, tokens)
    assert panels_chart(cells, tokens).to_dict()
    assert row_chart(cells, tokens, 7).to_dict()
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
    spec = row_chart(cells, tokens, query, value=value, limit=limit, larger=True).to_dict()
    (bars,) = (rows for rows in spec["datasets"].values() if "value" in rows[0])
    assert [bar["j"] for bar in bars] == list(range(query + 1))
    np.testing.assert_allclose([bar["value"] for bar in bars], cells.loc[cells["i"] == query, value])
    low, high = spec["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low <= 0 <= high
    assert limit is None or (low, high) == (-limit, limit)


@pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.column)
def test_head_map_frames_the_picked_head(terms: SSDTerms, measure: Measure) -> None:
    spec = head_map_chart(measure_table({1: terms, 3: terms}), measure, (3, 2)).to_dict()
    assert [{"layer": 3, "head": 2}] in list(spec["datasets"].values())
    pick = next(p for p in spec["params"] if p["name"] == PICK)
    assert pick["select"]["fields"] == ["layer", "head"]
    assert pick["select"]["clear"] is False


def test_head_map_takes_heads_that_never_decay(terms: SSDTerms) -> None:
    measures = measure_table({0: terms})
    measures.loc[0, "half_life"] = np.inf
    measures.loc[1, "mean_distance"] = np.nan
    for measure in MEASURES:
        head_map_chart(measures, measure, (0, 0)).to_dict()


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("half_life", [0.3, 5.0, 1e4, np.inf])
def test_decay_curves_name_the_half_life(terms: SSDTerms, half_life: float, log: bool) -> None:
    spec = decay_curves_chart(survival_table(terms), 1, half_life, log=log).to_dict()
    assert f"half-life {half_life:.3g} tokens" in json.dumps(spec)
    of_others, of_head = (
        {row["head"] for row in spec["datasets"][layer["data"]["name"]]} for layer in spec["layer"][:2]
    )
    assert (of_others, of_head) == ({0, 2}, {1})


def test_decay_curves_of_one_token() -> None:
    decay_curves_chart(survival_table(random_terms(1)), 0, 3.0).to_dict()


def test_decay_curves_mark_the_half_lives_of_the_other_heads(terms: SSDTerms) -> None:
    survival = survival_table(terms).assign(half_life=lambda table: table["head"].map({0: 2, 1: 3, 2: 99}))
    spec = decay_curves_chart(survival, 1, 3.0).to_dict()
    (tick,) = (layer for layer in spec["layer"] if layer["mark"]["type"] == "tick")
    assert spec["datasets"][tick["data"]["name"]] == [{"head": 0, "lag": 2, "survival": 0.5}]


def test_larger_type_is_larger_everywhere(terms: SSDTerms) -> None:
    measures, survival = measure_table({0: terms}), survival_table(terms)
    cells, tokens = cells_of(9)
    for small, large in (
        (head_map_chart(measures, MEASURES[0], (0, 0), larger=larger) for larger in (False, True)),
        (decay_curves_chart(survival, 0, 2.0, larger=larger) for larger in (False, True)),
        (row_chart(cells, tokens, 8, larger=larger) for larger in (False, True)),
        (panels_chart(cells, tokens, larger=larger) for larger in (False, True)),
    ):
        sizes = [type_sizes(chart.to_dict()) for chart in (small, large)]
        assert sizes[0]
        np.testing.assert_allclose(sizes[1], np.array(sizes[0]) * 1.35)


def type_sizes(spec: object) -> list[float]:
    if isinstance(spec, list):
        return [size for part in spec for size in type_sizes(part)]
    if not isinstance(spec, dict):
        return []
    own = [value for key, value in spec.items() if key.endswith("ontSize") and isinstance(value, float | int)]
    return own + type_sizes(list(spec.values()))
