"""The command `mamba2-explorer --class`: the app for everyone in a room, on the lecturer's own computer."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from textwrap import fill

import psutil
from streamlit import net_util

from explorer.classes import link_to_class, qr_text
from explorer.settings import Settings

FLAG = "--class"
FOR_STRANGERS = (
    "--server.maxMessageSize=50",
    "--server.maxWidgetStateSize=5",
    "--client.allowedOrigins=https://none.invalid",
)
"""As in deploy/Dockerfile."""
_OURS = ("--server.address", "--server.baseUrlPath", "--server.sslCertFile", "--browser.server")
"""Options that would make the printed address wrong."""
_FIRST_PORT = 8501
_WIDTH = 80
"""Characters of a line in any terminal."""


def options_for_class(given: Sequence[str], limits: Settings) -> list[str]:
    """Print who can open the app and where. Returns Streamlit's options.

    Ends the program, with a sentence, if one that was given sets the address.
    """
    if theirs := [option for option in given if option.startswith(_OURS)]:
        sys.exit(
            f"mamba2-explorer {FLAG}: it sets the address itself, so {theirs[0].partition('=')[0]} cannot be "
            "given. Without it, EXPLORER_HOSTED=1 mamba2-explorer takes all of Streamlit's options."
        )
    parser = argparse.ArgumentParser("mamba2-explorer", add_help=False, allow_abbrev=False)
    parser.add_argument(FLAG, action="store_true")
    usual = os.environ.get("STREAMLIT_SERVER_PORT")
    parser.add_argument("--server.port", dest="port", type=int, default=usual)
    known, others = parser.parse_known_args(given)
    port = known.port or free_port()
    addresses = addresses_here()
    print(announcement(addresses, port, limits, with_code=sys.stdout.isatty()), flush=True)
    open_to, shown = ("0.0.0.0", str(addresses[0])) if addresses else ("localhost", "localhost")
    return [
        f"--server.address={open_to}",
        f"--browser.serverAddress={shown}",
        f"--server.port={port}",
        *FOR_STRANGERS,
        *others,
    ]


def free_port() -> int:
    """The first port from Streamlit's usual one on that nobody listens at."""
    for port in range(_FIRST_PORT, 2**16):
        with socket.socket() as tried:
            if os.name == "posix":  # a port that was just closed is free, as it is for the server
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("", port))
            except OSError:
                continue
            return port
    sys.exit(f"mamba2-explorer {FLAG}: every port from {_FIRST_PORT} on is in use. Close a server.")


def addresses_here() -> list[IPv4Address]:
    """Addresses of this computer in its networks, that of the usual one first. Empty without a network."""
    states = psutil.net_if_stats()
    found = [
        IPv4Address(each.address)
        for interface, addresses in psutil.net_if_addrs().items()
        if interface in states and states[interface].isup
        for each in addresses
        if each.family == socket.AF_INET
    ]
    usual = net_util.get_internal_ip()
    return sorted(
        (each for each in found if not each.is_loopback),
        key=lambda each: (str(each) != usual, each.is_link_local),
    )


def announcement(addresses: Sequence[IPv4Address], port: int, limits: Settings, *, with_code: bool) -> str:
    """What the command prints: where a class is started and joined, what is open to whom, and how to stop."""
    if addresses:
        links = [link_to_class(f"http://{address}:{port}") for address in addresses]
        blocks = [*_where(links, with_code), *_to_whom(addresses, limits)]
    else:
        blocks = _alone(link_to_class(f"http://localhost:{port}"))
    return "\n\n".join([*blocks, "To stop, press Ctrl+C here: the app closes for everyone."])


def _alone(link: str) -> list[str]:
    return [
        "This computer is in no network, so nobody else can open the app. You can, at",
        f"    {link}",
        _wrapped(
            "Connect it to the network of the room, such as the hotspot of a phone, and start the app again."
        ),
    ]


def _where(links: Sequence[str], with_code: bool) -> list[str]:
    first, *others = links
    blocks = [
        _wrapped("Open this address to start a class. Students in the same network open it to join one:"),
        f"    {first}",
    ]
    if with_code:
        blocks += ["Or they point their camera at its code:", qr_text(first)]
    if others:
        blocks += ["In other networks of this computer it is", "\n".join(f"    {each}" for each in others)]
    return [
        *blocks,
        _wrapped(
            "If it does not open on another device: a firewall on this computer may block it, and many guest "
            "networks keep devices apart. The hotspot of a phone usually does not."
        ),
    ]


def _to_whom(addresses: Sequence[IPv4Address], limits: Settings) -> list[str]:
    everyone = (
        "Everyone in the network can now open the explorer, run prompts on this computer, show it a file of "
        f"at most {limits.most_upload_kilobytes:,} KB, start a class, and join one whose code they know. "
        "They can open no file or folder of this computer, and only these models: "
        f"{', '.join(limits.offered)}. Their runs have the limits of a hosted copy. What is sent is not "
        "encrypted."
    )
    public = [
        f"{address} can be reached from the whole internet, unless a firewall is in between."
        for address in addresses
        if address.is_global
    ]
    return [_wrapped(each) for each in [everyone, *public]]


def _wrapped(text: str) -> str:
    return fill(text, _WIDTH, break_on_hyphens=False)
