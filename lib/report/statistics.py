"""How sure a comparison is: runs are paired by seed, so methods are compared by their differences."""
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..errors import Bad
from ..words import AVG_GAP, REFERENCE, known, rank
from .rows import origin
from .stops import LOOK
from .summary import by_seed

CONFIDENCE = 0.95
BETTER, WORSE, ALIKE = "better", "worse", "not told apart"
AGAIN = f"{REFERENCE} name=again"       # a second, independent Retrain
STILL = 0.5                             # points by which a curve that has converged may move over its last fifth
KNOWN = 99.0                            # percent of the retained data: nothing is left to learn
LOW_IS_GOOD = ("gap", "cost", "cost ratio", "loss", "time")


# ---------------------------------------------------------------- paired differences

class Paired(NamedTuple):
    """Differences over seeds: mean, 95 % interval (Student's t; NaN for one seed), in how many seeds the first is
    smaller, over how many both are finite, and how many were given."""
    mean: float
    low: float
    high: float
    wins: int
    n: int
    of: int


def paired(a, b):
    """`a - b` seed by seed, two arrays `[seeds]` in the same order; seeds in which one is not finite are left out."""
    difference = np.asarray(a, float) - np.asarray(b, float)
    found = difference[np.isfinite(difference)]
    n = len(found)
    mean = found.mean() if n else np.nan
    half = interval(found) if n > 1 else np.nan
    return Paired(mean, mean - half, mean + half, int((found < 0).sum()), n, len(difference))


def interval(values):
    """Half the width of the 95 % interval of a mean over seeds."""
    return student.ppf((1 + CONFIDENCE) / 2, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))


def verdict(found, floor=0.0):
    """What a `Paired` of a metric of which less is good says of the first: better or worse only where the interval
    leaves out zero and the difference exceeds the noise floor."""
    told = abs(found.mean) > floor and (found.high < 0 or found.low > 0)
    if not told:
        return ALIKE
    return BETTER if found.mean < 0 else WORSE


def noise_floor(df, stop="last", metric=AVG_GAP):
    """`{setting: how far a second Retrain is from the first}`, mean over seeds; 0 without one.

    Where the round is chosen by looking at what is reported, the second Retrain's is as well. At budgets and where a
    method stops early it is the finished one: stopped there it is a rival, and no noise.
    """
    table = by_seed(df, metric, stop if stop in LOOK else "last")
    if AGAIN not in table:
        return {}
    return table[AGAIN].groupby("setting").mean().fillna(0.0).to_dict()


def pairs(df, stop="full", metric=AVG_GAP):
    """All pairs of methods of each setting, compared seed by seed: setting, method, other, the `Paired` of method minus
    other, floor, verdict on `method`. Runs are named as in `by_seed`; of Retrain the second one stands for both.

    stop: see `lib/report/stops.py`; Bad where nothing was judged there, or where less of the metric is not better."""
    if known(metric).kind not in LOW_IS_GOOD:
        raise Bad(f"pairs: of {metric} less is not better; take a gap or a cost, as avg_gap")
    there = df.loc[(df["metric"] == AVG_GAP) & (df["stop"] != "curve"), "stop"].unique()
    if len(there) and stop not in there:
        raise Bad(f"pairs: no run was judged at the stop {stop!r}; take {' or '.join(sorted(there))}")
    floors, out = noise_floor(df, stop, metric), []
    for setting, table in by_seed(df, metric, stop).groupby("setting"):
        names = in_order(table)
        for i, name in enumerate(names):
            for other in names[i + 1:]:
                found = paired(table[name], table[other])
                floor = floors.get(setting, 0.0)
                out.append({"setting": setting, "method": name, "other": other, **found._asdict(), "floor": floor,
                            "verdict": verdict(found, floor)})
    table = pd.DataFrame(out, columns=["setting", "method", "other", *Paired._fields, "floor", "verdict"])
    table.attrs |= {"origin": origin(df), "metric": metric, "stop": stop}
    return table


def told_of_pairs(table):
    """What `pairs` returns as text: `+1.20` and its interval, in how many seeds the first is smaller."""
    names = ["method", "other"] if table["setting"].nunique() == 1 else ["setting", "method", "other"]
    out = table[names].copy()
    out["difference"] = [f"{mean:+.2f}" for mean in table["mean"]]
    out["95 % interval"] = ["–" if np.isnan(low) else f"{low:+.2f} to {high:+.2f}" for low, high in zip(table["low"], table["high"])]
    out["smaller in"] = [f"{wins} of {n}" for wins, n in zip(table["wins"], table["n"])]
    return out.assign(verdict=table["verdict"])


def in_order(table):
    """The columns with a number, in the order of methods; the plain Retrain, whose own gap is zero, is left out."""
    names = pd.Series([name for name in table if name != REFERENCE and table[name].notna().any()], dtype=object)
    method = names.str.partition(" ")[0].rename("method")
    return list(names.loc[method.sort_values(key=rank, kind="stable").index])


def tiers(df, stop="full", metric=AVG_GAP):
    """A ranking in tiers: setting, tier, method, mean, n, of. Whoever is not told apart from the best of a tier is in
    it; the next tier begins with the best of those that are worse."""
    floors, out = noise_floor(df, stop, metric), []
    for setting, table in by_seed(df, metric, stop).groupby("setting"):
        left = table[in_order(table)].mean().sort_values(kind="stable").index.tolist()
        tier = 0
        while left:
            tier += 1
            best = left[0]
            alike = [name for name in left
                     if name == best or verdict(paired(table[name], table[best]), floors.get(setting, 0.0)) != WORSE]
            out += [{"setting": setting, "tier": tier, "method": name, "mean": table[name].mean(),
                     "n": int(table[name].notna().sum()), "of": len(table)} for name in alike]
            left = [name for name in left if name not in alike]
    table = pd.DataFrame(out, columns=["setting", "tier", "method", "mean", "n", "of"])
    table.attrs["origin"] = origin(df)
    return table


# ---------------------------------------------------------------- has the reference converged?

def converged(df):
    """Whether training has ended where it says: setting, run (`Original`, `Retrain`), accuracy (percent) at the end,
    moved (points over the last fifth of the rounds), converged; mean curves over seeds.

    Converged is what has moved by less than 0.5 points, or knows more than 99 %. The original model's curve is that of
    its training, where the table has it; else it counts as converged above 99 % only.
    """
    out = []
    for setting, here in df.groupby("setting"):
        for name, curve in references(here).items():
            moved = movement(curve)
            end = curve.iloc[-1]
            out.append({"setting": setting, "run": name, "accuracy": end, "moved": moved,
                        "converged": bool(end > KNOWN or moved < STILL)})
    return pd.DataFrame(out, columns=["setting", "run", "accuracy", "moved", "converged"])


def references(here):
    """`{name: mean accuracy by round}` of what the methods are compared with, of one setting."""
    plain = here[(here["stop"] == "curve") & (here["variant"] == "")]
    found = {"Original": plain[(plain["method"] == "Original") & (plain["metric"] == "train_acc")],
             REFERENCE: plain[(plain["method"] == REFERENCE) & (plain["metric"] == "retain_acc")]}
    if found["Original"].empty:
        found["Original"] = plain[(plain["method"] == "Original") & (plain["metric"] == "retain_acc")]
    return {name: rows.groupby("round")["value"].mean().sort_index() for name, rows in found.items() if len(rows)}


def movement(curve):
    """By how many points a curve, a Series over rounds, moves over the last fifth of its rounds; NaN for one round.

    Where no round was evaluated at the beginning of that fifth, the one before counts.
    """
    first, last = curve.index[0], curve.index[-1]
    before = curve.index[curve.index <= last - 0.2 * (last - first)]
    tail = curve.loc[before[-1]:]
    return tail.max() - tail.min() if len(tail) > 1 else np.nan


def not_converged(df):
    """`not converged: Retrain (80.8 %, moves by 3.1 points)` of a table's settings; empty where all have."""
    found = converged(df)
    words = [f"{line.run} in {line.setting} ({knows(line.accuracy)} %{moves(line.moved)})"
             for line in found[~found["converged"]].itertuples()]
    return f"Not converged: {', '.join(words)}" if words else ""


def knows(accuracy):
    """`99.4`; of what is below the limit and would round to it two digits, at most `98.99`."""
    return f"{min(accuracy, KNOWN - 0.01):.2f}" if accuracy < KNOWN <= round(accuracy, 1) else f"{accuracy:.1f}"


def moves(points):
    return "" if np.isnan(points) else f", moves by {points:.1f} points"
