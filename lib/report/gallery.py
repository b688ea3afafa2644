"""Every figure of the notebooks, by the name of its file: a function of the notebook's rows and of its settings.

A figure has one home: the notebooks draw through `draw`, and so does `python -m workflow.publish figures`, which trains
nothing. What no row holds says what it is drawn `of` in place of rows.
"""
from typing import NamedTuple

import numpy as np

from ..errors import Bad, nearest
from ..settings import complete
from ..theory.lemmas import estimator_check, toy_flows
from ..theory.time import noisy_counterexample
from ..words import AVG_GAP, GAP, REFERENCE
from . import ablations, after, audit, backdoor, budgets, figures, rivals, theory
from .pictures import clients_at_a_glance
from .rows import option


class Picture(NamedTuple):
    """How a figure is drawn. draw: of `rows` `(rows, settings)` to a figure, or to None where nothing of it is there; of
    `data` `(task)`; of `models` what a notebook calls that has trained them."""
    draw: callable
    of: str = "rows"


def alone(draw, *positional, **options):
    """A figure that needs no settings."""
    return Picture(lambda df, settings: draw(df, *positional, **options))


def clients(task):
    """Who has which samples, and who leaves."""
    return clients_at_a_glance(task.counts(), task.class_names, task.targets)


# ---------------------------------------------------------------- 04, the ablations

CNN = ("FT", "NoT", "conv1 and its bias", "conv1 and its norm", "conv2", "head")
VIT = ("FT", "NoT", "position embedding", "queries of block 1", "queries of block 2")
SEVERAL = ("FT", "NoT", "conv1 + conv2", "conv1 + conv2 + head")
CHANGES = ("FT", "NoT", "re-initialise", "noise 0.3", "noise 1", "noise 3", "mirror", "mirror upside down", "turn 90",
           "turn 180")
TRACED = ("FT", "noise 1", "re-initialise", "NoT", "conv1 + conv2")
LEAVING = ("FT", "MoDE", "FCU", "NoT")
NORMS = ("gradient_norm", "distance_norm", "deeper_distance_norm")
RACED = (AVG_GAP, "retain_acc", "forget_acc", "mia")


def groups_with(named, label, wanted):
    """`{setting in words: (setting, labels)}` of the settings that have a run of one label."""
    have = named[named["stop"] == "curve"].groupby("setting")["method"].agg(set)
    settings = figures.settings_of(named[named["setting"].isin([s for s in have.index if label in have[s]])])
    return {title: (s, [name for name in wanted if name in have[s]]) for s, title in settings}


def which_layer(df, settings):
    """One layer is negated, of a CNN and of a ViT (NoT Figure 4)."""
    named = ablations.by_label(df, settings)
    groups = groups_with(named, "conv2", CNN) | groups_with(named, "position embedding", VIT)
    return ablations.race(named, groups, RACED) if groups else None


def several_layers(df, settings):
    """Several layers are negated at once."""
    named = ablations.by_label(df, settings)
    groups = groups_with(named, "conv2", SEVERAL)
    return ablations.race(named, groups, (AVG_GAP, "retain_loss", "forget_acc"), log=("retain_loss",)) if groups else None


def gradients_of_layers(df, settings):
    """Gradient norm of each tensor of the first CNN, as a multiple of NoT's."""
    named = ablations.by_label(df, settings)
    groups = groups_with(named, "conv2", ("NoT", "conv1 + conv2", "conv1 + conv2 + head", "FT"))
    if not groups or not named["metric"].str.endswith(":gradient_norm").any():
        return None
    setting, names = next(iter(groups.values()))
    return ablations.tensors(named, names, setting, base="NoT", words=ablations.tensor_words(settings.get(setting)))


def which_change(df, settings):
    """The first layer is changed in other ways (NoT Figure 5)."""
    named = ablations.by_label(df, settings)
    groups = groups_with(named, "re-initialise", CHANGES)
    return ablations.race(named, groups, RACED) if groups else None


def how_strong(df, settings):
    """What a change of the first layer does at once, and what remains."""
    named = ablations.by_label(df, settings)
    groups = groups_with(named, "re-initialise", CHANGES)
    if not groups:
        return None
    setting, names = next(iter(groups.values()))
    return ablations.strength(named, names, ablations.common_end(named, setting, names), setting)


def gradients_and_distances(df, settings):
    """Gradient norms and distances along recovery."""
    named = ablations.by_label(df, settings)
    traced = named[named["metric"].isin(NORMS)]
    groups = groups_with(traced, "re-initialise", TRACED)
    return ablations.race(traced, groups, NORMS, log=("gradient_norm",)) if groups else None


def how_many_leave(df, settings):
    """One, five or nine of ten clients leave (NoT Figure 6)."""
    named = ablations.by_label(df, settings)
    leaving = {s: len(complete(settings[s])["targets"]) for s in settings if "leave" in s}
    share = named[named["setting"].isin(leaving)].assign(leaving=lambda d: d["setting"].map(leaving))
    panels = (AVG_GAP, "forget_acc", "comm_bytes", "comp_flops")
    return ablations.growth(share, "leaving", "clients that leave, of 10", panels, methods=LEAVING) if leaving else None


# ---------------------------------------------------------------- 05, the theory

def frozen_layers(df, settings):
    """A fresh net on a frozen, negated first layer, beside Retrain (NoT Table 8)."""
    some = df[df["setting"].isin(df[df["method"] == "NR-Freeze"]["setting"])]
    of_runs = some["metric"].isin([*GAP, AVG_GAP, "comm_bytes", "comp_flops"])
    return figures.versus_retrain(some[of_runs], stop="last") if of_runs.any() else None


def least_time(df, settings):
    """Theorem 1 on toys, and its bound on the trained nets (NoT Table 3)."""
    return theory.flows(toy_flows(), noisy_counterexample(np.random.default_rng(0)), df)


def known_spectra(df, settings):
    """The estimator of the spectrum where the answer is known."""
    return theory.recovered(estimator_check(np.random.default_rng(0)))


def information(df, settings):
    """Total variation and Jacobians (Theorem 3)."""
    words = {s: ablations.tensor_words(settings.get(s)) for s in set(df["setting"])}
    return theory.variations(df, words)


# ---------------------------------------------------------------- 06, one owner

def epochs_of_a_tenth(df, settings):
    """A random tenth is forgotten: the epochs that every method has."""
    some = df[(df["setting"] == "random_tenth") & (df["stop"].isin(["curve", "last"]))]
    curve = some[some["stop"] == "curve"]
    ends = curve[curve["method"] == "NoT"]["round"]
    last = (ends if len(ends) else curve["round"]).max()
    return figures.curves(some[(some["round"] <= last) | (some["stop"] == "last")], unit="epoch")


def gaps_of_a_tenth(df, settings):
    """The same, gaps beside the paper's (NoT Table 2)."""
    tenth = df[(df["setting"] == "random_tenth") & (df["variant"] != "name=again") & (df["method"] != "Original")]
    return figures.gap_bars(tenth.assign(variant=""), "not_table2")


# ---------------------------------------------------------------- 07 and 08, TIS

def reset_to(value):
    """Use against forgetting over gamma, with parameters reset to zero or to the initial model's values."""
    def draw(df, settings):
        some = df[~df["variant"].str.contains("curvature") & df["variant"].str.contains(f"reset={value}")]
        return figures.tradeoff(some, x="nfs")
    return Picture(draw)


def what_gamma_does(df, settings):
    """What is reset, what it costs and what it forgets, over gamma (TIS Figure 2)."""
    exact = df[~df["variant"].str.contains("curvature")]
    to = {value: exact[exact["variant"].str.contains(f"reset={value}")] for value in ("zero", "init")}
    skewed = (to["zero"]["distribution"] == "preferential") & to["zero"]["setting"].isin(to["init"]["setting"])
    return figures.over_gamma(to["zero"][skewed], ["reset_params", "nta", "nfs"])


def special(df):
    """The rows of the settings in which one client has the classes that nobody else has."""
    return df[df["distribution"] == "preferential"]


def with_trim(df, settings):
    """Use against forgetting, with and without TRIM, and FT (TIS Figure 3)."""
    plain = special(df)
    return figures.tradeoff(plain[~plain["variant"].str.contains("score")], x="nfs", points=("FT",))


def which_score(df, settings):
    """The score of TIS against the parts that it is made of."""
    scored = special(df)
    scored = scored[scored["method"].isin(["TIS-Reset", "Random-Reset"])]
    name = option(scored, "score").astype("object").fillna("") + " score"
    plain = ~scored["variant"].str.contains("score=")
    return figures.tradeoff(scored.assign(method=scored["method"].where(plain, name)), x="nfs")


def other_requests(df, settings):
    """A class or single images are forgotten."""
    return figures.tradeoff(df[df["scenario"].isin(["class-wise", "instance-wise"])], x="nfs")


# ---------------------------------------------------------------- 09, the backdoor

def backdoor_curves(df, settings):
    """Attack success and accuracies over rounds (NoT Table 7)."""
    return figures.curves(df[df["variant"] != "name=again"], ["asr", "backdoor_acc", "test_acc"])


def asleep(df, settings):
    """Whether the trigger is gone or only asleep."""
    return backdoor.asleep(df, ("Retrain", "FT", "NoT")) if (df["metric"] == "asr_negated").any() else None


def backdoor_over_gamma(df, settings):
    """The backdoor after the reset, over gamma (TIS Table 4)."""
    gamma = option(df, "gamma")
    swept = gamma.groupby(df["setting"]).transform("nunique") > 2
    return figures.over_gamma(df[swept], ["asr", "backdoor_acc", "test_acc"], paper="tis_table4") if swept.any() else None


# ---------------------------------------------------------------- all of them

MAIN = (REFERENCE, "NoT", "FT", "FUKD", "TIS-Reset")

GALLERY = {
    "01_clients": Picture(clients, "data"),
    "01_curves": alone(figures.training_curves),
    "02_versus_retrain": alone(figures.versus_retrain),
    "02_curves": alone(figures.curves),
    "02_headline": alone(budgets.budget_curves, MAIN, [(AVG_GAP, "comp_flops"), ("forget_acc", "comp_flops")]),
    "02_budgets": alone(budgets.budget_curves),
    "03_clients": Picture(clients, "data"),
    "03_versus_retrain": alone(figures.versus_retrain),
    "03_curves": alone(figures.curves, ["retain_acc", "forget_acc", "test_acc"]),
    "03_budgets": alone(budgets.budget_curves),
    "04_layers": Picture(which_layer),
    "04_several_layers": Picture(several_layers),
    "04_gradients_of_layers": Picture(gradients_of_layers),
    "04_changes": Picture(which_change),
    "04_strength": Picture(how_strong),
    "04_gradients_and_distances": Picture(gradients_and_distances),
    "04_how_many_leave": Picture(how_many_leave),
    "05_similarity": alone(theory.similarity_by_layer),
    "05_nr_freeze": Picture(frozen_layers),
    "05_least_time": Picture(least_time),
    "05_spectra": alone(theory.contents),
    "05_estimator": Picture(known_spectra),
    "05_activations": alone(theory.activations_moved),
    "05_variation": Picture(information),
    "06_versus_retrain": alone(figures.versus_retrain),
    "06_curves": Picture(epochs_of_a_tenth),
    "06_beside_the_paper": Picture(gaps_of_a_tenth),
    "07_clients": Picture(clients, "data"),
    "07_tradeoff_zero": reset_to("zero"),
    "07_tradeoff_init": reset_to("init"),
    "07_gamma": Picture(what_gamma_does),
    "08_trim": Picture(with_trim),
    "08_scores": Picture(which_score),
    "08_requests": Picture(other_requests),
    "09_pictures": Picture(backdoor.triggered_images, "models"),
    "09_curves": Picture(backdoor_curves),
    "09_asleep": Picture(asleep),
    "09_gamma": Picture(backdoor_over_gamma),
    "10_through_rounds": alone(rivals.through_rounds),
    "10_budgets": alone(budgets.budget_curves),
    "12_accuracy": alone(audit.audit_accuracy),
    "12_rocs": alone(audit.audit_rocs),
    "12_margins": alone(audit.audit_margins),
    "12_models": alone(audit.audit_models),
    "13_further_rounds": alone(after.further_rounds),
    "13_relearning": alone(after.relearning),
    "13_few_bits": alone(after.few_bits),
    "13_who_left": alone(after.who_left),
    "13_in_turn": alone(after.in_turn),
}


OF_CURVES = {"02_curves", "02_headline", "02_budgets", "03_curves", "03_budgets", "04_layers", "04_several_layers",
             "04_changes", "04_strength", "04_gradients_and_distances", "06_curves", "09_curves", "10_through_rounds",
             "10_budgets"}


def draw(name, df, settings=None):
    """The figure of this name (`04_layers`) from the notebook's rows; None where the rows have nothing to show in it.

    df: what `lib.rows` or `lib.load_results` gives; settings: the notebook's, `{setting: keys}`. Bad where there is no
    such figure, where it is no function of rows, or where rows are missing.
    """
    if name not in GALLERY:
        raise Bad(f"draw: there is no figure {name!r}; {nearest(name, GALLERY, 'figure')}")
    picture = GALLERY[name]
    if picture.of != "rows":
        raise Bad(f"draw: {name} is drawn of {picture.of}, which rows do not hold; run notebook {name[:2]}")
    return picture.draw(df, settings or {})
