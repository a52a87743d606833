"""One lesson on a screen: a chart, a question, then the answer, a task and the control that it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from explorer.drawing import draw
from explorer.lessons import Frame, Language, Lesson, Option, Progress, Scene, Words
from explorer.widgets import chosen, put

CONTROL = "lesson_control"
COLUMNS = (6, 5)


Ask = Callable[[Sequence[str], int | None], str]
"""Draws what stands below a question: takes its choices, and the index of the right one once it is told.
Returns the words that the telling begins with.
"""


def lesson_view(
    lesson: Lesson,
    language: Language,
    progress: Progress,
    *,
    revealed: bool,
    ask: Ask,
    below: Callable[[], None] | None = None,
    larger: bool = False,
) -> Scene:
    """Draw a lesson and return what is shown. Once the answer is `revealed`, its task can be done.

    `below` draws more below the charts. The question is a heading if it is `larger`, for a projector.
    """
    words, frame = language.words[lesson.name], language.frame
    option = _option(lesson, progress, revealed)
    scene = lesson.scene(option, revealed, words.labels)
    if revealed:
        progress.reached |= scene.reached

    def say(text: str) -> str:
        return text.format(**scene.values)

    shown, asked = st.columns(COLUMNS, gap="small")
    with shown, st.container(gap="xsmall"):
        if not revealed:
            st.markdown(say(words.text))
        for name, figure in scene.figures.items():
            draw(figure, key=f"lesson_{name}", alt=say(words.alts[name]))
        if below is not None:
            below()
    with asked, st.container(gap="xsmall"):
        question = say(words.question)
        st.markdown(f"## {question}" if larger else f"**{question}**")
        told = ask([say(choice) for choice in words.choices], lesson.right() if revealed else None)
        if revealed:
            st.markdown(f"{told} {say(words.live)}")
            st.markdown(say(words.meaning))
            done = progress.reached >= lesson.goals
            icon = ":material/check_circle:" if done else ":material/radio_button_unchecked:"
            st.markdown(f"{icon} **{frame.done if done else frame.task}** {say(words.task)}")
            _control(lesson, words, option, progress)
    return scene


def buttons(frame: Frame, progress: Progress, answer: Callable[[int], None], *, open: bool = True) -> Ask:
    """Choices as buttons, which call `answer` with their index; then whether the reader was right.

    Only an `open` question takes an answer.
    """

    def ask(choices: Sequence[str], right: int | None) -> str:
        if right is not None:
            return _verdict(choices[right], right, progress, frame)
        for index, choice in enumerate(choices):
            st.button(
                choice,
                key=f"choice_{index}",
                width="stretch",
                icon=":material/radio_button_checked:" if progress.choice == index else None,
                disabled=not open or progress.choice is not None,
                on_click=answer,
                args=(index,),
            )
        return ""

    return ask


def _verdict(choice: str, right: int, progress: Progress, frame: Frame) -> str:
    if progress.choice is None:
        return frame.answer.format(choice=choice)
    if progress.choice == right:
        return f":material/check: {frame.right.format(choice=choice)}"
    return f":material/close: {frame.wrong.format(choice=choice)}"


def _option(lesson: Lesson, progress: Progress, revealed: bool) -> Option:
    if not revealed:
        return lesson.control.start
    return lesson.asked if progress.option is None else progress.option


def _control(lesson: Lesson, words: Words, option: Option, progress: Progress) -> None:
    control = lesson.control

    def take() -> None:
        found = chosen(CONTROL, object)
        progress.option = next((each for each in control.options if each == found), progress.option)

    def named(option: Option) -> str:
        return words.labels.get(str(option)) or control.names(option)

    put(CONTROL, option)
    st.select_slider(words.control, control.options, format_func=named, key=CONTROL, on_change=take)
