"""Unlearning as parameter estimation (TIS): reset the entries that tell most about the target, and train them anew."""
from typing import Literal

import torch

from ..errors import Bad, nearest, short
from ..fl.engine import answer, call
from ..fl.gradients import mean_gradient
from ..fl.rounds import BYTES, Cost, Round, Then, accumulate, clock, replies
from ..fl.task import Job
from ..values import Percent, Rate, Whole
from .grammar import method, recover
from .curvature import diagonals, random_like, select, tis

KINDS = {"ggn": "ggn_exact", "ggn_mc": "ggn_mc", "hessian": "hessian"}
SCORES = ("tis", "forget", "shift")
Curvature = Literal["ggn", "ggn_mc", "hessian"]
Path = Literal["auto", "hooks", "backpack", "vmap"]
Score = Literal["tis", "forget", "shift"]
Reset = Literal["zero", "init"]
Rule = Literal["text", "code"]


@answer("curvature")
def summed_curvature(task, job, state, *, kind, path, starts, total):
    """What a client sends for one of its data sets: the curvature of the loss, summed over the job's samples.

    kind, path: see `diagonals`; starts: `{"client/which": where the job's samples begin}` among the `total` of all, so
    that a drawn label belongs to a sample, whoever is asked in whatever order.
    """
    draws = None
    if kind == "ggn_mc":
        start = starts[f"{job.client}/{job.which}"]
        everybodys = torch.rand(1, total, generator=task.rng("curvature"), dtype=torch.float64)
        draws = everybodys[:, start:start + len(job.indices)]

    def inputs(positions):
        chosen = job.indices[positions]
        return task.inputs(task.x[chosen], marked=task.marks(chosen))

    sums, _ = diagonals(task.load(state), inputs, task.y[job.indices], kind=kind, path=path, rng=draws)
    return sums[0]


def client_diagonals(task, state, kind="ggn", path="auto"):
    """What the clients send (TIS, 5, eq. 29), one after the other: `Reply`s whose state is the curvature summed over a
    client's retained or forget data (`job.which`), in order. Bad where `kind` is none of KINDS.
    """
    if kind not in KINDS:
        raise Bad(f"curvature: {kind!r} is not known; {nearest(kind, KINDS, 'curvature')}")
    jobs, starts, total = [], {}, 0
    for k, client in enumerate(task.clients):
        for which, indices in (("retain", client.retain), ("forget", client.forget)):
            if len(indices):
                jobs.append(Job(k, indices, which=which))
                starts[f"{k}/{which}"] = total
            total += len(indices)
    question = call(summed_curvature, kind=KINDS[kind], path=path, starts=starts, total=total)
    return replies(task, state, jobs, question)


def compute_curvature(task, state, kind="ggn", path="auto"):
    """The curvature that the score is made of, and its cost: `({"all": h, "forget": h'}, cost)` (TIS, 5, eq. 30): two
    diagonals, of the mean loss over all and over the forget data.

    Every client sends a diagonal for each of its two data sets that is not empty; the server adds it up as it comes. A
    column of the curvature's square root costs what a backward pass costs, and the exact one has as many as there are
    classes. Bad where no client has anything to be forgotten.
    """
    begin = clock(task)
    sums = {"all": None, "forget": None}
    counts = {"all": 0, "forget": 0}
    sent = 0
    for job, seen, answered, _ in client_diagonals(task, state, kind, path):
        for part in ("all", "forget") if job.which == "forget" else ("all",):
            sums[part] = accumulate(sums[part], answered, 1)
            counts[part] += seen
        sent += BYTES * task.parameters
    if not counts["forget"]:
        raise Bad("forget: no client has data to be forgotten, so there is no target to score parameters for")
    found = {part: {name: v / counts[part] for name, v in total.items()} for part, total in sums.items()}
    seconds = clock(task) - begin
    forward, both = task.flops
    columns = 1 if kind == "ggn_mc" else task.classes
    flops = counts["all"] * (forward + columns * (both - forward))
    return found, Cost(sent, flops, seconds)


def scores(task, trained, kind="ggn", path="auto", score="tis"):
    """Each entry's score and what it cost, `(State, Cost)` (TIS, eq. 28).

    score: `tis`, (h'/h)^2; `forget`, h' alone; `shift`, g^2 / h, the term of the Fisher information that comes from
    the mean's moving, which the paper leaves out. kind: of curvature, a key of KINDS; path: see `diagonals`.
    """
    if score not in SCORES:
        raise Bad(f"score: {score!r} is not known; {nearest(score, SCORES, 'score')}")
    h, cost = trained.curvature(task, kind, path)
    if score == "tis":
        return tis(h["forget"], h["all"]), cost
    if score == "forget":
        return h["forget"], cost
    gradient, more = forget_gradient(task, trained.state)
    return shift(gradient, h["all"]), cost + more


def forget_gradient(task, state):
    """The gradient of the mean loss over the forget data, which every target sends, and its cost."""
    begin = clock(task)
    indices = task.indices("forget")
    gradient = mean_gradient(task.load(state), task.batches(indices), len(indices))
    seconds = clock(task) - begin
    sent = BYTES * task.parameters * len(task.targets)
    return gradient, Cost(sent, len(indices) * task.flops[1], seconds)


def shift(gradient, h):
    """Score g^2 / h of each entry; 0 where h <= 0.

    >>> shift({"w": torch.tensor([3.0, 3.0])}, {"w": torch.tensor([2.0, 0.0])})
    {'w': tensor([4.5000, 0.0000])}
    """
    out = {}
    for k, v in h.items():
        defined = v > 0
        out[k] = torch.where(defined, gradient[k] ** 2 / torch.where(defined, v, 1), 0)
    return out


def put_back(trained, masks, reset):
    """The trained state with the masked entries at zero (`reset="zero"`), or at their values before training ("init").

    masks: State of bool. Bad where `reset` is neither.
    """
    if reset not in ("zero", "init"):
        raise Bad(f"reset: {reset!r} is not known; choose zero (the authors' code) or init (the paper's text)")
    new = dict(trained.state)
    for k, mask in masks.items():
        fresh = trained.init[k] if reset == "init" else torch.zeros_like(new[k])
        new[k] = torch.where(mask, fresh, new[k])
    return new


def reset_round(task, trained, gamma, reset, curvature, path, rule, score="tis", draw=None):
    """The reset as a `Round` whose mask holds the reset entries; `draw`: entries at random, equally many a tensor."""
    found, cost = scores(task, trained, curvature, path, score)
    begin = clock(task)
    masks = select(found, gamma, rule)
    if draw is not None:
        masks = random_like(masks, task.rng("random-reset", draw))
    state = put_back(trained, masks, reset)
    cost += Cost(seconds=clock(task) - begin)
    return Round(state, cost, masks)


def reset_and_recovered(task, now, recovery, lr):
    """The reset, and where `recovery` is asked for the rounds of fine-tuning after it, of all weights at the rate `lr`."""
    yield now
    if recovery:
        yield from recover(task, now._replace(mask=None, then=Then(lr=lr)))


def trim(task, now, lr):
    """The same round as the start of TRIM: only the mask's entries train on, at the constant rate `lr` (None: the
    recipe's). The remaining clients are sent the list of entries once; `recover` charges the entries alone."""
    count = sum(int(m.sum()) for m in now.mask.values())
    sent = Cost(BYTES * count * len(task.jobs("retain")))
    return now._replace(cost=now.cost + sent, then=Then(lr=lr))


def check_curvature(task, hp):
    """The curvature of two images is tried: not every net has every kind along every path."""
    x = task.inputs(task.x[:2], marked=None)
    try:
        diagonals(task.load(task.init("curvature")), x, task.y[:2], kind=KINDS[hp["curvature"]], path=hp["path"],
                  rng=task.rng("curvature"))
    except (Bad, ImportError, RuntimeError) as error:
        raise Bad(f"curvature: {hp['curvature']} along path {hp['path']} fails for model {task.settings['model']} "
                  f"({short(error)}); set curvature: ggn and path: auto") from error


@method("TIS-Reset", needs=("forget", "target"), recovery=False, also={("reset", "init"): "init"},
        check=check_curvature)
def tis_reset(task, trained, *, gamma: Percent = 30.0, reset: Reset = "zero", curvature: Curvature = "ggn",
              path: Path = "auto", score: Score = "tis", rule: Rule = "text", recovery: bool = False, lr: Rate | None = None):
    """TIS Reset (TIS, 5): of each tensor the fewest entries that hold gamma percent of its score are reset.

    reset: "zero", as in the authors' code, or "init", the values before training, as in the text;
    curvature: "ggn" (exact), "ggn_mc" (one drawn label a sample) or "hessian"; path, score: see `scores`; rule: which
    entries hold gamma percent, as in the text or in the authors' code, see `select`;
    recovery: go on with fine-tuning of all weights, which the paper does not; lr: its rate, None is the recipe's.
    """
    yield from reset_and_recovered(task, reset_round(task, trained, gamma, reset, curvature, path, rule, score), recovery, lr)


@method("Random-Reset", needs=("forget", "target"), recovery=False, also={("reset", "init"): "init"},
        check=check_curvature)
def random_reset(task, trained, *, gamma: Percent = 30.0, reset: Reset = "zero", curvature: Curvature = "ggn",
                 path: Path = "auto", draw: Whole = 0, rule: Rule = "text", recovery: bool = False, lr: Rate | None = None):
    """Random Reset (TIS, 6.2): as many entries of each tensor as TIS Reset resets, at random.

    recovery, lr: as in TIS Reset.
    """
    yield from reset_and_recovered(task, reset_round(task, trained, gamma, reset, curvature, path, rule, draw=draw), recovery,
                                   lr)


@method("TIS-Reset+TRIM", needs=("forget", "target"), also={("reset", "init"): "init"},
        check=check_curvature)
def tis_reset_trim(task, trained, *, gamma: Percent = 30.0, reset: Reset = "zero", curvature: Curvature = "ggn",
                   path: Path = "auto", score: Score = "tis", rule: Rule = "text", lr: Rate | None = None):
    """TIS Reset, then the remaining clients train the reset entries alone (TIS, appendix 2).

    BatchNorm's statistics move on, as in the authors' code. lr: None is the recipe's; the rest as in TIS-Reset.
    """
    yield trim(task, reset_round(task, trained, gamma, reset, curvature, path, rule, score), lr)


@method("Random-Reset+TRIM", needs=("forget", "target"), also={("reset", "init"): "init"},
        check=check_curvature)
def random_reset_trim(task, trained, *, gamma: Percent = 30.0, reset: Reset = "zero", curvature: Curvature = "ggn",
                      path: Path = "auto", draw: Whole = 0, rule: Rule = "text", lr: Rate | None = None):
    """Random Reset, then the remaining clients train the reset entries alone (TIS, appendix 2)."""
    yield trim(task, reset_round(task, trained, gamma, reset, curvature, path, rule, draw=draw), lr)
