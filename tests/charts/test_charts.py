import base64
import io
import json

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.charts import (
    MEASURES,
    PICK,
    Measure,
    cell_table,
    decay_curves_chart,
    head_map_chart,
    measure_table,
    panels_chart,
    survival_table,
)
from components.charts.colours import paint_amount, paint_diverging
from components.charts.picture import png_address
from components.ssd import SSDTerms
from tests.charts.conftest import random_terms

alt.data_transformers.disable_max_rows()


def panels_spec(length: int, first: int = 0) -> tuple[pd.DataFrame, dict[str, object]]:
    tokens = [f"·token{k}" for k in range(length)]
    cells = cell_table(random_terms(length), 0, tokens, first)
    last = first + length - 1
    return cells, panels_chart(cells, tokens, first=first, pointed=(last, first)).to_dict()


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


def test_the_marked_cell_is_the_one_asked_for() -> None:
    cells, spec = panels_spec(6, first=10)
    pointer = next(p for p in spec["params"] if p["name"] == "cell")
    value = pointer["value"][0]
    row = cells[(cells["i"] == 15) & (cells["j"] == 10)].iloc[0]
    assert (value["i"], value["j"], value["query"]) == (15, 10, "·token5")
    assert value["attention"] == pytest.approx(row["attention"])


def test_the_cells_are_sent_once_and_stay_small() -> None:
    cells, spec = panels_spec(128)
    assert sum(len(rows) == len(cells) for rows in spec["datasets"].values()) == 1
    without_cells = {key: value for key, value in spec.items() if key != "datasets"}
    assert len(json.dumps(without_cells)) < 400_000


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


@pytest.mark.parametrize("half_life", [0.3, 5.0, 1e4, np.inf])
def test_decay_curves_name_the_half_life(terms: SSDTerms, half_life: float) -> None:
    spec = decay_curves_chart(survival_table(terms), 1, half_life).to_dict()
    assert f"half-life {half_life:.3g} tokens" in json.dumps(spec)
    of_others, of_head = (
        {row["head"] for row in spec["datasets"][layer["data"]["name"]]} for layer in spec["layer"][:2]
    )
    assert (of_others, of_head) == ({0, 2}, {1})


def test_decay_curves_of_one_token() -> None:
    decay_curves_chart(survival_table(random_terms(1)), 0, 3.0).to_dict()
