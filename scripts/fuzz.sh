#!/usr/bin/env bash
# Fuzzes one target, or all in turn, from the corpus of the repository.
#
#   scripts/fuzz.sh TARGET|all [SECONDS]   fuzz for so long each (60); a finding ends it with 1
#   scripts/fuzz.sh --keep TARGET|all      add to the repository what the runs found worth keeping
#
# Needs cargo-fuzz, a nightly toolchain and a C++ compiler. What a run finds stays below
# target/fuzz/, findings in artifacts/: `cargo +nightly fuzz run --fuzz-dir src/fuzz
# TARGET FILE` repeats one; put it into the corpus once it is mended, so that `cargo test` plays it again.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
work=${CARGO_TARGET_DIR:-$PWD/target}/fuzz

# An input longer than this goes not into the repository.
kept_bytes_max=4096

usage() {
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
}

# The package that has the target.
home_of() {
  case "$1" in
    config | connection) echo src ;;
    *) echo src/protocol ;;
  esac
}

targets_of() {
  if [ "$1" = all ]; then
    sed -n 's/^name = "\(.*\)"$/\1/p' src/protocol/fuzz/Cargo.toml src/fuzz/Cargo.toml |
      grep -v '^ringwire'
  else
    echo "$1"
  fi
}

# The versions of the workspace, and of what the fuzzer needs besides.
lock() {
  cp -- Cargo.lock "$1/fuzz/Cargo.lock"
}

# Nothing here is unsafe but the ring, and of that only the simulation runs: no sanitizer.
fuzz() {
  local home=$1 target=$2
  shift 2
  CARGO_TARGET_DIR="$work/target" cargo +nightly fuzz run --fuzz-dir "$home/fuzz" \
    --sanitizer none "$target" "$@"
}

run_target() {
  local target=$1 seconds=$2 home
  home=$(home_of "$target")
  lock "$home"
  mkdir -p "$work/corpus/$target" "$work/artifacts/$target"
  fuzz "$home" "$target" "$work/corpus/$target" "$home/fuzz/corpus/$target" -- \
    -artifact_prefix="$work/artifacts/$target/" -max_total_time="$seconds" -timeout=20 \
    -max_len=8192 -print_final_stats=1
}

# The smallest set of inputs that reaches what all of them reach.
keep_target() {
  local target=$1 home
  home=$(home_of "$target")
  lock "$home"
  local kept=$home/fuzz/corpus/$target
  mkdir -p "$work/corpus/$target" "$kept"
  fuzz "$home" "$target" "$kept" "$work/corpus/$target" -- -set_cover_merge=1 -use_counters=0 \
    -max_len="$kept_bytes_max"
}

case "${1:-}" in
  --keep)
    [ $# -eq 2 ] || usage
    for target in $(targets_of "$2"); do keep_target "$target"; done
    ;;
  '' | -*) usage ;;
  *)
    [ $# -le 2 ] || usage
    for target in $(targets_of "$1"); do run_target "$target" "${2:-60}"; done
    ;;
esac
