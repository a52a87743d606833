"""Switches of the view: each shows a value of the selection, and changes it."""

from __future__ import annotations

from collections.abc import Mapping

import streamlit as st

from components.ssd import KINDS, Factor
from explorer.viewer import Viewer
from explorer.widgets import chosen, put


def choice(
    viewer: Viewer, name: str, label: str, options: Mapping[str, str], meaning: str | None = None
) -> None:
    """A choice of the view: `options` maps values to labels. The first stands for a value that is none of
    them.
    """
    value, first = getattr(viewer.shown.view, name), next(iter(options))
    put(viewer.key(name), value if value in options else first)
    st.segmented_control(
        label,
        list(options),
        key=viewer.key(name),
        format_func=options.__getitem__,
        help=meaning,
        on_change=_take,
        args=(viewer, name, str),
        required=True,
        wrap=True,
    )


def toggle(
    viewer: Viewer, name: str, label: str, meaning: str | None = None, *, disabled: bool = False
) -> bool:
    """A switch of the view."""
    put(viewer.key(name), getattr(viewer.shown.view, name))
    return st.toggle(
        label,
        key=viewer.key(name),
        help=meaning,
        on_change=_take,
        args=(viewer, name, bool),
        disabled=disabled,
    )


def _take(viewer: Viewer, name: str, kind: type[str | bool]) -> None:
    value = chosen(viewer.key(name), kind)
    if value is not None:
        viewer.on_pick(viewer.shown.with_view(**{name: value}))


def larger_type(viewer: Viewer) -> None:
    """Set the page in larger type, if that is switched on."""
    if viewer.shown.view.large:
        st.html("<style>html { font-size: 20px; }</style>")


def switches(viewer: Viewer) -> None:
    """The switches of the view: what is shown, then how it is coloured."""
    with st.container(horizontal=True, width="content"):
        toggle(viewer, "gallery", "Gallery: small pictures of all heads")
        toggle(viewer, "large", "Projector: larger type")
    with st.container(horizontal=True, width="content"):
        toggle(
            viewer,
            "symlog",
            "Log colours: weak values show",
            "Colours follow the logarithm, over three powers of ten.",
        )
        toggle(
            viewer,
            "locked",
            "Lock scale: one scale for all heads",
            "All heads of one kind, in every layer, share one scale. A weak head is pale on it. In long "
            "texts, and where contributions are shown, each layer has its own.",
        )
    _readings(viewer)


def _readings(viewer: Viewer) -> None:
    """The choice of what the last panel shows."""
    kind = KINDS[viewer.shown.head.place.kind]
    options = {"": _named(kind.attention)} | {each.name: _named(each) for each in kind.readings}
    label = "The last panel shows"
    if not kind.readings:
        label += f": nothing else for {kind.short} heads"
    choice(
        viewer,
        "reading",
        label,
        options,
        "A dark cell of content can be pale in attention because it is forgotten (decay), and in the others "
        "because its key was never written (dt).",
    )


def _named(factor: Factor) -> str:
    """A factor as an option."""
    name = factor.label or factor.name
    return name[:1].upper() + name[1:]
