"""The page "Does it matter?": edit a run, watch the prediction, find the heads and tokens that carry it."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from components.charts import (
    PICK,
    effect_map_chart,
    head_cells,
    panels_chart,
    token_bars_chart,
    visible_tokens,
)
from components.models import ModelLoadError
from components.ssd import ComparedTerms, Mute, SoftmaxTerms
from explorer import captures, effects, models
from explorer.address import tell, write_address
from explorer.drawing import draw, plain
from explorer.edit_stack import add_form, edit_list
from explorer.effects import Question
from explorer.frame import (
    main_viewer,
    pick,
    prompt_box,
    take_prompt,
    tell_limits,
    tell_refused,
    wait_for_model,
)
from explorer.maps import head_lists
from explorer.picks import head_of
from explorer.selection import fitted
from explorer.session import session
from explorer.subject import Subject
from explorer.switches import larger_type
from explorer.waiting import wait_for
from explorer.widgets import chosen, pressed, put

PROMPT = "asked_prompt"  # the key of its box
STRONGEST = 3  # heads that are muted together
SMALL = 1e-5  # effects are rounded below

MUTING = {
    "attention": "Attention alone",
    "all": "With the skip D·x",
    "mean": "To its mean over the text",
}
FIGURES = {"log_p": "Log probability of the answer", "difference": "Logit difference"}
CUTS = {"model": "In all Mamba-2 layers", "layer": "In the picked layer", "head": "In the picked head"}

state = session()
notice = st.empty()
tell_refused()
tell_limits()
put(PROMPT, state.selection.subject.prompt)
prompt_box(PROMPT, "The prompt of the page Explore.", partial(take_prompt, PROMPT))


def stop() -> None:
    """Leave the edits, so that the page does not start the same work again."""
    pick(state.selection.with_edits(()))


def take_position() -> None:
    """Look at the prediction after another position; its tokens are the most probable there."""
    position = chosen("asked_position", int)
    if position is not None:
        pick(state.selection.with_query(position).with_tokens(None, None))


def take_token(which: str) -> None:
    """Take the answer or the foil: a token of the list, or a typed text that is one token."""
    typed = chosen(which, str)
    if not typed:
        return
    tokenizer = models.bridge(state.selection.subject.model).tokenizer
    if typed.startswith("#") and typed[1:].isdigit():
        token = int(typed[1:])
    else:
        ids = tokenizer.encode(typed, add_special_tokens=False) if tokenizer is not None else []
        if len(ids) != 1:
            state.token_error = (
                f'"{typed}" is {len(ids)} tokens of this model, ids {", ".join(map(str, ids))}. Type a text '
                "that is one token. Many tokens begin with a space."
            )
            return
        token = int(ids[0])
    target, foil = (token, state.selection.foil) if which == "target" else (state.selection.target, token)
    pick(state.selection.with_tokens(target, foil))


def pick_head() -> None:
    """Pick the head that was clicked in the map."""
    if head := head_of(pressed("effect_map", PICK)):
        pick(state.selection.with_head(head))


# Model, prompt, prediction

subject = state.selection.subject
clean = Subject(subject.model, subject.prompt)
if error := wait_for_model(subject.model, stop):
    st.error("This model cannot be opened. Choose another on the page Explore.", icon=":material/error:")
    st.text(error)
    write_address()
    st.stop()
try:
    wait_for(("predicted", clean), partial(effects.prediction, clean), "Running the prompt", stop)
    before = effects.prediction(clean)
    wait_for(("predicted", subject), partial(effects.prediction, subject), "Running the edited prompt", stop)
    after = effects.prediction(subject)
except (ModelLoadError, ValueError) as error:
    st.warning("There is nothing to show for this prompt and these edits.", icon=":material/edit:")
    st.text(str(error))
    if subject.edits:
        st.button("Run without edits", key="without_edits", icon=":material/undo:", on_click=stop)
    write_address()
    st.stop()
bridge = models.bridge(subject.model)
ids, texts = models.encoded(subject.model, subject.prompt)
tokens = visible_tokens(texts)
length = len(tokens)
state.selection, beyond = fitted(state.selection, bridge.heads, length)
with notice:
    tell(beyond)
viewer = main_viewer(bridge.heads, length)
larger_type(viewer)
shown = state.selection
head, place = shown.head, shown.head.place
position = length - 1 if shown.query is None else shown.query
likely = before.likely(position)
vocabulary = before.log_p.shape[1]
target = shown.target if shown.target is not None and shown.target < vocabulary else likely[0]
others = [token for token in likely if token != target]
foil = shown.foil if shown.foil is not None and shown.foil < vocabulary else others[0]
question = Question(clean, position, target, foil)


def name_of(token: int) -> str:
    """A token's text, ready for display."""
    return visible_tokens(bridge.to_str_tokens([token]))[0]


def option(token: str) -> str:
    """A token in the list of answers."""
    if not token.startswith("#"):
        return token
    number = int(token[1:])
    return f"{name_of(number)} · {np.exp(before.log_p[position, number]):.1%} · id {number}"


with st.container(horizontal=True, vertical_alignment="bottom"):
    put("asked_position", position)
    st.selectbox(
        "Prediction after position",
        range(length),
        key="asked_position",
        format_func=lambda at: f"{at}  {tokens[at]}",
        on_change=take_position,
        width=240,
    )
    for which, token, label in (("target", target, "Answer"), ("foil", foil, "Compared with")):
        put(which, f"#{token}")
        st.selectbox(
            label,
            [f"#{each}" for each in dict.fromkeys([token, *likely])],
            key=which,
            format_func=option,
            accept_new_options=True,
            on_change=take_token,
            args=(which,),
            width=280,
            help="Choose one of the most probable tokens, or type the text of any token.",
        )
if state.token_error:
    st.text(state.token_error)
    state.token_error = ""


def in_percent(prediction: effects.Prediction) -> str:
    """The probability of the answer."""
    return f"{np.exp(prediction.log_p[position, target]):.2%}"


with st.container(horizontal=True):
    rows = (before.log_p[position], after.log_p[position])
    differences = [float(row[target] - row[foil]) for row in rows]
    moved = bool(subject.edits)
    st.metric(
        "Probability of the answer",
        in_percent(after),
        delta=f"{in_percent(before)} without edits" if moved else None,
        delta_color="off",
        delta_arrow="off",
    )
    st.metric(
        "Logit difference",
        f"{differences[1]:+.3g}",
        delta=f"{differences[0]:+.3g} without edits" if moved else None,
        delta_color="off",
        delta_arrow="off",
        help="The logit of the answer less that of the token it is compared with. Where the answer is almost "
        "sure, its probability can hardly rise, and this still tells heads apart.",
    )
    st.metric(
        "Rank of the answer",
        f"{after.rank(position, target)}",
        delta=f"{before.rank(position, target)} without edits" if moved else None,
        delta_color="off",
        delta_arrow="off",
    )


def in_figures(effect: float) -> str:
    """An effect in words; sweeps round to about a millionth."""
    return f"{effect:.3g}" if abs(effect) >= SMALL else f"less than {SMALL:g}"


# Which heads, which tokens

st.subheader("Which heads carry this answer?", anchor=False)
with st.container(horizontal=True):
    muting: Any = st.segmented_control(
        "Mute each head alone",
        list(MUTING),
        key="muting",
        format_func=MUTING.__getitem__,
        default="attention",
        required=True,
    )
    figure: Any = st.segmented_control(
        "What the answer loses",
        list(FIGURES),
        key="figure",
        format_func=FIGURES.__getitem__,
        default="log_p",
        required=True,
    )
asked = (clean, position, target, foil)
wait_for(("muted", *asked, muting), partial(effects.head_effects, *asked, muting), "Muting each head", stop)
by_head = effects.head_effects(*asked, muting)
heads = effects.heads_of(subject.model)
effect, control = by_head.of(figure)
label = "drop of log p" if figure == "log_p" else "drop of the logit difference"
map_column, words_column = st.columns([3, 2], gap="large")
with map_column:
    table = pd.DataFrame(
        {
            "layer": [each.place.layer for each in heads],
            "kind": [each.place.kind for each in heads],
            "head": [each.index for each in heads],
        }
    )
    draw(
        effect_map_chart(table, effect, control, head, label, larger=shown.view.large),
        key="effect_map",
        on_select=pick_head,
        selection_mode=PICK,
        alt="What the answer loses when each head is muted alone.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        head_lists(viewer, widths=(140, 110))
with words_column:
    known = np.flatnonzero(np.isfinite(effect))
    order = known[np.argsort(-effect[known], kind="stable")]
    strongest = [heads[at] for at in order[:STRONGEST]]
    mine = float(effect[heads.index(head)])
    named = plain(str(head).capitalize())
    if np.isfinite(mine):
        st.markdown(f"**{named}:** without it the answer loses {in_figures(mine)}.")
    else:
        st.markdown(f"**{named}** has no such edit.")
    largest_control = float(np.nanmax(np.abs(control))) if np.isfinite(control).any() else float("nan")
    st.markdown(
        f"The answer loses most without **{plain(str(strongest[0]))}**: {in_figures(effect[order[0]])}. "
        f"Random changes of the same size, one for each head, move it by at most {in_figures(largest_control)}."
    )
    together = effects.together(
        question,
        tuple(
            Mute(
                range(each.place.layer, each.place.layer + 1),
                range(each.index, each.index + 1),
                None,
                each.place.kind,
                muting,
            )
            for each in strongest
        ),
    )[0 if figure == "log_p" else 1]
    singly, joint = float(effect[order[:STRONGEST]].sum()), float(together)
    words = (
        f"The {len(strongest)} strongest heads take {in_figures(singly)} if their effects are added, and "
        f"{in_figures(joint)} when they are muted together."
    )
    if joint > 1.5 * max(singly, SMALL):
        words += " So heads stand in for each other: one alone seems to matter less than it does."
    st.markdown(words)
    cautions = ["This holds for this text and this answer."]
    if any(name.endswith("inner_norm.hook_in") for name in bridge.hook_points):
        cautions.append("A muted head also changes the norm after the scan, which rescales the other heads.")
    if muting != "mean":
        cautions.append("Zero is not neutral: the layers above expect the head's mean. Compare both.")
    if muting != "attention" and any(each.place.kind == SoftmaxTerms.kind for each in heads):
        cautions.append("Softmax heads have no skip, so only their attention can be muted.")
    st.caption(" ".join(cautions))
    if st.button("Mute the picked head in the run", key="mute_picked", icon=":material/volume_off:"):
        what: Any = muting if place.kind != SoftmaxTerms.kind else "attention"
        edit = Mute(
            range(place.layer, place.layer + 1), range(head.index, head.index + 1), None, place.kind, what
        )
        if edit not in subject.edits:
            pick(shown.with_edits((*subject.edits, edit)))
            st.rerun()
    st.page_link("app_pages/explore.py", label="See what it reads, in Explore", icon=":material/grid_on:")

st.subheader("Which tokens carry it?", anchor=False)
cut_in = st.segmented_control(
    "Cut each token alone",
    list(CUTS),
    key="cut_in",
    format_func=CUTS.__getitem__,
    default="model",
    required=True,
)
where = {"model": (None, None), "layer": (place, None), "head": (place, head.index)}[cut_in or "model"]
wait_for(("cut", *asked, *where), partial(effects.source_effects, *asked, *where), "Cutting each token", stop)
by_token, token_control = effects.source_effects(*asked, *where).of(figure)
with st.container(key="token_effects"):
    draw(
        token_bars_chart(
            tokens[: position + 1],
            by_token,
            label,
            control=token_control if np.isfinite(token_control).any() else None,
            larger=shown.view.large,
        ),
        key="token_bars",
        alt="What the answer loses when each token is cut alone.",
    )
most = int(np.argmax(by_token))
st.caption(
    f"The answer loses most without '{plain(tokens[most])}' at {most}: {in_figures(by_token[most])}. Lines mark a "
    "random change of the same size. Cut means: no query reads what this token wrote. Its own skip D·x, the "
    "convolution and the decay stay. The convolution mixes neighbours, so a fact may stand some tokens later."
    + (" Softmax layers still read it." if cut_in == "model" and bridge.attention_layers() else "")
)

# Edits

st.subheader("Edit the run", anchor=False)
edit_list(after.sizes)
add_form(head, length)
if not subject.edits:
    write_address()
    st.stop()

st.subheader("Before and after", anchor=False)
list_column, text_column = st.columns(2, gap="large")
with list_column:
    both = list(dict.fromkeys([*likely, *after.likely(position)]))
    ranks = [(before.rank(position, token), after.rank(position, token)) for token in both]
    st.dataframe(
        pd.DataFrame(
            {
                "token": [name_of(token) for token in both],
                "id": both,
                "before": [f"{np.exp(before.log_p[position, token]):.3%}" for token in both],
                "after": [f"{np.exp(after.log_p[position, token]):.3%}" for token in both],
                "rank before": [first for first, _ in ranks],
                "rank after": [second for _, second in ranks],
            }
        ),
        hide_index=True,
        alt="The most probable tokens before and after the edits.",
    )
with text_column:
    draw(
        token_bars_chart(
            tokens,
            before.divergence(after).astype(np.float32),
            "KL divergence, nats",
            marked=position,
            larger=shown.view.large,
        ),
        key="divergence",
        alt="How far the edited predictions are from the unedited ones, after each token.",
    )
    st.caption("KL(before ‖ after) after each token: where along the text the edits change the prediction.")
try:
    for run in (clean, subject):
        wait_for(
            ("prompt", run), partial(captures.capture, run), "Running the prompt through the model", stop
        )
    terms = ComparedTerms(*(captures.layer_of(run, place).terms for run in (clean, subject)))
except ValueError as error:
    st.text(str(error))
else:
    cells = head_cells(terms, head.index, tokens)
    limit = max(float(cells.cells[name].abs().max()) for name in ("before", "after")) or 1.0
    st.markdown(
        f"**{plain(str(head).capitalize())}: attention before, after, and the difference**, on one scale."
    )
    draw(
        panels_chart(
            cells,
            pointed=(cells.queries["start"].iloc[cells.row_of(position)], cells.most_read(position)),
            limits={"before": limit, "after": limit, "attention": limit},
            logarithmic=shown.view.symlog,
            larger=shown.view.large,
            with_brushes=False,
        ),
        key="compared",
        on_select="ignore",
        alt="Attention of the picked head before and after the edits, and the difference.",
    )
write_address()
