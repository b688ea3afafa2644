"""Figures of the ablations and of the theory: functions of the long table, in which labels stand for methods."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LogNorm
from matplotlib.ticker import EngFormatter

from .look import COLORS, GOAL, bare, color, grid, legend, line, note, proxy
from .params import Bad
from .results import LABELS, METHOD_ORDER, REFERENCE, cost_ratio, option, reference, unit_of, variant

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


# ---------------------------------------------------------------- theory

def normalised(df):
    """CKA to the original model with Retrain's value at its start as zero: (CKA - that) / (1 - that) (NoT Fig. 7)."""
    part = df[df["metric"] == "cka"].assign(place=option(df, "place"), when=option(df, "when"), to=option(df, "to"))
    part = part[part["to"] == "Original"]
    key = ["setting", "seed", "place"]
    zero = part[(part["method"] == REFERENCE) & (part["when"] == "before")].set_index(key)["value"]
    base = part.set_index(key).index.map(zero)
    return part.assign(value=(part["value"] - base) / (1 - base), metric="cka_normalised")


def profiles(df):
    """CKA to the original model over the layers, before and after recovery, plain and normalised; a row a setting."""
    part = df[df["metric"] == "cka"].assign(place=option(df, "place"), when=option(df, "when"), to=option(df, "to"),
                                            layer=option(df, "layer"))
    part = part[part["to"] == "Original"]
    scaled = normalised(df).assign(layer=lambda d: option(d, "layer"))
    settings = list(dict.fromkeys(part["setting"]))
    panels = [("CKA, before recovery", part, "before"), ("CKA, after recovery", part, "after"),
              ("normalised, before", scaled, "before"), ("normalised, after", scaled, "after")]
    fig, axes = grid(len(settings), 4, width=3.0, height=2.6)
    for i, (row, setting) in enumerate(zip(axes, settings)):
        for ax, (title, table, when) in zip(row, panels):
            here = table[(table["setting"] == setting) & (table["when"] == when)]
            ticks = here.drop_duplicates("place").sort_values("place")
            for m in ("Retrain", "FT", "NoT"):
                mean = here[here["method"] == m].groupby("place")["value"].agg(["mean", "min", "max"])
                ax.plot(mean.index, mean["mean"], **line(m, lw=2.8 if m == "NoT" else 1.8, ms=5))
                ax.fill_between(mean.index, mean["min"], mean["max"], color=color(m), alpha=0.12, lw=0)
            ax.set_xticks(ticks["place"], ticks["layer"], rotation=40, ha="right")
            ax.set(title="" if i else title, ylim=(min(-0.1, here["value"].min()), 1.05))
        row[0].set_ylabel(setting.replace("_", " "), fontweight="bold")
    legend(fig, [proxy(m, **line(m, lw=2.2, ms=6)) for m in ("Retrain", "FT", "NoT")])
    note(fig, part, "similarity to the original model; 1 = the same", "band: smallest to largest seed")
    return fig


def flows(toys, noisy):
    """Theorem 1 on toys: least time against time used, and the noisy counter-example as bars."""
    fig, axes = grid(1, len(toys) + 1, width=3.6, height=3.0)
    for ax, (name, run) in zip(axes[0], toys.items()):
        ax.plot(run["time"], run["time"], color="#111111", lw=1.2, ls="--")
        ax.plot(run["time"], run["bound"], color=COLORS["NoT"], lw=2.4)
        ax.set(title=f"no noise: {name}", xlabel="time used", ylabel="time")
    ax, bars = axes[0][-1], {"time used": noisy["time"], "bound as printed": noisy["bound"],
                             "bound corrected": noisy["corrected"]}
    for y, (name, v) in enumerate(bars.items()):
        ax.barh(y, max(v, 1e-2), color=(COLORS["Retrain"], "#E7298A", COLORS["NoT"])[y], height=0.6)
        ax.text(max(v, 1e-2), y, f" {v:.3g}", va="center", fontsize=9)
    ax.set(title="with noise", xlabel="time", xscale="log", xlim=(1e-2, 4 * max(bars.values())))
    bare(ax, list(bars))
    legend(fig, [proxy("time used", color="#111111", ls="--"),
                 proxy("least time (Theorem 1)", color=COLORS["NoT"], lw=2.4)])
    return fig


def contents(df):
    """Spectral content of the gradient noise, raw and corrected: share of the variance in the largest eigenvalues."""
    part = df[df["metric"] == "psi"].assign(at=option(df, "at"), kind=option(df, "spectrum"), init=option(df, "init"))
    part = part.assign(who=part["method"] + part["init"].map(lambda v: f", {v}" if isinstance(v, str) else ""))
    settings, kinds = list(dict.fromkeys(part["setting"])), ("raw", "corrected")
    fig, axes = grid(len(settings), 2, width=4.2, height=2.9)
    for i, (row, setting) in enumerate(zip(axes, settings)):
        for ax, kind in zip(row, kinds):
            here = part[(part["setting"] == setting) & (part["kind"] == kind)]
            for who, g in here.groupby("who"):
                s = g.groupby("at")["value"].agg(["mean", "min", "max"])
                m = g["method"].iloc[0]
                look = {"color": color(m), "lw": 2.6 if m == "NoT" else 1.8, "ls": "--" if "," in who else "-"}
                ax.plot(s.index, s["mean"], **look)
                ax.fill_between(s.index, s["min"], s["max"], color=color(m), alpha=0.12, lw=0)
            ax.axhline(0.95, color="#999999", lw=0.8)
            ax.set(title="" if i else f"{kind} spectrum", ylim=(0, 1.03), xlim=(0, 1),
                   xlabel="share of eigenvalues, largest first" if i == len(settings) - 1 else "")
        row[0].set_ylabel(f"{setting.replace('_', ' ')}\nshare of the variance")
    legend(fig, [proxy("NoT before recovery", color=color("NoT"), lw=2.6), proxy("Retrain before training",
           color=color(REFERENCE), lw=1.8), proxy("another fresh net", color=color(REFERENCE), lw=1.8, ls="--")])
    note(fig, part, "grey: 95 % of the variance", "band: smallest to largest seed")
    return fig


def recovered(table):
    """The estimator on known covariances: true, raw and corrected share of eigenvalues that hold 95 %."""
    table = pd.DataFrame(table)
    fig, ax = plt.subplots(figsize=(6.4, 0.42 * len(table) + 1.3), layout="constrained")
    looks_ = {"true": {"marker": "D", "mfc": "white", "mec": "#111111"}, "raw": {"marker": "s", "color": "#A6761D"},
              "corrected": {"marker": "o", "color": "#1B9E77"}}
    for kind, look in looks_.items():
        ax.plot(table[kind], range(len(table)), ls="", ms=8, **look)
    bare(ax, [f"{r.spectrum}, {r.c:g} dimensions a sample" for r in table.itertuples()])
    ax.set(xlim=(0, 1), xlabel="share of eigenvalues that holds 95 % of the variance")
    legend(fig, [proxy(k, ls="", ms=8, **v) for k, v in looks_.items()])
    return fig


def activations_moved(df):
    """Theorem 2 on the trained layer: squared distance of the activations over its largest value, one bar a change."""
    part = df[df["metric"] == "distance_ratio"].assign(change=option(df, "change"))
    settings = list(dict.fromkeys(part["setting"]))
    fig, axes = grid(1, len(settings), width=4.4, height=2.6)
    for ax, setting in zip(axes[0], settings):
        here = part[part["setting"] == setting]
        names = list(dict.fromkeys(["negate", *here["change"]]))
        for y, name in enumerate(names):
            v = here[here["change"] == name]["value"]
            ax.barh(y, v.mean(), color=COLORS["NoT"] if name == "negate" else "#8DA0CB", height=0.62)
            ax.text(v.max(), y, f" {v.mean():.2f}", va="center", fontsize=9)
            ax.plot(v, [y] * len(v), "o", color="#111111", ms=2.5 * (len(v) > 1))
        ax.axvline(1, **GOAL)
        ax.axvline(1 - 1 / np.pi, color="#666666", ls=":")
        bare(ax, names)
        ax.set(title=setting.replace("_", " "), xlim=(0, 1.25), xlabel="distance of the activations / largest")
    legend(fig, [proxy("largest at equal norm", **GOAL),
                 proxy("fresh Gaussian weights, $1-1/\\pi$", color="#666666", ls=":")])
    note(fig, part, many="dots: seeds")
    return fig


def variations(df):
    """Theorem 3: total variation between Y and -Y, per unit and joint, and Jacobians after over before negation."""
    tv = df[df["metric"] == "tv"].assign(layer=option(df, "layer"), width=option(df, "width"), kind=option(df, "kind"))
    settings = list(dict.fromkeys(tv["setting"]))
    fig, axes = grid(len(settings), 2, width=4.6, height=2.9)
    for row, setting in zip(axes, settings):
        here = tv[tv["setting"] == setting]
        for (layer, kind), g in here.groupby(["layer", "kind"]):
            mean = g.groupby("width")["value"].mean()
            look = {"color": "#7570B3" if kind == "joint" else "#E6AB02", "marker": "o" if layer == "fresh" else "*"}
            row[0].plot(mean.index, mean, **look, ls="-" if layer == "fresh" else "", ms=6 if layer == "fresh" else 15)
        row[0].set(xscale="log", ylim=(-0.05, 1.05), xlabel="channels of the layer", ylabel="total variation, at least")
        ticks = sorted(here["width"].unique())
        row[0].set_xticks(ticks, [f"{w:g}" for w in ticks])
        row[0].minorticks_off()
        row[0].set_title(f"{setting.replace('_', ' ')}: Y against −Y")
        jac = df[(df["metric"] == "jacobian_ratio") & (df["setting"] == setting)]
        jac = jac.assign(tensor=option(jac, "tensor"), place=option(jac, "place"), q=option(jac, "quantile"))
        wide = jac.pivot_table(index=["place", "tensor"], columns="q", values="value")
        for y, ((_, name), r) in enumerate(wide.iterrows()):
            row[1].plot([r[0.1], r[0.9]], [y, y], color="#8DA0CB", lw=5, solid_capstyle="round")
            row[1].plot(r[0.5], y, "o", color="#111111", ms=5)
        row[1].axvline(1, **GOAL)
        row[1].set(title="Jacobian norm, after / before", xlabel="quantiles 10, 50, 90 % over images")
        bare(row[1], [n for _, n in wide.index])
    legend(fig, [proxy("joint, by a classifier", color="#7570B3", marker="o"), proxy("mean of single units",
           color="#E6AB02", marker="o"), proxy("trained layer", color="#777777", marker="*", ls="", ms=13)])
    return fig
