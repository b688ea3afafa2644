"""What is alive at once: one client's update, one round's file, two states of a sweep; what a killed run leaves."""
import os
import signal
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path

import pytest
import torch
from conftest import same, tiny

import lib
from lib.errors import Bad
from lib.fl.history import History
from lib.files import sweep as swept_away
from lib.methods import federated
from lib.methods import tis as estimation
from lib.runs import clean, run, sweep
from lib.runs.store import Slot

ROOT = Path(__file__).parents[2]
CLIENTS = dict(clients=6, targets=[0, 1], val_share=0.1, rounds=3)


class Alive:
    """Counts states by a tensor of each: `see(state)` returns it, `most` is how many were alive when one was seen."""

    def __init__(self):
        self.seen, self.most, self.count = [], 0, 0

    def see(self, state):
        self.seen = [ref for ref in self.seen if ref() is not None]
        self.seen.append(weakref.ref(next(iter(state.values()))))
        self.most = max(self.most, len(self.seen))
        self.count += 1
        return state

    def watch(self, monkeypatch, owner, name, pick=lambda found: found):
        """Count what a function gives, or what is picked of it."""
        real = getattr(owner, name)

        def watched(*args, **kw):
            found = real(*args, **kw)
            self.see(pick(found))
            return found
        monkeypatch.setattr(owner, name, watched)


@pytest.fixture
def alive():
    return Alive()


# ---------------------------------------------------------------- history

@pytest.mark.parametrize("history, updates", [("all", 18), ("targets", 6), ("last", 2)])
def test_training_holds_one_clients_update(store, monkeypatch, alive, history, updates):
    alive.watch(monkeypatch, run, "difference")
    lib.train(tiny(**CLIENTS, history=history), store)
    assert (alive.count, alive.most) == (updates, 1)


@pytest.mark.parametrize("per", ["client", "average"])
def test_a_replay_holds_one_clients_updates(store, monkeypatch, alive, per):
    task = tiny(**CLIENTS, history="all")
    trained, fresh = lib.train(task, store), Alive()
    alive.watch(monkeypatch, History, "update")
    fresh.watch(monkeypatch, federated, "difference")
    assert len(list(lib.unlearn(task, trained, "FedEraser", per=per))) == 3
    assert (alive.count, fresh.count) == (3 * 4, 2 * 4) and alive.most == fresh.most == 1


@pytest.mark.parametrize("method, name, count", [("FUKD", "update", 6), ("PGD", "last", 4)])
def test_what_is_subtracted_is_read_one_by_one(store, monkeypatch, alive, method, name, count):
    task = tiny(**CLIENTS, history="targets")
    trained = lib.train(task, store)
    alive.watch(monkeypatch, History, name)
    next(lib.unlearn(task, trained, method))
    assert alive.count == count and alive.most <= 2     # the one before, while the next is read


def test_curvature_is_added_up_as_it_comes(monkeypatch, alive):
    task = tiny(**CLIENTS, history="none")
    real = estimation.replies

    def replies(*args):
        for reply in real(*args):
            alive.see(reply.state)
            yield reply
    monkeypatch.setattr(estimation, "replies", replies)
    estimation.compute_curvature(task, task.init("a"))
    assert alive.count == 6 and alive.most <= 2


@pytest.mark.parametrize("history, states", [("all", ["before"] + [f"update_{k}" for k in range(6)]),
                                             ("targets", ["update_0", "update_1"])])
def test_a_round_is_one_file_and_one_fsync(store, monkeypatch, history, states):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(handle) or real(handle))
    task = tiny(**CLIENTS, history=history, every=3)
    entry = lib.train(task, store).history.entry
    names = sorted(path.name for path in entry.folder.iterdir() if path.suffix != ".json")
    assert names == ["final.safetensors", "round_00001.states", "round_00002.states", "round_00003.states"]
    assert [name for name in entry.states if name.startswith("round_00002")] == [f"round_00002/{s}" for s in states]
    assert sum(size for _, size, _ in entry.states.values()) == sum((entry.folder / n).stat().st_size for n in names[1:])
    others = len(["final", "record", "asked"])
    assert len(synced) == 3 + others


def test_a_round_in_which_nobody_is_kept_has_no_file(store):
    task = tiny(clients=6, participation=1, targets=[5], history="targets")
    trained = lib.train(task, store)
    took_part = [t for t in (1, 2, 3) if trained.history.clients(t)]
    assert trained.history.rounds == [1, 2, 3] and len(took_part) < 3
    assert len(list(trained.history.entry.folder.glob("round_*"))) == len(took_part)


def test_many_states_in_a_file_are_read_alone_and_checked(store):
    states = {name: {"w": torch.rand(3), "n": torch.tensor(i)} for i, name in enumerate("abc")}
    slot = Slot(store, "training", {"a": 1})
    with slot.many("round") as put:
        for name, state in states.items():
            put(name, state)
        assert not (store.folder("training", {"a": 1}) / "round.states").exists()
    entry = slot.finish({})
    again = store.load("training", {"a": 1})
    assert all(same(again.tensors(f"round/{name}"), state) for name, state in states.items())
    path = entry.folder / "round.states"
    data = bytearray(path.read_bytes())
    data[entry.size("round/a") + entry.size("round/b") - 1] ^= 1     # the end of b
    path.write_bytes(data)
    assert same(again.tensors("round/a"), states["a"]) and same(again.tensors("round/c"), states["c"])
    with pytest.raises(Bad, match="round.states: missing or damaged; delete"):
        again.tensors("round/b")
    path.unlink()
    with pytest.raises(Bad, match="round.states: missing or damaged; delete"):
        again.tensors("round/a")


def test_a_round_that_breaks_off_leaves_no_file_and_is_not_counted(store, monkeypatch):
    task = tiny(**CLIENTS, history="all", every=1)
    real, put = Slot.many, []

    def breaking(slot, file):
        if file == "round_00002":
            put.append(file)
            raise KeyboardInterrupt
        return real(slot, file)
    monkeypatch.setattr(Slot, "many", breaking)
    with pytest.raises(KeyboardInterrupt):
        lib.train(task, store)
    assert put and [p.name for p in store.root.rglob("*.states")] == ["round_00001.states"]
    monkeypatch.undo()

    def dying(client, local, real=run.difference):
        dying.calls += 1
        if dying.calls == 3:
            raise KeyboardInterrupt
        return real(client, local)
    dying.calls = 0
    monkeypatch.setattr(run, "difference", dying)
    with pytest.raises(KeyboardInterrupt):
        lib.train(task, store)
    assert [p.name for p in store.root.rglob("*.states")] == ["round_00001.states"] and not list(store.root.rglob(".*.part"))
    monkeypatch.undo()
    whole = lib.train(task, lib.Store(store.root.parent / "whole"))
    assert lib.train(task, store).history.entry.states == whole.history.entry.states


# ---------------------------------------------------------------- killed processes

def killed(code):
    """Run code until it says `ready`, then kill -9."""
    child = subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert child.stdout.readline() == "ready\n"
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_kill_9_in_the_middle_of_a_round_leaves_no_half_written_round(store):
    settings = {**tiny(**CLIENTS).settings, "history": "all", "every": 1}
    killed(f"""
        import time
        import lib
        from lib.runs import run
        real, calls = run.difference, []
        def slow(a, b):
            calls.append(1)
            if len(calls) == 9:         # the third client of the second round
                print("ready", flush=True)
                time.sleep(600)
            return real(a, b)
        run.difference = slow
        lib.train(lib.make_task({settings!r}, 0), lib.Store({str(store.root)!r}))
    """)
    assert [p.name for p in store.root.rglob("*.states")] == ["round_00001.states"]
    assert len(list(store.root.rglob(".round_00002.states.*.part"))) == 1
    swept_away(store.root)
    assert not list(store.root.rglob(".*.part"))
    task = lib.make_task(settings, 0)
    whole = lib.train(task, lib.Store(store.root.parent / "whole"))
    assert lib.train(task, store).history.entry.states == whole.history.entry.states


def test_what_has_no_key_is_below_the_store_and_goes_after_a_kill(store, tmp_path, monkeypatch):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    killed(f"""
        import time
        import lib
        from lib.runs.loop import kept
        def make(slot):
            slot.checkpoint(1, {{}}, {{"state": {{"w": lib.make_task({tiny().settings!r}, 0).init("a")["0.weight"]}}}})
            print("ready", flush=True)
            time.sleep(600)
        kept(lib.Store({str(store.root)!r}), "runs", lambda: {{"f": (x for x in ())}}, make, None, "it")
    """)
    assert not list(temporary.iterdir())
    [left] = clean.waste(store.root, [])
    assert left.why == "temporary folder of a dead process" and left.bytes > 0
    assert clean.remove([left], store.root) == left.bytes and not left.path.exists()


def test_what_has_no_key_goes_with_its_entry_and_a_living_process_is_left_alone(store, task):
    entry = run.kept(store, "runs", lambda: {"f": (x for x in ())}, lambda slot: ({}, {"final": task.init("a")}), task, "it")
    assert entry.folder.is_relative_to(store.root) and same(entry.tensors("final"), task.init("a"))
    swept_away(store.root)
    assert entry.folder.exists() and clean.waste(store.root, []) == []
    folder = entry.folder
    del entry
    assert not folder.exists() and not list(store.root.rglob(".*.part"))


# ---------------------------------------------------------------- sweeps

def test_a_sweep_holds_two_states_however_many_points(store, monkeypatch, alive):
    alive.watch(monkeypatch, sweep, "_ends", lambda found: found[0])
    task = tiny(gammas=[10, 20, 30, 40, 50], random_draws=4, rounds=1, unlearn_rounds=1, trim_epochs=1,
                methods={"Random-Reset": {}, "TIS-Reset+TRIM": {}})
    rows = sweep.sweep(task, store)
    assert alive.count == 5 * 4 + 5 and alive.most <= 2
    assert {r["variant"]["gamma"] for r in rows if r["method"] == "Random-Reset" and r["stop"] == "last"} == {10, 20, 30, 40, 50}
