"""Figures, each a function of the long table of results and nothing else."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..errors import Bad
from ..words import AVG_GAP, GAP, RATIOS, REFERENCE, known, rank, titled
from .papers import compare
from .rows import option
from .style import GOAL, PAPER, bare, grid, legend, looks, note, proxy
from .summary import cost_ratio, differences, end_of_retrain, reference
from .numbers import PREFIXED

FEW = 5                                             # seeds that are drawn one by one
SEED = {"marker": "o", "ls": "", "color": "#111111"}
EVEN = {"preferential": 0, "dirichlet": 1, "iid": 2}


# ---------------------------------------------------------------- what is drawn

def need(df, stop, metrics, what):
    """The rows of these metrics at one stop; Bad if there are none."""
    part = df[(df["stop"] == stop) & df["metric"].isin(metrics)]
    if part.empty:
        raise Bad(f"{what}: no rows with stop {stop!r} and metric {' or '.join(metrics)}")
    return part


def one(df, setting, metric):
    """The rows of one panel."""
    return df[(df["setting"] == setting) & (df["metric"] == metric)]


def methods_of(df, wanted=None):
    """The methods that are there, in the order of `wanted` or in that of lib/words.py."""
    found = pd.Series(sorted(set(df["method"])), name="method", dtype=object)
    ordered = wanted or found.sort_values(key=rank, kind="stable")
    return [m for m in ordered if m in set(found)]


def named(df):
    """With a column `name`: the method, and its variant where a method has several in one setting."""
    several = df.groupby(["setting", "method"])["variant"].transform("nunique") > 1
    variant = (" " + df["variant"]).where(several & (df["variant"] != ""), "")
    return df.assign(name=df["method"] + variant)


def looks_of(part):
    """`{name: look}` of a table that `named` has made, in the methods' order, the plain variant first."""
    first = part.drop_duplicates("name").sort_values(["method", "variant"], key=rank, kind="stable")
    return looks(first["name"], dict(zip(first["name"], first["method"])))


def settings_of(df):
    """(setting, title) for each setting, the title in words that differ between the settings; the most uneven
    distribution first."""
    words = ["dataset", "model", "distribution", "scenario"]
    first = df.drop_duplicates("setting")
    even = first["distribution"].str.partition("_")[0].map(EVEN).fillna(3)
    data = first["dataset"].str.split(" (", regex=False).str[0]
    first = first.assign(even=even, data=data)
    first = first.sort_values(["data", "even", "distribution", "setting"], kind="stable")
    used = [c for c in words if first[c].nunique() > 1] or words[:2]
    title = first[used].apply(lambda row: ", ".join(filter(None, row)), axis=1)
    title = title.str.replace("dirichlet_", "Dirichlet ").str.replace(r"\biid\b", "IID", regex=True)
    return list(zip(first["setting"], title if title.is_unique else first["setting"]))


def label(metric, df):
    """The metric over its panel; the unit of one without a row stands in the table."""
    return titled(metric, next(iter(df[df["metric"] == metric]["unit"]), ""))


# ---------------------------------------------------------------- what is drawn again and again

def thin_seeds(ax, wide, color, alpha=0.4):
    """Each seed (a column of `wide`) as a thin line, where there are several."""
    if wide.shape[1] > 1:
        ax.plot(wide.index, wide, lw=0.7, alpha=alpha, color=color)


def draw_band(ax, lines, x, look):
    """The mean over seeds along `x`, and a band from the smallest to the largest."""
    seeds = lines.groupby(x)["value"].agg(["mean", "min", "max"])
    ax.plot(seeds.index, seeds["mean"], **look)
    ax.fill_between(seeds.index, seeds["min"], seeds["max"], color=look["color"], alpha=0.12, lw=0)


def goal_line(ax, df, setting, metric):
    """A dashed line where Retrain ends; returns that value, NaN without a Retrain."""
    end = end_of_retrain(df, setting, metric)
    if np.isfinite(end):
        ax.axhline(end, zorder=2, **GOAL)
    return end


def prefixed_axis(axis, unit):
    """A few ticks, as 2 GB or 3 TFLOP."""
    axis.set_major_formatter(EngFormatter(PREFIXED[unit]))
    axis.set_major_locator(MaxNLocator(4))


# ---------------------------------------------------------------- over rounds

def curves(df, metrics=GAP, methods=None, zoom=None, x="round"):
    """Metrics over the rounds of unlearning, a row of panels a setting: thick = mean, thin = each seed where they are
    few, dashed = where Retrain ends. zoom: so many points around that end; x: `comm_bytes` or `comp_flops` for the cost in place of
    rounds."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    part = named(need(df, "curve", metrics, "curves"))
    part = part[part["method"].isin(methods_of(part, methods))]
    if x != "round":
        part = with_cost(part, df, x)
    settings, drawn, points = settings_of(part), looks_of(part), single_points(part)
    ends, few = reference(df), part["seed"].nunique() <= FEW

    fig, axes = grid(len(settings), len(metrics), sharex="row")
    for row, (setting, title) in zip(axes, settings):
        for ax, metric in zip(row, metrics):
            for name, lines in one(part, setting, metric).groupby("name"):
                draw_curve(ax, lines, x, drawn[name], few)
            end = goal_line(ax, ends, setting, metric)
            if zoom and np.isfinite(end):
                ax.set_ylim(end - zoom, end + zoom)
            if x != "round":
                prefixed_axis(ax.xaxis, known(x).unit)
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    words = "round of unlearning" if x == "round" else known(x).words
    for top, bottom, metric in zip(axes[0], axes[-1], metrics):
        top.set_title(label(metric, part))
        bottom.set_xlabel(words)

    handles = [proxy(name, **as_drawn(look, name in points)) for name, look in drawn.items()]
    if REFERENCE in set(df["method"]):
        handles.append(proxy("end of Retrain (the goal)", **GOAL))
    note(fig, part, many="thick: mean, thin: each seed" if few else "lines: mean over seeds", of=df)
    legend(fig, handles)
    return fig


def as_drawn(look, is_point):
    """A method's look in the legend of curves: one evaluated round is a marker, more are a line."""
    return look | ({"lw": 0} if is_point else {"marker": None})


def with_cost(part, df, cost):
    """The rows with a column of the cost at their round."""
    keys = ["setting", "method", "variant", "seed", "round"]
    costs = df[(df["stop"] == "curve") & (df["metric"] == cost)]
    return part.merge(costs[[*keys, "value"]].rename(columns={"value": cost}), on=keys)


def single_points(part):
    """Names that have one round only somewhere: a point is drawn, not a line."""
    rounds = part.groupby(["setting", "metric", "name"])["round"].nunique()
    return set(rounds[rounds < 2].index.get_level_values("name"))


def draw_curve(ax, lines, x, look, few):
    """One name in one panel: its mean, and beside it each seed where they are few, all of them one artist."""
    values = lines[["seed", x, "value"]].sort_values("seed", kind="stable").to_numpy()
    seeds = np.split(values[:, 1:], np.flatnonzero(np.diff(values[:, 0])) + 1)
    if few and len(seeds) > 1:
        ax.add_collection(LineCollection(seeds, lw=0.7, alpha=0.35, color=look["color"], zorder=3))
    by_round = lines.groupby(lines["round"].to_numpy())
    mean = by_round[x].mean(), by_round["value"].mean()
    marker = look["marker"] if len(mean[0]) < 2 else None
    ax.plot(*mean, **look | {"marker": marker})


def training_curves(df):
    """Accuracy and loss on training and test images over the rounds of training: thick = mean, thin = each seed. One
    row of panels a setting."""
    part = need(df, "curve", ["train_acc", "test_acc", "train_loss", "test_loss"], "training_curves")
    images = {"train": {"color": "#0072B2"}, "test": {"color": "#D55E00", "dashes": (5, 2)}}
    settings = settings_of(part)
    fig, axes = grid(len(settings), 2, width=4.4, height=2.9)
    for row, (setting, title) in zip(axes, settings):
        for ax, kind in zip(row, ("acc", "loss")):
            for name, look in images.items():
                wide = one(part, setting, f"{name}_{kind}").pivot_table(index="round", columns="seed", values="value")
                thin_seeds(ax, wide, look["color"])
                ax.plot(wide.index, wide.mean(axis=1), lw=2.2, **look)
            ax.set_xlabel("round of training")
        row[0].set(ylabel="accuracy (%)", ylim=(0, 103))
        row[1].set(ylabel="cross-entropy (nats)", ylim=(0, None))
        row[0].set_title(title)
    note(fig, part, many="thick: mean, thin: each seed")
    legend(fig, [proxy(f"{name} images", lw=2.2, **look) for name, look in images.items()])
    return fig


# ---------------------------------------------------------------- against Retrain

def versus_retrain(df, stop="oracle", methods=None):
    """How far each method ends from Retrain, in each metric and in all (average gap), and what it costs. Dots are
    seeds, the line goes from Retrain (0) to the mean; short is good everywhere; grey reaches to the gap of a second
    Retrain, the noise floor. One row of panels a setting."""
    gaps = need(df, stop, [AVG_GAP], "versus_retrain")
    again = gaps[(gaps["method"] == REFERENCE) & (gaps["variant"] != "")]
    shown = set(methods or df["method"]) - {REFERENCE, "Original"}
    table = pd.concat([differences(df, stop), gaps, cost_ratio(df, stop)])
    table = table[table["method"].isin(shown)]
    if AVG_GAP not in set(table["metric"]):
        raise Bad("versus_retrain: there is no method beside Retrain and the trained model")
    table = named(table)
    panels = [*GAP, AVG_GAP, *(r for r in RATIOS.values() if r in set(table["metric"]))]
    settings = settings_of(table[table["metric"] == AVG_GAP])

    fig, axes = panels_for_bars(table, settings, panels)
    for row, (setting, title) in zip(axes, settings):
        here = table[table["setting"] == setting]
        names = here[here["metric"] == AVG_GAP].groupby("name")["value"].mean().sort_values().index
        drawn = looks(list(dict.fromkeys(here["method"])))
        for ax, metric in zip(row, panels):
            values = here[here["metric"] == metric]
            if metric in GAP:
                draw_differences(ax, values, names, drawn)
            else:
                draw_bars(ax, values, names, drawn)
            bare(ax, names)
        limit_differences(row[:len(GAP)], here)
        draw_floor(row[panels.index(AVG_GAP)], again[again["setting"] == setting]["value"])
        for ax in row[panels.index(AVG_GAP) + 1:]:
            ax.axvline(1, **GOAL)
        embolden(row[0].get_yticklabels(), names)
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for top, bottom, metric in zip(axes[0], axes[-1], panels):
        top.set_title(panel_title(metric), fontsize=10)
        bottom.set_xlabel(panel_unit(metric), fontsize=8.5)

    floor = "; grey, where there is one: the gap of a second Retrain" if len(again) else ""
    note(fig, table[table["metric"] == AVG_GAP],
         "distance to Retrain and cost: short is good, best on top" + floor, "small dots: seeds",
         of=df[df["method"].isin(shown)])
    return fig


def panels_for_bars(table, settings, panels):
    """A figure whose rows are as high as they have names."""
    counts = [table[table["setting"] == s]["name"].nunique() for s, _ in settings]
    width = 1.75 * len(panels) + 1
    height = sum(counts) * 0.42 + 1.1 * len(settings) + 0.2
    return plt.subplots(len(settings), len(panels), squeeze=False, layout="constrained", sharey="row",
                        figsize=(width, height), height_ratios=[c + 1 for c in counts])


def draw_differences(ax, values, names, drawn):
    """A line from Retrain (0) to the mean of each name, and its seeds."""
    for y, name in enumerate(names):
        own = values[values["name"] == name].dropna(subset="value")
        if own.empty:
            continue
        look = drawn[own["method"].iloc[0]]
        mean = own["value"].mean()
        ax.plot([0, mean], [y, y], color=look["color"], lw=2.5, alpha=0.55, solid_capstyle="butt")
        ax.plot(mean, y, look["marker"], color=look["color"], ms=7)
        dots(ax, own["value"], y)
    ax.axvline(0, color=GOAL["color"], lw=1.3)


def draw_bars(ax, values, names, drawn):
    """A bar and its number for each name, and its seeds."""
    for y, name in enumerate(names):
        own = values[values["name"] == name].dropna(subset="value")
        if own.empty:
            continue
        method, mean = own["method"].iloc[0], own["value"].mean()
        ax.barh(y, mean, height=0.62, color=drawn[method]["color"], alpha=1 if method == "NoT" else 0.75)
        ax.text(max(mean, own["value"].max()), y, f" {mean:.2f}", va="center", fontsize=8.5, zorder=4,
                bbox={"fc": "white", "ec": "none", "pad": 0.6})
        dots(ax, own["value"], y)
    ax.set_xlim(0, 1.28 * max(1e-9, values["value"].max()) if len(values) else 1)


def dots(ax, values, y, size=2.2):
    """The seeds of one line of a panel, where there are several."""
    if len(values) > 1:
        ax.plot(values, [y] * len(values), ms=size, alpha=0.7, zorder=5, **SEED)


def limit_differences(axes, here):
    """One scale, the same to both sides, for all panels of differences."""
    reach = 1.15 * here[here["metric"].isin(GAP)]["value"].abs().max()
    if np.isfinite(reach) and reach > 0:
        for ax in axes:
            ax.set_xlim(-reach, reach)


def draw_floor(ax, again):
    """Grey up to the gap of a second Retrain, the noise floor, where there is one."""
    if len(again):
        ax.axvspan(0, again.mean(), color="#CFCFCF", alpha=0.55, zorder=0, lw=0)
        ax.axvline(again.mean(), color="#777777", lw=1, zorder=4)


def embolden(texts, names):
    """The names at the left, NoT's in bold."""
    for text, name in zip(texts, names):
        text.set_fontsize(10.5)
        text.set_fontweight("bold" if name.startswith("NoT") else "normal")


def panel_title(metric):
    """The metric in words, a ratio of costs as the cost."""
    costs = {ratio: cost for cost, ratio in RATIOS.items()}
    return known(costs.get(metric, metric)).words


def panel_unit(metric):
    """What the numbers of a panel of `versus_retrain` are."""
    if metric in GAP:
        return "points from Retrain"
    return "points" if metric == AVG_GAP else "Retrain = 1"


def gap_bars(df, table, dataset=None, model=None, stop="oracle"):
    """Average gap of each method: bar = our mean, dots = seeds, hollow diamond = the paper's value. One panel a
    setting."""
    part = need(df[df["method"] != REFERENCE], stop, [AVG_GAP], "gap_bars")
    settings = settings_of(part)
    fig, axes = grid(1, len(settings), width=4.2, height=3.4)
    for ax, (setting, title) in zip(axes[0], settings):
        both = compare(df[df["setting"] == setting], table, dataset, model, stop=stop)
        block = both.attrs["caption"].split(". ")[0].replace("Paper: ", "paper, ")
        both = both[(both["metric"] == AVG_GAP) & (both["method"] != REFERENCE)]
        both = both.assign(length=both["ours"].fillna(both["paper"])).sort_values("length", kind="stable")
        drawn = looks(list(dict.fromkeys(both["method"])))
        for y, line in enumerate(both.itertuples()):
            ours = part[(part["setting"] == setting) & (part["method"] == line.method)
                        & (part["variant"] == line.variant)]
            ax.barh(y, line.ours if line.n else 0, height=0.6, color=drawn[line.method]["color"], alpha=0.85)
            dots(ax, ours["value"], y, size=3)
            if np.isfinite(line.paper):
                ax.plot(line.paper, y, zorder=5, **PAPER)
        bare(ax, (both["method"] + " " + both["variant"]).str.strip())
        ax.set_xlim(left=0)
        ax.set_title(title)
        ax.set_xlabel("average gap to Retrain (points)")
    legend(fig, [proxy("ours", marker="s", ls="", color="#777777", ms=9), proxy(block, **PAPER)])
    note(fig, part, many="small dots: seeds", of=df)
    return fig


# ---------------------------------------------------------------- sweeps

def tradeoff(df, x="nfs_target", y="nta", key="gamma", stop="last", label=(10, 30, 50, 70, 90)):
    """Usefulness (`y`) against forgetting (`x`) while `key` (in `variant`) grows; up and to the right is better, (1, 1)
    is Retrain. Thick = mean, cross = sd, thin = each seed. One panel a setting."""
    part = need(df, stop, [x, y], "tradeoff").assign(key=lambda d: option(d, key))
    part = part[part["key"].notna()]
    settings, methods = settings_of(part), methods_of(part)
    drawn = looks(methods)
    fig, axes = tiles(len(settings))
    for ax, (setting, title) in zip(axes.flat, settings):
        here = part[part["setting"] == setting]
        draw_retrain(ax)
        for method in methods:
            wide = here[here["method"] == method].pivot_table(index=["seed", "key"], columns="metric", values="value")
            if x not in wide or y not in wide:
                continue
            draw_path(ax, wide[x], wide[y], drawn[method])
            if method == methods[-1]:
                number_path(ax, wide[x], wide[y], label, drawn[method]["color"])
        ax.set_title(title, fontsize=9 if len(title) > 28 else None)
        ax.set_xlabel(f"forgetting: {known(x).words}")
        ax.set_ylim(0, 1.2)
        ax.set_xlim(min(-0.05, here[here["metric"] == x]["value"].quantile(0.02)), 1.15)
    for row in axes:
        row[0].set_ylabel(f"usefulness: {known(y).words}")
    note(fig, part, f"up and right is better; small numbers: {key}", "thin: each seed, cross: sd", of=df)
    legend(fig, [proxy(m, **drawn[m] | {"lw": 2.4, "ms": 6}) for m in methods])
    return fig


def tiles(n):
    """A figure of n panels in rows of equal length: up to four in one row, else three or four a row."""
    columns = n
    if n > 4:
        columns = 3 if n % 3 == 0 else 4
    fig, axes = grid(-(-n // columns), columns, width=3.6, height=3.6)
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    return fig, axes


def draw_retrain(ax):
    """A star at (1, 1)."""
    ax.plot(1, 1, "*", color=GOAL["color"], ms=15, zorder=6)
    ax.annotate(REFERENCE, (1, 1), (-6, 9), textcoords="offset points", ha="center", fontsize=9)


def draw_path(ax, x, y, look):
    """The path of one method, `x` and `y` indexed by (seed, key): each seed thin, the mean with a cross of sd."""
    seeds = x.index.unique("seed")
    if len(seeds) > 1:
        for seed in seeds:
            ax.plot(x[seed], y[seed], color=look["color"], lw=0.7, alpha=0.3)
    mean_x, mean_y = x.groupby("key").mean(), y.groupby("key").mean()
    sd_x, sd_y = x.groupby("key").std(), y.groupby("key").std()
    ax.errorbar(mean_x, mean_y, sd_y, sd_x, elinewidth=0.9, capsize=0, **look | {"lw": 2.4, "ms": 5, "zorder": 4})


def number_path(ax, x, y, keys, color):
    """Some values of the key beside their points."""
    mean_x, mean_y = x.groupby("key").mean(), y.groupby("key").mean()
    for key in keys:
        if key in mean_x.index:
            ax.annotate(f"{key:g}", (mean_x[key], mean_y[key]), (5, 5), textcoords="offset points", fontsize=8,
                        color=color)


def lines(df, x, y, stop="oracle", hue="method", col="setting", ylabel=None, xlabel=None, reference=None, log=False):
    """`y` (one metric or several: a panel each) over `x`, a column or a hyper-parameter in `variant`. Thick =
    mean; thin = each seed, or band = sd where seeds are many. `hue` may be `name`: method and variant. `reference`: a
    dashed line at that value; `log`: the x axis."""
    metrics = [y] if isinstance(y, str) else list(y)
    part = with_x_and_hue(named(need(df, stop, metrics, "lines")), x, hue)
    panels = settings_of(part) if col == "setting" else values_of(part, col)
    drawn = looks_of_hue(part, hue)
    few = part["seed"].nunique() <= FEW

    fig, axes = panels_of_lines(metrics, panels)    # [metric, panel]
    for row, metric in zip(axes, metrics):
        row[0].set_ylabel(ylabel or label(metric, part))
        for ax, (value, _) in zip(row, panels):
            here = part[(part[col] == value) & (part["metric"] == metric)]
            draw_hues(ax, here, drawn, few)
            frame_of_lines(ax, reference, log)
    common = name_panels(axes, panels, xlabel or known(x).words)

    spread = "thin: each seed" if few else "band: sd"
    note(fig, part, common, f"thick: mean, {spread}", of=df)
    title = None if hue in ("method", "name") else hue
    legend(fig, [proxy(name, **look) for name, look in drawn.items()], title=title, title_fontsize=10)
    return fig


def values_of(part, column):
    """`(value, the value as text)` of a column, sorted."""
    return [(value, str(value)) for value in sorted(set(part[column]))]


def frame_of_lines(ax, reference, log):
    """What stands in a panel beside its lines: a dashed line at a value, a logarithmic axis."""
    if reference is not None:
        ax.axhline(reference, **GOAL)
    if log:
        ax.set_xscale("log")


def name_panels(axes, panels, xlabel):
    """Titles and names of the x axes; where all panels have one title, it is returned to stand above the figure."""
    if len(panels) == 1:
        for ax in axes.flat:
            ax.set_xlabel(xlabel)
        return panels[0][1]
    for top, bottom, (_, title) in zip(axes[0], axes[-1], panels):
        top.set_title(title)
        bottom.set_xlabel(xlabel)
    return ""


def panels_of_lines(metrics, panels):
    """A figure and its panels [metric, panel]; with one panel a metric, the metrics stand side by side."""
    if len(panels) == 1:
        fig, axes = grid(1, len(metrics), width=3.4)
        return fig, axes.T
    return grid(len(metrics), len(panels), width=3.8, sharex="col", sharey="row")


def with_x_and_hue(part, x, hue):
    """The rows that have both, with the columns `x` and `hue`; each a column, or an option of the variant."""
    both = {new: part[name] if name in part else option(part, name) for new, name in (("x", x), ("hue", hue))}
    part = part.assign(**both)
    part = part[part["x"].notna() & part["hue"].notna()]
    if part.empty:
        raise Bad(f"lines: neither a column nor a variant gives both {x!r} and {hue!r}")
    return part


def looks_of_hue(part, hue):
    """`{value of the hue: look}`: numbers from dark to light, methods and words as everywhere."""
    wide = {"lw": 2.2, "ms": 5}
    if part["hue"].dtype.kind in "if":
        values = sorted(set(part["hue"]))
        colors = sns.color_palette("viridis", len(values))
        return {v: {"color": c, "marker": "o", **wide} for v, c in zip(values, colors)}
    if hue in ("method", "name"):
        drawn = looks_of(part if hue == "name" else part.assign(name=part["method"]))
    else:
        drawn = looks(sorted(set(part["hue"])))
    return {name: look | wide for name, look in drawn.items()}


def draw_hues(ax, here, drawn, few):
    """One panel of `lines`: the mean over seeds of each hue, and each seed, or a band of one sd."""
    for name, look in drawn.items():
        wide = here[here["hue"] == name].pivot_table(index="x", columns="seed", values="value")
        mean, sd = wide.mean(axis=1), wide.std(axis=1)
        ax.plot(mean.index, mean, **look)
        if few:
            ax.plot(wide.index, wide, lw=0.7, alpha=0.45, color=look["color"])
        else:
            ax.fill_between(wide.index, mean - sd, mean + sd, color=look["color"], alpha=0.15, lw=0)
