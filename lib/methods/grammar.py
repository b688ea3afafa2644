"""What an unlearning method is: how it is registered, what it needs, and how its rounds become recovery.

A method is `f(task, trained, *, hyper-parameters)`, with types and ranges of `lib.values`; it yields at least one
`Round`, and the first is round 0.
"""
from collections.abc import Iterator

from ..errors import Bad
from ..fl.rounds import Round, fedavg
from ..registry import METHODS, arguments, judge

NEEDS = ("forget", "history", "init", "target")
REMEDY = "write `yield lib.Round(state)` in it"


def method(name=None, *, needs=(), recovery=True, also=None, check=None):
    """Register an unlearning method.

    needs: any of `forget` (inputs or labels of the forget data), `history` (stored updates), `init` (the model before
    training), `target` (the forgetting clients take part), with the default arguments; also: what single values of
    arguments add, `{(argument, value): need}`; recovery: whether FedAvg on the retained data follows;
    check(task, arguments): raises Bad where the method cannot work, asked before anything trains.
    """
    unknown = {*needs, *(also or {}).values()} - set(NEEDS)
    if unknown:
        raise Bad(f"method {name}: needs {sorted(unknown)} is not known; choose from {', '.join(NEEDS)}")
    return METHODS.named(name, needs=tuple(needs), recovery=recovery, also=also or {}, check=check)


def find(name):
    """The method of that name; an unknown one is an error that names the nearest."""
    return METHODS.find(name, "methods")


def defaults(name):
    """A method's hyper-parameters and their default values."""
    return {argument: default for argument, (_, default) in arguments(find(name)).items()}


def needs(name, /, **hp):
    """What a method needs with these arguments."""
    f = find(name)
    found = list(f.needs)
    for (argument, value), need in f.also.items():
        if hp.get(argument) == value and need not in found:
            found.append(need)
    return tuple(found)


def refuse(task, name, hp):
    """Bad where a method cannot work on a task with these arguments, as far as that shows before training."""
    f = find(name)
    judge(arguments(f), hp, f"methods.{name}")
    if f.check:
        f.check(task, {**defaults(name), **hp})
    if "history" in needs(name, **hp) and task.settings["history"] == "none":
        raise Bad(f"methods.{name}: it needs updates stored during training; set history: all")


def unlearn(task, trained, method_name, /, **hp):
    """The method's rounds, then recovery; the first round is round 0. Infinite where recovery follows."""
    f = find(method_name)
    judge(arguments(f), hp, f"methods.{method_name}")
    last = None
    for last in rounds_of(f, task, trained and trained.protected(), hp):
        yield last
    if f.recovery:
        yield from recover(task, last)


def rounds_of(f, task, trained, hp):
    """What a method yields, each of it judged: Bad where that is no `Round`, or nothing."""
    found = f(task, trained, **hp)
    if not isinstance(found, Iterator):
        raise Bad(f"methods.{f.name}: it gives {type(found).__name__}, not rounds; {REMEDY}")
    empty = True
    for now in found:
        if not isinstance(now, Round):
            raise Bad(f"methods.{f.name}: it yields {type(now).__name__}, not a Round; {REMEDY}")
        empty = False
        yield now
    if empty:
        raise Bad(f"methods.{f.name}: it yields nothing; {REMEDY}")


def recover(task, last, after_client=None):
    """FedAvg from a round's state, under its mask, as its `then` says: by default on the retained data.

    Entries that the mask freezes are not sent. Every round that comes out says in `then` how to go on from it: it is
    a checkpoint. Training is this as well, on all data from an initialisation. after_client: see `fedavg`.
    """
    then = last.then
    stream = fedavg(task, then.jobs, last.state, phase=then.phase, start=then.round, schedule=then.schedule,
                    lr=then.lr, mask=last.mask, extra=last.extra, after_client=after_client)
    share = 1 - frozen_entries(task, last.mask) / task.parameters
    for number, now in enumerate(stream, then.round + 1):
        cost = now.cost._replace(bytes=now.cost.bytes * share)
        yield now._replace(then=then._replace(round=number), cost=cost)


def frozen_entries(task, mask):
    """How many entries of the parameters a mask freezes."""
    parameters = dict(task.model.named_parameters())
    return sum(int((~free).sum()) for name, free in (mask or {}).items() if name in parameters)
