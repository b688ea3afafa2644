"""The methods of both papers side by side: right after their own step, and after as many rounds of recovery for each."""
import pandas as pd

from ..errors import Bad
from ..words import REFERENCE
from .budgets import along_costs, drawn_of, said, words_of
from .figures import settings_of
from .numbers import number
from .rows import variant
from .statistics import AGAIN, in_order, noise_floor, paired
from .stops import PLACE
from .style import grid, legend, note, proxy
from .summary import after, reference

ROUNDS = (0, 1, 5, 10, 20)      # of recovery; 0 is right after a method's own step
GOAL = {"marker": "*", "ls": "", "color": "#111111", "ms": 13, "zorder": 7}


def with_first_round(records, short):
    """The records of runs, each with the first round of the same run, `short`, that was evaluated at every round.

    Bad where a run has no short one.
    """
    found = {run_of(record): record["curve"] for record in short}
    out = []
    for record in records:
        if run_of(record) not in found:
            raise Bad(f"with_first_round: {record['setting']}/{record['method']}, seed {record['seed']}, has no short run; "
                      "give lib.run_all(tasks, store, count=1, every=1)")
        there = {point["round"] for point in record["curve"]}
        first = [point for point in found[run_of(record)] if point["round"] == 1 and 1 not in there]
        out.append(record | {"curve": sorted([*record["curve"], *first], key=lambda point: point["round"])})
    return out


def run_of(record):
    """What names a run."""
    return record["setting"], record["seed"], record["method"], variant(record["variant"])


# ---------------------------------------------------------------- the table

def show_after(df, rounds=ROUNDS):
    """The gap after each number of rounds, mean ± sd, and beside it the difference to a Retrain of as many rounds: mean,
    95 % interval over seeds, in how many seeds the method is nearer, and the verdict."""
    return pd.concat([after_in_words(df, k) for k in rounds], axis=1).fillna("–")


def after_in_words(df, k):
    """The two columns of one number of rounds, indexed by setting and name."""
    floors, cells = noise_floor(df), {}
    for setting, table in after(df, k).groupby("setting"):
        for name in in_order(table):
            early = paired(table[name], table[AGAIN]) if AGAIN in table and name != AGAIN else None
            words = words_of(early, floors.get(setting, 0.0)) if early else ""
            cells[setting, name] = number(table[name].mean(), table[name].std()), words
    columns = pd.MultiIndex.from_product([[f"{k} rounds"], ["gap, points", "against Retrain of as many rounds"]])
    index = pd.MultiIndex.from_tuples(list(cells), names=["setting", "method"])
    return pd.DataFrame(list(cells.values()), index, columns)


# ---------------------------------------------------------------- the figure

def through_rounds(df, rounds=ROUNDS):
    """Forgetting against usefulness against bytes: one line a method through the numbers of rounds of recovery, or the
    evaluated ones nearest to them, mean over seeds, as differences to the same seed's Retrain (the star); the first dot
    is the state after the method's own step. Black: a Retrain of as many rounds. One row of panels a setting."""
    table = off_retrain(df, rounds)
    settings, drawn = settings_of(table), drawn_of(table)
    fig, axes = grid(len(settings), 3, width=4.0, height=3.4)
    for row, (setting, title) in zip(axes, settings):
        here = table[table["setting"] == setting]
        for name, look in drawn.items():
            draw_path(row, here[here["name"] == name], look)
        row[0].plot(0, 0, **GOAL)
        row[0].set_ylabel(f"{title}\n\ntest accuracy − Retrain's", fontweight="bold")
        row[1].set_ylabel("forget accuracy − Retrain's")
        row[2].set_ylabel("test accuracy − Retrain's")
        for ax in row:
            ax.axhline(0, color="#111111", lw=0.8, ls=(0, (4, 3)))
        row[0].axvline(0, color="#111111", lw=0.8, ls=(0, (4, 3)))
    for ax, words in zip(axes[-1], ("forget accuracy − Retrain's, points", "data sent, % of Retrain's", "data sent, % of Retrain's")):
        ax.set_xlabel(words)
    for ax, words in zip(axes[0], ("use against forgetting", "forgetting against bytes", "use against bytes")):
        ax.set_title(words)
    note(fig, table, f"dots: {rounds_in_words(table, settings)}; the large one is the last",
         "lines: mean over seeds, crosses (NoT, Retrain): smallest to largest seed", of=df)
    legend(fig, [proxy(said(name), **look | {"marker": "o", "ms": 4}) for name, look in drawn.items()])
    return fig


def rounds_in_words(table, settings):
    """`after 0, 1, 5 rounds`, or of each setting, where they differ: `IID after 0, 1, 4 rounds, preferential after …`."""
    said = {title: ", ".join(map(str, sorted(set(table.loc[table["setting"] == setting, "round"]))))
            for setting, title in settings}
    if len(set(said.values())) == 1:
        return f"after {next(iter(said.values()))} rounds"
    return ", ".join(f"{title} after {numbers} rounds" for title, numbers in said.items())


def nearest_of(here, rounds):
    """The rows of one setting at those evaluated rounds of the second Retrain that are nearest to `rounds`."""
    there = sorted(set(here.loc[here["method"] == REFERENCE, "round"]))
    return here[here["round"].isin({min(there, key=lambda t: abs(t - wanted)) for wanted in rounds})]


def off_retrain(df, rounds):
    """The chosen rounds of `along_costs`: forget and test accuracy as differences to the same seed's Retrain."""
    table = along_costs(df)
    table = table[table["metric"].isin(["forget_acc", "test_acc"])]
    table = pd.concat([nearest_of(here, rounds) for _, here in table.groupby("setting")])
    ends = reference(df)[[*PLACE, "metric", "value"]].rename(columns={"value": "end"})
    table = table.merge(ends, on=[*PLACE, "metric"])
    return table.assign(value=table["value"] - table.pop("end"))


def draw_path(row, lines, look):
    """One name in the three panels of a setting, mean over seeds: use against forgetting, and each against bytes."""
    if lines.empty:
        return
    mean = lines.pivot_table(index="round", columns="metric", values="value").sort_index()
    sent = lines.groupby("round")["comm_bytes"].mean().sort_index()
    look = look | {"marker": "o", "ms": 3.5}
    last = {"marker": "o", "ms": 7, "color": look["color"], "zorder": 6}
    for ax, x, y in zip(row, (mean["forget_acc"], sent, sent), (mean["test_acc"], mean["forget_acc"], mean["test_acc"])):
        ax.plot(x, y, **look)
        ax.plot(x.iloc[-1:], y.iloc[-1:], **last)
    if lines["seed"].nunique() > 1 and (lines["name"].iloc[0] == "NoT" or lines["method"].iloc[0] == REFERENCE):
        draw_reach(row[0], lines[lines["round"] == lines["round"].max()], look["color"])


def draw_reach(ax, end, color):
    """A cross at the end of a line, from the smallest to the largest seed."""
    of = end.groupby("metric")["value"].agg(["mean", "min", "max"])
    (x, left, right), (y, low, high) = of.loc["forget_acc"], of.loc["test_acc"]
    ax.errorbar(x, y, [[y - low], [high - y]], [[x - left], [right - x]], color=color, elinewidth=1.2, zorder=6)
