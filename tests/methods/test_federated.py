"""The federated baselines: each formula, each defining step, each refusal and each cost."""
from dataclasses import replace
from itertools import islice
from math import log, sqrt

import pytest
import torch
from conftest import same, tiny
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

import lib
from lib.errors import Bad
from lib.fl.engine import labelled
from lib.methods.trained import Trained
from lib.runs.store import Slot
from lib.methods import federated as fed

CLASS_WISE = dict(forget="class", forget_class=0)


class Past:
    """A history made by hand: `updates` {round: {client: state}}, `models` {round: state before it}, equal weights."""

    def __init__(self, models, updates, last=None):
        self.models, self.updates, self.local = models, updates, last
        self.rounds = sorted(updates)

    def before(self, t):
        return self.models[t]

    def update(self, t, k):
        return self.updates[t][k]

    def clients(self, t):
        return sorted(self.updates[t])

    def weight(self, t, k):
        return 1 / len(self.updates[t])

    def last(self, k):
        return self.local[k]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`made(**changes)`: a trained tiny task with its whole history, kept for all tests."""
    store, kept = lib.Store(tmp_path_factory.mktemp("store")), {}

    def get(**changes):
        key = str(sorted(changes.items()))
        if key not in kept:
            task = tiny(**{"history": "all", "n_train": 160, **changes})
            kept[key] = task, lib.train(task, store)
        return kept[key]
    return get


def stream(task, trained, name, n=1, **hp):
    return list(islice(lib.unlearn(task, trained, name, **hp), n))


def total(rounds):
    return sum((r.cost._replace(seconds=0.0) for r in rounds), lib.Cost())


def close(a, b, tol=1e-10):
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], atol=tol, rtol=0) for k in a)


def noise(task, name, scale=0.01):
    return {k: scale * torch.randn(v.shape, generator=task.rng(name, k), dtype=v.dtype)
            for k, v in task.init("train").items()}


def by_hand(task, rounds=3, target="noise"):
    """A trajectory of made-up updates; `target="mean"`: client 0 sends the mean of the others."""
    model, models, updates = task.init("train"), {}, {}
    for t in range(1, rounds + 1):
        sent = {k: noise(task, f"update {t} {k}") for k in range(4)}
        if target == "mean":
            sent[0] = lib.average([sent[k] for k in (1, 2, 3)], [1 / 3] * 3)
        models[t], updates[t] = model, sent
        model = fed.add(model, lib.average(sent.values(), [0.25] * 4))
    return Trained(task.init("train"), model, Past(models, updates), [])


def pretend(monkeypatch, sent):
    """Replace calibration training by `sent(round, client)`."""
    def one_round(task, jobs, state, start=0, after_client=None, **kw):
        for job in jobs:
            after_client(job.client, fed.add(state, sent(start + 1, job.client)))
        return lib.Round(state)
    monkeypatch.setattr(fed, "one_round", one_round)


# -- refusals --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name,word", [("FedEraser", "history: all"), ("FUKD", "history: targets"),
                                       ("PGD", "history: last")])
def test_without_history_the_setting_is_named(made, name, word):
    task, trained = made()
    with pytest.raises(Bad, match=word):
        stream(task, replace(trained, history=None), name)


def test_a_history_that_is_too_small_is_refused(made):
    task, trained = made(history="last")
    with pytest.raises(Bad, match="history: targets"):
        stream(task, trained, "FUKD")
    for history in ("last", "targets"):
        with pytest.raises(Bad, match="history: all"):
            stream(*made(history=history), "FedEraser")


@pytest.mark.parametrize("name", ["FedEraser", "FUKD", "PGD"])
def test_methods_that_remove_clients_refuse_class_wise_forgetting(made, name):
    with pytest.raises(Bad, match="forget: clients"):
        stream(*made(**CLASS_WISE), name)


@pytest.mark.parametrize("name,hp", [("FedEraser", {"per": "me"}), ("MoDE", {"weight_of": "x"}),
                                     ("FCU", {"fusion": "none"})])
def test_words_that_are_no_choice_are_refused(made, name, hp):
    with pytest.raises(Bad, match=next(iter(hp))):
        stream(*made(), name, **hp)


def test_fine_tuning_and_negation_take_a_learning_rate_of_their_own(made):
    task, trained = made()
    a, b, c = (stream(task, trained, "FT", 3, **hp) for hp in ({}, {"lr": task.recipe.lr}, {"lr": 0.01}))
    assert same(a[2].state, b[2].state) and not same(a[2].state, c[2].state) and same(a[0].state, c[0].state)
    assert not same(stream(task, trained, "NoT", 2, lr=0.01)[1].state, stream(task, trained, "NoT", 2)[1].state)


# -- FedEraser -------------------------------------------------------------------------------------------------------

def test_calibration_keeps_the_stored_length_and_the_new_direction(task):
    update, direction, names = noise(task, "a"), noise(task, "b", 3.0), fed.parameters(task)
    out = fed.calibrate(update, direction, names)
    for k in names:
        assert torch.allclose(out[k].norm(), update[k].norm(), rtol=1e-12)
        cosine = (out[k] * direction[k]).sum() / out[k].norm() / direction[k].norm()
        assert torch.allclose(cosine, torch.ones_like(cosine))


def test_calibration_is_free_of_scale(task, monkeypatch):
    trained = by_hand(task)
    pretend(monkeypatch, lambda t, k: {n: 7.0 * v for n, v in trained.history.update(t, k).items()})
    rounds = stream(task, trained, "FedEraser", 9)
    for t, (a, b) in enumerate(zip(rounds, rounds[1:], strict=False), 2):
        mean = lib.average([trained.history.update(t, k) for k in (1, 2, 3)], [1 / 3] * 3)
        assert close(fed.add(a.state, mean), b.state)


def test_a_target_like_the_others_leaves_the_trajectory_as_it_was(task, monkeypatch):
    trained = by_hand(task, target="mean")
    pretend(monkeypatch, trained.history.update)
    rounds = stream(task, trained, "FedEraser", 9)
    assert len(rounds) == 3 and close(rounds[-1].state, trained.state)
    assert all(close(r.state, trained.history.before(t + 1)) for t, r in enumerate(rounds[:-1], 1))


def test_updates_of_zero_length_give_no_nan(task, monkeypatch):
    zero = {k: torch.zeros_like(v) for k, v in task.init("train").items()}
    for stored, new in ((zero, noise(task, "a")), (noise(task, "a"), zero), (zero, zero)):
        out = fed.calibrate(stored, new, fed.parameters(task))
        assert close(out, zero, 0)


def test_the_first_replayed_round_uses_stored_updates_of_the_others(made):
    task, trained = made()
    past, rounds = trained.history, stream(task, trained, "FedEraser", 9)
    weights = [past.weight(1, k) / (1 - past.weight(1, 0)) for k in (1, 2, 3)]
    mean = lib.average([past.update(1, k) for k in (1, 2, 3)], weights)
    assert close(rounds[0].state, fed.add(past.before(1), mean)) and rounds[0].cost == lib.Cost()
    assert len(rounds) == task.settings["rounds"]


def test_replay_is_calibrated_and_not_merely_retrained(made):
    # with one client left the step of a round is that client's: stored length, new direction
    task, trained = made(targets=[0, 1, 2])
    a, b = stream(task, trained, "FedEraser", 2)
    past = trained.history
    local = lib.one_round(task, task.jobs("retain"), a.state, phase="federaser", start=1).state    # of the one client
    fresh = fed.difference(local, a.state)
    for k in fed.parameters(task):
        step, kept = b.state[k] - a.state[k], past.update(2, 3)[k]
        assert torch.allclose(step.norm(), kept.norm(), rtol=1e-9)
        assert (step * fresh[k]).sum() > (1 - 1e-9) * step.norm() * fresh[k].norm()
        assert abs(kept.norm() - fresh[k].norm()) > 1e-6 * kept.norm()


def test_replay_in_larger_steps_and_of_the_average(made):
    task, trained = made(rounds=5)
    assert [len(stream(task, trained, "FedEraser", 9, interval=i)) for i in (1, 2, 4, 9)] == [5, 3, 2, 1]
    assert not same(*(stream(task, trained, "FedEraser", 2, per=p)[-1].state for p in ("client", "average")))
    assert len(stream(task, trained, "FedEraser", 9, recovery=True)) == 9


def test_replay_begins_where_the_target_joined(made):
    task, trained = made(rounds=5, joins={0: 4})
    past, rounds = trained.history, stream(task, trained, "FedEraser", 9)
    assert past.clients(3) == [1, 2, 3] and past.clients(4) == [0, 1, 2, 3] and len(rounds) == 2
    mean = lib.average([past.update(4, k) for k in (1, 2, 3)], [1 / 3] * 3)
    assert close(rounds[0].state, fed.add(past.before(4), mean))


def test_replay_resumes_bit_for_bit(made):
    task, trained = made(rounds=5)
    whole = stream(task, trained, "FedEraser", 9)
    rest = stream(task, replace(trained, resume=whole[2]), "FedEraser", 9)
    assert len(rest) == 2 and same(rest[-1].state, whole[-1].state)


def test_replay_runs_to_its_end_and_its_storage_is_measured(made, store):
    task, trained = made(rounds=5)
    run = lib.run(task, store, "FedEraser", {"interval": 2}, count=2, trained=trained)
    assert [c["round"] for c in run["curve"]] == [0, 1, 2]
    a, b = (lib.run(task, store, m, count=1, trained=trained)["storage_bytes"] for m in ("FedEraser", "FUKD"))
    numbers = 4 * task.parameters
    assert 15 * numbers < a < 25 * numbers and 5 * numbers <= b < 10 * numbers
    assert lib.run(task, store, "FT", count=1, trained=trained)["storage_bytes"] == 0


def test_a_killed_replay_goes_on(made, store, monkeypatch):
    task, trained = made(rounds=5)
    whole = lib.run(task, store, "FedEraser", count=5, every=1, trained=trained)
    other, done, real = lib.Store(store.root.parent / "other"), [], Slot.checkpoint

    def dies(slot, number, *args):
        real(slot, number, *args)
        done.append(number)
        if len(done) == 3:
            raise KeyboardInterrupt
    monkeypatch.setattr(Slot, "checkpoint", dies)
    with pytest.raises(KeyboardInterrupt):
        lib.run(task, other, "FedEraser", count=5, every=1, trained=trained)
    again = lib.run(task, other, "FedEraser", count=5, every=1, trained=trained)
    assert done == [0, 1, 2, 3, 4] and same(whole["entry"].tensors("final"), again["entry"].tensors("final"))
    assert again["storage_bytes"] == whole["storage_bytes"]
    assert [c["round"] for c in again["curve"]] == [c["round"] for c in whole["curve"]]


@pytest.mark.parametrize("share,epochs", [(0.5, 2), (0.6, 3), (1.0, 4)])
def test_a_calibration_trains_a_share_of_the_local_epochs(monkeypatch, share, epochs):
    task, seen = tiny(local_epochs=4), []
    pretend(monkeypatch, lambda t, k: noise(task, f"fresh {t} {k}"))
    pretended = fed.one_round
    monkeypatch.setattr(fed, "one_round", lambda *a, **kw: seen.append(kw["recipe"].local_epochs) or pretended(*a, **kw))
    stream(task, by_hand(task), "FedEraser", 9, share=share)
    assert seen == [epochs, epochs]


def test_a_replayed_average_has_the_length_of_the_stored_average(task):
    trained = by_hand(task)
    rounds = stream(task, trained, "FedEraser", 9, per="average")
    for t in (2, 3):
        mean = lib.average([trained.history.update(t, k) for k in (1, 2, 3)], [1 / 3] * 3)
        for k in mean:
            step = rounds[t - 1].state[k] - rounds[t - 2].state[k]
            assert step.norm().item() == pytest.approx(mean[k].norm().item(), rel=1e-9)


# -- FUKD ------------------------------------------------------------------------------------------------------------

def subtracted(task, trained):
    return stream(task, trained, "FUKD", epochs=0)[0].state


def history_of(task, clients, sent, rounds=3):
    state, updates = task.init("train"), {}
    for t in range(1, rounds + 1):
        updates[t] = {k: sent(t) for k in clients}
        state = fed.add(state, sent(t))
    return Trained(task.init("train"), state, Past({}, updates), [])


def test_subtracting_nothing_changes_nothing(task):
    zero = {k: torch.zeros_like(v) for k, v in task.init("train").items()}
    trained = history_of(task, range(4), lambda t: zero)
    assert same(subtracted(task, trained), trained.state)


def test_subtracting_the_only_client_leaves_the_beginning(task):
    trained = history_of(task, [0], lambda t: noise(task, f"sent {t}"))
    assert close(subtracted(task, trained), trained.init)


def test_subtracting_one_of_equal_clients(task):
    trained = history_of(task, range(4), lambda t: noise(task, f"sent {t}"))
    wanted = {k: v + 3 / 4 * (trained.state[k] - v) for k, v in trained.init.items()}
    assert close(subtracted(task, trained), wanted) and not close(subtracted(task, trained), trained.state)


def test_only_rounds_in_which_the_target_took_part_are_subtracted(made):
    task, trained = made(rounds=5, joins={0: 4})
    past, wanted = trained.history, trained.state
    for t in (4, 5):
        wanted = fed.add(wanted, past.update(t, 0), -past.weight(t, 0))
    assert close(subtracted(task, trained), wanted)


def test_a_student_like_its_teacher_has_nothing_to_learn(task):
    state, net, x = task.init("a"), task.model, task.inputs(task.x[:8])
    net.load_state_dict(state)
    loss = fed.distillation(task.frozen(state), 3.0)(net, x, None)
    loss.backward()
    assert abs(loss.item()) < 1e-12 and all(p.grad.abs().max() < 1e-9 for p in net.parameters())


def test_distillation_is_the_scaled_divergence(task):
    net, teacher, x = task.load(task.init("a")), task.frozen(task.init("b")), task.inputs(task.x[:8])
    wanted = 9 * kl_div(log_softmax(net(x) / 3, 1), softmax(teacher(x) / 3, 1), reduction="batchmean")
    assert torch.allclose(fed.distillation(teacher, 3.0)(net, x, None), wanted)


def test_distillation_brings_the_student_to_its_teacher_without_labels(made):
    task, trained = made()
    x = task.inputs(task.x[torch.cat([c.val for c in task.clients[1:]])])

    def away(state):
        net = task.load(state)
        return fed.distillation(task.frozen(trained.state), 3.0)(net, x, None).item()
    a, b = (stream(task, trained, "FUKD", lr=0.01, epochs=e)[0].state for e in (0, 20))
    assert away(b) < 0.5 * away(a)
    val = torch.cat([c.val for c in task.clients])
    blind = replace(task, y=task.y.index_fill(0, val, task.classes))
    assert same(stream(blind, trained, "FUKD", lr=0.01)[0].state, stream(task, trained, "FUKD", lr=0.01)[0].state)
    with pytest.raises(Bad, match="val_share"):
        stream(*made(val_share=0.0), "FUKD")


def test_distillation_costs_the_server_only(made):
    task, trained = made()
    n = sum(len(c.val) for c in task.clients[1:])
    cost = total(stream(task, trained, "FUKD", epochs=3))
    assert cost == lib.Cost(0, 3 * n * (task.flops[1] + task.flops[0]))


# -- PGD -------------------------------------------------------------------------------------------------------------

STEPS = dict(lr=0.05, iterations=1, distance=1e9)


def reference(task, trained):
    return stream(task, trained, "PGD", iterations=0)[0].state


def test_the_reference_is_the_mean_of_the_others(made):
    task, trained = made()
    others = [trained.history.last(k) for k in (1, 2, 3)]
    assert close(reference(task, trained), lib.average(others, [1 / 3] * 3), 1e-6)  # updates are kept in float32
    assert not close(reference(task, trained), trained.state, 1e-4)


def test_the_last_models_are_the_same_in_every_history(made):
    a, b, c = (made(history=h)[1].history.last(0) for h in ("all", "targets", "last"))
    assert close(b, c, 0) and close(a, b, 1e-6)


def test_no_step_leaves_the_ball(made, monkeypatch):
    task, trained = made()
    names, start, radius = fed.parameters(task), reference(task, trained), 0.05
    monkeypatch.setattr(fed, "ball", lambda *args: torch.tensor(radius**2))
    far = [sqrt(fed.square(fed.add(stream(task, trained, "PGD", updates=u, **STEPS)[0].state, start, -1.0), names))
           for u in range(1, 9)]
    assert max(far) <= radius * (1 + 1e-6) and far[-1] > radius * (1 - 1e-6)
    monkeypatch.undo()
    free = stream(task, trained, "PGD", updates=8, **STEPS)[0].state
    assert sqrt(fed.square(fed.add(free, start, -1.0), names)) > 2 * radius


def test_the_radius_is_a_third_of_the_way_to_random_models(task):
    names, state = fed.parameters(task), task.init("a")
    far = [sum(((state[k] - task.init("pgd", i)[k]) ** 2).sum() for k in names) for i in range(3)]
    assert torch.allclose(fed.ball(task, state, names, 3, True), sum(far) / 9)
    assert torch.allclose(fed.ball(task, state, names, 3, False), (sum(f.sqrt() for f in far) / 9) ** 2)


def test_the_loss_of_the_target_climbs(made):
    task, trained = made()
    idx = task.indices("forget")

    def loss(state):
        return cross_entropy(lib.predict(task, state, idx), task.y[idx]).item()
    losses = [loss(stream(task, trained, "PGD", updates=u, **{**STEPS, "lr": 0.002})[0].state) for u in (0, 5, 10)]
    assert losses[0] < losses[1] < losses[2]


def test_the_target_stops_at_its_distance(made):
    task, trained = made()
    one, many = (stream(task, trained, "PGD", **{**STEPS, "updates": u, "distance": 1e9})[0].state for u in (1, 6))
    at_once = stream(task, trained, "PGD", **{**STEPS, "updates": 6, "distance": 0.0})[0].state
    assert same(at_once, one) and not same(many, one)


def test_gradients_are_clipped(made):
    task, trained = made()
    names, start = fed.parameters(task), reference(task, trained)
    step = stream(task, trained, "PGD", updates=1, clip=1e-3, lr=1.0, iterations=1)[0].state
    assert sqrt(fed.square(fed.add(step, start, -1.0), names)) <= 1e-3 * (1 + 1e-5)


def test_buffers_stay_those_of_the_trained_model(made):
    task, trained = made(model="resnet18", width=8, size=16, channels=3, n_train=80, rounds=1)
    for name in ("PGD", "FCU"):
        now = stream(task, trained, name)[0].state
        buffers = now.keys() - set(fed.parameters(task))
        assert buffers and all(torch.equal(now[k], trained.state[k]) for k in buffers)
        assert not same(now, trained.state)


@pytest.mark.parametrize("name,seen,passes", [("PGD", 50, 0), ("FCU", 20, 2)])
def test_what_the_targets_part_costs(made, name, seen, passes):
    # its data fit one batch here, so that every step sees all of them
    task, trained = made(batch_size=40)
    hp = {"distance": 1e9} if name == "PGD" else {}
    n = len(task.indices("forget"))
    first, ft = stream(task, trained, name, 3, **hp), stream(task, trained, "FT", 3)
    forward, both = task.flops
    assert total(first[:1]) == lib.Cost(8 * task.parameters, seen * n * (both + passes * forward))
    assert total(first).bytes == total(ft).bytes + 8 * task.parameters


# -- MoDE ------------------------------------------------------------------------------------------------------------

def test_blending_at_its_ends(made):
    task, trained = made()
    keep = stream(task, trained, "MoDE", 4, weight=1.0, guide=False)
    assert all(close(r.state, trained.state, 0) for r in keep)
    phi = lib.one_round(task, "retain", task.init("mode"), phase="mode phi", recipe=replace(task.recipe, lr=0.1)).state
    swap = stream(task, trained, "MoDE", 2, weight=0.0, rounds=1, guide=False)
    other = stream(task, trained, "MoDE", 2, weight=1.0, weight_of="phi", rounds=1, guide=False)
    assert close(swap[1].state, phi, 0) and close(other[1].state, phi, 0)


def test_the_blend_of_equal_models_is_the_identity(made):
    task, trained = made()
    phi = lib.one_round(task, "retain", task.init("mode"), phase="mode phi", recipe=replace(task.recipe, lr=0.1)).state
    now = stream(task, replace(trained, state=phi), "MoDE", 2, weight=0.4, rounds=1, guide=False)[1].state
    assert close(now, phi, 1e-12)


def test_blending_takes_knowledge_away(made):
    task, trained = made(rounds=6)
    idx = task.indices("full")
    a, b = (stream(task, trained, "MoDE", 2, degrade=d, rounds=1, lr=1e-9)[1].state for d in (0, 1))
    loss = [lib.losses(lib.predict(task, s, idx), task.y[idx]).mean() for s in (a, b)]
    assert loss[1] > loss[0] + 0.05


def test_without_degradation_there_is_only_guidance(made):
    task, trained = made()
    now = stream(task, trained, "MoDE", 2, degrade=0, rounds=1)[1]
    jobs = fed.guided(task, task.init("mode"))
    wanted = lib.one_round(task, jobs, trained.state, phase="mode", recipe=replace(task.recipe, lr=0.005))
    assert close(now.state, wanted.state, 0)


@pytest.mark.parametrize("changes", [{}, CLASS_WISE, dict(forget="share", forget_share=0.25)])
def test_what_is_forgotten_is_labelled_by_phi_and_the_rest_is_true(made, changes):
    task, trained = made(**changes)
    phi, forget = task.init("mode"), set(task.indices("forget").tolist())
    guess = lib.predict(task, phi, torch.arange(len(task.x))).argmax(1)
    jobs = fed.guided(task, phi)
    assert sorted(torch.cat([j.indices for j in jobs]).tolist()) == task.indices("full").tolist()
    for j in jobs:
        wanted = [guess[i] if int(i) in forget else task.y[i] for i in j.indices]
        assert labelled(task, j, 1).labels.tolist() == [int(w) for w in wanted]


def test_true_labels_of_the_target_are_never_read(made):
    task, trained = made()
    blind = replace(task, y=task.y.index_fill(0, task.indices("forget"), task.classes))
    assert same(stream(blind, trained, "MoDE", 5)[-1].state, stream(task, trained, "MoDE", 5)[-1].state)


def test_what_degradation_and_guidance_cost(made):
    task, trained = made()
    rounds, model = stream(task, trained, "MoDE", 5), 4 * task.parameters
    n, m, u = (len(task.indices(w)) for w in ("full", "retain", "forget"))
    forward, both = task.flops
    guidance = lib.Cost(2 * 4 * model + model, n * both + u * forward)
    erasure = lib.Cost(2 * 3 * model, m * both)
    costs = [r.cost._replace(seconds=0.0) for r in rounds]
    assert costs == [lib.Cost(), erasure + guidance, erasure + guidance, guidance, erasure]  # at last a recovery round


# -- FCU -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(12, 20), (11, 7), (8, 3, 3, 3), (16, 8, 5, 5)])
@pytest.mark.parametrize("fusion", ["paper", "code"])
def test_fusing_equal_weights_is_the_identity(task, shape, fusion):
    w = torch.randn(shape, generator=task.rng("w"), dtype=torch.float64)
    assert torch.allclose(fed.fuse(w, w, 0.7, fusion), w, atol=1e-12)


@pytest.mark.parametrize("shape", [(12, 20), (11, 7), (8, 3, 3, 3)])
@pytest.mark.parametrize("ratio", [0.0, 0.3, 0.7, 0.9, 1.0])
def test_the_box_is_symmetric(task, shape, ratio, monkeypatch):
    a, b = (torch.randn(shape, generator=task.rng(n), dtype=torch.float64) for n in "ab")
    seen, real = [], torch.fft.ifft2
    monkeypatch.setattr(torch.fft, "ifft2", lambda z: seen.append(real(z)) or seen[-1])
    fed.fuse(a, b, ratio)
    assert seen[0].imag.abs().max() < 1e-12


def test_fusion_at_its_ends(task):
    a, b = (torch.randn(12, 20, generator=task.rng(n), dtype=torch.float64) for n in "ab")
    amplitude_of_b = torch.fft.ifft2(torch.polar(torch.fft.fft2(b).abs(), torch.fft.fft2(a).angle())).real
    assert torch.allclose(fed.fuse(a, b, 0.0), a) and torch.allclose(fed.fuse(a, b, 1.0), amplitude_of_b)
    assert torch.allclose(fed.fuse(a, b, 0.0, "code"), b)
    assert torch.allclose(fed.fuse(a, b, 0.5, "code"), fed.fuse(b, a, 0.5))


def test_phase_decides_whose_weights_they_are(task):
    a, b = (torch.randn(12, 20, generator=task.rng(n), dtype=torch.float64) for n in "ab")

    def like(x, y):
        return ((x * y).sum() / x.norm() / y.norm()).item()
    paper, code = fed.fuse(a, b, 0.7), fed.fuse(a, b, 0.7, "code")
    assert like(paper, a) > 0.8 > 0.3 > abs(like(paper, b)) and like(code, b) > 0.8 > 0.3 > abs(like(code, a))


def test_low_frequencies_are_the_trained_models(task):
    # a constant matrix is all low frequency: of its amplitude nothing is left but the trained model's
    a, b = torch.full((8, 8), 3.0, dtype=torch.float64), torch.full((8, 8), 5.0, dtype=torch.float64)
    assert torch.allclose(fed.fuse(a, b, 0.2), b) and torch.allclose(fed.fuse(a, b, 0.2, "code"), a)


def test_equal_neighbours_leave_nothing_to_prefer(task):
    net, pre, x = task.model, task.frozen(task.init("a")), task.inputs(task.x[:8])
    net.load_state_dict(task.init("b"))
    loss = fed.Contrast(pre, pre, 0.5)(net, x, None)
    loss.backward()
    assert abs(loss.item() - log(2)) < 1e-12
    assert all(p.grad is None or p.grad.abs().max() < 1e-12 for p in net.parameters())


def test_the_loss_pulls_features_to_the_untrained_model(task):
    from lib.fl.models import features
    pre, down, x = task.frozen(task.init("a")), task.frozen(task.init("b")), task.inputs(task.x[:8])
    loss, net = fed.Contrast(pre, down, 0.5), task.load(task.init("a"))
    z = [features(m, x)[1] for m in (net, pre, down)]
    s = [torch.nn.functional.cosine_similarity(z[0], other) for other in z[1:]]
    wanted = -torch.log(torch.exp(2 * s[1]) / (torch.exp(2 * s[0]) + torch.exp(2 * s[1]))).mean()
    assert torch.allclose(loss(net, x, None), wanted)
    assert loss(task.load(task.init("b")), x, None) < loss(task.load(task.init("a")), x, None)


def test_a_small_step_lowers_the_loss(made):
    task, trained = made()
    x = task.inputs(task.x[task.indices("forget")])
    loss = fed.Contrast(task.frozen(trained.state), task.frozen(task.init("fcu", 0)), 0.5)
    before = loss(task.load(trained.state), x, None)
    now = stream(task, trained, "FCU", lr=1e-4, iterations=1, interval=1, low_freq=0.0, redraw=False)[0].state
    assert loss(task.load(now), x, None) < before


def test_fusion_happens_and_spares_what_it_should(made):
    task, trained = made()
    fused, pure = (stream(task, trained, "FCU", low_freq=f)[0].state for f in (0.9, 0.0))
    weights = fed.fusable(task.model)
    assert weights == {"0.weight", "3.weight", "7.weight"}
    for k, v in trained.state.items():
        moved = k in ("0.weight", "3.weight")  # the head comes after the features: nothing pulls at it
        assert all(torch.allclose(s[k], v, atol=1e-12) != moved for s in (fused, pure))
    assert not torch.allclose(fused["0.weight"], pure["0.weight"])


def test_a_target_does_not_depend_on_another(made):
    task, trained = made(targets=[0, 1])
    both = stream(task, trained, "FCU")[0].state
    each = [stream(replace(task, clients=tuple(c if i == k else c._replace(forget=c.forget[:0]) for i, c in
                                               enumerate(task.clients))), trained, "FCU")[0].state for k in (0, 1)]
    assert close(both, lib.average(each, [0.5, 0.5]), 1e-12)


def test_fcu_iterations_are_minibatches_or_passes(made):
    task, trained = made()
    n, per_image = len(task.indices("forget")), task.flops[1] + 2 * task.flops[0]
    pieces = -(-n // 7)                                     # minibatches of a pass
    one = stream(task, trained, "FCU", iterations=3 * pieces, interval=pieces, batch_size=7)[0]
    three = stream(task, trained, "FCU", iterations=3, interval=1, batch_size=7, passes=True)[0]
    assert same(one.state, three.state) and three.cost.flops == pytest.approx(3 * n * per_image)


def test_fcu_rate_falls_on_a_plateau(made):
    task, trained = made()
    kept, patient, falls = (stream(task, trained, "FCU", iterations=30, lr=0.1, patience=p)[0].state for p in (None, 30, 1))
    assert same(kept, patient) and not same(kept, falls)


@pytest.mark.parametrize("name", ["MoDE", "FCU"])
@pytest.mark.parametrize("changes", [CLASS_WISE, dict(forget="share", forget_share=0.25)])
def test_class_and_instance_wise(made, name, changes):
    task, trained = made(**changes)
    rounds = stream(task, trained, name, 5)
    assert not same(rounds[-2].state, trained.state) and all(v.isfinite().all() for v in rounds[-1].state.values())


def test_several_targets_at_once(made):
    task, trained = made(targets=[0, 2])
    for name in ("FedEraser", "FUKD", "PGD", "MoDE", "FCU"):
        rounds = stream(task, trained, name, 2)
        assert all(v.isfinite().all() for v in rounds[-1].state.values()) and not same(rounds[-1].state, trained.state)
