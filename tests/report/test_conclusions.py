"""Conclusions: of their premises, and with numbers that follow from the rows."""
import json
import re

import pytest
from tables import run, table

import lib
from lib.errors import Bad
from lib.files import ROOT
from lib.report.conclusions import CONCLUSIONS, ENOUGH
from lib.report.reproduced import committed

VERDICTS = ("better:", "worse:", "not told apart:", "above:", "below:", "Tiers", "within 5 points")


def said_of(df, notebook="02"):
    [(setting, said)] = lib.conclude(df, notebook)
    assert setting == "a"
    return said


def test_who_is_better_than_a_retrain_stopped_there():
    text = "\n".join(said_of(table(3)))
    assert "Training has converged (n = 3)" in text
    assert "A second Retrain ends 1.00 points from the first" in text
    assert ("For half of Retrain's budget, gap minus that of a Retrain stopped there (n = 3): better: Original -40.00 "
            "[-40.00, -40.00], NoT -24.00 [-26.48, -21.52]; not told apart: FedEraser +0.00 [+0.00, +0.00]; worse: "
            "FT +30.00 [+30.00, +30.00].") in text      # FT's arguments go without saying: it was run with no others
    assert "its gap minus theirs (n = 3): better: FT -54.00 [-56.48, -51.52], FedEraser -24.00 [-26.48, -21.52]." in text
    assert "(1) Original; (2) NoT; (3) Retrain stopped there, FedEraser; (4) FT." in text
    assert "cost, over the seeds that get there: FedEraser 0 ± 0 % (3 of 3 seeds), NoT 50 ± 0 % (3 of 3 seeds)." in text


@pytest.mark.parametrize("rounds, over", [(5, []), (4, ["NoT"]), (3, ["NoT"]), (2, ["NoT"]), (1, ["NoT"])])
def test_who_was_over_before_the_budget_was_spent(rounds, over):
    records = []
    for seed in range(3):
        records += [run("Original", [0.0], seed), run("Retrain", [80, 60, 40, 20, 0], seed),
                    run("Retrain", [80, 60, 40, 20, 1], seed, "name=again"), run("FT", [70, 70, 70, 70, 70], seed),
                    run("NoT", [80, 40, 15, 5, 2][:rounds], seed)]
    [(_, said)] = lib.conclude(lib.rows(records, profile="reduced", notebook="02"))
    ends = [sentence for sentence in said if sentence.startswith("Over before")]
    assert [sentence.rpartition(": ")[2] for sentence in ends] == [f"{', '.join(over)}."] * bool(over)


def test_without_converged_training_nothing_is_compared():
    said = said_of(table(3, retrain=(80, 60, 40, 20, 10), known=95.0))
    assert len(said) == 1 and said[0].startswith("Training has not converged (n = 3)")
    assert "Retrain 85.0 %, which moved by 10.0 points" in said[0]


@pytest.mark.parametrize("seeds", range(1, ENOUGH))
def test_with_few_seeds_there_is_no_spread_and_no_verdict(seeds):
    text = "\n".join(said_of(table(seeds)))
    assert "no ranking" in text and f"NoT {15 + (seeds - 1) / 2:.2f}" in text
    assert not any(word in text for word in (*VERDICTS, "±", "["))


def test_a_run_that_diverged_is_named():
    said = said_of(table(3, diverged=40))
    assert "FT diverged in 3 of 3 seeds, which stand in no mean." in said
    [at_the_end] = [line for line in said if line.startswith("For all of Retrain's budget")]
    assert "FT" not in at_the_end


def test_the_floor_is_that_of_the_finished_retrain():
    """Not of the one that was stopped: at half its gap is 40, and nothing could be told apart."""
    assert "NoT -24.00 [-26.48, -21.52]; not told apart" in "\n".join(said_of(table(3)))


def test_rows_of_ones_own_data_are_taken_and_an_unknown_notebook_is_not():
    assert lib.conclude(table(1))[0][0] == "a"
    with pytest.raises(Bad, match="conclude: .*02"):
        lib.conclude(table(1), "2")


def test_a_notebook_shows_them_as_a_list():
    found = lib.conclude(table(1))
    assert found._repr_markdown_() == str(found)
    assert str(found).startswith("* **`a`**\n  * Training has converged")


COMMITTED = [path for path in sorted((ROOT / "results").glob("*/??.csv")) if path.stem in CONCLUSIONS]


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: f"{path.parent.name} {path.stem}")
def test_no_verdict_is_given_where_training_has_not_converged(path):
    """Of all committed rows: looked up in the curves, and not by what the sentences themselves say."""
    df = committed(path.parent.name, path.stem)
    for setting, said in lib.conclude(df):
        here = df[(df["setting"] == setting) & (df["stop"] == "curve") & (df["metric"] == "retain_acc")]
        ends = here[(here["method"] == "Retrain") & (here["variant"] == "")].groupby("round")["value"].mean()
        if len(ends) and ends.iloc[-1] < 99 and abs(ends.iloc[-1] - ends[ends.index <= 0.8 * ends.index[-1]].iloc[-1]) > 0.5:
            assert not any(word in line for line in said for word in VERDICTS), setting


@pytest.mark.parametrize("number", CONCLUSIONS)
def test_a_notebook_ends_with_them_and_what_is_written_has_no_number(number):
    """But for a coin's 50 % and for 100 %."""
    [path] = (ROOT / "notebooks").glob(f"{number}_*.ipynb")
    cells = ["".join(cell["source"]) for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]]
    [at] = [i for i, cell in enumerate(cells) if cell.startswith("## What to believe")]
    assert re.fullmatch(rf'lib\.conclude\(\w+, "{number}"\)', cells[at - 1])
    written = cells[at].partition("## Make it yours")[0]
    assert set(re.findall(r"\d+\.\d+|\d+ ?%", written)) <= {"50 %", "100 %"}
