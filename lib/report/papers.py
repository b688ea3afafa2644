"""The papers' tables, and ours beside them."""
import numpy as np
import pandas as pd

from ..errors import Bad
from ..files import ROOT
from ..words import AVG_GAP, RATIOS, REFERENCE, column_order, metric, rank
from .rows import origin
from .summary import summary

# ---------------------------------------------------------------- beside the papers


def paper_table(name):
    """The paper's table as printed: table, dataset, distribution, model, method, metric, mean, std, delta,
    delta_recomputed, unit."""
    path = ROOT / "paper" / f"{name}.csv"
    if not path.exists():
        raise Bad(f"paper table {name!r}: there are {', '.join(sorted(p.stem for p in path.parent.glob('*_table*')))}")
    numbers = ("mean", "std", "delta", "delta_recomputed")
    df = pd.read_csv(path, keep_default_na=False, na_values={column: [""] for column in numbers})
    for column, value in (("distribution", ""), ("delta_recomputed", np.nan)):
        if column not in df:
            df[column] = value
    return df


def compare(df, table, dataset=None, model=None, distribution=None, stop="oracle"):
    """The paper beside one setting of ours: method, variant, metric, unit, paper, paper_sd, recomputed, ours, sd,
    difference, n, diverged, of (see `summary`).

    Costs stand as a ratio to Retrain. Without dataset/model/distribution the paper's block is ours if it has it,
    else its first. Accuracies on another data set get no difference; gaps and ratios do. `recomputed` is the
    paper's gap from its own rows.
    """
    mine = df[df["table"] == table] if (df["table"] == table).any() else df
    if mine["setting"].nunique() != 1:
        raise Bad(f"compare {table}: give one setting, e.g. df[df.setting == {sorted(set(df['setting']))[:1]}]")
    here = mine.iloc[0]
    printed = block_of(table, here, {"dataset": dataset, "model": model, "distribution": distribution})
    there = printed.iloc[0]

    paper = with_ratios(printed).rename(columns={"mean": "paper", "std": "paper_sd"})
    paper["recomputed"] = paper["delta_recomputed"].where(paper["metric"].str.startswith(AVG_GAP))
    ours = summary(mine, stop).rename(columns={"mean": "ours"})
    out = paper[["method", "metric", "paper", "paper_sd", "recomputed"]].merge(
        ours[["method", "variant", "metric", "ours", "sd", "n", "diverged", "of"]], on=["method", "metric"], how="outer")
    out = out[out["metric"].isin(set(paper["metric"]))]
    out["variant"] = out["variant"].fillna("")
    for column in ("n", "diverged", "of"):
        out[column] = out[column].fillna(0).astype(int)
    out["unit"] = [metric(name).unit for name in out["metric"]]
    comparable = out["unit"].isin(["ratio", "percent points"]) | (here["dataset"] == there["dataset"])
    hidden = (~comparable & (out["unit"] == "percent")).any()
    out["difference"] = (out["ours"] - out["paper"]).where(comparable)

    out = out.sort_values(["method", "variant", "metric"], kind="stable", ignore_index=True, key=as_shown)
    out.attrs["caption"] = (f"Paper: {table}, {there['dataset']}, {there['model']}. "
                            f"Ours: {here['dataset']}, {here['model']}, stop: {stop}"
                            + (". Other data than the paper's: accuracies get no difference" if hidden else ""))
    out.attrs["origin"] = origin(df)
    return out[["method", "variant", "metric", "unit", "paper", "paper_sd", "recomputed", "ours", "sd", "difference",
                "n", "diverged", "of"]]


def block_of(table, here, wishes):
    """The rows of the paper's table that are of the wished data set, model and distribution; without a wish of ours,
    if it has them, else of its first."""
    paper = paper_table(table)
    paper["distribution"] = paper["distribution"].replace("random_iid", "iid")
    for column, wish in wishes.items():
        there = list(dict.fromkeys(paper[column]))
        if wish is not None and wish not in there:
            raise Bad(f"compare {table}: no {column} {wish!r}, there are {', '.join(there)}")
        if wish is None:
            wish = here[column] if here[column] in there else there[0]
        paper = paper[paper[column] == wish]
    return paper


def with_ratios(paper):
    """A block of the paper's table with each cost over Retrain's in place of the cost, and the gap, which the papers
    take between means, under our two names."""
    is_cost = paper["metric"].isin(RATIOS)
    costs = paper[is_cost]
    retrain = costs[costs["method"] == REFERENCE].set_index("metric")["mean"]
    ratios = costs.assign(mean=costs["mean"] / costs["metric"].map(retrain), std=np.nan, delta_recomputed=np.nan,
                          metric=costs["metric"].map(RATIOS))
    gaps = paper[paper["metric"] == AVG_GAP]
    return pd.concat([paper[~is_cost], ratios.dropna(subset="mean"), gaps.assign(metric="avg_gap_of_means")])


def as_shown(column):
    """Sort key of a column: methods and metrics in the order of lib/words.py."""
    if column.name != "metric":
        return rank(column)
    order = {name: i for i, name in enumerate(column_order())}
    return column.map(lambda name: order.get(name, len(order)))
