#!/usr/bin/env bash
# What takes too long for every run of the tests:
#
#   tests/faults/run.sh [KILLS] [SEED]   the fault campaign, 5,000 kills by default, half on each runtime, at once
#   tests/faults/run.sh matrix           every outage at every point of every stage, with SPEC.md's own times
#
# The campaign's table for the README goes to standard output, progress to standard error. It ends at the first problem,
# and leaves that tower, its containers and the engine for a look. TOWERS=N (3) are killed side by side on each runtime.
set -euo pipefail
. "$(dirname -- "${BASH_SOURCE[0]}")/../../examples/setup.sh"
cd -- "$ROOT"
prepare_tests

if [ "${1:-}" = matrix ]; then
  TOWER_TEST_LONG=1 python -m pytest -n "${TOWER_TEST_PROCESSES:-4}" tests/faults/test_outages.py tests/faults/test_returns.py
  exit
fi

kills=${1:-5000} seed=${2:-$RANDOM}
rows=$(mktemp -d)
benches=(local)
[ -z "${TOWER_TEST_DOCKER_HOST:-}" ] || benches+=(docker)
declare -A campaigns
for bench in "${benches[@]}"; do
  python -m tests.faults.campaign --bench "$bench" --kills $((kills / ${#benches[@]})) --seed "$seed" --towers "${TOWERS:-3}" \
    >"$rows/$bench" &
  campaigns[$bench]=$!
done
failed=
for bench in "${benches[@]}"; do
  wait "${campaigns[$bench]}" || failed="$failed $bench"
done
python -c 'from tests.faults.campaign import HEAD; print(HEAD)'
for bench in "${benches[@]}"; do cat "$rows/$bench"; done
rm -r -- "$rows"
if [ -n "$failed" ]; then
  [ -z "${TEST_ENGINE:-}" ] || trap "echo 'when seen: python -m tests.engine stop $TEST_ENGINE' >&2" EXIT
  echo "problems on:$failed (seed $seed); they stand above, their towers are left as they are" >&2
  exit 1
fi
