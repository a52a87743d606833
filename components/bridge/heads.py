"""The base class of the bridges of layers with heads, one for each kind."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from components.bridge.generalized_component import GeneralizedComponent


class BytesPerToken(NamedTuple):
    """Memory that one layer's heads of one kind take per token of a text."""

    projected: int
    """What a run keeps to compute the terms from, in the model's dtype."""
    given: int
    """The layer's input, if it has to run again for the rest of its terms."""
    terms: int
    """The terms that pictures need."""
    scratch: int
    """Temporary memory to read them."""
    continued: int
    """What a continuation keeps to compute all terms from, x too."""
    all_terms: int
    """Temporary memory to read all terms."""


class HeadsBridge(GeneralizedComponent):
    """Wraps a layer with heads of one kind."""

    kind: ClassVar[str]
    """Their name in `components.ssd.KINDS`."""

    @property
    def heads(self) -> int:
        """Number of heads."""
        raise NotImplementedError

    def bytes_per_token(self, itemsize: int) -> BytesPerToken:
        """Memory for a model with `itemsize` bytes per number."""
        raise NotImplementedError
