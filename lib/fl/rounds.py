"""FedAvg: the only training loop, and what one round costs. Every method and every training run is made of it."""
import time
from itertools import count
from math import cos, pi
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy, pad

from ..errors import Bad
from .task import Job, State

WHOLE = 2**22  # numbers in a client's images up to which an epoch is normalised at once: fewer small operations
BYTES = 4  # a transferred number counts as float32, whatever the arithmetic on this machine


class Cost(NamedTuple):
    """Bytes sent over the network, floating-point operations of all parties, seconds on this machine."""
    bytes: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other):
        return Cost(*(a + b for a, b in zip(self, other)))


class Then(NamedTuple):
    """How training goes on from a round: plain numbers and words, so that a checkpoint can hold it.

    jobs: a name for `task.jobs`; phase: names the randomness; schedule: see `learning_rate`; lr: a constant rate in
    place of the recipe's; round: rounds of this phase done before; replay: the training round that a method which
    replays training (FedEraser) has come to.
    """
    jobs: str = "retain"
    phase: str = "recover"
    schedule: tuple | None = None
    lr: float | None = None
    round: int = 0
    replay: int | None = None

    @property
    def resumable(self):
        """Whether one can go on from this round alone: it is worth a checkpoint."""
        return self.round > 0 or self.replay is not None


class Round(NamedTuple):
    """What every method and every training step yields.

    mask: entries that may train afterwards (True), per tensor; updates: `{client: local minus received state}`;
    extra: optimiser tensors that live on; then: how recovery goes on from here.
    """
    state: State
    cost: Cost = Cost()
    mask: State | None = None
    updates: dict | None = None
    extra: State | None = None
    then: Then = Then()


def learning_rate(schedule, lr, round):
    """`("cosine", start, end, rounds)` falls from start to end and stays there; None is the constant `lr`."""
    if schedule is None:
        return lr
    _, start, end, length = schedule
    return end + (start - end) * (1 + cos(pi * min(round - 1, length) / length)) / 2


def average(states, weights):
    """Weighted mean of states, FedAvg's aggregation; integer buffers are taken from the first."""
    total = None
    for state, w in zip(states, weights, strict=True):
        total = accumulate(total, state, w)
    return total


def accumulate(total, state, w):
    """Add `w * state` to a running sum in place; None starts one."""
    if total is None:
        return {k: v * w if v.is_floating_point() else v.clone() for k, v in state.items()}
    floats = [k for k, v in state.items() if v.is_floating_point()]
    torch._foreach_add_([total[k] for k in floats], [state[k] for k in floats], alpha=w)
    return total


class Worker:
    """One net and one optimiser whose buffers are reset in place: every client trains in it, one after the other."""

    def __init__(self, task, recipe):
        self.task, self.recipe, self.model = task, recipe, task.model
        params = list(self.model.parameters())
        self.live = self.model.state_dict()  # the net's own tensors, filled and read in place
        self.cuda = task.device.type == "cuda"
        lr = torch.tensor(recipe.lr, device=task.device) if self.cuda and recipe.optimizer == "sgd" else recipe.lr
        if recipe.optimizer == "sgd":
            self.opt = torch.optim.SGD(params, lr, recipe.momentum, weight_decay=recipe.weight_decay,
                                       fused=self.cuda or None)
        else:
            self.opt = torch.optim.Adam(params, recipe.lr, (recipe.momentum, recipe.beta2),
                                        weight_decay=recipe.weight_decay)
        self.graphs = {}

    def reset(self, state, lr, extra=None):
        """Load a state; zero the optimiser's buffers, or continue with those in `extra`."""
        torch._foreach_copy_(list(self.live.values()), [state[k] for k in self.live])
        self.model.train()
        group = self.opt.param_groups[0]
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        buffers = [v for s in self.opt.state.values() for v in s.values() if torch.is_tensor(v)]
        if buffers:
            torch._foreach_zero_(buffers)
        for name, v in (extra or {}).items():
            i, key = name.split("/")
            p = group["params"][int(i)]
            self.opt.state[p][key] = v.clone().to(p.device if v.dim() else v.device)

    def extra(self):
        """The optimiser's buffers as named tensors, to live on in the next round."""
        params = self.opt.param_groups[0]["params"]
        return {f"{i}/{k}": v.clone() for i, p in enumerate(params) for k, v in self.opt.state.get(p, {}).items()
                if torch.is_tensor(v)}

    def gradient_step(self, x, y, loss):
        self.opt.zero_grad()
        loss(self.model, x, y).backward()
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip)
        self.opt.step()

    def graphed_step(self, x, y):
        """The default step, captured once per batch shape as a CUDA graph and replayed."""
        if x.shape not in self.graphs:
            static = x.clone(), y.clone()
            keep = {k: v.clone() for k, v in self.live.items()}
            buffers = self.extra()
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # warm-up, undone below
                for _ in range(3):
                    self.gradient_step(*static, default_loss)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.gradient_step(*static, default_loss)
            torch._foreach_copy_(list(self.live.values()), list(keep.values()))
            for i, p in enumerate(self.opt.param_groups[0]["params"]):
                for k, v in self.opt.state[p].items():
                    if torch.is_tensor(v):
                        v.copy_(buffers.get(f"{i}/{k}", torch.zeros_like(v)))
            self.graphs[x.shape] = (graph, *static)
        graph, sx, sy = self.graphs[x.shape]
        sx.copy_(x)
        sy.copy_(y)
        graph.replay()

    def train(self, state, job, rng, lr, loss=None, after_step=None, mask=None, extra=None):
        """Train on one job from `state`; returns `(samples seen, the model's live state_dict)`."""
        task, seen, step = self.task, 0, 0
        self.reset(state, lr, extra)
        frozen = [(p, p.detach().clone(), mask[k]) for k, p in self.model.named_parameters()
                  if mask and k in mask and not mask[k].all()]
        graphed = self.cuda and task.settings["cuda_graphs"] and not (loss or after_step or frozen) \
            and self.recipe.optimizer == "sgd" and self.recipe.clip is None
        x, y = task.x[job.indices], (task.y[job.indices] if job.labels is None else job.labels.to(task.device))
        marked = task.marks(job.indices)
        if job.steps == 0:
            return 0, self.live
        for _ in range(self.recipe.local_epochs) if job.steps is None else count():
            for xb, yb in self.epoch(x, y, rng, marked):
                if graphed:
                    self.graphed_step(xb, yb)
                else:
                    self.gradient_step(xb, yb, loss or default_loss)
                with torch.no_grad():
                    for p, value, free in frozen:  # put back: weight decay and momentum would move them otherwise
                        p.copy_(torch.where(free, p, value))
                seen, step = seen + len(yb), step + 1
                if (after_step and after_step(self.model, step)) or step == job.steps:
                    return seen, self.live
        return seen, self.live

    def epoch(self, x, y, rng, marked=None):
        """One permutation in batches, augmented; a last batch of one joins the one before (BatchNorm needs two)."""
        r, n = self.recipe, len(y)
        order = torch.randperm(n, generator=rng)
        flips = torch.rand(n, generator=rng) < 0.5 if r.flip else None
        spare = x.shape[-1] + 2 * r.crop - self.task.size
        offsets = torch.randint(0, spare + 1, (2, n), generator=rng) if spare else None
        cuts = list(range(0, n, r.batch_size))
        if len(cuts) > 1 and n - cuts[-1] == 1:
            cuts.pop()

        def prepare(a, b):
            part, rest = order[a:b], [None if t is None else t[..., a:b] for t in (offsets, flips)]
            xb = pad(x[part], (r.crop,) * 4) if r.crop else x[part]
            return self.task.inputs(xb, *rest, None if marked is None else marked[part])

        whole = prepare(0, n) if not spare and x.numel() <= WHOLE else None
        for a, b in zip(cuts, [*cuts[1:], n], strict=True):
            yield prepare(a, b) if whole is None else whole[a:b], y[order[a:b]]


def default_loss(model, x, y):
    return cross_entropy(model(x), y)


def worker(task, recipe):
    """The task's worker for a recipe; kept, since building one costs more than a small round."""
    cache = task.__dict__.setdefault("_workers", {})  # not a field: a replaced task starts without
    if recipe not in cache:
        cache[recipe] = Worker(task, recipe)
    return cache[recipe]


def fedavg(task, jobs, state, *, phase, start=0, loss=None, after_step=None, recipe=None, schedule=None, lr=None,
           mask=None, extra=None, keep_updates=(), passes=0):
    """FedAvg from `state`, an infinite stream of rounds: the consumer stops it.

    jobs: a list of `Job`, a function from the round (1, 2, …) to one, or a name for `task.jobs`;
    phase: names the randomness, `task.rng(phase, round, client)`, so leaving a client out moves nobody else's;
    start: rounds done before, for an exact resume; loss(model, x, y): cross-entropy by default;
    schedule: see `learning_rate`; lr: a constant rate in place of the recipe's, where there is no schedule;
    after_step(model, step): anything to do after a step, stops the client's training by returning True;
    mask: entries that may train; extra: optimiser tensors of the round before (`recipe.keep_optimizer`, one client);
    keep_updates: clients whose update is wanted, or "all"; passes: extra forward passes a sample (teachers), for cost.
    """
    recipe = recipe or task.recipe
    work = worker(task, recipe)
    if isinstance(jobs, str):
        which, jobs = jobs, lambda r: task.jobs(which, r)
    forward, both = task.flops
    constant = recipe.lr if lr is None else lr
    for r in count(start + 1):
        begin, todo = time.perf_counter(), jobs(r) if callable(jobs) else jobs
        if not todo:
            raise Bad("forget: nobody has data left to train on; ask fewer clients or a smaller share to be forgotten")
        if recipe.keep_optimizer and len(todo) > 1:
            raise Bad("keep_optimizer: only one client can keep its optimiser; set clients: 1 or training: union")
        rate = learning_rate(schedule, constant, r)
        updates, cost, total = {}, Cost(), None
        samples = sum(len(j.indices) for j in todo)
        for job in todo:
            seen, local = work.train(state, job, task.rng(phase, r, job.client), rate, loss, after_step, mask, extra)
            cost += Cost(2 * BYTES * task.parameters * (job.client >= 0), seen * (both + passes * forward))
            if keep_updates == "all" or job.client in keep_updates:
                updates[job.client] = {k: v - state[k] for k, v in local.items()}
            extra = work.extra() if recipe.keep_optimizer else None
            total = accumulate(total, local, len(job.indices) / samples)
        state = total
        yield Round(state, cost + Cost(seconds=time.perf_counter() - begin), mask, updates or None, extra)


def one_round(*args, **kw):
    """The first round of `fedavg(...)`."""
    return next(fedavg(*args, **kw))


def server_job(indices, labels=None, steps=None):
    """A job of the server itself: costs no bytes."""
    return Job(-1, indices, labels, steps)
