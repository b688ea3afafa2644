"""One row a method, one row a metric: everything that is registered or committed has its row."""
import re

import pandas as pd
import pytest

import lib
from lib import words
from lib.errors import Bad
from lib.files import ROOT
from lib.report import rows

TABLES = sorted(p for p in ROOT.glob("results/*/*.csv") if re.fullmatch(r"\d\d(\.timing)?\.csv", p.name))


@pytest.fixture(params=TABLES, ids=lambda p: f"{p.parent.name}/{p.name}")
def committed(request):
    return request.param


def test_there_are_committed_tables():
    assert len(TABLES) > 20


def test_every_metric_and_method_of_a_committed_table_has_its_row(committed):
    df = pd.read_csv(committed, keep_default_na=False)
    for name, unit in set(zip(df["metric"], df["unit"])):
        assert name.rpartition(":")[2] in words.METRICS
        assert words.metric(name).unit == unit, name
    assert set(df["method"]) <= set(words.METHODS)


def test_a_committed_table_read_and_written_is_the_same_bytes(committed):
    number, timing = committed.name[:2], ".timing" in committed.name
    df = rows.as_written(committed.parent.name, number, timing=timing, where=committed.parent)
    curves = committed.with_name(f"{number}.curves.csv")
    if curves.exists() and not timing:
        assert rows.parts(df) == (committed.read_text("utf-8"), curves.read_text("utf-8"))
    elif not timing:        # some times were committed with more digits
        assert rows.to_csv(df).encode() == committed.read_bytes()


def test_every_method_of_lib_has_its_row():
    ours = [name for name, f in lib.METHODS.items() if f.__module__.startswith("lib.")]
    assert len(ours) > 15 and set(ours) <= set(words.METHODS)


def test_rows_have_names_words_units_and_kinds():
    for table in (words.METHODS, words.CHANGES, words.METRICS):
        assert all(name == row.name for name, row in table.items())
    assert not set(words.METHODS) & set(words.CHANGES)
    assert all(row.words and row.unit and row.kind for row in words.METRICS.values())
    assert {*words.GAP, words.AVG_GAP, *words.RATIOS, *words.RATIOS.values()} <= set(words.METRICS)


def test_a_metric_of_one_tensor_is_told_in_words():
    row = words.metric("3.weight:gradient_norm")
    assert (row.words, row.unit, row.kind) == ("gradient norm of 3.weight", "norm", "norm")


def test_a_metric_without_a_row_is_told_by_its_ending_or_by_its_unit():
    assert words.metric("my_own_acc") == ("my_own_acc", "my own acc", "percent", "accuracy")
    assert words.metric("oddness", {"oddness": "bits"}).unit == "bits"
    assert words.metric("wait", {"wait": "seconds"}).kind == "time"
    with pytest.raises(Bad, match="'oddness' has no unit"):
        words.metric("oddness")
    assert words.known("odd_one").words == "odd one"


def test_titles_have_short_units():
    assert words.titled("mia") == "MIA (%)" and words.titled("avg_gap") == "average gap (points)"
    assert words.titled("nta") == "NTA" and words.titled("oddness", "bits") == "oddness (bits)"


def test_new_methods_sort_behind_the_known_ones():
    column = pd.Series(["mine", "NoT", "Original", "another"], name="method")
    assert column.sort_values(key=words.rank).tolist() == ["Original", "NoT", "another", "mine"]
