#!/usr/bin/env bash
# Everything about the tree that is checked without measuring: format, lints, documentation, the
# tidy test, the scripts themselves. Prints a line per check; stops at the first that fails.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

say() {
  printf 'check: %s\n' "$*"
}

say "cargo fmt"
cargo fmt --all --check
for apart in benches/peers src/fuzz src/protocol/differential src/protocol/fuzz; do
  cargo fmt --check --manifest-path "$apart/Cargo.toml"
done

say "cargo clippy"
cargo clippy --workspace --all-targets --locked -- -D warnings

say "cargo doc"
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

say "tidy"
cargo test --package ringwire --test tidy --locked

say "RFC coverage"
./scripts/rfc-coverage.sh

say "bash -n"
for script in scripts/*.sh .ci/run; do
  bash -n "$script"
done

if command -v shellcheck >/dev/null; then
  say "shellcheck"
  shellcheck --external-sources scripts/*.sh .ci/run
else
  say "shellcheck is not installed: skipped"
fi
say "all well"
