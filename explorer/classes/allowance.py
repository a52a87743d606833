"""How often somebody may do something."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable


class Allowance:
    """Lets each name do something `per_second` times on average, and `at_once` times in a row.

    `now` tells the time, in seconds. Names that have not used it for a while are forgotten.
    """

    def __init__(self, per_second: float, at_once: int, now: Callable[[], float]) -> None:
        self._per_second, self._at_once, self._now = per_second, at_once, now
        self._lock = threading.Lock()
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """What each name had left, and when. The one who used it longest ago comes first."""

    def take(self, name: str, times: int = 1) -> bool:
        """Use it, if there is enough left. A negative number of `times` gives back."""
        with self._lock:
            now = self._now()
            self._forget(now)
            left, when = self._left.pop(name, (self._at_once, now))
            left = min(left + (now - when) * self._per_second, self._at_once)
            allowed = left >= times
            self._left[name] = (left - times if allowed else left, now)
            return allowed

    def _forget(self, now: float) -> None:
        """Forget those who would have everything again."""
        full_after = self._at_once / self._per_second
        while self._left and now - next(iter(self._left.values()))[1] > full_after:
            self._left.popitem(last=False)
