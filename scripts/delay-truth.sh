#!/usr/bin/env bash
# Does loadgen report what happened? A server that keeps every message for a time of its choice, 20
# ms and more, and logs when each came and went (examples/delay_server.rs), and the percentiles of
# that log beside those that loadgen reports: constant, uniform and bimodal delays, and a stall of
# one second, with unlimited sends and with one in flight.
#
#   scripts/delay-truth.sh [SECONDS]             default 20 s for each of the five
#
# What is reported may be more than what the server knows of, by the way there and back and two
# wake-ups (DELAY_TRUTH_SLACK_US, default 2000; at p99 five times that), and never less, but for the
# histogram's bucket. Exit 1 if it is not so. RINGWIRE_RESULTS=DIR writes below DIR;
# CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

seconds=${1:-20}
slack_us=${DELAY_TRUTH_SLACK_US:-2000}
connections=50
rate=600

# The value of rank ceil(count * $2 / 100000) of the sorted column in $1; nothing where fewer than
# ten samples lie beyond.
percentile() {
  awk -v share="$2" '{ v[NR] = $1 } END {
    if (NR * (100000 - share) < 1000000) exit
    rank = int((NR * share + 99999) / 100000)
    print v[rank]
  }' "$1"
}

# Lines `what, percentile, samples, applied, from sent, from intended` of one run.
compare() {
  local what=$1 json=$2 log=$3 sorted=$scratch/sorted name share applied
  awk -F '\t' '{ print $2 - $1 }' "$log" | sort -n >"$sorted"
  for name in p50:50000 p90:90000 p99:99000 p99_9:99900 max:100000; do
    share=${name#*:}
    name=${name%:*}
    if [ "$name" = max ]; then
      applied=$(tail -n 1 "$sorted")
    else
      applied=$(percentile "$sorted" "$share")
    fi
    printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$what" "$name" "$(wc -l <"$sorted")" "$applied" \
      "$(json_number "$json" latency_from_sent_ns "$name")" \
      "$(json_number "$json" latency_from_intended_ns "$name")" >>"$scratch/blocks.tsv"
  done
}

run_one() {
  local what=$1 in_flight=$2 code=0 waited
  local log=$scratch/raw/$what.tsv json=$scratch/raw/$what.json
  shift 2
  echo "$what" >&2
  start_server "$release/examples/delay_server" --log "$log" "$@"
  # shellcheck disable=SC2086 # no flag or two words
  run_foreground "$release/loadgen" run "ws://$server_address/echo" --mode echo \
    --connections "$connections" --rate "$rate" $in_flight --duration "${seconds}s" \
    --out "json=$json" --no-tui --quiet >/dev/null || code=$?
  if [ ! -s "$json" ] || { [ "$code" -ne 0 ] && [ "$code" -ne 96 ]; }; then
    echo "loadgen ended with $code" >&2
    exit 1
  fi
  # The log is whole once the last connection has gone, and every message is in it.
  for ((waited = 0; waited < 100; waited++)); do
    [ "$(wc -l <"$log")" -lt "$((rate * seconds))" ] || break
    sleep 0.05
  done
  stop_all
  compare "$what" "$json" "$log"
}

build_release --package ringwire --package loadgen --bins
# Apart: what examples need would have the programs built once more.
build_release --package ringwire --example delay_server
make_scratch
trap_signals
mkdir "$scratch/raw"
printf 'what\tpercentile\tsamples\tapplied_ns\tfrom_sent_ns\tfrom_intended_ns\n' \
  >"$scratch/blocks.tsv"
run_one constant '' --law constant --least-ms 20
run_one uniform '' --law uniform --least-ms 20 --most-ms 120
run_one bimodal '' --law bimodal --least-ms 20 --most-ms 200
run_one stall '' --law constant --least-ms 20 --stall-after-ms 3000
run_one stall-one-in-flight '--in-flight 1' --law constant --least-ms 20 --stall-after-ms 3000
{
  echo "$connections connections, $rate messages/s for $seconds s; times in ms"
  echo "applied: held by the server, by its own log; the rest as loadgen reports it"
  echo
  awk -F '\t' -v slack_ns="$((slack_us * 1000))" '
    function ms(ns) { return ns == "" ? "insufficient" : sprintf("%.3f", ns / 1e6) }
    FNR == 1 {
      printf "%-20s %-6s %8s %12s %12s %14s %10s\n", "what", "", "samples", "applied", \
        "from sent", "from intended", "off, us"
      next
    }
    {
      off = $5 - $4
      # One bucket of three significant digits is at most a thousandth; a tail has more to wait for.
      limit = (slack_ns * ($2 == "p99" ? 5 : 1)) + $4 / 1000
      wrong = $4 != "" && (off < -$4 / 1000 || ($2 ~ /^p(50|90|99)$/ && off > limit))
      failed += wrong
      printf "%-20s %-6s %8d %12s %12s %14s %10s%s\n", $1, $2, $3, ms($4), ms($5), ms($6), \
        $4 == "" ? "" : sprintf("%.0f", off / 1000), wrong ? " WRONG" : ""
    }
    END {
      print ""
      print failed ? failed " percentiles are not as applied" : "every percentile is as applied"
      exit failed > 0
    }' "$scratch/blocks.tsv"
} >"$scratch/report.txt" && verdict=0 || verdict=$?
cat "$scratch/report.txt"
# Each line is a message; the percentiles above are all that is needed of them.
gzip -9n "$scratch"/raw/*.tsv
keep_result delay-truth
exit "$verdict"
