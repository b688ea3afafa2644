"""Figures of the ablations: functions of the long table, in which labels stand for methods."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from ..errors import Bad
from ..fl.models import build
from ..methods import defaults
from ..settings import complete
from ..words import AVG_GAP, RATIOS, REFERENCE, known, titled
from .figures import dots, draw_band, frame_of_curves, goal_line, methods_of, one, prefixed_axis
from .rows import variant
from .style import GOAL, bare, grid, legend, looks, note, proxy, whole
from .summary import cost_ratio, end_of_retrain
from .numbers import PREFIXED


def labelled(df, records):
    """The long table with the labels of the records in place of method and variant, to compare and to draw."""
    names = {(r["setting"], r["method"], variant(r["variant"])): r["label"] for r in records}
    keys = zip(df["setting"], df["method"], df["variant"])
    return df.assign(method=[names.get(key, key[1]) for key in keys], variant="")


def by_label(df, settings):
    """The same from the notebook's settings in place of records: rows say which options differ from the defaults."""
    names = {}
    for setting, keys in settings.items():
        for name, options in {**keys.get("methods", {}), **keys.get("ablations", {})}.items():
            method, _, label = name.partition("/")
            usual = defaults(method)
            own = {key: value for key, value in (options or {}).items() if usual[key] != value}
            names[setting, method, variant(own)] = label or method
    keys = zip(df["setting"], df["method"], df["variant"])
    return df.assign(method=[names.get(key, key[1]) for key in keys], variant="").drop_duplicates(ONE)


ONE = ["setting", "method", "seed", "stop", "round", "metric"]


def common_end(df, setting, names):
    """The last round that all of these labels have."""
    part = df[(df["stop"] == "curve") & (df["setting"] == setting) & df["method"].isin(names)]
    return int(part.groupby("method")["round"].max().min())


def tensor_words(settings):
    """`{tensor: its layer in words}` of the net of one setting, as `{"0.weight": "conv 1, kernel"}`; empty without it."""
    if not settings:
        return {}
    net = build(complete(settings), 1, 10, 28)
    words, count = {}, {"conv": 0, "norm": 0, "linear": 0}
    for name, module in net.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        size = own["weight"].dim() if "weight" in own else 0
        kind = {4: "conv", 2: "linear", 1: "norm"}.get(size, "linear")
        count[kind] += 1
        parts = {"weight": {"conv": "kernel", "linear": "weight", "norm": "scale"}[kind], "bias": "bias"}
        words |= {f"{name}.{p}".lstrip("."): f"{kind} {count[kind]}, {parts.get(p, p)}" for p in own}
    last = f"linear {count['linear']},"
    return {name: text.replace(last, "head,") for name, text in words.items()}


# ---------------------------------------------------------------- over rounds

def race(df, groups, metrics=(AVG_GAP, "forget_acc", "retain_acc"), until=None, log=()):
    """Labels over rounds: one row of panels for each of `groups` {title: (setting, [labels])}, a column a metric.

    Line = mean, band = smallest to largest seed, dashed = where Retrain ended. until: last round that is drawn, one
    number or {setting: number}, else the last that all have; log: metrics on a logarithmic axis."""
    part = df[(df["stop"] == "curve") & df["metric"].isin(metrics)]
    if part.empty:
        raise Bad(f"race: no curve of {' or '.join(metrics)}")
    fig, axes = grid(len(groups), len(metrics), width=3.3, height=2.7)
    for row, (title, (setting, names)) in zip(axes, groups.items()):
        drawn = nested(looks(names))
        named = until.get(setting) if isinstance(until, dict) else until
        last = named or common_end(part, setting, names)
        for ax, metric in zip(row, metrics):
            here = one(part, setting, metric)
            here = here[here["round"] <= last]
            for name in names:
                draw_band(ax, here[here["method"] == name], "round", drawn[name])
            if known(metric).kind not in ("gap", "norm"):
                goal_line(ax, df, setting, metric)
            if metric in log:
                ax.set_yscale("log")
                readable_log(ax.yaxis)
                whole(ax.xaxis)
            else:
                frame_of_curves(ax, metric, "round")
            if metric == AVG_GAP:
                ax.set_ylim(bottom=0)
        row[0].set_ylabel(title.replace(", ", "\n").replace(": ", "\n"), fontweight="bold")
        legend_beside(row[-1], drawn, REFERENCE in set(df["method"]))
    for top, bottom, metric in zip(axes[0], axes[-1], metrics):
        top.set_title(titled(metric))
        bottom.set_xlabel("round of recovery")
    drawn_names = {name for _, names in groups.values() for name in names}
    note(fig, part[part["method"].isin(drawn_names)], many="line: mean, band: smallest to largest seed", of=df)
    return fig


def nested(drawn):
    """The looks with widths that fall from the first to the last, so that a line is seen under another of the same
    values."""
    widths = np.linspace(3.6, 1.3, len(drawn))
    return {name: look | {"lw": lw, "ms": lw + 2.2, "zorder": 3 + i / 10}
            for i, ((name, look), lw) in enumerate(zip(drawn.items(), widths))}


def readable_log(axis):
    """Ticks of a logarithmic axis at 1, 2 and 5, as plain numbers: one tick says nothing."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_locator(NullLocator())


def legend_beside(ax, drawn, goal):
    """The legend of one row of panels, at its right."""
    handles = [proxy(name, **look) for name, look in drawn.items()]
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
            ax.annotate(f"{values.mean():.1f}", (0.97, y), xycoords=("axes fraction", "data"), ha="right", va="center",
                        fontsize=8.5)
            dots(ax, values, y, size=2.5)
        end = end_of_retrain(df, setting, metric)
        if np.isfinite(end) and metric != AVG_GAP:
            ax.axvline(end, **GOAL)
        ax.set_title(title, fontsize=10)
        ax.set_xlim(0, 1.22 * ax.get_xlim()[1])
        bare(ax, names)
    note(fig, part[part["method"].isin(names)], "dashed: where Retrain ends", "dots: seeds", of=df)
    return fig


def tensors(df, names, setting, suffix=":gradient_norm", base=None, at=0, words=None):
    """Gradient norm of each tensor at one round, a row a label, as a multiple of the row `base` (None: as it is).
    words: {tensor: its layer in words}."""
    part = df[(df["stop"] == "curve") & (df["setting"] == setting) & (df["round"] == at)]
    part = part[part["metric"].str.endswith(suffix) & part["method"].isin(names)]
    shown = by_tensor(part, suffix).reindex(names)
    if base:
        shown = shown / shown.loc[base]
    high = float(np.nanmax(np.abs(np.log10(shown.clip(lower=1e-6)))))
    fig, ax = plt.subplots(figsize=(0.95 * shown.shape[1] + 3.8, 0.42 * len(names) + 1.6), layout="constrained")
    if base:
        image = ax.imshow(shown, cmap="RdBu_r", aspect="auto", norm=LogNorm(10**-high, 10**high))
    else:
        image = ax.imshow(shown, cmap="Blues", aspect="auto", norm=LogNorm())
    for (i, j), value in np.ndenumerate(shown.to_numpy()):
        dark = base and abs(np.log10(max(value, 1e-6))) > 0.6 * high
        ax.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=9, color="white" if dark else "#222222")
    ax.set_xticks(range(shown.shape[1]), [(words or {}).get(name, name) for name in shown], rotation=30, ha="right")
    ax.set_yticks(range(len(names)), names)
    bare(ax)
    bar = fig.colorbar(image, ax=ax, label=f"times that of {base}" if base else "gradient norm", pad=0.02)
    readable_log(bar.ax.yaxis)
    ax.set_title("gradient norm of each tensor" + (", right after the change" if at == 0 else f", round {at}"))
    note(fig, part, f"first layer at the left; 1: as {base}" if base else "first layer at the left",
         "numbers: mean over seeds")
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
    part = part[part["method"].isin(names)]
    legend(fig, [proxy(name, **drawn[name] | {"lw": 2.2, "ms": 6}) for name in names])
    note(fig, part, many="line: mean, dots: seeds", of=df)
    return fig
