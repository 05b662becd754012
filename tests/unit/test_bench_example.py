"""The bench in examples/bench: its Dockerfile, its devcontainer.json and .dockerignore agree with the checkout."""

import json
import re
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "examples/bench/Dockerfile").read_text("utf-8")
HEADER = DOCKERFILE.partition("FROM ")[0]
IGNORED = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
STATE = "/.local/state/opensoft/agenttower"


def devcontainer() -> dict[str, Any]:
    """devcontainer.json without its comments, each of which has a line of its own."""
    lines = (ROOT / "examples/bench/devcontainer.json").read_text("utf-8").splitlines()
    found: dict[str, Any] = json.loads("\n".join(line for line in lines if not line.lstrip().startswith("//")))
    return found


def mounts() -> dict[str, str]:
    """Source by target."""
    each = [dict(part.split("=", 1) for part in mount.split(",")) for mount in devcontainer()["mounts"]]
    return {mount["target"]: mount["source"] for mount in each}


def setting(name: str) -> str:
    """The value of an ENV or LABEL line of the Dockerfile."""
    found: list[str] = re.findall(rf"^(?:ENV|LABEL) {re.escape(name)}=(\S+)$", DOCKERFILE, re.MULTILINE)
    return found[0]


def test_the_devcontainer_is_the_image_that_the_dockerfile_says_how_to_build() -> None:
    assert f" -t {devcontainer()['image']} ." in HEADER
    assert "build" not in devcontainer()
    assert "docker build -f examples/bench/Dockerfile " in HEADER


def test_the_devcontainer_runs_as_the_user_whose_tmux_is_meant() -> None:
    assert devcontainer()["remoteUser"] == setting("tower.user")
    assert f"\nUSER {setting('tower.user')}\n" in DOCKERFILE


def test_the_log_folder_is_that_of_the_containers_name() -> None:
    words = devcontainer()["runArgs"]
    name = words[words.index("--name") + 1]
    assert mounts()["/var/log/tower"] == f"${{localEnv:HOME}}{STATE}/logs/{name}"
    assert f"--name bench-a --init \\\n#     -v ~{STATE}/logs/bench-a:/var/log/tower" in HEADER


def test_the_sockets_folder_is_mounted_where_tower_socket_says() -> None:
    socket = PurePosixPath(devcontainer()["containerEnv"]["TOWER_SOCKET"])
    assert str(socket) == setting("TOWER_SOCKET")
    assert mounts()[str(socket.parent)] == f"${{localEnv:HOME}}{STATE}/socket"
    assert f"-v ~{STATE}/socket:{socket.parent} " in HEADER


@pytest.mark.parametrize("file", ["Dockerfile", "devcontainer.json"])
def test_it_says_to_export_the_socket_on_the_host(file: str) -> None:
    said = (ROOT / "examples/bench" / file).read_text("utf-8")
    assert f"export TOWER_SOCKET=~{STATE}/socket/{PurePosixPath(setting('TOWER_SOCKET')).name}" in said


def test_what_is_mounted_is_made_first() -> None:
    made = devcontainer()["initializeCommand"]
    for source in mounts().values():
        assert source.removeprefix("${localEnv:HOME}/") in made.split()


def test_what_the_dockerfile_copies_is_what_the_project_is_built_from() -> None:
    assert re.findall(r"^COPY (.*) (\S+)$", DOCKERFILE, re.MULTILINE) == [(".", "/opt/tower-source")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    sources = {*wheel["packages"], *wheel["force-include"], "pyproject.toml"}
    sources |= {project["project"]["readme"], *project["project"]["license-files"]}
    assert {line[1:] for line in IGNORED if line.startswith("!")} == sources
    assert all((ROOT / source).exists() for source in sources)


def test_nothing_else_of_the_checkout_comes_in() -> None:
    rules = [line for line in IGNORED if line and not line.startswith("#")]
    assert rules[0] == "*"
    assert not {rule for rule in rules if rule.startswith("!.")}
