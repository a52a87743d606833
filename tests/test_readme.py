"""What README promises runs as it is written."""

import re
from pathlib import Path

from components.bridge.families import SUPPORTED

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_notebook_snippet_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["M"].shape == (1, 8, len(names["tokens"]), len(names["tokens"]))
    assert names["ids"].shape[1] > 2
    assert names["exact"].recovered.max() > 0.5


def test_files_that_readme_names_exist() -> None:
    for name in re.findall(r"\]\(([\w./-]+)\)|(?<=-m )benchmarks\.(\w+)|run (explorer/[\w.]+)", README):
        link, benchmark, script = name
        path = link or script or f"benchmarks/{benchmark}.py"
        assert (ROOT / path).is_file(), path


def test_the_table_of_families_has_every_family_and_no_failure() -> None:
    _, table, _ = README.split("<!-- families -->")
    rows = [line.strip("| ").split("|") for line in table.splitlines() if line.startswith("| `")]
    assert [row[0].strip(" `") for row in rows] == list(SUPPORTED)
    for _, *cells in rows:
        assert len(cells) == 7
        for cell in cells:
            assert re.fullmatch(r"exact|\de-\d+|✓ \d+", cell.strip()), cell
