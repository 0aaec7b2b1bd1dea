#!/usr/bin/env bash
# boot-host.sh DIR NUMBER: a compute host of the local cluster whose control host calls this: process 1 of namespaces of its
# own, with an interface at the cluster's switch. DIR/host/NUMBER holds its process number as the cluster counts.
set -euo pipefail
directory=$1 host=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# The kernel takes a while to clear away a host that failed: till then its interface is there, and processes may be.
for ((waited = 0; waited < 250; ++waited)); do
  ip link show "port$host" >/dev/null 2>&1 || break
  sleep 0.02
done
ip link delete "port$host" 2>/dev/null || true
# A diskless host: of what ran before it failed nothing is there. (A socket that a step left would stop its second try.)
rm -rf "$directory/spool/n$host" "$directory/tmp/n$host"
mkdir -p "$directory/spool/n$host" "$directory/tmp/n$host"
# setsid: a host that was booted from a terminal outlives it.
setsid unshare -n -m -u -i -p --fork --kill-child=SIGKILL --mount-proc "$here/compute-host.sh" "$directory" "$host" \
  >>"$directory/log/n$host.out" 2>&1 </dev/null &
process=$!
for ((waited = 0; waited < 250; ++waited)); do # until it has a network of its own
  [[ $(readlink "/proc/$process/ns/net") != "$(readlink /proc/self/ns/net)" ]] && break
  sleep 0.02
done
# The same card after a reboot: hosts that talked to this one remember its address for a while.
ip link add "port$host" type veth peer name eth0 address "$(printf '02:00:00:00:00:%02x' "$host")" netns "$process"
ip link set "port$host" master switch up
echo "$process" >"$directory/host/$host"
