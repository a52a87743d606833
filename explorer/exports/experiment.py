"""An experiment of the page "Does it matter?" as one JSON document: what was asked, and what came out.

A document comes from anywhere. It is read as the fields below and nothing else, and none of its texts is
shown as markup.
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from components.ssd import Edit, Head, HeadEdit, Mute, Place, edit_of

if TYPE_CHECKING:
    from components.bridge import Effects, Prediction

FORMAT: Final = "mamba2-explorer experiment"
VERSION: Final = 1
ROUNDING = 1e-5
"""Up to this part of the largest, figures differ by rounding alone."""
_LONGEST = 80
"""Characters of a value that a sentence repeats."""


def _known_edit(words: str) -> str:
    if edit_of(words) is None:
        raise ValueError("which names no edit of this version")
    return words


def _known_kind(kind: str) -> str:
    if kind not in Mute.kinds:
        raise ValueError(f"which is no kind of heads; these are: {', '.join(Mute.kinds)}")
    return kind


Index = Annotated[int, Field(ge=0, lt=10**9)]
Name = Annotated[str, Field(max_length=1_000)]
Kind = Annotated[str, AfterValidator(_known_kind)]
Number = float | None
"""Null where there is none."""
# A list ends at its first fault: a hostile one holds a hundred thousand.
Row = Annotated[tuple[Number, ...], Field(fail_fast=True)]


class _Record(BaseModel):
    """Fields of their types alone. Each is given, but those of later versions."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class Made(_Record):
    """Where the results come from."""

    date: Name
    """When they were exported, in UTC."""
    versions: Annotated[dict[Name, Name], Field(max_length=20)]
    revision: Name | None
    """Commit of a hub model."""
    dtype: Name
    device: Name

    def differences(self, now: Made) -> list[str]:
        """What is another now, in words."""
        then_of, now_of = ({**each.versions, **each._of_model()} for each in (self, now))
        return [
            f"{name} was {_short(then_of.get(name, 'not told'))} and is {now_of[name]}"
            for name in now_of
            if then_of.get(name) != now_of[name]
        ]

    def _of_model(self) -> dict[str, str]:
        revision = self.revision or "none"
        return {"the model's revision": revision, "the dtype": self.dtype, "the device": self.device}


class StackedEdit(_Record):
    """An edit of the list, in the order of the page."""

    edit: Annotated[Name, AfterValidator(_known_edit)]
    """As in links."""
    on: bool
    meaning: Name
    """For the reader of the document."""

    @staticmethod
    def of(edit: Edit, on: bool) -> StackedEdit:
        """An edit, switched on or off."""
        return StackedEdit(
            edit=edit.words, on=on, meaning=edit.sentence if isinstance(edit, HeadEdit) else ""
        )


class Asked(_Record):
    """Which prediction is asked about; tokens by their ids."""

    position: Index
    answer: Index
    compared_with: Index


class PickedHead(_Record):
    """A head, by its layer and kind, and its number among those."""

    layer: Index
    kind: Kind
    head: Index

    @staticmethod
    def of(head: Head) -> PickedHead:
        """Its place and its number there."""
        return PickedHead(layer=head.place.layer, kind=head.place.kind, head=head.index)


class Look(_Record):
    """How charts are drawn."""

    larger_type: bool
    logarithmic_colours: bool


class Figures(_Record):
    """Of the answer, in one run."""

    probability: Number
    logit_difference: Number
    rank: Index

    @staticmethod
    def of(run: Prediction, position: int, target: int, foil: int) -> Figures:
        """Those after a position of a run."""
        return Figures(
            probability=number_of(run.probability(position, target)),
            logit_difference=number_of(run.difference(position, target, foil)),
            rank=run.rank(position, target),
        )


class Likely(_Record):
    """One of the most probable tokens, before the edits and after them."""

    token: Index
    text: Name
    probability_before: Number
    probability_after: Number
    rank_before: Index
    rank_after: Index

    @staticmethod
    def of(token: int, text: str, position: int, before: Prediction, after: Prediction) -> Likely:
        """A token after a position, in two runs."""
        return Likely(
            token=token,
            text=text,
            probability_before=number_of(before.probability(position, token)),
            probability_after=number_of(after.probability(position, token)),
            rank_before=before.rank(position, token),
            rank_after=after.rank(position, token),
        )


class EffectsOf(_Record):
    """What the answer loses by each of several edits, and by random changes of the same size."""

    log_p: Row
    difference: Row
    random_log_p: Row
    random_difference: Row

    @staticmethod
    def of(effects: Effects) -> EffectsOf:
        """All of them."""
        return EffectsOf(**_columns(effects, slice(None)))


class LayerEffects(_Record):
    """Of muting each of a layer's heads of one kind, from head 0 on."""

    layer: Index
    kind: Kind
    effects: EffectsOf

    @staticmethod
    def of(place: Place, effects: Effects, heads: slice) -> LayerEffects:
        """Those of some of the edits."""
        return LayerEffects(layer=place.layer, kind=place.kind, effects=EffectsOf(**_columns(effects, heads)))


class Compared(_Record):
    """How the picked head reads each token, against what cutting it there does."""

    readings: Annotated[dict[Name, Row], Field(max_length=20)]
    effects: EffectsOf
    correlations: Annotated[dict[Name, Number], Field(max_length=20)]


class Together(_Record):
    """What the answer loses when several heads are muted at once."""

    heads: Annotated[tuple[PickedHead, ...], Field(fail_fast=True)]
    log_p: Number
    difference: Number


class Results(_Record):
    """What the page shows. Rows of figures go along the tokens."""

    tokens: Annotated[tuple[Name, ...], Field(fail_fast=True)]
    answer: Name
    compared_with: Name
    before: Figures
    after: Figures
    most_probable: Annotated[tuple[Likely, ...], Field(fail_fast=True)]
    divergence: Row
    sizes: Row
    """Of the edits that are on."""
    heads: Annotated[tuple[LayerEffects, ...], Field(fail_fast=True)]
    cut_tokens: EffectsOf
    picked_head: Compared | None
    """None for a kind of heads that is not compared."""
    strongest_heads: Together | None = None
    memory: Row | None = None
    """The probability of the answer with a memory of 0, 1, … tokens.

    Documents from before these two were kept have neither.
    """

    def parts(self) -> dict[str, list[Number]]:
        """All figures but those of the most probable tokens, by what they are of."""
        both, cut, picked = (self.before, self.after), self.cut_tokens, self.picked_head
        heads = [each.effects for each in self.heads]
        found: dict[str, list[Number]] = {
            "the probability of the answer": [each.probability for each in both],
            "the logit difference": [each.logit_difference for each in both],
            "the rank of the answer": [float(each.rank) for each in both],
            "the divergence": [*self.divergence],
            "the sizes of the edits": [*self.sizes],
            "the effects of heads": _joined((each.log_p, each.difference) for each in heads),
            "the random changes of heads": _joined(
                (each.random_log_p, each.random_difference) for each in heads
            ),
            "the effects of tokens": [*cut.log_p, *cut.difference],
            "the random changes of tokens": [*cut.random_log_p, *cut.random_difference],
        }
        if picked is not None:
            effects = picked.effects
            found["the effects of tokens in the picked head"] = [*effects.log_p, *effects.difference]
            found |= {f"the {name} of the picked head": [*row] for name, row in picked.readings.items()}
            found["the rank correlations"] = [*picked.correlations.values()]
        if (joint := self.strongest_heads) is not None:
            found["the effect of the strongest heads together"] = [joint.log_p, joint.difference]
        if self.memory is not None:
            found["the probabilities by memory"] = [*self.memory]
        return found


class Experiment(_Record):
    """All that opens the same page again, and what it showed."""

    format: Literal["mamba2-explorer experiment"] = FORMAT
    version: int = VERSION
    made: Made
    model: Name
    prompt: str
    edits: Annotated[tuple[StackedEdit, ...], Field(fail_fast=True)]
    question: Asked
    head: PickedHead
    choices: Annotated[dict[Name, Name], Field(max_length=20)]
    """What is chosen in each list of the page, by its name."""
    memory_window: Annotated[int, Field(ge=0)] | None
    """The window picked on the curve of memory, in tokens; null where that curve was not drawn."""
    look: Look
    results: Results | None

    def stack(self, *, on: bool) -> tuple[Edit, ...]:
        """The edits that are switched on, or off."""
        found = [edit_of(each.edit) for each in self.edits if each.on == on]
        return tuple(edit for edit in found if edit is not None)

    @property
    def picked(self) -> Head:
        """The picked head."""
        return Head(Place(self.head.layer, self.head.kind), self.head.head)

    def asks_the_same(self, other: Experiment) -> bool:
        """Whether both have the same page, whatever came out."""
        one, another = ((each.stack(on=True), each.stack(on=False)) for each in (self, other))
        fields = {"model", "prompt", "question", "head", "choices", "memory_window"}
        return one == another and self.model_dump(include=fields) == other.model_dump(include=fields)


class _Header(BaseModel):
    """What tells an experiment from other documents, and its version."""

    model_config = ConfigDict(strict=True)

    format: Any = None
    version: Any = None


def number_of(value: Any) -> Number:
    """A figure in single precision, with the digits that determine it; None if it is not finite."""
    number = np.float32(value)
    return float(str(number)) if np.isfinite(number) else None


def row_of(values: Iterable[Any]) -> tuple[Number, ...]:
    """Figures in single precision, as `number_of`."""
    return tuple(map(number_of, values))


def experiment_json(experiment: Experiment) -> bytes:
    """The document, in UTF-8: a line for each field, and one for each row of figures."""
    return f"{_text(experiment.model_dump(), '')}\n".encode()


def experiment_of(name: str, content: bytes) -> Experiment:
    """The experiment in a file.

    Raises ValueError, with a sentence, for what is no experiment, or one of another version.
    """
    content, file = content.removeprefix(BOM_UTF8), f'"{_short(name)}"'
    try:
        header = _Header.model_validate_json(content)
        if header.format != FORMAT:
            raise ValueError(
                f"{file} is no experiment of this page. Choose a JSON file that Export on this page saved."
            )
        if type(header.version) is not int or header.version != VERSION:
            raise ValueError(
                f"{file} is an experiment of version {_shown(header.version)}. This page reads version "
                f"{VERSION}. Open it with the Mamba-2 Explorer that saved it, or with a newer one."
            )
        return Experiment.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(
            f"{file} cannot be read: {_fault(error)}. Save the experiment again, or correct the file."
        ) from None


def compare_results(then: Experiment, now: Experiment) -> str:
    """Say whether two computations of an experiment agree: their largest difference, and what was other."""
    assert then.results is not None
    assert now.results is not None
    words = _difference(then.results, now.results)
    if others := then.made.differences(now.made):
        words += f" {_capitalized('; '.join(others))}."
    return words


def _difference(then: Results, now: Results) -> str:
    if then.tokens != now.tokens:
        return "The text has other tokens now than in the document, so the figures are not compared."
    if then.memory is None:  # a document from before these were kept
        now = now.model_copy(update={"strongest_heads": None, "memory": None})
    one, other = then.parts(), now.parts()
    likely, others = ([each.token for each in results.most_probable] for results in (then, now))
    if likely == others:
        for parts, results in ((one, then), (other, now)):
            parts["the probabilities of the most probable tokens"] = _joined(
                [(each.probability_before, each.probability_after)] for each in results.most_probable
            )
    if {name: len(row) for name, row in one.items()} != {name: len(row) for name, row in other.items()}:
        return "The document is of other heads, edits or measures, so the figures are not compared."
    pairs = {name: list(zip(row, other[name], strict=True)) for name, row in one.items()}
    if any((a is None) != (b is None) for each in pairs.values() for a, b in each):
        return "Some figures are no finite numbers in the document, or now, and in the other they are."
    apart = {name: _largest(a - b for a, b in _numbers(each)) for name, each in pairs.items()}
    most = max(apart, key=lambda name: apart[name])
    if likely != others:
        words = "Other tokens are the most probable now, or in another order."
    elif apart[most] == 0:
        return "The figures are those in the document, to the last digit."
    elif all(apart[name] <= ROUNDING * _scale(pairs[name]) for name in pairs):
        words = "The figures are those in the document, up to rounding."
    else:
        words = "The figures are not those in the document."
    return f"{words} The largest difference is {apart[most]:.2g}, in {most}."


def _numbers(pairs: Iterable[tuple[Number, Number]]) -> list[tuple[float, float]]:
    return [(a, b) for a, b in pairs if a is not None and b is not None]


def _scale(pairs: Iterable[tuple[Number, Number]]) -> float:
    """What rounding is measured by."""
    return max(1.0, _largest(a for a, _ in _numbers(pairs)))


def _largest(numbers: Iterable[float]) -> float:
    return max(map(abs, numbers), default=0.0)


def _columns(effects: Effects, part: slice) -> dict[str, tuple[Number, ...]]:
    return {
        "log_p": row_of(effects.log_p[part]),
        "difference": row_of(effects.difference[part]),
        "random_log_p": row_of(effects.control_log_p[part]),
        "random_difference": row_of(effects.control_difference[part]),
    }


def _joined(rows: Iterable[Iterable[Sequence[Number]]]) -> list[Number]:
    return [number for several in rows for row in several for number in row]


def _fault(error: ValidationError) -> str:
    """The first fault, in words."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = f'"{_short(".".join(map(str, first["loc"])))}"'
    match first["type"]:
        case "json_invalid":
            return f"it is not JSON ({first['msg'].removeprefix('Invalid JSON: ')})"
        case "missing":
            return f"its {where} is missing"
        case "extra_forbidden":
            return f"its {where} is nothing that an experiment has"
        case "value_error":
            return f"its {where} is {_shown(first['input'])}, {first['msg'].removeprefix('Value error, ')}"
    if not first["loc"]:
        return "it holds no fields"
    return f"its {where} is {_shown(first['input'])}. {first['msg']}"


def _short(text: str) -> str:
    """A text of a document, for a sentence."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _shown(value: object) -> str:
    """A value of a document, for a sentence."""
    return _short(json.dumps(value, ensure_ascii=False, default=str))


def _capitalized(words: str) -> str:
    return words[:1].upper() + words[1:]


def _text(value: Any, indent: str) -> str:
    """JSON with a line for each field and each record; a list of plain values is one line."""
    inner = f"{indent}  "
    if isinstance(value, Mapping):
        fields = [
            f"{inner}{json.dumps(name, ensure_ascii=False)}: {_text(each, inner)}"
            for name, each in value.items()
        ]
        return "{\n" + ",\n".join(fields) + f"\n{indent}}}" if fields else "{}"
    if isinstance(value, list | tuple) and any(isinstance(each, Mapping) for each in value):
        return "[\n" + ",\n".join(f"{inner}{_text(each, inner)}" for each in value) + f"\n{indent}]"
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
