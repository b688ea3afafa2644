"""Seconds that commands take before they compute anything, and whole commands.

    python benchmarks/startup.py [--repeats 5] [--whole]

CPU time of the processes started, children included, interleaved: median (min to max) in seconds. --whole: also quick
notebook 01, the papers' nine and the four of our own, each of the three once into an empty store: minutes.
"""
import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from clock import spread

ROOT = Path(__file__).resolve().parents[1]
PY = sys.executable
COMMANDS = {
    "python -c pass": [PY, "-c", "pass"],
    "import lib": [PY, "-c", "import lib"],
    "import torch": [PY, "-c", "import torch"],
    "import lib, and one task": [PY, "-c", "import lib; lib.make_task({'dataset': 'digits'}, 0)"],
    "workflow.run --help": [PY, "-m", "workflow.run", "--help"],
    "workflow.run --dry-run": [PY, "-m", "workflow.run", "--profile", "paper", "--dry-run"],
    "run_all.sh --dry-run": ["./run_all.sh", "--dry-run"],
}
WHOLE = {
    "run_all.sh --only 01": ["./run_all.sh", "--only", "01", "-j", "1"],
    "run_all.sh, 01 to 09": ["./run_all.sh", "-j", "1", "--only", ",".join(f"{n:02}" for n in range(1, 10))],
    "run_all.sh, 10 to 13": ["./run_all.sh", "-j", "1", "--only", "10,11,12,13"],
}


def seconds(command, **env):
    """CPU seconds of a command and all that it starts and waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "REPRO_PYTHON": PY, "REPRO_NO_INSTALL": "1", **env}
    subprocess.run(command, cwd=ROOT, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--whole", action="store_true", help="whole runs of quick notebooks, too")
    args = parser.parse_args()
    found = {name: [] for name in COMMANDS}
    for i in range(args.repeats + 1):
        for name, command in COMMANDS.items():
            took = seconds(command)
            if i:       # the first fills the caches
                found[name].append(took)
    for name, values in found.items():
        print(f"{name:26} {spread(values, digits=2):>24} s", flush=True)
    for name, command in WHOLE.items() if args.whole else ():
        with tempfile.TemporaryDirectory() as empty:
            print(f"{name:26} {seconds(command, FU_RUNS=empty):24.1f} s", flush=True)


if __name__ == "__main__":
    main()
