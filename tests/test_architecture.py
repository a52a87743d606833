"""The layer rules, read from the import statements."""

import re
from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[1]


def test_imports_follow_the_arrow() -> None:
    """The contracts stand in pyproject.toml, under [tool.importlinter]."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), no_cache=True) == 0


def test_session_state_is_read_in_two_files() -> None:
    """`session` keeps what a session has, with types; `widgets` has what a browser sent, trusted by nobody."""
    files = (ROOT / "explorer").rglob("*.py")
    readers = {file.name for file in files if re.search(r"session_state", file.read_text("utf-8"))}
    assert readers == {"session.py", "widgets.py"}
