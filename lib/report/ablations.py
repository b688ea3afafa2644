"""Figures of the ablations: functions of the long table, in which labels stand for methods."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm

from ..errors import Bad
from ..words import AVG_GAP, RATIOS, REFERENCE, known, titled
from .figures import dots, draw_band, goal_line, methods_of, one, prefixed_axis
from .rows import variant
from .style import GOAL, bare, grid, legend, looks, note, proxy
from .summary import cost_ratio, end_of_retrain
from .numbers import PREFIXED


def labelled(df, records):
    """The long table with the labels of the records in place of method and variant, to compare and to draw."""
    names = {(r["setting"], r["method"], variant(r["variant"])): r["label"] for r in records}
    keys = zip(df["setting"], df["method"], df["variant"])
    return df.assign(method=[names.get(key, key[1]) for key in keys], variant="")


# ---------------------------------------------------------------- over rounds

def race(df, groups, metrics=(AVG_GAP, "forget_acc", "retain_acc"), until=None, log=()):
    """Labels over rounds: one row of panels for each of `groups` {title: (setting, [labels])}, a column a metric.

    Line = mean, band = smallest to largest seed, dashed = where Retrain ended. until: last round that is drawn, one
    number or {setting: number}; log: metrics on a logarithmic axis."""
    part = df[(df["stop"] == "curve") & df["metric"].isin(metrics)]
    if part.empty:
        raise Bad(f"race: no curve of {' or '.join(metrics)}")
    fig, axes = grid(len(groups), len(metrics), width=3.3, height=2.7)
    for row, (title, (setting, names)) in zip(axes, groups.items()):
        drawn = looks(names)
        last = until.get(setting) if isinstance(until, dict) else until
        for ax, metric in zip(row, metrics):
            here = one(part, setting, metric)
            if last:
                here = here[here["round"] <= last]
            for name in names:
                draw_band(ax, here[here["method"] == name], "round", drawn[name] | {"ms": 4})
            if known(metric).kind not in ("gap", "norm"):
                goal_line(ax, df, setting, metric)
            if metric in log:
                ax.set_yscale("log")
                ax.yaxis.set_minor_formatter(plt.NullFormatter())
            if metric == AVG_GAP:
                ax.set_ylim(bottom=0)
        row[0].set_ylabel(title, fontweight="bold")
        legend_beside(row[-1], drawn, REFERENCE in set(df["method"]))
    for top, bottom, metric in zip(axes[0], axes[-1], metrics):
        top.set_title(titled(metric))
        bottom.set_xlabel("round of recovery")
    note(fig, part, many="line: mean, band: smallest to largest seed", of=df)
    return fig


def legend_beside(ax, drawn, goal):
    """The legend of one row of panels, at its right."""
    handles = [proxy(name, **look | {"lw": 2.2, "ms": 5}) for name, look in drawn.items()]
    if goal:
        handles.append(proxy("Retrain, at its end", **GOAL))
    ax.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=9)


# ---------------------------------------------------------------- at one round

def strength(df, names, at, setting):
    """What a change does at once, and what remains: one line a label, dots are seeds; the bar is the mean."""
    panels = (("retain_loss", 0, "loss on retained data, round 0"), ("retain_acc", 0, "retain accuracy, round 0 (%)"),
              (AVG_GAP, at, f"average gap, round {at} (points)"),
              ("forget_acc", at, f"forget accuracy, round {at} (%)"))
    part = df[(df["stop"] == "curve") & (df["setting"] == setting)]
    drawn = looks(names)
    fig, axes = plt.subplots(1, len(panels), figsize=(3.1 * len(panels) + 0.6, 0.36 * len(names) + 1.3), sharey=True,
                             layout="constrained")
    for ax, (metric, r, title) in zip(axes, panels):
        here = part[(part["metric"] == metric) & (part["round"] == r)]
        for y, name in enumerate(names):
            values = here[here["method"] == name]["value"].dropna()
            if values.empty:
                continue
            ax.barh(y, values.mean(), height=0.62, color=drawn[name]["color"], alpha=0.85)
            ax.text(values.max(), y, f" {values.mean():.1f}", va="center", fontsize=8.5)
            dots(ax, values, y, size=2.5)
        end = end_of_retrain(df, setting, metric)
        if np.isfinite(end) and metric != AVG_GAP:
            ax.axvline(end, **GOAL)
        ax.set_title(title, fontsize=10)
        ax.margins(x=0.16)
        ax.set_xlim(left=0)
        bare(ax, names)
    note(fig, part[part["method"].isin(names)], "dashed: where Retrain ends", "dots: seeds", of=df)
    return fig


def tensors(df, names, setting, suffix=":gradient_norm", base=None, at=0):
    """Gradient norm of each tensor at one round, a row a label, as a multiple of the row `base` (None: as it is)."""
    part = df[(df["stop"] == "curve") & (df["setting"] == setting) & (df["round"] == at)]
    shown = by_tensor(part[part["metric"].str.endswith(suffix)], suffix).reindex(names)
    if base:
        shown = shown / shown.loc[base]
    high = float(np.nanmax(np.abs(np.log10(shown.clip(lower=1e-6)))))
    fig, ax = plt.subplots(figsize=(0.95 * shown.shape[1] + 3, 0.42 * len(names) + 1.4), layout="constrained")
    if base:
        ax.imshow(shown, cmap="RdBu_r", aspect="auto", norm=LogNorm(10**-high, 10**high))
    else:
        ax.imshow(shown, cmap="Blues", aspect="auto", norm=LogNorm())
    for (i, j), value in np.ndenumerate(shown.to_numpy()):
        dark = base and abs(np.log10(max(value, 1e-6))) > 0.6 * high
        ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=9, color="white" if dark else "#222222")
    ax.set_xticks(range(shown.shape[1]), shown.columns, rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_title(f"gradient norm of each tensor, round {at}" + (f", as a multiple of {base}" if base else ""))
    bare(ax)
    return fig


def by_tensor(part, suffix):
    """Mean over seeds, a row a label and a column a tensor, tensors in the net's order."""
    part = part.assign(tensor=part["metric"].str.removesuffix(suffix))
    wide = part.pivot_table(index="method", columns="tensor", values="value", sort=False)
    return wide[sorted(wide, key=in_order)]


def in_order(name):
    """Sort key of a tensor's name: numbers in it by value, before words."""
    return [(0, int(word), "") if word.isdigit() else (1, 0, word) for word in name.split(".")]


# ---------------------------------------------------------------- over a number

def growth(df, x, xlabel, metrics, stop="oracle", methods=None):
    """Metrics (a panel each) over a column `x`; line = mean, dots = seeds."""
    part = df[df["stop"] == stop]
    if set(metrics) & set(RATIOS.values()):
        part = pd.concat([part, cost_ratio(df, stop)])
    part = part[part[x].notna() & part["metric"].isin(metrics)]
    names = methods_of(part, methods)
    drawn = looks(names)
    fig, axes = grid(1, len(metrics), width=3.4, height=3.0)
    for ax, metric in zip(axes[0], metrics):
        for name in names:
            here = part[(part["metric"] == metric) & (part["method"] == name)]
            mean = here.groupby(x)["value"].mean()
            ax.plot(mean.index, mean, **drawn[name] | {"ms": 6})
            if here.groupby(x).size().max() > 1:
                ax.plot(here[x], here["value"], "o", color=drawn[name]["color"], ms=2.5, alpha=0.6)
        ax.set(title=titled(metric), xlabel=xlabel, xticks=sorted(part[x].unique()), ylim=(0, None))
        if known(metric).unit in PREFIXED:
            prefixed_axis(ax.yaxis, known(metric).unit)
    legend(fig, [proxy(name, **drawn[name] | {"lw": 2.2, "ms": 6}) for name in names])
    note(fig, part, many="line: mean, dots: seeds", of=df)
    return fig
