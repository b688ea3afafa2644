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
lock() { "$PY" -c 'import fcntl, sys; fcntl.flock(int(sys.argv[1]), fcntl.LOCK_EX | int(sys.argv[2]) * fcntl.LOCK_NB)' "$@" 2>/dev/null; }

install() {
    local prefix stamp
    prefix=$("$PY" -c 'import sys; print(sys.prefix)')
    stamp=$("$PY" -c 'import hashlib, sys; print(hashlib.sha256(open("pyproject.toml", "rb").read()).hexdigest(), sys.argv[1])' "$ROOT")
    [ "$(cat "$prefix/.repro-stamp" 2>/dev/null)" != "$stamp" ] || return 0
    exec 8>"$prefix/.repro-lock"
    lock 8 0
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
[ -n "${REPRO_NO_INSTALL:-}" ] || install

# ---- what every run sees: one thread a job, caches inside the clone, kernels of this environment

unset JUPYTER_PREFER_ENV_PATH
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 PYTHONUNBUFFERED=1
export PYTHONPATH=$ROOT${PYTHONPATH:+:$PYTHONPATH}
cache=$ROOT/runs/.cache
mkdir -p "$cache"
export XDG_CACHE_HOME=$cache IPYTHONDIR=$cache/ipython MPLCONFIGDIR=$cache/matplotlib
export JUPYTER_CONFIG_DIR=$cache/jupyter JUPYTER_DATA_DIR=$cache/jupyter JUPYTER_RUNTIME_DIR=$cache/jupyter
case ${FU_RUNS:-} in ''|/*) ;; *) export FU_RUNS=$ROOT/$FU_RUNS;; esac

if [ -n "$test" ]; then     # an empty store: else nbval would only read what an earlier run left
    FU_RUNS=$(mktemp -d)
    export FU_RUNS
    trap 'rm -rf "$FU_RUNS"' EXIT
    set -- tests "$@"
    [ ! -d notebooks ] || set -- --nbval-lax --nbval-current-env notebooks "$@"
    cores=$("$PY" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
    "$PY" -m pytest -q -n "${jobs:-$cores}" --dist loadfile "$@"
    exit
fi

# ---- the run

R=${FU_RUNS:-$ROOT/runs}/$name
select=(--profile "$profile")
[ -z "$only" ] || select+=(--only "$only")
if [ -n "$dry" ]; then
    if [ "$profile" = paper ]; then select+=(--flops); else select+=(--dry-run); fi
    exec "$PY" -m workflow.run "${select[@]}"
fi
"$PY" -m workflow.run "${select[@]}" --list >/dev/null

exec 9>.run.lock            # inherited by snakemake, so that it is free only when snakemake has ended
lock 9 1 || fail "another run_all.sh is at work in this folder; wait for it, or end it"
rm -rf .snakemake/locks/*   # holding the lock, any other is left from a run that was killed

if [ -z "${FU_GPUS:-}" ]; then
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then FU_GPUS=$(echo "$CUDA_VISIBLE_DEVICES" | tr ',' '\n' | grep -c . || true)
    else FU_GPUS=$( (nvidia-smi -L 2>/dev/null || true) | grep -c '^GPU' || true); fi
fi
export FU_GPUS
[ -n "$jobs" ] || jobs=$("$PY" -c 'import os; print(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())')
options=(--cores "$jobs" --keep-going --rerun-incomplete --rerun-triggers mtime params
         --quiet rules reason host progress)
case " $* " in *" --executor "*) ;; *) options+=(--resources "gpu=$((FU_GPUS * ${FU_JOBS_PER_GPU:-1}))");; esac
options+=(--config "profile=$profile")
[ -z "$only" ] || options+=("only=:$only")

noise='^(Assuming unrestricted|Building DAG|Using shell:|Select jobs|Execute [0-9]+ jobs|Elapsed time|RuleException|'
noise+='CalledProcessError|Command .set -euo|Exiting because|WorkflowError:|At least one job did not|Complete log|'
noise+='Trying to restart|Nothing to be done)'
snake() {
    "$PY" -m snakemake --snakefile workflow/Snakefile --directory "$ROOT" "${options[@]}" "$@" 2>&1 | (trap '' INT; exec grep --line-buffered -v -E "$noise" >&2)
    return "${PIPESTATUS[0]}"
}

status=0
date >&9                    # what is newer than the lock has failed in this run
snake "$@" || status=$?
if [ "$status" != 0 ] && [ -n "$(find "$R" -name '*.failed*' -newer .run.lock 2>/dev/null | head -n 1)" ]; then
    options+=(rest=yes)     # what waited for a failed notebook goes on without it
    snake "$@" || true
fi
"$PY" -m workflow.publish index "${select[@]}" || status=$?
if [ -n "$publish" ]; then
    [ "$status" = 0 ] || fail "nothing is published, since not everything ran (see above)"
    "$PY" -m workflow.publish copy "${select[@]}" || status=$?
fi
exit "$status"
