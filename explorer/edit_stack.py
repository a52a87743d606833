"""The edits of the run that is shown: a list to switch and remove, and a form to add one."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import streamlit as st

from components.ssd import (
    EDITS,
    KINDS,
    CutEdge,
    CutSource,
    Edit,
    Head,
    HeadEdit,
    KeepLast,
    Mute,
    ScaleDecay,
    ScaleDt,
)
from explorer.fragments import redraw
from explorer.frame import pick
from explorer.links import short_query_of
from explorer.session import session
from explorer.widgets import chosen, number, put, put_first

WHAT: dict[str, dict[str, str]] = {
    Mute.name: {
        "attention": "attention: the skip D·x stays",
        "all": "everything: the skip too",
        "mean": "all but the mean over the text",
    },
    CutSource.name: {
        "reading": "what is read of it: its own skip D·x stays",
        "skip": "its own skip too",
        "token": "all that it writes, before the convolution spreads it",
    },
}
"""The ways of an edit, by its name."""

MAX_EDITS = 20

FRAGMENTS = PREDICTION, RUN = "prediction_now", "edited_run"
"""The keys of the fragments of the page "Does it matter?" that the edits change."""


def tell_edits() -> None:
    """Show that the run is edited, if it is, and a way back."""
    edits = session().selection.subject.edits
    if not edits:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        words = "; ".join(map(_sentence, edits))
        st.text(f"This run is edited. {words}.", width="content")
        st.button("Run without edits", key="without_edits", icon=":material/undo:", on_click=drop_edits)


def edit_list(sizes: tuple[float, ...]) -> None:
    """Every edit with how much it changed, switches and buttons. `sizes` are of those switched on."""
    state = session()
    active = state.selection.subject.edits
    if not active and not state.switched_off:
        st.caption("No edit: this is the model as it is. Add one, or pick a head above and mute it.")
        return
    for at, edit in enumerate(active):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(_sentence(edit), width="content")
            st.caption(_size(sizes[at]), width="content")
            _button("Switch off", f"off_{at}", _switch_off, edit, at)
            _button("Remove", f"remove_{at}", _remove, edit, at, icon=":material/delete:")
    for at, edit in enumerate(state.switched_off):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(_sentence(edit), width="content")
            st.caption("Switched off.", width="content")
            _button("Switch on", f"on_{at}", _switch_on, edit, at)
            _button("Remove", f"drop_{at}", _forget, edit, at, icon=":material/delete:")
    with st.container(horizontal=True):
        if active:
            _button("Undo the last", "undo_edit", _undo, len(active), icon=":material/undo:")


def _button(label: str, key: str, edits: Callable[..., None], *given: Any, icon: str | None = None) -> None:
    """A button that changes the edits by a function, given these."""
    st.button(label, key=key, icon=icon, on_click=_change, args=(edits, *given))


def add_form(head: Head, length: int) -> None:
    """A form for one more edit; at first for the picked head."""
    names = {
        name: edit.title
        for name, edit in EDITS.items()
        if issubclass(edit, HeadEdit) and head.place.kind in edit.kinds
    }
    if chosen("edit_kind", str) not in names:
        put("edit_kind", next(iter(names)))
    if session().edit_of != head:
        put("edit_layers", str(head.place.layer))
        put("edit_heads", str(head.index))
        session().edit_of = head
    put_first("edit_positions", "all")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        kind = st.selectbox("Edit", list(names), key="edit_kind", format_func=names.__getitem__, width=220)
        ways = WHAT.get(kind or "", {})
        if not KINDS[head.place.kind].has_state:
            ways = dict(list(ways.items())[:1])
        if ways:
            if chosen("edit_what", str) not in ways:
                put("edit_what", next(iter(ways)))
            st.selectbox("What", list(ways), key="edit_what", format_func=ways.__getitem__, width=320)
        help = "A number, a range such as 2-5, or all."
        st.text_input("Layers", key="edit_layers", width=90, help=help)
        st.text_input("Heads", key="edit_heads", width=90, help=help)
        what = {CutSource.name: "Tokens j", CutEdge.name: "Queries i", KeepLast.name: "Queries i"}
        st.text_input(
            what.get(kind or "", "Positions"),
            key="edit_positions",
            width=110,
            help=f"{help} From 0 to {length - 1}.",
        )
        if kind == CutEdge.name:
            put_first("edit_keys", "all")
            st.text_input("Keys j", key="edit_keys", width=110, help=help)
        if kind == KeepLast.name:
            put_first("edit_width", 8.0)
            st.number_input("Tokens kept", value=None, step=1.0, format="%.0f", key="edit_width", width=130)
        if kind in (ScaleDecay.name, ScaleDt.name):
            put_first("edit_factor", 0.0)
            st.number_input(
                "Factor",
                value=None,
                key="edit_factor",
                width=130,
                help="0 forgets nothing, 1 changes nothing."
                if kind == ScaleDecay.name
                else "0 writes nothing and forgets nothing, 1 changes nothing.",
            )
        _button("Add", "add_edit", _add, kind or "", head, icon=":material/add:")
    if session().edit_error:
        st.warning("This edit was not added.", icon=":material/edit_off:")
        st.text(session().edit_error)
        session().edit_error = ""


def _sentence(edit: Edit) -> str:
    return edit.sentence if isinstance(edit, HeadEdit) else edit.words


def _size(part: float) -> str:
    """How much an edit changed."""
    if part == 0:
        return "Changed nothing in this run."
    return f"Changed its tensors by {part:.2g} of their size."


def _change(edits: Callable[..., None], *given: Any) -> None:
    """Change the edits, and draw what they change."""
    edits(*given)
    state = session()
    # A page that was opened from a file says how its figures compare, or no longer does; and only the whole
    # page lets the browser keep a prompt that the link has no room for.
    whole = state.reopened is not None or short_query_of(st.context.url or "", state.selection)[1]
    redraw(*(() if whole else FRAGMENTS))


def _add(name: str, head: Head) -> None:
    """Add the edit of the form."""
    state = session()
    edits = state.selection.subject.edits
    try:
        if len(edits) + len(state.switched_off) >= MAX_EDITS:
            raise ValueError(f"There are {MAX_EDITS} edits already, the most that a run takes. Remove one.")
        given: dict[str, Any] = {
            part: _range(part, chosen(f"edit_{part}", str)) for part in ("layers", "heads", "positions")
        }
        if name in WHAT:
            given["what"] = chosen("edit_what", str)
        if name == CutEdge.name:
            given["keys"] = _range("keys", chosen("edit_keys", str))
        if name == KeepLast.name:
            given["width"] = int(number("edit_width") or 0)
        if name in (ScaleDecay.name, ScaleDt.name):
            given["factor"] = float(number("edit_factor") or 0)
        kind_of_edit: Any = EDITS[name]
        edit: Edit = kind_of_edit(kind=head.place.kind, **given)
    except ValueError as error:
        state.edit_error = str(error)
        return
    pick(state.selection.with_edits((*edits, edit)))


def _range(what: str, words: str | None) -> range | None:
    """The indices that a box names."""
    text = (words or "all").strip().lower()
    if text in ("", "all"):
        return None
    found = re.fullmatch(r"(\d{1,9})(?:\s*[-–]\s*(\d{1,9}))?", text, re.ASCII)
    if found is None or (found[2] is not None and int(found[2]) < int(found[1])):
        raise ValueError(f'"{words}" names no {what}. Type a number, a range such as 2-5, or all.')
    return range(int(found[1]), int(found[2] or found[1]) + 1)


def _without(edits: tuple[Edit, ...], edit: Edit, at: int) -> tuple[Edit, ...]:
    """The stack without one; unchanged if another run has changed it meanwhile."""
    return (*edits[:at], *edits[at + 1 :]) if edits[at : at + 1] == (edit,) else edits


def _remove(edit: Edit, at: int) -> None:
    selection = session().selection
    pick(selection.with_edits(_without(selection.subject.edits, edit, at)))


def _switch_off(edit: Edit, at: int) -> None:
    _remove(edit, at)
    session().switched_off.append(edit)


def _switch_on(edit: Edit, at: int) -> None:
    _forget(edit, at)
    selection = session().selection
    pick(selection.with_edits((*selection.subject.edits, edit)))


def _forget(edit: Edit, at: int) -> None:
    state = session()
    state.switched_off = list(_without(tuple(state.switched_off), edit, at))


def _undo(count: int) -> None:
    selection = session().selection
    if len(selection.subject.edits) == count:
        pick(selection.with_edits(selection.subject.edits[:-1]))


def drop_edits() -> None:
    """Run without edits."""
    _change(lambda: pick(session().selection.with_edits(())))
