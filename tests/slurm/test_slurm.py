"""run_all.sh on a Slurm of one node. By hand, as root on a machine without a Slurm of its own:

    apt install slurm-wlm munge; pip install -e '.[slurm]'
    SLURM_NODE=1 pytest tests/slurm
"""
import os
import subprocess
from pathlib import Path

import pytest
import toy
from processes import Started, wait_for

pytestmark = pytest.mark.skipif("SLURM_NODE" not in os.environ, reason="sets up a Slurm; by hand: SLURM_NODE=1")
NODE = Path(__file__).with_name("node.sh")
SLURM = ("--", "--executor", "slurm", "--jobs", "2", "--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "5")


@pytest.fixture(scope="module", autouse=True)
def node(tmp_path_factory):
    folder = tmp_path_factory.mktemp("node")
    subprocess.run([NODE, "up", folder], check=True)
    yield
    subprocess.run([NODE, "down", folder], check=True)


def run_all(where, *arguments, **env):
    return Started(where, "bash", "run_all.sh", *arguments, *SLURM, **env)


def queue():
    """[(number, state)] of the jobs that Slurm knows."""
    out = subprocess.run(["squeue", "--noheader", "--format", "%i %T"], text=True, capture_output=True, check=True).stdout
    return [tuple(line.split()) for line in out.splitlines()]


def test_quick_01_and_02(tmp_path):
    status, out = run_all(toy.ROOT, "--only", "01,02", FU_RUNS=tmp_path).end(1800)
    assert status == 0 and "2 of 2 notebooks done" in out, out
    pages = {path.stem for path in (tmp_path / "quick/notebooks").glob("*.html")}
    assert pages == {"01_train_fedavg", "02_client_unlearning"}


def test_a_killed_job_is_named_and_the_next_run_goes_on(tmp_path):
    where = toy.clone(tmp_path / "clone")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", compute="import os, time\nopen('started', 'a').write('x')\n"
                 "total = 1\nif not os.path.exists('go'): time.sleep(600)")
    started = run_all(where, "--profile", "more", "--only", "01")
    wait_for((where / "notebooks/started").exists)
    for number, _ in queue():
        subprocess.run(["scancel", "--signal=KILL", "--full", number], check=True)
    status, out = started.end()
    assert status != 0 and "01" in out and "0 of 1 notebooks done" in out, out
    (where / "notebooks/go").write_text("")
    status, out = run_all(where, "--profile", "more", "--only", "01").end()
    assert status == 0 and "1 of 1 notebooks done" in out, out


def test_a_failed_one_is_named_and_stops_nobody_else(tmp_path):
    where = toy.clone(tmp_path / "clone")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show="raise ValueError('too bad')")
    status, out = run_all(where).end()
    assert status != 0 and "01" in out and "1 of 2 notebooks done" in out, out
    assert (where / "runs/quick/notebooks/01_toy.failed.ipynb").exists()


def test_jobs_ask_for_a_gpu_where_the_user_says_that_nodes_have_one(tmp_path):
    where = toy.clone(tmp_path / "clone")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show="import os\nprint('GPU', os.environ.get('CUDA_VISIBLE_DEVICES'))")
    status, out = run_all(where, "--only", "01", FU_GPUS="1").end()
    assert status == 0, out
    assert "GPU 0" in (where / "runs/quick/notebooks/01_toy.ipynb").read_text()


def test_an_interrupted_run_takes_its_jobs_out_of_the_queue(tmp_path):
    where = toy.clone(tmp_path / "clone")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", compute="import time\nopen('started', 'a').write('x')\ntime.sleep(600)")
    started = run_all(where, "--profile", "more", "--only", "01")
    wait_for((where / "notebooks/started").exists)
    started.signal(15)
    status, out = started.end()
    assert status == 143 and "interrupted; run again to resume" in out, out
    wait_for(lambda: not [state for _, state in queue() if state == "RUNNING"])
