"""Figures show the numbers of the table: bars, dots and lines stand where hand-computed values put them."""
import matplotlib

matplotlib.use("Agg")
import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from lib import files, words
from lib.errors import Bad
from lib.report import budgets, drawn, figures, papers, pictures, rows, style, tables

METHODS = ("Retrain", "FT", "NoT")
COLORS = {name: row.color for name, row in words.METHODS.items()}


def frame(seeds=(0, 1), settings=("a",)):
    """Retrain ends at 80; FT ends 4 above it with 80 % of its cost, NoT 1 below with half (+-0.5 over two seeds)."""
    ends, runs = {"Retrain": (0, 10), "FT": (4, 8), "NoT": (-1, 5)}, []
    for setting, seed, method in itertools.product(settings, seeds, METHODS):
        shift, cost = ends[method]
        shift += (seed - 0.5 if method == "NoT" and len(seeds) > 1 else 0)
        curve = [{"round": t, **dict.fromkeys(words.GAP, (80.0 + shift) * t / 2), "bytes": cost * t / 2,
                  "flops": cost * t / 2, "seconds": t} for t in (0, 1, 2)]
        runs.append({"setting": setting, "dataset": "CIFAR-10" if setting == "a" else "digits", "model": "CNN",
                     "distribution": "iid", "method": method, "seed": seed, "curve": curve})
    return rows.rows(runs, profile="quick", notebook="02", table="not_table1")


def sweep():
    records = [{"setting": d, "dataset": "FashionMNIST", "model": "CNN", "distribution": d, "method": m, "seed": s,
                "variant": {"gamma": g}, "metric": k, "value": v + 0.01 * s}
               for d in ("iid", "dirichlet_0.8", "preferential") for m in ("TIS-Reset", "Random-Reset")
               for s in (0, 1) for g in (0, 10, 50)
               for k, v in (("nfs_target", g / 50), ("nta", 1 - g / (100 if m == "TIS-Reset" else 60)))]
    return rows.rows(records, profile="quick", notebook="07")


@pytest.fixture(autouse=True)
def closed():
    style.style()
    yield
    plt.close("all")


def panel(fig, title):
    return next(ax for ax in fig.axes if ax.get_title() == title)


def bars(ax):
    names = ax.figure.axes[0].get_yticklabels()  # panels share them
    return {t.get_text(): b.get_width() for t, b in zip(names, ax.patches)}


def colors_of(ax):
    return {matplotlib.colors.to_hex(c.get_color()).upper() for c in ax.lines}


def test_every_method_has_its_own_look():
    assert len(set(COLORS.values())) == len(COLORS)
    assert style.color("NoT") == "#D7263D"
    assert style.color("mine") == style.color("mine") and style.color("mine") in style.SPARE


@pytest.mark.parametrize("count", [2, 5, 14, 40])
def test_methods_of_ones_own_never_meet(count):
    names = [f"Mine {i}" for i in range(count)] + ["NoT", "noise 1"]
    drawn = style.looks(names)
    assert list(drawn) == names and len({look["color"] for look in drawn.values()}) == len(names)
    assert drawn == {**style.looks(names[::-1])}                # whoever comes first
    assert drawn["NoT"]["color"] == COLORS["NoT"]


def test_curves_end_where_the_table_says():
    fig = figures.curves(frame())
    assert [ax.get_title() for ax in fig.axes] == [
        "retain accuracy (%)", "forget accuracy (%)", "test accuracy (%)", "MIA (%)"]
    ax = panel(fig, "forget accuracy (%)")
    thick = {matplotlib.colors.to_hex(x.get_color()).upper(): x.get_ydata() for x in ax.lines
             if x.get_linewidth() > 1.5}
    assert thick[COLORS["NoT"]].tolist() == [0.0, 39.5, 79.0]  # mean of 78.5 and 79.5
    dashed = [x for x in ax.lines if len(set(x.get_ydata())) == 1]
    assert [x.get_ydata()[0] for x in dashed] == [80.0]
    thin = [seed for x in ax.collections for seed in x.get_segments() if max(x.get_linewidth()) < 1]
    assert len(thin) == 6  # three methods, two seeds
    assert ax.dataLim.y1 == max(seed[:, 1].max() for seed in thin)
    assert "n = 2 seeds" in fig._suptitle.get_text()
    assert len(fig.legends) == 1 and fig.legends[0].get_texts()[-1].get_text().startswith("end of Retrain")


def test_curves_zoom_cost_axis_and_subsets():
    ax = figures.curves(frame(), "mia", methods=["NoT"], zoom=3).axes[0]
    assert ax.get_ylim() == (77.0, 83.0) and COLORS["FT"] not in colors_of(ax)
    ax = figures.curves(frame(seeds=[0]), "mia", x="comm_bytes").axes[0]
    assert max(x.get_xdata()[-1] for x in ax.lines if len(x.get_xdata()) == 3) == 10.0
    with pytest.raises(Bad, match="no rows with stop 'curve'"):
        figures.curves(frame(), "nta")


def test_versus_retrain_by_hand():
    fig = figures.versus_retrain(frame(), stop="last")
    gap = panel(fig, "average gap")
    assert list(bars(gap)) == ["NoT", "FT"]  # best on top, without Retrain
    assert bars(gap) == {"NoT": 1.0, "FT": 4.0}
    cost = panel(fig, "cost")
    assert bars(cost) == pytest.approx({"NoT": 0.5, "FT": 0.8})
    ticks = [x.get_xdata()[0] for x in cost.lines if x.get_marker() == "|"]
    assert ticks == pytest.approx([0.5, 0.8])       # FLOPs
    big = [x.get_xdata()[0] for x in panel(fig, "forget accuracy").lines if x.get_markersize() == 7]
    assert big == [-1.0, 4.0]
    assert len(figures.versus_retrain(frame(settings=("a", "b")), stop="last").axes) == 12


def variant(method, **options):
    """The frame's rows of a method once more, under options and one point higher."""
    df = frame()
    more = df[df["method"] == method].assign(variant=rows.variant(options))
    value = more["value"].where(more["metric"] != "avg_gap", more["value"] + 1)
    return pd.concat([df, more.assign(value=value)], ignore_index=True)


def test_a_second_retrain_is_the_noise_floor():
    gap = panel(figures.versus_retrain(variant("Retrain", name="again"), stop="last"), "average gap")
    floor = [p for p in gap.patches if p.get_zorder() == 0]
    assert [p.get_x() + p.get_width() for p in floor] == [1.0]
    assert not [p for p in panel(figures.versus_retrain(frame()), "average gap").patches if p.get_zorder() == 0]


def test_variants_of_a_method_are_told_apart():
    fig = figures.curves(variant("FT", lr=0.2), "mia")
    names = [t.get_text() for t in fig.legends[0].get_texts()]
    assert names == ["Retrain", "FT", "FT (rate 0.2)", "NoT", "end of Retrain (the goal)"]
    drawn = {(x.get_color(), x.get_linewidth()) for x in fig.axes[0].lines if x.get_linewidth() > 1.5}
    assert len(drawn) == 4
    names = ["My own", *(f"My own a={i}" for i in range(9))]
    drawn = style.looks(names, dict.fromkeys(names, "My own"))
    assert len({str(look) for look in drawn.values()}) == 10


def test_the_papers_values_are_marked_and_far_ones_stand_at_the_edge():
    gap = panel(figures.versus_retrain(variant("FT", lr=0.2), stop="last"), "average gap")
    hollow = {gap.figure.axes[0].get_yticklabels()[int(x.get_ydata()[0])].get_text(): x.get_xdata()[0]
              for x in gap.lines if x.get_marker() == "D"}
    assert hollow == {"NoT": 0.29, "FT": 1.01}          # the searched variant is none of the paper's
    far = frame(settings=("b",)).assign(table="not_table4")
    cut = panel(figures.versus_retrain(far, stop="last"), "average gap")
    told = [t.get_text() for t in cut.texts]
    assert "13.9 →" in told                             # FT in Table 4, where ours ends at 4
    none = panel(figures.versus_retrain(frame().assign(table=""), stop="last"), "average gap")
    assert not [x for x in none.lines if x.get_marker() == "D"]


@pytest.mark.parametrize("draw", [figures.versus_retrain, budgets.budget_curves])
@pytest.mark.parametrize("settings, with_diamonds", [("a", "a"), ("ab", "a"), ("abc", "a"), ("b", "b"), ("bc", "bc")])
def test_the_papers_values_stand_beside_the_papers_data(draw, settings, with_diamonds):
    """`a` is of CIFAR-10, which Table 1 has, the others of digits; where no setting has the paper's data, the legend
    says whose values they are."""
    df = frame(settings=tuple(settings))
    df = pd.concat([df, df[df["method"] == "Retrain"].assign(variant="name=again")])     # budget curves are drawn to it
    fig = draw(df)
    rows_of_panels = np.reshape(fig.axes, (len(settings), -1))
    marked = {setting for setting, row in zip(settings, rows_of_panels)
              if any(line.get_marker() == "D" for ax in row for line in ax.lines)}
    assert marked == set(with_diamonds)
    assert "paper" in " ".join(t.get_text() for t in fig.legends[0].get_texts())


def test_what_lies_beyond_a_window_is_counted():
    df = sweep()
    far = (df["metric"] == "nfs_target") & df["variant"].eq("gamma=50") & (df["method"] == "TIS-Reset")
    fig = figures.tradeoff(df.assign(value=df["value"].where(~far, 4.0)))
    told = [t.get_text() for t in fig.axes[0].texts]
    assert "→ 1 of 6 points, to 4" in told and fig.axes[0].get_xlim()[1] < 2
    assert not [t for t in figures.tradeoff(df).axes[0].texts if "points" in t.get_text()]


def test_rounds_are_whole_and_noise_spans_no_panel():
    ax = figures.curves(frame(), "mia").axes[0]
    assert all(tick == int(tick) for tick in ax.get_xticks())
    df = frame()
    flat = df.assign(value=df["value"].where(df["metric"] != "mia", 50 + df["seed"]))
    low, high = figures.curves(flat, "mia").axes[0].get_ylim()
    assert high - low == pytest.approx(20)


def test_runs_that_diverged_are_no_part_of_a_mean():
    df = frame()
    lost = df[(df["method"] == "FT") & (df["seed"] == 1) & (df["stop"] == "last") & (df["metric"] == "mia")]
    both = pd.concat([df, lost.assign(metric="diverged", value=1.0, unit="rounds")])
    worse = (both["method"] == "FT") & (both["seed"] == 1) & (both["metric"] == "mia")
    fig = figures.curves(both.assign(value=both["value"].where(~worse, 0.0)), "mia")
    assert "FT, 1 of 2 seeds" in [t.get_text() for t in fig.legends[0].get_texts()]
    ft = next(x for x in fig.axes[0].lines if x.get_color() == COLORS["FT"])
    assert ft.get_ydata()[-1] == 84


def test_settings_of_one_kind_are_told_apart_by_their_names():
    assert figures.told_apart(["joined_first", "joined_halfway", "label_skew"], ["IID", "IID", "Dirichlet"]) == [
        "IID: joined first", "IID: joined halfway", "Dirichlet"]
    assert figures.spoken("name=again") == " (second)" and figures.spoken("layers=0+1;lr=0.2") == " (layers 0, 1, rate 0.2)"


def test_gap_bars_show_the_papers_value_beside_ours():
    ax = figures.gap_bars(frame(), "not_table1", stop="last").axes[0]
    ours = bars(ax)
    assert ours["NoT"] == 1.0 and ours["FT"] == 4.0 and ours["FCU"] == 0  # not run here
    hollow = {ax.get_yticklabels()[int(x.get_ydata()[0])].get_text(): x.get_xdata()[0] for x in ax.lines
              if x.get_marker() == "D"}
    assert hollow["NoT"] == 0.29 and hollow["FCU"] == 0.81 and "Retrain" not in hollow


def test_tradeoff_panels_lines_and_spread():
    fig = figures.tradeoff(sweep())
    assert [ax.get_title() for ax in fig.axes] == ["preferential", "Dirichlet 0.8", "IID"]
    mean = next(x for x in fig.axes[0].lines if x.get_linewidth() == 2 and x.get_color() == COLORS["TIS-Reset"])
    assert mean.get_xdata().tolist() == pytest.approx([0.005, 0.205, 1.005])
    assert mean.get_ydata().tolist() == pytest.approx([1.005, 0.905, 0.505])
    assert {"10", "50"} <= {t.get_text() for t in fig.axes[0].texts}


@pytest.mark.parametrize("gammas, wanted", [([5, 10, 50, 90, 95], [10, 50, 90]), ([10, 20], [10]), ([30], [30, 30, 30]),
                                            ([20, 30, 40, 60, 80], [20, 40, 80]), ([80, 20, 80], [20, 80, 80])])
def test_some_points_of_every_sweep_have_their_number(gammas, wanted):
    assert figures.numbered(gammas) == wanted


def test_a_sweep_without_the_usual_values_has_numbers_and_crosses_too():
    df = sweep().assign(variant=lambda d: d["variant"].str.replace("gamma=10", "gamma=20").str.replace("gamma=50", "gamma=80"))
    ax = figures.tradeoff(df).axes[0]
    assert "80" in {t.get_text() for t in ax.texts} and ax.containers


def test_lines_over_a_hyper_parameter_and_over_a_column():
    fig = figures.lines(sweep(), "gamma", ["nta", "nfs_target"], stop="last", reference=1)
    assert len(fig.axes) == 6 and fig.axes[0].get_ylabel() == "NTA"
    first = next(x for x in fig.axes[0].lines if x.get_color() == COLORS["Random-Reset"])
    assert first.get_xdata().tolist() == [0, 10, 50]
    assert first.get_ydata().tolist() == pytest.approx([1.005, 1.005 - 1 / 6, 1.005 - 5 / 6])
    one = sweep()[lambda d: d["setting"] == d["setting"].iloc[0]]
    fig = figures.lines(one, "gamma", ["nta", "nfs_target"], stop="last")     # one setting: side by side
    assert [ax.get_ylabel() for ax in fig.axes] == ["NTA", "NFS (target)"] and all(ax.get_xlabel() for ax in fig.axes)
    assert len({ax.get_position().y0 for ax in fig.axes}) == 1
    fig = figures.lines(frame(), "round", "avg_gap", stop="curve", hue="name")
    assert colors_of(fig.axes[0]) == {COLORS[m] for m in METHODS}
    with pytest.raises(Bad, match="'depth'"):
        figures.lines(sweep(), "depth", "nta", stop="last")


def test_clients_at_a_glance():
    fig = pictures.clients_at_a_glance([[3, 0], [1, 9], [2, 2]], ["cat", "dog"], targets=[1])
    left, right = fig.axes
    assert [b.get_width() for b in right.patches] == [3, 10, 4]
    assert {t.get_text() for t in left.texts} == {"3", "·", "1", "9", "2"}
    assert left.get_yticklabels()[1].get_color() == COLORS["NoT"] != left.get_yticklabels()[0].get_color()
    assert not pictures.clients_at_a_glance(np.ones((3, 100), int)).axes[0].texts  # too many to write


def test_images_of_any_layout():
    gray, rgb = np.full((4, 4), 255, np.uint8), np.linspace(-2, 2, 48).reshape(3, 4, 4)
    fig = pictures.images([[gray, rgb], [rgb.transpose(1, 2, 0)]], ["clean", "with trigger"])
    shown = [ax.images[0].get_array() if ax.images else None for ax in fig.axes]
    assert shown[0].max() == 1.0 and shown[1].shape == (4, 4, 3) and shown[3] is None
    assert shown[1].min() == 0 and shown[1].max() == 1 and np.array_equal(shown[1], shown[2])
    assert fig.axes[2].get_ylabel() == "with trigger"


def test_saved_figures_are_small_and_the_same_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    drawn.save_figure(figures.curves(frame()), "quick", "02_curves")
    path = files.folder("quick", "figures") / "02_curves.png"
    first = path.read_bytes()
    assert path == tmp_path / "quick/figures/02_curves.png" and first[:4] == b"\x89PNG"
    drawn.save_figure(figures.curves(frame()), "quick", "02_curves")
    assert path.read_bytes() == first
    assert len(first) < 100_000 and b"matplotlib" not in first.lower()
    assert sorted(p.name for p in path.parent.iterdir()) == ["02.json", "02_curves.pdf", "02_curves.png"]
    pdf = path.with_suffix(".pdf").read_bytes()
    assert pdf[:4] == b"%PDF" and b"CreationDate" not in pdf


@pytest.mark.parametrize("dpi", ["figure", 50, 110])
def test_a_figure_is_saved_at_any_resolution(tmp_path, monkeypatch, dpi):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    with plt.rc_context({"savefig.dpi": dpi}):
        fig = plt.figure(figsize=(2, 1))
        fig.add_subplot()
        drawn.save_figure(fig, "quick", "02_curves")
        assert fig.dpi == plt.rcParams["figure.dpi"]
        saved = fig.dpi if dpi == "figure" else dpi
    height, width = plt.imread(tmp_path / "quick/figures/02_curves.png").shape[:2]
    assert width / saved == pytest.approx(2, abs=0.4) and height / saved == pytest.approx(1, abs=0.4)


@pytest.mark.parametrize("backend, shows", [("module://matplotlib_inline.backend_inline", True), ("inline", True),
                                            ("agg", False), ("widget", False)])
def test_a_notebook_shows_the_file_and_draws_no_figure_twice(tmp_path, monkeypatch, backend, shows):
    said = []
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    monkeypatch.setattr("IPython.display.display", said.append)
    monkeypatch.setattr(plt, "get_backend", lambda: backend)
    fig = figures.curves(frame())
    drawn.save_figure(fig, "quick", "02_curves")
    assert [picture.data for picture in said] == [(tmp_path / "quick/figures/02_curves.png").read_bytes()] * shows
    assert (fig.number in plt.get_fignums()) is not shows       # what is open is shown when its cell ends
    drawn.save_figure(None, "quick", "02_curves")               # there was nothing to draw
    assert len(said) == shows


@pytest.mark.parametrize("methods", [("Retrain", "NoT"), ("Retrain", "Mine"), ("Retrain", "Original", "FT")])
def test_figures_and_tables_work_with_the_methods_that_are_there(methods):
    df = frame()
    df = df.assign(method=df["method"].replace("FT", [m for m in methods if m != "Retrain"][-1]))
    df = df[df["method"].isin(methods)]
    df = df.drop_duplicates(rows.KEY)
    figures.versus_retrain(df)
    figures.curves(df)
    figures.gap_bars(df, "not_table1")
    tables.show(df)
    tables.show(papers.compare(df, "not_table1"))
    tables.show_access({m: dict.fromkeys(tables.NEEDS, False) for m in methods}, df)
    tables.beside(df, "not_table1", ["mia"])


def test_a_figure_without_what_it_compares_says_so():
    df = frame()
    with pytest.raises(Bad, match="no method beside Retrain"):
        figures.versus_retrain(df[df["method"] == "Retrain"])
    with pytest.raises(Bad, match="no rows with stop 'oracle'"):
        figures.versus_retrain(df[(df["method"] != "Retrain") & (df["metric"] != "avg_gap")])
    assert not [x for x in figures.curves(df[df["method"] == "NoT"], "mia").axes[0].lines if x.get_linestyle() == "--"]
