"""Whether a prompt is run: go, ask or refuse."""

import pytest

from explorer.costs import ASK_SECONDS, Ask, Cost, Go, Refuse, decide
from explorer.settings import Settings

HOME, HOSTED = Settings(), Settings(hosted=True, most_gigabytes=2.0)
LONG = Cost(90_000, ASK_SECONDS + 1, 0.5, free=8.0)


def test_a_short_prompt_is_run_without_a_word() -> None:
    assert decide(None, HOSTED, shown=False, agreed=False) == Go()


@pytest.mark.parametrize("seconds", [None, 1.0, ASK_SECONDS])
def test_what_takes_little_is_run_and_said(seconds: float | None) -> None:
    cost = Cost(900, seconds, 0.5, free=8.0)
    assert decide(cost, HOME, shown=False, agreed=False) == Go(cost.in_words())


def test_what_takes_long_is_asked_for_once() -> None:
    assert decide(LONG, HOME, shown=False, agreed=False) == Ask(f"{LONG.in_words()}.")
    assert decide(LONG, HOME, shown=False, agreed=True) == Go(LONG.in_words())
    assert decide(LONG, HOME, shown=True, agreed=False) == Go(LONG.in_words())


@pytest.mark.parametrize(("limits", "gigabytes"), [(HOME, 8.1), (HOSTED, 2.1), (HOSTED, 9.0)])
@pytest.mark.parametrize("said", [True, False])
def test_what_does_not_fit_is_refused_whatever_was_agreed(
    limits: Settings, gigabytes: float, said: bool
) -> None:
    decision = decide(Cost(900, 1.0, gigabytes, free=8.0), limits, shown=said, agreed=said)
    assert isinstance(decision, Refuse)
    assert "Shorten the text" in decision.words
    assert f"{gigabytes} GB" in decision.words


def test_the_limit_of_memory_itself_is_allowed() -> None:
    assert decide(Cost(900, 1.0, 2.0, free=2.0), HOSTED, shown=False, agreed=False) == Go(
        Cost(900, 1.0, 2.0, free=2.0).in_words()
    )
