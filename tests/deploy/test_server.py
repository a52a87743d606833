"""What SECURITY.md claims of the server, against the server that the image runs."""

import asyncio
import http.client
import json
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import websockets
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from benchmarks.visitor import Visitor, visiting
from explorer.guard import HEADERS
from tests.deploy.containers import (
    DOCKERFILE,
    ROOT,
    Container,
    containers,
    free_port,
    in_container,
    in_own_loop,
)

SECRETS = """
EXPLORER_HOSTED = "1"
EXPLORER_MAX_TOKENS = "{tokens}"
"""
EVIL = "https://evil.example"
FRIEND = "https://friend.example"


def container(folder: Path, tokens: str) -> Container:
    """A server as a Space has it, but for our own settings: they are secrets, as on Community Cloud."""
    (folder / ".streamlit").mkdir()
    (folder / ".streamlit" / "secrets.toml").write_text(SECRETS.format(tokens=tokens))
    space = {
        "STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE": "none",
        "STREAMLIT_SERVER_ALLOWED_HOSTS": "localhost",
        "STREAMLIT_SERVER_CORS_ALLOWED_ORIGINS": FRIEND,
    }
    return Container(folder, {**space, "EXPLORER_HOSTED": ""})


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Container, Container]]:
    """One that runs, and one whose every page fails."""
    well, ill = (
        container(tmp_path_factory.mktemp("well"), "33"),
        container(tmp_path_factory.mktemp("ill"), "many"),
    )
    with containers(well, ill):
        yield well, ill


@pytest.fixture
def server(both: tuple[Container, Container]) -> Container:
    return both[0]


@pytest.fixture
def failing(both: tuple[Container, Container]) -> Container:
    return both[1]


def asked(
    server: Container, path: str, method: str = "GET", body: bytes = b"", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Status, headers and body of an answer. The path goes as it is, which most clients would not let it."""
    connection = http.client.HTTPConnection("localhost", server.port, timeout=20)
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, body or None, sent)
    answer = connection.getresponse()
    read = answer.read()
    connection.close()
    return answer.status, answer.headers, read


def accepts(server: Container, origin: str | None, host: str = "") -> bool:
    """Whether it opens a websocket for a page of this origin."""

    async def connect() -> bool:
        # The host that the page was loaded from is not always where the socket leads: a name may be rebound.
        url = f"ws://{host or 'localhost'}:{server.port}/_stcore/stream"
        there = {"host": "localhost", "port": server.port}
        try:
            async with websockets.connect(
                url, origin=origin, subprotocols=["streamlit"], **there  # type: ignore[arg-type]
            ):  # fmt: skip
                return True
        except websockets.InvalidStatus as refusal:
            return refusal.response.status_code != 403

    return in_own_loop(connect())


def sent_for(server: Container, message: bytes) -> bytes:
    """All that a new session is sent until its script has run, after this message and a request to run."""

    async def collect() -> bytes:
        async with visiting(server.address) as visitor:
            await visitor.socket.send(message)
            return b"".join(await run(visitor))

    return in_own_loop(collect())


async def run(visitor: Visitor) -> list[bytes]:
    """Ask for the page; all messages until its script has run."""
    await visitor.socket.send(BackMsg(rerun_script={"query_string": ""}).SerializeToString())
    messages = []
    while True:
        messages.append(await visitor.socket.recv())
        if parsed(messages[-1]).WhichOneof("type") == "script_finished":
            return messages


def parsed(message: bytes) -> ForwardMsg:
    """A message of the server's."""
    reply = ForwardMsg()
    reply.ParseFromString(message)
    return reply


# Websockets


def test_pages_of_other_sites_open_no_websocket(server: Container) -> None:
    before = server.log.read_text()
    assert accepts(server, server.address)
    assert accepts(server, None)  # not a browser
    for origin in (
        EVIL,
        f"{EVIL}:{server.port}",
        "null",
        "http://[",
        "http://203.0.113.7",
        f"http://localhost.evil.example:{server.port}",
    ):
        assert not accepts(server, origin), origin
    # They were refused before Streamlit asks a third party for the server's address, as it does at its start.
    assert server.log.read_text().count("external IP") == before.count("external IP")
    assert accepts(server, FRIEND)  # it is listed, and for it Streamlit does ask


def test_a_name_that_is_not_allowed_opens_no_websocket(server: Container) -> None:
    rebound = "rebound.example"
    assert not accepts(server, f"http://{rebound}:{server.port}", host=rebound)
    assert not accepts(server, None, host=rebound)


def test_a_message_that_is_too_large_ends_the_session(server: Container) -> None:
    most = int(DOCKERFILE.environment()["STREAMLIT_SERVER_MAX_WIDGET_STATE_SIZE"])

    async def send() -> int | None:
        message = BackMsg()
        message.rerun_script.query_string = "x" * (most * 1_000_000)
        async with visiting(server.address) as visitor:
            await visitor.socket.send(message.SerializeToString())
            with suppress(websockets.ConnectionClosed):
                while True:
                    await visitor.socket.recv()
            code: int | None = visitor.socket.close_code
            return code

    assert in_own_loop(send()) == 1009


def test_messages_that_only_developers_send_stop_nothing(server: Container) -> None:
    for name in ("debug_shutdown_runtime", "debug_disconnect_websocket"):
        message = BackMsg(**{name: True})
        assert b"Explore" in sent_for(server, message.SerializeToString())
    assert asked(server, "/_stcore/health")[0] == 200


# Uploads


def upload(server: Container, session: str, size: int = 4, method: str = "PUT", **headers: str) -> int:
    """Status of the answer to an upload."""
    form = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n%b\r\n--b--\r\n'
    body = form % (b"a" * size)
    path = f"/_stcore/upload_file/{session}/file"
    return asked(server, path, method, body, Content_Type="multipart/form-data; boundary=b", **headers)[0]


def test_an_upload_needs_the_token_and_a_session(server: Container) -> None:
    token, another = generate_xsrf_token_string(), generate_xsrf_token_string()
    own = {"X_Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"}
    for method in ("PUT", "DELETE"):
        assert upload(server, "session", method=method) == 403
        assert upload(server, "session", method=method, Cookie=own["Cookie"]) == 403
        assert upload(server, "session", method=method, X_Xsrftoken=token) == 403
        assert upload(server, "session", method=method, **{**own, "X_Xsrftoken": another}) == 403
    assert upload(server, "no-such-session", **own) == 400

    async def of_a_session() -> list[int]:
        async with visiting(server.address) as visitor:
            (begin,) = (each for each in map(parsed, await run(visitor)) if each.HasField("new_session"))
            session = begin.new_session.initialize.session_id
            return [await asyncio.to_thread(upload, server, session, size, **own) for size in (4, 2**20 + 1)]

    assert in_own_loop(of_a_session()) == [204, 413]


def test_the_cookie_of_a_space_is_sent_in_a_frame(server: Container) -> None:
    cookie = asked(server, "/_stcore/health")[1]["Set-Cookie"]
    assert cookie.startswith("_streamlit_xsrf=")
    assert cookie.endswith("; SameSite=None; Secure")


# Answers


@pytest.mark.parametrize(
    "path", ["/", "/generate", "/_stcore/health", "/_stcore/host-config", "/media/none", "//a"]
)
def test_every_answer_carries_the_headers(server: Container, path: str) -> None:
    headers = asked(server, path, Origin=EVIL)[1]
    for name, value in HEADERS.items():
        assert headers.get_all(name) == [value]
    assert headers["Access-Control-Allow-Origin"] is None
    assert headers["X-Frame-Options"] is None  # other sites may show it: ?embed=true
    assert not headers["Set-Cookie"] or "_streamlit_xsrf" in headers["Set-Cookie"]


def test_scripts_and_styles_are_of_a_type_that_a_browser_takes(server: Container) -> None:
    page = asked(server, "/")[2].decode()
    types = {"js": ("text/javascript", "application/javascript"), "css": "text/css"}
    for ending, kind in types.items():
        address = next(
            part for part in page.split('"') if part.startswith("./static/") and part.endswith(ending)
        )
        status, headers, _ = asked(server, address.removeprefix("."))
        assert status == 200
        assert headers["Content-Type"].startswith(kind)
        assert headers["X-Content-Type-Options"] == "nosniff"


UP = ["../" * 12, "..%2f" * 12, "%2e%2e/" * 12, "..\\" * 12, "..%5c" * 12, "/", "%2f"]


@pytest.mark.parametrize("up", UP)
@pytest.mark.parametrize(
    "route", ["", "static/", "media/", "component/keeper/", "_stcore/bidi-components/keeper/"]
)
def test_no_path_leads_out_of_what_is_served(server: Container, route: str, up: str) -> None:
    for file in ("etc/passwd", str(ROOT / "pyproject.toml").lstrip("/")):
        status, _, body = asked(server, f"/{route}{up}{file}")
        assert b"root:" not in body
        assert b"[project]" not in body
        assert status in {400, 404} or b"<title>Streamlit</title>" in body  # an unknown page is the app's own


@pytest.mark.parametrize(
    "path",
    ["/app/static/config.toml", "/.streamlit/secrets.toml", "/explorer/app.py", "/static/secrets.toml"],
)
def test_no_file_of_the_app_is_served(server: Container, path: str) -> None:
    body = asked(server, path)[2]
    assert b"EXPLORER" not in body
    assert b"import" not in body or b"<title>Streamlit</title>" in body


def test_routes_of_streamlit_tell_nothing(server: Container) -> None:
    assert asked(server, "/_stcore/health")[2] == b"ok"
    allowed = json.loads(asked(server, "/_stcore/host-config")[2])["allowedOrigins"]
    assert allowed == [DOCKERFILE.environment()["STREAMLIT_CLIENT_ALLOWED_ORIGINS"]]
    for headers in (
        {"X_Forwarded_For": "127.0.0.1"},
        {"X_Forwarded_For": "203.0.113.7"},
        {"Forwarded": "for=_a"},
    ):
        assert asked(server, "/_stcore/metrics", **headers)[::2] == (404, b"Not Found")
    assert b"active_sessions" in asked(server, "/_stcore/metrics")[2]  # of this machine
    assert (
        b"<title>Streamlit</title>" in asked(server, "/_stcore/script-health-check")[2]
    )  # there is no such route
    status, _, body = asked(server, "/_stcore/agent/interact", "POST", b"{}", Content_Type="application/json")
    assert status == 403
    assert b"not_available" in body


def test_our_settings_are_read_from_secrets_and_are_kept_secret(server: Container) -> None:
    everything = sent_for(server, b"")
    assert b"at most 33 tokens" in everything
    assert b"opens only these models: demo" in everything
    assert b"EXPLORER_" not in everything


# Errors


def test_a_page_that_fails_tells_no_more_than_that(failing: Container) -> None:
    everything = sent_for(failing, b"")
    assert b"ValueError" in failing.log.read_bytes()
    assert b"EXPLORER_MAX_TOKENS" in failing.log.read_bytes()
    for word in (b"Traceback", b"EXPLORER_MAX_TOKENS", b"settings.py"):
        assert word not in everything


@pytest.mark.parametrize("message", [b"\xff\xff", bytes(range(64)), b"\x5a\x02\x08", b"a" * 1000])
def test_what_is_no_message_is_answered_with_no_traceback(server: Container, message: bytes) -> None:
    assert b"Traceback" not in sent_for(server, message)


def test_what_is_no_upload_is_answered_with_no_traceback(server: Container) -> None:
    token = generate_xsrf_token_string()
    headers = {"X_Xsrftoken": token, "Cookie": f"_streamlit_xsrf={token}"}
    path = "/_stcore/upload_file/session/file"
    for kind in ("multipart/form-data; boundary=b", "multipart/form-data", "text/plain"):
        status, _, body = asked(server, path, "PUT", b"nothing", Content_Type=kind, **headers)
        assert status == 400
        assert b"Traceback" not in body


def test_the_health_check_of_the_image_tells_well_from_gone(server: Container) -> None:
    check = DOCKERFILE.command("HEALTHCHECK")
    for port, well in ((server.port, True), (free_port(), False)):
        run = subprocess.run(check, env=in_container(port), capture_output=True, timeout=30)
        assert (run.returncode == 0) == well, run.stderr
