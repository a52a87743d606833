import os
from pathlib import Path
from unittest import mock

import pytest

from components.models import CATALOGUE
from explorer.settings import CHARACTERS_PER_TOKEN, VARIABLES, Settings

HUB_ID = "AntonV/mamba2-130m-hf"
README = Path(__file__).parents[2] / "README.md"


def of(environment: dict[str, str]) -> Settings:
    with mock.patch.dict(os.environ, environment):
        return Settings.from_environment()


HOSTED = of({"EXPLORER_HOSTED": "1"})


@pytest.mark.parametrize("environment", [{}, {"EXPLORER_HOSTED": "0"}, {"EXPLORER_MODELS": " "}])
def test_nothing_is_limited_at_home(environment: dict[str, str]) -> None:
    home = of(environment)
    assert home == Settings()
    assert home.allows("any/thing")
    assert home.allows("/a/folder")
    assert home.offered == tuple(entry.name for entry in CATALOGUE)
    assert home.limits_in_words() == []
    assert home.shows_details
    home.check_prompt("word " * 1_000_000)
    home.check_tokens(1_000_000)
    home.check_cost(500.0, free=500.0)


def test_hosted_has_the_embedded_model_and_short_prompts() -> None:
    limits = {"models": ("demo",), "most_tokens": 2048, "most_gigabytes": 2.0, "run_seconds": 60.0}
    assert Settings(hosted=True, **limits) == HOSTED
    assert HOSTED.offered == ("demo",)
    assert not HOSTED.shows_details


def test_hosted_with_limits_of_its_own() -> None:
    listed = f"demo, {HUB_ID},demo"
    own = of(
        {
            "EXPLORER_HOSTED": "1",
            "EXPLORER_MODELS": listed,
            "EXPLORER_MAX_TOKENS": "64",
            "EXPLORER_MAX_GIGABYTES": "0.5",
            "EXPLORER_MAX_UPLOAD_KB": "512",
            "EXPLORER_RUNS_AT_ONCE": "2",
            "EXPLORER_WAITING_PLACES": "5",
            "EXPLORER_RUN_SECONDS": "1.5",
            "EXPLORER_MODELS_HELD": "1",
            "EXPLORER_CAPTURE_GIGABYTES": "0.25",
            "EXPLORER_DATABASE_URL": "postgresql://user:a-secret@host/name",
            "EXPLORER_CLASSES": "3",
            "EXPLORER_MAX_STUDENTS": "200",
            "EXPLORER_ANSWERS_PER_SECOND": "0.5",
            "EXPLORER_WRONG_CODES": "60",
        }
    )
    assert own == Settings(
        hosted=True,
        models=("demo", HUB_ID),
        most_tokens=64,
        most_gigabytes=0.5,
        most_upload_kilobytes=512,
        runs_at_once=2,
        waiting_places=5,
        run_seconds=1.5,
        models_held=1,
        capture_gigabytes=0.25,
        database_url="postgresql://user:a-secret@host/name",
        classes_at_once=3,
        most_students=200,
        answers_per_second=0.5,
        wrong_codes_per_minute=60,
    )
    assert "a-secret" not in repr(own)
    assert own.allows(HUB_ID)


def test_limits_without_hosting() -> None:
    assert of({"EXPLORER_MODELS": "demo"}).models == ("demo",)
    assert of({"EXPLORER_MAX_TOKENS": "64"}) == Settings(most_tokens=64)
    assert of({"EXPLORER_MAX_GIGABYTES": "6"}) == Settings(most_gigabytes=6.0)
    assert of({"EXPLORER_MAX_UPLOAD_KB": "1"}) == Settings(most_upload_kilobytes=1)


@pytest.mark.parametrize("copy", [Settings(), HOSTED])
def test_uploads_always_have_a_limit(copy: Settings) -> None:
    assert copy.most_upload_kilobytes == 1024


@pytest.mark.parametrize(
    "model",
    ["", "Demo", "demo ", "/etc", "~", ".", "./demo", "demo/", "C:\\demo", HUB_ID, "demo\0", "x" * 9999],
)
def test_nothing_but_the_listed_names_is_opened(model: str) -> None:
    assert not HOSTED.allows(model)
    refusal = HOSTED.refusal(model)
    assert model[:80] in refusal
    assert refusal.endswith("It opens only: demo.")
    assert len(refusal) < 200


def test_a_prompt_is_measured_before_and_after_it_is_tokenized() -> None:
    HOSTED.check_tokens(2048)
    with pytest.raises(ValueError, match=r"has 2,049 tokens\. This hosted copy takes at most 2,048\."):
        HOSTED.check_tokens(2049)
    HOSTED.check_prompt("x" * 2048 * CHARACTERS_PER_TOKEN)
    with pytest.raises(ValueError, match=r"has 32,769 characters\. This hosted copy takes at most 32,768\."):
        HOSTED.check_prompt("x" * (2048 * CHARACTERS_PER_TOKEN + 1))


def test_a_run_is_refused_above_the_limit_and_above_what_is_free() -> None:
    HOSTED.check_cost(2.0, free=2.0)
    with pytest.raises(ValueError, match="hosted") as caught:
        HOSTED.check_cost(9.1, free=5.0)
    assert str(caught.value) == (
        "This run would take about 9.1 GB of memory. This hosted copy allows 2 GB for one run. "
        "Shorten the text."
    )
    with pytest.raises(ValueError, match="free") as caught:
        Settings(most_gigabytes=1000.0).check_cost(9.1, free=5.0)
    assert str(caught.value) == (
        "This run would take about 9.1 GB of memory, and this computer has 5.0 GB free. "
        "Shorten the text, or close other programs."
    )


def test_a_server_does_not_tell_how_much_it_has_free() -> None:
    with pytest.raises(ValueError, match="less than that free") as caught:
        HOSTED.check_cost(1.5, free=0.7)
    assert str(caught.value) == (
        "This run would take about 1.5 GB of memory, and the server has less than that free. "
        "Shorten the text, or try again later."
    )


def test_what_is_barely_too_much_does_not_read_as_just_enough() -> None:
    with pytest.raises(ValueError, match=r"about 2\.1 GB of memory\. This hosted copy allows 2 GB "):
        HOSTED.check_cost(2.001, free=5.0)
    with pytest.raises(ValueError, match=r"about 1\.1 GB of memory, and this computer has 1\.0 GB free"):
        Settings().check_cost(1.06, free=1.059)
    with pytest.raises(ValueError, match=r"about 0\.6 GB of memory\. This copy allows 0\.55 GB "):
        Settings(most_gigabytes=0.55).check_cost(0.56, free=5.0)


def test_every_limit_is_told_with_its_reason() -> None:
    models, tokens, seconds, memory, errors = HOSTED.limits_in_words()
    assert models.startswith("This hosted copy opens only these models: demo, so that ")
    assert tokens.startswith("A prompt has at most 2,048 tokens, so that ")
    assert seconds == "A run is stopped after 60 s, so that the others have their turn."
    assert memory.startswith("A run takes at most 2 GB of memory, so that ")
    assert "so that" in errors
    assert Settings(most_gigabytes=0.5).limits_in_words() == [memory.replace("2 GB", "0.5 GB")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("EXPLORER_HOSTED", "yes"),
        ("EXPLORER_MODELS", "demo,,"),
        ("EXPLORER_MODELS", "/etc/models"),
        ("EXPLORER_MODELS", "../models"),
        ("EXPLORER_MODELS", "a/b/c"),
        ("EXPLORER_MODELS", "name-without-owner"),
        ("EXPLORER_MAX_TOKENS", "2,048"),
        ("EXPLORER_MAX_TOKENS", "0"),
        ("EXPLORER_MAX_TOKENS", "-1"),
        ("EXPLORER_MAX_TOKENS", "many"),
        ("EXPLORER_MAX_GIGABYTES", "0"),
        ("EXPLORER_MAX_GIGABYTES", "0.0"),
        ("EXPLORER_MAX_GIGABYTES", "-2"),
        ("EXPLORER_MAX_GIGABYTES", "0,5"),
        ("EXPLORER_MAX_GIGABYTES", "6 GB"),
        ("EXPLORER_MAX_GIGABYTES", "1e9"),
        ("EXPLORER_MAX_GIGABYTES", "inf"),
        ("EXPLORER_MAX_GIGABYTES", "nan"),
        ("EXPLORER_MAX_UPLOAD_KB", "0"),
        ("EXPLORER_MAX_UPLOAD_KB", "0.5"),
        ("EXPLORER_MAX_UPLOAD_KB", "1 MB"),
        ("EXPLORER_RUNS_AT_ONCE", "0"),
        ("EXPLORER_WAITING_PLACES", "few"),
        ("EXPLORER_RUN_SECONDS", "1 min"),
        ("EXPLORER_MODELS_HELD", "-2"),
        ("EXPLORER_CAPTURE_GIGABYTES", "all"),
        ("EXPLORER_CLASSES", "0"),
        ("EXPLORER_MAX_STUDENTS", "a class"),
        ("EXPLORER_ANSWERS_PER_SECOND", "0"),
        ("EXPLORER_WRONG_CODES", "none"),
    ],
)
def test_a_value_that_means_nothing_is_named_with_what_is_possible(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*(Set it to|It can list) "):
        of({name: value})


def test_all_wrong_values_are_named_and_nothing_else() -> None:
    with pytest.raises(ValueError, match="EXPLORER_HOSTED") as caught:
        of({"EXPLORER_HOSTED": "yes", "EXPLORER_RUN_SECONDS": "long"})
    assert str(caught.value) == (
        'EXPLORER_HOSTED is "yes". Set it to 1 (on) or 0 (off, the default). '
        'EXPLORER_RUN_SECONDS is "long". Set it to a number above 0, such as 6 or 0.5.'
    )


def test_a_run_is_told_why_it_was_stopped() -> None:
    HOSTED.check_seconds(59.9)
    Settings().check_seconds(1e6)
    with pytest.raises(
        ValueError, match=r"stopped after 60 s, the most that this hosted copy allows\. Shorten"
    ):
        HOSTED.check_seconds(60.1)


NONE = {"runs_at_once": "one for each device", "database_url": "a file"}
"""What it means that a variable is not set, where that is no limit."""


@pytest.mark.parametrize("field", VARIABLES)
def test_the_table_in_readme_has_every_variable_and_its_defaults(field: str) -> None:
    """Its columns: the variable, what it limits, the default, and the default where hosted."""
    rows = [line.strip("| ").split(" | ") for line in README.read_text("utf-8").splitlines()]
    row = next(row for row in rows if row[0].strip("` ") == VARIABLES[field])
    for told, copy in zip(row[2:], (Settings(), HOSTED), strict=True):
        value = getattr(copy, field)
        if field in NONE:
            assert told.strip() == NONE[field]
        elif isinstance(value, bool):
            assert told.strip() == str(int(value))
        elif value is None:
            assert told.strip() == "any"
        else:
            assert told.strip() == (f"`{','.join(value)}`" if isinstance(value, tuple) else f"{value:,g}")
