"""What a reader sees of the results: the papers' numbers beside ours, tables of means, verdicts on claims."""
import zlib

import numpy as np
import pandas as pd

from ..files import ROOT
from ..words import LABELS, REFERENCE, TIMING, rank
from .claims import NOT_YET, VERDICTS
from .numbers import number
from .papers import compare, paper_table
from .rows import load_results
from .summary import summary

# ---------------------------------------------------------------- tables


def seeds_text(n):
    """`mean ± sd over n = 3 seeds`, or the plain statement that one seed has no spread."""
    low, high = int(min(n)), int(max(n))
    if high <= 1:
        return "n = 1 seed, so no spread"
    return f"mean ± sd over n = {low if low == high else f'{low} to {high}'} seeds"


def show(df, caption="", metrics=None, stop="oracle"):
    """A table to look at, from rows, from `summary` or from `compare`: one line a method, the smallest gap and cost
    besides Retrain's in bold, n in the caption. A pandas Styler; its `.data` is the plain text table."""
    if "value" in df:
        df = summary(df, stop)
    paper = "paper" in df
    # times differ from run to run: only when asked for
    df = df[df["metric"].isin(metrics) if metrics else ~df["metric"].isin(TIMING)]
    found = list(dict.fromkeys(df["metric"]))
    metrics = [m for m in metrics or list(LABELS) + found if m in found]
    metrics = list(dict.fromkeys(metrics))
    told = ("setting", "round") if "setting" in df and df["setting"].nunique() > 1 else (
        "dataset", "model", "distribution", "scenario", "round")  # a setting has one of each
    lines = [c for c in told if c in df and df[c].nunique() > 1] + ["method"]
    lines += ["variant"] if (df["variant"] != "").any() else []
    main = "ours" if paper else "mean"
    cells, best = {}, {}
    for m in metrics:
        part = df[df["metric"] == m].set_index(lines)
        name = LABELS.get(m, m) + {"percent": ", %", "percent points": ", points"}.get(part["unit"].iloc[0], "")
        texts = [number(v, s, u) for v, s, u in zip(part[main], part["sd"], part["unit"])]
        if paper:
            fixed = (part["recomputed"] - part["paper"]).abs() > 0.045
            cells[name, "paper"] = pd.Series([number(p) + (f" ({r:.2f})" if f else "") for p, r, f in zip(
                part["paper"], part["recomputed"], fixed)], part.index)
            cells[name, "ours"] = pd.Series(texts, part.index)
            cells[name, "difference"] = pd.Series([f"{d:+.2f}" if np.isfinite(d) else "" for d in part["difference"]],
                                                  part.index)
        else:
            cells[name] = pd.Series(texts, part.index)
        rivals = part[~part.index.get_level_values("method").isin([REFERENCE, "Original"])][main]
        if m.startswith("avg_gap") or m in ("comm_ratio", "comp_ratio"):
            best[(name, "ours") if paper else name] = rivals[rivals == rivals.min()].index
    order = df.drop_duplicates(lines).sort_values(lines, key=rank, kind="stable").set_index(lines).index
    text = pd.DataFrame(cells).reindex(order).fillna("–")
    ran = df["n"][df["n"] > 0]
    caption = ". ".join(t for t in (caption or df.attrs.get("caption", ""), seeds_text(ran) if len(ran) else "") if t)
    if paper and any("(" in v for c in text if c[1] == "paper" for v in text[c]):
        caption += ". In brackets: the gap that follows from the paper's own rows"
    # a fixed id, so that the same table is the same HTML
    styler = text.style.set_uuid(f"{zlib.crc32((caption + text.to_csv()).encode()):08x}").set_caption(caption)
    for column, index in best.items():
        styler = styler.set_properties(subset=pd.IndexSlice[list(index), [column]], **{"font-weight": "bold"})
    return styler.set_table_styles([{"selector": "td", "props": "text-align: right; white-space: nowrap"},
                                    {"selector": "caption", "props": "caption-side: bottom; text-align: left"}])


def _judged(df):
    """Which stop the README shows: the last round; where gamma was chosen by looking at the evaluation, that oracle."""
    return "oracle" if (df["metric"] == "gamma_removal").any() else "last"


def _name(method, option):
    return f"{method} ({option})" if option else method


def _grid(head, lines):
    return "\n".join(["| method | " + " | ".join(head) + " |", "|---|" + "---:|" * len(head),
                      *("| " + " | ".join(cells) + " |" for cells in lines)])


def markdown(df, columns):
    """One Markdown table of a setting: a method a row, mean ± sd of each (metric, stop); a method without any is left
    out."""
    parts = {s: summary(df, s).set_index(["method", "variant", "metric"]) for _, s in columns}
    names = dict.fromkeys(k[:2] for m, s in columns for k in parts[s].index if k[2] == m)
    lines = []
    for name in names:
        rows = [parts[s].loc[(*name, m)] if (*name, m) in parts[s].index else None for m, s in columns]
        lines.append([_name(*name), *("–" if r is None else number(r["mean"], r["sd"], r["unit"]) for r in rows)])
    return _grid([f"{LABELS.get(m, m)} ({s})" for m, s in columns], lines)


def beside(df, table, metrics):
    """One Markdown table of a setting beside the paper's: of each metric paper, ours and the difference. The paper's
    numbers stand beside a method's first variant only."""
    both, lines, seen = compare(df, table, stop=_judged(df)), [], set()
    for (method, option), part in both.groupby(["method", "variant"], sort=False):
        part, cells = part.set_index("metric"), [_name(method, option)]
        for m in metrics:
            r = part.loc[m] if m in part.index else None
            known = r is not None and method not in seen and np.isfinite(r["paper"])
            cells += [number(r["paper"], r["paper_sd"]) if known else "–",
                      number(r["ours"], r["sd"]) if r is not None else "–",
                      f"{r['difference']:+.2f}" if known and np.isfinite(r["difference"]) else "–"]
        seen.add(method)
        lines.append(cells)
    return _grid([f"{LABELS.get(m, m)}, {w}" for m in metrics for w in ("paper", "ours", "difference")], lines)


README = {"02": ("A client leaves", ["forget_acc", "mia", "comm_ratio"]),
          "06": ("Centralised", ["forget_acc", "mia", "comp_ratio"]),
          "09": ("A backdoor is to be forgotten", ["asr", "backdoor_acc", "test_acc"])}
STOP_WORDS = {"last": "the last round", "oracle": "the best γ of each run, an oracle"}


def readme(profile):
    """The README's tables of a profile, from the committed results: Markdown. With the profile `paper` a setting on a
    paper's own data stands beside that paper's table."""
    where, out = ROOT / "results" / profile, []
    for notebook, (title, metrics) in README.items():
        if not (where / f"{notebook}.csv").exists():
            continue
        df = load_results(profile, notebook, where=where)
        for setting, part in df.groupby("setting", sort=True):
            first, n, stop = part.iloc[0], part["seed"].nunique(), _judged(part)
            paper = paper_table(first["table"]) if profile == "paper" and first["table"] else pd.DataFrame({"dataset": []})
            if first["dataset"] in set(paper["dataset"]):
                text = beside(part, first["table"], [m for m in metrics if m in set(paper["metric"])])
            elif "asr" in metrics:
                text = markdown(part, [(m, stop) for m in metrics])
            else:
                text = markdown(part, [*((m, "oracle") for m in metrics), ("avg_gap", "oracle"), ("avg_gap", "last")])
            about = f"; {STOP_WORDS[stop]}" if "asr" in metrics else ""
            out.append(f"**{title}** (`{setting}`: {first['dataset']}, {first['model']}; notebook {notebook}{about}; "
                       f"mean ± sd, n = {n} seeds)\n\n{text}")
    if (where / "claims.csv").exists():
        claims = pd.read_csv(where / "claims.csv")
        tested = claims[claims["verdict"] != NOT_YET]
        words = ", ".join(f"{(tested['verdict'] == v).sum()} {v}" for v in VERDICTS if (tested["verdict"] == v).any())
        out.append(f"Statements of the papers tested seed by seed: {tested['id'].nunique()} of {claims['id'].nunique()}, "
                   f"some at two places; verdicts: {words} (`results/{profile}/claims.csv`).")
    return "\n\n".join(out)


WORDS = {"forget": "the data to forget", "history": "stored updates", "init": "the initial model",
         "target": "the target's help"}


def show_access(access, df):
    """The access table `{method: {need: bool}}`, with what was read from disk (`storage_bytes`, mean over seeds)."""
    stored = df[(df["metric"] == "storage_bytes") & (df["stop"] == "last")].groupby("method")["value"].max()
    table = pd.DataFrame({WORDS[k]: {m: "needs" if v[k] else "" for m, v in access.items()} for k in WORDS})
    table["storage"] = [number(stored[m], unit="bytes") if stored.get(m, 0) else "" for m in table.index]
    order = pd.Series(table.index, name="method").sort_values(key=rank, kind="stable")
    return table.loc[order].rename_axis("method").style.set_uuid("access").set_table_styles(
        [{"selector": "td", "props": "text-align: center"}])
