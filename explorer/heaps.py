"""How many heaps the C library gives the threads of this process."""

from __future__ import annotations

import ctypes
import os
import sys

MAX_HEAPS = 2
"""Every run of a page has a thread of its own. glibc gives each of many threads a heap, up to eight for each
core, and keeps in it what was freed. After thirty people for ten minutes the server takes 659 MB, and 716 MB
with as many heaps as glibc likes; from minute 2 on it grows by 3.6 % and by 7 % (`python -m benchmarks.load`,
two cores).
"""

_M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def share_heaps() -> None:
    """Let all threads share MAX_HEAPS heaps, unless MALLOC_ARENA_MAX says otherwise. Elsewhere than in glibc,
    which alone has such heaps, nothing happens.
    """
    if sys.platform == "linux" and "MALLOC_ARENA_MAX" not in os.environ:
        library = ctypes.CDLL(None)
        if hasattr(library, "gnu_get_libc_version"):
            library.mallopt(_M_ARENA_MAX, MAX_HEAPS)
