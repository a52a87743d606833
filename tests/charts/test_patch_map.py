"""Maps of what patches recover: every cell its own figure, on the scale that is given."""

import json

import altair as alt
import numpy as np

from components.charts import effect_map_chart, measure_table, patch_map_chart
from components.ssd import Head, Place
from tests.charts.conftest import random_terms

EFFECTS = np.arange(12, dtype=np.float32).reshape(3, 4) - 5


def test_every_layer_and_position_has_its_figure_and_its_token() -> None:
    figure = patch_map_chart(["a", "b", "c", "d"], EFFECTS, "recovered", 7.0)
    cells = figure.tables["cells"]
    assert len(cells) == 12
    for each in cells.itertuples():
        assert each.effect == EFFECTS[each.layer, each.position]
        assert each.token == "abcd"[each.position]
    assert figure.tables["scene"]["limit"].tolist() == [7.0]
    assert figure.tables["columns"]["name"].tolist() == ["a", "b", "c", "d"]
    alt.LayerChart.validate(figure.specification())


def test_names_of_a_long_text_are_positions() -> None:
    names = patch_map_chart(["a"] * 60, np.zeros((2, 60), np.float32), "recovered", 1.0).tables["columns"]
    assert names["name"].tolist() == [str(position) for position in range(60)]


def test_a_map_without_a_control_tells_of_none_and_keeps_a_given_scale() -> None:
    heads = measure_table({Place(0): random_terms(5, 3)})
    effects = np.array([0.1, -0.2, 0.3], np.float32)
    figure = effect_map_chart(heads, effects, None, Head(Place(0), 1), "recovered", limit=2.0)
    assert "random change" not in json.dumps(figure.chart)
    assert figure.tables["scene"]["limit"].tolist() == [2.0]
    assert "control" not in figure.tables["heads"]
    figure = effect_map_chart(heads, effects, effects, Head(Place(0), 1), "recovered")
    assert "random change" in json.dumps(figure.chart)
    assert figure.tables["scene"]["limit"].tolist() == [np.float32(0.3)]
