"""Shadow federations: other randomness and nothing else, kept, resumed and shared."""
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY, same, tiny

import lib
from lib.errors import Bad
from lib.methods import unlearn
from lib.methods.trained import Trained
from lib.report import stops
from lib.runs import shadows as module
from lib.runs.shadows import FORGIVEN, SHARES, margins_of, shadow_of, states_at, whole

ROOT = Path(__file__).parents[2]
SMALL = dict(n_train=60, n_test=40, width=2, clients=3, rounds=2, unlearn_rounds=4, methods={})
METHODS = {"Original": {}, "Retrain/again": {"name": "again"}, "NoT": {}}


def files(store):
    """`{name of an entry: its tensors' checksums}`."""
    records = store.root.glob("shadows/*/record.json")
    return {path.parent.name: json.loads(path.read_text())["body"]["files"] for path in records}


def test_a_shadow_has_the_data_and_other_randomness(task):
    one, two = shadow_of(task, 0), shadow_of(task, 1)
    assert torch.equal(one.x, task.x) and one.clients is task.clients
    states = [t.init("train") for t in (task, one, two)]
    assert not same(states[0], states[1]) and not same(states[1], states[2])
    assert same(one.init("train"), shadow_of(task, 0).init("train"))
    prints = [json.dumps(t.fingerprint("full"), sort_keys=True) for t in (task, one, two)]
    assert len(set(prints)) == 3


def test_a_whole_retrain_costs_what_it_does():
    task = tiny(**SMALL)
    total = lib.Cost()
    for r, now in zip(range(5), unlearn(task, Trained({}, {}, None, []), "Retrain")):
        total += now.cost
    assert whole(task, 4)[:2] == pytest.approx(total[:2])


def test_a_method_is_looked_at_where_the_budget_ends():
    task = tiny(**SMALL)
    trained = Trained(task.init("train"), task.init("train"), None, [])
    found, lost = states_at(task, trained, "FT", {}, 4)
    rounds = [now.state for _, now in zip(range(5), unlearn(task, trained, "FT"))]
    assert lost is None and same(found["full"], rounds[4]) and same(found["half"], rounds[2])
    assert same(found["quarter"], rounds[1])
    found, _ = states_at(task, trained, "Original", {}, 4)
    assert found.keys() == SHARES.keys() and same(found["quarter"], trained.state)
    assert SHARES == stops.SHARES and FORGIVEN == stops.FORGIVEN        # what a table calls a quarter


def test_a_method_that_diverges_is_seen_nowhere():
    task = tiny(**SMALL)
    broken = {name: v * torch.nan for name, v in task.init("train").items()}
    assert states_at(task, Trained(broken, broken, None, []), "FT", {}, 4) == ({}, 0)


def test_margins_are_of_every_example(task):
    found = margins_of(task, task.init("train"))
    assert {k: len(v) for k, v in found.items()} == {
        "forget": len(task.indices("forget")), "retain": len(task.indices("retain")), "test": len(task.y_test)}
    logits = lib.predict(task, task.init("train"), task.indices("forget"))
    expected = torch.logit(logits.softmax(1).gather(1, task.y[task.indices("forget")][:, None])[:, 0])
    assert torch.allclose(found["forget"].double(), expected, atol=1e-5)


def test_shadows_are_kept_and_a_new_method_is_added(store, monkeypatch):
    task = tiny(**SMALL)
    first = lib.shadows(task, store, METHODS, 3)
    assert list(first) == ["Retrain", *METHODS]
    assert first["NoT"].margins("forget").shape == (3, len(task.indices("forget")))
    assert first["NoT"].values("retain_acc", "half").shape == (3,)
    before = files(store)
    assert len(before) == 3 * 4 and not list(store.root.glob("training/*"))
    more = lib.shadows(task, store, {**METHODS, "FT": {}}, 3)
    assert len(files(store)) == 15 and before.items() <= files(store).items()

    def never(*_):
        raise AssertionError("trained again")
    monkeypatch.setattr(module, "train", never)
    again = lib.shadows(task, store, {**METHODS, "FT": {}}, 3)
    assert all(np.array_equal(again[k].margins("test"), more[k].margins("test")) for k in more)


def test_what_cannot_work_is_refused_before_anything_trains(store):
    task = tiny(**SMALL)
    with pytest.raises(Bad, match="history"):
        lib.shadows(task, store, {"FedEraser": {}}, 4)
    with pytest.raises(Bad, match="at least 4"):
        lib.shadows(task, store, {}, 0)
    assert not files(store)


SCRIPT = """
import sys
import lib
task = lib.make_task({settings!r}, 0)
lib.shadows(task, lib.Store(sys.argv[1]), {methods!r}, int(sys.argv[2]))
"""


def test_two_processes_share_the_work_and_one_killed_is_gone_on_with(store, tmp_path):
    script = tmp_path / "shadows.py"
    script.write_text(SCRIPT.format(settings={**TINY, **SMALL}, methods={"NoT": {}}))
    alone = lib.Store(tmp_path / "alone")
    env = {**os.environ, "PYTHONPATH": str(ROOT)}

    def started(root, n):
        return subprocess.Popen([sys.executable, script, root, str(n)], env=env)
    for n in (1, 3):        # what a killed process has left: the first is there already
        assert started(alone.root, n).wait(timeout=600) == 0
    both = [started(store.root, 3) for _ in range(2)]
    assert [p.wait(timeout=600) for p in both] == [0, 0]
    assert files(store) == files(alone) and len(files(store)) == 6
