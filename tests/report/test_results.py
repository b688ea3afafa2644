"""Rows, gaps, ratios, tables and verdicts, each against numbers computed by hand."""
import io
import json

import numpy as np
import pandas as pd
import pytest

from lib import files, words
from lib.errors import Bad
from lib.profiles import load
from lib.report import papers, rows, summary, tables

GAP = words.GAP


def point(t, retain, forget, test, mia, cost=0):
    return {"round": t, "retain_acc": retain, "forget_acc": forget, "test_acc": test, "mia": mia,
            "bytes": 100.0 * cost, "flops": 10.0 * cost, "seconds": 0.5 * cost, "per_class": [1, 2]}


def run(method, curve, seed=0, **more):
    return {"setting": "toy", "dataset": "CIFAR-10", "model": "CNN", "distribution": "iid",
            "scenario": "client-wise", "method": method, "variant": "", "seed": seed, "curve": curve, **more}


def table_of(records, **common):
    return rows.rows(records, profile="quick", notebook="02", **common)


RETRAIN = [point(0, 10, 10, 10, 50, 0), point(10, 90, 80, 80, 50, 10)]
NOT = [point(0, 10, 10, 10, 50, 0),      # gaps 80 70 70 0
       point(2, 88, 81, 80, 51, 2),      # gaps 2 1 0 1 -> 1.0, the smallest
       point(4, 92, 82, 82, 52, 4)]      # gaps 2 2 2 2 -> 2.0


@pytest.fixture
def two_seeds():
    """Two seeds whose Retrains differ: the gap of means is then not the mean of gaps."""
    other = [point(10, 94, 84, 84, 50, 20)]
    return table_of([
        run("Retrain", RETRAIN), run("NoT", NOT, storage_bytes=0),
        run("Retrain", other, 1), run("NoT", [point(2, 92, 83, 84, 51, 4)], 1),
        run("Original", [point(0, 95, 95, 80, 60)])], table="not_table1")


def value(df, **where):
    for column, wanted in where.items():
        df = df[df[column] == wanted]
    assert len(df) == 1, f"{len(df)} rows for {where}"
    return df.iloc[0].get("value", df.iloc[0].get("mean"))


def test_gap_and_oracle_round_by_hand(two_seeds):
    of = {"method": "NoT", "seed": 0, "metric": "avg_gap"}
    assert [value(two_seeds, stop="curve", round=t, **of) for t in (0, 2, 4)] == [55.0, 1.0, 2.0]
    assert value(two_seeds, stop="oracle", **of) == 1.0 and value(two_seeds, stop="last", **of) == 2.0
    assert value(two_seeds, stop="oracle", method="NoT", seed=0, metric="comm_bytes") == 200.0
    assert value(two_seeds, stop="oracle", method="NoT", seed=0, metric="storage_bytes") == 0.0
    # each seed against its own Retrain: against seed 0's it would be 2.75 instead of 1.0
    assert value(two_seeds, stop="last", method="NoT", seed=1, metric="avg_gap") == 1.0


def test_retrain_is_its_own_reference_at_its_last_round(two_seeds):
    part = two_seeds[(two_seeds.method == "Retrain") & (two_seeds.seed == 0) & (two_seeds.metric == "avg_gap")]
    assert value(part, stop="oracle") == 0.0 and value(part, stop="oracle") == value(part, stop="last")
    assert set(part[part.stop == "oracle"]["round"]) == {10}


def test_equal_gaps_take_the_earlier_round_and_missing_metrics_are_no_candidates():
    late = {k: v for k, v in point(1, 90, 80, 80, 50).items() if k != "mia"}
    df = table_of([run("Retrain", RETRAIN), run("FT", [late, NOT[1], {**NOT[1], "round": 3}])])
    oracle = df[(df.method == "FT") & (df.stop == "oracle")]
    assert set(oracle["round"]) == {2}
    assert df[(df.method == "FT") & (df.metric == "avg_gap") & (df["round"] == 1) & (df.stop == "curve")].empty


def test_without_retrain_there_is_neither_gap_nor_oracle():
    df = table_of([run("Original", RETRAIN)])
    assert set(df.stop) == {"curve", "last", "best_test"} and "avg_gap" not in set(df.metric)


def test_one_verb_takes_runs_and_plain_records_alike():
    plain = {"setting": "toy", "method": "NoT", "seed": 0, "metric": "nta", "value": 0.9, "variant": {"gamma": 30.0},
             "label": "NoT/thirty"}
    both = table_of([run("Retrain", RETRAIN), run("NoT", NOT), plain])
    apart = [table_of([run("Retrain", RETRAIN), run("NoT", NOT)]), table_of([plain])]
    pd.testing.assert_frame_equal(both, rows.check(pd.concat(apart)))
    assert value(both, metric="nta", variant="gamma=30", stop="last", round=0) == 0.9
    again = rows.rows(both.to_dict("records"), profile="quick", notebook="02")      # rows are records
    pd.testing.assert_frame_equal(again, both)


def test_the_papers_table_is_one_word_or_one_a_setting():
    records = [run("Retrain", RETRAIN), run("Retrain", RETRAIN, setting="other")]
    assert set(table_of(records, table="not_table1")["table"]) == {"not_table1"}
    df = table_of(records, table={"other": "not_table2"})
    assert dict(zip(df["setting"], df["table"])) == {"toy": "", "other": "not_table2"}
    own = run("Retrain", RETRAIN, table="not_table3")       # what a record says itself counts
    assert set(table_of([own], table="not_table1")["table"]) == {"not_table3"}


def test_a_run_without_a_curve_is_named():
    with pytest.raises(Bad, match="run toy/NoT, seed 0: no evaluated round"):
        table_of([run("NoT", [])])


def test_several_retrains_the_plain_one_is_the_reference():
    other = run("Retrain", [point(10, 0, 0, 0, 0)], variant={"init": "same"})
    df = table_of([other, run("Retrain", RETRAIN), run("NoT", NOT)])
    assert value(df, stop="last", method="NoT", metric="avg_gap") == 2.0
    assert value(summary.differences(df, "last"), method="NoT", metric="mia") == 2.0


def test_cost_ratio_is_to_the_same_seeds_whole_retrain(two_seeds):
    ratio = summary.cost_ratio(two_seeds)
    assert value(ratio, method="NoT", seed=0, metric="comm_ratio") == pytest.approx(0.2)
    assert value(ratio, method="NoT", seed=1, metric="comm_ratio") == pytest.approx(0.2)
    assert value(ratio, method="NoT", seed=1, metric="comp_ratio") == pytest.approx(4 / 20)
    assert set(ratio.unit) == {"ratio"} and list(ratio.columns) == rows.COLUMNS


def test_ratio_without_denominator_is_left_out():
    free = [{**p, "bytes": 0.0} for p in RETRAIN]
    df = table_of([run("Retrain", free), run("NoT", NOT)])
    assert set(summary.cost_ratio(df).metric) == {"comp_ratio"}


def test_summary_mean_sd_and_n(two_seeds):
    s = summary.summary(two_seeds, "oracle")
    line = s[(s.method == "NoT") & (s.metric == "retain_acc")].iloc[0]
    assert line["mean"] == 90.0 and line["sd"] == pytest.approx(np.sqrt(8)) and line["n"] == 2  # 88 and 92, ddof 1
    alone = s[(s.method == "Original") & (s.metric == "test_acc")].iloc[0]
    assert alone["n"] == 1 and np.isnan(alone["sd"])
    assert list(dict.fromkeys(s.method)) == ["Original", "Retrain", "NoT"]


def test_gap_of_means_is_not_the_mean_of_gaps():
    runs = []
    for seed, shift in ((0, 4.0), (1, -4.0)):  # the errors of the two seeds cancel in the mean only
        runs += [run("Retrain", [point(5, 90, 80, 80, 50)], seed),
                 run("NoT", [point(5, 90 + shift, 80 + shift, 80 + shift, 50 + shift)], seed)]
    s = summary.summary(table_of(runs))
    assert value(s, method="NoT", metric="avg_gap") == 4.0
    assert value(s, method="NoT", metric="avg_gap_of_means") == 0.0


def test_gap_of_means_uses_retrain_of_the_same_seeds(two_seeds):
    s = summary.summary(two_seeds[~((two_seeds.method == "NoT") & (two_seeds.seed == 1))])
    assert value(s, method="NoT", metric="avg_gap_of_means") == 1.0  # with seed 1's Retrain in the mean: 2.75


def test_the_gap_over_the_papers_metrics_is_the_papers_gap(two_seeds):
    ours, theirs = summary.gap_over(two_seeds, words.GAP, "last"), summary.by_seed(two_seeds, "avg_gap", "last")
    pd.testing.assert_frame_equal(ours, theirs)
    one = summary.gap_over(two_seeds, ["mia"], "last")
    mia = summary.by_seed(two_seeds, "mia", "last")
    pd.testing.assert_frame_equal(one, mia.sub(mia["Retrain"], axis=0).abs())


def test_by_seed_and_differences(two_seeds):
    wide = summary.by_seed(two_seeds, "avg_gap", "last")
    assert wide.loc[("toy", 0), "NoT"] == 2.0 and wide.loc[("toy", 1), "NoT"] == 1.0
    diff = summary.differences(two_seeds, "oracle")
    assert value(diff, method="NoT", seed=0, metric="retain_acc") == -2.0


def test_variant_and_option():
    assert rows.variant({"reset": "zero", "gamma": 30.0, "layers": [0, 2]}) == "gamma=30;layers=0+2;reset=zero"
    df = pd.DataFrame({"variant": ["gamma=30;reset=zero", "", "gamma=2.5"]})
    assert rows.option(df, "gamma").tolist()[::2] == [30.0, 2.5] and np.isnan(rows.option(df, "gamma")[1])
    assert rows.option(df, "reset")[0] == "zero" and rows.option(df, "gam").isna().all()


def test_describe_uses_the_papers_words():
    assert words.describe({"dataset": "cifar10", "model": "cnn", "partition": "iid", "forget": "clients"}) == {
        "dataset": "CIFAR-10", "model": "CNN", "distribution": "iid", "scenario": "client-wise"}
    small = words.describe({"dataset": "/my/birds.npz", "model": "resnet18", "width": 16, "size": 16, "beta": 0.8,
                              "partition": "tis_dirichlet", "forget": "class", "poison_label": 9})
    assert small == {"dataset": "birds", "model": "ResNet-18 w16 @16", "distribution": "dirichlet_0.8",
                     "scenario": "backdoor"}
    own = [s for book in ("02", "03", "06", "07") for s in load("paper")["notebooks"][book].values()]
    assert {words.describe(s)["model"] for s in own} == {"CNN", "ResNet-18", "ViT-B/16"}   # none is another model
    printed = {(r.dataset, r.model) for t in ("not_table1", "tis_table1") for r in papers.paper_table(t).itertuples()}
    assert {d for d, _ in printed} <= set(words.DATASETS.values())
    assert {m for _, m in printed} <= set(words.MODELS.values())


@pytest.mark.parametrize("change, says", [
    (lambda d: d.assign(extra=1), "unknown column 'extra'"),
    (lambda d: d.rename(columns={"metric": "metrics"}), "nearest column: metric"),
    (lambda d: d.drop(columns="seed"), "missing column seed"),
    (lambda d: pd.concat([d, d.iloc[:1]]), "two rows for"),
    (lambda d: d.assign(unit=[np.nan, *d.unit[1:]]), "'unit' holds a value that is no text"),
    (lambda d: d.assign(unit=["", *d.unit[1:]]), "'unit' is empty"),
    (lambda d: d.assign(stop="best"), "stop 'best'"),
    (lambda d: d.assign(seed=0.5), "whole numbers"),
    (lambda d: d.assign(value="much"), "'value'"),
    (lambda d: d.assign(notebook="03"), "'03'"),
])
def test_save_refuses_what_is_not_the_schema(two_seeds, change, says, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    with pytest.raises(Bad, match=says):
        rows.save_results("quick", "02", change(two_seeds))
    assert not list(tmp_path.rglob("*.*")), "something was written"


def test_a_metric_without_unit_is_named():
    with pytest.raises(Bad, match="'oddness' has no unit"):
        rows.rows([{"metric": "oddness", "method": "NoT", "seed": 0, "value": 1}], profile="q", notebook="05")
    df = rows.rows([{"metric": "oddness", "method": "NoT", "seed": 0, "value": 1}], {"oddness": "bits"})
    assert df.unit.tolist() == ["bits"]


def test_files_are_deterministic_complete_and_read_back(two_seeds, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    odd = two_seeds.assign(value=two_seeds["value"] / 3)
    rows.save_results("quick", "02", odd)
    path = files.folder("quick") / "02.csv"
    first, curves = path.read_bytes(), path.with_name("02.curves.csv").read_bytes()
    rows.save_results("quick", "02", odd.sample(frac=1, random_state=1)[rows.COLUMNS[::-1]])
    assert path == tmp_path / "quick/results/02.csv" and path.read_bytes() == first
    assert path.with_name("02.curves.csv").read_bytes() == curves
    assert first.splitlines()[0].decode() == ",".join(rows.COLUMNS)
    assert sorted(p.name for p in path.parent.iterdir()) == ["02.csv", "02.curves.csv", "02.meta.json", "02.sha256",
                                                                "02.timing.csv"]
    back, wanted = rows.load_results("quick", "02"), odd[odd.metric != "seconds"].reset_index(drop=True)
    pd.testing.assert_frame_equal(back, wanted, rtol=1e-5, check_dtype=False)
    timing = rows.load_results("quick", "02", timing=True)
    assert set(timing.metric) == {"seconds"} and set(timing.stop) == {"last"}
    meta = json.loads((path.parent / "02.meta.json").read_text())
    assert meta["n"] == 2 and meta["seeds"] == [0, 1] and meta["numpy"]
    with pytest.raises(Bad, match="03.csv"):
        rows.load_results("quick", "03")


def test_what_follows_from_the_curves_is_not_written_and_found_again(two_seeds):
    long, curves = rows.parts(two_seeds[two_seeds.metric != "seconds"])
    assert set(pd.read_csv(io.StringIO(long))["stop"]) == {"last"}
    lines = curves.splitlines()
    assert lines[0].endswith("avg_gap [percent points],comm_bytes [bytes],comp_flops [FLOPs],forget_acc [percent],"
                             "mia [percent],retain_acc [percent],test_acc [percent]")
    assert sum("NoT" in line for line in lines) == 4                        # one line an evaluated round
    chosen = two_seeds[(two_seeds.stop == "oracle") & (two_seeds.metric == "mia")].assign(value=7.0, round=4)
    other = pd.concat([two_seeds[two_seeds.stop != "oracle"], chosen])       # a stop that does not follow is kept
    kept = pd.read_csv(io.StringIO(rows.parts(other[other.metric != "seconds"])[0]))
    assert set(kept["stop"]) == {"last", "oracle"} and (kept[kept.stop == "oracle"]["value"] == 7.0).all()


@pytest.mark.parametrize("metric, value, written, in_a_large_file", [
    ("mia", 51.23456789, "51.234568", "51.23457"), ("mia", 50.0, "50", "50"), ("retain_acc", 1 / 3, "0.33333333", "0.3333333"),
    ("comm_bytes", 19093760.0, "19093760", "19093760"), ("comp_flops", 4.4128272e10, "4.4128272e+10", "4.4128272e+10")])
def test_large_curves_have_the_digits_of_float32_and_costs_one_more(two_seeds, monkeypatch, metric, value, written,
                                                                   in_a_large_file):
    df = two_seeds[two_seeds.metric != "seconds"]
    df = df.assign(value=df["value"].where(df["metric"] != metric, value))
    for largest, wanted in ((10**6, written), (10, in_a_large_file)):
        monkeypatch.setattr(rows, "MEGABYTE", largest)
        column = pd.read_csv(io.StringIO(rows.parts(df)[1]), dtype=str).filter(regex=f"^{metric} ").iloc[:, 0]
        assert set(column.dropna()) == {wanted}


@pytest.mark.parametrize("changed", [
    lambda d: d.assign(value=d["value"].where(d["metric"] != "mia", 7.0)),      # one number is another
    lambda d: d[d["metric"] != "mia"],                                          # one is not there
    lambda d: d.assign(round=4)])                                               # another round
def test_a_stop_that_older_code_has_chosen_stays_as_it_is(two_seeds, changed, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    oracle = (two_seeds["stop"] == "oracle") & (two_seeds["method"] == "NoT") & (two_seeds["seed"] == 0)
    older = pd.concat([two_seeds[~oracle], changed(two_seeds[oracle])])
    rows.save_results("quick", "02", older)
    wanted = rows.ordered(older[older["metric"] != "seconds"])
    pd.testing.assert_frame_equal(rows.load_results("quick", "02"), wanted, rtol=1e-5, check_dtype=False)
    rows.save_results("quick", "02", rows.load_results("quick", "02"))          # and once more
    pd.testing.assert_frame_equal(rows.load_results("quick", "02"), wanted, rtol=1e-5, check_dtype=False)


def test_nan_of_a_curve_and_what_was_not_measured_are_told_apart():
    df = table_of([run("FT", [{"round": 0, "mia": float("nan"), "test_acc": 1.0}, {"round": 1, "test_acc": 2.0}])])
    curves = df[df.stop == "curve"].reset_index(drop=True)
    back = rows.curves_from_csv(rows.curves_to_csv(curves), df[df.stop == "last"])
    pd.testing.assert_frame_equal(rows.check(back), curves)


def test_sweeps_are_kept_whole_unless_the_table_is_too_large(monkeypatch, tmp_path):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    record = {"setting": "a", "dataset": "digits", "model": "m", "distribution": "iid", "method": "TIS-Reset", "seed": 0,
              "stop": "last"}
    swept = rows.rows([record | {"variant": {"gamma": g}, "metric": m, "value": 1.0} for g in range(5, 100, 5)
                          for m in ("asr", "test_acc")], profile="quick", notebook="09")
    for most, kept in ((100, 38), (10, 5)):         # all 19 gammas, or 20, 30, 40, 60, 80 without accuracies
        monkeypatch.setattr(rows, "ROWS", most)
        rows.save_results("quick", "09", swept)
        assert len(rows.load_results("quick", "09")) == kept


# ---------------------------------------------------------------- the papers' side

def test_paper_tables_are_consistent():
    names = [f"not_table{i}" for i in range(1, 9)] + [f"tis_table{i}" for i in range(1, 6)]
    for name in names:
        df = papers.paper_table(name)
        assert set(df["table"]) == {name} and df["mean"].notna().all()
        assert set(df["method"]) <= set(words.METHODS)
        for metric, unit in zip(df["metric"], df["unit"]):
            assert words.metric(metric).unit == unit
    with pytest.raises(Bad, match="not_table1"):
        papers.paper_table("not_table9")


def test_compare_by_hand(two_seeds):
    c = papers.compare(two_seeds, "not_table1").set_index(["method", "metric"])
    line = c.loc[("NoT", "forget_acc")]
    assert line["paper"] == 83.86 and line["ours"] == 82.0 and line["difference"] == pytest.approx(-1.86)
    assert line["n"] == 2 and line["sd"] == pytest.approx(np.sqrt(2))
    assert c.loc[("NoT", "comm_ratio"), "paper"] == pytest.approx(7.09e9 / 1.35e10)
    assert c.loc[("NoT", "comm_ratio"), "ours"] == pytest.approx(0.2)
    assert c.loc[("FCU", "mia"), "n"] == 0 and np.isnan(c.loc[("FCU", "mia"), "ours"])
    assert c.loc[("NoT", "avg_gap_of_means"), "paper"] == 0.29


def test_compare_with_another_data_set_gives_no_difference_of_accuracies(two_seeds):
    c = papers.compare(two_seeds.assign(dataset="digits", model="small CNN"), "not_table1", dataset="CIFAR-100",
                       model="CNN").set_index(["method", "metric"])
    assert np.isnan(c.loc[("NoT", "test_acc"), "difference"]) and c.loc[("NoT", "avg_gap"), "difference"] == \
        pytest.approx(1.0 - c.loc[("NoT", "avg_gap"), "paper"])
    assert "digits" in tables.show(c.reset_index(), "x digits").caption
    with pytest.raises(Bad, match="no dataset 'MNIST'"):
        papers.compare(two_seeds, "not_table1", dataset="MNIST")
    with pytest.raises(Bad, match="one setting"):
        papers.compare(pd.concat([two_seeds, two_seeds.assign(setting="b")]), "not_table1")


def test_compare_knows_the_papers_word_for_iid():
    df = rows.rows([{"metric": "nta", "method": "TIS-Reset", "seed": 0, "value": 0.7, "setting": "s", "model":
                        "ResNet-18", "dataset": "CIFAR-10", "distribution": "iid", "stop": "oracle"}])
    c = papers.compare(df, "tis_table1")
    assert c[c.metric == "nta"]["paper"].tolist() == [0.63]


def test_recomputed_gap_stands_beside_a_printed_one_that_does_not_follow(two_seeds):
    c = papers.compare(two_seeds, "not_table4")
    mode = c[(c.method == "MoDE") & (c.metric == "avg_gap")].iloc[0]
    assert (mode["paper"], mode["recomputed"]) == (3.07, 1.55)
    assert "3.07 (1.55)" in tables.show(c).to_html()


def test_show_says_n_and_bolds_the_smallest_gap(two_seeds):
    table = tables.show(two_seeds, metrics=["retain_acc", "avg_gap"])
    assert table.data.loc["NoT", "retain accuracy, %"] == "90.00 ± 2.83"
    assert "n = 1 to 2 seeds" in table.caption and "bold" in table.to_html()
    alone = tables.show(two_seeds[two_seeds.seed == 0])
    assert "n = 1 seed" in alone.caption and "±" not in alone.to_html()
    assert "seconds" not in tables.show(two_seeds).data
    assert "seconds" in tables.show(two_seeds, metrics=["seconds"], stop="last").data
    assert tables.show(two_seeds).to_html() == tables.show(two_seeds).to_html()


def test_numbers_as_text():
    assert tables.number(83.861, 0.171) == "83.86 ± 0.17" and tables.number(np.nan) == "–"
    assert tables.number(1.35e10, unit="bytes") == "13.50 GB" and tables.number(0.0, unit="bytes") == "0.00 B"
    assert tables.number(5.81e16, unit="FLOPs") == "58.10 PFLOP" and tables.number(0.0012) == "0.0012"
    assert tables.number(0.0) == "0.00" and tables.number(0.01) == "0.01" and tables.number(-0.0012) == "-0.0012"
    assert tables.number(99999.0) == "99999.00" and tables.number(1e5) == "1e+05"


# ---------------------------------------------------------------- the README

def test_the_readme_shows_the_committed_results():
    from workflow import publish
    for page, text in publish.PAGES["readme"].items():
        assert text() == (files.ROOT / page).read_text(encoding="utf-8"), f"{page}: run python -m workflow.publish readme"


def backdoor():
    found = [("Original", "", 100.0, 0.0), ("Retrain", "", 0.5, 99.0), ("Retrain", "name=again", 0.7, 98.0),
            ("TIS-Reset", "reset=zero", 12.0, 60.0)]
    record = {"setting": "a", "table": "tis_table4", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "seed": 0}
    return rows.rows([record | {"method": m, "variant": v, "stop": s, "metric": k, "value": x}
                         for m, v, *values in found for s in ("last", "oracle")
                         for k, x in zip(("asr", "backdoor_acc"), values)], profile="paper", notebook="09")


def test_a_readme_table_beside_the_papers():
    lines = tables.beside(backdoor(), "tis_table4", ["asr"]).splitlines()
    assert lines[0] == "| method | attack success, paper | attack success, ours | attack success, difference |"
    assert "| Retrain | 0.11 ± 0.08 | 0.50 | +0.39 |" in lines and "| Retrain (name=again) | – | 0.70 | – |" in lines
    assert "| TIS-Reset (reset=zero) | 10.14 ± 10.35 | 12.00 | +1.86 |" in lines and len(lines) == 6


def test_a_readme_table_leaves_out_what_it_cannot_show():
    swept = rows.rows([{"setting": "a", "dataset": "MNIST", "model": "CNN", "method": "TIS-Reset", "seed": 0,
                           "variant": {"gamma": 20}, "stop": "last", "metric": "nta", "value": 1.0}], profile="paper",
                         notebook="09")
    text = tables.markdown(pd.concat([backdoor(), swept]), [("asr", "last"), ("backdoor_acc", "oracle")])
    assert "gamma=20" not in text and "| Original | 100.00 | 0.00 |" in text
    assert text.startswith("| method | attack success (last) | backdoor accuracy (oracle) |")
