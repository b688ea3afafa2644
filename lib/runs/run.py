"""One run: train, or unlearn by one method, evaluate every few rounds, and keep the result in the store."""
import platform
from dataclasses import replace
from types import SimpleNamespace

import torch

from ..errors import Bad
from ..files import runs_root
from ..fl import data, models, partitions, rounds
from ..fl import task as task_module
from ..fl.history import History, Trained, to_device
from ..fl.rounds import Cost, Round, fedavg
from ..fl.task import make_task
from ..methods import defaults, find, recover, unlearn
from ..metrics.evaluate import accuracy, evaluate, losses, predict
from ..settings import check
from ..words import describe
from .code import code_hash
from .progress import progress
from .store import Store

ENGINE = (data, partitions, models, task_module, rounds, evaluate)


def open_store(profile):
    """The store of a profile, below `FU_RUNS` or `runs/`."""
    return Store(runs_root() / profile / "store")


def tasks(settings, seeds):
    """The tasks of `{setting: flat keys}` at every seed, in order; a mistake in any of them is found first."""
    check(settings, "settings")
    return [make_task(s, seed, name) for name, s in settings.items() for seed in seeds]


def training_key(task):
    s = task.settings
    key = {"what": "training", "task": task.fingerprint("full"), "rounds": s["rounds"], "every": s["every"],
           "schedule": s["schedule"], "code": code_hash(*ENGINE), "history": s["history"]}
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
    return stored * len(kept_clients(task)) * task.parameters * size + models_kept


def refuse_large_history(task):
    need, limit = history_bytes(task) / 1e9, task.settings["history_limit_gb"]
    if need > limit:
        raise Bad(f"history: {task.settings['history']!r} would take {need:.1f} GB, more than history_limit_gb: "
                  f"{limit}; choose a smaller history, history_dtype: float16, or raise the limit")


def train(task, store):
    """The trained model of a task: `rounds` rounds of FedAvg on all clients' data, from the store if it is there.

    The curve has accuracy and loss on all training data and on the test set. A killed run resumes, bit for bit.
    """
    refuse_large_history(task)
    key = training_key(task)
    entry = store.get("training", key, lambda: _train(task, store, key))
    history = History(entry, task) if task.settings["history"] != "none" else None
    kept = [entry.folder / f"{n}.safetensors" for n in entry.files if n != "state"]
    return Trained(task.init("train"), to_device(entry.tensors("state"), task), history, entry.record["curve"],
                   sum(path.stat().st_size for path in kept))


def _train(task, store, key):
    s, part = task.settings, store.load("training", key, "part")
    keep = {"all": "all", "none": ()}.get(s["history"], task.targets)
    dtype = getattr(torch, s["history_dtype"])
    if part:
        r, record, files = part.record["round"], part.record, dict(part.files)
        state, extra = to_device(part.tensors(f"part_{r}"), task), _optional(part, f"part_extra_{r}")
        total = Cost(*record["total"])
    else:
        r, files, state, extra, total = 0, {}, task.init("train"), None, Cost()
        record = {"curve": [_training_metrics(task, state, 0, total)], "history": [], "weights": {}, "stored": {}}
    stream = fedavg(task, "full", state, phase="train", start=r, schedule=s["schedule"], extra=extra,
                    keep_updates=keep)
    bar = progress(s["rounds"], f"{task.name}, seed {task.seed}: training")
    while r < s["rounds"]:
        before, now = state, next(stream)
        r, state, total = r + 1, now.state, total + now.cost
        if now.updates and (s["history"] != "last" or r == s["rounds"]):
            # the target's last local model cannot be had from its update alone
            if s["history"] != "all" and r == s["rounds"]:
                for k, u in now.updates.items():
                    local = {n: (before[n] + v).to(dtype) if v.is_floating_point() else before[n] + v
                             for n, v in u.items()}
                    files[f"last_{k}"] = store.save_tensors("training", key, f"last_{k}", local)
            if s["history"] == "all":
                files[f"before_{r:05d}"] = store.save_tensors("training", key, f"before_{r:05d}", before)
            for k, u in now.updates.items() if s["history"] != "last" else ():
                u = {n: v.to(dtype) if v.is_floating_point() else v for n, v in u.items()}
                files[f"update_{r:05d}_{k}"] = store.save_tensors("training", key, f"update_{r:05d}_{k}", u)
            todo = task.jobs("full", r)
            n = sum(len(j.indices) for j in todo)
            record["history"].append(r)
            record["weights"][r] = {j.client: len(j.indices) / n for j in todo}
            record["stored"][r] = sorted(now.updates)
        if r % s["every"] == 0 or r == s["rounds"]:
            record["curve"].append(_training_metrics(task, state, r, total))
            bar.update(r, f"test accuracy {record['curve'][-1]['test_acc']:.1f} %")
            if r < s["rounds"]:
                _checkpoint(store, "training", key, {**record, "round": r, "total": list(total)}, r, files,
                            {f"part_{r}": state, f"part_extra_{r}": now.extra})
    tensors = {"state": state}
    return store.save("training", key, record | {"environment": environment(task)}, tensors,
                      {k: v for k, v in files.items() if not k.startswith("part")})


def _checkpoint(store, kind, key, record, r, files, tensors):
    """A checkpoint in files of its own name, then the mark; older checkpoint files go only after that."""
    old = [k for k in files if k.startswith("part")]
    for k in old:
        del files[k]
    for name, state in tensors.items():
        if state:
            files[name] = store.save_tensors(kind, key, name, state)
    store.save(kind, key, record, files=files, mark="part")
    for name in old:
        if name not in files:
            (store.folder(kind, key) / f"{name}.safetensors").unlink(missing_ok=True)


def _optional(entry, name):
    return entry.tensors(name) if name in entry.files else None


def _training_metrics(task, state, r, cost):
    out = {"round": r, "bytes": cost.bytes, "flops": cost.flops, "seconds": cost.seconds}
    for name, idx, images, labels in (("train", task.indices("full"), None, None),
                                      ("test", None, task.x_test, task.y_test)):
        logits = predict(task, state, idx, images)
        labels = task.y[idx] if labels is None else labels
        out |= {f"{name}_acc": accuracy(logits, labels), f"{name}_loss": float(losses(logits, labels).mean())}
    return out


def environment(task):
    """What a result was made with: recorded, never part of its key."""
    return {"device": str(task.device), "dtype": str(task.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(), "torch": torch.__version__, "python": platform.python_version()}


def variant(name, hp):
    """The hyper-parameters that differ from the method's defaults: `{name: value}`."""
    known = defaults(name)
    return {k: v for k, v in hp.items() if known[k] != v}


def run_key(task, name, hp, count, every):
    f = find(name)
    uses = f.uses(hp) if hasattr(f, "uses") else []  # functions that an argument names
    known = {"what": "run", "method": name, "hp": {**defaults(name), **hp}, "rounds": count, "every": every,
             "task": task.fingerprint("full", "retain", "forget", "val"),
             "code": code_hash(*ENGINE, f, recover, *uses),
             "training": [task.settings["rounds"], task.settings["schedule"]], "mia_draws": task.settings["mia_draws"],
             "forget": [task.settings[k] for k in ("forget", "forget_class", "poison_label")]}
    if "history" in f.needs:
        known |= {"history": [task.settings["history"], task.settings["history_dtype"]]}
    return known


def run(task, store, name, hp=None, *, count=None, every=None, trained=None, bar=None):
    """One method on one task: its curve every `every` rounds up to `count`, from the store if it is there.

    hp: the method's hyper-parameters; trained: default the task's own training; bar: an object whose `update(round,
    text)` is told of progress. Returns a record (a plain dict) with
    `setting dataset model distribution scenario method variant seed curve`, and `entry` with the states `start`
    (round 0) and `final`.
    """
    hp = dict(hp or {})
    count = task.settings["unlearn_rounds"] if count is None else count
    every = task.settings["every"] if every is None else every
    key = run_key(task, name, hp, count, every)
    entry = store.get("runs", key, lambda: _run(task, store, key, name, hp, count, every,
                                                trained or train(task, store), bar))
    return described(task) | {"method": name, "variant": variant(name, hp), "entry": entry} | entry.record


def _run(task, store, key, name, hp, count, every, trained, bar=None):
    part = store.load("runs", key, "part")
    if part:
        p = part.record
        r, curve, total, files = p["round"], p["curve"], Cost(*p["total"]), dict(part.files)
        mask, extra = (_optional(part, f"part_{what}_{r}") for what in ("mask", "extra"))
        state = to_device(part.tensors(f"part_{r}"), task)
        now = Round(state, mask=mask, extra=extra, then=p["then"])
        if "round" in p["then"]:
            stream = recover(task, now)
        else:
            stream = unlearn(task, replace(trained, resume=now), name, **hp)
    else:
        r, curve, total, files, stream = -1, [], Cost(), {}, unlearn(task, trained, name, **hp)
    bar = bar or progress(count, f"{task.name}, seed {task.seed}: {name}")
    past = trained.history
    if past:
        past.read = set(part.record.get("read", ())) if part else set()
    endless = find(name).recovery  # the others are judged when they are done, however long that takes

    def measure(now):
        curve.append({"round": r, "bytes": total.bytes, "flops": total.flops, "seconds": total.seconds,
                      **evaluate(task, now.state)})
        bar.update(r, f"forget accuracy {curve[-1]['forget_acc']:.1f} %")

    for now in stream:
        r, total = r + 1, total + now.cost
        if r == 0:
            files["start"] = store.save_tensors("runs", key, "start", now.state)
        recovering = now.then and "round" in now.then
        if r >= count and (recovering or endless):
            break
        if r % every == 0:
            measure(now)
            if recovering or now.then and "replay" in now.then:  # what goes on from this round alone
                record = {"round": r, "curve": curve, "total": list(total), "then": now.then,
                          "read": sorted(past.read) if past else []}
                _checkpoint(store, "runs", key, record, r, files,
                            {f"part_{r}": now.state, f"part_mask_{r}": now.mask, f"part_extra_{r}": now.extra})
    if not curve or curve[-1]["round"] != r:
        measure(now)
    bar.update(count, f"forget accuracy {curve[-1]['forget_acc']:.1f} %")
    record = {"curve": curve, "storage_bytes": past.bytes_read if past else 0,
              "environment": environment(task)}
    return store.save("runs", key, record, {"final": now.state}, {"start": files["start"]})


def described(task):
    """The columns of the result schema that the task alone decides."""
    return {"setting": task.name, "seed": task.seed, **describe(task.settings)}


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
    bar, out = progress(len(todo), "runs"), []
    for i, (t, name, hp, more) in enumerate(todo):
        label = f"{t.name}, seed {t.seed}, {name}"
        bar.update(i, label)
        inner = SimpleNamespace(update=lambda r, text, i=i, label=label: bar.update(i, f"{label}: round {r}, {text}"))
        out.append(run(t, store, name.split("/")[0], hp, bar=inner, **more) | {"label": label_of(name)})
    bar.update(len(todo), "all there")
    return out
