"""How tests are shared out between processes (`pytest -n 2`)."""

import os
from typing import Any

import pytest
import torch
from xdist.scheduler import LoadFileScheduling

BROWSER = "tests/browser/"

# Each process takes its part of the cores; threads that wait for a core take many times as long.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    share = max((os.cpu_count() or 1) // workers, 1)
    torch.set_num_threads(share)
    os.environ["OMP_NUM_THREADS"] = str(share)  # for the servers that tests start


class ByFile(LoadFileScheduling):
    """Tests of one file stay together, and all that drive a browser: they share it and its server."""

    def _split_scope(self, nodeid: str) -> str:
        return "browser" if nodeid.startswith(BROWSER) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)
