"""What is picked, in one small record: the same record, the same picture."""

from dataclasses import dataclass, replace

from components.demo.presets import PRESETS, Preset


@dataclass(frozen=True)
class Selection:
    """The model, the prompt, the head, and the query position whose row is marked (None: the last)."""

    model: str
    prompt: str
    layer: int
    head: int
    query: int | None = None

    def with_model(self, model: str) -> "Selection":
        """The same prompt and head in another model."""
        return replace(self, model=model)

    def with_preset(self, preset: Preset) -> "Selection":
        """The preset's prompt and where to look in it, with the same model."""
        return replace(self, prompt=preset.prompt, layer=preset.layer, head=preset.head, query=preset.query)

    def with_prompt(self, prompt: str) -> "Selection":
        """Another prompt, seen through the same head; the marked query belongs to the old text."""
        return replace(self, prompt=prompt, query=None)

    def with_head(self, layer: int, head: int) -> "Selection":
        """Another head on the same text."""
        return replace(self, layer=layer, head=head)


def first_selection(model: str) -> Selection:
    """What the page opens with: the first preset."""
    return Selection(model, "", 0, 0).with_preset(PRESETS[0])
