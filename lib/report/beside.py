"""Reading the rows of what happens after unlearning: which part, which words of it, beside Retrain's."""
import numpy as np
import pandas as pd

from ..words import REFERENCE
from .rows import option
from .statistics import paired

WORDS = ("then", "images", "bits", "by", "when", "stopped")     # of the variants, beside a method's own options
NEAR = 1.0              # points below the original's accuracy that count as having it again


def part_of(df, then):
    """The rows of one part (`further`, `relearnt`, `in_few_bits`, `negated_again`, `who_left`, `in_turn`,
    `who_left_in_turn`), the other words of their variants as columns and left out of them."""
    part = df[option(df, "then").eq(then)] if len(df) else df
    words = {word: option(part, word) if len(part) else pd.Series(dtype=object) for word in WORDS[1:]}
    plain = part["variant"].str.split(";").map(without_words)
    return part.assign(**words, variant=plain)


def without_words(options):
    return ";".join(o for o in options if o.partition("=")[0] not in WORDS)


def found_after(df, then, metric, round=None, **words):
    """`[setting, seed] x name` of one metric of one part; a name is method and variant, as in `lib.by_seed`.

    round: `first`, `last`, or a number; None where a part has no rounds; words: as `images=4`, `by="loss"`.
    """
    part = part_of(df, then)
    part = part[part["metric"] == metric]
    for word in WORDS[1:]:
        wanted = words.get(word)
        part = part[part[word].isna() if wanted is None else part[word].eq(wanted)]
    if round is not None and len(part):
        at = {"first": part["round"].min(), "last": part["round"].max()}.get(round, round)
        part = part[part["round"] == at]
    names = (part["method"] + " " + part["variant"]).str.strip()
    table = part.assign(name=names).pivot(index=["setting", "seed"], columns="name", values="value")
    return table.rename_axis(columns=None)


def images_of(df):
    """The numbers of images from which somebody learnt again, ascending."""
    return sorted(part_of(df, "relearnt")["images"].dropna().astype(int).unique())


def rounds_to_know(df, images):
    """The first round of relearning at which forget accuracy is back at the original model's, minus a point:
    `[setting, seed] x name`; NaN where it never is."""
    part = part_of(df, "relearnt")
    part = part[(part["metric"] == "forget_acc") & (part["images"] == images)]
    original = part[(part["method"] == "Original") & (part["round"] == 0)].set_index(["setting", "seed"])["value"]
    goal = original.reindex(pd.MultiIndex.from_frame(part[["setting", "seed"]])).to_numpy() - NEAR
    names = (part["method"] + " " + part["variant"]).str.strip()
    back = part.assign(name=names)[(part["value"] >= goal).to_numpy()]
    first = back.groupby(["setting", "seed", "name"])["round"].min().unstack()
    return first.reindex(columns=sorted(set(names)))


def beyond(table):
    """`{name: Paired}` of each column minus Retrain's, seed by seed."""
    return {name: paired(table[name], table[REFERENCE]) for name in table if name != REFERENCE}


def off_retrain(part, on):
    """The rows as differences to the plain Retrain's of the same setting, seed, metric and `on`."""
    keys = ["setting", "seed", "metric", *on]
    plain = (part["method"] == REFERENCE) & (part["variant"] == "") & part["stopped"].isna()
    there = part[plain].set_index(keys)["value"]
    same = there.reindex(pd.MultiIndex.from_frame(part[keys])).to_numpy()
    return part.assign(value=part["value"] - np.asarray(same, float))
