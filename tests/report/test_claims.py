"""Every claim: one small made-up table that makes it hold, one that makes it fail; and what judging promises."""
import inspect

import numpy as np
import pandas as pd
import pytest

import lib
from lib.errors import Bad
from lib.files import folder
from lib.report import claims, rows
from lib.report.claims import verdicts
from lib.report.claims.verdicts import CLAIMS, claim_texts, judge


def made(values, **common):
    """Long rows from {metric: {"method variant": value}}."""
    records = []
    for metric, by_method in values.items():
        for name, value in by_method.items():
            method, _, variant = name.partition(" ")
            records.append({"setting": "a", "seed": 0, "method": method, "variant": variant, "metric": metric,
                            "value": value, "unit": "ratio"} | common)
    return rows.rows(records, profile="quick", notebook="02")


def both(*tables):
    return pd.concat(tables, ignore_index=True)


def gaps(setting="a", stop="oracle", **values):
    return made({"avg_gap": values}, setting=setting, stop=stop)


def at_round(round, values, setting="a"):
    return made(values, setting=setting, stop="curve", round=round)


CASES = {}      # {(notebook, name of the claim): (tables that make it hold, tables that make it fail)}


def case(notebook, name, holds, fails):
    """Tables as {name: table}; a table alone is `df`."""
    def tables(given):
        return given if isinstance(given, dict) else {"df": given}
    CASES[notebook, name] = tables(holds), tables(fails)


# ---------------------------------------------------------------- 02

def retrained(metric, stop="last", **values):
    return made({metric: values}, stop=stop)


def sent(**values):
    """Bytes at the best round, where Retrain sends 10."""
    return both(made({"comm_bytes": {"Retrain": 10.0}}), made({"comm_bytes": values}, stop="oracle"))


def curves(not_end):
    """Retrain is at its end from round 4 on, NoT at round 2 if `not_end` is near it."""
    parts = [made({m: {"Retrain": 90.0} for m in ("retain_acc", "test_acc")})]
    for round, new, ours in ((0, 10, 10), (2, 50, not_end), (4, 90, 90)):
        parts.append(at_round(round, {m: {"Retrain": new, "NoT": ours} for m in ("retain_acc", "test_acc")}))
    return both(*parts)


def attacked(ours):
    return made({"mia": {"Retrain": 50.0, "Retrain name=again": 52.0, "NoT": ours}})


case("02", "N01", gaps(NoT=1, FT=2, Retrain=0), gaps(NoT=2, FT=1, Retrain=0))
for stop in ("quarter", "half"):
    case("02", f"N01, 02, {stop}", gaps(stop=stop, NoT=1, FT=2), gaps(stop=stop, NoT=2, FT=1))
    case("02", f"N11, 02, {stop}", *(made({"avg_gap": {"NoT": v, "Retrain name=again": 2.0}}, stop=stop) for v in (1.0, 3.0)))
case("02", "N02", sent(NoT=3, FT=4), sent(NoT=5, FT=4))
case("02", "N07", *({"df": at_round(0, {"retain_acc": {"NoT": v}}), "classes": {"a": 10}} for v in (19.0, 21.0)))
case("02", "N09", *(retrained("forget_acc", FT=v, Retrain=80.0) for v in (86.0, 84.0)))
case("02", "N11", curves(89.0), curves(60.0))
case("02", "N12", attacked(54.0), attacked(56.0))


# ---------------------------------------------------------------- 03

def with_class(ours):
    """NoT's and FT's distance to Retrain over four metrics, one of which has the class in the test set."""
    metrics = ("retain_acc", "forget_acc", "test_acc_all", "mia")
    end = made({m: {"Retrain": 50.0} for m in metrics}, setting="class_wise")
    best = made({m: {"NoT": 50.0 + ours, "FT": 45.0} for m in metrics}, setting="class_wise", stop="oracle")
    return both(end, best)


def replayed(gap, bytes_sent):
    values = {"avg_gap": {"FedEraser": 5.0, "FUKD": gap, "Retrain name=again": 2.0, "Retrain": 0.0},
              "comm_bytes": {"FedEraser": 10.0, "FUKD": bytes_sent, "Retrain name=again": 10.0, "Retrain": 10.0}}
    return made(values, setting="joined_first")


for id, setting in (("N13", "label_skew"), ("N14", "class_wise"), ("N15", "instance_wise")):
    case("03", f"{id}, 03 {setting}", gaps(setting, NoT=1, FT=2), gaps(setting, NoT=3, FT=2))
    case("03", f"{id}, 03 {setting}, half", *(gaps(setting, "half", NoT=v, FT=2) for v in (1, 3)))
case("03", "N14, 03 class_wise, class in the test set", with_class(4.0), with_class(6.0))
case("03", "N04, 03 joined_first", replayed(3.0, 9.5), replayed(3.0, 8.0))


# ---------------------------------------------------------------- 04

SETTINGS = {"a": {"ablation_rounds": 6, "trace_rounds": 4}}


def named(round=6, **metrics):
    """Rows with labels: {metric: {label: value}} in the setting `a`; labels may have blanks, so variants stay empty."""
    table = at_round(round, {m: {k.replace(" ", "_"): v for k, v in values.items()} for m, values in metrics.items()})
    return table.assign(method=table["method"].str.replace("_", " "))


def layers(**metrics):
    return {"named": named(**metrics), "settings": SETTINGS}


def moves(metric, round, ours):
    values = {metric: {"NoT": ours, "FT": 1, "noise 1": 2, "re-initialise": 3}}
    return {"followed": named(round, **values), "settings": SETTINGS}


def cnn(**gap):
    return {"NoT": 1, "FT": 9, "conv2": 2, "head": 3, "conv1 and its norm": 9} | gap


def vit(**gap):
    return {"FT": 9, "NoT": 1, "position embedding": 9, "queries of block 1": 3, "queries of block 2": 7} | gap


def slopes(two):
    followed = named(0, **{"3.weight:gradient_norm": {"conv1 + conv2": two, "NoT": 1.0}})
    return layers(avg_gap=cnn()) | {"followed": followed, "convs": ["0.weight", "3.weight"]}


def embedding(first):
    """The gap of the position embedding at round 0, and FT's at the end."""
    return {"named": both(named(6, avg_gap=vit()), named(0, avg_gap={"position embedding": first})),
            "settings": SETTINGS}


def queries(loss):
    start = named(0, retain_loss={"queries of block 1": 3.0, "queries of block 2": loss})
    return {"named": both(named(6, avg_gap=vit()), start), "settings": SETTINGS}


def changes(**gap):
    return layers(avg_gap={"FT": 9, "NoT": 1, "re-initialise": 8, "noise 1": 8, "turn 90": 5} | gap)


def leaving(metric, few, half, most, fcu=(1.0, 1.0, 2.0)):
    parts, settings = [], {}
    for setting, ours, other in zip(("1_leaves", "5_leave", "9_leave"), (few, half, most), fcu):
        parts.append(made({metric: {"NoT": ours, "FCU": other}}, setting=setting, stop="oracle"))
        settings[setting] = {}
    return {"named": both(*parts), "settings": settings}


two_layers = [{"NoT": 80.0, "conv1 + conv2": v, "conv2": 0.0} for v in (70.0, 90.0)]
case("04", "N08, 04, gradient", moves("gradient_norm", 0, 4), moves("gradient_norm", 0, 2.5))
case("04", "N08, 04, distance", moves("deeper_distance_norm", 4, 4), moves("deeper_distance_norm", 4, 2.5))
case("04", "N18", layers(avg_gap=cnn()), layers(avg_gap=cnn(head=0.5)))
case("04", "N19", *(layers(retain_acc=two_layers[i], forget_acc=two_layers[0]) for i in (0, 1)))
case("04", "N20", slopes(0.5), slopes(2.0))
case("04", "N21", layers(avg_gap=cnn()), layers(avg_gap=cnn(FT=7)))
case("04", "N22", layers(avg_gap=vit()), layers(avg_gap=vit(NoT=4)))
case("04", "N23", embedding(12.0), embedding(9.5))
case("04", "N24", queries(2.0), queries(4.0))
case("04", "N25", changes(), changes(**{"turn 90": 0.5}))
case("04", "N26", changes(), changes(**{"noise 1": 6}))
case("04", "N27", changes(), changes(**{"turn 90": 10}))
case("04", "N28", leaving("avg_gap", 1, 2, 3), leaving("avg_gap", 1, 2, 6))
case("04", "N29", leaving("comm_bytes", 3, 2, 1), leaving("comm_bytes", 3, 1, 2))
case("04", "N30", leaving("comp_flops", 3, 2, 1), leaving("comp_flops", 3, 2, 1, fcu=(1.0, 1.0, 1.2)))


# ---------------------------------------------------------------- 05

NETS = {"a": {"model": "small_cnn"}, "v": {"model": "small_vit"}}


def study(rows, setting="a"):
    """Rows of a study from [(metric, method, variant, value)]."""
    return both(*(made({metric: {f"{method} {variant}": value}}, setting=setting)
                  for metric, method, variant, value in rows))


def similar(method, values, when="before", to="Original", setting="a"):
    return study([("cka", method, f"layer=l{i};place={i};to={to};when={when}", v) for i, v in enumerate(values)], setting)


def theory(*tables):
    return {"study": both(*tables), "settings": NETS}


def frozen(ours):
    return made({"avg_gap": {"NR-Freeze": ours, "NR-Freeze source=random": 3.0, "Retrain name=again": 2.0}})


def recovered(ours):
    ends = {"NoT": [1.0, ours], "FT": [1.0, 0.9], "Retrain": [1.0, 0.5]}
    return theory(*(similar(m, v, when="after") for m, v in ends.items()))


def blocks(last):
    return theory(similar("NoT", [1.0, 0.5, last, 0.1], setting="v"),
                  similar("Retrain", [1.0, 0.5, 0.8, 0.1], setting="v"))


def spectrum(ours):
    return theory(study([("alpha", m, f"beta=0.95;spectrum={kind}", v) for m, v in (("NoT", ours), ("Retrain", 1.0))
                         for kind in ("raw", "corrected")]))


def times(fine, ours, used=0.01):
    return study([("t_unlearn", "FT", "", fine), ("t_unlearn", "NoT", "", ours), ("used_ratio", "FT", "", used),
                  ("used_ratio", "NoT", "", used)])


def noise(ours):
    return theory(study([("noise_A", "FT", "", 0.001), ("noise_A", "NoT", "", ours), ("room", "FT", "", 1.0),
                         ("room", "NoT", "", 1.0)]))


def cost(fine):
    return {"df": made({"comm_bytes": {"FT": 2.0, "NoT": 1.0}}, stop="oracle")} | theory(times(fine, 1.0))


def activations(fresh):
    values = {"distance_ratio": {"negate": 0.9, "fresh": fresh}, "epsilon_ratio": {"negate": 0.05, "fresh": 0.02}}
    return theory(study([(metric, "NoT", f"change={c}", v) for metric, by in values.items() for c, v in by.items()]))


def lemma(words, holds):
    return {"lemmas": pd.DataFrame([{"statement": f"about {words}", "holds": holds}])}


def toys(bound):
    return {"toys": {"one": {"bound": np.array([bound]), "time": np.array([1.0])}}}


case("05", "N41", frozen(2.5), frozen(3.5))
case("05", "N42", frozen(3.5), frozen(4.5))
case("05", "N43", theory(similar("NoT", [1.0, 0.8, 0.6])), theory(similar("NoT", [1.0, 0.4, 0.3])))
case("05", "N44", recovered(0.6), recovered(1.0))
case("05", "N45", *(theory(similar("NR", [1.0, v], to="NR")) for v in (0.8, 0.5)))
case("05", "N46", blocks(0.7), blocks(0.4))
case("05", "N47", spectrum(0.7), spectrum(0.9))
case("05", "N31, 05, no noise", toys(0.5), toys(2.0))
case("05", "N31, 05, noise", *({"noisy": {"bound": v, "time": 1.0}} for v in (0.5, 140.0)))
case("05", "N32", theory(times(11.0, 1.0)), theory(times(11.0, 1.0, used=0.2)))
case("05", "N33", cost(3.0), cost(5.0))
case("05", "N34", noise(0.005), noise(0.1))
case("05", "N35", activations(0.8), activations(0.99))
case("05", "N36", *(activations(0.6) | lemma("Lemma 2", v) for v in (True, False)))
case("05", "N37", *(lemma("random outputs", v) for v in (True, False)))
case("05", "N38", *(theory(study([("tv", "NoT", "kind=joint;layer=fresh;width=64", v)])) for v in (0.1, 0.9)))
case("05", "N39", *(theory(study([("jacobian_ratio", "NoT", f"place={i};quantile=0.9;tensor=t{i}", v) for i in (0, 1)]))
                    for v in (1.5, 2.5)))
case("05", "N40", *(lemma("corrected", v) for v in (True, False)))


# ---------------------------------------------------------------- 06

def owner(gap, flops=None, whole=None):
    spent = {"Retrain": 10.0, **(flops or {})}
    return both(made({"avg_gap": gap, "comp_flops": spent}, setting="random_tenth", stop="oracle"),
                made({"comp_flops": {"Retrain": 10.0}}, setting="random_tenth"),
                made({"avg_gap": whole or {"SSD": 1.0}}, setting="one_class", stop="oracle"))


case("06", "N48", owner({"NoT": 2, "l1-sparse": 1, "GA": 3}), owner({"NoT": 2, "l1-sparse": 1, "GA": 1.5}))
case("06", "N49", *(owner({"NoT": 2, "l1-sparse": 1}, {"NoT": 1.0, "l1-sparse": v}) for v in (1.5, 1.0)))
case("06", "N50, 06, quality", owner({"SSD": 5, "GA": 3}), owner({"SSD": 2, "GA": 3}))
case("06", "N50, 06, cost", *(owner({"SSD": 5}, {"SSD": v, "NoT": 3.0}) for v in (4.0, 1.0)))


# ---------------------------------------------------------------- 07

def reset(method="TIS-Reset", distribution="preferential", variant="reset=zero", stop="oracle", seed=0, **metrics):
    return made({k: {f"{method} {variant}": v} for k, v in metrics.items()}, distribution=distribution, stop=stop,
                seed=seed, setting=distribution)


def versus(distribution, ours, other, metric="nta_at_0.9", variant="reset=zero", seed=0):
    return both(*(reset(m, distribution, variant, seed=seed, **{metric: v})
                  for m, v in (("TIS-Reset", ours), ("Random-Reset", other))))


def started(ours, other):
    """A lead with both reset values."""
    return both(versus("preferential", 0.9, 0.1), versus("preferential", ours, other, variant="reset=init"))


def pairs(one, two):
    """Distances under IID in two runs: TIS at 0.5, Random beyond it by these leads."""
    return both(*(versus("iid", 0.5, 0.5 + v, "distance", seed=seed) for seed, v in enumerate((one, two))))


def leads(values):
    return both(*(versus(d, 0.1, 0.1 + v, "distance") for d, v in zip(("preferential", "dirichlet_0.8", "iid"), values)))


def grid(nta_at_90):
    found = ((10, 0.1, 1.0), (30, 0.8, 0.9), (90, 1.0, nta_at_90))
    return both(*(reset(variant=f"gamma={g};reset=zero", stop="last", nfs=nfs, nta=nta) for g, nfs, nta in found))


def sampled(time):
    return both(reset(time=10.0, distance=0.10), reset(variant="curvature=ggn_mc;reset=zero", time=time, distance=0.15))


def answered(seconds):
    return both(reset(variant="curvature=ggn", stop="last", latency_seconds=seconds),
                reset("Retrain", variant="", time=10.0))


def nta(highest):
    return both(reset("Original", variant="", nta=1.1),
                reset(variant="gamma=30;reset=zero", stop="last", nta=highest))


def on_nets(other):
    parts = []
    for net in ("one", "two", "three"):
        parts.append(versus("preferential", 0.1, other, "distance").assign(model=net, setting=net))
    return both(*parts)


case("07", "T01", reset(target_acc=5.0, nta=0.8), reset(target_acc=5.0, nta=0.6))
case("07", "T02", started(0.5, 0.4), started(0.3, 0.4))
case("07", "T03", versus("dirichlet_0.8", 0.5, 0.4), versus("dirichlet_0.8", 0.4, 0.5))
case("07", "T04", pairs(0.1, -0.1), pairs(0.1, 0.11))
case("07", "T05", leads([0.3, 0.2, 0.1]), leads([0.1, 0.2, 0.3]))
case("07", "T06", *(reset(distribution="iid", mia=v) for v in (52.0, 54.0)))
case("07", "T07", reset(reset_params=7.0), reset(reset_params=8.0))
case("07", "T08", *(reset(variant="gamma=50;reset=zero", stop="last", reset_params=v) for v in (12.0, 17.0)))
case("07", "T09", grid(0.2), grid(1.1))
case("07", "T11", *(reset(variant="curvature=ggn_mc;reset=zero", rtr=v) for v in (0.1, 0.5)))
case("07", "T12", sampled(4.0), sampled(6.0))
case("07", "T13", answered(0.01), answered(0.5))
case("07", "T18", nta(1.2), nta(1.1))
case("07", "T15", on_nets(0.2), on_nets(0.05))


# ---------------------------------------------------------------- 08

def fisher(drawn):
    return {"fisher": pd.DataFrame({"Monte Carlo": [drawn, 1.0], "closed form": [1.0, 1.0], "error": [0.1, 0.1]})}


def requests(nfs):
    return both(versus("iid", 0.1, 0.5, "distance"), reset(distribution="iid", nfs=nfs))


def trimmed(other):
    return both(*(reset(f"{m}+TRIM", distance=v) for m, v in (("TIS-Reset", 0.1), ("Random-Reset", other))))


case("08", "T14", requests(0.9), requests(0.7))
case("08", "T16", *(reset("Original", variant="repeats=8", stop="last", slope_flatness=v) for v in (-0.9, 0.6)))
case("08", "T17", fisher(1.3), fisher(1.5))
case("08", "T19", trimmed(0.15), trimmed(0.3))
case("08", "T20", *(reset("FT", variant="", stop="last", nfs=v) for v in (0.9, 0.1)))


# ---------------------------------------------------------------- 09

def planted(gap=1.0, fraction=0.2, asr=2.0):
    """A backdoor; NoT's gap, its share of Retrain's bytes, and the attack success it leaves."""
    ends = {"asr": {"Original": 97.0, "Retrain": 1.0, "NoT": asr, "FT": 50.0, "FUKD": 1.0},
            "backdoor_acc": {"Original": 2.0, "Retrain": 95.0, "NoT": 94.0, "FT": 40.0, "FUKD": 94.0}}
    best = ends | {"avg_gap": {"NoT": gap, "FT": 9.0, "FUKD": 2.0},
                   "comm_bytes": {"NoT": 10 * fraction, "FT": 1.0, "FUKD": 5.0},
                   "comp_flops": {"NoT": 10 * fraction, "FT": 1.0, "FUKD": 5.0}}
    end = ends | {"comm_bytes": {"Retrain": 10.0}, "comp_flops": {"Retrain": 10.0}}
    return both(made(end), made(best, stop="oracle"))


def pooled(left):
    values = {"asr": {"Original": 100.0, "TIS-Reset reset=zero": left, "Random-Reset reset=zero": 99.0},
              "backdoor_acc": {"Original": 0.0, "TIS-Reset reset=zero": 60.0, "Random-Reset reset=zero": 1.0}}
    return {"sweep": made(values, stop="oracle")}


case("09", "N16", planted(), planted(gap=3.0))
case("09", "N17", planted(), planted(fraction=0.6))
case("09", "T10", pooled(10.0), pooled(30.0))


# ---------------------------------------------------------------- 10

TIS, RANDOM = "TIS-Reset gamma=50;recovery=True", "Random-Reset gamma=50;recovery=True"
EARLY = "Retrain name=again"


def at_half(values, distribution="iid"):
    return made({"avg_gap": values}, stop="half", distribution=distribution)


case("10", "B01", at_round(0, {"test_acc": {TIS: 40.0, "NoT": 10.0}}), at_round(0, {"test_acc": {TIS: 9.0, "NoT": 10.0}}))
case("10", "B02", at_round(0, {"avg_gap": {TIS: 10.0, "NoT": 40.0}}), at_round(0, {"avg_gap": {TIS: 41.0, "NoT": 40.0}}))
for protocol in ("iid", "preferential"):
    case("10", f"B03, 10 {protocol}", at_half({"NoT": 2.0, TIS: 3.0}, protocol), at_half({"NoT": 3.0, TIS: 2.0}, protocol))
case("10", "B04", at_half({TIS: 2.0, RANDOM: 3.0}), at_half({TIS: 3.0, RANDOM: 2.0}))
case("10", "B05", at_half({"NoT": 2.0, EARLY: 3.0}), at_half({"NoT": 3.0, EARLY: 2.0}))
case("10", "B06", at_half({TIS: 2.0, EARLY: 3.0}), at_half({TIS: 3.0, EARLY: 2.0}))


# ---------------------------------------------------------------- every claim

def judged(name, tables):
    return verdicts.judged(CLAIMS[name], {"df": made({}), **tables})


def without_at_end(label, values):
    """Rows of which one label has none at the last round, only earlier ones."""
    rest = {name: value for name, value in values.items() if name != label}
    return {"named": both(named(6, avg_gap=rest), named(4, avg_gap={label: values[label]})), "settings": SETTINGS}


@pytest.mark.parametrize("name, label, values", [
    ("N18", "NoT", cnn()), ("N18", "head", cnn()), ("N21", "FT", cnn()), ("N22", "NoT", vit()), ("N23", "FT", vit()),
    ("N25", "NoT", cnn() | {"re-initialise": 8}), ("N26", "FT", cnn() | {"re-initialise": 8, "noise 1": 8})])
def test_who_was_not_looked_at_at_the_end_fails_no_claim(name, label, values):
    row = judged(name, without_at_end(label, values))
    assert row["verdict"] == "not testable at this scale" and label in row["value"]


# ---------------------------------------------------------------- 12

def audited(over="forget", stop="full", low=49.0, gap=None, **accuracy):
    """The attack's accuracy on methods, the second Retrain at 50 % with an interval to 51 %, and average gaps."""
    values = {"Retrain name=again": 50.0, **accuracy}
    parts = [made({"attack_acc": {f"{name}{';' if ' ' in name else ' '}over={over}": v for name, v in values.items()}},
                  stop=stop)]
    for bound, value in (("low", low), ("high", 51.0)):
        parts.append(made({"attack_acc": {f"Retrain name=again;over={over};bound={bound}": value}}, stop=stop))
    return both(*parts, *([made({"avg_gap": gap}, stop=stop)] if gap else []))


case("12", "A01", audited(NoT=52.0, FT=60.0, Original=50.0), audited(NoT=50.9, FT=60.0, Original=70.0))
case("12", "A02", *(audited(NoT=60.0, FT=55.0, PGD=70.0, gap={"NoT": v, "FT": 2.0, "PGD": 3.0}) for v in (1.0, 2.5)))
case("12", "A03", *(made({"attack_acc": {"NoT over=forget": v, "Retrain name=again;over=forget": 60.0}}, stop="half")
                    for v in (55.0, 65.0)))
case("12", "A04", *(both(audited(FT=60.0), audited("memorised", FT=v)) for v in (70.0, 59.0)))
case("12", "A05", audited("retain", NoT=52.0), audited("retain", NoT=50.9))
case("12", "A06", audited("test", NoT=50.9, FT=40.0), audited("test", NoT=52.0, FT=50.0))


def test_an_audit_whose_floor_leaves_out_guessing_says_nothing():
    row = judged("A01", {"df": audited(low=50.5, NoT=52.0)})
    assert row["verdict"] == "not testable at this scale" and "second Retrain" in row["value"]


# ---------------------------------------------------------------- 13

def happened(then, metric, values, round=0, **words):
    """One metric of one part, {name: value}; `again` is the second Retrain."""
    said = ";".join(f"{k}={v}" for k, v in {**words, "then": then}.items())
    names = {("Retrain name=again;" if name == "again" else f"{name} ") + said: v for name, v in values.items()}
    return made({metric: names}, stop="last" if then in ("in_few_bits", "negated_again", "who_left") else "curve",
                round=round)


def over_rounds(then, metric, first, last, **words):
    return both(happened(then, metric, first, 0, **words), happened(then, metric, last, 4, **words))


def known_again(rounds):
    """Relearning from all 9 images, round by round; the original knows 100 %. rounds: {name: when it does}."""
    parts = [happened("relearnt", "forget_acc", {"Original": 100.0}, 0, images=9)]
    for r in range(1, 6):
        parts.append(happened("relearnt", "forget_acc", {n: 99.5 if r >= at else 50.0 for n, at in rounds.items()}, r, images=9))
    return both(*parts)


def suspected(by, metric, when="end", seed=0, **values):
    return happened("who_left", metric, values, when=when, by=by).assign(seed=seed)


def steps(value):
    return both(*(suspected(by, "leaver_auc", "start", seed, NoT=value)
                  for by in ("loss", "gradient", "first") for seed in range(3)))


def in_turn(metric, *requests, **words):
    return both(*(happened("in_turn", metric, values, r, **words) for r, values in enumerate(requests, 1)))


START = {"Retrain": 40.0, "again": 41.0, "NoT": 42.0, "FT": 60.0}
for id, then, words in (("A07", "further", {}), ("A09", "relearnt", {"images": 3})):
    metric = "forget_acc" if id == "A07" else "others_acc"
    case("13", id, *(over_rounds(then, metric, START, {"Retrain": 45.0, "again": 47.0, "NoT": 46.0 + v, "FT": 60.0}, **words)
                     for v in (2.0, 3.0)))
case("13", "A08", *(over_rounds("further", "avg_gap", {"NoT": 3.0, "FT": 5.0}, {"NoT": v, "FT": 4.0}) for v in (2.0, 3.5)))
case("13", "A10", *(known_again({"Retrain": 3, "again": 4, "NoT": v, "FT": 5}) for v in (3, 2)))
case("13", "A11", *(both(happened("in_few_bits", "forget_acc", START, bits=32),
                         happened("in_few_bits", "forget_acc", START | {"again": 42.0, "NoT": 43.0 + v}, bits=4)) for v in (0, 1)))
case("13", "A12", *(both(happened("negated_again", "forget_acc", {"Retrain": 1.0, "again": 2.0, "NoT": v}),
                         happened("negated_again", "test_acc", {"Retrain": 1.0, "again": 1.0, "NoT": 1.0})) for v in (2.0, 3.0)))
case("13", "A13", steps(0.6), steps(0.8))
case("13", "A14", *(suspected("loss", "leaver_first", Retrain=100.0, again=100.0, NoT=v, Original=0.0) for v in (100.0, 0.0)))
case("13", "A15", *(in_turn("avg_gap", {"NoT": 2.0}, {"NoT": v}) for v in (3.0, 1.0)))
case("13", "A16", *(in_turn("forget_acc", {"NoT": 42.0, "Retrain": 40.0}, {"NoT": v, "Retrain": 50.0}) for v in (53.0, 51.0)))
case("13", "A17", *(both(in_turn("avg_gap", {"NoT": 2.0, "again": 1.0, "Retrain": 0.0}, {"NoT": v, "again": 1.0}),
                         in_turn("avg_gap", {"again": 3.0}, {"again": 3.0}, stopped="early")) for v in (3.0, 5.0)))


def test_a_step_is_judged_over_several_seeds():
    few = steps(0.5)
    row = judged("A13", {"df": few[few["seed"] < 2]})
    assert row["verdict"] == "not testable at this scale" and "3 seeds" in row["value"]


NAMES = [(f.notebook, f.name) for f in CLAIMS.values()]


@pytest.mark.parametrize("notebook, name", NAMES)
def test_a_claim_holds(notebook, name):
    row = judged(name, CASES[notebook, name][0])
    assert row["verdict"] == "holds in every seed", row["value"]
    assert "nan" not in row["value"]


@pytest.mark.parametrize("notebook, name", NAMES)
def test_a_claim_fails(notebook, name):
    row = judged(name, CASES[notebook, name][1])
    assert row["verdict"] == "fails in every seed", row["value"]


@pytest.mark.parametrize("f", list(CLAIMS.values()), ids=lambda f: f.name)
def test_a_claim_says_its_sentence_and_its_test(f):
    assert f.text and f.text == claim_texts()["claim"].get(f.id, f.text)
    assert f.id in claim_texts().index or f.id[0] in "AB"      # our own: of notebooks 12, 13 and 10
    assert "Test: " in " ".join(inspect.getdoc(f).split())


@pytest.mark.parametrize("notebook", sorted({notebook for notebook, _ in NAMES}))
def test_what_is_not_in_the_tables_is_not_testable(notebook):
    empty = {"df": made({}), "settings": {"a": {}}, "classes": {}, "convs": []}
    empty |= {name: made({}) for name in ("named", "followed", "study", "sweep")}
    taken = {p for f in CLAIMS.values() if f.notebook == notebook for p in inspect.signature(f).parameters}
    table = judge(empty.pop("df"), notebook, **{k: v for k, v in empty.items() if k in taken})
    assert set(table["verdict"]) == {"not testable at this scale"}
    assert table["value"].str.startswith("needs ").all(), table["value"].tolist()


def test_one_missing_method_takes_only_its_claims_away():
    values = {"mia": {"Retrain": 50.0, "NoT": 51.0}, "forget_acc": {"Retrain": 70.0, "NoT": 70.0}}
    table = judge(made(values), "02", classes={"a": 10}).set_index("id")
    assert table.loc["N09", "value"] == "needs FT"
    assert table.loc["N12", "value"] == "needs Retrain name=again"
    assert (table.loc["N01", "n"] == 0).all()


# ---------------------------------------------------------------- claims of one's own

@pytest.fixture
def own():
    before = dict(CLAIMS)
    yield
    CLAIMS.clear()
    CLAIMS.update(before)


def test_a_claim_of_ones_own_appears_in_the_table_and_in_the_ledger(own, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))

    @lib.claim("A1", notebook="02", text="Fine-tuning ends within a point of Retrain.")
    def near(df):
        gap = lib.by_seed(df, "avg_gap")["FT"]
        return f"gap {gap.mean():.1f}", gap < 1

    table = lib.judge(gaps(NoT=1, FT=0.5), "02", classes={"a": 10})
    row = table.set_index("id").loc["A1"]
    assert row["text"] == "Fine-tuning ends within a point of Retrain." and row["value"] == "gap 0.5"
    assert row["verdict"] == "holds in every seed"
    lib.save_claims("quick", "02", table)
    merged = lib.merge_claims(folder("quick")).set_index("id")
    assert merged.loc["A1", "verdict"] == "holds in every seed" and len(merged) == 75
    assert "Fine-tuning ends" in lib.show_claims(table).to_html()


def test_a_docstring_is_a_sentence_too(own):
    @lib.claim("A2", notebook="02")
    def near(df):
        """Nothing is
        tested.

        Test: none.
        """
        return "", [None]
    assert judge(gaps(NoT=1, FT=2), "02", classes={}).set_index("id").loc["A2", "text"] == "Nothing is tested."


def test_bad_claims_are_refused(own):
    def test(df):
        return "", []
    with pytest.raises(Bad, match="'N99'.*text="):
        claims.claim("N99", notebook="02")(test)
    with pytest.raises(Bad, match="choose another"):
        claims.claim("N01", notebook="02")(test)
    with pytest.raises(Bad, match="'nmaed'; nearest table: named"):
        judge(made({}), "04", nmaed=1)


@pytest.mark.parametrize("holds, verdict, n, yes", [
    ([True, True], "holds in every seed", 2, 2), ([False, False], "fails in every seed", 2, 0),
    ([True, False, None], "mixed", 2, 1), ([None, None], "not testable at this scale", 0, 0),
    ([np.bool_(True), None], "holds in every seed", 1, 1)])
def test_verdicts(own, holds, verdict, n, yes):
    claims.claim("A3", notebook="one", text="A sentence.")(lambda df: ("1.0", holds))
    row = judge(made({}), "one").iloc[0]
    assert (row["verdict"], row["n"], row["n_holds"]) == (verdict, n, yes)


def test_claims_are_all_there():
    assert list(claim_texts().index) == [f"N{i:02}" for i in range(1, 51)] + [f"T{i:02}" for i in range(1, 21)]


def test_claims_saved_and_merged(own, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    lib.save_claims("quick", "02", judge(gaps(NoT=1, FT=2), "02", classes={"a": 10}))
    path = folder("quick") / "02.claims.csv"
    assert path.read_text().splitlines()[0] == "id,place,text,value,n,n_holds,verdict"
    merged = claims.merge_claims(path.parent)
    assert merged["id"].drop_duplicates().tolist() == list(claim_texts().index)
    assert len(merged) == 74                        # N01 and N11 stand at three stops each
    merged = merged[~merged["place"].str.contains(",")]
    assert merged.set_index("id").loc[["N01", "N09", "T01"], "verdict"].tolist() == [
        "holds in every seed", "not testable at this scale", "not yet"]
    assert merged.set_index("id").loc["N01", "notebook"] == "02"
    with pytest.raises(Bad, match="one row for each"):
        twice = judge(gaps(NoT=1, FT=2), "02", classes={"a": 10})
        lib.save_claims("quick", "02", pd.concat([twice, twice]))
