#!/usr/bin/env bash
# A Slurm cluster of one node, this machine, with two GPUs that are names only: set up, and taken down without a trace.
#
#   tests/slurm/node.sh up FOLDER       (as root; Debian: apt install slurm-wlm munge)
#   tests/slurm/node.sh down FOLDER
#
# Jobs read their configuration from /etc/slurm, so two links are put there; a Slurm that is there already is left alone.
set -euo pipefail

usage() { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# = 2 ] || usage
mkdir -p "$2"
folder=$(cd "$2" && pwd)

up() {
    for command in munged slurmctld slurmd sinfo; do
        command -v "$command" >/dev/null || { echo "node.sh: $command is missing (Debian: apt install slurm-wlm munge)" >&2; exit 2; }
    done
    if [ -e /etc/slurm/slurm.conf ]; then
        echo "node.sh: this machine has an /etc/slurm/slurm.conf; take a machine without a Slurm" >&2
        exit 2
    fi
    mkdir -p "$folder/state" "$folder/spool" /etc/slurm
    chmod 755 "$folder"
    dd if=/dev/urandom of="$folder/munge.key" bs=128 count=1 status=none
    chmod 400 "$folder/munge.key"
    munged --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" --pid-file "$folder/munged.pid" \
        --log-file "$folder/munged.log" --seed-file "$folder/munged.seed"
    configure > "$folder/slurm.conf"
    printf 'Name=gpu File=%s\n' /dev/null /dev/zero > "$folder/gres.conf"      # any two devices that are there
    ln -s "$folder/slurm.conf" "$folder/gres.conf" /etc/slurm/
    slurmctld
    slurmd
    for _ in {1..100}; do
        if sinfo --noheader --format %T 2>/dev/null | grep -q idle; then
            sinfo --format "%P %N %c CPUs %m MB %G %T"
            return
        fi
        sleep 0.2
    done
    echo "node.sh: the node did not become idle; see $folder/slurmd.log" >&2
    exit 1
}

configure() {
    local host memory
    host=$(hostname -s)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    cat <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmctldPort=26817
SlurmdPort=26818
AuthType=auth/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
ReturnToService=2
KillWait=5
MpiDefault=none
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
}

down() {
    for name in slurmd slurmctld munged; do
        [ ! -f "$folder/$name.pid" ] || kill "$(cat "$folder/$name.pid")" 2>/dev/null || true
    done
    for _ in {1..50}; do
        pgrep -f "$folder" >/dev/null || break
        sleep 0.2
    done
    for link in /etc/slurm/slurm.conf /etc/slurm/gres.conf; do
        case $(readlink "$link") in "$folder"/*) rm "$link";; esac
    done
    rm -rf "$folder"
}

case $1 in up) up;; down) down;; *) usage;; esac
