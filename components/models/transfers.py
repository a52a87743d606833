"""What the explorer does otherwise than huggingface_hub where its own downloads are slow, cut or refused.

It hears of every answer through httpx's own interface for that, the event hooks of the client that
huggingface_hub hands out; answers to anybody else pass untouched.
"""

import importlib
from collections.abc import Iterator
from typing import Any

OURS = "mamba2-explorer"
"""The library that asks, in the user agent of each request."""


def watch_transfers() -> None:
    """Watch the answers to requests of `OURS` from now on; to do so twice changes nothing.

    Bytes are handed on as they arrive; by default 10 MB are collected first, for minutes on a slow line, in
    which nobody sees progress or can stop it. A connection that is reset goes on where it was, as one that is
    closed does. An answer that asks to wait is an error at once; huggingface_hub would sleep, for as long as
    the hub says and up to five times.
    """
    import huggingface_hub

    client: Any = huggingface_hub.get_session()
    if _on_answer not in client.event_hooks["response"]:
        client.event_hooks["response"].append(_on_answer)


def _on_answer(response: Any) -> None:
    from huggingface_hub.errors import HfHubHTTPError

    if OURS not in response.request.headers.get("User-Agent", ""):
        return
    if response.status_code == 429 or (response.is_error and "Retry-After" in response.headers):
        raise HfHubHTTPError(f"HTTP {response.status_code}", response=response)
    library: Any = importlib.import_module(type(response).__module__.partition(".")[0])  # httpx or httpx2
    read = response.iter_bytes

    def as_they_arrive(chunk_size: int | None = None) -> Iterator[bytes]:
        try:
            yield from read()
        except library.ReadError as error:
            raise library.RemoteProtocolError(str(error)) from error

    response.iter_bytes = as_they_arrive
