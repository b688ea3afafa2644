"""Hyper-parameters at small scale: try the candidates of benchmarks/search.yaml on a seed of its own, without test data.

python benchmarks/search.py --profile quick [--only digits_small_cnn] [--methods NoT,FT]

The criterion is the average gap to the same seed's Retrain, in the mean over a quarter, a half and all of Retrain's
budget, measured on the clients' validation splits in place of the test set. A trial that diverged, or cannot begin
within a quarter, comes behind all others, without a gap. All that was tried goes to results/<profile>/search.csv; the
store keeps the runs.
"""
import argparse
import math
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pandas as pd  # noqa: E402

import lib  # noqa: E402
from lib.errors import Bad  # noqa: E402
from lib.checksums import seal, verify  # noqa: E402
from lib.profiles import parsed  # noqa: E402
from lib.report.rows import variant  # noqa: E402
from lib.report.stops import SHARES  # noqa: E402
from lib.settings import check  # noqa: E402

SEED = 100  # never among the seeds that are reported
METRICS = ("retain_acc", "forget_acc", "test_acc", "mia")


def plan(profile, only=None, path=ROOT / "benchmarks" / "search.yaml"):
    """`{setting: (flat keys, {method: [arguments]})}` of a profile, checked as any settings are."""
    entries = parsed(path.read_text(encoding="utf-8"), str(path)).get(profile)
    if not entries:
        raise Bad(f"benchmarks/search.yaml: no profile {profile!r}")
    out = {}
    for name, entry in entries.items():
        flat, candidates = entry["settings"], entry["candidates"]
        trials = {method: len(tried) for method, tried in candidates.items()}
        if len(set(trials.values())) != 1:
            raise Bad(f"benchmarks/search.yaml: {profile}.{name}: every method needs as many trials as any other: {trials}")
        for method, tried in candidates.items():
            same = repeated(method, tried)
            if same:
                raise Bad(f"benchmarks/search.yaml: {profile}.{name}: {method} has {same} twice, so that it has a trial less")
            check({name: {**flat, "methods": {f"{method}/{i}": hp for i, hp in enumerate(tried)}}},
                  f"benchmarks/search.yaml: {profile}")
        if only in (None, name):
            out[name] = flat, candidates
    if not out:
        raise Bad(f"benchmarks/search.yaml: {profile} has no setting {only!r}; there are {', '.join(entries)}")
    return out


def repeated(method, tried):
    """The first arguments that are the same as earlier ones, defaults filled in; None where all trials differ."""
    seen = []
    for hp in tried:
        whole = {**lib.defaults(method), **hp}
        if whole in seen:
            return hp
        seen.append(whole)
    return None


def search(profile, only=None, methods=None):
    """One row for each candidate, and whether it is its method's best."""
    store, out = lib.open_store(profile), []
    for name, (flat, candidates) in plan(profile, only).items():
        task = lib.make_task(flat, SEED, name).on_validation()
        reference = retrained(task, store, flat["rounds"])
        for method in methods or candidates:
            tried = [trial(profile, task, store, method, hp, reference) for hp in candidates[method]]
            best = nearest([found["avg_gap"] for found in tried])
            print(f"{name}: {method}: {'all diverged' if best is None else candidates[method][best]}", flush=True)
            out += [{**row, "chosen": i == best} for i, row in enumerate(tried)]
        end = {m: round(reference["curve"][-1][m], 4) for m in METRICS}
        out.append({"profile": profile, "setting": name, "seed": SEED, "method": "Retrain", "variant": "",
                    "round": reference["curve"][-1]["round"], **end, **dict.fromkeys(SHARES, 0.0), "avg_gap": 0.0,
                    "chosen": False})
    return pd.DataFrame(out)


def trial(profile, task, store, method, hp, reference):
    """The row of one candidate: its metrics at the end, its gap at each budget and their mean."""
    done = lib.run(task, store, method, hp)
    if done["diverged"] is not None:
        print(f"{task.name}: {method}: {hp} diverged in round {done['diverged']}", flush=True)
    end, gaps = done["curve"][-1], at_budgets(done, reference)
    row = {"profile": profile, "setting": task.name, "seed": SEED, "method": method, "variant": variant(hp),
           "round": end["round"], **{m: round(end[m], 4) for m in METRICS},
           **{stop: round(gap, 4) for stop, gap in gaps.items()},
           "avg_gap": round(sum(gaps.values()) / len(gaps), 4)}
    print({k: row[k] for k in ("setting", "method", "variant", "avg_gap", *gaps, *METRICS)}, flush=True)
    return row


def at_budgets(done, reference):
    """`{stop: average gap}` at each share of Retrain's budget; NaN where there is none."""
    df = lib.rows([reference, {**done, "method": "tried", "variant": ""}])
    part = df[(df["method"] == "tried") & (df["metric"] == "avg_gap")].set_index("stop")["value"]
    return {stop: float(part.get(stop, math.nan)) for stop in SHARES}


def retrained(task, store, rounds):
    """The record of Retrain; Bad where it diverged, since nothing can be near it."""
    done = lib.run(task, store, "Retrain", count=rounds)
    if done["diverged"] is not None:
        raise Bad(f"{task.name}: Retrain diverged in round {done['diverged']}, so that there is no gap to it; "
                  "choose a smaller lr in benchmarks/search.yaml")
    return done


def nearest(gaps):
    """Place of the smallest gap; a trial that diverged has NaN and comes last, None where all did."""
    found = min(range(len(gaps)), key=lambda i: (math.isnan(gaps[i]), gaps[i]))
    return None if math.isnan(gaps[found]) else found


def merge(new, path):
    """Rows of this search over older ones of the same file: settings and methods that were not searched stay."""
    if path.exists():
        old = pd.read_csv(verify(path, "search again, or restore the file"), keep_default_na=False)
        fresh = set(zip(new["setting"], new["method"], strict=True))
        new = pd.concat([old[[k not in fresh for k in zip(old["setting"], old["method"], strict=True)]], new])
    return new.sort_values(["setting", "method"], kind="stable")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", default="quick")
    parser.add_argument("--only", help="one setting")
    parser.add_argument("--methods", help="a comma-separated list")
    args = parser.parse_args()
    path = ROOT / "results" / args.profile / "search.csv"
    table = merge(search(args.profile, args.only, args.methods and args.methods.split(",")), path)
    path.parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(path, index=False, lineterminator="\n")
    seal(path)


if __name__ == "__main__":
    try:
        main()
    except Bad as e:
        sys.exit(str(e))
