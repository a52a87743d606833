"""Tiny Mamba-2 checkpoints in both formats, made on the spot, and a hub on this machine's own loopback."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
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
        self.branches: dict[str, tuple[str, Path]] = {}
        """Other branches than main, of every repository: the commit of each, and what it holds."""

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
                    etag = f'"{commit}-{name}"'
                    return 200, {"ETag": etag, "X-Repo-Commit": commit}, (folder / name).read_bytes()
                return 404, {"X-Error-Code": "EntryNotFound"}, b""
        return 404, {"X-Error-Code": "RepoNotFound"}, b""


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    hub = LocalHub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            status, headers, body = hub.respond(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                if "/resolve/" in self.path:
                    hub.served.append(self.path.rsplit("/", 1)[1])
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    Handler.do_GET = Handler.do_HEAD = Handler.answer
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    use_hub(monkeypatch, f"http://127.0.0.1:{server.server_port}", tmp_path / "cache")
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
