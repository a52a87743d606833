"""The codes that students type: random, without look-alikes, and too many to find one by trying.

There are 28⁸ codes, about 378 billion. With k of them in use, somebody who tries codes needs 28⁸ / k tries on
average, and a server looks up only so many wrong ones a minute, whoever sends them. With the defaults, 20
classes and 600 a minute, that takes 60 years; three servers that share a database make it 20.
"""

from __future__ import annotations

import re
import secrets

from explorer.classes.errors import ClassError

ALPHABET = "23456789BCDFGHJKMNPQRSTVWXYZ"
"""Without 0 and O, 1, I and L; and without the other vowels, so that no code reads as a word."""
LENGTH = 8

_CODE = re.compile(f"[{ALPHABET}]{{{LENGTH}}}")
_MINUTES_PER_YEAR = 365.25 * 24 * 60


def new_code() -> str:
    """A code that nobody can foresee."""
    return "".join(secrets.choice(ALPHABET) for _ in range(LENGTH))


def is_code(text: str) -> bool:
    """Whether a class could have this code."""
    return _CODE.fullmatch(text) is not None


def read_code(text: str) -> str:
    """The code that somebody typed, in any case, with spaces or hyphens. Raises ClassError if it is none."""
    code = re.sub(r"[\s-]", "", text[:100]).upper()
    if not is_code(code):
        raise ClassError(
            f"A code has {LENGTH} letters and digits, such as {in_groups('K7MPX2QD')}, and never "
            "0, 1, or a vowel. Look at the code again."
        )
    return code


def in_groups(code: str) -> str:
    """A code as it is shown and read out: "K7MP X2QD"."""
    return f"{code[: LENGTH // 2]} {code[LENGTH // 2 :]}"


def years_to_guess(classes: int, tries_per_minute: int) -> float:
    """Years that it takes on average to find the code of one of so many classes by trying."""
    codes: int = len(ALPHABET) ** LENGTH
    return codes / classes / tries_per_minute / _MINUTES_PER_YEAR
