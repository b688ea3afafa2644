"""Centralised unlearning of a random part of the data (NoT, 14.2, Table 2), as rounds of the same loop.

One client that keeps its optimiser is plain SGD and a round is an epoch: what differs between these methods is the
loss, the labels, the learning rate or a mask. `schedule` is `("cosine", start, end, rounds)`, None the task's rate.
"""
from copy import deepcopy
from dataclasses import replace
from itertools import count

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from ..fl.rounds import Cost, Round, Then, one_round
from ..fl.task import Job
from . import method

# -- random labels ---------------------------------------------------------------------------------------------------


def random_labels(task, job, r, fixed):
    """One label for each sample of a job, uniform over all classes and new in each round.

    fixed: the same labels in every round, and never the true one.
    """
    if not fixed:
        return torch.randint(task.classes, job.indices.shape, generator=task.rng("labels", r, job.client))
    shift = torch.randint(1, task.classes, job.indices.shape, generator=task.rng("labels", "fixed", job.client))
    return (task.y[job.indices].cpu() + shift) % task.classes


def alternate(task, start, schedule, fixed):
    """From the round `start`, under its mask: an epoch on the forget data with random labels, then one on the rest."""
    yield start
    state, mask, extra = start.state, start.mask, None
    for r in count(1):
        jobs = [j._replace(labels=random_labels(task, j, r, fixed)) for j in task.jobs("forget")]
        cost = Cost()
        for phase, todo in (("relabel", jobs), ("recover", "retain")):
            if todo:
                now = one_round(task, todo, state, phase=phase, start=r - 1, schedule=schedule, mask=mask, extra=extra)
                state, extra, cost = now.state, now.extra, cost + now.cost
        yield now._replace(cost=cost)


@method("RandL", needs=("forget", "target"))
def rand_l(task, trained, *, fixed=False, schedule=None):
    """Random labels (NoT, 14.2): each round, an epoch on the forget data with random labels and one on the rest.

    fixed: labels drawn once and never the true ones, in place of uniform ones drawn anew. It never ends by itself.
    """
    yield from alternate(task, Round(trained.state), schedule, fixed)


# -- ascent, sparsity ------------------------------------------------------------------------------------------------

def ascent(model, x, y):
    """Minus the cross-entropy."""
    return -cross_entropy(model(x), y)


@method("GA", needs=("forget", "target"))
def ga(task, trained, *, epochs=1, lr=None, clip=1.0, schedule=None):
    """Gradient ascent on the forget data for `epochs`, then fine-tuning with a new optimiser (NoT, 14.2).

    lr: of the ascent (None: the task's); clip: its largest gradient norm, as the loss has no upper bound (None: none).
    """
    now = Round(trained.state, then=Then(schedule=schedule))
    recipe = replace(task.recipe, lr=task.recipe.lr if lr is None else lr, clip=clip)
    yield now
    for e in range(epochs):
        now = one_round(task, "forget", now.state, phase="ascent", start=e, loss=ascent, recipe=recipe,
                        extra=now.extra)._replace(then=Then(schedule=schedule))
        yield now._replace(extra=None) if e + 1 == epochs else now


def sparse_loss(alpha):
    """Cross-entropy plus `alpha` times the sum of the absolute values of all parameters."""
    def loss(model, x, y):
        return cross_entropy(model(x), y) + alpha * sum(p.abs().sum() for p in model.parameters())
    return loss


@method("l1-sparse")
def l1_sparse(task, trained, *, alpha=0.002, epochs=2, decay=True, schedule=None):
    """Fine-tuning with an l1 penalty in the first epochs (Jia et al. 2023; NoT, 14.2).

    alpha: weight of the penalty; decay: it falls linearly, in epoch e of E it is `alpha (1 - (e - 1) / E)`.
    """
    now = Round(trained.state, then=Then(schedule=schedule))
    yield now
    for e in range(epochs):
        weight = alpha * (1 - e / epochs if decay else 1)
        now = one_round(task, "retain", now.state, phase="recover", start=e, schedule=schedule, extra=now.extra,
                        loss=sparse_loss(weight) if weight else None)
        # after the last penalised epoch recovery goes on, with the epochs before counted as its rounds
        yield now._replace(then=Then(schedule=schedule, round=e + 1)) if e + 1 == epochs else now


# -- teachers --------------------------------------------------------------------------------------------------------

def teacher(task, state):
    """A frozen net of its own in eval mode."""
    return deepcopy(task.load(state)).requires_grad_(False)


def teaching_loss(good, bad, temperature):
    """KL divergence of the student from the bad teacher where the label is 1 and from the good one where it is 0.

    Summed over classes and averaged over samples (Chundawat et al. 2023, eq. 2).
    """
    def loss(model, x, flag):
        with torch.no_grad():
            wanted = softmax(torch.where(flag[:, None] == 1, bad(x), good(x)) / temperature, 1)
        return kl_div(log_softmax(model(x) / temperature, 1), wanted, reduction="batchmean")
    return loss


def flagged_jobs(task, share, r):
    """Each client's forget data, flagged 1, with a random `share` of its retained data, flagged 0, new each round."""
    parts = {}
    for j in task.jobs("forget"):
        parts.setdefault(j.client, []).append((j.indices, 1))
    for j in task.jobs("retain"):
        order = torch.randperm(len(j.indices), generator=task.rng("subset", r, j.client))
        parts.setdefault(j.client, []).append((j.indices[order[:round(share * len(order))]], 0))
    return [Job(k, torch.cat([i for i, _ in p]), torch.cat([torch.full((len(i),), flag) for i, flag in p]))
            for k, p in sorted(parts.items())]


@method("BadT", needs=("forget", "target"))
def bad_t(task, trained, *, temperature=1.0, optimizer="adam", lr=1e-4, share=0.3, schedule=None):
    """Bad teaching (Chundawat et al. 2023): a random net teaches the forget data, the trained one the rest.

    share: of the retained data that is shown in each round. It never ends by itself.
    """
    loss = teaching_loss(teacher(task, trained.state), teacher(task, task.init("bad teacher")), temperature)
    recipe = replace(task.recipe, optimizer=optimizer, lr=lr, momentum=0.9, weight_decay=0.0)
    now = Round(trained.state)
    yield now
    for r in count(1):
        now = one_round(task, flagged_jobs(task, share, r), now.state, phase="teach", start=r - 1, loss=loss,
                        recipe=recipe, schedule=schedule, extra=now.extra, passes=2)
        yield now


# -- what matters for the forget data --------------------------------------------------------------------------------

def batch_gradients(task, state, which):
    """Yield `(gradients, samples)` of the mean cross-entropy of each minibatch of the `which` data, in eval mode."""
    net = task.load(state)
    for x, y in task.batches(task.indices(which), task.recipe.batch_size):
        yield torch.autograd.grad(cross_entropy(net(x), y), list(net.parameters())), len(y)


def pass_cost(task, *which):
    """What one forward and backward pass over the data costs; it is made where the data are, nothing is sent."""
    return Cost(flops=task.flops[1] * sum(len(task.indices(w)) for w in which))


def importance(task, state, which):
    """Mean over minibatches of the squared minibatch gradient (Foster et al. 2024, eq. 4), `{parameter: tensor}`."""
    names, batches = [k for k, _ in task.model.named_parameters()], 0
    total = {k: torch.zeros_like(state[k]) for k in names}
    for gradients, _ in batch_gradients(task, state, which):
        batches += 1
        for k, g in zip(names, gradients, strict=True):
            total[k] += g**2
    return {k: v / max(batches, 1) for k, v in total.items()}


def dampen(state, forget, everything, alpha, damping):
    """Shrink what matters more than `alpha` times as much for the forget data (Foster et al. 2024, eq. 7).

    forget, everything: importances. A chosen scalar is multiplied by `min(damping * everything / forget, 1)`.
    """
    out = dict(state)
    for k, f in forget.items():
        chosen = f > alpha * everything[k]
        factor = (damping * everything[k] / f.where(chosen, torch.ones_like(f))).clamp(max=1)
        out[k] = torch.where(chosen, state[k] * factor, state[k])
    return out


@method("SSD", needs=("forget", "target"), recovery=False)
def ssd(task, trained, *, alpha=0.5, damping=0.5):
    """Selective synaptic dampening (Foster et al. 2024): no training, one pass over all data and one to forget.

    alpha: how much more a scalar must matter for the forget data to be chosen; damping: the smaller, the more it
    shrinks. Defaults: NoT, 14.2; the authors' own are 10 and 1. Importances are of minibatches of the recipe's size.
    """
    forget, everything = (importance(task, trained.state, which) for which in ("forget", "full"))
    yield Round(dampen(trained.state, forget, everything, alpha, damping), pass_cost(task, "full", "forget"))


def saliency_mask(task, state, share):
    """True for the `share` of all scalars with the largest gradient of the forget data's loss (Fan et al. 2024)."""
    params = dict(task.model.named_parameters())
    total = torch.zeros(task.parameters, dtype=task.dtype, device=task.device)
    for gradients, n in batch_gradients(task, state, "forget"):
        total += n * torch.cat([g.flatten() for g in gradients])
    mask = torch.zeros_like(total, dtype=torch.bool)
    mask[total.abs().topk(int(share * len(total))).indices] = True
    parts = mask.split([p.numel() for p in params.values()])
    return {k: part.view(p.shape) for (k, p), part in zip(params.items(), parts, strict=True)}


@method("SalUn", needs=("forget", "target"))
def salun(task, trained, *, share=0.2, fixed=False, schedule=None):
    """Saliency unlearning (Fan et al. 2024): random labels, but only the most salient `share` of scalars may train.

    share: NoT "masked 20 %", read as 20 % that may train; the authors' own is 0.5. fixed: as in RandL.
    """
    mask = saliency_mask(task, trained.state, share)
    yield from alternate(task, Round(trained.state, pass_cost(task, "forget"), mask), schedule, fixed)
