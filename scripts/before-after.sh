#!/usr/bin/env bash
# Does this tree still echo as cheaply as REVISION did? Server CPU per message of both builds in
# one run: 200 WebSocket connections, one message of 20 bytes in flight on each, one worker on
# CPU 0, this tree's generator for both on CPU 1. Every block has a fresh server; the order is
# A B C D D C B A in every round.
#
#   scripts/before-after.sh REVISION [ROUNDS [SECONDS]]      default 3 rounds, blocks of 5 s
#
# REVISION is built in a worktree of its own that goes away at the end; its build stays in
# TARGET/before. RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

revision=${1:?"which revision is it compared with? scripts/before-after.sh REVISION"}
rounds=${2:-3}
seconds=${3:-5}
connections=200

# Builds the server of $revision.
build_before() {
  local tree=$scratch/before
  git -C "$root" worktree add --quiet --detach "$tree" "$revision"
  local code=0
  (cd -- "$tree" && CARGO_TARGET_DIR=$target/before cargo build --release --locked \
    --package ringwire --bins) || code=$?
  git -C "$root" worktree remove --force "$tree"
  return "$code"
}

# Runs one block; prints nothing, leaves its JSON in $1.
run_block() {
  local out=$1 what=$2 program=$release/ringwire
  case "$what" in
    before-*) program=$target/before/release/ringwire ;;
  esac
  start_server "$program" --listen 127.0.0.1:0 --workers 1 --cpus 0 --engine "${what#*-}"
  run_foreground "$release/examples/tcp_load" "$server_address" --websocket \
    --connections "$connections" --size 26 --duration "$seconds" --warmup 1 --cpu 1 \
    --server-pid "$server_pid" >"$out" || load_code=$?
  stop_all
}

need_two_cpus
make_scratch
trap_signals
build_before
build_release --package ringwire --bins --example tcp_load
run_blocks "$rounds" before-uring after-uring before-epoll after-epoll
{
  echo "echo, $connections connections, 20 B, one in flight; server on CPU 0, load on CPU 1"
  printf 'before: %s; after: %s\n' "$(git -C "$root" rev-parse --short "$revision")" \
    "$(git -C "$root" rev-parse --short HEAD)"
  echo "server CPU per message; ratio to before-ENGINE is the median over the rounds"
  echo
  print_table before-uring "$scratch/blocks.tsv"
  echo
  print_table before-epoll "$scratch/blocks.tsv"
} | tee "$scratch/report.txt"
keep_result before-after
