"""The program that computes a matrix again."""

from __future__ import annotations

import json
from functools import partial

from components.charts import MAX_TILES
from components.ssd import KINDS
from explorer.captures import PIECE_TOKENS
from explorer.exports.provenance import Provenance, edits_code


def snippet(provenance: Provenance) -> str:
    """A Python program that computes the matrix again, with the package's public names only."""
    how = {"revision": provenance.revision, "dtype": provenance.dtype}
    given = "".join(f", {name}={value!r}" for name, value in how.items() if value)
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
    classes = sorted({(type(edit).__module__, type(edit).__name__) for edit in subject.edits})
    imports = "".join(f"from {module} import {name}\n" for module, name in classes)
    edits, hooks = "", ""
    if subject.edits:
        edits = f"edits = {edits_code(subject)}\n"
        hooks = "\n    fwd_hooks=[hook for edit in edits for hook in edit.hooks()],"
    return f"""\
{notes}{of_bridge}from components.models import load_bridge
from components.ssd import {function}
{imports}
bridge = load_bridge({subject.model!r}{given})
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
