#!/usr/bin/env bash
# What does compression cost a fan-out? Server CPU per delivery when one publication of 1 KiB of
# JSON goes to 1,000 WebSockets, plain, with shared compression and with a context per connection:
# 100 publications per second, one worker on CPU 0, the load on CPU 1. The load insists on a
# compressed frame for every delivery and does not inflate it. Every block has a fresh server; the
# order is A B C C B A in every round.
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
rate=100

# Runs one block; prints nothing, leaves its JSON in $1.
run_block() {
  local out=$1 what=$2 mode=$2
  local compressed=(--compressed)
  if [ "$what" = plain ]; then
    mode=off
    compressed=()
  fi
  start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --cpus 0 --engine uring \
    --compression "$mode"
  run_foreground "$release/examples/fanout_load" "$server_address" \
    --connections "$subscribers" --rate "$rate" --size 1024 --duration "$seconds" --warmup 1 \
    --cpu 1 --server-pid "$server_pid" ${compressed[@]+"${compressed[@]}"} >"$out" || load_code=$?
  stop_all
}

need_two_cpus
build_release --package ringwire --bins --example fanout_load
make_scratch
trap_signals
run_blocks "$rounds" plain shared dedicated
{
  echo "fan-out 1 -> $subscribers, 1 KiB of JSON, $rate publications/s; server on CPU 0, load on CPU 1"
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
