"""Shadow federations: the same data, clients and recipe many times, under other names of the randomness."""
from collections import deque
from dataclasses import dataclass, fields
from functools import cache, cached_property, partial

import numpy as np
from filelock import Timeout

from ..errors import Bad
from ..files import locked
from ..fl.finite import finite
from ..fl.rng import generator
from ..fl.rounds import Cost, job_cost
from ..fl.task import Task
from ..methods import unlearn
from ..metrics.audit import margins
from ..metrics.evaluate import evaluate, predict
from .loop import code_of, described, kept
from .progress import progress
from .ready import refuse_methods
from .run import StoredTrained, label_of, method_key, train, variant
from .store import Store, digest

SHARES = {"quarter": 0.25, "half": 0.5, "full": 1.0}    # of Retrain's budget: those at which a method is looked at
FORGIVEN = 0.01             # of it: a step before the first round does not cost a method a whole round
PARTS = ("forget", "retain", "test")


@dataclass(frozen=True, eq=False)
class Shadow(Task):
    """A task whose training, and all that follows, has randomness of its own; data, clients and splits do not."""
    number: int = 0

    def rng(self, *name):
        return generator(self.seed, f"m{self.number}", *name)

    def fingerprint(self, *which):
        return super().fingerprint(*which) | {"shadow": self.number}


def shadow_of(task, number):
    """The shadow federation of that number."""
    given = {f.name: getattr(task, f.name) for f in fields(task)}
    made = Shadow(**given, number=number)
    made.__dict__["_data_hash"] = task._data_hash       # the data is the same, and takes its time to hash
    return made


def shadows(task, store, methods=None, n=None):
    """`{name: Seen}` of methods on n shadow federations (default: the settings' `methods` and `shadows`).

    One result in the store for each method and federation; several processes may work on the same ones: each takes a
    federation that no other has in hand, and waits for the others' at the end. Retrain is there whether named or not.
    Raises Bad where a method cannot work, before anything trains.
    """
    methods = {"Retrain": {}, **(task.settings["methods"] if methods is None else methods)}
    n = task.settings["shadows"] if n is None else n
    if n < 1:
        raise Bad(f"shadows: {n} federations are none; name at least 4")
    refuse_methods(task, methods)
    found = shared(task, store, methods, n)
    return {name: Seen(task, name, hp, [entries[name] for entries in found]) for name, hp in methods.items()}


def shared(task, store, methods, n):
    """`[{name: entry}]` of all federations in order, those first that no other process has in hand."""
    left, found, passed = deque(range(n)), {}, 0
    bar = progress(n, f"{task.name}, seed {task.seed}: shadow federations")
    keys = {name: cache(partial(key_of, task, name, hp)) for name, hp in methods.items()}
    place = store.root / "shadows" / digest(task.fingerprint("full"))[:20]
    while left:
        number = left.popleft()
        wait = -1 if passed > len(left) else 0      # everything that is left is in other hands
        try:
            with locked(f"{place}.m{number}.lock", timeout=wait):
                found[number] = seen_by_all(shadow_of(task, number), store, methods, keys)
            passed = 0
        except Timeout:
            left.append(number)
            passed += 1
        bar.update(len(found))
    return [found[number] for number in range(n)]


def key_of(task, label, hp):
    """What a method on a shadow federation depends on, but for the federation's number; the same for all of them."""
    s = task.settings
    return {"what": "shadow", "rounds": s["unlearn_rounds"], "mia_draws": s["mia_draws"], "shares": SHARES,
            "seen": code_of(task, states_at, margins_of, whole, evaluate, Shadow, StoredTrained),
            **method_key(task, label.split("/")[0], hp)}


def seen_by_all(shadow, store, methods, keys):
    """`{name: entry}` of all methods on one federation, which is trained once, and only if an entry is missing.

    Its training with the history lies in a folder that goes when they are done: of many federations it would be large.
    """
    with store.aside("shadows") as aside:
        return {name: seen(shadow, store, Store(aside), name, hp, keys[name]) for name, hp in methods.items()}


def seen(shadow, store, aside, label, hp, known):
    """The entry of one method on one federation: for each share of Retrain's budget that it can afford, metrics in the
    record and a file of margins of that name. aside: the store of the training; known(): see `key_of`."""
    name, count = label.split("/")[0], shadow.settings["unlearn_rounds"]

    def key():
        return known() | {"task": shadow.fingerprint("full", "retain", "forget", "val")}

    def make(slot):
        states, lost = states_at(shadow, train(shadow, aside), name, hp, count)
        values = {share: evaluate(shadow, state) for share, state in states.items()}
        tensors = {share: margins_of(shadow, state) for share, state in states.items()}
        return {"values": values, "diverged": lost}, tensors
    return kept(store, "shadows", key, make, shadow, f"{label} on shadow federation {shadow.number}")


def states_at(task, trained, name, hp, count):
    """`({share: state}, diverged)`: a method's state after the last round that it can afford with that share of a whole
    Retrain's bytes and FLOPs, none where its first is dearer or it diverged before; diverged: in which round."""
    budget, total, states = whole(task, count), Cost(), {}
    for r, now in enumerate(unlearn(task, trained, name, **hp)):
        if not finite(now.state):
            return {}, r
        total += now.cost
        affordable = [share for share, part in SHARES.items() if within(total, budget, part)]
        states |= dict.fromkeys(affordable, now.state)
        if r >= count or not affordable:
            break
    return states, None


def whole(task, count):
    """What a Retrain of so many rounds costs, without running it."""
    total = Cost()
    for r in range(1, count + 1):
        for job in task.participants("retain", "retrain", r):
            total += job_cost(task, job, len(job.indices) * task.recipe.local_epochs, 0)
    return total


def within(cost, budget, share):
    """Whether bytes and FLOPs are both within a share of the budget."""
    allowed = share + FORGIVEN
    return cost.bytes <= allowed * budget.bytes and cost.flops <= allowed * budget.flops


def margins_of(task, state):
    """`{forget, retain, test: margins [n]}` of all examples under one model, float32."""
    found = {}
    for part in PARTS[:2]:
        indices = task.indices(part)
        found[part] = margins(predict(task, state, indices), task.y[indices])
    found["test"] = margins(predict(task, state, images=task.x_test), task.y_test)
    return {part: values.float() for part, values in found.items()}


# ---------------------------------------------------------------- what was seen

class Seen:
    """One method on all shadow federations: `margins(part, share)` and `values(metric, share)`, read when asked for."""

    def __init__(self, task, name, hp, entries):
        self.task, self.entries = task, entries
        self.label = label_of(name)
        self.method = name.split("/")[0]
        self.record = described(task) | {"method": self.method, "variant": variant(self.method, hp)}
        self.diverged = [e.record["diverged"] for e in entries if e.record["diverged"] is not None]

    def at(self, share):
        """Whether every federation has a model at that share of the budget."""
        return all(share in e.record["values"] for e in self.entries)

    @cached_property
    def shares(self):
        return [share for share in SHARES if self.at(share)]

    def margins(self, part, share="full"):
        """`[models, examples]`, float64, of the `forget`, `retain` or `test` examples."""
        return np.stack([e.tensors(share)[part].numpy() for e in self.entries]).astype(np.float64)

    def values(self, metric, share="full"):
        """A metric of `evaluate` for each model, `[models]`; NaN where it was not measured."""
        return np.array([e.record["values"][share].get(metric, np.nan) for e in self.entries])
