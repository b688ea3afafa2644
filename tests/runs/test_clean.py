"""What nobody needs is found and deleted; what is asked for, or held, stays."""
import os
import subprocess
import sys
import time

import pytest
from conftest import TINY, tiny

import lib
from lib.files import locked
from lib.runs import clean
from lib.runs.run import run_key, training_key
from lib.runs.store import Slot

METHODS = {"FT": {}, "NoT/strong": {"scale": -2.0}}


def profile(seeds=(0,), methods=METHODS, **changes):
    return {"profile": "quick", "seeds": list(seeds), "seeds_of": {},
            "notebooks": {"02": {"tiny": {**TINY, "rounds": 1, "unlearn_rounds": 1, "methods": methods, **changes}}}}


@pytest.fixture
def filled(store):
    task = tiny(rounds=1, unlearn_rounds=1, methods=METHODS)
    lib.run_all([task], store)
    return task, store


def kinds(store, *profiles):
    return sorted((w.path.parent.name, w.why) for w in clean.waste(store.root, profiles))


def test_what_a_setting_asks_for_stays(filled):
    task, store = filled
    assert kinds(store, profile()) == []
    assert kinds(store, profile(gammas=[1], threads=2, device="cpu", methods=METHODS | {"GA": {}})) == []


WHY = "no setting of any profile asks for it"


@pytest.mark.parametrize("changes,gone", [
    ({"seeds": (1,)}, ["runs", "runs", "training"]), ({"lr": 0.2}, ["runs", "runs", "training"]),
    ({"methods": {"FT": {}}}, ["runs"]), ({"methods": {"FT": {}, "NoT": {"scale": -3.0}}}, ["runs"])])
def test_what_no_setting_asks_for_any_more_goes(filled, changes, gone):
    task, store = filled
    found = clean.waste(store.root, [profile(**changes)])
    assert sorted(w.path.parent.name for w in found) == gone and {w.why for w in found} == {WHY}
    assert kinds(store, profile(**changes), profile()) == []        # some other profile asks
    assert all(w.bytes > 0 for w in found) and clean.remove(found, store.root) == sum(w.bytes for w in found)
    assert not any(w.path.exists() for w in found) and kinds(store, profile(**changes)) == []


def test_an_entry_of_older_code_goes_and_the_one_used_last_stays(filled):
    task, store = filled
    old = {**training_key(task), "code": "older"}
    store.save("training", old, {"curve": []})
    store.asked("training", old, {"setting": "task", "seed": 0, "settings": {}})
    os.utime(store.folder("training", old) / "asked.json", (1, 1))
    [(kind, why)] = kinds(store, profile())
    assert kind == "training" and why == "made by code of the past"
    [found] = clean.waste(store.root, [profile()])
    assert found.path == store.folder("training", old)


def test_checkpoints_that_can_be_resumed_stay_and_tensors_of_nothing_go(store):
    task = tiny(rounds=1, unlearn_rounds=1)
    key = run_key(task, "FT", {}, 1, 1)
    slot = Slot(store, "runs", key)
    slot.checkpoint(1, {"curve": []}, {"state": task.init("a")})
    by = {k: v for k, v in task.settings.items() if k not in clean.NOT_OF_A_TASK}
    store.asked("runs", key, {"setting": "tiny", "seed": 0, "settings": by})
    assert kinds(store, profile()) == []
    (store.folder("runs", key) / "part.json").unlink()
    assert kinds(store, profile()) == [("runs", "tensors of nothing")]


def test_temporary_files_of_dead_processes_go(filled):
    task, store = filled
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = store.folder("training", training_key(task))
    for process in (dead.pid, os.getpid()):
        for age in (0, 7200):
            path = folder / f".state.{process}.{age}.part"
            path.write_text("x")
            os.utime(path, (time.time() - age,) * 2)
    [found] = clean.waste(store.root, [profile()])
    assert found.path.name == f".state.{dead.pid}.7200.part" and found.bytes == 1


def test_what_a_lock_holds_is_left_alone(filled):
    task, store = filled
    folder = store.folder("training", training_key(task))
    before = clean.waste(store.root, [])
    assert folder in [w.path for w in before]
    with locked(f"{folder}.lock"):
        script = ("import sys; from lib.runs import clean; root = sys.argv[1]; found = clean.waste(root, []);"
                  "print(*[w.path for w in found]); clean.remove(found, root)")
        out = subprocess.run([sys.executable, "-c", script, str(store.root)], capture_output=True, text=True)
        assert out.returncode == 0 and str(folder) not in out.stdout and out.stdout.strip()
    assert folder.exists() and not any(w.path.exists() for w in before if w.path != folder)


def test_the_command_asks_first(tmp_path, monkeypatch, capsys):
    from workflow import run
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    store = lib.Store(tmp_path / "quick" / "store")
    lib.train(tiny(rounds=1), store)
    lib.train(tiny(rounds=1), lib.Store(tmp_path / "elsewhere" / "store"))
    monkeypatch.setattr("builtins.input", lambda text: "n")
    assert run.main(["--clean"]) == 0
    said = capsys.readouterr().out
    assert WHY in said and "kB" in said and list(store.root.rglob("record.json"))
    assert run.main(["--clean", "--yes"]) == 0 and not list(store.root.rglob("record.json"))
    said = capsys.readouterr().out
    assert "MB freed" in said and "elsewhere" in said and list((tmp_path / "elsewhere").rglob("record.json"))
