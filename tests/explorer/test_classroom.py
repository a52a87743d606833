"""What the page of classes refuses, without a browser."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from explorer import browser_store, classes
from explorer.browser_store import MOST_CHARACTERS, MOST_TEXTS
from explorer.classes import Rooms
from explorer.classes.database import Database
from explorer.session import Session
from explorer.settings import Settings
from tests.explorer.conftest import ROOT

STUDENT = "a-student-of-16-letters"
UNKNOWN = "K7MPX2QD"


@pytest.fixture
def rooms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rooms:
    """Classes of one student at most, in a file of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own = Rooms(Database(None), Settings(most_students=1))
    monkeypatch.setattr(classes, "rooms", lambda: own)
    return own


@pytest.fixture
def unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of another kind, as a wrong setting names it."""
    monkeypatch.setattr(classes, "rooms", lambda: Database("mysql://host/name"))


def opened(code: str, **kept: str) -> AppTest:
    """The page by a link with this code, in a browser that keeps these texts."""
    page = AppTest.from_file(str(ROOT / "explorer" / "main.py"), default_timeout=60).run()
    page.session_state.session.in_browser = kept
    page.query_params.update({"code": code} if code else {})
    page.switch_page("app_pages/classroom.py").run()
    assert not page.exception
    return page


def refusal(page: AppTest) -> str:
    """The sentence on the page. There is a way on from it."""
    assert not page.exception
    (sentence,) = (warning.value for warning in page.warning)
    page.button(key="class_leave").click().run()
    assert not page.exception
    assert page.button(key="class_start")
    return str(sentence)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        (UNKNOWN, "There is no class K7MP X2QD."),
        (f" {UNKNOWN[:4].lower()}-{UNKNOWN[4:]} ", "There is no class K7MP X2QD."),
        ("K7MP", "A code has 8 letters and digits"),
        ("K7MPX2Q0", "never 0, 1, or a vowel"),
        ("x" * 10_000, "A code has 8 letters and digits"),
        ("<b>*a* :material/add:", "A code has 8 letters and digits"),
    ],
)
def test_a_wrong_code_is_a_sentence(rooms: Rooms, code: str, says: str) -> None:
    assert says in refusal(opened(code, student=STUDENT))


def test_a_full_class_is_a_sentence(rooms: Rooms) -> None:
    code, _ = rooms.start()
    rooms.join(code, "the-first-of-16-letters")
    assert "This class is full" in refusal(opened(code, student=STUDENT))


def test_a_forged_name_is_a_sentence(rooms: Rooms) -> None:
    code, _ = rooms.start()
    assert "This browser gave no name" in refusal(opened(code, student="'; --"))
    assert rooms.room(code).students == 0


def test_who_has_a_wrong_secret_is_a_student(rooms: Rooms) -> None:
    code, _ = rooms.start()
    rooms.join(code, "the-first-of-16-letters")
    assert "This class is full" in refusal(opened(code, student=STUDENT, **{f"lead-{code}": "a guess"}))


def test_a_wrong_secret_tells_of_no_class(rooms: Rooms) -> None:
    page = opened(UNKNOWN, student=STUDENT, **{f"lead-{UNKNOWN}": "a guess"})
    assert "There is no class K7MP X2QD." in refusal(page)


def test_as_many_classes_as_may_go_on_is_a_sentence(rooms: Rooms) -> None:
    for _ in range(Settings().classes_at_once):
        rooms.start()
    page = opened("")
    page.button(key="class_start").click().run()
    assert not page.exception
    assert ["the most that this copy has at once" in warning.value for warning in page.warning] == [True]


def test_without_a_database_the_rest_goes_on(unusable: None) -> None:
    page = opened(UNKNOWN, student=STUDENT)
    assert "Everything else works as before." in refusal(page)
    page.button(key="class_start").click().run()
    assert ["Everything else works as before." in warning.value for warning in page.warning] == [True]
    page.switch_page("app_pages/explore.py").run()
    assert not page.exception
    assert not page.warning
    assert len(page.get("vega_lite_chart")) == 3


@pytest.mark.parametrize(
    ("told", "taken"),
    [
        (None, {}),
        ("texts", {}),
        ([], {}),
        ({"texts": [["student", "x"]]}, {}),
        ({"texts": {"student": 3, "lead": None, "other": {"student": "x"}}}, {}),
        ({"texts": {"student": "x" * (MOST_CHARACTERS + 1), "language": "en"}}, {"language": "en"}),
    ],
)
def test_of_what_a_browser_tells_only_texts_are_taken(
    told: Any, taken: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert taken_of(told, monkeypatch) == taken


def test_a_browser_tells_only_so_many_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"texts": {str(number): "x" for number in range(MOST_TEXTS + 1)}}
    assert len(taken_of(told, monkeypatch)) == MOST_TEXTS


def taken_of(told: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What the session keeps of what a browser tells."""
    visit = Session()
    answer: Callable[..., Any] = lambda *_: told  # noqa: E731
    monkeypatch.setattr(browser_store, "told_by", answer)
    monkeypatch.setattr(browser_store, "session", lambda: visit)
    browser_store._take()
    assert visit.in_browser is not None
    return visit.in_browser
