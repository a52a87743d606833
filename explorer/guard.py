"""What every answer of the server carries, and what it refuses before Streamlit sees it.

SECURITY.md says what each is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from streamlit import get_option, net_util, url_util

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    # A download is what its type says, never a script.
    "X-Content-Type-Options": "nosniff",
    # The address holds the prompt: other servers do not get it with a click on a link.
    "Referrer-Policy": "same-origin",
}
"""What every answer carries."""

_METRICS = "/_stcore/metrics"
_POLICY_VIOLATION = 1008


class Guard:
    """Adds `HEADERS`, keeps Streamlit's metrics to this machine, refuses the websockets of other sites."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection."""
        if scope["type"] == "websocket" and _is_of_another_site(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        if scope["type"] == "http" and scope["path"].endswith(_METRICS) and not _is_from_here(scope):
            await PlainTextResponse("Not Found", status_code=404)(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _is_of_another_site(headers: Headers) -> bool:
    """Whether a page of another site opens this websocket.

    Streamlit refuses these too. But for each of them it first asks a server of Amazon's for its own address,
    in the thread that serves everyone. A site that is named by that address is refused here. For a site that
    `server.corsAllowedOrigins` lists, Streamlit still asks.
    """
    origin = headers.get("origin")
    if origin is None or not get_option("server.enableCORS"):
        return False
    try:
        site = urlsplit(origin)
    except ValueError:
        return True
    listed = [*get_option("server.corsAllowedOrigins"), get_option("browser.serverAddress")]
    return site.netloc != headers.get("host") and site.hostname not in {
        *("localhost", "127.0.0.1", "0.0.0.0", net_util.get_internal_ip()),
        *(url_util.get_hostname(name) for name in listed),
    }


def _is_from_here(scope: Scope) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it."""
    client, headers = scope.get("client"), Headers(scope=scope)
    forwarded = "forwarded" in headers or "x-forwarded-for" in headers
    return client is not None and client[0] in {"127.0.0.1", "::1"} and not forwarded
