"""Sweeps over gamma, the share of the score that a reset removes: one curvature, one store entry, many points."""
import itertools
import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import spearmanr

from ..fl.finite import finite
from ..fl.history import to_device
from ..fl.rounds import Cost, clock, fedavg
from ..methods import defaults, find, unlearn
from ..methods.curvature import select, tis
from ..metrics.tis import at_level, best, headline, measure_all, relative
from ..words import DIVERGED
from .loop import code_of, described, kept, one_by_one
from .ready import refuse_methods
from .run import StoredTrained, method_key, run, train, training_key

SILENT = SimpleNamespace(update=lambda *_: None)
SWEPT = ("test_acc", "target_acc", "mia_acc", "nta", "nfs", "reset_params", "asr", "backdoor_acc")
TIS_KEYS = ("partition", "clients", "forget", "forget_class", "targets", "mia", "mia_draws", "trim_epochs",
            "unlearn_rounds", "poison_label")


def sweep(task, store, methods=None, measured=None):
    """Rows for `lib.rows`: every method of the settings, those with an argument `gamma` at each of `gammas`.

    A method with an argument `draw` is averaged over `random_draws` draws; recovery lasts `trim_epochs` rounds,
    Retrain's `unlearn_rounds`. A sweep's points have stop `last`, `gamma` in their variant and the metrics `SWEPT`; the
    one nearest to (1, 1) comes again with stop `oracle` and all metrics, its `gamma_removal`, `distance` and
    `nta_at_0.9`. measured: the points of each method, where they are at hand.
    """
    chosen = swept_methods(task, methods)
    measured = measured or [points(task, store, label, hp) for label, hp in chosen.items()]
    ends = dict(zip(chosen, (found[0] for found in measured)))
    place, rows = headline(task), []
    for (label, hp), found in zip(chosen.items(), measured, strict=True):
        for p in found:
            p |= relative(p, ends["Original"], ends["Retrain"])
            p["nfs"] = p.get(place, float("nan"))
        rows += _rows_of(task, label.split("/")[0], hp, found, place, ends["Retrain"]["time"])
    return rows


def swept_methods(task, methods=None):
    """`{label: hyper-parameters}` of a sweep: the two ends of its scale, and the settings' methods."""
    return {"Original": {}, "Retrain": {}, **(methods or task.settings["methods"])}


def _rows_of(task, name, hp, points, place, retraining):
    """The rows of one method: its points, and the best of them again."""
    known = {k: v for k, v in hp.items() if k == "reset" or v != defaults(name)[k]}
    if "reset" in defaults(name):
        known = {"reset": defaults(name)["reset"], **known}
    chosen, swept = best(points, place), "gamma" in points[0]
    base, rows = described(task) | {"method": name}, []
    for p in points:
        variant = known | ({"gamma": p["gamma"]} if swept else {})
        rows += [base | {"variant": variant, "stop": "last", "metric": k, "value": v} for k, v in p.items()
                 if k in (*SWEPT, DIVERGED) or k in task.settings["metrics"] or not swept and k != "distance"]
    oracle = {k: v for k, v in chosen.items() if k != "gamma"}
    if swept:
        oracle |= {"gamma_removal": chosen["gamma"], "nta_at_0.9": at_level(points, place)}
    oracle["rtr"] = chosen["time"] / retraining
    return rows + [base | {"variant": known, "stop": "oracle", "metric": k, "value": v} for k, v in oracle.items()]


def sweep_all(tasks, store, methods=None):
    """`sweep` of several tasks, one list of rows."""
    def one(task, label, hp, bar):
        return points(task, store, label, hp)
    todo = [(task, label, hp) for task in tasks for label, hp in swept_methods(task, methods).items()]
    for task, label, hp in todo:
        refuse_methods(task, {label: with_settings(task, label, hp)})
    found = iter(one_by_one([(f"{task.name}, seed {task.seed}, {label}", partial(one, task, label, hp))
                             for task, label, hp in todo], "sweeps"))
    rows = []
    for task in tasks:
        measured = list(itertools.islice(found, len(swept_methods(task, methods))))
        rows += sweep(task, store, methods, measured)
    return rows


def _kept_rows(task, store, kind, key, make, method, variants):
    """Rows for `lib.rows` of a result `{"values": [{metric: value}]}`, one set of values for each variant."""
    found = kept(store, kind, key, make, task, kind).record["values"]
    base = described(task) | {"method": method, "stop": "last"}
    return [base | {"variant": variant, "metric": k, "value": v}
            for variant, values in zip(variants, found, strict=True) for k, v in values.items()]


def anatomy(task, store, gamma=30.0, top=0.05):
    """Rows for `lib.rows` about the scores: `top_ratio`, the share of a tensor's score in its `top` entries, averaged
    over entries; for the sampled curvature `rank_correlation` with the exact scores (Spearman's, over the entries that one of the two scores)
    and `overlap_ratio`, the share of its reset entries that the exact scores reset too; and `latency_seconds`, what a
    request takes where the clients' curvature is at hand."""
    kinds = ("ggn", "ggn_mc") if task.settings["curvature"] == "ggn" else (task.settings["curvature"],)

    def key():
        return {"what": "anatomy", "training": training_key(task), "task": task.fingerprint("retain", "forget"),
                "kinds": kinds, "gamma": gamma, "top": top, "code": code_of(task, _anatomy, StoredTrained)}

    def make(slot):
        return {"values": _anatomy(task, train(task, store), kinds, gamma, top)}, None
    return _kept_rows(task, store, "anatomy", key, make, "TIS-Reset", [{"curvature": kind} for kind in kinds])


def _anatomy(task, trained, kinds, gamma, top):
    """`{metric: value}` for each kind of curvature, of which the first is what the others are held against."""
    scores = [tis(h["forget"], h["all"]) for h, _ in (trained.curvature(task, kind) for kind in kinds)]
    begin = clock(task)
    masks = select(scores[0], gamma)
    values = [{"top_ratio": concentration(score, top)} for score in scores]
    values[0]["latency_seconds"] = clock(task) - begin
    for score, found in zip(scores[1:], values[1:]):
        found["rank_correlation"] = rank_agreement(*(torch.cat([v.flatten() for v in one.values()])
                                                     for one in (scores[0], score)))
        other = select(score, gamma)
        both = sum(int((masks[k] & other[k]).sum()) for k in score)
        found["overlap_ratio"] = both / max(1, sum(int(m.sum()) for m in other.values()))
    return values


def rank_agreement(a, b):
    """Spearman's rank correlation of two scores `[n]` over the entries that one of them scores above zero.

    The rest, most of a net with dead units, would agree for no other reason. Equal scores share their mean rank; NaN
    where a score is constant.
    """
    scored = (a > 0) | (b > 0)
    return float(spearmanr(a[scored].cpu(), b[scored].cpu()).statistic)


def concentration(score, top):
    """The share of a tensor's score in its `top` entries, averaged over the entries of tensors that have a score."""
    held = [v.flatten().sort(descending=True).values for v in score.values() if v.sum() > 0]
    part = sum(float(v[:math.ceil(top * len(v))].sum() / v.sum()) * len(v) for v in held)
    return part / sum(map(len, held))


def flatness(task, store, repeats=8):
    """Rows for `lib.rows`: do parameters move more where the loss is flat (TIS, eqs. 17 and 18)? The training is
    repeated on bootstrap samples of every client's data, all else equal; `slope_flatness` is that of log variance
    over log curvature, tensors centred (-1 by the paper, -2 if gradients varied alike), `rank_correlation` theirs."""
    kind = task.settings["curvature"]

    def key():
        return {"what": "flatness", "training": training_key(task), "task": task.fingerprint("retain", "forget"),
                "repeats": repeats, "kind": kind, "code": code_of(task, _flatness, StoredTrained)}

    def make(slot):
        return {"values": [_flatness(task, train(task, store), repeats, kind)]}, None
    return _kept_rows(task, store, "flatness", key, make, "Original", [{"repeats": repeats}])


def _flatness(task, trained, repeats, kind):
    """`{metric: value}` of the slope over repeated trainings."""
    ends = []
    for r in range(repeats):
        gen = task.rng("bootstrap", r)
        jobs = []
        for job in task.jobs("full"):
            n = len(job.indices)
            sample = job.indices[torch.randint(n, (n,), generator=gen)]
            jobs.append(job._replace(indices=sample, which=None))
        stream = fedavg(task, jobs, trained.init, phase="train", schedule=task.settings["schedule"])
        ends.append(next(itertools.islice(stream, task.settings["rounds"] - 1, None)).state)
    return slope(trained.curvature(task, kind)[0]["all"], ends)


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
    return {"slope_flatness": float(x @ y / (x @ x)), "rank_correlation": float(spearmanr(x, y).statistic)}


def with_settings(task, label, hp):
    """The arguments of a method, with `reset` and `curvature` as the settings have them where it takes them."""
    known = defaults(label.split("/")[0])
    return {k: task.settings[k] for k in ("reset", "curvature") if k in known} | dict(hp)


def points(task, store, label, hp):
    """The measured points of one method, from the store if they are there: `[{metric: value}]`, with `gamma` where it
    is swept."""
    s, name = task.settings, label.split("/")[0]
    known = defaults(name)
    hp = with_settings(task, label, hp)
    gammas = sorted(s["gammas"]) if "gamma" in known and "gamma" not in hp else [None]
    draws = range(s["random_draws"]) if "draw" in known and "draw" not in hp else [None]

    def key():
        return {"what": "sweep", "gammas": gammas, "draws": len(draws), "code": code_of(task, _swept, _end, _ends),
                **{k: s[k] for k in TIS_KEYS}, **method_key(task, name, hp)}

    def make(slot):
        if name in ("Original", "Retrain"):
            return {"points": _end(task, store, name, hp)}, None
        return {"points": _swept(task, train(task, store), name, hp, gammas, draws)}, None
    return kept(store, "sweep", key, make, task, label).record["points"]


def _end(task, store, name, hp):
    """The point at an end of the scale: the trained model, or the retrained one."""
    count = task.settings["unlearn_rounds"] if name == "Retrain" else 0
    done = run(task, store, name, hp, count=count, every=max(1, count), bar=SILENT)
    last = done["curve"][-1]
    [found] = measure_all(task, [to_device(done["entry"].tensors("final"), task)])
    found |= {"comm_bytes": last["bytes"], "comp_flops": last["flops"], "time": last["seconds"]}
    return [found if done["diverged"] is None else of_nan(found, done["diverged"])]


def of_nan(point, round):
    """A point at which the method diverged in that round: nothing of it is a result."""
    return {name: math.nan for name in point} | {DIVERGED: round}


def _swept(task, trained, name, hp, gammas, draws):
    """The points of a method: at every gamma the mean over draws, none where a draw diverged.

    A state is measured when it is there, before the next is made: two are alive at once, however many gammas.
    """
    given = [({} if g is None else {"gamma": g}) | ({} if d is None else {"draw": d}) for g in gammas for d in draws]
    spent = []

    def states():
        for values in given:
            state, *rest = _ends(task, trained, name, {**hp, **values})
            spent.append(rest)
            yield state

    measured = measure_all(task, states())
    costs, resets, lost = zip(*spent)
    found = []
    for metrics, cost, reset in zip(measured, costs, resets):
        found.append(metrics | {"reset_params": 100 * reset / task.parameters, "comm_bytes": cost.bytes,
                                "comp_flops": cost.flops, "time": cost.seconds})
    out = []
    for i, gamma in enumerate(gammas):
        here = slice(i * len(draws), (i + 1) * len(draws))
        some = found[here]
        mean = {k: float(np.mean([p[k] for p in some])) for k in some[0]}
        rounds = [r for r in lost[here] if r is not None]
        if rounds:
            mean = of_nan(mean, min(rounds))
        out.append(mean if gamma is None else {"gamma": gamma, **mean})
    return out


def _ends(task, trained, name, hp):
    """`(state, cost, entries reset, diverged)` after a method and, where it recovers, `trim_epochs` rounds of recovery;
    diverged: the round in which its state stopped being finite, which is its last, else None."""
    total, reset, lost = Cost(), 0, None
    for r, now in enumerate(unlearn(task, trained, name, **hp)):
        total += now.cost
        if r == 0:
            reset = sum(int(m.sum()) for m in (now.mask or {}).values())
        if not finite(now.state):
            lost = r
            break
        if find(name).recovery and r >= task.settings["trim_epochs"]:
            break
    return now.state, total, reset, lost
