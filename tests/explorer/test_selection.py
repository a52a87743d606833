from components.demo.presets import PRESETS
from explorer.selection import Selection, first_selection


def test_opens_with_the_first_preset() -> None:
    preset = PRESETS[0]
    assert first_selection("demo") == Selection(
        "demo", preset.prompt, preset.layer, preset.head, preset.query
    )


def test_each_change_keeps_the_rest() -> None:
    start = Selection("demo", "text", 1, 2, 3)
    assert start.with_head(0, 7) == Selection("demo", "text", 0, 7, 3)
    assert start.with_model("other") == Selection("other", "text", 1, 2, 3)
    assert start.with_prompt("new") == Selection("demo", "new", 1, 2, None)
