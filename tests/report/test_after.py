"""What happens after unlearning: readers of the rows, tables, and figures that show what the rows say."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import lib
from lib.files import ROOT
from lib.report import after, reproduced
from lib.report.beside import beyond, found_after, images_of, off_retrain, part_of, rounds_to_know
from lib.report.unasked import QUESTIONS, afterwards, answered, by_example

NAMES = {"Original": ("Original", {}), "Retrain": ("Retrain", {}), "again": ("Retrain", {"name": "again"}),
         "FT": ("FT", {}), "FT fast": ("FT", {"lr": 0.4}), "NoT": ("NoT", {})}
BASE = {"Original": 90.0, "Retrain": 40.0, "again": 42.0, "FT": 80.0, "FT fast": 50.0, "NoT": 45.0}
FOUR = ("retain_acc", "forget_acc", "test_acc", "mia", "avg_gap")


def record(name, words, stop, round, values, seed):
    method, hp = NAMES[name]
    common = {"setting": "a", "seed": seed, "dataset": "digits", "model": "small CNN", "method": method,
              "variant": {**hp, **words}, "stop": stop, "round": round}
    return [common | {"metric": metric, "value": value} for metric, value in values.items()]


def of_name(name, seed):
    """Everything that one name does: it rises by a point a round, and knows all 9 images from round 2 on (NoT: 1)."""
    start, out = BASE[name] + seed, []
    for r in (0, 5):
        out += record(name, {"then": "further"}, "curve", r, dict.fromkeys(FOUR, start + r), seed)
    for k in (3, 9):
        for r in range(4):
            back = k == 9 and r >= (1 if name == "NoT" else 2)
            values = {"forget_acc": 100.0 if back else start, "test_acc": 30.0}
            out += record(name, {"then": "relearnt", "images": k}, "curve", r, values | ({"others_acc": start + r} if k == 3 else {}), seed)
    for bits in (32, 8, 4):
        out += record(name, {"then": "in_few_bits", "bits": bits}, "last", 0, dict.fromkeys(FOUR, start - 1 / bits), seed)
    out += record(name, {"then": "negated_again"}, "last", 0, dict.fromkeys(FOUR, 10.0), seed)
    for by in ("loss", "gradient", "first"):
        for when, auc in (("start", 0.5), ("end", 1.0)):
            values = {"leaver_auc": auc, "leaver_first": 100.0 * (auc == 1)}
            out += record(name, {"then": "who_left", "by": by, "when": when}, "last", 0, values, seed)
    return out + (turns(name, seed) if name in ("Retrain", "again", "NoT") else [])


def turns(name, seed):
    out = []
    for r in (1, 2):
        values = {"avg_gap": 0.0 if name == "Retrain" else r, "forget_acc": BASE[name] * r, "gone_acc": BASE[name],
                  "comp_flops": (5.0 if name == "NoT" else 10.0) * r}
        out += record(name, {"then": "in_turn"}, "curve", r, values, seed)
        if name == "again":
            early = {"avg_gap": 3.0, "forget_acc": 60.0, "comp_flops": 5.0 * r}
            out += record(name, {"then": "in_turn", "stopped": "early"}, "curve", r, early, seed)
        found = {"leaver_auc": 1.0, "leaver_first": 50.0}
        out += record(name, {"then": "who_left_in_turn", "by": "loss"}, "curve", r, found, seed)
    return out


@pytest.fixture(scope="module")
def df():
    rows = [row for name in NAMES for seed in (0, 1) for row in of_name(name, seed)]
    return lib.rows(rows, profile="quick", notebook="13")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


# ---------------------------------------------------------------- reading

def test_a_part_has_its_words_as_columns_and_not_in_its_variants(df):
    part = part_of(df, "relearnt")
    assert set(part["variant"]) == {"", "name=again", "lr=0.4"} and set(part["images"]) == {3, 9}
    assert images_of(df) == [3, 9]
    assert part_of(df.iloc[:0], "further").empty


def test_a_number_is_found_by_name_seed_and_words(df):
    last = found_after(df, "further", "forget_acc", "last")
    assert last.loc[("a", 1), "NoT"] == 51 and last.loc[("a", 0), "FT lr=0.4"] == 55
    assert found_after(df, "further", "forget_acc", "first").loc[("a", 0), "Retrain name=again"] == 42
    assert found_after(df, "in_few_bits", "mia", bits=4).loc[("a", 0), "NoT"] == 44.75
    assert len(found_after(df, "in_few_bits", "mia")) == 0            # one says which bits
    assert found_after(df, "in_turn", "avg_gap", 2).loc[("a", 0), "Retrain name=again"] == 2      # not the stopped one


def test_rounds_until_a_client_is_known_again(df):
    rounds = rounds_to_know(df, 9)
    assert rounds["NoT"].tolist() == [1, 1] and rounds["Retrain"].tolist() == [2, 2]
    assert rounds["Original"].tolist() == [0, 0]
    few = rounds_to_know(df, 3)
    assert few["NoT"].isna().all() and few["Original"].tolist() == [0, 0]


def test_differences_are_to_the_same_seeds_retrain(df):
    found = beyond(found_after(df, "further", "forget_acc", "last"))
    assert found["NoT"].mean == 5 and found["NoT"].n == 2 and "Retrain" not in found
    part = off_retrain(part_of(df, "in_turn"), ["round"])
    ours = part[(part["method"] == "NoT") & (part["metric"] == "forget_acc") & (part["seed"] == 0)]
    assert ours.sort_values("round")["value"].tolist() == [5, 10]


# ---------------------------------------------------------------- tables

def test_what_remains_says_what_is_beyond_retrain(df):
    table = lib.show_remains(df)
    assert list(table) == ["now", "after further rounds", "others, after learning 3", "in 8 bits", "in 4 bits", "negated again"]
    assert table.loc["NoT", "now"] == "+5.0 [+5.0, +5.0], above"           # the second Retrain is off by 2
    assert table.loc["Retrain name=again (the floor)", "now"] == "+2.0 [+2.0, +2.0]"
    assert table.loc["NoT", "negated again"] == "+0.0 [+0.0, +0.0]"


def test_tables_of_parts(df):
    assert lib.show_relearning(df).loc["NoT"].tolist() == ["–", "1.00 ± 0.00"]
    assert lib.show_negated(df).loc["Retrain", "MIA (%)"] == "10.00 ± 0.00"
    turns = lib.show_in_turn(df)
    assert turns.loc["NoT", "FLOPs, % of Retrain's"] == "50.00 ± 0.00" and turns.loc["NoT", "request 2"] == "2.00 ± 0.00"
    assert turns.loc["Retrain, stopped early", "request 1"] == "3.00 ± 0.00"
    found = lib.show_who_left(df)
    assert found.loc["NoT", ("loss", "in turn")] == "50" and found.loc["FT", ("loss", "in turn")] == "–"
    assert found.loc["NoT", ("first", "own step")] == "0" and found.loc["NoT", ("first", "end")] == "100"


def test_how_often_a_client_is_known_again():
    assert after.back(pd.Series([1.0, np.nan])) == "1.00 (1 of 2 seeds)"
    assert after.back(pd.Series([np.nan, np.nan])) == "–"


# ---------------------------------------------------------------- figures

def line(ax, look):
    """The data of the line with that colour and dashes."""
    return next(one.get_xydata().tolist() for one in ax.lines if (one.get_color(), one.get_lw()) == (look["color"], look["lw"]))


def test_further_rounds_draws_each_metric(df):
    fig = lib.further_rounds(df)
    drawn = after.drawn_of(df, after.with_names(df, "further"))
    assert line(fig.axes[0], drawn["NoT"]) == [[0, 45.5], [5, 50.5]]
    assert [ax.get_title() for ax in fig.axes][0] == "forget accuracy (%)" and len(fig.axes) == 4


def test_relearning_has_a_column_a_number_of_images(df):
    fig = lib.relearning(df)
    axes = np.array(fig.axes).reshape(2, 2)
    assert [ax.get_title() for ax in axes[0]] == ["from 3 of the forgotten images", "from 9 of the forgotten images"]
    assert not axes[1, 1].axison and axes[1, 0].axison          # of all images there are no others
    drawn = after.drawn_of(df, after.with_names(df, "relearnt"))
    assert line(axes[0, 1], drawn["NoT"])[1] == [1, 100]


def test_bits_fall_to_the_right(df):
    fig = lib.few_bits(df)
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["32", "8", "4"]
    drawn = after.drawn_of(df, after.with_names(df, "in_few_bits"))
    assert line(fig.axes[0], drawn["NoT"])[2] == [2, 45.25]


def test_who_left_shows_both_times(df):
    fig = lib.who_left(df)
    names = [t.get_text() for t in fig.axes[0].get_yticklabels()]
    assert names == ["Original", "Retrain", "second Retrain", "FT", "FT (rate 0.4)", "NoT"]
    marks = [one.get_xydata().tolist() for one in fig.axes[2].lines if one.get_marker() == "o" and len(one.get_xdata()) == 1]
    assert [0.5, 5] in [m[0] for m in marks] and [1.0, 5] in [m[0] for m in marks]


def test_in_turn_compares_with_each_requests_retrain(df):
    fig = lib.in_turn(df)
    drawn = after.drawn_of(df, after.with_names(df, "in_turn"))
    assert line(fig.axes[1], drawn["NoT"]) == [[1, 5], [2, 10]]
    assert line(fig.axes[3], drawn["NoT"]) == [[1, 25], [2, 50]]
    assert line(fig.axes[0], drawn[after.EARLY]) == [[1, 3], [2, 3]]
    looks = [(look["color"], look["dashes"], look["marker"]) for look in drawn.values()]
    assert len(set(looks)) == len(looks)


# ---------------------------------------------------------------- three lines for the page

def test_the_lines_are_of_the_rows(df):
    first, second, third = answered(afterwards, df)
    assert first.startswith("`a`: accuracy on the forgotten images minus Retrain's, in points: NoT +5.0 [+5.0, +5.0] as it ends")
    assert "a second Retrain +2.0 [+2.0, +2.0] as it ends" in first and "+0.0 [+0.0, +0.0] negated again" in first
    assert "100 % of the seeds with Retrain and 100 % with NoT, right after NoT's own step in 0 %" in second
    assert "of 2 clients" in third and "NoT's average gap is 1.0 ± 0.0 at the first and 2.0 ± 0.0 at the last" in third
    assert "stopped as early 3.0 ± 0.0 and 3.0 ± 0.0" in third


def test_what_is_missing_is_said(df):
    assert answered(afterwards, df[df["method"] != "NoT"]) == ["`a`: the rows lack 'NoT'."]


def test_the_audits_lines_are_of_the_committed_rows():
    df = reproduced.committed("quick", "12")
    first, second, third = answered(by_example, df)
    table, half = (lib.audited(df, "attack_acc", stop=stop).mean() for stop in ("full", "half"))
    assert f"{table['NoT']:.1f} % [" in first and f"{table['Retrain name=again']:.1f} % [" in first
    assert f"NoT stands at {half['NoT']:.1f} %" in second
    assert f"by test images in {lib.audited(df, 'attack_acc', 'test').mean()['NoT']:.1f} %" in third


def test_the_page_shows_the_questions():
    page = reproduced.unasked()
    for question in QUESTIONS:
        assert question.asks in page and list((ROOT / "notebooks").glob(f"{question.notebook}_*.ipynb"))
