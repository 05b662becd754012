"""What tmux has: one format, and its parser.

Every field is a netstring (its length in bytes, a colon, the bytes), so that no session name, title or option can be
taken for anything else. Each record is a line that begins with its kind; other lines are tmux's own words.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tower.errors import TmuxUnavailable

_SERVER: Final = ("pid", "start_time", "socket_path")
_PANE: Final = (
    "pane_id",
    "session_name",
    "window_index",
    "pane_index",
    "pane_pid",
    "pane_dead",
    "pane_dead_status",
    "pane_dead_signal",
    "pane_dead_time",
    "pane_pipe",
    "@tower_pane",
    "@tower_instance",
    "@tower_layout",
    "@tower_marker",
    "@tower_failed",
    "@tower_session",
    "pane_title",
)
_SERVER_KIND: Final = b"tower-server "
_PANE_KIND: Final = b"tower-pane "
KILLING: Final = "tower-killing "
"""Begins the line that a script prints before it kills a pane."""

Record: TypeAlias = dict[str, bytes]


@dataclass(frozen=True)
class SeenPane:
    """One tmux pane, whoever made it; ``pane_id``, ``instance`` and ``marker`` are empty where it is not a tower's."""

    tmux_pane_id: str
    session_name: str
    window_index: int
    pane_index: int
    pid: int
    dead: bool
    exit_code: int | None
    exit_signal: int | None
    dead_since: int | None
    """Unix seconds; tmux tells no fraction."""
    piped: bool
    pane_id: str
    instance: str
    layout_id: str
    """The layout of the pane, else that of its session; empty where neither is the tower's."""
    session_layout_id: str
    """The layout that the session is of, whoever's pane this is; empty where it is not a tower's."""
    marker: str
    failed_mark: str
    """``working_dir``, ``exec:126`` or ``exec:127`` where the command could not be started, else empty."""
    title: str

    @property
    def unexplained(self) -> bool:
        """Whether it is dead and tmux has not said how it ended."""
        return self.dead and self.exit_code is None and self.exit_signal is None


@dataclass(frozen=True)
class Listing:
    """All panes of one tmux server; without a server, ``server_pid`` is 0 and there are none."""

    server_pid: int
    server_start: int
    socket_path: str
    fence: int
    """The highest claim of this tower that the server has seen; 0 for none."""
    panes: tuple[SeenPane, ...]
    messages: tuple[str, ...] = ()
    """What tmux said beside it: why something could not be done."""

    @property
    def server(self) -> str:
        """Tells this server from those before and after it; empty without one."""
        return f"{self.server_pid}:{self.server_start}" if self.server_pid else ""

    def has_other_session(self, name: str, layout_id: str) -> bool:
        """Whether a session of that name is there, and is not that of the layout."""
        return any(pane.session_name == name and pane.session_layout_id != layout_id for pane in self.panes)

    @property
    def killed(self) -> frozenset[str]:
        """The tmux ids of the panes that were there and that the script killed before it looked."""
        lines = (line for line in self.messages if line.startswith(KILLING))
        return frozenset(line.removeprefix(KILLING) for line in lines)

    @classmethod
    def empty(cls) -> "Listing":
        """What there is without a server."""
        return cls(0, 0, "", 0, ())


def formats(fence_option: str) -> tuple[str, str]:
    """The format of the server's record and that of a pane's."""
    server = _SERVER_KIND.decode() + _netstrings((*_SERVER, fence_option))
    return server, _PANE_KIND.decode() + _netstrings(_PANE)


def parse(stdout: bytes, stderr: bytes = b"") -> Listing:
    """The listing in a command's output; raises TmuxUnavailable where there is none that makes sense."""
    lines = stdout.splitlines(keepends=True)
    try:
        servers = list(_records(lines, _SERVER_KIND, (*_SERVER, "fence")))
        panes = _once(_records(lines, _PANE_KIND, _PANE))
        server = servers[-1]
        pid, start, fence = int(server["pid"]), int(server["start_time"]), int(server["fence"] or 0)
    except (ValueError, IndexError) as error:
        words = said(stderr) or said(stdout) or ("it printed nothing",)
        raise TmuxUnavailable(f"it does not list its panes: {words[-1]}") from error
    ours = (_SERVER_KIND, _PANE_KIND)
    words = said(b"".join(line for line in lines if not line.startswith(ours))) + said(stderr)
    return Listing(pid, start, _text(server["socket_path"]), fence, panes, words)


def said(output: bytes) -> tuple[str, ...]:
    """The lines of tmux's own words, each bounded."""
    return tuple(line[:300] for line in output.decode("utf-8", "replace").splitlines() if line.strip())


def _netstrings(names: Iterable[str]) -> str:
    return "".join(f"#{{n:{name}}}:#{{{name}}}" for name in names)


def _records(lines: Iterable[bytes], kind: bytes, names: Sequence[str]) -> Iterator[Record]:
    for line in lines:
        if line.startswith(kind):
            yield dict(zip(names, _fields(line, len(kind), len(names)), strict=True))


def _fields(line: bytes, start: int, count: int) -> list[bytes]:
    found = []
    for _ in range(count):
        colon = line.index(b":", start)
        start = colon + 1 + int(line[start:colon])
        found.append(line[colon + 1 : start])
    if line[start:] != b"\n":
        raise ValueError("a record of another length")
    return found


def _pane(record: Record) -> SeenPane:
    tmux_pane_id = record["pane_id"].decode("ascii")
    if tmux_pane_id[:1] != "%" or not tmux_pane_id[1:].isdecimal():
        raise ValueError("no pane id")
    return SeenPane(
        tmux_pane_id=tmux_pane_id,
        session_name=_text(record["session_name"]),
        window_index=int(record["window_index"]),
        pane_index=int(record["pane_index"]),
        pid=int(record["pane_pid"] or 0),
        dead=record["pane_dead"] == b"1",
        exit_code=_number(record["pane_dead_status"]),
        exit_signal=_number(record["pane_dead_signal"]),
        dead_since=_number(record["pane_dead_time"]),
        piped=record["pane_pipe"] == b"1",
        pane_id=_text(record["@tower_pane"]),
        instance=_text(record["@tower_instance"]),
        layout_id=_text(record["@tower_layout"]),
        session_layout_id=_text(record["@tower_session"]),
        marker=_text(record["@tower_marker"]),
        failed_mark=_text(record["@tower_failed"]),
        title=_text(record["pane_title"]),
    )


def _once(records: Iterable[Record]) -> tuple[SeenPane, ...]:
    """Each pane once: tmux lists it under every session that its window is linked to; the tower's own one counts."""
    found: dict[bytes, Record] = {}
    for record in records:
        if record["pane_id"] not in found or record["@tower_session"]:
            found[record["pane_id"]] = record
    return tuple(_pane(record) for record in found.values())


def _number(raw: bytes) -> int | None:
    return int(raw) if raw else None


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
