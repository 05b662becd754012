#!/usr/bin/env bash
# The long fault campaign: tests/faults/run.sh [KILLS] [SEED], 5,000 kills by default, half on each runtime.
# Prints a row for the README's table for each runtime; takes about two seconds a kill.
set -euo pipefail
cd "$(dirname "$0")/../.."
kills=${1:-5000} seed=${2:-$RANDOM}
. examples/setup.sh
prepare_tests
for bench in local docker; do
  .venv/bin/python -m tests.faults.campaign --bench "$bench" --kills $((kills / 2)) --seed "$seed"
done
