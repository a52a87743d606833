"""The classes that are going on: what a lecturer and students can do, each in one short transaction."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

from sqlalchemy import ColumnElement, Connection, Select, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from explorer.classes.allowance import Allowance
from explorer.classes.codes import in_groups, is_code, new_code, read_code
from explorer.classes.database import Database
from explorer.classes.errors import ClassEndedError, ClassError
from explorer.classes.tables import AnswerRow, Base, RoomRow, StudentRow
from explorer.settings import Settings, settings

LIFETIME = 24 * 3600.0
"""Seconds after which a class ends by itself."""
MOST_STEPS = 1000
"""Steps and questions are numbered below this."""
MOST_CHOICES = 100
"""Of a question."""
WRONG_CODES_IN_A_ROW = 10
"""Of one session; it has them again after a minute."""
ANSWERS_IN_A_ROW = 10
"""Of one student, before `answers_per_second` counts."""

_INSERTS: dict[str, Callable[[type[Base]], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
_STUDENT = re.compile(r"[\w-]{16,64}", re.ASCII)


@dataclass(frozen=True)
class Room:
    """What everybody in a class may know of it."""

    code: str
    step: int
    """Where the class is. In a class that does not go together, where those begin who join."""
    together: bool
    """Whether all are at this step; otherwise each is at their own."""
    revealed: bool
    """Whether the answer of this step is shown."""
    ends: float | None
    """When the countdown ends, in seconds of UTC."""
    started: float
    students: int
    """How many have joined."""

    def takes_answers(self, now: float) -> bool:
        """Whether answers count: in a class that goes together, until time is up or the answer is shown."""
        return not self.together or not (self.revealed or (self.ends is not None and now > self.ends))


class Rooms:
    """The classes of a database.

    Only `join` takes a code that somebody typed or a link named, and counts wrong ones. Every other method
    takes the code of a class that `join` or `leads` has let in; if the class is over, it raises
    ClassEndedError. `now` tells the time, in seconds of UTC.
    """

    def __init__(self, database: Database, limits: Settings, now: Callable[[], float] = time.time) -> None:
        self._database, self._limits, self._now = database, limits, now
        self._insert = _INSERTS[database.dialect]
        per_minute = limits.wrong_codes_per_minute
        self._tries = Allowance(WRONG_CODES_IN_A_ROW / 60, WRONG_CODES_IN_A_ROW, now)
        self._all_tries = Allowance(per_minute / 60, per_minute, now)
        self._answers = Allowance(limits.answers_per_second, ANSWERS_IN_A_ROW, now)

    # The lecturer

    def start(self) -> tuple[str, str]:
        """Start a class. Returns its code, and the secret by which the lecturer's browser leads it.

        Raises ClassError if as many classes are going on as may.
        """
        secret = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            connection.execute(delete(RoomRow).where(~self._is_on()))
            count = connection.scalar(select(func.count()).select_from(RoomRow)) or 0
            if count >= self._limits.classes_at_once:
                raise ClassError(
                    f"{count:,} classes are going on, the most that this copy has at once. Try again later, "
                    "or end one that is over."
                )
            while True:
                code = new_code()
                if self._added(
                    connection,
                    RoomRow,
                    code=code,
                    lecturer=_hash(secret),
                    step=0,
                    together=True,
                    revealed=False,
                    ends=None,
                    started=self._now(),
                ):
                    return code, secret

    def leads(self, code: str, secret: str) -> bool:
        """Whether this secret leads the class. False for a class that is over, and for any other text."""
        if not is_code(code):
            return False
        with self._database.reading() as connection:
            return connection.scalar(select(RoomRow.code).where(self._is_led(code, secret))) is not None

    def move(self, code: str, secret: str, step: int) -> None:
        """Go to a step, whose answer is not shown yet and which has no countdown."""
        self._change(code, secret, step=_checked(step), revealed=False, ends=None)

    def go_together(self, code: str, secret: str, together: bool) -> None:
        """Keep all at the class's step, or let each go on from it at their own pace."""
        self._change(code, secret, together=together)

    def reveal(self, code: str, secret: str, revealed: bool = True) -> None:
        """Show the answer of the step, or hide it again."""
        self._change(code, secret, revealed=revealed)

    def count_down(self, code: str, secret: str, ends: float | None) -> None:
        """Let the time for answers end, in seconds of UTC; None: let it not end."""
        self._change(code, secret, ends=ends)

    def end(self, code: str, secret: str) -> None:
        """End the class and delete all that is kept of it. Nothing happens if it is over."""
        with self._database.writing() as connection:
            connection.execute(delete(RoomRow).where(self._is_led(code, secret)))

    def _change(self, code: str, secret: str, **values: object) -> None:
        with self._database.writing() as connection:
            led = self._is_led(code, secret)
            before = connection.scalar(select(RoomRow.together).where(led))
            if before is None:
                raise ClassEndedError("This class has ended, or it is led from another browser.")
            if before and values.get("together") is False:  # all go on from where the class is
                step = select(RoomRow.step).where(led).scalar_subquery()
                connection.execute(update(StudentRow).where(StudentRow.room == code).values(step=step))
            connection.execute(update(RoomRow).where(led).values(**values))

    # Students

    def join(self, typed: str, student: str) -> tuple[str, int]:
        """Let a student in, once. Returns the code of the class and the student's step.

        `typed` is the code, as somebody typed it; `student` a random name of their browser session, of 16 to
        64 letters, digits, hyphens and underscores. Who was in comes in again, at their own step unless the
        class goes together. Raises ClassError for a code that is none, a full class, and too many tries.
        """
        code = read_code(typed)
        if not _STUDENT.fullmatch(student):
            raise ClassError("This browser gave no name that a class could know it by. Reload the page.")
        with self._database.reading() as connection:
            # It needs no limit: whoever tries codes is in none of the classes.
            step = connection.scalar(self._step_of(code, student))
        if step is not None:
            return code, step
        self._use_a_try(student)
        with self._database.writing() as connection:
            room = self._find(connection, code)
            if room is None:
                raise ClassError(
                    f"There is no class {in_groups(code)}. Look at the code again, or ask whether the class "
                    "is still going on."
                )
            self._give_the_try_back(student)
            if room.students >= self._limits.most_students:
                raise ClassError(
                    f"This class is full: it has {room.students:,} students, the most that this copy takes."
                )
            self._added(connection, StudentRow, room=code, student=student, step=room.step)
            return code, room.step

    def at(self, code: str, student: str, step: int) -> None:
        """Keep the place of a student who goes at their own pace."""
        known = (StudentRow.room == code) & (StudentRow.student == student)
        on = select(RoomRow.code).where((RoomRow.code == code) & self._is_on()).exists()
        with self._database.writing() as connection:
            row = update(StudentRow).where(known & on).values(step=_checked(step))
            if not connection.execute(row).rowcount:
                raise ClassEndedError("This class has ended, or this browser is not in it.")

    def answer(self, code: str, student: str, question: int, choice: int, *, choices: int) -> bool:
        """Count an answer, one of `choices` that are numbered from 0. Returns whether it counts.

        It does not if it is the student's second to this question, if it is none of the choices, if the
        student is not in the class, or if the class takes no answers any more. Raises ClassError for answers
        in quick succession, so that no script takes the turns of others; all of a class can answer at once.
        """
        if not (0 <= question < MOST_STEPS and 0 <= choice < min(choices, MOST_CHOICES)):
            return False
        if not self._answers.take(student):
            raise ClassError("These were many answers at once. Wait a few seconds.")
        with self._database.writing() as connection:
            room = self._found(connection, code)
            known = connection.scalar(self._step_of(code, student)) is not None
            if not (known and room.takes_answers(self._now())):
                return False
            return self._added(
                connection, AnswerRow, room=code, student=student, question=question, choice=choice
            )

    def chosen(self, code: str, student: str, question: int) -> int | None:
        """What a student has answered; None: nothing yet."""
        with self._database.reading() as connection:
            return connection.scalar(
                select(AnswerRow.choice)
                .join(RoomRow, RoomRow.code == AnswerRow.room)
                .where(self._is_on(), RoomRow.code == code)
                .where(AnswerRow.question == question, AnswerRow.student == student)
            )

    # Everybody

    def room(self, code: str) -> Room:
        """What everybody in the class may know of it."""
        with self._database.reading() as connection:
            return self._found(connection, code)

    def tally(self, code: str, question: int, *, choices: int) -> tuple[int, ...]:
        """How many students gave each of the `choices`. All 0 for a class that is over."""
        counted = (
            select(AnswerRow.choice, func.count())
            .join(RoomRow, RoomRow.code == AnswerRow.room)
            .where(self._is_on(), RoomRow.code == code, AnswerRow.question == question)
            .group_by(AnswerRow.choice)
        )
        with self._database.reading() as connection:
            counts = dict(connection.execute(counted).all())
        return tuple(counts.get(choice, 0) for choice in range(choices))

    # Parts of these

    def _is_on(self) -> ColumnElement[bool]:
        return RoomRow.started > self._now() - LIFETIME

    def _is_led(self, code: str, secret: str) -> ColumnElement[bool]:
        return self._is_on() & (RoomRow.code == code) & (RoomRow.lecturer == _hash(secret))

    def _step_of(self, code: str, student: str) -> Select[int]:
        """The step of a student; no row for one who is not in the class."""
        return (
            select(case((RoomRow.together, RoomRow.step), else_=StudentRow.step))
            .select_from(StudentRow)
            .join(RoomRow, RoomRow.code == StudentRow.room)
            .where(self._is_on(), RoomRow.code == code, StudentRow.student == student)
        )

    def _added(self, connection: Connection, table: type[Base], **values: object) -> bool:
        """Add a row, unless there is one with its key. Returns whether there was none."""
        row = self._insert(table).values(**values).on_conflict_do_nothing()
        return connection.execute(row, execution_options={"preserve_rowcount": True}).rowcount == 1

    def _find(self, connection: Connection, code: str) -> Room | None:
        students = (
            select(func.count())
            .select_from(StudentRow)
            .where(StudentRow.room == RoomRow.code)
            .scalar_subquery()
        )
        row = connection.execute(
            select(
                RoomRow.code,
                RoomRow.step,
                RoomRow.together,
                RoomRow.revealed,
                RoomRow.ends,
                RoomRow.started,
                students,
            ).where(self._is_on(), RoomRow.code == code)
        ).first()
        return None if row is None else Room(*row)

    def _found(self, connection: Connection, code: str) -> Room:
        room = self._find(connection, code)
        if room is None:
            raise ClassEndedError("This class has ended.")
        return room

    def _use_a_try(self, student: str) -> None:
        """Before a code is looked up: one that is right, too, or those who try codes would find it."""
        if not self._tries.take(student):
            raise ClassError(
                f"These were {WRONG_CODES_IN_A_ROW} wrong codes. Look at the code again, and wait a minute."
            )
        if not self._all_tries.take(""):
            raise ClassError("Too many wrong codes are being tried. Try again in a minute.")

    def _give_the_try_back(self, student: str) -> None:
        self._tries.take(student, -1)
        self._all_tries.take("", -1)


def _hash(secret: str) -> str:
    return sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _checked(step: int) -> int:
    if not 0 <= step < MOST_STEPS:
        raise ValueError(f"There is no step {step}: steps are numbered from 0 to {MOST_STEPS - 1}.")
    return step


@cache
def rooms() -> Rooms:
    """The classes of this server. Raises ClassError while their database cannot be used."""
    limits = settings()
    url = limits.database_url.get_secret_value() if limits.database_url else None
    return Rooms(Database(url), limits)
