"""nginx before two replicas, with deploy/nginx.conf: visitors spread, stay, and move when one dies."""

import asyncio
import http.client
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import websockets
from playwright.sync_api import Browser, expect
from streamlit.web.server.starlette.starlette_app_utils import generate_xsrf_token_string

from benchmarks.visitor import visiting
from tests.browser.conftest import Explorer, new_tab
from tests.deploy.containers import DEPLOY, Container, containers, free_port, in_own_loop, wait_for

COOKIE = "explorer_visitor"


@dataclass
class Site:
    """Replicas behind nginx."""

    port: int
    replicas: list[Container]

    @property
    def address(self) -> str:
        return f"http://localhost:{self.port}"

    def replica(self, name: str) -> Container:
        """The replica that nginx names so."""
        (found,) = (each for each in self.replicas if name.endswith(f":{each.port}"))
        return found

    def replica_of(self, cookie: str) -> str:
        """The one that serves a visitor, as nginx names it."""
        return answering(self.ask("/_stcore/health", Cookie=cookie).headers["X-Replica"])

    def ask(
        self, path: str, method: str = "GET", body: bytes = b"", **headers: str
    ) -> http.client.HTTPResponse:
        """An answer, read."""
        connection = http.client.HTTPConnection("localhost", self.port, timeout=20)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body or None, sent)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer


def answering(tried: str | None) -> str:
    """Of the replicas that nginx tried for an answer, the one that gave it."""
    assert tried is not None
    return tried.rpartition(",")[2].strip()


def configured(folder: Path, port: int, replicas: list[Container]) -> Path:
    """nginx.conf for these ports and this folder; its answers say which replica they are from."""
    config = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for old, new in (
        ("listen 8080;", f"listen 127.0.0.1:{port};"),
        ("/tmp/", f"{folder}/"),
        (
            "            add_header Set-Cookie",
            "            add_header X-Replica $upstream_addr always;\n\\g<0>",
        ),
    ):
        config, times = re.subn(re.escape(old), new, config)
        assert times, old
    servers = (DEPLOY / "replicas.conf").read_text(encoding="utf-8").splitlines()
    lines = [line for line in servers if line.startswith("server")]
    here = [
        re.sub(r"explorer-\d:\d+", f"127.0.0.1:{replica.port}", line)
        for line, replica in zip(lines, replicas, strict=False)
    ]
    (folder / "replicas.conf").write_text("\n".join(here))
    (folder / "nginx.conf").write_text(config)
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Without nginx the tests are skipped on a user's machine and fail in CI."""
    sbin = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])
    nginx = shutil.which("nginx", path=sbin)
    if nginx is None:
        reason = "No nginx found, so there is nothing to put before the replicas."
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    folder, port = tmp_path_factory.mktemp("site"), free_port()
    replicas = [Container(folder), Container(folder)]
    config = configured(folder, port, replicas)
    log = folder / "nginx.txt"
    with log.open("w") as file:
        process = subprocess.Popen(
            [nginx, "-e", "stderr", "-p", str(folder), "-c", str(config), "-g", "daemon off;"],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        with containers(*replicas):
            wait_for(f"http://localhost:{port}/_stcore/health", process, log)
            yield Site(port, replicas)
    finally:
        process.terminate()
        process.wait(timeout=20)


def new_visitor(site: Site) -> str:
    """The cookie of somebody who comes for the first time."""
    answer = site.ask("/")
    assert answer.status == 200
    (cookie,) = (each for each in answer.headers.get_all("Set-Cookie") or [] if each.startswith(COOKIE))
    assert re.fullmatch(rf"{COOKIE}=[0-9a-f]{{32}}; Path=/; HttpOnly; SameSite=Lax", cookie)
    return cookie.partition(";")[0]


def new_visitors(site: Site, several: int) -> list[str]:
    """The cookies of so many visitors of either replica."""
    of: dict[str, list[str]] = {}
    for cookie in (new_visitor(site) for _ in range(40)):
        of.setdefault(site.replica_of(cookie), []).append(cookie)
    assert len(of) == 2
    assert min(map(len, of.values())) >= 8  # of 40: chance would have it once in 50,000 times
    return [cookie for cookies in of.values() for cookie in cookies[:several]]


def test_visitors_spread_over_the_replicas_and_each_stays_with_one(site: Site) -> None:
    token = generate_xsrf_token_string()
    body = b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\nMia\r\n--b--\r\n'

    async def visit(cookie: str) -> str:
        both = f"{cookie}; _streamlit_xsrf={token}"
        async with visiting(site.address, both) as visitor:
            replica = answering(visitor.socket.response.headers["X-Replica"])
            answer = await visitor.open("layer=1&head=3")
            assert answer.exceptions == []
            assert "Layer 1, head 3" in answer.texts
            for _ in range(3):  # what comes over other connections reaches the same replica
                page = await asyncio.to_thread(site.ask, "/", Cookie=both)
                sent = await asyncio.to_thread(
                    site.ask, f"/_stcore/upload_file/{visitor.session}/file", "PUT", body,
                    Cookie=both, X_Xsrftoken=token, Content_Type="multipart/form-data; boundary=b",
                )  # fmt: skip
                assert (page.headers["X-Replica"], sent.headers["X-Replica"]) == (replica, replica)
                assert sent.status == 204  # any other replica knows no such session: 400
                assert not any(each.startswith(COOKIE) for each in page.headers.get_all("Set-Cookie") or [])
        return replica

    async def all_visit() -> list[str]:
        return list(await asyncio.gather(*map(visit, new_visitors(site, 2))))

    visited = in_own_loop(all_visit())
    assert [visited.count(replica) for replica in set(visited)] == [2, 2]


def test_a_browser_without_cookies_stays_with_one_replica_too(site: Site) -> None:
    for name in ("one", "another"):
        assert len({site.ask("/", User_Agent=name).headers["X-Replica"] for _ in range(6)}) == 1


@dataclass
class Load:
    """Visitors in a thread who pick heads, and come back to their address when they are cut off."""

    site: Site
    cookies: list[str]
    seen: dict[str, list[str]] = field(default_factory=dict)
    """The replicas that each visitor was on, one after the other."""
    picks: dict[str, int] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._over = False
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        self._thread.start()

    def end(self) -> None:
        """Send them home."""
        self._over = True
        self._thread.join(timeout=60)

    async def _all(self) -> None:
        await asyncio.gather(*map(self._visit, self.cookies))

    async def _visit(self, cookie: str) -> None:
        address = "layer=1&head=3"
        while not self._over:
            try:
                async with visiting(self.site.address, cookie) as visitor:
                    replica = answering(visitor.socket.response.headers["X-Replica"])
                    self.seen.setdefault(cookie, []).append(replica)
                    self.picks[replica] = self.picks.get(replica, 0)
                    answer = await visitor.open(address)
                    if f"Layer {address[6]}, head {address[-1]}" not in answer.texts:
                        self.errors.append(f"{address} showed {answer.texts}")
                    while not self._over:
                        self.errors += answer.exceptions
                        self.picks[replica] += 1
                        head = self.picks[replica] % 8
                        await asyncio.sleep(0.2)  # in which a reader looks at it
                        address = f"layer=2&head={head}"  # as it stands in a browser's address bar
                        answer = await visitor.pick_head(2, head)
            except websockets.ConnectionClosed:
                await asyncio.sleep(0.2)


@pytest.mark.browser
def test_visitors_of_a_replica_that_dies_land_on_the_other_with_their_url(
    site: Site, browser: Browser
) -> None:
    explorer = Explorer(new_tab(browser), site.address)
    context = explorer.page.context
    explorer.open("?layer=2&head=1")
    before = explorer.described("panels"), explorer.page.url
    (cookie,) = (
        f"{each['name']}={each['value']}" for each in context.cookies() if each.get("name") == COOKIE
    )
    first = site.replica_of(cookie)

    load = Load(site, new_visitors(site, 2))
    try:
        explorer.page.evaluate("window.first = true")
        explorer.page.wait_for_timeout(1000)
        site.replica(first).kill()
        # The page that the dead replica drew gives way to one that the other draws.
        explorer.page.wait_for_function("!window.first", timeout=60_000)
        expect(explorer.chart("panels")).to_have_attribute("aria-label", before[0], timeout=60_000)
        explorer.settle()
        assert explorer.page.url == before[1]
        second = site.replica_of(cookie)
        assert second != first
        explorer.click_head(0, 1)  # and it goes on
        explorer.page.get_by_role("heading", name="Layer 0, head 1").wait_for()
    finally:
        load.end()
        context.close()
    assert load.errors == []
    assert set(load.picks) == {first, second}
    assert all(replicas[-1] == second for replicas in load.seen.values())
