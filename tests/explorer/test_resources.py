import threading
from pathlib import Path

import pytest
import torch

from components.models import ModelLoadError, load_bridge
from components.ssd import effective_attention
from explorer import resources
from explorer.resources import SHOWN_TOKENS, capture, load

LONG = "abc " * 200


def test_a_capture_is_shared() -> None:
    assert capture("demo", "one two") is capture("demo", "one two")
    assert capture("demo", "one two") is not capture("demo", "one two three")


def test_a_window_of_a_long_text_is_exact() -> None:
    shown = capture("demo", LONG)
    _, cache = load_bridge("demo").run_with_cache(LONG)
    assert len(shown.tokens) == SHOWN_TOKENS
    assert shown.first == shown.length - SHOWN_TOKENS
    for layer, terms in shown.terms.items():
        last = slice(-SHOWN_TOKENS, None)
        whole = effective_attention(cache.ssd_terms(layer), queries=last, keys=last)
        torch.testing.assert_close(effective_attention(terms), whole, rtol=1e-5, atol=1e-7)


def test_a_capture_holds_no_more_than_is_shown() -> None:
    terms = next(iter(capture("demo", LONG).terms.values()))
    for tensor in (terms.x, terms.B, terms.C, terms.dt, terms.cum_log_decay):
        assert tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    assert terms.x.numel() == 0


def test_models_and_captures_are_bounded() -> None:
    for cached, bound in ((resources._bridge, 2), (resources.capture, 16)):
        assert cached._info.max_entries == bound


def test_loading_reports_and_happens_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    go_on = threading.Event()

    def slow(model: str, *, progress: resources.Callable[[str, float | None], None]) -> str:
        loads.append(model)
        progress("Downloading 1 of 2 MB", 0.5)
        assert go_on.wait(30)
        return "a bridge"

    monkeypatch.setattr("components.models.load_bridge", slow)
    told: list[tuple[str, float | None]] = []

    def report(text: str, part: float | None) -> None:
        told.append((text, part))
        if len(told) >= 4:
            go_on.set()

    sessions = [threading.Thread(target=load, args=("some/model", report)) for _ in range(2)]
    for session in sessions:
        session.start()
    for session in sessions:
        session.join(timeout=60)
    assert loads == ["some/model"]
    assert set(told) <= {("Downloading 1 of 2 MB", 0.5), ("Loading the model", None)}
    assert ("Downloading 1 of 2 MB", 0.5) in told


def test_a_model_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            load(str(tmp_path / "nothing"), lambda text, part: None)
