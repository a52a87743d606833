"""Settings of a continuation in a URL."""

import pytest

from explorer.sampling import (
    SETTINGS,
    SamplingOptions,
    default_settings,
    query_of_settings,
    sampling_options,
    settings_of,
)


def test_default_settings_are_left_out() -> None:
    assert query_of_settings(default_settings()) == {}
    assert settings_of({}) == (default_settings(), [], [])


def test_settings_survive_their_url() -> None:
    values = {
        "draws": "Sampled",
        "new_tokens": 12,
        "pace": "no limit",
        "temperature": 2.3,
        "top_p": 0.35,
        "seed": 7,
    }
    query = query_of_settings(values)
    assert query["pace"] == "no-limit"
    assert settings_of(query) == (values, [], [])
    assert sampling_options(values) == SamplingOptions(12, temperature=2.3, top_p=0.35, seed=7, pace=None)
    assert sampling_options({**values, "draws": "Greedy"}) == SamplingOptions(12, pace=None)


@pytest.mark.parametrize(
    ("name", "words", "nearest"),
    [
        ("new_tokens", "9999", 512),
        ("new_tokens", "0", 1),
        ("temperature", "9", 3.0),
        ("temperature", "0.04", 0.1),
        ("top_p", "0.52", 0.5),
        ("seed", "99999999999", 2**31 - 1),
    ],
)
def test_the_nearest_is_taken_and_named(name: str, words: str, nearest: float) -> None:
    values, unread, beyond = settings_of({name: words})
    assert (values[name], unread, beyond) == (nearest, [], [name])


@pytest.mark.parametrize("words", ["", "x", "-1", "1e3", "nan", "١", "1" * 400])
@pytest.mark.parametrize("name", list(SETTINGS))
def test_what_says_nothing_is_named(name: str, words: str) -> None:
    assert settings_of({name: words}) == (default_settings(), [name], [])


@pytest.mark.parametrize("value", [None, [], {}, "x"])
def test_what_is_no_setting_is_the_default(value: object) -> None:
    assert {name: each.nearest(value) for name, each in SETTINGS.items()} == default_settings()
