"""tmux: the only place that knows its syntax.

    quoting.py   how a word enters a script
    plans.py     what the tower asks for
    scripts.py   the scripts that change something
    launcher.py  the fixed programs that tmux starts for a pane
    listing.py   what tmux has: one format and its parser
    sending.py   text into a pane
    sockets.py   a server whose socket file is gone

A verb is one command in the bench. It goes in as a script on standard input, so that nothing of it shows in a
command line, and runs as the body of a user hook, where none of the operator's own ``after-`` hooks fire. Deadlines are
absolute ``time.monotonic()`` seconds. Verbs raise what `Bench.run` raises, and TmuxUnavailable with tmux's own words.
"""

import itertools
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tower.benches import Bench, Completed, Input, Later
from tower.config import Settings
from tower.errors import TmuxUnavailable, TowerError
from tower.tmux import listing as listings
from tower.tmux import scripts, sending
from tower.tmux.listing import Listing, SeenPane
from tower.tmux.plans import Delivery, FinishPane, Neighbour, NewPane, Outcome, Remains, Spawn
from tower.tmux.quoting import at, command, when
from tower.tmux.sockets import LIVING, RESTORE

__all__ = [
    "Delivery",
    "FinishPane",
    "Listing",
    "Neighbour",
    "NewPane",
    "Outcome",
    "Overtaken",
    "Remains",
    "SeenPane",
    "Spawn",
    "Tmux",
    "why_unreachable",
]

_NO_SERVER: Final = (b"no server running on ", b"(No such file or directory)", b"(Connection refused)")
_NO_SESSION: Final = (b"can't find session", b"no current target")
"""The second is what a server without any session says."""
_LEAVING: Final = (b"server exited unexpectedly", b"lost server")
_LINES: Final = 50
_NUDGES: Final = ("true", "sleep 0.05", "sleep 0.2")
_ENDING: Final = (0.0, 0.2, 0.5)
_HOOK: Final = "@tower_run"


@dataclass(eq=False)
class Overtaken(TowerError):
    """The tmux server has seen a higher claim than this one; nothing was done."""

    seen_fence: int

    def __str__(self) -> str:
        return f"tmux has seen claim {self.seen_fence}, which is higher."


class Tmux:
    """The tmux server of a bench, for one tower (``instance``)."""

    def __init__(
        self,
        bench: Bench,
        instance: str,
        settings: Settings,
        *,
        expected: bool = False,
        servers: frozenset[str] = frozenset(),
    ) -> None:
        """`servers` are those in which panes are known to live: while one of them lives, no other is started.

        `expected` says that there may be one, known or not: it is looked for before another one is started.
        """
        self.bench = bench
        self._instance = instance
        self._settings = settings
        self._expected = expected
        self._servers = servers

    def session_exists(self, name: str, deadline: float) -> bool:
        """Whether there is a session of exactly that name, anyone's."""
        done = self._tmux(["has-session", "-t", f"={name}"], b"", deadline)
        if done.status and not _without_server(done) and not any(sign in done.stderr for sign in _NO_SESSION):
            raise _unavailable(done)
        if _without_server(done):
            self._check_none_lives(deadline)
        return done.status == 0

    def unreachable(self, answering: str, deadline: float) -> frozenset[str]:
        """Which of the servers with known panes live, other than the one that answers."""
        living = self._servers - {answering}
        for pause in _ENDING:  # one that was told to end needs a moment
            if not living:
                break
            time.sleep(pause)
            done = self.bench.run(["/bin/sh", "-c", LIVING, "tower", *sorted(living)], deadline=deadline)
            living = living.intersection(done.stdout.decode("utf-8", "replace").split())
        return living

    def listing(self, deadline: float) -> Listing:
        """All panes of the server."""
        return self._looked((), deadline)

    def settle(self, deadline: float, at: float = 0.0) -> Listing:
        """All panes as they are at that monotonic time or now, the dead ones with their exit codes.

        tmux before 3.5 may show a pane as dead before it has reaped its process; a command that makes it reap brings
        the code out. What it does not know after three of those is unknown for good.
        """
        listing = self._looked((), deadline, at)
        for nudge in _NUDGES:
            if not any(pane.unexplained for pane in listing.panes):
                break
            listing = self._looked((command("run-shell", nudge),), deadline)
        return listing

    def spawn(self, plan: Spawn, fence: int, deadline: float) -> Listing:
        """Make the panes of a plan that are nowhere yet; the listing tells which are there, and why others are not.

        Starts the server where there is none. A session of that name that is another's is left alone.
        Raises Overtaken.
        """
        facts = self.bench.facts(deadline)
        lines = scripts.Spawning(plan, self._instance, facts, self._settings).lines()
        return self._fenced(lines, fence, deadline, start=True)

    def finish(self, panes: Sequence[FinishPane], fence: int, deadline: float) -> Listing:
        """Take the markers off and set the titles; raises Overtaken."""
        return self._fenced(scripts.finish(self._instance, panes), fence, deadline)

    def kill(self, panes: Sequence[Remains], fence: int, deadline: float) -> Listing:
        """Kill panes that carry this tower's instance and their id; one that is gone is no error; raises Overtaken."""
        return self._fenced(scripts.kill(self._instance, panes), fence, deadline)

    def capture(self, tmux_pane_ids: Sequence[str], deadline: float) -> dict[str, str]:
        """The last 50 lines of each of these panes that is there."""
        boundary = f"tower-{os.urandom(12).hex()}-"
        words = [
            [
                command("display-message", "-p", "-t", pane, f"{boundary}#{{pane_id}}"),
                command("capture-pane", "-p", "-J", "-S", f"-{_LINES}", "-t", pane),
            ]
            for pane in tmux_pane_ids
        ]
        lines = [when(at(pane), shown, target=pane) for pane, shown in zip(tmux_pane_ids, words, strict=True)]
        text = self._script(lines, deadline).stdout.decode("utf-8", "replace")
        pages = (page.partition("\n") for page in text.split(boundary)[1:])
        return {pane: _tail(page) for pane, _, page in pages}

    def send(self, tmux_pane_id: str, pane_id: str | None, text: bytes, enter: bool, deadline: float) -> Delivery:
        """Paste text of any length into a pane, then Enter.

        ``pane_id`` is the tower id that the pane must carry, None for an adopted one. Others may be served between the
        paste and Enter: the caller sees to it that two senders to one pane take turns. After a BenchTimeout it is
        unknown what the pane got.
        """
        tmux = [self.bench.facts(deadline).tmux, *self.bench.tmux_command()[1:]]
        done = self._client(sending.arguments(tmux, tmux_pane_id, pane_id, text, enter=enter), text, deadline)
        if _without_server(done):
            return Delivery(Outcome.REFUSED, "no tmux server runs there")
        return sending.outcome(done, enter=enter) or _raise(_unavailable(done))

    def attach_log(self, tmux_pane_id: str, log_path: str, deadline: float) -> bool:
        """Log a pane that is not the tower's from now on; whether it is, for a pipe that is on is left as it is."""
        done = self._script(scripts.attach_log(tmux_pane_id, log_path, self._settings), deadline)
        return f"{scripts.ATTACHED}1".encode() in done.stdout.splitlines()

    def restore_socket(self, deadline: float) -> bool:
        """Have a living server bind its socket again whose file was deleted; whether that was done."""
        name = self._settings.tmux.socket_name or "default"
        return self.bench.run(["/bin/sh", "-c", RESTORE, "tower", name], deadline=deadline).status == 0

    def _looked(self, before: Iterable[str], deadline: float, at: float = 0.0) -> Listing:
        done = self._script([*before, *scripts.listing(self._instance)], deadline, at=at)
        return self._none(deadline) if _without_server(done) else listings.parse(done.stdout, done.stderr)

    def _none(self, deadline: float) -> Listing:
        """What there is without a server."""
        self._check_none_lives(deadline)
        return Listing.empty()

    def _check_none_lives(self, deadline: float) -> None:
        """Raise TmuxUnavailable where a server with known panes lives, though none answers."""
        if hidden := self.unreachable("", deadline):
            raise TmuxUnavailable(why_unreachable(hidden))

    def _fenced(self, lines: Iterable[str], fence: int, deadline: float, *, start: bool = False) -> Listing:
        body = scripts.fenced(self._instance, fence, lines)
        done = self._script(scripts.hushed(body) if start else body, deadline, start=start)
        if _without_server(done):
            return self._none(deadline)
        found = listings.parse(done.stdout, done.stderr)
        if found.fence > fence:
            raise Overtaken(found.fence)
        return found

    def _script(self, lines: Iterable[str], deadline: float, *, start: bool = False, at: float = 0.0) -> Completed:
        """Run lines free of the operator's hooks."""
        words = ["set-option", "-g", _HOOK, "source-file -", ";", "set-hook", "-R", _HOOK]
        text = "".join(f"{line}\n" for line in lines).encode()
        stdin = Later(text, at) if at else text
        starting = ["start-server", ";", *words]
        if start and not self._expected:
            return self._tmux(starting, stdin, deadline)
        done = self._tmux(words, stdin, deadline)
        if not start or not _without_server(done):
            return done
        self._check_none_lives(deadline)
        return self._tmux(starting, stdin, deadline)

    def _tmux(self, words: Sequence[str], stdin: Input, deadline: float) -> Completed:
        return self._client([*self.bench.tmux_command(), *words], stdin, deadline)

    def _client(self, argv: Sequence[str], stdin: Input, deadline: float) -> Completed:
        """Run a tmux client; once more where it met a server that was just ending, or one without its socket."""
        done = self.bench.run(argv, stdin=stdin, deadline=deadline)
        leaving = done.status and any(sign in done.stderr for sign in _LEAVING)
        hidden = self._expected and _without_server(done) and self.restore_socket(deadline)
        if leaving or hidden:
            done = self.bench.run(argv, stdin=stdin, deadline=deadline)
        return done


def why_unreachable(servers: Iterable[str]) -> str:
    """What to say of servers that live and do not answer."""
    pids = " and ".join(server.partition(":")[0] for server in sorted(servers))
    return (
        f"the tmux server with the tower's panes, pid {pids}, lives and does not answer at its socket: it stands still,"
        " or another one has its place, or TMUX_TMPDIR or tmux.socket_name is not what it was"
    )


def _without_server(done: Completed) -> bool:
    return done.status != 0 and any(sign in done.stderr for sign in _NO_SERVER)


def _unavailable(done: Completed) -> TmuxUnavailable:
    words = listings.said(done.stderr) or listings.said(done.stdout) or (f"exit status {done.status}",)
    return TmuxUnavailable(words[-1])


def _raise(error: TowerError) -> Delivery:
    raise error


def _tail(page: str) -> str:
    lines = page.rstrip().splitlines()
    return "\n".join(itertools.islice(lines, max(0, len(lines) - _LINES), None))
