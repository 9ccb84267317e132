#!/usr/bin/env bash
# Do agents on a real NATS server count what one process counts? Starts nats-server (and installs
# Debian's where there is none), a server, agents and controllers, all on loopback; under a minute
# after the build.
#
#   scripts/agents.sh              builds optimised
#   scripts/agents.sh DIRECTORY    takes `loadgen` and `ringwire` from there
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

# Starts a NATS server on a free port; sets nats.
start_nats() {
  local waited
  : >"$scratch/nats.log"
  nats-server -a 127.0.0.1 -p -1 --ports_file_dir "$scratch" >"$scratch/nats.log" 2>&1 </dev/null &
  started+=("$!")
  for ((waited = 0; waited < 100; waited++)); do
    nats=$(sed -n 's/.*Listening for client connections on 127.0.0.1:\([0-9]*\)$/\1/p' \
      "$scratch/nats.log")
    if [ -n "$nats" ]; then
      nats=nats://127.0.0.1:$nats
      return 0
    fi
    sleep 0.05
  done
  cat "$scratch/nats.log" >&2
  return 1
}

# Starts an agent; its process is the last of `started`.
start_agent() {
  "$loadgen" agent --nats "$nats" --name "$1" --quiet </dev/null &
  started+=("$!")
}

# Runs `loadgen run`: its exit code must be the first argument, its result goes to the second.
# 96 also stands for 0: a busy machine may call its own figures invalid.
measure() {
  local expected=$1 result=$2 code=0
  shift 2
  "$loadgen" run "$@" --quiet --out "json=$scratch/$result" >"$scratch/$result.txt" 2>&1 || code=$?
  if [ "$code" -ne "$expected" ] && { [ "$expected" -ne 0 ] || [ "$code" -ne 96 ]; }; then
    echo "loadgen run $*: exit code $code, not $expected" >&2
    cat "$scratch/$result.txt" >&2
    return 1
  fi
}

# A number of the whole row: the first of that name.
number() {
  sed -n "s/^ *\"$2\": \([0-9]*\),*\$/\1/p" "$scratch/$1" | sed -n 1p
}

same() {
  local name
  for name in messages_sent messages_received messages_expected; do
    if [ "$(number "$1" "$name")" != "$(number "$2" "$name")" ]; then
      echo "$name: $(number "$1" "$name") in $1, $(number "$2" "$name") in $2" >&2
      return 1
    fi
  done
  if [ "$(number "$2" gaps)" != 0 ]; then
    echo "$2: $(number "$2" gaps) gaps" >&2
    return 1
  fi
}

trap_signals
make_scratch
# Where Debian puts it is not in everybody's path.
PATH=$PATH:/usr/sbin
need_command nats-server
if [ $# -gt 0 ]; then
  programs=$1
else
  build_release --package ringwire --package loadgen --bins
  programs=$release
fi
loadgen=$programs/loadgen
start_nats
start_server "$programs/ringwire" --listen 127.0.0.1:0 --workers 1
start_agent a
start_agent b

echo_run=("ws://$server_address/echo" -c 20 -R 500 -d 2s)
fanout_run=("ws://$server_address/channels/a" --mode fanout -c 20 -R 50 -d 2s --publishers 3)
measure 0 echo-one "${echo_run[@]}"
measure 0 echo-two "${echo_run[@]}" --nats "$nats" --agents 2
same echo-one echo-two
measure 0 fanout-one "${fanout_run[@]}"
measure 0 fanout-two "${fanout_run[@]}" --nats "$nats" --agents 2
same fanout-one fanout-two
echo "two agents count what one process counts: echo $(number echo-two messages_received)," \
  "fan-out $(number fanout-two messages_received)"

measure 107 too-few "${echo_run[@]}" --nats "$nats" --agents 3 --agents-timeout 1s
measure 107 no-nats "${echo_run[@]}" --nats nats://127.0.0.1:1

(
  sleep 4
  kill -KILL "${started[-1]}"
) &
measure 96 lost "ws://$server_address/echo" -c 20 -R 100 -d 8s --nats "$nats" --agents 2
if ! grep -q 'agent b was lost' "$scratch/lost"; then
  echo "the result does not say that agent b was lost" >&2
  exit 1
fi
wait "${started[-1]}" 2>/dev/null || true
echo "an agent that is killed makes the run invalid"

"$loadgen" run "ws://$server_address/echo" -c 20 -d 1h --nats "$nats" --quiet \
  --out "json=$scratch/stopped" >/dev/null 2>&1 </dev/null &
controller=$!
started+=("$controller")
sleep 3
kill -INT "$controller"
code=0
wait "$controller" || code=$?
if [ "$code" -ne 105 ] || [ "$(number stopped messages_received)" -eq 0 ]; then
  echo "Ctrl-C at the controller: exit code $code, not 105, or nothing kept" >&2
  exit 1
fi
echo "Ctrl-C ends all agents and keeps what they measured"
