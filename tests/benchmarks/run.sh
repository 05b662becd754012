#!/bin/sh
# Measure every promise about speed beside its floor: a table, or --json; --only ROW for some of it.
# The machine should do nothing else meanwhile. Takes about ten minutes as a whole; needs root and dockerd.
set -eu
cd "$(dirname "$0")/../.."
python=.venv/bin/python
[ -x "$python" ] || { echo "no .venv here: tests/run.sh makes one" >&2; exit 1; }
exec "$python" -m tests.benchmarks "$@"
