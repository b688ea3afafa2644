"""What happens after unlearning: further training, relearning, rounding, another negation, and further requests.

All of it begins with the models that `run` leaves after `unlearn_rounds` rounds, Retrain's as well. Each part of a
method is one result in the store.
"""
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import torch

from ..errors import Bad
from ..fl.history import to_device
from ..fl.rounds import Round, Then, fedavg, server_job
from ..fl.task import Client
from ..methods import needs, recover
from ..methods.trained import Trained
from ..metrics.after import accused, negated, rounded, suspicion
from ..metrics.evaluate import accuracy, average_gap, evaluate, predict
from ..words import AVG_GAP, DIVERGED, GAP, REFERENCE
from .loop import code_of, described, follow, kept, one_by_one
from .ready import refuse_methods
from .run import StoredTrained, run, run_key, train, variant

AGAIN = f"{REFERENCE}/again"        # the second, independent Retrain
SENT = {"bytes": "comm_bytes", "flops": "comp_flops"}


class Point(NamedTuple):
    """One thing measured: words of the variant that say what was done (`then=...`), the stop and the round it stands at,
    and `{metric: value}`."""
    words: dict
    stop: str
    round: int
    values: dict


class Unlearned(NamedTuple):
    """What a method leaves: the states before (the trained model), right after its own step and at its end, and the round
    in which it diverged, else None."""
    before: dict
    start: dict
    end: dict
    diverged: int | None


def after_all(tasks, store):
    """Rows for `lib.rows` of all that happens after each of the settings' `methods` (see PARTS), and of the requests that
    come one after another for those named `in_turn`.

    The word `then` of a variant says which part a row is of. The average gap is to the same seed's Retrain after the
    same, in the same round. Bad where a method cannot work, before anything trains.
    """
    todo = []
    for task in tasks:
        judge(task)
        for label, hp in task.settings["methods"].items():
            todo += [(task, label, partial(measured, task, store, label, hp, part)) for part in PARTS]
        for label, hp in asked_in_turn(task).items():
            todo.append((task, label, partial(served, task, store, label, hp)))
    words = [(f"{task.name}, seed {task.seed}, {label}", make) for task, label, make in todo]
    found = {task: [] for task in tasks}
    for (task, label, _), points in zip(todo, one_by_one(words, "after unlearning"), strict=True):
        found[task].append((label, points))
    return [row for task in tasks for row in rows_of(task, found[task])]


def judge(task):
    """Bad where Retrain is not among the methods, a method cannot work, or one cannot serve further requests."""
    s = task.settings
    if s["methods"].get(REFERENCE) != {}:
        raise Bad(f"{task.name}.methods: everything is compared with Retrain; add Retrain: {{}}")
    refuse_methods(task, s["methods"])
    for label in s["in_turn"]:
        if "history" in needs(label.split("/")[0], **s["methods"][label]):
            raise Bad(f"{task.name}.in_turn: {label} needs the updates of a training, which no model has that was "
                      "unlearned before; leave it out")


def rows_of(task, found):
    """Plain records of `[(label, points)]`, with average gaps."""
    retrain = {place(p): p.values for label, points in found if label == REFERENCE for p in points}
    rows = []
    for label, points in found:
        name, hp = label.split("/")[0], task.settings["methods"][label]
        for p in points:
            same = retrain.get(place(p), {})
            values = p.values | gap(p.values, same)
            base = described(task) | {"method": name, "variant": variant(name, hp) | p.words}
            rows += [base | {"stop": p.stop, "round": p.round, "metric": metric, "value": value}
                     for metric, value in values.items()]
    return rows


def place(point):
    """What a method's point and Retrain's have in common."""
    words = {name: value for name, value in point.words.items() if name != "stopped"}
    return tuple(sorted(words.items())), point.stop, point.round


def gap(values, retrain):
    if set(GAP) <= set(values) and set(GAP) <= set(retrain):
        return {AVG_GAP: average_gap(values, retrain)}
    return {}


# ---------------------------------------------------------------- one part of one method

def measured(task, store, label, hp, part, bar):
    """The points of one part, from the store if they are there; of a method that diverged the round in which it did."""
    s, name = task.settings, label.split("/")[0]
    count, every = s["unlearn_rounds"], s["every"]

    def key():
        return {"what": "after", "part": part.__name__, "own": {k: s[k] for k in PARTS[part]},
                "unlearned": run_key(task, name, hp, count, every),
                "code": code_of(task, part, evaluate, StoredTrained)}

    def make(slot):
        left = unlearned(task, store, name, hp, bar)
        if left.diverged is not None:
            points = [Point({"then": part.__name__}, "last", left.diverged, {DIVERGED: left.diverged})]
        else:
            points = part(task, left, slot, bar)
        return {"points": [p._asdict() for p in points]}, None
    entry = kept(store, "after", key, make, task, f"{part.__name__} after {label}")
    return [Point(**p) for p in entry.record["points"]]


def unlearned(task, store, name, hp, bar):
    """What a method leaves after the settings' rounds, from the store if it is there."""
    done = run(task, store, name, hp, bar=bar)
    start, end = (to_device(done["entry"].tensors(which), task) for which in ("start", "final"))
    return Unlearned(train(task, store).state, start, end, done["diverged"])


def further(task, left, slot, bar):
    """`after_rounds` further rounds of FedAvg on the retained data, the same for every model, as the recipe has it."""
    begin = Round(left.end, then=Then(phase="after"))

    def start():
        yield begin
        yield from recover(task, begin)

    s = task.settings
    curve, _, lost = follow(task, slot, start, partial(recover, task), count=s["after_rounds"], every=s["every"],
                            measure=partial(evaluate, task), bar=bar)
    ended = [] if lost is None else [Point({"then": "further"}, "last", lost, {DIVERGED: lost})]
    return [Point({"then": "further"}, "curve", at["round"], only_measured(at)) for at in curve] + ended


def only_measured(point):
    """A point of a curve without what it cost."""
    return {name: value for name, value in point.items() if name not in ("round", "seconds", *SENT)}


def relearnt(task, left, slot, bar):
    """Training on k of the forgotten images alone, for `relearn_rounds` rounds of the recipe's local epochs."""
    s, points = task.settings, []
    forgotten = task.indices("forget")
    order = torch.randperm(len(forgotten), generator=task.rng("relearn"))
    for k in sorted({min(k, len(forgotten)) for k in s["relearn_images"]}):
        known, others = forgotten[order[:k]], forgotten[order[k:]]
        words = {"then": "relearnt", "images": k}
        rounds = fedavg(task, [server_job(known)], left.end, phase=f"relearn {k}")
        points.append(Point(words, "curve", 0, accuracies(task, left.end, others)))
        for r, now in zip(range(1, s["relearn_rounds"] + 1), rounds):
            points.append(Point(words, "curve", r, accuracies(task, now.state, others)))
            bar.update(r, f"from {k} images")
    return points


def accuracies(task, state, others):
    """Accuracies while relearning: on all forgotten images, on those that are not shown, and on test images."""
    found = {"forget_acc": accuracy_on(task, state, task.indices("forget")),
             "test_acc": accuracy(predict(task, state, images=task.x_test), task.y_test)}
    if len(others):
        found["others_acc"] = accuracy_on(task, state, others)
    return found


def accuracy_on(task, state, indices):
    return accuracy(predict(task, state, indices), task.y[indices])


def in_few_bits(task, left, slot, bar):
    """The weights rounded to each of `bits`, and as they are (32)."""
    names = [name for name, _ in task.model.named_parameters()]
    points = [Point({"then": "in_few_bits", "bits": 32}, "last", 0, evaluate(task, left.end))]
    for bits in sorted(set(task.settings["bits"])):
        found = evaluate(task, rounded(left.end, names, bits))
        points.append(Point({"then": "in_few_bits", "bits": bits}, "last", 0, found))
    return points


def negated_again(task, left, slot, bar):
    """The first layer negated once more, as NoT does it."""
    return [Point({"then": "negated_again"}, "last", 0, evaluate(task, negated(task, left.end)))]


def who_left(task, left, slot, bar):
    """Which client has left, of all that had a part in training: right after the method's own step, and at its end.

    Nothing where it is not clients that leave."""
    if task.settings["forget"] != "clients":
        return []
    points = []
    for when, state in (("start", left.start), ("end", left.end)):
        points += accusations(task, left.before, state, {"then": "who_left", "when": when}, 0)
    return points


def accusations(task, before, after, words, round):
    """A point for each attack on a pair of models: the leaver among those that stay, mean over several leavers.

    round: the request, 0 where there is one alone."""
    stayed = [k for k, client in enumerate(task.clients) if len(client.retain)]
    scores = suspicion(task, before, after, [*task.targets, *stayed])
    points = []
    for attack, found in scores.items():
        leavers, others = found[:len(task.targets)], found[len(task.targets):]
        each = [accused(score, others) for score in leavers]
        mean = {name: sum(one[name] for one in each) / len(each) for name in each[0]}
        points.append(Point(words | {"by": attack}, "curve" if round else "last", round, mean))
    return points


# The parts, and the settings that each depends on.
PARTS = {further: ("after_rounds", "every", "mia_draws"), relearnt: ("relearn_images", "relearn_rounds"),
         in_few_bits: ("bits", "mia_draws"), negated_again: ("mia_draws",), who_left: ()}


# ---------------------------------------------------------------- one request after another

def asked_in_turn(task):
    """`{label: arguments}` of those that serve the `leavers`: both Retrains, and the methods named `in_turn`."""
    s = task.settings
    if not s["leavers"]:
        return {}
    return {label: hp for label, hp in s["methods"].items() if label in (REFERENCE, AGAIN, *s["in_turn"])}


def request(task, number):
    """The task in which client number `number` of the `leavers` leaves, and those before it have gone with their data."""
    leavers, nothing = task.settings["leavers"], torch.empty(0, dtype=torch.long)
    clients = []
    for k, client in enumerate(task.clients):
        everything = client.indices("full")
        if k == leavers[number]:
            clients.append(Client(nothing, everything, client.val))
        elif k in leavers[:number]:
            clients.append(Client(nothing, nothing, nothing))
        else:
            clients.append(Client(everything, nothing, client.val))
    return replace(task, clients=tuple(clients))


def served(task, store, label, hp, bar):
    """The points of all requests, one after another, from the store if they are there. The round is the request."""
    s, name = task.settings, label.split("/")[0]
    own = ("leavers", "request_rounds", "unlearn_rounds", "every", "mia_draws")

    def key():
        return {"what": "in turn", "own": {k: s[k] for k in own}, "label": label == AGAIN,
                "unlearned": run_key(task, name, hp, s["unlearn_rounds"], s["every"]),
                "code": code_of(task, requests, evaluate, StoredTrained)}

    def make(slot):
        return {"points": [p._asdict() for p in requests(task, store, label, hp, bar)]}, None
    entry = kept(store, "after", key, make, task, f"{label} in turn")
    return [Point(**p) for p in entry.record["points"]]


def requests(task, store, label, hp, bar):
    """Each request to a method is one run on what the one before it has left; both Retrains train anew each time, for all
    of `unlearn_rounds`. Metrics are of the client that leaves; `gone_acc` is of all that have left by then; costs add
    up."""
    s, name = task.settings, label.split("/")[0]
    anew = name == REFERENCE
    points, state, gone = [], None, []
    for number in range(len(s["leavers"])):
        here = request(task, number)
        given = None if number == 0 else Trained(task.init("train"), state, None, [])
        before = train(here, store).state if number == 0 else state
        count = s["unlearn_rounds"] if anew else s["request_rounds"]
        every = s["every"] if number == 0 else s["request_rounds"]
        done = run(here, store, name, hp, count=count, every=every, trained=given, bar=bar)
        if done["diverged"] is not None:
            points.append(Point({"then": "in_turn"}, "last", number + 1, {DIVERGED: done["diverged"]}))
            break
        state = to_device(done["entry"].tensors("final"), task)
        gone.append(here.indices("forget"))
        more = {"gone_acc": accuracy_on(task, state, torch.cat(gone))}
        points.append(Point({"then": "in_turn"}, "curve", number + 1, spent(done["curve"][-1]) | more))
        if label == AGAIN:
            early = [at for at in done["curve"] if at["round"] <= s["request_rounds"]]
            points.append(Point({"then": "in_turn", "stopped": "early"}, "curve", number + 1, spent(early[-1])))
        points += accusations(here, before, state, {"then": "who_left_in_turn"}, number + 1)
    return added_up(points)


def spent(at):
    """A point of a curve with its costs under their names."""
    return only_measured(at) | {metric: at[name] for name, metric in SENT.items()}


def added_up(points):
    """The points with the costs of all requests up to each."""
    total, out = {}, []
    for p in points:
        values = dict(p.values)
        for metric in set(SENT.values()) & set(values):
            key = metric, p.words.get("stopped")
            total[key] = total.get(key, 0.0) + values[metric]
            values[metric] = total[key]
        out.append(p._replace(values=values))
    return out
