#!/usr/bin/env bash
# Can more connections be opened than one address has ports? In a network namespace of its own
# whose addresses have few ports: to a 127/8 target further source addresses are taken without
# being asked, and with one --source-ip the plan is refused with the cure.
#
#   scripts/ports.sh [CONNECTIONS]               default 500, with 128 ports per address
#
# Needs root, unshare and ip. RINGWIRE_RESULTS=DIR writes below DIR; CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

connections=${1:-500}
first_port=40000
last_port=40127

if [ -z "${RINGWIRE_PORTS_INSIDE:-}" ]; then
  for tool in unshare ip; do
    command -v "$tool" >/dev/null || { echo "$tool is not installed" >&2; exit 78; }
  done
  build_release --package ringwire --package loadgen --bins
  RINGWIRE_PORTS_INSIDE=$release exec unshare --net -- "$0" "$connections"
fi
release=$RINGWIRE_PORTS_INSIDE
ip link set lo up
echo "$first_port $last_port" >/proc/sys/net/ipv4/ip_local_port_range
make_scratch
trap_signals
mkdir "$scratch/raw"
start_server "$release/ringwire" --listen 127.0.0.1:9000 --workers 1
printf 'engine\tconnections\topen\tcode_with_one_source\n' >"$scratch/blocks.tsv"
verdict=0
{
  echo "$connections connections, $((last_port - first_port + 1)) ports per source address"
  echo
  for engine in uring epoll; do
    file=$scratch/raw/$engine.json
    if ! "$release/loadgen" run "ws://$server_address/echo" --mode idle \
      --connections "$connections" --duration 1s --engine "$engine" --out "json=$file" \
      --no-tui --quiet >/dev/null 2>"$scratch/raw/$engine.txt"; then
      cat "$scratch/raw/$engine.txt"
      verdict=1
    fi
    open=$(json_number "$file" connection_counts open || true)
    printf '%-8s %10s open\n' "$engine" "$open"
    [ "$open" = "$connections" ] || verdict=1
    code=0
    "$release/loadgen" run "ws://$server_address/echo" --mode idle --source-ip 127.0.0.1 \
      --connections "$connections" --duration 1s --engine "$engine" --no-tui --quiet \
      >/dev/null 2>"$scratch/raw/$engine-one.txt" || code=$?
    echo "with one source address: exit $code"
    grep '^loadgen:' "$scratch/raw/$engine-one.txt" || true
    printf '%s\t%s\t%s\t%s\n' "$engine" "$connections" "$open" "$code" >>"$scratch/blocks.tsv"
    { [ "$code" = 104 ] && grep -q -- --source-ip "$scratch/raw/$engine-one.txt"; } || verdict=1
  done
} >"$scratch/report.txt"
cat "$scratch/report.txt"
stop_all
keep_result ports
exit "$verdict"
