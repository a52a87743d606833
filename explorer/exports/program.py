"""The programs that compute a matrix, or an experiment, again: with the package's public names only."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import partial

import components.ssd
from components.charts import MAX_TILES
from components.ssd import KINDS, Edit, Head
from explorer.captures import PIECE_TOKENS
from explorer.effects import STRONGEST
from explorer.exports.experiment import Experiment
from explorer.exports.provenance import Provenance, edits_code


def snippet(provenance: Provenance) -> str:
    """A Python program that computes the matrix again."""
    subject, place, index = provenance.subject, provenance.head.place, provenance.head.index
    kind, shown, is_pooled = KINDS[place.kind], provenance.shown, provenance.window.pooled
    call = partial(shown.pooled if is_pooled else shown.full)
    function = call.func.__name__
    names = json.dumps([f"blocks.{place.layer}.{hook}" for hook in kind.hooks])
    terms = f"cache.{kind.terms.format(layer=place.layer)}"
    of_bridge = ""
    if shown.needs != "terms":
        of_bridge = "from components.bridge import contribution_inputs_of, contribution_terms\n"
        names = f"contribution_inputs_of({place.layer})"
        tokens = f", {provenance.target}, {provenance.foil}" if shown.needs == "direction" else ""
        terms = f"contribution_terms(bridge, cache, {place.layer}{tokens})"
    options = "".join(f"\n    {name}={value!r}," for name, value in call.keywords.items())
    if is_pooled:
        options = f"\n    tiles={MAX_TILES},\n    statistic={provenance.statistic!r},{options}"
    ranges = {name: f"slice({each.start}, {each.stop})" for name, each in provenance.ranges.items()}
    notes = "".join(f"# {' '.join(note.split())}\n" for note in provenance.notes)
    loading = _loading(subject.model, provenance.revision, provenance.dtype)
    edits, hooks = "", ""
    if subject.edits:
        edits = f"edits = {edits_code(subject)}\n"
        hooks = "\n    fwd_hooks=[hook for edit in edits for hook in edit.hooks()],"
    return f"""\
{notes}{of_bridge}from components.models import load_bridge
from components.ssd import {function}
{_imports(subject.edits)}
{loading}
prompt = {subject.prompt!r}
names = {names}
{edits}logits, cache = bridge.run_with_cache(
    prompt,
    names_filter=names,{hooks}
    piece_tokens={PIECE_TOKENS},
    logits_to_keep=1,
)
{shown.name} = {function}(
    {terms},
    heads=[{index}],
    queries={ranges["queries"]},  # positions in the prompt
    keys={ranges["keys"]},{options}
)[0, 0].cpu().numpy()
print({shown.name}.shape)
"""


def experiment_program(experiment: Experiment) -> str:
    """A Python program that prints the figures of an experiment."""
    made, edits, head = experiment.made, experiment.stack(on=True), experiment.picked
    parts = [_prediction(experiment), _changes(experiment), _memory()]
    if KINDS[head.place.kind].has_state:
        parts.append(_reading(head, experiment.choices["figure"]))
    body = "\n".join(parts)
    of_bridge = ("cut_each", "effects_of", "mute_each", "predict", "rank_correlation", "readings", "sweep")
    of_ssd = ("KeepLast", "Place")
    versions = ", ".join(f"{package} {number}" for package, number in made.versions.items())
    return f"""\
# The figures of "Does it matter?" in Mamba-2 Explorer, computed again.
# The page showed them on {made.date}, computed by {made.device} with {versions}.
import numpy as np
{"import torch" if "torch." in body else ""}
from components.bridge import {", ".join(name for name in of_bridge if f"{name}(" in body)}
from components.models import load_bridge
from components.ssd import {", ".join(name for name in of_ssd if f"{name}(" in body)}
{_imports(edits)}
{_loading(experiment.model, made.revision, made.dtype)}
{body}"""


def _prediction(experiment: Experiment) -> str:
    asked, edits = experiment.question, ", ".join(edit.code for edit in experiment.stack(on=True))
    return f"""\
ids = bridge.to_tokens({experiment.prompt!r})
position, target, foil = {asked.position}, {asked.answer}, {asked.compared_with}
beginning = ids[:, : position + 1]  # no later token changes the prediction there
edits = [{edits}]

before, after = predict(bridge, ids), predict(bridge, ids, edits)
for name, run in (("before", before), ("after", after)):
    print(f"probability of the answer, {{name}}:", run.probability(position, target))
    print(f"logit difference, {{name}}:", run.difference(position, target, foil))
    print(f"rank of the answer, {{name}}:", run.rank(position, target))
print("\\nToken: probability before, after, rank before, after")
for token in dict.fromkeys([*before.likely(position), *after.likely(position)]):
    figures = [run.probability(position, token) for run in (before, after)]
    figures += [run.rank(position, token) for run in (before, after)]
    print(f"{{token}}:", *figures)
print("\\nEdit: how much it changed its tensors, as a part of them")
for edit, size in zip(edits, after.sizes):
    print(f"{{edit.words}}:", size)
print("\\nPosition: KL(before || after) in nats")
for at, nats in enumerate(before.divergence(after)):
    print(f"{{at}}:", nats)
"""


def _changes(experiment: Experiment) -> str:
    place, index = experiment.picked.place, experiment.picked.index
    where = {"model": "", "layer": f", {place!r}", "head": f", {place!r}, {index}"}
    return f"""\
# What the answer loses by each change alone, and by a random change of the same size

heads = mute_each(bridge, {experiment.choices["muting"]!r})
effects = effects_of(bridge, beginning, list(heads.values()), target, foil)
print("\\nMuted head: log p, logit difference, random log p, random logit difference")
for head, figures in zip(heads, effects.rows()):
    print(f"{{head}}:", *figures)
strongest = np.argsort(-effects.of({experiment.choices["figure"]!r})[0], kind="stable")[:{STRONGEST}]
together = [edit for edit in (list(heads.values())[at] for at in strongest) if edit is not None]
lost = (before.log_p - predict(bridge, ids, together).log_p)[position]
print("\\nMuted together: log p, logit difference")
print(f"{{[edit.words for edit in together]}}:", lost[target], lost[target] - lost[foil])
cuts = cut_each(position + 1{where[experiment.choices["cut_in"]]})
effects = effects_of(bridge, beginning, cuts, target, foil)
print("\\nCut token: log p, logit difference, random log p, random logit difference")
for at, figures in enumerate(effects.rows()):
    print(f"{{at}}:", *figures)
"""


def _memory() -> str:
    return """\
windows = [KeepLast(width=width) for width in range(position + 2)]
log_p = sweep(bridge, beginning, windows, lambda logits: logits.log_softmax(dim=-1)[:, target])
print("\\nMemory, in tokens: probability of the answer")
for width, probability in enumerate(log_p.exp().cpu().numpy()):
    print(f"{width}:", probability)
"""


def _reading(head: Head, figure: str) -> str:
    return f"""\
# How {head} reads each token, against what cutting it there does

cuts = cut_each(position + 1, {head.place!r}, {head.index})
effects = effects_of(bridge, beginning, cuts, target, foil)
read = readings(bridge, beginning, {head.place.layer}, {head.index}, target, foil)
print("\\nMeasure: rank correlation of sizes with the effect of cuts in the picked head")
for name, values in read.items():
    print(f"{{name}}:", rank_correlation(values.cpu(), torch.from_numpy(effects.of({figure!r})[0])))
print("\\nToken in the picked head: the effects as above,", ", ".join(read))
for at, figures in enumerate(effects.rows()):
    print(f"{{at}}:", *figures, *(values[at].cpu().numpy() for values in read.values()))
"""


def _loading(model: str, revision: str | None, dtype: str) -> str:
    how = {"revision": revision, "dtype": dtype}
    given = "".join(f", {name}={value!r}" for name, value in how.items() if value)
    return f"bridge = load_bridge({model!r}{given})"


def _imports(edits: Iterable[Edit]) -> str:
    """The classes of edits, ours from the package that is public."""
    public = components.ssd.__name__
    modules = {type(edit): type(edit).__module__ for edit in edits}
    classes = sorted(
        (public if module.startswith(f"{public}.") else module, of.__name__) for of, module in modules.items()
    )
    return "".join(f"from {module} import {name}\n" for module, name in classes)
