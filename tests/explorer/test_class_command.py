"""What `mamba2-explorer --class` says, in every kind of network."""

import itertools
import re
import socket
from ipaddress import IPv4Address
from types import SimpleNamespace

import psutil
import pytest
import segno
from streamlit import net_util

from explorer import class_command
from explorer.class_command import (
    FOR_STRANGERS,
    addresses_here,
    announcement,
    free_port,
    options_for_class,
)
from explorer.classes import link_to_class, qr_text
from explorer.settings import Settings
from tests.explorer.conftest import ROOT

LIMITS = Settings(hosted=True)


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch):
    """Sets the interfaces of this computer, each with its addresses, and the address of the usual route."""

    def set_network(usual: str, **interfaces: list[str]) -> None:
        found = {
            name: [
                SimpleNamespace(family=socket.AF_INET6 if ":" in address else socket.AF_INET, address=address)
                for address in addresses
            ]
            for name, addresses in interfaces.items()
        }
        monkeypatch.setattr(psutil, "net_if_addrs", lambda: found)
        states = {name: SimpleNamespace(isup=name != "unplugged") for name in found}
        monkeypatch.setattr(psutil, "net_if_stats", lambda: states)
        monkeypatch.setattr(net_util, "get_internal_ip", lambda: usual)

    return set_network


def test_the_usual_network_comes_first_and_loopback_never(network) -> None:
    network(
        "192.168.1.7",
        lo=["127.0.0.1", "::1"],
        cable=["169.254.3.4", "fe80::1%cable"],
        docker0=["172.17.0.1"],
        unplugged=["10.0.0.9"],
        wlan0=["192.168.1.7", "fd00::7"],
    )
    assert [str(each) for each in addresses_here()] == ["192.168.1.7", "172.17.0.1", "169.254.3.4"]


def test_without_a_network_the_app_is_this_computers_own(network, capsys: pytest.CaptureFixture) -> None:
    network("127.0.0.1", lo=["127.0.0.1", "::1"])
    options = options_for_class(["--class", "--server.port", "8600"], LIMITS)
    said = capsys.readouterr().out
    assert said.startswith("This computer is in no network, so nobody else can open the app.")
    assert "\n    http://localhost:8600/classroom\n" in said
    assert "0.0.0.0" not in said
    assert options[:3] == [
        "--server.address=localhost", "--browser.serverAddress=localhost", "--server.port=8600"
    ]  # fmt: skip


def test_what_is_open_to_whom_is_said_in_words(network, capsys: pytest.CaptureFixture) -> None:
    network("192.168.1.7", wlan0=["192.168.1.7"])
    options = options_for_class(["--class", "--server.port=8600", "--theme.base", "dark"], LIMITS)
    said = capsys.readouterr().out
    assert "\n    http://192.168.1.7:8600/classroom\n" in said
    for words in (
        "Everyone in the network can now open the explorer, run prompts on this computer, show it a file of "
        "at most 1,024 KB, start a class, and join one whose code they know.",
        "They can open no file or folder of this computer, and only these models: demo.",
        "not encrypted",
        "To stop, press Ctrl+C here: the app closes for everyone.",
    ):
        assert words in " ".join(said.split())
    assert "other networks" not in said
    assert "camera" not in said
    assert max(map(len, said.splitlines())) <= 80
    assert "internet" not in said
    assert "\x1b" not in said  # there is no terminal that would draw the code
    assert options == [
        "--server.address=0.0.0.0",
        "--browser.serverAddress=192.168.1.7",
        "--server.port=8600",
        *FOR_STRANGERS,
        "--theme.base",
        "dark",
    ]


def test_other_networks_and_public_addresses_are_named() -> None:
    addresses = [IPv4Address("131.188.1.2"), IPv4Address("10.1.2.3")]
    said = announcement(addresses, 8501, LIMITS, with_code=False)
    assert said.index("http://131.188.1.2:8501/classroom") < said.index("other networks")
    assert "\n    http://10.1.2.3:8501/classroom\n" in said
    assert "131.188.1.2 can be reached from the whole internet" in said
    assert "10.1.2.3 can be reached" not in said


def test_the_code_in_a_terminal_is_that_of_the_link() -> None:
    link = link_to_class("http://192.168.1.7:8501")
    drawn = qr_text(link)
    assert drawn in announcement([IPv4Address("192.168.1.7")], 8501, LIMITS, with_code=True)
    rows = []
    for line in drawn.split("\n"):
        blocks = re.fullmatch("\x1b\\[38;5;16;48;5;231m([ ▀▄█]+)\x1b\\[0m", line)[1]
        rows += [[block in "▀█" for block in blocks], [block in "▄█" for block in blocks]]
    wanted = [[bool(cell) for cell in row] for row in segno.make_qr(link, error="m").matrix_iter(border=4)]
    assert rows[: len(wanted)] == wanted
    assert not any(itertools.chain(*rows[len(wanted) :]))


@pytest.mark.parametrize("option", ["--server.address", "--server.baseUrlPath=x", "--browser.serverPort=1"])
def test_an_option_that_would_make_the_address_wrong_is_refused(option: str) -> None:
    with pytest.raises(SystemExit) as caught:
        options_for_class(["--class", option], LIMITS)
    assert f"so {option.partition('=')[0]} cannot be given" in str(caught.value)


def test_the_port_is_the_given_one_or_a_free_one(network, monkeypatch: pytest.MonkeyPatch) -> None:
    network("127.0.0.1")
    monkeypatch.setenv("STREAMLIT_SERVER_PORT", "8700")
    assert "--server.port=8700" in options_for_class(["--class"], LIMITS)
    assert "--server.port=8701" in options_for_class(["--class", "--server.port", "8701"], LIMITS)
    monkeypatch.delenv("STREAMLIT_SERVER_PORT")
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(class_command, "_FIRST_PORT", port)
        assert free_port() > port


def test_strangers_get_what_the_image_gives_them() -> None:
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    for option in FOR_STRANGERS:
        name, _, value = option.removeprefix("--").partition("=")
        variable = "STREAMLIT_" + re.sub(r"([A-Z])", r"_\1", name.replace(".", "_")).upper()
        assert f"{variable}={value}" in dockerfile
