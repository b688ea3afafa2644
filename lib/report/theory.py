"""The theory's rows, read and drawn."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ..words import REFERENCE
from .rows import option
from .rows import rows as to_table
from .style import COLORS, GOAL, bare, color, grid, legend, line, note, proxy
from .summary import pick

UNITS = {"cka": "ratio", "cka_normalised": "ratio", "psi": "ratio", "alpha": "ratio", "tv": "ratio", "t_steps": "steps",
         "noise_rate": "nats/time", "noise_A": "nats", "room": "nats"}


def study_table(records, **common):
    """The long table of studies."""
    return to_table([{k: v for k, v in r.items() if k != "label"} for r in records], UNITS, **common)


def bound_table(table):
    """Table 3: least time, steps, the time used and the neglected noise, FT and NoT beside each other, mean of seeds."""
    names = {"t_unlearn": "least time", "t_steps": "least steps", "used_ratio": "least time / time used",
             "loss_gap": "gap at the start", "gap_gradient_norm": "L", "room": "room", "noise_A": "noise A"}
    part = table[table["metric"].isin(names)]
    wide = part.pivot_table(index=["setting", "method"], columns="metric", values="value")
    return wide[list(names)].rename(columns=names)


def alikeness(study):
    """Mean CKA over layers: recovered models to Retrain, and the same fresh layers on the trained first layer against
    its negative and against a fresh one; one row a setting, mean of seeds."""
    pairs = pick(study, "cka", to="Retrain").groupby(["setting", "method"]).mean().unstack()
    signs = pick(study, "cka", method="NR").groupby(["setting", "to"]).mean().unstack()
    return pairs.rename(columns="{} to Retrain".format).assign(**{
        "negated below fresh layers, to not negated": signs["NR"], "fresh first layer, to trained": signs["fresh"]})


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
