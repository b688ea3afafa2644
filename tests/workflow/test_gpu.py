"""The kit for a lent GPU, rehearsed on the CPU: what fits, what is carried home, and what is made of it there."""
import json
import subprocess
import sys
import time

import pytest
import toy
from processes import wait_for

from lib.errors import Bad
from lib.profiles import load
from lib.runs.store import Store
from workflow import gpu as kit, portable
from workflow.estimate import like, measured, work

SETTING = ("{dataset: digits, model: small_cnn, width: 2, n_train: 120, n_test: 60, clients: 2, rounds: 2, "
           "unlearn_rounds: 2, every: 1, mia_draws: 2, methods: {Retrain: {}, NoT: {}}}")
TINY = {"dataset": "digits", "n_train": 120, "n_test": 60, "model": "small_cnn", "clients": 2, "batch_size": 20,
        "rounds": 3, "unlearn_rounds": 6, "every": 3, "val_share": 0.0}


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "lent.yaml"
    path.write_text(f"seeds: [0, 1]\nnotebooks: {{02: {{tiny: {SETTING}}}}}\n")
    return path


@pytest.fixture
def full(tmp_path):
    """A store with a result, a checkpoint, and a file that takes more than one piece."""
    import torch
    store = Store(tmp_path / "store")
    store.save("runs", {"a": 1}, {"curve": [1.0]})
    store.save("training", {"b": 1}, {}, {"final": {"w": torch.arange(100.0)}})
    store.save("training", {"c": 1}, {"number": 3}, {"part_state_3": {"w": torch.zeros(3)}}, mark="part")
    return store


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_what_is_packed_and_merged_is_what_was_there(full, tmp_path, monkeypatch):
    monkeypatch.setattr(portable, "PIECE", 100)
    entries, size = portable.pack(full.root, tmp_path / "packed")
    assert entries == 3 and size == sum(map(len, contents(full.root).values()))
    assert max(len(data) for name, data in contents(tmp_path / "packed").items() if portable.LIST not in name) == 100
    assert portable.merge(tmp_path / "packed", tmp_path / "other") == (3, 0)
    assert contents(tmp_path / "other") == contents(full.root)
    assert portable.merge(tmp_path / "packed", tmp_path / "other") == (0, 3)


def test_results_alone(full, tmp_path):
    """A run's result has its last model beside it, which a figure may ask for; a checkpoint of a run has not ended."""
    import torch
    w = {"w": torch.arange(3.0)}
    full.save("runs", {"d": 1}, {"curve": [2.0]}, {"final": w})
    full.save("runs", {"e": 1}, {"number": 3}, {"part_state_3": w}, mark="part")
    full.save("curvature", {"f": 1}, {}, {"all": w})
    full.save("sweep", {"g": 1}, {"points": []})
    assert portable.pack(full.root, tmp_path / "packed", states=False)[0] == 3
    portable.merge(tmp_path / "packed", tmp_path / "other")
    there = Store(tmp_path / "other")
    assert there.load("runs", {"a": 1}) and there.load("sweep", {"g": 1})
    assert torch.equal(there.load("runs", {"d": 1}).tensors("final")["w"], w["w"])
    assert {path.name for path in (tmp_path / "other").iterdir()} == {"runs", "sweep"}
    assert not list((tmp_path / "other").rglob("part.json"))


def test_a_result_takes_the_place_of_a_checkpoint_and_never_the_other_way_round(full, tmp_path):
    portable.pack(full.root, tmp_path / "checkpoint")
    full.save("training", {"c": 1}, {"done": True})
    portable.pack(full.root, tmp_path / "result")
    other = Store(tmp_path / "other")
    assert portable.merge(tmp_path / "checkpoint", other.root) == (3, 0)
    assert other.load("training", {"c": 1}, "part") and other.load("training", {"c": 1}) is None
    assert portable.merge(tmp_path / "result", other.root) == (1, 2)
    assert portable.merge(tmp_path / "checkpoint", other.root) == (0, 3)
    assert other.load("training", {"c": 1}).record == {"done": True}
    assert contents(other.root) == contents(full.root)


@pytest.mark.parametrize("spoil, words", [
    (lambda p: p.unlink(), "is missing"), (lambda p: p.write_bytes(b"x" + p.read_bytes()[1:]), "damaged"),
    (lambda p: (p.parent / portable.LIST).write_text("{"), "no list of packed files"),
    (lambda p: (p.parent / portable.LIST).write_text('{"../x": {"sha256": "a", "pieces": 1}}'), "no list of packed files")])
def test_what_is_damaged_on_the_way_is_not_taken(full, tmp_path, spoil, words):
    portable.pack(full.root, tmp_path / "packed")
    spoil(next((tmp_path / "packed/training").glob("*/final.safetensors.000")))
    with pytest.raises(Bad, match=words):
        portable.merge(tmp_path / "packed", tmp_path / "other")
    assert not list((tmp_path / "other").rglob("final*")) and not (tmp_path / "x").exists()
    with pytest.raises(Bad, match="holds no packed results"):
        portable.merge(tmp_path, tmp_path / "other")


def test_the_work_of_a_setting_is_counted():
    settings = TINY | {"methods": {"Original": {}, "Retrain": {}, "NoT": {}}}
    # 3 rounds of 6 steps, then 6 rounds of 3 for Retrain and for NoT; 2 points of training, 3 of each of the two
    assert work(settings) == (3 * 6 + 2 * 6 * 3, (2 + 3 + 3) * 180)
    assert work(settings | {"participation": 1}).steps == work(settings).steps / 2


def test_the_work_of_an_audit_grows_with_its_federations():
    settings = TINY | {"shadows": 8, "methods": {"Original": {}, "NoT": {}}}
    # each federation: 3 rounds of 6 steps, then 6 of 3 for NoT and for the Retrain that is not named; 4 points of
    # training, and metrics and margins of three methods at three shares of the budget
    assert work(settings).steps == 8 * (3 * 6 + 2 * 6 * 3)
    assert work(settings).images == 8 * (2 + 3 * 3 * 2) * 180
    named = settings | {"methods": {"Original": {}, "Retrain": {}, "NoT": {}}}
    assert work(named) == work(settings)
    assert work(settings | {"shadows": 64}).steps == 8 * work(settings).steps


def test_a_step_is_measured_without_the_data():
    settings = TINY | {"dataset": "cifar10", "width": 2, "methods": {}, "size": 16}
    assert like(settings)["width"] == 2 and like(settings)["channels"] == 3 and like(settings)["size"] == 16
    speed = measured(settings)
    assert 0 < speed.image < speed.step < 10


def gpu(*words, **env):
    return toy.python(toy.ROOT, "workflow.gpu", *words, **env)


def test_planned_run_packed_and_merged(profile, tmp_path):
    lent, home = {"FU_RUNS": str(tmp_path / "lent")}, {"FU_RUNS": str(tmp_path / "home")}
    status, out = gpu("plan", "--minutes", "5", "--profile", profile, **lent)
    assert status == 0 and "02.tiny.s0" in out and "2 of 2 jobs fit" in out, out
    status, out = gpu("plan", "--minutes", "0.0001", "--profile", profile, **lent)
    assert status == 0 and "0 of 2 jobs fit" in out, out
    status, out = gpu("run", "--minutes", "5", "--profile", profile, "--to", tmp_path / "packed", **lent)
    assert status == 0 and "02.tiny seed 1: done" in out and f"workflow.gpu merge {tmp_path}/packed" in out, out
    status, out = gpu("merge", tmp_path / "packed", "--profile", profile, **home)
    assert status == 0 and "0 were there already" in out, out
    before = contents(tmp_path / "home/lent/store")
    assert {name for name in before if name.endswith("record.json")}
    status, out = toy.python(toy.ROOT, "workflow.run", "--profile", profile, **home)
    assert status == 0, out
    after = contents(tmp_path / "home/lent/store")
    assert {name: data for name, data in after.items() if name in before and "asked" not in name} == {
        name: data for name, data in before.items() if "asked" not in name}
    assert {name for name in after if name.endswith("record.json")} == {name for name in before if name.endswith("record.json")}


def test_when_time_is_up_jobs_are_told_to_end_and_checkpoints_go_home(profile, full, tmp_path, monkeypatch):
    runs = tmp_path / "runs"
    full.root.rename(tmp_path / "of")
    (runs / "lent").mkdir(parents=True)
    (tmp_path / "of").rename(runs / "lent/store")
    monkeypatch.setenv("FU_RUNS", str(runs))
    planned = [kit.Planned("02", "tiny", 0, 1.0, True), kit.Planned("02", "tiny", 1, 1e9, False)]
    monkeypatch.setattr(kit, "plan", lambda profile, a: planned)
    begun = []

    def started(profile, job, a):
        code = ("import pathlib, signal, sys, time\n"
                "def told(*_):\n    pathlib.Path(sys.argv[1]).write_text('told')\n    sys.exit(1)\n"
                "signal.signal(signal.SIGTERM, told)\npathlib.Path(sys.argv[1]).write_text('begun')\ntime.sleep(600)")
        begun.append(tmp_path / job.name)
        process = subprocess.Popen([sys.executable, "-c", code, begun[-1]])
        wait_for(begun[-1].exists)
        return process
    monkeypatch.setattr(kit, "started", started)
    a = kit.arguments(["run", "--minutes", "0.01", "--gpus", "1", "--profile", str(profile), "--to", str(tmp_path / "to")])
    assert kit.run(load(str(profile)), a, time.monotonic()) == 0
    assert [path.read_text() for path in begun] == ["told", "told"]
    parts = list((tmp_path / "to").rglob("part.json.000"))
    assert json.loads(parts[0].read_bytes())["body"]["record"]["number"] == 3


@pytest.mark.parametrize("words, sentence", [
    (["plan", "--minutes", "0"], "--minutes"), (["plan"], "--minutes"), (["run", "--minutes", "5"], "--to"),
    (["plan", "--minutes", "5", "--profile", "papr"], "papr"), (["plan", "--minutes", "5", "--gpus", "0"], "--gpus")])
def test_wrong_usage(words, sentence):
    status, out = gpu(*words)
    assert status == 2 and sentence in out and "Traceback" not in out
