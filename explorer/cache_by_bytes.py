"""What is held of texts, as long as there is room: by bytes, since a text may have one token or 131,072."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CacheByBytes(Generic[Value]):
    """Values by key, at most `most` bytes of them; the least recently used go first. For several threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._values: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes held now."""
        with self._lock:
            return sum(nbytes for _, nbytes in self._values.values())

    def get(self, key: Hashable) -> Value | None:
        """The value, which is thereby the most recently used; None if it is not, or no longer, held."""
        with self._lock:
            if key not in self._values:
                return None
            self._values.move_to_end(key)
            return self._values[key][0]

    def put(self, key: Hashable, value: Value, nbytes: int) -> None:
        """Hold a value; one that is too large alone is held all the same, until the next."""
        with self._lock:
            self._values[key] = value, nbytes
            self._values.move_to_end(key)
            held = sum(each for _, each in self._values.values())
            while held > self.most and len(self._values) > 1:
                _, (_, gone) = self._values.popitem(last=False)
                held -= gone

    def clear(self) -> None:
        """Let go of everything."""
        with self._lock:
            self._values.clear()
