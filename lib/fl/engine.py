"""What clients are asked, in orders that can travel: every function in them has a name, all else is data.

An engine is a function `(task, state, jobs, order)` that lets the client of each job do what the order says, from
`state`, and yields a `Reply` for each, in the order of the jobs. The order is an `Order` to train, or a `Call` of a
question. The default, `rounds.in_process`, is a loop in this process; an engine whose clients live elsewhere sends them
`messages.order_bytes` and gives the same numbers, since randomness has names. A state in a reply may be overwritten as
soon as the next reply is asked for.
"""
from typing import NamedTuple

from torch import Tensor

from ..registry import Registry
from .task import Job, Recipe, State

LOSSES = Registry("loss")           # f(task, *, …) -> loss(model, x, y)
ACTIONS = Registry("action")        # f(task, loss, *, …) -> after_step(model, step), True to stop
LABELS = Registry("labels")         # f(task, job, round, *, …) -> labels of the job's samples
PARTS = Registry("part")            # f(task, client, round, *, …) -> indices of what a client trains on
ANSWERS = Registry("answer")        # f(task, job, state, *, …) -> tensors by name

loss, action, labels, part, answer = (kind.named for kind in (LOSSES, ACTIONS, LABELS, PARTS, ANSWERS))


class Call(NamedTuple):
    """A registered function by its name, and its arguments: plain values, tensors and states (a teacher is a state)."""
    name: str
    arguments: dict


class Order(NamedTuple):
    """How clients train in a round.

    phase, round: name the randomness, `task.rng(phase, round, client)`; lr: of this round; loss, after_step: a `Call`,
    or a function where it need not travel, None for cross-entropy and for nothing; mask: entries that may train;
    extra: the optimiser's tensors of the round before.
    """
    phase: str
    round: int
    lr: float
    recipe: Recipe
    loss: Call | None = None
    after_step: Call | None = None
    mask: State | None = None
    extra: State | None = None


class Reply(NamedTuple):
    """What comes of a job: the samples that were seen, the local state (or the answer to a question), and the
    optimiser's tensors where they live on (`recipe.keep_optimizer`)."""
    job: Job
    seen: int
    state: dict[str, Tensor]
    extra: State | None = None


def call(f, **arguments):
    """The `Call` of a registered function.

    >>> @loss("a tenth of a sum")
    ... def tenth(task, *, times):
    ...     return lambda model, x, y: times * model(x).sum() / 10
    >>> call(tenth, times=2)
    Call(name='a tenth of a sum', arguments={'times': 2})
    """
    return Call(f.name, arguments)


def resolved(kind, what, *given):
    """What a `Call` of a registry stands for: its function called with `given` and its arguments; else `what` itself."""
    if not isinstance(what, Call):
        return what
    return kind.find(what.name)(*given, **what.arguments)


def functions(task, order):
    """`(loss, after_step)` of an order as functions.

    Those of the last order are kept while the calls stay the same objects: a loss may hold nets, which take time to
    build.
    """
    calls = order.loss, order.after_step
    known, found = task.__dict__.get("_functions", (None, None))
    if known is None or known[0] is not calls[0] or known[1] is not calls[1]:
        made = resolved(LOSSES, order.loss, task)
        found = made, resolved(ACTIONS, order.after_step, task, made)
        task.__dict__["_functions"] = calls, found      # not a field: a replaced task starts without
    return found


def labelled(task, job, round):
    """The job with labels as a tensor, or None for those of the data."""
    return job._replace(labels=resolved(LABELS, job.labels, task, job, round))


def part_of(task, which, client, round):
    """Indices of a client's data: `which` is `full`, `retain`, `forget` or `val`, or the Call of a part."""
    if isinstance(which, Call):
        return resolved(PARTS, which, task, client, round)
    return task.job(client, which).indices
