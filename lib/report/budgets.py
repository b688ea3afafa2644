"""What a budget buys: methods along what they cost, beside a model that is trained anew for just as long."""
import pandas as pd
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from ..errors import Bad
from ..words import AVG_GAP, RATIOS, REFERENCE, known
from .figures import label, looks_of, methods_of, named, one, papers_values, settings_of
from .numbers import number
from .statistics import AGAIN, in_order, noise_floor, paired, verdict
from .stops import PLACE, SHARES
from .style import PAPER, beyond, grid, legend, note, proxy
from .summary import by_seed, reference

PANELS = ((AVG_GAP, "comm_bytes"), (AVG_GAP, "comp_flops"), ("forget_acc", "comm_bytes"), ("mia", "comm_bytes"),
          ("test_acc", "comm_bytes"))
EARLY = {"color": "#111111", "lw": 2.4, "dashes": (None, None), "zorder": 6}
KEY = ["setting", "method", "variant", "seed", "round"]
FRACTIONS = (0.5, 0.75)
WHOLE = 110         # percent of Retrain's cost at which a panel ends at the latest


# ---------------------------------------------------------------- the curve

def budget_curves(df, methods=None, panels=None):
    """Gap and metrics against bytes and FLOPs as shares of Retrain's, mean over seeds; black: Retrain stopped early (the
    second Retrain). A method is worth its while where its gap lies below the black line. One row of panels a setting.

    panels: [(metric, cost)], default the gap against both costs and the others against bytes, or against FLOPs where
    nothing is sent.
    """
    table = along_costs(df, methods)
    panels = panels or panels_of(table)
    settings, drawn = settings_of(table), drawn_of(table)
    fig, axes = grid(len(settings), len(panels), width=3.2, height=2.8 if len(settings) < 4 else 2.1)
    printed = set()
    for row, (setting, title) in zip(axes, settings):
        paper, block = papers_values(df, setting)
        for ax, (metric, cost) in zip(row, panels):
            here = one(table, setting, metric)
            for name, look in drawn.items():
                draw_along(ax, here[here["name"] == name], cost, look)
            if known(metric).kind == "gap" and (here["value"] > 0).any():
                logarithmic(ax.yaxis)
            means = here.groupby(["name", "round"])[[cost, "value"]].mean()
            ax.set_xlim(0, end_of_budget(means[cost]))
            if metric == AVG_GAP and draw_printed(ax, paper, RATIOS[cost], drawn):
                printed.add(block)
            beyond(ax, means[cost], means["value"])
        row[0].set_ylabel(title.replace(", ", "\n").replace(": ", "\n"), fontweight="bold")
    for top, bottom, (metric, cost) in zip(axes[0], axes[-1], panels):
        top.set_title(label(metric, table))
        bottom.set_xlabel(f"{known(cost).words}, % of Retrain's")
    note(fig, table, "gap: lower is better; black: Retrain, stopped there",
         "lines: mean over seeds, bands (NoT, Retrain): smallest to largest seed", of=df)
    keys = [proxy(said(name), **look | {"marker": None}) for name, look in drawn.items()]
    if printed:
        keys.append(proxy(f"paper, in the method's colour: {' and '.join(sorted(printed))}", **PAPER))
    legend(fig, keys)
    return fig


def end_of_budget(costs):
    """Where a panel ends: at the whole budget, or a little later where what is drawn ends there."""
    return max([100, *costs[costs <= WHOLE]])


def logarithmic(axis):
    """A logarithmic axis with plain numbers."""
    axis.axes.set_yscale("log")
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_printed(ax, paper, ratio, drawn):
    """The paper's gaps at the paper's costs as diamonds in their methods' colours; whether there is one in the panel."""
    found = [(100 * paper[method, ratio], gap, method) for (method, metric), gap in paper.items()
             if metric == AVG_GAP and (method, ratio) in paper and method in drawn and gap > 0]
    for cost, gap, method in found:
        ax.plot(cost, gap, zorder=7, clip_on=False, **PAPER | {"mec": drawn[method]["color"], "ms": 5.5})
    return bool(found)


def along_costs(df, methods=None):
    """The rows of curves with a column `name` and each cost in percent of the same seed's Retrain; the reference itself
    and the trained model are left out."""
    part = df[(df["stop"] == "curve") & (df["method"] != "Original")]
    part = part[(part["method"] != REFERENCE) | (part["variant"] == AGAIN.partition(" ")[2])]
    part = part[part["method"].isin([*methods_of(part, methods), REFERENCE])]
    if AVG_GAP not in set(part["metric"]):
        raise Bad("budget_curves: no curve has a gap to Retrain")
    totals = reference(df)
    for cost in RATIOS:
        spent = part[part["metric"] == cost][[*KEY, "value"]].rename(columns={"value": cost})
        whole = totals[totals["metric"] == cost][[*PLACE, "value"]].rename(columns={"value": "whole"})
        part = part.merge(spent, on=KEY, how="left").merge(whole, on=PLACE, how="left")
        part[cost] = 100 * part[cost] / part.pop("whole")
    if part[list(RATIOS)].isna().all(axis=None):
        raise Bad("budget_curves: no curve says what it has cost; run again, since curves are kept whole")
    return named(part)


def panels_of(table):
    """The default panels; where nothing is sent, everything is drawn against computation."""
    if table["comm_bytes"].notna().any():
        return PANELS
    return tuple(dict.fromkeys((metric, "comp_flops") for metric, _ in PANELS))


def drawn_of(table):
    """`{name: look}`, the early Retrain in black."""
    drawn = looks_of(table)
    first = table.drop_duplicates("name").set_index("name")["method"]
    return {name: look | EARLY if first[name] == REFERENCE else look for name, look in drawn.items()}


def said(name):
    """A name as the legend has it."""
    return f"{name}, stopped there" if name.split()[0] == REFERENCE else name


def draw_along(ax, lines, cost, look):
    """The mean over seeds of one name, along what it costs; NoT's and Retrain's from smallest to largest seed."""
    by_round = lines.groupby("round")
    mean = by_round[cost].mean(), by_round["value"].mean()
    if lines["seed"].nunique() > 1 and (lines["name"].iloc[0] == "NoT" or lines["method"].iloc[0] == REFERENCE):
        ax.fill_between(mean[0], by_round["value"].min(), by_round["value"].max(), color=look["color"], alpha=0.15, lw=0)
    ax.plot(*mean, **look | {"marker": look.get("marker") if len(mean[0]) < 2 else None})


# ---------------------------------------------------------------- the table

def show_budgets(df):
    """The gap at a quarter, a half and all of Retrain's budget, mean ± sd, and beside it the difference to a Retrain
    stopped there: mean, 95 % interval over seeds, in how many seeds the method is nearer, and the verdict."""
    parts = [at_budget(df, stop) for stop in SHARES]
    return pd.concat(parts, axis=1).fillna("–")


def at_budget(df, stop):
    """The two columns of one budget, indexed by setting and name."""
    floors, cells = noise_floor(df, stop), {}
    for setting, table in by_seed(df, AVG_GAP, stop).groupby("setting"):
        for name in in_order(table):
            gap = table[name]
            early = paired(gap, table[AGAIN]) if AGAIN in table and name != AGAIN else None
            cells[setting, name] = (f"{number(gap.mean(), gap.std())} ({gap.count()} of {len(gap)})",
                                    words_of(early, floors.get(setting, 0.0)) if early else "")
    columns = pd.MultiIndex.from_product([[stop], ["gap, points", "against Retrain stopped there"]])
    index = pd.MultiIndex.from_tuples(list(cells), names=["setting", "method"])
    return pd.DataFrame(list(cells.values()), index, columns)


def words_of(found, floor):
    """`-2.40 [-3.02, -1.78], 10 of 10: better`; without an interval where there is one seed."""
    if not found.n:
        return "–"
    between = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.n > 1 else ""
    return f"{found.mean:+.2f}{between}, nearer in {found.wins} of {found.n}: {verdict(found, floor)}"


# ---------------------------------------------------------------- the saving

def savings(df):
    """What a method saves against a Retrain stopped early, seed by seed: setting, seed, name, at (share of Retrain's
    budget), saving.

    The early Retrain has some gap at half, and at three quarters, of Retrain's cost. A method that first has that gap
    for c of Retrain's cost, the dearer of bytes and FLOPs, saves 1 - c / half: nothing where it is as dear, NaN where
    it never gets there.
    """
    table = along_costs(df)
    gaps = table[table["metric"] == AVG_GAP].assign(spent=table[list(RATIOS)].max(axis=1) / 100)
    out = []
    for (setting, seed), here in gaps.groupby(["setting", "seed"]):
        early = here[here["method"] == REFERENCE]
        for at in FRACTIONS if len(early) else ():
            there = early[early["spent"] <= at + 1e-9]
            goal = there.loc[there["spent"].idxmax(), "value"]
            for name, line in here[here["method"] != REFERENCE].groupby("name", sort=False):
                reached = line[line["value"] <= goal]["spent"].min()
                out.append({"setting": setting, "seed": seed, "name": name, "at": at, "saving": 1 - reached / at})
    return pd.DataFrame(out, columns=["setting", "seed", "name", "at", "saving"])


def show_savings(df):
    """The savings in percent, mean ± sd over the seeds that get there, and how many do."""
    found = savings(df)
    groups = found.assign(saving=100 * found["saving"]).groupby(["setting", "name", "at"], sort=False)["saving"]
    told = groups.agg(mean="mean", sd="std", n="count", of="size").reset_index()
    text = [words_of_saving(line) for line in told.itertuples()]
    told = told.assign(text=text, at=[f"at {100 * at:.0f} % of Retrain" for at in told["at"]])
    return told.pivot(index=["setting", "name"], columns="at", values="text").rename_axis(columns="saved, %")


def words_of_saving(line):
    """`31 ± 6 (9 of 10)`, or `never`."""
    if not line.n:
        return "never"
    spread = f" ± {line.sd:.0f}" if line.n > 1 else ""
    return f"{line.mean:.0f}{spread} ({line.n} of {line.of})"
