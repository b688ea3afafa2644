"""What a reader sees of the results: the papers' numbers beside ours, tables of means, verdicts on claims."""
import zlib
from html import escape

import numpy as np
import pandas as pd

from ..checksums import verify
from ..files import ROOT
from ..words import AVG_GAP, REFERENCE, column_order, known, rank
from .claims import NOT_YET, VERDICTS
from .numbers import number, over_seeds
from .papers import compare, paper_table
from .rows import load_results
from .statistics import not_converged
from .stops import SHARES
from .summary import RUN, diverged_runs, summary

SMALLEST_IS_BEST = ("gap", "cost ratio")


def seeds_text(n):
    """`mean ± sd over n = 3 seeds`, or the plain statement that one seed has no spread."""
    low, high = int(min(n)), int(max(n))
    if high <= 1:
        return "n = 1 seed, so no spread"
    many = high if low == high else f"{low} to {high}"
    return f"mean ± sd over n = {many} seeds"


def lost_text(df):
    """`diverged: MoDE in 2 of 3 runs`, methods in order; empty where no run did."""
    lost = diverged_runs(df)["method"].value_counts()
    runs = df[RUN].drop_duplicates()["method"].value_counts()
    methods = pd.Series(lost.index, name="method").sort_values(key=rank, kind="stable")
    words = ", ".join(f"{method} in {lost[method]} of {runs[method]} runs" for method in methods)
    return f"diverged: {words}" if words else ""


def show(df, caption="", metrics=None, stop="oracle"):
    """A table to look at, from rows, from `summary` or from `compare`: one line a method, the smallest gap and cost
    besides Retrain's in bold, n and what has not converged in the caption. A pandas Styler; its `.data` is the plain text table.

    metrics: which, in order (default: all but times, which differ from run to run).
    """
    caption, doubt = caption or df.attrs.get("caption", ""), ""
    if "value" in df:
        doubt = not_converged(df)
        df = summary(df, stop)
    shown = metrics_shown(df, metrics)
    df = df[df["metric"].isin(shown)]
    lines = line_columns(df)
    cells, bold = {}, {}
    for name in shown:
        part = df[df["metric"] == name].set_index(lines)
        head = heading(name, part["unit"].iloc[0])
        if "paper" in df:
            cells |= paper_columns(head, part)
            ours, values = (head, "ours"), part["ours"]
        else:
            cells |= own_columns(head, part)
            ours, values = head, part["mean"]
        if known(name).kind in SMALLEST_IS_BEST:
            bold[ours] = best_lines(values[~lost_lines(part)])
    order = df.drop_duplicates(lines).sort_values(lines, key=rank, kind="stable").set_index(lines).index
    text = pd.DataFrame(cells).reindex(order).fillna("–")
    return styled(text, bold, ". ".join(filter(None, [caption, count_text(df), bracket_text(text), doubt])))


def metrics_shown(df, wanted=None):
    """The metrics of a table that have a column, in order."""
    there = list(dict.fromkeys(df["metric"]))
    if wanted is None:
        wanted = [name for name in [*column_order(), *there] if known(name).kind not in ("time", "end")]
    return [name for name in dict.fromkeys(wanted) if name in there]


def line_columns(df):
    """The columns that tell the lines of a table apart."""
    place = ["dataset", "model", "distribution", "scenario"]        # a setting has one of each
    if "setting" in df and df["setting"].nunique() > 1:
        place = ["setting"]
    lines = [c for c in [*place, "round"] if c in df and df[c].nunique() > 1]
    return [*lines, "method", *(["variant"] if (df["variant"] != "").any() else [])]


def heading(name, unit):
    """A metric over its column: `forget accuracy, %`."""
    short = {"percent": ", %", "percent points": ", points"}.get(unit, "")
    return known(name).words + short


def own_columns(head, part):
    """{column: cells} of one metric of ours."""
    cells = [number(*line) for line in zip(part["mean"], part["sd"], part["unit"])]
    return {head: with_diverged(cells, part)}


def with_diverged(cells, part):
    """Cells of one metric that say of how many seeds each is, where some diverged or have no number."""
    if "diverged" in part:
        cells = [over_seeds(*line) for line in zip(cells, part["n"], part["diverged"], part["of"])]
    return pd.Series(cells, part.index)


def lost_lines(part):
    """Which lines of one metric have a seed that diverged, an array of bool: none of them is the best."""
    return part["diverged"].to_numpy() > 0 if "diverged" in part else np.zeros(len(part), bool)


def paper_columns(head, part):
    """{column: cells} of one metric beside the paper: the paper's, ours and the difference."""
    paper = [printed_number(*line) for line in zip(part["paper"], part["recomputed"])]
    ours = [number(*line) for line in zip(part["ours"], part["sd"], part["unit"])]
    difference = [signed(value, none="") for value in part["difference"]]
    columns = {"paper": pd.Series(paper, part.index), "ours": with_diverged(ours, part),
               "difference": pd.Series(difference, part.index)}
    return {(head, name): cells for name, cells in columns.items()}


def printed_number(printed, recomputed):
    """The paper's number; in brackets what follows from its own rows, where that is another."""
    text = number(printed)
    return text + f" ({recomputed:.2f})" if abs(recomputed - printed) > 0.045 else text


def signed(value, none="–"):
    """`+0.29`, or what stands for none."""
    return f"{value:+.2f}" if np.isfinite(value) else none


def best_lines(values):
    """The lines that hold the smallest value of all methods that unlearn."""
    rivals = values[~values.index.get_level_values("method").isin([REFERENCE, "Original"])]
    return rivals[rivals == rivals.min()].index


def count_text(df):
    """Over how many seeds the means are, of the lines that were run."""
    n = df["n"][df["n"] > 0]
    return seeds_text(n) if len(n) else ""


def bracket_text(text):
    """What the brackets in the paper's columns are, where there are any."""
    papers = [column for column in text if isinstance(column, tuple) and column[1] == "paper"]
    if any("(" in value for column in papers for value in text[column]):
        return "In brackets: the gap that follows from the paper's own rows"
    return ""


def styled(text, bold, caption):
    """The table as HTML; with an id that follows from what it says, so that the same table is the same bytes."""
    table = text.style.set_uuid(f"{zlib.crc32((caption + text.to_csv()).encode()):08x}").set_caption(escape(caption, quote=False))
    table = table.format(escape="html").format_index(escape="html").format_index(escape="html", axis="columns")
    for column, index in bold.items():
        table = table.set_properties(subset=pd.IndexSlice[list(index), [column]], **{"font-weight": "bold"})
    return table.set_table_styles([{"selector": "td", "props": "text-align: right; white-space: nowrap"},
                                   {"selector": "caption", "props": "caption-side: bottom; text-align: left"}])


# ---------------------------------------------------------------- the README

def _judged(df):
    """Which stop the README shows: the last round; where gamma was chosen by looking at the evaluation, that oracle."""
    return "oracle" if (df["metric"] == "gamma_removal").any() else "last"


def _name(method, option):
    return f"{method} ({option})" if option else method


def _grid(head, lines):
    """A Markdown table: head and lines are texts, the first column is the method."""
    top = "| method | " + " | ".join(head) + " |"
    rule = "|---|" + "---:|" * len(head)
    return "\n".join([top, rule, *("| " + " | ".join(cells) + " |" for cells in lines)])


def markdown(df, columns):
    """One Markdown table of a setting: a method a row, mean ± sd of each (metric, stop); a method without any is left
    out."""
    parts = {stop: summary(df, stop).set_index(["method", "variant", "metric"]) for _, stop in columns}
    names = {}
    for metric, stop in columns:
        there = parts[stop].index
        names |= dict.fromkeys(key[:2] for key in there[there.get_level_values("metric") == metric])
    lines = []
    for name in names:
        cells = [own_cell(parts[stop], (*name, metric)) for metric, stop in columns]
        lines.append([_name(*name), *cells])
    return _grid([f"{known(metric).words} ({stop})" for metric, stop in columns], lines)


def own_cell(part, key):
    """Mean ± sd of one (method, variant, metric), or a dash."""
    if key not in part.index:
        return "–"
    line = part.loc[key]
    return over_seeds(number(line["mean"], line["sd"], line["unit"]), line["n"], line["diverged"], line["of"])


def beside(df, table, metrics):
    """One Markdown table of a setting beside the paper's: of each metric paper, ours and the difference. The paper's
    numbers stand beside a method's first variant only."""
    both = compare(df, table, stop=_judged(df))
    lines, seen = [], set()
    for (method, option), part in both.groupby(["method", "variant"], sort=False):
        part = part.set_index("metric")
        cells = [_name(method, option)]
        for name in metrics:
            cells += cells_beside(part, name, printed=method not in seen)
        seen.add(method)
        lines.append(cells)
    heads = [f"{known(name).words}, {what}" for name in metrics for what in ("paper", "ours", "difference")]
    return _grid(heads, lines)


def cells_beside(part, name, printed):
    """Paper, ours and difference of one metric; dashes for what is not there. printed: whether the paper's stand."""
    if name not in part.index:
        return ["–", "–", "–"]
    line = part.loc[name]
    ours = over_seeds(number(line["ours"], line["sd"]), line["n"], line["diverged"], line["of"])
    if not printed or not np.isfinite(line["paper"]):
        return ["–", ours, "–"]
    return [number(line["paper"], line["paper_sd"]), ours, signed(line["difference"])]


README = {"02": ("A client leaves", ["forget_acc", "mia", "comm_ratio"]),
          "06": ("Centralised", ["forget_acc", "mia", "comp_ratio"]),
          "09": ("A backdoor is to be forgotten", ["asr", "backdoor_acc", "test_acc"])}
STOP_WORDS = {"last": "the last round", "oracle": "the best γ of each run, an oracle"}


def readme(profile):
    """The README's tables of a profile, from the committed results: Markdown. With the profile `paper` a setting on a
    paper's own data stands beside that paper's table."""
    where, out = ROOT / "results" / profile, []
    for notebook in README:
        if (where / f"{notebook}.csv").exists():
            df = load_results(profile, notebook, where=where)
            out += [readme_table(profile, notebook, part) for _, part in df.groupby("setting", sort=True)]
    if (where / "claims.csv").exists():
        path = verify(where / "claims.csv", f"publish profile {profile} again, or restore the file")
        out.append(readme_claims(profile, pd.read_csv(path)))
    return "\n\n".join(out)


def readme_table(profile, notebook, part):
    """One setting's table, with the line above it."""
    title, metrics = README[notebook]
    first, stop, backdoor = part.iloc[0], _judged(part), "asr" in metrics
    printed = paper_table(first["table"]) if profile == "paper" and first["table"] else None
    if printed is not None and first["dataset"] in set(printed["dataset"]):
        text = beside(part, first["table"], [name for name in metrics if name in set(printed["metric"])])
    elif backdoor:
        text = markdown(part, [(name, stop) for name in metrics])
    else:
        text = markdown(part, columns_of(part, metrics))
    about = f"; {STOP_WORDS[stop]}" if backdoor else ""
    return (f"**{title}** (`{first['setting']}`: {first['dataset']}, {first['model']}; notebook {notebook}{about}; "
            f"mean ± sd, n = {part['seed'].nunique()} seeds)\n\n{text}")


def columns_of(part, metrics):
    """The (metric, stop) of a setting's table: what was measured at half of Retrain's budget, and the gap at each
    budget and at the oracle's round; where there are no whole curves, everything at the oracle's and the gap at the last.
    """
    if "half" not in set(part["stop"]):
        return [*((name, "oracle") for name in metrics), (AVG_GAP, "oracle"), (AVG_GAP, "last")]
    measured = [name for name in metrics if known(name).kind != "cost ratio"]
    return [*((name, "half") for name in measured), *((AVG_GAP, stop) for stop in (*SHARES, "oracle"))]


def readme_claims(profile, claims):
    """How many of the papers' statements were tested, and how they fared."""
    claims = claims[~claims["id"].str.startswith("A")]      # our own
    tested = claims[claims["verdict"] != NOT_YET]
    counts = {verdict: (tested["verdict"] == verdict).sum() for verdict in VERDICTS}
    words = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    return (f"Statements of the papers tested seed by seed: {tested['id'].nunique()} of {claims['id'].nunique()}, "
            f"some at two places; verdicts: {words} (`results/{profile}/claims.csv`).")


# ---------------------------------------------------------------- what methods need

NEEDS = {"forget": "the data to forget", "history": "stored updates", "init": "the initial model",
         "target": "the target's help"}


def show_access(access, df):
    """The access table `{method: {need: bool}}`, with what was read from disk (`storage_bytes`, most of all seeds)."""
    stored = df[(df["metric"] == "storage_bytes") & (df["stop"] == "last")].groupby("method")["value"].max()
    needs = pd.DataFrame(access).T
    table = pd.DataFrame({words: np.where(needs[name], "needs", "") for name, words in NEEDS.items()}, needs.index)
    table["storage"] = [number(stored[m], unit="bytes") if stored.get(m, 0) else "" for m in table.index]
    order = pd.Series(table.index, name="method").sort_values(key=rank, kind="stable")
    return table.loc[order].rename_axis("method").style.set_uuid("access").format_index(escape="html").set_table_styles(
        [{"selector": "td", "props": "text-align: center"}])
