"""Centralised methods: what defines each of them, and that nothing else is left when it is taken out."""
from itertools import islice

import pytest
import torch
from conftest import keeping_all, same, tiny
from torch.nn.functional import cross_entropy

import lib
from lib.methods.trained import Trained
from lib.fl.engine import labelled
from lib.fl.rounds import learning_rate
from lib.methods import centralized as c

ONE = dict(clients=1, keep_optimizer=True, forget="share", forget_share=0.25)
OURS = ("RandL", "GA", "BadT", "l1-sparse", "SSD", "SalUn")


def train(task, n=3):
    state = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), n))[-1].state
    return Trained(task.init("train"), state, None, [])


@pytest.fixture(scope="module")
def task():
    return tiny(**ONE)


@pytest.fixture(scope="module")
def trained(task):
    return train(task)


def stream(task, trained, name, n=1, **hp):
    return list(islice(lib.unlearn(task, trained, name, **hp), n))


def loss_on(task, state, which):
    net = task.load(state)
    with torch.no_grad():
        return float(torch.cat([cross_entropy(net(x), y, reduction="none")
                                for x, y in task.batches(task.indices(which))]).mean())


def batch_norm_task(**changes):
    return tiny(**{**ONE, "model": "resnet18", "width": 8, "size": 16, "channels": 3, "n_train": 80, **changes})


# -- the loop --------------------------------------------------------------------------------------------------------

def test_one_client_with_a_cosine_schedule_is_plain_sgd_bit_for_bit(task, trained):
    schedule = ("cosine", 0.1, 0.001, 3)
    net, r = task.build().train(), task.recipe
    net.load_state_dict(trained.state)
    opt = torch.optim.SGD(net.parameters(), r.lr, r.momentum, weight_decay=r.weight_decay)
    indices = task.indices("retain")
    for epoch in range(1, 6):
        opt.param_groups[0]["lr"] = learning_rate(schedule, None, epoch)
        for part in torch.randperm(len(indices), generator=task.rng("recover", epoch, 0)).split(r.batch_size):
            opt.zero_grad()
            cross_entropy(net(task.inputs(task.x[indices[part]])), task.y[indices[part]]).backward()
            opt.step()
    assert same(stream(task, trained, "FT", 6, schedule=schedule)[-1].state, net.state_dict())


def test_the_schedule_falls_to_its_end_and_stays():
    lrs = [learning_rate(("cosine", 0.1, 1e-5, 10), None, r) for r in range(1, 15)]
    assert lrs[0] == 0.1 and lrs[10:] == pytest.approx([1e-5] * 4) and lrs == sorted(lrs, reverse=True)


@pytest.mark.parametrize("name", ["NoT", "RandL", "GA", "l1-sparse", "BadT", "SalUn"])
def test_every_method_follows_its_schedule(task, trained, name):
    still = ("cosine", 0.0, 0.0, 5)
    rounds = stream(task, trained, name, 5, schedule=still)
    assert same(rounds[-1].state, rounds[-2].state)
    moving = stream(task, trained, name, 5)
    assert not same(moving[-1].state, moving[-2].state)


@pytest.mark.parametrize("name", OURS)
def test_rounds_start_at_the_trained_state_and_repeat(task, trained, name):
    a, b = stream(task, trained, name, 3), stream(task, trained, name, 3)
    assert same(a[-1].state, b[-1].state)
    assert same(a[0].state, trained.state) == (name != "SSD") and len(a) == (1 if name == "SSD" else 3)
    assert all(v.isfinite().all() for v in a[-1].state.values())


@pytest.mark.parametrize("name,hp", [("RandL", {}), ("SalUn", {"share": 1.0}), ("l1-sparse", {})])
def test_with_nothing_to_forget_it_is_fine_tuning_where_it_should_be(name, hp):
    task = keeping_all(tiny(**ONE))
    model = train(task)
    ft = stream(task, model, "FT", 4)[-1].state
    assert same(stream(task, model, name, 4, **hp)[-1].state, ft) == (name != "l1-sparse")


@pytest.mark.parametrize("name", ["RandL", "BadT"])
def test_true_labels_of_the_forget_data_are_not_used(trained, name):
    task = tiny(**ONE)
    clean = stream(task, trained, name, 3)[-1].state
    task.y[task.indices("forget")] = task.classes
    assert same(stream(task, trained, name, 3)[-1].state, clean)


def test_retrain_follows_the_schedule_of_training():
    task = keeping_all(tiny(**ONE, schedule=["cosine", 0.1, 0.0, 4]))
    start = task.init("train")
    whole = list(islice(lib.fedavg(task, "full", start, phase="train", schedule=task.settings["schedule"]), 4))
    again = list(islice(lib.unlearn(task, None, "Retrain", name="train"), 5))
    assert same(again[-1].state, whole[-1].state) and not same(again[-1].state, again[-2].state)


# -- RandL -----------------------------------------------------------------------------------------------------------

def test_random_labels_are_uniform_and_new_in_every_round(task):
    job = task.jobs("forget")[0]
    many = torch.stack([c.random_labels(task, job, r, False) for r in range(200)])
    counts = many.flatten().bincount(minlength=task.classes).double()
    chi2 = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    assert chi2 < 27.9  # 0.999 quantile with 9 degrees of freedom
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(many[0], task.y[job.indices])


def test_fixed_labels_stay_and_are_never_true(task):
    job = task.jobs("forget")[0]
    a, b = (c.random_labels(task, job, r, True) for r in (1, 2))
    assert torch.equal(a, b) and not (a == task.y[job.indices]).any() and len(a.unique()) > 5


def test_a_round_is_an_epoch_on_each_part(task, trained):
    r = task.recipe
    net = task.build().train()
    net.load_state_dict(trained.state)
    opt = torch.optim.SGD(net.parameters(), r.lr, r.momentum, weight_decay=r.weight_decay)
    for epoch in (1, 2):
        job = task.jobs("forget")[0]
        for phase, idx, labels in (("relabel", job.indices, c.random_labels(task, job, epoch, False)),
                                   ("recover", task.indices("retain"), task.y[task.indices("retain")])):
            for part in torch.randperm(len(idx), generator=task.rng(phase, epoch, 0)).split(r.batch_size):
                opt.zero_grad()
                cross_entropy(net(task.inputs(task.x[idx[part]])), labels[part]).backward()
                opt.step()
    now = stream(task, trained, "RandL", 3)
    assert same(now[-1].state, net.state_dict())
    assert now[1].cost.flops == task.flops[1] * len(task.indices("full"))


# -- GA --------------------------------------------------------------------------------------------------------------

def test_ascent_raises_the_forget_loss(task, trained):
    rounds = stream(task, trained, "GA", 2, lr=0.01)
    assert loss_on(task, rounds[1].state, "forget") > loss_on(task, rounds[0].state, "forget") + 0.01


def test_no_ascent_is_fine_tuning(task, trained):
    ft = stream(task, trained, "FT", 3)[-1].state
    assert same(stream(task, trained, "GA", 3, epochs=0)[-1].state, ft)
    assert not same(stream(task, trained, "GA", 4)[-1].state, ft)


def test_clipping_bounds_the_ascent_and_not_the_fine_tuning(task, trained):
    first = [stream(task, trained, "GA", 2, lr=1.0, clip=clip)[-1].state for clip in (1e-3, None)]
    far = [sum(float((s[k] - trained.state[k]).norm()) for k in s) for s in first]
    assert far[0] < 0.05 * far[1]
    a = stream(task, Trained(None, first[0], None, []), "FT", 2)[-1].state
    assert same(stream(task, trained, "GA", 3, lr=1.0, clip=1e-3)[-1].state, a)  # a new, unclipped optimiser


# -- BadT ------------------------------------------------------------------------------------------------------------

def test_teaching_loss_is_zero_for_the_good_teacher_itself(task, trained):
    good, bad = task.frozen(trained.state), task.frozen(task.init("bad teacher"))
    x, flag = task.inputs(task.x[:8]), torch.zeros(8, dtype=torch.long)
    loss = c.teaching_loss(good, bad, 1.0)
    assert float(loss(good, x, flag)) == pytest.approx(0, abs=1e-12)
    assert float(loss(bad, x, 1 - flag)) == pytest.approx(0, abs=1e-12)
    assert float(loss(good, x, 1 - flag)) > 0.1 and not any(p.requires_grad for p in bad.parameters())


def test_teaching_loss_is_the_mean_divergence_from_the_right_teacher(task, trained):
    good, bad = task.frozen(trained.state), task.frozen(task.init("bad teacher"))
    student = task.frozen(task.init("student"))
    x, flag, t = task.inputs(task.x[:6]), torch.tensor([0, 1, 1, 0, 1, 0]), 2.0
    p = torch.stack([(bad if f else good)(x)[i].div(t).softmax(0) for i, f in enumerate(flag)])
    q = (student(x) / t).softmax(1)
    assert float(c.teaching_loss(good, bad, t)(student, x, flag)) == pytest.approx(
        float((p * (p / q).log()).sum(1).mean()))


def test_a_high_temperature_teaches_uniform_targets(task, trained):
    good, bad = task.frozen(trained.state), task.frozen(task.init("bad teacher"))
    flat = task.frozen({k: torch.zeros_like(v) for k, v in trained.state.items()})
    x, flag = task.inputs(task.x[:8]), torch.zeros(8, dtype=torch.long)
    assert float(c.teaching_loss(good, bad, 1e6)(flat, x, flag)) < 1e-9 < float(
        c.teaching_loss(good, bad, 1.0)(flat, x, flag))


def test_students_come_to_the_bad_teacher_on_forget_data_and_stay_near_the_good_one_elsewhere(task, trained):
    now = stream(task, trained, "BadT", 6, lr=1e-3)
    good, bad = task.frozen(trained.state), task.frozen(task.init("bad teacher"))
    loss = c.teaching_loss(good, bad, 1.0)
    x = {w: task.inputs(task.x[task.indices(w)]) for w in ("forget", "retain")}

    def far(state, which, flag):
        return float(loss(task.frozen(state), x[which], torch.full((len(x[which]),), flag)))
    assert far(now[-1].state, "forget", 1) < 0.7 * far(now[0].state, "forget", 1)
    assert far(now[-1].state, "retain", 0) < 0.5 * far(now[-1].state, "retain", 1)


def test_students_see_all_forget_data_and_a_new_part_of_the_rest_and_teachers_cost(task, trained):
    a, b = (labelled(task, c.flagged_jobs(task, 0.3, r)[0], r) for r in (1, 2))
    forget, retain = set(task.indices("forget").tolist()), set(task.indices("retain").tolist())
    assert set(a.indices[a.labels == 1].tolist()) == forget
    shown = set(a.indices[a.labels == 0].tolist())
    assert shown < retain and len(shown) == round(0.3 * len(retain)) == int((a.labels == 0).sum())
    assert not torch.equal(a.indices, b.indices)
    forward, both = task.flops
    assert stream(task, trained, "BadT", 2)[1].cost.flops == len(a.indices) * (both + 2 * forward)


# -- l1-sparse -------------------------------------------------------------------------------------------------------

def test_without_penalty_it_is_fine_tuning(task, trained):
    ft, schedule = stream(task, trained, "FT", 5, schedule=["cosine", 0.05, 0.0, 4]), ["cosine", 0.05, 0.0, 4]
    assert same(stream(task, trained, "l1-sparse", 5, alpha=0.0, schedule=schedule)[-1].state, ft[-1].state)
    assert same(stream(task, trained, "l1-sparse", 5, epochs=0, schedule=schedule)[-1].state, ft[-1].state)
    assert not same(stream(task, trained, "l1-sparse", 5, schedule=schedule)[-1].state, ft[-1].state)


def test_the_penalty_makes_parameters_small(task, trained):
    def small(state):
        return float((torch.cat([v.flatten() for v in state.values()]).abs() < 1e-2).double().mean())
    ft, l1 = stream(task, trained, "FT", 3)[-1].state, stream(task, trained, "l1-sparse", 3, alpha=0.05)[-1].state
    assert small(l1) > small(ft) + 0.1


def test_the_penalty_counts_every_parameter_decays_and_has_no_gradient_at_zero(task, trained):
    net, x, y = task.build(), task.inputs(task.x[:4]), task.y[:4]
    net.load_state_dict(trained.state)
    with torch.no_grad():
        net[0].bias.zero_()
    extra = c.sparse_loss(0.5)(net, x, y) - cross_entropy(net(x), y)
    assert extra.item() == pytest.approx(0.5 * sum(float(p.abs().sum()) for p in net.parameters()))
    extra.backward()
    assert not net[0].bias.grad.abs().max() > 1e-12 and net[0].weight.grad.abs().min() > 0.4
    a, b = (stream(task, trained, "l1-sparse", 3, alpha=0.02, decay=d) for d in (True, False))
    assert same(a[1].state, b[1].state) and not same(a[2].state, b[2].state)


def test_the_penalty_ends_and_a_resumed_run_is_the_same(task, trained):
    whole = stream(task, trained, "l1-sparse", 6, alpha=0.02)
    assert same(list(islice(lib.recover(task, whole[2]), 3))[-1].state, whole[5].state)
    ft = list(islice(lib.fedavg(task, "retain", whole[2].state, phase="recover", start=2, extra=whole[2].extra), 3))
    assert same(ft[-1].state, whole[5].state) and whole[1].then.round == 0


# -- SSD -------------------------------------------------------------------------------------------------------------

def test_importance_is_the_mean_square_of_batch_gradients(task, trained):
    net, total, batches = task.frozen(trained.state).requires_grad_(True), 0, 0
    for part in task.indices("forget").split(task.recipe.batch_size):
        net.zero_grad()
        cross_entropy(net(task.inputs(task.x[part])), task.y[part]).backward()
        total, batches = total + net[0].weight.grad ** 2, batches + 1
    assert torch.allclose(c.importance(task, trained.state, "forget")["0.weight"], total / batches)


def test_dampening_is_the_formula():
    state = {"w": torch.tensor([1.0, -2.0, 3.0, -4.0, 5.0]), "buffer": torch.tensor(7.0)}
    forget, everything = {"w": torch.tensor([4.0, 4.0, 1.0, 0.0, 1.0])}, {"w": torch.tensor([1.0, 2.0, 1.0, 0.0, 0.0])}
    out = c.dampen(state, forget, everything, 1.0, 1.0)
    assert out["w"].tolist() == [0.25, -1.0, 3.0, -4.0, 0.0] and out["buffer"] == 7
    assert c.dampen(state, forget, everything, 0.5, 4.0)["w"].tolist() == [1.0, -2.0, 3.0, -4.0, 0.0]  # never grows


def test_dampening_keeps_signs_and_scale_free_choices(task, trained):
    f, e = (c.importance(task, trained.state, w) for w in ("forget", "full"))
    now = c.dampen(trained.state, f, e, 0.5, 0.5)
    for k, v in trained.state.items():
        assert (now[k].abs() <= v.abs()).all() and (now[k] * v >= 0).all()
    scaled = c.dampen(trained.state, {k: 8 * v for k, v in f.items()}, {k: 8 * v for k, v in e.items()}, 0.5, 0.5)
    assert same(now, scaled) and not same(now, trained.state)


def test_dampening_with_equal_importances_does_nothing_or_halves(task, trained):
    f = c.importance(task, trained.state, "full")
    assert same(c.dampen(trained.state, f, f, 0.5, 1.0), trained.state)
    half = c.dampen(trained.state, f, f, 0.5, 0.5)
    for k, v in trained.state.items():
        assert torch.equal(half[k], torch.where(f[k] > 0, v / 2, v))


def test_ssd_is_one_free_round_of_two_passes_in_eval_mode():
    task = batch_norm_task()
    model = train(task, 1)
    rounds = stream(task, model, "SSD", 3)
    n, forget = len(task.indices("full")), len(task.indices("forget"))
    assert len(rounds) == 1 and rounds[0].cost == lib.Cost(flops=task.flops[1] * (n + forget))
    changed = {k for k in model.state if not torch.equal(model.state[k], rounds[0].state[k])}
    assert "bn1.weight" in changed and not any("running" in k or "batches" in k for k in changed)
    assert same(stream(task, model, "SSD", alpha=1e300)[0].state, model.state)


# -- SalUn -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("share", [0.0, 0.2, 0.37, 1.0])
def test_the_mask_has_exactly_the_share_of_largest_gradients(task, trained, share):
    mask = c.saliency_mask(task, trained.state, share)
    flat = torch.cat([m.flatten() for m in mask.values()])
    assert int(flat.sum()) == int(share * task.parameters)
    net, forget = task.frozen(trained.state).requires_grad_(True), task.indices("forget")
    cross_entropy(net(task.inputs(task.x[forget])), task.y[forget]).backward()
    g = torch.cat([p.grad.flatten() for p in net.parameters()]).abs()
    if 0 < share < 1:
        assert g[flat].min() >= g[~flat].max() - 1e-12
    assert list(mask) == [k for k, _ in task.model.named_parameters()]


def test_what_is_masked_does_not_move_and_the_rest_does(task, trained):
    rounds = stream(task, trained, "SalUn", 4, share=0.2)
    for k, free in rounds[0].mask.items():
        assert torch.equal(rounds[-1].state[k][~free], trained.state[k][~free])
        assert not free.any() or not torch.equal(rounds[-1].state[k][free], trained.state[k][free])
    assert rounds[0].cost == lib.Cost(flops=task.flops[1] * len(task.indices("forget")))


def test_everything_salient_is_random_labels_and_nothing_salient_is_nothing(task, trained):
    randl = stream(task, trained, "RandL", 3)[-1].state
    assert same(stream(task, trained, "SalUn", 3, share=1.0)[-1].state, randl)
    assert same(stream(task, trained, "SalUn", 3, share=1e-9)[-1].state, trained.state)
    assert not same(stream(task, trained, "SalUn", 3, share=0.5)[-1].state, randl)


def test_nothing_salient_moves_only_the_statistics_of_batch_norm():
    task = batch_norm_task()
    model = train(task, 1)
    now = stream(task, model, "SalUn", 2, share=1e-9)[-1].state
    changed = {k for k in now if not torch.equal(now[k], model.state[k])}
    assert changed and all("running" in k or "batches" in k for k in changed)
