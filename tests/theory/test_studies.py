"""Studies of the theory say what is known for nets and numbers made by hand; their figures draw those numbers."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from conftest import tiny

import lib
from lib.errors import Bad
from lib.report import theory as report_theory
from lib.theory import studies

NAMES = ["similarity", "bound", "spectra", "perturbed_activations", "variation", "jacobians"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    store = lib.Store(tmp_path_factory.mktemp("store"))
    task = tiny(studies=NAMES, spectral_batch=8, spectral_samples=24, spectral_entries=20, spectral_sets=2,
                cka_batch=64, trace_rounds=2, ablations={"NoT/all": {"layers": [0, 1]}}, ablation_rounds=1)
    return lib.rows(lib.study_all([task], store), profile="quick", notebook="05")


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_the_negated_layer_itself_is_the_same_by_algebra(table):
    cka = lib.pick(table, "cka", to="Original", when="before").xs(("task", 0))
    assert cka.xs(("NoT", "conv1")).item() == pytest.approx(1)
    assert all(v == pytest.approx(1) for v in cka.xs("FT"))
    assert cka.xs(("NoT", "relu1")).item() < 1 > cka.xs(("Retrain", "conv1")).mean()


def test_two_signs_below_the_same_layers_agree_in_the_first(table):
    signs = lib.pick(table, "cka", method="NR", to="NR").xs(("task", 0)).droplevel("method")
    assert signs.xs("conv1").item() == pytest.approx(1) and signs.xs("head").item() < 0.999


def test_the_bound_is_eq_82_of_what_it_was_made_from(table):
    v = {m: lib.pick(table, m).xs(("task", 0)) for m in ("t_unlearn", "gap_gradient_norm", "loss_gap", "room")}
    assert (v["t_unlearn"] > 0).all() and (v["gap_gradient_norm"] > 0).all()
    assert lib.bound_table(table).shape == (2, 7)


def test_contents_rise_from_0_to_1(table):
    psi = lib.pick(table, "psi", spectrum="raw").xs(("task", 0, "NoT")).sort_index()
    assert psi.iloc[0] == 0 and psi.iloc[-1] == pytest.approx(1) and (np.diff(psi) >= -1e-9).all()


def test_a_fresh_vit_has_no_spectrum_as_nothing_comes_through_its_head(tmp_path):
    task = tiny(model="small_vit", patch=4, dim=8, depth=1, heads=2, studies=["spectra"], spectral_layers="first_block",
                spectral_batch=8, spectral_samples=12, spectral_entries=10, spectral_sets=2)
    rows = lib.study_all([task], lib.Store(tmp_path))
    assert {r["method"] for r in rows} == {"NoT"} and {r["metric"] for r in rows} == {"psi", "alpha"}


def test_no_change_of_the_activations_beats_negation(table):
    far, slack = (lib.pick(table, f"{k}_ratio").xs(("task", 0, "NoT")) for k in ("distance", "epsilon"))
    assert (far.drop("negate") <= far["negate"] + slack["negate"] + slack.drop("negate")).all()
    assert far["negate"] <= 1 + 1e-9


def test_one_unit_shows_less_than_all_together(table):
    tv = lib.pick(table, "tv").xs(("task", 0, "NoT"))
    assert (tv <= 1).all() and tv.xs("joint", level="kind").mean() > tv.xs("unit", level="kind").mean()


def test_lemmas_say_which_prints_are_wrong():
    rows = {r["statement"]: r for r in lib.lemma_numbers(torch.Generator().manual_seed(1), 20_000)}
    wrong = {s for s, r in rows.items() if not r["holds"]}
    assert {s.split(":")[0].split(",")[0] for s in wrong} == {"Eq. 23", "Lemma 8 as printed (c in place of c/a)",
                                                              "Lemma 8", "ReLU"}
    assert all("sigmoid, padded" in s for s in wrong if s.startswith("Lemma 8, "))


def test_toys_obey_theorem_1():
    assert all((t["bound"] <= t["time"] + 1e-9).all() and t["bound"].max() > 0 for t in lib.toy_flows(steps=300).values())


def test_the_estimator_is_tried_on_known_covariances():
    rows = lib.estimator_check(np.random.default_rng(0), q=100)
    flat = next(r for r in rows if r["spectrum"] == "flat" and r["c"] < 1)
    assert abs(flat["corrected"] - flat["true"]) < 0.1 < abs(flat["raw"] - flat["true"])


def test_layers_are_named_in_order():
    assert list(studies.layers_of(tiny().model).values()) == ["conv1", "relu1", "conv2", "relu2", "head"]
    vit = tiny(model="small_vit", patch=4, dim=8, depth=2, heads=2).model
    assert list(studies.layers_of(vit).values()) == ["patches", "block 1", "block 2", "head"]


def test_an_unknown_study_is_named(store):
    with pytest.raises(Bad, match="spectra"):
        lib.study_all([tiny(studies=["spectrum"])], store)


def test_normalised_similarity_is_zero_for_retrain_before_and_one_for_the_original(table):
    part = report_theory.normalised(table)
    assert part[(part["method"] == "Retrain") & (part["when"] == "before")
                & ~part["variant"].str.contains("fresh")]["value"].abs().max() < 1e-12
    assert part[(part["method"] == "FT") & (part["when"] == "before")]["value"].min() == pytest.approx(1)


@pytest.mark.parametrize("draw", [report_theory.similarity_by_layer, report_theory.contents, report_theory.activations_moved, report_theory.variations])
def test_every_figure_draws_the_rows_it_got(table, draw):
    fig = draw(table)
    assert all(ax.lines or ax.patches for ax in fig.axes)


def test_labels_stand_for_methods_and_the_race_ends_at_the_asked_round(store):
    task = tiny(methods={"Retrain": {}, "FT": {}}, ablations={"NoT/both": {"layers": [0, 4]}}, ablation_rounds=2)
    records = lib.run_all([task], store)
    df = lib.rows(records, profile="quick", notebook="04")
    named = lib.labelled(df, records)
    assert set(named["method"]) == {"Retrain", "FT", "both"} and set(df["method"]) == {"Retrain", "FT", "NoT"}
    fig = lib.race(named, {"net": ("task", ["FT", "both"])}, ("avg_gap",), until=2)
    drawn = [line.get_xdata() for line in fig.axes[0].lines]
    assert [list(x) for x in drawn] == [[0, 1, 2], [0, 1, 2]]
    want = named[(named["method"] == "both") & (named["metric"] == "avg_gap") & (named["stop"] == "curve")]["value"]
    assert list(fig.axes[0].lines[1].get_ydata()) == pytest.approx(list(want))
    shown = lib.strength(named, ["FT", "both"], 2, "task")
    bars = [b.get_width() for b in shown.axes[2].patches]
    assert bars[1] == pytest.approx(float(want.iloc[-1]))


OF_STUDIES = {"similarity": {"cka"}, "bound": set(report_theory.BOUND), "spectra": {"psi", "alpha"},
              "perturbed_activations": {"distance_ratio", "epsilon_ratio"}, "variation": {"tv"},
              "jacobians": {"jacobian_ratio"}}
DRAWN_OF = {lib.similarity_by_layer: {"similarity"}, lib.contents: {"spectra"}, lib.activations_moved: {"perturbed_activations"},
            report_theory.variations: {"variation", "jacobians"}}


@pytest.mark.parametrize("asked", [(), *((name,) for name in NAMES), ("similarity", "variation"), tuple(NAMES)], ids="+".join)
def test_a_notebook_of_some_studies_shows_those(table, asked):
    """A part of notebook 05, or a setting of one's own, need not ask for every study, nor for any."""
    study = table[table["metric"].isin(set().union(*(OF_STUDIES[name] for name in asked)))]
    for draw, studies_of_it in DRAWN_OF.items():
        assert (draw(study) is not None) == bool(studies_of_it & set(asked)), draw.__name__
    assert len(lib.alikeness(study)) == ("similarity" in asked)
    assert len(lib.bound_table(study)) == 2 * ("bound" in asked)
    assert lib.flows(lib.toy_flows(), lib.noisy_counterexample(np.random.default_rng(0)), study) is not None
