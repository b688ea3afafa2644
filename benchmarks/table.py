"""Run the benchmarks and write what they print into benchmarks/README.md, with the machine named.

    python benchmarks/table.py [engine curvature ...]       # those; the others' sections stay as they are

Each section names the load of the machine when it began: the mean number of processes that wanted a core, in the last
minute and in the last quarter of an hour. Above the number of cores, caches and memory were shared with others.
"""
import datetime
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
PAGE = HERE / "README.md"
RUNS = {        # section: (what it asks, command)
    "engine": ("What does federation cost?", "engine.py"),
    "curvature": ("What does a pass of curvature cost?", "curvature.py --samples 256 --repeats 3"),
    "evaluation": ("How many images at once, and in which layout?", "evaluation.py"),
    "startup": ("How long until something is computed, and how long does all of quick take?", "startup.py --whole"),
    "results": ("How do reading results and drawing curves grow?", "results.py --times 1 10"),
    "bf16": ("What does bfloat16 move, and what does it save?", "bf16.py --rounds 12"),
    "steps": ("How long is a step of the papers' nets, eager and captured, in every precision?", "steps.py"),
}
HEAD = """# Benchmarks

What `python benchmarks/table.py` measured last; of each section the command stands above it. Times are CPU time of one
thread, candidates interleaved in one process (those of `startup` are processes of their own), as median (min to max);
compare ratios, not seconds. Where the load is above the number of cores, the machine was shared with other work: ratios
hold, seconds are too long. `steps` is of a GPU, in time that passed until it was done.
"""


def machine():
    """This machine in a line."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*: (.*)", info.read_text())
        cpu = found[1] if found else cpu
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{cpu}, {os.cpu_count()} cores, {device}; Python {platform.python_version()}, torch {torch.__version__}"


def load():
    """How busy the machine is, in words."""
    minute, _, quarter = os.getloadavg()
    return f"load {minute:.0f} (last quarter of an hour {quarter:.0f})"


def section(name):
    """Run one benchmark; its section of the page."""
    question, command = RUNS[name]
    busy = load()
    done = subprocess.run([sys.executable, *(HERE / command).as_posix().split()], cwd=HERE.parent, text=True,
                          capture_output=True, env=dict(os.environ, PYTHONPATH=str(HERE.parent), OMP_NUM_THREADS="1"))
    if done.returncode:
        sys.exit(f"{command}: {done.stderr[-2000:]}")
    shown = done.stdout.replace(str(HERE.parent), ".").rstrip()
    return (f"## {name}: {question}\n\n`python benchmarks/{command}`, {datetime.date.today()}, {machine()}, {busy}\n\n"
            f"```\n{shown}\n```\n")


def sections(page):
    """`{name: text}` of the sections of the page."""
    parts = re.split(r"^(?=## )", page, flags=re.M)[1:]
    return {part[3:part.index(":")]: part for part in parts}


def main():
    wanted = sys.argv[1:] or list(RUNS)
    unknown = [name for name in wanted if name not in RUNS]
    if unknown:
        sys.exit(f"table.py: no benchmark {unknown[0]!r}; there are {', '.join(RUNS)}")
    for name in wanted:
        new = section(name)
        found = sections(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        found[name] = new
        texts = [found[each].rstrip() + "\n" for each in RUNS if each in found]
        PAGE.write_text("\n".join([HEAD, *texts]), encoding="utf-8")
        print(f"{name}: written", flush=True)


if __name__ == "__main__":
    main()
