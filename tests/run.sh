#!/usr/bin/env bash
# Everything that is checked: ruff, mypy, and the tests on real tmux and a Docker engine of their own.
# Words after it go to pytest (tests/run.sh tests/unit -k quoting). With CI set nothing is skipped: what is missing fails.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/../examples/setup.sh"
cd -- "$ROOT"
prepare_tests

ruff check .
mypy

rm -f .coverage .coverage.*
reruns=()
[ -z "${CI:-}" ] || reruns=(--reruns 2)
python -m pytest -n "${TOWER_TEST_PROCESSES:-4}" --dist worksteal --durations 25 -rfEsR --cov --cov-report=term "${reruns[@]}" "$@"
