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
    home.check_cost(500.0, free=500.0)


def test_hosted_has_the_embedded_model_and_short_prompts() -> None:
    assert Settings(hosted=True, models=("demo",), most_tokens=2048, most_gigabytes=2.0) == HOSTED
    assert HOSTED.offered == ("demo",)
    assert not HOSTED.shows_details


def test_hosted_with_limits_of_its_own() -> None:
    listed = f"demo, {HUB_ID},demo"
    own = Settings.from_environment(
        {
            "EXPLORER_HOSTED": "1",
            "EXPLORER_MODELS": listed,
            "EXPLORER_MAX_TOKENS": "64",
            "EXPLORER_MAX_GIGABYTES": "0.5",
            "EXPLORER_MAX_UPLOAD_KB": "512",
        }
    )
    assert own == Settings(
        hosted=True,
        models=("demo", HUB_ID),
        most_tokens=64,
        most_gigabytes=0.5,
        most_upload_kilobytes=512,
    )
    assert own.allows(HUB_ID)


def test_limits_without_hosting() -> None:
    assert Settings.from_environment({"EXPLORER_MODELS": "demo"}).models == ("demo",)
    assert Settings.from_environment({"EXPLORER_MAX_TOKENS": "64"}) == Settings(most_tokens=64)
    assert Settings.from_environment({"EXPLORER_MAX_GIGABYTES": "6"}) == Settings(most_gigabytes=6.0)
    assert Settings.from_environment({"EXPLORER_MAX_UPLOAD_KB": "1"}) == Settings(most_upload_kilobytes=1)


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
    models, tokens, memory, errors = HOSTED.limits_in_words()
    assert models.startswith("This hosted copy opens only these models: demo, so that ")
    assert tokens.startswith("A prompt has at most 2,048 tokens, so that ")
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
    ],
)
def test_a_value_that_means_nothing_is_named_with_what_is_possible(name: str, value: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name} .*(Set it to|It can list) "):
        Settings.from_environment({name: value})
