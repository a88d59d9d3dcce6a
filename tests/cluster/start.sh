#!/usr/bin/env bash
# Start a SLURM of two nodes with one core each on this machine, for tests: start.sh FOLDER [PORT]
# It listens on PORT (default: 17000) and the two that follow.
# Needs root and Debian's packages slurm-wlm and munge. All it writes lies in FOLDER; `stop.sh FOLDER` ends it. What is
# running already is left alone. Use the cluster with SLURM_CONF=FOLDER/slurm.conf.
set -euo pipefail
folder=$(mkdir -p "${1:?give a folder for the files of the cluster}" && cd "$1" && pwd)
host=$(hostname -s)
port=${2:-17000}
export SLURM_CONF=$folder/slurm.conf
mkdir -p "$folder"/{state,node1,node2}

if [ ! -e "$SLURM_CONF" ]; then
  # no cgroups and, by default, no accounting; memory is not counted, so that jobs that ask for much run on a small machine
  cat > "$SLURM_CONF" <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/%n/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/%n.log
ProctrackType=proctrack/linuxproc
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
# a lost node is noticed after ten seconds, and its jobs go back into the queue
SlurmdTimeout=10
ReturnToService=2
JobRequeue=1
SchedulerParameters=sched_interval=5,bf_interval=5
MinJobAge=3600
NodeName=node1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=1 RealMemory=64000
NodeName=node2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=1 RealMemory=64000
PartitionName=all Nodes=node1,node2 Default=YES MaxTime=INFINITE State=UP
CONF
fi

running() { [ -e "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

if ! running "$folder/munge.pid"; then
  # this cluster has its own key
  [ -e "$folder/munge.key" ] || (umask 077 && head -c 1024 /dev/urandom > "$folder/munge.key")
  munged --key-file="$folder/munge.key" --socket="$folder/munge.socket" --pid-file="$folder/munge.pid" \
    --seed-file="$folder/munge.seed" --log-file="$folder/munge.log" --force
fi
running "$folder/slurmctld.pid" || slurmctld
for node in node1 node2; do
  running "$folder/$node.pid" && continue
  # A machine of its own, with its own processes and its own /etc/slurm, where the commands of a job look for the
  # cluster. `kill -9` of the process in NODE.pid ends the node and all that runs on it.
  setsid unshare --pid --fork --kill-child --mount-proc \
    sh -c 'mount --bind "$0" /etc/slurm && exec slurmd -D -N "$1"' "$folder" "$node" > "$folder/$node.out" 2>&1 < /dev/null &
  echo $! > "$folder/$node.pid"
done

for _ in $(seq 60); do
  [ "$(sinfo --noheader --Node --states=idle,alloc --format=%N 2>/dev/null | sort -u | wc -l)" = 2 ] && exit
  sleep 0.5
done
echo "the nodes did not come up: see $folder/*.log" >&2
exit 1
