"""What all runners share: a result that is computed once, a loop that can be killed, and one bar for many."""
import math
import platform
import sys
import time
from types import SimpleNamespace

import torch

from ..fl.finite import finite
from ..fl.history import to_device
from ..fl.rounds import Cost, Round, Then, fedavg
from ..fl.task import Task
from ..methods import recover
from ..words import describe
from .code import code_hash
from .progress import progress, watched
from .store import Slot, Store
from .syntax import Unhashable

CHECKPOINT_SECONDS = 60     # a checkpoint at least so often, however rarely metrics are measured

# Settings that say what is computed with a task, or how fast, and not what the task is.
NOT_OF_A_TASK = {"methods", "ablations", "ablation_rounds", "traced", "trace_rounds", "studies", "shadows", "gammas",
                 "after_rounds", "relearn_images", "relearn_rounds", "bits", "leavers", "in_turn", "request_rounds",
                 "random_draws", "threads", "device", "cuda_graphs", "history_limit_gb"}


def code_of(task, *functions, methods=()):
    """The part of a key that says which code computes: the federation, this loop, and `functions` with all they reach.

    Of the registries only the task's net, the metrics that its settings name and the named methods count: the data, as
    images and as clients' indices, is in the task's fingerprint. Of what clients are asked by name a method reaches its
    own: `call` is given the function.
    """
    only = {"model": [task.settings["model"]], "dataset": [], "partition": [], "method": methods,
            "metric": task.settings["metrics"]}
    only |= {kind: [] for kind in ("loss", "action", "labels", "part", "answer")}
    return code_hash(fedavg, recover, Task, follow, task.engine, *functions, only=only)


def environment(task):
    """What a result was made with: recorded, never part of its key."""
    return {"device": str(task.device), "dtype": task.settings["dtype"],
            "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}


def described(task):
    """The columns of the result schema that the task alone decides."""
    return {"setting": task.name, "seed": task.seed, **describe(task.settings)}


def kept(store, kind, key, make, task, name):
    """The entry of one result, from the store if it is there: the only way by which anything comes to be in it.

    key(): a plain dict of all that decides the numbers; make(slot): computes them, `(record, tensors)`; name: for
    messages. What has no key is computed anew each time, in a folder that goes when its entry does, and that is said;
    if the process is killed, the next run clears it away as any half-written file.
    """
    try:
        key = key()
        store.folder(kind, key)
    except Unhashable as why:
        print(f"{name} is not kept: {why}", file=sys.stderr, flush=True)
        aside = store.aside(kind)
        entry = _made(Slot(Store(aside.name), kind, {}), make, task)
        entry.aside = aside
        return entry
    by = {k: v for k, v in task.settings.items() if k not in NOT_OF_A_TASK}
    store.asked(kind, key, {"setting": task.name, "seed": task.seed, "settings": by})
    return store.get(kind, key, lambda: _made(Slot(store, kind, key), make, task))


def _made(slot, make, task):
    record, tensors = make(slot)
    return slot.finish(record | {"environment": environment(task)}, tensors)


def follow(task, slot, start, go_on, *, count, every, measure, bar, each=None, more=None, endless=True):
    """Consume rounds up to `count` and leave checkpoints; returns `(curve, last round, diverged)`. A killed run goes
    on, bit for bit, from its newest checkpoint: one is left wherever metrics are measured, and once a minute.

    A run whose state, or a loss in its curve, is no longer finite ends there: `diverged` is that round, else None. The
    curve's last point is then of NaN.

    start(): the rounds, from round 0 on; go_on(now): those that follow the round `now`;
    measure(state): metrics, every `every` rounds and at the end, for the curve;
    each(r, before, now): told of every round; more: a dict that it may fill, which lives on in checkpoints;
    endless: the rounds have no end of their own; a method that ends by itself is judged when it is done.
    """
    r, now, curve, total = -1, None, [], Cost()
    if slot.part:
        r, now, curve, total = _restored(task, slot)
    rounds = go_on(now) if slot.part else start()
    kept_at = time.monotonic()

    def point():
        curve.append({"round": r, "bytes": total.bytes, "flops": total.flops, "seconds": total.seconds,
                      **measure(now.state)})
        bar.update(r, watched(curve[-1]))

    for following in rounds:
        before, now = now, following
        r, total = r + 1, total + now.cost
        if each:
            each(r, before, now)
        done = r >= count and (endless or now.then.round > 0)
        if done or not finite(now.state):
            break
        evaluated = r % every == 0
        if evaluated:
            point()
            if lost(curve[-1]):
                break
        if now.then.resumable and (evaluated or time.monotonic() - kept_at > CHECKPOINT_SECONDS):
            _checkpoint(slot, r, now, curve, total, more)
            kept_at = time.monotonic()
    if not curve or curve[-1]["round"] != r:
        point()
    if finite(now.state) and not lost(curve[-1]):
        return curve, now, None
    curve[-1] = of_nan(curve[-1])
    return curve, now, r


def _checkpoint(slot, r, now, curve, total, more):
    """What it takes to go on after the round `now`, number r, in the slot."""
    record = {"curve": curve, "total": list(total), "then": now.then._asdict(), "more": more or {}}
    slot.checkpoint(r, record, {"state": now.state, "mask": now.mask, "extra": now.extra})


LOSSES = ("train_loss", "retain_loss", "forget_loss", "test_loss")
SPENT = ("round", "bytes", "flops", "seconds")


def lost(point):
    """Whether a point of a curve has a loss that is not finite: the logits are not, though the state may be."""
    return any(name in point and not math.isfinite(point[name]) for name in LOSSES)


def of_nan(point):
    """A point of a curve at which nothing can be measured any more; what was spent stands."""
    return {name: value if name in SPENT else math.nan for name, value in point.items()}


def _restored(task, slot):
    """`(round, Round, curve, total)` of the checkpoint of a killed run."""
    record = slot.part.record
    mask = slot.restored("mask")
    now = Round(to_device(slot.restored("state"), task), mask=mask and to_device(mask, task),
                extra=slot.restored("extra"), then=Then(**record["then"]))
    return record["number"], now, record["curve"], Cost(*record["total"])


def one_by_one(todo, what):
    """The results of `[(words, make)]`, in order, under one bar; `make(bar)` may tell it more about its own part."""
    show, out = progress(len(todo), what), []
    for i, (words, make) in enumerate(todo):
        def tell(r, text, i=i, words=words):
            show.update(i, f"{words}: round {r}, {text}")
        show.update(i, words)
        out.append(make(SimpleNamespace(update=tell)))
    show.update(len(todo), "all there")
    return out
