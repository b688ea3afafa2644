"""The only training loop: against a slow plain one, resumed, masked, and with clients left out."""
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import ALONE, same, tiny
from torch import nn
from torch.nn.functional import cross_entropy

import lib
from lib.errors import Bad
from lib.fl.batches import epoch, images, is_small, minibatches
from lib.fl.data import load
from lib.fl.rounds import Plateau, Worker, clock, learning_rate, worker
from lib.fl.task import Client, Job


def rounds(task, n, state=None, jobs="full", **kw):
    kw.setdefault("phase", "train")
    return list(islice(lib.fedavg(task, jobs, task.init("train") if state is None else state, **kw), n))


def seen(task, n):
    """All that a net sees of the first n images in an epoch."""
    found = epoch(task, task.recipe, Job(0, torch.arange(n)), task.rng("a"))
    return torch.cat([images(task, task.recipe, b.plan) if b.images is None else b.images for b in found])


def slow_fedavg(task, n):
    """FedAvg as in a textbook: a new net and a new optimiser for each client, states averaged one by one."""
    state, recipe = task.init("train"), task.recipe
    for r in range(1, n + 1):
        total = 0
        locals_ = []
        for job in task.jobs("full"):
            net = lib.build(task.settings, task.x.shape[1], task.classes, task.size).double().train()
            net.load_state_dict(state)
            opt = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
            rng = task.rng("train", r, job.client)
            for _ in range(recipe.local_epochs):
                order = torch.randperm(len(job.indices), generator=rng)
                parts = list(order.split(recipe.batch_size))
                if len(parts[-1]) == 1:
                    parts[-2:] = [torch.cat(parts[-2:])]
                for part in parts:
                    x = task.x[job.indices[part]].double()
                    opt.zero_grad()
                    cross_entropy(net(x), task.y[job.indices[part]]).backward()
                    opt.step()
            locals_.append((len(job.indices), net.state_dict()))
            total += len(job.indices)
        state = {k: sum(m / total * s[k] for m, s in locals_) for k in state}
    return state


@pytest.mark.parametrize("epochs", [1, 2])
def test_same_weights_as_a_slow_plain_fedavg(epochs):
    task = tiny(local_epochs=epochs, partition="dirichlet", beta=1.0, min_size=5)  # clients of unequal size
    fast, slow = rounds(task, 3)[-1].state, slow_fedavg(task, 3)
    for k in slow:
        assert torch.allclose(fast[k], slow[k], rtol=0, atol=1e-6), k


def test_resuming_is_exact(task):
    whole = rounds(task, 5)
    part = rounds(task, 2)
    rest = rounds(tiny(), 3, state=part[-1].state, start=2)
    assert same(whole[-1].state, rest[-1].state)


def test_resuming_is_exact_with_a_kept_optimiser():
    task = tiny(**ALONE, keep_optimizer=True)
    whole, part = rounds(task, 4), rounds(task, 2)
    rest = rounds(tiny(**ALONE, keep_optimizer=True), 2, state=part[-1].state, start=2, extra=part[-1].extra)
    assert same(whole[-1].state, rest[-1].state)
    forgotten = rounds(task, 2, state=part[-1].state, start=2)
    assert not same(whole[-1].state, forgotten[-1].state)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_one_client_is_plain_training(optimizer):
    task = tiny(**ALONE, keep_optimizer=True, optimizer=optimizer, lr=0.01)
    net, r = task.build().train(), task.recipe
    net.load_state_dict(task.init("train"))
    opt = torch.optim.SGD(net.parameters(), r.lr, r.momentum, weight_decay=r.weight_decay) if optimizer == "sgd" \
        else torch.optim.Adam(net.parameters(), r.lr, (r.momentum, 0.999), weight_decay=r.weight_decay)
    indices = task.indices("full")
    for number in range(1, 4):
        for part in torch.randperm(len(indices), generator=task.rng("train", number, 0)).split(r.batch_size):
            opt.zero_grad()
            cross_entropy(net(task.inputs(task.x[indices[part]])), task.y[indices[part]]).backward()
            opt.step()
    assert same(rounds(task, 3)[-1].state, net.state_dict())


def keeping(locals):
    """An `after_client` that copies what the clients send into `locals`."""
    def after_client(client, local):
        locals[client] = {k: v.clone() for k, v in local.items()}
    return after_client


def test_leaving_a_client_out_moves_nobody_else(task):
    jobs = task.jobs("full")
    a, b = {}, {}
    rounds(task, 1, jobs=jobs, after_client=keeping(a))
    rounds(task, 1, jobs=jobs[1:], after_client=keeping(b))
    assert set(a) - set(b) == {0}
    for k in b:
        assert same(a[k], b[k])


def test_local_states_add_up_to_the_round(task):
    start, sent = task.init("train"), {}
    now = rounds(task, 1, state=start, after_client=keeping(sent))[0]
    jobs = task.jobs("full")
    n = sum(len(j.indices) for j in jobs)
    moved = {k: sum(len(j.indices) / n * sent[j.client][k] for j in jobs) for k in start}
    assert all(torch.allclose(now.state[k], moved[k], atol=1e-12) for k in start)


def test_masked_entries_stay_put_bit_for_bit_under_decay_and_momentum(task):
    start = task.init("train")
    mask = {k: torch.rand(v.shape, generator=task.rng("mask")) < 0.5 for k, v in start.items()}
    end = rounds(task, 2, state=start, mask=mask)[-1].state
    for k, free in mask.items():
        assert torch.equal(end[k][~free], start[k][~free])
        assert not torch.equal(end[k][free], start[k][free])


def test_float_buffers_are_averaged_and_counters_stay_integers():
    task = tiny(model="resnet18", width=8, size=16, channels=3, n_train=120, batch_size=8)
    start, sent = task.init("train"), {}
    now = rounds(task, 1, state=start, after_client=keeping(sent))[0]
    jobs, k = task.jobs("full"), "bn1.running_mean"
    n = sum(len(j.indices) for j in jobs)
    mean = sum(len(j.indices) / n * sent[j.client][k] for j in jobs)
    assert torch.allclose(now.state[k], mean)
    assert not now.state["bn1.num_batches_tracked"].is_floating_point()


def test_a_last_batch_of_one_joins_the_one_before(task):
    found = epoch(task, replace(task.recipe, batch_size=16), Job(0, torch.arange(33)), task.rng("x"))
    assert [len(batch.labels) for batch in found] == [16, 17]


def test_a_job_of_k_steps_sees_k_minibatches(task):
    seen = []
    job = lib.Job(0, task.indices("forget"), steps=5)
    rounds(task, 1, jobs=[job], after_step=lambda model, step: seen.append(step))
    assert seen == [1, 2, 3, 4, 5]
    start = task.init("train")
    none = rounds(task, 1, state=start, jobs=[job._replace(steps=0)])[0]
    assert same(none.state, start) and none.cost.flops == 0


def test_a_rate_falls_tenfold_when_the_mean_loss_has_not_improved_for_longer_than_patience():
    opt = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    falling, rates = Plateau(opt, patience=2, steps=2), []
    for loss in (3, 1, 1, 3, 0, 4, 2, 2, 2, 2, 2, 2):        # the means of two are 2 each, the first of them is the best
        falling.see(torch.tensor(float(loss)))
        rates.append(opt.param_groups[0]["lr"])
    assert rates == [1.0] * 7 + [pytest.approx(0.1)] * 5
    for _ in range(100):
        falling.see(torch.tensor(2.0))
    assert opt.param_groups[0]["lr"] == pytest.approx(1e-7)


def test_every_client_begins_with_the_rate_of_the_round(task):
    """Though that of the client before has fallen: the same as if it were alone."""
    recipe = replace(task.recipe, lr=1.0, patience=1)
    jobs = task.jobs("full")[:2]
    locals_ = {}
    for some in (jobs, jobs[1:]):
        rounds(task, 1, jobs=some, recipe=recipe, after_client=lambda k, local: locals_.setdefault(k, []).append(
            {name: v.clone() for name, v in local.items()}))
    assert same(*locals_[jobs[1].client])


def test_after_step_stops_a_client(task):
    now = rounds(task, 1, jobs=task.jobs("full")[:1], after_step=lambda model, step: step == 2)[0]
    assert now.cost.flops == pytest.approx(2 * task.recipe.batch_size * task.flops[1])


def test_labels_of_a_job_replace_the_data_sets(task):
    job = task.jobs("full")[0]
    job = job._replace(labels=torch.zeros(len(job.indices), dtype=torch.long))
    state = rounds(task, 20, jobs=[job])[-1].state
    assert (lib.predict(task, state, job.indices).argmax(1) == 0).all()


def test_bytes_and_flops_are_linear_and_free_for_the_server(task):
    jobs = task.jobs("full")
    one, two = (rounds(task, 1, jobs=jobs[:k])[0].cost for k in (1, 2))
    assert one.bytes == 2 * 4 * task.parameters and two.bytes == 2 * one.bytes
    assert two.flops == pytest.approx(sum(len(j.indices) for j in jobs[:2]) * task.flops[1])
    teacher = rounds(task, 1, jobs=jobs[:1], passes=1)[0].cost
    assert teacher.flops == pytest.approx(len(jobs[0].indices) * sum(task.flops))
    server = rounds(task, 1, jobs=[lib.server_job(jobs[0].indices)])[0].cost
    assert server.bytes == 0 and server.flops == one.flops


def test_flops_of_a_linear_layer_by_hand():
    forward, both = lib.make_task(dict(dataset="digits", n_train=50, model="tis_cnn", width=2, **ALONE), 0).flops
    conv1, conv2 = 2 * 8 * 8 * 2 * 25, 2 * 4 * 4 * 4 * 2 * 25
    dense = 2 * (16 * 512 + 512 * 10)
    assert forward == conv1 + conv2 + dense
    assert both == 3 * forward - conv1  # nobody needs the gradient of the images


def test_cosine_falls_from_start_to_end_and_stays():
    rates = [learning_rate(("cosine", 1.0, 0.1, 10), None, r) for r in range(1, 15)]
    assert rates[0] == 1.0 and rates[5] == pytest.approx(0.55)
    assert rates[10:] == pytest.approx([0.1] * 4) and all(a >= b for a, b in zip(rates, rates[1:]))


def test_schedule_of_zero_rate_changes_nothing(task):
    start = task.init("train")
    end = rounds(task, 1, state=start, schedule=("cosine", 0.0, 0.0, 1))[0].state
    assert same(start, end)


def test_nobody_left_is_one_sentence(task):
    with pytest.raises(Bad, match="nobody"):
        rounds(task, 1, jobs=[])


def test_only_one_client_keeps_its_optimiser():
    with pytest.raises(Bad, match="keep_optimizer"):
        rounds(tiny(keep_optimizer=True), 1)


def test_clip_bounds_the_step():
    task = tiny(**ALONE, clip=1e-3, momentum=0.0, weight_decay=0.0, lr=1.0, keep_optimizer=True)
    start = task.init("train")
    end = rounds(task, 1, state=start, jobs=[task.jobs("full")[0]._replace(steps=1)])[0].state
    assert sum(((end[k] - start[k]) ** 2).sum() for k in start).sqrt() == pytest.approx(1e-3, rel=1e-6)


def test_flips_and_crops_are_pixels_of_the_image():
    task = tiny(flip=True, crop=1)
    x = task.x[:8]
    out = seen(task, 8)
    padded = nn.functional.pad(x.double(), (1, 1, 1, 1))
    crops = torch.cat([padded[:, :, i:i + 8, j:j + 8] for i in range(3) for j in range(3)])
    known = torch.cat([crops, crops.flip(3)])
    for image in out:
        assert (known == image).flatten(1).all(1).any()
    assert len({tuple(i.flatten().tolist()) for i in out} - {tuple(i.flatten().tolist()) for i in x}) > 0


@pytest.mark.parametrize("change,places", [({"crop": 2}, 5), ({"input_size": 6}, 3), ({"crop": 1, "input_size": 6}, 5)])
def test_every_place_of_a_random_crop_is_drawn(change, places):
    """An image with one bright pixel tells by where that pixel comes out where the crop was cut."""
    task = tiny(**change)
    x = torch.zeros(400, 1, 8, 8, dtype=torch.float64)
    x[:, :, 4, 4] = 1
    out = seen(replace(task, x=x, y=torch.zeros(400)), 400)
    found = {tuple(place) for place in out[:, 0].nonzero()[:, 1:].tolist()}
    assert len(found) == places ** 2
    assert {row for row, _ in found} == {column for _, column in found} == set(range(min(found)[0], min(found)[0] + places))


def test_half_of_the_images_are_flipped():
    task = tiny(flip=True)
    x = torch.zeros(400, 1, 8, 8, dtype=torch.float64)
    x[:, :, :, 0] = 1
    out = seen(replace(task, x=x, y=torch.zeros(400)), 400)
    assert 160 < out[:, 0, 0, 7].sum() < 240 and (out[:, 0, 0, 0] + out[:, 0, 0, 7] == 1).all()


def test_evaluation_crops_at_the_centre():
    task = tiny(input_size=6)
    assert torch.equal(task.inputs(task.x[:3]), task.x[:3, :, 1:7, 1:7])
    out = seen(task, 8)
    assert out.shape[-1] == 6


def test_the_data_are_never_written(task):
    x, y = task.x.clone(), task.y.clone()
    rounds(task, 2)
    assert torch.equal(task.x, x) and torch.equal(task.y, y)


def test_uint8_images_are_normalised(task):
    u8 = replace(task, x=torch.full((4, 1, 8, 8), 255, dtype=torch.uint8), mean=(0.5,), std=(0.25,),
                 clients=(Client(torch.arange(4), torch.empty(0, dtype=torch.long), torch.empty(0, dtype=torch.long)),))
    assert torch.allclose(u8.inputs(u8.x), torch.tensor(2.0, dtype=torch.float64))
    assert (u8.x == 255).all()


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_an_optimiser_that_lives_on_keeps_its_tensors_where_a_captured_graph_looks(task, optimizer):
    recipe = replace(task.recipe, momentum=0.9, optimizer=optimizer)
    work, job = Worker(task, recipe), task.jobs("full")[0]
    work.train(task.init("a"), job, task.rng("a"), 0.1)
    extra, places = work.extra(), {k: v.data_ptr() for k, v in work.buffers().items()}
    work.reset(task.init("a"), 0.1, extra)
    assert places and {k: v.data_ptr() for k, v in work.buffers().items()} == places
    assert all(torch.equal(v, extra[k]) for k, v in work.buffers().items())
    work.reset(task.init("a"), 0.1)
    assert not any(v.any() for v in work.buffers().values())


def test_a_client_without_data_trains_nothing(task):
    for steps in (None, 3):
        job = lib.Job(0, torch.empty(0, dtype=torch.long), steps=steps)
        seen, state = Worker(task, task.recipe).train(task.init("a"), job, task.rng("a"), 0.1)
        assert seen == 0 and same(state, task.init("a"))


class Recording:
    """A stand-in for a CUDA graph of the default step: it knows each tensor by where it was when it was recorded."""

    def __init__(self, work, plan, labels):
        work.default_step(plan, labels)      # the warm-up, which makes the momentum
        self.work, self.plan, self.y, self.replays = work, plan, labels, 0
        self.momenta = [work.opt.state[p]["momentum_buffer"] for p in work.parameters]

    @torch.no_grad()
    def replay(self):
        self.replays += 1
        group, parameters = self.work.opt.param_groups[0], self.work.parameters
        with torch.enable_grad():
            x = images(self.work.task, self.work.recipe, self.plan)
            gradients = torch.autograd.grad(cross_entropy(self.work.model(x), self.y), parameters)
        for p, momentum, gradient in zip(parameters, self.momenta, gradients):
            momentum.mul_(group["momentum"]).add_(gradient + group["weight_decay"] * p)
            p.sub_(group["lr"] * momentum)


@pytest.mark.parametrize("augmented", [{}, {"size": 12, "input_size": 8, "crop": 1, "flip": True}])
@pytest.mark.parametrize("keep", [True, False])
def test_a_recorded_step_is_the_eager_one_over_rounds_and_ragged_tails_stay_eager(monkeypatch, keep, augmented):
    settings = dict(**(ALONE if keep else {"clients": 3}), keep_optimizer=keep, momentum=0.9, batch_size=24, **augmented)
    eager = [now.state for now in rounds(tiny(**settings), 4)]
    monkeypatch.setattr(Worker, "can_capture", lambda self: True)
    monkeypatch.setattr(Worker, "recorded", lambda *known: Recording(*known))
    task = tiny(**settings)
    recorded = [now.state for now in rounds(task, 4)]
    for a, b in zip(eager, recorded):
        assert all(torch.allclose(a[k], b[k], rtol=0, atol=1e-10) for k in a)
    [((plan, labels, _), (graph, _, _))] = worker(task, task.recipe).graphs.items()
    full = sum(len(job.indices) // 24 for job in task.jobs("full"))
    assert plan == (4, 24) and labels == (24,) and graph.replays == 4 * full


def test_what_is_drawn_for_an_epoch_moves_to_the_device_once(monkeypatch):
    task = tiny(size=12, input_size=8, flip=True)
    moves = []
    monkeypatch.setattr("lib.fl.batches.moved", lambda drawn, device: moves.append(drawn.shape) or drawn)
    found = list(epoch(task, task.recipe, Job(0, torch.arange(64)), task.rng("a")))
    assert len(found) == 4 and moves == [(4, 64)]     # the order, the flips, the places of the crops


def test_a_clock_waits_for_the_device(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    task = tiny()
    assert clock(task) > 0 and not waited
    gpu = replace(task, device=torch.device("cuda"))
    assert clock(gpu) > 0 and waited == [gpu.device]


def test_each_task_computes_at_its_own_precision_and_the_key_says_so():
    def precision():
        return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    before = precision()
    try:
        high, highest = tiny(matmul="high"), tiny()
        for task in (high, highest, high):
            task.load(task.init("a"))
            assert precision() == (task.settings["matmul"], task is high)
            rounds(highest, 1)
            assert precision() == ("highest", False)
        assert high.fingerprint("full") != highest.fingerprint("full")
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]


def image_by_image(task, indices, rng):
    """`(inputs, labels)` of an epoch, cut on the host one image at a time; drawn in the order that has always been."""
    recipe, n = task.recipe, len(indices)
    order = torch.randperm(n, generator=rng)
    flips = torch.rand(n, generator=rng) < 0.5 if recipe.flip else torch.zeros(n, dtype=torch.bool)
    spare = task.x.shape[-1] + 2 * recipe.crop - task.size
    places = torch.randint(0, spare + 1, (2, n), generator=rng) if spare else torch.zeros(2, n, dtype=torch.long)
    found = []
    for i, index in enumerate(indices[order].tolist()):
        image = nn.functional.pad(task.x[index], (recipe.crop,) * 4)
        row, column = places[:, i].tolist()
        image = image[:, row:row + task.size, column:column + task.size]
        image = image.flip(2) if flips[i] else image
        found.append(task.inputs(image[None], marked=None if task.marked is None else task.marked[index][None]))
    return torch.cat(found), task.y[indices[order]]


@pytest.mark.parametrize("settings", [{}, {"flip": True}, {"size": 12, "input_size": 8, "flip": True}, {"crop": 2},
                                      {"size": 12, "input_size": 9, "flip": True, "crop": 1, "poison_label": 3},
                                      {"dtype": "float32", "flip": True, "crop": 2}])
def test_a_batch_made_from_fixed_buffers_is_the_one_cut_on_the_host(settings):
    task = tiny(**settings)
    indices = task.indices("full")[::2]
    x, y = image_by_image(task, indices, task.rng("a"))
    buffer, labels = torch.zeros(4, 16, dtype=torch.long), torch.zeros(16, dtype=torch.long)
    begin = 0
    for batch in minibatches(task, task.recipe, Job(0, indices), task.rng("a"), ahead=False):
        assert batch.images is None
        end = begin + len(batch.labels)
        if end - begin == 16:
            buffer.copy_(batch.plan)
            labels.copy_(batch.labels)
            assert torch.equal(images(task, task.recipe, buffer), x[begin:end]) and torch.equal(labels, y[begin:end])
        begin = end
    assert begin == len(indices)


def test_images_made_ahead_are_those_made_batch_by_batch():
    task = tiny(flip=True, dtype="float32", **ALONE)
    job = task.jobs("full")[0]
    ahead, later = (list(minibatches(task, task.recipe, job, task.rng("a"), ahead=ahead)) for ahead in (True, False))
    for a, b in zip(ahead, later, strict=True):
        assert torch.equal(a.images, images(task, task.recipe, b.plan)) and torch.equal(a.labels, b.labels)


@pytest.mark.parametrize("cuda, pixels, small", [(False, 2**22, True), (False, 2**22 + 1, False),
                                                 (True, 2**28, True), (True, 2**28 + 1, False)])
def test_a_gpu_makes_larger_epochs_ahead(task, cuda, pixels, small):
    class Images:
        is_cuda = cuda
        shape = (1, 1, 1, 1)

    assert is_small(replace(task, x=Images(), settings={**task.settings, "input_size": 1}), task.recipe, pixels) == small


@pytest.fixture
def photographs(tmp_path):
    """Settings of coloured images of 9 x 12 pixels that are to be squares of 8."""
    rng = np.random.default_rng(0)
    file = tmp_path / "photographs.npz"
    np.savez(file, x=rng.integers(0, 256, (300, 9, 12, 3), dtype=np.uint8), y=np.arange(300) % 10)
    return dict(dataset=str(file), size=8, n_train=None, n_test=None, dtype="float32", crop=1, flip=True)


def test_images_resized_in_the_batch_are_those_kept_resized_and_so_is_the_key(photographs, monkeypatch):
    kept = tiny(**photographs)
    monkeypatch.setattr("lib.fl.task.load", lambda *args, later, **kw: load(*args, later=True, **kw))
    later = tiny(**photographs)
    assert kept.resize is None and later.resize == 8 and later.x.shape[2:] == (9, 12)
    assert later.size == kept.size == 8
    assert later.fingerprint("full") == kept.fingerprint("full")
    assert torch.equal(seen(later, 100), seen(kept, 100))
    a, b = (rounds(task, 1)[0].state for task in (later, kept))
    assert same(a, b)
    assert torch.equal(lib.predict(later, a, images=later.x_test), lib.predict(kept, a, images=kept.x_test))
