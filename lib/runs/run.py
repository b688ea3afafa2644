"""One run: train, or unlearn by one method, evaluate every few rounds, and keep the result in the store."""
from dataclasses import dataclass, replace
from functools import partial

import torch

from ..errors import Bad, shown
from ..files import runs_root
from ..fl.finite import finite
from ..fl.history import History, file_of, to_device
from ..fl.rounds import Cost, Round, Then, difference
from ..fl.task import make_task
from ..methods import defaults, find, recover, unlearn
from ..methods.tis import compute_curvature
from ..methods.trained import Trained
from ..metrics.evaluate import accuracy, evaluate, losses, predict
from ..settings import check
from .code import code_hash
from .loop import code_of, described, follow, kept, one_by_one
from .progress import progress
from .ready import refuse, refuse_methods
from .store import Store


def open_store(profile):
    """The store of a profile, below `FU_RUNS` or `runs/`."""
    return Store(runs_root() / profile / "store")


def tasks(settings, seeds):
    """The tasks of `{setting: flat keys}` at every seed, in order; a mistake in any of them is found first."""
    check(settings, "settings")
    if not isinstance(seeds, (list, tuple, range)) or not seeds:
        raise Bad(f"seeds: {shown(seeds)} must be a list of different whole numbers >= 0, as [0, 1, 2]")
    made = [make_task(s, seed, name) for name, s in settings.items() for seed in seeds]
    for task in made:
        refuse_large_history(task)
        refuse(task)
    return made


# ---------------------------------------------------------------- training

def training_key(task):
    """What a training depends on."""
    s = task.settings
    key = {"what": "training", "task": task.fingerprint("full"), "rounds": s["rounds"], "every": s["every"],
           "schedule": s["schedule"], "code": code_of(task, _train, training_metrics), "history": s["history"]}
    if s["history"] != "none":
        key |= {"history_dtype": s["history_dtype"], "kept": sorted(kept_clients(task))}
    return key


def kept_clients(task):
    """Ids of the clients whose updates the history keeps."""
    return {"none": (), "last": task.targets, "targets": task.targets,
            "all": range(len(task.clients))}[task.settings["history"]]


def history_bytes(task):
    """Bytes of the history a training run will keep: client updates, and global models where all are kept."""
    s, size = task.settings, {"float16": 2, "float32": 4, "float64": 8}[task.settings["history_dtype"]]
    stored = 1 if s["history"] == "last" else s["rounds"]
    models_kept = stored * task.parameters * (torch.finfo(task.dtype).bits // 8) * (s["history"] == "all")
    return stored * clients_a_round(task) * task.parameters * size + models_kept


def clients_a_round(task):
    """How many updates a round leaves at most: of those that are kept, no more than take part."""
    return min(len(kept_clients(task)), len(task.participants("full", "train", task.settings["rounds"])))


def refuse_large_history(task):
    need, limit = history_bytes(task) / 1e9, task.settings["history_limit_gb"]
    if need > limit:
        raise Bad(f"history: {task.settings['history']!r} would take {need:.1f} GB, more than history_limit_gb: "
                  f"{limit}; choose a smaller history, history_dtype: float16, or raise the limit")


@dataclass
class StoredTrained(Trained):
    """A training from a store, which keeps its curvature as well."""
    store: Store | None = None

    def compute_curvature(self, task, kind, path):
        return curvatures(task, self.store, self.state, kind, path)


def train(task, store):
    """The trained model of a task: `rounds` rounds of FedAvg on all clients' data, from the store if it is there.

    The curve has accuracy and loss on all training data and on the test set. A killed run resumes, bit for bit. Bad
    where training diverges: there is nothing to unlearn.
    """
    refuse_large_history(task)
    entry = kept(store, "training", lambda: training_key(task), lambda slot: _train(task, slot), task, "training")
    if entry.record["diverged"] is not None:
        raise Bad(f"{task.name}, seed {task.seed}: training diverged in round {entry.record['diverged']} of "
                  f"{task.settings['rounds']}, so that no method is run on it; choose a smaller lr, or set clip")
    history = History(entry, task) if task.settings["history"] != "none" else None
    return StoredTrained(task.init("train"), to_device(entry.tensors("final"), task), history, entry.record["curve"],
                         sum(map(entry.size, entry.states)), store=store)


def _train(task, slot):
    """Training is recovery on all data from a fresh initialisation; beside it the history is written."""
    s = task.settings
    begin = Round(task.init("train"), then=Then(jobs="full", phase="train", schedule=s["schedule"]))
    past = slot.part.record["more"] if slot.part else {"history": [], "weights": {}, "stored": {}}
    go_on = partial(_recorded, task, slot, past)

    def start():
        yield begin
        yield from go_on(begin)

    bar = progress(s["rounds"], f"{task.name}, seed {task.seed}: training")
    curve, now, lost = follow(task, slot, start, go_on, count=s["rounds"], every=s["every"],
                              measure=partial(training_metrics, task), bar=bar, more=past)
    return {"curve": curve, "diverged": lost, **past}, {"final": now.state}


def _recorded(task, slot, past, now):
    """The rounds of training that follow the round `now`, each with its history, noted in `past`."""
    s = task.settings
    while True:
        r = now.then.round + 1
        if s["history"] == "none" or s["history"] == "last" and r != s["rounds"]:
            now = next(recover(task, now))
        else:
            now = _recorded_round(task, slot, past, now, r)
        yield now


def _recorded_round(task, slot, past, before, r):
    """Round r of training, which follows the round `before`. What the server keeps of it is one file: each client's
    update, written when that client is done, and the global model before it where all updates are kept."""
    s, dtype = task.settings, getattr(torch, task.settings["history_dtype"])
    wanted, stored = set(kept_clients(task)), []

    def rounded(state):
        return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}

    def after_client(client, local):
        if client not in wanted:
            return
        update = difference(local, before.state)
        if s["history"] != "last":
            put(f"update_{client}", rounded(update))
        if s["history"] != "all" and r == s["rounds"]:  # the last local model cannot be had from its update alone
            put(f"last_{client}", rounded({k: before.state[k] + v for k, v in update.items()}))
        stored.append(client)

    with slot.many(file_of(r)) as put:
        if s["history"] == "all":
            put("before", before.state)
        now = next(recover(task, before, after_client))
    jobs = task.participants("full", "train", r)
    samples = sum(len(j.indices) for j in jobs)
    past["history"].append(r)
    past["weights"][str(r)] = {j.client: len(j.indices) / samples for j in jobs}
    past["stored"][str(r)] = sorted(stored)
    return now


def training_metrics(task, state):
    """Accuracy (percent) and loss on all training data and on the test set."""
    index, out = task.indices("full"), {}
    for name, logits, labels in (("train", predict(task, state, index), task.y[index]),
                                 ("test", predict(task, state, images=task.x_test), task.y_test)):
        out[f"{name}_acc"] = accuracy(logits, labels)
        out[f"{name}_loss"] = float(losses(logits, labels).mean())
    return out


def curvatures(task, store, state, kind="ggn", path="auto"):
    """`({"all", "forget"}, Cost)`: the whole curvature and the forget data's at a state, from the store if it is
    there; see `compute_curvature`."""
    def key():
        return {"what": "curvature", "state": code_hash(state), "kind": kind, "path": path,
                "task": task.fingerprint("retain", "forget"), "code": code_of(task, compute_curvature)}

    def make(slot):
        found, cost = compute_curvature(task, state, kind, path)
        return {"cost": list(cost)}, found
    entry = kept(store, "curvature", key, make, task, "curvature")
    return {k: to_device(entry.tensors(k), task) for k in ("all", "forget")}, Cost(*entry.record["cost"])


# ---------------------------------------------------------------- unlearning

def variant(name, hp):
    """The hyper-parameters that differ from the method's defaults: `{name: value}`."""
    known = defaults(name)
    return {k: v for k, v in hp.items() if known[k] != v}


def method_key(task, name, hp, trained=None):
    """What the rounds of a method depend on, whatever is measured along them. trained: in place of the task's own."""
    f = find(name)
    uses = f.uses(hp) if hasattr(f, "uses") else []     # functions that an argument names
    s = task.settings
    key = {"method": name, "hp": {**defaults(name), **hp}, "recovers": f.recovery,
           "task": task.fingerprint("full", "retain", "forget", "val"), "training": [s["rounds"], s["schedule"]],
           "forget": [s[k] for k in ("forget", "forget_class", "poison_label")],
           "method_code": code_of(task, unlearn, f, Trained, History, *uses, methods=[name])}
    if "history" in f.needs:
        key["history"] = [s["history"], s["history_dtype"]]
    if trained is not None:
        stored = trained.history.entry.states if isinstance(trained.history, History) else trained.history
        key["trained"] = code_hash(trained.state, trained.init, stored)
    return key


def run_key(task, name, hp, count, every, trained=None):
    """What a run depends on."""
    return {"what": "run", "rounds": count, "every": every, "mia_draws": task.settings["mia_draws"],
            "code": code_of(task, _run, evaluate), **method_key(task, name, hp, trained)}


def run(task, store, name, hp=None, *, count=None, every=None, trained=None, bar=None):
    """One method on one task: its curve every `every` rounds up to `count`, from the store if it is there.

    hp: the method's hyper-parameters; trained: default the task's own training; bar: an object whose `update(round,
    text)` is told of progress. Returns a record (a plain dict) with
    `setting dataset model distribution scenario method variant seed curve`, `diverged` (the round in which the run
    stopped being finite and ended, else None) and `entry` with the states `start` (round 0) and `final`.
    """
    hp = dict(hp or {})
    if trained is not None and not finite(trained.state):
        raise Bad(f"{name}: the state of `trained` is not finite, so that there is nothing to unlearn; train again")
    count = task.settings["unlearn_rounds"] if count is None else count
    every = task.settings["every"] if every is None else every
    bar = bar or progress(count, f"{task.name}, seed {task.seed}: {name}")
    if trained is None:
        refuse_methods(task, {name: hp})
    entry = kept(store, "runs", lambda: run_key(task, name, hp, count, every, trained),
                 lambda slot: _run(task, slot, name, hp, count, every, trained or train(task, store), bar), task, name)
    return described(task) | {"method": name, "variant": variant(name, hp), "entry": entry} | entry.record


def _run(task, slot, name, hp, count, every, trained, bar):
    past, more = trained.history, slot.part.record["more"] if slot.part else {"read": []}
    if past:
        past.read = set(more["read"])

    def each(r, before, now):
        if r == 0:
            slot.write("start", now.state)
        if past:
            more["read"] = sorted(past.read)

    curve, now, lost = follow(task, slot, lambda: unlearn(task, trained, name, **hp), partial(go_on, task, trained, name, hp),
                        count=count, every=every, measure=partial(evaluate, task), bar=bar, each=each, more=more,
                        endless=find(name).recovery)
    stored = past.bytes_read if past else 0
    return {"curve": curve, "diverged": lost, "storage_bytes": stored}, {"final": now.state}


def go_on(task, trained, name, hp, now):
    """The rounds of a method that follow one of them: recovery's, or the method's own."""
    if now.then.round > 0:
        return recover(task, now)
    return unlearn(task, replace(trained, resume=now), name, **hp)


def label_of(name):
    """`head` of `NoT/head`, `NoT` of `NoT`."""
    return name.partition("/")[2] or name


def run_all(task_list, store, methods=None, **kw):
    """Every method of every task's settings (`methods: {name: {hyper-parameters}}`), in order, as records.

    A name may have a label after a slash, `NoT/head`, so that one method appears with several hyper-parameters; the
    record holds it as `label`. Those under `ablations` follow, for `ablation_rounds`.
    """
    todo = [(t, name, hp, kw) for t in task_list for name, hp in (methods or t.settings["methods"]).items()]
    todo += [(t, name, hp, {"count": t.settings["ablation_rounds"], **kw}) for t in task_list if not methods
             for name, hp in t.settings["ablations"].items()]

    for t, name, hp, options in todo:
        if "trained" not in options:
            refuse_methods(t, {name: hp})

    def one(t, name, hp, options, bar):
        return run(t, store, name.split("/")[0], hp, bar=bar, **options) | {"label": label_of(name)}
    return one_by_one([(f"{t.name}, seed {t.seed}, {name}", partial(one, t, name, hp, options))
                       for t, name, hp, options in todo], "runs")
