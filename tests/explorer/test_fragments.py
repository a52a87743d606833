"""A callback that lets other parts of the page be drawn than the one that was clicked in."""

from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.errors import StreamlitAPIException

from explorer import fragments


@pytest.mark.parametrize(
    ("running", "keys", "known", "asked"),
    [
        ([], ("one", "two"), True, []),  # the whole page is drawn, and they with it
        (["id"], ("one", "two"), True, [["one", "two"]]),
        (["id"], (), True, ["app"]),
        (["id"], ("gone",), False, [["gone"], "app"]),
    ],
)
def test_fragments_are_drawn_or_the_whole_page(
    running: list[str],
    keys: tuple[str, ...],
    known: bool,
    asked: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found: list[Any] = []

    def rerun(scope: Any = "app") -> None:
        found.append(scope)
        if scope != "app" and not known:
            raise StreamlitAPIException("No fragment found")

    monkeypatch.setattr(fragments.st, "rerun", rerun)
    context = SimpleNamespace(fragment_ids_this_run=running)
    monkeypatch.setattr(fragments, "get_script_run_ctx", lambda: context)
    fragments.redraw(*keys)
    assert found == asked
