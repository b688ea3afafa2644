"""Federated unlearning: Retrain, FT, the five baselines of NoT's tables, and NoT."""
from dataclasses import dataclass, replace
from math import ceil, inf
from typing import Literal

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax

from ..errors import Bad
from ..fl.batches import bounds
from ..fl.engine import action, call, labels, loss
from ..fl.finite import NO_GUESS, finite, guess
from ..fl.models import features
from ..fl.rounds import (BYTES, Cost, Round, Then, accumulate, ascent, average, difference, fedavg, one_round,
                         server_job)
from ..values import Count, Momentum, NotNegative, Positive, Rate, Schedule, Share, SomeShare, Whole
from .ablation import check_layers, choose
from .grammar import method, recover


@method("Original", recovery=False)
def original(task, trained):
    """The trained model as it is: what unlearning starts from."""
    yield Round(trained.state)


@method("Retrain")
def retrain(task, trained, *, name: str = "retrain"):
    """Training from scratch on the retained data, the reference of every gap (NoT, 6.1).

    name: names the initialisation and the randomness. Another name is an independent Retrain, whose gap is the noise
    floor of every comparison; "train", with nothing to forget, repeats the original run bit for bit.
    """
    yield Round(task.init(name), then=Then(phase=name, schedule=task.settings["schedule"]))


@method("FT")
def ft(task, trained, *, lr: Rate | None = None, schedule: Schedule | None = None):
    """Fine-tuning on the retained data alone: natural forgetting (NoT, 6.1).

    lr, schedule: of the recovery, see `Then`; None is the task's rate.
    """
    yield Round(trained.state, then=Then(lr=lr, schedule=schedule))


@method("NoT", check=check_layers("NoT"))
def not_(task, trained, *, layers: list[int] | None = None, scale: float = -1.0, lr: Rate | None = None,
         schedule: Schedule | None = None):
    """NoT, eq. 3: multiply chosen tensors by -1, then fine-tune.

    layers: indices into `model.parameters()` as in the paper's listing (its section 11); None is the first
    convolution's weight, without its bias. scale: what they are multiplied by. lr, schedule: of the
    recovery, see `Then`.
    """
    state = dict(trained.state)
    for name in choose(task.model, layers):
        state[name] = trained.state[name] * scale
    yield Round(state, then=Then(lr=lr, schedule=schedule))


# -- states as vectors -----------------------------------------------------------------------------------------------

def add(a, b, alpha=1.0, names=None):
    """State `a + alpha * b` over `names` (default: all floating-point tensors); the rest is a's.

    >>> add({"w": torch.ones(1), "n": torch.tensor(3)}, {"w": torch.ones(1), "n": torch.tensor(4)}, alpha=2)
    {'w': tensor([3.]), 'n': tensor(3)}
    """
    out = dict(a)
    for k in a if names is None else names:
        if a[k].is_floating_point():
            out[k] = a[k] + alpha * b[k]
    return out


def square(a, names):
    """Squared Euclidean norm of a state over `names`, a scalar tensor."""
    return sum(a[k].square().sum() for k in names)


def parameters(task):
    """Names of the net's parameters, in order; its buffers are the rest of a state."""
    return [k for k, _ in task.model.named_parameters()]


def remaining_mean(state, leaving, weights, names):
    """Weighted mean of the others, given that of all: `(state - sum w_u leaving_u) / (1 - sum w_u)` over `names`.

    leaving: their states, one after the other; weights: a list of their weights in the mean of all.
    """
    for local, weight in zip(leaving, weights, strict=True):
        state = add(state, local, -weight, names)
    share = 1 - sum(weights)
    return state | {k: state[k] / share for k in names}


# -- what a method asks for ------------------------------------------------------------------------------------------

def client_wise(task, name):
    """Refuse forgetting that is not client by client, where whole clients are what a method takes away."""
    if task.settings["forget"] != "clients" or task.settings["training"] != "fedavg":
        raise Bad(f"methods.{name}: it takes whole clients out of federated training; set forget: clients and "
                  f"training: fedavg, or leave {name} out of methods")


def stored(task, trained, name, choice):
    """The history, or an error that says which one to keep. choice: the smallest that will do, first."""
    if trained.history is None:
        raise Bad(f"methods.{name}: it needs updates stored during training; set history: {choice}")
    return trained.history


def storing(task, name, *choices):
    """Refuse a setting whose training stores less than a method needs. choices: values of `history`, smallest first."""
    if task.settings["history"] not in choices:
        others = " (or all)" if len(choices) > 1 else ""
        raise Bad(f"methods.{name}: it needs updates stored during training; set history: {choices[0]}{others}")


def custom(task, **changes):
    """The task's recipe with those changes that are not None."""
    given = {k: v for k, v in changes.items() if v is not None}
    return replace(task.recipe, **given)


# -- FedEraser -------------------------------------------------------------------------------------------------------

def calibrate(update, direction, names):
    """FedEraser (Liu et al. 2021), eq. 4: each tensor with the stored update's length and the new one's direction.

    Zero where the new update is zero. Buffers, which have no direction, are the new update's.

    >>> calibrate({"w": torch.tensor([2.0])}, {"w": torch.tensor([-0.5])}, ["w"])
    {'w': tensor([-2.])}
    """
    out = dict(direction)
    for k in names:
        length = direction[k].norm()
        factor = update[k].norm() / length if length > 0 else 0.0
        out[k] = direction[k] * factor
    return out


def stored_round(task, past, t):
    """`(jobs, {client: weight})` of the remaining clients that took part in round t; the weights add to 1."""
    clients = past.clients(t)
    jobs = [job for job in task.jobs("retain", t) if job.client in clients]
    if not jobs:
        raise Bad("methods.FedEraser: it needs every client's updates; set history: all")
    weights = {job.client: past.weight(t, job.client) for job in jobs}
    total = sum(weights.values())
    return jobs, {client: weight / total for client, weight in weights.items()}


def recalibrated(task, past, state, t, share, per):
    """`(state, cost)` after round t from `state`: the stored updates in the directions of a short training (FedEraser,
    Algorithm 1).

    Clients' updates are calibrated one by one, each when its client is done; per `average` their means are. Bad where a
    client elsewhere (`lib.fl.engine`) does not answer: its old update would have no direction.
    """
    jobs, weights = stored_round(task, past, t)
    names = parameters(task)
    new, stored_mean, fresh_mean, heard = state, None, None, set()

    def after_client(client, local):
        nonlocal new, stored_mean, fresh_mean
        update, fresh = past.update(t, client), difference(local, state)
        heard.add(client)
        if per == "client":
            new = add(new, calibrate(update, fresh, names), weights[client])
        else:
            stored_mean = accumulate(stored_mean, update, weights[client])
            fresh_mean = accumulate(fresh_mean, fresh, weights[client])

    recipe = custom(task, local_epochs=ceil(share * task.recipe.local_epochs))
    now = one_round(task, jobs, state, phase="federaser", start=t - 1, recipe=recipe,
                    schedule=task.settings["schedule"], after_client=after_client)
    silent = sorted(weights.keys() - heard)
    if silent:
        raise Bad(f"methods.FedEraser: client {silent[0]} has not answered in the replay of round {t}; start again")
    if per == "average":
        new = add(state, calibrate(stored_mean, fresh_mean, names))
    return new, now.cost


def check_federaser(task, hp):
    client_wise(task, "FedEraser")
    storing(task, "FedEraser", "all")


@method("FedEraser", needs=("history",), recovery=False, check=check_federaser)
def federaser(task, trained, *, interval: Count = 1, share: SomeShare = 0.5,
              per: Literal["client", "average"] = "client", recovery: bool = False):
    """FedEraser (Liu et al. 2021), Algorithm 1: replay training without the targets, step lengths as stored.

    interval: replay every so many rounds; share: of the local epochs that go into a calibration, rounded up;
    per: calibrate every `client`, as in the paper, or the `average` of clients, as in its code; recovery: go on with
    fine-tuning. A target that joined late is replayed from the round it joined: before it, nothing is its.
    """
    client_wise(task, "FedEraser")
    past = stored(task, trained, "FedEraser", "all")
    targets = set(task.targets)
    first = min((t for t in past.rounds if targets & set(past.clients(t))), default=inf)
    touched = [t for t in past.rounds if t >= first][::interval]
    now = trained.resume or Round(trained.state, then=Then(replay=0))
    if not touched:
        yield now  # the targets were never drawn to take part
    for t in touched:
        if t <= now.then.replay:
            continue
        if t == touched[0]:
            jobs, weights = stored_round(task, past, t)
            state = past.before(t)  # holds nothing of the targets, so the stored updates are right
            cost = Cost()
            for job in jobs:
                state = add(state, past.update(t, job.client), weights[job.client])
        else:
            state, cost = recalibrated(task, past, now.state, t, share, per)
        now = Round(state, cost, then=Then(replay=t))
        yield now
    if recovery:
        yield from recover(task, now._replace(then=Then()))


@labels("none")
def no_labels(task, job, r):
    """Zeros, for a loss that does not look at labels."""
    return torch.zeros_like(job.indices)


# -- FUKD ------------------------------------------------------------------------------------------------------------

def distillation(teacher, temperature):
    """Distillation (Hinton et al. 2015): `T^2 KL(teacher || student)` of logits divided by T, mean over the batch.

    teacher: a frozen net; T: `temperature`. Labels are not looked at.
    """
    def divergence(model, x, y):
        with torch.no_grad():
            wanted = log_softmax(teacher(x) / temperature, 1)
        got = log_softmax(model(x) / temperature, 1)
        return temperature**2 * kl_div(got, wanted, reduction="batchmean", log_target=True)
    return divergence


@loss("distillation")
def distilled(task, *, teacher, temperature):
    """`distillation` from the state `teacher`."""
    return distillation(task.frozen(teacher), temperature)


def remaining_validation(task):
    """Indices of the validation images of clients that have nothing to forget."""
    leaving = set(task.targets)
    images = torch.cat([client.val for k, client in enumerate(task.clients) if k not in leaving])
    if not len(images):
        raise Bad("methods.FUKD: it distils on validation images; set val_share above 0, or use more images")
    return images


def check_fukd(task, hp):
    client_wise(task, "FUKD")
    storing(task, "FUKD", "targets", "all")
    remaining_validation(task)


@method("FUKD", needs=("history",), check=check_fukd)
def fukd(task, trained, *, lr: Rate = 1e-4, momentum: Momentum = 0.9, epochs: Whole = 3,
         temperature: Positive = 3.0, batch_size: Count | None = None):
    """FUKD (Wu, Zhu and Mitra 2022): subtract the targets' stored updates, then distil from the trained model.

    The server distils on the remaining clients' validation images, without labels: the paper leaves its data open.
    Buffers are not subtracted.
    """
    client_wise(task, "FUKD")
    past = stored(task, trained, "FUKD", "targets (or all)")
    leaving = set(task.targets)
    if len(past.rounds) < task.settings["rounds"]:
        raise Bad(f"methods.FUKD: {len(past.rounds)} of {task.settings['rounds']} rounds are stored; "
                  "set history: targets (or all)")
    state = trained.state
    for t in past.rounds:
        for k in leaving & set(past.clients(t)):
            state = add(state, past.update(t, k), -past.weight(t, k), parameters(task))
    images = remaining_validation(task)
    teaching = call(distilled, teacher=trained.state, temperature=temperature)
    recipe = custom(task, lr=lr, momentum=momentum, local_epochs=epochs, batch_size=batch_size, weight_decay=0.0,
                    optimizer="sgd", keep_optimizer=False)
    job = server_job(images, call(no_labels))
    yield one_round(task, [job], state, phase="fukd", recipe=recipe, loss=teaching, passes=1)


# -- PGD -------------------------------------------------------------------------------------------------------------

def ball(task, reference, names, draws, squared):
    """Squared radius of PGD's ball (Halimi et al. 2022), from distances to `draws` random models.

    squared: a third of the mean squared distance, as in the authors' code; else the square of a third of the mean
    distance, as in the paper.
    """
    far = [square(add(reference, task.init("pgd", i), -1.0), names) for i in range(draws)]
    if squared:
        return sum(far) / draws / 3
    return (sum(d.sqrt() for d in far) / draws / 3) ** 2


@action("stay in the ball")
def ball_step(task, loss, *, reference, own, limit, distance, squared):
    """PGD's `after_step`: back to the ball of squared radius `limit`, stop where far enough from the `own` model."""
    names = parameters(task)

    @torch.no_grad()
    def after_step(model, step):
        live = dict(model.named_parameters())
        far = square(add(live, reference, -1.0), names)
        if far > limit:
            shrink = (limit / far).sqrt()
            for n, p in live.items():
                p.copy_(reference[n] + shrink * (p - reference[n]))
        moved = square(add(live, own, -1.0), names)
        if not squared:
            moved = moved.sqrt()
        return moved > distance
    return after_step


def check_pgd(task, hp):
    client_wise(task, "PGD")
    storing(task, "PGD", "last", "targets", "all")


@method("PGD", needs=("forget", "history", "target"), check=check_pgd)
def pgd(task, trained, *, lr: Rate = 0.1, momentum: Momentum = 0.9, iterations: Whole = 10, updates: Whole = 5,
        distance: NotNegative = 3.0, clip: NotNegative | None = 2.0, batch_size: Count | None = None,
        squared: bool = True, draws: Count = 10):
    """PGD (Halimi et al. 2022): each target ascends its loss inside a ball around the mean of the others' models.

    iterations x updates: minibatch steps; distance: a target stops once it is farther from its own last model;
    squared: distance and radius are squared norms, as in the authors' code. Several targets: mean of their models.
    """
    client_wise(task, "PGD")
    past = stored(task, trained, "PGD", "last (or all)")
    names = parameters(task)
    jobs = task.jobs("forget")
    absent = sorted(set(task.targets) - set(past.clients(past.rounds[-1])))
    if absent:
        raise Bad(f"methods.PGD: client {absent[0]} did not take part in the last round of training, so its last model "
                  "is not known; set participation: null, or leave PGD out of methods")
    weights = [past.weight(past.rounds[-1], job.client) for job in jobs]
    reference = remaining_mean(trained.state, (past.last(job.client) for job in jobs), weights, names)
    limit = ball(task, reference, names, draws, squared)
    recipe = custom(task, lr=lr, momentum=momentum, clip=clip, batch_size=batch_size, weight_decay=0.0,
                    optimizer="sgd", keep_optimizer=False)
    total = sum(len(job.indices) for job in jobs)
    mean = None
    cost = Cost()
    for job in jobs:
        stay = call(ball_step, reference=reference, own=past.last(job.client), limit=limit, distance=distance,
                    squared=squared)
        limited = job._replace(steps=iterations * updates)
        now = one_round(task, [limited], reference, phase="pgd", recipe=recipe, loss=call(ascent), after_step=stay)
        mean = accumulate(mean, now.state, len(job.indices) / total)
        cost += now.cost
    yield Round(trained.state | {k: mean[k] for k in names}, cost)


# -- MoDE ------------------------------------------------------------------------------------------------------------

NOT_A_LABEL = -100      # what torch's cross-entropy leaves out


@labels("pseudo")
@torch.no_grad()
def pseudo_labels(task, job, r, *, phi):
    """Labels of a job over all of a client's data: those that the state `phi` gives to what is to be forgotten.

    Where its logits are not finite there is no label, and cross-entropy leaves the image out.
    """
    found = task.y[job.indices].clone()
    forget = task.job(job.client, "forget").indices
    if len(forget):
        net = task.load(phi)
        said = torch.cat([guess(net(x)) for x, _ in task.batches(forget)])
        given = said.masked_fill(said == NO_GUESS, NOT_A_LABEL)
        found[torch.isin(job.indices, forget).to(found.device)] = given
    return found


def guided(task, phi, r=1):
    """Jobs of round r over all data in which what is to be forgotten carries the labels that `phi` gives it."""
    pseudo = call(pseudo_labels, phi=phi)
    jobs = task.jobs("full")
    drawn = task.drawn({job.client for job in jobs}, "mode", r)
    return [job._replace(labels=pseudo) for job in jobs if job.client in drawn]


def labelling_cost(task, jobs):
    """What phi's labelling costs: it is sent to the targets among the jobs, which pass their data forward once."""
    taking_part = {job.client for job in jobs}
    targets = [job for job in task.jobs("forget") if job.client in taking_part]
    samples = sum(len(job.indices) for job in targets)
    return Cost(BYTES * task.parameters * len(targets), task.flops[0] * samples)


@method("MoDE", needs=("forget", "target"))
def mode(task, trained, *, lr: Rate = 0.005, lr_phi: Rate = 0.1, rounds: Whole = 3, degrade: Whole = 2,
         weight: Share = 0.4, weight_of: Literal["theta", "phi"] = "theta", guide: bool = True):
    """MoDE (Zhao et al. 2023): blend with a model that never saw the targets, then let it label their data.

    Of `rounds` guidance rounds the first `degrade` begin with a round of phi, which starts at random, on the retained
    data at lr_phi and the blend `weight * theta + (1 - weight) * phi` (weight_of: which of the two it weighs).
    Guidance is a round of theta on all data at lr, forget data labelled by phi; guide=False leaves it out.
    """
    theta = trained.state
    phi = task.init("mode")
    keep = weight if weight_of == "theta" else 1 - weight
    training_of_phi = fedavg(task, "retain", phi, phase="mode phi", recipe=custom(task, lr=lr_phi))
    yield Round(theta)
    for r in range(1, rounds + 1):
        cost = Cost()
        if r <= degrade:
            now = next(training_of_phi)
            phi = now.state
            cost += now.cost
            theta = average([theta, phi], [keep, 1 - keep])
        if guide and finite(theta):
            jobs = guided(task, phi, r)
            now = one_round(task, jobs, theta, phase="mode", start=r - 1, recipe=custom(task, lr=lr))
            theta = now.state
            cost += now.cost + labelling_cost(task, jobs)
        yield Round(theta, cost)


# -- FCU -------------------------------------------------------------------------------------------------------------

def fusable(model):
    """Names of the weights that FCU fuses: those of convolutions, linear layers and attention's joint projection."""
    names = set()
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            names.add(f"{path}.weight")
        elif isinstance(module, nn.MultiheadAttention):
            names.add(f"{path}.in_proj_weight")
    return names


def as_matrix(weight):
    """A weight as FCU transforms it: a convolution's `[out, in, kh, kw]` becomes `[in * kh, kw * out]`."""
    if weight.dim() != 4:
        return weight
    out, inputs, height, width = weight.shape
    return weight.permute(1, 2, 3, 0).reshape(inputs * height, width * out)


def as_weight(matrix, shape):
    """The inverse of `as_matrix`."""
    if len(shape) != 4:
        return matrix
    out, inputs, height, width = shape
    return matrix.reshape(inputs, height, width, out).permute(3, 0, 1, 2)


def low_frequencies(shape, ratio, device):
    """Where a transform of that shape holds low frequencies: a centred box, `ratio` of each side; bool `[n, m]`."""
    if ratio <= 0:
        return torch.zeros(shape, dtype=torch.bool, device=device)
    rows, columns = (2 * (torch.fft.fftfreq(n, device=device) * n).abs() <= ratio * n for n in shape)
    return rows[:, None] & columns


def fuse(theta, pre, ratio, fusion="paper"):
    """FCU (Deng et al. 2024), frequency-guided fusion of two weights of one shape.

    `paper`: low-frequency amplitude of `pre`, high-frequency amplitude and phase of `theta`; `code`, as in the
    authors': the other way round. ratio: side of the centred box of low frequencies, as a share of each side.
    """
    if fusion == "code":
        theta, pre = pre, theta
    a = torch.fft.fft2(as_matrix(theta))
    b = torch.fft.fft2(as_matrix(pre))
    low = low_frequencies(a.shape, ratio, a.device)
    amplitude = torch.where(low, b.abs(), a.abs())
    fused = torch.fft.ifft2(torch.polar(amplitude, a.angle())).real
    return as_weight(fused, theta.shape).to(theta.dtype)


@dataclass
class Contrast:
    """FCU's loss (Deng et al. 2024): features like those of `down` and unlike those of `pre`, two frozen nets.

    Cross-entropy of the two cosine similarities divided by the temperature. Labels are not looked at.
    """
    pre: nn.Module
    down: nn.Module
    temperature: float

    def __call__(self, model, x, y):
        z = penultimate(model, x)
        with torch.no_grad():
            unwanted = penultimate(self.pre, x)
            wanted = penultimate(self.down, x)
        scores = torch.stack([cosine_similarity(z, unwanted), cosine_similarity(z, wanted)], 1) / self.temperature
        choice = torch.ones(len(z), dtype=torch.long, device=z.device)
        return cross_entropy(scores, choice)


def penultimate(net, x):
    """The penultimate features as vectors `[n, d]`."""
    return features(net, x)[1].flatten(1)


@loss("contrast")
def contrasted(task, *, pre, temperature):
    """`Contrast` of the state `pre` with an untrained net, the initialisation named ("fcu", 0)."""
    return Contrast(task.frozen(pre), task.frozen(task.init("fcu", 0)), temperature)


@action("fuse")
def fusing(task, contrast, *, trained, iterations, interval, low_freq, fusion, redraw):
    """FCU's `after_step`: fuse with the state `trained` after every `interval` steps, and draw an untrained net."""
    fused = fusable(task.model)

    @torch.no_grad()
    def after_step(model, step):
        if step % interval and step != iterations:
            return
        for k, v in model.state_dict().items():
            old = trained[k]
            v.copy_(fuse(v, old, low_freq, fusion) if k in fused else old)
        if redraw:
            contrast.down.load_state_dict(task.init("fcu", step % iterations))  # the next client begins with the first
    return after_step


def check_fcu(task, hp):
    if not any(isinstance(module, nn.Linear) for module in task.skeleton.modules()):
        raise Bad("methods.FCU: it contrasts the inputs of the last linear layer and this net has none; "
                  "choose another model")


@method("FCU", needs=("forget", "target"), check=check_fcu)
def fcu(task, trained, *, lr: Rate = 0.01, iterations: Count = 20, interval: Count = 10, low_freq: Share = 0.9,
        temperature: Positive = 0.5, fusion: Literal["paper", "code"] = "paper", redraw: bool = True,
        beta2: Momentum = 0.99, weight_decay: NotNegative = 5e-4, batch_size: Count | None = None,
        passes: bool = False, patience: Count | None = None):
    """FCU (Deng et al. 2024): each target moves features towards an untrained model, kept near the trained one by
    fusing weights in the frequency domain after every `interval` of the `iterations`.

    redraw: a fresh untrained model after each fusion; fusion: see `fuse`. Biases, norms and buffers stay the trained
    model's. Several targets: mean of their models. passes: an iteration is a pass over a target's data, the largest
    one's, instead of a minibatch; patience: the rate falls tenfold when the mean loss of an iteration has not improved
    for longer than so many (NoT, 14.1: 2), None keeps it, as the authors' code does.
    """
    recipe = custom(task, lr=lr, beta2=beta2, weight_decay=weight_decay, batch_size=batch_size, momentum=0.9,
                    optimizer="adam", keep_optimizer=False)
    jobs = task.jobs("forget")
    steps = max(len(bounds(len(job.indices), recipe.batch_size)) - 1 for job in jobs) if passes else 1
    iterations, interval = iterations * steps, interval * steps
    if patience is not None:
        recipe = replace(recipe, patience=patience, judged=steps)
    jobs = [job._replace(steps=iterations, labels=call(no_labels)) for job in jobs]
    contrast = call(contrasted, pre=trained.state, temperature=temperature)
    fuse_often = call(fusing, trained=trained.state, iterations=iterations, interval=interval, low_freq=low_freq,
                      fusion=fusion, redraw=redraw)
    yield one_round(task, jobs, trained.state, phase="fcu", recipe=recipe, passes=2, loss=contrast,
                    after_step=fuse_often)
