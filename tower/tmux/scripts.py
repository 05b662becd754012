"""The scripts that change something in tmux: each is one list of commands, which tmux runs in one go.

tmux serves nobody else between the commands of a script, unless one waits; so no scan can see a pane without its
marker, and nothing that a pane prints is read before its log is attached. A script is fenced: it does nothing on a
server that has seen a higher claim.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from tower.benches import Facts
from tower.config import Settings
from tower.tmux.launcher import NO_LOG, command_line, environment, log_command
from tower.tmux.listing import KILLING, formats
from tower.tmux.plans import FinishPane, Neighbour, NewPane, Remains, Spawn
from tower.tmux.quoting import at, both, command, equal, group, literal, literal_time, when

ARRANGEMENTS: Final = ("even-horizontal", "even-vertical", "main-horizontal", "main-vertical", "tiled")
"""The only names that may reach `select-layout`: tmux 3.3a dies of some others."""

_ROOMIEST: Final = "tiled"
"""In this one every pane has room to be split, where in others some are a column wide or a line high."""

_COLUMNS, _ROWS = 220, 50
_MAIN_PANE: Final = (("main-pane-width", 80, _COLUMNS // 2), ("main-pane-height", 24, _ROWS // 2))
"""Options of tmux, their defaults (tmux(1)), and what stands in for those: with the default the main pane shrinks to a
sliver as soon as somebody attaches with a smaller terminal."""
ATTACHED: Final = "tower-attached "
_LIMIT_KEPT: Final = "@tower_message_limit"


def fence_option(instance: str) -> str:
    """The server's option that holds the highest claim of this tower."""
    return "@tower_fence_" + "".join(filter(str.isalnum, instance))[:12]


def fenced(instance: str, fence: int, lines: Iterable[str]) -> list[str]:
    """Lines that run where no higher claim was seen, then the listing that shows the claim."""
    option = fence_option(instance)
    allowed = f"#{{?{option},#{{e|<=|:#{{{option}}},{fence:d}}},1}}"
    claim = command("set-option", "-s", option, f"{fence:d}")
    return [when(allowed, [claim, *lines]), *listing(instance)]


def listing(instance: str) -> list[str]:
    """The commands that print what `listing.parse` reads."""
    server, pane = formats(fence_option(instance))
    some_session = "#{S:1}"
    return [command("display-message", "-p", server), when(some_session, [command("list-panes", "-a", "-F", pane)])]


def kill(instance: str, panes: Iterable[Remains]) -> list[str]:
    """Kill panes that are still what they are taken for, and say which are."""
    return [
        when(
            _is(pane, instance),
            [
                command("display-message", "-p", literal_time(f"{KILLING}{pane.tmux_pane_id}")),
                command("kill-pane", "-t", pane.tmux_pane_id),
            ],
            target=pane.tmux_pane_id,
        )
        for pane in panes
    ]


def finish(instance: str, panes: Iterable[FinishPane]) -> list[str]:
    """Take the markers off and set the titles."""
    return [
        when(
            _is(pane, instance),
            [
                command("set-option", "-p", "-u", "-t", pane.tmux_pane_id, "@tower_marker"),
                command("select-pane", "-t", pane.tmux_pane_id, "-T", literal(pane.title)),
            ],
            target=pane.tmux_pane_id,
        )
        for pane in panes
    ]


def attach_log(tmux_pane_id: str, log_path: str, settings: Settings) -> list[str]:
    """Log what a pane prints from now on, unless a pipe is on: a second one would end the first."""
    pipe = _pipe(log_command(log_path, settings.logs), "-t", tmux_pane_id)
    told = command("display-message", "-p", "-t", tmux_pane_id, f"{ATTACHED}#{{pane_pipe}}")
    return [when(both(at(tmux_pane_id), "#{?pane_pipe,0,1}"), [pipe, told], target=tmux_pane_id)]


def hushed(lines: Iterable[str]) -> list[str]:
    """Lines that leave no trace in the server's message log, which keeps every command with its words.

    The log is emptied by that. The operator's limit is put back, by the next script where this one was cut short.
    """
    return [
        when(f"#{{{_LIMIT_KEPT}}}", [], [command("set-option", "-s", "-F", _LIMIT_KEPT, "#{message-limit}")]),
        command("set-option", "-s", "message-limit", "0"),
        *lines,
        command("set-option", "-s", "-F", "message-limit", f"#{{{_LIMIT_KEPT}}}"),
        command("set-option", "-s", "-u", _LIMIT_KEPT),
    ]


class Spawning:
    """The script that makes the panes of a plan, in a new session or in the one that lives."""

    def __init__(self, plan: Spawn, instance: str, facts: Facts, settings: Settings) -> None:
        if plan.arrangement not in ARRANGEMENTS:
            raise ValueError(f"tmux has no layout {plan.arrangement!r}")
        self._plan = plan
        self._instance = instance
        self._facts = facts
        self._settings = settings
        self._session = f"={plan.session}:"
        self._last_window = f"={plan.session}:{{end}}"
        """Where the blank pane is, if there is one: in a session that was just made, or in a window made for this."""

    def lines(self) -> list[str]:
        """All of it, without the fence."""
        there = equal("#{session_name}", self._plan.session)
        mine = both(there, equal("#{@tower_session}", self._plan.layout_id))
        made = [when(_nowhere(pane.pane_id), self._make(pane)) for pane in self._in_order()]
        return [
            *kill(self._instance, self._plan.remains),
            when(there, [], [self._create_session()], target=self._session),
            when(mine, [*made, self._end_blank()], target=self._session),
        ]

    def _create_session(self) -> str:
        """A session with one blank pane: `new-session -e` would give its variables to the whole session (tmux(1))."""
        name, size = self._plan.session, ("-x", str(_COLUMNS), "-y", str(_ROWS))
        options = {
            "destroy-unattached": "off",
            "history-limit": str(self._settings.tmux.history_limit),
            "@tower_session": self._plan.layout_id,
            "@tower_layout": self._plan.layout_id,
        }
        return group(
            command("set-option", "-s", "exit-unattached", "off"),
            command("new-session", "-d", "-s", name, *size, *self._blank()),
            *(command("set-option", "-t", self._session, key, value) for key, value in options.items()),
            *self._prepare_window(),
        )

    def _create_window(self) -> str:
        """A window with one blank pane in the session that lives, behind all others; nobody's focus goes there."""
        return group(
            command("new-window", "-d", "-a", "-t", self._last_window, *self._blank()),
            *self._prepare_window(),
        )

    def _blank(self) -> list[str]:
        return ["-n", self._plan.session, "-c", literal(self._facts.home), "--", "", ""]

    def _prepare_window(self) -> list[str]:
        options = {"automatic-rename": "off", "allow-rename": "off"}
        options |= {key: f"#{{?#{{==:#{{{key}}},{default}}},{half},#{{{key}}}}}" for key, default, half in _MAIN_PANE}
        return [
            *(command("set-option", "-w", "-F", "-t", self._last_window, key, value) for key, value in options.items()),
            command("set-option", "-p", "-t", self._last_window, "@tower_blank", "1"),
        ]

    def _end_blank(self) -> str:
        """Kill the blank pane, if this script made one, and look at the lowest slot.

        Where nothing was made beside it, its window goes with it, and the last one is another.
        """
        end = group(
            command("select-pane", "-t", f"{self._last_window}.{{top-left}}"),
            command("select-layout", "-t", self._last_window, self._plan.arrangement),
        )
        made = both(equal("#{session_name}", self._plan.session), self._mine())
        kill_it = command("kill-pane", "-t", self._last_window)
        return when("#{@tower_blank}", [kill_it, when(made, [end], target=self._last_window)], target=self._last_window)

    def _mine(self) -> str:
        """The pane in view is one of this layout."""
        return both("#{@tower_pane}", equal("#{@tower_layout}", self._plan.layout_id))

    def _in_order(self) -> list[NewPane]:
        """Ascending before a higher neighbour, descending after the lower ones: each stands right as it is made."""
        highest = max((neighbour.slot for neighbour in self._plan.neighbours), default=None)
        panes = sorted(self._plan.panes, key=lambda pane: pane.slot)
        before = [pane for pane in panes if highest is None or pane.slot < highest]
        return before + [pane for pane in reversed(panes) if pane not in before]

    def _make(self, pane: NewPane) -> list[str]:
        """Split beside the nearest neighbour that is there, else beside a blank pane.

        A neighbour that the operator has moved into another session is none: what lives there is not the tower's. Nor
        is a window of the session in which the layout has no pane: where none of it is left there, it gets a new one.

        A split makes its pane the one that commands without a target mean, and the window's active one;
        `last-pane` gives that back.
        """
        return [*self._split(pane), when(equal("#{@tower_pane}", pane.pane_id), self._fill(pane))]

    def _split(self, pane: NewPane) -> list[str]:
        higher, lower = _sides(pane.slot, self._plan.neighbours)
        before = bool(higher) or not lower
        lines = self._split_anywhere(pane, before=before)
        for neighbour in reversed((*higher, *lower)):
            there = both(_is(neighbour, self._instance), equal("#{@tower_session}", self._plan.layout_id))
            beside = self._split_at(pane, neighbour.tmux_pane_id, before=neighbour.slot > pane.slot)
            lines = [when(there, [beside], lines, target=neighbour.tmux_pane_id)]
        return lines

    def _split_anywhere(self, pane: NewPane, *, before: bool) -> list[str]:
        """Split the blank pane, which is made first where nothing of the layout is left in its session.

        Else the active pane: something is left of the layout that the plan did not know.
        """
        mine = f"#{{W:#{{P:#{{?#{{||:#{{@tower_blank}},{self._mine()}}},1,}}}}}}"
        beside = [self._split_at(pane, target, before=before) for target in (self._last_window, self._session)]
        return [
            when(mine, [], [self._create_window()], target=self._session),
            when("#{@tower_blank}", beside[:1], beside[1:], target=self._last_window),
        ]

    def _split_at(self, pane: NewPane, target: str, *, before: bool) -> str:
        return group(
            command("select-layout", "-t", target, _ROOMIEST),
            command("split-window", "-h", *(["-b"] if before else []), "-t", target, ""),
            command("set-option", "-p", "@tower_pane", pane.pane_id),
        )

    def _fill(self, pane: NewPane) -> list[str]:
        options = {
            "@tower_instance": self._instance,
            "@tower_layout": pane.layout_id,
            "@tower_label": pane.label,
            "@tower_marker": pane.marker,
            "remain-on-exit": "on",
            "remain-on-exit-format": "",
        }
        variables = environment(pane, self._facts).items()
        env = [word for key, value in variables for word in ("-e", f"{key}={value}")]
        program = command_line(pane, self._facts)
        return [
            group(*(command("set-option", "-p", key, value) for key, value in options.items())),
            command("select-layout", self._plan.arrangement),
            command("respawn-pane", "-k", *env, "--", *program),
            _pipe(log_command(pane.log_path, self._settings.logs) if pane.log_path else NO_LOG),
            "last-pane",
        ]


def _pipe(shell_line: str, *target: str) -> str:
    """``-I`` has tmux listen to the writer too, and so notice its end at once and not only when the pane prints."""
    return command("pipe-pane", "-I", "-O", *target, literal_time(shell_line))


def _sides(slot: int, neighbours: Sequence[Neighbour]) -> tuple[list[Neighbour], list[Neighbour]]:
    """The neighbours above and below a slot, the nearest first."""
    ascending = sorted(neighbours, key=lambda neighbour: neighbour.slot)
    higher = [neighbour for neighbour in ascending if neighbour.slot > slot]
    return higher, [neighbour for neighbour in reversed(ascending) if neighbour.slot < slot]


def _is(pane: Remains | FinishPane | Neighbour, instance: str) -> str:
    """The target is there and carries the tower id and the instance that it should."""
    identity = both(equal("#{@tower_pane}", pane.pane_id), equal("#{@tower_instance}", instance))
    return both(at(pane.tmux_pane_id), identity)


def _nowhere(pane_id: str) -> str:
    """No pane of the server has that id: a script that runs twice makes nothing twice."""
    there = f"#{{S:#{{W:#{{P:#{{?{equal('#{@tower_pane}', pane_id)},1,}}}}}}}}"
    return f"#{{?{there},0,1}}"
