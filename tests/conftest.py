"""Shared fixtures: a tiny federated task on noise-free digits, in float64, that trains in milliseconds."""
import os
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

import lib

SLOW = ("notebooks/", "tests/crash/", "tests/test_determinism.py", "tests/workflow/", "tests/fl/test_closed.py")


def pytest_collection_modifyitems(items):
    """What takes longest begins first, so that no core waits for another at the end."""
    def place(item):
        found = [number for number, start in enumerate(SLOW) if item.nodeid.startswith(start)]
        return found[0] if found else len(SLOW)
    items.sort(key=place)


TINY = dict(dataset="digits", n_train=200, n_test=200, clients=4, model="small_cnn", width=4, batch_size=16, lr=0.05,
            local_epochs=1, rounds=3, unlearn_rounds=3, every=1, dtype="float64", mia_draws=2, device="cpu")


ALONE = dict(clients=1, forget="share", forget_share=0.1)     # one client cannot ask to be forgotten as a whole


def tiny(seed=0, **changes):
    return lib.make_task({**TINY, **changes}, seed)


@pytest.fixture
def task():
    return tiny()


@pytest.fixture
def store(tmp_path):
    return lib.Store(tmp_path / "store")


def keeping_all(task):
    """The task with nothing to forget, which no setting may ask for."""
    clients = (c._replace(retain=c.indices("full"), forget=c.forget[:0]) for c in task.clients)
    return replace(task, clients=tuple(clients))


def same(a, b):
    """Whether two states are equal, bit for bit (NaN equals NaN)."""
    return a.keys() == b.keys() and all((a[k] == b[k]).logical_or(a[k].isnan() & b[k].isnan()).all() for k in a)
