#!/usr/bin/env bash
# compute-host.sh DIR NUMBER: process 1 of a compute host of the local cluster: its network, its shared memory, slurmd.
set -euo pipefail
directory=$1 host=$2
hostname "n$host"
mount -t tmpfs -o size=1g tmpfs /dev/shm # ranks on different hosts must not meet there
ip link set lo up
for ((waited = 0; waited < 250; ++waited)); do # boot-host.sh plugs it in
  ip link show eth0 >/dev/null 2>&1 && break
  sleep 0.02
done
ip addr add "10.64.0.$host/24" dev eth0
ip link set eth0 up
SLURM_CONF=$directory/slurm.conf slurmd -D -N "n$host" &
# Orphans of job steps are this process's to reap; a host whose slurmd has ended stays up, as a real one would.
while :; do
  wait -n || true
  sleep 0.2
done
