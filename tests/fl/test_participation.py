"""Partial participation: who is drawn, what it costs, what is kept, and 10,000 clients in the memory of those drawn."""
import tracemalloc
from dataclasses import replace
from itertools import islice

import pytest
import torch
from conftest import ALONE, same, tiny

import lib
from lib.fl.task import Client
from lib.settings import check

NOTHING = torch.empty(0, dtype=torch.long)


def ids(jobs):
    return [job.client for job in jobs]


def test_all_take_part_unless_it_is_asked_otherwise(task):
    assert ids(task.participants("retain", "x", 1)) == ids(task.jobs("retain", 1))


@pytest.mark.parametrize("asked, number", [(0.5, 4), (0.01, 1), (3, 3), (1.0, 8), (1, 1), (100, 8)])
def test_a_share_or_a_number_is_drawn_anew_each_round(asked, number):
    task, again = (tiny(clients=8, participation=asked) for _ in range(2))
    rounds = [ids(task.participants("full", "x", r)) for r in range(1, 120)]
    assert all(len(set(one)) == number and one == sorted(one) for one in rounds)
    assert {k for one in rounds for k in one} == set(range(8))
    assert (len({tuple(one) for one in rounds}) > 1) == (number < 8)
    assert rounds == [ids(again.participants("full", "x", r)) for r in range(1, 120)]


def test_without_a_client_the_next_one_comes_in_and_nobody_else_changes():
    task = tiny(clients=8, participation=3)
    for r in range(1, 30):
        with_all = task.drawn(set(range(8)), "x", r)
        without = task.drawn(set(range(1, 8)), "x", r)
        assert with_all - {0} <= without and len(without) == 3


def test_a_round_trains_and_charges_those_drawn_and_weighs_them_by_their_data():
    task = tiny(clients=8, participation=0.25)
    start = task.init("a")
    trained_here = []
    now = lib.one_round(task, "full", start, phase="x", after_client=lambda client, local: trained_here.append(client))
    drawn = task.participants("full", "x", 1)
    assert trained_here == ids(drawn) and len(drawn) == 2
    assert now.cost.bytes == 2 * 2 * 4 * task.parameters
    wanted = lib.one_round(task, drawn, start, phase="x")
    assert same(now.state, wanted.state)


@pytest.mark.parametrize("method", ["Retrain", "FT", "NoT", "FedEraser", "FUKD", "MoDE", "FCU", "TIS-Reset+TRIM"])
def test_methods_run_and_recovery_draws_among_those_who_stay(store, method):
    task = tiny(clients=8, participation=0.5, targets=[1], history="all", val_share=0.1, rounds=3)
    trained = lib.train(task, store)
    assert all(trained.history.clients(t) == ids(task.participants("full", "train", t)) for t in (1, 2, 3))
    assert sum(trained.history.weight(2, k) for k in trained.history.clients(2)) == pytest.approx(1)
    rounds = list(islice(lib.unlearn(task, trained, method), 4))
    recovery = rounds[-1].then
    if recovery.round:
        among = ids(task.participants("retain", recovery.phase, recovery.round))
        assert 1 not in among and len(among) == 4


def test_a_replay_includes_the_rounds_that_the_target_missed(store):
    task = tiny(clients=4, participation=2, targets=[1], history="all", rounds=8)
    trained = lib.train(task, store)
    took_part = [t for t in trained.history.rounds if 1 in trained.history.clients(t)]
    missed = [t for t in range(took_part[0], 9) if t not in took_part]
    assert missed
    replayed = [now.then.replay for now in lib.unlearn(task, trained, "FedEraser")]
    assert set(missed) <= set(replayed)


def test_a_target_that_missed_the_last_round_has_no_last_model_to_ascend_from(store):
    task = tiny(clients=8, participation=1, targets=[2], history="last", rounds=3)
    assert 2 not in ids(task.participants("full", "train", 3))
    with pytest.raises(lib.Bad, match="did not take part in the last round"):
        next(lib.unlearn(task, lib.train(task, store), "PGD"))


@pytest.mark.parametrize("wrong", [0, 0.0, -1, 1.5, "half"])
def test_a_participation_that_cannot_be_is_refused(wrong):
    with pytest.raises(lib.Bad, match="participation"):
        check({"s": {"dataset": "digits", "model": "small_cnn", "participation": wrong}}, "settings")


def test_ten_thousand_clients_take_the_memory_of_the_hundred_that_train():
    base = tiny(**ALONE, batch_size=2)
    clients = tuple(Client(torch.tensor([k % 200, (k + 1) % 200]), NOTHING, NOTHING) for k in range(10_000))
    task = replace(base, clients=clients, settings=base.settings | {"clients": 10_000, "participation": 100})
    trained_on = []

    def after_client(client, local):
        trained_on.append(client)

    state = task.init("a")
    next(lib.fedavg(task, "full", state, phase="warm"))
    tracemalloc.start()
    rounds = list(islice(lib.fedavg(task, "full", state, phase="x", after_client=after_client), 2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trained_on) == 200 and 190 < len(set(trained_on))
    assert rounds[0].cost.bytes == 100 * 2 * 4 * task.parameters
    assert peak < 5e6   # of Python's objects: nothing as long as 10,000 jobs is kept
