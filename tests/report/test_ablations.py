"""Figures of ablations and of the theory: lines, bars and cells stand where hand-computed values put them."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from lib import words
from lib.errors import Bad
from lib.report import ablations, rows, style, theory

LABELS = {"NoT": 4.0, "head": 8.0}         # what is lost of 80 at the last round


def table(seeds=(0, 1)):
    """Retrain ends at 80; the labels end below it by what `LABELS` says, +-1 over two seeds; gradients double by tensor."""
    records = []
    for seed in seeds:
        for method, lost in {"Retrain": 0.0, **LABELS}.items():
            off = (2 * seed - 1.0) if method != "Retrain" and len(seeds) > 1 else 0.0
            curve = [{"round": t, **dict.fromkeys(words.GAP, (80.0 - lost + off) * t / 2), "retain_loss": 3.0 - t + lost / 4,
                      "bytes": 5.0 * t, "flops": 5.0 * t, "seconds": t,
                      **{f"{k}:gradient_norm": lost + v for k, v in (("10.weight", 4.0), ("2.weight", 1.0))}}
                     for t in (0, 1, 2)]
            records.append({"setting": "a", "dataset": "digits", "model": "CNN", "distribution": "iid", "seed": seed,
                            "method": "NoT" if method == "head" else method, "label": method,
                            "variant": {"layers": [1]} if method == "head" else {}, "curve": curve})
    df = rows.rows(records, profile="quick", notebook="04")
    return ablations.labelled(df, records), records


@pytest.fixture(autouse=True)
def closed():
    style.style()
    yield
    plt.close("all")


def line(ax, color):
    return next(found for found in ax.lines if matplotlib.colors.same_color(found.get_color(), color))


def test_labels_stand_for_methods():
    df, _ = table()
    assert set(df["method"]) == {"Retrain", "NoT", "head"} and set(df["variant"]) == {""}
    last = df[(df["method"] == "head") & (df["stop"] == "last") & (df["metric"] == "forget_acc")]
    assert last["value"].mean() == 72


def test_a_race_draws_means_bands_and_where_retrain_ends():
    df, _ = table()
    fig = ablations.race(df, {"all": ("a", ["NoT", "head"])}, metrics=("forget_acc", "avg_gap"))
    left, right = fig.axes[:2]
    mean = line(left, words.METHODS["NoT"].color)
    assert list(mean.get_xdata()) == [0, 1, 2] and list(mean.get_ydata()) == [0, 38, 76]
    assert left.get_ylabel() == "all" and right.get_ylim()[0] == 0
    assert any(set(found.get_ydata()) == {80} for found in left.lines)
    assert not any(set(found.get_ydata()) == {80} for found in right.lines)
    assert [t.get_text() for t in right.get_legend().get_texts()] == ["NoT", "head", "Retrain, at its end"]


def test_a_race_may_end_early_and_needs_curves():
    df, _ = table()
    for until in (1, {"a": 1}):
        fig = ablations.race(df, {"all": ("a", ["NoT"])}, metrics=("forget_acc",), until=until, log=("forget_acc",))
        assert list(line(fig.axes[0], words.METHODS["NoT"].color).get_xdata()) == [0, 1]
        assert fig.axes[0].get_yscale() == "log"
    with pytest.raises(Bad, match="no curve"):
        ablations.race(df, {"all": ("a", ["NoT"])}, metrics=("asr",))


def test_strength_has_a_bar_for_each_label():
    df, _ = table()
    fig = ablations.strength(df, ["NoT", "head"], 2, "a")
    widths = {ax.get_title(): [bar.get_width() for bar in ax.patches] for ax in fig.axes}
    assert widths == {"loss on retained data, round 0": [4.0, 5.0], "retain accuracy, round 0 (%)": [0.0, 0.0],
                      "average gap, round 2 (points)": [4.0, 8.0], "forget accuracy, round 2 (%)": [76.0, 72.0]}
    goals = [[set(found.get_xdata()) for found in ax.lines if found.get_ls() == "--"] for ax in fig.axes]
    assert goals[3] == [{80.0}] and goals[2] == []
    assert fig.get_size_inches()[0] == pytest.approx(13) and fig.axes[0].get_xlim()[0] == 0


def test_tensors_stand_in_the_nets_order_and_as_multiples():
    df, _ = table()
    fig = ablations.tensors(df, ["NoT", "head"], "a")
    ax = fig.axes[0]
    assert [t.get_text() for t in ax.get_xticklabels()] == ["2.weight", "10.weight"]
    assert ax.images[0].get_array().tolist() == [[5, 8], [9, 12]]
    assert [t.get_text() for t in ax.texts] == ["5", "8", "9", "12"]
    fig = ablations.tensors(df, ["NoT", "head"], "a", base="NoT")
    assert np.allclose(fig.axes[0].images[0].get_array(), [[1, 1], [1.8, 1.5]])
    norm = fig.axes[0].images[0].norm
    assert norm.vmin == pytest.approx(1 / 1.8) and norm.vmax == pytest.approx(1.8)


def test_growth_draws_means_over_a_number():
    df, _ = table()
    df = df.assign(clients=np.where(df["seed"] == 0, 10, 20))
    fig = ablations.growth(df, "clients", "clients", ["forget_acc", "comm_ratio", "comm_bytes"], "last")
    by_title = {ax.get_title(): ax for ax in fig.axes}
    mean = line(by_title[words.titled("forget_acc")], words.METHODS["NoT"].color)
    assert list(mean.get_xdata()) == [10, 20] and list(mean.get_ydata()) == [75, 77]
    assert len(by_title) == 3 and all(ax.get_ylim()[0] == 0 for ax in fig.axes)


def cka():
    """CKA to the original model: Retrain starts at 0.2, NoT at 0.6, both end at 1."""
    records = [{"setting": "a", "dataset": "digits", "model": "CNN", "distribution": "iid", "method": m, "seed": s,
                "variant": {"place": p, "when": w, "to": "Original", "layer": f"conv{p}"}, "metric": "cka", "value": v}
               for m, start in (("Retrain", 0.2), ("FT", 1.0), ("NoT", 0.6)) for s in (0, 1) for p in (0, 1)
               for w, v in (("before", start), ("after", 1.0))]
    return rows.rows(records, profile="quick", notebook="05")


def test_normalised_similarity_is_zero_where_retrain_starts():
    found = theory.normalised(cka())
    start = found[found["when"] == "before"].groupby("method")["value"].mean()
    assert start["Retrain"] == 0 and start["NoT"] == pytest.approx(0.5) and start["FT"] == 1
    assert np.allclose(found[found["when"] == "after"]["value"], 1) and set(found["metric"]) == {"cka_normalised"}


def test_similarity_by_layer_has_a_panel_for_before_and_after():
    fig = theory.similarity_by_layer(cka())
    found = {ax.get_title(): line(ax, words.METHODS["NoT"].color).get_ydata()[0] for ax in fig.axes}
    assert found == {"CKA, before recovery": 0.6, "CKA, after recovery": 1.0, "normalised, before": pytest.approx(0.5),
                     "normalised, after": 1.0}
    assert all(ax.get_ylim() == (-0.1, 1.06) for ax in fig.axes)
    assert [t.get_text() for t in fig.axes[0].get_xticklabels()] == ["conv0", "conv1"]


def test_flows_draw_the_bound_below_the_time():
    run = {"time": np.array([0.0, 1.0, 2.0]), "bound": np.array([0.0, 0.5, 1.0])}
    fig = theory.flows({"toy": run}, {"time": 1.0, "bound": 50.0, "corrected": 0.001})
    assert fig.axes[0].lines[1].get_ydata().tolist() == [0.0, 0.5, 1.0]
    last = fig.axes[-1]
    assert [bar.get_width() for bar in last.patches] == [1.0, 50.0, 0.001] and last.get_xlim() == (0.01, 600)
    assert "50 times" in fig.get_suptitle() and [t.get_text() for t in last.texts][-1] == " 0.001"
