"""A run that stops being finite ends there, is recorded so and resumes as such; a model of NaN has no guess."""
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import tiny

import lib
from lib.errors import Bad
from lib.fl.finite import finite, guess
from lib.methods.federated import pseudo_labels
from lib.metrics import MEASURES
from lib.metrics.tis import measure_all
from lib.runs.loop import lost
from lib.runs.sweep import sweep
from lib.words import METRICS

NAN = float("nan")
BACKDOOR = {"poison_label": 0, "poison_share": 0.8}


def broken(state):
    """A state of NaN."""
    return {k: v * NAN if v.is_floating_point() else v for k, v in state.items()}


@pytest.fixture
def method():
    """Registers a method for one test: its rounds so far are finite, then one is not."""
    names = []

    def register(good, name="Breaks"):
        @lib.method(name, recovery=False)
        def breaks(task, trained):
            for _ in range(good):
                yield lib.Round(trained.state)
            for _ in range(50):
                yield lib.Round(broken(trained.state), lib.Cost(bytes=1))
                seen.append(1)
        names.append(name)
        return name
    seen = register.seen = []
    yield register
    for name in names:
        del lib.METHODS[name]


@pytest.mark.parametrize("place", [0, 7, 49])
@pytest.mark.parametrize("value", [NAN, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_seen(place, value):
    state = {"a": torch.ones(7, 7), "b": torch.ones(3), "n": torch.tensor(3)}
    assert finite(state)
    flat = state["a"].flatten() if place < 49 else state["b"]
    flat[place % 49] = value
    assert not finite({"a": flat, "b": state["b"]})


def test_large_numbers_are_finite():
    assert finite({"a": torch.full((4,), 3e38)})        # their sum is not


def test_a_guess_is_a_class_or_none():
    rows = torch.tensor([[1.0, 2.0], [NAN, 2.0], [2.0, math.inf], [-math.inf, 0.0], [3.0, 1.0]])
    assert guess(rows).tolist() == [1, -1, -1, -1, 0]


def test_nothing_is_measured_of_nan():
    task = tiny(**BACKDOOR)
    state = broken(task.init("x"))
    logits = lib.predict(task, state, images=task.x_test)
    assert math.isnan(lib.accuracy(logits, task.y_test)) and np.isnan(lib.losses(logits, task.y_test)).all()
    found = lib.evaluate(task, state)
    assert {"asr", "backdoor_acc", "retain_acc", "forget_loss", "mia"} <= set(found)
    assert all(math.isnan(value) for value in found.values()), found
    tis = measure_all(task, [state])[0]
    assert all(math.isnan(value) for value in tis.values()), tis


def test_a_single_logit_that_is_not_finite_leaves_no_accuracy():
    logits = torch.tensor([[1.0, 0.0], [-math.inf, 0.0]])
    labels = torch.tensor([0, 1])
    assert math.isnan(lib.accuracy(logits, labels)) and np.isnan(lib.losses(logits, labels)).tolist() == [False, True]


def test_ones_own_metric_is_not_asked_of_nan():
    @lib.metric("class_zero", words="share of class 0", unit="percent", kind="accuracy")
    def class_zero(task, state):
        return (lib.predict(task, state, images=task.x_test).argmax(1) == 0).double().mean()
    try:
        task = tiny(metrics=["class_zero"])
        assert math.isnan(lib.evaluate(task, broken(task.init("x")))["class_zero"])
        assert math.isfinite(lib.evaluate(task, task.init("x"))["class_zero"])
    finally:
        del MEASURES["class_zero"]


def test_modes_labels_of_nan_are_no_class(task):
    forget = task.indices("forget")
    labels = torch.zeros_like(task.y)
    for job in task.jobs("full"):
        labels[job.indices] = pseudo_labels(task, job, 1, phi=broken(task.init("x")))
    assert (labels[forget] == -100).all() and (labels[task.indices("retain")] == task.y[task.indices("retain")]).all()


@pytest.mark.parametrize(("good", "every"), [(0, 1), (2, 1), (1, 3), (2, 3)])
def test_a_run_ends_where_it_diverges(store, method, good, every):
    name = method(good)
    task = tiny()
    run = lib.run(task, store, name, count=10, every=every)
    assert run["diverged"] == good and run["curve"][-1]["round"] == good and method.seen == []
    last = run["curve"][-1]
    assert all(math.isnan(v) for k, v in last.items() if k not in ("round", "bytes", "flops", "seconds"))
    assert last["bytes"] == 1 and all(math.isfinite(p["test_acc"]) for p in run["curve"][:-1])
    assert lib.run(task, store, name, count=10, every=every)["diverged"] == good       # from the store


def test_finite_runs_say_so(store):
    assert lib.run(tiny(), store, "FT", count=1)["diverged"] is None


def test_logits_that_overflow_end_a_run_though_its_state_is_finite():
    assert lost({"round": 1, "test_loss": NAN}) and lost({"forget_loss": math.inf}) and not lost({"mia": NAN})


def test_training_that_diverges_is_one_sentence_and_is_done_once(store):
    task = tiny(lr=100.0, dtype="float32")
    for _ in range(2):
        with pytest.raises(Bad, match=r"^task, seed 0: training diverged in round 2 of 3, so that no method .*clip$"):
            lib.run(task, store, "FT")
    assert len(list(store.root.glob("training/*/record.json"))) == 1 and not list(store.root.glob("runs/*/record.json"))


def test_a_given_training_of_nan_is_refused(store, task):
    trained = lib.train(task, store)
    with pytest.raises(Bad, match="`trained` is not finite"):
        lib.run(task, store, "FT", trained=replace(trained, state=broken(trained.state)))


def test_a_sweep_says_which_points_diverged(store, method):
    name = method(0)
    rows = sweep(tiny(), store, {name: {}})
    mine = {row["metric"]: row["value"] for row in rows if row["method"] == name and row["stop"] == "last"}
    assert mine.pop("diverged") == 0 and mine and all(math.isnan(v) for v in mine.values())
    assert "diverged" not in {row["metric"] for row in rows if row["method"] == "Retrain"}


def test_the_word_has_a_row():
    assert METRICS["diverged"].kind == "end"
