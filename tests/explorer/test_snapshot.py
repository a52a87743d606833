"""The page that needs no server: what stands in it, and the command that writes it."""

import base64
import gzip
import html
import json
import re
from collections.abc import Iterator
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from PIL import Image

from components.charts import (
    MAX_TILES,
    Window,
    decay_curves_chart,
    head_cells,
    head_in_words,
    head_map_chart,
    panels_chart,
    survival_table,
)
from components.demo.presets import PRESETS
from components.ssd import KINDS, MEASURES, Head, Place
from explorer import captures, launch, models, snapshot_command
from explorer.exports import Snapshot, take_snapshot
from explorer.selection import Selection, first_selection
from explorer.subject import Subject
from tests.explorer.conftest import ROOT, saved
from tests.explorer.test_exports import HOSTILE, run
from tests.families import FAMILY_CASES

PRESET = PRESETS[0]


@pytest.fixture(autouse=True)
def embedded() -> None:
    """Here "demo" is the embedded model itself."""


@pytest.fixture(scope="module", autouse=True)
def caches() -> Iterator[None]:
    """Begin and end without what other files have cached."""
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """What the command writes for the first preset."""
    out = tmp_path_factory.mktemp("snapshot") / "page.html"
    snapshot_command.run(["--prompt", PRESET.prompt, "--out", str(out)])
    return out.read_bytes()


def taken(selection: Selection, **options: Any) -> Snapshot:
    capture = captures.capture(selection.subject)
    terms_of = partial(captures.terms_of, capture)
    return take_snapshot(models.bridge(selection.subject.model), capture, selection, terms_of, **options)


class Unpacked:
    """What a page holds, read as its script reads it."""

    def __init__(self, page: bytes) -> None:
        packed = re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', page.decode())
        self.pieces = {name: gzip.decompress(base64.b64decode(text)).decode() for name, text in packed}
        self.page = json.loads(self.pieces["page"])
        self.shared = list(map(column, json.loads(self.pieces["shared"])["columns"]))
        self.layers = {
            int(name.removeprefix("layer-")): json.loads(text)
            for name, text in self.pieces.items()
            if name.startswith("layer-")
        }

    def head(self, head: Head) -> dict[str, Any]:
        found: dict[str, Any] = self.layers[head.place.layer]["heads"][head.place.kind][head.index]
        return found

    def columns(self, layer: int) -> list[Any]:
        return [*self.shared, *map(column, self.layers[layer]["columns"])]

    def tables(self, head: Head, chart: str) -> dict[str, dict[str, Any]]:
        columns = self.columns(head.place.layer)
        tables = self.head(head)[chart]
        return {name: {key: columns[at] for key, at in table.items()} for name, table in tables.items()}

    def map_tables(self) -> dict[str, dict[str, Any]]:
        columns = list(map(column, self.page["columns"]))
        tables = self.page["mapTables"]
        return {name: {key: columns[at] for key, at in table.items()} for name, table in tables.items()}

    def words(self, head: Head) -> list[str]:
        words: list[str] = self.columns(head.place.layer)[self.head(head)["words"]]
        return words

    def program(self, head: Head) -> str:
        lines, own = self.page["kinds"][head.place.kind]["program"], self.head(head)["program"]
        return "\n".join(own.get(str(number), line) for number, line in enumerate(lines))


def column(found: Any) -> Any:
    if isinstance(found, list):
        return found
    ((dtype, text),) = found.items()
    return np.frombuffer(base64.b64decode(text), dtype=np.dtype(dtype).newbyteorder("<"))


def same_tables(found: dict[str, dict[str, Any]], expected: Any) -> None:
    assert set(found) == set(expected)
    for name, table in expected.items():
        assert set(found[name]) == set(table)
        for key in found[name]:
            np.testing.assert_array_equal(np.asarray(found[name][key]), np.asarray(table[key]), strict=False)


def all_heads(capture: captures.Capture) -> list[Head]:
    return [Head(place, index) for place, count in capture.heads.items() for index in range(count)]


def check_numbers(unpacked: Unpacked, capture: captures.Capture) -> None:
    """Every head's matrices, bit for bit."""
    rows, columns = np.tril_indices(capture.length)
    for head in all_heads(capture):
        terms, kind = captures.terms_of(capture, head.place), KINDS[head.place.kind]
        cells = unpacked.tables(head, "panels")["cells"]
        assert set(cells) == {factor.name for factor in kind.factors}
        for factor in kind.factors:
            whole = factor.full(terms, heads=[head.index])[0, 0].cpu().numpy()
            assert cells[factor.name].dtype == np.float32
            np.testing.assert_array_equal(cells[factor.name], whole[rows, columns])


# What stands in it


def test_every_number_of_every_head_is_exact_and_the_page_is_small(written: bytes) -> None:
    assert len(written) <= 2_000_000
    capture = captures.capture(Subject("demo", PRESET.prompt))
    assert len(all_heads(capture)) == 32
    check_numbers(Unpacked(written), capture)


def test_charts_and_tables_are_those_of_the_app(written: bytes) -> None:
    unpacked = Unpacked(written)
    capture = captures.capture(Subject("demo", PRESET.prompt))
    preset = Head(Place(PRESET.layer), PRESET.head)
    for head in (preset, Head(Place(0), 7)):
        terms, half_life = captures.terms_of(capture, head.place), capture.measured[head]["half_life"]
        cells = head_cells(terms, head.index, capture.tokens)
        last = capture.length - 1
        panels = panels_chart(
            cells, pointed=(last, cells.most_read(last)), with_bars=True, with_brushes=False
        )
        same_tables(unpacked.tables(head, "panels"), panels.data)
        decay = decay_curves_chart(survival_table(terms), head.index, float(half_life))
        same_tables(unpacked.tables(head, "decay"), decay.data)
        expected = [head_in_words(cells, head, float(half_life), query) for query in range(capture.length)]
        assert unpacked.words(head) == expected
    heads = head_map_chart(capture.measures, next(iter(MEASURES.values())), preset)
    same_tables(unpacked.map_tables(), heads.data)
    for found, figure in (
        (unpacked.page["kinds"]["mamba2"]["panels"], panels),
        (unpacked.page["decay"], decay),
        (unpacked.page["map"], heads),
    ):
        assert {**found, "width": 0, "config": 0} == {**figure.chart, "width": 0, "config": 0}
    assert unpacked.page["start"] == {"layer": 2, "kind": "mamba2", "head": 2, "query": PRESET.query}
    assert unpacked.head(preset)["lookFor"] == PRESET.look_for
    assert unpacked.head(Head(Place(2), 3))["lookFor"] == ""


def test_the_panels_have_no_brush(written: bytes) -> None:
    panels = json.dumps(Unpacked(written).page["kinds"]["mamba2"]["panels"])
    assert "dragged" not in panels
    assert "crosshair" not in panels


def test_the_page_says_what_made_it(written: bytes) -> None:
    text = re.sub(r"<script.*?</script>", "", written.decode(), flags=re.DOTALL)
    for part in (
        PRESET.prompt,
        "Model: demo, weights in float32.",
        "30 tokens",
        "torch ",
        "mamba2-explorer ",
    ):
        assert part in html.unescape(text)
    unpacked = Unpacked(written)
    head = Head(Place(1), 4)
    terms = captures.terms_of(captures.capture(Subject("demo", PRESET.prompt)), head.place)
    expected = KINDS["mamba2"].attention.full(terms, heads=[4])[0, 0].cpu().numpy()
    np.testing.assert_array_equal(run(unpacked.program(head)), expected)


def test_hybrids_have_heads_of_both_kinds(tmp_path: Path) -> None:
    case = next(case for case in FAMILY_CASES if case.family == "falcon_h1")
    prompt = "Mia has the key. Leo has the map."
    model = str(saved(case.build(), tmp_path))
    made = taken(first_selection(model).with_prompt(prompt))
    capture, unpacked = captures.capture(Subject(model, prompt)), Unpacked(made.page)
    assert {place.kind for place in capture.places} == set(unpacked.page["kinds"]) == {"mamba2", "softmax"}
    check_numbers(unpacked, capture)
    softmax = Head(Place(case.attentions[0], "softmax"), 1)
    assert "decay" not in unpacked.head(softmax)
    assert unpacked.words(softmax)[-1].startswith(f"In layer {softmax.place.layer}, softmax head 1, ")
    assert "softmax_attention" in unpacked.program(softmax)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_prompt_stays_text(name: str) -> None:
    prompt = HOSTILE[name]
    page = taken(first_selection("demo").with_prompt(prompt), layers=[0]).page.decode()
    unpacked = Unpacked(page.encode())
    outside = re.sub(r'<script type="text/plain" id="[\w-]+">[A-Za-z0-9+/=]*</script>', "", page)
    assert outside.count("<script") == outside.count("</script") == 1
    assert "default-src 'none'" in outside
    (title,) = re.findall(r"<title>(.*)</title>", outside)
    assert "<" not in title
    assert html.unescape(title) == " ".join(prompt.split())
    assert outside.count("<b") == 2  # the page's own: body, and the row
    tokens = captures.capture(Subject("demo", prompt)).tokens
    assert list(unpacked.tables(Head(Place(0), 0), "panels")["keys"]["text"]) == tokens


def test_a_long_text_is_shown_as_tiles() -> None:
    selection = first_selection("demo").with_prompt("Mia has the key. " * 30).with_view(rms=True)
    made = taken(selection, layers=[3])
    unpacked, head = Unpacked(made.page), Head(Place(3), 7)
    tables = unpacked.tables(head, "panels")
    assert len(tables["keys"]["i"]) == len(unpacked.words(head)) == MAX_TILES
    assert tables["scene"]["statistic"] == ["RMS"]
    assert "RMS" in unpacked.words(head)[-1]
    assert "root mean square" in unpacked.page["kinds"]["mamba2"]["howToRead"]
    assert re.search(r"<title>.{290,301}…</title>", made.page.decode())


def test_the_view_is_that_of_the_selection() -> None:
    selection = first_selection("demo").with_prompt("Mia has").with_view(reading="attention_dt", symlog=True)
    selection = selection.with_head(Head(Place(1), 3))
    unpacked = Unpacked(taken(selection, layers=[1]).page)
    capture = captures.capture(selection.subject)
    cells = head_cells(captures.terms_of(capture, Place(1)), 3, capture.tokens, Window.whole(capture.length))
    tables = unpacked.tables(selection.head, "panels")
    np.testing.assert_array_equal(tables["cells"]["attention"], cells.cells["attention_dt"])
    assert tables["scene"]["logarithmic"] == [True]
    assert unpacked.page["start"]["layer"] == 1
    assert "include_dt_scaling=True" in unpacked.program(selection.head)


# What is left out


def test_only_the_layers_asked_for() -> None:
    selection = first_selection("demo").with_prompt("Mia has")
    made = taken(selection, layers=[0, 3])
    assert made.left_out == "Layers 1–2 are left out, as asked."
    unpacked = Unpacked(made.page)
    assert sorted(unpacked.layers) == [0, 3]
    assert unpacked.page["start"]["layer"] == 3  # the nearest to the preset's
    assert unpacked.map_tables()["crossed"]["layer"] == [1] * 8 + [2] * 8
    assert made.left_out in made.page.decode()
    with pytest.raises(ValueError, match=r"no heads in layer 7\. It has them in layers 0–3\.$"):
        taken(selection, layers=[0, 7])


def test_a_full_page_keeps_the_picked_layer_and_then_the_first_ones() -> None:
    selection = first_selection("demo").with_prompt(PRESET.prompt)
    sizes = {layers: len(taken(selection, layers=layers).page) for layers in ((0, 2), (0, 1, 2))}
    most = sizes[0, 1, 2] - 10_000
    made = taken(selection, most_megabytes=most / 1e6)
    assert sizes[0, 2] < len(made.page) <= most
    assert sorted(Unpacked(made.page).layers) == [0, 2]
    assert made.left_out == f"Layers 1 and 3 are left out to keep the page below {most / 1e6:g} MB."
    made = taken(selection, layers=[0, 1, 2], most_megabytes=most / 1e6)
    assert made.left_out == (
        f"Layer 3 is left out, as asked. Layer 1 is left out to keep the page below {most / 1e6:g} MB."
    )
    with pytest.raises(ValueError, match=r"^With one layer alone the page has 0\.. MB, more than 0\.3 MB"):
        taken(selection, most_megabytes=0.3)


# The command


def test_the_command_writes_a_text_file_and_tells_what_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, out = tmp_path / "text.txt", tmp_path / "page.html"
    text.write_text("Mia has\nthe key.")
    arguments = ["snapshot", "--prompt-file", str(text), "--layers", "0,2-3", "--out", str(out)]
    monkeypatch.setattr("sys.argv", ["mamba2-explorer", *arguments])
    launch.main()
    assert "Layer 1 is left out, as asked." in capsys.readouterr().out
    assert '<h1 dir="auto">Mia has the key.</h1>' in out.read_text()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", ""], "prompt"),
        (["--prompt", "Mia", "--model", "no-such/../model"], "no-such/../model"),
        (["--prompt", "Mia", "--layers", "0,x"], '--layers has "x".'),
        (["--prompt", "Mia", "--layers", "4"], "no heads in layer 4."),
        (["--prompt", "Mia", "--most-megabytes", "0.1"], "more than 0.1 MB"),
        (["--prompt", "Mia", "--out", "no-such-folder/page.html"], 'There is no folder "no-such-folder"'),
        (["--prompt-file", "no-such-file.txt"], "no-such-file.txt"),
        (["--prompt-file", "page.pdf"], "page.pdf"),
    ],
)
def test_errors_are_sentences(
    arguments: list[str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.pdf").write_bytes(b"%PDF")
    with pytest.raises(SystemExit) as ended:
        snapshot_command.run(["--out", "page.html", *arguments])
    assert isinstance(ended.value.code, str)  # Python prints it, and the exit status is 1
    assert ended.value.code.startswith("mamba2-explorer snapshot: ")
    assert words in ended.value.code
    assert not (tmp_path / "page.html").exists()


# The one in the docs


def test_the_page_in_the_docs_is_what_the_command_makes(written: bytes) -> None:
    """But for versions, and for what another processor rounds differently."""
    ours, docs = Unpacked(written), Unpacked((ROOT / "docs" / "snapshot.html").read_bytes())
    assert ours.page.keys() == docs.page.keys()
    columns = {"columns": 0}
    assert {**ours.page, **columns} == {**docs.page, **columns}
    assert list(ours.layers) == list(docs.layers)
    close(ours.map_tables(), docs.map_tables())
    for head in all_heads(captures.capture(Subject("demo", PRESET.prompt))):
        assert ours.words(head) == docs.words(head)
        assert ours.program(head) == docs.program(head)
        for chart in ("panels", "decay"):
            close(ours.tables(head, chart), docs.tables(head, chart))
    style = re.compile(rb"<style>.*?</style>|<script type=\"module\">.*?</script>", re.DOTALL)
    assert style.findall(written) == style.findall((ROOT / "docs" / "snapshot.html").read_bytes())


def close(ours: dict[str, dict[str, Any]], docs: dict[str, dict[str, Any]]) -> None:
    assert {name: set(table) for name, table in ours.items()} == {
        name: set(table) for name, table in docs.items()
    }
    for name, table in ours.items():
        for key, values in table.items():
            if isinstance(values, np.ndarray):
                np.testing.assert_allclose(values, docs[name][key], rtol=1e-3, atol=1e-5)
            elif name == "pictures" and key != "panel":
                for one, other in zip(values, docs[name][key], strict=True):
                    np.testing.assert_allclose(pixels(one), pixels(other), atol=8)
            else:
                assert values == docs[name][key], (name, key)


def pixels(address: str) -> np.ndarray:
    picture = Image.open(BytesIO(base64.b64decode(address.partition(",")[2]))).convert("RGBA")
    return np.asarray(picture, dtype=np.int16)
