#!/usr/bin/env bash
# Do the files for deployment hold what they promise? Runs the server on both engines under
# seccomp.json (what it does not allow ends the server with SIGSYS), over TCP, a Unix socket and,
# where openssl is there, TLS, under load and through a drain; checks the unit where systemd is.
# Needs python3 and a C compiler. CARGO_TARGET_DIR is honoured.
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=scripts/common.sh
. "$here/../common.sh"
trap 'stop_all; rm -rf -- "$scratch"' EXIT
make_scratch
cd -- "$root"
cargo build --quiet --locked --package ringwire --package loadgen
programs=$target/debug

tls=()
if command -v openssl >/dev/null; then
  openssl req -x509 -newkey rsa:2048 -nodes -keyout "$scratch/key.pem" -out "$scratch/cert.pem" \
    -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost 2>/dev/null
  tls=(--tls-listen 127.0.0.1:0 --tls-cert "$scratch/cert.pem" --tls-key "$scratch/key.pem")
fi

# One request over the Unix socket $1, or over TLS to $1; prints the status.
ask() {
  python3 - "$1" <<'PYTHON'
import socket, ssl, sys
to = sys.argv[1]
if to.startswith("/"):
    stream = socket.socket(socket.AF_UNIX)
    stream.connect(to)
else:
    host, port = to.rsplit(":", 1)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    stream = context.wrap_socket(socket.create_connection((host, int(port))))
stream.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
print(stream.recv(4096).split(b" ")[1].decode())
PYTHON
}

# Lines of the server's stdout.
address() { sed -n "s/^listening on \(.*\)$2\$/\1/p" "$1" | sed -n 1p; }

# A second of load. An invalid run (96) says that this machine is busy, not that the server is wrong.
load() {
  local code=0
  "$programs/loadgen" run "$@" -d 1s --quiet >/dev/null || code=$?
  [ "$code" -eq 0 ] || [ "$code" -eq 96 ]
}

check_engine() {
  local engine=$1 out=$scratch/$1.out socket=$scratch/$1.sock pid code=0 waited tcp
  python3 "$here/under_seccomp.py" "$here/seccomp.json" "$programs/ringwire" --engine "$engine" \
    --listen "127.0.0.1:0,unix:$socket" --workers 2 --admin-listen 127.0.0.1:0 \
    ${tls[@]+"${tls[@]}"} >"$out" 2>"$out.log" &
  pid=$!
  started+=("$pid")
  for ((waited = 0; waited < 100; waited++)); do
    if [ "$(wc -l <"$out")" -ge 2 ] || ! kill -0 "$pid" 2>/dev/null; then break; fi
    sleep 0.1
  done
  tcp=$(address "$out" '' | grep -v '^unix:')
  load "ws://$tcp/echo" --mode echo -c 50
  load "http://$tcp/channels/a" --transport sse --mode fanout -c 20 -R 20
  # Large messages: queues, and what follows them.
  load "ws://$tcp/channels/b" --mode fanout -c 20 -R 100 --size 20000
  [ "$(ask "$socket")" = 200 ]
  if [ "${#tls[@]}" -gt 0 ]; then
    [ "$(ask "$(address "$out" ' (tls)')")" = 200 ]
  fi
  kill -HUP "$pid"
  kill -TERM "$pid"
  code=0
  wait "$pid" || code=$?
  if [ "$code" -ne 0 ] || [ -e "$socket" ]; then
    echo "engine $engine under seccomp.json ended with $code:" >&2
    cat "$out.log" >&2
    return 1
  fi
  echo "seccomp.json: engine $engine serves, drains and ends with 0"
}

check_engine uring
check_engine epoll

# The filter is one: without the ring's calls the server says so, and epoll takes over.
sed 's/"io_uring_setup"/"uname"/' "$here/seccomp.json" >"$scratch/without.json"
code=0
python3 "$here/under_seccomp.py" "$scratch/without.json" "$programs/ringwire" --engine uring \
  --listen 127.0.0.1:0 >/dev/null 2>&1 || code=$?
[ "$code" -eq 159 ] || [ "$code" -eq 31 ] || {
  echo "a call that is not allowed ended the server with $code, not with SIGSYS" >&2
  exit 1
}
echo "seccomp.json: what is not in it does not pass"

if command -v systemd-analyze >/dev/null; then
  sed "s|/usr/local/bin/ringwire|$programs/ringwire|" "$here/ringwire.service" \
    >"$scratch/ringwire.service"
  systemd-analyze verify "$scratch/ringwire.service"
  echo "ringwire.service: systemd can read it"
fi
