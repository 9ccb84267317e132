#!/usr/bin/env bash
# Which MUSTs of RFC 6455 and RFC 7692 have no line of code, or no test, that quotes them. Exits 1
# if there is one. With --all every sentence is listed, with the places that quote it.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

case "${1:-}" in
  '') ;;
  --all) export RINGWIRE_RFC_ALL=1 ;;
  *)
    echo "usage: scripts/rfc-coverage.sh [--all]" >&2
    exit 2
    ;;
esac
cargo test --quiet --package ringwire --test tidy --locked \
  rfc::tests::every_must_of_this_tree -- --exact --nocapture || exit 1
