#!/usr/bin/env bash
# configure.sh DIR: slurm.conf, gres.conf and cgroup.conf. NODES, CPUS, GPUS from the environment.
set -euo pipefail
directory=$1
memory_mb=$(($(awk '/^MemTotal/ { print $2 }' /proc/meminfo) / 1024))
gres=
((GPUS == 0)) || gres="Gres=gpu:fake:$GPUS"

cat >"$directory/slurm.conf" <<CONF
ClusterName=local
SlurmctldHost=control(10.64.0.254)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
# A requeued job may start again only when the credential of its last start has run out: 2 minutes by default.
AuthInfo=socket=$directory/munge/socket,cred_expire=5
MpiDefault=pmix
# No cgroups: in a container they are rarely ours to make.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=2,sched_min_interval=0
# Jobs of partition main make way for those of urgent: told by the signal they asked for, given GraceTime, requeued.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
SlurmctldParameters=preempt_send_user_signal
JobRequeue=1
ReturnToService=2
KillWait=3
SlurmdTimeout=60
MessageTimeout=60
MailProg=/bin/true
StateSaveLocation=$directory/state
SlurmdSpoolDir=$directory/spool/%n
TmpFS=$directory/tmp/%n
SlurmctldPidFile=$directory/state/slurmctld.pid
SlurmdPidFile=$directory/spool/%n.pid
SlurmctldLogFile=$directory/log/slurmctld.log
SlurmdLogFile=$directory/log/slurmd.%n.log
# Cores that are not there may be claimed: what runs here is not there to be fast.
SlurmdParameters=config_overrides
$( ((GPUS == 0)) || echo GresTypes=gpu)
NodeName=n[1-$NODES] NodeAddr=10.64.0.[1-$NODES] CPUs=$CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$CPUS ThreadsPerCore=1 RealMemory=$memory_mb $gres State=UNKNOWN
PartitionName=main Nodes=n[1-$NODES] Default=YES PriorityTier=1 GraceTime=30 MaxTime=INFINITE State=UP
PartitionName=urgent Nodes=n[1-$NODES] PriorityTier=2 PreemptMode=OFF MaxTime=INFINITE State=UP
CONF

if ((GPUS > 0)); then
  # Slurm wants device files; these are copies of /dev/null.
  for ((gpu = 0; gpu < GPUS; ++gpu)); do
    [[ -e $directory/state/gpu$gpu ]] || mknod "$directory/state/gpu$gpu" c 1 3
  done
  echo "NodeName=n[1-$NODES] Name=gpu Type=fake File=$directory/state/gpu[0-$((GPUS - 1))]" >"$directory/gres.conf"
fi

# slurmd takes up cgroups before it is asked for any, version 2 with systemd's help, which knows nothing of these hosts.
# Slurm before 24.05 has no word for "not at all"; its plugin for version 1 does nothing until a job wants some.
version=$(slurmctld -V) && version=${version#slurm-wlm } && version=${version#slurm }
plugin=cgroup/v1
((${version%%.*} < 24)) || plugin=disabled
echo "CgroupPlugin=$plugin" >"$directory/cgroup.conf"
