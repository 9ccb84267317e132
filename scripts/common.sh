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
  # There before anybody looks, however late a busy machine lets the server begin.
  : >"$log.out"
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

# Installs packages of Debian's; who may not is told what is missing.
install_packages() {
  local log code=0
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing, install it first: $*" >&2
    exit 78
  fi
  log=$(mktemp "${TMPDIR:-/tmp}/ringwire-apt.XXXXXX")
  {
    timeout 300 apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive timeout 600 apt-get install -qq -y --no-install-recommends "$@"
  } >"$log" 2>&1 </dev/null || code=$?
  [ "$code" -eq 0 ] || tail -n 20 "$log" >&2
  rm -f -- "$log"
  [ "$code" -eq 0 ] || exit 1
}

# Installs the package $2 (else $1) where there is no command $1.
need_command() {
  command -v "$1" >/dev/null || install_packages "${2:-$1}"
}

# Builds optimised, from the committed lock file; the rest are cargo's flags.
build_release() {
  (cd -- "$root" && CARGO_TARGET_DIR=$target cargo build --release --locked "$@")
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

# The number at KEY of the object OBJECT of a JSON file, before any object inside it. Enough for
# loadgen's result; prints nothing where the value is null or absent.
json_number() {
  local file=$1 object=$2 key=$3
  tr -d ' \n' <"$file" | grep -o "\"$object\":{[^}]*" | sed -n 1p \
    | grep -o "\"$key\":[0-9.]*" | sed -n 1p | sed 's/.*://' || true
}

# Server and load each want a CPU of their own, else they are measured fighting for one.
need_two_cpus() {
  if [ "$(nproc)" -lt 2 ]; then
    echo "this measurement wants two CPUs: one for the server, one for the load" >&2
    exit 78
  fi
}

# Runs `run_block FILE WHAT` over the rest of the arguments forth and back, $1 rounds of it. Appends
# a line per block to $scratch/blocks.tsv: round, place in it, what, messages, server and load CPU
# per message in ns, the load's exit code. The caller's run_block sets load_code when a load fails.
run_blocks() {
  local rounds=$1 round place what file
  local order=()
  shift
  for what in "$@"; do
    order=("$what" "${order[@]+"${order[@]}"}")
  done
  order=("$@" "${order[@]}")
  mkdir "$scratch/raw"
  printf 'round\tplace\twhat\tmessages\tserver_cpu_ns\tload_cpu_ns\tload_exit\n' \
    >"$scratch/blocks.tsv"
  for ((round = 1; round <= rounds; round++)); do
    place=0
    for what in "${order[@]}"; do
      place=$((place + 1))
      file=$scratch/raw/$round-$place-$what.json
      printf 'round %s/%s: %s\n' "$round" "$rounds" "$what" >&2
      load_code=0
      run_block "$file" "$what"
      if [ ! -s "$file" ] || { [ "$load_code" -ne 0 ] && [ "$load_code" -ne 96 ]; }; then
        echo "the load against $what ended with $load_code" >&2
        exit "$((load_code == 0 ? 1 : load_code))"
      fi
      printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$round" "$place" "$what" \
        "$(json_first "$file" messages_received)" \
        "$(json_number "$file" server cpu_ns_per_message)" \
        "$(json_number "$file" loadgen cpu_ns_per_message)" "$load_code" >>"$scratch/blocks.tsv"
    done
  done
}

# The first number at KEY anywhere in a JSON file.
json_first() {
  tr -d ' \n' <"$1" | grep -o "\"$2\":[0-9]*" | sed -n 1p | sed 's/.*://' || true
}

# For awk: the median of v[1..n], which it leaves sorted.
awk_median='
  function sort_values(v, n,   i, j, t) {
    for (i = 2; i <= n; i++)
      for (j = i; j > 1 && v[j] < v[j - 1]; j--) { t = v[j]; v[j] = v[j - 1]; v[j - 1] = t }
  }
  function median(v, n) {
    sort_values(v, n)
    return n % 2 ? v[(n + 1) / 2] : (v[n / 2] + v[n / 2 + 1]) / 2
  }
'

# A table of blocks.tsv: for each thing measured its median, least and greatest CPU per message,
# the median over the rounds of its ratio to $1 in the same round, and the fewest messages of a
# block (a block that stalled shows there). Blocks whose load called its own run invalid are
# counted in the last column.
print_table() {
  awk -F '\t' -v base="$1" "$awk_median"'
    FNR == 1 { next }
    !($3 in seen) { seen[$3] = 1; names[++kinds] = $3 }
    {
      blocks[$3]++
      cost[$3, blocks[$3]] = $5 + 0
      round_sum[$1, $3] += $5
      round_blocks[$1, $3]++
      if ($1 > rounds) rounds = $1
      if ($5 == "") unmeasured[$3]++
      if ($7 != 0) invalid[$3]++
      if (!($3 in fewest) || $4 + 0 < fewest[$3]) fewest[$3] = $4 + 0
    }
    END {
      printf "%-16s %10s %9s %9s %7s %14s %7s %8s\n", "what", "median ns", "least", \
        "greatest", "ratio", "messages, from", "blocks", "invalid"
      for (k = 1; k <= kinds; k++) {
        name = names[k]
        if (unmeasured[name]) { printf "%-16s not measured\n", name; continue }
        n = blocks[name]
        for (i = 1; i <= n; i++) v[i] = cost[name, i]
        middle = median(v, n)
        for (r = 1; r <= rounds; r++)
          q[r] = (round_sum[r, name] / round_blocks[r, name]) \
            / (round_sum[r, base] / round_blocks[r, base])
        printf "%-16s %10.0f %9.0f %9.0f %7.3f %14.0f %7d %8d\n", name, middle, v[1], v[n], \
          median(q, rounds), fewest[name], n, invalid[name]
      }
    }' "$2"
}

# Moves what the scratch directory holds of a measurement into a new result directory.
keep_result() {
  "$root/scripts/machine.sh" >"$scratch/machine.json"
  make_result_directory "$1"
  cp -R -- "$scratch/blocks.tsv" "$scratch/report.txt" "$scratch/machine.json" "$scratch/raw" \
    "$result/"
  echo
  echo "written: ${result#"$PWD"/}"
}
