"""Figures, each a function of the long table of results (or of plain arrays) and nothing else."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..errors import Bad
from ..words import GAP, LABELS, REFERENCE, rank
from .papers import compare
from .rows import option
from .style import COLORS, GOAL, MARKERS, PAPER, bare, color, grid, legend, line, looks, note, proxy
from .summary import cost_ratio, differences, reference

FEW = 5  # seeds that are drawn one by one
SHORT = {"percent": "%", "percent points": "points", "ratio": "", "norm": ""}


def _label(metric, df):
    """The metric in words, with its unit."""
    unit = next(iter(df[df["metric"] == metric]["unit"]), "")
    unit = SHORT.get(unit, unit)
    return LABELS.get(metric, metric.replace("_", " ")) + (f" ({unit})" if unit else "")


def _methods(df, wanted=None):
    found = pd.Series(sorted(set(df["method"])), name="method")
    return [m for m in (wanted or found.iloc[rank(found).argsort(kind="stable")]) if m in set(found)]


def _named(df):
    """With `name`: the method, and its variant where a method has several in one setting."""
    several = df.groupby(["setting", "method"])["variant"].transform("nunique") > 1
    return df.assign(name=df["method"] + (" " + df["variant"]).where(several & (df["variant"] != ""), ""))


def _settings(df):
    """(setting, title) for each setting, the title in words that differ between the settings; the most uneven
    distribution first."""
    words = ["dataset", "model", "distribution", "scenario"]
    one = df.drop_duplicates("setting")
    even = one["distribution"].str.partition("_")[0].map({"preferential": 0, "dirichlet": 1, "iid": 2}).fillna(3)
    one = one.assign(even=even, data=one["dataset"].str.split(" (", regex=False).str[0])
    one = one.sort_values(["data", "even", "distribution", "setting"], kind="stable")
    used = [c for c in words if one[c].nunique() > 1] or words[:2]
    title = one[used].apply(lambda r: ", ".join(v for v in r if v), axis=1)
    title = title.str.replace("dirichlet_", "Dirichlet ").str.replace(r"\biid\b", "IID", regex=True)
    return list(zip(one["setting"], title if title.is_unique else one["setting"]))


def _need(df, stop, metrics, what):
    part = df[(df["stop"] == stop) & df["metric"].isin(metrics)]
    if part.empty:
        raise Bad(f"{what}: no rows with stop {stop!r} and metric {' or '.join(metrics)}")
    return part


# ---------------------------------------------------------------- over rounds

def curves(df, metrics=GAP, methods=None, zoom=None, x="round"):
    """Each metric over rounds: thick = mean, thin = each seed, dashed = where Retrain ended. One row of panels a
    setting. `zoom` keeps only that many points around Retrain's end; `x` may be `comm_bytes` or `comp_flops`."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    part = _named(_need(df, "curve", metrics, "curves"))
    part = part[part["method"].isin(_methods(part, methods))]
    if x != "round":
        keys = ["setting", "method", "variant", "seed", "round"]
        cost = df[(df["stop"] == "curve") & (df["metric"] == x)]
        part = part.merge(cost[[*keys, "value"]].rename(columns={"value": x}), on=keys)
    settings, points, seen = _settings(part), set(), looks(part)
    fig, axes = grid(len(settings), len(metrics), sharex="row")
    for i, (row, (setting, title)) in enumerate(zip(axes, settings)):
        for ax, metric in zip(row, metrics):
            here = part[(part["setting"] == setting) & (part["metric"] == metric)]
            for name, g in here.groupby("name"):
                for _, s in g.groupby("seed"):
                    if g["seed"].nunique() > 1:
                        ax.plot(s[x], s["value"], lw=0.7, alpha=0.35, color=seen[name]["color"], zorder=3)
                mean = g.groupby("round")[list({x, "value"} - {"round"})].mean().reset_index()
                points |= {name} if len(mean) < 2 else set()
                marker = seen[name]["marker"] if len(mean) < 2 else None
                ax.plot(mean[x], mean["value"], **seen[name] | {"marker": marker})
            end = reference(df)[lambda r: (r["setting"] == setting) & (r["metric"] == metric)]["value"].mean()
            if np.isfinite(end):
                ax.axhline(end, zorder=2, **GOAL)
                if zoom:
                    ax.set_ylim(end - zoom, end + zoom)
            if i == 0:
                ax.set_title(_label(metric, part))
            if x != "round":
                ax.xaxis.set_major_formatter(EngFormatter("B" if x == "comm_bytes" else "FLOP"))
                ax.xaxis.set_major_locator(MaxNLocator(4))
            if i == len(settings) - 1:
                ax.set_xlabel({"comm_bytes": "data sent", "comp_flops": "computation"}.get(x, "round of unlearning"))
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    handles = [proxy(name, **{**seen[name], **({"lw": 0} if name in points else {"marker": None})}) for name in seen]
    handles += [proxy("end of Retrain (the goal)", **GOAL)] * (REFERENCE in set(df["method"]))
    note(fig, part, many="thick: mean, thin: each seed")
    legend(fig, handles)
    return fig


def training_curves(df):
    """Accuracy and loss on training and test images over the rounds of training: thick = mean, thin = each seed. One
    row of panels a setting."""
    part = _need(df, "curve", ["train_acc", "test_acc", "train_loss", "test_loss"], "training_curves")
    settings, kinds = _settings(part), {"train": {"color": "#0072B2"}, "test": {"color": "#D55E00", "dashes": (5, 2)}}
    fig, axes = grid(len(settings), 2, width=4.4, height=2.9)
    for row, (setting, title) in zip(axes, settings):
        for ax, kind in zip(row, ("acc", "loss")):
            for name, look in kinds.items():
                here = part[(part["setting"] == setting) & (part["metric"] == f"{name}_{kind}")]
                wide = here.pivot_table(index="round", columns="seed", values="value")
                if wide.shape[1] > 1:
                    ax.plot(wide.index, wide, lw=0.7, alpha=0.4, color=look["color"])
                ax.plot(wide.index, wide.mean(axis=1), lw=2.2, **look)
            ax.set(xlabel="round of training", ylim=(0, 103) if kind == "acc" else (0, None),
                   ylabel="accuracy (%)" if kind == "acc" else "cross-entropy (nats)")
        row[0].set_title(title)
    note(fig, part, many="thick: mean, thin: each seed")
    legend(fig, [proxy(f"{name} images", lw=2.2, **look) for name, look in kinds.items()])
    return fig


# ---------------------------------------------------------------- against Retrain

def versus_retrain(df, stop="oracle", methods=None):
    """How far each method ends from Retrain, in each metric and in all (average gap), and what it costs. Dots are
    seeds, the line goes from Retrain (0) to the mean; short is good everywhere; grey reaches to the gap of a second
    Retrain, the noise floor. One row of panels a setting."""
    shown = set(methods or df["method"]) - {REFERENCE, "Original"}
    gaps, both, costs = (_named(part[part["method"].isin(shown)]) for part in (
        _need(df, stop, ["avg_gap"], "versus_retrain"), differences(df, stop), cost_ratio(df, stop)))
    ratios = [m for m in ("comm_ratio", "comp_ratio") if m in set(costs["metric"])]
    again = _need(df, stop, ["avg_gap"], "versus_retrain")[lambda d: (d["method"] == REFERENCE) & (d["variant"] != "")]
    panels = [*GAP, "avg_gap", *ratios]
    settings = _settings(gaps)
    counts = [gaps[gaps["setting"] == s]["name"].nunique() for s, _ in settings]
    fig, axes = plt.subplots(len(settings), len(panels), squeeze=False, layout="constrained", sharey="row",
                             figsize=(1.75 * len(panels) + 1, sum(counts) * 0.42 + 1.1 * len(settings) + 0.2),
                             height_ratios=[c + 1 for c in counts])
    for i, (row, (setting, title)) in enumerate(zip(axes, settings)):
        table = pd.concat([f[f["setting"] == setting] for f in (both, gaps, costs)])
        order = table[table["metric"] == "avg_gap"].groupby("name")["value"].mean().sort_values().index
        reach = 1.15 * both[both["setting"] == setting]["value"].abs().max()
        for ax, metric in zip(row, panels):
            for y, name in enumerate(order):
                g = table[(table["metric"] == metric) & (table["name"] == name)]
                if g.empty:
                    continue
                method, mean = g["method"].iloc[0], g["value"].mean()
                if metric in GAP:
                    ax.plot([0, mean], [y, y], color=color(method), lw=2.5, alpha=0.55, solid_capstyle="butt")
                    ax.plot(mean, y, MARKERS.get(method, "o"), color=color(method), ms=7)
                else:
                    ax.barh(y, mean, height=0.62, color=color(method), alpha=1 if method == "NoT" else 0.75)
                    ax.text(max(mean, g["value"].max()), y, f" {mean:.2f}", va="center", fontsize=8.5, zorder=4,
                            bbox={"fc": "white", "ec": "none", "pad": 0.6})
                if len(g) > 1:
                    ax.plot(g["value"], [y] * len(g), "o", color="#111111", ms=2.2, alpha=0.7, zorder=5)
            bare(ax, order)
            if metric == "avg_gap" and len(floor := again[again["setting"] == setting]["value"]):
                ax.axvspan(0, floor.mean(), color="#CFCFCF", alpha=0.55, zorder=0, lw=0)
                ax.axvline(floor.mean(), color="#777777", lw=1, zorder=4)
            if metric in GAP:
                ax.axvline(0, color=COLORS[REFERENCE], lw=1.3)
                ax.set_xlim(-reach, reach)
            else:
                ax.set_xlim(0, 1.28 * max(table[table["metric"] == metric]["value"].max(), 1e-9))
                if metric != "avg_gap":
                    ax.axvline(1, **GOAL)
            if i == 0:
                words = {"comm_ratio": "bytes sent", "comp_ratio": "FLOPs"}
                ax.set_title(words.get(metric, LABELS[metric]), fontsize=10)
            if i == len(settings) - 1:
                unit = "points" if metric == "avg_gap" else "points from Retrain" if metric in GAP else "Retrain = 1"
                ax.set_xlabel(unit, fontsize=8.5)
        for text, name in zip(row[0].get_yticklabels(), order):
            text.set_fontsize(10.5)
            text.set_fontweight("bold" if name.startswith("NoT") else "normal")
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    note(fig, gaps, "distance to Retrain and cost: short is good, best on top"
         + "; grey, where there is one: the gap of a second Retrain" * (len(again) > 0), "small dots: seeds")
    return fig


def gap_bars(df, table, dataset=None, model=None, stop="oracle"):
    """Average gap of each method: bar = our mean, dots = seeds, hollow diamond = the paper's value. One panel a
    setting."""
    part = _need(df[df["method"] != REFERENCE], stop, ["avg_gap"], "gap_bars")
    settings = _settings(part)
    fig, axes = grid(1, len(settings), width=4.2, height=3.4)
    for ax, (setting, title) in zip(axes[0], settings):
        both = compare(df[df["setting"] == setting], table, dataset, model, stop=stop)
        block = both.attrs["caption"].split(". ")[0].replace("Paper: ", "paper, ")
        both = both[(both["metric"] == "avg_gap") & (both["method"] != REFERENCE)].reset_index(drop=True)
        both = both.assign(key=both["ours"].fillna(both["paper"])).sort_values("key", kind="stable")
        for y, r in enumerate(both.itertuples()):
            seeds = part[(part["setting"] == setting) & (part["method"] == r.method) & (part["variant"] == r.variant)]
            ax.barh(y, r.ours if r.n else 0, height=0.6, color=color(r.method), alpha=0.85)
            if len(seeds) > 1:
                ax.plot(seeds["value"], [y] * len(seeds), "o", color="#111111", ms=3, alpha=0.7)
            if np.isfinite(r.paper):
                ax.plot(r.paper, y, zorder=5, **PAPER)
        names = both["method"] + (" " + both["variant"]).where(both["variant"] != "", "")
        bare(ax, names)
        ax.set_xlim(left=0)
        ax.set_title(title)
        ax.set_xlabel("average gap to Retrain (points)")
    legend(fig, [proxy("ours", marker="s", ls="", color="#777777", ms=9), proxy(block, **PAPER)])
    note(fig, part, many="small dots: seeds")
    return fig


# ---------------------------------------------------------------- sweeps

def tradeoff(df, x="nfs_target", y="nta", key="gamma", stop="last", label=(10, 30, 50, 70, 90)):
    """Usefulness (`y`) against forgetting (`x`) while `key` (in `variant`) grows; up and to the right is better, (1, 1)
    is Retrain. Thick = mean, cross = sd, thin = each seed. One panel a setting."""
    part = _need(df, stop, [x, y], "tradeoff").assign(key=lambda d: option(d, key))
    part = part[part["key"].notna()]
    settings, names = _settings(part), _methods(part)
    wide = len(settings) if len(settings) <= 4 else 3 if len(settings) % 3 == 0 else 4
    fig, axes = grid(-(-len(settings) // wide), wide, width=3.6, height=3.6)
    for ax in axes.flat[len(settings):]:
        ax.set_visible(False)
    for ax, (setting, title) in zip(axes.flat, settings):
        here = part[part["setting"] == setting]
        ax.plot(1, 1, "*", color=COLORS[REFERENCE], ms=15, zorder=6)
        ax.annotate("Retrain", (1, 1), (-6, 9), textcoords="offset points", ha="center", fontsize=9)
        for m in names:
            wide = here[here["method"] == m].pivot_table(index=["seed", "key"], columns="metric", values="value")
            if wide.empty or x not in wide or y not in wide:
                continue
            for _, s in wide.groupby("seed"):
                if wide.index.get_level_values("seed").nunique() > 1:
                    ax.plot(s[x], s[y], color=color(m), lw=0.7, alpha=0.3)
            mean, sd = wide.groupby("key").mean(), wide.groupby("key").std()
            ax.errorbar(mean[x], mean[y], sd[y], sd[x], elinewidth=0.9, capsize=0,
                        **line(m, lw=2.4, ms=5, zorder=4))
            for k in set(label) & set(mean.index) if m == names[-1] else ():
                ax.annotate(f"{k:g}", (mean[x][k], mean[y][k]), (5, 5), textcoords="offset points", fontsize=8,
                            color=color(m))
        ax.set_title(title, fontsize=9 if len(title) > 28 else None)
        ax.set_xlabel(f"forgetting: {LABELS.get(x, x)}")
        ax.set_ylim(0, 1.2)
        ax.set_xlim(min(-0.05, here[here["metric"] == x]["value"].quantile(0.02)), 1.15)
    for row in axes:
        row[0].set_ylabel(f"usefulness: {LABELS.get(y, y)}")
    note(fig, part, f"up and right is better; small numbers: {key}", "thin: each seed, cross: sd")
    legend(fig, [proxy(m, **line(m, lw=2.4, ms=6)) for m in names])
    return fig


def lines(df, x, y, stop="oracle", hue="method", col="setting", ylabel=None, xlabel=None, reference=None, log=False):
    """`y` (one metric or several: a panel each) over `x`, a column or a hyper-parameter in `variant`. Thick =
    mean; thin = each seed, or band = sd where seeds are many. `hue` may be `name`: method and variant. `reference`: a
    dashed line at that value; `log`: the x axis."""
    metrics = [y] if isinstance(y, str) else list(y)
    part = _named(_need(df, stop, metrics, "lines"))
    part = part.assign(x=part[x] if x in part else option(part, x),
                       hue=part[hue] if hue in part else option(part, hue))
    part = part[part["x"].notna() & part["hue"].notna()]
    if part.empty:
        raise Bad(f"lines: neither a column nor a variant gives both {x!r} and {hue!r}")
    panels = _settings(part) if col == "setting" else [(v, str(v)) for v in sorted(set(part[col]))]
    names = _methods(part) if hue == "method" else sorted(set(part["hue"]))
    ordered = part["hue"].dtype.kind in "if"
    others = [n for n in names if n not in COLORS]
    look = dict(zip(others, sns.color_palette("viridis" if ordered else "colorblind", len(others))))
    look = {n: COLORS.get(n) or (color(n) if hue == "method" else look[n]) for n in names}
    flat, few = len(panels) == 1, part["seed"].nunique() <= FEW  # one panel: its metrics stand side by side
    fig, axes = grid(1, len(metrics), width=3.4) if flat else grid(len(metrics), len(panels), width=3.8, sharex="col",
                                                                   sharey="row")
    for row, metric in zip(axes.T if flat else axes, metrics):
        for ax, (value, title) in zip(row, panels):
            here = part[(part[col] == value) & (part["metric"] == metric)]
            for name in names:
                s = here[here["hue"] == name].pivot_table(index="x", columns="seed", values="value")
                mean, sd = s.mean(axis=1), s.std(axis=1)
                ax.plot(mean, **line(str(name), color=look[name], lw=2.2, ms=5))
                if few:
                    ax.plot(s, lw=0.7, alpha=0.45, color=look[name])
                else:
                    ax.fill_between(s.index, mean - sd, mean + sd, color=look[name], alpha=0.15, lw=0)
            if reference is not None:
                ax.axhline(reference, **GOAL)
            ax.set_xscale("log" if log else "linear")
            if not flat and ax in axes[0]:
                ax.set_title(title)
            if ax in axes[-1]:
                ax.set_xlabel(xlabel or LABELS.get(x, x))
        row[0].set_ylabel(ylabel or _label(metric, part))
    note(fig, part, panels[0][1] if flat else "", f"thick: mean, {'thin: each seed' if few else 'band: sd'}")
    legend(fig, [proxy(n, **line(str(n), color=look[n], lw=2.2)) for n in names],
            title=None if hue in ("method", "name") else hue, title_fontsize=10)
    return fig
