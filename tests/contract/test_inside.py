"""What a peer inside a bench may do: a real container with the real socket mounted."""

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.harness import Container, Tower, eventually
from tests.yard import Plan, Yard, python_mounts
from tower.server import served

pytestmark = pytest.mark.docker

ASK = """
import json, socket, sys
client = socket.socket(socket.AF_UNIX)
client.connect("/run/tower/agenttowerd.sock")
lines = client.makefile("rwb")
for line in sys.stdin.buffer:
    lines.write(line)
    lines.flush()
    sys.stdout.buffer.write(lines.readline())
"""


class Inside:
    """A container that is a bench, as a program in it sees the tower."""

    def __init__(self, tower: Tower, yard: Yard, **plan: Any) -> None:
        mounts = {tower.state: "/run/tower", **python_mounts()}
        self.bench = Container(tower, yard, user="root", mounts=mounts, **plan)
        self.container_id = self.bench.container_id

    def ask(self, *requests: tuple[str, Any]) -> list[Any]:
        """The answers to requests on one connection."""
        lines = b"".join(json.dumps({"method": name, "params": params}).encode() + b"\n" for name, params in requests)
        done = self.bench.run(sys.executable, "-c", ASK, stdin=lines)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def one(self, name: str, **params: Any) -> Any:
        """The answer to one request."""
        return self.ask((name, params))[0]


@pytest.fixture(scope="module")
def yard(engine_host: str) -> Iterator[Yard]:
    """Containers that the tests of this module share."""
    made = Yard(engine_host)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def tower(engine_host: str) -> Iterator[Tower]:
    """A tower that sees them."""
    made = Tower(docker_host=engine_host)
    try:
        yield made.up()
    finally:
        made.close()


@pytest.fixture(scope="module")
def inside(tower: Tower, yard: Yard) -> Inside:
    """A bench that pretends to be another one, and has a layout; so has the other one, and the host."""
    other = Container(tower, yard)
    made = Inside(tower, yard, hostname=other.container_id[:12], env=[f"TOWER_CONTAINER_ID={other.container_id}"])
    tower.call("app.scan.containers")
    for number, bench in enumerate((other.container_id, made.container_id, "local")):
        tower.ready(tower.create(bench, session=f"alpha{number}"))
    return made


def rows(tower: Tower, own: str) -> dict[str, Sequence[Any]]:
    """A foreign layout and a pane of it, and those of the bench itself."""
    found = {row["container_id"]: row for row in tower.call("managed.layout.list", state="ready")["items"]}
    mine = found.pop(own)
    return {
        "own": [mine["layout_id"], tower.layout(mine["layout_id"])["panes"][0]["pane_id"], own],
        "foreign": [
            [row["layout_id"], tower.layout(row["layout_id"])["panes"][0]["pane_id"], row["container_id"]]
            for row in found.values()
        ],
    }


def test_a_bench_reads_its_own_layouts_and_no_others(tower: Tower, inside: Inside) -> None:
    layout, pane, bench = rows(tower, inside.container_id)["own"]
    listed, named, detail, row, panes = inside.ask(
        ("managed.layout.list", {"state": "ready"}),
        ("managed.layout.list", {"state": "ready", "container_id": bench[:12]}),
        ("managed.layout.detail", {"layout_id": layout}),
        ("managed.pane.detail", {"pane_id": pane}),
        ("managed.pane.list", {}),
    )
    assert [item["layout_id"] for item in listed["result"]["items"]] == [layout]
    assert listed == named
    assert (detail["result"]["layout_id"], row["result"]["pane_id"]) == (layout, pane)
    assert {item["container_id"] for item in panes["result"]["items"]} == {bench}


def test_everything_else_gets_one_answer(tower: Tower, inside: Inside) -> None:
    foreign = [*rows(tower, inside.container_id)["foreign"], ["none", "none", "none"], ["none", "none", "local"]]
    requests: list[tuple[str, Any]] = []
    for layout, pane, bench in foreign:
        about = {"container_id": bench, "template_name": "1m+2s", "tmux_session_name": "beta"}
        requests += [
            ("managed.layout.create", about),
            ("managed.layout.list", {"container_id": bench}),
            ("managed.layout.detail", {"layout_id": layout}),
            ("managed.layout.remove", {"layout_id": layout}),
            ("managed.layout.recreate", {"layout_id": layout}),
            ("managed.pane.list", {"container_id": bench}),
            ("managed.pane.list", {"layout_id": layout}),
            ("managed.pane.detail", {"pane_id": pane}),
            ("managed.pane.remove", {"pane_id": pane}),
            ("managed.pane.recreate", {"predecessor_pane_id": pane}),
            ("managed.pane.promote_from_adopted", {"agent_id": pane}),
        ]
    answers = {json.dumps(answer, sort_keys=True) for answer in inside.ask(*requests)}
    assert len(answers) == 1
    error = json.loads(answers.pop())["error"]
    assert (error["code"], error["details"]) == ("host_only", {})


def test_every_app_name_is_host_only(inside: Inside) -> None:
    names = [name for name in served.names() if name.startswith("app.")]
    answers = inside.ask(*((name, {}) for name in (*names, "app.", "app.none")))
    assert {answer["error"]["code"] for answer in answers} == {"host_only"}
    assert len({json.dumps(answer, sort_keys=True) for answer in answers}) == 1


def test_a_bench_creates_removes_and_recreates_its_own(tower: Tower, inside: Inside) -> None:
    made = inside.one("managed.layout.create", template_name="1m+2s", tmux_session_name="gamma", label_prefix="g-")
    layout = tower.ready(made["result"]["layout_id"])
    assert layout["container_id"] == inside.container_id
    pane = layout["panes"][0]["pane_id"]
    assert inside.one("managed.pane.remove", pane_id=pane)["result"]["state"] == "removed"
    again = inside.one("managed.pane.recreate", predecessor_pane_id=pane)["result"]
    assert again["predecessor_id"] == pane
    tower.ready(layout["layout_id"])
    assert inside.one("managed.layout.remove", layout_id=layout["layout_id"])["result"]["state"] == "removed"


def test_a_container_that_is_no_bench_gets_nothing(tower: Tower, yard: Yard) -> None:
    mounts = {tower.state: "/run/tower", **python_mounts()}
    stranger = yard.start(Plan(name=f"plain-{yard.name}", user="root", labels={}, mounts=mounts))
    asked = Container.__new__(Container)
    asked.tower, asked.yard, asked.user, asked.container_id = tower, yard, "root", stranger
    answers = eventually(lambda: asked.run(sys.executable, "-c", ASK, stdin=b'{"method": "managed.layout.list"}\n'))
    error = json.loads(answers.stdout)["error"]
    assert (error["code"], error["details"]) == ("host_only", {})
