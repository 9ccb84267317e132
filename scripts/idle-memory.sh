#!/usr/bin/env bash
# What does an idle WebSocket hold of the server's memory? Resident memory per connection with
# 10,000 idle WebSockets on one worker, on each engine.
#
#   scripts/idle-memory.sh [CONNECTIONS]         default 10000
#
# RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

connections=${1:-10000}

build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
mkdir "$scratch/raw"
printf 'engine\tconnections\trss_bytes\trss_bytes_per_connection\n' >"$scratch/blocks.tsv"
for engine in uring epoll; do
  start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --engine "$engine"
  file=$scratch/raw/$engine.json
  run_foreground "$release/loadgen" run "ws://$server_address/echo" --mode idle \
    --connections "$connections" --duration 5s --server-pid "$server_pid" \
    --out "json=$file" --no-tui --quiet >/dev/null
  printf '%s\t%s\t%s\t%s\n' "$engine" "$connections" \
    "$(json_number "$file" server rss_bytes)" \
    "$(json_number "$file" server rss_bytes_per_connection)" >>"$scratch/blocks.tsv"
  stop_all
done
{
  echo "idle WebSockets on /echo; resident memory of the server, user space only"
  echo
  awk -F '\t' '{ printf "%-8s %12s %14s %26s\n", $1, $2, $3, $4 }' "$scratch/blocks.tsv"
} | tee "$scratch/report.txt"
keep_result idle-memory
