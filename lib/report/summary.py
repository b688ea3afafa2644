"""What is computed from rows: gaps, ratios, means over seeds."""
import numpy as np
import pandas as pd

from ..words import AVG_GAP, DIVERGED, GAP, RATIOS, REFERENCE, rank
from .rows import GROUP, has_option, option, variant, with_options
from .stops import RUN

# Options that tell the rows of a study apart.
OPTIONS = ("layer", "place", "when", "to", "spectrum", "init", "beta", "change", "width", "kind", "tensor", "at",
           "quantile")


# ---------------------------------------------------------------- summaries


def reference(df, stop="last"):
    """What the others are compared with: Retrain's last values, at `best_test` those of its own best round; of several
    kinds of Retrain in one setting the plain one counts."""
    at = "best_test" if stop == "best_test" else "last"
    ref = df[(df["method"] == REFERENCE) & (df["stop"] == at)].sort_values("variant", kind="stable")
    return ref.drop_duplicates(["profile", "notebook", "setting", "seed", "metric"])


def end_of_retrain(df, setting, metric):
    """Where Retrain ends in one metric, mean over seeds; NaN without a Retrain."""
    ends = reference(df)
    return ends[(ends["setting"] == setting) & (ends["metric"] == metric)]["value"].mean()


def _against(df, stop, metrics, combine, ref, rename=None):
    """Rows `combine(value, Retrain's)`; ref: Retrain's rows, each for its setting and seed."""
    on = ["profile", "notebook", "setting", "seed", "metric"]
    part = df[(df["stop"] == stop) & df["metric"].isin(metrics)]
    out = part.merge(ref[[*on, "value"]], on=on, suffixes=("", "_ref"))
    with np.errstate(divide="ignore", invalid="ignore"):
        out["value"] = combine(out["value"].to_numpy(), out.pop("value_ref").to_numpy())
    known = np.isfinite(out["value"])
    if rename:
        out = out.assign(metric=out["metric"].map(rename), unit="ratio")
    return out[known | is_of_diverged(out, df)].reset_index(drop=True)


def diverged_runs(df):
    """The runs that diverged, one row each: profile, notebook, setting, method, variant, seed."""
    lost = df[df["metric"] == DIVERGED]
    return lost[RUN].drop_duplicates()


def is_of_diverged(part, df):
    """Which rows of `part` are of runs that diverged in `df`, a Series of bool."""
    lost = pd.MultiIndex.from_frame(diverged_runs(df))
    return pd.Series(pd.MultiIndex.from_frame(part[RUN]).isin(lost), part.index)


def cost_ratio(df, stop="oracle"):
    """comm_ratio and comp_ratio: cost over the cost of the same seed's whole Retrain; rows of the same schema."""
    return _against(df, stop, list(RATIOS), np.divide, reference(df), RATIOS)


def differences(df, stop="oracle", metrics=GAP):
    """Signed difference of each metric to the same seed's Retrain at its last round; rows of the same schema."""
    return _against(df, stop, list(metrics), np.subtract, reference(df, stop))


def by_seed(df, metric, stop="oracle"):
    """One row per (setting, seed), one column per method (`method variant` where there is a variant)."""
    part = pd.concat([df[df["stop"] == stop], cost_ratio(df, stop)])
    part = part[part["metric"] == metric]
    name = (part["method"] + " " + part["variant"]).str.strip()
    keys = ["setting", "seed"] + (["round"] if stop == "curve" else [])
    return part.assign(name=name).pivot(index=keys, columns="name", values="value").rename_axis(columns=None)


def after(df, k, metric=AVG_GAP):
    """One row a (setting, seed), one column a name, after `k` rounds of recovery. What ends before, as the unchanged
    model, has no number."""
    wide = by_seed(df, metric, "curve")
    return wide[wide.index.get_level_values("round") == k].droplevel("round")


def gap_over(df, metrics, stop="oracle"):
    """Average gap to the same seed's Retrain over other metrics than the papers' four; shaped as `by_seed`."""
    off = differences(df, stop, metrics)
    off = off.assign(value=off["value"].abs(), name=(off["method"] + " " + off["variant"]).str.strip())
    return off.groupby(["setting", "seed", "name"])["value"].mean().unstack().rename_axis(columns=None)


def each_run(df, method, stop="oracle", **options):
    """One row per (distribution, setting, seed), one column per metric, of the rows with exactly these options in their
    variant: `each_run(df, "TIS-Reset", reset="zero")`."""
    part = df[(df["method"] == method) & (df["stop"] == stop) & (df["variant"] == variant(options))]
    return part.pivot(index=["distribution", "setting", "seed"], columns="metric", values="value")


def settings_with(df, *names):
    """The settings with runs of all these names (`method variant`), also where a run diverged and has no number."""
    name = (df["method"] + " " + df["variant"]).str.strip()
    return [setting for setting, there in name.groupby(df["setting"]) if set(names) <= set(there)]


def told(runs, column):
    """Of a table of `each_run` the runs with a number in a column, and those that have none because they diverged."""
    lost = runs[DIVERGED].notna() if DIVERGED in runs else False
    return runs[runs[column].notna() | lost]


def rounds_to_retrain(df, within=2.0, metrics=("retain_acc", "test_acc")):
    """First evaluated round with every metric within `within` points below Retrain's last value, one row per (setting,
    seed), one column per method; NaN where it never gets there."""
    reached = None
    for m in metrics:
        goal = by_seed(df, m, "last")[REFERENCE] - within
        curve = by_seed(df, m, "curve").sort_index()
        now = curve.ge(goal.reindex(curve.index.droplevel("round")).to_numpy(), axis=0)
        reached = now if reached is None else reached & now
    rounds = reached.index.get_level_values("round").to_numpy(float)
    return reached.apply(lambda c: pd.Series(rounds, c.index).where(c)).groupby(["setting", "seed"]).min()


def pick(table, metric, **wanted):
    """Values of one metric where columns, or words in `variant`, are as wanted; indexed by (setting, seed, method)
    and by the other words."""
    part = table[table["metric"] == metric]
    for key, value in wanted.items():
        have = part[key] if key in part else option(part, key)
        part = part[have == value]
    others = [key for key in OPTIONS if key not in wanted and has_option(part, key)]
    part = with_options(part, *others)
    return part.set_index(["setting", "seed", "method", *others])["value"]


def summary(df, stop="oracle", by=GROUP):
    """Mean, sd (ddof = 1; NaN for one seed) and n over seeds for each group and metric, cost ratios included, and
    `avg_gap_of_means`: the papers' gap, between means instead of the mean of gaps.

    `diverged`: how many further seeds diverged; `of`: how many were run, at whatever stop. n is of finite values only.
    """
    by = list(by)
    if stop == "curve" and "round" not in by:
        by.append("round")
    part = df[(df["stop"] == stop) & (df["metric"] != DIVERGED)]
    rows = pd.concat([part, cost_ratio(df, stop)], ignore_index=True)
    rows = rows.assign(lost=is_of_diverged(rows, df) & rows["value"].isna())
    groups = rows.groupby([*by, "metric", "unit"], sort=False)
    out = groups["value"].agg(mean="mean", sd="std", n="count")
    out = out.assign(diverged=groups["lost"].sum()).reset_index()
    run = [column for column in by if column != "round"]
    out = out.merge(df.groupby(run)["seed"].nunique().rename("of"), left_on=run, right_index=True)
    if "method" in by:
        more = gaps_of_means(part, reference(df, stop), by)
        out = pd.concat([out, pd.DataFrame(more)], ignore_index=True) if more else out
    return out.sort_values(by, key=rank, kind="stable", ignore_index=True)


def gaps_of_means(part, ends, by):
    """Rows of `avg_gap_of_means`: each group's means against those of Retrain, of the same place and seeds."""
    place = [column for column in by if column not in ("method", "variant", "round")]
    out = []
    for key, group in part[part["metric"].isin(GAP)].groupby(by, sort=False):
        row = dict(zip(by, key))
        group = group.dropna(subset="value")
        same = ends[ends["seed"].isin(group["seed"])]
        for column in place:
            same = same[same[column] == row[column]]
        ours, retrain = means_of(group), means_of(same)
        if ours.notna().all() and retrain.notna().all():
            out.append({**row, "metric": "avg_gap_of_means", "unit": "percent points",
                        "mean": (ours - retrain).abs().mean(), "sd": np.nan, "n": group["seed"].nunique(),
                        "diverged": 0, "of": group["seed"].nunique()})
    return out


def means_of(part):
    """Means of the metrics of the average gap; NaN where one was not measured."""
    return part.groupby("metric")["value"].mean().reindex(GAP)
