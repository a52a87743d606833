"""How tests check types, and how they are shared out between processes (`pytest -n 2`)."""

import os
from collections.abc import Callable
from types import CodeType, FunctionType
from typing import Any, get_args, get_type_hints

import jaxtyping
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
                return jaxtyped(**options)(function)
            return function if "<locals>" in function.__qualname__ else beartype(function)

        return decorate

    return decorator


jaxtyping.jaxtyped = checked_where_needed(jaxtyping.jaxtyped)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that drive a browser come first: they take longest, and the processes end together."""
    items.sort(key=lambda item: not item.nodeid.startswith(BROWSER))
