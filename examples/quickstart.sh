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

# layout_state: the state of the layout on this host's session; nothing where there is none.
layout_state() {
  tower layout list --json | python -c '
import json, sys
for row in json.load(sys.stdin)["items"]:
    if (row["container_id"], row["tmux_session_name"]) == ("local", sys.argv[1]):
        print(row["state"])
' "$SESSION"
}

profile quickstart-events "[\"tail\", \"-n\", \"5\", \"-F\", \"$state/events.jsonl\"]"
profile quickstart-clock '["sh", "-c", "while date; do sleep 5; done"]'
profile quickstart-shell '["sh", "-i"]'

case $(layout_state) in
'')
  tower layout create local -t 1m+2s -s "$SESSION" \
    -l master=quickstart-events -l slave:s1=quickstart-clock -l slave:s2=quickstart-shell
  ;;
failed)
  echo "the panes of $SESSION were lost; they are made anew"
  tower layout recreate "$SESSION"
  ;;
*)
  tower layout wait "$SESSION" --timeout 60 >/dev/null || true
  echo "they are there already:"
  tower layout show "$SESSION"
  ;;
esac

cat <<END

Look at them:      $ROOT/.venv/bin/tower layout attach $SESSION      (leave with Ctrl-b d)
What happened:     $ROOT/.venv/bin/tower events --layout $SESSION
Stop the tower:    $ROOT/.venv/bin/tower down      (the panes live on)
END
[ "$(layout_state)" = ready ]
