#!/usr/bin/env bash
# Test the Slurm profile without a cluster: Debian's Slurm on this machine, with two nodes of one processor each.
#
#     tests/workflow/slurm_on_one_node.sh FOLDER [TRIAL.yaml]
#
# Run it as root. It installs slurm-wlm and munge if they are missing. While it runs, /etc/slurm/slurm.conf is a link,
# since the engine's jobs read that path. All other files go to FOLDER, which must not exist: Slurm's configuration,
# state and logs, and two copies of a simulated survey. The laptop profile makes the submissions of one copy, the Slurm
# profile those of the other. Meanwhile one job is preempted, others reach their time limits, and one node is drained.
# The exit status is 0 if both have the same submissions, byte for byte; a table of all jobs is printed.
set -euo pipefail

house=$(cd "$(dirname "$0")/../.." && pwd)
folder=$(realpath -m "${1:?expected a FOLDER that does not exist}")
trial=$(realpath "${2:-$house/tests/workflow/slurm_trial.yaml}")
export SLURM_CONF=$folder/slurm.conf
snakemake=$house/workflow/.venv/bin/snakemake
python=$house/.venv/bin/python

fail() { echo "error: $*" >&2; exit 1; }

say() { echo "[$(date +%T)] $*" | tee -a "$folder/trial.log"; }

install() {
    [ "$(id -u)" = 0 ] || fail "expected root, since only root can start Slurm's daemons; run this with sudo"
    [ ! -e "$folder" ] || fail "$folder exists; name another folder"
    [ -x "$snakemake" ] || fail "$snakemake is missing; run make workflow/.venv/installed"
    [ ! -e /etc/slurm/slurm.conf ] || fail "/etc/slurm/slurm.conf exists: this machine has its own Slurm"
    if ! { command -v slurmctld && command -v munged; } >/dev/null; then
        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy slurm-wlm munge
    fi
    mkdir -p "$folder"/{state,spool}
}

configure() {
    cat > "$SLURM_CONF" <<CONF
ClusterName=trial
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmctldPort=16817
AuthType=auth/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.%n.log
# No control groups and no accounting, as a container has neither. squeue lists jobs for MinJobAge seconds after their end.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
MinJobAge=3600
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs.log
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=30
# Jobs of the partition urgent preempt others, which are queued again.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n[1-2] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[16821-16822] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=work Nodes=n[1-2] Default=YES MaxTime=60 PriorityTier=1
PartitionName=urgent Nodes=n[1-2] MaxTime=60 PriorityTier=2
CONF
}

start() {
    ln -s "$SLURM_CONF" /etc/slurm/slurm.conf
    pgrep -x munged >/dev/null || service munge start
    slurmctld
    for node in n1 n2; do slurmd -N $node; done
    for _ in $(seq 60); do [ "$(sinfo -h -o %t -n n1,n2 | sort -u)" = idle ] && break; sleep 1; done
    sinfo -N -l | tee -a "$folder/trial.log"
}

stop() {
    for name in slurmd.n1 slurmd.n2 slurmctld; do
        [ ! -f "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" || true
    done
    [ "$(readlink /etc/slurm/slurm.conf)" != "$SLURM_CONF" ] || rm /etc/slurm/slurm.conf
}

ensemble() {  # PROFILE MORE
    local profile=$1; shift
    cd "$folder/$profile"
    "$snakemake" --snakefile "$house/workflow/Snakefile" --workflow-profile "$house/workflow/profiles/$profile" \
        --configfile "$trial" "$@" > "$folder/$profile.log" 2>&1
}

trainings() {  # lines JOB NODE of the trainings with an elapsed time that matches REGEX
    squeue -h -t RUNNING -o "%A %N %k %M" | awk -v time="$1" '$3 ~ /rule_train/ && $4 ~ time {print $1, $2}'
}

wait_for_training() {
    until [ -n "$(trainings "$1")" ]; do kill -0 "$engine" && sleep 1; done
    read -r job node <<< "$(trainings "$1" | head -1)"
}

disturb() {
    wait_for_training '^0:[1-5]'
    say "job $job trains on $node: an urgent job preempts it"
    sbatch -p urgent -w "$node" --time=1 --output=/dev/null --job-name=urgent --wait --wrap "sleep 10"
    say "the urgent job has ended: $(squeue -h -j "$job" -o "job %A %T, for %r")"
    wait_for_training '^0:[1-5]'
    say "job $job trains on $node: the node is drained for a minute"
    scontrol update nodename="$node" state=drain reason=trial
    for _ in 1 2 3 4 5 6; do sleep 10; squeue -o "%.6i %.9P %.24k %.10T %.6M %.5l %.4N %R" >> "$folder/trial.log"; done
    sinfo -N -l | tee -a "$folder/trial.log"
    scontrol update nodename="$node" state=resume
    say "$node is back"
    wait_for_training '^1:[01]'
    say "job $job has trained for a minute: its limit is lowered to that"
    scontrol update jobid="$job" timelimit=1
}

install
trap stop EXIT
say "simulating a survey, and its submissions with the laptop profile"
"$python" "$house/simulate_galaxies.py" --root "$folder/laptop" --num-train 40 --num-test 12
cp -r "$folder/laptop" "$folder/slurm"
ensemble laptop
configure
start
say "the same with the Slurm profile: trainings have a limit of two minutes, with a signal 30 seconds before"
ensemble slurm --retries 30 --slurm-status-command squeue --slurm-init-seconds-before-status-checks 5 \
    --default-resources runtime=5 mem_mb=100 "slurm_extra='--signal=USR1@30'" \
    --set-resources train:runtime=2 train:mem_mb=100 predict:runtime=5 &
engine=$!
disturb
wait $engine
say "all jobs, as Slurm saw them end"
grep -oE "\b(JobId|JobState|Partition|NodeList|StartTime|EndTime|ExitCode)=[^ ]*" "$folder/jobs.log" |
    sed 's/.*=//' | paste - - - - - - - | tee -a "$folder/trial.log"
cd "$folder"
for path in laptop/predictions/final/blended/*.csv.gz; do cmp "$path" "slurm/${path#laptop/}"; done
say "the submissions are the same, byte for byte"; sha256sum laptop/predictions/final/blended/*.csv.gz
