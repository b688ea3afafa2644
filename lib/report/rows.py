"""Results in one long schema: rows from records, and the files they are kept in."""
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from ..checksums import seal, verify
from ..errors import Bad, nearest
from ..files import folder, write
from ..words import AVG_GAP, DIVERGED, GAP, RATIOS, REFERENCE, metric
from .exhibits import tagged
from .provenance import provenance
from .stops import RUN, STOPS, derived, is_time, with_stops

COLUMNS = ["profile", "notebook", "setting", "table", "dataset", "model", "distribution", "scenario", "method",
           "variant", "seed", "stop", "round", "metric", "value", "unit"]
OF_CURVE = ["setting", "method", "variant", "seed"]     # what names a curve in its file; the rest stands in the rows
OF_RUN = ["setting", "table", "dataset", "model", "distribution", "scenario", "method", "variant", "seed"]
NUMBERS = ["seed", "round", "value"]
TEXT = [c for c in COLUMNS if c not in NUMBERS]
KEY = [c for c in COLUMNS if c not in ("value", "unit")]
GROUP = ("setting", "dataset", "model", "distribution", "scenario", "method", "variant")
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


def origin(df):
    """`{"profile", "notebook"}` of the rows that a table is made of; empty where it does not say."""
    if {"profile", "notebook"} <= set(df.columns) and len(df[["profile", "notebook"]].drop_duplicates()) == 1:
        return {column: df[column].iloc[0] for column in ("profile", "notebook")}
    return df.attrs.get("origin", {})


def has_option(part, key):
    """Whether some variant names that option."""
    return part["variant"].str.contains(rf"(?:^|;){key}=").any()


def with_options(part, *keys):
    """The rows with options of their variants as columns."""
    return part.assign(**{key: option(part, key) for key in keys})


# ---------------------------------------------------------------- rows from records

def rows(records, units=None, *, table="", **common):
    """The long table of any records: those of runs, which have a `curve`, and plain ones, which have one `value`.

    A run gives rows at each evaluated round (stop `curve`), at its last (`last`) and at the other stops that its
    curve allows (see `lib/report/stops.py`). A plain record has any of COLUMNS: stop is `last` and round 0 where it
    does not say. table: the paper's table, one word or {setting: word}; common: columns
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
    df = check(pd.DataFrame(whole, columns=list(dict.fromkeys([*COLUMNS, *more]))))
    return check(with_stops(df))


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
    metric, its round, at `last`, where every other value, costs as well, is NaN. Where there are no clients nothing is
    sent.
    """
    named = {column: run[column] for column in OF_RUN if column in run}
    points = sorted(run["curve"], key=lambda point: point["round"])
    lost = run.get(DIVERGED)
    out = []
    for stop, point in [*(("curve", point) for point in points), ("last", points[-1])]:
        values = values_of(point, end)
        if run.get("scenario") == "centralised":
            values.pop("comm_bytes", None)
        if stop == "curve":
            values = {name: value for name, value in values.items() if not is_time(name)}
        else:
            values["storage_bytes"] = run.get("storage_bytes")
        if stop == "last" and lost is not None:
            values |= {AVG_GAP: np.nan} if end else {}
            values = dict.fromkeys(values, np.nan) | {DIVERGED: lost}
        at = {**named, "stop": stop, "round": point["round"]}
        out += [{**at, "metric": name, "value": value} for name, value in values.items() if is_number(value)]
    return out


def values_of(point, end):
    """`{metric: value}` of one evaluated round, with the average gap where every metric of it was measured."""
    values = {COSTS.get(name, name): value for name, value in point.items() if name != "round"}
    gap = gap_to(point, end) if end else np.nan
    return values if np.isnan(gap) else values | {AVG_GAP: gap}


def gap_to(point, end):
    """Average gap of one evaluated round to Retrain's end; NaN where a metric is missing."""
    return np.mean([abs(point.get(name, np.nan) - end.get(name, np.nan)) for name in GAP])


def is_number(value):
    """Whether a value is a number; a bool is none."""
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


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
    return ordered(df)


def ordered(df):
    """The rows in the order in which a table is kept."""
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
    text = infer_dtype(values, skipna=False) in ("string", "empty") and values.notna().all()
    if not text:
        other = next(value for value in values if not isinstance(value, str))
        raise Bad(f"results: column {column!r} holds a value that is no text, e.g. {other!r}")
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

# A committed table of more rows than these, about a megabyte, keeps less of its long sweeps.
ROWS = 7000
MEGABYTE = 10**6
LONG_SWEEP = 10                                 # gammas
LEFT_OUT_OF_SWEEPS = ("test_acc", "target_acc", "mia_acc", "reset_params")      # what remains are ratios


def to_csv(df):
    """A table as text; values with eight digits."""
    text = df.copy()
    if "value" in df and df["value"].dtype.kind == "f":
        text["value"] = [f"{value:.8g}" for value in df["value"]]
    return text.to_csv(index=False, lineterminator="\n")


def thin(df):
    """The rows that are kept in a file: of long sweeps less where there are more than ROWS."""
    return df if len(df) <= ROWS else thin_sweeps(df)


def thin_sweeps(df):
    """Of each sweep over more than LONG_SWEEP gammas: 20, 40, 60, 80 and the fixed 30, as ratios alone."""
    gamma = option(df, "gamma")
    count = gamma.groupby(df["setting"]).transform("nunique")
    swept = (df["stop"] == "last") & gamma.notna() & (count > LONG_SWEEP)
    between = (gamma % 20 != 0) & (gamma != 30)
    return df[~(swept & (between | df["metric"].isin(LEFT_OUT_OF_SWEEPS)))]


def save_results(profile, notebook, df, tasks=()):
    """Write <notebook>.csv (see `thin`), <notebook>.curves.csv (whole curves, a row an evaluated round),
    <notebook>.timing.csv (what differs from run to run), <notebook>.meta.json (where it comes from, see `provenance`;
    `tasks`: of what), and the checksums of all.

    What follows from the curves, the other stops, is not written: `load_results` finds it again.
    """
    df = check(df, profile, notebook)
    seeds = sorted({int(seed) for seed in df["seed"]})
    write_results(folder(profile), notebook, df, {**provenance(profile, notebook, tasks), "seeds": seeds, "n": len(seeds)})


def write_results(where, notebook, df, about):
    """The files of `save_results` in a folder; about: what the meta.json says, a dict."""
    df = check(df)
    timing = df["metric"].map(is_time).astype(bool) | (df["unit"] == "seconds")
    long, curves = parts(df[~timing])
    seal(write(where / f"{notebook}.timing.csv", to_csv(df[timing])),
         write(where / f"{notebook}.meta.json", json.dumps(about, indent=1, sort_keys=True) + "\n"),
         write(where / f"{notebook}.curves.csv", curves),
         write(where / f"{notebook}.csv", long))


def parts(df):
    """The two texts that a table is kept as: rows, and curves with a column a metric."""
    is_curve = df["stop"] == "curve"
    return to_csv(thin(df[~is_curve & ~following(df)])), curves_to_csv(df[is_curve])


def following(df):
    """Which rows `with_stops` will find again, a Series of bool: a run's stop that is, as a whole, what follows from its
    curves today. What older code has chosen otherwise is to stay as it is."""
    again = derived(df).set_index(KEY)["value"]
    found = again.reindex(pd.MultiIndex.from_frame(df[KEY])).to_numpy()
    there = pd.MultiIndex.from_frame(df[KEY]).isin(again.index)
    same = pd.Series(there & np.isclose(df["value"].astype(float), found, equal_nan=True), index=df.index)
    place = [*RUN, "stop"]
    as_many = df.groupby(place, dropna=False)["value"].transform("size").to_numpy() == (
        again.groupby(place).size().reindex(pd.MultiIndex.from_frame(df[place])).to_numpy())
    return (same & as_many).groupby([df[column] for column in place], dropna=False).transform("all")


def curves_to_csv(curves):
    """Curves as text: a row an evaluated round, a column a metric with its unit in brackets; empty: not measured. With
    eight digits, or, where these are more than a megabyte, seven of what was measured, as many as float32 has."""
    place = [*OF_CURVE, "round"]
    if curves.empty:
        return ",".join(place) + "\n"
    text = curves_with_digits(curves, place, 8)
    return text if len(text) <= MEGABYTE else curves_with_digits(curves, place, 7)


def curves_with_digits(curves, place, digits):
    """The text of curves; what was counted, the costs, always has eight digits."""
    named = curves.assign(metric=curves["metric"] + " [" + curves["unit"] + "]",
                          value=[f"{value:.{8 if name in RATIOS else digits}g}"
                                 for name, value in zip(curves["metric"], curves["value"])])
    order = sorted(set(named["metric"]))
    wide = named.pivot(index=place, columns="metric", values="value")[order].fillna("")
    return wide.sort_index().reset_index().to_csv(index=False, lineterminator="\n")


def curves_from_csv(text, long):
    """The long rows of what `curves_to_csv` wrote; long: the table beside it, which says of each run what it is of."""
    wide = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False).astype({"seed": int})
    wide = wide.drop(columns=[column for column in OF_RUN if column in wide and column not in OF_CURVE])   # older files
    about = [column for column in OF_RUN if column not in OF_CURVE]
    lines = wide[OF_CURVE].drop_duplicates()
    runs = lines.merge(long[OF_RUN].drop_duplicates(OF_CURVE), on=OF_CURVE, how="left", validate="one_to_one")
    settings = long.drop_duplicates("setting").set_index("setting")[about]
    runs[about] = runs[about].where(runs[about].notna(), settings.reindex(runs["setting"]).to_numpy())
    rows = wide.melt([*OF_CURVE, "round"], var_name="metric")
    rows = rows[rows["value"] != ""].merge(runs, on=OF_CURVE)
    named = [column.removesuffix("]").rpartition(" [") for column in rows["metric"]]
    return rows.assign(metric=[name for name, _, _ in named], unit=[unit for _, _, unit in named],
                       value=rows["value"].astype(float), stop="curve", profile=long["profile"].iloc[0],
                       notebook=long["notebook"].iloc[0])[COLUMNS]


def load_results(profile, notebook, timing=False, where=None):
    """What `save_results` wrote, each row with the table of a paper that it stands for (`exhibits.tagged`); `where` is
    another folder of results, e.g. the committed results/<profile>. Bad where a file is not there, or is not what its
    checksum says."""
    return ordered(tagged(as_written(profile, notebook, timing, where)))


def as_written(profile, notebook, timing=False, where=None):
    """The rows of `load_results` with the tables that they named when they were written."""
    where = Path(where or folder(profile))
    long = read_back(where / f"{notebook}{'.timing' if timing else ''}.csv", profile, notebook)
    text = {column: str for column in TEXT}
    df = pd.read_csv(io.StringIO(long), dtype=text, keep_default_na=False, na_values={"value": ["nan"]})
    curves = where / f"{notebook}.curves.csv"
    if curves.exists() and not timing:
        lines = curves_from_csv(read_back(curves, profile, notebook), df)
        df = with_stops(check(pd.concat([df, lines] if len(lines) else [df])))
    return check(df, profile, notebook)


def read_back(path, profile, notebook):
    """The text of a file that `save_results` wrote."""
    if not path.exists():
        raise Bad(f"{path}: no such results; run notebook {notebook} with profile {profile} first")
    return verify(path, f"run notebook {notebook} with profile {profile} again, or restore the file").read_text("utf-8")
