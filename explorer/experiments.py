"""The menus of the page "Does it matter?" that keep an experiment as a file, and open one."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import accumulate
from typing import Any

import numpy as np
import streamlit as st
from streamlit.typing import UploadedFile

from components.bridge import READINGS
from components.ssd import KINDS, Head
from explorer import effects, exports
from explorer.costs import is_large
from explorer.drawing import plain
from explorer.edit_stack import MAX_EDITS
from explorer.effect_choices import CUTS, FIGURES, MUTING
from explorer.effect_of_memory import MEMORY_WIDTH
from explorer.effects import CutIn, Figure, Muting, Question
from explorer.exports.experiment import (
    Asked,
    Compared,
    EffectsOf,
    Experiment,
    Figures,
    LayerEffects,
    Likely,
    Look,
    Made,
    PickedHead,
    Results,
    StackedEdit,
    Together,
    row_of,
)
from explorer.exports.provenance import dtype_of, revision_of, versions_of_packages
from explorer.frame import pick
from explorer.jobs import Report, no_report
from explorer.models import bridge
from explorer.on_demand import worked
from explorer.question import name_of
from explorer.selection import Selection
from explorer.session import session
from explorer.settings import settings
from explorer.subject import BY_KEY, Subject
from explorer.uploads import content_of
from explorer.widgets import chosen, put

CHOICES: dict[str, Collection[str]] = {
    "muting": MUTING,
    "figure": FIGURES,
    "cut_in": CUTS,
    "measured_by": READINGS,
}
"""What can be chosen on the page, by the keys of its lists."""
EXPERIMENTS_HELD = 16


def open_menu() -> None:
    """A menu to open an experiment, and why the last one was not opened."""
    menu = st.popover(
        "Open an experiment", icon=":material/upload_file:", key="open_experiment", on_change="rerun"
    )
    if menu.open:
        with menu:
            st.file_uploader(
                "An experiment that Export on this page saved",
                max_upload_size=math.ceil(settings().most_upload_kilobytes / 1024),
                key="experiment",
                on_change=_take_file,
            )


def tell_unopened() -> None:
    """Show once why an experiment was not opened."""
    if session().upload_error:
        st.warning("This experiment was not opened. The page is as it was.", icon=":material/upload_file:")
        st.text(session().upload_error)
        session().upload_error = ""


def tell_reopened(shown: Shown) -> None:
    """If the page shows an opened experiment, say whether its figures are those of the document."""
    opened = session().reopened
    if opened is None or not opened.asks_the_same(shown.experiment()):
        return
    words = f"This is the experiment of {opened.made.date}."
    if opened.results is None:
        words += " Its document holds no figures to compare."
    elif shown.computed("compare", at_once=not shown.is_large):
        words += f" {exports.compare_results(opened, shown.experiment(with_results=True))}"
    st.caption(f":material/experiment: {plain(words)}")


def export_menu(shown: Shown) -> None:
    """The experiment as a document that opens the same page, and the program that prints its figures."""
    menu = st.popover("Export", icon=":material/download:", key="export_experiment", on_change="rerun")
    if not menu.open:
        return
    with menu:
        if not shown.computed("export", at_once=True):
            return
        experiment = shown.experiment(with_results=True)
        name = f"{exports.name_in_files(experiment.model)}-experiment"
        st.caption(
            "JSON saves what you chose here, edits that are switched off too, and the figures of the "
            'prediction, the heads, the tokens and the memory. "Open an experiment" opens it again. Python '
            "is a program that computes these figures and prints them."
        )
        with st.container(horizontal=True):
            st.download_button(
                "JSON",
                exports.experiment_json(experiment),
                file_name=f"{name}.json",
                mime="application/json",
                key="export_json",
                on_click="ignore",
            )
            st.download_button(
                "Python",
                exports.experiment_program(experiment),
                file_name=f"{name}.py",
                mime="text/x-python",
                key="export_program",
                on_click="ignore",
            )


@dataclass(frozen=True)
class Shown:
    """What the page shows."""

    question: Question
    selection: Selection
    tokens: Sequence[str]

    def experiment(self, *, with_results: bool = False) -> Experiment:
        """It, as an experiment."""
        model, head, view = bridge(self.question.subject.model), self.selection.head, self.selection.view
        edits = [StackedEdit.of(edit, on=True) for edit in self.selection.subject.edits]
        edits += [StackedEdit.of(edit, on=False) for edit in session().switched_off]
        return Experiment(
            made=Made(
                date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
                versions=versions_of_packages(),
                revision=revision_of(model),
                dtype=dtype_of(model),
                device=model.model.device.type,
            ),
            model=self.question.subject.model,
            prompt=self.question.subject.prompt,
            edits=tuple(edits),
            question=Asked(
                position=self.question.position,
                answer=self.question.target,
                compared_with=self.question.foil,
            ),
            head=PickedHead.of(head),
            choices={key: _chosen(key) for key in CHOICES},
            memory_window=chosen(MEMORY_WIDTH, int),
            look=Look(larger_type=view.large, logarithmic_colours=view.symlog),
            results=_results(*self._asked(), self.tokens) if with_results else None,
        )

    @property
    def is_large(self) -> bool:
        """Whether all figures take so long that the reader is asked first."""
        model, tokens = bridge(self.question.subject.model), self.question.position + 1
        return is_large(model.model.num_parameters(), tokens, 2 * (sum(model.heads.values()) + 2 * tokens))

    def computed(self, name: str, *, at_once: bool) -> bool:
        """Wait until all figures are computed, also those that the page has not asked for."""
        asked = self._asked()
        work = partial(_results, *asked, self.tokens)
        words = "Computing all figures of this page"
        return worked(("figures", *asked), work, words, at_once=at_once, button=name)

    def _asked(self) -> tuple[Subject, int, int, int, Subject, Head, Muting, CutIn, Figure]:
        """What the figures depend on, as `_results` takes it."""
        muting, cut_in, figure = (_chosen(key) for key in ("muting", "cut_in", "figure"))
        return (*self.question.parts, self.selection.subject, self.selection.head, muting, cut_in, figure)


@st.cache_resource(max_entries=EXPERIMENTS_HELD, show_spinner=False, hash_funcs=BY_KEY)
def _results(
    subject: Subject,
    position: int,
    target: int,
    foil: int,
    edited: Subject,
    head: Head,
    muting: Muting,
    cut_in: CutIn,
    figure: Figure,
    _tokens: Sequence[str],
    _report: Report = no_report,
) -> Results:
    """All figures: from the caches of `explorer.effects`, where the page has filled them."""
    asked, model = (subject, position, target, foil), bridge(subject.model)
    before, after = effects.prediction(subject, _report), effects.prediction(edited, _report)
    likely = dict.fromkeys([*before.likely(position), *after.likely(position)])
    muted = effects.head_effects(*asked, muting, None, _report=_report)
    starts = accumulate(model.heads.values(), initial=0)
    heads = effects.heads_of(subject.model)
    strongest = [heads[at] for at in effects.strongest(muted.of(figure)[0])]
    stack = tuple(effects.mute_edit(each, muting) for each in strongest)
    joint = row_of(effects.together(Question(*asked), stack))
    cut = effects.source_effects(*asked, *effects.cut_place(cut_in, head), _report=_report)
    return Results(
        tokens=tuple(_tokens),
        answer=name_of(subject.model, target),
        compared_with=name_of(subject.model, foil),
        before=Figures.of(before, position, target, foil),
        after=Figures.of(after, position, target, foil),
        most_probable=tuple(
            Likely.of(token, name_of(subject.model, token), position, before, after) for token in likely
        ),
        divergence=row_of(before.divergence(after)),
        sizes=row_of(after.sizes),
        heads=tuple(
            LayerEffects.of(place, muted, slice(start, start + count))
            for (place, count), start in zip(model.heads.items(), starts, strict=False)
        ),
        cut_tokens=EffectsOf.of(cut),
        picked_head=_compared(Question(*asked), head, figure, _report)
        if KINDS[head.place.kind].has_state
        else None,
        strongest_heads=Together(
            heads=tuple(map(PickedHead.of, strongest)), log_p=joint[0], difference=joint[1]
        ),
        memory=row_of(np.exp(effects.answer_by_memory(subject, position, target, _report=_report))),
    )


def _compared(question: Question, head: Head, figure: Figure, report: Report) -> Compared:
    readings = effects.readings(*question.parts, head, _report=report)
    cut = effects.source_effects(*question.parts, head.place, head.index, _report=report)
    correlations = effects.correlations(readings, cut.of(figure)[0])
    return Compared(
        readings={name: row_of(values) for name, values in readings.items()},
        effects=EffectsOf.of(cut),
        correlations=dict(zip(correlations, row_of(correlations.values()), strict=True)),
    )


def _chosen(key: str) -> Any:
    """What is chosen in a list of the page; the first where it is not shown."""
    given = chosen(key, str)
    return given if given in CHOICES[key] else next(iter(CHOICES[key]))


def _take_file() -> None:
    """Open the experiment in the uploaded file, or say why not."""
    file = chosen("experiment", UploadedFile)
    if file is None:
        return
    put("open_experiment", False)  # it would cover the page
    try:
        experiment = exports.experiment_of(file.name, content_of(file))
        _check(experiment)
    except ValueError as error:
        session().upload_error = str(error)
    else:
        _open(experiment)


def _check(experiment: Experiment) -> None:
    """Raise ValueError for what this copy does not allow, or this page does not have."""
    if not settings().allows(experiment.model):
        raise ValueError(settings().refusal(experiment.model))
    settings().check_prompt(experiment.prompt)
    if len(experiment.edits) > MAX_EDITS:
        raise ValueError(
            f"This experiment has {len(experiment.edits):,} edits. A run takes at most {MAX_EDITS}. "
            "Remove some."
        )
    if experiment.choices.keys() != CHOICES.keys():
        raise ValueError(
            f"The choices of this experiment are {_listed(experiment.choices)}. This page has "
            f"{_listed(CHOICES)}. Export the experiment again."
        )
    for key, value in experiment.choices.items():
        if value not in CHOICES[key]:
            raise ValueError(
                f'This experiment\'s "{key}" is "{value[:80]}". Possible are {_listed(CHOICES[key])}. '
                "Export the experiment again, or correct the file."
            )


def _open(experiment: Experiment) -> None:
    """Show the page of an experiment."""
    state, asked = session(), experiment.question
    selection = Selection(
        Subject(experiment.model, experiment.prompt, experiment.stack(on=True)),
        experiment.picked,
        query=asked.position,
        view=state.selection.view,
        target=asked.answer,
        foil=asked.compared_with,
    )
    look = experiment.look
    pick(selection.with_view(large=look.larger_type, symlog=look.logarithmic_colours))
    state.switched_off = list(experiment.stack(on=False))
    state.reopened = experiment
    for key, value in experiment.choices.items():
        put(key, value)
    if experiment.memory_window is not None:
        put(MEMORY_WIDTH, experiment.memory_window)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name[:80]}"' for name in names) or "none"
