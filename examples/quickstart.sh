#!/usr/bin/env bash
# From a fresh checkout to a running team of three on this machine: one master and two slaves, a command in each.
# Run it as often as you like: a team that is there already is left as it is.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/setup.sh"

SESSION=quickstart

setup_system tmux
setup_venv
tower up

config=${TOWER_CONFIG_DIR:-${XDG_CONFIG_HOME:-$HOME/.config}/opensoft/agenttower}
state=${TOWER_STATE_DIR:-${XDG_STATE_HOME:-$HOME/.local/state}/opensoft/agenttower}

# profile NAME COMMAND: a launch profile, unless the operator has one of that name.
profile() {
  local file=$config/launch_commands/$1.yaml
  [ -e "$file" ] && return
  mkdir -p -- "${file%/*}"
  printf 'name: %s\ncommand: %s\n' "$1" "$2" >"$file"
}

# found: the state of the layout on this host, then the labels of its panes that are not ready; nothing without one.
found() {
  tower layout show "local:$SESSION" --json 2>/dev/null | python -c '
import json, sys
row = json.loads(sys.stdin.read() or "{}")
print(row.get("state", ""), *(pane["label"] for pane in row.get("panes", ()) if pane["state"] != "ready"))
'
}

# settled STATUS: goes on when a layout is there, whatever its state; a refusal or a missing server ends it here.
settled() {
  case $1 in 3 | 4 | 5) ;; *) exit "$1" ;; esac
}

profile quickstart-events "[\"tail\", \"-n\", \"5\", \"-F\", \"$state/events.jsonl\"]"
profile quickstart-clock '["sh", "-c", "while date; do sleep 5; done"]'
profile quickstart-shell '["sh", "-i"]'

read -r before _ < <(found)
case $before in
'' | removed)
  tower layout create local -t 1m+2s -s "$SESSION" --label-prefix qs- \
    -l master=quickstart-events -l slave:s1=quickstart-clock -l slave:s2=quickstart-shell || settled $?
  ;;
failed)
  echo "the panes of $SESSION were lost; they are made anew"
  tower layout recreate "local:$SESSION" || settled $?
  ;;
*)
  tower layout wait "local:$SESSION" --timeout 60 >/dev/null || settled $?
  echo "they are there already:"
  tower layout show "local:$SESSION"
  ;;
esac

# remedy STATE LABEL...: what makes a layout of that state whole, with its panes that are not ready.
remedy() {
  local tower=$ROOT/.venv/bin/tower state=$1 label
  shift
  case $state in
  degraded) for label in "$@"; do echo "  $tower pane restart $SESSION/$label"; done ;;
  creating) echo "  $tower layout wait $SESSION" ;;
  *) echo "  $tower layout recreate $SESSION" ;;
  esac
}

read -r after labels < <(found)
if [ "$after" != ready ]; then
  printf '\nquickstart: %s is %s: %s. The table says why; once that is put right:\n' "$SESSION" "$after" "$labels" >&2
  # shellcheck disable=SC2086 - one word a label
  remedy "$after" $labels >&2
  exit 1
fi

cat <<END

For \`tower\` in this shell:  . $ROOT/.venv/bin/activate
Look at the panes:           tower layout attach $SESSION      (leave with Ctrl-b d)
What happened:               tower events --layout $SESSION
Stop the tower:              tower down      (the panes live on)
END
