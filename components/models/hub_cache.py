"""Folders of the hub's cache, where a model lies deeper than the folder with its name.

In `models--owner--name`, the file `refs/main` names a commit, and `snapshots/<commit>` holds the model, as
links to files in `blobs`. Some of these are links too, to a folder `blobs` that the cache's models share.
"""

import os
from pathlib import Path

from components.models.errors import ModelLoadError

_READ = (".json", ".safetensors", ".bin", ".model", ".txt", ".jinja")


def refuse_links_out(folder: Path) -> None:
    """Raise ModelLoadError if a file of a model is a link to outside `folder` that is not the cache's own.

    Whoever packed the folder chose where the link points, but not what lies there on this machine.
    """
    here = Path(os.path.realpath(folder))
    inside = [here]
    if here.parent.name == "snapshots" and here.parents[1].name.startswith("models--"):
        inside += [Path(os.path.realpath(above / "blobs")) for above in here.parents[1:3]]
    for file in sorted(folder.glob("*")):
        target = Path(os.path.realpath(file))
        if file.suffix in _READ and not any(target.is_relative_to(place) for place in inside):
            raise ModelLoadError(
                f'{file.name} in "{folder}" is a link out of that folder, to {target}, and was not followed. '
                "Put the file itself there, or give the folder in which it lies."
            )


def snapshot_in(folder: Path, revision: str | None) -> Path | None:
    """Return the snapshot that a model's folder in the cache stands for; None for any other folder.

    It is that of `revision`, by default "main" or the only one there is. Raises ModelLoadError if it is
    missing, and for the cache itself, which holds several models.
    """
    if (folder / "config.json").is_file():
        return None
    if folder.name == "snapshots":
        folder = folder.parent
    if (folder / "snapshots").is_dir():
        return _snapshot(folder, revision)
    cached = sorted(path.name for root in (folder, folder / "hub") for path in root.glob("models--*"))
    if cached:
        ids = ", ".join(name.removeprefix("models--").replace("--", "/") for name in cached)
        raise ModelLoadError(
            f'"{folder}" is a cache of the Hugging Face Hub, which holds several models: {ids}. Give one of '
            "these ids; local_files_only=True then keeps off the network."
        )
    return None


def _snapshot(folder: Path, revision: str | None) -> Path:
    commits = sorted(path.name for path in (folder / "snapshots").iterdir() if path.is_dir())
    reference = folder / "refs" / (revision or "main")
    commit = reference.read_text().strip() if reference.is_file() else revision
    if commit is None and len(commits) == 1:
        commit = commits[0]
    if commit not in commits:
        raise ModelLoadError(
            f'"{folder}" is the folder of a model in the cache of the Hugging Face Hub. Its revision '
            f'"{revision or "main"}" is not there; there are: {", ".join(commits) or "none"}. Give '
            f"{folder.name}/snapshots/ and one of these, or the model's hub id."
        )
    return folder / "snapshots" / commit
