#!/usr/bin/env bash
# What does each transport cost for the same delivered messages? Builds both programs, lets
# `loadgen compare` start a fresh server on a free loopback port for every block, prints the table
# and keeps it with its raw data under results/. Exits with loadgen's code.
#
#   scripts/compare.sh [--quick] [any other flag of `loadgen compare`]
#
# RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case "${1:-}" in
  -h | --help)
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
"$root/scripts/machine.sh" >"$scratch/machine.json"

# loadgen hands the command to a shell. By name, so that no directory of this machine is kept with
# the result.
PATH=$release:$PATH
server="ringwire --listen 127.0.0.1:{port} --history-size {history}"
code=0
run_foreground "$release/loadgen" compare --server-command "$server" \
  --out "json=$scratch/result.json" "$@" >"$scratch/report.txt" || code=$?
cat "$scratch/report.txt"

if [ ! -s "$scratch/result.json" ]; then
  echo "compare: no result was written (loadgen ended with $code)" >&2
  exit "$((code == 0 ? 1 : code))"
fi
make_result_directory ""
cp -- "$scratch/result.json" "$scratch/report.txt" "$scratch/machine.json" "$result/"
echo
echo "written: ${result#"$PWD"/}"
exit "$code"
