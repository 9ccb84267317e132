#!/usr/bin/env bash
# What does the optimistic batch save beside sends with a completion each? Server CPU per delivery
# when one publication goes to 1,000 WebSockets: 64 bytes, 100 publications per second, one worker
# on CPU 0, the load on CPU 1. Every block has a fresh server; the order is A B B A.
#
#   scripts/fanout-cost.sh [ROUNDS [SECONDS]]    default 3 rounds, blocks of 6 s
#
# RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

rounds=${1:-3}
seconds=${2:-6}
subscribers=1000
rate=100

# Runs one block; prints nothing, leaves its JSON in $1.
run_block() {
  local out=$1 what=$2 off=
  if [ "$what" = completions ]; then
    off=optimistic_send
  fi
  RINGWIRE_FEATURES_OFF=$off start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 \
    --cpus 0 --engine uring
  run_foreground "$release/loadgen" run "ws://$server_address/channels/fanout" --mode fanout \
    --connections "$subscribers" --publishers 1 --rate "$rate" --size 64 \
    --duration "${seconds}s" --warmup 1s --threads 1 --cpus 1 --server-pid "$server_pid" \
    --out "json=$out" --no-tui --quiet >/dev/null || load_code=$?
  stop_all
}

need_two_cpus
build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
run_blocks "$rounds" optimistic completions
{
  echo "fan-out 1 -> $subscribers, 64 B, $rate publications/s; server on CPU 0, load on CPU 1"
  echo "server CPU per delivery; ratio to completions is the median over the rounds"
  echo
  print_table completions "$scratch/blocks.tsv"
} | tee "$scratch/report.txt"
keep_result fanout-cost
