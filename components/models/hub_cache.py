"""Folders of the hub's cache, where a model lies deeper than the folder with its name.

In `models--owner--name`, the file `refs/main` names a commit, and `snapshots/<commit>` holds the model.
"""

from pathlib import Path

from components.models.errors import ModelLoadError


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
