"""What a model's name stands for: a folder on this machine or a repository on the Hugging Face Hub."""

import difflib
from pathlib import Path

from components.demo import MODEL_FOLDER
from components.models.catalogue import CATALOGUE, DEMO
from components.models.errors import ModelLoadError


def find_source(name: str) -> Path | str:
    """Return the folder that `name` stands for, or the id of a hub repository.

    A folder that exists wins over a repository of the same name, as in transformers. Nothing is
    read and no network is used, so a repository need not exist. Raises ModelLoadError for a name
    that stands for no folder and cannot be an id.
    """
    if not name:
        raise ModelLoadError(
            f'No model was named. Give "{DEMO}" for the embedded model, a hub id such as '
            f'"{CATALOGUE[1].name}", or the path of a folder.'
        )
    if name == DEMO:
        return MODEL_FOLDER
    path = _as_path(name)
    if path is not None and path.is_dir():
        return path
    if path is not None and path.is_file():
        raise ModelLoadError(f'"{name}" is a file. Give the folder that holds it and its config.json.')
    if _looks_like_path(name):
        raise ModelLoadError(
            f'There is no folder "{name}". Check the spelling, or give a hub id '
            f'such as "{CATALOGUE[1].name}".'
        )
    return name


def spelling_hint(name: str) -> str:
    """Return a sentence that offers the name in the catalogue that `name` may be a misspelling of."""
    names = [entry.name for entry in CATALOGUE]
    close = difflib.get_close_matches(name, names, n=1)
    if name in names or not close:
        return f'"{DEMO}" always works and needs no network.'
    return f'Did you mean "{close[0]}"?'


def _as_path(name: str) -> Path | None:
    """Return `name` as a path with ~ expanded, or None if no file system could hold that name."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # too long, no such home, a NUL in it
        return None
    return path


def _looks_like_path(name: str) -> bool:
    has_drive = len(name) > 1 and name[1] == ":"
    return (
        name.startswith(("/", ".", "~"))
        or "\\" in name
        or has_drive
        or name.endswith("/")
        or name.count("/") > 1
    )
