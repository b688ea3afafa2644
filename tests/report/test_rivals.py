"""Methods after equal rounds of recovery, by hand."""
import matplotlib.pyplot as plt
import pytest

import lib
from lib.errors import Bad
from lib.report.rivals import with_first_round
from lib.report.summary import after
from lib.words import GAP


def run(method, gaps, seed=0, variant="", every=5):
    """A run whose gap is as given, a round after `every` others; a round costs one byte and one FLOP."""
    curve = [{"round": every * i, **dict.fromkeys(GAP, 90.0 - gap), "bytes": every * i, "flops": every * i}
             for i, gap in enumerate(gaps)]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": seed, "curve": curve}


def records(seed):
    return [run("Retrain", [80, 60, 40, 20, 0], seed), run("Retrain", [80, 60, 40, 20, 1], seed, {"name": "again"}),
            run("NoT", [80, 40, 15, 5, 2], seed), run("TIS-Reset", [30, 50, 38, 19, 9], seed, {"gamma": 50, "recovery": True}),
            run("Random-Reset", [35, 50, 41, 25, 9], seed, {"gamma": 50, "recovery": True}), run("Original", [70], seed)]


@pytest.fixture
def df():
    return lib.rows([r for seed in range(3) for r in records(seed)], profile="quick", notebook="10")


def test_the_first_round_comes_from_a_short_run():
    short = [run("NoT", [80, 70], every=1), run("FT", [1, 2], every=1)]
    [merged] = with_first_round([run("NoT", [80, 40])], short)
    assert [(p["round"], p["mia"]) for p in merged["curve"]] == [(0, 10), (1, 20), (5, 50)]
    [same] = with_first_round([run("NoT", [80, 75, 40], every=1)], short)       # evaluated at every round: nothing to add
    assert [p["mia"] for p in same["curve"]] == [10, 15, 50]
    with pytest.raises(Bad, match="a/PGD, seed 0, has no short run"):
        with_first_round([run("PGD", [1])], short)


def test_after_so_many_rounds_of_recovery(df):
    assert after(df, 10)["NoT"].tolist() == [15, 15, 15]
    shown = lib.show_after(df, (0, 10))
    early = shown["10 rounds", "against Retrain of as many rounds"]
    assert early["a", "NoT"] == "-25.00 [-25.00, -25.00], nearer in 3 of 3: better"
    assert early["a", "Random-Reset gamma=50;recovery=True"].endswith("not told apart")      # a point is the floor
    assert shown["0 rounds", "gap, points"]["a", "TIS-Reset gamma=50;recovery=True"] == "30.00 ± 0.00"


def test_the_claims_name_both_sides(df):
    found = lib.judge(df, "10").set_index(["id", "place"])
    assert found.loc[("B02", "10"), "n_holds"] == 3 and found.loc[("B05", "10"), "n_holds"] == 3
    assert found.loc[("B03", "10 iid"), "value"] == "gap 15.0 against 38.0, better"
    assert found.loc[("B03", "10 preferential"), "n"] == 0
    none = lib.judge(df[df["method"] != "TIS-Reset"], "10").set_index(["id", "place"])
    assert none.loc[("B04", "10"), "value"] == "needs TIS-Reset with recovery"


def test_the_figure_has_a_line_a_method_and_a_star(df):
    fig = lib.through_rounds(df, (0, 5, 10, 20))
    assert len(fig.axes) == 3 and any(line.get_marker() == "*" for line in fig.axes[0].lines)
    paths = [line for line in fig.axes[1].lines if len(line.get_xdata()) == 4]
    assert len(paths) == 4 and paths[0].get_ydata()[0] == -80
    plt.close(fig)


@pytest.mark.parametrize("every, words, points", [
    ((5, 5), "after 0, 5, 10, 20 rounds", (4, 4)), ((4, 4), "after 0, 4, 8, 16 rounds", (4, 4)),
    ((8, 8), "after 0, 8, 16 rounds", (3, 3)),
    ((5, 8), "MNIST, CNN: a after 0, 5, 10, 20 rounds, MNIST, CNN: b after 0, 8, 16 rounds", (4, 3))])
def test_the_figure_says_which_rounds_it_shows(every, words, points):
    """Rounds that were not evaluated are not claimed: the nearest that were stand for them."""
    runs = [run(method, [80, 60, 40, 20, 0], seed, variant, step) | {"setting": name}
            for name, step in zip("ab", every) for seed in range(3)
            for method, variant in (("Retrain", ""), ("Retrain", {"name": "again"}), ("NoT", ""))]
    fig = lib.through_rounds(lib.rows(runs, profile="quick", notebook="10"), (0, 1, 5, 10, 20))
    assert f"dots: {words}; the large one" in fig.get_suptitle().replace("\n", " ")
    for row, wanted in zip((fig.axes[1], fig.axes[4]), points):
        assert {len(line.get_xdata()) for line in row.lines if line.get_linewidth() > 1} - {1, 2} == {wanted}
    plt.close(fig)
