"""What the committed tables of the reduced profile must be for conclusions to rest on them."""
import re

import pandas as pd
import pytest

import lib
from lib.files import ROOT
from lib.report.reproduced import committed
from lib.report.statistics import AGAIN, noise_floor
from lib.report.summary import by_seed

REDUCED = ROOT / "results" / "reduced"
MAIN = [book for book in ("02", "03", "06", "09") if (REDUCED / f"{book}.curves.csv").exists()]


@pytest.fixture(params=MAIN or [pytest.param(None, marks=pytest.mark.skip("no whole curves are committed yet"))])
def table(request):
    return committed("reduced", request.param)


@pytest.mark.parametrize("book", ["01", "02", "03", "04", "05", "06", "09", "10"])
def test_training_has_converged_in_every_setting(book):
    table = committed("reduced", book)
    found = lib.converged(table)
    trained = table[(table["stop"] == "curve") & table["method"].isin(["Original", "Retrain"])]
    assert set(found["setting"]) == set(trained["setting"]) and len(found)
    assert found["converged"].all(), found[~found["converged"]].to_string()


def test_the_main_tables_have_ten_seeds_and_a_second_retrain(table):
    runs = table[table["stop"] == "curve"]
    assert runs.groupby("setting")["seed"].nunique().min() >= 10
    again = runs[(runs["method"] + " " + runs["variant"]) == AGAIN]
    assert set(again["setting"]) == set(runs["setting"])


@pytest.mark.parametrize("stop", ["oracle", "best_test", "last"])
def test_the_floor_stands_at_the_same_stop(table, stop):
    ours = by_seed(table, "avg_gap", stop)[AGAIN].groupby("setting").mean()
    assert noise_floor(table, stop) == pytest.approx(ours.dropna().to_dict())


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/claims.csv")), ids=lambda path: path.parent.name)
def test_no_verdict_rests_on_a_number_that_is_not_there(path):
    claims = pd.read_csv(path, keep_default_na=False)
    assert [line.id for line in claims.itertuples() if re.search(r"\bnan\b", line.value)] == []
