"""The other prompts of the presets: as long, and with another answer."""

from components.bridge import part_at
from components.demo import PRESETS
from components.models import load_bridge


def test_other_prompts_are_as_long_and_have_another_answer() -> None:
    bridge = load_bridge("demo")
    for preset in PRESETS:
        one, other = bridge.to_tokens(preset.prompt), bridge.to_tokens(preset.other)
        assert one.shape == other.shape
        assert part_at(one, other) is not None
        answers = [bridge.run_with_hooks(ids)[0, -1].argmax() for ids in (one, other)]
        assert answers[0] != answers[1], preset.name
