"""One layer in two runs: its attention in both, and the difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from components.ssd.mixer_terms import MixerTerms


@dataclass(frozen=True, eq=False)
class ComparedTerms:
    """The terms of one layer in two runs of as many tokens, to show as the attention of a layer.

    Raises ValueError if the two are not of one kind and shape.
    """

    kind: ClassVar[str] = "compared"

    first: MixerTerms
    second: MixerTerms

    def __post_init__(self) -> None:
        one, other = ((each.kind, each.batch, each.length, each.heads) for each in (self.first, self.second))
        if one != other:
            raise ValueError(
                f"These layers cannot be compared: {one} and {other} are kind, texts, tokens, heads."
            )

    @property
    def batch(self) -> int:
        """Number of texts."""
        return self.first.batch

    @property
    def length(self) -> int:
        """Number of positions."""
        return self.first.length

    @property
    def heads(self) -> int:
        """Number of heads."""
        return self.first.heads

    @property
    def heads_per_group(self) -> int:
        """One: an edit may change one head of a group alone."""
        return 1

    def lengthened(self, length: int) -> ComparedTerms:
        """Both with the text padded to `length` by tokens that write and read nothing."""
        return ComparedTerms(self.first.lengthened(length), self.second.lengthened(length))
