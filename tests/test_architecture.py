"""The layer rules, read from the import statements."""

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_follow_the_arrow() -> None:
    """The contracts stand in pyproject.toml, under [tool.importlinter]."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0
