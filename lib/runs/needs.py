"""What a method touches, found out by taking things away one by one: the columns of the access table."""
from dataclasses import replace
from itertools import islice

import torch

from ..fl.task import make_task
from ..methods import NEEDS, unlearn
from .run import train


def outcome(task, trained, name, hp, rounds):
    """States of the first rounds, or None where the method cannot go on without what was taken away."""
    try:
        return [now.state for now in islice(unlearn(task, trained, name, **hp), rounds)]
    except Exception:
        return None


def equal(a, b):
    """Whether two outcomes are the same, bit for bit; a failure equals nothing."""
    return a is not None and b is not None and len(a) == len(b) and all(
        s.keys() == t.keys() and all(torch.equal(s[k], t[k]) for k in s) for s, t in zip(a, b, strict=True))


def without_forget(task):
    """The task with NaN for every image to be forgotten, and a label that does not exist.

    NaN needs floats: as uint8 it would be 0. A negative label would be ignored by the cross-entropy.
    """
    x, y, forget = task.x.to(task.dtype, copy=True), task.y.clone(), task.indices("forget")
    x[forget], y[forget] = float("nan"), task.classes
    return replace(task, x=x, y=y)


def without_target(task):
    """The task with targets that are gone: whoever asks for their data is told that there is no such index."""
    gone = [c._replace(forget=c.forget + len(task.x), val=c.val + len(task.x)) if k in task.targets else c
            for k, c in enumerate(task.clients)]
    return replace(task, clients=tuple(gone))


def derive_needs(task, trained, name, hp=None, rounds=6):
    """What a method needs on this task, of `NEEDS`: what changes its first rounds, or stops it, when it is missing.

    `target` is asked only where whole clients forget. Use a small task on the CPU, trained with a full history.
    """
    hp, base = hp or {}, replace(task, x=task.x.to(task.dtype))
    whole = [now.state for now in islice(unlearn(base, trained, name, **hp), rounds)]
    less = {"forget": (without_forget(task), trained), "history": (base, replace(trained, history=None)),
            "init": (base, replace(trained, init=None))}
    if len(task.clients) > 1 and task.settings["forget"] == "clients":
        less["target"] = without_target(base), trained
    return tuple(need for need in NEEDS if need in less and not equal(whole, outcome(*less[need], name, hp, rounds)))


TINY = {"dataset": "digits", "n_train": 120, "n_test": 60, "clients": 3, "width": 4, "batch_size": 16, "lr": 0.05,
        "rounds": 2, "unlearn_rounds": 2, "every": 2, "history": "all", "dtype": "float64", "mia_draws": 1,
        "device": "cpu"}


def access_table(methods, store, **settings):
    """Which of `NEEDS` each method needs, derived on a tiny task trained for it: `{method: {need: bool}}`."""
    task = make_task({**TINY, **settings}, 0, "access")
    trained = train(task, store)
    names = dict.fromkeys(name.split("/")[0] for name in methods)
    found = {name: derive_needs(task, trained, name, rounds=3) for name in names}
    return {name: {need: need in needs for need in NEEDS} for name, needs in found.items()}
