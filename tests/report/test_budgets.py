"""Budget curves and what is saved against a Retrain stopped early, by hand."""
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import lib
from lib.report import budgets
from lib.words import GAP


def run(method, gaps, variant="", dear=1.0):
    """A run whose gap is as given, a round after ten others; a round costs one byte and `dear` FLOPs."""
    curve = [{"round": 10 * i, **dict.fromkeys(GAP, 90.0 - gap), "bytes": 10.0 * i, "flops": 10.0 * i * dear}
             for i, gap in enumerate(gaps)]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": 0, "curve": curve}


@pytest.fixture
def df():
    return lib.rows([run("Retrain", [80, 60, 40, 20, 0]), run("Retrain", [80, 60, 40, 20, 1], "name=again"),
                     run("NoT", [80, 40, 15, 5, 2]), run("FT", [70, 70, 70, 70, 70]), run("PGD", [80, 40, 15, 5, 2], dear=2.0),
                     run("Original", [70])], profile="quick", notebook="02")


def test_savings_by_hand(df):
    found = budgets.savings(df).set_index(["name", "at"])["saving"]
    assert found[("NoT", 0.5)] == pytest.approx(0.5)            # 40 at a quarter, which the early Retrain has at half
    assert found[("NoT", 0.75)] == pytest.approx(1 - 0.5 / 0.75)
    assert found[("PGD", 0.5)] == pytest.approx(0.0)            # twice the FLOPs
    assert np.isnan(found[("FT", 0.5)])
    assert "Retrain" not in " ".join(found.index.get_level_values("name"))
    shown = lib.show_savings(df)
    assert shown.loc[("a", "NoT"), "at 50 % of Retrain"] == "50 (1 of 1)" and shown.loc[("a", "FT")].eq("never").all()


def test_the_table_stands_beside_a_retrain_stopped_there(df):
    shown = lib.show_budgets(df)
    assert shown.loc[("a", "NoT"), ("half", "gap, points")] == "15.00 (1 of 1)"
    assert shown.loc[("a", "NoT"), ("half", "against Retrain stopped there")] == "-25.00, nearer in 1 of 1: not told apart"
    assert shown.loc[("a", "Retrain name=again"), ("half", "gap, points")] == "40.00 (1 of 1)"
    three = [lib.rows([r | {"seed": s} for r in (run("Retrain", [80, 60, 40, 20, 0]), run("NoT", [80, 40, 15 + s, 5, 2]),
                                                 run("Retrain", [80, 60, 40, 20, 1], "name=again"))],
                      profile="quick", notebook="02") for s in range(3)]
    words = lib.show_budgets(pd.concat(three)).loc[("a", "NoT"), ("half", "against Retrain stopped there")]
    assert words == "-24.00 [-26.48, -21.52], nearer in 3 of 3: better"


def test_without_a_second_retrain_nothing_can_be_saved(df):
    assert budgets.savings(df[df.variant == ""]).empty


def test_lines_of_a_budget_curve(df):
    fig = lib.budget_curves(df)
    bytes_, flops = fig.axes[:2]
    drawn = {tuple(line.get_ydata()): line for line in bytes_.lines}
    early = drawn[(80, 60, 40, 20, 1)]
    assert early.get_color() == "#111111" and early.get_xdata().tolist() == [0, 25, 50, 75, 100]
    assert (80, 60, 40, 20, 0) not in drawn         # the reference itself has no line
    assert max(max(line.get_xdata()) for line in flops.lines) == 200
    plt.close(fig)


def test_where_nothing_is_sent_all_is_drawn_against_computation(df):
    fig = lib.budget_curves(df[df.metric != "comm_bytes"])
    assert len(fig.axes) == 4 and all("computation" in ax.get_xlabel() for ax in fig.axes)
    plt.close(fig)
