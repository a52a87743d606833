"""What the bridges of all kinds of heads have in common; each kind of layer has one such bridge."""

from __future__ import annotations

from typing import ClassVar, NamedTuple

from components.bridge.generalized_component import GeneralizedComponent


class BytesPerToken(NamedTuple):
    """Memory that one layer's heads of one kind take, for each token of a text."""

    projected: int
    """What a run keeps, from which the terms follow, in the model's dtype."""
    given: int
    """What the layer was given, if it has to run again for the rest of its terms."""
    terms: int
    """The terms, as they stand ready for pictures."""
    scratch: int
    """What reading them takes for the moment."""
    continued: int
    """What a continuation keeps, from which all terms follow, x too."""
    all_terms: int
    """What reading those takes for the moment."""


class HeadsBridge(GeneralizedComponent):
    """Wraps a layer with heads of one kind."""

    kind: ClassVar[str]
    """Their name in `components.ssd.KINDS`."""

    @property
    def heads(self) -> int:
        """How many."""
        raise NotImplementedError

    def bytes_per_token(self, itemsize: int) -> BytesPerToken:
        """Memory for a model whose numbers have so many bytes."""
        raise NotImplementedError
