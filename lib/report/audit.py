"""What the audit says: its rows from shadow federations, and its figures and tables from the rows."""
import numpy as np
import pandas as pd
from matplotlib.ticker import StrMethodFormatter

from ..errors import Bad
from ..fl.rng import generator
from ..metrics import audit
from ..runs.shadows import PARTS
from ..words import AVG_GAP, GAP, REFERENCE, known, titled
from .by_example import audited, chosen
from .figures import bare, looks_of, named, settings_of
from .numbers import number
from .statistics import AGAIN
from .style import GOAL, beyond, grid, legend, note, proxy

FPR = tuple(float(f"{x:.3g}") for x in np.logspace(-3, 0, 25))      # of the ROC curves
MEMORISED = "memorised"                 # the tenth of the forgotten examples that were memorised most
OVER = ("forget", MEMORISED, "retain", "test")
WORDS = {"forget": "forgotten examples", MEMORISED: "most memorised tenth", "retain": "retained examples",
         "test": "test examples"}
BY_EXAMPLE = (*audit.RATES, "attack_acc", "attack_auc", "klom", "epsilon", "forgetting_score")
DRAWS = 200             # of the bootstrap
SUBSETS = 5             # of models, where n varies
SIZES = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
BAND = {"color": "#BBBBBB", "alpha": 0.55, "lw": 0, "zorder": 1}


# ---------------------------------------------------------------- rows

def audit_rows(task, seen):
    """Rows for `lib.rows` of what `lib.shadows` found: every method against Retrain, example by example.

    Per share of Retrain's budget (stop `quarter`, `half`, `full`) and per `over` (in the variant): the attack, KLoM and
    epsilon, each against the finished Retrains; the attack's accuracy with a bootstrap interval (`bound=low`, `high`).
    At `full` also the ROC curve (`fpr`), the second Retrain's with its band, each forgotten example's mean margin
    (`example`), and the statistics over fewer models (`models`). Accuracies and gaps are means over the models.
    """
    retrain = seen[REFERENCE]
    if "full" not in retrain.shares:
        raise Bad(f"{task.name}: a Retrain has diverged, so that there is nothing to compare with; choose a smaller lr")
    places = places_of(seen)
    rows = []
    for one in seen.values():
        for share in one.shares:
            rows += at(one, share, averages(one, retrain, share))
            if one is not retrain:
                for over, (part, place) in places.items():
                    rows += compared(task, one, retrain, share, over, part, place)
    for one in [one for one in seen.values() if "full" in one.shares]:
        rows += examples(one)
        if one is not retrain and one.method in (REFERENCE, "NoT"):
            rows += over_models(task, one, retrain)
    return rows


def at(one, share, values, **words):
    """Plain records of one method at one share of the budget, the words in their variant."""
    variant = {**one.record["variant"], **words}
    return [one.record | {"variant": variant, "stop": share, "metric": name, "value": float(value)}
            for name, value in values.items()]


def places_of(seen):
    """`{over: (part, positions)}` of the examples that are looked at; those memorised most need an Original."""
    found = {part: (part, slice(None)) for part in PARTS}
    if "Original" in seen:
        retrained = [one.margins("forget") for one in seen.values() if one.method == REFERENCE and "full" in one.shares]
        found[MEMORISED] = "forget", audit.memorised(seen["Original"].margins("forget"), *retrained)
    return found


def averages(one, retrain, share):
    """Accuracies and the average gap to Retrain, means over the federations (of the gap of each)."""
    values = {name: one.values(name, share) for name in GAP}
    gap = np.mean([abs(values[name] - retrain.values(name)) for name in GAP], axis=0)
    return {name: found.mean() for name, found in {**values, AVG_GAP: gap}.items()}


def compared(task, one, retrain, share, over, part, place):
    """The rows of one method against Retrain over some examples."""
    ours, theirs = one.margins(part, share)[:, place], retrain.margins(part)[:, place]
    scores = audit.likelihood_ratio(ours, theirs)
    rows = at(one, share, statistics(ours, theirs, scores), over=over)
    rng = numbers_for(task, one, share, over)
    for bound, value in zip(("low", "high"), audit.bands(scores, accuracy, rng, DRAWS)):
        rows += at(one, share, {"attack_acc": value}, over=over, bound=bound)
    if share == "full" and over == "forget":
        rows += curve(one, share, audit.true_positives(scores, FPR), over=over)
        if one.method == REFERENCE:
            for bound, line in zip(("low", "high"), audit.bands(scores, roc, rng, DRAWS)):
                rows += curve(one, share, line, over=over, bound=bound)
    return rows


def statistics(ours, theirs, scores=None):
    """`{metric: number}` of the attack, KLoM (mean over examples) and epsilon (median)."""
    found = audit.attack(scores or audit.likelihood_ratio(ours, theirs))
    epsilons = audit.epsilon(ours, theirs)
    return found | {"klom": audit.klom(ours, theirs).mean(), "epsilon": np.median(epsilons),
                    "forgetting_score": audit.forgetting_score(epsilons, len(ours))}


def accuracy(scores):
    return 100 * (audit.above(scores.ours).mean() + audit.above(-scores.theirs).mean()) / 2


def roc(scores):
    return audit.true_positives(scores, FPR)


def curve(one, share, line, **words):
    """Rows of a ROC curve."""
    rows = []
    for fpr, value in zip(FPR, line):
        rows += at(one, share, {"attack_tpr": 100 * value}, fpr=fpr, **words)
    return rows


def numbers_for(task, one, *name):
    """The bootstrap's randomness, a function of names."""
    return np.random.default_rng(generator(task.seed, "audit", one.label, *name).initial_seed())


def over_models(task, one, retrain):
    """The statistics over fewer models, means over subsets of them; at their end all."""
    ours, theirs = one.margins("forget"), retrain.margins("forget")
    rng, n, rows = numbers_for(task, one, "models"), len(ours), []
    for models in sorted({m for m in SIZES if m < n} | {n}):
        subsets = [rng.permutation(n)[:models] for _ in range(SUBSETS if models < n else 1)]
        found = [statistics(ours[some], theirs[some]) for some in subsets]
        means = {name: np.mean([f[name] for f in found]) for name in ("attack_acc", "klom", "epsilon")}
        rows += at(one, "full", means, over="forget", models=models)
    return rows


def examples(one):
    """The mean margin of each forgotten example."""
    mean = one.margins("forget").mean(0)
    return [row for i, value in enumerate(mean) for row in at(one, "full", {"margin": value}, example=i)]


# ---------------------------------------------------------------- figures

def named_rows(df, **words):
    """`chosen` rows with a column `name`."""
    return named(chosen(df, **words))


def audit_rocs(df, over="forget"):
    """ROC curves of the attack, log-log, of each method at all of Retrain's budget, by the forgotten examples: on the
    diagonal nobody can tell it from Retrain. Grey: the second Retrain over bootstrap draws of models. A panel a setting
    and method."""
    part = df[(df["metric"] == "attack_tpr") & (df["stop"] == "full")]
    lines = named_rows(part, over=over, fpr=None)
    band = named_rows(part, over=over, fpr=None, bound=None)
    drawn = looks_of(lines)
    names = [name for name in drawn if not name.startswith(REFERENCE)]
    settings, columns = settings_of(lines), 5
    rows = -(-len(names) // columns)
    fig, axes = grid(rows * len(settings), min(columns, len(names)), width=2.1, height=2.2, sharex=True, sharey=True)
    for (setting, _), block in zip(settings, np.split(axes, len(settings))):
        for ax, name in zip(block.flat, names):
            here = lines[lines["setting"] == setting]
            draw_floor(ax, band[band["setting"] == setting])
            draw_roc(ax, here[here["name"].str.startswith(REFERENCE)], {"color": "#777777", "lw": 1})
            own = here[here["name"] == name]
            draw_roc(ax, own, drawn[name] | {"marker": None, "lw": 2.2})
            mean = own.groupby("fpr")["value"].mean()
            beyond(ax, 100 * mean.index, mean)
            ax.set_title(name, fontsize=9.5)
        for ax in list(block.flat)[len(names):]:
            ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("false positives (%)")
    for ax in axes[:, 0]:
        ax.set_ylabel("found (%)")
    note(fig, lines, f"{WORDS[over]}, log-log; dashed: guessing; grey: second Retrain and its bootstrap band",
         "mean over seeds")
    return fig


def draw_roc(ax, part, look):
    mean = part.groupby("fpr")["value"].mean()
    ax.plot(100 * mean.index, mean, **look)


def draw_floor(ax, band):
    """The second Retrain's band and the diagonal, on two logarithmic axes."""
    wide = band.pivot_table(index="fpr", columns="bound", values="value")
    if len(wide):
        ax.fill_between(100 * wide.index, wide["low"], wide["high"], **BAND)
    ends = 100 * np.array([FPR[0], 1])
    ax.plot(ends, ends, **GOAL | {"lw": 0.9})
    for scale, limit, axis in ((ax.set_xscale, ax.set_xlim, ax.xaxis), (ax.set_yscale, ax.set_ylim, ax.yaxis)):
        scale("log")
        limit(ends)
        axis.set_major_formatter(StrMethodFormatter("{x:g}"))


def audit_margins(df):
    """Mean margin of each forgotten example under Retrain (across) and under a method (up), at all of Retrain's budget:
    on the diagonal the method treats it as a model does that never saw it. A panel a method, a row a setting."""
    part = named_rows(df[(df["metric"] == "margin") & (df["stop"] == "full")], example=None)
    plain = (part["method"] == REFERENCE) & (part["variant"] == "")
    drawn, settings = looks_of(part), settings_of(part)
    names = [name for name in drawn if name != REFERENCE]
    columns = 6
    rows = -(-len(names) // columns)
    fig, axes = grid(rows * len(settings), min(columns, len(names)), width=1.9, height=2.0, sharex=True, sharey=True)
    for (setting, _), block in zip(settings, np.split(axes, len(settings))):
        here, there = part[part["setting"] == setting], part[plain & (part["setting"] == setting)]
        across = there.set_index(["seed", "example"])["value"]
        for ax, name in zip(block.flat, names):
            up = here[here["name"] == name].set_index(["seed", "example"])["value"].reindex(across.index)
            ax.axline((0, 0), slope=1, **GOAL | {"lw": 0.9})
            ax.scatter(across, up, s=7, color=drawn[name]["color"], alpha=0.6, lw=0, zorder=4)
            off = float((up - across).abs().mean())
            ax.set_title(f"{name}: {off:.1f}", fontsize=8.5)
        for ax in list(block.flat)[len(names):]:
            ax.axis("off")
    for ax in axes[-1]:
        ax.set_xlabel("Retrain (nats)")
    for ax in axes[:, 0]:
        ax.set_ylabel("method (nats)")
    note(fig, part, "a dot: one forgotten example, its mean margin over models; beside the name: mean distance from "
         "the diagonal, nats")
    return fig


def audit_accuracy(df):
    """Accuracy of the attack, a panel for each kind of example: bars from 50 % (guessing) with bootstrap intervals over
    models, at all of Retrain's budget; grey: the second Retrain's interval; rings: at a quarter and a half of it. One
    row of panels a setting."""
    part = df[df["metric"] == "attack_acc"]
    values = named_rows(part, over=None)
    bounds = named_rows(part, over=None, bound=None)
    settings, drawn = settings_of(values), looks_of(values)
    panels = [over for over in OVER if over in set(values["over"])]
    fig, axes = grid(len(settings), len(panels), width=2.7, height=0.28 * len(drawn) + 0.9, sharey=True)
    for row, (setting, title) in zip(axes, settings):
        for ax, over in zip(row, panels):
            here, ends = (t[(t["setting"] == setting) & (t["over"] == over)] for t in (values, bounds))
            draw_accuracies(ax, here, ends, drawn)
            bare(ax, ["second Retrain" if name == REFERENCE else name for name in drawn])
            ax.set_title(WORDS[over], fontsize=10)
            lowest = min(here["value"].min(), ends["value"].min()) if len(ends) else here["value"].min()
            ax.set_xlim(left=min(45, lowest - 2))
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax in axes[-1]:
        ax.set_xlabel("attack accuracy (%)")
    note(fig, values, "50: nobody can tell it from Retrain; grey: the second Retrain", "mean over seeds")
    legend(fig, [proxy("all of Retrain's budget", marker="o", ls="", color="#555555"),
                 proxy("half", marker="o", ls="", mfc="white", color="#555555", ms=5),
                 proxy("a quarter", marker="o", ls="", mfc="white", color="#555555", ms=3)])
    return fig


def draw_accuracies(ax, here, ends, drawn):
    """One line a name: its interval and its number at each share of the budget."""
    floor = ends[(ends["method"] == REFERENCE) & (ends["stop"] == "full")].groupby("bound")["value"].mean()
    if len(floor) == 2:
        ax.axvspan(floor["low"], floor["high"], **BAND)
    ax.axvline(50, **GOAL)
    for y, (name, look) in enumerate(drawn.items()):
        own, own_ends = (t[t["name"] == name] for t in (here, ends))
        mean = own.groupby("stop")["value"].mean()
        interval = own_ends[own_ends["stop"] == "full"].groupby("bound")["value"].mean()
        if len(interval) == 2:
            ax.plot([interval["low"], interval["high"]], [y, y], color=look["color"], lw=2)
        for stop, size in (("quarter", 3), ("half", 5)):
            if stop in mean:
                ax.plot(mean[stop], y, "o", ms=size, mfc="white", color=look["color"], zorder=4)
        if "full" in mean:
            ax.plot(mean["full"], y, look["marker"], color=look["color"], ms=6.5, zorder=5)


def audit_models(df):
    """The statistics against the number of models, NoT beside the second Retrain, whose line is the floor: the attack's
    stands at 50 % however few there are; those of KLoM and epsilon fall as models are added. One row a setting."""
    metrics = ("attack_acc", "klom", "epsilon")
    part = named_rows(df[df["metric"].isin(metrics)], over="forget", models=None)
    settings, drawn = settings_of(part), looks_of(part)
    fig, axes = grid(len(settings), len(metrics), width=3.1, height=2.6)
    for row, (setting, title) in zip(axes, settings):
        for ax, metric in zip(row, metrics):
            here = part[(part["setting"] == setting) & (part["metric"] == metric)]
            for name, line in here.groupby("name"):
                mean = line.groupby("models")["value"].mean()
                ax.plot(mean.index, mean, **drawn[name])
            ax.set_xscale("log", base=2)
            ax.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            bottom, top = 40 if metric == "attack_acc" else 0, ax.get_ylim()[1]
            ax.set_ylim(bottom, top + 0.05 * (top - bottom))
        row[0].axhline(50, **GOAL)
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax, metric in zip(axes[0], metrics):
        ax.set_title(titled(metric))
    for ax in axes[-1]:
        ax.set_xlabel("models of each kind")
    note(fig, part, "forgotten examples, all of Retrain's budget; means over subsets of models", "mean over seeds")
    legend(fig, [proxy(f"{name} (the floor)" if name.startswith(REFERENCE) else name, **look)
                 for name, look in drawn.items()])
    return fig


# ---------------------------------------------------------------- the table

def show_audit(df, stop="full", over="forget"):
    """The audit in numbers at one share of Retrain's budget, over one kind of examples: a method a line, beside the
    average gap; the second Retrain's line is the floor. Means over seeds."""
    columns = {known(metric).words: audited(df, metric, over, stop).mean() for metric in BY_EXAMPLE}
    columns |= {known(AVG_GAP).words: audited(df, AVG_GAP, None, stop).mean()}
    low, high = (audited(df, "attack_acc", over, stop, bound=bound).mean() for bound in ("low", "high"))
    table = pd.DataFrame(columns).drop(index=REFERENCE, errors="ignore")
    first = known("attack_acc").words
    order = table[first].sort_values(kind="stable").index
    table = table.loc[order].map(number)
    table[first] = [f"{text} [{low[name]:.1f}, {high[name]:.1f}]" for name, text in table[first].items()]
    return table[[first, *(c for c in table if c != first)]].rename_axis("method").rename(
        index={AGAIN: f"{AGAIN} (the floor)"})
