#!/usr/bin/env bash
# Is every byte right? Lets programs that nobody here wrote judge the server and the client, on
# both engines, and prints one line per suite. Exits 1 if a single case is not as it should be.
#
#   scripts/conformance.sh [--full] [--only SUITE]... [--engine uring|epoll] [--list]
#                          [--out FILE] [--write]
#
#   --full      all 517 cases of the WebSocket suite instead of 385 (some 20 minutes more)
#   --only      the suites whose name begins so, repeatable; --list names them
#   --out FILE  where the table goes as JSON (default: conformance/result.json in the target
#               directory)
#   --write     also keeps the result under results/ and puts the table into README.md
#
# What it needs is kept in the target directory and fetched once: Python packages into a virtual
# environment, npm packages, HAProxy and nginx unpacked from Debian's archive. Only Chromium, node
# and Python themselves are taken from the system; root installs those that are missing.
# CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

case "${1:-}" in
  -h | --help)
    sed -n '2,18s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
esac

here=$root/scripts/conformance
cache=$target/conformance
arguments=()
write=no
out=$cache/result.json
while [ "$#" -gt 0 ]; do
  case "$1" in
    --write) write=yes ;;
    --out)
      out=${2:?--out wants a file}
      shift
      ;;
    --only | --engine)
      arguments+=("$1" "${2:?$1 wants a value}")
      shift
      ;;
    --full | --list) arguments+=("$1") ;;
    *)
      echo "conformance: what is $1? See --help" >&2
      exit 2
      ;;
  esac
  shift
done

# Debian packages into the system: the last resort, for what cannot be unpacked aside.
install_system() {
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "conformance: missing, install it first: $*" >&2
    exit 1
  fi
  refresh_archive
  DEBIAN_FRONTEND=noninteractive timeout 900 apt-get install -qq -y --no-install-recommends "$@" \
    >"$cache/apt.log" 2>&1 || {
    tail -n 20 "$cache/apt.log" >&2
    echo "conformance: apt-get could not install: $*" >&2
    exit 1
  }
}

# The archive's index, once per run.
refresh_archive() {
  if [ -n "${archive_is_fresh:-}" ] || [ "$(id -u)" -ne 0 ]; then
    return 0
  fi
  timeout 300 apt-get update -qq >"$cache/apt.log" 2>&1 || cat "$cache/apt.log" >&2
  archive_is_fresh=yes
}

# Whether $1 was already made from what is now in the files after it; else forgets it.
is_made() {
  local stamp=$1/.made
  shift
  [ -f "$stamp" ] && [ "$(cat -- "$@" | sha256sum)" = "$(cat "$stamp")" ]
}

mark_made() {
  local directory=$1
  shift
  cat -- "$@" | sha256sum >"$directory/.made"
}

prepare_python() {
  is_made "$cache/python" "$here/requirements.txt" && return 0
  if ! python3 -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 10))' \
    2>/dev/null; then
    install_system python3 python3-venv
  fi
  rm -rf -- "$cache/python"
  python3 -m venv "$cache/python"
  timeout 600 "$cache/python/bin/pip" install --quiet --disable-pip-version-check \
    --requirement "$here/requirements.txt"
  mark_made "$cache/python" "$here/requirements.txt"
}

prepare_node() {
  is_made "$cache/node" "$here/package.json" && return 0
  command -v node >/dev/null || install_system nodejs
  command -v npm >/dev/null || install_system npm
  rm -rf -- "$cache/node"
  mkdir -- "$cache/node"
  cp -- "$here/package.json" "$cache/node/"
  (cd -- "$cache/node" && timeout 600 npm install --silent --no-audit --no-fund --ignore-scripts)
  mark_made "$cache/node" "$here/package.json"
}

# HAProxy and nginx with what they need and the system lacks, unpacked, not installed.
prepare_proxies() {
  local package
  [ ! -f "$cache/proxies/.made" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "conformance: HAProxy and nginx are taken from Debian's archive: no apt-get here" >&2
    exit 1
  fi
  refresh_archive
  rm -rf -- "$cache/proxies" "$cache/archives"
  mkdir -p -- "$cache/proxies" "$cache/archives/partial"
  timeout 600 apt-get install -qq -y --no-install-recommends --reinstall --download-only \
    -o Debug::NoLocking=1 -o Dir::Cache::Archives="$cache/archives" haproxy nginx \
    >"$cache/apt.log" 2>&1 || {
    tail -n 20 "$cache/apt.log" >&2
    exit 1
  }
  for package in "$cache"/archives/*.deb; do
    dpkg-deb --extract "$package" "$cache/proxies"
  done
  touch "$cache/proxies/.made"
}

prepare_browser() {
  command -v chromium >/dev/null || install_system chromium
}

mkdir -p -- "$cache"
# Two runs at once would fetch into the same place, and measure each other's patience.
exec 9>"$cache/.lock"
if ! flock --nonblock 9; then
  echo "conformance: another run has $cache: waiting for it" >&2
  flock 9
fi
prepare_python
prepare_node
prepare_browser
prepare_proxies
build_release --package ringwire --package loadgen --bins 9>&-
make_scratch
trap_signals
code=0
run_foreground "$cache/python/bin/python" -B "$here/run.py" --release "$release" \
  --cache "$cache" --scratch "$scratch" --out "$out" ${arguments[@]+"${arguments[@]}"} 9>&- || code=$?
if [ "$write" = yes ] && [ "$code" -eq 0 ]; then
  "$root/scripts/machine.sh" >"$scratch/machine.json"
  make_result_directory conformance
  cp -- "$out" "$result/result.json"
  cp -- "$scratch/machine.json" "$result/"
  "$cache/python/bin/python" -B "$here/readme.py" "$out" "$root/README.md" \
    "results/${result##*/}/"
  echo "written: ${result#"$PWD"/}, README.md"
fi
exit "$code"
