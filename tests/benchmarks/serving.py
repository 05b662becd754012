"""Reads, the server's start and the command line."""

import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing

from tests.benchmarks.figures import Figure, amount, p50, spread
from tests.benchmarks.ground import Ground, Talk, answers, request, serve_alone, timed
from tests.harness import Tower, eventually

_READS = 400
_CLIENTS = 8
_HAMMER = 3.0


def reads(ground: Ground, layout_id: str) -> Iterator[Figure]:
    """Detail and list, by one client that keeps its connection, and by 8 that do not."""
    asked = {"detail": ("managed.layout.detail", {"layout_id": layout_id}), "list": ("managed.layout.list", {})}
    for name, limit in (("detail", 1), ("list", 3)):
        method, params = asked[name]
        took = read_times(ground.tower, method, _READS, **params)
        what = f"{name}{' of 40' if name == 'list' else ''}, one client, p50"
        yield Figure(name, what, "ms", p50(took), limit, f"{limit} ms", note=spread(took))
    for name, limit in (("detail", 2000), ("list", 1500)):
        method, params = asked[name]
        rate = hammered(ground.tower, _HAMMER, method, **params)
        what = f"{name}{' of 40' if name == 'list' else ''}, 8 clients, a connection a request"
        required = f"{limit:,} /s"
        yield Figure(f"{name}-8", what, "/s", rate, limit, required, at_least=True, note="8 client processes")


def read_times(tower: Tower, method: str, count: int, **params: str) -> list[float]:
    """Times of one request again and again."""
    with closing(Talk(tower)) as talk:
        return [timed(lambda: talk.ask(method, **params)) for _ in range(count)]


def hammered(tower: Tower, seconds: float, method: str, **params: str) -> float:
    """Answers a second to 8 processes."""
    line = request(method, **params).decode().strip()
    begin = time.monotonic() + 1.0
    words = [sys.executable, "-m", "tests.benchmarks.reader", str(tower.socket_path), line, str(begin), str(seconds)]
    clients = [subprocess.Popen(words, stdout=subprocess.PIPE) for _ in range(_CLIENTS)]
    return sum(int(client.communicate()[0]) for client in clients) / seconds


def command_line(ground: Ground) -> Iterator[Figure]:
    """`tower layout list`, the whole command, beside a Python that does nothing."""
    took, floors = command_times(ground.tower, 10)
    shown = f"python -c pass {amount(p50(floors))} ms"
    what = "tower layout list, whole command, p50"
    yield Figure("cli", what, "ms", p50(took), 250, "250 ms", shown, note=spread(took))


def command_times(tower: Tower, count: int) -> tuple[list[float], list[float]]:
    """Times of the command, and of an empty Python between them."""
    python = shlex.quote(sys.executable)
    empty = ["/bin/sh", "-c", f"{python} -c pass"]
    took, floors = [], []
    for _ in range(count):
        floors.append(timed(lambda: subprocess.run(empty, check=True)))
        took.append(timed(lambda: tower.cli("layout", "list", check=True)))
    return took, floors


def start(ground: Ground, layouts: int, limit: float) -> Iterator[Figure]:
    """Server process started to its socket answering; the workers are down."""
    ground.tower.down()
    took, floors = [], []
    for _ in range(5):
        floors.append(ground.engine_exec())
        took.append(start_seconds(ground.tower))
    ground.tower.up()
    shown = f"E {amount(p50(floors))} ms, {len(ground.benches)} benches"
    what = f"server started to socket answering, {layouts} layouts over {len(ground.benches)} benches, p50"
    yield Figure(f"start-{layouts}", what, "s", p50(took), limit, f"{limit} s", shown, note=spread(took))


def start_seconds(tower: Tower) -> float:
    """Seconds until the server of a tower that is down answers; ends it again."""
    begun = time.perf_counter()
    server = serve_alone(tower)
    try:
        eventually(lambda: answers(tower), every=0.005, what="the socket answers")
        return time.perf_counter() - begun
    finally:
        server.terminate()
        server.wait()
