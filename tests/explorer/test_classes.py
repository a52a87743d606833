"""Classes in both databases: what a lecturer and students can do, what is refused, and what is kept."""

import logging
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from xml.etree import ElementTree

import psycopg
import pytest
import segno
import streamlit
from sqlalchemy import func, select

from explorer.classes import (
    LIFETIME,
    PAGE,
    ClassEndedError,
    ClassError,
    Room,
    Rooms,
    address_for_others,
    in_groups,
    link_to_class,
    qr_svg,
)
from explorer.classes.codes import ALPHABET, LENGTH, new_code, read_code, years_to_guess
from explorer.classes.database import Database, private_folder
from explorer.classes.rooms import ANSWERS_IN_A_ROW, MOST_STEPS, WRONG_CODES_IN_A_ROW
from explorer.classes.tables import AnswerRow, Base, RoomRow, StudentRow
from explorer.settings import Settings
from tests.explorer import postgresql

NOON = 1_800_000_000.0


class Clock:
    """A time that goes on when a test says so."""

    def __init__(self) -> None:
        self.seconds = NOON

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The URL of PostgreSQL. Without one the tests are skipped on a user's machine and fail in CI."""
    if postgresql.program("initdb") is None or postgresql.program("postgres") is None:
        reason = "No PostgreSQL server found, so classes of several replicas cannot be tried."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with postgresql.served() as url:
        yield url


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the private folder is made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    url = request.getfixturevalue("server") if request.param == "postgresql" else None
    request.getfixturevalue("own_folder")
    database = Database(url)
    assert database.dialect == request.param
    yield database
    with database.writing() as connection:
        connection.execute(RoomRow.__table__.delete())
    database.close()


@pytest.fixture
def rooms(database: Database, clock: Clock) -> Rooms:
    return Rooms(database, Settings(), clock)


def name(number: int) -> str:
    """A student's."""
    return f"student-{number:08}"


def all_at_once(work: Callable[[int], object], many: int) -> list[object]:
    """What each of as many threads got or refused, begun in the same moment."""
    ready = Barrier(many)

    def one(number: int) -> object:
        ready.wait()
        try:
            return work(number)
        except ClassError as error:
            return error

    with ThreadPoolExecutor(many) as threads:
        return list(threads.map(one, range(many)))


def kept(database: Database) -> dict[str, int]:
    """How many rows each table has."""
    with database.reading() as connection:
        return {
            each.__tablename__: connection.scalar(select(func.count()).select_from(each))
            for each in (RoomRow, StudentRow, AnswerRow)
        }


NOTHING = {"explorer_rooms": 0, "explorer_students": 0, "explorer_answers": 0}


def test_a_lecturer_leads_a_class_from_its_start_to_its_end(rooms: Rooms, database: Database) -> None:
    code, secret = rooms.start()
    first = Room(code, step=0, together=True, revealed=False, ends=None, started=NOON, students=0)
    assert rooms.room(code) == first
    assert rooms.join(code, name(1)) == (code, 0)
    rooms.count_down(code, secret, NOON + 30)
    rooms.reveal(code, secret)
    shown = rooms.room(code)
    assert (shown.revealed, shown.ends, shown.students) == (True, NOON + 30, 1)
    rooms.move(code, secret, 4)
    assert rooms.room(code) == Room(
        code, step=4, together=True, revealed=False, ends=None, started=NOON, students=1
    )
    rooms.answer(code, name(1), 4, 0, choices=2)
    rooms.end(code, secret)
    assert kept(database) == NOTHING
    rooms.end(code, secret)
    for late in (
        lambda: rooms.room(code),
        lambda: rooms.move(code, secret, 1),
        lambda: rooms.at(code, name(1), 1),
        lambda: rooms.answer(code, name(1), 4, 0, choices=2),
    ):
        with pytest.raises(ClassEndedError, match=r"^This class has ended"):
            late()
    with pytest.raises(ClassError, match=rf"^There is no class {in_groups(code)}\."):
        rooms.join(code, name(1))


def test_only_the_browser_that_started_a_class_leads_it(rooms: Rooms, database: Database) -> None:
    code, secret = rooms.start()
    _, other = rooms.start()
    assert rooms.leads(code, secret)
    before = rooms.room(code)
    for wrong in (other, "", secret[:-1], code):
        assert not rooms.leads(code, wrong)
        rooms.end(code, wrong)
        for attempt in (
            lambda wrong=wrong: rooms.move(code, wrong, 2),
            lambda wrong=wrong: rooms.reveal(code, wrong),
            lambda wrong=wrong: rooms.go_together(code, wrong, False),
            lambda wrong=wrong: rooms.count_down(code, wrong, 1.0),
        ):
            with pytest.raises(ClassError, match="led from another browser"):
                attempt()
    assert not rooms.leads("\0", secret)
    assert not rooms.leads("", secret)
    assert not rooms.leads(code, "\ud800")
    assert rooms.room(code) == before
    with database.reading() as connection:
        stored = connection.execute(select(RoomRow.lecturer)).scalars().all()
    assert len(stored) == 2
    assert not any(secret in each or other in each for each in stored)


def test_who_joins_late_lands_where_the_class_is_and_who_returns_where_they_were(rooms: Rooms) -> None:
    code, secret = rooms.start()
    typed = in_groups(code).lower()
    assert rooms.join(typed, name(1)) == (code, 0)
    rooms.move(code, secret, 3)
    assert rooms.join(typed, name(2)) == (code, 3)
    assert rooms.join(typed, name(1)) == (code, 3)
    rooms.go_together(code, secret, False)
    assert rooms.join(typed, name(1)) == (code, 3)  # who has gone nowhere yet begins where the class was
    rooms.at(code, name(1), 7)
    rooms.at(code, name(2), 1)
    rooms.go_together(code, secret, False)  # again: nobody loses their place
    assert [rooms.join(typed, name(k)) for k in (1, 2, 3)] == [(code, 7), (code, 1), (code, 3)]
    rooms.go_together(code, secret, True)
    assert rooms.join(typed, name(1)) == (code, 3)
    assert rooms.room(code).students == 3


def test_the_first_answer_to_a_question_counts_and_no_other(rooms: Rooms) -> None:
    code, _ = rooms.start()
    other, _ = rooms.start()
    rooms.join(code, name(1))
    rooms.join(code, name(2))
    rooms.join(other, name(3))
    assert rooms.chosen(code, name(1), 5) is None
    assert rooms.answer(code, name(1), 5, 2, choices=3)
    assert not rooms.answer(code, name(1), 5, 2, choices=3)
    assert not rooms.answer(code, name(1), 5, 0, choices=3)
    assert rooms.answer(code, name(2), 5, 0, choices=3)
    assert rooms.answer(code, name(1), 6, 0, choices=3)
    assert not rooms.answer(code, name(3), 5, 0, choices=3)  # is in another class
    assert not rooms.answer(code, "nobody' OR 1=1 --", 5, 0, choices=3)
    for question, choice in ((5, 3), (5, -1), (-1, 0), (MOST_STEPS, 0), (10**30, 0)):
        assert not rooms.answer(code, name(2), question, choice, choices=3)
    assert rooms.tally(code, 5, choices=3) == (1, 0, 1)
    assert rooms.tally(code, 6, choices=2) == (1, 0)
    assert rooms.tally(other, 5, choices=3) == (0, 0, 0)
    assert (rooms.chosen(code, name(1), 5), rooms.chosen(code, name(2), 5)) == (2, 0)


def test_answers_count_until_the_time_is_up_or_the_truth_is_shown(rooms: Rooms, clock: Clock) -> None:
    code, secret = rooms.start()
    for k in range(4):
        rooms.join(code, name(k))
    rooms.count_down(code, secret, NOON + 30)
    clock.seconds += 30
    assert rooms.answer(code, name(0), 0, 0, choices=2)
    clock.seconds += 1
    assert not rooms.answer(code, name(1), 0, 0, choices=2)
    rooms.count_down(code, secret, None)
    assert rooms.answer(code, name(1), 0, 0, choices=2)
    rooms.reveal(code, secret)
    assert not rooms.answer(code, name(2), 0, 0, choices=2)
    rooms.reveal(code, secret, False)
    assert rooms.answer(code, name(2), 0, 1, choices=2)
    rooms.reveal(code, secret)
    rooms.go_together(code, secret, False)
    assert rooms.answer(code, name(3), 0, 1, choices=2)
    assert rooms.tally(code, 0, choices=2) == (2, 2)


def test_a_step_that_no_lesson_has_is_an_error_of_the_page(rooms: Rooms) -> None:
    code, secret = rooms.start()
    rooms.join(code, name(1))
    for step in (-1, MOST_STEPS):
        with pytest.raises(ValueError, match="numbered from 0 to 999"):
            rooms.move(code, secret, step)
        with pytest.raises(ValueError, match="numbered from 0 to 999"):
            rooms.at(code, name(1), step)


def test_a_class_is_over_after_a_day_and_deleted_when_the_next_starts(
    rooms: Rooms, database: Database, clock: Clock
) -> None:
    code, secret = rooms.start()
    rooms.join(code, name(1))
    rooms.answer(code, name(1), 0, 1, choices=2)
    clock.seconds += LIFETIME - 1
    assert rooms.room(code).students == 1
    clock.seconds += 2
    assert not rooms.leads(code, secret)
    assert rooms.tally(code, 0, choices=2) == (0, 0)
    assert rooms.chosen(code, name(1), 0) is None
    for late in (
        lambda: rooms.room(code),
        lambda: rooms.join(code, name(1)),
        lambda: rooms.join(code, name(2)),
        lambda: rooms.at(code, name(1), 1),
        lambda: rooms.reveal(code, secret),
        lambda: rooms.answer(code, name(1), 1, 1, choices=2),
    ):
        with pytest.raises(ClassError):
            late()
    rooms.start()
    assert kept(database) == {**NOTHING, "explorer_rooms": 1}


def test_nothing_else_is_kept() -> None:
    assert {table.name: set(table.columns.keys()) for table in Base.metadata.sorted_tables} == {
        "explorer_rooms": {"code", "lecturer", "step", "together", "revealed", "ends", "started"},
        "explorer_students": {"room", "student", "step"},
        "explorer_answers": {"room", "student", "question", "choice"},
    }


def test_as_many_classes_and_students_as_may_and_no_more(database: Database, clock: Clock) -> None:
    rooms = Rooms(database, Settings(classes_at_once=2, most_students=2), clock)
    (code, secret), _ = rooms.start(), rooms.start()
    with pytest.raises(ClassError, match=r"^2 classes are going on, the most that this copy has"):
        rooms.start()
    rooms.join(code, name(1))
    rooms.join(code, name(2))
    with pytest.raises(ClassError, match=r"^This class is full: it has 2 students"):
        rooms.join(code, name(3))
    assert rooms.join(code, name(1)) == (code, 0)
    rooms.end(code, secret)
    rooms.start()


def test_a_full_room_joins_and_answers_at_once(database: Database) -> None:
    replicas = [Rooms(database, Settings(most_students=50)) for _ in range(2)]
    code, secret = replicas[0].start()
    joined = all_at_once(lambda k: replicas[k % 2].join(code, name(k)), 60)
    inside = [k for k, each in enumerate(joined) if each == (code, 0)]
    assert len(inside) == 50
    assert all("full" in str(each) for each in joined if each != (code, 0))
    assert replicas[1].room(code).students == 50

    def answer_twice(k: int) -> list[int]:
        counted = [
            choice for choice in (k % 3, (k + 1) % 3)
            if replicas[choice % 2].answer(code, name(k), 0, choice, choices=3)
        ]  # fmt: skip
        if k == 0:
            replicas[0].move(code, secret, 1)
        return counted

    counted = all_at_once(answer_twice, 60)
    assert [len(each) for each in counted] == [1 if k in inside else 0 for k in range(60)]
    told = Counter(choice for each in counted for choice in each)
    assert replicas[1].tally(code, 0, choices=3) == tuple(told[choice] for choice in range(3))
    # The same student, and the same answer, from many threads.
    again = all_at_once(lambda k: replicas[k % 2].answer(code, name(inside[0]), 1, 0, choices=3), 8)
    assert sorted(again) == [False] * 7 + [True]


def test_many_lecturers_start_at_once(database: Database) -> None:
    rooms = Rooms(database, Settings(classes_at_once=5))
    started = all_at_once(lambda _: rooms.start(), 12)
    assert sum(isinstance(each, tuple) for each in started) == 5
    assert len({each[0] for each in started if isinstance(each, tuple)}) == 5
    assert kept(database)["explorer_rooms"] == 5


def test_many_servers_make_the_tables_at_once(server: str) -> None:
    database = Database(server)
    with database.writing() as connection:
        Base.metadata.drop_all(connection)
    made = all_at_once(lambda _: Database(server).dialect, 8)
    assert made == ["postgresql"] * 8
    assert kept(database) == NOTHING


def test_a_code_cannot_be_found_by_trying(rooms: Rooms, clock: Clock) -> None:
    code, _ = rooms.start()
    rooms.join(code, name(0))
    for _ in range(WRONG_CODES_IN_A_ROW):
        with pytest.raises(ClassError, match="There is no class"):
            rooms.join(new_code(), name(1))
    with pytest.raises(ClassError, match=r"wrong codes\. Look at the code again, and wait a minute\."):
        rooms.join(new_code(), name(1))
    with pytest.raises(ClassError, match="wait a minute"):
        rooms.join(code, name(1))  # or trying would go on
    assert rooms.join(code, name(2)) == (code, 0)
    clock.seconds += 60
    assert rooms.join(code, name(1)) == (code, 0)


def test_codes_cannot_be_tried_from_many_browsers(database: Database, clock: Clock) -> None:
    most = Settings().wrong_codes_per_minute
    rooms = Rooms(database, Settings(), clock)
    code, _ = rooms.start()
    rooms.join(code, name(0))
    for k in range(most):
        with pytest.raises(ClassError, match="There is no class"):
            rooms.join(new_code(), name(1000 + k))
    with pytest.raises(ClassError, match="Too many wrong codes"):
        rooms.join(new_code(), name(1))
    with pytest.raises(ClassError, match="Too many wrong codes"):
        rooms.join(code, name(1))
    assert rooms.join(code, name(0)) == (code, 0)  # who is in is not shut out
    assert rooms.answer(code, name(0), 0, 0, choices=2)
    clock.seconds += 1
    wrong = 0
    while True:
        try:
            rooms.join(new_code(), name(5000 + wrong))
        except ClassError as error:
            if "Too many" in str(error):
                break
            wrong += 1
    assert wrong == pytest.approx(most / 60, abs=1)
    clock.seconds += 60
    assert rooms.join(code, name(1)) == (code, 0)


def test_right_codes_are_not_counted(database: Database, clock: Clock) -> None:
    rooms = Rooms(database, Settings(wrong_codes_per_minute=1), clock)
    codes = [rooms.start()[0] for _ in range(WRONG_CODES_IN_A_ROW + 2)]
    for k in range(50):
        rooms.join(codes[0], name(k))
    for code in codes:
        rooms.join(code, name(60))


@pytest.mark.parametrize("copy", [Settings(), Settings(hosted=True)])
def test_guessing_takes_decades_with_the_limits_of_every_copy(copy: Settings) -> None:
    assert len(set(ALPHABET)) == len(ALPHABET) == 28
    assert not set("01ILO") & set(ALPHABET)
    codes = {new_code() for _ in range(1000)}
    assert len(codes) == 1000
    assert all(len(code) == LENGTH and set(code) <= set(ALPHABET) for code in codes)
    years = years_to_guess(copy.classes_at_once, copy.wrong_codes_per_minute)
    assert years == pytest.approx(60, abs=1)  # as the docstring says
    per_second = copy.wrong_codes_per_minute / 60
    assert years * 365.25 * 86_400 * per_second * copy.classes_at_once == pytest.approx(28**8)


@pytest.mark.parametrize("typed", ["K7MP X2QD", "k7mp-x2qd", " K7MPX2QD\n", "k 7 m p x 2 q d"])
def test_a_code_is_read_as_people_type_it(typed: str) -> None:
    assert read_code(typed) == "K7MPX2QD"
    assert in_groups(read_code(typed)) == "K7MP X2QD"


@pytest.mark.parametrize(
    "typed", ["", "K7MP", "K7MPX2QDD", "K7MPX2Q0", "K7MPX2QA", "Ｋ7MPX2QD", "'; --", "K" * 10**6]
)
def test_what_is_no_code_is_told_what_codes_are(rooms: Rooms, typed: str) -> None:
    for _ in range(2 * WRONG_CODES_IN_A_ROW):  # nobody learns anything by it, so it is no try
        with pytest.raises(ClassError, match=r"^A code has 8 letters and digits, such as K7MP X2QD"):
            rooms.join(typed, name(1))


@pytest.mark.parametrize("wrong", ["", "short", "x" * 65, "a name with spaces", "null\0null\0null\0null"])
def test_a_browser_without_a_name_is_not_let_in(rooms: Rooms, wrong: str) -> None:
    code, _ = rooms.start()
    with pytest.raises(ClassError, match="Reload the page"):
        rooms.join(code, wrong)
    assert rooms.room(code).students == 0


def test_a_script_that_answers_all_the_time_is_slowed_down(rooms: Rooms, clock: Clock) -> None:
    code, _ = rooms.start()
    rooms.join(code, name(1))
    rooms.join(code, name(2))
    for question in range(ANSWERS_IN_A_ROW):
        assert rooms.answer(code, name(1), question, 0, choices=2)
    with pytest.raises(ClassError, match="many answers at once"):
        rooms.answer(code, name(1), 50, 0, choices=2)
    assert rooms.answer(code, name(2), 50, 0, choices=2)
    clock.seconds += 1
    assert rooms.answer(code, name(1), 50, 0, choices=2)
    with pytest.raises(ClassError, match="many answers at once"):
        rooms.answer(code, name(1), 51, 0, choices=2)


@pytest.mark.parametrize(
    "url",
    [
        "postgres-at-home",
        "mysql://explorer:a-secret@localhost/classes",
        "sqlite:////etc/classes",
        "postgresql://explorer:a-secret@localhost:port/classes",
        "postgresql://explorer:a-secret@localhost:1/classes",
        "postgresql://explorer:a-secret@/classes?host=/no/such/folder",
    ],
)
def test_a_database_that_cannot_be_used_is_told_without_its_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(ClassError) as caught:
        Database(url)
    assert not isinstance(caught.value, ClassEndedError)
    assert str(caught.value).startswith("Classes are not available now: ")
    assert "a-secret" not in caplog.text + str(caught.value)
    (record,) = (each for each in caplog.records if each.name == "explorer.classes.database")
    assert "EXPLORER_DATABASE_URL" in record.message or "connection" in record.message
    assert "a-secret" not in repr(Settings(database_url=url))


def test_a_missing_driver_is_told_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ClassError, match="not available"):
        Database("postgresql://explorer@localhost:1/without_a_driver")
    assert 'pip install "mamba2-explorer[postgresql]"' in caplog.text


def test_a_database_that_goes_away_and_comes_back(
    rooms: Rooms, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _ = rooms.start()
    with monkeypatch.context() as away:

        def refuse(*_: object) -> None:
            raise OSError("The disk is gone.")

        away.setattr(database._engine.pool, "connect", refuse)
        with pytest.raises(ClassError, match="not available now"):
            rooms.room(code)
    assert rooms.room(code).code == code


def test_a_connection_that_the_server_has_closed_is_opened_again(server: str) -> None:
    rooms = Rooms(Database(server), Settings())
    code, secret = rooms.start()
    with psycopg.connect(server) as other:
        others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'explorer'"
        closed = other.execute(f"{others} AND pid <> pg_backend_pid()").fetchall()
    assert closed
    assert rooms.room(code).code == code
    rooms.end(code, secret)


def test_the_file_is_private_and_other_users_cannot_put_theirs_in_its_place(own_folder: Path) -> None:
    database = Database(None)
    Rooms(database, Settings()).start()
    folder = private_folder()
    assert folder.parent == own_folder
    assert folder.stat().st_mode & 0o777 == 0o700
    files = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert files["classes.sqlite"] == 0o600
    assert set(files.values()) == {0o600}
    with database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
    assert private_folder() == folder
    folder.chmod(0o755)
    others = [private_folder()]
    moved = folder.rename(own_folder / "elsewhere")
    folder.symlink_to(moved)
    moved.chmod(0o700)
    others.append(private_folder())
    folder.unlink()
    folder.write_text("in the way")
    others.append(private_folder())
    assert len({folder, moved, *others}) == 5
    assert all(not each.is_symlink() and each.stat().st_mode & 0o777 == 0o700 for each in others)


@pytest.mark.parametrize(
    ("url", "base", "address"),
    [
        ("http://localhost:8600/classroom?code=A", "", "http://192.168.1.7:8600"),
        ("http://127.0.0.1:8600/effect", "", "http://192.168.1.7:8600"),
        ("http://192.168.1.7:8600/", "", "http://192.168.1.7:8600"),
        ("http://[fd00::7]:8600/classroom", "", "http://[fd00::7]:8600"),
        ("https://explorer.example.org/tools/classroom", "tools/", "https://explorer.example.org/tools"),
    ],
)
def test_a_link_leads_to_this_computer_from_others(
    url: str, base: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"browser.serverAddress": "192.168.1.7", "server.baseUrlPath": base}
    monkeypatch.setattr(streamlit, "get_option", options.__getitem__)
    assert address_for_others(url) == address


def test_the_qr_code_of_a_link_is_drawn_as_it_was_encoded() -> None:
    link = link_to_class("http://192.168.1.7:8501/", "K7MPX2QD")
    assert link == f"http://192.168.1.7:8501/{PAGE}?code=K7MPX2QD"
    assert link_to_class("http://192.168.1.7:8501") == f"http://192.168.1.7:8501/{PAGE}"
    drawn = ElementTree.fromstring(qr_svg(link))
    code = segno.make_qr(link, error="m")
    size = code.symbol_size(border=4)[0]
    assert drawn.attrib["viewBox"] == f"0 0 {size} {size}"
    background, modules = drawn
    assert background.attrib["fill"] in ("#fff", "#ffffff")
    assert background.attrib["d"] == f"M0 0h{size}v{size}h-{size}z"
    assert _matrix(modules.attrib["d"], size) == [
        [bool(cell) for cell in row] for row in code.matrix_iter(border=4)
    ]


def _matrix(path: str, size: int) -> list[list[bool]]:
    """The cells that a path of horizontal strokes covers."""
    cells = [[False] * size for _ in range(size)]
    x = y = 0.0
    for command, numbers in re.findall(r"([Mmh])([^Mmh]*)", path):
        first, *rest = map(float, re.findall(r"-?[\d.]+", numbers))
        if command == "h":
            for k in range(int(first)):
                cells[int(y)][int(x) + k] = True
            x += first
        else:
            x, y = (first, rest[0]) if command == "M" else (x + first, y + rest[0])
    return cells
