"""Claims of our own, of notebook 13: what happens after unlearning, and whether it goes beyond what Retrain does.

Every number is compared with the same seed's Retrain after the same. The floor is how far a second Retrain is from the
first, mean over seeds.
"""
import numpy as np
import pandas as pd

from ...words import AVG_GAP, REFERENCE
from ..beside import found_after, images_of, part_of, rounds_to_know
from ..statistics import AGAIN
from .audit import methods_in
from .verdicts import Untestable, claim

FEWEST = 3      # seeds, where a mean over them is judged


def rise(end, start):
    """`(methods' rises minus Retrain's, [setting, seed] x name, the floor)`; Untestable without a second Retrain."""
    both = end - start
    if AGAIN not in both or REFERENCE not in both:
        raise Untestable(f"needs {AGAIN}")
    beside = both.sub(both[REFERENCE], axis=0)
    return methods_in(beside), beside[AGAIN].abs().mean()


def largest(table):
    """`NoT +2.5`: the method whose mean over seeds is largest."""
    mean = table.mean()
    return f"{mean.idxmax()} {mean.max():+.1f}"


def nothing_beyond(end, start):
    """Whether no method rises by more than Retrain does, plus the floor."""
    table, floor = rise(end, start)
    words = f"most beyond Retrain: {largest(table)} points, floor {floor:.1f}"
    return words, table.le(floor + 1e-9).all(axis=1)     # what diverged, NaN, has not kept to it


@claim("A07", notebook="13")
def nothing_comes_back(df):
    """While the remaining clients train on, nothing that was forgotten comes back.

    Premise: a second Retrain. Test: from the first to the last further round forget accuracy rises by no more than
    Retrain's, plus the floor, for every method.
    """
    return nothing_beyond(*(found_after(df, "further", "forget_acc", at) for at in ("last", "first")))


@claim("A08", notebook="13")
def further_rounds_bring_nearer(df):
    """Further rounds on the retained data bring every method nearer to Retrain.

    Test: the average gap to Retrain after as many further rounds is smaller at the end than at the beginning, for every
    method.
    """
    end, start = (methods_in(found_after(df, "further", AVG_GAP, at)) for at in ("last", "first"))
    words = ", ".join(f"{name} {start[name].mean():.1f} to {end[name].mean():.1f}" for name in end)
    return words, (end.reindex_like(start) < start).all(axis=1)


@claim("A09", notebook="13")
def few_images_bring_nothing_back(df):
    """A few of the forgotten images, learnt again, do not bring back the others.

    Premise: a second Retrain, and fewer images than there are. Test: with the most images that leave others, accuracy
    on those not shown rises by no more than Retrain's, plus the floor, for every method.
    """
    some = [k for k in images_of(df) if len(found_after(df, "relearnt", "others_acc", "last", images=k))]
    if not some:
        raise Untestable("needs relearning from some of the images")
    return nothing_beyond(*(found_after(df, "relearnt", "others_acc", at, images=some[-1]) for at in ("last", "first")))


@claim("A10", notebook="13")
def relearns_no_sooner(df):
    """Who has unlearned a client relearns it, from all of its images, no sooner than Retrain learns it.

    Premise: Retrain gets there. Test: the first round with the original's forget accuracy, minus a point, is not before
    Retrain's, for every method.
    """
    if not images_of(df):
        raise Untestable("needs relearning")
    rounds = rounds_to_know(df, images_of(df)[-1])
    if rounds[REFERENCE].isna().all():
        raise Untestable("needs a Retrain that learns the images")
    table = methods_in(rounds)
    words = f"Retrain after {rounds[REFERENCE].mean():.1f} rounds, soonest {table.mean().idxmin()} {table.mean().min():.1f}"
    sooner = table.lt(rounds[REFERENCE].fillna(np.inf), axis=0)
    return words, ~sooner.any(axis=1)


@claim("A11", notebook="13")
def few_bits_bring_nothing_back(df):
    """Weights of four bits bring back nothing that was forgotten.

    Premise: a second Retrain. Test: forget accuracy rises by no more than Retrain's when weights are rounded to four
    bits, plus the floor, for every method.
    """
    return nothing_beyond(*(found_after(df, "in_few_bits", "forget_acc", bits=bits) for bits in (4, 32)))


@claim("A12", notebook="13")
def negation_wakes_nothing(df):
    """Negated once more, a model knows its client no better than test images.

    Premise: a second Retrain. Test: forget accuracy minus test accuracy is no larger than Retrain's, plus the floor, for
    every method, when the first layer is negated again.
    """
    return nothing_beyond(*(found_after(df, "negated_again", metric) for metric in ("forget_acc", "test_acc")))


@claim("A13", notebook="13")
def the_step_tells_nothing(df):
    """NoT's own step does not tell who leaves.

    Premise: three seeds or more. Test: right after it the leaver stands above half of the other clients or fewer, mean
    over seeds and attacks, give or take a fifth.
    """
    tables = [found_after(df, "who_left", "leaver_auc", when="start", by=by)["NoT"] for by in ("loss", "gradient", "first")]
    mean = pd.concat(tables, axis=1).mean(axis=1).groupby("setting").agg(["mean", "count"])
    if (mean["count"] < FEWEST).any():
        raise Untestable(f"needs {FEWEST} seeds")
    words = f"above {100 * mean['mean'].mean():.0f} % of the others"
    return words, (mean["mean"] - 0.5).abs() <= 0.2


@claim("A14", notebook="13")
def two_models_tell_who_left(df):
    """Whoever has both models and the clients' images can tell who left, from Retrain as well.

    Test: in the end the leaver's loss has risen most, for Retrain and for every method.
    """
    table = found_after(df, "who_left", "leaver_first", when="end", by="loss").drop(columns="Original", errors="ignore")
    words = f"found in {table[REFERENCE].mean():.0f} % of the seeds from Retrain, {methods_in(table).mean().mean():.0f} % from methods"
    return words, (table == 100).all(axis=1)


@claim("A15", notebook="13")
def requests_add_up(df):
    """At the last of several requests NoT is farther from Retrain than at the first.

    Test: its average gap to a Retrain for the same requests is larger at the last request than at the first.
    """
    end, start = (found_after(df, "in_turn", AVG_GAP, at)["NoT"] for at in ("last", "first"))
    return f"{start.mean():.1f} at the first, {end.mean():.1f} at the last", end > start


@claim("A16", notebook="13")
def the_next_is_forgotten_less(df):
    """NoT forgets the client that leaves last less than the one that leaves first.

    Test: the leaver's accuracy minus Retrain's is larger at the last request than at the first.
    """
    found = [found_after(df, "in_turn", "forget_acc", at) for at in ("first", "last")]
    start, end = (table["NoT"] - table[REFERENCE] for table in found)
    return f"{start.mean():+.1f} at the first, {end.mean():+.1f} at the last", end > start


@claim("A17", notebook="13")
def not_beats_early_retrains(df):
    """Over all requests NoT is nearer to Retrain than a Retrain that is stopped as early at each.

    Test: the average gap, mean over the requests, is smaller for NoT.
    """
    part = part_of(df, "in_turn")
    part = part[(part["metric"] == AVG_GAP) & ((part["method"] == "NoT") | part["stopped"].eq("early"))]
    table = part.pivot_table(index=["setting", "seed"], columns="method", values="value")
    words = f"NoT {table['NoT'].mean():.1f}, Retrain stopped early {table[REFERENCE].mean():.1f}"
    return words, table["NoT"] < table[REFERENCE]
