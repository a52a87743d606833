"""Which prediction is asked about: after which position, which answer, compared with which token."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from components.bridge import Prediction
from components.charts import visible_tokens
from explorer.drawing import plain
from explorer.effects import Question
from explorer.frame import pick
from explorer.models import bridge
from explorer.readings import Reading
from explorer.session import session
from explorer.subject import Subject
from explorer.widgets import chosen, put


def name_of(model: str, token: int) -> str:
    """A token's text, ready for display."""
    return visible_tokens(bridge(model).to_str_tokens([token]))[0]


def ask(clean: Subject, tokens: Sequence[str], before: Prediction, *, rival: int | None = None) -> Question:
    """Show the lists of positions and tokens. `before` is the prediction of the unedited run, `clean`.

    At first the answer is the most probable token, compared with `rival` or else with the second.
    """
    shown = session().selection
    position = len(tokens) - 1 if shown.query is None else shown.query
    likely, vocabulary = before.likely(position), before.log_p.shape[1]
    target, foil = before.answer(position, shown.target, shown.foil, rival=rival)

    def option(token: str) -> str:
        """A token in a list; a typed text as it is."""
        if not _is_id(token):
            return token
        number = int(token[1:])
        return f"{name_of(clean.model, number)} · {before.probability(position, number):.1%} · id {number}"

    with st.container(horizontal=True, vertical_alignment="bottom"):
        put("asked_position", position)
        st.selectbox(
            "Prediction after position",
            range(len(tokens)),
            key="asked_position",
            format_func=lambda at: f"{at}  {tokens[at]}",
            on_change=_take_position,
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
                on_change=_take_token,
                args=(which, vocabulary),
                width=280,
                help="Choose one of the most probable tokens, or type the text of any token.",
            )
    if session().token_error:
        st.text(session().token_error)
        session().token_error = ""
    return Question(clean, position, target, foil)


def tell_tokens(model: str, reading: Reading) -> None:
    """Name the tokens of a direction, if there are any, and where to choose others."""
    if reading.target is None or reading.foil is None:
        return
    answer, other = (plain(name_of(model, token)) for token in (reading.target, reading.foil))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(f"Answer: **{answer}**. The other token: **{other}**.", width="content")
        st.page_link("app_pages/effect.py", label="Choose others", icon=":material/psychology_alt:")


def tell_prediction(question: Question, before: Prediction, after: Prediction, edited: bool) -> None:
    """Show the answer's probability, logit difference and rank; of an edited run, also what they were."""
    position, target, foil = question.position, question.target, question.foil

    def figures(prediction: Prediction) -> list[str]:
        probability = prediction.probability(position, target)
        difference = prediction.difference(position, target, foil)
        return [f"{probability:.2%}", f"{difference:+.3g}", f"{prediction.rank(position, target)}"]

    labels = ["Probability of the answer", "Logit difference", "Rank of the answer"]
    meanings = [
        None,
        "The logit of the answer less that of the token it is compared with. Where the answer is almost "
        "sure, its probability can hardly rise, and this still tells heads apart.",
        "1 for the most probable token.",
    ]
    with st.container(horizontal=True):
        for label, now, then, meaning in zip(labels, figures(after), figures(before), meanings, strict=True):
            st.metric(
                label,
                now,
                delta=f"{then} without edits" if edited else None,
                delta_color="off",
                delta_arrow="off",
                help=meaning,
            )


def _is_id(text: str) -> bool:
    return text.isascii() and text.startswith("#") and text[1:].isdigit() and len(text) < 12


def _take_position() -> None:
    """Look at the prediction after another position; its tokens are the most probable there."""
    position = chosen("asked_position", int)
    if position is not None:
        pick(session().selection.with_query(position).with_tokens(None, None))


def _take_token(which: str, vocabulary: int) -> None:
    """Take a token of the list, or a typed text that is one token."""
    state, typed = session(), chosen(which, str)
    if not typed:
        return
    if _is_id(typed) and int(typed[1:]) < vocabulary:
        token = int(typed[1:])
    else:
        tokenizer = bridge(state.selection.subject.model).tokenizer
        ids = tokenizer.encode(typed, add_special_tokens=False) if tokenizer is not None else []
        if len(ids) != 1:
            found = f"{len(ids)} tokens, ids {', '.join(map(str, ids[:8]))}" if ids else "no token"
            state.token_error = (
                f'"{typed}" is {found} of this model. Type a text that is one token. Many tokens begin with '
                "a space."
            )
            return
        token = int(ids[0])
    target, foil = state.selection.target, state.selection.foil
    pick(state.selection.with_tokens(*((token, foil) if which == "target" else (target, token))))
