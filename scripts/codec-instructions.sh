#!/usr/bin/env bash
# How many instructions does the codec take for an echo? Reads masked messages of 20 bytes out of
# 64 KiB of them, as a server does with what one receive brought, and writes each back as a frame,
# under valgrind's callgrind: no clock, so that a busy machine changes nothing.
#
#   scripts/codec-instructions.sh [REVISION ...]    default: this tree alone
#
# Each REVISION is measured in a worktree of its own that goes away at the end, then this tree.
# Prints instructions per message; the figure does not vary between runs. Needs valgrind.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

messages=200000

# Writes a program that uses nothing but what every revision has.
write_program() {
  local tree=$1 package=$2
  mkdir -p "$package/src"
  cat >"$package/Cargo.toml" <<TOML
[package]
name = "codec"
version = "0.0.0"
edition = "2024"

[dependencies]
ringwire-protocol = { path = "$tree/src/protocol" }

[profile.release]
lto = "fat"
codegen-units = 1
panic = "abort"

[workspace]
TOML
  cat >"$package/src/main.rs" <<'RUST'
use std::hint::black_box;

use ringwire_protocol::ws::{
    Cursor, Event, Inbound, Limits, Role, encode_frame, encode_header, frame_len,
};

fn main() {
    let messages: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let kind = ringwire_protocol::ws::Opcode::Text;
    let mut one = Vec::new();
    encode_frame(&mut one, kind, b"twenty bytes of text", Some([1, 2, 3, 4]));
    let received = one.repeat(64 * 1024 / one.len());
    let limits = Limits { message_bytes_max: 65_536, empty_fragments_max: 1024 };
    let mut inbound = Inbound::new(Role::Server);
    let mut lease = received.clone();
    let mut out = vec![0; received.len()];
    let mut done = 0;
    while done < messages {
        // Unmasking changes the bytes; copying them back is counted too, and the same everywhere.
        lease.copy_from_slice(&received);
        let mut cursor = Cursor::new(black_box(&mut lease));
        let mut room = &mut out[..];
        while let Some(event) = inbound.next(&mut cursor, &limits).unwrap() {
            let Event::Message { kind, payload } = event else { panic!("a message") };
            let (frame, rest) = room.split_at_mut(frame_len(payload.len(), false));
            let header = encode_header(frame, kind.opcode(), true, payload.len(), None);
            frame[header..].copy_from_slice(payload);
            room = rest;
            done += 1;
            if done == messages {
                break;
            }
        }
        black_box(&out);
    }
}
RUST
  cp -- "$tree/Cargo.lock" "$package/Cargo.lock"
}

# Instructions of one run with $2 messages.
count_instructions() {
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$1" "$2" 2>&1 \
    | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

# Instructions per message: what $messages more of them take.
measure() {
  local name=$1 tree=$2 package=$scratch/codec-$1 program few many
  write_program "$tree" "$package"
  (cd -- "$package" && CARGO_TARGET_DIR=$target/codec/$name cargo build --release --quiet --offline)
  program=$target/codec/$name/release/codec
  few=$(count_instructions "$program" "$messages")
  many=$(count_instructions "$program" "$((2 * messages))")
  awk -v name="$name" -v few="$few" -v many="$many" -v messages="$messages" \
    'BEGIN { printf "%-12s %8.2f instructions per message\n", name, (many - few) / messages }'
}

command -v valgrind >/dev/null || {
  echo "this counts with valgrind: apt-get install valgrind" >&2
  exit 78
}
make_scratch
trap_signals
for revision in "$@"; do
  name=$(git -C "$root" rev-parse --short "$revision")
  git -C "$root" worktree add --quiet --detach "$scratch/tree-$name" "$revision"
  code=0
  measure "$name" "$scratch/tree-$name" || code=$?
  git -C "$root" worktree remove --force "$scratch/tree-$name"
  [ "$code" -eq 0 ] || exit "$code"
done
measure "this-tree" "$root"
