#!/bin/bash
# One sweep on the nodes of one Slurm job:
#
#   sbatch --nodes=4 experiments/cluster/slurm.sh EXPERIMENT [flags of `raystilts run`, but --address]
#
# Activate the environment before sbatch, which hands its variables on; it, the store, the data and the encoders must be visible on every
# node. Ray's head runs on the first node, its workers on the others, with ports, folders and a token of this job alone. The exit code is
# that of `raystilts run`. Near its time limit the job stops in good order and queues itself again; so does Slurm when it preempts the job
# or loses a node: what is in the store is not run again. Flags of sbatch override the lines below.
#SBATCH --job-name=raystilts
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@300
set -euo pipefail

mapfile -t names < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
num_nodes=${SLURM_JOB_NUM_NODES:-1}
num_cpus=${SLURM_CPUS_PER_TASK:-1}
folder=/tmp/ray-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0} # short: the names of Ray's sockets may have 107 bytes
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
unset RAY_ADDRESS

# Ports that the system chooses: other jobs on a shared node have theirs.
node=(--block --num-cpus="$num_cpus" --temp-dir="$folder" --min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0)
others=(--nodes="$((num_nodes - 1))" --ntasks="$((num_nodes - 1))" --ntasks-per-node=1 --cpus-per-task="$num_cpus")
others+=(--exclude="${names[0]}" --export=ALL)
client=$(python3 -c 'import socket; free = socket.socket(); free.bind(("", 0)); print(free.getsockname()[1])')
head_pid='' workers_pid='' driver_pid='' stopped='' requeue=''

clean() {
    for pid in "$driver_pid" "$workers_pid" "$head_pid"; do [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; done
    wait || true
    rm -rf "$folder"
    if [ "$num_nodes" -gt 1 ]; then srun "${others[@]}" rm -rf "$folder" || true; fi
}
stop() { # as Ctrl-C does: nothing is left half done
    stopped=yes
    if [ -n "$driver_pid" ]; then kill -INT "$driver_pid" 2>/dev/null || true; else exit 130; fi
}
trap clean EXIT
trap 'requeue=yes; stop' USR1 # the time limit is near
trap stop TERM                # preempted or cancelled: whether it queues again is Slurm's decision

mkdir -m 700 "$folder"
ray start --head --port=0 --ray-client-server-port="$client" "${node[@]}" >"$folder/head.log" 2>&1 &
head_pid=$!
until [ -s "$folder/ray_current_cluster" ]; do
    kill -0 "$head_pid" 2>/dev/null || { cat "$folder/head.log"; exit 1; }
    sleep 0.5
done
address=$(<"$folder/ray_current_cluster")
if [ "$num_nodes" -gt 1 ]; then
    srun "${others[@]}" ray start --address="$address" "${node[@]}" &
    workers_pid=$!
fi

python3 - "$address" "$num_nodes" <<'PY'
import sys, time
import ray

ray.init(sys.argv[1], log_to_driver=False, logging_level="ERROR")
end = time.monotonic() + 300
while (joined := sum(node["Alive"] for node in ray.nodes())) < int(sys.argv[2]):
    if time.monotonic() > end:
        sys.exit(f"only {joined} of {sys.argv[2]} nodes have joined Ray within 5 minutes")
    time.sleep(1)
print(f"{joined} nodes: {ray.cluster_resources()}")
PY

set -m # or the shell would start the driver deaf to interrupts
raystilts run "$@" --address "$address" &
driver_pid=$!
set +m
while true; do
    stopped='' code=0
    wait "$driver_pid" || code=$?
    [ -n "$stopped" ] || break # a signal ends only the waiting
done
driver_pid=''
if [ -n "$requeue" ] && [ "$code" -eq 130 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
