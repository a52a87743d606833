"""The files in deploy/ fit each other, the package and the README."""

import re
import shutil
import stat
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from streamlit import config

from tests.deploy.containers import DEPLOY, DOCKERFILE, ROOT, Dockerfile

README = (DEPLOY / "README.md").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
REPLICAS = [name for name in COMPOSE["services"] if name not in {"nginx", "classes"}]


def front_matter(text: str) -> dict[str, Any]:
    """The block with which a Space's README begins."""
    found = re.search(r"(?:^|\n)---\n(.*?)\n---\n", text, re.DOTALL)
    assert found is not None
    block = yaml.safe_load(found[1])
    assert isinstance(block, dict)
    return block


def ignored(path: str) -> bool:
    """Whether .dockerignore, a list of what is not ignored, keeps a path from Docker."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in lines
    allowed = [line[1:] for line in lines if line.startswith("!")]
    return not any(each == path or each.startswith(f"{path}/") for each in allowed)


def test_every_file_that_the_dockerfile_copies_exists_and_reaches_docker() -> None:
    copied = DOCKERFILE.copied()
    assert {"components", "explorer", "pyproject.toml", "requirements.txt"} <= set(copied)
    for path in copied:
        assert (ROOT / path).exists(), path
        assert not ignored(path), path


def test_the_image_runs_as_an_ordinary_user_and_tells_how_it_is() -> None:
    assert DOCKERFILE.all("USER") == ["1000"]
    assert any(re.search(r"useradd .*--uid 1000\b", rest) for rest in DOCKERFILE.all("RUN"))
    assert all(re.match(r"python:3\.\d+-slim-\w+\b", rest) for rest in DOCKERFILE.all("FROM"))
    assert DOCKERFILE.environment()["EXPLORER_HOSTED"] == "1"
    assert DOCKERFILE.all("EXPOSE") == [DOCKERFILE.environment()["PORT"]]
    assert "/_stcore/health" in " ".join(DOCKERFILE.command("HEALTHCHECK"))
    assert DOCKERFILE.command("CMD")[:2] == ["sh", "-c"]
    assert DOCKERFILE.command("CMD")[2].startswith("exec ")  # so that the server hears the signal to stop


def test_a_server_installs_what_the_package_needs_and_torch_without_cuda() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    listed = [line for line in lines if line and not line.startswith(("#", "--"))]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["postgresql"]]
    assert [each for each in listed if not each.startswith("torch==")] == [
        each for each in needed if not each.startswith("torch>=")
    ]
    (torch,) = (each for each in listed if each.startswith("torch=="))
    assert torch.endswith("+cpu")
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines


def test_the_wheel_that_the_image_installs_holds_the_model_and_the_settings(tmp_path: Path) -> None:
    pytest.importorskip("hatchling", reason="hatchling, which builds the wheel, is not installed.")
    source = tmp_path / "source"
    for path in DOCKERFILE.copied():
        if (ROOT / path).is_dir():  # links stay links, as Docker leaves them
            skip = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / path, source / path, symlinks=True, ignore=skip)
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / path, source / path)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "wheel")]
    subprocess.run(command, cwd=source, check=True, capture_output=True, timeout=60)
    (wheel,) = (tmp_path / "wheel").iterdir()
    with zipfile.ZipFile(wheel) as file:
        assert {
            "components/demo/model/model.safetensors",
            "components/demo/model/tokenizer.json",
            "explorer/.streamlit/config.toml",
            "explorer/app.py",
            "explorer/shell.js",
        } <= set(file.namelist())


def test_every_replica_of_compose_is_one_that_nginx_knows() -> None:
    port = DOCKERFILE.environment()["PORT"]
    servers = re.findall(
        r"^server (\S+)", (DEPLOY / "replicas.conf").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert servers == [f"{name}:{port}" for name in REPLICAS]
    assert len(servers) > 1
    assert list(COMPOSE["services"]["nginx"]["depends_on"]) == REPLICAS
    database = COMPOSE["services"]["classes"]["environment"]["POSTGRES_USER"]  # which is also its name
    for name in REPLICAS:
        url = COMPOSE["services"][name]["environment"]["EXPLORER_DATABASE_URL"]
        assert url == f"postgresql://{database}@classes/{database}"
        build = COMPOSE["services"][name]["build"]
        assert (DEPLOY / build["context"]).resolve() == ROOT
        assert (ROOT / build["dockerfile"]).is_file()
    for volume in COMPOSE["services"]["nginx"]["volumes"]:
        assert (DEPLOY / volume.split(":")[0]).is_file(), volume
    (port,) = re.findall(r"listen (\d+);", (DEPLOY / "nginx.conf").read_text(encoding="utf-8"))
    assert COMPOSE["services"]["nginx"]["ports"] == [f"{port}:{port}"]


def test_nginx_lets_through_what_streamlit_takes() -> None:
    package = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    (most,) = re.findall(r"client_max_body_size (\d+)m;", (DEPLOY / "nginx.conf").read_text(encoding="utf-8"))
    assert int(most) > package["server"]["maxUploadSize"]


def test_a_space_has_all_that_it_needs(tmp_path: Path) -> None:
    assert (DEPLOY / "space.sh").stat().st_mode & stat.S_IXUSR
    subprocess.run([DEPLOY / "space.sh", tmp_path / "space"], check=True, timeout=60)
    space = tmp_path / "space"
    readme = (space / "README.md").read_text(encoding="utf-8")
    assert readme.startswith("---\n")
    assert front_matter(readme) == front_matter(README)
    block = front_matter(readme)
    assert block["sdk"] == "docker"
    assert str(block["app_port"]) == DOCKERFILE.environment()["PORT"]
    assert len(block["short_description"]) <= 60  # what a Space takes
    dockerfile = Dockerfile((space / "Dockerfile").read_text(encoding="utf-8"))
    assert all((space / path).exists() for path in dockerfile.copied())
    assert (space / "explorer" / ".streamlit" / "config.toml").is_file()
    assert not any(path.is_symlink() for path in space.rglob("*"))
    more = dict(dockerfile.environment().items() - DOCKERFILE.environment().items())
    assert more == {"STREAMLIT_SERVER_XSRF_COOKIE_SAME_SITE": "none"}


def test_files_and_settings_that_the_readme_names_exist() -> None:
    for path in re.findall(r"`((?:explorer|deploy|tests)/[\w./-]+)`|\]\((\.\./[\w.]+)\)", README):
        assert (DEPLOY / path[1] if path[1] else ROOT / path[0]).exists(), path
    assert re.search(r'^EXPLORER_HOSTED = "1"$', README, re.MULTILINE)


def test_streamlit_has_the_settings_that_security_md_tells() -> None:
    text = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` *\| (\S+) *\| (\w+)", text, re.MULTILINE)
    assert len(rows) > 15
    package = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text(encoding="utf-8"))
    for name, told, by in rows:
        option = config._config_options_template[name]
        section, _, key = name.partition(".")
        match by:
            case "package":
                value = package[section][key]
            case "image":
                value = DOCKERFILE.environment()[option.env_var]
            case _:
                value = config.get_option(name)
                assert key not in package.get(section, {}), name
                assert option.env_var not in DOCKERFILE.environment(), name
        words = {"any": [], "none": [], "nobody": "https://none.invalid"}
        if told in words:
            assert value == words[told] or not (value or words[told]), name
        else:
            assert f"`{str(value).lower()}`" == told.lower(), name
