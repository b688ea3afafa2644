"""Sentences drawn at random from the notebooks' outputs, docs/tables.md and RESULTS.md, their numbers computed afresh.

python tests/sentences.py --count 30 --seed 0

Nothing of `lib` is used: the CSV files are read with pandas, a stop is looked up in the curves, a mean, an interval or a
saving is computed here once more. `tests/report/test_sentences.py` checks every sentence that is known, this script
prints some.
"""
import argparse
import json
import random
import re
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
RUN = ["setting", "method", "variant", "seed"]
SHARES = {"quarter": 0.25, "half": 0.5, "full": 1.0, "all": 1.0}
METRICS = {"forget accuracy": "forget_acc", "retain accuracy": "retain_acc", "test accuracy": "test_acc", "MIA": "mia",
           "average gap": "avg_gap", "attack success": "asr", "backdoor accuracy": "backdoor_acc", "NFS": "nfs", "NTA": "nta",
           "target accuracy": "target_acc", "gamma": "gamma_removal", "parameters reset": "reset_params",
           "bytes / Retrain": "comm_ratio", "FLOPs / Retrain": "comp_ratio", "NFS (target)": "nfs_target",
           "MIA accuracy": "mia_acc", "NFS (MIA)": "nfs_mia"}
SCALES = {"## At the paper's own scale": "paper", "## The paper's data and net, a tenth of its rounds": "long",
          "## In the reduced profile": "reduced"}     # headings of docs/tables.md
COSTS = {"comm_ratio": "comm_bytes", "comp_ratio": "comp_flops"}
GAP = ["retain_acc", "forget_acc", "test_acc", "mia"]
NUMBER = r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d+)?"


class Sentence(NamedTuple):
    """A sentence or a line of a table: where it stands, and the rows that it is about."""
    source: str
    text: str
    profile: str
    notebook: str
    setting: str
    head: tuple = ()        # of a line of a table: the names of its columns
    stop: str = ""          # of a line of a table: at which it stands, where its head does not say so


# ---------------------------------------------------------------- rows, read anew

@cache
def read(path):
    """A CSV file of results; columns of curves by the name of their metric alone, as numbers."""
    df = pd.read_csv(path, keep_default_na=False, na_values={"value": ["nan"]}, dtype={"variant": str})
    for column in df.columns[df.columns.str.contains("[", regex=False)]:
        df[column] = pd.to_numeric(df[column], errors="coerce")
    return df.rename(columns=lambda name: name.split(" [")[0])


def wide(long):
    """A table with a row a seed (and a round, where the rows are of curves) and a column a metric."""
    keys = ["seed", "round"] if (long["stop"] == "curve").all() else ["seed"]
    long = long.sort_values("round", kind="stable").drop_duplicates([*keys, "metric"], keep="last")
    return long.pivot(index=keys, columns="metric", values="value")


class Rows:
    """The committed rows of a notebook in one setting: `points`, {(method, variant, stop): a row a seed}, and `curves`,
    {(method, variant): a row a seed and round}; columns are metrics."""

    def __init__(self, profile, notebook, setting):
        long = read(ROOT / "results" / profile / f"{notebook}.csv")
        long = long[long["setting"] == setting]
        path = ROOT / "results" / profile / f"{notebook}.curves.csv"
        self.points = {key: wide(some) for key, some in long[long["stop"] != "curve"].groupby(["method", "variant", "stop"])}
        self.curves = {key: wide(some) for key, some in long[long["stop"] == "curve"].groupby(["method", "variant"])}
        whole = read(path) if path.exists() else long.iloc[:0]
        for key, some in whole[whole["setting"] == setting].groupby(["method", "variant"]):
            self.curves[key] = some.set_index(["seed", "round"])
        self.runs = {key[:2] for key in (*self.points, *self.curves)}
        self.all_seeds = sorted({*long["seed"], *whole.loc[whole["setting"] == setting, "seed"]})

    def seeds(self):
        return self.all_seeds

    def run(self, name):
        """`(method, variant)` of a name: `NoT layers=0+1`, `NoT (layers=0+1)`, or a method that has one variant alone."""
        name = {"Retrain stopped there": "Retrain name=again"}.get(name, name)
        method, _, variant = name.replace(" (", " ").removesuffix(")").partition(" ")
        if (method, variant) in self.runs:
            return method, variant
        [only] = [run for run in self.runs if run[0] == method]
        return only

    def point(self, name, stop, metric):
        """A metric at a stop that the rows themselves have, by seed; None where they have none."""
        found = self.points.get((*self.run(name), stop))
        if found is None:
            return None
        nothing = pd.Series(np.nan, self.all_seeds)
        return found[metric].reindex(self.all_seeds) if metric in found else nothing

    def last(self, name, metric):
        """A metric at the end of a run, by seed."""
        return self.point(name, "last", metric)

    def curve(self, name, seed):
        curve = self.curves.get(self.run(name))
        if curve is None or seed not in curve.index.get_level_values("seed"):
            return pd.DataFrame()
        return curve.xs(seed, level="seed").sort_index()

    def at(self, name, stop, metric):
        """A metric at a stop, by seed; NaN where there is none."""
        if metric in COSTS:
            return self.at(name, stop, COSTS[metric]) / self.last("Retrain", COSTS[metric])
        found = self.point(name, stop, metric)
        if found is not None:
            return found
        return pd.Series({seed: self.in_curve(name, stop, metric, seed) for seed in self.all_seeds})

    def in_curve(self, name, stop, metric, seed):
        curve = self.curve(name, seed)
        if curve.empty or self.diverged(name, seed):
            return np.nan
        chosen = self.smallest_gap(curve) if stop == "oracle" else self.within(curve, SHARES[stop], seed)
        return np.nan if chosen is None or metric not in curve else curve.loc[chosen, metric]

    def diverged(self, name, seed):
        return bool(np.isfinite(self.last(name, "diverged")[seed]))

    @staticmethod
    def smallest_gap(curve):
        return curve["avg_gap"].idxmin() if curve["avg_gap"].notna().any() else None

    def within(self, curve, share, seed):
        """The last round whose bytes and FLOPs are within a share of Retrain's, and a hundredth of it."""
        fits = pd.Series(True, curve.index)
        for cost in ("comm_bytes", "comp_flops"):
            if cost in curve and curve[cost].notna().any() and self.last("Retrain", cost)[seed] > 0:
                fits &= curve[cost] <= (share + 0.01) * self.last("Retrain", cost)[seed]
        return curve.index[fits].max() if fits.any() else None

    def saving(self, name, seed, at):
        """One minus the share of `at` of Retrain's cost for which a run first has the gap of a Retrain stopped there."""
        def spent(run):
            curve = self.curve(run, seed)
            parts = [curve[cost] / self.last("Retrain", cost)[seed] for cost in ("comm_bytes", "comp_flops")
                     if cost in curve and curve[cost].notna().any()]
            return pd.concat(parts, axis=1).max(axis=1), curve["avg_gap"]
        cost, gap = spent("Retrain name=again")
        goal = gap[cost[cost <= at + 1e-9].idxmax()]
        cost, gap = spent(name)
        return 1 - cost[gap <= goal].min() / at


@cache
def rows(profile, notebook, setting):
    return Rows(profile, notebook, setting)


# ---------------------------------------------------------------- what a sentence says, and what it is by the rows

def interval(difference):
    """`[mean, low, high]` of differences over seeds; without a spread low and high are the mean, of one seed they are NaN."""
    values = difference.dropna()
    if len(values) < 2:
        return [values.mean(), np.nan, np.nan]
    half = stats.t.ppf(0.975, len(values) - 1) * values.std() / len(values) ** 0.5
    return [values.mean(), values.mean() - half, values.mean() + half]


def listed(text):
    """`(name, numbers)` of `better: A -1.0 [-2.0, -0.5], B x=1;y=2 -0.3 [..]; worse: C +1.0`."""
    pattern = rf"([A-Z][\w+-]*(?: [\w.+;=-]+=[\w.+-]+| stopped there)?) ({NUMBER})(?: \[({NUMBER}), ({NUMBER})\])?(?: \(n = (\d+)\))?"
    text = re.sub(r"(?:better|worse|not told apart|above|below): ", "", text)
    return [(found[1], [n for n in found.groups()[1:] if n]) for found in re.finditer(pattern, text)]


def of_differences(text, of, n):
    """Pairs (said, by the rows) of a list of differences; of(name): the differences by seed, n: over how many seeds."""
    for name, said in listed(text):
        values = of(name)
        expected = [*interval(values), values.count()] if len(said) > 1 else interval(values)[:1]
        yield from zip(said, expected)
        if len(said) in (1, 3):
            yield str(n), float(values.count())


def against_early_retrain(found, r):
    stop = {"a quarter of": "quarter", "half of": "half", "all of": "full"}[found[1]]
    yield found[2], float(len(r.seeds()))
    early = r.at("Retrain name=again", stop, "avg_gap")
    yield from of_differences(found[3], lambda name: r.at(name, stop, "avg_gap") - early, found[2])


def not_against_others(found, r):
    yield found[1], float(len(r.seeds()))
    ours = r.at("NoT", "half", "avg_gap")
    yield from of_differences(found[2], lambda name: ours - r.at(name, "half", "avg_gap"), found[1])


def memory(found, r):
    ended = r.last("Retrain", "forget_acc")
    yield found[1], (r.last("Retrain name=again", "forget_acc") - ended).abs().mean()
    yield found[2], float(len(r.seeds()))
    yield from of_differences(found[3], lambda name: r.at(name, "full", "forget_acc") - ended, found[2])


def floor(found, r):
    yield found[1], r.last("Retrain name=again", "avg_gap").mean()


def convergence(found, r):
    yield found[2], float(len(r.seeds()))
    for name, known, moved in re.findall(rf"(Original|Retrain) ({NUMBER}) %(?:, which moved by ({NUMBER}))?", found[3]):
        yield from reference(r, name, known, moved)


def of_unconverged(text, r):
    """What RESULTS says of a setting that has not converged; the same numbers as `convergence`."""
    for name, known, moved in re.findall(rf"(Original|Retrain) in \w+ \(({NUMBER}) %(?:, moves by ({NUMBER}) points)?\)", text):
        yield from reference(r, name, known, moved)


def reference(r, name, known, moved):
    """How much a run knows at its end, and by how much its curve moves over the last fifth of the rounds."""
    points = r.curves[name, ""]
    metric = "train_acc" if name == "Original" and "train_acc" in points else "retain_acc"
    curve = points[metric].groupby(level="round").mean().dropna()
    first, last = curve.index[0], curve.index[-1]
    tail = curve.loc[curve.index[curve.index <= last - 0.2 * (last - first)][-1]:]
    yield known, curve.iloc[-1]
    if moved:
        yield moved, tail.max() - tail.min()


def order(found, r):
    """A setting of RESULTS: over how many seeds, and how the order of methods goes with the paper's."""
    yield found[1], float(len(r.seeds()))
    table, dataset, model, stop, count, rho = found.groups()[1:]
    if rho:
        paper = pd.read_csv(ROOT / "paper" / f"{table}.csv")
        paper = paper[(paper["dataset"] == dataset) & (paper["model"] == model) & (paper["metric"] == "avg_gap")].set_index("method")
        there = [method for method in paper.index if method != "Retrain" and any(run[0] == method for run in r.runs)]
        ours = [gap_of_means(r, first_variant(r, method), stop) for method in there]
        theirs = paper["delta_recomputed"].fillna(paper["mean"])[there]
        both = pd.DataFrame({"ours": ours, "theirs": theirs.to_numpy()}).dropna()
        yield count, float(len(both))
        yield rho, stats.spearmanr(both["theirs"], both["ours"]).statistic
    yield from of_unconverged(found.string, r) if "Not converged" in found.string else ()


def first_variant(r, method):
    return f"{method} {min(variant for name, variant in r.runs if name == method)}".strip()


def gaps_alone(found, r):
    for name, said in listed(found[1]):
        yield said[0], r.at(name, "half", "avg_gap").mean()


def saved(found, r):
    for name, mean, sd, n, of in re.findall(rf"([A-Z][\w+-]*(?: [\w.+;=-]+)?) ({NUMBER})(?: ± ({NUMBER}))? % \((\d+) of (\d+) seeds\)", found[1]):
        share = pd.Series({seed: 100 * r.saving(name, seed, 0.5) for seed in r.seeds()})
        yield from ((mean, share.mean()), (n, float(share.count())), (of, float(len(share))))
        if sd:
            yield sd, share.std()


def score(found, r):
    yield found[1], float(len(r.seeds()))
    ours, random = (r.at(f"{method} reset=zero", "oracle", "distance") for method in ("TIS-Reset", "Random-Reset"))
    both = (ours, found[2], found[3]), (random, found[4], found[5])
    for values, mean, sd in both:
        yield mean, values.mean()
        if sd:
            yield sd, values.std()
    yield from zip(re.findall(NUMBER, found[6]), interval(ours - random))


def attack(found, r):
    values = r.last("Original", "asr")
    yield from mean_and_sd(found[1], found[2], values)
    yield found[3], float(values.count())


def mean_and_sd(mean, sd, values):
    yield mean, values.mean()
    if sd:
        yield sd, values.std()


def triggered(found, r):
    name = f"{found[1]} reset=zero"
    yield from mean_and_sd(found[2], found[3], r.at(name, "oracle", "asr"))
    yield from mean_and_sd(found[4], found[5], r.at(name, "oracle", "backdoor_acc"))
    yield found[6], float(len(r.seeds()))


def own_images(found, r):
    own, unseen = (r.at("TIS-Reset reset=zero", "oracle", name) for name in ("backdoor_acc_own", "backdoor_acc"))
    yield from mean_and_sd(found[1], found[2], own)
    yield from mean_and_sd(found[3], found[4], unseen)
    yield from zip(re.findall(NUMBER, found[5]), interval(own - unseen))
    yield found[6], float(len(r.seeds()))


def papers_pair(found, r):
    """The paper's two numbers from its table, ours at the gamma nearest to the first of them."""
    paper = pd.read_csv(ROOT / "paper" / "tis_table4.csv")
    printed = paper[paper["method"] == "TIS-Reset"].set_index("metric")["mean"]
    sweeps = [points for (method, variant, stop), points in r.points.items()
              if method == "TIS-Reset" and stop == "last" and "gamma=" in variant]
    right = {}
    for seed in r.seeds():
        at_seed = pd.DataFrame([points.loc[seed, ["asr", "backdoor_acc"]] for points in sweeps])
        right[seed] = at_seed.iloc[(at_seed["asr"] - printed["asr"]).abs().to_numpy().argmin()]["backdoor_acc"]
    right = pd.Series(right)
    yield found[1], printed["asr"]
    yield from mean_and_sd(found[2], found[3], right)
    yield from zip(found.groups()[3:7], (right.min(), right.max(), float(len(right)), printed["backdoor_acc"]))


def removal(found, r):
    asr, right = r.last("Retrain", "asr"), r.last("Retrain", "backdoor_acc")
    for name, held, of in re.findall(r"([A-Z][\w+-]*(?: [\w.+;=-]+=[\w.+-]+)?) \((\d+) of (\d+)\)", found[1]):
        out = (r.last(name, "asr") < asr + 5) & (r.last(name, "backdoor_acc") > right - 5)
        yield held, float(out.sum())
        yield of, float(len(r.seeds()))


def asleep(found, r):
    pattern = rf"(NoT|Retrain)'s ({NUMBER})(?: ± ({NUMBER}))? % of triggered and ({NUMBER})(?: ± ({NUMBER}))? % of clean"
    for name, seen, seen_sd, clean, clean_sd in re.findall(pattern, found[1]):
        yield from mean_and_sd(seen, seen_sd, r.last(name, "asr_negated"))
        yield from mean_and_sd(clean, clean_sd, r.last(name, "clean_negated"))
    yield found[2], float(len(r.seeds()))


def first_step(found, r):
    for name, mean, sd, n in re.findall(rf"([A-Z][\w+-]*(?: [\w.+;=-]+=[\w.+-]+)?) ({NUMBER})(?: ± ({NUMBER}))? \(n = (\d+)\)", found[1]):
        values = pd.Series({seed: r.curve(name, seed)["test_acc"].get(0, np.nan) for seed in r.seeds()})
        yield from mean_and_sd(mean, sd, values)
        yield n, float(values.count())


def headline_forgets(found, r):
    for words, said in (("forget_acc", found.groups()[1:6]), ("mia", found.groups()[6:11])):
        ended = r.last("Retrain", words)
        values = r.at(found[1], "full", words) - ended
        yield from zip(said[:3], interval(values))
        yield said[3], float(values.count())
        yield said[4], (r.last("Retrain name=again", words) - ended).abs().mean()


def headline_budgets(found, r):
    for stop, mean, low, high, n in re.findall(rf"(quarter|half|full) ({NUMBER}) \[({NUMBER}), ({NUMBER})\] \(n = (\d+)\)", found[2]):
        values = r.at(found[1], stop, "avg_gap") - r.at("Retrain name=again", stop, "avg_gap")
        yield from zip((mean, low, high, n), (*interval(values), float(values.count())))


def headline_not(found, r):
    values = r.at("NoT", "half", "avg_gap") - r.at(found[1], "half", "avg_gap")
    yield from zip(found.groups()[1:], (*interval(values), float(values.count())))


def headline_reset(found, r):
    yield found[1], float(len(r.seeds()))
    pattern = rf"(TIS-Reset|Random-Reset) NFS ({NUMBER}) ± ({NUMBER}) and NTA ({NUMBER}) ± ({NUMBER})"
    for name, *said in re.findall(pattern, found[2]):
        nfs, nta = (r.at(f"{name} reset=zero", "oracle", metric) for metric in ("nfs", "nta"))
        yield from zip(said, (nfs.mean(), nfs.std(), nta.mean(), nta.std()))


TRIPLE = rf"({NUMBER}) \[({NUMBER}), ({NUMBER})\]"


def readme_forgets(found, r):
    for metric, said in (("forget_acc", found.groups()[:4]), ("mia", found.groups()[4:8])):
        ended = r.last("Retrain", metric)
        yield from zip(said[:3], interval(r.at("NoT", "full", metric) - ended))
        yield said[3], (r.last("Retrain name=again", metric) - ended).abs().mean()


def readme_budgets(found, r):
    for stop, *said in re.findall(rf"(quarter|half|all)[^:;]*: [^;:]*?, {TRIPLE}", found[0]):
        yield from zip(said, interval(r.at("NoT", stop, "avg_gap") - r.at("Retrain name=again", stop, "avg_gap")))


def readme_fine_tuning(found, r):
    """NoT minus FT, as published and with the arguments that stand in brackets."""
    for name, said in (("FT", found.groups()[:3]), (f"FT {found[4]}", found.groups()[4:7])):
        yield from zip(said, interval(r.at("NoT", "half", "avg_gap") - r.at(name, "half", "avg_gap")))


def readme_tis(found, r):
    yield from zip(found.groups(), interval(r.at("NoT", "half", "avg_gap") - r.at("TIS-Reset", "half", "avg_gap")))


def readme_reset(found, r):
    for metric, said in (("nta", found.groups()[:2]), ("nfs", found.groups()[2:4])):
        yield from mean_and_sd(*said, r.at("TIS-Reset reset=zero", "oracle", metric))


def readme_backdoor(found, r):
    name, stop = ("NoT", "last") if found[1] == "NoT" else ("TIS-Reset reset=zero", "oracle")
    yield found[2], r.last("Original", "asr").mean()
    yield found[3], r.at(name, stop, "asr").mean()
    yield from zip(found.groups()[3:6], interval(r.at(name, stop, "asr") - r.at("Retrain", stop, "asr")))


def readme_audit(found, r):
    for name, said in (("NoT", found.groups()[:3]), ("Retrain", found.groups()[3:6])):
        again = "name=again;" if name == "Retrain" else ""
        variants = (f"{again}over=forget", f"bound=low;{again}over=forget", f"bound=high;{again}over=forget")
        yield from zip(said, (r.points[name, variant, "full"]["attack_acc"].mean() for variant in variants))
    nearest = min(attacked(r), key=attacked(r).get)
    yield found[8], attacked(r)[nearest]
    yield found[8], attacked(r)[found[7]]


def readme_in_turn(found, r):
    """NoT minus the second Retrain, stopped early, at the first and at the last request."""
    ours, early = (points_of(r, name, "curve", then="in_turn", **words)["avg_gap"].dropna().unstack("round")
                   for name, words in (("NoT", {}), ("Retrain name=again", {"stopped": "early"})))
    difference = ours - early
    last = difference.columns.max()
    yield from zip(found.groups()[:3], interval(difference[difference.columns.min()]))
    yield found[4], float(last)
    yield from zip(found.groups()[4:], interval(difference[last]))


# ---------------------------------------------------------------- what neither paper asks

def points_of(r, name, stop, **words):
    """The rows of a run at a stop, with further words in its variant."""
    method, _, variant = name.partition(" ")
    options = [*filter(None, variant.split(";")), *(f"{key}={value}" for key, value in words.items())]
    found = method, ";".join(sorted(options, key=lambda option: option.partition("=")[0]))
    return r.curves[found] if stop == "curve" else r.points[*found, stop]


def attack_on(r, name, over="forget", stop="full", **words):
    return points_of(r, name, stop, over=over, **words)["attack_acc"].mean()


def attacked(r):
    """`{name: accuracy of the attack by forgotten images}` of all methods but Retrain, at all of its budget."""
    everybody = {}
    for method, variant, stop in r.points:
        options = variant.split(";")
        others = [option for option in options if option != "over=forget"]
        plain = not any(option.partition("=")[0] in ("bound", "fpr", "models", "example") for option in options)
        if stop == "full" and "over=forget" in options and plain and method not in ("Original", "Retrain"):
            name = " ".join(filter(None, [method, ";".join(others)]))
            everybody[name] = attack_on(r, name)
    return everybody


def told_by_example(found, r):
    for name, said in (("NoT", found.groups()[:3]), ("Retrain name=again", found.groups()[3:6])):
        yield said[0], attack_on(r, name)
        yield from ((number, attack_on(r, name, bound=bound)) for number, bound in zip(said[1:], ("low", "high")))
    everybody = attacked(r)
    for name, said, choose in ((found[7], found[8], min), (found[9], found[10], max)):
        yield said, everybody[name]
        yield said, choose(everybody.values())


def told_at_half(found, r):
    yield found[1], attack_on(r, "NoT", stop="half")
    yield found[2], attack_on(r, "Retrain name=again", stop="half")


def told_by_others(found, r):
    yield found[1], attack_on(r, "NoT", "retain")
    yield found[2], attack_on(r, "NoT", "test")


def known_of_forgotten(r, name, words):
    """Accuracy on forgotten images after what the words say, by seed."""
    if words == "after the further rounds":
        curve = points_of(r, name, "curve", then="further")["forget_acc"].dropna().unstack("round")
        return curve[curve.columns.max()]
    said = {"as it ends": {"bits": 32, "then": "in_few_bits"}, "in 4 bits": {"bits": 4, "then": "in_few_bits"},
            "negated again": {"then": "negated_again"}}[words]
    return points_of(r, name, "last", **said)["forget_acc"]


def what_remains(found, r):
    pattern = rf"({NUMBER})(?: \[({NUMBER}), ({NUMBER})\])? (as it ends|after the further rounds|in 4 bits|negated again)"
    for name, text in (("NoT", found[1]), ("Retrain name=again", found[2])):
        for *said, words in re.findall(pattern, text):
            values = known_of_forgotten(r, name, words) - known_of_forgotten(r, "Retrain", words)
            yield from zip(filter(None, said), interval(values))


def who_is_found(found, r):
    for name, when, said in (("Retrain", "end", found[1]), ("NoT", "end", found[2]), ("NoT", "start", found[3])):
        yield said, points_of(r, name, "last", then="who_left", by="loss", when=when)["leaver_first"].mean()


def one_after_another(found, r):
    curves = [points_of(r, "NoT", "curve", then="in_turn"),
              points_of(r, "Retrain name=again", "curve", then="in_turn", stopped="early")]
    gaps = [curve["avg_gap"].dropna().unstack("round") for curve in curves]
    yield found[1], float(gaps[0].columns.max())
    places = [(gap, at) for gap in gaps for at in (gap.columns.min(), gap.columns.max())]
    for (gap, at), mean, sd in zip(places, found.groups()[1::2], found.groups()[2::2]):
        yield from mean_and_sd(mean, sd, gap[at])


def at_three_budgets(found, r):
    yield found[1], float(len(r.seeds()))
    for name, *said in re.findall(rf"(?:^|; )(.+?) ({NUMBER}) / ({NUMBER}) / ({NUMBER})", found[2]):
        name = {"a Retrain stopped there": "Retrain name=again"}.get(name, name)
        yield from ((number, r.at(name, stop, "avg_gap").mean()) for number, stop in zip(said, SHARES))


SD = rf"({NUMBER})(?: ± ({NUMBER}))?"
CI = rf"({NUMBER}) % \[({NUMBER}), ({NUMBER})\]"
KNOWN = (
    (rf"by its forgotten images NoT's .* in {CI} of the cases; .* stands at {CI}; nearest is (.+) with ({NUMBER}) %, "
     rf"farthest (.+) with ({NUMBER}) %\.$", told_by_example),
    (rf"for half of Retrain's budget NoT stands at ({NUMBER}) %, .* at ({NUMBER}) %\.$", told_at_half),
    (rf"by retained images NoT is told in ({NUMBER}) % .* in ({NUMBER}) %\.$", told_by_others),
    (r"accuracy on the forgotten images minus Retrain's, in points: NoT (.*); a second Retrain (.*)\.$", what_remains),
    (rf"by the loss of its images .* in ({NUMBER}) % .* and ({NUMBER}) % with NoT, .* in ({NUMBER}) %\.$", who_is_found),
    (rf"of (\d+) clients that leave .* is {SD} at the first and {SD} at the last; .* early {SD} and {SD}\.$", one_after_another),
    (r"`\w+` \(\w+, n = (\d+)\), gap for a quarter, half, all of Retrain's budget: (.*)\.$", at_three_budgets),
    (r"Training has (not )?converged \(n = (\d+)\)(.*)", convergence),
    (r"For half of Retrain's budget the gaps are (.*)\. With", gaps_alone),
    (rf"A second Retrain ends ({NUMBER}) points", floor),
    (r"For (a quarter of|half of|all of) Retrain's budget, gap minus .* \(n = (\d+)\): (.*)\.$", against_early_retrain),
    (r"NoT against the others .* \(n = (\d+)\): (.*)\.$", not_against_others),
    (rf"After all of Retrain's budget, .* off by ({NUMBER}); n = (\d+)\): (.*)\.$", memory),
    (r"Saved to get as near .*: (.*)\.$", saved),
    (r"Right after its own step, .*: (.*)\.$", first_step),
    (rf"Distance to Retrain .* \(n = (\d+)\): TIS Reset {SD}, Random Reset {SD}, difference (.*)\.$", score),
    (rf"The backdoor was .*: attack success of Original {SD} % \(n = (\d+)\)", attack),
    (r"At the last round attack success .* of Retrain's (.*)\.$", removal),
    (r"Negated once more, .* label to: (.*) \(n = (\d+)\)", asleep),
    (rf"At the best gamma of (\S+) \(an oracle\): attack success {SD} %, backdoor accuracy {SD} % \(n = (\d+)\)", triggered),
    (r"\*\*`\w+`\*\* \(n = (\d+)\)\. Paper: (\w+), ([^,]+), ([^.]+)\. Ours: .*, stop: (\w+)\."
     rf"(?: Order of (\d+) methods by gap, Spearman's correlation with the paper's: ({NUMBER})\.)?", order),
    (rf"On the target's own .* is {SD} % instead of {SD} % on test images, difference (.*) \(n = (\d+)\)", own_images),
    (rf"At the gamma whose .* paper's ({NUMBER}) %, backdoor accuracy is {SD} %, between ({NUMBER}) and ({NUMBER}) % "
     rf"\(n = (\d+)\); the paper prints ({NUMBER}) %", papers_pair),
    (rf"`\w+`, ([^:]+): forget accuracy ({NUMBER}) points \[({NUMBER}), ({NUMBER})\] \(n = (\d+)\) .* off by ({NUMBER}): .*"
     rf"MIA ({NUMBER}) points \[({NUMBER}), ({NUMBER})\] \(n = (\d+)\) .* off by ({NUMBER})", headline_forgets),
    (rf"`\w+`, ([^:]+): NoT minus it, half ({NUMBER}) \[({NUMBER}), ({NUMBER})\] \(n = (\d+)\)", headline_not),
    (r"`\w+`, ([^:]+): (quarter .*)", headline_budgets),
    (r"`\w+` \(n = (\d+)\): (TIS-Reset NFS .*)", headline_reset),
)


README = (
    (rf".*accuracy on forgotten images {TRIPLE} from Retrain's \(a second Retrain: ({NUMBER})\), [a-z ]+; membership attack {TRIPLE} "
     rf"\(({NUMBER})\)", readme_forgets),
    (rf".*At a quarter of the budget: .*{TRIPLE}", readme_budgets),
    (rf".*as published: [^,]*, {TRIPLE}; searched \((\S+)\): [^,]*, {TRIPLE}", readme_fine_tuning),
    (rf".*with recovery: [^,]*, {TRIPLE}", readme_tis),
    (rf".*strength: {SD} of Retrain's accuracy, {SD} of its forgetting", readme_reset),
    (rf".*(NoT|TIS-Reset): attack success from ({NUMBER}) % to ({NUMBER}) %, {TRIPLE} from Retrain's", readme_backdoor),
    (rf".*by one forgotten image in {TRIPLE} %, a second Retrain in {TRIPLE}, the nearest method, (.+), in ({NUMBER});", readme_audit),
    (rf".*stopped as early: at the first request {TRIPLE}, at the last of ({NUMBER}) {TRIPLE}", readme_in_turn),
)


def checked(sentence):
    """Pairs (said, by the rows) of a sentence's numbers; empty where it is of no known kind, or has none.

    Of a sentence that names data and no setting, those of the setting on these data that it fits best.
    """
    if not sentence.setting:
        found = [answered(sentence, setting) for setting in settings_on(sentence)]
        return max(found, key=lambda pairs: sum(agrees(*pair) for pair in pairs), default=[])
    r = rows(sentence.profile, sentence.notebook, sentence.setting)
    if sentence.head:
        return list(of_a_line(sentence, r))
    for pattern, found in ((pattern, re.match(pattern, sentence.text)) for pattern, _ in KNOWN):
        if found:
            return list(dict(KNOWN)[pattern](found, r))
    return []


def settings_on(sentence):
    """The settings of a table on the data that a sentence names."""
    df = read(ROOT / "results" / sentence.profile / f"{sentence.notebook}.csv")
    return df.loc[df["dataset"].str.startswith(sentence.head[0]), "setting"].unique()


def answered(sentence, setting):
    """The pairs of an answer of the README in one setting; empty where that has not the runs."""
    r, out = rows(sentence.profile, sentence.notebook, setting), []
    for pattern, kind in README:
        if found := re.match(pattern, sentence.text):
            try:
                return [*kind(found, r), (sentence.head[1], float(models(r) or len(r.seeds())))]
            except (ValueError, KeyError, TypeError):
                continue
    return out


def models(r):
    """How many models an audit has compared, the largest number that a row names; 0 where there is no audit."""
    return max((int(found[1]) for run in r.runs if (found := re.search(r"models=(\d+)", run[1]))), default=0)


def of_a_line(sentence, r):
    """The numbers of ours in a line of a table: mean, sd, and over how many seeds where it says so."""
    name, *cells = sentence.text.strip("| ").split(" | ")
    for column, cell in zip(sentence.head[1:], cells, strict=True):
        words, stop = re.match(r"(.*?)(?:, ours| \((\w+)\))$", column).groups() if re.search(r", ours$|\(\w+\)$", column) else ("", "")
        found = re.match(rf"{SD}(?: \((\d+) of (\d+) seeds)?", cell)
        if not found or (words not in METRICS and words != "gap of means"):
            continue
        if words == "gap of means":
            yield found[1], gap_of_means(r, name, sentence.stop)
            continue
        values = r.at(name, stop or sentence.stop, METRICS[words])
        yield from mean_and_sd(found[1], found[2], values)
        if found[3]:
            yield found[3], float(values.count())
            yield found[4], float(len(r.seeds()))


def gap_of_means(r, name, stop):
    """The mean over the four metrics of the distance between a run's mean and Retrain's end."""
    return np.mean([abs(r.at(name, stop, metric).mean() - r.last("Retrain", metric).mean()) for metric in GAP])


def agrees(said, value):
    """Whether a printed number is the computed one, rounded: to the decimals that it is printed with."""
    decimals = len(said.partition("e")[0].partition(".")[2])
    half = 0.5 * 10.0 ** (int(said.partition("e")[2] or 0) - decimals)
    return bool(abs(float(said) - value) <= half * (1 + 1e-6) + 1e-12)


# ---------------------------------------------------------------- finding sentences

def of_notebooks():
    """The conclusions in the outputs of the committed notebooks."""
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        for text in ("".join(output["data"]["text/markdown"]) for cell in cells for output in cell.get("outputs", [])
                     if "text/markdown" in output.get("data", {})):
            setting = None
            for line in text.splitlines():
                if head := re.match(r"\* \*\*`(\w+)`\*\*$", line):
                    setting = head[1]
                elif setting and line.startswith("  * "):
                    yield Sentence(path.stem, line.strip(" *"), "quick", path.name[:2], setting)


def of_readme():
    """The lines of the tables that the README points to."""
    profile = place = head = None
    for line in (ROOT / "docs/tables.md").read_text(encoding="utf-8").splitlines():
        profile = SCALES.get(line, profile)
        if said := re.match(r"\*\*.*\(`(\w+)`: .*notebook (\d\d)(.*)\)", line):
            place, head = said, None
        elif place and line.startswith("| method | "):
            head = tuple(line.strip("| ").split(" | "))
        elif head and line.startswith("| "):
            stop = "oracle" if "an oracle" in place[3] else "last"
            yield Sentence("tables", line, profile, place[2], place[1], head, stop)
        elif not line.startswith("|"):
            head = None


def of_answers():
    """The clauses of the README's answers, each of the rows that it names at its end."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    block = re.search(r"<!-- answers -->\n(.*?)<!-- /answers -->", text, re.S)
    pattern = r"(.*?) ?\(([^();]+), \w+, n = (\d+)[^;]*; \[rows\]\(results/(\w+)/(\d\d)\.csv\)"
    for line in block[1].splitlines() if block else ():
        for found in re.finditer(pattern, line):
            yield Sentence("README", found[1].strip(" *"), found[4], found[5], "", (found[2], found[3]))


def of_results():
    """The answers at the head of RESULTS.md, what neither paper asks, and the lines of its tables."""
    place = setting = head = None
    for line in (ROOT / "RESULTS.md").read_text(encoding="utf-8").splitlines():
        if asked := re.match(r"\* \*\*(.*?)\*\* ?(.*)", line):
            question, line = asked[1], f"  * {asked[2]}"
        if said := re.match(r"  \* (`(\w+)`.*)", line):
            named = re.match(r"`\w+` \((\w+), n = ", said[1])
            profile = named[1] if named and named[1] in SCALES.values() else "reduced"
            yield Sentence("RESULTS", said[1], profile, notebook_of(question), said[2])
        elif said := re.search(r"`\./run_all\.sh --profile (\w+) --only (\d\d)`", line):
            place, head = said.groups(), None
        elif place and (said := re.match(r"\* `(\w+)`: (.*)", line)):
            yield Sentence("RESULTS", said[2], *place, said[1])
        elif said := re.match(r"\*\*`(\w+)`\*\* \(n = (\d+)\)\. .*stop: (\w+)", line):
            setting, head, stop = said[1], None, said[3]
            yield Sentence("RESULTS", line, *place, setting)
        elif line.startswith("| method | ") and line.endswith("difference |"):
            head = tuple(line.strip("| ").split(" | "))
        elif head and line.startswith("| "):
            yield Sentence("RESULTS", line, *place, setting, head, stop)
        elif not line.startswith("|"):
            head = None


def notebook_of(question):
    """Whose rows answer a question of the page's head."""
    if "without any training" in question:
        return "07"
    return "10" if "TIS" in question and (ROOT / "results" / "reduced" / "10.csv").exists() else "02"


def sentences():
    """All that say a number that can be computed anew."""
    return [*of_notebooks(), *of_answers(), *of_readme(), *of_results()]


def main(argv=None):
    p = argparse.ArgumentParser(prog="python tests/sentences.py", description=__doc__.splitlines()[0])
    p.add_argument("--count", type=int, default=30)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args(argv)
    pairs = [(sentence, checked(sentence)) for sentence in sentences()]
    pairs = [(sentence, numbers) for sentence, numbers in pairs if numbers]
    wrong = 0
    for sentence, numbers in random.Random(a.seed).sample(pairs, min(a.count, len(pairs))):
        off = [f"{said} is {value:.4g}" for said, value in numbers if not agrees(said, value)]
        wrong += bool(off)
        place = f"{sentence.source}, {sentence.profile} {sentence.notebook} {sentence.setting}"
        print(f"{'wrong' if off else 'right'}: {len(numbers)} numbers; {place}: {sentence.text}")
        for words in off:
            print(f"    {words}")
    print(f"{wrong} of {min(a.count, len(pairs))} wrong, drawn from {len(pairs)} with numbers (seed {a.seed})")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
