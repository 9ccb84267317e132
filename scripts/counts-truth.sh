#!/usr/bin/env bash
# Do loadgen's counts agree with the server's own? Each transport of ringwire on both engines, and
# what /metrics gained during the run beside the JSON: messages, publications, deliveries,
# connections. Then polling once more with wrk, where it is installed: its count of questions
# beside the server's.
#
#   scripts/counts-truth.sh [SECONDS]            default 3 s for each
#
# Exit 1 if a count differs. RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

seconds=${1:-3}
connections=20
rate=100

# The sum of a counter's series whose labels match $2, all workers.
metric() {
  curl -sS --max-time 10 "http://$admin/metrics" \
    | awk -v name="$1" -v labels="${2:-}" '
        index($1, name "{") == 1 && index($1, labels) { sum += $2 }
        END { printf "%d\n", sum }'
}

# A row per count: the server's, and as reported.
row() {
  local verdict=same
  [ "$3" = "$4" ] || { verdict=DIFFERS; failed=$((failed + 1)); }
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$verdict" >>"$scratch/blocks.tsv"
}

# What the counters say that a run is compared by: taken in, passed on, connections.
look() {
  case "$1" in
    echo)
      taken=$(metric ringwire_messages_received_total)
      passed=$(metric ringwire_messages_sent_total)
      ;;
    *)
      taken=$(metric ringwire_publications_total)
      passed=$(metric ringwire_deliveries_total)
      ;;
  esac
  accepted=$(metric ringwire_connections_accepted_total)
}

# Runs loadgen; $1 is echo or fanout, $2 names the run, the rest are its flags.
measure() {
  local kind=$1 name=$2 code=0 json taken passed accepted before_taken before_passed
  local before_accepted publishers=0
  shift 2
  json=$scratch/raw/$name.json
  [ "$kind" = echo ] || publishers=1
  look "$kind"
  before_taken=$taken before_passed=$passed before_accepted=$accepted
  run_foreground "$release/loadgen" run "$@" --mode "$kind" --connections "$connections" \
    --rate "$rate" --duration "${seconds}s" --out "json=$json" --no-tui --quiet \
    >/dev/null || code=$?
  if [ "$code" -ne 0 ] && [ "$code" -ne 96 ]; then
    echo "loadgen ended with $code" >&2
    exit 1
  fi
  look "$kind"
  row "$name" messages_sent "$((taken - before_taken))" "$(json_first "$json" messages_sent)"
  row "$name" messages_received "$((passed - before_passed))" \
    "$(json_first "$json" messages_received)"
  # The look before came by the admin listener, which counts among no worker's.
  row "$name" connections "$((accepted - before_accepted))" "$((connections + publishers))"
}

# The same question as loadgen's polls, asked by wrk as fast as it can.
cross_check() {
  local name=wrk-poll-$1 told before asked position
  position=$(curl -sS --max-time 10 "http://$server_address/channels/w" \
    | sed -n 's/.*"epoch":"\([^"]*\)","offset":\([0-9]*\).*/\1:\2/p')
  before=$(metric ringwire_requests_total 'kind="poll"')
  told=$(wrk -t 1 -c 1 -d "${seconds}s" \
    "http://$server_address/channels/w?since=$position" | tee "$scratch/raw/$name.txt" \
    | sed -n 's/^ *\([0-9]*\) requests in .*/\1/p')
  asked=$(($(metric ringwire_requests_total 'kind="poll"') - before))
  # wrk ends in the middle of a question, and does not count that one.
  if [ "$((asked - told))" -eq 1 ]; then
    told=$asked
  fi
  row "$name" requests "$asked" "$told"
}

need_command curl
build_release --package ringwire --package loadgen --bins
make_scratch
trap_signals
mkdir "$scratch/raw"
failed=0
printf 'what\tfigure\tserver\treported\tverdict\n' >"$scratch/blocks.tsv"
for engine in uring epoll; do
  start_server "$release/ringwire" --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --workers 1 \
    --engine "$engine"
  admin=$(cat "$scratch"/server.*.err | sed -n 's/^admin on //p' | tail -n 1)
  url=$server_address/channels
  measure echo "ws-echo-$engine" "ws://$server_address/echo" --engine "$engine"
  measure fanout "ws-fanout-$engine" "ws://$url/a" --engine "$engine"
  measure fanout "sse-$engine" "http://$url/b" --transport sse --engine "$engine"
  measure fanout "longpoll-$engine" "http://$url/c" --transport longpoll --engine "$engine"
  measure fanout "poll-$engine" "http://$url/d" --transport poll --poll-interval 500ms \
    --engine "$engine"
  if command -v wrk >/dev/null; then
    cross_check "$engine"
  else
    echo "wrk is not installed: polling is not asked again" >&2
  fi
  stop_all
  rm -f "$scratch"/server.*.err
done
{
  echo "$connections connections, $rate messages/s for $seconds s: the server's counts, and reported"
  echo
  awk -F '\t' '{ printf "%-18s %-20s %12s %12s  %s\n", $1, $2, $3, $4, $5 }' "$scratch/blocks.tsv"
  echo
  if [ "$failed" -eq 0 ]; then
    echo "every count is the server's"
  else
    echo "$failed counts differ"
  fi
} | tee "$scratch/report.txt"
keep_result counts-truth
[ "$failed" -eq 0 ]
