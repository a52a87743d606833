"""The page "Two prompts": side by side, the difference, and what of one brings its answer into the other."""

from functools import partial

import streamlit as st

from components.bridge import part_at
from components.charts import visible_tokens
from components.models import ModelLoadError
from explorer import effects, models
from explorer.address import tell, write_address
from explorer.before_and_after import compared
from explorer.frame import (
    main_viewer,
    pick,
    prompt_box,
    take_prompt,
    tell_limits,
    tell_refused,
    wait_for_model,
)
from explorer.links import short_query_of
from explorer.live_alt import live_alt
from explorer.patch_views import parting, predictions, recovered, side_by_side
from explorer.question import ask
from explorer.selection import fitted
from explorer.session import session
from explorer.settings import settings
from explorer.subject import Subject
from explorer.switches import larger_type
from explorer.waiting import wait_for
from explorer.widgets import chosen, put

PROMPT, OTHER = "asked_prompt", "other_prompt"  # the keys of their boxes

state = session()
notice = st.empty()
tell_refused()
tell_limits()


def take_other() -> None:
    """Take another prompt to compare with."""
    pick(state.selection.with_other(chosen(OTHER, str) or ""))


def stop() -> None:
    """Leave the other prompt, so that the page does not start the same work again."""
    pick(state.selection.with_other(""))


def end(words: str) -> None:
    """Say in a sentence why there is nothing to compare."""
    st.text(words)
    write_address()
    st.stop()


put(PROMPT, state.selection.subject.prompt)
put(OTHER, state.selection.other_prompt)
first_box, other_box = st.columns(2)
with first_box:
    prompt_box(PROMPT, "The prompt of the page Explore.", partial(take_prompt, PROMPT))
with other_box:
    st.text_area(
        "Other prompt",
        key=OTHER,
        height=76,
        max_chars=settings().most_characters,
        on_change=take_other,
        help="A prompt of as many tokens with another answer, such as one with two facts swapped.",
    )

# Both runs

subject, other_prompt = state.selection.subject, state.selection.other_prompt
first, other = Subject(subject.model, subject.prompt), Subject(subject.model, other_prompt)
if state.selection.other and "other" not in short_query_of(st.context.url or "", state.selection)[0]:
    st.caption("The other prompt is too long for a link, so the address lacks it.")
if subject.edits:
    st.caption("This page compares runs without your edits.")
if error := wait_for_model(subject.model, stop):
    st.error("This model cannot be opened. Choose another on the page Explore.", icon=":material/error:")
    end(error)
if not other_prompt:
    end("Type another prompt to compare with, of as many tokens as the first.")
try:
    ids, texts = zip(*(models.encoded(run.model, run.prompt) for run in (first, other)), strict=True)
    tokens, others = map(visible_tokens, texts)
    at = part_at(*ids)
    if at is None:
        raise ValueError("Both prompts are the same. Change a word in one of them.")
    if len(tokens) != len(others):
        raise ValueError(parting(tokens, others, at))
    for number, run in enumerate((first, other)):
        work = partial(effects.prediction, run)
        wait_for(("predicted", run), work, "Running the prompt", stop, button=f"stop_predicting_{number}")
except (ModelLoadError, ValueError) as error:
    end(str(error))
before, after = effects.prediction(first), effects.prediction(other)
state.selection, beyond = fitted(state.selection, models.bridge(subject.model).heads, len(tokens))
with notice:
    tell(beyond)
viewer = main_viewer(models.bridge(subject.model).heads, len(tokens))
larger_type(viewer)
labels = side_by_side(tokens, others)
position = len(tokens) - 1 if state.selection.query is None else state.selection.query
question = ask(first, tokens, before, rival=after.likely(position)[0])
predictions(question, before, after)

# The picked head in both, and what brings the answer back

title = "attention in the first prompt, in the other, and the difference"
words = {"two_runs": compared(viewer, (first, other), question.position, labels, title, stop)}
st.caption("Where the tokens differ, a label has both: first/other.")
words |= recovered(viewer, question, other, labels, stop)
live_alt(viewer, words)
write_address()
