"""Every method's client work travels: with orders and replies as bytes, to clients built from settings and seed alone."""
from itertools import islice

import pytest
import torch
from conftest import TINY, same, tiny

import lib
from lib.errors import Bad
from lib.fl import engine as e
from lib.fl.messages import answered, order_bytes, packed, reply_of, unpacked

SETTINGS = {"partition": "dirichlet", "beta": 1.0, "min_size": 8, "val_share": 0.1, "history": "all", "rounds": 2}
FEDERATED = {"Retrain": {}, "FT": {}, "NoT": {}, "FedEraser": {"recovery": True}, "FUKD": {"lr": 0.01, "epochs": 1},
             "PGD": {"iterations": 2, "updates": 2}, "MoDE": {"rounds": 2, "degrade": 1},
             "FCU": {"iterations": 4, "interval": 2}, "TIS-Reset": {}, "TIS-Reset+TRIM": {"curvature": "ggn_mc"}}
OTHERS = {"RandL": {}, "GA": {}, "l1-sparse": {}, "BadT": {}, "SalUn": {}}
WORDS = {"clients": {"forget": "clients", "targets": [0, 2]}, "class": {"forget": "class", "forget_class": 3}}


class Elsewhere:
    """An engine whose clients get bytes, and have built their task themselves; it counts what it sends."""

    def __init__(self, settings):
        self.settings, self.clients, self.orders, self.bytes = settings, {}, [], 0

    def __call__(self, task, state, jobs, order):
        self.orders.append(order)
        for job in jobs:
            sent = order_bytes(state, job, order)
            if job.client not in self.clients:
                self.clients[job.client] = lib.make_task(self.settings, task.seed)
            back = answered(self.clients[job.client], sent)
            self.bytes += len(sent) + len(back)
            yield reply_of(job, back)


def both(settings):
    """The same task twice, in this process and with its clients elsewhere."""
    settings = {**TINY, **settings}
    here = lib.make_task(settings, 1)
    away = lib.make_task(settings, 1)
    object.__setattr__(away, "engine", Elsewhere(settings))
    return here, away


def equal(a, b):
    assert len(a) == len(b)
    for one, other in zip(a, b):
        assert same(one.state, other.state)
        assert one.cost[:2] == other.cost[:2]
        assert (one.extra is None) == (other.extra is None) and same(one.extra or {}, other.extra or {})


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two tasks, and what the training of each has left, in a store of its own."""
    made = {}

    def make(words, **changes):
        key = words, str(changes)
        if key not in made:
            tasks = both(SETTINGS | WORDS[words] | changes)
            stores = [lib.Store(tmp_path_factory.mktemp("store")) for _ in tasks]
            made[key] = [(task, lib.train(task, store)) for task, store in zip(tasks, stores)]
        return made[key]
    return make


def test_training_and_history_are_the_same_bits(trained):
    (here, ours), (away, theirs) = trained("clients")
    assert same(ours.state, theirs.state)
    for t in ours.history.rounds:
        for k in ours.history.clients(t):
            assert same(ours.history.update(t, k), theirs.history.update(t, k))
    numbers = here.parameters * 8 * 2 * len(here.jobs("full")) * 2
    assert numbers < away.engine.bytes < 2 * numbers      # states go there and back, and hardly anything else


@pytest.mark.parametrize("name", FEDERATED)
def test_every_federated_method_gives_the_same_bits(trained, name):
    (here, ours), (away, theirs) = trained("clients")
    away.engine.orders.clear()
    found = [list(islice(lib.unlearn(task, one, name, **FEDERATED[name]), 4))
             for task, one in ((here, ours), (away, theirs))]
    equal(*found)
    assert away.engine.orders, "nothing was asked of the clients"


@pytest.mark.parametrize("name", ["MoDE", "FCU", "TIS-Reset+TRIM"])
def test_a_class_is_forgotten_with_the_same_bits(trained, name):
    (here, ours), (away, theirs) = trained("class")
    equal(*(list(islice(lib.unlearn(task, one, name, **FEDERATED[name]), 3))
            for task, one in ((here, ours), (away, theirs))))


@pytest.mark.parametrize("name", OTHERS)
def test_the_other_methods_travel_too(trained, name):
    changes = dict(clients=1, forget="share", forget_share=0.2, history="none", keep_optimizer=True, partition="iid")
    (here, ours), (away, theirs) = trained("class", **changes)
    equal(*(list(islice(lib.unlearn(task, one, name, **OTHERS[name]), 3))
            for task, one in ((here, ours), (away, theirs))))


def test_the_engine_of_a_call_goes_before_that_of_the_task():
    here, away = both({})
    state = here.init("a")
    lib.one_round(away, "full", state, phase="x", engine=lib.in_process)
    assert not away.engine.orders
    equal([lib.one_round(here, "full", state, phase="x", engine=away.engine)],
          [lib.one_round(here, "full", state, phase="x")])
    assert [order.phase for order in away.engine.orders] == ["x"]


def test_what_the_server_does_itself_is_sent_to_nobody():
    here, away = both({})
    lib.one_round(away, [lib.server_job(away.indices("retain"))], away.init("a"), phase="x")
    assert not away.engine.orders


def test_a_function_without_a_name_works_here_and_is_refused_elsewhere():
    here, away = both({})
    plain = {"phase": "x", "loss": lambda model, x, y: model(x).square().mean()}
    lib.one_round(here, "full", here.init("a"), **plain)
    with pytest.raises(Bad, match="register it with"):
        lib.one_round(away, "full", away.init("a"), **plain)


def test_ones_own_loss_action_and_labels_travel():
    @lib.loss("scaled")
    def scaled(task, *, by, teacher):
        net = task.frozen(teacher)
        return lambda model, x, y: by * (model(x) - net(x)).square().mean() + model(x)[range(len(y)), y].mean()

    @lib.action("two steps")
    def two_steps(task, loss, *, after):
        return lambda model, step: step == after

    @lib.labels("class")
    def one_class(task, job, round, *, c):
        return torch.full_like(job.indices, c)

    try:
        rounds = []
        for task in both({}):
            jobs = [job._replace(labels=lib.call(one_class, c=4)) for job in task.jobs("full")]
            asked = {"loss": lib.call(scaled, by=0.3, teacher=task.init("b")),
                     "after_step": lib.call(two_steps, after=2)}
            rounds.append(lib.one_round(task, jobs, task.init("a"), phase="x", **asked))
        equal(rounds[:1], rounds[1:])
        unlike = lib.one_round(task, "full", task.init("a"), phase="x", **asked)
        assert not same(unlike.state, rounds[0].state)
    finally:
        for kind, name in ((e.LOSSES, "scaled"), (e.ACTIONS, "two steps"), (e.LABELS, "class")):
            del kind[name]


def test_nets_of_a_loss_are_built_once_for_many_rounds_and_not_for_another_call(monkeypatch):
    task = tiny()
    built = []
    frozen = type(task).frozen
    monkeypatch.setattr(type(task), "frozen", lambda self, state: built.append(1) or frozen(self, state))
    from lib.methods.federated import distilled
    asked = lib.call(distilled, teacher=task.init("b"), temperature=2.0)
    list(islice(lib.fedavg(task, "full", task.init("a"), phase="x", loss=asked), 3))
    assert len(built) == 1
    again = lib.call(distilled, teacher=task.init("b"), temperature=2.0)
    lib.one_round(task, "full", task.init("a"), phase="x", loss=again)
    assert len(built) == 2


def test_bytes_give_back_what_they_were_made_of():
    value = {"a": [1, 2.5, None, True, "é"], "b": torch.arange(6).view(2, 3).t(), "c": {"1": torch.tensor(3.0)},
             "d": lib.Call("x", {"w": torch.tensor([True])}), "e": tiny().recipe, "": {}}
    back = unpacked(packed(value))
    assert back["a"] == value["a"] and back["e"] == value["e"] and back[""] == {}
    assert torch.equal(back["b"], value["b"]) and torch.equal(back["c"]["1"], value["c"]["1"])
    turned = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    back = unpacked(packed({"turned": turned, "straight": turned.contiguous()})) | back
    assert torch.equal(back["turned"], turned) and back["turned"].stride() == turned.stride()
    assert back["straight"].is_contiguous()
    assert back["d"].name == "x" and back["d"].arguments["w"].dtype == torch.bool


def test_a_lost_client_leaves_a_mean_over_the_rest():
    task = tiny()

    def lossy(task, state, jobs, order):
        return (reply for reply in lib.in_process(task, state, jobs, order) if reply.job.client != 1)

    some = [job for job in task.jobs("full") if job.client != 1]
    now = lib.one_round(task, "full", task.init("a"), phase="x", engine=lossy)
    wanted = lib.one_round(task, some, task.init("a"), phase="x")
    assert all(torch.allclose(now.state[k], wanted.state[k], rtol=0, atol=1e-12) for k in wanted.state)
    with pytest.raises(Bad, match="no client has answered"):
        lib.one_round(task, "full", task.init("a"), phase="x", engine=lambda *_: [])
