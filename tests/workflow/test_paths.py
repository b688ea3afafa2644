"""Clones, Pythons, profiles and folders of runs with names that shells and patterns read otherwise."""
import shutil
import sys
import venv
from pathlib import Path

import toy

ODD = "My 'own' {clone} \"x\" $HOME"


def test_a_clone_and_a_python_at_an_odd_path_with_a_profile_of_digits(tmp_path):
    where = toy.clone(tmp_path / ODD)
    shutil.move(where / "params/more.yaml", where / "params/007.yaml")
    venv.create(where / ".venv", symlinks=True, with_pip=False)
    [packages] = (where / ".venv/lib").glob("python*/site-packages")
    (packages / "all.pth").write_text("\n".join(p for p in sys.path if p.endswith("site-packages")) + "\n")
    (where / ".venv/share").symlink_to(Path(sys.prefix) / "share")
    env = {"REPRO_PYTHON": str(where / ".venv/bin/python"), "FU_RUNS": "a {b} 'c'"}
    status, out = toy.call(where, "bash", "run_all.sh", "--profile", "007", "--only", "02.a", "-j", "2", **env)
    assert status == 0, out
    runs = where / "a {b} 'c'/007"
    assert {f.name for f in (runs / "notebooks").iterdir()} >= {"02_toy.ipynb", "02_toy.html"}
    assert "1 of 1 notebooks done" in out and (runs / "index.html").exists()
    assert not (where / "runs/007").exists() and not (where / "runs/7").exists()


def test_the_script_and_the_library_agree_about_a_home(tmp_path):
    where = toy.clone(tmp_path / "clone")
    status, out = toy.call(where, "bash", "run_all.sh", "--only", "01", FU_RUNS="~/of mine", HOME=str(tmp_path))
    assert status == 0 and Path(tmp_path / "of mine/quick/notebooks/01_toy.ipynb").exists(), out
    assert not (where / "~").exists()
