"""run_all.sh on a toy copy of the repository, in the environment of the tests."""
import os
import signal
import subprocess
import time

import pytest
import toy


def run_all(where, *arguments, **env):
    return toy.call(where, "bash", "run_all.sh", *arguments, **env)


def test_help_and_wrong_usage(tmp_path):
    where = toy.clone(tmp_path)
    status, out = run_all(where, "--help")
    assert status == 0 and all(f in out for f in ("--profile", "--only", "-j", "--dry-run", "--test", "--publish"))
    for arguments, words in ((["--foo"], "unknown option --foo"), (["--profile", "quik"], "no profile 'quik'; there are"),
                             (["-j", "many"], "-j needs a whole number"), (["--only"], "--only needs a value"),
                             (["--only", "7"], "no notebook '07'")):
        status, out = run_all(where, *arguments)
        assert status == 2 and words in out and out.count("\n") == 1, out
    old = where / "old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    status, out = run_all(where, REPRO_PYTHON=str(old))
    assert status == 2 and "is not a Python of version 3.11 or newer" in out
    status, out = run_all(where, "--dry-run", "--profile", "more")
    assert status == 0 and "02.b" in out
    assert not (where / "runs/more").exists()


def test_a_failure_stops_nobody_else_and_a_second_run_does_nothing(tmp_path):
    where = toy.clone(tmp_path)
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show="raise ValueError('too bad')")
    status, out = run_all(where, "-j", "2", "--publish")
    assert status != 0 and "01_toy FAILED: cell 3: ValueError: too bad" in out and "nothing is published" in out
    assert out.count("\n") < 12, out
    folder = where / "runs/quick/notebooks"
    assert (folder / "01_toy.failed.ipynb").exists() and (folder / "02_toy.ipynb").exists()
    toy.notebook(where / "notebooks/01_toy.ipynb", "01")
    second = (folder / "02_toy.ipynb").stat().st_mtime_ns
    status, out = run_all(where, "--publish", "--only", "1")
    assert status == 0 and "01_toy: done" in out and "02_toy" not in out and "published" in out, out
    status, out = run_all(where)
    assert status == 0 and "toy" not in out and "2 of 2 notebooks done" in out     # publishing reruns nothing
    assert (folder / "02_toy.ipynb").stat().st_mtime_ns == second
    text = (where / "notebooks/02_toy.ipynb").read_text()
    (where / "notebooks/02_toy.ipynb").write_text(text.replace("More follows", "Much more follows"))
    status, out = run_all(where, "--publish")
    assert status == 0 and "02_toy: done" in out and "01_toy" not in out, out    # a new text is a new page


def test_a_killed_run_is_resumed(tmp_path):
    where = toy.clone(tmp_path)
    toy.notebook(where / "notebooks/02_toy.ipynb", "02",
                 compute="import os, time\nopen('started', 'a').write('x')\n"
                         "total = 1\nif not os.path.exists('go'): time.sleep(60)")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FU_")}
    env |= {"REPRO_PYTHON": toy.sys.executable, "REPRO_NO_INSTALL": "1"}
    p = subprocess.Popen(["bash", "run_all.sh", "--profile", "more", "--only", "02", "-j", "1"], cwd=where, env=env,
                         start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(6000):           # a loaded machine takes its time to start
        if (where / "notebooks/started").exists():
            break
        time.sleep(0.05)
    status, out = run_all(where, "--profile", "more")
    assert status == 2 and "another run_all.sh is at work" in out
    os.killpg(p.pid, signal.SIGKILL)
    p.wait()
    assert not list((where / "runs/more").rglob("*.done")) and not list((where / "runs/more").rglob("*.ipynb"))
    (where / "notebooks/go").write_text("")
    status, out = run_all(where, "--profile", "more", "--only", "02", "-j", "2")
    assert status == 0, out
    assert len(list((where / "runs/more/jobs").glob("*.done"))) == 4
    assert (where / "runs/more/notebooks/02_toy.ipynb").exists()


def test_a_profile_elsewhere_with_parts_of_its_own(tmp_path):
    where = toy.clone(tmp_path / "clone")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "own.yaml").write_text("extensions: [ours.py]\nseeds: [0, 1]\nnotebooks: {01: {a: {methods: {Ours: {by: 2}}}}}\n")
    ours = "from lib.registry import METHODS\n\n\ndef ours(task, trained, *, by=1):\n    yield\n\n\nMETHODS.named('Ours')(ours)\n"
    (mine / "ours.py").write_text(ours)
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", compute="from lib.settings import check\ntotal = check(settings)")
    profile = ("--profile", mine / "own.yaml")
    status, out = run_all(where, *profile, "--dry-run")
    assert status == 0 and "01.a" in out and "Ours" in out, out
    status, out = run_all(where, *profile, "-j", "2")
    assert status == 0 and "01_toy: done" in out, out               # jobs and kernel know the method
    assert {f.name for f in (where / "runs/own/jobs").iterdir()} == {"01.a.s0.done", "01.a.s1.done"}
    status, out = run_all(where, *profile)
    assert status == 0 and "01_toy: done" not in out, out
    (mine / "ours.py").write_text(ours.replace("yield", "yield 1"))
    status, out = run_all(where, *profile)
    assert status == 0 and "01_toy: done" in out, out               # other code is another result
    status, out = run_all(where, "--profile", mine / "gone.yaml")
    assert status == 2 and "no profile" in out and out.count("\n") == 1, out


@pytest.mark.skipif(not (toy.ROOT / ".git").exists(), reason="not a checkout")
def test_nothing_a_run_leaves_is_tracked():
    for path in ("runs/quick/index.html", "data/x.npz", ".snakemake/log", ".venv/bin/python", ".run.lock"):
        assert subprocess.run(["git", "check-ignore", "-q", path], cwd=toy.ROOT).returncode == 0, path


def test_a_run_goes_on_when_nobody_reads_what_it_says(tmp_path):
    where = toy.clone(tmp_path)
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", compute="import time\ntotal = 1\ntime.sleep(5)")
    env = {k: v for k, v in os.environ.items() if not k.startswith("FU_")}
    env |= {"REPRO_PYTHON": toy.sys.executable, "REPRO_NO_INSTALL": "1"}
    p = subprocess.Popen(["bash", "run_all.sh", "--profile", "more"], cwd=where, env=env, start_new_session=True,
                         stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    p.stdout.readline()
    p.stdout.close()
    p.wait(300)
    made = sorted(path.name for path in (where / "runs/more/notebooks").glob("*.html"))
    assert made == ["01_toy.html", "02_toy.html"]
