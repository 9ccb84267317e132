#!/usr/bin/env bash
# Does loadgen drive servers that nobody here wrote? Echo and fan-out, briefly, against npm ws, Bun,
# Python's websockets and nginx with Nchan, and polling beside wrk. One line per case; exits 1 if a
# count is wrong. Speed is printed and never judged.
#
#   scripts/foreign.sh [--only NAME]...
#
# What it needs is fetched once into the target directory (npm, pip); node, npm, Python, nginx, its
# Nchan module and wrk are the system's, and root installs those that are missing. LOADGEN names
# another binary than the one that is built.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

here=$root/scripts/foreign
cache=$target/foreign
only=()
while [ "$#" -gt 0 ]; do
  case "$1" in
    -h | --help)
      sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --only)
      only+=("${2:?--only wants a name}")
      shift
      ;;
    *)
      echo "foreign: what is $1? See --help" >&2
      exit 2
      ;;
  esac
  shift
done

wanted() {
  local name
  [ "${#only[@]}" -eq 0 ] && return 0
  for name in "${only[@]}"; do
    [ "$name" != "$1" ] || return 0
  done
  return 1
}

# Whether $1 was made from what is now in the file $2.
is_made() {
  [ -f "$1/.made" ] && cmp -s -- "$1/.made" "$2"
}

prepare_node() {
  need_command node nodejs
  need_command npm
  is_made "$cache/node" "$here/package.json" && return 0
  rm -rf -- "$cache/node"
  mkdir -p -- "$cache/node"
  cp -- "$here/package.json" "$cache/node/"
  # Bun's package fetches its program after it was unpacked.
  (cd -- "$cache/node" && timeout 600 npm install --silent --no-audit --no-fund)
  cp -- "$here/package.json" "$cache/node/.made"
}

prepare_python() {
  is_made "$cache/python" "$here/requirements.txt" && return 0
  python3 -c 'import ensurepip, venv' 2>/dev/null || install_packages python3 python3-venv
  rm -rf -- "$cache/python"
  python3 -m venv "$cache/python"
  timeout 600 "$cache/python/bin/pip" install --quiet --disable-pip-version-check \
    --requirement "$here/requirements.txt"
  cp -- "$here/requirements.txt" "$cache/python/.made"
}

prepare_nginx() {
  modules=/usr/lib/nginx/modules
  if ! command -v nginx >/dev/null || [ ! -f "$modules/ngx_nchan_module.so" ]; then
    install_packages nginx libnginx-mod-nchan
  fi
  need_command python3
  need_command wrk
}

failures=0

# A line for the case $1: what was counted, and whether $2 says that it is right.
tell() {
  local name=$1 problem=$2
  shift 2
  if [ -z "$problem" ]; then
    printf 'ok    %-28s %s\n' "$name" "$*"
  else
    printf 'WRONG %-28s %s: %s\n' "$name" "$*" "$problem"
    failures=$((failures + 1))
  fi
}

# Measures the case $1 with the rest of the arguments. Sets `file` and `code`.
load() {
  local name=$1
  shift
  file=$scratch/$name.json
  code=0
  "$loadgen" run "$@" --quiet --out "json=$file" >"$scratch/$name.txt" 2>&1 </dev/null || code=$?
}

# Measures a case in which every message has to arrive, once, in order and unchanged. An invalid run
# (96) says that this machine was too busy to be believed on speed; its counts still hold.
run_case() {
  local name=$1 problem="" count told
  shift
  load "$name" "$@"
  if [ ! -s "$file" ] || { [ "$code" -ne 0 ] && [ "$code" -ne 96 ]; }; then
    tell "$name" "$(tail -n 1 "$scratch/$name.txt")" "exit code $code"
    return
  fi
  for count in gaps duplicates reordered corrupted; do
    told=$(json_first "$file" "$count")
    [ "$told" = 0 ] || problem="$problem ${told:-no} $count"
  done
  sent=$(json_first "$file" messages_sent)
  received=$(json_first "$file" messages_received)
  [ "$received" -gt 0 ] || problem="$problem nothing received"
  [ "$received" = "$(json_first "$file" messages_expected)" ] || problem="$problem not all received"
  # On a busy machine an answer may come after the next poll is due.
  errors=$(tr -d ' \n' <"$file" | grep -o '"errors":{[^}]*}' | sed -n 1p)
  case "$errors" in
    '"errors":{}' | '"errors":{"poll.overlap":'*) ;;
    *) problem="$problem $errors" ;;
  esac
  tell "$name" "$problem" "sent $sent, received $received, p50" \
    "$(json_number "$file" latency_from_intended_ns p50) ns"
}

# Stops the server; what it heard must be what was sent of it in all cases, warm-up apart.
stop_counting() {
  local name=$1 log heard problem=""
  log=$(find "$scratch" -name 'server.*.out' -printf '%T@ %p\n' | sort -rn \
    | sed -n '1s/^[^ ]* //p')
  stop_server
  heard=$(sed -n 's/^heard //p' "$log")
  [ "${heard:-0}" = "$all_sent" ] || problem="the server heard ${heard:-nothing}"
  tell "$name-count" "$problem" "sent $all_sent in all"
}

echo_and_room() {
  local name=$1
  all_sent=0
  run_case "$name-echo" "ws://$server_address/echo" -c 20 -R 1000 -d 2s
  all_sent=$((all_sent + sent))
  run_case "$name-json" "ws://$server_address/echo" -c 20 -R 1000 -d 2s \
    -m '{"type":"say","n":{sequence},"who":{connection},"data":{"s":"{stamp}","r":{random:6}}}' \
    --expect '"n":{sequence},'
  all_sent=$((all_sent + sent))
  run_case "$name-order" "ws://$server_address/echo" -c 20 -R 1000 -d 2s -m 'hello {sequence}' \
    --expect 'hello {sequence}'
  all_sent=$((all_sent + sent))
  run_case "$name-room" "ws://$server_address/room" --mode fanout -c 20 -R 50 -d 2s \
    --publish-url "ws://$server_address/room" --publish-body '{"say":"{stamp}"}'
  all_sent=$((all_sent + sent))
}

with_ws() {
  prepare_node
  cp -- "$here/ws.mjs" "$cache/node/ws.mjs"
  start_server node "$cache/node/ws.mjs"
  echo_and_room ws
  run_case ws-socket "ws://$server_address/socket" -c 20 -R 1000 -d 2s -1 40 --ready '40{' \
    --reply-to 2=3 -m '42["message",{"n":{sequence},"s":"{stamp}"}]'
  all_sent=$((all_sent + sent))
  stop_counting ws
}

with_bun() {
  prepare_node
  cp -- "$here/bun.mjs" "$cache/node/bun.mjs"
  start_server "$cache/node/node_modules/.bin/bun" "$cache/node/bun.mjs"
  echo_and_room bun
  stop_counting bun
}

with_websockets() {
  prepare_python
  start_server "$cache/python/bin/python" -B "$here/websockets_server.py"
  echo_and_room websockets
  stop_counting websockets
}

start_nginx() {
  local port user=
  port=$(python3 -c 'import socket as s; print(s.create_server(("127.0.0.1", 0)).getsockname()[1])')
  # The worker of a root's nginx gives root up, and could not write its logs.
  [ "$(id -u)" -ne 0 ] || user="user root;"
  sed -e "s,@USER@,${user:-},g" -e "s,@SCRATCH@,$scratch,g" -e "s,@PORT@,$port,g" \
    -e "s,@MODULES@,$modules,g" "$here/nginx.conf" >"$scratch/nginx.conf"
  nginx -c "$scratch/nginx.conf" -p "$scratch" >"$scratch/nginx.out" 2>&1 </dev/null &
  server_pid=$!
  started+=("$server_pid")
  server_address=127.0.0.1:$port
  for _ in {1..100}; do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
      return 0
    fi
    kill -0 "$server_pid" 2>/dev/null || break
    sleep 0.05
  done
  cat "$scratch/nginx.out" "$scratch/nginx.error.log" >&2
  return 1
}

with_nchan() {
  local publish
  prepare_nginx
  start_nginx
  publish=(--publish-url "http://$server_address/pub/{run}" --mode fanout -c 20 -d 2s)
  run_case nchan-ws "ws://$server_address/sub/{run}" "${publish[@]}" -R 50
  run_case nchan-sse "http://$server_address/sub/{run}" --transport sse "${publish[@]}" -R 50 \
    --publish-body '{"n":{sequence},"s":"{stamp}"}'
  run_case nchan-longpoll "http://$server_address/sub/{run}" --transport longpoll \
    --poll-style nchan "${publish[@]}" -R 50
  # An answer holds one message: who asks seldom falls behind.
  run_case nchan-poll "http://$server_address/poll/{run}" --transport poll --poll-interval 10ms \
    "${publish[@]}" -R 20
  run_case nchan-channels "ws://$server_address/sub/{run}-{channel}" --mode fanout -c 20 -R 50 \
    -d 2s --channels 4 --publishers 2 --publish-url "http://$server_address/pub/{run}-{channel}"
  against_wrk
  stop_server
}

# How often the server was asked in all, from its own log.
asked() {
  wc -l <"$scratch/static.log"
}

# Requests as loadgen, wrk and the server count them. Polls by a schedule are the window's, but for
# the first of each of 10 connections and those after the end; long polls that are answered at once
# are asked again at once, as wrk does, from before the window on.
against_wrk() {
  local requests logged wrk_requests
  : >>"$scratch/static.log"
  asked_before=0
  load static-poll "http://$server_address/static" --transport poll --poll-interval 10ms \
    --mode idle -c 10 -d 2s
  requests=$(json_first "$file" requests)
  tell_requests static-poll "${requests:-0}" 40
  load static-longpoll "http://$server_address/static" --transport longpoll --mode idle -c 10 -d 2s
  requests=$(json_first "$file" requests)
  tell_requests static-longpoll "${requests:-0}" 1000000
  wrk -t 1 -c 10 -d 2s "http://$server_address/static" >"$scratch/wrk.txt" 2>&1
  wrk_requests=$(sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$scratch/wrk.txt")
  tell_requests static-wrk "${wrk_requests:-0}" 1000000
}

# The server has logged at least $2 requests since the last time, and at most $3 more.
tell_requests() {
  local logged problem=
  logged=$(($(asked) - asked_before))
  asked_before=$((asked_before + logged))
  if [ "$2" -le 0 ] || [ "$logged" -lt "$2" ] || [ "$logged" -gt $(($2 + $3)) ]; then
    problem="the counts differ"
  fi
  tell "$1" "$problem" "client counts $2, server $logged"
}

mkdir -p -- "$cache"
loadgen=${LOADGEN:-}
if [ -z "$loadgen" ]; then
  build_release --package ringwire --package loadgen --bins
  loadgen=$release/loadgen
fi
make_scratch
trap_signals
for server in ws bun websockets nchan; do
  if wanted "$server"; then
    "with_$server"
  fi
done
if [ "$failures" -gt 0 ]; then
  echo "foreign: $failures wrong"
  exit 1
fi
echo "foreign: all counts are right"
