"""Addresses on the Hugging Face Hub, as a browser shows them, and the models that they show."""

import re
from dataclasses import dataclass
from urllib.parse import unquote

from components.models.errors import ModelLoadError
from components.models.foreign import gguf

_ADDRESS = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://)?(?P<host>[^/?#]*)(?P<path>[^?#]*)", re.IGNORECASE)
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")

_OTHER_PAGES = {
    "datasets": "a data set",
    "spaces": "a Space",
    "collections": "a collection",
    "papers": "a paper",
    **dict.fromkeys(("models", "docs", "blog", "tasks", "learn", "settings", "api"), "no model"),
}


@dataclass(frozen=True)
class Repository:
    """A model on the hub: "owner/name", and a branch, tag or commit; None is the main branch."""

    id: str
    revision: str | None = None


def read_address(text: str) -> Repository | None:
    """Return the model whose page, files or history an address shows; None if the text is no address.

    Raises ModelLoadError for an address of anything else, and for a folder inside a repository.
    """
    address = _ADDRESS.match(text)
    if address is None or not (address["scheme"] or address["host"].lower() in _HOSTS):
        return None
    if address["host"].lower() not in _HOSTS:
        raise ModelLoadError(
            f'"{text}" is an address outside the Hugging Face Hub, and models are fetched from there alone. '
            "Give a hub id such as owner/name, or download the model and give its folder."
        )
    match [unquote(part) for part in address["path"].split("/") if part]:
        case []:
            kind = "no model"
        case [page, *_] if page in _OTHER_PAGES:
            kind = _OTHER_PAGES[page]
        case [owner, name, "tree" | "blob" | "raw" | "resolve" | "commit" | "commits" as view, *rest]:
            revision, inside = _revision(rest)
            return _at(Repository(f"{owner}/{name}", revision), inside, is_file=view != "tree")
        case [owner, name, *_]:
            return Repository(f"{owner}/{name}")
        case [name]:  # a few old models have no owner
            return Repository(name)
    raise ModelLoadError(
        f'"{text}" is the address of {kind} on the Hugging Face Hub. Give that of a model, '
        "https://huggingface.co/owner/name, or owner/name alone."
    )


def _revision(parts: list[str]) -> tuple[str | None, list[str]]:
    """Split what follows "tree" or "blob" into the revision and the path inside; refs/pr/1 is one name."""
    length = 3 if parts[:1] == ["refs"] else 1
    return "/".join(parts[:length]) or None, parts[length:]


def _at(repository: Repository, inside: list[str], *, is_file: bool) -> Repository:
    """Return the repository, if the path inside it points at its root or at a file there."""
    if inside and inside[-1].lower().endswith(".gguf"):
        raise gguf(repository.id, inside[-1])
    if len(inside) > is_file:
        raise ModelLoadError(
            f"The address points into the folder {'/'.join(inside[: len(inside) - is_file])} of "
            f'"{repository.id}", and only a model at the root of a repository can be fetched. Download that '
            "folder and give its path."
        )
    return repository
