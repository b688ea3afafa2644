"""A run that diverged in rows, means, tables, figures, claims and searches: never a number, never better."""
import math
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lib
from lib.report import reproduced, rows, summary, tables
from lib.report.numbers import over_seeds
from lib.report.style import note
from lib.words import GAP

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import search  # noqa: E402

NAN = float("nan")


def point(r, value):
    return {"round": r, **dict.fromkeys(GAP, value), "bytes": 10.0 * r, "flops": 10.0 * r, "seconds": 1.0 * r}


def run(method, seed, *values, diverged=None):
    curve = [point(r, value) for r, value in enumerate(values)]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": "", "seed": seed, "curve": curve, "diverged": diverged, "storage_bytes": 0}


@pytest.fixture
def df():
    """MoDE, which would be nearest in every seed, diverges in two of three; NoT in none."""
    runs = [run("Retrain", seed, 10, 80, 90) for seed in range(3)]
    runs += [run("NoT", seed, 10, 70, 80) for seed in range(3)]
    runs += [run("MoDE", 0, 90, 90, 89), run("MoDE", 1, 90, NAN, diverged=1), run("MoDE", 2, 90, NAN, diverged=1)]
    return lib.rows(runs, profile="quick", notebook="02")


def test_rows_of_a_diverged_run(df, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    lib.save_results("quick", "02", df)
    back = lib.load_results("quick", "02")
    mine = back[(back.method == "MoDE") & (back.seed == 1) & (back.stop != "curve")]
    early = mine[mine["stop"] == "quarter"]     # before it diverged
    assert set(early["round"]) == {0} and early[early.metric != "storage_bytes"]["value"].notna().all()
    assert "diverged" not in set(early["metric"])
    mine = mine[mine["stop"] != "quarter"]
    assert set(mine["round"]) == {1} and set(mine["stop"]) == {"last", "oracle", "best_test", "half", "full"}
    assert mine[mine.metric == "diverged"]["value"].tolist() == [1] * 5
    assert mine[mine.metric != "diverged"]["value"].isna().all() and "avg_gap" in set(mine.metric)
    before = back[(back.method == "MoDE") & (back.seed == 1) & (back.stop == "curve") & (back["round"] == 0)]
    assert before["value"].notna().all()
    assert set(back[back.metric == "diverged"]["method"]) == {"MoDE"}


def test_without_retrain_a_diverged_run_has_no_oracle_either():
    alone = lib.rows([run("MoDE", 0, 90, NAN, diverged=1)], profile="quick", notebook="02")
    assert set(alone.stop) == {"curve", "last", "best_test"}
    assert alone[(alone.stop == "best_test") & (alone.metric != "diverged")]["value"].isna().all()


@pytest.mark.parametrize("stop", ["last", "oracle"])
def test_means_are_over_what_did_not_diverge_and_say_so(df, stop):
    means = summary.summary(df, stop).set_index(["method", "metric"])
    for metric in ("test_acc", "avg_gap", "comm_ratio"):
        assert means.loc[("MoDE", metric), ["n", "diverged"]].tolist() == [1, 2]
        assert means.loc[("NoT", metric), ["n", "diverged"]].tolist() == [3, 0]
    assert "diverged" not in means.index.get_level_values("metric")


def test_tables_say_how_many_diverged(df):
    shown = tables.show(df, stop="last")
    assert shown.data.loc["MoDE", "test accuracy, %"] == "89.00 (1 of 3 seeds, 2 diverged)"
    assert shown.data.loc["NoT", "test accuracy, %"] == "80.00 ± 0.00"
    bold = {line for line in shown.to_html().split("<tr>") if "bold" in line}
    assert "diverged in round" not in shown.data and bold
    assert "| MoDE | 89.00 (1 of 3 seeds, 2 diverged) |" in tables.markdown(df, [("test_acc", "last")])
    assert "2 diverged" in tables.show(lib.compare(df, "not_table1")).to_html()


def test_a_diverged_method_is_never_the_best_of_a_table(df):
    means = summary.summary(df, "last")
    part = means[means.metric == "avg_gap"].set_index(["method", "variant"])
    best = tables.best_lines(part["mean"][~tables.lost_lines(part)])
    assert part.loc[("MoDE", ""), "mean"] < part.loc[("NoT", ""), "mean"] and list(best) == [("NoT", "")]


@pytest.mark.parametrize(("n", "lost", "text"), [(3, 0, "5"), (1, 2, "5 (1 of 3 seeds, 2 diverged)"),
                                                 (0, 3, "0 of 3 seeds, 3 diverged")])
def test_cells(n, lost, text):
    assert over_seeds("5", n, lost) == text


def test_figures_say_it(df):
    assert tables.lost_text(df) == "diverged: MoDE in 2 of 3 runs" and tables.lost_text(df[df.method != "MoDE"]) == ""
    for fig in (lib.curves(df), lib.versus_retrain(df), lib.gap_bars(df, "not_table1")):
        assert "diverged: MoDE in 2 of 3 runs" in fig.get_suptitle().replace("\n", " ")
    fig = plt.figure()
    note(fig, df)
    assert "diverged" not in fig.get_suptitle().replace("\n", " ")


def test_a_figure_of_a_method_that_diverged_in_every_seed_is_drawn(df):
    all_lost = df.copy()
    all_lost.loc[(df.method == "NoT") & (df.stop != "curve") & (df.metric != "diverged"), "value"] = np.nan
    lib.versus_retrain(all_lost).savefig("/dev/null", format="png", bbox_inches="tight")


def committed(notebook):
    return reproduced.committed("reduced", notebook).copy()


def lose(df, *methods):
    """The table as if these methods had diverged in every run."""
    kept = df.copy()
    hit = kept["method"].isin(methods) & (kept["stop"] != "curve")
    late = kept["method"].isin(methods) & (kept["stop"] == "curve")
    kept.loc[hit | late, "value"] = np.nan
    marks = df[hit].drop_duplicates([*summary.RUN, "stop"]).assign(metric="diverged", value=1.0, unit="rounds")
    return rows.check(rows.pd.concat([kept, marks]))


def judged(df, notebook):
    sweep = df[df["setting"].str.contains("union")]
    more = {"02": {"classes": dict.fromkeys(set(df["setting"]), 10)}, "09": {"sweep": sweep}}.get(notebook, {})
    runs = df.drop(sweep.index) if notebook == "09" else df
    return lib.judge(runs, notebook, **more).set_index(["id", "place"])


# what the sentence is about, where that is neither NoT nor TIS Reset
ABOUT = {"N09": ("FT",), "N04": ("FedEraser", "FUKD"), "N50": ("SSD",), "T20": ("FT",)}


@pytest.mark.parametrize("notebook", ["02", "03", "06", "07", "08", "09"])
def test_no_claim_holds_of_a_method_that_diverged(notebook):
    df = committed(notebook)
    subjects = {"NoT", *[m for m in set(df["method"]) if m.startswith("TIS-Reset") or m in ("TRIM",)]}
    found = judged(lose(df, *subjects), notebook)
    for (id, place), line in found.iterrows():
        if id in ABOUT:
            line = judged(lose(df, *ABOUT[id]), notebook).loc[(id, place)]
        assert line["n_holds"] == 0, f"{id}, {place}: {line['value']}"


@pytest.mark.parametrize(("notebook", "method"), [("02", "NoT"), ("09", "NoT"), ("08", "TIS-Reset"), ("07", "TIS-Reset"),
                                                  ("08", "Random-Reset+TRIM")])
def test_a_seed_that_diverged_is_counted_and_does_not_hold(notebook, method):
    df = committed(notebook)
    whole = judged(df, notebook)
    for seed in sorted(df["seed"].unique()):        # until one in which something had held
        one = judged(lose_seed(df, method, seed), notebook)
        assert (one["n"] == whole["n"]).all()       # no seed is left out
        assert (one["n_holds"] <= whole["n_holds"]).all()
        if (one["n_holds"] < whole["n_holds"]).any():
            return
    pytest.fail("no claim counts the method in any seed")


def lose_seed(df, method, seed):
    """The table as if one method had diverged at a seed."""
    here = df["seed"] == seed
    return rows.check(rows.pd.concat([df[~here], lose(df[here], method)]))


def test_a_rival_that_diverged_is_not_the_cheapest():
    lost = judged(lose(committed("02"), "FT", "FUKD", "FedEraser", "PGD", "MoDE", "FCU", "TIS-Reset", "Random-Reset"), "02")
    assert "nan" in lost.loc[("N02", "02"), "value"] and lost.loc[("N02", "02"), "n_holds"] == 0


def test_a_search_ranks_a_diverged_trial_last():
    assert search.nearest([NAN, 3.0, 2.0, NAN]) == 2 and search.nearest([NAN, 9.0]) == 1
    assert search.nearest([NAN, NAN]) is None and math.isnan(NAN)
