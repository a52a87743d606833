"""The linked panels and the picked row of one head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import streamlit as st

from components.charts import (
    OPEN_SPAN,
    OPEN_WINDOW,
    PICK_QUERY,
    HeadCells,
    Window,
    head_in_words,
    how_to_read,
    in_figures,
    panels_chart,
    row_table,
    span_in_words,
    tiles_of,
    what_is_left,
)
from components.ssd import CELL_SHARE, Head
from explorer import hand
from explorer.captures import Capture, terms_of
from explorer.drawing import draw, plain
from explorer.fragments import redraw
from explorer.live_alt import live_alt
from explorer.passages import link_to
from explorer.picks import position_of, span_of, stamp_of, window_of
from explorer.pictures import cells_of, limits_of, overview, sums_of
from explorer.question import tell_tokens
from explorer.readings import picked_reading, wait_for_reading
from explorer.selection import Selection
from explorer.session import session
from explorer.sharing import export_menu, link_to_whole_page, share_menu
from explorer.switches import toggle
from explorer.text_span import span_switch
from explorer.threads import use_threads
from explorer.viewer import Viewer
from explorer.widgets import pressed
from explorer.windows import below_the_trail, shown_window

PANELS = "What makes up the attention of the picked head, the text, and what a row reads."
"""The chart's initial `alt`; `live_alt` replaces it."""
HAND = (
    "Point at a cell to see it everywhere. Press it to keep it and its row; press again, or Escape, to let "
    "go. "
    "Drag over cells to open them as a window, over the text to read several tokens as one row. By touch: "
    "press long, then drag. By keys: up and down go from row to row."
)
"""How to use the panels. The page hides it after the first use."""
HEAD_VIEW = "head_view"
"""The key of the fragment around the panels, which draws the maps of all heads."""


@st.fragment
def head_panels(viewer: Viewer, capture: Capture, others: Mapping[str, str] | None = None) -> None:
    """Draw one head's linked panels and picked row. Picking a row or window reruns only this, unless the maps
    show the picked cell.

    `others` are the words for the charts around, by their keys.
    """
    use_threads(0)  # matrices of one head
    shown = viewer.shown
    head, view, span = shown.head, shown.view, shown.span
    window = shown_window(viewer, capture)
    query = existing_query(viewer, window)
    reading, why_not = picked_reading(viewer, capture)
    if not why_not:
        reading, why_not = wait_for_reading(viewer, capture, reading)
    cells = cells_of(capture, head, window, "rms" if view.rms else "mean", reading)
    half_life = capture.measured[head]["half_life"]
    words = head_in_words(cells, head, half_life, query)
    limits = viewer.limits
    if limits is None and view.locked:
        limits = limits_of(capture, head.place, window, reading, view.rms)
    sums = None
    if span is not None:
        sums = sums_of(capture.subject, head, span, window, view.read_by, reading, capture.tokens)
        words = span_in_words(sums, cells)
    cell = _kept_cell(shown, window, query)
    if cell is not None:
        words += f" Picked: key {cell[1]:,} '{capture.tokens[cell[1]]}'."
    panels = panels_chart(
        cells,
        pointed=(cell or (query, cells.most_read(query))) if sums is None else None,
        limits=limits,
        with_bars=True,
        span=sums,
        logarithmic=view.symlog,
        larger=view.large,
    )
    if why_not:
        st.text(f"The last panel shows attention. {why_not}")
    with below_the_trail(viewer, capture, window, reading):
        st.markdown(f"**{_what_is_shown(shown, query)}** {plain(words)}", width="content")
        if window.pooled:
            toggle(
                viewer,
                "rms",
                "RMS",
                "Root mean square of each tile of what is shown: where a head looks strongest, whatever the "
                "sign. When off, the mean, in which signs may cancel.",
            )
        if span is not None:
            span_switch(viewer)
        if cell is not None and not view.of_cell and not viewer.alone:
            st.button(
                "Which heads read this cell?",
                key=viewer.key("who_reads"),
                icon=":material/grid_view:",
                help="Colour the head map by this cell's share of its row.",
                on_click=_colour_heads,
                args=(viewer,),
            )
    if left := _what_is_left(capture, head, cells):
        st.caption(f":material/hide_source: {plain(left)}")
    if not session().hand_used and not viewer.alone:
        st.caption(f":material/touch_app: {HAND}")
    key = viewer.key("panels")
    hand.listen(key, partial(_move_row, viewer, tiles_of(window.queries), query))
    draw(
        panels,
        key=key,
        on_select=partial(_press, viewer),
        selection_mode=[PICK_QUERY, OPEN_WINDOW, OPEN_SPAN],
        alt=PANELS,
    )
    if viewer.alone:
        link_to_whole_page(viewer)
    else:
        opens = " Drag over cells to open them, down to single tokens." if cells.pooled else ""
        st.caption(f"{how_to_read(cells, capture.kernel)}{opens}")
        tell_tokens(capture.subject.model, reading)
        with st.container(horizontal=True, vertical_alignment="center"):
            link_to("panels", "the panels")
            link_to("row", "a row")
            as_table = toggle(viewer, "table", "Row as a table")
            share_menu(viewer)
            export_menu(viewer, capture, cells, panels, reading)
        if as_table:
            st.dataframe(row_table(cells, query), hide_index=True, alt=f"What query {query} reads.")
    live_alt(
        viewer,
        {
            **(others or {}),
            "panels": f"{_shown_in_words(window, capture)}{_what_is_shown(shown, query)} {words}",
            "decay_curves": "Survival of the first token over the tokens after it, for every head of "
            f"{head.place}. Head {head.index} in front, half-life {half_life:.3g} tokens.",
        },
    )
    viewer.on_drawn()


def _press(viewer: Viewer) -> None:
    """Open the brushed window, read the brushed span, or keep the clicked cell, or row, until it is clicked
    again.

    Any other click changes nothing.
    """
    before = viewer.shown.cell
    for name in (OPEN_WINDOW, OPEN_SPAN, PICK_QUERY):
        points = pressed(viewer.key("panels"), name)
        if not _is_new(viewer.key(name), stamp_of(points)):
            continue
        shown, query, key = viewer.shown, position_of(points, "i"), position_of(points, "j")
        if window := window_of(points):
            viewer.on_pick(shown.with_window(window))
        elif span := span_of(points):
            viewer.on_pick(shown.with_span(span))
        elif query is not None:
            again = (query, key) == (shown.query, shown.key) and shown.span is None
            viewer.on_pick(shown.with_cell(*((None, None) if again else (query, key))))
        else:
            continue
        session().hand_used = True
    _redraw_maps(viewer, before)


def _redraw_maps(viewer: Viewer, before: tuple[int, int] | None) -> None:
    """Let what is around the panels be drawn, too, if it shows the cell, and that is another than before."""
    shown = viewer.shown
    if shown.view.of_cell and shown.cell != before and not viewer.alone:
        redraw(HEAD_VIEW)


def _colour_heads(viewer: Viewer) -> None:
    viewer.on_pick(viewer.shown.with_view(measure=CELL_SHARE.name))
    redraw(HEAD_VIEW)


def _is_new(selection: str, stamp: float | None) -> bool:
    """Whether a selection, which stays in its chart, comes from a new click."""
    stamps = session().stamps
    if stamp is None or stamps.get(selection) == stamp:
        return False
    stamps[selection] = stamp
    return True


def _move_row(viewer: Viewer, rows: Sequence[range], query: int) -> None:
    """Go to another row by the arrow keys, or back to the last by Escape."""
    moves, before = hand.moves(viewer.key("panels")), viewer.shown.cell
    if moves.back:
        viewer.on_pick(viewer.shown.with_query(None))
    elif moves.down:
        at = next(number for number, row in enumerate(rows) if query in row)
        row = rows[min(max(at + moves.down, 0), len(rows) - 1)]
        viewer.on_pick(viewer.shown.with_query(row[0]))
        session().hand_used = True
    _redraw_maps(viewer, before)


def _what_is_left(capture: Capture, head: Head, cells: HeadCells) -> str:
    """A sentence, if next to nothing is read in the window."""
    window, terms = cells.window, terms_of(capture, head.place)
    first, last = window.queries[0], window.keys[-1]
    if first <= last:  # the diagonal, where nothing has faded yet
        return ""
    # Survival is largest between the nearest two: each token lowers it.
    survival, decay = 1.0, cells.kind.decay
    if decay is not None:
        survival = float(decay.full(terms, heads=[head.index], queries=[first], keys=[last]))
        if survival > 0.01:
            return ""  # as in most windows, which need no picture of the whole text
    return what_is_left(cells, survival, float(overview(capture.subject, head).max()))


def _shown_in_words(window: Window, capture: Capture) -> str:
    if window == Window.whole(capture.length):
        return ""
    return f"Queries {in_figures(window.queries)}, keys {in_figures(window.keys)}. "


def _what_is_shown(shown: Selection, query: int) -> str:
    """Which row the sentence is about."""
    if shown.span is not None:
        return f"Positions {in_figures(shown.span)}, kept."
    return "The last row." if shown.query != query else f"Row {query:,}, kept."


def existing_query(viewer: Viewer, window: Window) -> int:
    """The picked query position; the last of the window, if none is picked or it is not shown."""
    query = viewer.shown.query
    return window.queries[-1] if query is None or query not in window.queries else query


def _kept_cell(shown: Selection, window: Window, query: int) -> tuple[int, int] | None:
    """The picked cell, if the shown row and the window hold it."""
    cell = shown.cell
    return cell if cell and cell[0] == query and cell[1] in window.keys else None
