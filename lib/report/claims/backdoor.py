"""Claims of notebook 09: is the backdoor gone (NoT, Table 7; TIS, Table 4).

A model has taken out the backdoor where attack success and backdoor accuracy are within five points of Retrain's end.
`sweep` has the rows over gamma of the settings that were trained on pooled data.
"""
from ..numbers import number
from ..summary import by_seed, settings_with
from .client_unlearning import FLOOR
from .verdicts import Untestable, claim

RIVALS = ("FT", "FedEraser", "FUKD", "PGD", "MoDE", "FCU")


# ---------------------------------------------------------------- reading the rows

def seen(df, metric, stop):
    """A metric by seed, in the settings that have NoT."""
    return by_seed(df, metric, stop).query("setting in @have", local_dict={"have": settings_with(df, "NoT")})


def rivals(table):
    """The columns that are methods of unlearning from NoT's tables, NoT left out."""
    found = [name for name in table if name.split()[0] in RIVALS]
    if not found:
        raise Untestable("needs another federated method beside NoT")
    return table[found]


def taken_out(df, stop):
    """Which methods have taken out the backdoor: one row a seed, one column a method."""
    end = seen(df, "asr", "last")["Retrain"], seen(df, "backdoor_acc", "last")["Retrain"]
    harmless = seen(df, "asr", stop).lt(end[0] + 5, axis=0)
    right = seen(df, "backdoor_acc", stop).gt(end[1] - 5, axis=0)
    return harmless & right


def swept(sweep, metric):
    """A metric at the best gamma (an oracle), with TIS Reset and Random Reset under their bare names."""
    found = by_seed(sweep, metric).rename(columns=lambda name: name.split()[0] if "Reset" in name else name)
    return found.loc[:, ~found.columns.duplicated()]        # of several kinds of reset the first


# ---------------------------------------------------------------- claims

@claim("N16", notebook="09")
def taken_out_and_nearest(df):
    """One poisoned client plants a working backdoor, and NoT takes it out with the smallest gap.

    Test: attack success is above 90 % in Original, NoT has taken the backdoor out at the last round, and its gap is at
    most that of every rival, each at its best round (an oracle).
    """
    asr, gap = seen(df, "asr", "last"), seen(df, "avg_gap", "oracle")
    gone = taken_out(df, "last")["NoT"] & (asr["Original"] > 90)
    best = rivals(gap).min(axis=1)
    floor = f", second Retrain {gap[FLOOR].mean():.1f}" if FLOOR in gap else ""
    words = (f"attack success {asr['Original'].mean():.0f} % to {asr['NoT'].mean():.1f} %; "
             f"gap {gap['NoT'].mean():.1f}, best of the others {best.mean():.1f}{floor}")
    return words, gone & (gap["NoT"] <= best)


@claim("N17", notebook="09")
def cheapest(df):
    """Of all methods NoT takes out the backdoor with the fewest bytes and FLOPs.

    Test: at the best rounds (an oracle) NoT has taken it out, and no rival that did so has sent fewer bytes or spent
    fewer FLOPs.
    """
    gone = taken_out(df, "oracle")
    sent, work = seen(df, "comm_ratio", "oracle"), seen(df, "comp_ratio", "oracle")
    least = rivals(sent.where(gone)).min(axis=1)
    fewest = rivals(work.where(gone)).min(axis=1)
    ours = (sent["NoT"] <= least.fillna(9)) & (work["NoT"] <= fewest.fillna(9))
    words = f"bytes {sent['NoT'].mean():.2f} of Retrain, cheapest other that takes it out {least.mean():.2f}"
    return words, gone["NoT"] & ours


@claim("T10", notebook="09")
def reset_disables_it(sweep):
    """The reset disables the MNIST backdoor (success from 100 to 10 %), restores some accuracy on triggered images, and
    varies widely.

    Test: attack success is above 90 % in Original and below 20 % after TIS Reset, at the best gamma (an oracle), and
    backdoor accuracy rises by more than 20 points. How widely it varies stands beside it and is not tested.
    """
    asr, right = swept(sweep, "asr"), swept(sweep, "backdoor_acc")
    before, after = asr["Original"], asr["TIS-Reset"]
    once, now = right["Original"], right["TIS-Reset"]
    words = (f"attack success {before.mean():.0f} % to {number(after.mean(), after.std())} % "
             f"(Random {asr['Random-Reset'].mean():.1f} %); "
             f"triggered images right {once.mean():.0f} % to {number(now.mean(), now.std())} %")
    return words, (before > 90) & (after < 20) & (now > once + 20)
