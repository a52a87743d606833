"""Boxes for whole numbers: what is used for what is typed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.testing.v1 import AppTest

from explorer.whole_number import repaired


@pytest.mark.parametrize(
    ("typed", "used", "said"),
    [
        (64.0, 64, ""),
        (600.0, 512, "600 is not from 1 to 512: 512 is used."),
        (0.0, 1, "0 is not from 1 to 512: 1 is used."),
        (1.5, 2, "1.5 is not a whole number: 2 is used."),
        (512.4, 512, "512.4 is not from 1 to 512: 512 is used."),
        (1e300, 512, "1e+300 is not from 1 to 512: 512 is used."),
        (None, 20, "The box was empty: 20 is used."),
    ],
)
def test_what_is_typed_is_used_or_repaired_with_a_sentence(typed: float | None, used: int, said: str) -> None:
    assert repaired(typed, 1, 512, 20) == (used, said)


@given(st.floats(allow_nan=False), st.integers(0, 99), st.integers(0, 10**6))
def test_what_is_used_is_always_in_range(typed: float, low: int, more: int) -> None:
    used, said = repaired(typed, low, low + more, low)
    assert low <= used <= low + more
    assert bool(said) == (used != typed)


def _page() -> None:
    from explorer.whole_number import tell_repair, whole_number

    whole_number("Number", 1, 512, 64, key="number")
    tell_repair("number")


def test_a_run_leaves_what_is_being_typed_alone() -> None:
    page = AppTest.from_function(_page).run()
    assert page.number_input[0].proto.set_value  # the default
    for typed in (10.0, 11.0):
        assert not page.run().number_input[0].proto.set_value
        assert not page.number_input[0].set_value(typed).run().number_input[0].proto.set_value
    assert page.number_input[0].set_value(600.0).run().number_input[0].proto.set_value  # repaired
    assert (page.number_input[0].value, len(page.caption)) == (512, 1)
