"""Unlearning methods: generators of rounds that choose where recovery starts; FedAvg on retained data does the rest.

A method is `f(task, trained, *, hyper-parameters)` with types and ranges of `lib.values`, yields at least one `Round` (the first is round 0), and is
registered by `@method(name, needs=...)`. What it declares to need is checked against what it touches by the tests.
"""
from ..errors import Bad
from ..fl.rounds import fedavg
from ..registry import METHODS, arguments, judge

NEEDS = ("forget", "history", "init", "target")


def method(name, *, needs=(), recovery=True, also=None):
    """Register an unlearning method.

    needs: any of `forget` (inputs or labels of the forget data), `history` (stored updates), `init` (the model before
    training), `target` (the forgetting clients take part), with the default arguments; also: what single values of
    arguments add, `{(argument, value): need}`; recovery: whether FedAvg on the retained data follows.
    """
    unknown = {*needs, *(also or {}).values()} - set(NEEDS)
    if unknown:
        raise Bad(f"method {name}: needs {sorted(unknown)} is not known; choose from {', '.join(NEEDS)}")

    return METHODS.named(name, needs=tuple(needs), recovery=recovery, also=also or {})


def find(name):
    """The method of that name; an unknown one is an error that names the nearest."""
    return METHODS.find(name, "methods")


def defaults(name):
    """A method's hyper-parameters and their default values."""
    return {argument: default for argument, (_, default) in arguments(find(name)).items()}


def needs(name, **hp):
    """What a method needs with these arguments."""
    f = find(name)
    return tuple(dict.fromkeys([*f.needs, *(need for (k, v), need in f.also.items() if hp.get(k) == v)]))


def unlearn(task, trained, method_name, /, **hp):
    """The method's rounds, then recovery; the first round is round 0. Infinite where recovery follows."""
    f = find(method_name)
    judge(arguments(f), hp, f"methods.{method_name}")
    last = None
    for last in f(task, trained, **hp):
        yield last
    if f.recovery:
        yield from recover(task, last)


def recover(task, last):
    """FedAvg on the retained data from a round's state, under its mask; its `then` may name jobs, phase and schedule.

    Entries that the mask freezes are not sent. Every round that comes out holds in `then` what it takes to go on from
    it: it is a checkpoint.
    """
    then = {"jobs": "retain", "phase": "recover", "schedule": None, "round": 0, **(last.then or {})}
    stream = fedavg(task, then["jobs"], last.state, phase=then["phase"], start=then["round"], mask=last.mask,
                    schedule=then["schedule"], extra=last.extra)
    frozen = sum(int((~m).sum()) for k, m in (last.mask or {}).items() if k in dict(task.model.named_parameters()))
    share = 1 - frozen / task.parameters
    for k, now in enumerate(stream, then["round"] + 1):
        yield now._replace(then=then | {"round": k}, cost=now.cost._replace(bytes=now.cost.bytes * share))


from . import ablation, centralized, federated, tis  # noqa: E402,F401
