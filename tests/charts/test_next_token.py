import json

import pytest

from components.charts.next_token import next_token_chart, next_token_table

NAMES = [f"·token{k}" for k in range(10)]
PROBABILITIES = [0.5, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02, 0.01, 0.005, 0.0004]


def test_one_row_per_token_in_the_order_given() -> None:
    table = next_token_table(NAMES, PROBABILITIES, 3)
    assert table["token"].tolist() == NAMES
    assert table["probability"].tolist() == PROBABILITIES
    assert table.index[table["came"]].tolist() == [3]
    assert not next_token_table(NAMES, PROBABILITIES)["came"].any()


def test_tokens_that_look_alike_are_not_both_marked() -> None:
    assert next_token_table(["a", "a"], [0.6, 0.4], 1)["came"].tolist() == [False, True]


def test_the_chart_is_the_same_whatever_it_shows() -> None:
    figure = next_token_chart(next_token_table(NAMES, PROBABILITIES, 0))
    other = next_token_chart(next_token_table([*NAMES, "·rare"], [*PROBABILITIES, 1e-9], 10))
    assert figure.chart == other.chart
    assert figure.chart != next_token_chart(next_token_table(NAMES, PROBABILITIES), larger=True).chart
    assert figure.tables["scene"]["slots"].tolist() == other.tables["scene"]["slots"].tolist() == [11]


def test_figures_are_written_and_what_came_is_named() -> None:
    table = next_token_table([*NAMES, "·rare"], [*PROBABILITIES, 1e-9], 10)
    written = next_token_chart(table).tables["bars"]["written"].tolist()
    assert written[0] == "50 %"
    assert written[9] == "< 0.1 %"
    assert written[10] == "< 0.1 % · came next"


@pytest.mark.parametrize("count", [1, 10, 11])
def test_it_is_drawn(count: int) -> None:
    vl_convert = pytest.importorskip("vl_convert")
    table = next_token_table([*NAMES, "<b>·ev</b>"][:count], [*PROBABILITIES, 0.0][:count], count - 1)
    svg = vl_convert.vegalite_to_svg(json.dumps(next_token_chart(table).specification()))
    assert svg.count("came next") >= 1
    assert "<b>" not in svg
