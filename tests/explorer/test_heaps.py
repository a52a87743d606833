"""Threads share a few heaps of the C library."""

import os
import platform
import re
import subprocess
import sys

import pytest

from explorer.heaps import MAX_HEAPS
from tests.explorer.conftest import ROOT

COUNT = """
import ctypes, sys, threading
from explorer.heaps import share_heaps
if sys.argv[1] == "shared":
    share_heaps()
library = ctypes.CDLL(None)
library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
met = threading.Barrier(12)
def work():
    library.malloc(10_000)
    met.wait()  # all at once
threads = [threading.Thread(target=work) for _ in range(12)]
for each in threads: each.start()
for each in threads: each.join()
library.fdopen.restype, library.malloc_info.argtypes = ctypes.c_void_p, [ctypes.c_int, ctypes.c_void_p]
library.fflush.argtypes = [ctypes.c_void_p]
out = library.fdopen(1, b"w")
library.malloc_info(0, out)
library.fflush(out)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has a heap for each thread")
def test_threads_share_a_few_heaps() -> None:
    def heaps(shared: str, **variables: str) -> int:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        ran = subprocess.run(
            [sys.executable, "-c", COUNT, shared],
            cwd=ROOT,
            env=kept | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        return len(re.findall(r"<heap nr=", ran.stdout))

    assert heaps("shared") == MAX_HEAPS < heaps("usual")
    assert heaps("shared", MALLOC_ARENA_MAX="3") == 3
