# shellcheck shell=bash disable=SC2034
# Shared by start, stop and status; not run by itself.
# Everything lives in one folder; nothing outside it is written, nothing else is stopped.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
ROOT=$(cd "$HERE/../.." && pwd -P)
DEV=$(realpath -m "${EPILAYER_DEV_CLUSTER:-$ROOT/.dev-cluster}") # a process names its folder by its real path
DAEMONS="mongo slurmd slurmctld slurmdbd mariadbd munged" # in the order they are stopped

# A daemon is ours if its process id was written by us and the process still names our folder.
lives() {
  local file="$DEV/run/$1.pid" pid
  [ -s "$file" ] || return 1
  pid=$(cat "$file")
  [ -r "/proc/$pid/cmdline" ] || return 1
  { tr '\0' ' ' <"/proc/$pid/cmdline"; readlink "/proc/$pid/cwd" || true; } 2>/dev/null | grep -qF "$DEV"
}

wait_for() { # SECONDS WHAT COMMAND...
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -ge "$until" ]; then
      echo "slurm/dev: $what did not come up; see $DEV/log" >&2
      return 1
    fi
    sleep 0.1
  done
}

# Whether the process in a pid file is the one that listens on a loopback port.
listens() { # NAME PORT
  local pid inode
  pid=$(cat "$DEV/run/$1.pid") || return 1
  inode=$(awk -v port="$(printf ':%04X' "$2")" '$4 == "0A" && index($2, port) {print $10}' /proc/net/tcp | head -1)
  [ -n "$inode" ] || return 1
  find "/proc/$pid/fd" -lname "socket:\[$inode\]" 2>/dev/null | grep -q .
}
