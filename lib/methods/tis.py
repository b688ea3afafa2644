"""Unlearning as parameter estimation (TIS): reset the entries that tell most about the target, and train them anew."""
import time

import torch
from torch.nn.functional import cross_entropy

from ..errors import Bad, nearest
from ..fl.rounds import BYTES, Cost, Round, Then
from . import method
from .curvature import diagonals, mean, random_like, select, tis

KINDS = {"ggn": "ggn_exact", "ggn_mc": "ggn_mc", "hessian": "hessian"}
SCORES = ("tis", "forget", "shift")


def client_diagonals(task, state, kind="ggn", path="auto"):
    """What the clients send, `(sums, counts)`: curvature summed over each client's retained and forget data (TIS, 5).

    Groups are `2 * client` for retained and `2 * client + 1` for forget data, all from one pass.
    """
    if kind not in KINDS:
        raise Bad(f"curvature: {kind!r} is not known; {nearest(kind, KINDS, 'curvature')}")
    parts = [(2 * k + f, part) for k, c in enumerate(task.clients) for f, part in enumerate(c[:2]) if len(part)]
    indices, groups = torch.cat([p for _, p in parts]), torch.cat([torch.full((len(p),), g) for g, p in parts])

    def inputs(index):
        chosen = indices[index]
        return task.inputs(task.x[chosen], marked=task.marks(chosen))

    return diagonals(task.load(state), inputs, task.y[indices], groups, kind=KINDS[kind], path=path,
                     rng=task.rng("curvature"))


def aggregate(sums, counts):
    """The server's two diagonals, of the mean loss over all and over the forget data (TIS, eqs. 29 and 30)."""
    forget = [g for g in sums if g % 2]
    if not forget:
        raise Bad("forget: no client has data to be forgotten, so there is no target to score parameters for")
    return {"all": mean(sums, counts), "forget": mean(sums, counts, forget)}


def compute_curvature(task, state, kind="ggn", path="auto"):
    """`({"all": h, "forget": h'}, cost)`. Every client sends a diagonal for each of its two data sets that is not
    empty; a column of the curvature's square root costs what a backward pass costs, and the exact one has as many as
    there are classes."""
    begin = time.perf_counter()
    sums, counts = client_diagonals(task, state, kind, path)
    forward, both = task.flops
    flops = sum(counts.values()) * (forward + (1 if kind == "ggn_mc" else task.classes) * (both - forward))
    found = aggregate(sums, counts)
    return found, Cost(BYTES * task.parameters * len(sums), flops, time.perf_counter() - begin)


def scores(task, trained, kind="ggn", path="auto", score="tis"):
    """Each entry's score, and what it cost. `tis`: (h'/h)^2 (TIS, eq. 22); `forget`: h' alone; `shift`: g^2 / h, the
    term of the Fisher information that comes from the mean's moving, which the paper leaves out."""
    if score not in SCORES:
        raise Bad(f"score: {score!r} is not known; {nearest(score, SCORES, 'score')}")
    h, cost = trained.curvature(task, kind, path)
    if score == "shift":
        begin, net, indices = time.perf_counter(), task.load(trained.state), task.indices("forget")
        loss = sum(cross_entropy(net(x), y, reduction="sum") for x, y in task.batches(indices)) / len(indices)
        names, params = zip(*net.named_parameters())
        gradient = dict(zip(names, torch.autograd.grad(loss, params)))
        sent = BYTES * task.parameters * len(task.targets)
        cost += Cost(sent, len(indices) * task.flops[1], time.perf_counter() - begin)
        return {k: torch.where(v > 0, gradient[k] ** 2 / torch.where(v > 0, v, 1), 0)
                for k, v in h["all"].items()}, cost
    return (tis(h["forget"], h["all"]) if score == "tis" else h["forget"]), cost


def put_back(trained, masks, reset):
    """The trained state with the masked entries at zero, or at their values before training."""
    if reset not in ("zero", "init"):
        raise Bad(f"reset: {reset!r} is not known; choose zero (the authors' code) or init (the paper's text)")
    new = dict(trained.state)
    for k, mask in masks.items():
        new[k] = torch.where(mask, trained.init[k] if reset == "init" else torch.zeros_like(new[k]), new[k])
    return new


def reset_round(task, trained, gamma, reset, curvature, path, score="tis", draw=None):
    """The reset as a `Round` whose mask holds the reset entries; `draw`: entries at random, equally many a tensor."""
    found, cost = scores(task, trained, curvature, path, score)
    begin = time.perf_counter()
    masks = select(found, gamma)
    if draw is not None:
        masks = random_like(masks, task.rng("random-reset", draw))
    state = put_back(trained, masks, reset)
    return Round(state, cost + Cost(seconds=time.perf_counter() - begin), masks)


def trim(task, now, lr):
    """The same round as the start of TRIM: only the mask's entries train on, at the constant rate `lr` (None: the
    recipe's). The remaining clients are sent the list of entries once; `recover` charges the entries alone."""
    count = sum(int(m.sum()) for m in now.mask.values())
    sent = Cost(BYTES * count * len(task.jobs("retain")))
    return now._replace(cost=now.cost + sent, then=Then(lr=lr))


@method("TIS-Reset", needs=("forget", "target"), recovery=False, also={("reset", "init"): "init"})
def tis_reset(task, trained, *, gamma=30.0, reset="zero", curvature="ggn", path="auto", score="tis"):
    """TIS Reset (TIS, 5): of each tensor the fewest entries that hold gamma percent of its score are reset.

    reset: "zero", as in the authors' code, or "init", the values before training, as in the text;
    curvature: "ggn" (exact), "ggn_mc" (one drawn label a sample) or "hessian"; path, score: see `scores`.
    """
    yield reset_round(task, trained, gamma, reset, curvature, path, score)


@method("Random-Reset", needs=("forget", "target"), recovery=False, also={("reset", "init"): "init"})
def random_reset(task, trained, *, gamma=30.0, reset="zero", curvature="ggn", path="auto", draw=0):
    """Random Reset (TIS, 6.2): as many entries of each tensor as TIS Reset resets, at random."""
    yield reset_round(task, trained, gamma, reset, curvature, path, draw=draw)


@method("TIS-Reset+TRIM", needs=("forget", "target"), also={("reset", "init"): "init"})
def tis_reset_trim(task, trained, *, gamma=30.0, reset="zero", curvature="ggn", path="auto", score="tis", lr=None):
    """TIS Reset, then the remaining clients train the reset entries alone (TIS, appendix 2); BatchNorm's statistics
    move on, as in the authors' code. lr: None is the recipe's."""
    yield trim(task, reset_round(task, trained, gamma, reset, curvature, path, score), lr)


@method("Random-Reset+TRIM", needs=("forget", "target"), also={("reset", "init"): "init"})
def random_reset_trim(task, trained, *, gamma=30.0, reset="zero", curvature="ggn", path="auto", draw=0, lr=None):
    """Random Reset, then the remaining clients train the reset entries alone (TIS, appendix 2)."""
    yield trim(task, reset_round(task, trained, gamma, reset, curvature, path, draw=draw), lr)
