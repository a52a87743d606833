"""Downloads from the Hugging Face Hub into its ordinary cache."""

from collections.abc import Sequence
from pathlib import Path

from components.models.checkpoint import SETTINGS_FILES, WEIGHT_LAYOUTS, shard_names
from components.models.errors import ModelLoadError, first_line
from components.models.progress import Progress, download_bar, run_with_relayed_progress
from components.models.source import spelling_hint


def download_settings(
    repository: str, revision: str | None, *, local_files_only: bool, progress: Progress
) -> Path:
    """Fetch the small files and return the snapshot's folder, whose name is its commit."""
    return download(
        repository, SETTINGS_FILES, revision=revision, local_files_only=local_files_only, progress=progress
    )


def download_weights(repository: str, snapshot: Path, *, local_files_only: bool, progress: Progress) -> None:
    """Fetch the weights into `snapshot`: safetensors where the repository has them, `.bin` otherwise.

    `snapshot` comes from `download_settings`, so an index of shards is already in it, and its name
    is the commit: weights and settings are of the same version even if the branch moves meanwhile.
    """
    for single, index in WEIGHT_LAYOUTS:
        shards = [shard_names(snapshot / index)] if (snapshot / index).is_file() else []
        for wanted in [*shards, [single]]:  # some have one file and an index of other shards
            download(
                repository,
                wanted,
                revision=snapshot.name,
                local_files_only=local_files_only,
                progress=progress,
            )
            if all((snapshot / name).is_file() for name in wanted):
                return


def download(
    repository: str,
    files: Sequence[str],
    *,
    revision: str | None,
    local_files_only: bool,
    progress: Progress,
) -> Path:
    """Fetch those of `files` that the repository has, and return the folder they are in.

    Raises ModelLoadError with the cause: no such repository or revision, no access, no network.
    """
    import huggingface_hub

    def fetch(report: Progress) -> Path:
        try:
            folder = huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(files),
                local_files_only=local_files_only,
                tqdm_class=download_bar(report),
            )
        # Proxies, certificates, sockets, a full disk: each library below raises its own errors.
        except Exception as error:
            raise ModelLoadError(_explain(error, repository, revision, local_files_only)) from error
        return Path(folder)

    return run_with_relayed_progress(fetch, progress)


def _explain(error: Exception, repository: str, revision: str | None, local_files_only: bool) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(
        error.__cause__, errors.HfHubHTTPError
    ):
        error = error.__cause__  # nothing in the cache, because the hub answered with an error
    page = f"https://huggingface.co/{repository}"
    # The order matters: a gated repository's error is a subclass of RepositoryNotFoundError.
    if isinstance(error, errors.GatedRepoError):
        return (
            f'"{repository}" is open only to people who accepted its terms. Accept them on {page}, then log '
            "in here with `hf auth login`."
        )
    if isinstance(error, errors.HFValidationError):
        return (
            f'"{repository}" is neither a folder nor a hub id. A hub id is "owner/name", made of letters, '
            f'digits, "-", "_" and ".". {spelling_hint(repository)}'
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            f'The Hugging Face Hub has no model "{repository}" that you may see. Check the spelling; a '
            f"private model needs `hf auth login`. {spelling_hint(repository)}"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return (
            f'"{repository}" has no revision "{revision}". Give a branch, a tag or a commit of that '
            "repository, or leave the revision out."
        )
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _not_here(repository, local_files_only)
    if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403):
        return (
            f'The Hugging Face Hub refused access to "{repository}" (HTTP {error.response.status_code}). Log '
            f"in with `hf auth login`, and accept the model's terms on {page} if it has any."
        )
    return (
        f'"{repository}" could not be downloaded ({first_line(error)}). Check the network connection and the '
        'free space on the disk, then try again: what is already here is kept. "demo" needs no network.'
    )


def _not_here(repository: str, local_files_only: bool) -> str:
    from huggingface_hub import constants

    if local_files_only:
        reason = "only local files may be used (local_files_only=True)"
    elif constants.HF_HUB_OFFLINE:
        reason = "downloads are switched off (HF_HUB_OFFLINE)"
    else:
        reason = "the Hugging Face Hub cannot be reached"
    return (
        f'"{repository}" is not complete on this machine, and {reason}. Check the network connection, or '
        f"give a folder. {spelling_hint(repository)}"
    )
