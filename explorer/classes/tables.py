"""The tables of classes, and all that is kept of them.

They are created where they are missing and never altered: tables of other columns need other names.
"""

from __future__ import annotations

from sqlalchemy import Double, ForeignKey, ForeignKeyConstraint, SmallInteger, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What is common to the tables: their list."""


class RoomRow(Base):
    """A class."""

    __tablename__ = "explorer_rooms"

    code: Mapped[str] = mapped_column(String(16), primary_key=True)
    lecturer: Mapped[str] = mapped_column(String(64))
    """The hash of a secret that only the lecturer's browser has."""
    step: Mapped[int] = mapped_column(SmallInteger)
    together: Mapped[bool]
    """Whether all are at the class's step; otherwise each is at their own."""
    revealed: Mapped[bool]
    ends: Mapped[float | None] = mapped_column(Double)
    """When the countdown ends, in seconds of UTC."""
    started: Mapped[float] = mapped_column(Double)


class StudentRow(Base):
    """A browser session that has joined a class."""

    __tablename__ = "explorer_students"

    room: Mapped[str] = mapped_column(ForeignKey(RoomRow.code, ondelete="CASCADE"), primary_key=True)
    student: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(SmallInteger)


class AnswerRow(Base):
    """The one answer of a student to a question. The key begins as a tally asks."""

    __tablename__ = "explorer_answers"
    __table_args__ = (
        ForeignKeyConstraint(["room", "student"], [StudentRow.room, StudentRow.student], ondelete="CASCADE"),
    )

    room: Mapped[str] = mapped_column(primary_key=True)
    question: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    student: Mapped[str] = mapped_column(primary_key=True)
    choice: Mapped[int] = mapped_column(SmallInteger)
