"""What every method declares to need is exactly what it touches."""
from itertools import islice

import pytest
import torch
from conftest import same, tiny

import lib
from lib.methods import METHODS, needs, unlearn
from lib.runs.needs import derive_needs, without_forget

# methods whose task differs: {name: (settings, arguments)}
TASKS = {}
COMMON = dict(n_train=120, rounds=2, history="all")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    store, made = lib.Store(tmp_path_factory.mktemp("store")), {}

    def get(**changes):
        key = str(sorted(changes.items()))
        if key not in made:
            task = tiny(**{**COMMON, **changes})
            made[key] = task, lib.train(task, store)
        return made[key]
    return get


CASES = [(name, {}) for name in sorted(METHODS)] + [
    (name, dict([option])) for name in sorted(METHODS) for option in METHODS[name].also]


@pytest.mark.parametrize("name,hp", CASES, ids=[f"{name} {hp or ''}" for name, hp in CASES])
def test_declared_needs_are_those_derived(prepared, name, hp):
    changes, more = TASKS.get(name, ({}, {}))
    task, trained = prepared(**changes)
    declared = set(needs(name, **hp))
    if len(task.clients) == 1 or task.settings["forget"] != "clients":
        declared.discard("target")
    assert set(derive_needs(task, trained, name, {**more, **hp})) == declared


@pytest.mark.parametrize("name,hp", CASES, ids=[f"{name} {hp or ''}" for name, hp in CASES])
def test_a_method_leaves_the_trained_model_as_it_was(prepared, name, hp):
    changes, more = TASKS.get(name, ({}, {}))
    task, trained = prepared(**changes)
    before = {k: v.clone() for k, v in trained.state.items()}
    for _ in islice(unlearn(task, trained, name, **{**more, **hp}), 3):
        pass
    assert same(trained.state, before)


def test_access_is_noticed(prepared):
    task, trained = prepared()
    start = trained.state

    def reads(what):
        def f(task, trained):
            what(task, trained)
            yield lib.Round(start)
        return f

    def shift(value):
        def f(task, trained):
            moved = {k: v + value(task, trained) if v.is_floating_point() else v for k, v in start.items()}
            yield lib.Round(moved)
        return f

    def target(task):
        return task.clients[0].forget

    cases = {
        "inputs": (shift(lambda task, trained: task.x[target(task)].sum()), {"forget", "target"}),
        "labels": (shift(lambda task, trained: task.y[target(task)].sum()), {"forget", "target"}),
        "history": (reads(lambda task, trained: trained.history.rounds), {"history"}),
        "init": (reads(lambda task, trained: trained.init["0.bias"]), {"init"}),
        "sizes": (shift(lambda task, trained: len(target(task))), set()),
    }
    for name, (f, wanted) in cases.items():
        lib.method(f"test {name}", recovery=False)(f)
        try:
            assert set(derive_needs(task, trained, f"test {name}")) == wanted, name
        finally:
            del METHODS[f"test {name}"]


def test_poison_is_what_it_says(prepared):
    task, _ = prepared()
    bad, forget, retain = without_forget(task), task.indices("forget"), task.indices("retain")
    assert bad.x[forget].isnan().all() and (bad.y[forget] == task.classes).all()
    assert torch.equal(bad.inputs(bad.x[retain]), task.inputs(task.x[retain])) and not task.x.isnan().any()
