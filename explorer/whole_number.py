"""A box for a whole number. It accepts any number, shows the one it uses, and says what it changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st

from explorer.session import session
from explorer.widgets import number, put


def whole_number(
    label: str,
    low: int,
    high: int,
    default: int,
    *,
    key: str,
    on_change: Callable[[], None] | None = None,
    **options: Any,
) -> int:
    """A number from `low` to `high`, `default` where the box is empty; `options` of `st.number_input`.

    Sets no limits in the browser, which would keep a number beyond them in its box and not send it.
    """
    given = number(key)
    shown = float(default if given is None else given)
    if given is None:  # else keep it: a new value would replace what is being typed
        put(key, shown)
    st.number_input(
        label,
        value=None,
        step=1.0,
        format="%.0f",
        key=key,
        on_change=_take,
        args=(key, low, high, default, shown, on_change),
        **options,
    )
    return repaired(number(key), low, high, default)[0]


def tell_repair(*keys: str) -> None:
    """Show the last corrections in boxes with these keys."""
    for key in keys:
        if sentence := session().repairs.get(key):
            st.caption(f":material/info: {sentence}")


def repaired(typed: float | None, low: int, high: int, default: int) -> tuple[int, str]:
    """The number used for a typed one, and a sentence if it differs."""
    if typed is None:
        return default, f"The box was empty: {default:,} is used."
    used = int(min(max(typed, low), high) + 0.5)
    if used == typed:
        return used, ""
    shown = f"{typed:,.15g}"
    if low <= typed <= high:
        return used, f"{shown} is not a whole number: {used:,} is used."
    return used, f"{shown} is not from {low:,} to {high:,}: {used:,} is used."


def _take(
    key: str, low: int, high: int, default: int, shown: float, on_change: Callable[[], None] | None
) -> None:
    typed = number(key)
    used, sentence = repaired(typed, low, high, default)
    if used != typed:
        put(key, float(used))
    session().repairs[key] = sentence
    if on_change is not None and used != shown:  # a removed box sends its number once more
        on_change()
