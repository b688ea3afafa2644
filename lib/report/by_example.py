"""Reading the rows of the audit: which examples, which bound, which point of a curve stands in their variants."""
import pandas as pd

from .rows import option

WORDS_OF_A_VARIANT = ("over", "bound", "fpr", "models", "example")


def chosen(df, **words):
    """The rows whose variant says these words and none of the other words of the audit, left out of it.

    A value of None takes any and gives it as a column.
    """
    part = df.copy()
    for word in WORDS_OF_A_VARIANT:
        values = option(part, word) if len(part) else pd.Series(dtype=object)
        wanted = words.get(word, ...)
        keep = values.isna() if wanted is ... else values.notna() if wanted is None else values.eq(wanted)
        part, values = part[keep], values[keep]
        if wanted is None:
            part = part.assign(**{word: values})
    plain = part["variant"].str.split(";").map(_without_words)
    return part.assign(variant=plain)


def _without_words(options):
    return ";".join(o for o in options if o.partition("=")[0] not in WORDS_OF_A_VARIANT)


def audited(df, metric, over="forget", stop="full", **words):
    """`[setting, seed] x name` of one metric over some examples; a name is method and variant, as in `lib.by_seed`.

    over: None for what is no statistic of examples, as the average gap; words: `bound="low"` or `"high"` for the ends
    of the bootstrap interval.
    """
    part = df[(df["metric"] == metric) & (df["stop"] == stop)]
    part = chosen(part, **words) if over is None else chosen(part, over=over, **words)
    names = (part["method"] + " " + part["variant"]).str.strip()
    table = part.assign(name=names).pivot(index=["setting", "seed"], columns="name", values="value")
    return table.rename_axis(columns=None)
