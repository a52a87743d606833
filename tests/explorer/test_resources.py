from pathlib import Path

import pytest
import torch

from components.models import ModelLoadError, load_bridge
from components.ssd import effective_attention
from explorer import resources
from explorer.jobs import StoppedError
from explorer.resources import SHOWN_TOKENS, capture

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
    for cached, bound in ((resources.bridge, 2), (resources.capture, 16)):
        assert cached._info.max_entries == bound


def test_a_model_that_cannot_be_opened_is_tried_again(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(ModelLoadError):
            resources.bridge(str(tmp_path / "nothing"))


def test_a_run_tells_its_layers_and_can_be_stopped() -> None:
    told: list[tuple[str, float | None]] = []
    capture("demo", "one two three", lambda text, part: told.append((text, part)))
    layers = len(resources.bridge("demo").blocks)
    assert [part for text, part in told if "layer" in text] == [each / layers for each in range(layers)]

    def stopped(text: str, part: float | None) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        capture("demo", "four five", stopped)
    assert capture("demo", "four five").length > 1


def test_faithfulness_is_that_of_a_whole_run() -> None:
    _, cache = load_bridge("demo").run_with_cache(LONG)
    for layer in resources.bridge("demo").ssm_layers():
        assert resources.faithfulness("demo", LONG, layer) == cache.faithfulness(layer)
