"""The papers' tables, and ours beside them."""
import numpy as np
import pandas as pd

from ..errors import Bad
from ..files import ROOT
from ..words import LABELS, REFERENCE, rank, unit_of
from .summary import summary

# ---------------------------------------------------------------- beside the papers


def paper_table(name):
    """The paper's table as printed: table, dataset, distribution, model, method, metric, mean, std, delta,
    delta_recomputed, unit."""
    path = ROOT / "paper" / f"{name}.csv"
    if not path.exists():
        raise Bad(f"paper table {name!r}: there are {', '.join(sorted(p.stem for p in path.parent.glob('*_table*')))}")
    df = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in ("mean", "std", "delta",
                                                                                "delta_recomputed")})
    return df.assign(**{c: v for c, v in (("distribution", ""), ("delta_recomputed", np.nan)) if c not in df})


def compare(df, table, dataset=None, model=None, distribution=None, stop="oracle"):
    """The paper beside one setting of ours: method, variant, metric, unit, paper, paper_sd, recomputed, ours, sd,
    difference, n.

    Costs stand as a ratio to Retrain. Without dataset/model/distribution the paper's block is ours if it has it,
    else its first. Accuracies on another data set get no difference; gaps and ratios do. `recomputed` is the
    paper's gap from its own rows.
    """
    paper = paper_table(table)
    paper["distribution"] = paper["distribution"].replace("random_iid", "iid")
    mine = df[df["table"] == table] if (df["table"] == table).any() else df
    if mine["setting"].nunique() != 1:
        raise Bad(f"compare {table}: give one setting, e.g. df[df.setting == {sorted(set(df['setting']))[:1]}]")
    ours = summary(mine, stop)
    for c, wish in (("dataset", dataset), ("model", model), ("distribution", distribution)):
        if wish is not None and wish not in set(paper[c]):
            raise Bad(f"compare {table}: no {c} {wish!r}, there are {', '.join(dict.fromkeys(paper[c]))}")
        here = mine[c].iloc[0]
        wish = wish or (here if here in set(paper[c]) else paper[c].iloc[0])
        paper = paper[paper[c] == wish]
    block = paper.iloc[0]
    costs = paper[paper["metric"].isin(["comm_bytes", "comp_flops"])]
    base = costs[costs["method"] == REFERENCE].set_index("metric")["mean"]
    ratio = costs.assign(mean=costs["mean"] / costs["metric"].map(base), std=np.nan, delta_recomputed=np.nan,
                         metric=costs["metric"].map({"comm_bytes": "comm_ratio", "comp_flops": "comp_ratio"}))
    gap = paper[paper["metric"] == "avg_gap"]
    paper = pd.concat([paper, ratio.dropna(subset="mean"), gap.assign(metric="avg_gap_of_means")])
    paper = paper[~paper["metric"].isin(["comm_bytes", "comp_flops"])].rename(columns={"mean": "paper",
                                                                                        "std": "paper_sd"})
    paper["recomputed"] = paper["delta_recomputed"].where(paper["metric"].str.startswith("avg_gap"))
    out = paper[["method", "metric", "paper", "paper_sd", "recomputed"]].merge(
        ours[["method", "variant", "metric", "mean", "sd", "n"]], on=["method", "metric"], how="outer")
    out = out[out["metric"].isin(set(paper["metric"]))].rename(columns={"mean": "ours"})
    out["variant"], out["n"] = out["variant"].fillna(""), out["n"].fillna(0).astype(int)
    out["unit"] = [{"comm_ratio": "ratio", "comp_ratio": "ratio"}.get(m) or unit_of(m) for m in out["metric"]]
    same = mine["dataset"].iloc[0] == block["dataset"]
    comparable = same | out["unit"].isin(["ratio", "percent points"])
    out["difference"] = (out["ours"] - out["paper"]).where(comparable)
    order = {m: i for i, m in enumerate(LABELS)}
    out = out.sort_values(["method", "variant", "metric"], kind="stable", ignore_index=True,
                          key=lambda c: c.map(lambda m: order.get(m, 99)) if c.name == "metric" else rank(c))
    out.attrs["caption"] = (f"Paper: {table}, {block['dataset']}, {block['model']}. "
                            f"Ours: {mine['dataset'].iloc[0]}, {mine['model'].iloc[0]}, stop: {stop}")
    return out[["method", "variant", "metric", "unit", "paper", "paper_sd", "recomputed", "ours", "sd", "difference",
                "n"]]
