#!/usr/bin/env bash
# What does a WebSocket echo cost beside a raw TCP echo on the same ring layer? Server CPU per
# message: 200 connections, one message of 20 bytes in flight on each (26 bytes masked, and 26 over
# raw TCP), one worker on CPU 0, the same generator for all on CPU 1. Every block has a fresh server;
# the order is A B C C B A in every round.
#
#   scripts/echo-cost.sh [ROUNDS [SECONDS]]      default 3 rounds, blocks of 5 s
#
# RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

rounds=${1:-3}
seconds=${2:-5}
connections=200

# Runs one block; prints nothing, leaves its JSON in $1.
run_block() {
  local out=$1 what=$2
  case "$what" in
    ringwire-*)
      start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --cpus 0 \
        --engine "${what#ringwire-}"
      run_foreground "$release/examples/tcp_load" "$server_address" --websocket \
        --connections "$connections" --size 26 --duration "$seconds" --warmup 1 --cpu 1 \
        --server-pid "$server_pid" >"$out" || load_code=$?
      ;;
    tcp-*)
      start_server "$release/examples/tcp_echo" --listen 127.0.0.1:0 --engine "${what#tcp-}" \
        --cpu 0
      run_foreground "$release/examples/tcp_load" "$server_address" \
        --connections "$connections" --size 26 --duration "$seconds" --warmup 1 --cpu 1 \
        --server-pid "$server_pid" >"$out" || load_code=$?
      ;;
  esac
  stop_all
}

need_two_cpus
build_release --package ringwire --bins --example tcp_echo --example tcp_load
make_scratch
trap_signals
run_blocks "$rounds" ringwire-uring ringwire-epoll tcp-uring
{
  echo "echo, $connections connections, 20 B, one in flight; server on CPU 0, load on CPU 1"
  echo "server CPU per message; ratio to tcp-uring is the median over the rounds"
  echo
  print_table tcp-uring "$scratch/blocks.tsv"
} | tee "$scratch/report.txt"
keep_result echo-cost
