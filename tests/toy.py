"""A small copy of the repository with toy notebooks, to run the tools on."""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETTING = {"dataset": "digits", "lr": 0.1, "joins": {1: 2}, "methods": {}}
TEXT = "# Toy {n}\n\nShows **that** $\\theta_0 * x$ and $y * 2$ hold. More follows.\n\n$$\\frac{{1}}{{2}}$$\n\nIt costs $5 or $6."


def cell(source, *tags):
    kind = "markdown" if source.startswith("#") else "code"
    rest = {} if kind == "markdown" else {"outputs": [], "execution_count": None}
    return {"cell_type": kind, "id": f"c{abs(hash(source)) % 10**8}", "source": source, **rest,
            "metadata": {"tags": list(tags)} if tags else {}}


def notebook(path, n, compute="total = [v['lr'] + s for v in settings.values() for s in seeds]", show="print(total)"):
    first = f"profile = 'quick'\nseeds = [0]\nsettings = {{'a': {SETTING!r}}}"
    cells = [cell(TEXT.format(n=n)), cell(first, "parameters"), cell(compute, "compute"), cell(show),
             cell("# Make it yours")]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))


def clone(where):
    """Two notebooks; quick: one seed each, more: two settings at two seeds."""
    for folder in ("lib/runs", "lib/report", "params", "notebooks", "workflow"):
        (where / folder).mkdir(parents=True)
    for path in (*ROOT.glob("lib/*.py*"), *ROOT.glob("lib/runs/__init__.py"), *ROOT.glob("lib/runs/progress.py"),
                 *ROOT.glob("lib/report/__init__.py"), *ROOT.glob("lib/report/png.py"), *ROOT.glob("workflow/*")):
        if path.is_file():
            shutil.copy(path, where / path.relative_to(ROOT))
    for name in ("run_all.sh", "pyproject.toml"):
        shutil.copy(ROOT / name, where)
    a = "{dataset: digits, lr: 1e-1, joins: {1: 2}, methods: {}}"
    (where / "params/quick.yaml").write_text(f"seeds: [0]\nnotebooks:\n  01: {{a: &a {a}}}\n  02: {{a: *a}}\n")
    (where / "params/more.yaml").write_text(
        f"seeds: [0, 1]\nnotebooks:\n  01: {{a: &a {a}}}\n  02: {{a: *a, b: {{<<: *a, lr: 0.2}}}}\n  03: {{a: *a}}\n")
    for n in ("01", "02"):
        notebook(where / "notebooks" / f"{n}_toy.ipynb", n)
    return where


def call(where, *command, **env):
    """Run a command in the copy with this interpreter; (exit status, all output)."""
    env = {**{k: v for k, v in os.environ.items() if not k.startswith("FU_")}, "REPRO_PYTHON": sys.executable,
           "REPRO_NO_INSTALL": "1", "PYTHONPATH": str(where),
           "PYTHONPYCACHEPREFIX": str(ROOT / "runs/.cache/pycache"), **env}
    done = subprocess.run([str(c) for c in command], cwd=where, env=env, text=True, capture_output=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def python(where, module, *arguments, **env):
    return call(where, sys.executable, "-m", module, *arguments, **env)
