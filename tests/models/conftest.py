"""Tiny Mamba-2 checkpoints in both formats, made on the spot, and a hub on this machine's own loopback."""

import hashlib
import json
import shutil
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import pytest
import torch
from transformers import Mamba2Config, Mamba2ForCausalLM

from components.models import ModelLoadError

GOLDEN = Path(__file__).parents[1] / "data" / "golden" / "grouped"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refused(words: str) -> pytest.RaisesExc[ModelLoadError]:
    return pytest.raises(ModelLoadError, match=f"(?s){words}")


@pytest.fixture(scope="session")
def tiny_model() -> Mamba2ForCausalLM:
    torch.manual_seed(0)
    config = Mamba2Config(
        hidden_size=32,
        num_heads=8,
        head_dim=8,
        state_size=8,
        num_hidden_layers=2,
        n_groups=1,
        vocab_size=112,
        tie_word_embeddings=True,
        bos_token_id=95,
        eos_token_id=95,
        pad_token_id=96,
    )
    model = Mamba2ForCausalLM(config).eval()
    # Freshly made models have D = 1 and zero biases: make every weight count in the logits.
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A complete model folder in the Hugging Face format, to be damaged by the test."""
    return shutil.copytree(GOLDEN, tmp_path / "model", ignore=shutil.ignore_patterns("transformer_lens*"))


@pytest.fixture
def original_folder(tmp_path: Path, tiny_model: Mamba2ForCausalLM) -> Path:
    """The tiny model as `mamba_ssm` would have saved it, with its tokenizer added."""
    target = tmp_path / "original"
    target.mkdir()
    settings = {
        "d_model": 32,
        "n_layer": 2,
        "vocab_size": 97,
        "pad_vocab_size_multiple": 16,
        "ssm_cfg": {"layer": "Mamba2", "d_state": 8, "headdim": 8},
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "tie_embeddings": True,
        "attn_layer_idx": [],
        "attn_cfg": {},
    }
    (target / "config.json").write_text(json.dumps(settings))
    weights = {
        key.replace("backbone.embeddings.", "backbone.embedding."): tensor
        for key, tensor in tiny_model.state_dict().items()
    }
    torch.save(weights, target / "pytorch_model.bin")
    shutil.copy(GOLDEN / "tokenizer.json", target)
    return target


@pytest.fixture
def edit_config() -> Callable[..., None]:
    def edit(folder: Path, remove: tuple[str, ...] = (), **changes: object) -> None:
        path = folder / "config.json"
        settings = json.loads(path.read_text()) | changes
        for key in remove:
            del settings[key]
        path.write_text(json.dumps(settings))

    return edit


class LocalHub:
    """Speaks as much of the hub's protocol as a download needs, for repositories that are local folders."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.refusal: tuple[int, str] | None = None
        self.served: list[str] = []
        self.commit = COMMIT
        self.address = ""
        self.branches: dict[str, tuple[str, Path]] = {}
        """Other branches than main, of every repository: the commit of each, and what it holds."""
        self.sent_instead: dict[str, bytes] = {}
        """Files that arrive as something else than what the hub promised."""
        self.cut: dict[str, float] = {}
        """Files whose connection closes once, after this part of their bytes."""
        self.resets = False
        """Whether such a connection is reset, as by a router that went away, and not closed in order."""
        self.pauses: dict[str, float] = {}
        """Files that arrive in a hundred pieces, and the seconds between two of them."""
        self.ranges: list[str] = []
        """What was asked for of files that were not asked for whole."""
        self.under_way: list[str] = []
        """Files that are being sent."""

    def at(self, revision: str, main: Path) -> tuple[str, Path] | None:
        if revision in ("main", self.commit):
            return self.commit, main
        by_commit = {commit: (commit, folder) for commit, folder in self.branches.values()}
        return (self.branches | by_commit).get(revision)

    def respond(self, path: str) -> tuple[int, dict[str, str], bytes]:
        path = unquote(urlsplit(path).path)
        if self.refusal:
            return self.refusal[0], {"X-Error-Code": self.refusal[1]}, b""
        for repository, main in self.repositories.items():
            api = f"/api/models/{repository}"
            if path.startswith(f"{api}/revision/"):
                found = self.at(path.removeprefix(f"{api}/revision/"), main)
                if found is None:
                    return 404, {"X-Error-Code": "RevisionNotFound"}, b""
                return 200, {}, json.dumps({"id": repository, "sha": found[0], "siblings": []}).encode()
            if path.startswith(f"{api}/tree/"):
                _, folder = self.at(path.split("/")[-1], main) or (self.commit, main)
                files = [
                    {"type": "file", "path": f.name, "size": f.stat().st_size, "oid": f.name}
                    for f in folder.iterdir()
                ]
                return 200, {}, json.dumps(files).encode()
            if path.startswith(f"/{repository}/resolve/"):
                commit, name = path.removeprefix(f"/{repository}/resolve/").rsplit("/", 1)
                _, folder = self.at(commit, main) or (commit, main)
                if (folder / name).is_file():
                    body = (folder / name).read_bytes()
                    return 200, {"X-Repo-Commit": commit, **self.sums(name, body)}, body
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b""

    def sums(self, name: str, body: bytes) -> dict[str, str]:
        """What the hub promises of a file: the SHA-256 of weights, and of others what git calls them."""
        if name.endswith((".safetensors", ".bin")):
            linked = hashlib.sha256(body).hexdigest()
            return {"X-Linked-Etag": f'"{linked}"', "X-Linked-Size": str(len(body)), "ETag": '"of the store"'}
        return {"ETag": f'"{hashlib.sha1(b"blob %d" % len(body) + bytes(1) + body).hexdigest()}"'}

    def send(self, stream: BinaryIO, file: str, body: bytes, start: int) -> None:
        end = int(len(body) * self.cut.pop(file, 1))
        step = len(body) // 100 if file in self.pauses else len(body)
        self.under_way.append(file)
        try:
            for at in range(start, end, step or 1):
                stream.write(body[at : min(at + step, end)])
                stream.flush()
                time.sleep(self.pauses.get(file, 0))
        except OSError:  # the other side has gone
            pass
        finally:
            self.under_way.remove(file)


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status, headers, body = hub.respond(self.path)
            file = self.path.rsplit("/", 1)[1] if "/resolve/" in self.path else ""
            start = 0
            if self.command == "GET" and status == 200:
                body = hub.sent_instead.get(file, body)
                if asked := self.headers["Range"]:
                    hub.ranges.append(asked)
                    start = int(asked.removeprefix("bytes=").removesuffix("-"))
                    status, whole = 206, len(body)
                    headers |= {"Content-Range": f"bytes {start}-{whole - 1}/{whole}"}
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            if self.command == "GET":
                if file:
                    hub.served.append(file)
                is_cut = file in hub.cut
                hub.send(self.wfile, file, body, start)
                if is_cut and hub.resets:
                    time.sleep(0.1)  # what the other side has not read by then is lost
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.rfile.close()
                    self.connection.close()

        def log_message(self, *args: object) -> None:
            pass

    Handler.do_GET = Handler.do_HEAD = Handler.answer
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    use_hub(monkeypatch, hub.address, tmp_path / "cache")
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


def use_hub(monkeypatch: pytest.MonkeyPatch, endpoint: str, cache: Path) -> None:
    """Point huggingface_hub at `endpoint` and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
