#!/usr/bin/env bash
# End the SLURM that `start.sh FOLDER` started, with every job on it. The files stay.
set -euo pipefail
folder=${1:?give the folder of the cluster}
for daemon in node1 node2 slurmctld munge; do
  [ -e "$folder/$daemon.pid" ] || continue
  kill -9 "$(cat "$folder/$daemon.pid")" 2>/dev/null || true  # it may have ended
  rm -f "$folder/$daemon.pid"
done
