"""Sweeps over gamma, the share of the score that a reset removes: one curvature, one store entry, many points."""
import itertools
import math
import time
from types import SimpleNamespace

import numpy as np
import torch

from ..fl.history import to_device
from ..fl.rounds import Cost, fedavg
from ..methods import defaults, find, unlearn
from ..methods import tis as estimation
from ..methods.curvature import select, tis
from ..metrics import tis as tis_metrics
from ..metrics.tis import at_level, best, headline, measure_all, relative
from .code import code_hash
from .progress import progress
from .run import ENGINE, described, run, train, training_key

SILENT = SimpleNamespace(update=lambda *_: None)
SWEPT = ("test_acc", "target_acc", "mia_acc", "nta", "nfs", "reset_params", "asr", "backdoor_acc")
TIS_KEYS = ("partition", "clients", "forget", "forget_class", "targets", "mia", "mia_draws", "trim_epochs",
            "unlearn_rounds", "poison_label")


def curvatures(task, store, state, kind="ggn", path="auto"):
    """`({"all", "forget"}, Cost)`: the target's and the whole curvature from the store, for every later method call on
    this task as well. `state` is the trained model's."""
    key = {"what": "curvature", "training": training_key(task), "kind": kind, "path": path,
           "task": task.fingerprint("retain", "forget"), "code": code_hash(*ENGINE, estimation.compute_curvature)}

    def stored(task, state, kind, path):
        def make():
            found, cost = estimation.compute_curvature(task, state, kind, path)
            return store.save("curvature", key, {"cost": list(cost)}, found)
        entry = store.get("curvature", key, make)
        return ({k: to_device(entry.tensors(k), task) for k in ("all", "forget")}, Cost(*entry.record["cost"]))
    return estimation.curvature_of(task, state, kind, path, stored)


def sweep(task, store, methods=None, bar=None):
    """Rows for `lib.rows`: every method of the settings, those with an argument `gamma` at each of `gammas`.

    A method with an argument `draw` is averaged over `random_draws` draws; recovery lasts `trim_epochs` rounds,
    Retrain's `unlearn_rounds`. A sweep's points have stop `last`, `gamma` in their variant and the metrics `SWEPT`; the
    one nearest to (1, 1) comes again with stop `oracle` and all metrics, its `gamma_removal`, `distance` and
    `nta_at_0.9`.
    """
    methods, out, ends = methods or task.settings["methods"], [], {}
    trained = train(task, store)
    for i, (label, hp) in enumerate({"Original": {}, "Retrain": {}, **methods}.items()):
        name = label.split("/")[0]
        if bar:
            bar(f"{task.name}, seed {task.seed}, {label}")
        record = _points(task, store, trained, name, hp)
        if label in ("Original", "Retrain"):
            ends[label] = record["points"][0]
        known = {k: v for k, v in hp.items() if k == "reset" or v != defaults(name)[k]}
        known |= {"reset": defaults(name)["reset"]} if "reset" in defaults(name) and "reset" not in known else {}
        out.append((name, known, record["points"]))
    rows, place = [], headline(task)
    for name, known, points in out:
        for p in points:
            p |= relative(p, ends["Original"], ends["Retrain"])
            p["nfs"] = p.get(place, float("nan"))
        chosen = best(points, place)
        base = described(task) | {"method": name}
        swept = "gamma" in points[0]
        for p in points:
            variant = known | ({"gamma": p["gamma"]} if swept else {})
            rows += [base | {"variant": variant, "metric": k, "value": v} for k, v in p.items()
                     if k in SWEPT or not swept and k != "distance"]
        oracle = {k: v for k, v in chosen.items() if k != "gamma"}
        oracle |= {"gamma_removal": chosen["gamma"], "nta_at_0.9": at_level(points, place)} if swept else {}
        oracle["rtr"] = chosen["time"] / ends["Retrain"]["time"]
        rows += [base | {"variant": known, "stop": "oracle", "metric": k, "value": v} for k, v in oracle.items()]
    return rows


def sweep_all(tasks, store, methods=None):
    """`sweep` of several tasks, one list of rows."""
    count = sum(2 + len(set(methods or t.settings["methods"]) - {"Original", "Retrain"}) for t in tasks)
    show, done = progress(count, "sweeps"), itertools.count()
    rows = [row for t in tasks for row in sweep(t, store, methods, lambda text: show.update(next(done), text))]
    show.update(count, "all there")
    return rows


def anatomy(task, store, gamma=30.0, top=0.05):
    """Rows for `lib.rows` about the scores: `top_ratio`, the share of a tensor's score in its `top` entries, averaged
    over entries; for the sampled curvature `rank_correlation` with the exact scores (Spearman's, over all entries)
    and `overlap_ratio`, the share of its reset entries that the exact scores reset too; and `latency_seconds`, what a
    request takes where the clients' curvature is at hand."""
    state, rows = train(task, store).state, []
    kinds = ("ggn", "ggn_mc") if task.settings["curvature"] == "ggn" else (task.settings["curvature"],)
    found = {kind: tis(*(curvatures(task, store, state, kind)[0][w] for w in ("forget", "all")))
             for kind in kinds}
    begin = time.perf_counter()
    masks = {kinds[0]: select(found[kinds[0]], gamma)}
    took = time.perf_counter() - begin
    for kind, score in found.items():
        held = [v.flatten().sort(descending=True).values for v in score.values()]
        part = sum(float(v[:math.ceil(top * len(v))].sum() / v.sum()) * len(v) for v in held if v.sum() > 0)
        values = {"top_ratio": part / sum(len(v) for v in held if v.sum() > 0)}
        if kind == kinds[0]:
            values["latency_seconds"] = took
        else:
            masks[kind] = select(score, gamma)
            flat = [torch.cat([v.flatten() for v in one.values()]).argsort().argsort().double()
                    for one in found.values()]
            values["rank_correlation"] = float(torch.corrcoef(torch.stack(flat))[0, 1])
            both = sum(int((masks[kinds[0]][k] & masks[kind][k]).sum()) for k in score)
            values["overlap_ratio"] = both / max(1, sum(int(m.sum()) for m in masks[kind].values()))
        rows += [described(task) | {"method": "TIS-Reset", "variant": {"curvature": kind}, "stop": "last",
                                    "metric": k, "value": v} for k, v in values.items()]
    return rows


def flatness(task, store, repeats=8):
    """Rows for `lib.rows`: do parameters move more where the loss is flat (TIS, eqs. 17 and 18)? The training is
    repeated on bootstrap samples of every client's data, all else equal; `slope_flatness` is that of log variance
    over log curvature, tensors centred (-1 by the paper, -2 if gradients varied alike), `rank_correlation` theirs."""
    trained = train(task, store)
    h = curvatures(task, store, trained.state, task.settings["curvature"])[0]["all"]
    key = {"what": "flatness", "training": training_key(task), "repeats": repeats, "kind": task.settings["curvature"],
           "code": code_hash(*ENGINE, estimation.compute_curvature, slope)}

    def make():
        ends = []
        for r in range(repeats):
            gen = task.rng("bootstrap", r)
            jobs = [j._replace(indices=j.indices[torch.randint(len(j.indices), (len(j.indices),), generator=gen)])
                    for j in task.jobs("full")]
            stream = fedavg(task, jobs, trained.init, phase="train", schedule=task.settings["schedule"])
            ends.append(next(itertools.islice(stream, task.settings["rounds"] - 1, None)).state)
        return store.save("flatness", key, slope(h, ends))
    record = store.get("flatness", key, make).record
    return [described(task) | {"method": "Original", "variant": {"repeats": repeats}, "stop": "last", "metric": k,
                               "value": v} for k, v in record.items()]


def slope(h, ends):
    """Slope and rank correlation of log variance over `ends` against log curvature, over all entries of all tensors."""
    x, y = [], []
    for k, v in h.items():
        spread = torch.stack([e[k] for e in ends]).double().var(0).flatten()
        good = (spread > 0) & (v.flatten() > 0)
        if good.sum() > 2:
            for out, t in ((x, v.flatten()[good].double().log()), (y, spread[good].log())):
                out.append(t - t.mean())
    x, y = torch.cat(x), torch.cat(y)
    ranks = torch.stack([t.argsort().argsort().double() for t in (x, y)])
    return {"slope_flatness": float(x @ y / (x @ x)), "rank_correlation": float(torch.corrcoef(ranks)[0, 1])}


def _points(task, store, trained, name, hp):
    """The measured points of one method, from the store."""
    s, f, known = task.settings, find(name), defaults(name)
    hp = {k: s[k] for k in ("reset", "curvature") if k in known} | dict(hp)
    gammas = sorted(s["gammas"]) if "gamma" in known and "gamma" not in hp else [None]
    draws = range(s["random_draws"]) if "draw" in known and "draw" not in hp else [None]
    key = {"what": "sweep", "method": name, "hp": {**known, **hp}, "gammas": gammas, "draws": len(draws),
           "training": training_key(task), "task": task.fingerprint("full", "retain", "forget", "val"),
           "code": code_hash(*ENGINE, f, measure_all, tis_metrics), **{k: s[k] for k in TIS_KEYS}}

    def make():
        if name in ("Original", "Retrain"):
            count = s["unlearn_rounds"] if name == "Retrain" else 0
            done = run(task, store, name, hp, count=count, every=max(1, count), trained=trained, bar=SILENT)
            last = done["curve"][-1]
            points = measure_all(task, [to_device(done["entry"].tensors("final"), task)])
            points[0] |= {"comm_bytes": last["bytes"], "comp_flops": last["flops"], "time": last["seconds"]}
            return store.save("sweep", key, {"points": points})
        if "curvature" in known:
            curvatures(task, store, trained.state, hp["curvature"], hp.get("path", known.get("path")))
        given = [({} if g is None else {"gamma": g}) | ({} if d is None else {"draw": d})
                 for g in gammas for d in draws]
        states, costs, resets = zip(*(_end(task, trained, name, {**hp, **g}, s["trim_epochs"]) for g in given))
        points = []
        for reset, cost, found in zip(resets, costs, measure_all(task, states)):
            points.append(found | {"reset_params": 100 * reset / task.parameters, "comm_bytes": cost.bytes,
                                   "comp_flops": cost.flops, "time": cost.seconds})
        mean = [{k: float(np.mean([p[k] for p in points[i:i + len(draws)]])) for k in points[i]}
                for i in range(0, len(points), len(draws))]
        return store.save("sweep", key, {"points": [m if g is None else {"gamma": g, **m}
                                                    for g, m in zip(gammas, mean)]})
    return store.get("sweep", key, make).record


def _end(task, trained, name, hp, rounds):
    """`(state, cost, entries reset)` after a method and, where it recovers, `rounds` rounds of recovery."""
    total, reset = Cost(), 0
    for r, now in enumerate(unlearn(task, trained, name, **hp)):
        total += now.cost
        if r == 0:
            reset = sum(int(m.sum()) for m in (now.mask or {}).values())
        if find(name).recovery and r >= rounds:
            break
    return now.state, total, reset
