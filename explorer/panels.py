"""The linked panels and the picked row of one head."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import streamlit as st

from components.charts import (
    OPEN_SPAN,
    OPEN_WINDOW,
    PICK_QUERY,
    HeadCells,
    Window,
    head_in_words,
    in_figures,
    panels_chart,
    row_table,
    span_in_words,
    what_is_left,
)
from components.charts.window import tiles_of
from components.ssd import KINDS, MEASURES, Place
from explorer import hand
from explorer.address import write_address
from explorer.captures import Capture, terms_of
from explorer.decay_curves import DECAY_CURVES
from explorer.drawing import draw, plain
from explorer.live_alt import live_alt
from explorer.maps import GALLERY, HEAD_MAP
from explorer.passages import link_to
from explorer.picks import picked, position_of, pressed, span_of, taken_anew, window_of
from explorer.pictures import cells_of, limits_of, overview, sums_of
from explorer.selection import Selection
from explorer.sharing import export_menu, share_menu
from explorer.switches import toggle
from explorer.text_span import span_switch
from explorer.threads import use_threads
from explorer.windows import below_the_trail, shown_window

PANELS = "What makes up the attention of the picked head, the text, and what a row reads."
"""The chart's `alt`, until `live_alt` says what it shows now."""
HAND = (
    "Point at a cell to see it everywhere. Press it to keep its row; press again, or Escape, to let it go. "
    "Drag over cells to open them as a window, over the text to read several tokens as one row. By touch: "
    "press long, then drag. By keys: up and down go from row to row."
)
"""What can be done with the panels; it goes after the first use."""


@st.fragment
def head_panels(capture: Capture, place: Place, head: int, half_life: float) -> None:
    """The linked panels and the picked row of one head. Another row or window reruns this alone."""
    use_threads(0)  # matrices of one head
    selection = picked()
    view = selection.view
    window = shown_window(capture)
    query = existing_query(window)
    cells = cells_of(capture, place, head, window, "rms" if view.rms else "mean")
    kind = KINDS[place.kind]
    value = kind.attention_with(dt=view.dt).name
    with_dt = view.dt and kind.times_dt is not None
    row = cells.row(query)
    key = int(row["j"].iloc[int(row[value].abs().to_numpy().argmax())])
    words = head_in_words(cells, place.layer, head, half_life, query, with_dt=with_dt)
    limits = limits_of(capture, place, window, with_dt, view.rms) if view.locked else None
    span, sums = existing_span(capture, selection), None
    if span is not None:
        key_of_sums = (capture.model, capture.prompt, place, head, span, window, view.read_by, with_dt)
        sums = sums_of(*key_of_sums, capture.tokens)
        words = span_in_words(sums, cells)
    panels = panels_chart(
        cells,
        pointed=(query, key) if sums is None else None,
        limits=limits,
        with_dt=with_dt,
        with_bars=True,
        span=sums,
        logarithmic=view.symlog,
        larger=view.large,
    )
    with below_the_trail(capture, place, head, window):
        st.markdown(f"**{_what_is_shown(selection, span, query)}** {plain(words)}", width="content")
        if window.pooled:
            toggle(
                "rms",
                "RMS",
                "Root mean square of each tile of attention: where a head looks strongest, whatever the "
                "sign. When off, the mean, in which signs may cancel.",
            )
        if span is not None:
            span_switch()
    if left := _what_is_left(capture, place, head, cells):
        st.caption(f":material/hide_source: {plain(left)}")
    if not st.session_state.get("hand_used"):
        st.caption(f":material/touch_app: {HAND}")
    hand.listen("panels", partial(_move_row, tiles_of(window.queries), query))
    draw(
        panels,
        key="panels",
        on_select=_press,
        selection_mode=[PICK_QUERY, OPEN_WINDOW, OPEN_SPAN],
        alt=PANELS,
    )
    st.caption(_how_to_read(cells, capture.kernel))
    with st.container(horizontal=True, vertical_alignment="center"):
        link_to("panels", "the panels")
        link_to("row", "a row")
        as_table = toggle("table", "Row as a table")
        share_menu(selection)
        export_menu(selection, place, head, cells, panels)
    if as_table:
        st.dataframe(row_table(cells, query), hide_index=True, alt=f"What query {query} reads.")
    measure = MEASURES[view.measure]
    live_alt(
        {
            HEAD_MAP: f"Head map: {measure.label.lower()} of every head. Picked: {place}, head {head}.",
            GALLERY: f"Gallery: small pictures of {len(capture.measures)} heads. "
            f"Picked: {place}, head {head}.",
            PANELS: f"{_shown_in_words(window, capture)}{_what_is_shown(selection, span, query)} {words}",
            DECAY_CURVES: "Survival of the first token over the tokens after it, for every head of "
            f"{place}. Head {head} in front, half-life {half_life:.3g} tokens.",
        }
    )
    write_address(selection)


def _press() -> None:
    """Open the window or read the span that was brushed, or keep the pressed row; pressed again, let it go.

    A press beside all these changes nothing.
    """
    for name in (OPEN_WINDOW, OPEN_SPAN, PICK_QUERY):
        points = pressed("panels", name)
        if not taken_anew(name, points):
            continue
        query = position_of(points, "i")
        if window := window_of(points):
            st.session_state.selection = picked().with_window(window)
        elif span := span_of(points):
            st.session_state.selection = picked().with_span(span)
        elif query is not None:
            again = query == picked().query and picked().span is None
            st.session_state.selection = picked().with_query(None if again else query)
        else:
            continue
        st.session_state.hand_used = True


def _move_row(rows: Sequence[range], query: int) -> None:
    """Go to another row by the arrow keys, or back to the last by Escape."""
    moves = hand.moves("panels")
    if moves.back:
        st.session_state.selection = picked().with_query(None)
    elif moves.down:
        at = next(place for place, row in enumerate(rows) if query in row)
        row = rows[min(max(at + moves.down, 0), len(rows) - 1)]
        st.session_state.selection = picked().with_query(row[0])
        st.session_state.hand_used = True


def _what_is_left(capture: Capture, place: Place, head: int, cells: HeadCells) -> str:
    """A sentence, if next to nothing is read in the window."""
    window, terms = cells.window, terms_of(capture, place)
    first, last = window.queries[0], window.keys[-1]
    if first <= last:  # the diagonal, where nothing has faded yet
        return ""
    # Decay is largest between the nearest two: each token takes some of it.
    survival, decay = 1.0, KINDS[place.kind].decay
    if decay is not None:
        survival = float(decay.full(terms, heads=[head], queries=[first], keys=[last]))
        if survival > 0.01:
            return ""  # as most windows: the picture of the whole text is not needed
    return what_is_left(cells, survival, float(overview(capture.model, capture.prompt, place, head).max()))


def _how_to_read(cells: HeadCells, kernel: int) -> str:
    """What a row, a column and a cell are."""
    content, *between, _ = cells.kind.factors
    if not cells.pooled:
        return (
            "Each row is a query position i, each column a key position j that it reads. Zero has the colour "
            f"of the page. {column_in_words(kernel if cells.kind.mixes_before else 1)}"
        )
    what = (
        f"{'root mean square' if cells.statistic == 'rms' else 'mean'} of {'M' if between else 'attention'}"
    )
    beside = " and ".join(factor.plural or factor.name for factor in (content, *between))
    return (
        f"Each cell is a tile of queries and keys: the exact {what} over it, beside the mean of {beside}. "
        "Drag over cells to open them, down to single tokens. Each box below the panels is a tile of the "
        "text, shaded by what the marked queries read in it."
    )


def column_in_words(kernel: int) -> str:
    """What a column is, where `kernel` positions are mixed before it is read."""
    if kernel == 1:
        return "Column j is what the layers before have made of the text up to token j."
    mixed = "j−1 and j" if kernel == 2 else f"j−{kernel - 1} … j"
    return f"Column j is not token j alone: a short convolution before the scan mixes positions {mixed}."


def _shown_in_words(window: Window, capture: Capture) -> str:
    if window == Window.whole(capture.length):
        return ""
    return f"Queries {in_figures(window.queries)}, keys {in_figures(window.keys)}. "


def existing_span(capture: Capture, selection: Selection) -> range | None:
    """The span that is read as one row, as far as the text has it."""
    span = selection.span
    found = range(span.start, min(span.stop, capture.length)) if span is not None else range(0)
    return found if len(found) else None


def _what_is_shown(selection: Selection, span: range | None, query: int) -> str:
    """Which row the sentence is about."""
    if span is not None:
        return f"Positions {in_figures(span)}, kept."
    return "The last row." if selection.query != query else f"Row {query:,}, kept."


def existing_query(window: Window) -> int:
    """The picked query position; the last of the window, if none is picked or it is not shown."""
    query = picked().query
    return window.queries[-1] if query is None or query not in window.queries else query
