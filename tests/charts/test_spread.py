"""Colours of the head map: heads can be told apart, and its legend says what they mean."""

import re
from collections.abc import Sequence
from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest
import torch
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from components.bridge import matrix_inputs
from components.charts import Figure, head_map_chart, measure_table
from components.charts.spread import Spread, spread_of
from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import MEASURES, Head, Measure, Place

INF, NAN = np.inf, np.nan


def spread(*values: float) -> Spread:
    return spread_of(pd.Series(values, dtype=float))


def place(of: Spread, value: float) -> float:
    """Where a value stands, from 0 to 1."""
    low, high = (np.log1p(end / of.bend) for end in (of.low, of.high))
    return float((np.log1p(min(value, of.high) / of.bend) - low) / (high - low))


def test_values_that_span_powers_of_ten_stand_by_ratio() -> None:
    found = spread(1, 10, 10, 100, 1000)
    assert np.allclose(np.diff([place(found, v) for v in (1, 10, 100, 1000)]), 1 / 3, atol=0.03)
    assert found.ticks == (1, 10, 100, 1000)


@pytest.mark.parametrize(
    "values",
    [(0, 1, 2, 3, 900), (0.5, 6, 7, 7.5, 8), (1, 2, 4, 100, 200), (1, 30, 40, 50, 60), (5, 6, 50, 60)],
)
def test_no_outlier_makes_the_others_look_alike(values: Sequence[float]) -> None:
    found = spread(*values)
    assert 0.25 < place(found, float(np.median(values))) < 0.9


def test_values_of_one_size_stand_in_even_steps() -> None:
    found = spread(3, 5, 7, 9, 11)
    assert np.allclose([place(found, v) for v in (3, 5, 7, 9, 11)], [0, 0.25, 0.5, 0.75, 1], atol=1e-3)
    assert found.ticks == (4, 6, 8, 10)


def test_zero_has_a_place_below_the_others() -> None:
    found = spread(0, 1, 1000)
    assert place(found, 0) == 0
    assert 0.1 < place(found, 1) < 0.4
    assert found.ticks[0] == 0


def test_what_is_infinite_stands_beyond_the_largest() -> None:
    for found in (spread(1, 10, 1000, INF), spread(4, 5, INF), spread(4, INF), spread(INF), spread(0, INF)):
        assert found.endless
        assert np.isfinite(found.high)
        assert found.ticks[-1] == found.high
    assert place(spread(1, 10, 1000, INF), 1000) < 0.9
    assert not spread(1, 10).endless


@given(st.lists(st.one_of(st.floats(0, 1e9, width=32), st.just(INF), st.just(NAN), st.just(0.0)), min_size=1))
def test_every_measure_has_a_scale(values: Sequence[float]) -> None:
    found = spread(*values)
    assert 0 <= found.low <= found.high < INF
    assert 0 < found.bend < INF
    assert 0 < len(found.ticks) <= 8
    assert all(one < other for one, other in pairwise(found.ticks))
    assert all(found.low <= tick <= found.high * (1 + 1e-9) for tick in found.ticks)


@pytest.fixture(scope="module")
def measures() -> pd.DataFrame:
    """Those of the embedded model over a text of 5,000 tokens."""
    bridge = load_bridge("demo", device="cpu")
    ids = bridge.to_tokens(" ".join(preset.prompt for preset in PRESETS))
    long = ids.repeat(1, 5000 // ids.shape[1] + 1)[:, :5000]
    with torch.no_grad():
        _, cache = bridge.run_with_cache(long, names_filter=matrix_inputs, piece_tokens=2048)
    return measure_table(
        {Place(layer): cache.ssd_terms(layer, with_x=False) for layer in bridge.ssm_layers()}
    )


def colours(figure: Figure) -> dict[tuple[int, int], np.ndarray]:
    """Red, green and blue of each drawn cell, by layer and head."""
    svg = vl_convert.vegalite_to_svg({**figure.specification(), "width": 600, "background": "white"})
    cells = re.findall(
        r'aria-label="head: (\d+);[^>]*? layer: (\d+);[^>]*?fill="rgb\((\d+), (\d+), (\d+)\)"', svg
    )
    return {(int(layer), int(head)): np.array(list(map(int, rgb))) for head, layer, *rgb in cells}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=lambda measure: measure.name)
def test_heads_can_be_told_apart_at_5000_tokens(measures: pd.DataFrame, measure: Measure) -> None:
    found = colours(head_map_chart(measures, measure, Head(Place(0), 0)))
    values = {(row.layer, row.head): getattr(row, measure.name) for row in measures.itertuples()}
    assert found.keys() == values.keys()
    apart = [
        (one, other)
        for one, other in combinations(values, 2)
        if not 2 / 3 < values[one] / values[other] < 3 / 2
    ]
    assert len(apart) > 300
    for one, other in apart:
        assert np.abs(found[one] - found[other]).max() >= 8, (values[one], values[other])
