"""Ctrl-C and SIGTERM: one line, nothing left running, nothing half-written, and the next run goes on."""
import re
import signal
import subprocess
import sys

import pytest
import toy
from processes import Started, by_hand, hear_signals, temporary, wait_for

LINE = "interrupted; run again to resume"
SLEEP = "import os, time\nopen('started', 'a').write('x')\ntotal = 1\nif not os.path.exists('go'): time.sleep(600)"
RUN_ALL = ("bash", "run_all.sh", "--only", "01", "-j", "2")
MODULE = (sys.executable, "-m")
COMMANDS = {
    "kernel": (*RUN_ALL, "--profile", "quick"),
    "jobs": (*RUN_ALL, "--profile", "more"),
    "run": (*MODULE, "workflow.run", "--only", "01"),
    "execute": (*MODULE, "workflow.execute", "notebooks/01_toy.ipynb", "runs/quick/notebooks/01_toy.ipynb", "--profile", "quick"),
}


@pytest.fixture
def clone(tmp_path):
    where = toy.clone(tmp_path / "clone")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", compute=SLEEP)
    return where


@pytest.mark.parametrize("command, number, group, times", [
    ("kernel", signal.SIGINT, True, 2), ("jobs", signal.SIGTERM, False, 1), ("run", signal.SIGINT, True, 2),
    ("execute", signal.SIGTERM, False, 1), pytest.param("kernel", signal.SIGTERM, True, 1, marks=by_hand),
    pytest.param("jobs", signal.SIGTERM, True, 1, marks=by_hand), pytest.param("jobs", signal.SIGINT, True, 1, marks=by_hand),
    pytest.param("execute", signal.SIGINT, True, 2, marks=by_hand)])
def test_a_signal(clone, command, number, group, times):
    started = Started(clone, *COMMANDS[command])
    wait_for((clone / "notebooks/started").exists)
    for _ in range(times):
        started.signal(number, group)
    status, out = started.end()
    assert status == 128 + number, out
    assert [line for line in out.splitlines() if not re.search(r": started$|^\d+ jobs? to do", line)] == [LINE]
    assert not started.left()
    assert not temporary(clone) and not list(clone.rglob("*.failed*"))
    (clone / "notebooks/go").write_text("")
    if group or command == "execute":
        status, out = Started(clone, *COMMANDS[command]).end()
        assert status == 0 and "at work" not in out, out


@by_hand
def test_kill_9_of_the_script_alone(clone):
    started = Started(clone, *COMMANDS["jobs"])
    wait_for((clone / "notebooks/started").exists)
    started.signal(signal.SIGKILL)
    started.end()
    assert not started.left()
    (clone / "notebooks/go").write_text("")
    status, out = Started(clone, *COMMANDS["jobs"]).end()
    assert status == 0 and not temporary(clone), out


@by_hand
def test_two_clones_share_a_folder_of_runs(clone, tmp_path):
    other = toy.clone(tmp_path / "other")
    toy.notebook(other / "notebooks/01_toy.ipynb", "01", compute=SLEEP)
    (other / "notebooks/go").write_text("")
    first = Started(clone, *COMMANDS["jobs"], FU_RUNS=tmp_path / "runs")
    wait_for((clone / "notebooks/started").exists)
    status, out = Started(other, *COMMANDS["jobs"], FU_RUNS=tmp_path / "runs").end()
    assert status == 2 and f"another run_all.sh is at work in {tmp_path}/runs/more" in out
    first.signal(signal.SIGTERM)
    first.end()
    assert Started(other, *COMMANDS["jobs"], FU_RUNS=tmp_path / "runs").end()[0] == 0
    made = tmp_path / "runs/more/notebooks/01_toy.ipynb"
    before = made.stat().st_mtime_ns
    assert Started(clone, *COMMANDS["jobs"], FU_RUNS=tmp_path / "runs").end()[0] == 0
    assert made.stat().st_mtime_ns == before            # the same source, values and code: nothing is done twice


def test_ctrl_c_while_modules_are_imported():
    for module in ("run", "execute", "publish"):
        code = (f"import os, runpy, signal, sys\nimport workflow\nsys.argv = ['{module}', 'index']\n"
                "class Finder:\n    def find_spec(self, name, *rest):\n"
                "        if name == 'lib': os.kill(os.getpid(), signal.SIGINT)\n"
                f"sys.meta_path.insert(0, Finder())\nrunpy.run_module('workflow.{module}', run_name='__main__')")
        done = subprocess.run([sys.executable, "-c", code], cwd=toy.ROOT, text=True, capture_output=True,
                              preexec_fn=hear_signals)
        assert (done.returncode, done.stderr) == (130, LINE + "\n"), module
