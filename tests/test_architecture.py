"""The layer rules, read from the import statements."""

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_follow_the_arrow() -> None:
    """The contracts stand in pyproject.toml, under [tool.importlinter]."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_session_state_is_read_in_two_files() -> None:
    """`session` has what is kept, with types; `widgets` has what a browser sent, which nobody trusts."""
    files = (ROOT / "explorer").rglob("*.py")
    readers = {file.name for file in files if "session_state" in file.read_text("utf-8")}
    assert readers == {"session.py", "widgets.py"}
