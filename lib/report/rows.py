"""Results in one long schema: rows from records, and the files they are kept in."""
import itertools
import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from ..checksums import seal, verify
from ..errors import Bad, nearest
from ..files import folder, write
from ..words import AVG_GAP, DIVERGED, GAP, REFERENCE, known, metric

COLUMNS = ["profile", "notebook", "setting", "table", "dataset", "model", "distribution", "scenario", "method",
           "variant", "seed", "stop", "round", "metric", "value", "unit"]
OF_RUN = ["setting", "table", "dataset", "model", "distribution", "scenario", "method", "variant", "seed"]
NUMBERS = ["seed", "round", "value"]
TEXT = [c for c in COLUMNS if c not in NUMBERS]
KEY = [c for c in COLUMNS if c not in ("value", "unit")]
GROUP = ("setting", "dataset", "model", "distribution", "scenario", "method", "variant")
STOPS = ("oracle", "last", "curve")
COSTS = {"bytes": "comm_bytes", "flops": "comp_flops"}      # what a curve calls them, and the metric


# ---------------------------------------------------------------- variants

def variant(options):
    """`gamma=30;reset=zero` for {"reset": "zero", "gamma": 30}; text is returned as it is."""
    if isinstance(options, str) or not options:
        return options or ""
    return ";".join(f"{name}={_word(options[name])}" for name in sorted(options))


def _word(value):
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return str(value)


def option(df, key):
    """The value of one hyper-parameter read from `variant` for each row: numbers where possible, else text, NaN
    where the variant does not name it."""
    found = df["variant"].str.extract(rf"(?:^|;){key}=([^;]*)", expand=False)
    numbers = pd.to_numeric(found, errors="coerce")
    return numbers if numbers.notna().sum() == found.notna().sum() else found


def has_option(part, key):
    """Whether some variant names that option."""
    return part["variant"].str.contains(rf"(?:^|;){key}=").any()


def with_options(part, *keys):
    """The rows with options of their variants as columns."""
    return part.assign(**{key: option(part, key) for key in keys})


# ---------------------------------------------------------------- rows from records

def rows(records, units=None, *, table="", **common):
    """The long table of any records: those of runs, which have a `curve`, and plain ones, which have one `value`.

    A run gives rows at each evaluated round (stop `curve`), at its last (`last`) and, where its setting and seed have
    a Retrain, at the round with the smallest average gap (`oracle`). A plain record has any of COLUMNS: stop is
    `last` and round 0 where it does not say. table: the paper's table, one word or {setting: word}; common: columns
    that all rows have (profile=, notebook=, ...); units: {metric: unit} of metrics that have no row in lib/words.py.
    """
    records = list(records)
    ends = retrain_ends(records)
    plain = []
    for record in records:
        if "curve" in record:
            plain += rows_of_run(record, ends.get((record["setting"], record["seed"])))
        else:
            plain.append({name: value for name, value in record.items() if name != "label"})
    whole = [whole_row(record, table, common, units) for record in plain]
    more = [name for row in whole for name in row]
    return check(pd.DataFrame(whole, columns=list(dict.fromkeys([*COLUMNS, *more]))))


def whole_row(record, table, common, units):
    """A record with every column: what it says itself, what is common to all, and what follows."""
    row = {**dict.fromkeys(TEXT, ""), "stop": "last", "round": 0, **common, **record}
    row["table"] = row["table"] or (table.get(row["setting"], "") if isinstance(table, dict) else table)
    row["variant"] = variant(row["variant"])
    row["unit"] = row["unit"] or metric(row.get("metric", ""), units).unit
    return row


def retrain_ends(records):
    """`{(setting, seed): the last point of Retrain's curve}`; of several kinds of Retrain the plain one counts."""
    chosen = {}
    for run in records:
        if "curve" not in run:
            continue
        if not run["curve"]:
            raise Bad(f"run {run['setting']}/{run['method']}, seed {run['seed']}: no evaluated round in its curve")
        if run["method"] == REFERENCE:
            key = run["setting"], run["seed"]
            chosen[key] = min(chosen.get(key, run), run, key=lambda r: variant(r.get("variant")))
    return {key: max(run["curve"], key=lambda point: point["round"]) for key, run in chosen.items()}


def rows_of_run(run, end=None):
    """Rows of one run's curve: {"round": t, "bytes": .., "flops": .., "seconds": .., metric: value ..} for each
    evaluated round, costs from the beginning of unlearning; values that are no numbers are left out.

    end: the last point of its Retrain, to which the average gap is taken. A run that has `diverged` has a row of that
    metric, its round, at `last` and at `oracle`, where every other value, costs as well, is NaN: it has no best round.
    """
    named = {column: run[column] for column in OF_RUN if column in run}
    points = sorted(run["curve"], key=lambda point: point["round"])
    stops = [("curve", i) for i in range(len(points))] + [("last", len(points) - 1)]
    gaps = [gap_to(point, end) for point in points] if end else [np.nan] * len(points)
    if end:
        stops.append(("oracle", oracle_of(run, gaps)))
    lost = run.get(DIVERGED)
    out = []
    for stop, i in stops:
        values = {COSTS.get(name, name): value for name, value in points[i].items() if name != "round"}
        if stop == "curve":
            values = {name: value for name, value in values.items() if not is_time(name)}
        else:
            values["storage_bytes"] = run.get("storage_bytes")
        if lost is not None and stop != "curve":
            values |= {AVG_GAP: np.nan} if end else {}
            values = dict.fromkeys(values, np.nan) | {DIVERGED: lost}
        elif not np.isnan(gaps[i]):
            values[AVG_GAP] = gaps[i]
        at = {**named, "stop": stop, "round": points[i]["round"]}
        out += [{**at, "metric": name, "value": value} for name, value in values.items() if is_number(value)]
    return out


def gap_to(point, end):
    """Average gap of one evaluated round to Retrain's end; NaN where a metric is missing."""
    return np.mean([abs(point.get(name, np.nan) - end.get(name, np.nan)) for name in GAP])


def oracle_of(run, gaps):
    """Place of the round with the smallest gap, the earliest of equals; Retrain's own, of a run that diverged, and
    without gaps: the last."""
    if run["method"] == REFERENCE or run.get(DIVERGED) is not None or np.isnan(gaps).all():
        return len(gaps) - 1
    return int(np.nanargmin(gaps))


def is_number(value):
    """Whether a value is a number; a bool is none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def is_time(name):
    """Whether a metric differs from run to run, so that it is kept out of the result tables."""
    return known(name).kind == "time"


# ---------------------------------------------------------------- the schema

def check(df, profile=None, notebook=None):
    """The same table with columns in order and rows sorted; Bad if it is not exactly the schema. NaN is allowed as a
    value only (a ratio without a denominator)."""
    check_columns(df)
    df = df[COLUMNS].copy()
    for column in TEXT:
        check_text(df, column)
    for column in NUMBERS:
        df[column] = checked_numbers(df, column)
    wrong = set(df["stop"]) - set(STOPS)
    if wrong:
        raise Bad(f"results: stop {min(wrong)!r} is none of {', '.join(STOPS)}")
    for column, wanted in (("profile", profile), ("notebook", notebook)):
        others = df[column][df[column] != wanted]
        if wanted is not None and len(others):
            raise Bad(f"results: column {column!r} says {others.iloc[0]!r}, but {wanted!r} is to be saved")
    check_twice(df)
    return df.sort_values(KEY, kind="stable", ignore_index=True)


def check_columns(df):
    """Bad if a column is unknown or missing."""
    for column in df.columns:
        if column not in COLUMNS:
            raise Bad(f"results: unknown column {column!r}; {nearest(column, COLUMNS, 'column')}")
    missing = [column for column in COLUMNS if column not in df.columns]
    if missing:
        raise Bad(f"results: missing column {', '.join(missing)}; the schema is {','.join(COLUMNS)}")


def check_text(df, column):
    """Bad if a value of a column of text is no text, or empty where it has to be named."""
    values = df[column]
    other = [value for value in values if not isinstance(value, str)]
    if other:
        raise Bad(f"results: column {column!r} holds a value that is no text, e.g. {other[0]!r}")
    if column in ("method", "metric", "unit") and (values == "").any():
        raise Bad(f"results: column {column!r} is empty in {int((values == '').sum())} rows; it has to be named")


def checked_numbers(df, column):
    """A column of numbers as such; seeds and rounds whole."""
    numbers = pd.to_numeric(df[column], errors="coerce").astype(float)
    broken = (numbers.isna() & df[column].notna()).any()
    if column == "value":
        if broken:
            raise Bad("results: column 'value' has to hold numbers")
        return numbers
    if broken or (numbers != numbers.round()).any():
        raise Bad(f"results: column {column!r} has to hold whole numbers")
    return numbers.astype("int64")


def check_twice(df):
    """Bad if two rows tell the same thing."""
    twice = df[df.duplicated(KEY)]
    if len(twice):
        first = twice.iloc[0]
        named = ", ".join(f"{c}={first[c]}" for c in ("setting", "method", "variant", "seed", "stop", "round", "metric"))
        raise Bad(f"results: two rows for {named}; name what differs in `variant`")


# ---------------------------------------------------------------- files

# A committed table has at most so many rows, about a megabyte. One that has more is kept at the first of these levels
# that makes it small enough: (rounds of a curve, whether long sweeps are thinned).
ROWS = 7000
LEVELS = tuple(itertools.product((12, 9, 6, 3), (False, True)))
LONG_SWEEP = 12                                 # gammas
LEFT_OUT_OF_SWEEPS = ("test_acc", "target_acc", "mia_acc", "reset_params")      # what remains are ratios


def to_csv(df):
    """A table as text; values with eight digits."""
    text = df.copy()
    if "value" in df and df["value"].dtype.kind == "f":
        text["value"] = [f"{value:.8g}" for value in df["value"]]
    return text.to_csv(index=False, lineterminator="\n")


def thin(df):
    """The rows that are kept in a file: thinned curves, and of long sweeps less, until there are at most ROWS."""
    for points, sweeps in LEVELS:
        kept = thin_curves(df, points)
        if sweeps:
            kept = thin_sweeps(kept)
        if len(kept) <= ROWS:
            break
    return kept


def thin_curves(df, points=12):
    """Of each curve about `points` rounds, first and last among them, without losses and costs; curves of training
    keep their losses. All other rows as they are."""
    is_curve = df["stop"] == "curve"
    curves = df[is_curve]
    run = ["setting", "method", "variant", "seed"]
    place = curves.groupby(run)["round"].rank("dense").astype(int)
    last = place.groupby([curves[column] for column in run]).transform("max")
    step = np.ceil(last / points).astype(int)
    chosen = ((place - 1) % step == 0) | (place == last)
    aside = curves["metric"].str.endswith(("_loss", "_bytes", "_flops"))
    training = curves["metric"].str.startswith(("train", "test"))
    kept = chosen & (training | ~aside)
    return df[~is_curve | kept.reindex(df.index, fill_value=False)]


def thin_sweeps(df):
    """Of each sweep over more than LONG_SWEEP gammas: 20, 40, 60, 80 and the fixed 30, as ratios alone."""
    gamma = option(df, "gamma")
    count = gamma.groupby(df["setting"]).transform("nunique")
    swept = (df["stop"] == "last") & gamma.notna() & (count > LONG_SWEEP)
    between = (gamma % 20 != 0) & (gamma != 30)
    return df[~(swept & (between | df["metric"].isin(LEFT_OUT_OF_SWEEPS)))]


def save_results(profile, notebook, df, device="cpu", dtype="float32", **meta):
    """Write <notebook>.csv (see `thin`), <notebook>.timing.csv (what differs from run to run), <notebook>.meta.json,
    and the checksums of all three, <notebook>.sha256."""
    df = thin(check(df, profile, notebook))
    timing = df["metric"].map(is_time).astype(bool) | (df["unit"] == "seconds")
    seeds = sorted({int(seed) for seed in df["seed"]})
    about = {"profile": profile, "notebook": notebook, "device": str(device), "dtype": str(dtype), "seeds": seeds,
             "n": len(seeds), "python": platform.python_version(), **meta, **versions()}
    base = folder(profile)
    seal(write(base / f"{notebook}.timing.csv", to_csv(df[timing])),
         write(base / f"{notebook}.meta.json", json.dumps(about, indent=1, sort_keys=True) + "\n"),
         write(base / f"{notebook}.csv", to_csv(df[~timing])))


def versions():
    """`{package: version}` of what the numbers come from; None where it is not installed."""
    found = {}
    for package in ("torch", "torchvision", "numpy", "scikit-learn", "pandas"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def load_results(profile, notebook, timing=False, where=None):
    """What `save_results` wrote; `where` is another folder of results, e.g. the committed results/<profile>. Bad where
    the file is not there, or is not what its checksum says."""
    path = Path(where or folder(profile)) / f"{notebook}{'.timing' if timing else ''}.csv"
    if not path.exists():
        raise Bad(f"{path}: no such results; run notebook {notebook} with profile {profile} first")
    verify(path, f"run notebook {notebook} with profile {profile} again, or restore the file")
    text = {column: str for column in TEXT}
    return check(pd.read_csv(path, dtype=text, keep_default_na=False, na_values={"value": ["nan"]}), profile, notebook)
