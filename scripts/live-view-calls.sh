#!/usr/bin/env bash
# Does looking change what is measured? The system calls of loadgen's measuring thread, counted by
# strace, with the live view in a terminal and with --no-tui: the same per message, on both engines.
#
#   scripts/live-view-calls.sh [SECONDS]         default 5 s for each
#
# What is due when is the same in both; only whether two things fall into one turn differs, so a
# twentieth more or less is the same. Exit 1 if it is not. RINGWIRE_RESULTS=DIR writes below DIR;
# CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

seconds=${1:-5}
rate=200

# Prints the calls of the busiest thread.
calls() {
  local name=$1 engine=$2 flag=$3 file most=0 count
  TERM=xterm script -qfec "strace -qq -ff -o $scratch/$name $release/loadgen run \
    ws://$server_address/echo --mode echo --connections 10 --rate $rate \
    --duration ${seconds}s --engine $engine $flag --out json=$scratch/raw/$name.json" \
    /dev/null >/dev/null 2>&1 </dev/null || true
  for file in "$scratch/$name".*; do
    count=$(wc -l <"$file")
    [ "$count" -le "$most" ] || most=$count
  done
  echo "$most"
}

for tool in strace script; do
  command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 78; }
done
build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
mkdir "$scratch/raw"
printf 'engine\tmessages\tcalls_with_view\tcalls_without\n' >"$scratch/blocks.tsv"
start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1
for engine in uring epoll; do
  with=$(calls "with-$engine" "$engine" '')
  without=$(calls "without-$engine" "$engine" --no-tui)
  printf '%s\t%s\t%s\t%s\n' "$engine" "$((rate * seconds))" "$with" "$without" \
    >>"$scratch/blocks.tsv"
done
stop_all
verdict=0
awk -F '\t' '
  FNR == 1 { printf "%-8s %22s %22s\n", "engine", "calls/message, viewed", "not viewed"; next }
  {
    printf "%-8s %22.2f %22.2f\n", $1, $3 / $2, $4 / $2
    if ($4 == 0 || $3 / $4 > 1.05 || $3 / $4 < 0.95) wrong = 1
  }
  END { exit wrong }' "$scratch/blocks.tsv" >"$scratch/report.txt" || verdict=$?
cat "$scratch/report.txt"
keep_result live-view-calls
exit "$verdict"
