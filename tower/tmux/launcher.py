"""The programs that tmux starts for a pane: the launcher, which becomes the command, and the log writer.

Both are fixed texts for /bin/sh (dash, bash, busybox). No part of an operator's argv is ever in one: the argv reaches
the launcher as arguments, the environment through tmux.
"""

import shlex
from collections.abc import Mapping
from typing import Final

from tower.benches import Facts
from tower.config import Logs
from tower.tmux.plans import NewPane

LAUNCHER: Final = """\
set -- "$TOWER_TMUX" "$TOWER_CWD" "$TOWER_PATH" "$TOWER_SHELL" "$@"
unset TOWER_TMUX TOWER_CWD TOWER_PATH TOWER_SHELL TOWER_STEP
TOWER_TMUX=$1 TOWER_STEP=working_dir
[ -z "${BASH_VERSION-}" ] || shopt -s execfail 2>/dev/null
trap 'set -- $?
case $TOWER_STEP:$1 in
  exec:12[67]) TOWER_STEP=exec:$1 ;;
  exec:*) TOWER_STEP= ;;
esac
"$TOWER_TMUX" set-option -p -t "$TMUX_PANE" @tower_failed "$TOWER_STEP" >/dev/null 2>&1
exit "$1"' EXIT
case $2 in
  '') cd -- "$HOME" 2>/dev/null || cd / ;;
  /*) cd -- "$2" || exit 125 ;;
  *) cd -- "$HOME" && cd -- "./$2" || exit 125 ;;
esac
PATH=$3 SHELL=$4
export PATH SHELL
shift 4
TOWER_STEP=exec
exec "$@"
"""
"""Becomes ``"$@"``, or marks the pane with what could not be done.

Its own variables begin with TOWER_, which no operator may set, and are set anew after ``unset`` so that they are not
exported. bash leaves at a failed exec without running the trap unless ``execfail`` is set.
"""

LOG_WRITER: Final = """\
exec 3<&0 >/dev/null
umask 077
PATH=$PATH:/usr/local/bin:/usr/bin:/bin
lose() {
  cat <&3 2>/dev/null &
  sleep 1 || exit 1
  kill $! 2>/dev/null
  wait $! 2>/dev/null && exit 0
}
[ -d "${1%/*}" ] || mkdir -p -- "${1%/*}" 2>/dev/null
: >>"$1" || exit 1
size=0
[ ! -s "$1" ] || size=$(wc -c <"$1") || exit 1
while :; do
  room=$((($2 - size) / $4))
  if [ "$room" -lt 1 ]; then
    i=$3
    while [ -s "$1" ] && [ "$i" -gt 1 ]; do
      [ ! -e "$1.$((i - 1))" ] || mv -f -- "$1.$((i - 1))" "$1.$i"
      i=$((i - 1))
    done
    [ "$3" -eq 0 ] || [ ! -s "$1" ] || mv -f -- "$1" "$1.1"
    if true >"$1"; then size=0; else lose; fi
    continue
  fi
  [ "$room" -le 256 ] || room=256
  was=$size
  dd bs="$4" count="$room" >>"$1" 2>/dev/null || { lose; was=; }
  size=$(wc -c <"$1" 2>/dev/null) || size=0
  [ "$size" -ne "${was:--1}" ] || exit 0
done
"""
"""Appends standard input to file $1, of at most $2 bytes, with $3 older files, in reads of $4 bytes.

dd writes what each read gives at once, and never more than is left of the file; the shell looks only every 256 reads.
It ends at the end of the input, or when it cannot write from the start: tmux then says that the pane has no pipe. When
a write fails later, as on a full disk, it loses what comes within a second and tries again; it reads that, for tmux
keeps in memory what nobody reads. Its own standard output would be typed into the pane. ``:`` is a special builtin,
which ends a shell that cannot open its file; ``true`` is none (POSIX, 2.8.1).
"""

NO_LOG: Final = "exec cat >/dev/null"
"""The pipe of a pane without a log: tmux 3.3a closes a pane that has none as soon as its process ended, though it has
not read yet what that printed last (window_pane_destroy_ready)."""

_READ_BYTES: Final = 16_384
_OF_TMUX: Final = frozenset({"PATH", "SHELL", "TERM", "TMUX", "TMUX_PANE", "PWD", "OLDPWD", "SHLVL", "_"})
"""Variables of a container that are nothing to its panes, or that facts or tmux say better."""


def command_line(pane: NewPane, facts: Facts) -> list[str]:
    """What tmux executes in the pane; it is in every process list, so it holds no environment."""
    return ["/bin/sh", "-c", LAUNCHER, "tower", *(pane.argv or (facts.shell, "-l"))]


def environment(pane: NewPane, facts: Facts) -> dict[str, str]:
    """The variables that tmux gives to the pane alone: the launcher's, and those of the command."""
    variables = _of_user(facts) | dict(pane.env)
    return {
        "TOWER_TMUX": facts.tmux,
        "TOWER_CWD": pane.working_dir or "",
        "TOWER_PATH": variables.pop("PATH", facts.path),
        "TOWER_SHELL": variables.pop("SHELL", facts.shell),
        **variables,
        "TOWER_PANE_ID": pane.pane_id,
        "TOWER_LAYOUT_ID": pane.layout_id,
        "TOWER_LABEL": pane.label,
        "TOWER_ROLE": pane.role,
    }


def log_command(path: str, logs: Logs) -> str:
    """The shell line that `pipe-pane` runs."""
    block = min(_READ_BYTES, logs.max_bytes // 8)
    return f"set -- {shlex.quote(path)} {logs.max_bytes} {logs.keep} {block}\n{LOG_WRITER}"


def _of_user(facts: Facts) -> dict[str, str]:
    """The bench user's variables; a server of the operator's may have been started with quite others.

    LC_ALL and LC_CTYPE would win over LANG: they are emptied, which counts as unset, where the container has none.
    """
    own: Mapping[str, str] = {
        name: value
        for name, value in facts.environment.items()
        if name not in _OF_TMUX and not name.startswith("TOWER_")
    }
    locale = {name: facts.locale if own.get(name) else "" for name in ("LC_ALL", "LC_CTYPE")}
    user = {"HOME": facts.home, "USER": facts.user, "LOGNAME": facts.user, "LANG": facts.locale}
    return {**own, **user, **locale}
