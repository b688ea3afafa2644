"""What happens after unlearning, as figures and tables; Retrain and a second Retrain stand in every one."""
import numpy as np
import pandas as pd

from ..metrics.after import ATTACKS
from ..words import AVG_GAP, REFERENCE, titled
from .beside import beyond, found_after, images_of, off_retrain, part_of, rounds_to_know, without_words
from .figures import bare, draw_band, looks_of, named, settings_of
from .numbers import number
from .statistics import AGAIN, ALIKE, verdict
from .style import GOAL, grid, legend, looks, note, proxy, whole

EARLY = f"{REFERENCE}, stopped early"
MEASURED = ("forget_acc", "mia", "test_acc", AVG_GAP)
ATTACK_WORDS = {"loss": "whose loss has risen most", "gradient": "along whose gradient\nall weights moved",
                "first": "along whose gradient\nthe first tensor moved"}
STOPPED = {"color": "#555555", "marker": "x", "dashes": (None, None), "lw": 1.0}      # a Retrain stopped early
STEP = {"marker": "o", "ls": "", "mfc": "white", "ms": 6}       # a method right after its own step


# ---------------------------------------------------------------- figures

def with_names(df, then):
    """The rows of a part with the names that figures use, the same for all parts; a Retrain stopped early is one of its
    own."""
    part = part_of(df, then)
    plain = df["variant"].str.split(";").map(without_words)
    names = named(df.assign(variant=plain))["name"].reindex(part.index)
    return part.assign(name=names.where(part["stopped"].isna(), EARLY))


def drawn_of(df, part):
    """`{name: look}` of a part, the same in all figures; a Retrain stopped early is a thin grey line."""
    there = set(part["name"])
    drawn = {name: look for name, look in looks_of(with_names(df, "in_few_bits")).items() if name in there}
    if EARLY in there:
        drawn[EARLY] = looks([REFERENCE])[REFERENCE] | STOPPED
    return drawn


def draw_panels(axes, part, metrics, x, drawn):
    """One panel a metric: the mean over seeds of each name along x, and the span of its seeds."""
    for ax, metric in zip(axes, metrics):
        for name, look in drawn.items():
            lines = part[(part["name"] == name) & (part["metric"] == metric)]
            if len(lines):
                draw_band(ax, lines, x, look | {"ms": 4})


def finish(fig, axes, part, drawn, xlabel, text):
    """Titles, the axis below, the note and the legend of a figure of lines."""
    for ax in axes[-1]:
        ax.set_xlabel(xlabel)
        if "rounds" in xlabel:
            whole(ax.xaxis)
    note(fig, part, text, "lines: mean over seeds, bands: from the smallest to the largest")
    legend(fig, [proxy("second Retrain" if name.startswith(f"{REFERENCE} ") else name, **look | {"ms": 4})
                 for name, look in drawn.items()])
    return fig


def further_rounds(df):
    """Forget accuracy, MIA, test accuracy and the average gap to Retrain over further rounds on the retained data, the
    same rounds for all. One row of panels a setting."""
    part = with_names(df, "further")
    part = part[part["stop"] == "curve"]
    drawn, settings = drawn_of(df, part), settings_of(part)
    fig, axes = grid(len(settings), len(MEASURED), width=2.9, height=2.8)
    for row, (setting, title) in zip(axes, settings):
        draw_panels(row, part[part["setting"] == setting], MEASURED, "round", drawn | thin(drawn))
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax, metric in zip(axes[0], MEASURED):
        ax.set_title(titled(metric), fontsize=10)
    return finish(fig, axes, part, drawn | thin(drawn), "further rounds on the retained data",
                  "gap: to Retrain after as many further rounds")


def thin(drawn):
    """The looks without markers, for lines of many points."""
    return {name: look | {"marker": None} for name, look in drawn.items()}


def relearning(df):
    """Accuracy on all forgotten images (above) and on those that are not shown (below), while somebody learns k of them
    again; a column a number k."""
    part = with_names(df, "relearnt")
    settings, counts = settings_of(part), images_of(df)
    drawn = thin(drawn_of(df, part))
    fig, axes = grid(2 * len(settings), len(counts), width=3.6, height=2.5, sharex=True, sharey=True)
    for (setting, title), block in zip(settings, np.split(axes, len(settings))):
        for k, column in zip(counts, block.T):
            here = part[(part["setting"] == setting) & (part["images"] == k)]
            draw_panels(column, here, ("forget_acc", "others_acc"), "round", drawn)
            column[0].set_title(f"from {k} of the forgotten images", fontsize=10)
            if here[here["metric"] == "others_acc"].empty:
                column[1].axis("off")
                column[0].tick_params(labelbottom=True)
        for ax, words in zip(block[:, 0], ("all forgotten images (%)", "those not shown (%)")):
            ax.set_ylabel(words if len(settings) == 1 else f"{title}\n{words}")
    return finish(fig, axes, part, drawn, "rounds of learning them alone",
                  "the same images in the same order for all")


def few_bits(df):
    """Forget accuracy, MIA, test accuracy and the average gap with weights of fewer bits; 32: as they are. The gap is to
    Retrain with as many bits."""
    part = with_names(df, "in_few_bits")
    drawn, settings = drawn_of(df, part), settings_of(part)
    part = part[part["bits"].notna()]       # of a method that diverged nothing can be rounded
    order = sorted(part["bits"].unique(), reverse=True)
    part = part.assign(place=part["bits"].map(order.index))
    fig, axes = grid(len(settings), len(MEASURED), width=2.7, height=2.7)
    for row, (setting, title) in zip(axes, settings):
        draw_panels(row, part[part["setting"] == setting], MEASURED, "place", drawn)
        for ax in row:
            ax.set_xticks(range(len(order)), [f"{bits:g}" for bits in order])
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax, metric in zip(axes[0], MEASURED):
        ax.set_title(titled(metric), fontsize=10)
    return finish(fig, axes, part, drawn, "bits of a weight", "each output channel by its own largest weight")


def who_left(df):
    """How many of the other clients are less suspicious than the one that has left, an attack a panel: right after the
    method's own step (hollow) and at its end; small dots are seeds. 0.5 is chance, 1 is found."""
    part = with_names(df, "who_left")
    part = part[part["metric"] == "leaver_auc"]
    settings, drawn = settings_of(part), drawn_of(df, part)
    fig, axes = grid(len(settings), len(ATTACKS), width=2.7, height=0.27 * len(drawn) + 1.1, sharex=True, sharey=True)
    for row, (setting, title) in zip(axes, settings):
        for ax, attack in zip(row, ATTACKS):
            here = part[(part["setting"] == setting) & (part["by"] == attack)]
            ax.axvline(0.5, **GOAL)
            draw_places(ax, here, drawn)
            ax.set_xlim(-0.04, 1.04)
            bare(ax, ["second Retrain" if name.startswith(f"{REFERENCE} ") else name for name in drawn])
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax, attack in zip(axes[0], ATTACKS):
        ax.set_title(ATTACK_WORDS[attack], fontsize=9.5)
    for ax in axes[-1]:
        ax.set_xlabel("others below the leaver")
    note(fig, part, "0.5: chance, 1: the leaver is found", "small dots: seeds")
    legend(fig, [proxy("after the method's own step", **STEP, mec="#555555"),
                 proxy("at its end", marker="o", ls="", color="#555555", ms=6)])
    return fig


def draw_places(ax, here, drawn):
    """One line a name: its mean at both times, and its seeds at the end."""
    for y, (name, look) in enumerate(drawn.items()):
        own = here[here["name"] == name]
        mean = own.groupby("when")["value"].mean()
        seeds = own[own["when"] == "end"]["value"]
        ax.plot([mean["start"], mean["end"]], [y, y], color=look["color"], lw=1, alpha=0.5)
        ax.plot(mean["start"], y, **STEP, mec=look["color"], zorder=4)
        ax.plot(mean["end"], y, "o", color=look["color"], ms=6, zorder=5)
        if len(seeds) > 1:
            ax.plot(seeds, [y + 0.25] * len(seeds), "o", color=look["color"], ms=1.8, alpha=0.7)


def in_turn(df):
    """Clients that leave one after another: the average gap to a Retrain for each request, the leaver's accuracy and
    that of all who have left as differences to that Retrain's, and the computation so far as a share of its total."""
    part = with_names(df, "in_turn")
    part = part[part["stop"] == "curve"]
    drawn, settings = drawn_of(df, part), settings_of(part)
    panels = {AVG_GAP: "average gap (points)", "forget_acc": "the leaver − Retrain's (points)",
              "gone_acc": "all who left − Retrain's (points)", "comp_flops": "FLOPs so far (% of all Retrains)"}
    values = pd.concat([part[part["metric"] == AVG_GAP], shares(part),
                        off_retrain(part[part["metric"].isin(["forget_acc", "gone_acc"])], ["round"])])
    fig, axes = grid(len(settings), len(panels), width=2.9, height=2.8)
    for row, (setting, title) in zip(axes, settings):
        draw_panels(row, values[values["setting"] == setting], panels, "round", drawn)
        for ax in row[1:3]:
            ax.axhline(0, **GOAL)
        if len(settings) > 1:
            row[0].set_ylabel(title, fontweight="bold")
    for ax, words in zip(axes[0], panels.values()):
        ax.set_title(words, fontsize=9.5)
    for ax in axes.flat:
        ax.set_xticks(sorted(part["round"].unique()))
    return finish(fig, axes, part, drawn, "request", "Retrain trains anew for each request")


def shares(part):
    """Computation in percent of what the plain Retrain has spent after the last request."""
    cost = part[part["metric"] == "comp_flops"]
    whole = cost[(cost["name"] == REFERENCE)].groupby(["setting", "seed"])["value"].max()
    total = whole.reindex(pd.MultiIndex.from_frame(cost[["setting", "seed"]])).to_numpy()
    return cost.assign(value=100 * cost["value"] / total)


# ---------------------------------------------------------------- tables

def remains(df):
    """`{words: [setting, seed] x name}` of what is asked of the forgotten images, part by part, in percent."""
    found = {"now": found_after(df, "in_few_bits", "forget_acc", bits=32),
             "after further rounds": found_after(df, "further", "forget_acc", "last")}
    for k in images_of(df):
        others = found_after(df, "relearnt", "others_acc", "last", images=k)
        if len(others):
            found[f"others, after learning {k}"] = others
    bits = sorted(part_of(df, "in_few_bits")["bits"].dropna().unique(), reverse=True)
    for b in bits[1:]:
        found[f"in {b:g} bits"] = found_after(df, "in_few_bits", "forget_acc", bits=b)
    return found | {"negated again": found_after(df, "negated_again", "forget_acc")}


def show_remains(df):
    """Accuracy on forgotten images beyond Retrain's after each part: mean difference over seeds, 95 % interval, and
    whether it is told apart from it: the interval leaves out zero and the difference exceeds the second Retrain's."""
    columns = {}
    for words, table in remains(df).items():
        found = beyond(table)
        floor = (table[AGAIN] - table[REFERENCE]).abs().mean() if AGAIN in table else 0.0
        columns[words] = {name: difference(one, floor) for name, one in found.items()}
    return pd.DataFrame(columns).rename_axis("method").rename(index={AGAIN: f"{AGAIN} (the floor)"})


def difference(found, floor):
    """`+4.5 [+1.0, +8.0], above`."""
    interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if found.n > 1 else ""
    said = verdict(found, floor)
    word = "" if said == ALIKE else ", above" if found.mean > 0 else ", below"
    return f"{found.mean:+.1f}{interval}{word}"


def show_relearning(df):
    """The first round at which a model knows its client again as well as the original did, minus a point: mean ± sd over
    seeds, and of how many; a dash where it never does."""
    columns = {f"from {k} images": rounds_to_know(df, k) for k in images_of(df)}
    cells = {words: {name: back(table[name]) for name in table} for words, table in columns.items()}
    return pd.DataFrame(cells).rename_axis("method")


def back(rounds):
    """`3.2 ± 0.8`, with how many seeds where not all are back."""
    there = rounds.dropna()
    many = f" ({len(there)} of {len(rounds)} seeds)" if 0 < len(there) < len(rounds) else ""
    return number(there.mean(), there.std()) + many


def show_negated(df):
    """What is left of accuracies and MIA when the first layer is negated once more: mean ± sd over seeds."""
    metrics = ("retain_acc", "forget_acc", "test_acc", "mia")
    tables = {titled(metric): found_after(df, "negated_again", metric) for metric in metrics}
    cells = {words: {name: number(table[name].mean(), table[name].std()) for name in table}
             for words, table in tables.items()}
    return pd.DataFrame(cells).rename_axis("method")


def show_in_turn(df):
    """Average gap to Retrain at each request and FLOPs of all requests as a share of Retrain's: mean ± sd over seeds."""
    part = with_names(df, "in_turn")
    part = part[part["stop"] == "curve"]
    cells = {}
    for name, own in part.groupby("name"):
        gaps = own[own["metric"] == AVG_GAP].groupby("round")["value"]
        spent = shares(part)
        last = spent[(spent["name"] == name) & (spent["round"] == spent["round"].max())]["value"]
        cells[name] = {f"request {r}": number(values.mean(), values.std()) for r, values in gaps}
        cells[name]["FLOPs, % of Retrain's"] = number(last.mean(), last.std())
    order = list(drawn_of(df, part))
    return pd.DataFrame(cells).T.reindex(order).rename_axis("method")


def show_who_left(df):
    """How often the leaver alone was most suspicious, in percent of the seeds and of all requests in turn; chance is one
    of the candidates."""
    one, turns = with_names(df, "who_left"), with_names(df, "who_left_in_turn")
    both = pd.concat([one.assign(asked=one["when"].map({"start": "own step", "end": "end"})),
                      turns.assign(asked="in turn")])
    both = both[both["metric"] == "leaver_first"]
    table = both.pivot_table(index="name", columns=["by", "asked"], values="value")
    wanted = [(by, asked) for by in ATTACKS for asked in ("own step", "end", "in turn") if (by, asked) in table]
    order = [name for name in drawn_of(df, both) if name in table.index]
    cells = table.loc[order, wanted].map(lambda v: "–" if np.isnan(v) else f"{v:.0f}")
    return cells.rename_axis("method").rename_axis(columns=["attack", "when"])
