#!/usr/bin/env bash
# A real Slurm cluster on this machine, for trying and testing job scripts: slurmctld, one slurmd for each of several virtual
# hosts, munge. It lives in namespaces of its own (network, mounts, processes, host names), needs no configuration of the
# machine, and leaves nothing behind: no process, interface, mount or file.
#
#   cluster/local-slurm.sh with-cluster [OPTION...] COMMAND...   starts a cluster, runs COMMAND on its login node, stops it
#   cluster/local-slurm.sh start [OPTION...]                     starts one that stays, until stop or --lifetime
#   cluster/local-slurm.sh run [--directory DIR] COMMAND...      runs COMMAND on its login node: sbatch, srun, squeue, ...
#   cluster/local-slurm.sh stop [--directory DIR]
#   cluster/local-slurm.sh crash|boot [--directory DIR] NODE     a node that fails (with all that runs on it) and comes back
#
#   --directory DIR   a new or empty folder for configuration, logs and state, which stop removes again; files that jobs
#                     put there stay (default: one a user, below $TMPDIR)
#   --nodes N         virtual hosts n1 ... nN (default 2)
#   --cpus C          that each claims to have, more than there are if need be (default 4)
#   --gpus G          that each claims to have, for trying --gres and CUDA_VISIBLE_DEVICES (default 0)
#   --lifetime S      seconds after which a cluster that nobody stopped ends (default 3600)
#
# Partitions: main, and urgent, which preempts jobs of main (they are told by their --signal, then requeued).
# Needs root and the packages of jobs/setup.sh --slurm. Exit code 69 where they or namespaces are not to be had.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
source "$here/../jobs/common.sh"
readonly kStartSeconds=60

main() {
  directory=${TMPDIR:-/tmp}/winnow-slurm-$UID nodes=2 cpus=4 gpus=0 lifetime=3600
  local command=${1:-}
  case $command in
    with-cluster | start | run | stop | crash | boot) shift ;;
    -h | --help) sed -n '2,21s/^# \{0,1\}//p' "$0" && exit 0 ;;
    *) die "expected with-cluster, start, run, stop, crash or boot; see --help" ;;
  esac
  [[ $command != with-cluster ]] || directory=
  while (($#)); do
    case $1 in
      --directory) directory=${2:?--directory needs a folder} && shift ;;
      --nodes) check_number "$1" "${2:-}" 1 64 && nodes=$2 && shift ;;
      --cpus) check_number "$1" "${2:-}" 1 1024 && cpus=$2 && shift ;;
      --gpus) check_number "$1" "${2:-}" 0 16 && gpus=$2 && shift ;;
      --lifetime) check_number "$1" "${2:-}" 1 1000000 && lifetime=$2 && shift ;;
      --) shift && break ;;
      -*) die "unknown option $1; see --help" ;;
      *) break ;;
    esac
    shift
  done
  "do_${command/-/_}" "$@"
}

check_number() { # OPTION VALUE LEAST MOST
  [[ $2 =~ ^[0-9]{1,9}$ ]] || die "$1 '$2' is not a number from $3 to $4"
  (($2 >= $3 && $2 <= $4)) || die "$1 '$2' is not a number from $3 to $4"
}

unavailable() {
  say "$(basename "$0"): $*"
  exit 69
}

require_means() {
  local program
  for program in slurmctld slurmd munged sbatch ip unshare nsenter setpriv; do
    PATH=$PATH:/usr/sbin:/sbin command -v "$program" >/dev/null || unavailable "$program is missing; jobs/setup.sh --slurm installs it"
  done
  ((EUID == 0)) || unavailable "a cluster of virtual hosts needs root"
  # Containers may have root and forbid this: mounts, a bridge and a veth pair in namespaces of their own.
  local reason
  reason=$(unshare -n -m -u -i -p --fork --mount-proc bash -c '
    set -e; mount -t tmpfs tmpfs /mnt; ip link add type bridge; ip link add type veth' 2>&1) ||
    unavailable "namespaces with interfaces and mounts of their own are not allowed here: ${reason##*$'\n'}"
}

# Field 22 of /proc/PID/stat: with it, a process number that was given anew is not taken for ours.
start_time() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }" # the name, in brackets before that, may hold spaces
  echo "${fields[19]}"
}
alive() { [[ $(ps -o stat= -p "$1" 2>/dev/null) == [!Z]* ]]; }

# Sets `init` to process 1 of the cluster, as this machine numbers it; fails where none runs.
find_cluster() {
  local pid started
  read -r pid started 2>/dev/null <"$directory/process" || return 1
  [[ $(start_time "$pid") == "$started" ]] && alive "$pid" || return 1
  init=$pid
}
require_cluster() { find_cluster || die "no cluster runs in $directory; start one with: $0 start --directory $directory"; }

launch() {
  mkdir -p "$directory"
  directory=$(cd "$directory" && pwd)
  # Root reads its configuration from there, and removes folders called log, state and tmp from there at the end.
  [[ -O $directory ]] || die "$directory belongs to somebody else"
  [[ -e $directory/process || -z $(ls -A "$directory") ]] ||
    die "$directory holds other files; expected a new or empty folder"
  touch "$directory/process"
  chmod 755 "$directory"
  # Whoever kills this script takes the cluster along; a cluster that is to stay is told to (start).
  local parent=(setpriv --pdeathsig KILL)
  [[ ${1:-} != stays ]] || parent=(setsid)
  NODES=$nodes CPUS=$cpus GPUS=$gpus LIFETIME=$lifetime "${parent[@]}" \
    unshare -n -m -u -i -p --fork --kill-child=SIGKILL --mount-proc "$here/slurm/control-host.sh" "$directory" \
    >"$directory/start.log" 2>&1 </dev/null &
  local outer=$! waited child=
  for ((waited = 0; waited < kStartSeconds * 20; ++waited)); do
    [[ -n $child ]] || {
      child=$(cat "/proc/$outer/task/$outer/children" 2>/dev/null || true)
      child=${child%% *}
      [[ -z $child ]] || echo "$child $(start_time "$child")" >"$directory/process"
    }
    [[ ! -e $directory/ready ]] || return 0
    alive "$outer" || break
    sleep 0.05
  done
  local trouble
  trouble=$(tail -qn 2 "$directory"/start.log "$directory"/log/* 2>/dev/null | grep -v '^$' | tail -n 5 || true)
  end_cluster
  die "the cluster did not start: ${trouble:-no message}"
}

# Killing process 1 of a process namespace ends all in it, and it is reaped only when they are gone.
end_cluster() {
  if find_cluster; then
    kill -KILL "$init" 2>/dev/null || true
    while alive "$init"; do sleep 0.02; done
  fi
  # Only what a cluster writes, and only where there was one: jobs may have left files of the user's.
  [[ ! -e $directory/process ]] || {
    rm -rf "$directory"/{process,ready,start.log,hosts,slurm.conf,gres.conf,cgroup.conf,munge,state,log,spool,tmp,host}
    rmdir "$directory" 2>/dev/null || true
  }
}

do_start() {
  require_means
  find_cluster && die "a cluster runs in $directory already; stop it first"
  launch stays
  say "Slurm with nodes n1 to n$nodes runs in $directory. Try: $0 run --directory $directory sinfo"
}

do_with_cluster() {
  (($#)) || die "with-cluster needs a command"
  require_means
  local status=0
  [[ -n $directory ]] || directory=$(mktemp -d --tmpdir winnow-slurm.XXXXXX)
  find_cluster && die "a cluster runs in $directory already; stop it first"
  trap end_cluster EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  launch
  do_run "$@" <&0 & # without a redirection a command in the background reads from /dev/null
  wait $! || status=$?
  exit "$status"
}

do_run() {
  (($#)) || die "run needs a command"
  require_cluster
  export_mpi_environment
  # Open MPI and PMIx leave folders behind when they are killed: TMPDIR keeps them in the cluster's own.
  SLURM_CONF=$directory/slurm.conf TMPDIR=$directory/tmp PATH=$PATH:/usr/sbin:/sbin \
    nsenter -t "$init" -n -m -u -i -p -- env -C "$PWD" LOCAL_SLURM="$directory" "$@"
}

do_stop() {
  [[ -e $directory/process ]] || die "no cluster in $directory"
  end_cluster
}

host_number() {
  local host=${1#n}
  [[ -n $host && -e $directory/host/$host ]] || die "expected a node such as n1, not '$1'"
  echo "$host"
}

do_crash() {
  require_cluster
  local host
  host=$(host_number "${1:?which node?}")
  do_run "$here/slurm/crash-host.sh" "$directory" "$host"
}

do_boot() {
  require_cluster
  local host
  host=$(host_number "${1:?which node?}")
  ! do_run kill -0 "$(cat "$directory/host/$host")" 2>/dev/null || die "n$host is up; crash it first"
  do_run "$here/slurm/boot-host.sh" "$directory" "$host"
}

main "$@"
