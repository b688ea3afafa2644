#!/usr/bin/env bash
# Makes the environment if there is none, runs the notebooks of a profile, and leaves their pages under runs/<profile>.
set -euo pipefail
from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
ROOT=$PWD

usage() {
    cat <<'HELP'
./run_all.sh [options] [-- <snakemake options>]

  --profile NAME   quick (default), reduced, paper, any file params/NAME.yaml, or the path of a .yaml file elsewhere,
                   whose results go to runs/<its name>
  --only LIST      notebooks or settings, as 01,05 or 02.cifar10_cnn
  -j N             jobs at a time (default: the CPUs there are)
  --dry-run        say what the profile holds and what would run
  --test           the tests, and nbval over the committed notebooks (after --: options of pytest)
  --publish        afterwards copy results and figures into results/ and figures/, and with the profile quick
                   the outputs into notebooks/
  -h, --help       this text

Running again resumes: what is done is not done twice.
On a cluster:    ./run_all.sh --profile paper -- --executor slurm --jobs 50 --default-resources slurm_partition=gpu
Environment:     an active venv or conda environment, else .venv, which is made (REPRO_PYTHON=<python> chooses another;
                 REPRO_NO_INSTALL=1 takes it as it is). FU_RUNS and FU_DATA move runs/ and data/. On GPUs every job has
                 one; FU_JOBS_PER_GPU=n lets n jobs share each.
HELP
}
fail() { echo "run_all.sh: $*" >&2; exit 2; }

# ---- what takes long runs in a process group of its own: a signal reaches this script alone, which ends that group

group=''
exec 3>&2                   # where a word is heard while bash's own about its jobs are not
stop() {                    # one line, however often it is told to
    trap '' INT TERM HUP
    [ -z "$group" ] || end_group
    echo "interrupted; run again to resume" >&3
    exit "$1"
}
end_group() {               # five seconds to put things away; snakemake does not always hear
    kill -TERM -- "-$group" || return 0
    for _ in {1..50}; do kill -0 -- "-$group" || return 0; sleep 0.1; done
    kill -KILL -- "-$group"
} 2>/dev/null
trap 'stop 130' INT; trap 'stop 143' TERM; trap 'stop 129' HUP

pipe=$(mktemp -d)
mkfifo "$pipe/alive"
exec 4<>"$pipe/alive" 5<"$pipe/alive"   # only this script can write to it: who reads from it hears when it has died
rm -r "$pipe"

run() {
    local status=0
    set -m; guarded "$@" </dev/null 3>&- 4>&- & group=$!; set +m
    { wait "$group" || status=$?; kill -KILL -- "-$group" || true; } 2>/dev/null
    group=''
    return "$status"
}
guarded() { leash & "$@" 5<&-; }
leash() {                   # ends the group when this script has been killed
    read -r <&5 || { trap '' TERM; kill -TERM 0; sleep 3; kill -KILL 0; }
} 9<&-

profile=quick only='' jobs='' dry='' test='' publish=''
while [ $# -gt 0 ]; do
    case $1 in
        --profile|--only|-j) [ $# -gt 1 ] || fail "$1 needs a value (see --help)"
            case $1 in --profile) profile=$2;; --only) only=$2;; -j) jobs=$2;; esac; shift 2;;
        --profile=*) profile=${1#*=}; shift;;
        --only=*) only=${1#*=}; shift;;
        -j*) jobs=${1#-j}; shift;;
        -n|--dry-run) dry=1; shift;;
        --test) test=1; shift;;
        --publish) publish=1; shift;;
        -h|--help) usage; exit 0;;
        --) shift; break;;
        *) fail "unknown option $1 (see --help; options of snakemake go after --)";;
    esac
done
no_profile() { fail "no profile '$1'; there are: $(cd params && echo *.yaml | sed 's/\.yaml//g')"; }
case $profile in
    *.yaml|*.yml)       # from where the command was given, else from here
        case $profile in /*) ;; *) [ ! -f "$from/$profile" ] || profile=$from/$profile;; esac
        [ -f "$profile" ] || no_profile "$profile"
        name=$(basename "${profile%.y*ml}");;
    *)
        [ -f "params/$profile.yaml" ] || no_profile "$profile"
        name=$profile;;
esac
case $jobs in *[!0-9]*|0) fail "-j needs a whole number above 0, not '$jobs'";; esac

# ---- the Python environment

new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
if [ -n "${REPRO_PYTHON:-}" ]; then PY=$REPRO_PYTHON
elif [ -n "${VIRTUAL_ENV:-}" ]; then PY=$VIRTUAL_ENV/bin/python
elif [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-base}" != base ]; then PY=$CONDA_PREFIX/bin/python
else
    PY=$ROOT/.venv/bin/python
    if ! { new_enough "$PY" && "$PY" -m pip --version >/dev/null 2>&1; }; then      # none, or one half made
        base=''
        for p in python3 python python3.13 python3.12 python3.11 python3.14; do
            if new_enough "$p"; then base=$p; break; fi
        done
        [ -n "$base" ] || fail "Python 3.11 or newer is needed and was not found; install it, or set REPRO_PYTHON to one"
        echo "Making .venv with $("$base" --version)" >&2
        "$base" -m venv --clear .venv || fail "$base cannot make a virtual environment (on Debian: apt install python3-venv)"
    fi
fi
new_enough "$PY" || fail "$PY is not a Python of version 3.11 or newer"
lock() {                    # an open file, at most so many seconds; 1: another holds it
    "$PY" - "$@" <<'PYTHON'
import fcntl, signal, sys, time
signal.signal(signal.SIGINT, signal.SIG_DFL)
file, seconds = map(int, sys.argv[1:])
end = time.monotonic() + seconds
while True:
    try:
        sys.exit(fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB))
    except BlockingIOError:
        if time.monotonic() > end:
            sys.exit(1)
    except OSError as error:
        print(f"run_all.sh: the file system has no file locks (flock: {error.strerror}), without which two runs could "
              "write one file; set FU_RUNS to a folder of another file system", file=sys.stderr)
        sys.exit(2)
    time.sleep(0.1)
PYTHON
}

install() {
    local prefix stamp
    prefix=$("$PY" -c 'import sys; print(sys.prefix)')
    stamp=$("$PY" -c 'import hashlib, sys; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest(), sys.argv[1])' "$ROOT")
    [ "$(cat "$prefix/.repro-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    exec 8>"$prefix/.repro-lock"
    lock 8 86400
    [ "$(cat "$prefix/.repro-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    echo "Installing the packages of pyproject.toml into $prefix (once; some minutes)" >&2
    "$PY" -m uv --version >/dev/null 2>&1 || "$PY" -m pip install -q uv >/dev/null 2>&1 || true
    if ! "$PY" -m uv pip install -q --python "$PY" -e . 2>"$prefix/.repro-uv.log"; then
        echo "uv could not install them ($(tail -n 1 "$prefix/.repro-uv.log")); trying pip" >&2
        "$PY" -m pip install -q -e . || fail "the packages could not be installed; see the lines above"
    fi
    # the stamp vouches for packages that import: a killed install is repeated
    (cd / && "$PY" -c 'import torch, torchvision, papermill, nbval, snakemake, yaml, lib, workflow') \
        || fail "the packages are installed but do not import; remove $prefix or set REPRO_PYTHON, and run again"
    echo "$stamp" > "$prefix/.repro-stamp"
    exec 8>&-
}
[ -n "${REPRO_NO_INSTALL:-}" ] || run install

# ---- what every run sees: one thread a job, caches inside the clone, kernels of this environment

unset JUPYTER_PREFER_ENV_PATH
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONUNBUFFERED=1
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
cache=$ROOT/runs/.cache
mkdir -p "$cache"
export XDG_CACHE_HOME=$cache IPYTHONDIR=$cache/ipython MPLCONFIGDIR=$cache/matplotlib
export JUPYTER_CONFIG_DIR=$cache/jupyter JUPYTER_DATA_DIR=$cache/jupyter JUPYTER_RUNTIME_DIR=$cache/jupyter
export PYTHONPYCACHEPREFIX=${PYTHONPYCACHEPREFIX:-$cache/pycache}
unset PYTHONDONTWRITEBYTECODE       # the clone stays clean without it, and every process would compile torch anew

if [ -n "$test" ]; then     # an empty store: else nbval would only read what an earlier run left
    FU_RUNS=$(mktemp -d)
    export FU_RUNS
    trap 'rm -rf "$FU_RUNS"' EXIT
    set -- tests "$@"
    [ ! -d notebooks ] || set -- --nbval-lax --nbval-current-env notebooks "$@"
    cores=$("$PY" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
    run "$PY" -m pytest -q -n "${jobs:-$cores}" --dist loadfile --no-loadscope-reorder "$@"
    exit
fi

# ---- the run

select=(--profile "$profile")
[ -z "$only" ] || select+=(--only "$only")
[ -n "$jobs" ] || jobs=$("$PY" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
if [ -n "$dry" ]; then
    show=--dry-run
    [ "$profile" != paper ] || show=--flops
    "$PY" -m workflow.run "${select[@]}" "$show"
    exec "$PY" -m workflow.plan "${select[@]}" -j "$jobs"
fi
export FU_QUIET_END=1       # this script says it
"$PY" -m workflow.run "${select[@]}" --list >/dev/null
FU_RUNS=$("$PY" -c 'from lib.files import runs_root; print(runs_root())')
export FU_RUNS
R=$FU_RUNS/$name
mkdir -p "$R"

exec 9>>"$R/.run.lock"      # inherited by snakemake, so that it is free only when snakemake has ended
held=0
lock 9 10 || held=$?        # seconds: what a killed run has left behind ends by then
[ "$held" != 1 ] || fail "another run_all.sh is at work in $R; wait for it, or end it"
[ "$held" = 0 ] || exit 2
rm -rf "$R"/.snakemake/locks/* "$R"/.snakemake/tmp.*    # holding the lock, any other is left from a run that was killed

if [ -z "${FU_GPUS:-}" ]; then
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then FU_GPUS=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c . || true)
    else FU_GPUS=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU' || true); fi
fi
export FU_GPUS
options=(--cores "$jobs" --keep-going --rerun-incomplete --rerun-triggers mtime params
         --quiet rules reason host)
case " $* " in *" --executor "*) ;; *) options+=(--resources "gpu=$((FU_GPUS * ${FU_JOBS_PER_GPU:-1}))");; esac
quoted=$("$PY" -c 'import sys, urllib.parse; print(urllib.parse.quote(sys.argv[1], ""))' "$profile")
options+=(--config "profile=:$quoted")
[ -z "$only" ] || options+=("only=:$only")

snake() {
    "$PY" -m snakemake --snakefile workflow/Snakefile --directory "$R" "${options[@]}" "$@" 2>&1 \
        | { "$PY" -m workflow.watch "$R/plan.json" >&2 || true; cat >/dev/null; }   # it waits for ever where nobody reads
    return "${PIPESTATUS[0]}"
}

rm -f "$R/plan.json"
run "$PY" -m workflow.plan "${select[@]}" -j "$jobs" --save "$R/plan.json" || true     # an estimate stops no run
status=0
touch "$R/.run.lock"        # what is newer than the lock has failed in this run
run snake "$@" || status=$?
if [ "$status" != 0 ] && [ -n "$(find "$R" -name '*.failed*' -newer "$R/.run.lock" 2>/dev/null | head -n 1)" ]; then
    options+=(rest=yes)     # what waited for a failed notebook goes on without it
    run snake "$@" || true
fi
run "$PY" -m workflow.publish index "${select[@]}" || status=$?
if [ -n "$publish" ]; then
    [ "$status" = 0 ] || fail "nothing is published, since not everything ran (see above)"
    run "$PY" -m workflow.publish copy "${select[@]}" || status=$?
fi
exit "$status"
