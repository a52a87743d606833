import pytest

from components.models import CATALOGUE
from explorer.settings import CHARACTERS_PER_TOKEN, Settings

HUB_ID = "AntonV/mamba2-130m-hf"
HOSTED = Settings.from_environment({"EXPLORER_HOSTED": "1"})


@pytest.mark.parametrize("environment", [{}, {"EXPLORER_HOSTED": "0"}, {"EXPLORER_MODELS": " "}])
def test_nothing_is_limited_at_home(environment: dict[str, str]) -> None:
    home = Settings.from_environment(environment)
    assert home == Settings()
    assert home.allows("any/thing")
    assert home.allows("/a/folder")
    assert home.offered == tuple(entry.name for entry in CATALOGUE)
    assert home.limits_in_words() == []
    assert home.shows_details
    home.check_prompt("word " * 1_000_000)
    home.check_tokens(1_000_000)


def test_hosted_has_the_embedded_model_and_short_prompts() -> None:
    assert Settings(hosted=True, models=("demo",), most_tokens=2048) == HOSTED
    assert HOSTED.offered == ("demo",)
    assert not HOSTED.shows_details


def test_hosted_with_limits_of_its_own() -> None:
    listed = f"demo, {HUB_ID},demo"
    own = Settings.from_environment(
        {"EXPLORER_HOSTED": "1", "EXPLORER_MODELS": listed, "EXPLORER_MAX_TOKENS": "64"}
    )
    assert own == Settings(hosted=True, models=("demo", HUB_ID), most_tokens=64)
    assert own.allows(HUB_ID)


def test_limits_without_hosting() -> None:
    assert Settings.from_environment({"EXPLORER_MODELS": "demo"}).models == ("demo",)
    assert Settings.from_environment({"EXPLORER_MAX_TOKENS": "64"}) == Settings(most_tokens=64)


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


def test_every_limit_is_told_with_its_reason() -> None:
    models, tokens, errors = HOSTED.limits_in_words()
    assert models.startswith("This hosted copy opens only these models: demo, so that ")
    assert tokens.startswith("A prompt has at most 2,048 tokens, so that ")
    assert "so that" in errors


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
    ],
)
def test_a_value_that_means_nothing_is_named_with_what_is_possible(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*Possible "):
        Settings.from_environment({name: value})
