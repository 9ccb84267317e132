#!/usr/bin/env bash
# Are the bytes that loadgen reports those on the wire? Each transport of ringwire over the loopback
# of a network namespace of its own, captured by tshark, and the TCP payload of the capture beside
# the JSON, to the byte. The load is slow and even, so that nothing is under way at the window's
# ends: which segments are of the window follows from their order on each connection.
#
#   scripts/wire-truth.sh [ENGINE]               uring or epoll; default both
#
# Needs root for the namespace; tshark is fetched with apt-get where it is missing. Exit 1 if a
# figure differs. RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

connections=5
rate=10
seconds=4
engines=${1:-uring epoll}

if [ "${WIRE_TRUTH_INSIDE:-}" != yes ]; then
  build_release --package ringwire --package loadgen --bins
  for tool in unshare:util-linux ip:iproute2 tshark; do
    need_command "${tool%:*}" "${tool#*:}"
  done
  WIRE_TRUTH_INSIDE=yes exec unshare --net -- "${BASH_SOURCE[0]}" "$@"
fi
ip link set lo up
# Segments as they go over a network: none larger than it carries, and none joined on arrival.
ip link set lo mtu 1500

# Runs loadgen under a capture: $1 names it, the rest are its flags.
capture() {
  local name=$1 waited code=0
  shift
  tshark -q -i lo -w "$scratch/$name.pcap" 2>"$scratch/tshark.log" &
  local tshark_pid=$!
  started+=("$tshark_pid")
  for ((waited = 0; waited < 200; waited++)); do
    if grep -q "Capture started\|Capturing on" "$scratch/tshark.log" \
      && [ -s "$scratch/$name.pcap" ]; then
      break
    fi
    sleep 0.05
  done
  run_foreground "$release/loadgen" run "$@" --rate "$rate" --duration "${seconds}s" \
    --connections "$connections" --out "json=$scratch/raw/$name.json" --no-tui --quiet \
    >/dev/null || code=$?
  if [ "$code" -ne 0 ] && [ "$code" -ne 96 ]; then
    echo "loadgen ended with $code" >&2
    exit 1
  fi
  sleep 0.5
  kill -INT "$tshark_pid"
  wait "$tshark_pid" || true
  # Streams of publishers begin with POST; time, direction and sizes of everything else.
  tshark -r "$scratch/$name.pcap" -T fields -e tcp.stream -e tcp.dstport -e tcp.len -e ip.len \
    -e tcp.flags.fin -e tcp.payload 2>/dev/null \
    | awk -F '\t' -v port="${server_address##*:}" -v OFS='\t' '{
        to_server = $2 == port
        print $1, to_server, $3, $4, $5 == "1" || $5 == "True", substr($6, 1, 8) == "504f5354"
      }' >"$scratch/raw/$name.tsv"
}

# Prints the bytes of the opening, those sent and received in the window, and how many connections.
# Counted are the segments with payload of each direction of a connection: the first $2 are the
# opening, the client's next $3 come before the window, then those of the window, without the last
# $4 (client) and $5 (server); at most $6 of them (0: all).
count_capture() {
  awk -F '\t' -v opening="$2" -v before="$3" -v client_after="$4" -v server_after="$5" \
    -v most="$6" '
    $6 { publisher[$1] = 1 }
    $3 > 0 { n[$1, $2]++; len[$1, $2, n[$1, $2]] = $3; streams[$1] = 1 }
    END {
      for (s in streams) {
        if (s in publisher) continue
        connections++
        for (d = 0; d < 2; d++) {
          last = n[s, d] - (d ? client_after : server_after)
          first = opening + (d ? before : 0)
          if (most && last > first + most) last = first + most
          for (i = 1; i <= opening && i <= n[s, d]; i++) setup += len[s, d, i]
          for (i = first + 1; i <= last; i++) bytes[d] += len[s, d, i]
        }
      }
      print setup + 0, bytes[1] + 0, bytes[0] + 0, connections + 0
    }' "$scratch/raw/$1.tsv"
}

# A row per figure: captured and reported.
row() {
  local verdict=same
  [ "$3" = "$4" ] || { verdict=DIFFERS; failed=$((failed + 1)); }
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$3" "$4" "$verdict" >>"$scratch/blocks.tsv"
}

# Compares one capture: $1 names it, the rest as count_capture.
judge() {
  local name=$1 setup sent received count json=$scratch/raw/$1.json
  read -r setup sent received count < <(count_capture "$@")
  row "$name" connections "$count" "$connections"
  row "$name" setup_bytes_per_connection "$((setup / connections))" \
    "$(json_first "$json" setup_bytes_per_connection)"
  row "$name" wire_bytes_sent "$sent" "$(json_first "$json" wire_bytes_sent)"
  row "$name" wire_bytes_received "$received" "$(json_first "$json" wire_bytes_received)"
}

make_scratch
trap_signals
mkdir "$scratch/raw"
failed=0
printf 'what\tfigure\tcaptured\treported\tverdict\n' >"$scratch/blocks.tsv"
for engine in $engines; do
  start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --engine "$engine"
  url=$server_address/channels
  capture "ws-echo-$engine" "ws://$server_address/echo" --mode echo --engine "$engine"
  # Not of the window: the upgrade, and the Close of either side.
  judge "ws-echo-$engine" 1 0 1 1 0
  capture "ws-fanout-$engine" "ws://$url/a" --mode fanout --engine "$engine"
  judge "ws-fanout-$engine" 1 0 1 1 0
  capture "sse-$engine" "http://$url/b" --transport sse --engine "$engine"
  judge "sse-$engine" 1 0 0 0 0
  capture "longpoll-$engine" "http://$url/c" --transport longpoll --engine "$engine"
  # The first question that waits is asked before the window.
  judge "longpoll-$engine" 1 1 0 0 0
  capture "poll-$engine" "http://$url/d" --transport poll --poll-interval 1s --engine "$engine"
  # One question a second; those after the window fetch what was left.
  judge "poll-$engine" 1 0 0 0 "$seconds"
  stop_all
done
{
  echo "$connections connections, $rate messages/s for $seconds s: TCP payload, captured, reported"
  echo
  awk -F '\t' '{ printf "%-18s %-28s %12s %12s  %s\n", $1, $2, $3, $4, $5 }' "$scratch/blocks.tsv"
  echo
  if [ "$failed" -eq 0 ]; then
    echo "every figure is that of the capture, to the byte"
  else
    echo "$failed figures differ"
  fi
} | tee "$scratch/report.txt"
gzip -9n "$scratch"/raw/*.tsv
keep_result wire-truth
[ "$failed" -eq 0 ]
