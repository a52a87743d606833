"""Progress of downloading and loading a model, from the libraries that do the work."""

import contextvars
import functools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Progress = Callable[[str, float | None], None]
"""Called with a short phase text and the finished fraction, 0 to 1, or None if unknown."""

Result = TypeVar("Result")

_BEAT = 0.1
"""Seconds between two reports of a task on another thread."""


class _NobodyWaitsError(Exception):
    """Ends a task whose caller has left."""


class _CallbackError(BaseException):
    """Carries what a callback raised past those who would take it for an error of their own."""

    def __init__(self, raised: BaseException) -> None:
        self.raised = raised


def ignore_progress(text: str, fraction: float | None) -> None:
    """Do nothing: the default callback."""


def run_with_relayed_progress(
    task: Callable[[Progress], Result], progress: Progress, first_words: str
) -> Result:
    """Run `task` on a worker thread; tell `progress` on this thread, several times a second, how far it is.

    Downloads report from their own threads, but only the thread that runs a page's script may draw it.
    `progress` hears the last report again while nothing moves, so that it can stop a task that waits: if it
    raises, the exception propagates at once, and the task ends at its own next report.
    """
    is_stopped = threading.Event()
    last: tuple[str, float | None] = (first_words, None)

    def report(text: str, fraction: float | None) -> None:
        nonlocal last
        if is_stopped.is_set():
            raise _NobodyWaitsError
        last = (text, fraction)

    told = last
    pool = ThreadPoolExecutor(max_workers=1)
    future = pool.submit(task, report)
    pool.shutdown(wait=False)
    try:
        while wait([future], timeout=_BEAT).not_done:
            progress(*(told := last))
        if last is not told:
            progress(*last)
    except BaseException:
        is_stopped.set()
        raise
    return future.result()


def download_bar(progress: Progress) -> type[Any]:
    """Return a progress bar class for `huggingface_hub` downloads that reports the bytes to `progress`."""
    from huggingface_hub.utils.tqdm import tqdm

    class DownloadBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # A snapshot has one bar for the files it counts and, in newer versions, one bar for the
            # bytes on the wire; the bytes of the finished files are what the total refers to.
            of_transfer = str(options.get("name")).endswith(".transfer")
            self.counts_bytes = options.get("unit") == "B" and not of_transfer
            initialise: Any = super().__init__  # not annotated
            initialise(*args, **options)

        def update(self, n: int | float | None = 1) -> bool | None:
            shown: bool | None = super().update(n)
            if self.disable:  # then tqdm does not count either
                self.n += n or 0
            if self.counts_bytes and self.total:
                progress(f"Downloading {_amount(self.n, self.total)}", min(self.n / self.total, 1.0))
            elif self.counts_bytes:  # no server said how many there are
                progress("Downloading", None)
            return shown

    return DownloadBar


@contextmanager
def reported_loading(progress: Progress) -> Iterator[None]:
    """Report how many weights `from_pretrained` has loaded, within this block and this thread only.

    What `progress` raises leaves the block as it is, though transformers and the loader catch all errors.
    """
    _install_loading_hooks()
    token = _loading_progress.set(progress)
    try:
        yield
    except _CallbackError as error:
        raise error.raised from None
    finally:
        _loading_progress.reset(token)


@contextmanager
def silent_loading() -> Iterator[None]:
    """Let `from_pretrained` draw no bar and log no report, within this block and this thread only."""
    _install_loading_hooks()
    token = _is_silent.set(True)
    try:
        yield
    finally:
        _is_silent.reset(token)


_loading_progress: contextvars.ContextVar[Progress | None] = contextvars.ContextVar(
    "loading_progress", default=None
)
_is_silent: contextvars.ContextVar[bool] = contextvars.ContextVar("is_silent", default=False)


@functools.cache
def _install_loading_hooks() -> None:
    """Install hooks for the bars and reports of transformers, once per process.

    The hooks are transformers' and logging's own interfaces, and one for the whole process; context
    variables identify the thread of a bar. Bars of other threads, and other bars of this one unless it is
    silent, pass untouched.
    """
    from transformers.utils.logging import set_tqdm_hook

    def make_bar(factory: Callable[..., Any], args: tuple[Any, ...], options: dict[str, Any]) -> Any:
        if _is_silent.get():
            return args[0]
        bar = previous(factory, args, options) if previous else factory(*args, **options)
        progress = _loading_progress.get()
        if progress is None or options.get("desc") != "Loading weights":
            return bar
        return _counted(bar, len(args[0]), progress)

    previous = set_tqdm_hook(None)
    set_tqdm_hook(make_bar)
    logging.getLogger("transformers.modeling_utils").addFilter(lambda report: not _is_silent.get())


def _counted(items: Iterable[Any], total: int, progress: Progress) -> Iterator[Any]:
    """Yield `items`, reporting each new whole percent."""
    percent = -1
    for count, item in enumerate(items, start=1):
        yield item
        if count * 100 // total > percent:
            percent = count * 100 // total
            try:
                progress(f"Loading weights, {count} of {total}", count / total)
            except BaseException as error:
                raise _CallbackError(error) from error


def _amount(done: int | float, total: int | float) -> str:
    """Say "412 of 780 MB"; in GB from 10 GB on, in kB below 1 MB."""
    if total >= 10e9:
        return f"{done / 1e9:.1f} of {total / 1e9:.1f} GB"
    size, unit = (1e6, "MB") if total >= 1e6 else (1e3, "kB")
    return f"{done / size:.0f} of {total / size:.0f} {unit}"
