"""Where a matrix comes from: all that is needed to compute it again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from components.charts import HeadCells, Window, tiles_of
from components.ssd import KINDS, Factor, Head, Statistic
from explorer.subject import Subject

if TYPE_CHECKING:
    from components.bridge import ModelBridge

PACKAGES = ("mamba2-explorer", "torch", "transformers", "altair")


def versions_of_packages() -> dict[str, str]:
    """Versions of `PACKAGES`."""
    return {package: _version(package) for package in PACKAGES}


@cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # the explorer itself, run from a checkout
        return "source checkout"


@dataclass(frozen=True)
class Provenance:
    """Where a matrix comes from: all that is needed to compute it again."""

    subject: Subject
    revision: str | None
    """Commit of a hub model; None for the embedded one and for folders."""
    dtype: str
    """Of the weights, such as "float32"."""
    head: Head
    window: Window
    """The queries and keys of the matrix."""
    queries: Sequence[str]
    """Texts of its rows, as the page shows them."""
    keys: Sequence[str]
    """Texts of its columns."""
    statistic: Statistic = "mean"
    """Of tiles, where the window is larger than the picture."""
    reading: str = ""
    """Which of the kind's readings it is; "" for attention."""
    target: int | None = None
    """Of a direction, the id of the answer."""
    foil: int | None = None
    """The id of the token that it is compared with."""
    notes: Sequence[str] = ()
    """What a reader should know about the computation, in sentences."""
    versions: dict[str, str] = field(default_factory=versions_of_packages)
    """Versions of `PACKAGES`."""

    @property
    def shown(self) -> Factor:
        """Attention, or the reading."""
        return KINDS[self.head.place.kind].reading(self.reading)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return len(tiles_of(self.window.queries)), len(tiles_of(self.window.keys))

    @property
    def ranges(self) -> dict[str, range]:
        """Positions of its rows and columns."""
        return {"queries": self.window.queries, "keys": self.window.keys}


def provenance_of(
    bridge: ModelBridge,
    subject: Subject,
    head: Head,
    cells: HeadCells,
    *,
    target: int | None = None,
    foil: int | None = None,
    notes: Sequence[str] = (),
) -> Provenance:
    """The provenance of `cells` of a head in a run of this bridge; `notes` are from that run. `target` and
    `foil` are ids, if the cells are along the direction of a logit.
    """
    return Provenance(
        subject=subject,
        revision=revision_of(bridge),
        dtype=dtype_of(bridge),
        head=head,
        window=cells.window,
        queries=cells.queries["text"].tolist(),
        keys=cells.keys["text"].tolist(),
        statistic=cells.statistic,
        reading=cells.reading,
        target=target,
        foil=foil,
        notes=notes,
    )


def revision_of(bridge: ModelBridge) -> str | None:
    """Commit of a hub model; None for the embedded one and for folders."""
    folder = Path(bridge.model.name_or_path or "")  # the hub's cache names a snapshot by its commit
    return folder.name if folder.parent.name == "snapshots" else None


def dtype_of(bridge: ModelBridge) -> str:
    """Of the weights, such as "float32"."""
    return str(bridge.model.dtype).removeprefix("torch.")


def edits_code(subject: Subject) -> str:
    """The Python expression for the edits."""
    return f"[{', '.join(edit.code for edit in subject.edits)}]"


def file_name(provenance: Provenance, suffix: str) -> str:
    """A file name that is valid on every system, such as `mamba2-demo-layer2-head5.svg`."""
    place, index = provenance.head.place, provenance.head.index
    kind, shown = KINDS[place.kind], provenance.shown
    short = f"-{kind.short}" if kind.short else ""
    reading = "" if shown is kind.attention else f"-{shown.name.replace('_', '-')}"
    rest = f"layer{place.layer}{short}-head{index}{reading}"
    return f"{name_in_files(provenance.subject.model)}-{rest}.{suffix.lstrip('.')}"


def name_in_files(model: str) -> str:
    """How the names of a model's files begin, such as `mamba2-demo`: valid on every system."""
    last = re.split(r"[/\\]", model.rstrip("/\\"))[-1].removeprefix("mamba2-")
    return f"mamba2-{re.sub(r'[^A-Za-z0-9._-]+', '-', last)[:60].strip('.-') or 'model'}"
