"""Centralised unlearning of a random part of the data (NoT, 14.2, Table 2), as rounds of the same loop.

One client that keeps its optimiser is plain SGD and a round is an epoch: what differs between these methods is the
loss, the labels, the learning rate or a mask. `schedule` is `("cosine", start, end, rounds)`, None the task's rate.
"""
from dataclasses import replace
from itertools import count
from typing import Literal

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from ..fl.engine import call, labels, loss, part, part_of
from ..fl.gradients import batch_gradient
from ..fl.rounds import Cost, Round, Then, ascent, one_round
from ..fl.task import Job
from ..values import NotNegative, Positive, Rate, Schedule, Share, SomeShare, Whole
from .grammar import method

# -- random labels ---------------------------------------------------------------------------------------------------


@labels("random")
def random_labels(task, job, r, fixed):
    """One label for each sample of a job, uniform over all classes and new in each round; `[n]`, on the CPU.

    fixed: the same labels in every round, and never the true one.
    """
    shape = job.indices.shape
    if not fixed:
        return torch.randint(task.classes, shape, generator=task.rng("labels", r, job.client))
    shift = torch.randint(1, task.classes, shape, generator=task.rng("labels", "fixed", job.client))
    true = task.y[job.indices].cpu()
    return (true + shift) % task.classes


def relabelled(task, fixed):
    """The jobs over the forget data with random labels."""
    random = call(random_labels, fixed=fixed)
    return [job._replace(labels=random) for job in task.jobs("forget")]


def alternate(task, start, schedule, fixed):
    """From the round `start`, under its mask: an epoch on the forget data with random labels, then one on the rest."""
    yield start
    now = Round(start.state)
    for r in count(1):
        cost = Cost()
        for phase, jobs in (("relabel", relabelled(task, fixed)), ("recover", "retain")):
            if jobs:
                now = one_round(task, jobs, now.state, phase=phase, start=r - 1, schedule=schedule, mask=start.mask,
                                extra=now.extra)
                cost += now.cost
        yield now._replace(cost=cost)


@method("RandL", needs=("forget", "target"))
def rand_l(task, trained, *, fixed: bool = False, schedule: Schedule | None = None):
    """Random labels (NoT, 14.2): each round, an epoch on the forget data with random labels and one on the rest.

    fixed: labels drawn once and never the true ones, in place of uniform ones drawn anew. It never ends by itself.
    """
    yield from alternate(task, Round(trained.state), schedule, fixed)


# -- ascent, sparsity ------------------------------------------------------------------------------------------------

@method("GA", needs=("forget", "target"))
def ga(task, trained, *, epochs: Whole = 1, lr: Rate | None = None, clip: NotNegative | None = 1.0,
       schedule: Schedule | None = None):
    """Gradient ascent on the forget data for `epochs`, then fine-tuning with a new optimiser (NoT, 14.2).

    lr: of the ascent (None: the task's); clip: its largest gradient norm, as the loss has no upper bound (None: none).
    """
    now = Round(trained.state, then=Then(schedule=schedule))
    if lr is None:
        lr = task.recipe.lr
    recipe = replace(task.recipe, lr=lr, clip=clip)
    yield now
    for e in range(epochs):
        now = one_round(task, "forget", now.state, phase="ascent", start=e, loss=call(ascent), recipe=recipe,
                        extra=now.extra)._replace(then=Then(schedule=schedule))
        yield now._replace(extra=None) if e + 1 == epochs else now


def sparse_loss(alpha):
    """Cross-entropy plus `alpha` times the sum of the absolute values of all parameters."""
    def penalised(model, x, y):
        size = sum(p.abs().sum() for p in model.parameters())
        return cross_entropy(model(x), y) + alpha * size
    return penalised


@loss("l1")
def sparse(task, *, alpha):
    """`sparse_loss` of the weight `alpha`."""
    return sparse_loss(alpha)


@method("l1-sparse")
def l1_sparse(task, trained, *, alpha: NotNegative = 0.002, epochs: Whole = 2, decay: bool = True,
              schedule: Schedule | None = None):
    """Fine-tuning with an l1 penalty in the first epochs (Jia et al. 2023; NoT, 14.2).

    alpha: weight of the penalty; decay: it falls linearly, in epoch e of E it is `alpha (1 - (e - 1) / E)`.
    """
    now = Round(trained.state, then=Then(schedule=schedule))
    yield now
    for e in range(epochs):
        weight = alpha * (1 - e / epochs) if decay else alpha
        penalised = call(sparse, alpha=weight) if weight else None
        now = one_round(task, "retain", now.state, phase="recover", start=e, schedule=schedule, extra=now.extra,
                        loss=penalised)
        if e + 1 == epochs:     # recovery goes on, with the epochs before counted as its rounds
            now = now._replace(then=Then(schedule=schedule, round=e + 1))
        yield now


# -- teachers --------------------------------------------------------------------------------------------------------

def teaching_loss(good, bad, temperature):
    """KL divergence of the student from the bad teacher where the label is 1 and from the good one where it is 0.

    Summed over classes and averaged over samples (Chundawat et al. 2023, eq. 2). good, bad: frozen nets.
    """
    def divergence(model, x, flag):
        with torch.no_grad():
            logits = torch.where(flag[:, None] == 1, bad(x), good(x))
            wanted = softmax(logits / temperature, 1)
        got = log_softmax(model(x) / temperature, 1)
        return kl_div(got, wanted, reduction="batchmean")
    return divergence


@loss("teaching")
def taught(task, *, good, bad, temperature):
    """`teaching_loss` of teachers with the states `good` and `bad`."""
    return teaching_loss(task.frozen(good), task.frozen(bad), temperature)


@part("shown")
def shown(task, client, r, *, share):
    """A client's forget data, then a random `share` of its retained data, new in each round."""
    retained = task.job(client, "retain").indices
    order = torch.randperm(len(retained), generator=task.rng("subset", r, client))
    return torch.cat([task.job(client, "forget").indices, retained[order[:round(share * len(order))]]])


@labels("flags")
def flags(task, job, r):
    """1 for what a client wants forgotten, 0 for the rest."""
    return torch.isin(job.indices, task.job(job.client, "forget").indices).long()


def flagged_jobs(task, share, r):
    """Each client's forget data, flagged 1, with a random `share` of its retained data, flagged 0, new each round."""
    which = call(shown, share=share)
    jobs = []
    for job in task.jobs("full"):
        indices = part_of(task, which, job.client, r)
        if len(indices):
            jobs.append(Job(job.client, indices, call(flags), which=which))
    return jobs


@method("BadT", needs=("forget", "target"))
def bad_t(task, trained, *, temperature: Positive = 1.0, optimizer: Literal["sgd", "adam"] = "adam",
          lr: Rate = 1e-4, share: Share = 0.3, schedule: Schedule | None = None):
    """Bad teaching (Chundawat et al. 2023): a random net teaches the forget data, the trained one the rest.

    share: of the retained data that is shown in each round. It never ends by itself.
    """
    teachers = call(taught, good=trained.state, bad=task.init("bad teacher"), temperature=temperature)
    recipe = replace(task.recipe, optimizer=optimizer, lr=lr, momentum=0.9, weight_decay=0.0)
    now = Round(trained.state)
    yield now
    for r in count(1):
        jobs = flagged_jobs(task, share, r)
        now = one_round(task, jobs, now.state, phase="teach", start=r - 1, loss=teachers, recipe=recipe,
                        schedule=schedule, extra=now.extra, passes=2)
        yield now


# -- what matters for the forget data --------------------------------------------------------------------------------

def pass_cost(task, *which):
    """What one forward and backward pass over the data costs; it is made where the data are, nothing is sent."""
    samples = sum(len(task.indices(name)) for name in which)
    return Cost(flops=task.flops[1] * samples)


def importance(task, state, which):
    """Mean over minibatches of the squared minibatch gradient (Foster et al. 2024, eq. 4), `{parameter: tensor}`.

    which: the data, a name for `task.indices`; minibatches are of the recipe's size. Zeros without data.
    """
    net = task.load(state)
    total = {k: torch.zeros_like(p) for k, p in net.named_parameters()}
    batches = 0
    for x, y in task.batches(task.indices(which), task.recipe.batch_size):
        batches += 1
        for k, gradient in batch_gradient(net, x, y).items():
            total[k] += gradient**2
    return {k: v / max(batches, 1) for k, v in total.items()}


def dampen(state, forget, everything, alpha, damping):
    """Shrink what matters more than `alpha` times as much for the forget data (Foster et al. 2024, eq. 7).

    forget, everything: importances. A chosen scalar is multiplied by `min(damping * everything / forget, 1)`.

    >>> one = {"w": torch.tensor([4.0, 4.0])}
    >>> dampen(one, {"w": torch.tensor([8.0, 1.0])}, {"w": torch.tensor([2.0, 2.0])}, alpha=1, damping=1)
    {'w': tensor([1., 4.])}
    """
    out = dict(state)
    for k, f in forget.items():
        chosen = f > alpha * everything[k]
        divisor = torch.where(chosen, f, 1.0)
        factor = (damping * everything[k] / divisor).clamp(max=1)
        out[k] = torch.where(chosen, state[k] * factor, state[k])
    return out


@method("SSD", needs=("forget", "target"), recovery=False)
def ssd(task, trained, *, alpha: NotNegative = 0.5, damping: NotNegative = 0.5):
    """Selective synaptic dampening (Foster et al. 2024): no training, one pass over all data and one to forget.

    alpha: how much more a scalar must matter for the forget data to be chosen; damping: the smaller, the more it
    shrinks. Defaults: NoT, 14.2; the authors' own are 10 and 1. Importances are of minibatches of the recipe's size.
    """
    forget = importance(task, trained.state, "forget")
    everything = importance(task, trained.state, "full")
    state = dampen(trained.state, forget, everything, alpha, damping)
    yield Round(state, pass_cost(task, "full", "forget"))


def saliency_mask(task, state, share):
    """True for the `share` of all scalars with the largest gradient of the forget data's loss (Fan et al. 2024)."""
    net = task.load(state)
    params = dict(net.named_parameters())
    total = torch.zeros(task.parameters, dtype=task.dtype, device=task.device)
    for x, y in task.batches(task.indices("forget"), task.recipe.batch_size):
        gradient = batch_gradient(net, x, y)
        total += len(y) * torch.cat([g.flatten() for g in gradient.values()])
    count = int(share * len(total))
    chosen = total.abs().topk(count).indices
    mask = torch.zeros_like(total, dtype=torch.bool)
    mask[chosen] = True
    parts = mask.split([p.numel() for p in params.values()])
    return {k: part.view(params[k].shape) for k, part in zip(params, parts, strict=True)}


@method("SalUn", needs=("forget", "target"))
def salun(task, trained, *, share: SomeShare = 0.2, fixed: bool = False, schedule: Schedule | None = None):
    """Saliency unlearning (Fan et al. 2024): random labels, but only the most salient `share` of scalars may train.

    share: NoT "masked 20 %", read as 20 % that may train; the authors' own is 0.5. fixed: as in RandL.
    """
    mask = saliency_mask(task, trained.state, share)
    start = Round(trained.state, pass_cost(task, "forget"), mask)
    yield from alternate(task, start, schedule, fixed)
