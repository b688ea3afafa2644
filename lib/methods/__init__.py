"""Unlearning methods: generators of rounds that choose where recovery starts; FedAvg on retained data does the rest.

A method is `f(task, trained, *, hyper-parameters)`, yields at least one `Round` (the first is round 0), and is
registered by `@method(name, needs=...)`. What it declares to need is checked against what it touches by the tests.
"""
import inspect

from ..errors import Bad, nearest
from ..fl.rounds import fedavg
from ..registry import Registry

NEEDS = ("forget", "history", "init", "target")
METHODS = Registry("method")


def method(name, *, needs=(), recovery=True, also=None):
    """Register an unlearning method.

    needs: any of `forget` (inputs or labels of the forget data), `history` (stored updates), `init` (the model before
    training), `target` (the forgetting clients take part), with the default arguments; also: what single values of
    arguments add, `{(argument, value): need}`; recovery: whether FedAvg on the retained data follows.
    """
    unknown = {*needs, *(also or {}).values()} - set(NEEDS)
    if unknown:
        raise Bad(f"method {name}: needs {sorted(unknown)} is not known; choose from {', '.join(NEEDS)}")

    def register(f):
        f.name, f.needs, f.recovery, f.also = name, tuple(needs), recovery, also or {}
        METHODS[name] = f
        return f
    return register


def find(name):
    """The method of that name; an unknown one is an error that names the nearest."""
    if name not in METHODS:
        raise Bad(f"methods: {name!r} is not known; {nearest(name, METHODS, 'method')}")
    return METHODS[name]


def defaults(name):
    """A method's hyper-parameters and their default values."""
    ps = inspect.signature(find(name)).parameters.values()
    return {p.name: p.default for p in ps if p.kind is p.KEYWORD_ONLY}


def needs(name, **hp):
    """What a method needs with these arguments."""
    f = find(name)
    return tuple(dict.fromkeys([*f.needs, *(need for (k, v), need in f.also.items() if hp.get(k) == v)]))


def unlearn(task, trained, method_name, /, **hp):
    """The method's rounds, then recovery; the first round is round 0. Infinite where recovery follows."""
    f = find(method_name)
    known = defaults(method_name)
    for k in hp:
        if k not in known:
            raise Bad(f"methods.{method_name}: {k!r} is no argument of it; {nearest(k, known, 'argument')}")
    last = None
    for last in f(task, trained and trained.protected(), **hp):
        yield last
    if f.recovery:
        yield from recover(task, last)


def recover(task, last, keep_updates=()):
    """FedAvg from a round's state, under its mask, as its `then` says: by default on the retained data.

    Entries that the mask freezes are not sent. Every round that comes out says in `then` how to go on from it: it is
    a checkpoint. Training is this as well, on all data from an initialisation.
    """
    then = last.then
    stream = fedavg(task, then.jobs, last.state, phase=then.phase, start=then.round, schedule=then.schedule,
                    lr=then.lr, mask=last.mask, extra=last.extra, keep_updates=keep_updates)
    frozen = sum(int((~m).sum()) for k, m in (last.mask or {}).items() if k in dict(task.model.named_parameters()))
    share = 1 - frozen / task.parameters
    for k, now in enumerate(stream, then.round + 1):
        yield now._replace(then=then._replace(round=k), cost=now.cost._replace(bytes=now.cost.bytes * share))


from . import ablation, centralized, federated, tis  # noqa: E402,F401
