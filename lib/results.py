"""Results in one long schema: rows, files, and what is computed from rows (gaps, ratios, means)."""
import difflib
import itertools
import json
import os
import platform
from importlib import metadata
from pathlib import Path

import numpy as np
import pandas as pd

from .params import Bad

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ["profile", "notebook", "setting", "table", "dataset", "model", "distribution", "scenario", "method",
           "variant", "seed", "stop", "round", "metric", "value", "unit"]
TEXT = [c for c in COLUMNS if c not in ("seed", "round", "value")]
KEY = [c for c in COLUMNS if c not in ("value", "unit")]
GROUP = ("setting", "dataset", "model", "distribution", "scenario", "method", "variant")
STOPS = ("oracle", "last", "curve")
ROWS = 7000  # of a committed table: about a megabyte
GAP = ("retain_acc", "forget_acc", "test_acc", "mia")
REFERENCE = "Retrain"
RENAME = {"bytes": "comm_bytes", "flops": "comp_flops"}
TIMING = ("seconds", "time", "rtr")  # differ from run to run, so they are kept out of the result tables
UNITS = {"avg_gap": "percent points", "avg_gap_of_means": "percent points", "mia": "percent", "asr": "percent",
         "test_acc_all": "percent",
         "gamma_removal": "percent", "reset_params": "percent", "nta": "ratio", "nfs_target": "ratio",
         "nfs_mia": "ratio", "nta_rest": "ratio", "nta_at_0.9": "ratio", "distance": "ratio", "nfs_mia_nn": "ratio",
         "nfs": "ratio", "rank_correlation": "ratio", "slope_flatness": "ratio", "nfs_mia_logistic": "ratio",
         "nfs_mia_balanced": "ratio",
         "mia_tis_nn": "percent", "mia_tis_logistic": "percent", "rtr": "ratio", "cka": "ratio", "time": "seconds",
         "seconds": "seconds",
         "asr_negated": "percent", "clean_negated": "percent", "t_unlearn": "learning_rate*steps"}
SUFFIXES = {"_acc": "percent", "_loss": "nats", "_gap": "nats", "_bytes": "bytes", "_flops": "FLOPs",
            "_ratio": "ratio", "_auc": "ratio", "_norm": "norm", "_seconds": "seconds"}
LABELS = {"retain_acc": "retain accuracy", "forget_acc": "forget accuracy", "test_acc": "test accuracy", "mia": "MIA",
          "test_acc_all": "test accuracy with the forgotten class",
          "avg_gap": "average gap", "avg_gap_of_means": "gap of means", "comm_bytes": "bytes", "comp_flops": "FLOPs",
          "comm_ratio": "bytes / Retrain", "comp_ratio": "FLOPs / Retrain", "storage_bytes": "stored bytes",
          "nta": "NTA", "nfs_target": "NFS (target)", "nfs_mia": "NFS (MIA)", "asr": "attack success",
          "nfs": "NFS", "mia_acc": "MIA (paper's)", "nta_rest": "NTA, other classes",
          "nta_at_0.9": "NTA at NFS 0.9", "distance": "distance to (1, 1)", "mia_auc": "MIA, AUC",
          "nfs_mia_nn": "NFS (net)", "nfs_mia_logistic": "NFS (logistic)", "nfs_mia_balanced": "NFS (MIA)",
          "top_ratio": "score in the top 5 %", "rank_correlation": "rank correlation",
          "overlap_ratio": "overlap of the resets", "latency_seconds": "latency, seconds",
          "time": "seconds", "rtr": "RTR", "mia_tis_nn": "MIA (net)", "mia_tis_logistic": "MIA (logistic, in sample)",
          "backdoor_acc": "backdoor accuracy", "asr_negated": "attack success, negated again",
          "clean_negated": "attacker's label on clean images, negated again", "target_acc": "target accuracy",
          "reset_params": "parameters reset",
          "gamma_removal": "gamma", "t_unlearn": "time bound"}
METHOD_ORDER = ("Original", "Retrain", "FT", "FedEraser", "FUKD", "PGD", "MoDE", "FCU", "RandL", "GA", "BadT",
                "l1-sparse", "SSD", "SalUn", "Random-Reset", "TIS-Reset", "Random-Reset+TRIM", "TIS-Reset+TRIM",
                "TRIM", "NR-Freeze", "NoT")
DATASETS = {"digits_clean": "digits (clean)", "mnist": "MNIST", "fashionmnist": "FashionMNIST",
            "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "caltech101": "Caltech-101"}
MODELS = {"cnn": "CNN", "tis_cnn": "CNN", "small_cnn": "small CNN", "small_vit": "small ViT",
          "resnet18": "ResNet-18", "resnet18_3x3": "ResNet-18 (3x3 stem)", "vit_b16": "ViT-B/16"}
WIDTHS = {"cnn": 32, "tis_cnn": 32, "small_cnn": 32, "resnet18": 64, "resnet18_3x3": 64}
PAPER_SIZES = {"resnet18": (64, 256), "vit_b16": (256,)}    # ResNet-18: of TIS, of NoT


# ---------------------------------------------------------------- rows

def describe(settings):
    """The schema's words (dataset, model, distribution, scenario) for one flat setting. A net that differs from
    the papers' in width or input size is another model."""
    s, name = settings, settings.get("model")
    model = MODELS.get(name, str(name or ""))
    model += f" w{s['width']}" if s.get("width") not in (None, WIDTHS.get(name)) else ""
    model += f" @{s['size']}" if s.get("size") not in (None, *PAPER_SIZES.get(name, ())) else ""
    partition = s.get("partition", "")
    spread = f"dirichlet_{s.get('beta', 0):g}" if partition.endswith("dirichlet") else partition
    scenario = {"clients": "client-wise", "class": "class-wise", "share": "instance-wise"}.get(s.get("forget"), "")
    scenario = "centralised" if s.get("clients") == 1 else "backdoor" if s.get("poison_label") is not None else scenario
    data = str(s.get("dataset", ""))
    return {"dataset": DATASETS.get(data, Path(data).stem), "model": model, "distribution": spread,
            "scenario": scenario}


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


def unit_of(metric, units=None):
    """Unit of a metric; Bad if nobody has said."""
    known = {**UNITS, **(units or {})}
    if metric in known:
        return known[metric]
    for suffix, unit in SUFFIXES.items():
        if metric.endswith(suffix):
            return unit
    raise Bad(f"metric {metric!r} has no unit: pass units={{{metric!r}: '...'}}")


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


# ---------------------------------------------------------------- files

def folder(profile, kind="results"):
    """Where one profile's `results` or `figures` go: under FU_RUNS, or `runs/` of the repository."""
    return Path(os.environ.get("FU_RUNS") or ROOT / "runs") / profile / kind


def write(path, data):
    """Write text or bytes so that the file is there complete or not at all."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with open(part, "wb") as f:
        f.write(data.encode() if isinstance(data, str) else data)
        f.flush()
        os.fsync(f.fileno())
    os.replace(part, path)
    return path


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


# ---------------------------------------------------------------- summaries

def reference(df):
    """Retrain's last values; of several kinds of Retrain in one setting the plain one counts."""
    ref = df[(df["method"] == REFERENCE) & (df["stop"] == "last")].sort_values("variant", kind="stable")
    return ref.drop_duplicates(["profile", "notebook", "setting", "seed", "metric"])


def _against(df, stop, metrics, combine, rename=None):
    """Rows `combine(value, Retrain's)`, Retrain of the same setting and seed at its last round."""
    on = ["profile", "notebook", "setting", "seed", "metric"]
    ref = reference(df)[[*on, "value"]]
    part = df[(df["stop"] == stop) & df["metric"].isin(metrics)]
    out = part.merge(ref, on=on, suffixes=("", "_ref"))
    with np.errstate(divide="ignore", invalid="ignore"):
        out["value"] = combine(out["value"].to_numpy(), out.pop("value_ref").to_numpy())
    if rename:
        out = out.assign(metric=out["metric"].map(rename), unit="ratio")
    return out[np.isfinite(out["value"])].reset_index(drop=True)


def cost_ratio(df, stop="oracle"):
    """comm_ratio and comp_ratio: cost over the cost of the same seed's whole Retrain; rows of the same schema."""
    names = {"comm_bytes": "comm_ratio", "comp_flops": "comp_ratio"}
    return _against(df, stop, list(names), np.divide, names)


def differences(df, stop="oracle", metrics=GAP):
    """Signed difference of each metric to the same seed's Retrain at its last round; rows of the same schema."""
    return _against(df, stop, list(metrics), np.subtract)


def by_seed(df, metric, stop="oracle"):
    """One row per (setting, seed), one column per method (`method variant` where there is a variant)."""
    part = pd.concat([df[df["stop"] == stop], cost_ratio(df, stop)])
    part = part[part["metric"] == metric]
    name = (part["method"] + " " + part["variant"]).str.strip()
    keys = ["setting", "seed"] + (["round"] if stop == "curve" else [])
    return part.assign(name=name).pivot(index=keys, columns="name", values="value").rename_axis(columns=None)


def each_run(df, method, stop="oracle", **options):
    """One row per (distribution, setting, seed), one column per metric, of the rows with exactly these options in their
    variant: `each_run(df, "TIS-Reset", reset="zero")`."""
    part = df[(df["method"] == method) & (df["stop"] == stop) & (df["variant"] == variant(options))]
    return part.pivot(index=["distribution", "setting", "seed"], columns="metric", values="value")


def rounds_to_retrain(df, within=2.0, metrics=("retain_acc", "test_acc")):
    """First evaluated round with every metric within `within` points below Retrain's last value, one row per (setting,
    seed), one column per method; NaN where it never gets there."""
    reached = None
    for m in metrics:
        goal = by_seed(df, m, "last")[REFERENCE] - within
        curve = by_seed(df, m, "curve").sort_index()
        now = curve.ge(goal.reindex(curve.index.droplevel("round")).to_numpy(), axis=0)
        reached = now if reached is None else reached & now
    rounds = reached.index.get_level_values("round").to_numpy(float)
    return reached.apply(lambda c: pd.Series(rounds, c.index).where(c)).groupby(["setting", "seed"]).min()


def summary(df, stop="oracle", by=GROUP):
    """Mean, sd (ddof = 1; NaN for one seed) and n over seeds for each group and metric, cost ratios included, and
    `avg_gap_of_means`: the papers' gap, between means instead of the mean of gaps."""
    by = list(by) + (["round"] if stop == "curve" and "round" not in by else [])
    part = df[df["stop"] == stop]
    groups = pd.concat([part, cost_ratio(df, stop)]).groupby([*by, "metric", "unit"], sort=False)["value"]
    out = groups.agg(mean="mean", sd="std", n="count").reset_index()
    where = [c for c in by if c not in ("method", "variant", "round")]
    ref, more = reference(df), []
    for key, g in part[part["metric"].isin(GAP)].groupby(by, sort=False):
        row = dict(zip(by, key))
        same = ref[ref["seed"].isin(g["seed"])]
        for c in where:
            same = same[same[c] == row[c]]
        a, b = (f.groupby("metric")["value"].mean().reindex(GAP) for f in (g, same))
        if "method" in by and not (a.isna() | b.isna()).any():
            more.append({**row, "metric": "avg_gap_of_means", "unit": "percent points",
                         "mean": (a - b).abs().mean(), "sd": np.nan, "n": g["seed"].nunique()})
    out = pd.concat([out, pd.DataFrame(more)], ignore_index=True) if more else out
    return out.sort_values(by, key=rank, kind="stable", ignore_index=True)


def rank(column):
    """Sort key that puts methods in METHOD_ORDER, new ones behind."""
    if column.name != "method":
        return column
    order = {m: i for i, m in enumerate(METHOD_ORDER)}
    return column.map(lambda m: (order.get(m, len(order)), m))
