"""The theory's rows, read and drawn."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ..words import METHODS, REFERENCE
from .figures import dots, draw_band, settings_of
from .papers import paper_table
from .rows import with_options
from .style import GOAL, PAPER, bare, color, grid, legend, looks, note, proxy, say
from .summary import pick

BOUND = {"t_unlearn": "least time", "t_steps": "least steps", "used_ratio": "least time / time used",
         "loss_gap": "gap at the start", "gap_gradient_norm": "L", "room": "room", "noise_A": "noise A"}
NOT = METHODS["NoT"].color
JOINT, SINGLE = "#5B4FC7", "#E6AB02"


def bound_table(table):
    """Table 3: least time, steps, the time used and the neglected noise, FT and NoT beside each other, mean of seeds."""
    part = table[table["metric"].isin(BOUND)]
    wide = part.pivot_table(index=["setting", "method"], columns="metric", values="value")
    return wide.reindex(columns=list(BOUND)).rename(columns=BOUND)


def alikeness(study):
    """Mean CKA over layers: recovered models to Retrain, and the same fresh layers on the trained first layer against
    its negative and against a fresh one; one row a setting, mean of seeds. Empty where neither was studied."""
    if "cka" not in set(study["metric"]):
        return pd.DataFrame()
    pairs = pick(study, "cka", to="Retrain").groupby(["setting", "method"]).mean().unstack()
    signs = pick(study, "cka", method="NR").groupby(["setting", "to"]).mean().unstack()
    return pairs.rename(columns="{} to Retrain".format).assign(**{
        "negated below fresh layers, to not negated": signs["NR"], "fresh first layer, to trained": signs["fresh"]})


# ---------------------------------------------------------------- figures; of studies None where nothing was studied

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


def similarity_by_layer(df):
    """CKA to the original model over the layers, before and after recovery, plain and normalised; a row a setting."""
    part, scaled = to_original(df), normalised(df)
    if part.empty:
        return None
    panels = [("CKA, before recovery", part, "before"), ("CKA, after recovery", part, "after"),
              ("normalised, before", scaled, "before"), ("normalised, after", scaled, "after")]
    settings, drawn = settings_of(part), looks(("Retrain", "FT", "NoT"))
    fig, axes = grid(len(settings), len(panels), width=3.0, height=2.6)
    for row, (setting, words) in zip(axes, settings):
        for ax, (_, table, when) in zip(row, panels):
            here = table[(table["setting"] == setting) & (table["when"] == when)]
            for method, look in drawn.items():
                draw_band(ax, here[here["method"] == method], "place", look | {"ms": 5})
            here = here[np.isfinite(here["value"])]
            ticks = here.drop_duplicates("place").sort_values("place")
            ax.set_xticks(ticks["place"], ticks["layer"], rotation=40, ha="right")
            ax.set_ylim(min(-0.1, here["value"].min() - 0.08), 1.06)
        row[0].set_ylabel(words.replace(", ", "\n").replace(": ", "\n"), fontweight="bold")
    for ax, (title, _, _) in zip(axes[0], panels):
        ax.set_title(title)
    legend(fig, [proxy(m, **look | {"lw": 2.2, "ms": 6}) for m, look in drawn.items()])
    note(fig, part, "similarity to the original model; 1 = the same", "band: smallest to largest seed")
    return fig


def flows(toys, noisy, df=None):
    """Theorem 1: least time against time used on toys, the noisy counter-example as bars, and, of the rows `df`, the
    bound for FT and NoT on trained nets beside the paper's Table 3."""
    nets = df[(df["metric"] == "t_unlearn") & (df["stop"] == "last")] if df is not None else pd.DataFrame()
    fig, axes = grid(1, len(toys) + 1 + (len(nets) > 0), width=3.5, height=3.0)
    used = {"color": "#111111", "ls": "--"}
    for ax, (name, run) in zip(axes[0], toys.items()):
        ax.plot(run["time"], run["time"], lw=1.2, **used)
        ax.plot(run["time"], run["bound"], color=NOT, lw=2.4)
        ax.set(title=f"no noise: {name}", xlabel="time used (rate × steps)", ylabel="time (rate × steps)")
    draw_noisy(axes[0][len(toys)], noisy)
    keys = [proxy("time used", **used), proxy("least time (Theorem 1)", color=NOT, lw=2.4)]
    if len(nets):
        keys += draw_bounds(axes[0][-1], nets)
    legend(fig, keys)
    times = noisy["bound"] / noisy["time"]
    text = "without noise the bound holds: the red line stays below the dashed one; " if toys else ""
    seeds = f"; nets: dots are seeds, n = {nets['seed'].nunique()}" if len(nets) else ""
    say(fig, f"{text}with noise the bound as printed is false: it asks for {times:.0f} times the time that was used{seeds}")
    return fig


def draw_noisy(ax, noisy):
    """The counter-example: what was used, what the bound asks for as printed, and what is left of it when corrected."""
    bars = {"time used": (noisy["time"], GOAL["color"]), "bound as printed": (noisy["bound"], "#E7298A"),
            "bound corrected": (noisy["corrected"], NOT)}
    for y, (value, shade) in enumerate(bars.values()):
        ax.barh(y, value, color=shade, height=0.6)
        ax.text(max(value, 1e-2), y, f" {value:.3g}" if value else " 0: asks for nothing", va="center", fontsize=9)
    largest = max(value for value, _ in bars.values())
    ax.set(title="with noise", xlabel="time (rate × steps)", xscale="log", xlim=(1e-2, 12 * largest))
    bare(ax, list(bars))


def draw_bounds(ax, nets):
    """The bound on trained nets, a line a method and a setting, and the paper's for the same net where it has it, else
    for its CNN; returns the entries of the legend."""
    printed = paper_table("not_table3")
    printed = printed[(printed["metric"] == "t_unlearn") & (printed["dataset"] == "CIFAR-10") & (printed["model"] == "CNN")]
    printed = dict(zip(printed["method"], printed["mean"]))
    lines = nets.groupby(["setting", "method"], sort=False)["value"]
    titles, names = dict(settings_of(nets)), []
    for y, ((setting, method), values) in enumerate(lines):
        ax.plot([values.mean()], [y], "o", color=color(method), ms=9)
        ax.text(values.max(), y - 0.22, f"{values.mean():.2g}", ha="center", va="bottom", fontsize=9)
        dots(ax, values, y, size=3)
        if method in printed:
            ax.plot(printed[method], y, zorder=6, **PAPER)
        names.append(method if len(titles) == 1 else f"{method}, {titles[setting]}")
    ax.set(xscale="log", xlabel="least time (rate × steps)")
    ax.set_title(f"bound on {next(iter(titles.values()))}" if len(titles) == 1 else "bound on trained nets", fontsize=10)
    bare(ax, names)
    ax.margins(x=0.25)
    return [proxy("ours: mean", marker="o", ls="", color="#777777", ms=8), proxy("paper: CIFAR-10, CNN", **PAPER)]


def contents(df):
    """Spectral content of the gradient noise, raw and corrected: share of the variance in the largest eigenvalues."""
    part = with_options(df[df["metric"] == "psi"], "at", "spectrum", "init")
    fresh = part["init"].map(lambda init: isinstance(init, str))        # Retrain from another initial model
    part = part.assign(fresh=fresh)
    if part.empty:
        return None
    settings = settings_of(part)
    fig, axes = grid(len(settings), 2, width=4.2, height=2.9)
    for row, (setting, words) in zip(axes, settings):
        for ax, spectrum in zip(row, ("raw", "corrected")):
            here = part[(part["setting"] == setting) & (part["spectrum"] == spectrum)]
            for (method, another), lines in here.groupby(["method", "fresh"]):
                draw_band(ax, lines, "at", content_look(method, another))
            ax.axhline(0.95, color="#999999", lw=0.8)
            ax.set(ylim=(0, 1.03), xlim=(0, 1))
        row[0].set_ylabel(f"{words}\nshare of the variance")
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
    fig, ax = plt.subplots(figsize=(7.6, 0.42 * len(table) + 1.7), layout="constrained")
    kinds = {"true": {"marker": "D", "mfc": "white", "mec": "#111111"},
             "raw": {"marker": "s", "color": "#A6761D"},
             "corrected": {"marker": "o", "color": "#0072B2"}}
    for kind, look in kinds.items():
        ax.plot(table[kind], range(len(table)), ls="", ms=8, **look)
    bare(ax, [f"{r.spectrum}, {samples(r.c)}" for r in table.itertuples()])
    ax.set(xlim=(0, 1), xlabel="share of eigenvalues that holds 95 % of the variance",
           title="Does the corrected estimate find a known spectrum?")
    words = {"true": "the truth", "raw": "from the raw sample", "corrected": "corrected (El Karoui)"}
    legend(fig, [proxy(words[kind], ls="", ms=8, **look) for kind, look in kinds.items()])
    say(fig, "400 dimensions, one draw each: with as many samples as dimensions it does, with few of them it may be off by "
             "a factor of two")
    return fig


def samples(c):
    """How many samples there are, c dimensions for each, in words."""
    return "as many samples as dimensions" if c < 1.5 else f"a sample for {c:.0f} dimensions"


CHANGES = {"negate": "negated (NoT)", "fresh": "fresh weights", "orthogonal": "turned at random", "permute": "weights permuted"}


def activations_moved(df):
    """Theorem 2 on the trained layer: squared distance of the activations over its largest value, one bar a change."""
    part = with_options(df[df["metric"] == "distance_ratio"], "change")
    if part.empty:
        return None
    fresh = {"color": "#666666", "ls": ":"}
    settings = settings_of(part)
    fig, axes = grid(1, len(settings), width=5.6, height=2.7)
    for ax, (setting, words) in zip(axes[0], settings):
        here = part[part["setting"] == setting]
        names = list(dict.fromkeys(["negate", *here["change"]]))
        reach = 1.3 * max(1, here["value"].max())
        for y, name in enumerate(names):
            values = here[here["change"] == name]["value"]
            ax.barh(y, values.mean(), color=NOT if name == "negate" else "#8DA0CB", height=0.62)
            ax.text(0.99 * reach, y, f"{values.mean():.2f}", va="center", ha="right", fontsize=9)
            dots(ax, values, y, size=2.5)
        ax.axvline(1, **GOAL)
        ax.axvline(1 - 1 / np.pi, **fresh)
        bare(ax, [CHANGES.get(name, name) for name in names])
        ax.set(title=words, xlim=(0, reach), xlabel="squared distance that the activations move, of the largest\n"
               "that a change of equal norm can reach (1)")
    legend(fig, [proxy("largest at equal norm", **GOAL), proxy("fresh Gaussian weights, $1-1/\\pi$", **fresh)])
    note(fig, part, "negation need not keep the norm, so that it may pass 1", "bar: mean, dots: seeds")
    return fig


def variations(df, words=None):
    """Theorem 3: total variation between Y and -Y, per unit and joint, and Jacobians after over before negation. words:
    {setting: {tensor: its layer in words}}."""
    tv = with_options(df[df["metric"] == "tv"], "layer", "width", "kind")
    jacobians = with_options(df[df["metric"] == "jacobian_ratio"], "tensor", "place", "quantile")
    studied = pd.concat([tv, jacobians])
    if studied.empty:
        return None
    settings = settings_of(studied)
    fig, axes = grid(len(settings), 2, width=4.8, height=3.0)
    for (left, right), (setting, title) in zip(axes, settings):
        draw_variation(left, tv[tv["setting"] == setting])
        draw_jacobians(right, jacobians[jacobians["setting"] == setting], (words or {}).get(setting, {}))
        left.set_title(f"{title}: can Y be told from −Y?", fontsize=10)
    legend(fig, [proxy("jointly, by a classifier", color=JOINT, marker="o"),
                 proxy("unit by unit, mean", color=SINGLE, marker="o"),
                 proxy("trained layer", color="#777777", marker="*", ls="", ms=13),
                 proxy("Jacobians: 10 to 90 % of the images, dot: median", color="#8DA0CB", lw=5)])
    note(fig, studied, "left, 0: not at all, 1: always; lines: fresh layers; right, 1: negation changes nothing", "means over seeds")
    return fig


def draw_variation(ax, here):
    """Total variation over the width: fresh layers as lines, the trained one as a star; dots are seeds."""
    if here.empty:
        return ax.text(0.5, 0.5, "not studied", transform=ax.transAxes, ha="center")
    for (layer, kind), lines in here.groupby(["layer", "kind"]):
        mean = lines.groupby("width")["value"].mean()
        look = {"marker": "o", "ls": "-", "ms": 6} if layer == "fresh" else {"marker": "*", "ls": "", "ms": 15}
        ax.plot(mean.index, mean, color=JOINT if kind == "joint" else SINGLE, **look)
        if lines["seed"].nunique() > 1:
            ax.plot(lines["width"], lines["value"], "o", ms=2.2, color="#111111", alpha=0.7, zorder=5)
    ax.set(xscale="log", ylim=(-0.05, 1.08), xlabel="channels of the layer", ylabel="total variation, at least")
    ticks = sorted(here["width"].unique())
    ax.set_xticks(ticks, [f"{width:g}" for width in ticks])
    ax.minorticks_off()


def draw_jacobians(ax, here, words):
    """Quantiles 10 to 90 % of each tensor's ratio as a bar, the median as a dot."""
    if here.empty:
        return ax.text(0.5, 0.5, "not studied", transform=ax.transAxes, ha="center")
    wide = here.pivot_table(index=["place", "tensor"], columns="quantile", values="value")
    for y, (low, middle, high) in enumerate(wide[[0.1, 0.5, 0.9]].itertuples(index=False)):
        ax.plot([low, high], [y, y], color="#8DA0CB", lw=5, solid_capstyle="round")
        ax.plot(middle, y, "o", color="#111111", ms=5)
    ax.axvline(1, **GOAL)
    ax.set_title("Jacobian norm after negation", fontsize=10)
    ax.set_xlabel("over the norm before")
    bare(ax, [words.get(name, name) for name in wide.index.get_level_values("tensor")])
