"""What README promises runs as it is written."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_notebook_snippet_runs() -> None:
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    assert names["M"].shape == (1, 8, len(names["tokens"]), len(names["tokens"]))
    assert names["ids"].shape[1] > 2


def test_files_that_readme_names_exist() -> None:
    for name in re.findall(r"\]\(([\w./-]+)\)|(?<=-m )benchmarks\.(\w+)|run (explorer/[\w.]+)", README):
        link, benchmark, script = name
        path = link or script or f"benchmarks/{benchmark}.py"
        assert (ROOT / path).is_file(), path
