import ast
import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from components.bridge import ModelBridge
from components.charts import (
    Figure,
    Window,
    decay_curves_chart,
    head_cells,
    panels_chart,
    survival_table,
    visible_tokens,
)
from components.demo import MODEL_FOLDER
from components.demo.presets import PRESETS
from components.models import load_bridge
from components.ssd import Head, Place, SSDTerms, Statistic, effective_attention, pooled_attention
from explorer.exports import (
    PIXELS_PER_UNIT,
    WIDTH,
    Provenance,
    file_name,
    matrix_csv,
    matrix_npz,
    picture_html,
    picture_png,
    picture_svg,
    provenance_of,
    snippet,
)
from explorer.subject import Subject

ROOT = Path(__file__).parents[2]
HOSTILE = {
    "markup": '<b>bold</b> & "quoted" </script><script>alert(1)</script> <!-- {{braces}} -->',
    "control": "bell\x07 escape\x1b nul\x00 delete\x7f tab\t end",
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u202egnp.exe\u202c \u0645\u0631\u062d\u0628\u0627",
    "emoji": "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 flag \U0001f1e9\U0001f1ea",
    "newline": "one\ntwo\r\nthree\u2028four\x85five",
    "formula": '=HYPERLINK("http://x")\n,=1+1;=2+2\t@SUM(A1) +1 -1 "=3+3',
    "quotes": "'''\"\"\"\\ \\n {prompt} #comment",
}


@pytest.fixture(autouse=True)
def embedded() -> None:
    """Here "demo" is the embedded model itself."""


@pytest.fixture(scope="module")
def bridge() -> ModelBridge:
    return load_bridge("demo", device="cpu")


class Example:
    """One head of one prompt: the matrix, its provenance and its chart."""

    def __init__(
        self,
        bridge: ModelBridge,
        prompt: str,
        *,
        window: Window | None = None,
        reading: str = "",
        statistic: Statistic = "mean",
    ) -> None:
        layer, head = PRESETS[0].layer, PRESETS[0].head
        self.terms: SSDTerms = bridge.run_with_cache(prompt)[1].ssd_terms(layer)
        self.tokens = visible_tokens(bridge.to_str_tokens(prompt))
        self.cells = head_cells(self.terms, head, self.tokens, window, statistic=statistic, reading=reading)
        self.matrix = self.cells.matrix(self.cells.values)
        self.provenance = provenance_of(bridge, Subject("demo", prompt), Head(Place(layer), head), self.cells)

    def chart(self) -> Figure:
        return panels_chart(self.cells, pointed=(self.cells.window.queries[-1], self.cells.window.keys[0]))


@pytest.fixture(scope="module")
def example(bridge: ModelBridge) -> Example:
    return Example(bridge, PRESETS[0].prompt)


@pytest.fixture(scope="module", params=HOSTILE)
def hostile(request: pytest.FixtureRequest, bridge: ModelBridge) -> Example:
    return Example(bridge, HOSTILE[request.param])


def read_csv(file: bytes) -> pd.DataFrame:
    return pd.read_csv(BytesIO(file), comment="#", index_col=0)


def run(program: str, name: str = "attention") -> Any:
    names: dict[str, Any] = {}
    exec(program, names)
    return names[name]


def svg_texts(svg: bytes) -> list[str]:
    return ["".join(text.itertext()) for text in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


# Pictures


def test_svg_is_the_picture_without_the_cells_that_only_feel(example: Example) -> None:
    svg = picture_svg(example.chart())
    root = ET.fromstring(svg)
    assert root.get("width") == str(WIDTH)
    texts = svg_texts(svg)
    assert {"query i", "key j", "Leo", "·kitchen"} <= set(texts)
    assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 3
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) < 300  # of 3 · 465 cells, none


@pytest.mark.parametrize("dark", [False, True])
def test_png_has_its_size_its_background_and_its_colours(example: Example, dark: bool) -> None:
    image = Image.open(BytesIO(picture_png(example.chart(), dark)))
    assert image.width == WIDTH * PIXELS_PER_UNIT
    pixels = np.asarray(image.convert("RGB")).astype(int)
    assert tuple(pixels[1, 1]) == ((0x12, 0x15, 0x1C) if dark else (255, 255, 255))
    coloured = np.ptp(pixels, axis=-1) > 60
    for third in np.array_split(coloured, 3, axis=1):
        assert third.mean() > 0.01


def test_pictures_of_more_rows_than_altair_allows(bridge: ModelBridge) -> None:
    example = Example(bridge, " ".join(preset.prompt for preset in PRESETS))
    assert len(example.tokens) * (len(example.tokens) + 1) / 2 > 5000
    assert len(picture_svg(example.chart())) < 1_000_000
    assert b"vegaEmbed" in picture_html(example.chart(), "long")


def test_pictures_of_charts_with_a_table_per_layer(example: Example) -> None:
    texts = svg_texts(picture_svg(decay_curves_chart(survival_table(example.terms), 2, 5.0)))
    assert "survival L" in [" ".join(text.split()) for text in texts]


def test_another_session_that_draws_meanwhile_changes_nothing(example: Example) -> None:
    """Streamlit puts a transformer of its own in place while it draws; another thread would meet it."""
    alt.data_transformers.register("elsewhere", lambda data: {"name": "elsewhere"})
    expected = picture_html(example.chart(), "same")
    with alt.data_transformers.enable("elsewhere"), ThreadPoolExecutor(1) as thread:
        assert thread.submit(picture_html, example.chart(), "same").result() == expected


def test_the_figure_itself_stays_as_it_was(example: Example) -> None:
    figure = example.chart()
    before = json.dumps(figure.chart)
    picture_svg(figure)
    picture_html(figure, "title")
    assert json.dumps(figure.chart) == before


def test_hostile_prompts_in_pictures(hostile: Example) -> None:
    svg = picture_svg(hostile.chart())
    texts = "".join(svg_texts(svg))
    assert sum(token in texts for token in hostile.tokens) > 0
    assert b"<script" not in svg
    page = picture_html(hostile.chart(), hostile.provenance.subject.prompt).decode()
    assert page.count("<script>") == page.count("</script>") == 2
    assert "<b>" not in page
    specification = re.search(r'^vegaEmbed\("#chart", (\{.*\}), \{actions: .*\}\);$', page, re.MULTILINE)
    assert specification
    assert set(specification[1]) <= set(map(chr, range(0x20, 0x7F))) - {"<"}
    positions = json.loads(specification[1])["datasets"]["keys"]
    assert [position["text"] for position in positions] == hostile.tokens


def test_a_title_that_is_no_unicode_text(example: Example) -> None:
    assert "<title>broken ?</title>" in picture_html(example.chart(), "broken \ud83d").decode()


# Matrix


LONG = " ".join(preset.prompt for preset in PRESETS) * 2
CASES: dict[str, dict[str, Any]] = {
    "a text": {"prompt": PRESETS[1].prompt},
    "a window": {"prompt": LONG, "window": Window(range(100, 180), range(20, 50)), "reading": "attention_dt"},
    "tiles": {"prompt": LONG, "statistic": "rms"},
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_npz_is_the_engines_matrix(bridge: ModelBridge, case: dict[str, Any]) -> None:
    example = Example(bridge, **case)
    window, cells = example.cells.window, example.cells
    if not window.pooled:
        engine = effective_attention(
            example.terms,
            heads=[PRESETS[0].head],
            queries=slice(window.queries.start, window.queries.stop),
            keys=slice(window.keys.start, window.keys.stop),
            include_dt_scaling=cells.shown.with_dt,
        )
    else:
        engine = pooled_attention(example.terms, heads=[PRESETS[0].head], statistic="rms")
    with np.load(BytesIO(matrix_npz(example.matrix, example.provenance)), allow_pickle=False) as file:
        matrix = file[str(file["reading"])]
        assert matrix.dtype == np.float32
        np.testing.assert_array_equal(matrix, engine[0, 0].numpy())
        for name, tiles in (("queries", cells.queries), ("keys", cells.keys)):
            np.testing.assert_array_equal(file[name], tiles["start"])
        assert file["query_texts"].tolist() == cells.queries["text"].tolist()
        assert file["key_texts"].tolist() == cells.keys["text"].tolist()
        assert str(file["statistic"]) == ("rms" if window.pooled else "")
        assert str(file["prompt"]) == case["prompt"]
        assert (str(file["model"]), str(file["revision"]), str(file["dtype"])) == ("demo", "", "float32")
        assert str(file["reading"]) == case.get("reading", "attention")
        assert (int(file["layer"]), int(file["head"])) == (2, 2)
        assert set(json.loads(str(file["versions"]))) == {
            "mamba2-explorer",
            "torch",
            "transformers",
            "altair",
        }


def test_csv_of_a_window_names_its_tiles(bridge: ModelBridge) -> None:
    example = Example(bridge, **CASES["tiles"])
    file = matrix_csv(example.matrix, example.provenance)
    table = read_csv(file)
    np.testing.assert_array_equal(table.to_numpy(dtype=np.float32), example.matrix)
    second = example.cells.queries.iloc[1]
    assert table.index[1] == f"query {second['start']}-{second['stop'] - 1} {second['text']}"
    facts = dict(re.findall(r"^# ([^:]+): (.*)$", file.decode("utf-8-sig"), re.MULTILINE))
    assert json.loads(facts["queries"]) == f"0-{example.terms.length - 1}"
    assert json.loads(facts["statistic"]) == "rms"


def test_csv_gives_the_matrix_back_exactly(example: Example) -> None:
    table = read_csv(matrix_csv(example.matrix, example.provenance))
    np.testing.assert_array_equal(table.to_numpy(dtype=np.float32), example.matrix)
    assert table.index[10] == "query 10 ·kitchen"
    assert table.columns[10] == "key 10 ·kitchen"


def test_csv_of_awkward_numbers_is_exact(example: Example) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, (30, 30), dtype=np.uint32)
    matrix = np.where(np.isfinite(bits.view(np.float32)), bits.view(np.float32), np.float32(0.1))
    back = read_csv(matrix_csv(matrix, example.provenance)).to_numpy(dtype=np.float32)
    np.testing.assert_array_equal(back, matrix)


def test_matrices_keep_hostile_prompts(hostile: Example) -> None:
    file = matrix_csv(hostile.matrix, hostile.provenance)
    table = read_csv(file)
    np.testing.assert_array_equal(table.to_numpy(dtype=np.float32), hostile.matrix)
    assert list(table.index) == [f"query {i} {token}" for i, token in enumerate(hostile.tokens)]
    facts = dict(re.findall(r"^# ([^:]+): (.*)$", file.decode("utf-8-sig"), re.MULTILINE))
    assert json.loads(facts["prompt"]) == hostile.provenance.subject.prompt
    assert json.loads(facts["revision"]) is None
    with np.load(BytesIO(matrix_npz(hostile.matrix, hostile.provenance)), allow_pickle=False) as archive:
        assert archive["key_texts"].tolist() == hostile.tokens
        assert str(archive["prompt"]) == hostile.provenance.subject.prompt


def test_no_cell_of_the_csv_is_a_formula(hostile: Example) -> None:
    """Whichever sign a spreadsheet cuts cells at; quotes are those of RFC 4180."""
    lines = matrix_csv(hostile.matrix, hostile.provenance).decode("utf-8-sig").splitlines()
    for delimiters in (",", ";", "\t", ",;\t"):
        cell = re.compile(rf'(?:^|[{delimiters}])\s*"?([^\d.{delimiters}\s"])')
        for line in lines:
            whole = re.sub(r'"(?:[^"]|"")*"', '"q"', line) if not line.startswith("#") else line
            assert set(cell.findall(whole)) <= set("#q-ei")
            assert not re.search(rf"[{delimiters}]-[^\d.]", whole)


def test_a_matrix_of_another_window_is_refused(example: Example) -> None:
    wrong = replace(example.provenance, window=Window(range(5, 30), range(30)))
    for export in (matrix_csv, matrix_npz):
        with pytest.raises(ValueError, match="30 × 30, but the window has 25 × 30 cells"):
            export(example.matrix, wrong)


# Provenance and program


def test_a_hub_model_is_named_with_its_commit(tmp_path: Path, example: Example) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = shutil.copytree(MODEL_FOLDER, tmp_path / "models--a--b" / "snapshots" / commit)
    provenance = provenance_of(load_bridge(folder), Subject("a/b", "x"), Head(Place(0), 0), example.cells)
    assert provenance.revision == commit
    assert f"load_bridge('a/b', revision='{commit}', dtype='float32')" in snippet(provenance)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_program_makes_the_matrix(bridge: ModelBridge, case: dict[str, Any]) -> None:
    example = Example(bridge, **case)
    name = example.provenance.shown.name
    np.testing.assert_array_equal(run(snippet(example.provenance), name), example.matrix)


def test_the_program_makes_the_matrix_of_a_hostile_prompt(hostile: Example) -> None:
    np.testing.assert_array_equal(run(snippet(hostile.provenance)), hostile.matrix)


def test_the_program_runs_as_it_stands(example: Example) -> None:
    out = subprocess.run(
        [sys.executable, "-c", snippet(example.provenance)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert out.returncode == 0, out.stderr
    assert out.stdout == "(30, 30)\n"


@pytest.mark.parametrize("prompt", [*HOSTILE.values(), "half \ud83d of a pair"])
def test_every_prompt_survives_as_a_literal(prompt: str, example: Example) -> None:
    program = snippet(replace(example.provenance, subject=Subject("demo", prompt)))
    lines = [line for line in program.splitlines() if line.startswith("prompt = ")]
    assert [ast.literal_eval(line.removeprefix("prompt = ")) for line in lines] == [prompt]
    program.encode()


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("demo", "mamba2-demo-layer2-head5.svg"),
        ("AntonV/mamba2-130m-hf", "mamba2-130m-hf-layer2-head5.svg"),
        ("../../etc/", "mamba2-etc-layer2-head5.svg"),
        ('C:\\models\\my "best": model?', "mamba2-my-best-model-layer2-head5.svg"),
        ("..", "mamba2-model-layer2-head5.svg"),
        ("x" * 300, f"mamba2-{'x' * 60}-layer2-head5.svg"),
    ],
)
def test_file_names_are_safe(model: str, expected: str) -> None:
    provenance = Provenance(
        Subject(model, "a"), None, "float32", Head(Place(2), 5), Window.whole(1), ["a"], ["a"]
    )
    assert file_name(provenance, "svg") == file_name(provenance, ".svg") == expected


def test_file_names_tell_dt() -> None:
    provenance = Provenance(
        Subject("demo", "a"),
        None,
        "float32",
        Head(Place(0), 1),
        Window.whole(1),
        ["a"],
        ["a"],
        reading="attention_dt",
    )
    assert file_name(provenance, "npz") == "mamba2-demo-layer0-head1-attention-dt.npz"
