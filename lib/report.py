"""What a reader sees of the results: the papers' numbers beside ours, tables of means, verdicts on claims."""
import difflib
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from .params import Bad
from .results import (LABELS, REFERENCE, ROOT, TIMING, folder, load_results, rank, summary, to_csv, unit_of,
                      write)

VERDICTS = ("holds in every seed", "fails in every seed", "mixed", "not testable at this scale")
NOT_YET = "not yet"
CLAIM_COLUMNS = ["id", "place", "text", "value", "n", "n_holds", "verdict"]


# ---------------------------------------------------------------- beside the papers

def paper_table(name):
    """The paper's table as printed: table, dataset, distribution, model, method, metric, mean, std, delta,
    delta_recomputed, unit."""
    path = ROOT / "paper" / f"{name}.csv"
    if not path.exists():
        raise Bad(f"paper table {name!r}: there are {', '.join(sorted(p.stem for p in path.parent.glob('*_table*')))}")
    df = pd.read_csv(path, keep_default_na=False, na_values={c: [""] for c in ("mean", "std", "delta",
                                                                                "delta_recomputed")})
    return df.assign(**{c: v for c, v in (("distribution", ""), ("delta_recomputed", np.nan)) if c not in df})


def compare(df, table, dataset=None, model=None, distribution=None, stop="oracle"):
    """The paper beside one setting of ours: method, variant, metric, unit, paper, paper_sd, recomputed, ours, sd,
    difference, n.

    Costs stand as a ratio to Retrain. Without dataset/model/distribution the paper's block is ours if it has it,
    else its first. Accuracies on another data set get no difference; gaps and ratios do. `recomputed` is the
    paper's gap from its own rows.
    """
    paper = paper_table(table)
    paper["distribution"] = paper["distribution"].replace("random_iid", "iid")
    mine = df[df["table"] == table] if (df["table"] == table).any() else df
    if mine["setting"].nunique() != 1:
        raise Bad(f"compare {table}: give one setting, e.g. df[df.setting == {sorted(set(df['setting']))[:1]}]")
    ours = summary(mine, stop)
    for c, wish in (("dataset", dataset), ("model", model), ("distribution", distribution)):
        if wish is not None and wish not in set(paper[c]):
            raise Bad(f"compare {table}: no {c} {wish!r}, there are {', '.join(dict.fromkeys(paper[c]))}")
        here = mine[c].iloc[0]
        wish = wish or (here if here in set(paper[c]) else paper[c].iloc[0])
        paper = paper[paper[c] == wish]
    block = paper.iloc[0]
    costs = paper[paper["metric"].isin(["comm_bytes", "comp_flops"])]
    base = costs[costs["method"] == REFERENCE].set_index("metric")["mean"]
    ratio = costs.assign(mean=costs["mean"] / costs["metric"].map(base), std=np.nan, delta_recomputed=np.nan,
                         metric=costs["metric"].map({"comm_bytes": "comm_ratio", "comp_flops": "comp_ratio"}))
    gap = paper[paper["metric"] == "avg_gap"]
    paper = pd.concat([paper, ratio.dropna(subset="mean"), gap.assign(metric="avg_gap_of_means")])
    paper = paper[~paper["metric"].isin(["comm_bytes", "comp_flops"])].rename(columns={"mean": "paper",
                                                                                        "std": "paper_sd"})
    paper["recomputed"] = paper["delta_recomputed"].where(paper["metric"].str.startswith("avg_gap"))
    out = paper[["method", "metric", "paper", "paper_sd", "recomputed"]].merge(
        ours[["method", "variant", "metric", "mean", "sd", "n"]], on=["method", "metric"], how="outer")
    out = out[out["metric"].isin(set(paper["metric"]))].rename(columns={"mean": "ours"})
    out["variant"], out["n"] = out["variant"].fillna(""), out["n"].fillna(0).astype(int)
    out["unit"] = [{"comm_ratio": "ratio", "comp_ratio": "ratio"}.get(m) or unit_of(m) for m in out["metric"]]
    same = mine["dataset"].iloc[0] == block["dataset"]
    comparable = same | out["unit"].isin(["ratio", "percent points"])
    out["difference"] = (out["ours"] - out["paper"]).where(comparable)
    order = {m: i for i, m in enumerate(LABELS)}
    out = out.sort_values(["method", "variant", "metric"], kind="stable", ignore_index=True,
                          key=lambda c: c.map(lambda m: order.get(m, 99)) if c.name == "metric" else rank(c))
    out.attrs["caption"] = (f"Paper: {table}, {block['dataset']}, {block['model']}. "
                            f"Ours: {mine['dataset'].iloc[0]}, {mine['model'].iloc[0]}, stop: {stop}")
    return out[["method", "variant", "metric", "unit", "paper", "paper_sd", "recomputed", "ours", "sd", "difference",
                "n"]]


# ---------------------------------------------------------------- tables

def number(mean, sd=np.nan, unit="percent"):
    """`83.86 ± 0.17`, or without ± where there is no spread; bytes and FLOPs with a prefix; a dash for NaN."""
    if np.isnan(mean):
        return "–"
    scale, prefix = 1.0, ""
    if unit in ("bytes", "FLOPs"):
        power = int(np.clip(np.log10(abs(mean)) // 3, 0, 7)) if mean else 0
        scale, prefix = 1000.0 ** power, " " + " kMGTPEZ"[power].strip() + ("B" if unit == "bytes" else "FLOP")

    def plain(v):
        return f"{v:.2f}" if v == 0 or 0.01 <= abs(v) < 1e5 else f"{v:.2g}"
    return plain(mean / scale) + ("" if np.isnan(sd) else f" ± {plain(sd / scale)}") + prefix


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


# ---------------------------------------------------------------- claims

def claim_texts():
    """The papers' claims, one a row: id (index), paper, place, claim."""
    return pd.read_csv(ROOT / "paper" / "claims.csv", dtype=str).set_index("id")


def claim(id, place, value, holds):
    """One row of claims: `place` is where our number stands, `value` the number in words, `holds` one True, False or
    None (not testable) for each seed."""
    texts = claim_texts()["claim"]
    if id not in texts.index:
        near = difflib.get_close_matches(str(id), texts.index, 1)
        raise Bad(f"paper/claims.csv: no claim {id!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    tested = [bool(h) for h in holds if h is not None]
    yes = sum(tested)
    verdict = VERDICTS[3] if not tested else VERDICTS[0] if yes == len(tested) else VERDICTS[2] if yes else VERDICTS[1]
    return {"id": id, "place": place, "text": texts[id], "value": str(value), "n": len(tested), "n_holds": yes,
            "verdict": verdict}


def show_claims(claims):
    """The claims as a table to look at."""
    df = pd.DataFrame(list(claims), columns=CLAIM_COLUMNS)
    return df[["id", "text", "value", "n", "verdict"]].style.hide(axis="index").set_uuid("claims").set_table_styles(
        [{"selector": "td", "props": "text-align: left; vertical-align: top"}])


def save_claims(profile, notebook, claims):
    """Write <notebook>.claims.csv beside the results; the same id may stand at several places. Returns the path."""
    df = pd.DataFrame(list(claims), columns=CLAIM_COLUMNS).sort_values(["id", "place"], kind="stable")
    if df.duplicated(["id", "place"]).any() or df["verdict"].isna().any():
        raise Bad(f"claims of notebook {notebook}: one row for each id and place, made by claim(...)")
    write(folder(profile) / f"{notebook}.claims.csv", to_csv(df))


def merge_claims(where):
    """All <notebook>.claims.csv of one folder of results in the papers' order, with a column `notebook`; a claim that
    none of them tests is there too, as `not yet`."""
    found = [pd.read_csv(p, dtype={"value": str, "place": str}, keep_default_na=False).assign(notebook=p.name.split(".")[0])
             for p in sorted(Path(where).glob("*.claims.csv"))]
    texts = claim_texts()["claim"]
    done = {i for f in found for i in f["id"]}
    rest = pd.DataFrame([{"id": i, "place": "", "text": t, "value": "", "n": 0, "n_holds": 0, "verdict": NOT_YET,
                          "notebook": ""} for i, t in texts.items() if i not in done])
    return pd.concat([*found, rest])[[*CLAIM_COLUMNS, "notebook"]].sort_values(
        ["id", "notebook", "place"], kind="stable", ignore_index=True)
