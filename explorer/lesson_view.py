"""One lesson on a screen: a chart, a question, then the answer, a task and the control that it needs."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from explorer.drawing import draw
from explorer.lessons import Frame, Language, Lesson, Option, Progress, Scene, Words
from explorer.widgets import chosen, put

CONTROL = "lesson_control"
COLUMNS = (6, 5)


def lesson_view(
    lesson: Lesson,
    language: Language,
    progress: Progress,
    answer: Callable[[int], None],
    *,
    reveal: bool = True,
) -> Scene:
    """Draw a lesson. `answer` takes the index of the choice that the reader clicks. Returns what is shown.

    Without `reveal`, an answer given waits for the truth.
    """
    words, frame = language.words[lesson.name], language.frame
    revealed = reveal and progress.choice is not None
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
    with asked, st.container(gap="xsmall"):
        st.markdown(f"**{say(words.question)}**")
        choices = [say(choice) for choice in words.choices]
        if not revealed:
            _ask(choices, frame, progress, answer)
            return scene
        st.markdown(f"{_verdict(choices, lesson.right(), progress, frame)} {say(words.live)}")
        st.markdown(say(words.meaning))
        done = progress.reached >= lesson.goals
        icon = ":material/check_circle:" if done else ":material/radio_button_unchecked:"
        st.markdown(f"{icon} **{frame.done if done else frame.task}** {say(words.task)}")
        _control(lesson, words, option, progress)
    return scene


def is_done(lesson: Lesson, progress: Progress) -> bool:
    """Whether the reader has answered and done the task."""
    return progress.choice is not None and progress.reached >= lesson.goals


def _ask(choices: list[str], frame: Frame, progress: Progress, answer: Callable[[int], None]) -> None:
    for index, choice in enumerate(choices):
        st.button(
            choice,
            key=f"choice_{index}",
            width="stretch",
            type="primary" if progress.choice == index else "secondary",
            disabled=progress.choice is not None,
            on_click=answer,
            args=(index,),
        )


def _verdict(choices: list[str], right: int, progress: Progress, frame: Frame) -> str:
    icon, words = (
        (":material/check:", frame.right) if progress.choice == right else (":material/close:", frame.wrong)
    )
    return f"{icon} {words.format(choice=choices[right])}"


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
