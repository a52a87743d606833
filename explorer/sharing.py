"""Menus to share a view: its link, picture and matrix as files, and the program for the matrix."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import streamlit as st
from jaxtyping import Float32

from components.charts import Figure, HeadCells
from components.ssd import Place
from explorer import exports
from explorer.captures import Capture, terms_of
from explorer.drawing import plain
from explorer.links import LONGEST_LINK, frame_code, link
from explorer.models import bridge
from explorer.readings import Reading
from explorer.selection import Selection
from explorer.viewer import Viewer

LONGEST_PROGRAM = 20_000
"""Characters; a program with a whole book in it is a download."""


def share_menu(viewer: Viewer) -> None:
    """Show the link to this view, to copy."""
    # A popover is filled when it opens, not in every run.
    menu = st.popover("Copy link", icon=":material/link:", key=viewer.key("copy_link"), on_change="rerun")
    if not menu.open:
        return
    with menu:
        address, cut = link(st.context.url or "", viewer.shown)
        st.caption(
            "This link opens this model, prompt, head, row, window and view. Copy it with the button at its "
            "right."
        )
        st.code(address, language=None, wrap_lines=True)
        if cut:
            st.warning(
                f"With the prompt the link would be longer than {LONGEST_LINK:,} characters, so it is "
                "left out: the link opens this picture in this browser tab only. Elsewhere it says so, and "
                "opens the model with the first preset. Send the prompt along as text."
            )
        else:
            st.caption("HTML that shows these panels in an article or in slides that reach this server:")
            st.code(frame_code(st.context.url or "", viewer.shown), language=None, wrap_lines=True)


def link_to_whole_page(viewer: Viewer) -> None:
    """In a small line, what the panels show, and a link that opens the page around them."""
    subject, head = viewer.shown.subject, viewer.shown.head
    address, _ = link(st.context.url or "", viewer.shown)
    st.caption(f"{plain(subject.model)}, {head} · [Open in Mamba-2 Explorer]({address})")


def export_menu(
    viewer: Viewer, capture: Capture, cells: HeadCells, picture: Figure, reading: Reading
) -> None:
    """The panels as pictures, the matrix as numbers, and the program that reproduces it."""
    menu = st.popover("Export", icon=":material/download:", key=viewer.key("export"), on_change="rerun")
    if not menu.open:
        return
    with menu:
        shown, notes = viewer.shown, capture.notes
        provenance = exports.provenance_of(
            bridge(capture.subject.model),
            capture.subject,
            shown.head,
            cells,
            target=reading.target,
            foil=reading.foil,
            notes=notes,
        )
        dark = st.context.theme.type == "dark"
        title = f"{str(shown.head).capitalize()} · Mamba-2 Explorer"

        def matrix() -> Float32[np.ndarray, "query key"]:
            return cells.matrix(cells.values)

        files: dict[str, tuple[str, str, Callable[[], bytes]]] = {
            "SVG": ("svg", "image/svg+xml", partial(exports.picture_svg, picture, dark)),
            "PNG": ("png", "image/png", partial(exports.picture_png, picture, dark)),
            "HTML": ("html", "text/html", partial(exports.picture_html, picture, title, dark, notes)),
            "CSV": ("csv", "text/csv", lambda: exports.matrix_csv(matrix(), provenance)),
            "NPZ": ("npz", "application/octet-stream", lambda: exports.matrix_npz(matrix(), provenance)),
        }
        st.caption(
            "The picture as SVG, PNG or a page that works offline, in the colours you see; the matrix as "
            "CSV or NPZ."
        )
        with st.container(horizontal=True):
            for label, (suffix, mime, make) in files.items():
                st.download_button(
                    label,
                    make,
                    file_name=exports.file_name(provenance, suffix),
                    mime=mime,
                    key=viewer.key(f"export_{suffix}"),
                    on_click="ignore",
                )
        of_attention = " It shows attention." if cells.shown.needs != "terms" else ""
        st.caption(f"{_what_a_page_holds(capture, shown.head.place)}{of_attention}")
        st.download_button(
            "Page of all heads",
            partial(_page, capture, shown),
            file_name=exports.file_name(provenance, "page.html"),
            mime="text/html",
            key=viewer.key("export_page"),
            on_click="ignore",
        )
        st.caption("Python that makes the same matrix:")
        program = exports.snippet(provenance)
        if len(program) <= LONGEST_PROGRAM:
            # Without colours: some highlighter colours are too pale to read.
            st.code(program, language=None, wrap_lines=True)
        else:
            st.download_button(
                "Python",
                program,
                file_name=exports.file_name(provenance, "py"),
                key=viewer.key("export_py"),
                on_click="ignore",
            )


def _what_a_page_holds(capture: Capture, place: Place) -> str:
    what = (
        f"A page of heads to pick and to point at, without a server, of at most {exports.MOST_MEGABYTES:g} "
        f"MB: those of layer {place.layer}"
    )
    if not _is_at_hand(capture):
        return (
            f"{what}. The text is too long to keep the other layers; `mamba2-explorer snapshot` runs it "
            "again for them."
        )
    return f"{what}, then the other layers in their order until it is full. It says which it lacks."


def _page(capture: Capture, shown: Selection) -> bytes:
    snapshot = exports.take_snapshot(
        bridge(capture.subject.model),
        capture,
        shown,
        partial(terms_of, capture),
        layers=None if _is_at_hand(capture) else [shown.head.place.layer],
    )
    return snapshot.page


def _is_at_hand(capture: Capture) -> bool:
    """Whether one run gives the terms of all layers, and need not go on for each."""
    return capture.small is None
