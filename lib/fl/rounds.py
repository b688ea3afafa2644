"""FedAvg: the only training loop, and what one round costs. Every method and every training run is made of it."""
import time
from itertools import count
from math import cos, pi
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..errors import Bad
from . import batches
from .engine import ANSWERS, Call, Order, Reply, functions, labelled, loss as named_loss, resolved
from .task import Job, State

BYTES = 4  # a transferred number counts as float32, whatever the arithmetic on this machine


class Cost(NamedTuple):
    """Bytes sent over the network, floating-point operations of all parties, seconds on this machine. Costs add.

    >>> Cost(bytes=8.0) + Cost(flops=2.0)
    Cost(bytes=8.0, flops=2.0, seconds=0.0)
    """
    bytes: float = 0.0
    flops: float = 0.0
    seconds: float = 0.0

    def __add__(self, other):
        return Cost(self.bytes + other.bytes, self.flops + other.flops, self.seconds + other.seconds)


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

    mask: entries that may train afterwards (True), per tensor; extra: optimiser tensors that live on; then: how
    recovery goes on from here.
    """
    state: State
    cost: Cost = Cost()
    mask: State | None = None
    extra: State | None = None
    then: Then = Then()


def learning_rate(schedule, lr, round):
    """`("cosine", start, end, rounds)` falls from start to end and stays there; None is the constant `lr`."""
    if schedule is None:
        return lr
    _, start, end, length = schedule
    return end + (start - end) * (1 + cos(pi * min(round - 1, length) / length)) / 2


def clock(task):
    """Seconds of a clock, read when the device has done all that it was given."""
    if task.device.type == "cuda":
        torch.cuda.synchronize(task.device)
    return time.perf_counter()


def average(states, weights):
    """Weighted mean of states, FedAvg's aggregation (McMahan et al. 2017, Algorithm 1); weights should add to 1.

    Integer buffers are taken from the first state.

    >>> average([{"w": torch.tensor([1.0])}, {"w": torch.tensor([3.0])}], [0.75, 0.25])
    {'w': tensor([1.5000])}
    """
    total = None
    for state, weight in zip(states, weights, strict=True):
        total = accumulate(total, state, weight)
    return total


def accumulate(total, state, weight):
    """Add `weight * state` to a running sum in place; None starts one."""
    if total is None:
        return {k: v * weight if v.is_floating_point() else v.clone() for k, v in state.items()}
    names = [k for k, v in state.items() if v.is_floating_point()]
    sums = [total[k] for k in names]
    terms = [state[k] for k in names]
    torch._foreach_add_(sums, terms, alpha=weight)
    return total


def difference(a, b):
    """State `a - b`, tensor by tensor."""
    return {k: v - b[k] for k, v in a.items()}


class Worker:
    """One net and one optimiser whose buffers are reset in place: every client trains in it, one after the other."""

    def __init__(self, task, recipe):
        self.task = task
        self.recipe = recipe
        self.model = task.model
        self.net = task.in_dtype(self.model)    # the same parameters, as a loss sees them
        self.live = self.model.state_dict()  # the net's own tensors, filled and read in place
        self.parameters = list(self.model.parameters())
        self.opt = optimiser(self.parameters, recipe, task.device)
        self.graphs = {}

    def reset(self, state, lr, extra=None):
        """Load a state; zero the optimiser's buffers, or continue with those in `extra`."""
        self.task.set_precision()
        self.fill(state)
        self.model.train()
        group = self.opt.param_groups[0]
        if torch.is_tensor(group["lr"]):
            group["lr"].fill_(lr)
        else:
            group["lr"] = lr
        self.set_buffers(extra or {})

    def fill(self, state):
        """Copy a state into the net's own tensors."""
        values = [state[k] for k in self.live]
        torch._foreach_copy_(list(self.live.values()), values)

    def buffers(self):
        """The optimiser's own tensors, by `<number of the parameter>/<name>`."""
        found = {}
        for i, p in enumerate(self.parameters):
            for key, value in self.opt.state.get(p, {}).items():
                if torch.is_tensor(value):
                    found[f"{i}/{key}"] = value
        return found

    def set_buffers(self, extra):
        """Give the optimiser the buffers of `extra` and zeros elsewhere; in place, where a captured graph looks."""
        live = self.buffers()
        if live:
            torch._foreach_zero_(list(live.values()))
        for name, value in extra.items():
            if name in live:
                live[name].copy_(value)
            else:
                i, key = name.split("/")
                p = self.parameters[int(i)]
                device = p.device if value.dim() else value.device  # Adam's count of steps stays where it is
                self.opt.state[p][key] = value.clone().to(device)

    def extra(self):
        """The optimiser's buffers as named tensors, to live on in the next round."""
        return {name: value.clone() for name, value in self.buffers().items()}

    def train(self, state, job, rng, lr, loss=None, after_step=None, mask=None, extra=None):
        """Train on one job from `state`; returns `(samples seen, the model's live state_dict)`."""
        self.reset(state, lr, extra)
        if job.steps == 0 or not len(job.indices):
            return 0, self.live
        frozen = self.frozen(mask)
        falling = None if self.recipe.patience is None else Plateau(self.opt, self.recipe.patience, self.recipe.judged)
        plain = loss is None and after_step is None and falling is None and not frozen
        capturable = plain and self.can_capture()
        seen = 0
        stream = batches.minibatches(self.task, self.recipe, job, rng, ahead=not capturable)
        for step, (plan, y, x) in enumerate(stream, 1):
            if capturable and len(y) == self.recipe.batch_size:     # of a ragged tail a graph would be kept for nothing
                self.graphed_step(plan, y)
            else:
                x = batches.images(self.task, self.recipe, plan) if x is None else x
                value = self.gradient_step(x, y, loss or default_loss)
                if falling is not None:
                    falling.see(value)
            if frozen:
                put_back(frozen)
            seen += len(y)
            if after_step is not None and after_step(self.model, step):
                break
            if step == job.steps:
                break
        return seen, self.live

    # -- one step ----------------------------------------------------------------------------------------------

    def gradient_step(self, x, y, loss):
        self.opt.zero_grad()
        value = loss(self.net, x, y)
        value.backward()
        if self.recipe.clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, self.recipe.clip)
        self.opt.step()
        return value

    def frozen(self, mask):
        """`(parameter, its value now, which entries may train)` of those that `mask` freezes, if only in part."""
        found = []
        for name, p in self.model.named_parameters():
            free = (mask or {}).get(name)
            if free is not None and not free.all():
                found.append((p, p.detach().clone(), free))
        return found

    def can_capture(self):
        """Whether the default step can be a CUDA graph: on a GPU, with SGD, without clipping, at one rate."""
        recipe = self.recipe
        wanted = self.task.device.type == "cuda" and self.task.settings["cuda_graphs"]
        return wanted and recipe.optimizer == "sgd" and recipe.clip is None and recipe.patience is None

    def graphed_step(self, plan, labels):
        """The default step, captured once per shape of its batch as a CUDA graph and replayed."""
        shape = plan.shape, labels.shape, labels.dtype
        if shape not in self.graphs:
            self.graphs[shape] = self.capture(plan, labels)
        graph, static_plan, static_labels = self.graphs[shape]
        static_plan.copy_(plan)
        static_labels.copy_(labels)
        graph.replay()

    def default_step(self, plan, labels):
        """The step that is captured: gather the batch's images, augment and normalise them, and descend."""
        self.gradient_step(batches.images(self.task, self.recipe, plan), labels, default_loss)

    def capture(self, plan, labels):
        """`(graph, its plan, its labels)` of the default step; net and optimiser are afterwards as they were."""
        plan, labels = plan.clone(), labels.clone()
        state = {k: v.clone() for k, v in self.live.items()}
        extra = self.extra()
        graph = self.recorded(plan, labels)
        self.fill(state)
        self.set_buffers(extra)
        return graph, plan, labels

    def recorded(self, plan, labels):
        """The CUDA graph of the default step on these very tensors, in the one memory pool that all graphs share.

        They may share it because none reads what another has left there: gradients are made anew in every step.
        """
        pool = self.task.__dict__.setdefault("_graph_pool", torch.cuda.graph_pool_handle())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # warm-up
            for _ in range(3):
                self.default_step(plan, labels)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=pool):
            self.default_step(plan, labels)
        return graph


class Plateau:
    """torch's ReduceLROnPlateau of one client's training, stepped with the mean loss of every `steps` steps."""

    def __init__(self, opt, patience, steps):
        self.rate = ReduceLROnPlateau(opt, factor=0.1, patience=patience, min_lr=1e-7)
        self.steps = steps
        self.losses = []

    def see(self, loss):
        """Take a step's loss; at the end of an iteration the rate may fall."""
        self.losses.append(float(loss))
        if len(self.losses) == self.steps:
            self.rate.step(sum(self.losses) / self.steps)
            self.losses = []


def optimiser(params, recipe, device):
    """SGD or Adam as the recipe says; on a GPU SGD's rate is a tensor, so that a captured step reads it anew."""
    if recipe.optimizer != "sgd":
        betas = recipe.momentum, recipe.beta2
        return torch.optim.Adam(params, recipe.lr, betas, weight_decay=recipe.weight_decay)
    cuda = device.type == "cuda"
    lr = torch.tensor(recipe.lr, device=device) if cuda else recipe.lr
    return torch.optim.SGD(params, lr, recipe.momentum, weight_decay=recipe.weight_decay, fused=cuda or None)


@torch.no_grad()
def put_back(frozen):
    """Set frozen entries back after a step: weight decay and momentum move what a masked gradient does not."""
    for p, value, free in frozen:
        p.copy_(torch.where(free, p, value))


def default_loss(model, x, y):
    """Mean cross-entropy of a minibatch."""
    return cross_entropy(model(x), y)


@named_loss("ascent")
def ascent(task):
    """Minus the mean cross-entropy: descending it ascends the loss."""
    return lambda model, x, y: -cross_entropy(model(x), y)


def worker(task, recipe):
    """The task's worker for a recipe; kept, since building one costs more than a small round."""
    cache = task.__dict__.setdefault("_workers", {})  # not a field: a replaced task starts without
    if recipe not in cache:
        cache[recipe] = Worker(task, recipe)
    return cache[recipe]


def in_process(task, state, jobs, order):
    """The default engine: the clients' work in this process, one after the other, without a copy."""
    if isinstance(order, Call):
        for job in jobs:
            yield Reply(job, len(job.indices), resolved(ANSWERS, order, task, job, state))
        return
    work = worker(task, order.recipe)
    loss, after_step = functions(task, order)
    for job in jobs:
        rng = task.rng(order.phase, order.round, job.client)
        own = labelled(task, job, order.round)
        seen, local = work.train(state, own, rng, order.lr, loss, after_step, order.mask, order.extra)
        yield Reply(job, seen, local, work.extra() if order.recipe.keep_optimizer else None)


def replies(task, state, jobs, order, engine=None):
    """What comes of an order at the clients of the jobs; what the server asks of itself stays in this process."""
    own = all(job.client < 0 for job in jobs)
    engine = in_process if own else engine or task.engine or in_process
    return engine(task, state, jobs, order)


def fedavg(task, jobs, state, *, phase, start=0, loss=None, after_step=None, recipe=None, schedule=None, lr=None,
           mask=None, extra=None, after_client=None, passes=0, engine=None):
    """FedAvg (McMahan et al. 2017, Algorithm 1) from `state`, an infinite stream of rounds: the consumer stops it.

    jobs: a list of `Job`, a function from the round (1, 2, …) to one, or a name for `task.participants`;
    phase: names the randomness, `task.rng(phase, round, client)`, so leaving a client out moves nobody else's;
    start: rounds done before, for an exact resume; loss(model, x, y): cross-entropy by default;
    schedule: see `learning_rate`; lr: a constant rate in place of the recipe's, where there is no schedule;
    after_step(model, step): anything to do after a step, stops the client's training by returning True;
    mask: entries that may train; extra: optimiser tensors of the round before (`recipe.keep_optimizer`, one client);
    after_client(client, local): anything to do with a client's local state, which the next one may overwrite: no round
    holds the states of all; passes: extra forward passes a sample (teachers), for cost;
    engine: where the clients work (None: the task's). Elsewhere than in this process loss, after_step and the jobs'
    labels must be Calls, see `lib.fl.engine`.
    Bad where nobody has data left, or several clients are to keep one optimiser.
    """
    recipe = recipe or task.recipe
    constant = recipe.lr if lr is None else lr
    for r in count(start + 1):
        begin = clock(task)
        todo = asked(task, jobs, phase, r)
        check_jobs(todo, recipe)
        order = Order(phase, r, learning_rate(schedule, constant, r), recipe, loss, after_step, mask, extra)
        samples = sum(len(job.indices) for job in todo)
        heard = 0
        total = None
        cost = Cost()
        for job, seen, local, extra in replies(task, state, todo, order, engine):
            if after_client is not None:
                after_client(job.client, local)
            total = accumulate(total, local, len(job.indices) / samples)
            heard += len(job.indices)
            cost += job_cost(task, job, seen, passes)
        state = total if heard == samples else mean_of_some(total, heard / samples)
        cost += Cost(seconds=clock(task) - begin)
        yield Round(state, cost, mask, extra)


def asked(task, jobs, phase, r):
    """The jobs of round r: `jobs` may be a name, of which those who take part are drawn, a function of the round, or
    the list itself."""
    if isinstance(jobs, str):
        return task.participants(jobs, phase, r)
    return jobs(r) if callable(jobs) else jobs


def mean_of_some(total, share):
    """The mean over the clients that answered, from their part of a weighted sum; Bad where nobody did."""
    if total is None:
        raise Bad("engine: no client has answered in this round; see whether they run, and start again")
    return {k: v / share if v.is_floating_point() else v for k, v in total.items()}


def check_jobs(jobs, recipe):
    if not jobs:
        raise Bad("forget: nobody has data left to train on; ask fewer clients or a smaller share to be forgotten")
    if recipe.keep_optimizer and len(jobs) > 1:
        raise Bad("keep_optimizer: only one client can keep its optimiser; set clients: 1 or training: union")


def job_cost(task, job, seen, passes):
    """What one client's training costs: the model there and back, and a forward and backward pass a sample."""
    forward, both = task.flops
    models_sent = 0 if job.client < 0 else 2
    return Cost(models_sent * BYTES * task.parameters, seen * (both + passes * forward))


def one_round(*args, **kw):
    """The first round of `fedavg(...)`."""
    return next(fedavg(*args, **kw))


def server_job(indices, labels=None, steps=None):
    """A job of the server itself: costs no bytes."""
    return Job(-1, indices, labels, steps)
