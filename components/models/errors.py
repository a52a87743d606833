"""The one error that loading a model raises."""


class ModelLoadError(ValueError):
    """A model could not be opened.

    The message is one to three plain sentences to show to a person: what was given, what is possible, what to
    do. The technical cause, if any, is chained as `__cause__`.
    """


def first_line(error: BaseException) -> str:
    """Return the first non-empty line of an error's message, or its type if it has none."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__
