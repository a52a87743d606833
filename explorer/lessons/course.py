"""The lessons of `explorer.lessons.steps` in their order."""

from importlib import import_module
from pkgutil import iter_modules

from explorer.lessons import steps
from explorer.lessons.lesson import Lesson


def found() -> tuple[Lesson, ...]:
    """The `LESSON` of every file in the folder."""
    names = [module.name for module in iter_modules(steps.__path__)]
    lessons: list[Lesson] = [import_module(f"{steps.__name__}.{name}").LESSON for name in names]
    return tuple(sorted(lessons, key=lambda lesson: lesson.number))


LESSONS = found()
