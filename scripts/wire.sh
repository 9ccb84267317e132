#!/usr/bin/env bash
# What goes over the wire? Records one exchange of each transport with a server of its own, byte
# for byte, as the blocks of the README's page "Choosing a transport".
#
#   scripts/wire.sh            prints the blocks
#   scripts/wire.sh --write    puts them into README.md
#
# Speaks TCP through bash itself, so that nothing adds or hides a byte.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

key=dGhlIHNhbXBsZSBub25jZQ==
channel=/channels/news
# Bytes shown since the last `begin_exchange`, per side.
client_bytes=0
server_bytes=0

begin_exchange() {
  client_bytes=0
  server_bytes=0
}

# Opens a connection on descriptor 3.
open_connection() {
  exec 3<>"/dev/tcp/${server_address%:*}/${server_address##*:}"
}

close_connection() {
  exec 3>&-
}

# Sends lines, each ended by CR LF, and shows them.
send_lines() {
  local line
  for line in "$@"; do
    printf '%s\r\n' "$line" >&3
    printf 'C  %s\\r\\n\n' "$line"
    client_bytes=$((client_bytes + ${#line} + 2))
  done
}

# Receives up to the empty line that ends a head and shows it; the body's length is left in
# content_length.
receive_head() {
  local line
  content_length=0
  while IFS= read -r -t 5 line <&3; do
    server_bytes=$((server_bytes + ${#line} + 1))
    line=${line%$'\r'}
    printf 'S  %s\\r\\n\n' "$line"
    case "${line,,}" in
      content-length:*) content_length=${line##*[: ]} ;;
      '') return 0 ;;
    esac
  done
  echo "the server ended in the middle of a head" >&2
  return 1
}

# Receives lines ended by LF alone up to an empty one, as an event stream has them, and shows them.
receive_event() {
  local line
  while IFS= read -r -t 5 line <&3; do
    server_bytes=$((server_bytes + ${#line} + 1))
    printf 'S  %s\\n\n' "$line"
    [ -n "$line" ] || return 0
  done
  echo "the server ended in the middle of an event" >&2
  return 1
}

# Receives exactly $1 bytes of text and shows them.
receive_body() {
  printf 'S  %s\n' "$(timeout 5 head -c "$1" <&3)"
  server_bytes=$((server_bytes + $1))
}

# Receives exactly $1 bytes and shows them in hexadecimal, with a note.
receive_bytes() {
  local bytes
  bytes=$(timeout 5 head -c "$1" <&3 | od -An -v -tx1 | tr -s ' \n' ' ')
  bytes=${bytes# }
  printf 'S  %-40s %s\n' "${bytes% }" "$2"
  server_bytes=$((server_bytes + $1))
}

# Sends bytes given in hexadecimal and shows them, with a note.
send_bytes() {
  local byte
  for byte in $1; do
    # shellcheck disable=SC2059 # the format is the byte
    printf "\\x$byte" >&3
    client_bytes=$((client_bytes + 1))
  done
  printf 'C  %-40s %s\n' "$1" "$2"
}

# Publishes $1 over a connection of its own and waits for the answer.
publish() {
  local line
  exec 4<>"/dev/tcp/${server_address%:*}/${server_address##*:}"
  printf 'POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\nConnection: close\r\n\r\n%s' \
    "$channel" "${#1}" "$1" >&4
  IFS= read -r -t 5 line <&4
  case "$line" in
    *" 200 "*) ;;
    *)
      echo "publishing was answered: $line" >&2
      return 1
      ;;
  esac
  cat <&4 >/dev/null
  exec 4>&-
}

# The channel's position as epoch:offset, from a poll that is not shown.
position() {
  local answer epoch offset
  open_connection
  begin_exchange
  send_lines "GET $channel HTTP/1.1" "Host: localhost" "" >/dev/null
  receive_head >/dev/null
  answer=$(timeout 5 head -c "$content_length" <&3)
  close_connection
  epoch=$(printf '%s' "$answer" | grep -o '"epoch":"[0-9a-f]*"' | cut -d '"' -f 4)
  offset=$(printf '%s' "$answer" | grep -o '"offset":[0-9]*' | sed -n 1p | cut -d : -f 2)
  printf '%s:%s' "$epoch" "$offset"
}

say_sum() {
  printf '   (client %s bytes, server %s bytes%s)\n' "$client_bytes" "$server_bytes" "${1:-}"
}

record_poll() {
  local since
  since=$(position)
  open_connection
  begin_exchange
  send_lines "GET $channel?since=$since HTTP/1.1" "Host: localhost" ""
  receive_head
  receive_body "$content_length"
  say_sum ": a question that brings nothing"
  publish hello
  begin_exchange
  send_lines "GET $channel?since=$since HTTP/1.1" "Host: localhost" ""
  receive_head
  receive_body "$content_length"
  say_sum ": the one that brings the message, on the same connection"
  close_connection
}

record_longpoll() {
  local since
  since=$(position)
  open_connection
  begin_exchange
  send_lines "GET $channel?since=$since&wait=25 HTTP/1.1" "Host: localhost" ""
  echo "   (nothing, until somebody publishes)"
  publish hello
  receive_head
  receive_body "$content_length"
  say_sum
  close_connection
}

record_sse() {
  open_connection
  begin_exchange
  send_lines "GET $channel HTTP/1.1" "Host: localhost" "Accept: text/event-stream" ""
  receive_head
  # A comment, and the position to resume from if nothing is ever published.
  receive_event
  receive_event
  say_sum ": once"
  publish hello
  begin_exchange
  receive_event
  say_sum ": every message"
  close_connection
}

record_websocket() {
  open_connection
  begin_exchange
  send_lines "GET $channel HTTP/1.1" "Host: localhost" "Upgrade: websocket" \
    "Connection: Upgrade" "Sec-WebSocket-Version: 13" "Sec-WebSocket-Key: $key" ""
  receive_head
  say_sum ": once"
  publish hello
  begin_exchange
  receive_bytes 7 "FIN + text, 5 bytes: hello"
  say_sum ": every message"
  begin_exchange
  send_bytes "81 85 37 fa 21 3d 5f 9f 4d 51 58" "FIN + text, masked, 5 bytes: hello"
  receive_bytes 7 "published, so it comes back as well"
  send_bytes "88 82 00 00 00 00 03 e8" "Close 1000"
  receive_bytes 4 "Close 1000"
  say_sum ": sending, and the end"
  close_connection
}

# Puts each recorded block between its marks in the README.
write_blocks() {
  local name
  for name in poll longpoll sse websocket; do
    awk -v name="$name" -v block="$scratch/$name" '
      $0 == "<!-- wire:" name ":end -->" {
        print "```text"
        while ((getline line < block) > 0) print line
        print "```"
        skipping = 0
      }
      !skipping { print }
      $0 == "<!-- wire:" name ":begin -->" { skipping = 1 }
    ' "$root/README.md" >"$scratch/README.md"
    cat "$scratch/README.md" >"$root/README.md"
  done
}

build_release --package ringwire --bin ringwire
make_scratch
trap_signals
start_server "$release/ringwire" --listen 127.0.0.1:0 --workers 1
for transport in poll longpoll sse websocket; do
  "record_$transport" >"$scratch/$transport"
done
if [ "${1:-}" = --write ]; then
  write_blocks
else
  for transport in poll longpoll sse websocket; do
    printf '%s\n' "$transport:"
    cat "$scratch/$transport"
    echo
  done
fi
