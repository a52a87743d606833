"""What the terms of all kinds of layers have in common."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class MixerTerms(Protocol):
    """The terms of one layer over texts, whatever the kind. `SSDTerms` and `SoftmaxTerms` implement it."""

    @property
    def kind(self) -> str:
        """Its name in `KINDS`."""

    @property
    def batch(self) -> int:
        """Number of texts."""

    @property
    def length(self) -> int:
        """Number of positions."""

    @property
    def heads(self) -> int:
        """Number of heads."""

    @property
    def heads_per_group(self) -> int:
        """Number of heads that share a group."""

    def lengthened(self, length: int) -> MixerTerms:
        """The terms with the text padded to `length` by tokens that write and read nothing."""
