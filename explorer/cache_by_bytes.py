"""An LRU cache bounded by bytes, not by entries, since a text may have one token or 131,072."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CacheByBytes(Generic[Value]):
    """At most `most` bytes of values by key; evicts the least recently used first. Thread-safe.

    A key is a tuple that begins with what the value is of.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: OrderedDict[tuple[Hashable, ...], tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes cached now."""
        with self._lock:
            return sum(nbytes for _, nbytes in self._values.values())

    def get(self, key: tuple[Hashable, ...]) -> Value | None:
        """Return the value and mark it most recently used; None if it is not cached."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: tuple[Hashable, ...], value: Value, nbytes: int) -> None:
        """Cache a value; one larger than `most` stays until the next value comes."""
        with self._lock:
            self._values[key] = value, nbytes
            self._values.move_to_end(key)
            held = sum(each for _, each in self._values.values())
            while held > self.most and len(self._values) > 1:
                _, (_, gone) = self._values.popitem(last=False)
                held -= gone

    def forget(self, what: Hashable) -> None:
        """Remove all values of something."""
        with self._lock:
            for key in [key for key in self._values if key[0] == what]:
                del self._values[key]

    def clear(self) -> None:
        """Remove all values."""
        with self._lock:
            self._values.clear()
