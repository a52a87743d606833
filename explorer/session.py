"""The state of one visitor's session, beside the values of its widgets (see `explorer.widgets`)."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import streamlit as st

from components.ssd import Edit, Head
from explorer.sampling import Value, default_settings
from explorer.selection import Selection, first_selection
from explorer.settings import settings
from explorer.subject import Subject

if TYPE_CHECKING:
    from explorer.exports import Experiment
    from explorer.generating import Continuation
    from explorer.lessons import Progress
    from explorer.lessons.checks import Attempt


def _first() -> Selection:
    return first_selection(settings().offered[0])


@dataclass
class Session:
    """One visitor's session. Opening or reloading a browser tab starts one."""

    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    # What is picked

    selection: Selection = field(default_factory=_first)
    """What all pages show and the address holds."""
    drawn: Selection | None = None
    """The last one that the page Explore drew."""
    agreed: Subject | None = None
    """A long run that the reader has agreed to."""

    switched_off: list[Edit] = field(default_factory=list)
    """Edits that the reader has added and switched off."""
    edit_error: str = ""
    """Why the last edit was not added."""
    edit_of: Head | None = None
    """The head that the form of an edit names."""
    reopened: Experiment | None = None
    """The last experiment that the reader has opened from a file."""
    wanted: dict[tuple[object, ...], bool] = field(default_factory=dict)
    """Work that the reader has started or stopped, by the key of its job."""
    known: set[tuple[object, ...]] = field(default_factory=set)
    """Exact effects of the heads estimated to matter most that the page has computed, by what was asked."""
    token_error: str = ""
    """Why a typed answer was not taken."""

    # The text that the page Generate continues

    sampling: dict[str, Value] = field(default_factory=default_settings)
    continuation: Continuation | None = None
    begins: bool = False
    """Whether the reader has clicked Generate."""

    # Lessons

    lessons: dict[str, Progress] = field(default_factory=dict)
    """How far the reader is, by the name of the lesson; see `explorer.lesson_progress`."""
    step: str = ""
    """The last lesson shown."""
    attempt: Attempt | None = None
    """At the questions of "Check yourself"."""
    language: str = ""
    """The code of the language that the reader has chosen."""
    in_classes: dict[tuple[str, int], Progress] = field(default_factory=dict)
    """How far the reader is in the steps of classes, by code and step."""
    joined: set[str] = field(default_factory=set)
    """Codes of classes that this reader has joined as a student."""
    led: set[str] = field(default_factory=set)
    """Codes of classes that this browser has shown to lead."""
    begun: set[str] = field(default_factory=set)
    """Classes whose first step this lecturer has shown."""
    class_error: str = ""
    """Why a class has refused what the reader did."""
    in_browser: dict[str, str] | None = None
    """What the browser keeps between visits, by name; None until it has told."""

    # The address, as `explorer.address` reads it

    opened: bool = False
    """Whether an address has been read."""
    asked: bool = False
    """Whether the browser has been asked for a text that the address only names."""
    found: dict[str, str | None] = field(default_factory=dict)
    """What the browser answered: the text by its key, None if it has none."""

    # What the next run shows once

    told: list[str] = field(default_factory=list)
    """Notices about the address."""
    beyond: list[str] = field(default_factory=list)
    """Names of values in it out of range."""
    refused: str = ""
    """Why its model is not opened."""
    upload_error: str = ""
    """Why an uploaded file was not read."""

    # What has been shown or done

    heads: dict[str, Head] = field(default_factory=dict)
    """The last head that each view drew, by the view's name."""
    alike_asked: set[Subject] = field(default_factory=set)
    """Long texts in which the reader has asked for heads that read alike."""
    hand_used: bool = False
    """Whether the reader has pressed or dragged in a chart."""
    stamps: dict[str, float] = field(default_factory=dict)
    """Time of the last click handled, by selection of a chart."""
    keys: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many presses of each key on each chart were handled."""
    repairs: dict[str, str] = field(default_factory=dict)
    """The last correction in each number box, by the box's key."""


def session() -> Session:
    """The session that this script runs for."""
    found: Session | None = st.session_state.get("session")
    if found is None:
        found = st.session_state.session = Session()
    return found
