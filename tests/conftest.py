"""How tests are shared out between processes (`pytest -n 2`)."""

import os
from pathlib import Path

import pytest
import torch

BROWSER = Path(__file__).parent / "browser"

# Each process takes its part of the cores; threads that wait for a core take many times as long.
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    share = max((os.cpu_count() or 1) // workers, 1)
    torch.set_num_threads(share)
    os.environ["OMP_NUM_THREADS"] = str(share)  # for the servers that tests start


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file stay together, and all that drive a browser: they share it and its server."""
    for item in items:
        group = "browser" if BROWSER in item.path.parents else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
