"""Softmax attention in the charts, beside the heads of a mixer."""

import json
import re

import altair as alt
import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert

from components.charts import (
    Figure,
    Window,
    attention_tiles,
    gallery_chart,
    head_cells,
    head_in_words,
    head_map_chart,
    locked_limits,
    measure_table,
    panels_chart,
    row_table,
    strongest_tile,
)
from components.charts.cells import HeadCells
from components.charts.colours import (
    amount_levels,
    amount_palette,
    diverging_levels,
    diverging_palette,
    glaze_levels,
    glaze_palette,
)
from components.charts.window import tiles_of
from components.ssd import (
    MEASURES,
    Head,
    Measure,
    Place,
    SoftmaxTerms,
    Statistic,
    effective_attention,
    half_life,
    mean_distance,
)
from tests.charts.conftest import random_softmax, random_terms
from tests.charts.test_charts import WINDOWS, drawn, fact
from tests.charts.test_gallery import drawn as picture_at

TOKENS = [f"t{k}" for k in range(400)]
DISTANCE, HALF_LIFE = MEASURES.values()


def patterns(terms: SoftmaxTerms) -> tuple[np.ndarray, np.ndarray]:
    """Scores and attention of the only text, [head, query, key], as in a textbook."""
    k = terms.k.repeat_interleave(terms.heads_per_group, dim=2)
    E = torch.einsum("bihd,bjhd->hij", terms.q, k) * terms.scale
    future = torch.ones(E.shape[-2:], dtype=torch.bool).triu(1)
    return E.tril().numpy(), E.masked_fill(future, -torch.inf).softmax(dim=-1).numpy()


def cells_of(length: int, head: int = 1, window: Window | None = None) -> HeadCells:
    return head_cells(random_softmax(length), head, TOKENS[:length], window)


def hybrid() -> dict[Place, SoftmaxTerms]:
    """A mixer; softmax attention alone; both in one layer, given in an order that says nothing."""
    softmax = random_softmax(20)
    return {
        Place(0): random_terms(20, 6),
        Place(5, "softmax"): softmax,
        Place(5): random_terms(21, 6),
        Place(2, "softmax"): random_softmax(19),
    }


def test_cells_are_scores_and_the_pattern() -> None:
    cells = cells_of(9)
    E, P = patterns(random_softmax(9))
    at = (cells.cells["i"], cells.cells["j"])
    np.testing.assert_allclose(cells.cells["content"], E[1][at], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cells.cells["attention"], P[1][at], rtol=1e-5)
    assert (cells.kind.name, cells.unsigned) == ("softmax", True)
    assert not {"decay", "dt", "attention_dt"} & {*cells.cells, *cells.keys}


@pytest.mark.parametrize("statistic", ["mean", "rms"])
def test_tiles_hold_the_mean_or_the_root_mean_square(statistic: Statistic) -> None:
    terms, window = random_softmax(400), Window(range(50, 390), range(20, 300))
    cells = head_cells(terms, 2, TOKENS, window, statistic=statistic)
    E, P = patterns(terms)
    row = cells.cells.query("row == 100 and column == 30").iloc[0]
    (i, i_end), (j, j_end) = (
        tiles.loc[at, ["start", "stop"]] for tiles, at in ((cells.queries, 100), (cells.keys, 30))
    )
    P, E = P[2, i:i_end, j:j_end], E[2, i:i_end, j:j_end]
    assert row["content"] == pytest.approx(E.mean(), rel=1e-4)
    expected = P.mean() if statistic == "mean" else np.sqrt((P**2).mean())
    assert row["attention"] == pytest.approx(expected, rel=1e-4)
    assert cells.unsigned


def test_the_row_of_a_query_is_its_distribution() -> None:
    row = row_table(cells_of(9), 6)
    assert list(row.columns) == ["key position", "key token", "score", "attention"]
    assert row["attention"].sum() == pytest.approx(1)
    np.testing.assert_allclose(row["score"].pipe(np.exp).pipe(lambda e: e / e.sum()), row["attention"], 1e-5)
    tiles = row_table(cells_of(300), 299)
    assert list(tiles.columns) == ["key positions", "key text", "score", "attention"]


def test_the_strongest_tile_is_that_of_the_largest_rms() -> None:
    window = Window(range(100, 300), range(0, 200))
    P = patterns(random_softmax(300))[1][3].astype(float)

    def strength(rows: range, columns: range) -> float:
        return float(np.sqrt(np.square(P[rows.start : rows.stop, columns.start : columns.stop]).mean()))

    for reading in ("", "attention_dt"):  # which has no meaning here
        tile = strongest_tile(random_softmax(300), 3, window, reading=reading)
        others = [strength(i, j) for i in tiles_of(window.queries) for j in tiles_of(window.keys)]
        assert strength(tile.queries, tile.keys) == pytest.approx(max(others), rel=1e-5)


def test_locked_limits_are_the_largest_of_all_that_is_given() -> None:
    terms, other, mixer = random_softmax(9), random_softmax(7), random_terms(9)
    of = [patterns(each) for each in (terms, other)]
    alike = {Place(1, "softmax"): terms, Place(3, "softmax"): other}
    expected = {"content": max(np.abs(E).max() for E, _ in of), "attention": 1.0}
    assert locked_limits(alike, reading="attention_dt") == pytest.approx(expected, rel=1e-5)
    both = locked_limits({**alike, Place(3): mixer})
    assert both["attention"] == pytest.approx(max(1.0, float(effective_attention(mixer).abs().max())))


def test_measures_tell_the_kind_of_each_head() -> None:
    layers = hybrid()
    measures = measure_table(layers)
    places = list(zip(measures["layer"], measures["kind"], measures["head"], strict=True))
    assert places == [(*place, head) for place, terms in layers.items() for head in range(terms.heads)]
    of_softmax = measures[measures["kind"] == "softmax"]
    assert of_softmax["half_life"].isna().all()
    P = patterns(layers[Place(5, "softmax")])[1]
    distance = (P * (np.arange(20)[:, None] - np.arange(20))).sum(axis=2).mean(axis=1)
    found = of_softmax.loc[of_softmax["layer"] == 5, "mean_distance"]
    np.testing.assert_allclose(found, distance, rtol=1e-5)
    mixer = measures[(measures["layer"] == 5) & (measures["kind"] == "mamba2")]
    np.testing.assert_array_equal(mixer["half_life"], half_life(layers[Place(5)])[0])
    np.testing.assert_array_equal(mixer["mean_distance"], mean_distance(layers[Place(5)]).value[0])


def test_a_sentence_about_softmax_names_no_half_life_and_no_sign() -> None:
    P = patterns(random_softmax(9))[1][1]
    key = int(P[6].argmax())
    words = head_in_words(cells_of(9), Head(Place(4), 1), float("nan"), 6)
    reads = "itself" if key == 6 else f"'t{key}'"
    assert words == f"In layer 4, softmax head 1, 't6' reads {reads} most ({P[6, key]:.2g})."
    tiles = head_in_words(cells_of(300), Head(Place(4), 1), float("nan"), 299)
    assert re.fullmatch(
        r"In layer 4, softmax head 1, queries 297–299 read keys [\d–]+ most \(mean [\de.−]+\)\.", tiles
    )


@pytest.mark.parametrize(("length", "window"), WINDOWS.values(), ids=WINDOWS)
def test_softmax_has_two_panels(length: int, window: Window | None) -> None:
    cells = cells_of(length, window=window)
    figure = panels_chart(cells, pointed=(cells.window.queries[-1], cells.window.keys[0]))
    assert figure.chart is panels_chart(cells_of(9, 3)).chart  # whose validity is tested below
    assert list(figure.tables["cells"]) == ["content", "attention"]
    assert len(figure.tables["pictures"]) == 2
    content, attention = (cells.matrix(cells.columns[name]) for name in ("content", "attention"))
    np.testing.assert_array_equal(
        drawn(figure, 0, "light"),
        diverging_palette(False)[diverging_levels(content, float(np.abs(content).max()))],
    )
    np.testing.assert_array_equal(
        drawn(figure, 1, "dark"), amount_palette(True)[amount_levels(attention / attention.max())]
    )


def test_its_panels_are_as_large_as_those_of_a_mixer_and_feel_the_same() -> None:
    softmax, mixer = panels_chart(cells_of(9)), panels_chart(head_cells(random_terms(9), 1, TOKENS[:9]))
    of = [{each["name"]: each for each in figure.chart["params"]} for figure in (softmax, mixer)]
    for name in ("side", "lefts", "row_under", "query", "window", "query_to", "key_to"):
        told = [{**params[name], "views": None} for params in of]
        assert told[0] == told[1]
    text = json.dumps(softmax.chart, ensure_ascii=False)
    assert all(words in text for words in ("scores  q·k", "attention  softmax", "Nothing decays"))
    assert not any(words in text for words in ("C·Bᵀ", "decay  L", "attention  M", "dts", "∘"))


def test_every_table_that_a_chart_names_is_there() -> None:
    measures = measure_table(hybrid())
    pictures = np.ones((len(measures), 4, 4), dtype=np.float32)
    valid = set()
    for figure in (
        panels_chart(cells_of(9)),
        panels_chart(cells_of(9), with_bars=True),
        *(head_map_chart(measures, measure, Head(Place(5, "softmax"), 1)) for measure in MEASURES.values()),
        *(gallery_chart(pictures, measures, Head(Place(5), 1), sort=sort) for sort in (None, HALF_LIFE)),
    ):
        chart = json.dumps(figure.chart)
        if chart not in valid:
            alt.LayerChart.validate(figure.specification())
            valid.add(chart)
        named = {layer["data"]["name"] for layer in figure.chart["layer"] if "name" in layer["data"]}
        assert named == set(figure.tables)
        assert set(re.findall(r"data\('(\w+)'\)", chart)) <= named


def test_bars_of_a_row_begin_at_zero() -> None:
    figure = panels_chart(cells_of(9), with_bars=True)
    P = patterns(random_softmax(9))[1][1, 7, :8]
    row = figure.tables["queries"].iloc[7]
    bars = figure.tables["cells"]["attention"].iloc[row["before"] : row["before"] + row["reach"]]
    np.testing.assert_allclose(bars, P, rtol=1e-5)
    assert (row["low"], row["high"]) == (0, pytest.approx(P.max(), rel=1e-5))


def rows_of_map(figure: Figure) -> dict[str, list[int]]:
    """Heads by the label of their row."""
    labels = figure.tables["rows"]["label"]
    heads = figure.tables["heads"]
    return {label: heads.loc[heads["row"] == row, "head"].tolist() for row, label in labels.items()}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda measure: measure.name)
def test_the_head_map_has_a_row_for_each_kind(measure: Measure) -> None:
    figure = head_map_chart(measure_table(hybrid()), measure, Head(Place(5, "softmax"), 3))
    six, four = [*range(6)], [*range(4)]
    assert rows_of_map(figure) == {"0": six, "2 softmax": four, "5": six, "5 softmax": four}
    assert figure.tables["picked"].to_dict("records") == [{"row": 3, "head": 3}]
    heads = figure.tables["heads"]
    hollow = heads["shown"].isna()
    assert hollow.equals((heads["kind"] == "softmax") & (measure is HALF_LIFE))


def test_a_model_without_softmax_attention_is_told_nothing_of_it() -> None:
    mixers = {place: terms for place, terms in hybrid().items() if place.kind == "mamba2"}
    for layers, told in ((mixers, False), (hybrid(), True)):
        measures = measure_table(layers)
        pictures = np.ones((len(measures), 4, 4), dtype=np.float32)
        for figure in (
            head_map_chart(measures, DISTANCE, Head(Place(0), 0)),
            gallery_chart(pictures, measures, Head(Place(0), 0)),
        ):
            assert ('"layer (○ softmax)"' in json.dumps(figure.chart, ensure_ascii=False)) == told


def svg(figure: Figure) -> str:
    return vl_convert.vegalite_to_svg({**figure.specification(), "width": 600})


def test_cells_are_drawn_whether_or_not_their_head_has_the_measure() -> None:
    for measure in MEASURES.values():
        cells = re.findall(
            r'aria-label="head: [^"]+"',
            svg(head_map_chart(measure_table(hybrid()), measure, Head(Place(0), 0))),
        )
        told = [cell for cell in cells if "kind: " in cell]
        softmax = [cell for cell in told if "kind: softmax attention" in cell]
        assert len(told) - len(softmax) == 12
        assert len(softmax) == 2 * 8  # and a ring in each
        assert all(("half-life: none" in cell) == (cell in softmax) for cell in told)


def test_pictures_of_both_kinds_stand_in_rows_of_their_own() -> None:
    layers = hybrid()
    measures = measure_table(layers)
    pictures = np.concatenate([attention_tiles(terms, 19) for terms in layers.values()])
    rms = np.sqrt(np.square(patterns(layers[Place(2, "softmax")])[1]))
    np.testing.assert_allclose(pictures[-4:], rms, rtol=1e-4, atol=1e-6)
    figure = gallery_chart(pictures, measures, Head(Place(2, "softmax"), 1))
    assert figure.tables["layers"]["layer"].tolist() == ["0", "2 softmax", "5", "5 softmax"]
    assert figure.tables["picked"]["slot"].tolist() == [6 + 1]
    times = fact(figure, "dots") // 19
    for k in (0, 3):
        expected = glaze_palette()[glaze_levels(pictures[-4 + k] / pictures[-4 + k].max())]
        np.testing.assert_array_equal(picture_at(figure, 1, k)[::times, ::times], expected)
    assert not picture_at(figure, 1, 4)[..., 3].any()


def test_hairlines_leave_out_what_is_not_there() -> None:
    measures = measure_table(hybrid())
    lines = gallery_chart(
        np.ones((len(measures), 4, 4), dtype=np.float32), measures, Head(Place(0), 0)
    ).tables["lines"]
    level, upright = lines[lines["top"] == lines["bottom"]], lines[lines["left"] == lines["right"]]
    # Rows of 6, 4, 6 and 4: the hairline between two of them is as long as the longer.
    assert level["right"].tolist() == [6, 6, 6, 6, 4]
    ends = {k: part[["top", "bottom"]].to_numpy().tolist() for k, part in upright.groupby("left")}
    assert ends == {k: [[0, 4]] if k <= 4 else [[0, 1], [2, 3]] for k in range(7)}


@pytest.mark.parametrize("locked", [False, True])
def test_a_locked_gallery_has_a_scale_for_each_kind(locked: bool) -> None:
    measures = pd.DataFrame(
        {
            "layer": [0, 0, 0],
            "kind": ["mamba2", "softmax", "softmax"],
            "head": [0, 0, 1],
            "half_life": [1.0, np.nan, np.nan],
            "mean_distance": [1.0, 2.0, 3.0],
        }
    )
    pictures = np.array([8.0, 1.0, 0.25], dtype=np.float32)[:, None, None] * np.ones((3, 4, 4), np.float32)
    figure = gallery_chart(pictures, measures, Head(Place(0), 0), locked=locked)
    strengths = {(0, 0): 1, (1, 0): 1, (1, 1): 0.25 if locked else 1}
    for place, strength in strengths.items():
        expected = glaze_palette()[glaze_levels(np.full((1, 1), strength, np.float32))][0, 0]
        assert (picture_at(figure, *place) == expected).all()


@pytest.mark.parametrize("sort", [None, DISTANCE])
def test_small_pictures_of_softmax_are_marked_with_a_ring(sort: Measure | None) -> None:
    measures = measure_table({Place(0): random_terms(5, 20), Place(1, "softmax"): random_softmax(5, 20)})
    pictures = np.ones((40, 4, 4), dtype=np.float32)
    drawing = svg(gallery_chart(pictures, measures, Head(Place(0), 0), sort=sort))
    rings = re.search(r'<g class="mark-symbol role-mark [^"]*"[^>]*>(.*?)</g>', drawing)
    assert rings is not None
    assert rings.group(1).count("<path") == 20


def test_large_pictures_of_softmax_are_named() -> None:
    measures = measure_table({Place(0): random_terms(5, 2), Place(1, "softmax"): random_softmax(5, 2)})
    drawing = svg(gallery_chart(np.ones((4, 4, 4), np.float32), measures, Head(Place(0), 0), sort=DISTANCE))
    for head in (0, 1):
        assert f">L1 softmax H{head}<" in drawing
        assert f">L0 H{head}<" in drawing
