"""The store: atomic, checked, found by what made a result; killed runs resume bit for bit."""
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY, same, tiny

import lib
from lib.checksums import seal
from lib.errors import Bad
from lib.files import write
from lib.methods.trained import Trained
from lib.runs.run import history_bytes, run_key, training_key
from lib.runs.store import Slot, read

ROOT = Path(__file__).parents[2]
KEY = {"a": 1}


def test_what_is_saved_is_loaded(store):
    state = {"w": torch.rand(3, 2).T, "n": torch.tensor(3)}
    store.save("runs", KEY, {"x": 1.5, "nan": float("nan")}, {"final": state})
    entry = store.load("runs", KEY)
    assert entry.record["x"] == 1.5 and same(entry.tensors("final"), state)
    assert store.load("runs", {"a": 2}) is None


def test_a_present_result_is_not_made_again(store):
    calls = []

    def make():
        calls.append(1)
        return store.save("runs", KEY, {"x": 1})
    assert store.get("runs", KEY, make).record == store.get("runs", KEY, make).record and calls == [1]


@pytest.mark.parametrize("mask, mode", [(0o022, 0o644), (0o002, 0o664), (0o027, 0o640), (0o077, 0o600)])
def test_every_file_has_the_mode_that_new_files_have(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        lib.Store(tmp_path / "store").save("runs", KEY, {"x": 1}, {"final": {"w": torch.rand(4)}})
        seal(write(tmp_path / "02.csv", "a,b"))
    finally:
        os.umask(before)
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert {path.suffix for path in files} >= {".json", ".safetensors", ".csv", ".sha256"}
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in files} == {path.name: oct(mode) for path in files}


@pytest.mark.parametrize("data", ["text", b"bytes"])
def test_a_file_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch, data):
    done = []
    real = {name: getattr(os, name) for name in ("fsync", "replace")}
    for name in real:
        monkeypatch.setattr(os, name, lambda *args, name=name: done.append(name) or real[name](*args))
    assert write(tmp_path / "x", data).exists() and done == ["fsync", "replace"]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"body": {}, "sha256": "0"}'])
def test_a_damaged_record_is_as_good_as_none(store, damage):
    store.save("runs", KEY, {"x": 1})
    (store.folder("runs", KEY) / "record.json").write_bytes(damage)
    assert store.load("runs", KEY) is None


def test_a_changed_number_in_a_record_is_noticed(store):
    store.save("runs", KEY, {"x": 1})
    path = store.folder("runs", KEY) / "record.json"
    path.write_text(path.read_text().replace('"x": 1', '"x": 2'))
    assert store.load("runs", KEY) is None


def test_a_damaged_tensor_file_is_named(store):
    entry = store.save("runs", KEY, {}, {"final": {"w": torch.rand(4)}})
    path = entry.folder / "final.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Bad, match="final.safetensors.*delete"):
        store.load("runs", KEY).tensors("final")


def test_no_pickle_in_the_library():
    for path in (ROOT / "lib").rglob("*.py"):
        text = path.read_text()
        assert "import pickle" not in text and "torch.load(" not in text and "allow_pickle=True" not in text, path


def test_the_key_of_a_run_sees_what_matters(task):
    keys = [json.dumps(k, sort_keys=True, default=str) for k in (
        run_key(task, "NoT", {}, 3, 1), run_key(task, "FT", {}, 3, 1), run_key(task, "NoT", {"layers": [1]}, 3, 1),
        run_key(task, "NoT", {}, 4, 1), run_key(tiny(targets=[1]), "NoT", {}, 3, 1), run_key(tiny(1), "NoT", {}, 3, 1),
        run_key(tiny(rounds=4), "NoT", {}, 3, 1))]
    assert len(set(keys)) == len(keys)
    same_run = run_key(tiny(threads=1, methods={"FT": {}}), "NoT", {}, 3, 1)
    assert keys[0] == json.dumps(same_run, sort_keys=True, default=str)


def test_two_requests_share_one_training():
    a, b = tiny(), tiny(forget="class", forget_class=2)
    assert training_key(a) == training_key(b)


def test_a_run_is_trained_once_and_found_again(task, store):
    first = lib.run(task, store, "NoT")
    folders = set(store.root.rglob("record.json"))
    times = {p: p.stat().st_mtime_ns for p in folders}
    again = lib.run(tiny(), store, "NoT")
    assert again["curve"] == first["curve"] and {p: p.stat().st_mtime_ns for p in folders} == times
    assert [c["round"] for c in first["curve"]] == [0, 1, 2, 3]
    assert first["curve"][-1]["bytes"] == 3 * 3 * 2 * 4 * task.parameters


def interrupted(monkeypatch, after, call):
    """Run `call` until it has left the checkpoint of round `after`, then die as an exception would."""
    real = Slot.checkpoint

    def dying(self, number, *args):
        real(self, number, *args)
        if number >= after:
            raise KeyboardInterrupt
    monkeypatch.setattr(Slot, "checkpoint", dying)
    with pytest.raises(KeyboardInterrupt):
        call()
    monkeypatch.undo()


@pytest.mark.parametrize("seconds", [60, 0])
@pytest.mark.parametrize("changes", [{}, {"history": "all"}, {"training": "union", "keep_optimizer": True}])
def test_interrupted_training_resumes_bit_for_bit(tmp_path, monkeypatch, changes, seconds):
    every = 1 if seconds else 5      # 0: checkpoints in rounds in which nothing is measured
    task, whole, broken = tiny(rounds=5, every=every, **changes), lib.Store(tmp_path / "a"), lib.Store(tmp_path / "b")
    monkeypatch.setattr("lib.runs.loop.CHECKPOINT_SECONDS", seconds)
    with monkeypatch.context() as for_now:
        interrupted(for_now, 3, lambda: lib.train(task, broken))
    assert list((tmp_path / "b").rglob("part.json")) and not list((tmp_path / "b").rglob("record.json"))
    a, b = lib.train(task, whole), lib.train(task, broken)
    assert same(a.state, b.state) and len(a.curve) == len(b.curve) == 1 + 5 // every
    assert not list((tmp_path / "b").rglob("part*"))
    records = [json.loads(next((tmp_path / n).rglob("record.json")).read_text())["body"] for n in "ab"]
    assert records[0]["record"].keys() == records[1]["record"].keys() and records[0]["files"] == records[1]["files"]
    if changes.get("history"):
        assert a.history.rounds == b.history.rounds == [1, 2, 3, 4, 5]
        assert all(same(a.history.update(t, 2), b.history.update(t, 2)) for t in a.history.rounds)


def test_interrupted_unlearning_resumes_bit_for_bit(tmp_path, monkeypatch):
    task, whole, broken = tiny(unlearn_rounds=5), lib.Store(tmp_path / "a"), lib.Store(tmp_path / "b")
    lib.train(task, broken)
    interrupted(monkeypatch, 3, lambda: lib.run(task, broken, "NoT"))
    a, b = lib.run(task, whole, "NoT"), lib.run(task, broken, "NoT")
    strip = [[{k: v for k, v in c.items() if k != "seconds"} for c in r["curve"]] for r in (a, b)]
    assert strip[0] == strip[1] and same(a["entry"].tensors("final"), b["entry"].tensors("final"))


def test_kill_9_leaves_nothing_that_is_trusted(tmp_path):
    settings = {**TINY, "rounds": 400, "every": 2}
    code = textwrap.dedent(f"""
        import lib
        store = lib.Store({str(tmp_path / "killed")!r})
        print("ready", flush=True)
        lib.train(lib.make_task({settings!r}, 0), store)
    """)
    child = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    child.stdout.readline()
    deadline = time.time() + 300        # a loaded machine takes its time to start
    while not list((tmp_path / "killed").rglob("part.json")) and time.time() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    killed = lib.Store(tmp_path / "killed")
    task = lib.make_task(settings, 0)
    [folder] = [path.parent for path in killed.root.rglob("part.json")]
    part = read(folder, "part")
    assert part and read(folder) is None
    done = part.record["number"]
    assert 0 < done < 400
    from itertools import islice
    plain = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), done))[-1].state
    assert same(part.tensors(f"part_state_{done}"), plain)


def test_history_is_what_clients_sent(store):
    task = tiny(history="all", rounds=2)
    trained = lib.train(task, store)
    h = trained.history
    assert same(h.before(1), trained.init) and h.clients(1) == [0, 1, 2, 3]
    total = {k: v.clone() for k, v in h.before(2).items()}
    for c in h.clients(2):
        for k, v in h.update(2, c).items():
            total[k] += h.weight(2, c) * v
    assert all(torch.allclose(total[k], trained.state[k], atol=1e-6) for k in total)  # updates are kept in float32
    assert trained.storage_bytes >= history_bytes(task)


@pytest.mark.parametrize("history,rounds,clients", [("last", [3], [0]), ("targets", [1, 2, 3], [0])])
def test_smaller_histories(store, history, rounds, clients):
    h = lib.train(tiny(history=history), store).history
    assert h.rounds == rounds and h.clients(3) == clients


def test_a_history_that_does_not_fit_is_refused_before_training(store):
    with pytest.raises(Bad, match="GB"):
        lib.train(tiny(history="all", history_limit_gb=1e-6), store)
    assert not list(store.root.rglob("*.json"))


def test_a_method_without_recovery_ends_where_it_ends(task, store):
    trained = Trained(task.init("train"), task.init("train"), None, [])
    record = lib.run(task, store, "Original", trained=trained)
    assert [c["round"] for c in record["curve"]] == [0]
