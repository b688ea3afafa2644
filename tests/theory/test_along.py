"""Traces follow the very states of a run; their numbers are norms, distances and gaps computed by hand."""
from itertools import islice

import pytest
import torch
from conftest import tiny

import lib
from lib.errors import Bad
from lib.runs.run import train
from lib.theory import along as tracing


def test_a_trace_follows_the_run(task, store):
    entry = lib.run(task, store, "NoT")["entry"]
    record = lib.trace(task, store, "NoT", measures=("distance",), rounds=3)
    start, end, state = train(task, store).state, entry.tensors("final"), entry.tensors("start")
    names = [n for n, _ in task.model.named_parameters()]
    far = [sum(float((s[n] - start[n]).square().sum()) for n in names) ** 0.5 for s in (state, end)]
    assert [p["distance_norm"] for p in record["curve"]][::3] == pytest.approx(far)
    assert record["curve"][0]["deeper_distance_norm"] == 0 and record["curve"][3]["deeper_distance_norm"] > 0
    assert record["curve"][0]["distance_norm"] == pytest.approx(2 * float(start["0.weight"].norm()))


def test_gradient_norms_add_up_and_are_those_of_the_retain_loss(task, store):
    trained = train(task, store)
    got = tracing.gradient(task, trained, trained.state)
    x, y = task.inputs(task.x[task.indices("retain")]), task.y[task.indices("retain")]
    model = task.load(trained.state)
    model.zero_grad()
    torch.nn.functional.cross_entropy(model(x), y).backward()
    want = sum(float(p.grad.square().sum()) for p in model.parameters()) ** 0.5
    model.zero_grad()
    parts = [v for k, v in got.items() if k.endswith(":gradient_norm")]
    assert got["gradient_norm"] == pytest.approx(want) == pytest.approx(sum(v * v for v in parts) ** 0.5)


def test_the_gap_is_that_of_the_evaluation(task, store):
    trained = train(task, store)
    got, want = tracing.gap(task, trained, trained.state), lib.evaluate(task, trained.state)
    assert got["loss_gap"] == pytest.approx(abs(want["retain_loss"] - want["forget_loss"]))
    assert got["gap_gradient_norm"] > 0


def test_noise_is_there_and_vanishes_with_full_batches(task, store):
    trained = train(task, store)
    assert tracing.noise(task, trained, trained.state)["noise_rate"] > 0
    whole = tiny(batch_size=10**4)
    assert tracing.noise(whole, trained, trained.state)["noise_rate"] < 1e-12


def test_a_trace_is_stored_and_another_measure_is_another_entry(task, store):
    lib.trace(task, store, "FT", rounds=1)
    count = len(list((store.root / "traces").glob("*/record.json")))
    lib.trace(task, store, "FT", rounds=1)
    assert len(list((store.root / "traces").glob("*/record.json"))) == count == 1
    lib.trace(task, store, "FT", measures=("gap",), rounds=1)
    assert len(list((store.root / "traces").glob("*/record.json"))) == 2


def test_traced_labels_are_found_and_unknown_ones_named(store):
    task = tiny(methods={"FT": {}}, ablations={"NoT/head": {"layers": [8]}}, traced=["FT", "head"], trace_rounds=1)
    records = lib.trace_all([task], store, measures=("distance",))
    assert [(r["label"], r["method"], r["variant"]) for r in records] == [
        ("FT", "FT", {}), ("head", "NoT", {"layers": [8]})]
    with pytest.raises(Bad, match="traced names no method or label"):
        lib.trace_all([tiny(ablations={"NoT/head": {}}, traced=["haed"])], store)
    with pytest.raises(Bad, match="gradient"):
        lib.trace(task, store, "FT", measures=("gradients",))


def test_ablations_run_for_their_own_rounds(store):
    task = tiny(methods={"FT": {}}, ablations={"NoT/head": {"layers": [8]}}, ablation_rounds=1)
    records = lib.run_all([task], store)
    assert [(r["label"], r["curve"][-1]["round"]) for r in records] == [("FT", 3), ("head", 1)]
    assert len(list(islice(lib.unlearn(task, train(task, store), "NoT"), 2))) == 2
