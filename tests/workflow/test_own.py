"""The worked extension in examples/own runs like any profile: by jobs, and as a notebook with two seeds."""
import csv
import os
import subprocess
import sys

import pytest

from lib.files import ROOT


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    env = {**os.environ, "FU_RUNS": str(folder / "runs"), "FU_DATA": str(folder / "data"), "PYTHONPATH": str(ROOT)}

    def python(*arguments):
        done = subprocess.run([sys.executable, "-m", *map(str, arguments)], cwd=ROOT, env=env, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout
    python.runs = folder / "runs/own"
    return python


def test_it_is_listed(call):
    out = call("workflow.run", "--profile", "examples/own/own.yaml", "--dry-run")
    assert "02.own_digits" in out and "Shrink" in out and not call.runs.exists()


def test_it_runs_as_jobs_and_as_a_notebook(call):
    call("workflow.run", "--profile", "examples/own/own.yaml")
    assert sorted(f.name for f in (call.runs / "jobs").iterdir()) == ["02.own_digits.s0.done", "02.own_digits.s1.done"]
    [source] = ROOT.glob("notebooks/02_*.ipynb")
    call("workflow.execute", source, call.runs / f"notebooks/{source.name}", "--profile", "examples/own/own.yaml")
    with open(call.runs / "results/02.csv", encoding="utf-8") as table:
        rows = [row for row in csv.DictReader(table) if row["method"] == "Shrink"]
    assert {row["seed"] for row in rows} == {"0", "1"} and {row["dataset"] for row in rows} == {"own_digits"}
    assert (call.runs / "figures/02_curves.png").exists()
