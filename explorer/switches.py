"""Switches of the view: each holds what the selection says, and changes it."""

from __future__ import annotations

import streamlit as st

from components.ssd import KINDS, Place
from explorer.picks import chosen, picked


def choose(name: str) -> None:
    """Take a choice of the view."""
    choice = chosen(name, str)
    if choice is not None:
        st.session_state.selection = picked().with_view(**{name: choice})


def _switch(name: str) -> None:
    st.session_state.selection = picked().with_view(**{name: st.session_state[name]})


def toggle(name: str, label: str, meaning: str | None = None, *, disabled: bool = False) -> bool:
    """A switch of the view."""
    st.session_state[name] = getattr(picked().view, name)
    return st.toggle(label, key=name, help=meaning, on_change=_switch, args=(name,), disabled=disabled)


def switches(place: Place) -> None:
    """What of the page is a matter of view: what is shown, then how it is coloured."""
    with st.container(horizontal=True, width="content"):
        toggle("gallery", "Gallery: small pictures of all heads")
        toggle("large", "Projector: larger type")
    with st.container(horizontal=True, width="content"):
        toggle(
            "symlog",
            "Log colours: weak values show",
            "Colours follow the logarithm, over three powers of ten.",
        )
        toggle(
            "locked",
            "Lock scale: one scale for all heads",
            "All heads of one kind, in every layer, share one scale. A weak head is pale on it.",
        )
        kind = KINDS[place.kind]
        no_dt = kind.times_dt is None
        toggle(
            "dt",
            f"Times dt: {f'not for {kind.short} heads' if no_dt else 'M·dt, what the scan adds'}",
            "A dark cell can be pale because its key was never written (dt), is forgotten (decay), or does "
            "not match (content).",
            disabled=no_dt,
        )
