"""Claims of notebook 06: one owner of all data, no clients (NoT, Table 2)."""
from ..summary import by_seed
from .verdicts import Untestable, claim


def of(df, setting, metric):
    """One row a seed, one column a method: a metric of one setting at the best epoch (an oracle).

    A method that runs once goes by its bare name; of several, each keeps its arguments.
    """
    found = by_seed(df[df["setting"] == setting], metric)
    if found.empty:
        raise Untestable(f"needs the setting {setting}")
    found = found.droplevel("setting")
    bare = [name.split()[0] for name in found]
    once = {name for name in bare if bare.count(name) == 1 and name != "Retrain"}
    return found.rename(columns=lambda name: name.split()[0] if name.split()[0] in once else name)


def others(gap):
    """The methods beside NoT and l1-sparse."""
    return gap[[m for m in gap if m not in ("NoT", "l1-sparse", "Original") and not m.startswith("Retrain")]]


@claim("N48", notebook="06")
def second_to_l1_sparse(df):
    """In centralised forgetting NoT trades accuracy against cost best; only l1-sparse has a smaller gap.

    Test: on a random tenth NoT's gap is at most that of every other method, l1-sparse's at most NoT's. Costs are not
    looked at.
    """
    gap = of(df, "random_tenth", "avg_gap")
    ours, sparse, best = gap["NoT"], gap["l1-sparse"], others(gap).min(axis=1)
    words = f"gap {ours.mean():.1f}, l1-sparse {sparse.mean():.1f}, best of the others {best.mean():.1f}"
    return words, (ours <= best) & (sparse <= ours)


@claim("N49", notebook="06")
def l1_sparse_pays(df):
    """l1-sparse pays for its smaller gap with at least 30 % more computation than NoT.

    Test: on a random tenth its gap is smaller and its FLOPs are 1.3 times NoT's or more.
    """
    gap, flops = of(df, "random_tenth", "avg_gap"), of(df, "random_tenth", "comp_ratio")
    ours, sparse = gap["NoT"], gap["l1-sparse"]
    ratio = flops["l1-sparse"] / flops["NoT"]
    words = f"gap {sparse.mean():.1f} for {ours.mean():.1f}, FLOPs times {ratio.mean():.2f}"
    return words, (sparse < ours) & (ratio >= 1.3)


@claim("N50", notebook="06", place="06, quality")
def ssd_fails_on_subsets(df):
    """SSD, made for classes and based on the Fisher matrix, fails on random subsets and is expensive.

    Test: on a random tenth no method beside NoT and l1-sparse has a larger gap, and its gap on a class is smaller.
    """
    gap, whole = of(df, "random_tenth", "avg_gap"), of(df, "one_class", "avg_gap")
    ssd = gap["SSD"]
    words = f"gap {ssd.mean():.1f} on a random tenth, {whole['SSD'].mean():.1f} on a class"
    return words, (ssd >= others(gap).max(axis=1)) & (ssd > whole["SSD"])


@claim("N50", notebook="06", place="06, cost")
def ssd_is_expensive(df):
    """SSD, made for classes and based on the Fisher matrix, fails on random subsets and is expensive.

    Test: on a random tenth its FLOPs are more than NoT's.
    """
    flops = of(df, "random_tenth", "comp_ratio")
    return f"{flops['SSD'].mean():.3f} of Retrain's FLOPs", flops["SSD"] > flops["NoT"]
