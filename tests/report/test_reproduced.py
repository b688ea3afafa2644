"""The page of the two papers beside ours: fresh, whole, and of numbers that are in the rows."""
import re

import numpy as np
import pandas as pd
import pytest
from tables import table

import lib
from lib.files import ROOT
from lib.report import answers, exhibits, reproduced
from lib.words import GAP, METRICS

PAGE = (ROOT / "RESULTS.md").read_text(encoding="utf-8")


def test_the_page_is_what_the_command_makes():
    assert reproduced.page() == PAGE, "run: python -m workflow.publish results"


def test_all_tables_and_figures_of_both_papers_are_there():
    printed = {path.stem for path in (ROOT / "paper").glob("*_table*.csv")}
    assert {name for name, e in exhibits.EXHIBITS.items() if e.is_table} == printed and len(printed) == 13
    assert sum(not e.is_table for e in exhibits.EXHIBITS.values()) == 10
    for exhibit in exhibits.EXHIBITS.values():
        assert list((ROOT / "notebooks").glob(f"{exhibit.notebook}_*.ipynb")), exhibit.id
        assert PAGE.count(f"### {exhibit.paper}, {exhibit.name}\n") == 1


def tables_of_the_page():
    """`(profile, notebook, setting, head, cells)` of every line of a table beside the paper."""
    found, place, setting, head = [], None, None, None
    for line in PAGE.splitlines():
        if said := re.search(r"`\./run_all\.sh --profile (\w+) --only (\d\d)`", line):
            place, head = said.groups(), None
        elif said := re.match(r"\*\*`(\w+)`\*\* \(n = ", line):
            setting, head = said[1], None
        elif line.startswith("| method | ") and line.endswith("difference |"):
            head = line.strip("| ").split(" | ")
        elif not line.startswith("|"):
            head = None
        elif head and not line.startswith("|-"):
            found.append((*place, setting, head, line.strip("| ").split(" | ")))
    return found


def test_every_number_of_ours_is_a_mean_over_rows():
    """Computed anew from the rows: of a method and a metric some stop has that mean; ratios and gaps of means are
    tested elsewhere (`summary`)."""
    names = {row.words: row.name for row in reversed(METRICS.values())}     # of equal words the first
    checked, means = 0, {}
    for profile, notebook, setting, head, cells in tables_of_the_page():
        name = re.match(r"([\w+-]+)(?: \((.*)\))?$", cells[0])
        for column, cell in zip(head[1:], cells[1:]):
            metric = names.get(column.removesuffix(", ours"))
            if not column.endswith(", ours") or cell == "–" or metric is None or "ratio" in metric or "of_means" in metric:
                continue
            timing = metric in ("time", "rtr")
            if (profile, notebook, timing) not in means:
                df = reproduced.committed(profile, notebook, timing)
                df = df[df["stop"] != "curve"]
                means[profile, notebook, timing] = df.groupby(["setting", "method", "variant", "metric", "stop"])["value"].mean()
            some = means[profile, notebook, timing].loc[setting, name[1], name[2] or "", metric]
            shown = float(cell.split(" ")[0])
            assert any(shown == pytest.approx(value, rel=0, abs=0.0051) for value in some), (setting, cells[0], column)
            checked += 1
    assert checked > 100


def test_every_row_that_belongs_to_a_table_says_so():
    for path in sorted((ROOT / "results" / "reduced").glob("??.csv")):
        df = reproduced.committed("reduced", path.stem)
        free = df[df["table"] == ""]
        if path.stem in ("05", "07"):       # there a metric decides: theorems and our own measures have no table
            assert len(free) < len(df)
            continue
        allowed = exhibits.OF_NEITHER.get(path.stem, "(?!)")
        assert [name for name in free["setting"].unique() if not re.fullmatch(allowed, name)] == [], path.name


def test_tags_change_no_value_and_leave_what_a_row_says_itself():
    raw = pd.read_csv(ROOT / "results/reduced/07.csv", keep_default_na=False, dtype={"notebook": str})
    raw["notebook"] = "07"
    told = exhibits.tagged(raw.assign(table=["not_table1", *raw["table"][1:]]))
    assert told["table"].iloc[0] == "not_table1"
    pd.testing.assert_frame_equal(told.drop(columns="table"), raw.drop(columns="table"))
    assert {"tis_table1", "tis_table2", "tis_table3", "tis_figure1"} <= set(told["table"])


@pytest.mark.parametrize("row, tag", [
    (("04", "cifar10_5_leave", "small CNN", "", "mia"), "not_figure6"),
    (("04", "cifar10_small_cnn", "small CNN", "kind=flip_h", "mia"), "not_figure5"),
    (("04", "cifar10_small_cnn", "small CNN", "layers=4", "mia"), "not_figure4"),
    (("05", "a", "small ViT @16", "to=Original", "cka"), "not_figure7"),
    (("05", "a", "small CNN", "to=Original", "cka"), "not_figure3"),
    (("05", "a", "small CNN", "", "t_unlearn"), "not_table3"),
    (("07", "a", "CNN", "reset=zero", "nta"), "tis_table1"),
    (("07", "a", "CNN", "gamma=30;reset=zero", "nta"), "tis_figure1"),
    (("08", "fashionmnist_class", "CNN", "", "nta"), ""),
    (("03", "three_clients", "CNN", "", "mia"), "")])
def test_what_a_row_stands_for(row, tag):
    assert exhibits.stands_for(*row) == tag


def test_statements_belong_to_the_exhibit_that_prints_them():
    assert reproduced.claims_of(exhibits.EXHIBITS["not_table8"]) == ["N42"]
    assert reproduced.claims_of(exhibits.EXHIBITS["tis_figure2"]) == ["T08", "T09"]
    assert reproduced.claims_of(exhibits.EXHIBITS["not_figure3"]) == ["N43", "N44"]


def test_order_by_hand():
    rho, n = answers.share_of_order([1, 2, 3, np.nan], [10, 30, 20, 5])
    assert (rho, n) == (pytest.approx(0.5), 3)
    assert np.isnan(answers.share_of_order([1, 2], [2, 1])[0])


# ---------------------------------------------------------------- the headline

def run(method, gaps, seed, variant=""):
    """A run whose gap is as given, a round after ten others; a round costs one byte and one FLOP."""
    curve = [{"round": 10 * i, **dict.fromkeys(GAP, 100.0 - gap), "bytes": 10.0 * i, "flops": 10.0 * i}
             for i, gap in enumerate(gaps)]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": seed, "curve": curve}


@pytest.fixture
def df():
    records = []
    for seed in range(3):
        records += [run("Retrain", [80, 60, 40, 20, 0], seed), run("Retrain", [80, 60, 40, 20, 1], seed, "name=again"),
                    run("NoT", [80, 40, 15 + seed, 5, 2], seed), run("FT", [70, 70, 70, 70, 70], seed),
                    run("FT", [40, 40, 41, 40, 40], seed, "lr=0.2"), run("TIS-Reset", [70, 65, 40, 30, 20], seed)]
    return lib.rows(records, profile="reduced", notebook="02")


def test_the_answers_are_of_the_rows(df):
    said = dict(answers.answers({"02": df, "10": df}))
    assert said["Does NoT forget?"][0].startswith("`a`, NoT: forget accuracy -2.00 points [-2.00, -2.00] (n = 3)")
    assert "half -24.00 [-26.48, -21.52] (n = 3): better" in said["Is NoT better than retraining for as long?"][0]
    plain, searched = said["And fine-tuning, as published and at a searched rate?"]
    assert "FT: quarter +10.00" in plain and "FT lr=0.2: quarter -20.00" in searched and "half +1.00" in searched
    assert "half +1.00 [+1.00, +1.00] (n = 3): not told apart" in searched       # the noise floor is a point, too
    assert "half -24.00" in said["NoT or TIS, at half of Retrain's budget?"][0]


def test_without_equal_budgets_the_answer_is_not_yet(df):
    no_second = df[df["variant"] != "name=again"]
    for tables in ({}, {"02": None, "10": None}, {"02": no_second}):
        for asked, said in answers.answers(tables):
            assert said[0].startswith("not yet"), asked


def test_answers_of_a_setting_that_has_not_converged_are_no_conclusion():
    for asked, said in answers.answers({"02": table(3, retrain=(80, 60, 40, 20, 10), known=95.0)})[:3]:
        assert said[-1].startswith("Not converged: ") and said[-1].endswith("is no conclusion."), asked
    fit = answers.answers({"02": table(3)})
    assert not any("Not converged" in sentence for _, said in fit for sentence in said)
