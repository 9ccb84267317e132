#!/usr/bin/env bash
# Does every page that loadgen makes hold in a browser? Opens the page of each state in Chromium
# at three widths, light and dark, without script and on paper. Exits 1 if one fact does not hold.
#
#   scripts/report-pages.sh [--pictures DIRECTORY]
#
#   --pictures  also keeps what was seen: PNG and PDF files
#
# npm fetches playwright-core into the target directory once; Chromium and node are the system's,
# and root installs those that are missing. CARGO_TARGET_DIR is honoured.
set -euo pipefail
# shellcheck source=scripts/common.sh
. "$(dirname -- "${BASH_SOURCE[0]}")/common.sh"

pictures=
case "${1:-}" in
  -h | --help)
    sed -n '2,10s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    exit 0
    ;;
  --pictures)
    mkdir -p -- "${2:?a directory}"
    pictures=$(cd -- "$2" && pwd)
    ;;
  "") ;;
  *)
    echo "report-pages: unknown argument $1; see --help" >&2
    exit 2
    ;;
esac

missing=()
command -v chromium >/dev/null || missing+=(chromium)
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
if [ "${#missing[@]}" -gt 0 ]; then
  apt-get update -q && apt-get install -y -q --no-install-recommends "${missing[@]}"
fi

cache=$target/report-pages
mkdir -p -- "$cache"
cp -- "$root"/scripts/report-pages/package.json "$root"/scripts/report-pages/check.cjs "$cache"
if [ ! -d "$cache/node_modules/playwright-core" ]; then
  (cd -- "$cache" && npm install --no-audit --no-fund --silent)
fi

make_scratch
trap_signals
mkdir -- "$scratch/pages"
(cd -- "$root" && LOADGEN_HTML_SAMPLES=$scratch/pages CARGO_TARGET_DIR=$target \
  run_foreground cargo test --quiet --locked --package loadgen --bin loadgen report::html::tests)
export CHROMIUM
CHROMIUM=$(command -v chromium)
run_foreground node "$cache/check.cjs" "$scratch/pages" ${pictures:+"$pictures"}
