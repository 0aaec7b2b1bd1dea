#!/usr/bin/env bash
# control-host.sh DIR: process 1 of a local cluster, in its namespaces: the switch, munge, slurmctld, and the compute hosts.
# NODES, CPUS, GPUS, LIFETIME: see cluster/local-slurm.sh, which starts this. DIR/ready appears once all nodes are idle.
set -euo pipefail
directory=$1
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$directory/slurm.conf
rm -f "$directory/ready"
mkdir -p "$directory"/{munge,state,log,spool,tmp,host}
chmod 755 "$directory"/munge
chmod 1777 "$directory"/tmp

hostname control
ip link set lo up
ip link add switch type bridge
ip addr add 10.64.0.254/24 dev switch
ip link set switch up
{
  echo "127.0.0.1 localhost"
  echo "10.64.0.254 control"
  for ((host = 1; host <= NODES; ++host)); do echo "10.64.0.$host n$host"; done
} >"$directory/hosts"
mount --bind "$directory/hosts" /etc/hosts # in this mount namespace and those of the hosts, nowhere else

"$here/configure.sh" "$directory"
(umask 077 && head -c 1024 /dev/urandom >"$directory/munge/key")
# --force: the folder of the socket may be below /tmp, which anybody may write to.
munged --foreground --force --num-threads=2 --key-file="$directory/munge/key" --socket="$directory/munge/socket" \
  --pid-file="$directory/munge/pid" --seed-file="$directory/munge/seed" --log-file="$directory/log/munged.log" \
  >"$directory/log/munged.out" 2>&1 &
for ((waited = 0; waited < 200; ++waited)); do
  [[ -S $directory/munge/socket ]] && break
  sleep 0.02
done
slurmctld -D -c >"$directory/log/slurmctld.out" 2>&1 &
controller=$!
for ((host = 1; host <= NODES; ++host)); do "$here/boot-host.sh" "$directory" "$host"; done

idle=()
for ((waited = 0; waited < 400; ++waited)); do
  mapfile -t idle < <(sinfo --noheader --Node --partition main --states idle --format %N 2>/dev/null)
  ((${#idle[@]} == NODES)) && touch "$directory/ready" && break
  kill -0 "$controller" 2>/dev/null || break
  sleep 0.1
done
((${#idle[@]} == NODES)) || {
  echo "of $NODES nodes these are idle: ${idle[*]:-none}"
  exit 1
}
# Process 1 leaving takes every process of the cluster with it. It also inherits orphans: `wait` reaps them.
trap 'exit 0' TERM INT
end=$((SECONDS + LIFETIME))
while ((SECONDS < end)); do
  sleep 1 &
  wait $!
done
