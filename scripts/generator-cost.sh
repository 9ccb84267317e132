#!/usr/bin/env bash
# What does loadgen itself cost? Its CPU per message beside that of the server it drives, each on a
# CPU of its own: ringwire (echo with one in flight, fan-out to 1,000) and the peers of
# benches/peers, on both of loadgen's engines. The order is reversed in every round. Then its memory
# per idle connection.
#
#   scripts/generator-cost.sh [ROUNDS [SECONDS]]   default 3 rounds, blocks of 4 s
#
# Ratio: the server's CPU per message over loadgen's in the same block. 1.0 and more against
# ringwire: measuring costs no more than serving. 1.5 and more against a peer: a peer that is busy
# all the time leaves the generator a third of its own. RINGWIRE_RESULTS=DIR writes below DIR;
# CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

rounds=${1:-3}
seconds=${2:-4}
connections=200
subscribers=1000
idle_few=100
idle_many=10000
peers=$target/peers/release

# What is in a block's name: SERVER_MODE_ENGINE.
run_block() {
  local out=$1 what=$2 server mode engine url
  IFS=_ read -r server mode engine <<<"$what"
  case "$server" in
    ringwire)
      start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --cpus 0 --engine "$engine"
      ;;
    tungstenite) start_server taskset -c 0 "$peers/tungstenite_echo" --read-buffer 4096 ;;
    tokio-uring) start_server taskset -c 0 "$peers/tokio_uring_echo" ;;
  esac
  url=ws://$server_address/echo
  local load=(--mode echo --connections "$connections" --size 20)
  if [ "$mode" = fanout ]; then
    url=ws://$server_address/channels/a
    load=(--mode fanout --connections "$subscribers" --publishers 1 --rate 100)
  fi
  run_foreground "$release/loadgen" run "$url" "${load[@]}" --engine "$engine" --cpus 1 \
    --duration "${seconds}s" --warmup 1s --server-pid "$server_pid" --out "json=$out" --no-tui \
    --quiet >/dev/null || load_code=$?
  stop_all
}

# Lines `what, rounds' ratios` as a table, with loadgen's own medians.
print_ratios() {
  awk -F '\t' "$awk_median"'
    FNR == 1 { next }
    !($3 in seen) { seen[$3] = 1; names[++kinds] = $3 }
    { n[$3]++; server[$3, n[$3]] = $5; load[$3, n[$3]] = $6 }
    END {
      printf "%-26s %12s %12s %8s %8s %8s\n", "server_mode_engine", "server, ns", "loadgen, ns", \
        "ratio", "least", "most"
      for (k = 1; k <= kinds; k++) {
        name = names[k]
        for (i = 1; i <= n[name]; i++) {
          s[i] = server[name, i] + 0; l[i] = load[name, i] + 0; q[i] = l[i] ? s[i] / l[i] : 0
        }
        middle = median(q, n[name])
        printf "%-26s %12.0f %12.0f %8.2f %8.2f %8.2f\n", name, median(s, n[name]), \
          median(l, n[name]), middle, q[1], q[n[name]]
      }
    }' "$1"
}

# Anonymous resident memory of loadgen, in KiB, holding $2 idle connections on engine $1: a second
# before its end, when everything is open and nothing is being closed.
idle_kib() {
  local engine=$1 count=$2 load now readings=()
  # Huge pages come 2 MiB at a time, which is more than all that is looked for.
  MIMALLOC_ALLOW_THP=0 "$release/loadgen" run "ws://$server_address/echo" --mode idle \
    --connections "$count" --engine "$engine" --duration 3s --no-tui --quiet \
    >/dev/null 2>&1 </dev/null &
  load=$!
  started+=("$load")
  while [ "${#readings[@]}" -lt 300 ] && kill -0 "$load" 2>/dev/null; do
    now=$(awk '/^RssAnon/ { print $2 }' "/proc/$load/status" 2>/dev/null || true)
    [ -n "$now" ] || break
    readings+=("$now")
    sleep 0.1
  done
  wait "$load" || true
  if [ "${#readings[@]}" -lt 15 ]; then
    echo "loadgen ended before its memory could be read" >&2
    exit 1
  fi
  echo "${readings[-12]}"
}

need_two_cpus
build_release --package ringwire --package loadgen --bins
cargo build --release --locked --manifest-path "$root/benches/peers/Cargo.toml" \
  --target-dir "$target/peers"
make_scratch
trap_signals
run_blocks "$rounds" ringwire_echo_uring ringwire_echo_epoll ringwire_fanout_uring \
  ringwire_fanout_epoll tungstenite_echo_uring tungstenite_echo_epoll tokio-uring_echo_uring \
  tokio-uring_echo_epoll
printf 'engine\tconnections\trss_anonymous_kib\n' >"$scratch/raw/idle.tsv"
for engine in uring epoll; do
  start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1 --engine "$engine"
  for count in "$idle_few" "$idle_many"; do
    printf '%s\t%s\t%s\n' "$engine" "$count" "$(idle_kib "$engine" "$count")" \
      >>"$scratch/raw/idle.tsv"
  done
  stop_all
done
{
  echo "CPU per message, server on CPU 0, loadgen on CPU 1; echo: $connections connections, 20 B,"
  echo "one in flight; fanout: 100 publications/s of 64 B to $subscribers"
  echo
  print_ratios "$scratch/blocks.tsv"
  echo
  awk -F '\t' -v few="$idle_few" -v many="$idle_many" '
    FNR > 1 { kib[$1, $2] = $3; engines[$1] = 1 }
    END {
      for (e in engines)
        printf "loadgen, engine %s: %.0f B of its own memory per idle connection (%d, less %d)\n", \
          e, (kib[e, many] - kib[e, few]) * 1024 / (many - few), many, few
    }' "$scratch/raw/idle.tsv"
} | tee "$scratch/report.txt"
keep_result generator-cost
