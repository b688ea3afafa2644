"""The theory's rows, read and drawn."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ..words import METHODS, REFERENCE
from .figures import dots, draw_band
from .rows import with_options
from .style import GOAL, bare, color, grid, legend, looks, note, proxy
from .summary import pick

BOUND = {"t_unlearn": "least time", "t_steps": "least steps", "used_ratio": "least time / time used",
         "loss_gap": "gap at the start", "gap_gradient_norm": "L", "room": "room", "noise_A": "noise A"}
NOT = METHODS["NoT"].color
JOINT, SINGLE = "#7570B3", "#E6AB02"


def settings_of(part):
    """The settings in their order of appearance."""
    return list(dict.fromkeys(part["setting"]))


def plainly(name):
    """A setting's name in words."""
    return name.replace("_", " ")


def bound_table(table):
    """Table 3: least time, steps, the time used and the neglected noise, FT and NoT beside each other, mean of seeds."""
    part = table[table["metric"].isin(BOUND)]
    wide = part.pivot_table(index=["setting", "method"], columns="metric", values="value")
    return wide[list(BOUND)].rename(columns=BOUND)


def alikeness(study):
    """Mean CKA over layers: recovered models to Retrain, and the same fresh layers on the trained first layer against
    its negative and against a fresh one; one row a setting, mean of seeds."""
    pairs = pick(study, "cka", to="Retrain").groupby(["setting", "method"]).mean().unstack()
    signs = pick(study, "cka", method="NR").groupby(["setting", "to"]).mean().unstack()
    return pairs.rename(columns="{} to Retrain".format).assign(**{
        "negated below fresh layers, to not negated": signs["NR"], "fresh first layer, to trained": signs["fresh"]})


# ---------------------------------------------------------------- figures

def to_original(df):
    """The rows of CKA to the original model, with where and when as columns."""
    part = with_options(df[df["metric"] == "cka"], "place", "when", "to", "layer")
    return part[part["to"] == "Original"]


def normalised(df):
    """CKA to the original model with Retrain's value at its start as zero: (CKA - that) / (1 - that) (NoT Fig. 7)."""
    part = to_original(df)
    key = ["setting", "seed", "place"]
    zero = part[(part["method"] == REFERENCE) & (part["when"] == "before")].set_index(key)["value"]
    base = part.set_index(key).index.map(zero)
    return part.assign(value=(part["value"] - base) / (1 - base), metric="cka_normalised")


def profiles(df):
    """CKA to the original model over the layers, before and after recovery, plain and normalised; a row a setting."""
    part, scaled = to_original(df), normalised(df)
    panels = [("CKA, before recovery", part, "before"), ("CKA, after recovery", part, "after"),
              ("normalised, before", scaled, "before"), ("normalised, after", scaled, "after")]
    settings, drawn = settings_of(part), looks(("Retrain", "FT", "NoT"))
    fig, axes = grid(len(settings), len(panels), width=3.0, height=2.6)
    for row, setting in zip(axes, settings):
        for ax, (_, table, when) in zip(row, panels):
            here = table[(table["setting"] == setting) & (table["when"] == when)]
            for method, look in drawn.items():
                draw_band(ax, here[here["method"] == method], "place", look | {"ms": 5})
            ticks = here.drop_duplicates("place").sort_values("place")
            ax.set_xticks(ticks["place"], ticks["layer"], rotation=40, ha="right")
            ax.set_ylim(min(-0.1, here["value"].min()), 1.05)
        row[0].set_ylabel(plainly(setting), fontweight="bold")
    for ax, (title, _, _) in zip(axes[0], panels):
        ax.set_title(title)
    legend(fig, [proxy(m, **look | {"lw": 2.2, "ms": 6}) for m, look in drawn.items()])
    note(fig, part, "similarity to the original model; 1 = the same", "band: smallest to largest seed")
    return fig


def flows(toys, noisy):
    """Theorem 1 on toys: least time against time used, and the noisy counter-example as bars."""
    fig, axes = grid(1, len(toys) + 1, width=3.6, height=3.0)
    used = {"color": "#111111", "ls": "--"}
    for ax, (name, run) in zip(axes[0], toys.items()):
        ax.plot(run["time"], run["time"], lw=1.2, **used)
        ax.plot(run["time"], run["bound"], color=NOT, lw=2.4)
        ax.set(title=f"no noise: {name}", xlabel="time used", ylabel="time")
    bars = {"time used": (noisy["time"], GOAL["color"]),
            "bound as printed": (noisy["bound"], "#E7298A"),
            "bound corrected": (noisy["corrected"], NOT)}
    ax = axes[0][-1]
    for y, (value, shade) in enumerate(bars.values()):
        ax.barh(y, max(value, 1e-2), color=shade, height=0.6)
        ax.text(max(value, 1e-2), y, f" {value:.3g}", va="center", fontsize=9)
    largest = max(value for value, _ in bars.values())
    ax.set(title="with noise", xlabel="time", xscale="log", xlim=(1e-2, 4 * largest))
    bare(ax, list(bars))
    legend(fig, [proxy("time used", **used), proxy("least time (Theorem 1)", color=NOT, lw=2.4)])
    return fig


def contents(df):
    """Spectral content of the gradient noise, raw and corrected: share of the variance in the largest eigenvalues."""
    part = with_options(df[df["metric"] == "psi"], "at", "spectrum", "init")
    fresh = part["init"].map(lambda init: isinstance(init, str))        # Retrain from another initial model
    part = part.assign(fresh=fresh)
    settings = settings_of(part)
    fig, axes = grid(len(settings), 2, width=4.2, height=2.9)
    for row, setting in zip(axes, settings):
        for ax, spectrum in zip(row, ("raw", "corrected")):
            here = part[(part["setting"] == setting) & (part["spectrum"] == spectrum)]
            for (method, another), lines in here.groupby(["method", "fresh"]):
                draw_band(ax, lines, "at", content_look(method, another))
            ax.axhline(0.95, color="#999999", lw=0.8)
            ax.set(ylim=(0, 1.03), xlim=(0, 1))
        row[0].set_ylabel(f"{plainly(setting)}\nshare of the variance")
    for top, bottom, spectrum in zip(axes[0], axes[-1], ("raw", "corrected")):
        top.set_title(f"{spectrum} spectrum")
        bottom.set_xlabel("share of eigenvalues, largest first")
    legend(fig, [proxy("NoT before recovery", **content_look("NoT")),
                 proxy("Retrain before training", **content_look(REFERENCE)),
                 proxy("another fresh net", **content_look(REFERENCE, another=True))])
    note(fig, part, "grey: 95 % of the variance", "band: smallest to largest seed")
    return fig


def content_look(method, another=False):
    """How a model is drawn in `contents`; dashed: from another initial model."""
    return {"color": color(method), "lw": 2.6 if method == "NoT" else 1.8, "ls": "--" if another else "-"}


def recovered(table):
    """The estimator on known covariances: true, raw and corrected share of eigenvalues that hold 95 %."""
    table = pd.DataFrame(table)
    fig, ax = plt.subplots(figsize=(6.4, 0.42 * len(table) + 1.3), layout="constrained")
    kinds = {"true": {"marker": "D", "mfc": "white", "mec": "#111111"},
             "raw": {"marker": "s", "color": "#A6761D"},
             "corrected": {"marker": "o", "color": "#1B9E77"}}
    for kind, look in kinds.items():
        ax.plot(table[kind], range(len(table)), ls="", ms=8, **look)
    bare(ax, [f"{r.spectrum}, {r.c:g} dimensions a sample" for r in table.itertuples()])
    ax.set(xlim=(0, 1), xlabel="share of eigenvalues that holds 95 % of the variance")
    legend(fig, [proxy(kind, ls="", ms=8, **look) for kind, look in kinds.items()])
    return fig


def activations_moved(df):
    """Theorem 2 on the trained layer: squared distance of the activations over its largest value, one bar a change."""
    part = with_options(df[df["metric"] == "distance_ratio"], "change")
    fresh = {"color": "#666666", "ls": ":"}
    settings = settings_of(part)
    fig, axes = grid(1, len(settings), width=4.4, height=2.6)
    for ax, setting in zip(axes[0], settings):
        here = part[part["setting"] == setting]
        names = list(dict.fromkeys(["negate", *here["change"]]))
        for y, name in enumerate(names):
            values = here[here["change"] == name]["value"]
            ax.barh(y, values.mean(), color=NOT if name == "negate" else "#8DA0CB", height=0.62)
            ax.text(values.max(), y, f" {values.mean():.2f}", va="center", fontsize=9)
            dots(ax, values, y, size=2.5)
        ax.axvline(1, **GOAL)
        ax.axvline(1 - 1 / np.pi, **fresh)
        bare(ax, names)
        ax.set(title=plainly(setting), xlim=(0, 1.25), xlabel="distance of the activations / largest")
    legend(fig, [proxy("largest at equal norm", **GOAL), proxy("fresh Gaussian weights, $1-1/\\pi$", **fresh)])
    note(fig, part, many="dots: seeds")
    return fig


def variations(df):
    """Theorem 3: total variation between Y and -Y, per unit and joint, and Jacobians after over before negation."""
    tv = with_options(df[df["metric"] == "tv"], "layer", "width", "kind")
    jacobians = with_options(df[df["metric"] == "jacobian_ratio"], "tensor", "place", "quantile")
    settings = settings_of(tv)
    fig, axes = grid(len(settings), 2, width=4.6, height=2.9)
    for (left, right), setting in zip(axes, settings):
        draw_variation(left, tv[tv["setting"] == setting])
        draw_jacobians(right, jacobians[jacobians["setting"] == setting])
        left.set_title(f"{plainly(setting)}: Y against −Y")
    legend(fig, [proxy("joint, by a classifier", color=JOINT, marker="o"),
                 proxy("mean of single units", color=SINGLE, marker="o"),
                 proxy("trained layer", color="#777777", marker="*", ls="", ms=13)])
    return fig


def draw_variation(ax, here):
    """Total variation over the width: fresh layers as lines, the trained one as a star."""
    for (layer, kind), lines in here.groupby(["layer", "kind"]):
        mean = lines.groupby("width")["value"].mean()
        look = {"marker": "o", "ls": "-", "ms": 6} if layer == "fresh" else {"marker": "*", "ls": "", "ms": 15}
        ax.plot(mean.index, mean, color=JOINT if kind == "joint" else SINGLE, **look)
    ax.set(xscale="log", ylim=(-0.05, 1.05), xlabel="channels of the layer", ylabel="total variation, at least")
    ticks = sorted(here["width"].unique())
    ax.set_xticks(ticks, [f"{width:g}" for width in ticks])
    ax.minorticks_off()


def draw_jacobians(ax, here):
    """Quantiles 10 to 90 % of each tensor's ratio as a bar, the median as a dot."""
    wide = here.pivot_table(index=["place", "tensor"], columns="quantile", values="value")
    for y, (low, middle, high) in enumerate(wide[[0.1, 0.5, 0.9]].itertuples(index=False)):
        ax.plot([low, high], [y, y], color="#8DA0CB", lw=5, solid_capstyle="round")
        ax.plot(middle, y, "o", color="#111111", ms=5)
    ax.axvline(1, **GOAL)
    ax.set(title="Jacobian norm, after / before", xlabel="quantiles 10, 50, 90 % over images")
    bare(ax, wide.index.get_level_values("tensor"))
