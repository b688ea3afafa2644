"""Paired differences, tiers and convergence on arrays whose answers are known."""
import numpy as np
import pytest

import lib
from lib.report import statistics as st
from lib.words import GAP

NAN = float("nan")


def table(**gaps):
    """Rows in which each method has these gaps, one a seed; `again` is the second Retrain."""
    runs = []
    for seed in range(len(next(iter(gaps.values())))):
        runs.append(run("Retrain", seed, 0))
        for name, values in gaps.items():
            method, variant = ("Retrain", "name=again") if name == "again" else (name, "")
            runs.append(run(method, seed, values[seed], variant))
    return lib.rows(runs, profile="quick", notebook="02")


def run(method, seed, gap, variant="", setting="a"):
    point = {"round": 10, **dict.fromkeys(GAP, 50.0 + gap), "bytes": 10.0, "flops": 10.0}
    return {"setting": setting, "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": seed, "curve": [point]}


def test_paired_by_hand():
    found = st.paired([1.0, 2.0, 3.0, NAN], [2.0, 4.0, 6.0, 1.0])       # -1 -2 -3: mean -2, sd 1
    half = 4.302652729911275 / np.sqrt(3)                               # t of two degrees of freedom
    assert found == pytest.approx((-2.0, -2.0 - half, -2.0 + half, 3, 3, 4))


def test_one_seed_has_no_interval_and_no_verdict():
    found = st.paired([1.0], [9.0])
    assert found.mean == -8 and np.isnan(found.low) and found.n == 1 and st.verdict(found) == st.ALIKE
    assert np.isnan(st.paired([NAN], [1.0]).mean)


def test_better_needs_an_interval_without_zero_and_more_than_the_floor():
    sure, unsure = st.paired([1, 1.1, 0.9], [3, 3, 3]), st.paired([1, 5, 0], [3, 3, 3])
    assert st.verdict(sure, floor=1.0) == st.BETTER and st.verdict(sure, floor=2.5) == st.ALIKE
    assert st.verdict(unsure) == st.ALIKE
    assert st.verdict(st.paired([3, 3, 3], [1, 1.1, 0.9]), floor=1.0) == st.WORSE


def test_a_difference_of_every_seed_alike_is_told_apart():
    assert st.verdict(st.paired([1, 2, 3], [2, 3, 4])) == st.BETTER


def test_pairs_of_a_table():
    df = table(again=[0.5, 0.6, 0.4], NoT=[2.0, 2.2, 1.9], FT=[9.0, 9.5, 9.2], PGD=[2.1, 1.9, 2.3])
    found = lib.pairs(df, stop="last").set_index(["method", "other"])
    assert len(found) == 6 and set(found["floor"].round(3)) == {0.5}
    assert found.loc[("FT", "NoT"), "verdict"] == st.WORSE and found.loc[("FT", "NoT"), "wins"] == 0
    assert found.loc[("PGD", "NoT"), "verdict"] == st.ALIKE
    assert found.loc[("Retrain name=again", "FT"), "verdict"] == st.BETTER


def test_tiers_of_a_table():
    df = table(again=[0.5, 0.6, 0.4], NoT=[2.0, 2.2, 1.9], FT=[9.0, 9.5, 9.2], PGD=[2.1, 1.9, 2.3])
    found = lib.tiers(df, stop="last").set_index("method")
    assert found["tier"].to_dict() == {"Retrain name=again": 1, "PGD": 2, "NoT": 2, "FT": 3}


def test_with_two_seeds_little_is_told_apart():
    found = lib.tiers(table(NoT=[2.0, 2.2, 1.9], PGD=[3.9, 4.6, NAN]), stop="last").set_index("method")
    assert set(found["tier"]) == {1} and found.loc["PGD", "n"] == 2 and found.loc["PGD", "of"] == 3


def test_the_floor_stands_at_the_same_stop():
    curve = [(0, 40.0), (5, 3.0), (10, 1.0), (20, 2.0)]
    again = {**run("Retrain", 0, 0, "name=again"), "curve": [
        {"round": r, **dict.fromkeys(GAP, 50 + gap), "bytes": 1.0 * r, "flops": 1.0 * r} for r, gap in curve]}
    end = {**run("Retrain", 0, 0), "curve": [{"round": 20, **dict.fromkeys(GAP, 50.0), "bytes": 20.0, "flops": 20.0}]}
    df = lib.rows([end, again], profile="quick", notebook="02")
    assert st.noise_floor(df, "oracle") == {"a": 1.0} and st.noise_floor(df, "last") == {"a": 2.0}
    assert st.noise_floor(df, "quarter") == {"a": 2.0}      # stopped there it is a rival


def test_a_table_says_what_has_not_converged():
    early = lib.rows([curve_of("Retrain", 10, 60, 80)], profile="quick", notebook="02")
    assert "Not converged: Retrain in a (80.0 %, moves by 20.0 points)" in lib.show(early, stop="last").caption
    late = lib.rows([curve_of("Retrain", 10, 60, 99.9)], profile="quick", notebook="02")
    assert "converged" not in lib.show(late, stop="last").caption


def curve_of(method, *values, setting="a"):
    points = [{"round": r, **dict.fromkeys(GAP, float(v)), "bytes": 1.0 * r, "flops": 1.0 * r}
              for r, v in zip(range(0, 10 * len(values), 10), values)]
    return {**run(method, 0, 0, setting=setting), "curve": points}


@pytest.mark.parametrize("values,wanted", [
    ((10, 50, 70, 75, 78, 80.8), False),        # still rises by 2.8 points
    ((10, 50, 70, 75, 80.5, 80.8), True),
    ((10, 50, 70, 90, 96, 99.5), True),         # nothing is left to learn
    ((10, 50, 70, 90, 82, 80), False),          # it falls
])
def test_convergence_by_the_rule(values, wanted):
    df = lib.rows([curve_of("Retrain", *values)], profile="quick", notebook="02")
    line = lib.converged(df).iloc[0]
    assert line["run"] == "Retrain" and line["converged"] == wanted and line["accuracy"] == values[-1]
    assert ("Not converged" in st.not_converged(df)) != wanted


@pytest.mark.parametrize("accuracy, words", [(99.44, "99.4"), (99.0, "99.0"), (98.985, "98.98"), (98.996, "98.99"), (98.94, "98.9"), (80.84, "80.8")])
def test_what_is_short_of_the_limit_is_not_rounded_to_it(accuracy, words):
    assert st.knows(accuracy) == words


def test_the_original_has_converged_above_99_percent_or_by_its_training():
    runs = [curve_of("Original", 98.0), curve_of("Retrain", 10, 99.9)]
    found = lib.converged(lib.rows(runs, profile="quick", notebook="02")).set_index("run")
    assert found["converged"].to_dict() == {"Original": False, "Retrain": True}
    flat = {**run("Original", 0, 0), "curve": [{"round": r, "train_acc": v} for r, v in ((0, 9.0), (8, 97.8), (10, 98.0))]}
    found = lib.converged(lib.rows([flat], profile="quick", notebook="01")).set_index("run")
    assert found.loc["Original", "converged"] and found.loc["Original", "moved"] == pytest.approx(0.2)
