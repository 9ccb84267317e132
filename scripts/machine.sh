#!/usr/bin/env bash
# Prints what a measurement depends on, as one JSON object: kernel, processor, memory, the sysctls
# and limits that bound a socket server, and the compiler. What cannot be read is null.
# Not here: anything that names the machine or its owner.
set -euo pipefail

# Prints standard input as a JSON string, or null when it is empty.
json_string() {
  local text
  text=$(tr '\t\n' '  ' | tr -d '\000-\037\177')
  text=${text%"${text##*[![:space:]]}"}
  if [ -z "$text" ]; then
    printf 'null'
    return
  fi
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "$text"
}

# Prints standard input if it is a plain integer, else null.
json_integer() {
  local text
  text=$(tr -d "\n")
  case "$text" in
    '' | *[!0-9]*) printf 'null' ;;
    *) printf '%s' "$text" ;;
  esac
}

# The content of a file, nothing if it cannot be read.
content() {
  cat -- "$1" 2>/dev/null || true
}

# A field of /proc/cpuinfo, from the first processor that has it.
cpuinfo() {
  content /proc/cpuinfo | sed -n "s/^$1[[:space:]]*:[[:space:]]*//p" | sed -n 1p
}

# Whether the processor says that it is a virtual one.
hypervisor() {
  case " $(cpuinfo flags) " in
    '  ') echo null ;;
    *' hypervisor '*) echo true ;;
    *) echo false ;;
  esac
}

memory_bytes() {
  content /proc/meminfo | sed -n 's/^MemTotal:[[:space:]]*\([0-9]*\) kB$/\1/p' \
    | while read -r kib; do echo $((kib * 1024)); done
}

# "name": "value" lines of an object, one for each pair of lines "name", "value" of the input.
json_members() {
  local name value separator=
  while IFS= read -r name && IFS= read -r value; do
    printf '%s    "%s": %s' "$separator" "$name" "$(printf '%s' "$value" | json_string)"
    separator=$',\n'
  done
  [ -z "$separator" ] || printf '\n'
}

mitigations() {
  local file
  for file in /sys/devices/system/cpu/vulnerabilities/*; do
    [ -r "$file" ] || continue
    printf '%s\n%s\n' "${file##*/}" "$(content "$file" | tr '\n' ' ')"
  done
}

sysctls() {
  local name
  for name in \
    net.ipv4.tcp_congestion_control net.core.default_qdisc net.core.somaxconn \
    net.ipv4.tcp_max_syn_backlog net.ipv4.ip_local_port_range net.ipv4.tcp_rmem \
    net.ipv4.tcp_wmem net.ipv4.tcp_mem net.core.rmem_max net.core.wmem_max \
    net.core.rps_sock_flow_entries net.netfilter.nf_conntrack_max fs.file-max fs.nr_open \
    kernel.sched_autogroup_enabled kernel.io_uring_disabled vm.max_map_count; do
    printf '%s\n%s\n' "$name" "$(content "/proc/sys/${name//.//}" | tr '\n' ' ')"
  done
}

# A limit of this shell: a number, or "unlimited".
limit() {
  local value
  value=$(ulimit "$@" 2>/dev/null || true)
  case "$value" in
    '' | *[!0-9]*) printf '%s' "$value" | json_string ;;
    *) printf '%s' "$value" ;;
  esac
}

# ulimit counts locked memory in KiB; the kernel and we count in bytes.
limit_kib() {
  local value
  value=$(ulimit "$@" 2>/dev/null || true)
  case "$value" in
    '' | *[!0-9]*) printf '%s' "$value" | json_string ;;
    *) printf '%s' $((value * 1024)) ;;
  esac
}

here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)

cat <<JSON
{
  "kernel": $(uname -r 2>/dev/null | json_string),
  "architecture": $(uname -m 2>/dev/null | json_string),
  "cpu_model": $(cpuinfo 'model name' | json_string),
  "cpu_microcode": $(cpuinfo microcode | json_string),
  "cpus": $({ nproc 2>/dev/null || true; } | json_integer),
  "hypervisor": $(hypervisor),
  "memory_bytes": $(memory_bytes | json_integer),
  "governor": $(content /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor | json_string),
  "mitigations": {
$(mitigations | json_members)
  },
  "sysctls": {
$(sysctls | json_members)
  },
  "limits": {
    "nofile_soft": $(limit -Sn),
    "nofile_hard": $(limit -Hn),
    "memlock_soft_bytes": $(limit_kib -Sl),
    "memlock_hard_bytes": $(limit_kib -Hl)
  },
  "rps_loopback": $(content /sys/class/net/lo/queues/rx-0/rps_cpus | json_string),
  "rustc": $({ rustc --version 2>/dev/null || true; } | json_string),
  "commit": $({ git -C "$here" rev-parse HEAD 2>/dev/null || true; } | json_string),
  "taken_at": "$(date -u +%Y-%m-%dT%H:%M:%SZ)"
}
JSON
