"""What nothing built on this machine can be faster than, measured without the product's own code.

A floor is taken between the samples of its row, so that both see the same machine.
"""

import http.client
import json
import socket
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit


class _Engine(http.client.HTTPConnection):
    """The Engine API over a Unix socket."""

    def __init__(self, host: str) -> None:
        super().__init__("engine", timeout=60)
        self._path = urlsplit(host).path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


def engine_exec(host: str, container_id: str) -> float:
    """Milliseconds of one exec of ``true``: made, started, read to its end, and its status asked."""
    begun = time.perf_counter()
    made = _ask(host, "POST", f"/containers/{container_id}/exec", {"AttachStdout": True, "Cmd": ["true"]})
    number = json.loads(made)["Id"]
    _ask(host, "POST", f"/exec/{number}/start", {"Detach": False})
    _ask(host, "GET", f"/exec/{number}/json", None)
    return (time.perf_counter() - begun) * 1000


def _ask(host: str, method: str, target: str, body: object) -> bytes:
    connection = _Engine(host)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, target, data, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    finally:
        connection.close()


def tmux_round_trip(environ: Mapping[str, str]) -> float:
    """Milliseconds of one tmux command, client included; starts a server where there is none."""
    begun = time.perf_counter()
    subprocess.run(["tmux", "start-server", ";", "list-sessions"], env=environ, capture_output=True, check=False)
    return (time.perf_counter() - begun) * 1000


def commit(folder: Path) -> float:
    """Milliseconds of one durable SQLite commit in this folder."""
    connection = sqlite3.connect(folder / "floor.sqlite3", isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = full")
        connection.execute("CREATE TABLE IF NOT EXISTS floor (value TEXT)")
        begun = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO floor VALUES (?)", ("x" * 500,))
        connection.execute("COMMIT")
        return (time.perf_counter() - begun) * 1000
    finally:
        connection.close()
