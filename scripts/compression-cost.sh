#!/usr/bin/env bash
# What does compression cost a fan-out? Server CPU per delivery when one publication of 1 KiB of
# text as compressible as JSON goes to 1,000 WebSockets, plain, with shared compression and with
# contexts of their own: 50 publications per second, one worker on CPU 0, the load, which inflates
# what it gets, on CPU 1. Every block has a fresh server; the order is A B C C B A in every round.
#
#   scripts/compression-cost.sh [ROUNDS [SECONDS]]    default 3 rounds, blocks of 6 s
#
# RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

rounds=${1:-3}
seconds=${2:-6}
subscribers=1000
rate=50

# Runs one block; prints nothing, leaves its JSON in $1. Every delivery must have come as the block
# is named, or the figure would be about something else.
run_block() {
  local out=$1 what=$2 mode=$2 offer=on compressed received
  if [ "$what" = plain ]; then
    mode=off
    offer=off
  fi
  start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --cpus 0 --engine uring \
    --compression "$mode"
  run_foreground "$release/loadgen" run "ws://$server_address/channels/fanout" --mode fanout \
    --connections "$subscribers" --publishers 1 --rate "$rate" --size 1024 --payload text \
    --compression "$offer" --duration "${seconds}s" --warmup 1s --threads 1 --cpus 1 \
    --server-pid "$server_pid" --out "json=$out" --no-tui --quiet >/dev/null || load_code=$?
  stop_all
  if [ "$offer" = on ]; then
    compressed=$(json_number "$out" compression messages_received)
    received=$(json_first "$out" messages_received)
    if [ "${compressed:-0}" -lt "${received:-1}" ]; then
      echo "$what: only ${compressed:-0} of ${received:-?} deliveries came compressed" >&2
      exit 1
    fi
  fi
}

need_two_cpus
build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
run_blocks "$rounds" plain shared dedicated
{
  echo "fan-out 1 -> $subscribers, 1 KiB of text, $rate publications/s; server on CPU 0, load on CPU 1"
  for what in plain shared dedicated; do
    printf '%s: %s bytes on the wire for each delivery\n' "$what" \
      "$(json_first "$(find "$scratch/raw" -name "*-$what.json" | sort | sed -n 1p)" \
        wire_bytes_per_message)"
  done
  echo "server CPU per delivery; ratio to plain is the median over the rounds"
  echo
  print_table plain "$scratch/blocks.tsv"
} | tee "$scratch/report.txt"
keep_result compression-cost
