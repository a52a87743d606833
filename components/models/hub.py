"""Downloads from the Hugging Face Hub into its ordinary cache."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from components.models.checkpoint import SETTINGS_FILES, WEIGHT_LAYOUTS, shard_names
from components.models.errors import ModelLoadError, first_line
from components.models.progress import Progress, download_bar, run_with_relayed_progress
from components.models.source import spelling_hint
from components.models.transfers import OURS, watch_transfers


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
            missing = [name for name in wanted if not (snapshot / name).is_file()]
            download(
                repository,
                wanted,
                revision=snapshot.name,
                local_files_only=local_files_only,
                progress=progress,
                check=missing,
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
    check: Sequence[str] = (),
) -> Path:
    """Fetch those of `files` that the repository has, and return the folder they are in.

    Compares the checksums of those in `check`. Raises ModelLoadError with the cause: no such repository or
    revision, no access, no network, a file that is not what the hub promised. If `progress` raises, the
    download ends with the next bytes that arrive; only one through Xet storage runs on in the background.
    """
    import huggingface_hub

    def fetch(report: Progress) -> Path:
        watch_transfers()
        try:
            folder = huggingface_hub.snapshot_download(
                repository,
                revision=revision,
                allow_patterns=list(files),
                local_files_only=local_files_only,
                library_name=OURS,
                tqdm_class=download_bar(report),
            )
        # Proxies, certificates, sockets, a full disk: each library below raises its own errors.
        except Exception as error:
            raise ModelLoadError(_explain(error, repository, revision, local_files_only)) from error
        for name in check:
            _check_sum(Path(folder) / name, repository)
        return Path(folder)

    return run_with_relayed_progress(fetch, progress, "Asking the Hugging Face Hub")


def _check_sum(file: Path, repository: str) -> None:
    """Delete a new file of the cache, and raise ModelLoadError, if it is not the one that the hub promised.

    huggingface_hub compares the size alone. In its cache a file is a link to a blob, which has the SHA-256
    for a name if it is large. Where there are no links there is nothing to compare with.
    """
    blob = file.parent / file.readlink() if file.is_symlink() else file
    if not re.fullmatch("[0-9a-f]{64}", blob.name):
        return
    with blob.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found == blob.name:
        return
    file.unlink()
    blob.unlink()
    raise ModelLoadError(
        f'{file.name} of "{repository}" arrived damaged: its checksum (SHA-256) is not the one that the '
        "Hugging Face Hub gives. The file was deleted; try again to download it anew."
    )


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
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    if status == 429:
        return (
            f'"{repository}" was not downloaded: the Hugging Face Hub takes no more requests from here now '
            "(HTTP 429). Try again in some minutes: files that are whole are kept. People who log in with "
            "`hf auth login` may ask more often."
        )
    if status in (401, 403):
        return (
            f'The Hugging Face Hub refused access to "{repository}" (HTTP {status}). Log '
            f"in with `hf auth login`, and accept the model's terms on {page} if it has any."
        )
    if status is not None and status >= 500:
        return (
            f'The Hugging Face Hub cannot serve "{repository}" now (HTTP {status}, a fault of its own). Try '
            'again later: files that are whole are kept. "demo" needs no network.'
        )
    return (
        f'"{repository}" could not be downloaded ({first_line(error)}). Check the network connection and the '
        'free space on the disk, then try again: files that are whole are kept. "demo" needs no network.'
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
