"""How tests check types, and how they are shared out between processes (`pytest -n 3`)."""

import os
from collections import Counter
from collections.abc import Callable, Hashable
from functools import wraps
from types import CodeType, FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
import numpy as np
import pytest
import torch
from beartype import beartype

BROWSER = "tests/browser/"

# Each process takes its part of the cores; threads that wait for a core take many times as long.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    share = max((os.cpu_count() or 1) // workers, 1)
    torch.set_num_threads(share)
    os.environ["OMP_NUM_THREADS"] = str(share)  # for the servers that tests start


def has_shapes(annotation: Any) -> bool:
    """Whether an annotation names the shape of an array."""
    is_shape = isinstance(annotation, type) and issubclass(annotation, jaxtyping.AbstractArray)
    return is_shape or any(map(has_shapes, get_args(annotation)))


ARRAYS = (torch.Tensor, np.ndarray)
CHECKED_CALLS = 3
"""Calls of a function with the same shapes that are checked in one test: a thousand more say nothing new."""

calls: Counter[Hashable] = Counter()
"""How often the test that runs has called each function with each shapes."""


def checked_when_new(function: FunctionType, checked: Callable[..., Any]) -> Callable[..., Any]:
    """A function that is checked in a test's first calls with the same shapes."""

    @wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        arrays = [(one.shape, one.dtype) for one in (*given, *named.values()) if isinstance(one, ARRAYS)]
        calls[called := (function.__code__, len(given), *named, *arrays)] += 1
        return (checked if calls[called] <= CHECKED_CALLS else function)(*given, **named)

    return call


def checked_where_needed(jaxtyped: Callable[..., Any]) -> Callable[..., Any]:
    """jaxtyping's decorator for functions that name shapes, beartype alone for others, and neither for those
    within a function, which would be compiled anew each time that it runs.

    jaxtyping's takes 30 µs a call where beartype's takes one: it would be half of the time of the tests.
    """
    shaped: dict[CodeType, bool] = {}

    def names_shapes(function: FunctionType) -> bool:
        if function.__code__ not in shaped:
            try:
                hints = get_type_hints(function, include_extras=True).values()
                shaped[function.__code__] = any(map(has_shapes, hints))
            except (NameError, TypeError):  # what only a type checker knows, such as pd.Series[float]
                shaped[function.__code__] = True
        return shaped[function.__code__]

    def decorator(**options: Any) -> Callable[[Any], Any]:
        def decorate(function: Any) -> Any:
            if not isinstance(function, FunctionType) or names_shapes(function):
                checked = jaxtyped(**options)(function)
                return checked_when_new(function, checked) if isinstance(function, FunctionType) else checked
            return function if "<locals>" in function.__qualname__ else beartype(function)

        return decorate

    return decorator


jaxtyping.jaxtyped = checked_where_needed(jaxtyping.jaxtyped)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that drive a browser come first: they take longest, and the processes end together."""
    items.sort(key=lambda item: not item.nodeid.startswith(BROWSER))


def pytest_runtest_setup() -> None:
    """Each test begins to count."""
    calls.clear()
