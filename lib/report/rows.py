"""Results in one long schema: rows, files, and what is computed from rows (gaps, ratios, means)."""
import difflib
import itertools
import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import Bad
from ..files import folder, write
from ..words import GAP, REFERENCE, RENAME, TIMING, unit_of

COLUMNS = ["profile", "notebook", "setting", "table", "dataset", "model", "distribution", "scenario", "method",
           "variant", "seed", "stop", "round", "metric", "value", "unit"]
TEXT = [c for c in COLUMNS if c not in ("seed", "round", "value")]
KEY = [c for c in COLUMNS if c not in ("value", "unit")]
GROUP = ("setting", "dataset", "model", "distribution", "scenario", "method", "variant")
STOPS = ("oracle", "last", "curve")
ROWS = 7000  # of a committed table: about a megabyte


def variant(options):
    """`gamma=30;reset=zero` for {"reset": "zero", "gamma": 30}; text is returned as it is."""
    def word(v):
        return f"{v:g}" if isinstance(v, float) else "+".join(map(str, v)) if isinstance(v, (list, tuple)) else str(v)
    if isinstance(options, str) or not options:
        return options or ""
    return ";".join(f"{k}={word(options[k])}" for k in sorted(options))


def option(df, key):
    """The value of one hyper-parameter read from `variant` for each row: numbers where possible, else text, NaN
    where the variant does not name it."""
    found = df["variant"].str.extract(rf"(?:^|;){key}=([^;]*)", expand=False)
    numbers = pd.to_numeric(found, errors="coerce")
    return numbers if numbers.notna().sum() == found.notna().sum() else found


def rows(records, units=None, **common):
    """Long table from plain dicts with any of COLUMNS; `common` fills the rest (profile=, notebook=, ...), `unit`
    follows from `metric`, `stop` is `last`, `round` 0, other text empty."""
    out = []
    for record in records:
        row = {**dict.fromkeys(TEXT, ""), "stop": "last", "round": 0, **common, **record}
        row["variant"] = variant(row["variant"])
        row["unit"] = row["unit"] or unit_of(row.get("metric", ""), units)
        out.append(row)
    df = pd.DataFrame(out, columns=list(dict.fromkeys([*COLUMNS, *(k for r in out for k in r)])))
    return check(df)


def to_rows(profile, notebook, runs, table="", units=None):
    """Long table of one notebook's runs.

    Each run is a dict with setting, dataset, model, distribution, scenario, method, variant (text or dict), seed,
    curve and perhaps storage_bytes and table. `curve` lists the evaluated rounds: {"round": t, "bytes": .., "flops":
    .., "seconds": .., metric: value ..}, costs counted from the beginning of unlearning. Values that are no numbers
    are left out. `table` is one word or {setting: word}. `avg_gap` is against Retrain of the same seed at its last
    round; `oracle` is the round with the smallest, the earliest of equals (Retrain itself: its last).
    """
    runs, out = list(runs), []
    ends = {}
    for run in runs:
        if not run["curve"]:
            raise Bad(f"run {run['setting']}/{run['method']}, seed {run['seed']}: no evaluated round in its curve")
        if run["method"] == REFERENCE:
            key = run["setting"], run["seed"]
            # of several kinds of Retrain the plain one counts
            ends[key] = min(ends.get(key, run), run, key=lambda r: variant(r.get("variant")))
    for run in runs:
        named = {c: run.get(c, "") for c in COLUMNS[2:11]}
        named["table"] = named["table"] or (table.get(run["setting"], "") if isinstance(table, dict) else table)
        points = sorted(run["curve"], key=lambda p: p["round"])
        ref = ends.get((run["setting"], run["seed"]))
        stops = [("curve", i) for i in range(len(points))] + [("last", len(points) - 1)]
        gaps = []
        if ref is not None:
            end = max(ref["curve"], key=lambda p: p["round"])
            gaps = [np.mean([abs(p.get(m, np.nan) - end.get(m, np.nan)) for m in GAP]) for p in points]
            best = len(points) - 1
            if run["method"] != REFERENCE and not np.isnan(gaps).all():
                best = int(np.nanargmin(gaps))
            stops.append(("oracle", best))
        for stop, i in stops:
            values = {RENAME.get(k, k): v for k, v in points[i].items() if k != "round" and _number(v)}
            if stop == "curve":
                values = {k: v for k, v in values.items() if k not in TIMING}
            elif _number(run.get("storage_bytes")):
                values["storage_bytes"] = run["storage_bytes"]
            if gaps and not np.isnan(gaps[i]):
                values["avg_gap"] = gaps[i]
            out += [{**named, "stop": stop, "round": points[i]["round"], "metric": k, "value": v}
                    for k, v in values.items()]
    return rows(out, units, profile=profile, notebook=notebook)


def _number(value):
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def check(df, profile=None, notebook=None):
    """The same table with columns in order and rows sorted; Bad if it is not exactly the schema. NaN is allowed as a
    value only (a ratio without a denominator)."""
    for c in df.columns:
        if c not in COLUMNS:
            near = difflib.get_close_matches(str(c), COLUMNS, 1)
            raise Bad(f"results: unknown column {c!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    missing = [c for c in COLUMNS if c not in df.columns]
    if missing:
        raise Bad(f"results: missing column {', '.join(missing)}; the schema is {','.join(COLUMNS)}")
    df = df[COLUMNS].copy()
    for c in TEXT:
        if df[c].isna().any() or not df[c].map(lambda v: isinstance(v, str)).all():
            raise Bad(f"results: column {c!r} holds a value that is no text, e.g. {_first(df, c)!r}")
    for c in ("method", "metric", "unit"):
        if (df[c] == "").any():
            raise Bad(f"results: column {c!r} is empty in {int((df[c] == '').sum())} rows; it has to be named")
    for c in ("seed", "round", "value"):
        number = pd.to_numeric(df[c], errors="coerce").astype(float)
        if c != "value" and not (number == number.round()).all() or (number.isna() & df[c].notna()).any():
            raise Bad(f"results: column {c!r} has to hold {'numbers' if c == 'value' else 'whole numbers'}")
        df[c] = number if c == "value" else number.astype("int64")
    wrong = set(df["stop"]) - set(STOPS)
    if wrong:
        raise Bad(f"results: stop {min(wrong)!r} is none of {', '.join(STOPS)}")
    for c, wanted in (("profile", profile), ("notebook", notebook)):
        if wanted is not None and set(df[c]) - {wanted}:
            raise Bad(f"results: column {c!r} says {_first(df[df[c] != wanted], c)!r}, but {wanted!r} is to be saved")
    twice = df[df.duplicated(KEY)]
    if len(twice):
        raise Bad("results: two rows for " + ", ".join(f"{c}={twice.iloc[0][c]}" for c in KEY if c in (
            "setting", "method", "variant", "seed", "stop", "round", "metric")) + "; name what differs in `variant`")
    return df.sort_values(KEY, kind="stable", ignore_index=True)


def _first(df, column):
    return next((v for v in df[column] if not isinstance(v, str)), df[column].iloc[0])


def to_csv(df):
    text = df.copy()
    if "value" in df and df["value"].dtype.kind == "f":
        text["value"] = [f"{v:.8g}" for v in df["value"]]
    return text.to_csv(index=False, lineterminator="\n")


def thin(df, points=12, sweeps=False):
    """The rows fit to be kept: of each curve about `points` rounds, first and last among them, without losses and
    costs; with `sweeps`, of a sweep over more than 12 gammas 20, 40, 60, 80 and the fixed 30, as ratios; the rest
    whole."""
    gamma = option(df, "gamma")
    if sweeps:
        swept = (df["stop"] == "last") & gamma.notna() & (gamma.groupby(df["setting"]).transform("nunique") > 12)
        aside = df["metric"].isin(["test_acc", "target_acc", "mia_acc", "reset_params"])
        df = df[~(swept & (aside | (gamma % 20 != 0) & (gamma != 30)))]
    curve = df["stop"] == "curve"
    run = ["setting", "method", "variant", "seed"]
    place = df[curve].groupby(run)["round"].rank("dense").astype(int)
    last = place.groupby([df.loc[curve, c] for c in run]).transform("max")
    step = np.ceil(last / points).astype(int)
    chosen = ((place - 1) % step == 0) | (place == last)
    metric = df.loc[curve, "metric"]
    wanted = ~metric.str.contains("_(?:loss|bytes|flops)$") | metric.str.match("train|test")
    return df[~curve | (chosen & wanted).reindex(df.index, fill_value=False)]


def save_results(profile, notebook, df, device="cpu", dtype="float32", **meta):
    """Write <notebook>.csv (curves thinned, see `thin`), <notebook>.timing.csv (seconds) and <notebook>.meta.json."""
    whole = check(df, profile, notebook)
    for points, sweeps in itertools.product((12, 9, 6, 3), (False, True)):
        df = thin(whole, points, sweeps)
        if len(df) <= ROWS:
            break
    timing = df["metric"].isin(TIMING) | (df["unit"] == "seconds")
    seeds = sorted({int(s) for s in df["seed"]})
    about = {"profile": profile, "notebook": notebook, "device": str(device), "dtype": str(dtype), "seeds": seeds,
             "n": len(seeds), "python": platform.python_version(), **meta}
    for package in ("torch", "torchvision", "numpy", "scikit-learn", "pandas"):
        try:
            about[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            about[package] = None
    base = folder(profile)
    write(base / f"{notebook}.timing.csv", to_csv(df[timing]))
    write(base / f"{notebook}.meta.json", json.dumps(about, indent=1, sort_keys=True) + "\n")
    write(base / f"{notebook}.csv", to_csv(df[~timing]))


def load_results(profile, notebook, timing=False, where=None):
    """What `save_results` wrote; `where` is another folder of results, e.g. the committed results/<profile>."""
    path = Path(where or folder(profile)) / f"{notebook}{'.timing' if timing else ''}.csv"
    if not path.exists():
        raise Bad(f"{path}: no such results; run notebook {notebook} with profile {profile} first")
    text = {c: str for c in TEXT}
    return check(pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": ["nan"]}), profile, notebook)
