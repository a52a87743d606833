"""Downloads that are slow, cut, damaged, refused or stopped, against the hub on the loopback interface."""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import hf_hub_download

from components.models import load_bridge
from explorer.jobs import Job, Report, StoppedError
from tests.models.conftest import GOLDEN, LocalHub, refused
from tests.tiny import random_ids

NAME = "someone/tiny-mamba2"
WEIGHTS = "model.safetensors"
SIZE = (GOLDEN / WEIGHTS).stat().st_size
IDS = random_ids(0, 1, 20)


@pytest.fixture
def hub(local_hub: LocalHub) -> LocalHub:
    local_hub.repositories[NAME] = GOLDEN
    return local_hub


@pytest.fixture(scope="module")
def expected() -> torch.Tensor:
    logits: torch.Tensor = load_bridge(GOLDEN).model(IDS).logits
    return logits


def loads(expected: torch.Tensor) -> bool:
    return torch.equal(load_bridge(NAME).model(IDS).logits, expected)


def kept(cache: Path) -> list[str]:
    """The weights in the cache, whole or in part: links to them and what these point to."""
    blobs = [f.name for f in cache.glob("models--*/blobs/*") if f.stat().st_size > SIZE // 10]
    return blobs + [f.name for f in cache.glob(f"models--*/snapshots/*/{WEIGHTS}")]


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not is_so() and time.monotonic() < end:
        time.sleep(0.02)
    return is_so()


def test_the_variable_that_names_a_hub(hub: LocalHub, expected: torch.Tensor, tmp_path: Path) -> None:
    """As people set it. huggingface_hub reads it when it is imported, into what the other tests replace."""
    script = (
        "import sys, torch\n"
        "from components.models import load_bridge\n"
        f"logits = load_bridge({NAME!r}).model(torch.tensor({IDS.tolist()})).logits\n"
        "torch.save(logits, sys.argv[1])\n"
    )
    settings = {"HF_ENDPOINT": hub.address, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0"}
    subprocess.run(
        [sys.executable, "-c", script, tmp_path / "logits"], env={**os.environ, **settings}, check=True
    )
    assert torch.equal(torch.load(tmp_path / "logits"), expected)
    assert hub.served[-1] == WEIGHTS
    assert list((tmp_path / "home" / "hub").glob("models--*"))


def test_progress_rises_to_the_end_however_slowly_bytes_come(hub: LocalHub, expected: torch.Tensor) -> None:
    hub.pauses[WEIGHTS] = 0.01
    reports: list[tuple[str, float | None]] = []
    bridge = load_bridge(NAME, progress=lambda text, part: reports.append((text, part)))
    assert torch.equal(bridge.model(IDS).logits, expected)
    weights = reports[reports.index(("Checking the memory", None)) :]
    parts = [part for text, part in weights if text.startswith("Downloading") and part is not None]
    assert len(set(parts)) > 5
    assert parts == sorted(parts)
    assert parts[-1] == 1.0


@pytest.mark.parametrize("how", ["closed", "reset"])
def test_a_download_that_is_cut_goes_on_where_it_was(hub: LocalHub, expected: torch.Tensor, how: str) -> None:
    hub.cut[WEIGHTS] = 0.3
    hub.resets = how == "reset"
    assert loads(expected)
    (resumed,) = [int(re.sub(r"\D", "", asked)) for asked in hub.ranges]
    assert resumed == int(0.3 * SIZE) or (how == "reset" and 0 < resumed < 0.3 * SIZE)


def test_bytes_that_changed_on_the_way_are_noticed(
    hub: LocalHub, expected: torch.Tensor, tmp_path: Path
) -> None:
    right = (GOLDEN / WEIGHTS).read_bytes()
    hub.sent_instead[WEIGHTS] = right[:-4] + b"bad!"
    with refused(
        rf'{WEIGHTS} of "{NAME}" arrived damaged: its checksum .* is not the one.*deleted; try again to'
    ):
        load_bridge(NAME)
    assert kept(tmp_path / "cache") == []
    hub.sent_instead.clear()
    assert loads(expected)


@pytest.mark.parametrize("changed", [b"longer", -100], ids=["longer", "shorter"])
def test_more_or_fewer_bytes_than_promised(
    hub: LocalHub, expected: torch.Tensor, tmp_path: Path, changed: bytes | int
) -> None:
    right = (GOLDEN / WEIGHTS).read_bytes()
    hub.sent_instead[WEIGHTS] = right + changed if isinstance(changed, bytes) else right[:changed]
    with refused(f"could not be downloaded .*should be of size {SIZE} but has size.*then try again"):
        load_bridge(NAME)
    assert kept(tmp_path / "cache") == []
    hub.sent_instead.clear()
    assert loads(expected)


def test_a_repository_with_a_damaged_file(hub: LocalHub, folder: Path) -> None:
    whole = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(whole[:8] + b"[" + whole[9:])
    hub.repositories[NAME] = folder
    with refused(rf'{WEIGHTS} of "{NAME}" is damaged or incomplete .*Download or copy it again'):
        load_bridge(NAME)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (401, "", r"refused access to .*HTTP 401.*Log in with `hf auth login`"),
        (401, "RepoNotFound", r"no model .* you may see.*Check the spelling; a private model needs `hf auth"),
        (403, "GatedRepo", r"accepted its terms.*https://huggingface.co/someone/tiny-mamba2.*hf auth login"),
        (403, "", r"refused access.*HTTP 403.*hf auth login"),
        (404, "RepoNotFound", r"no model .* you may see.*Check the spelling"),
        (429, "", r"takes no more requests from here now\s.HTTP 429.*Try again in some minutes"),
        (500, "", r"cannot serve .*HTTP 500.*Try again later.*demo"),
    ],
)
def test_refusals_say_what_to_do_at_once(hub: LocalHub, status: int, code: str, words: str) -> None:
    hub.refusal = (status, code)
    begun = time.monotonic()
    with refused(words) as caught:
        load_bridge(NAME)
    assert time.monotonic() - begun < 2
    assert "Error" not in str(caught.value)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", [1, 2], ids=["asked for its size", "asked for itself"])
def test_a_hub_that_asks_to_wait_for_minutes(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, status: int, asked: int
) -> None:
    """After the settings, and before the weights: huggingface_hub would sleep as long as it is told."""
    respond, answers = hub.respond, 0

    def refuse(path: str) -> tuple[int, dict[str, str], bytes]:
        nonlocal answers
        answers += path.endswith(WEIGHTS)
        return (status, {"Retry-After": "300"}, b"") if answers >= asked else respond(path)

    monkeypatch.setattr(hub, "respond", refuse)
    begun = time.monotonic()
    with refused(rf"HTTP {status}.*Try again .*later|in some minutes"):
        load_bridge(NAME)
    assert time.monotonic() - begun < 2


def test_others_wait_as_huggingface_hub_does(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    load_bridge(NAME)
    respond, asked = hub.respond, 0

    def refuse_once(path: str) -> tuple[int, dict[str, str], bytes]:
        nonlocal asked
        asked += 1
        return (429, {"Retry-After": "0"}, b"") if asked == 2 else respond(path)

    monkeypatch.setattr(hub, "respond", refuse_once)
    assert Path(hf_hub_download(NAME, WEIGHTS, force_download=True)).stat().st_size == SIZE
    assert asked == 3


def test_a_download_that_is_stopped_ends(hub: LocalHub, expected: torch.Tensor, tmp_path: Path) -> None:
    hub.pauses[WEIGHTS] = 0.3  # half a minute in all

    def work(report: Report) -> None:
        load_bridge(NAME, progress=report)

    threads = set(threading.enumerate())
    job = Job(work, "Loading")
    threading.Thread(target=job.run).start()
    assert wait_until(lambda: WEIGHTS in hub.under_way and job.phase[0].startswith("Downloading"), 10)
    job.stopped.set()
    with pytest.raises(StoppedError):
        job.done.result(timeout=1)
    assert wait_until(lambda: not hub.under_way, 2)
    assert wait_until(lambda: not set(threading.enumerate()) - threads, 2)
    assert kept(tmp_path / "cache") == []
    hub.pauses.clear()
    assert loads(expected)


def test_a_load_that_is_stopped_says_nothing_of_the_model(hub: LocalHub) -> None:
    def stop(text: str, part: float | None) -> None:
        if text.startswith("Loading weights,"):
            raise StoppedError

    with pytest.raises(StoppedError):
        load_bridge(NAME, progress=stop)
