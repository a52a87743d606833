"""The figures of the page: the head map, the picked head's panels, the picked row, the decay curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import streamlit as st

from components.charts import (
    OPEN_SPAN,
    OPEN_WINDOW,
    PICK,
    PICK_FROM_GALLERY,
    PICK_QUERY,
    Figure,
    HeadCells,
    Window,
    decay_curves_chart,
    gallery_chart,
    head_in_words,
    head_map_chart,
    in_figures,
    panels_chart,
    row_table,
    span_in_words,
    survival_table,
    what_is_left,
)
from components.charts.window import tiles_of
from components.ssd import KINDS, MEASURES, Place
from explorer import hand
from explorer.address import write_address
from explorer.facts import head_facts
from explorer.live_alt import live_alt
from explorer.passages import link_to
from explorer.picks import (
    choose_head,
    chosen,
    head_of,
    picked,
    position_of,
    pressed,
    span_of,
    taken_anew,
    window_of,
)
from explorer.resources import Capture, cells_of, layer_of, limits_of, overview, sums_of, use_threads
from explorer.selection import Selection, nearest_head
from explorer.sharing import export_menu, share_menu
from explorer.text_span import span_lists, span_switch
from explorer.waiting import wait_for
from explorer.windows import below_the_trail, shown_window, window_lists

LONG_TIME = 128
"""Tokens from which on decay is drawn over a logarithmic time."""

HEAD_MAP = "A measure of every head, layer by layer."
GALLERY = "A small picture of the attention of every head."
PANELS = "What makes up the attention of the picked head, the text, and what a row reads."
HAND = (
    "Point at a cell to see it everywhere. Press it to keep its row; press again, or Escape, to let it go. "
    "Drag over cells to open them as a window, over the text to read several tokens as one row. By touch: "
    "press long, then drag. By keys: up and down go from row to row."
)
"""What can be done with the panels; it goes after the first use."""
DECAY_CURVES = "Survival of the first shown token in every head of the picked layer."
"""The `alt` of each chart, until `live_alt` says what it shows now."""


def _pick_head(chart: str, selection: str) -> None:
    """Take the head clicked in a chart; a click that hits none leaves the pick as it is."""
    if head := head_of(pressed(chart, selection)):
        st.session_state.selection = picked().with_head(*head)


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


def _move_head(heads: Mapping[Place, int], place: Place, head: int) -> None:
    """Go to another head by the arrow keys: layers down, heads across, as the head map has them."""
    moves = hand.moves("head_map")
    down = list(heads)
    place = down[min(max(down.index(place) + moves.down, 0), len(down) - 1)]
    head = min(max(head + moves.right, 0), heads[place] - 1)
    st.session_state.selection = picked().with_head(place.layer, head, place.kind)


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


def _choose_query(shown: int) -> None:
    query = chosen("query", int)
    if query is not None and query != shown:
        st.session_state.selection = picked().with_query(query)


def _choose(name: str) -> None:
    """Take a choice of the view."""
    choice = chosen(name, str)
    if choice is not None:
        st.session_state.selection = picked().with_view(**{name: choice})


def _switch(name: str) -> None:
    st.session_state.selection = picked().with_view(**{name: st.session_state[name]})


def draw(figure: Figure, alt: str, **options: Any) -> None:
    """Draw a figure. While its chart stays the same, the browser keeps the view and changes its tables."""
    # Without what pandas would note of itself, which is as long as a short table; and in this thread: these
    # tables are too short to be shared out.
    tables = {
        name: pa.Table.from_pandas(table, preserve_index=False, nthreads=1).replace_schema_metadata()
        for name, table in figure.tables.items()
    }
    st.vega_lite_chart({**figure.chart, "datasets": tables}, alt=alt, **options)


def _toggle(name: str, label: str, meaning: str | None = None, *, disabled: bool = False) -> bool:
    """A switch of the view."""
    st.session_state[name] = getattr(picked().view, name)
    return st.toggle(label, key=name, help=meaning, on_change=_switch, args=(name,), disabled=disabled)


def _switches(place: Place) -> None:
    """What of the page is a matter of view: what is shown, then how it is coloured."""
    with st.container(horizontal=True, width="content"):
        _toggle("gallery", "Gallery: small pictures of all heads")
        _toggle("large", "Projector: larger type")
    with st.container(horizontal=True, width="content"):
        _toggle(
            "symlog",
            "Log colours: weak values show",
            "Colours follow the logarithm, over three powers of ten.",
        )
        _toggle(
            "locked",
            "Lock scale: one scale for all heads",
            "All heads of one kind, in every layer, share one scale. A weak head is pale on it.",
        )
        kind = KINDS[place.kind]
        no_dt = kind.times_dt is None
        _toggle(
            "dt",
            f"Times dt: {f'not for {kind.short} heads' if no_dt else 'M·dt, what the scan adds'}",
            "A dark cell can be pale because its key was never written (dt), is forgotten (decay), or does "
            "not match (content).",
            disabled=no_dt,
        )


@st.fragment
def head_figures(capture: Capture) -> None:
    """Everything that shows the picked head. Picking another reruns this and nothing else."""
    use_threads(0)  # matrices of one head
    place, head = nearest_head(picked(), capture.heads)
    st.session_state.selection = picked().with_head(place.layer, head, place.kind)
    if not capture.holds(place):
        wait_for(
            ("layer", capture.model, capture.prompt, str(place)),
            partial(layer_of, capture.model, capture.prompt, place),
            f"Running the prompt once more, for {place}",
            _stop_layer,
        )
    st.session_state.seen = place.layer, head, place.kind
    of_head = capture.measures_of(place, head)
    map_column, facts_column = st.columns(2, gap="large")
    with map_column:
        _head_map(capture, place, head)
    with facts_column:
        compute_facts = head_facts(capture, place, head, of_head)
        tell_notes(capture.notes)
    if picked().view.large:
        st.html("<style>html { font-size: 20px; }</style>")
    with st.container(horizontal=True, vertical_alignment="center", gap="medium"):
        _pick_menu(capture, place, head)
        _switches(place)
    if picked().view.gallery:
        _gallery(capture, place, head)
    head_panels(capture, place, head, float(of_head["half_life"]))
    if KINDS[place.kind].decay:
        _decay_curves(capture, place, head, float(of_head["half_life"]))
    compute_facts()


def _stop_layer() -> None:
    """Go back to the head whose layer was there."""
    st.session_state.selection = picked().with_head(*st.session_state.get("seen", (0, 0)))


def _head_map(capture: Capture, place: Place, head: int) -> None:
    st.session_state.measure = picked().view.measure
    st.segmented_control(
        "Heads coloured by",
        list(MEASURES),
        key="measure",
        format_func=lambda name: MEASURES[name].label,
        on_change=_choose,
        args=("measure",),
        required=True,
    )
    measure = MEASURES[st.session_state.measure]
    draw(
        head_map_chart(
            capture.measures, measure, (place.layer, place.kind, head), larger=picked().view.large
        ),
        key="head_map",
        on_select=partial(_pick_head, "head_map", PICK),
        selection_mode=PICK,
        alt=HEAD_MAP,
    )
    hand.listen("head_map", partial(_move_head, capture.heads, place, head))
    st.caption("Click a cell to see its head, or go there by the arrow keys.")
    link_to("half-life" if measure.name == "half_life" else "distance", "the head map")


def _gallery(capture: Capture, place: Place, head: int) -> None:
    """Every head at once."""
    st.session_state.sort = picked().view.sort
    st.segmented_control(
        "Gallery sorted by",
        ["", *MEASURES],
        key="sort",
        format_func=lambda name: MEASURES[name].label if name else "Layer and head",
        on_change=_choose,
        args=("sort",),
        required=True,
    )
    figure = gallery_chart(
        capture.pictures,
        capture.measures,
        (place.layer, place.kind, head),
        sort=MEASURES.get(picked().view.sort),
        locked=picked().view.locked,
        larger=picked().view.large,
    )
    draw(
        figure,
        key="gallery_of_heads",
        on_select=partial(_pick_head, "gallery_of_heads", PICK_FROM_GALLERY),
        selection_mode=PICK_FROM_GALLERY,
        alt=GALLERY,
    )
    scale = "one scale for all of a kind" if picked().view.locked else "each on its own scale"
    st.caption(
        f"Root mean square of attention over tiles of the whole text, {scale}. "
        "Click a picture to see its head."
    )


def _pick_menu(capture: Capture, place: Place, head: int) -> None:
    """What a click or a brush picks, once more for the keyboard. It is filled when it opens, as all menus."""
    menu = st.popover("Pick from lists", icon=":material/list:", key="lists", on_change="rerun")
    if not menu.open:
        return
    window = shown_window(capture)
    st.session_state.query = _existing_query(window)
    with menu:
        head_lists(capture.heads, place, head, ("layer", "head"))
        st.selectbox(
            "Query position i",
            window.queries,
            key="query",
            format_func=lambda i: f"{i}  {capture.tokens[i]}",
            on_change=_choose_query,
            args=(st.session_state.query,),
        )
        window_lists(capture, window)
        span_lists(capture)


@st.fragment
def head_panels(capture: Capture, place: Place, head: int, half_life: float) -> None:
    """The linked panels and the picked row of one head. Another row or window reruns this alone."""
    use_threads(0)  # matrices of one head
    selection = picked()
    view = selection.view
    window = shown_window(capture)
    query = _existing_query(window)
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
            _toggle(
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
        as_table = _toggle("table", "Row as a table")
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


def _what_is_left(capture: Capture, place: Place, head: int, cells: HeadCells) -> str:
    """A sentence, if next to nothing is read in the window."""
    window, terms = cells.window, capture.terms(place)
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


def tell_notes(notes: Sequence[str]) -> None:
    """What a reader should know of what the model computed; nothing, if there is nothing."""
    if not notes:
        return
    with st.expander(
        "Parts of this model are computed in an unexpected way, by design of its code or by a fault in it. "
        "What is shown is what the code computes.",
        icon=":material/info:",
    ):
        for note in notes:
            st.text(note)


def _shown_in_words(window: Window, capture: Capture) -> str:
    if window == Window.whole(capture.length):
        return ""
    return f"Queries {in_figures(window.queries)}, keys {in_figures(window.keys)}. "


def _decay_curves(capture: Capture, place: Place, head: int, half_life: float) -> None:
    view = picked().view
    always = capture.length > LONG_TIME
    with st.container(horizontal=True, vertical_alignment="center"):
        st.subheader(f"Decay curves of layer {place.layer}", anchor=False, width="content")
        _toggle("log", "Logarithmic", "Survival on a logarithmic scale: a constant decay is a straight line.")
        if not always:
            _toggle("log_time", "Log time", "Tokens on a logarithmic axis, as always for long texts.")
        link_to("memory", "decay curves")
    draw(
        decay_curves_chart(
            survival_table(capture.terms(place)),
            head,
            half_life,
            log=view.log,
            log_time=view.log_time or always,
            larger=view.large,
        ),
        key="decay_curves",
        alt=DECAY_CURVES,
    )
    st.caption(
        "What is left, 1, 2, 3 … tokens later, of what the first token wrote. The picked head is in "
        "front, the layer's other heads are grey."
    )


def plain(words: str) -> str:
    """Text as Markdown that shows just this text: every ASCII punctuation mark may be escaped."""
    return "".join(f"\\{mark}" if mark in _PUNCTUATION else mark for mark in words)


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def head_lists(
    heads: Mapping[Place, int],
    place: Place,
    head: int,
    keys: tuple[str, str],
    widths: tuple[int | Literal["stretch"], int | Literal["stretch"]] = ("stretch", "stretch"),
) -> None:
    """The list of layers, by kind, and that of a layer's heads, as on all pages; `heads` counts those."""
    st.session_state.update(zip(keys, (place, head), strict=True))
    told: dict[str, Any] = {"on_change": choose_head, "args": (*keys, place, head)}
    layers = {each: str(each).removeprefix("layer ") for each in heads}
    st.selectbox("Layer", heads, key=keys[0], format_func=layers.__getitem__, width=widths[0], **told)
    st.selectbox("Head", range(heads[place]), key=keys[1], width=widths[1], **told)


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


def _existing_query(window: Window) -> int:
    """The picked query position; the last of the window, if none is picked or it is not shown."""
    query = picked().query
    return window.queries[-1] if query is None or query not in window.queries else query
