"""What somebody does in a class, from a button."""

from __future__ import annotations

from collections.abc import Callable

from explorer.classes import ClassError
from explorer.session import session


def attempt(action: Callable[..., object], *args: object) -> None:
    """Do it. If the class refuses, the next run of the page says why."""
    try:
        action(*args)
    except ClassError as error:
        session().class_error = str(error)
