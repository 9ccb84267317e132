# shellcheck shell=bash
# What the measuring scripts share; sourced, never run. Shell options are the caller's.
#
# Not here: any measurement. Invariant: every process started here is in `started` or `groups`,
# and `stop_all` ends exactly those, by number.

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
case "$target" in
  /*) ;;
  *) target=$PWD/$target ;;
esac
# shellcheck disable=SC2034 # read by the scripts that source this
release=$target/release
started=()
# Process groups of commands that run_foreground waits for.
groups=()
# The last server started: its address, its process, and where its output went.
server_address=
server_pid=
scratch=

# A directory for logs and raw output that goes away with the script.
make_scratch() {
  scratch=$(mktemp -d "${TMPDIR:-/tmp}/ringwire.XXXXXX")
}

# Ends what was started: asks first, then insists.
stop_all() {
  local pid waited
  for pid in ${groups[@]+"${groups[@]}"}; do
    kill -TERM "$pid" 2>/dev/null || true
    for ((waited = 0; waited < 50; waited++)); do
      kill -0 -- "-$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL -- "-$pid" 2>/dev/null || true
  done
  groups=()
  for pid in ${started[@]+"${started[@]}"}; do
    kill -TERM "$pid" 2>/dev/null || continue
    for ((waited = 0; waited < 50; waited++)); do
      kill -0 "$pid" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
  done
  started=()
}

# Runs at every end of a script, however it comes.
clean_up() {
  local code=$?
  trap - EXIT INT TERM HUP
  stop_all
  [ -z "$scratch" ] || rm -rf -- "$scratch"
  exit "$code"
}

# Signals become an exit, so that the exit trap is the one way out.
trap_signals() {
  trap clean_up EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM
  trap 'exit 129' HUP
}

# Starts `"$@"`, a server that prints `listening on ADDRESS`, and waits until it has.
# Sets server_address and server_pid.
start_server() {
  local log=$scratch/server.${#started[@]}.$RANDOM waited
  "$@" >"$log.out" 2>"$log.err" </dev/null &
  server_pid=$!
  started+=("$server_pid")
  for ((waited = 0; waited < 200; waited++)); do
    server_address=$(sed -n 's/^listening on //p' "$log.out" | sed -n 1p)
    [ -z "$server_address" ] || return 0
    if ! kill -0 "$server_pid" 2>/dev/null; then
      break
    fi
    sleep 0.05
  done
  echo "did not start: $*" >&2
  cat "$log.err" >&2
  return 1
}

# Stops the server last started.
stop_server() {
  stop_all
}

# Builds optimised, from the committed lock file; the rest are cargo's flags.
build_release() {
  (cd -- "$root" && cargo build --release --locked "$@")
}

# Runs `"$@"` in a process group of its own and waits; its exit code is ours. A signal to the
# script is then acted on at once, and takes with it whatever the command has started.
run_foreground() {
  local pid code=0
  set -m
  "$@" </dev/null &
  set +m
  pid=$!
  groups+=("$pid")
  wait "$pid" || code=$?
  unset "groups[-1]"
  return "$code"
}

# A new directory results/<date>-<cpus>cpu-<kernel>[-<what>], with -2, -3 ... appended while the
# name is taken: an earlier result is never overwritten. RINGWIRE_RESULTS moves the parent.
make_result_directory() {
  local parent=${RINGWIRE_RESULTS:-$root/results} kernel name number=1
  kernel=$(uname -r)
  kernel=${kernel%%-*}
  name=$parent/$(date -u +%Y-%m-%d)-$(nproc)cpu-$kernel${1:+-$1}
  mkdir -p -- "$parent"
  result=$name
  while ! mkdir -- "$result" 2>/dev/null; do
    number=$((number + 1))
    if [ "$number" -gt 999 ]; then
      echo "cannot make a directory like $name" >&2
      return 1
    fi
    result=$name-$number
  done
}

# The number at KEY inside the object OBJECT of a JSON file. Enough for the flat objects of
# loadgen's result; prints nothing where the value is null or absent.
json_number() {
  local file=$1 object=$2 key=$3
  tr -d ' \n' <"$file" | grep -o "\"$object\":{[^{}]*}" | sed -n 1p \
    | grep -o "\"$key\":[0-9.]*" | sed -n 1p | sed 's/.*://' || true
}
