"""Figures, each a function of the long table of results and nothing else."""
import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.collections import LineCollection
from matplotlib.ticker import EngFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from ..errors import Bad
from ..words import AVG_GAP, GAP, RATIOS, REFERENCE, known, rank, titled
from .papers import block_of, compare, paper_table, with_ratios
from .rows import option
from .style import GOAL, PAPER, UNDER, bare, beyond, grid, legend, looks, note, proxy, whole
from .summary import cost_ratio, differences, end_of_retrain, is_of_diverged, reference
from .numbers import PREFIXED

FEW = 5                                             # seeds that are drawn one by one
FEW_ROUNDS = 7                                      # of which each is marked
FEW_LINES = 12                                      # thin lines that a panel can hold
SPAN = 20                                           # the least that a panel of percentages spans: noise looks like noise
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
    """With a column `name`: the method, and in brackets its variant where a method has several in one setting."""
    several = df.groupby(["setting", "method"])["variant"].transform("nunique") > 1
    words = df["variant"].map({variant: spoken(variant) for variant in set(df["variant"])})
    return df.assign(name=df["method"] + words.where(several & (df["variant"] != ""), ""))


OPTIONS = {"name": "{}", "lr": "rate {}", "layers": "layers {}", "gamma": "γ {}", "reset": "to {}", "source": "{} layer",
           "recovery": "then recovery", "score": "{} score", "strength": "strength {}"}
VALUES = {"again": "second", "init": "initial", "True": ""}


def spoken(variant):
    """A variant in words: ` (rate 0.2)` for `lr=0.2`, ` (second)` for `name=again`; empty for the plain one."""
    words = []
    for part in filter(None, variant.split(";")):
        key, _, value = part.partition("=")
        value = VALUES.get(value, value.replace("+", ", "))
        words.append(OPTIONS.get(key, f"{key} {{}}").format(value).strip())
    return f" ({', '.join(words)})" if words else ""


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
    for pattern, word in IN_WORDS.items():
        title = title.str.replace(pattern, word, regex=True)
    return list(zip(first["setting"], told_apart(list(first["setting"]), list(title))))


IN_WORDS = {"dirichlet_": "Dirichlet ", r"\biid\b": "IID", r" @(\d+)": r" at \1 px", r" w(\d+)": r" of width \1"}


def told_apart(settings, titles):
    """The titles; where several settings have one, each with the words of its name that the title lacks."""
    out = []
    for setting, title in zip(settings, titles):
        said = set(title.lower().replace("-", "").replace(",", "").split()) | set(title.lower().split("-"))
        own = [word for word in setting.split("_") if word not in said]
        alone = title and titles.count(title) == 1
        words = "" if alone else " ".join(own)
        out.append(": ".join(filter(None, [title, words])))
    return out if len(set(out)) == len(out) else [s.replace("_", " ") for s in settings]


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

def curves(df, metrics=GAP, methods=None, zoom=None, x="round", unit="round"):
    """Metrics over the rounds of unlearning, a row of panels a setting: thick = mean, dashed = where Retrain ends. Each
    seed is thin where there are few lines, else NoT and Retrain have a band from the smallest to the largest. zoom: so
    many points around that end; x: `comm_bytes` or `comp_flops` for the cost in place of rounds; unit: what a round is
    called."""
    metrics = [metrics] if isinstance(metrics, str) else list(metrics)
    part = without_diverged(named(need(df, "curve", metrics, "curves")), df)
    part = part[part["method"].isin(methods_of(part, methods))]
    if x != "round":
        part = with_cost(part, df, x)
    settings, drawn, points = settings_of(part), looks_of(part), single_points(part)
    ends, spread = reference(df), spread_of(part)
    apart = {name: 8 * i for i, name in enumerate(n for n in drawn if n in points)}

    fig, axes = grid(len(settings), len(metrics), height=2.8 if len(settings) < 4 else 2.0, sharex="row")
    for row, (setting, title) in zip(axes, settings):
        for ax, metric in zip(row, metrics):
            here = one(part, setting, metric)
            for name, lines in here.groupby("name"):
                draw_curve(ax, lines, x, drawn[name], spread, apart.get(name, 0))
            end = goal_line(ax, ends, setting, metric)
            frame_of_curves(ax, metric, x)
            if zoom and np.isfinite(end):
                ax.set_ylim(end - zoom, end + zoom)
                beyond(ax, here[x], here["value"])
        if len(settings) > 1:
            row[0].set_ylabel(title.replace(", ", "\n").replace(": ", "\n"), fontweight="bold")
    words = f"{unit} of unlearning" if x == "round" else known(x).words
    for top, bottom, metric in zip(axes[0], axes[-1], metrics):
        top.set_title(label(metric, part))
        bottom.set_xlabel(words)

    handles = [proxy(name, **as_drawn(look, name in points)) for name, look in drawn.items()]
    if REFERENCE in set(df["method"]):
        handles.append(proxy("end of Retrain (the goal)", **GOAL))
    note(fig, part, many=SPREAD[spread], of=df)
    legend(fig, handles)
    return fig


SPREAD = {"seeds": "thick: mean, thin: each seed",
          "band": "lines: mean over seeds, bands (NoT, Retrain) and bars (points): smallest to largest seed"}


def without_diverged(part, df):
    """The rows of runs that stayed finite; a name whose other runs diverged says how many its mean is over."""
    lost = is_of_diverged(part, df)
    if not lost.any():
        return part
    seeds = part.groupby(["setting", "name"])["seed"].nunique()
    left = part[~lost].groupby(["setting", "name"])["seed"].nunique().reindex(seeds.index, fill_value=0)
    fewer = {name: f"{name}, {n} of {seeds[setting, name]} seeds" for (setting, name), n in left.items()
             if 0 < n < seeds[setting, name]}
    return part[~lost].assign(name=lambda d: d["name"].replace(fewer))


def spread_of(part):
    """How the spread over seeds is drawn: each seed where there are few lines in a panel, else a band."""
    lines = part.groupby(["setting", "metric"])[["name", "seed"]].apply(lambda group: len(group.drop_duplicates()))
    return "seeds" if part["seed"].nunique() <= FEW and lines.max() <= FEW_LINES else "band"


def frame_of_curves(ax, metric, x):
    """Whole rounds across, or a cost; up, a span in which the noise of percentages does not look like an effect."""
    if x == "round":
        whole(ax.xaxis)
    else:
        prefixed_axis(ax.xaxis, known(x).unit)
    low, high = ax.get_ylim()
    if known(metric).unit == "percent" and high - low < SPAN:
        middle = (low + high) / 2
        ax.set_ylim(middle - SPAN / 2, middle + SPAN / 2)


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


def draw_curve(ax, lines, x, look, spread, dodge=0):
    """One name in one panel: its mean, and its spread over seeds; all thin lines are one artist. dodge: how many points
    (of letters) a single round is moved to the right, where several stand on each other."""
    by_round = lines.groupby(lines["round"].to_numpy())
    mean = by_round[x].mean(), by_round["value"].mean()
    least, most = by_round["value"].min(), by_round["value"].max()
    several = lines["seed"].nunique() > 1
    if len(mean[0]) == 1:
        moved = ax.transData + ScaledTranslation(dodge / 72, 0, ax.figure.dpi_scale_trans)
        ax.plot(*mean, **look, transform=moved)
        if several:
            ax.errorbar(*mean, [mean[1] - least, most - mean[1]], color=look["color"], lw=1.2, capsize=2, transform=moved)
        at = mean[0].iloc[0]
        ax.update_datalim([(at, least.iloc[0]), (at, most.iloc[0])])      # which bars that were moved do not do
        ax.autoscale_view()
        return
    if several and spread == "seeds":
        values = lines[["seed", x, "value"]].sort_values("seed", kind="stable").to_numpy()
        seeds = np.split(values[:, 1:], np.flatnonzero(np.diff(values[:, 0])) + 1)
        ax.add_collection(LineCollection(seeds, lw=0.7, alpha=0.35, color=look["color"], zorder=3))
    elif several and lines["name"].iloc[0] in ("NoT", REFERENCE):
        ax.fill_between(mean[0], least, most, color=look["color"], alpha=0.15, lw=0)
    ax.plot(*mean, **look | ({"ms": 3.5} if len(mean[0]) <= FEW_ROUNDS else {"marker": None}))


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
            whole(ax.xaxis)
        row[0].set(ylabel="accuracy (%)", ylim=(0, 103))
        row[1].set(ylabel="cross-entropy (nats)", ylim=(0, None))
        row[0].set_title(title)
    note(fig, part, many="thick: mean, thin: each seed")
    legend(fig, [proxy(f"{name} images", lw=2.2, **look) for name, look in images.items()])
    return fig


# ---------------------------------------------------------------- against Retrain

COST = "cost"           # the panel of both ratios: bar for bytes, tick for FLOPs
FLOPS = {"marker": "|", "ls": "", "mec": "#111111", "ms": 15, "mew": 1.8}
FAR = 1.7               # a paper's value so many times beyond ours stands at the edge, as a number


def versus_retrain(df, stop="oracle", methods=None):
    """How far each method ends from Retrain, in each metric and in all (average gap), and what it costs. Dots are
    seeds, the line goes from Retrain (0) to the mean; short is good everywhere; grey reaches to the gap of a second
    Retrain, the noise floor; hollow diamonds are the paper's values. One row of panels a setting."""
    gaps = need(df, stop, [AVG_GAP], "versus_retrain")
    again = gaps[(gaps["method"] == REFERENCE) & (gaps["variant"] != "")]
    shown = set(methods or df["method"]) - {REFERENCE, "Original"}
    table = pd.concat([differences(df, stop), gaps, cost_ratio(df, stop)])
    table = table[table["method"].isin(shown)]
    if AVG_GAP not in set(table["metric"]):
        raise Bad("versus_retrain: there is no method beside Retrain and the trained model")
    table = named(table)
    ratios = [ratio for ratio in RATIOS.values() if ratio in set(table["metric"])]
    panels = [*GAP, AVG_GAP, *([COST] if ratios else [])]
    settings = settings_of(table[table["metric"] == AVG_GAP])

    fig, axes = panels_for_bars(table, settings, panels)
    printed = set()
    for row, (setting, title) in zip(axes, settings):
        here = table[table["setting"] == setting]
        names = here[here["metric"] == AVG_GAP].groupby("name")["value"].mean().sort_values().index
        paper, block = papers_values(df, setting)
        printed.add(block)
        for ax, metric in zip(row, panels):
            if metric in GAP:
                draw_differences(ax, here[here["metric"] == metric], names, looks(list(dict.fromkeys(here["method"]))))
            else:
                draw_numbers(ax, here, [AVG_GAP] if metric == AVG_GAP else ratios, names, paper)
            bare(ax, names)
        limit_differences(row[:len(GAP)], here)
        draw_floor(row[panels.index(AVG_GAP)], again[again["setting"] == setting]["value"])
        if ratios:
            row[-1].axvline(1, **GOAL)
        embolden(row[0].get_yticklabels(), names)
        if len(settings) > 1:
            row[0].set_ylabel(title.replace(", ", "\n").replace(": ", "\n"), fontweight="bold")
    for top, bottom, metric in zip(axes[0], axes[-1], panels):
        top.set_title(metric if metric == COST else known(metric).words, fontsize=10)
        bottom.set_xlabel(panel_unit(metric), fontsize=8.5)

    note(fig, table[table["metric"] == AVG_GAP], "distance to Retrain and cost: short is good, best on top",
         "line and bar: mean, dots: seeds", of=df[df["method"].isin(shown)])
    legend(fig, keys_of_bars(ratios, len(again), printed - {""}))
    return fig


def keys_of_bars(ratios, floor, printed):
    """The legend of `versus_retrain`: what is neither a bar nor a dot."""
    keys = [proxy("paper: " + " and ".join(sorted(printed)), **PAPER)] if printed else []
    if floor:
        keys.append(proxy("gap of a second Retrain (noise)", color="#CFCFCF", lw=7))
    if len(ratios) > 1:
        keys.append(proxy("FLOPs, where bars are bytes", **FLOPS | {"ms": 11}))
    if ratios:
        keys.append(proxy("what Retrain costs", **GOAL))
    return keys


def papers_values(df, setting):
    """`({(method, metric): value}, data set and net)` of the paper's table that a setting stands for; empty where it
    stands for none, or where another setting has the paper's data and this one has not."""
    here = df[df["setting"] == setting]
    tables = [name for name in dict.fromkeys(here["table"]) if name.startswith("not_table")]
    printed = [name for name in tables if {AVG_GAP} <= set(paper_table(name)["metric"])]
    if not printed:
        return {}, ""
    datasets = set(paper_table(printed[0])["dataset"])
    if here["dataset"].iloc[0] not in datasets and datasets & set(df["dataset"]):
        return {}, ""
    block = block_of(printed[0], here.iloc[0], dict.fromkeys(("dataset", "model", "distribution")))
    there = with_ratios(block).dropna(subset="mean")
    values = {(line.method, line.metric): line.mean for line in there.itertuples()}
    return values, f"{block['dataset'].iloc[0]}, {block['model'].iloc[0]}"


def panels_for_bars(table, settings, panels):
    """A figure whose rows are as high as they have names."""
    counts = [table[table["setting"] == s]["name"].nunique() for s, _ in settings]
    wide = [1.5 if metric in GAP else 2.5 for metric in panels]
    height = sum(counts) * 0.34 + 0.9 * len(settings) + 0.4
    return plt.subplots(len(settings), len(panels), squeeze=False, layout="constrained", sharey="row",
                        figsize=(sum(wide) + 1.4, height), height_ratios=[c + 1 for c in counts], width_ratios=wide)


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


def draw_numbers(ax, here, metrics, names, paper):
    """A bar for each name with its seeds, its number at the right edge, and the paper's value; of a second metric, as
    the FLOPs beside the bytes, a tick."""
    here = here[here["metric"].isin(metrics)]
    first = here[here["metric"] == metrics[0]]
    high = here["value"].max() if here["value"].notna().any() else 1.0
    high = high if metrics[0] == AVG_GAP else max(high, 1)      # what Retrain costs is seen, too
    reach = 1.04 * max([high, *(v for (_, m), v in paper.items() if m == metrics[0] and v <= FAR * high)], default=1.0)
    drawn, with_paper = looks(list(dict.fromkeys(here["method"]))), set()
    ax.set_xlim(0, 1.3 * max(1e-9, reach))
    for y, name in enumerate(names):
        own = first[first["name"] == name].dropna(subset="value")
        if own.empty:
            continue
        method, mean = own["method"].iloc[0], own["value"].mean()
        ax.barh(y, mean, height=0.62, color=drawn[method]["color"], alpha=1 if method == "NoT" else 0.75)
        ax.annotate(f"{mean:.2f}", (0.98, y), xycoords=("axes fraction", "data"), ha="right", va="center", fontsize=8.5)
        dots(ax, own["value"], y)
        others = here[(here["metric"] != metrics[0]) & (here["name"] == name)]["value"]
        if others.notna().any():
            ax.plot(others.mean(), y, zorder=6, **FLOPS)
        is_plain = own["variant"].iloc[0] == "" or here[here["method"] == method]["variant"].nunique() == 1
        if (method, metrics[0]) in paper and is_plain and method not in with_paper:
            with_paper.add(method)
            draw_papers(ax, paper[method, metrics[0]], y, reach)


def draw_papers(ax, value, y, reach):
    """The paper's value as a hollow diamond; one far beyond ours as a number with an arrow."""
    if value <= reach:
        ax.plot(value, y, zorder=7, **PAPER)
        return
    ax.plot(reach, y, zorder=7, **PAPER)
    ax.annotate(f"{value:.3g} →", (reach, y), (-6, 0), textcoords="offset points", ha="right", va="center", fontsize=7.5,
                zorder=8, bbox=UNDER)


def dots(ax, values, y, size=2.2):
    """The seeds of one line of a panel, where there are several."""
    if len(values) > 1:
        ax.plot(values, [y] * len(values), ms=size, alpha=0.7, zorder=5, **SEED)


def limit_differences(axes, here):
    """One scale for all panels of differences, from the least to the largest, Retrain (0) within."""
    values = here[here["metric"].isin(GAP)]["value"].dropna()
    if values.empty:
        return
    low, high = min(values.min(), 0), max(values.max(), 0)
    room = 0.1 * (high - low) or 1
    for ax in axes:
        ax.set_xlim(low - room, high + room)
        ax.xaxis.set_major_locator(MaxNLocator(3))


def draw_floor(ax, again):
    """Grey up to the gap of a second Retrain, the noise floor, where there is one."""
    if len(again):
        ax.axvspan(0, again.mean(), color="#CFCFCF", alpha=0.55, zorder=0, lw=0)
        ax.axvline(again.mean(), color="#777777", lw=1, zorder=4)


def embolden(texts, names):
    """The names at the left, NoT's in bold."""
    for text, name in zip(texts, names):
        text.set_fontsize(10)
        text.set_fontweight("bold" if name.startswith("NoT") else "normal")


def panel_unit(metric):
    """What the numbers of a panel of `versus_retrain` are."""
    if metric in GAP:
        return "points from\nRetrain"
    return "points" if metric == AVG_GAP else "Retrain = 1; numbers: the bars"


def gap_bars(df, table, dataset=None, model=None, stop="oracle"):
    """Average gap of each method: bar = our mean, dots = seeds, hollow diamond = the paper's value. One panel a
    setting."""
    part = need(df[df["method"] != REFERENCE], stop, [AVG_GAP], "gap_bars")
    settings = settings_of(part)
    fig, axes = grid(1, len(settings), width=4.2, height=3.4)
    for ax, (setting, title) in zip(axes[0], settings):
        both = compare(df[df["setting"] == setting], table, dataset, model, stop=stop)
        block = both.attrs["caption"].split(". ")[0].replace(f"Paper: {table}, ", "paper: ")
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

NUMBERED = (10, 50, 90)         # values of gamma that stand beside their points
WINDOW = (-0.2, 1.5)            # of forgetting: what lies beyond is counted at the edge


def tradeoff(df, x="nfs_target", y="nta", key="gamma", stop="last", label=None, points=()):
    """Usefulness (`y`) against forgetting (`x`) while `key` (in `variant`) grows; nearer the star (1, 1), Retrain, is
    better. Line = mean, thin = each seed where they are few, cross = sd at the labelled keys, diamond = the paper's
    value. label: keys that stand beside their points, see `numbered`; points: methods without the key, one marker each.
    One panel a setting."""
    part = need(df, stop, [x, y], "tradeoff").assign(key=lambda d: option(d, key))
    fixed = part[part["key"].isna() & part["method"].isin(points)]
    part = part[part["key"].notna()]
    label = label or numbered(part["key"])
    settings, methods = settings_of(part), methods_of(part)
    drawn = looks([*methods, *methods_of(fixed)])
    fig, axes = tiles(len(settings))
    printed = False
    for ax, (setting, title) in zip(axes.flat, settings):
        here, there = part[part["setting"] == setting], fixed[fixed["setting"] == setting]
        frame_of_tradeoff(ax, here, x, y)
        draw_retrain(ax)
        taken = [ax.transAxes.inverted().transform(ax.transData.transform((1, 1)))]
        for i, method in enumerate(methods):
            wide = here[here["method"] == method].pivot_table(index=["seed", "key"], columns="metric", values="value")
            if x in wide and y in wide:
                draw_path(ax, wide[x], wide[y], drawn[method], label)
                number_path(ax, wide[x], wide[y], label, drawn[method]["color"], i % 2 == 0, taken)
        for method in methods_of(there):
            ax.plot(*there[there["method"] == method].groupby("metric")["value"].mean().reindex([x, y]),
                    **drawn[method] | {"ms": 9, "ls": "", "zorder": 6})
        mean = here.pivot_table(index=["method", "key"], columns="metric", values="value")
        beyond(ax, mean[x], mean[y])
        printed = draw_papers_choice(ax, df[df["setting"] == setting]) or printed
        ax.set_title(textwrap.fill(title, 36), fontsize=9.5)
        ax.set_xlabel(f"forgetting ({known(x).words}): Retrain = 1")
    for row in axes:
        row[0].set_ylabel(f"usefulness ({known(y).words}): Retrain = 1")
    spread = "thin: each seed, " if part["seed"].nunique() <= FEW else ""
    note(fig, part, f"nearer the star is better; {'γ' if key == 'gamma' else key} grows along each line, some values of "
         "it beside their points", f"thick: mean, {spread}crosses: sd", of=df)
    keys = [proxy(m, **drawn[m] | ({"ls": "", "ms": 8} if m in points else {"lw": 2.4, "ms": 6})) for m in drawn]
    keys += [proxy("paper, TIS-Reset at its γ", **PAPER)] if printed else []
    legend(fig, [*keys, proxy(REFERENCE, marker="*", ls="", color=GOAL["color"], ms=12)])
    return fig


def numbered(keys):
    """Those of NUMBERED that a sweep has; where it has none, as one of which only some points were kept, its first,
    middle and last."""
    there = sorted(set(keys))
    return [key for key in NUMBERED if key in there] or [there[0], there[len(there) // 2], there[-1]]


def frame_of_tradeoff(ax, here, x, y):
    """The window of a panel: all means and the star, unless forgetting goes far beyond Retrain's."""
    mean = here.pivot_table(index=["method", "key"], columns="metric", values="value")
    low, high = (np.clip(bound, *WINDOW) for bound in (mean[x].min(), mean[x].max()))
    ax.set_xlim(min(low, 0) - 0.07, max(high, 1) + 0.13)
    ax.set_ylim(min(0, mean[y].min() - 0.05), max(1.15, min(1.6, mean[y].max() + 0.1)))


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
    ax.plot(1, 1, "*", color=GOAL["color"], ms=15, zorder=8)


def draw_path(ax, x, y, look, keys):
    """The path of one method, `x` and `y` indexed by (seed, key): the mean, crosses of one sd at some keys, and each
    seed thin where they are few."""
    seeds = x.index.unique("seed")
    if 1 < len(seeds) <= FEW:
        for seed in seeds:
            ax.plot(x[seed], y[seed], color=look["color"], lw=0.6, alpha=0.25)
    mean_x, mean_y = x.groupby("key").mean(), y.groupby("key").mean()
    ax.plot(mean_x, mean_y, **look | {"lw": 2, "ms": 3.5, "zorder": 4})
    some = [key for key in keys if key in mean_x.index]
    sd_x, sd_y = (of.groupby("key").std().reindex(some) for of in (x, y))
    ax.errorbar(mean_x[some], mean_y[some], sd_y, sd_x, ls="", elinewidth=1, capsize=0, alpha=0.8,
                **{"color": look["color"], "marker": look["marker"], "ms": 6.5, "zorder": 5})


def number_path(ax, x, y, keys, color, above, taken):
    """Some values of the key beside their points, above or below the line; none where another stands already. taken:
    places of labels in shares of the panel, to which these are added."""
    mean_x, mean_y = x.groupby("key").mean(), y.groupby("key").mean()
    for key in keys:
        if key not in mean_x.index:
            continue
        at = mean_x[key], mean_y[key]
        side = 1 if above else -1
        place = ax.transAxes.inverted().transform(ax.transData.transform(at)) + np.array([0.05, 0.05]) * side
        free = all(np.abs(place - other).max() > 0.07 for other in taken)
        if free and (place > 0).all() and (place < 1).all():
            taken.append(place)
            ax.annotate(f"{key:g}", at, (6 * side, 9 * side), textcoords="offset points", fontsize=8, color=color,
                        ha="left" if above else "right", va="center", zorder=7, bbox=UNDER)


def draw_papers_choice(ax, df):
    """The paper's TIS-Reset at its best gamma, where its tables have this data set and this distribution."""
    here = df.iloc[0]
    values = papers_tis(here["dataset"], here["distribution"])
    forgetting = values.get("nfs_target", values.get("nfs_mia"))
    if forgetting is None or "nta" not in values or here["notebook"] != "07":
        return False
    ax.plot(forgetting, values["nta"], zorder=7, **PAPER)
    return True


def papers_tis(dataset, distribution):
    """`{metric: value}` of TIS-Reset in the paper's Tables 1 to 3 for one data set and distribution."""
    found = {}
    for name in ("tis_table1", "tis_table2", "tis_table3"):
        table = paper_table(name)
        table = table[(table["dataset"] == dataset) & (table["method"] == "TIS-Reset")]
        table = table[table["distribution"].replace("random_iid", "iid") == distribution]
        found |= dict(zip(table["metric"], table["mean"]))
    return found


def over_gamma(df, metrics, stop="last", paper=None):
    """Metrics over gamma that are there, a row of panels a metric and a column a setting, with the paper's TIS-Reset:
    diamonds at its gamma and its share of parameters (Table 3), or, of its Table 4, at the right edge, as it prints no gamma."""
    metrics = [m for m in metrics if (option(df[(df["metric"] == m) & (df["stop"] == stop)], "gamma").notna()).any()]
    fig = lines(df, "gamma", metrics, stop=stop, xlabel="γ, percent of the score that is reset")
    settings = settings_of(with_x_and_hue(named(need(df, stop, metrics, "lines")), "gamma", "method"))
    by_row = np.array(fig.axes[:len(metrics) * len(settings)]).reshape(len(metrics), len(settings))
    printed = 0
    for column, (setting, _) in zip(by_row.T, settings):
        here = df[df["setting"] == setting].iloc[0]
        values = at_no_gamma(paper) if paper else papers_tis(here["dataset"], here["distribution"])
        for ax, metric in zip(column, metrics):
            if metric == "reset_params":
                ax.plot([0, 100], [0, 100], color="#777777", ls=":", lw=1)
            if metric == "nfs":
                value = values.get("nfs_target", values.get("nfs_mia"))
            else:
                value = values.get(metric)
            if value is not None:
                printed += 1
                ax.plot(values.get("gamma_removal", 100), value, zorder=7, clip_on=False, **PAPER)
    words = "paper, TIS-Reset (it prints no γ)" if paper else "paper, TIS-Reset at its γ"
    keys = [proxy(words, **PAPER)] if printed else []
    if "reset_params" in metrics:
        keys.append(proxy("the share γ of all parameters", color="#777777", ls=":"))
    add_to_legend(fig, keys)
    return fig


def at_no_gamma(name):
    """`{metric: value}` of TIS-Reset in a table of the paper that names no gamma."""
    table = paper_table(name)
    table = table[table["method"] == "TIS-Reset"]
    return dict(zip(table["metric"], table["mean"]))


def add_to_legend(fig, keys):
    """The figure's legend once more, with further entries."""
    old = fig.legends[0]
    entries = [*old.legend_handles, *keys]
    fig.legends.remove(old)
    legend(fig, entries)


def lines(df, x, y, stop="oracle", hue="method", col="setting", ylabel=None, xlabel=None, reference=None, log=False):
    """`y` (one metric or several: a panel each) over `x`, a column or a hyper-parameter in `variant`. Thick = mean
    and thin = each seed, or, where seeds are many, thick = median and band = their middle half. `hue` may be `name`:
    method and variant. `reference`: a dashed line at that value; `log`: the x axis."""
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

    spread = "thick: mean, thin: each seed" if few else "thick: median of the seeds, band: their middle half"
    note(fig, part, common, spread, of=df)
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
    """One panel of `lines`: the mean over seeds of each hue and each seed, or their median and their middle half."""
    for name, look in drawn.items():
        wide = here[here["hue"] == name].pivot_table(index="x", columns="seed", values="value")
        ax.plot(wide.index, wide.mean(axis=1) if few else wide.median(axis=1), **look)
        if few:
            ax.plot(wide.index, wide, lw=0.7, alpha=0.45, color=look["color"])
        else:
            low, high = wide.quantile(0.25, axis=1), wide.quantile(0.75, axis=1)
            ax.fill_between(wide.index, low, high, color=look["color"], alpha=0.15, lw=0)
