"""Figures of the ablations and of the theory: functions of the long table, in which labels stand for methods."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import EngFormatter

from ..errors import Bad
from ..words import LABELS, METHOD_ORDER, REFERENCE, unit_of
from .rows import variant
from .style import COLORS, GOAL, bare, color, grid, legend, line, note, proxy
from .summary import cost_ratio, reference

# For labels that are no methods of their own; none of them is a method's colour.
PALETTE = ("#1B9E77", "#D95F02", "#7570B3", "#E7298A", "#66A61E", "#A6761D", "#E6AB02", "#666666", "#17BECF", "#8DA0CB")
MARKS = "osDv^P<>Xh"
# These labels have the same colour in every figure.
FIXED = ("re-initialise", "noise 0.3", "noise 1", "noise 3", "mirror", "mirror upside down", "turn 90", "turn 180",
         "conv1 + conv2", "conv1 + conv2 + head")
WORDS = {"retain_loss": "loss on retained data (nats)", "gradient_norm": "gradient norm",
         "distance_norm": "distance from before", "deeper_distance_norm": "of it, deeper layers",
         "avg_gap": "average gap (points)", "comm_bytes": "data sent", "comp_flops": "computation"}


def labelled(df, records):
    """The long table with the labels of the records in place of method and variant, to compare and to draw."""
    names = {(r["setting"], r["method"], variant(r["variant"])): r["label"] for r in records}
    keys = zip(df["setting"], df["method"], df["variant"])
    return df.assign(method=[names.get(k, k[1]) for k in keys], variant="")


def words(metric):
    """A metric in words, with its unit."""
    unit = {"percent": " (%)", "percent points": " (points)", "nats": " (nats)"}.get(
        unit_of(metric) if metric not in WORDS else "", "")
    return WORDS.get(metric) or LABELS.get(metric, metric.replace("_", " ")) + unit


def looks(names):
    """{label: how it is drawn}: methods as everywhere, other labels from a palette of their own, in order."""
    others = [n for n in names if n not in COLORS]
    place = {n: FIXED.index(n) if n in FIXED else i for i, n in enumerate(others)}
    own = {n: {"color": PALETTE[i % 10], "marker": MARKS[i % 10], "ls": ("-", "--")[i > 9]} for n, i in place.items()}
    return {n: own.get(n) or line(n) for n in names}


def race(df, groups, metrics=("avg_gap", "forget_acc", "retain_acc"), until=None, log=()):
    """Labels over rounds: one row of panels for each of `groups` {title: (setting, [labels])}, a column a metric.

    Line = mean, band = smallest to largest seed, dashed = where Retrain ended. until: last round that is drawn, one
    number or {setting: number}; log: metrics on a logarithmic axis."""
    fig, axes = grid(len(groups), len(metrics), width=3.3, height=2.7)
    part = df[(df["stop"] == "curve") & df["metric"].isin(metrics)]
    if part.empty:
        raise Bad(f"race: no curve of {' or '.join(metrics)}")
    for i, (row, (title, (setting, names))) in enumerate(zip(axes, groups.items())):
        drawn, last = looks(names), until.get(setting) if isinstance(until, dict) else until
        for ax, metric in zip(row, metrics):
            here = part[(part["setting"] == setting) & (part["metric"] == metric)]
            here = here[here["round"] <= last] if last else here
            for name in names:
                s = here[here["method"] == name].groupby("round")["value"].agg(["mean", "min", "max"])
                look = {"lw": 2.8 if name == "NoT" else 1.8, "ms": 4, "zorder": 5 if name in COLORS else 4}
                ax.plot(s.index, s["mean"], **drawn[name] | look)
                ax.fill_between(s.index, s["min"], s["max"], color=drawn[name]["color"], alpha=0.12, lw=0)
            end = reference(df)[lambda r: (r["setting"] == setting) & (r["metric"] == metric)]["value"].mean()
            if np.isfinite(end) and not metric.endswith(("_gap", "_norm")):
                ax.axhline(end, **GOAL)
            ax.set(title="" if i else words(metric), yscale="log" if metric in log else "linear")
            if metric in log:
                ax.yaxis.set_minor_formatter(plt.NullFormatter())
            if metric == "avg_gap":
                ax.set_ylim(bottom=0)
            ax.set_xlabel("round of recovery" if i == len(groups) - 1 else "")
        row[0].set_ylabel(title, fontweight="bold")
        handles = [proxy(n, **drawn[n] | {"lw": 2.2, "ms": 5}) for n in names]
        handles += [proxy("Retrain, at its end", **GOAL)] * (REFERENCE in set(df["method"]))
        row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)
    note(fig, part, many="line: mean, band: smallest to largest seed")
    return fig


def strength(df, names, at, setting):
    """What a change does at once, and what remains: one line a label, dots are seeds; the bar is the mean."""
    panels = (("retain_loss", 0, "loss on retained data, round 0"), ("retain_acc", 0, "retain accuracy, round 0 (%)"),
              ("avg_gap", at, f"average gap, round {at} (points)"),
              ("forget_acc", at, f"forget accuracy, round {at} (%)"))
    part, drawn = df[(df["stop"] == "curve") & (df["setting"] == setting)], looks(names)
    fig, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels) + 0.6, 0.36 * len(names) + 1.3), sharey=True,
                             layout="constrained")
    for ax, (metric, r, title) in zip(axes, panels):
        for y, name in enumerate(names):
            values = part[(part["metric"] == metric) & (part["round"] == r) & (part["method"] == name)]["value"]
            ax.barh(y, values.mean(), height=0.62, color=drawn[name]["color"], alpha=0.85)
            ax.text(values.max(), y, f" {values.mean():.1f}", va="center", fontsize=8.5)
            ax.plot(values, [y] * len(values), "o", color="#111111", ms=2.5 * (len(values) > 1), alpha=0.7)
        end = reference(df)[lambda t: (t["setting"] == setting) & (t["metric"] == metric)]["value"].mean()
        if np.isfinite(end) and metric != "avg_gap":
            ax.axvline(end, **GOAL)
        ax.set_title(title, fontsize=10)
        ax.margins(x=0.16)
        ax.set_xlim(left=0)
        bare(ax, names)
    note(fig, part[part["method"].isin(names)], "dashed: where Retrain ends", "dots: seeds")
    return fig


def tensors(df, names, setting, suffix=":gradient_norm", base=None, at=0):
    """Gradient norm of each tensor at one round, a row a label, as a multiple of the row `base` (None: as it is)."""
    part = df[(df["stop"] == "curve") & (df["setting"] == setting) & (df["round"] == at)
              & df["metric"].str.endswith(suffix)]
    wide = part.assign(tensor=part["metric"].str.removesuffix(suffix)).pivot_table(
        index="method", columns="tensor", values="value", sort=False).reindex(names)
    wide = wide[sorted(wide, key=lambda n: [int(t) if t.isdigit() else t for t in n.split(".")])]
    shown = wide / wide.loc[base] if base else wide
    fig, ax = plt.subplots(figsize=(0.95 * shown.shape[1] + 3, 0.42 * len(names) + 1.4), layout="constrained")
    high = float(np.nanmax(np.abs(np.log10(shown.clip(lower=1e-6)))))
    ax.imshow(shown, cmap="RdBu_r" if base else "Blues", aspect="auto",
              norm=LogNorm(10**-high, 10**high) if base else LogNorm())
    for (i, j), v in np.ndenumerate(shown.to_numpy()):
        strong = abs(np.log10(max(v, 1e-6))) > 0.6 * high if base else False
        ax.text(j, i, f"{v:.2g}", ha="center", va="center", fontsize=9, color="white" if strong else "#222222")
    ax.set_xticks(range(shown.shape[1]), shown.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_title(f"gradient norm of each tensor, round {at}" + (f", as a multiple of {base}" if base else ""))
    bare(ax)
    return fig


def growth(df, x, xlabel, metrics, stop="oracle", methods=None):
    """Metrics (a panel each) over a column `x`; line = mean, dots = seeds."""
    part = pd.concat([df[df["stop"] == stop], cost_ratio(df, stop).assign(**{x: np.nan})])
    part = part[part[x].notna() & part["metric"].isin(metrics)]
    names = methods or [m for m in METHOD_ORDER if m in set(part["method"])]
    fig, axes = grid(1, len(metrics), width=3.4, height=3.0)
    for ax, metric in zip(axes[0], metrics):
        for m in names:
            here = part[(part["metric"] == metric) & (part["method"] == m)]
            mean = here.groupby(x)["value"].mean()
            ax.plot(mean.index, mean, **line(m, lw=2.8 if m == "NoT" else 1.8, ms=6))
            if here.groupby(x).size().max() > 1:
                ax.plot(here[x], here["value"], "o", color=color(m), ms=2.5, alpha=0.6)
        ax.set(title=words(metric), xlabel=xlabel, xticks=sorted(part[x].unique()), ylim=(0, None))
        if metric in ("comm_bytes", "comp_flops"):
            ax.yaxis.set_major_formatter(EngFormatter("B" if metric == "comm_bytes" else "FLOP"))
    legend(fig, [proxy(m, **line(m, lw=2.2, ms=6)) for m in names])
    note(fig, part, many="line: mean, dots: seeds")
    return fig
