"""Finds the source that a model's name means: a local folder or a repository on the Hugging Face Hub."""

import difflib
from pathlib import Path

from components.demo import MODEL_FOLDER
from components.models.catalogue import CATALOGUE, DEMO
from components.models.errors import ModelLoadError
from components.models.foreign import gguf
from components.models.hub_address import Repository, read_address
from components.models.hub_cache import refuse_links_out, snapshot_in


def find_source(name: str, revision: str | None = None) -> Path | Repository:
    """Return the folder or the repository on the hub that `name` means.

    An existing folder wins over a repository of the same name, as in transformers. For a model's folder in
    the hub's cache, returns the snapshot; for an address of the hub, the model it shows. Uses no network, so
    a repository need not exist. Raises ModelLoadError for an empty name, a file, a path that does not exist,
    a folder with links that lead out of it, another address, and a `revision` that a folder lacks or an
    address contradicts.
    """
    if not name:
        raise ModelLoadError(
            f'No model was named. Give "{DEMO}" for the embedded model, a hub id such as '
            f'"{CATALOGUE[1].name}", or the path of a folder.'
        )
    path = MODEL_FOLDER if name == DEMO else _as_path(name)
    if path is not None and path.is_dir():
        return _in_folder(path, revision)
    if path is not None and path.is_file():
        if path.suffix.lower() == ".gguf":
            raise gguf(name, path.name)
        raise ModelLoadError(f'"{name}" is a file. Give the folder that holds it and its config.json.')
    repository = read_address(name)
    if repository is not None:
        return _at_revision(repository, revision)
    if _looks_like_path(name):
        raise ModelLoadError(
            f'There is no folder "{name}". Check the spelling, or give a hub id '
            f'such as "{CATALOGUE[1].name}".'
        )
    return Repository(name, revision)


def spelling_hint(name: str) -> str:
    """Return a sentence that suggests the catalogue name that `name` may misspell, or else the demo."""
    names = [entry.name for entry in CATALOGUE]
    close = difflib.get_close_matches(name, names, n=1)
    if name in names or not close:
        return f'"{DEMO}" always works and needs no network.'
    return f'Did you mean "{close[0]}"?'


def _in_folder(folder: Path, revision: str | None) -> Path:
    snapshot = snapshot_in(folder, revision)
    if snapshot is None and revision is not None:
        raise ModelLoadError(
            f'The revision "{revision}" was given with the folder "{folder}", which has one state only. '
            "Leave it out, or give a hub id."
        )
    if folder != MODEL_FOLDER:  # an installer may have made it of links
        refuse_links_out(snapshot or folder)
    return snapshot or folder


def _at_revision(repository: Repository, revision: str | None) -> Repository:
    if repository.revision and revision not in (None, repository.revision):
        raise ModelLoadError(
            f'The address is of the revision "{repository.revision}", and revision="{revision}" was given '
            "with it. Give one of them."
        )
    return Repository(repository.id, repository.revision or revision)


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
