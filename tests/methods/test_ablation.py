"""Perturbations change what they name and nothing else; NR-Freeze keeps the negated layer."""
from itertools import islice

import pytest
import torch
from conftest import same, tiny

import lib
from lib.errors import Bad
from lib.methods.trained import Trained
from lib.methods.ablation import choose
from lib.runs.run import run_key

VIT = dict(model="small_vit", patch=4, dim=8, depth=2, heads=2)
QUERIES = "encoder.layers.encoder_layer_1.self_attention.in_proj_weight"


@pytest.fixture
def trained(task):
    state = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), 2))[-1].state
    return Trained(task.init("train"), state, None, [])


def stream(task, trained, name, n=1, **hp):
    return list(islice(lib.unlearn(task, trained, name, **hp), n))


def changed(task, trained, **hp):
    now = stream(task, trained, "Perturb", **hp)[0].state
    return now, {k for k in now if not torch.equal(now[k], trained.state[k])}


def test_negation_is_not_and_no_change_is_fine_tuning(task, trained):
    for kind, name in (("negate", "NoT"), ("none", "FT")):
        a, b = stream(task, trained, "Perturb", 3, kind=kind), stream(task, trained, name, 3)
        assert all(same(x.state, y.state) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("kind", sorted(set(lib.PERTURBATIONS) - {"none"}))
def test_a_perturbation_touches_only_the_chosen_tensor(task, trained, kind):
    now, names = changed(task, trained, kind=kind, layers=[4])
    assert names == {"3.weight"} and now["3.weight"].shape == trained.state["3.weight"].shape


@pytest.mark.parametrize("kind", ["negate", "flip_h", "flip_v", "rot90", "rot180"])
def test_sign_flips_and_rotations_keep_every_entry(task, trained, kind):
    w, now = trained.state["0.weight"], changed(task, trained, kind=kind)[0]["0.weight"]
    assert torch.equal(now.abs().flatten().sort().values, w.abs().flatten().sort().values)
    assert now.norm() == pytest.approx(float(w.norm()))


def test_kernels_turn_the_way_their_names_say():
    w = torch.arange(9.0).view(1, 1, 3, 3)
    turned = {k: lib.PERTURBATIONS[k](w)[0, 0] for k in ("flip_h", "flip_v", "rot90", "rot180")}
    assert turned["flip_h"][0].tolist() == [2, 1, 0] and turned["flip_v"][0].tolist() == [6, 7, 8]
    assert turned["rot90"][0].tolist() == [2, 5, 8] and turned["rot180"][0].tolist() == [8, 7, 6]


def test_noise_grows_with_strength_and_is_in_units_of_the_tensors_spread(task, trained):
    name, w = "3.weight", trained.state["3.weight"]
    moved = [float((changed(task, trained, kind="noise", layers=[name], strength=s)[0][name] - w).std() / w.std())
             for s in (0.5, 2.0)]
    assert moved[1] == pytest.approx(4 * moved[0]) and moved[0] == pytest.approx(0.5, rel=0.25)


def test_reinitialised_tensors_are_neither_the_first_initialisation_nor_retrains(task, trained):
    now = changed(task, trained, kind="reinit")[0]["0.weight"]
    assert all(not torch.equal(now, task.init(n)["0.weight"]) for n in ("train", "retrain", "frozen"))


def test_rows_of_the_queries_alone():
    task = tiny(**VIT)
    state = task.init("train")
    now, names = changed(task, Trained(state, state, None, []), layers=[f"{QUERIES}[:8]"])
    assert names == {QUERIES} and torch.equal(now[QUERIES][:8], -state[QUERIES][:8])
    assert torch.equal(now[QUERIES][8:], state[QUERIES][8:])
    patch = changed(task, Trained(state, state, None, []))[1]
    assert patch == {"conv_proj.weight"}


def test_a_given_state_is_never_changed(task, trained):
    before = {k: v.clone() for k, v in trained.state.items()}
    for kind in lib.PERTURBATIONS:
        changed(task, trained, kind=kind)
    assert same(before, trained.state)


def still(a, b):
    # a mean of equal numbers rounds; nothing else may move them
    return torch.allclose(a, b, rtol=1e-14, atol=0)


def test_the_frozen_layer_stays_negated_and_all_else_is_fresh(task, trained):
    now = stream(task, trained, "NR-Freeze", 3)
    assert torch.equal(now[0].state["0.weight"], -trained.state["0.weight"])
    assert all(still(r.state["0.weight"], -trained.state["0.weight"]) for r in now)
    fresh = task.init("retrain")
    assert all(torch.equal(now[0].state[k], fresh[k]) for k in fresh if k != "0.weight")
    weights = [k for k in fresh if k.endswith("weight") and k != "0.weight"]
    assert all(not torch.equal(now[2].state[k], now[0].state[k]) for k in weights)


def test_the_control_freezes_a_layer_that_was_never_trained(task, trained):
    one, two = (stream(task, trained, "NR-Freeze", 2, source=s)[-1].state["0.weight"] for s in ("random", "trained"))
    assert still(one, -task.init("frozen")["0.weight"]) and not torch.allclose(one, two)
    assert still(stream(task, trained, "NR-Freeze", 2, sign=1.0)[-1].state["0.weight"], trained.state["0.weight"])


def test_freezing_nothing_is_retrain(task, trained):
    a, b = stream(task, trained, "NR-Freeze", 3, layers=[]), stream(task, trained, "Retrain", 3)
    assert all(same(x.state, y.state) for x, y in zip(a, b, strict=True))


def test_a_reader_adds_a_perturbation_in_a_line_and_editing_it_is_another_result(task, trained):
    lib.PERTURBATIONS["half"] = lambda w: w / 2
    try:
        now, names = changed(task, trained, kind="half")
        assert names == {"0.weight"} and torch.equal(now["0.weight"], trained.state["0.weight"] / 2)
        first = run_key(task, "Perturb", {"kind": "half"}, 2, 1)
        lib.PERTURBATIONS["half"] = lambda w: w / 4
        assert first != run_key(task, "Perturb", {"kind": "half"}, 2, 1)
    finally:
        del lib.PERTURBATIONS["half"]


def test_wrong_names_are_one_sentence(task, trained):
    with pytest.raises(Bad, match="negate"):
        stream(task, trained, "Perturb", kind="negat")
    with pytest.raises(Bad, match="3.weight"):
        stream(task, trained, "Perturb", layers=["3.weigt"])
    with pytest.raises(Bad, match="rot90 cannot change 0.bias"):
        stream(task, trained, "Perturb", kind="rot90", layers=["0.bias"])
    with pytest.raises(Bad, match="source"):
        stream(task, trained, "NR-Freeze", source="trian")
    assert choose(task.model, [0, "3.bias"]) == {"0.weight": slice(None), "3.bias": slice(None)}
