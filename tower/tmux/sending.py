"""Text into a pane: a buffer loaded from standard input, pasted with bracketed paste, then Enter.

The buffer must hold as many bytes as were to be sent before anything is pasted: whoever sends may die half-way.

Line feeds stay line feeds (``-r``), so that the program gets the bytes that were sent. Enter comes a moment later,
since some programs swallow one that arrives together with a paste; it is pasted too, since `send-keys` would give it to
the whole window under ``synchronize-panes``.
"""

import os
from collections.abc import Sequence
from typing import Final

from tower.benches import Completed
from tower.tmux.plans import Delivery, Outcome
from tower.tmux.quoting import at, both, command, equal, when

_PASTED: Final = "tower-pasted"
_DONE: Final = "tower-done"
_REFUSED: Final = "tower-refused"
_ENTER_SECONDS: Final = 0.15
_BYTES_A_SECOND: Final = 500_000


SENDER: Final = """\
buffer=$1 size=$2 hook=$3 load=$4 drop=$5 paste=$6
shift 6
run() {
  body=$1
  shift
  "$@" set-option -g "$hook" "$body" \\; set-hook -R "$hook" \\; set-option -gu "$hook"
}
if [ "$size" -gt 0 ]; then
  case "
$(run "$load" "$@")
" in
    *"
$buffer $size
"*) ;;
    *) run "$drop" "$@"; exit 1 ;;
  esac
fi
run "$paste" "$@"
"""
"""Loads standard input into a buffer and pastes it where that holds as many bytes as it should, else drops it.

Each step is the body of a hook, in which none of the operator's own hooks fire. The last arguments are the tmux
command.
"""


def arguments(tmux: Sequence[str], tmux_pane_id: str, pane_id: str | None, text: bytes, *, enter: bool) -> list[str]:
    """The command that pastes its standard input, which is to be ``text``, and says how far it came."""
    number = os.urandom(6).hex()
    buffer, hook = f"tower-{number}", f"@tower_send_{number}"
    show = command("list-buffers", "-F", "#{buffer_name} #{buffer_size}")
    load = "\n".join([command("load-buffer", "-b", buffer, "-"), show])
    paste = _script(buffer, tmux_pane_id, pane_id, text, enter=enter)
    bodies = (load, command("delete-buffer", "-b", buffer), paste)
    return ["/bin/sh", "-c", SENDER, "tower", buffer, str(len(text)), hook, *bodies, *tmux]


def _script(buffer: str, tmux_pane_id: str, pane_id: str | None, text: bytes, *, enter: bool) -> str:
    able = _able(tmux_pane_id, pane_id)
    ready = [
        when("#{pane_in_mode}", [command("copy-mode", "-q", "-t", tmux_pane_id)], target=tmux_pane_id),
        *([_paste(buffer, tmux_pane_id, "-p")] if text else []),
        command("display-message", "-p", _PASTED),
        *(_enter(buffer, tmux_pane_id, able, len(text)) if enter else []),
        when(able, [command("display-message", "-p", _DONE)], target=tmux_pane_id),
    ]
    refuse = [
        command("display-message", "-p", "-t", tmux_pane_id, _why(tmux_pane_id, pane_id)),
        *([command("delete-buffer", "-b", buffer)] if text else []),
    ]
    return when(able, ready, refuse, target=tmux_pane_id)


def outcome(done: Completed, *, enter: bool) -> Delivery | None:
    """What the script's output says; None where it did not run."""
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    refused = [line.removeprefix(_REFUSED).strip() for line in lines if line.startswith(_REFUSED)]
    if refused:
        return Delivery(Outcome.REFUSED, refused[0])
    if _DONE in lines:
        return Delivery(Outcome.DELIVERED)
    if _PASTED in lines:
        missing = ", and did not get Enter" if enter else ""
        return Delivery(Outcome.UNKNOWN, f"the pane ended just as the text reached it{missing}")
    return None


def _enter(buffer: str, target: str, able: str, size: int) -> list[str]:
    """A moment for the program to take the paste, then a carriage return."""
    pause = _ENTER_SECONDS + size / _BYTES_A_SECOND
    load = command("set-buffer", "-b", buffer, "\r")
    return [command("run-shell", "-d", f"{pause:.2f}"), when(able, [load, _paste(buffer, target)], target=target)]


def _paste(buffer: str, target: str, *flags: str) -> str:
    return command("paste-buffer", *flags, "-r", "-d", "-b", buffer, "-t", target)


def _able(tmux_pane_id: str, pane_id: str | None) -> str:
    alive = both(at(tmux_pane_id), "#{?pane_dead,0,#{?pane_input_off,0,1}}")
    return alive if pane_id is None else both(alive, equal("#{@tower_pane}", pane_id))


def _why(tmux_pane_id: str, pane_id: str | None) -> str:
    other = "it is not the pane that it was" if pane_id else "it cannot be written to"
    reasons = f"#{{?pane_dead,its command has ended,#{{?pane_input_off,its input is switched off,{other}}}}}"
    return f"{_REFUSED} #{{?{at(tmux_pane_id)},{reasons},the pane is gone}}"
