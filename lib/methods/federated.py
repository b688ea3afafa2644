"""Federated unlearning: Retrain, FT, the five baselines of NoT's tables, and NoT."""
from dataclasses import replace
from math import ceil

import torch
from torch import nn
from torch.nn.functional import cosine_similarity, cross_entropy, kl_div, log_softmax

from ..errors import Bad
from ..fl.models import features, first_layer
from ..fl.rounds import BYTES, Cost, Round, Then, average, fedavg, one_round, server_job
from . import method, recover


@method("Original", recovery=False)
def original(task, trained):
    """The trained model as it is: what unlearning starts from."""
    yield Round(trained.state)


@method("Retrain")
def retrain(task, trained, *, name="retrain"):
    """Training from scratch on the retained data, the reference of every gap (NoT, 6.1).

    name: names the initialisation and the randomness. Another name is an independent Retrain, whose gap is the noise
    floor of every comparison; "train", with nothing to forget, repeats the original run bit for bit.
    """
    yield Round(task.init(name), then=Then(phase=name, schedule=task.settings["schedule"]))


@method("FT")
def ft(task, trained, *, lr=None, schedule=None):
    """Fine-tuning on the retained data alone: natural forgetting (NoT, 6.1).

    lr, schedule: of the recovery, see `Then`; None is the task's rate.
    """
    yield Round(trained.state, then=Then(lr=lr, schedule=schedule))


@method("NoT")
def not_(task, trained, *, layers=None, scale=-1.0, lr=None, schedule=None):
    """NoT, eq. 3: multiply chosen tensors by -1, then fine-tune.

    layers: indices into `model.parameters()` as in the paper's listing (its section 11); None is the first
    convolution's weight, without its bias. scale: what they are multiplied by. lr, schedule: of the
    recovery, see `Then`.
    """
    names = [k for k, _ in task.model.named_parameters()]
    chosen = {names[i] for i in ([first_layer(task.model)] if layers is None else layers)}
    yield Round({k: v * scale if k in chosen else v for k, v in trained.state.items()}, then=Then(lr=lr, schedule=schedule))


# -- states as vectors -----------------------------------------------------------------------------------------------

def add(a, b, alpha=1.0, names=None):
    """State `a + alpha * b` over `names` (default: all floating-point tensors); the rest is a's."""
    return {k: v + alpha * b[k] if v.is_floating_point() and (names is None or k in names) else v
            for k, v in a.items()}


def square(a, names):
    """Squared Euclidean norm of a state over `names`."""
    return sum(a[k].square().sum() for k in names)


def parameters(task):
    """Names of the net's parameters, in order; its buffers are the rest of a state."""
    return [k for k, _ in task.model.named_parameters()]


def remaining_mean(state, leaving, weights, names):
    """Weighted mean of the others, given that of all: `(state - sum w_u leaving_u) / (1 - sum w_u)` over `names`."""
    for k, local in leaving.items():
        state = add(state, local, -weights[k], names)
    share = 1 - sum(weights[k] for k in leaving)
    return {k: v / share if k in names else v for k, v in state.items()}


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


def custom(task, **changes):
    """The task's recipe with those changes that are not None."""
    return replace(task.recipe, **{k: v for k, v in changes.items() if v is not None})


# -- FedEraser -------------------------------------------------------------------------------------------------------

def calibrate(update, direction, names):
    """FedEraser, eq. 4: each tensor with the stored update's length and the new update's direction, 0 where that is 0.

    Buffers, which have no direction, are the new update's.
    """
    out = dict(direction)
    for k in names:
        length = direction[k].norm()
        out[k] = direction[k] * (update[k].norm() / length if length > 0 else 0.0)
    return out


@method("FedEraser", needs=("history",), recovery=False)
def federaser(task, trained, *, interval=1, share=0.5, per="client", recovery=False):
    """FedEraser (Liu et al. 2021), Algorithm 1: replay training without the targets, step lengths as stored.

    interval: replay every so many rounds; share: of the local epochs that go into a calibration, rounded up;
    per: calibrate every `client`, as in the paper, or the `average` of clients, as in its code; recovery: go on with
    fine-tuning. A target that joined late is replayed from the round it joined: before it, nothing is its.
    """
    client_wise(task, "FedEraser")
    if per not in ("client", "average"):
        raise Bad(f"methods.FedEraser.per: {per!r} must be client or average")
    past, names = stored(task, trained, "FedEraser", "all"), parameters(task)
    touched = [t for t in past.rounds if set(task.targets) & set(past.clients(t))][::interval]
    now = trained.resume or Round(trained.state, then=Then(replay=0))
    if not touched:
        yield now  # the targets never took part
    for t in touched:
        if t <= now.then.replay:
            continue
        jobs = [j for j in task.jobs("retain", t) if j.client in past.clients(t)]
        if not jobs:
            raise Bad("methods.FedEraser: it needs every client's updates; set history: all")
        total = sum(past.weight(t, j.client) for j in jobs)
        weights = [past.weight(t, j.client) / total for j in jobs]
        updates = [past.update(t, j.client) for j in jobs]
        if t == touched[0]:
            state, cost = past.before(t), Cost()  # holds nothing of the targets, so the stored updates are right
        else:
            recipe = custom(task, local_epochs=ceil(share * task.recipe.local_epochs))
            local = one_round(task, jobs, now.state, phase="federaser", start=t - 1, recipe=recipe,
                              schedule=task.settings["schedule"], keep_updates="all")
            state, cost, fresh = now.state, local.cost, [local.updates[j.client] for j in jobs]
            if per == "average":
                updates, fresh, weights = [average(updates, weights)], [average(fresh, weights)], [1.0]
            updates = [calibrate(u, d, names) for u, d in zip(updates, fresh, strict=True)]
        for u, w in zip(updates, weights, strict=True):
            state = add(state, u, w)
        now = Round(state, cost, then=Then(replay=t))
        yield now
    if recovery:
        yield from recover(task, now._replace(then=Then()))


# -- FUKD ------------------------------------------------------------------------------------------------------------

def distillation(teacher, temperature):
    """Loss of a student against a teacher: `T^2 KL(teacher || student)` of logits divided by T, batch mean."""
    def loss(model, x, y):
        with torch.no_grad():
            wanted = log_softmax(teacher(x) / temperature, 1)
        got = log_softmax(model(x) / temperature, 1)
        return temperature**2 * kl_div(got, wanted, reduction="batchmean", log_target=True)
    return loss


@method("FUKD", needs=("history",))
def fukd(task, trained, *, lr=1e-4, momentum=0.9, epochs=3, temperature=3.0, batch_size=None):
    """FUKD (Wu, Zhu and Mitra 2022): subtract the targets' stored updates, then distil from the trained model.

    The server distils on the remaining clients' validation images, without labels: the paper leaves its data open.
    Buffers are not subtracted.
    """
    client_wise(task, "FUKD")
    past, names = stored(task, trained, "FUKD", "targets (or all)"), parameters(task)
    state, leaving = trained.state, set(task.targets)
    if len(past.rounds) < task.settings["rounds"]:
        raise Bad(f"methods.FUKD: {len(past.rounds)} of {task.settings['rounds']} rounds are stored; "
                  "set history: targets (or all)")
    for t in past.rounds:
        for k in leaving & set(past.clients(t)):
            state = add(state, past.update(t, k), -past.weight(t, k), names)
    images = [c.val for k, c in enumerate(task.clients) if k not in leaving]
    if not sum(map(len, images)):
        raise Bad("methods.FUKD: it distils on validation images; set val_share above 0")
    images = torch.cat(images)
    recipe = custom(task, lr=lr, momentum=momentum, local_epochs=epochs, batch_size=batch_size, weight_decay=0.0,
                    optimizer="sgd", keep_optimizer=False)
    yield one_round(task, [server_job(images, torch.zeros_like(images))], state, phase="fukd", recipe=recipe,
                    loss=distillation(task.frozen(trained.state), temperature), passes=1)


# -- PGD -------------------------------------------------------------------------------------------------------------

def ball(task, reference, names, draws, squared):
    """Squared radius of PGD's ball: a third of the mean squared distance to random models (as its code has it), or
    the square of a third of the mean distance (as its paper has it)."""
    far = [square(add(reference, task.init("pgd", i), -1.0), names) for i in range(draws)]
    return sum(far) / draws / 3 if squared else (sum(d.sqrt() for d in far) / draws / 3) ** 2


@method("PGD", needs=("forget", "history", "target"))
def pgd(task, trained, *, lr=0.1, momentum=0.9, iterations=10, updates=5, distance=3.0, clip=2.0, batch_size=None,
        squared=True, draws=10):
    """PGD (Halimi et al. 2022): each target ascends its loss inside a ball around the mean of the others' models.

    iterations x updates: minibatch steps; distance: a target stops once it is farther from its own last model;
    squared: distance and radius are squared norms, as in the authors' code. Several targets: mean of their models.
    """
    client_wise(task, "PGD")
    past, names = stored(task, trained, "PGD", "last (or all)"), parameters(task)
    jobs, end = task.jobs("forget"), past.rounds[-1]
    own, weights = ({j.client: f(j.client) for j in jobs} for f in (past.last, lambda k: past.weight(end, k)))
    reference = remaining_mean(trained.state, own, weights, names)
    limit = ball(task, reference, names, draws, squared)
    recipe = custom(task, lr=lr, momentum=momentum, clip=clip, batch_size=batch_size, weight_decay=0.0,
                    optimizer="sgd", keep_optimizer=False)

    def stay(k):
        @torch.no_grad()
        def after_step(model, step):
            live = dict(model.named_parameters())
            far = square(add(live, reference, -1.0), names)
            if far > limit:
                for n, p in live.items():
                    p.copy_(reference[n] + (limit / far).sqrt() * (p - reference[n]))
            moved = square(add(live, own[k], -1.0), names)
            return (moved if squared else moved.sqrt()) > distance
        return after_step

    done = [one_round(task, [j._replace(steps=iterations * updates)], reference, phase="pgd", recipe=recipe,
                      loss=lambda model, x, y: -cross_entropy(model(x), y), after_step=stay(j.client)) for j in jobs]
    total = sum(len(j.indices) for j in jobs)
    state = average([now.state for now in done], [len(j.indices) / total for j in jobs])
    yield Round({k: state[k] if k in names else v for k, v in trained.state.items()},
                sum((now.cost for now in done), Cost()))


# -- MoDE ------------------------------------------------------------------------------------------------------------

@torch.no_grad()
def guided(task, phi):
    """Jobs over all data in which what is to be forgotten carries the labels that `phi` gives it."""
    labels, forget = task.y.clone(), task.indices("forget")
    net = task.load(phi)
    for part in forget.split(512):
        labels[part] = net(task.inputs(task.x[part], marked=task.marks(part))).argmax(1)
    return [j._replace(labels=labels[j.indices]) for j in task.jobs("full")]


@method("MoDE", needs=("forget", "target"))
def mode(task, trained, *, lr=0.005, lr_phi=0.1, rounds=3, degrade=2, weight=0.4, weight_of="theta", guide=True):
    """MoDE (Zhao et al. 2023): blend with a model that never saw the targets, then let it label their data.

    Of `rounds` guidance rounds the first `degrade` begin with a round of phi, which starts at random, on the retained
    data at lr_phi and the blend `weight * theta + (1 - weight) * phi` (weight_of: which of the two it weighs).
    Guidance is a round of theta on all data at lr, forget data labelled by phi; guide=False leaves it out.
    """
    if weight_of not in ("theta", "phi"):
        raise Bad(f"methods.MoDE.weight_of: {weight_of!r} must be theta or phi")
    theta, phi = trained.state, task.init("mode")
    keep = weight if weight_of == "theta" else 1 - weight
    teach = fedavg(task, "retain", phi, phase="mode phi", recipe=custom(task, lr=lr_phi))
    asked = task.jobs("forget")
    labelling = Cost(BYTES * task.parameters * len(asked), task.flops[0] * sum(len(j.indices) for j in asked))
    yield Round(theta)
    for r in range(1, rounds + 1):
        cost = Cost()
        if r <= degrade:
            now = next(teach)
            phi, cost = now.state, now.cost
            theta = average([theta, phi], [keep, 1 - keep])
        if guide:
            now = one_round(task, guided(task, phi), theta, phase="mode", start=r - 1, recipe=custom(task, lr=lr))
            theta, cost = now.state, cost + now.cost + labelling
        yield Round(theta, cost)


# -- FCU -------------------------------------------------------------------------------------------------------------

def fusable(model):
    """Names of the weights that FCU fuses: those of convolutions, linear layers and attention's joint projection."""
    kinds = ((nn.Conv2d, "weight"), (nn.Linear, "weight"), (nn.MultiheadAttention, "in_proj_weight"))
    return {f"{path}.{name}" for path, m in model.named_modules() for kind, name in kinds if isinstance(m, kind)}


def fuse(theta, pre, ratio, fusion="paper"):
    """FCU, frequency-guided fusion of two weights of one shape.

    `paper`: low-frequency amplitude of `pre`, high-frequency amplitude and phase of `theta`; `code`, as in the
    authors': the other way round. ratio: side of the centred box of low frequencies, as a share of each side.
    """
    if fusion == "code":
        theta, pre = pre, theta

    def flat(w):
        return w.permute(1, 2, 3, 0).reshape(w.shape[1] * w.shape[2], -1) if w.dim() == 4 else w
    a, b = torch.fft.fft2(flat(theta)), torch.fft.fft2(flat(pre))
    low = [2 * (torch.fft.fftfreq(n, device=theta.device) * n).abs() <= ratio * n for n in a.shape]  # symmetric
    box = (low[0][:, None] & low[1]) if ratio > 0 else torch.zeros_like(a, dtype=torch.bool)
    out = torch.fft.ifft2(torch.polar(torch.where(box, b.abs(), a.abs()), a.angle())).real
    if theta.dim() == 4:
        n, c, h, w = theta.shape
        out = out.reshape(c, h, w, n).permute(3, 0, 1, 2)
    return out.to(theta.dtype)


def contrast(pre, down, temperature):
    """FCU's loss: features should look like those of `down` and unlike those of `pre`; cosine similarity over T."""
    def loss(model, x, y):
        z = features(model, x)[1].flatten(1)
        with torch.no_grad():
            others = [features(net, x)[1].flatten(1) for net in (pre, down)]
        scores = torch.stack([cosine_similarity(z, other) for other in others], 1) / temperature
        return cross_entropy(scores, torch.ones(len(z), dtype=torch.long, device=z.device))
    return loss


@method("FCU", needs=("forget", "target"))
def fcu(task, trained, *, lr=0.01, iterations=20, interval=10, low_freq=0.9, temperature=0.5, fusion="paper",
        redraw=True, beta2=0.99, weight_decay=5e-4, batch_size=None):
    """FCU (Deng et al. 2024): each target moves features towards an untrained model, kept near the trained one by
    fusing weights in the frequency domain after every `interval` of the `iterations` minibatches.

    redraw: a fresh untrained model after each fusion; fusion: see `fuse`. Biases, norms and buffers stay the trained
    model's. Several targets: mean of their models.
    """
    if fusion not in ("paper", "code"):
        raise Bad(f"methods.FCU.fusion: {fusion!r} must be paper or code")
    fused, down = fusable(task.model), task.frozen(task.init("fcu", 0))

    @torch.no_grad()
    def after_step(model, step):
        if step % interval and step != iterations:
            return
        for k, v in model.state_dict().items():
            v.copy_(fuse(v, trained.state[k], low_freq, fusion) if k in fused else trained.state[k])
        if redraw:
            down.load_state_dict(task.init("fcu", step % iterations))  # the next client begins with the first

    recipe = custom(task, lr=lr, beta2=beta2, weight_decay=weight_decay, batch_size=batch_size, momentum=0.9,
                    optimizer="adam", keep_optimizer=False)
    jobs = [j._replace(steps=iterations, labels=torch.zeros_like(j.indices)) for j in task.jobs("forget")]
    yield one_round(task, jobs, trained.state, phase="fcu", recipe=recipe, passes=2, after_step=after_step,
                    loss=contrast(task.frozen(trained.state), down, temperature))
