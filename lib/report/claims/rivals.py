"""Claims of notebook 10, our own: NoT and TIS Reset under the same budget, in the protocols of both papers."""
from ..statistics import AGAIN, noise_floor, paired, verdict
from ..summary import after, by_seed
from .verdicts import claim

RECOVERED = "recovery=True"


def recovered(table, method):
    """The column of a reset that goes on with fine-tuning, the first of its variants."""
    names = [name for name in table if name.split()[0] == method and RECOVERED in name]
    if not names:
        raise KeyError(f"{method} with recovery")
    return table[names[0]]


def nearer(df, stop, ours, theirs):
    """Whether one gap is below another, seed by seed, and in words: both means, and what the paired comparison says.

    ours, theirs: take the table of gaps at the stop and give a column.
    """
    table = by_seed(df, "avg_gap", stop)
    a, b = ours(table), theirs(table)
    floor = max(noise_floor(df).values(), default=0.0)
    said = verdict(paired(a, b), floor)
    return f"gap {a.mean():.1f} against {b.mean():.1f}, {said}", a < b


@claim("B01", notebook="10", text="Right after its own step, before any recovery, TIS Reset keeps more test accuracy than NoT.")
def keeps_more(df):
    """Test: test accuracy at round 0, seed by seed, in both protocols."""
    test = after(df, 0, "test_acc")
    tis, nots = recovered(test, "TIS-Reset"), test["NoT"]
    return f"test accuracy {tis.mean():.1f} % against {nots.mean():.1f} %", tis > nots


@claim("B02", notebook="10", text="Right after its own step, TIS Reset is nearer to Retrain than NoT.")
def nearer_at_once(df):
    """Test: average gap at round 0, seed by seed, in both protocols."""
    gap = after(df, 0)
    tis, nots = recovered(gap, "TIS-Reset"), gap["NoT"]
    return f"gap {tis.mean():.1f} against {nots.mean():.1f}", tis < nots


def not_against_tis(df):
    """NoT's gap against that of TIS Reset with recovery, at half of Retrain's budget."""
    return nearer(df, "half", lambda table: table["NoT"], lambda table: recovered(table, "TIS-Reset"))


@claim("B03", notebook="10", place="10 iid", text="For half of Retrain's budget NoT is nearer to Retrain than TIS Reset with recovery.")
def nearer_in_its_protocol(df):
    """Test: average gap at half of Retrain's bytes and FLOPs, seed by seed, in NoT's protocol."""
    return not_against_tis(df[df["distribution"] == "iid"])


@claim("B03", notebook="10", place="10 preferential",
       text="For half of Retrain's budget NoT is nearer to Retrain than TIS Reset with recovery.")
def nearer_in_the_others_protocol(df):
    """Test: average gap at half of Retrain's bytes and FLOPs, seed by seed, in TIS's protocol."""
    return not_against_tis(df[df["distribution"] == "preferential"])


@claim("B04", notebook="10", text="With recovery the score still counts: TIS Reset is nearer to Retrain than Random Reset.")
def score_counts(df):
    """Test: average gap at half of Retrain's bytes and FLOPs, seed by seed, in both protocols."""
    return nearer(df, "half", lambda table: recovered(table, "TIS-Reset"), lambda table: recovered(table, "Random-Reset"))


@claim("B05", notebook="10", text="For half of Retrain's budget NoT is nearer to Retrain than a Retrain stopped there.")
def not_pays(df):
    """Test: average gap at half of Retrain's bytes and FLOPs, seed by seed, in both protocols."""
    return nearer(df, "half", lambda table: table["NoT"], lambda table: table[AGAIN])


@claim("B06", notebook="10",
       text="For half of Retrain's budget TIS Reset with recovery is nearer to Retrain than a Retrain stopped there.")
def tis_pays(df):
    """Test: average gap at half of Retrain's bytes and FLOPs, seed by seed, in both protocols."""
    return nearer(df, "half", lambda table: recovered(table, "TIS-Reset"), lambda table: table[AGAIN])
