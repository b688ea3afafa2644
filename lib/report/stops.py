"""Stops: at which evaluated round a run is judged. Each is a choice of one point of its curve.

`last`       the end of the run.
`quarter`, `half`, `full`   the last evaluated round within that share of the whole Retrain's bytes and FLOPs, the same
             for every method and for a second Retrain, which then is a Retrain stopped early. Needs no evaluation.
`recovered`  the first round at which validation accuracy is back at the original model's, minus a point: what a server
             can see. Runs that never get there have no row.
`oracle`     the round with the smallest average gap to Retrain. Nobody who has no Retrain can choose it.
`best_test`  the round with the highest test accuracy, of Retrain as well. Looks at test data. NoT, section 14.2, keeps the
             original model and Retrain so, and trains the others with "the same values" for at most 50 epochs; methods
             start from the original's last round here.
"""
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..words import AVG_GAP, DIVERGED, GAP, REFERENCE, RATIOS, known

RUN = ["profile", "notebook", "setting", "method", "variant", "seed"]      # what names a run
PLACE = ["profile", "notebook", "setting", "seed"]                         # what a run and its Retrain share
SHARES = {"quarter": 0.25, "half": 0.5, "full": 1.0}
FORGIVEN = 0.01         # of Retrain's cost: a step before the first round does not cost a method a whole evaluation
POINT = 1.0             # below the original's validation accuracy that still counts as recovered


class Goal(NamedTuple):
    """What a stop may look at beside the run itself: Retrain's costs at its end (None without a Retrain), and the
    validation accuracy of the original model (NaN where it was not measured)."""
    costs: dict | None = None
    val_acc: float = np.nan


class Points(NamedTuple):
    """The curve of a run: its evaluated rounds `[n]`, ascending, and `{metric: values [n]}` of what was ever measured."""
    rounds: np.ndarray
    values: dict


# ---------------------------------------------------------------- one run

def smallest_gap(points, goal):
    """The round with the smallest average gap, the earliest of equals; the last where no round has one."""
    if goal.costs is None:
        return None
    if AVG_GAP not in points.values:
        return points.rounds[-1]
    return points.rounds[np.nanargmin(points.values[AVG_GAP])]


def within(points, goal, share):
    """The last evaluated round within a share of Retrain's costs; None where the first is dearer."""
    costs = {name: total for name, total in (goal.costs or {}).items() if total > 0 and name in points.values}
    if not costs:
        return None
    affordable = np.full(len(points.rounds), True)
    for name, total in costs.items():
        affordable &= points.values[name] <= (share + FORGIVEN) * total
    return points.rounds[affordable][-1] if affordable.any() else None


def recovered(points, goal):
    """The first round with the original model's validation accuracy, minus a point; None where there is none."""
    if "val_acc" not in points.values:
        return None
    there = points.values["val_acc"] >= goal.val_acc - POINT
    return points.rounds[there][0] if there.any() else None


def highest_test(points, goal):
    """The round with the highest test accuracy, the earliest of equals."""
    if "test_acc" not in points.values:
        return None
    return points.rounds[np.nanargmax(points.values["test_acc"])]


CHOOSE = {**{name: partial(within, share=share) for name, share in SHARES.items()},
          "recovered": recovered, "oracle": smallest_gap, "best_test": highest_test}
LOOK = ("oracle", "best_test")          # of these the round is chosen by what is reported
OF_THE_RUN = {"storage_bytes"}          # metrics that no round changes
STOPS = ("last", "curve", *CHOOSE)


# ---------------------------------------------------------------- all runs of a table

def derived(df):
    """The rows of every stop that follows from a table's curves: shaped as those of `last`, with the chosen round.

    A run that diverged has no best round: there, and wherever the round in which it did is chosen, stand the values of
    `last`.
    """
    curves, last = df[df["stop"] == "curve"], df[(df["stop"] == "last") & ~df["metric"].map(is_time)]
    if curves.empty or last.empty:
        return df.iloc[:0]
    chosen = chosen_rounds(curves, last)
    found = [rows_at(stop, rounds, curves, last) for stop, rounds in chosen.items() if len(rounds)]
    return pd.concat(found, ignore_index=True) if found else df.iloc[:0]


def is_time(name):
    """Whether a metric differs from run to run, so that it is kept out of the result tables."""
    return known(name).kind == "time"


def chosen_rounds(curves, last):
    """`{stop: the chosen round of each run, a Series over RUN}`."""
    ended = last.groupby(RUN)["round"].max().to_dict()
    lost = set(last[last["metric"] == DIVERGED].set_index(RUN).index)
    goals = goals_of(last)
    found = {stop: {} for stop in CHOOSE}
    for run, points in points_of(curves):
        if run not in ended:
            continue
        goal = goals.get(tuple(run[RUN.index(column)] for column in PLACE), Goal())
        for stop, choose in CHOOSE.items():
            at = choose(points, goal)
            if at is not None:
                found[stop][run] = ended[run] if run in lost and stop in LOOK else at
    return {stop: pd.Series(rounds, dtype="int64") for stop, rounds in found.items()}


def points_of(curves):
    """`[(run, Points)]` of the rows of curves."""
    wide = curves.pivot(index=[*RUN, "round"], columns="metric", values="value")
    runs = wide.index.droplevel("round")
    rounds = wide.index.get_level_values("round").to_numpy()
    numbers = wide.to_numpy()
    begins = np.flatnonzero(~runs.duplicated())
    found = []
    for run, begin, end in zip(runs[begins], begins, [*begins[1:], len(wide)]):
        columns = zip(wide.columns, numbers[begin:end].T)
        values = {name: column for name, column in columns if not np.isnan(column).all()}
        found.append((run, Points(rounds[begin:end], values)))
    return found


def goals_of(last):
    """`{place: Goal}` of a table's last rows; of several kinds of Retrain the plain one counts."""
    first = last.sort_values("variant", kind="stable").drop_duplicates([*PLACE, "method", "metric"])
    retrain, original = (first[first["method"] == name].set_index(PLACE) for name in (REFERENCE, "Original"))
    costs = {place: {} for place in retrain.index}
    for place, metric, value in retrain[["metric", "value"]].itertuples():
        if metric in RATIOS:
            costs[place][metric] = value
    before = original[original["metric"] == "val_acc"]["value"].to_dict()
    return {place: Goal(costs.get(place), before.get(place, np.nan)) for place in {*costs, *before}}


def rows_at(stop, rounds, curves, last):
    """The rows of one stop: those of `last`, with the values of the chosen rounds (a Series over RUN).

    What is of the run as a whole, as the bytes stored, stays as it is. What was not measured in that round has no row, and
    what was measured of the last model alone, as a probe of it, stands at `last` alone.
    """
    along = {*curves["metric"], *OF_THE_RUN, DIVERGED}
    part = last[pd.MultiIndex.from_frame(last[RUN]).isin(rounds.index) & last["metric"].isin(along)]
    at = rounds.reindex(pd.MultiIndex.from_frame(part[RUN])).to_numpy()
    part = part.assign(stop=stop, round=at, at_the_end=part["round"].to_numpy() == at)
    key = [*RUN, "round", "metric"]
    values = curves.set_index(key)["value"]
    wanted = pd.MultiIndex.from_frame(part[key])
    earlier = ~part["at_the_end"] & ~part["metric"].isin(OF_THE_RUN)
    part["value"] = np.where(earlier, values.reindex(wanted).to_numpy(), part["value"])
    part = part[~earlier | wanted.isin(values.index)].drop(columns="at_the_end")
    return with_gap_to_its_own_best(part) if stop == "best_test" else part


def with_gap_to_its_own_best(part):
    """The rows with the average gap to the plain Retrain of the same table, not to Retrain's last round."""
    wide = part[part["metric"].isin(GAP)].pivot(index=RUN, columns="metric", values="value")
    plain = wide[(wide.index.get_level_values("method") == REFERENCE) & (wide.index.get_level_values("variant") == "")]
    if plain.empty or set(GAP) - set(wide):
        return part
    best = plain.droplevel(["method", "variant"]).reindex(wide.index.droplevel(["method", "variant"]))
    gap = (wide - best.to_numpy()).abs().mean(axis=1, skipna=False)
    of_each = gap.reindex(pd.MultiIndex.from_frame(part[RUN])).to_numpy()
    return part.assign(value=part["value"].where(part["metric"] != AVG_GAP, of_each))


def with_stops(df):
    """The table with the stops that follow from its curves; a stop of a run that it has already stays as it is."""
    more = derived(df)
    there = pd.MultiIndex.from_frame(df[[*RUN, "stop"]])
    return pd.concat([df, more[~pd.MultiIndex.from_frame(more[[*RUN, "stop"]]).isin(there)]], ignore_index=True)
