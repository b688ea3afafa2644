"""Retrain, FT and NoT, and how a method becomes a stream of rounds."""
from itertools import islice

import pytest
import torch
from conftest import TINY, keeping_all, same, tiny

import lib
from lib.errors import Bad
from lib.methods.trained import Trained


@pytest.fixture
def trained(task):
    state = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), 3))[-1].state
    return Trained(task.init("train"), state, None, [])


def stream(task, trained, name, n=1, **hp):
    return list(islice(lib.unlearn(task, trained, name, **hp), n))


def test_negating_twice_is_the_identity(task, trained):
    once = stream(task, trained, "NoT")[0].state
    twice = stream(task, Trained(trained.init, once, None, []), "NoT")[0].state
    assert same(twice, trained.state) and not same(once, trained.state)


def test_negation_touches_only_the_first_convolutions_weight(task, trained):
    now = stream(task, trained, "NoT")[0].state
    changed = [k for k in now if not torch.equal(now[k], trained.state[k])]
    assert changed == ["0.weight"] and torch.equal(now["0.weight"], -trained.state["0.weight"])


@pytest.mark.parametrize("layers,names", [((0, 1), {"0.weight", "0.bias"}), ((4,), {"3.weight"}), ((), set())])
def test_negation_counts_parameters(task, trained, layers, names):
    now = stream(task, trained, "NoT", layers=layers)[0].state
    assert {k for k in now if not torch.equal(now[k], trained.state[k])} == names


def test_nothing_negated_is_fine_tuning(task, trained):
    a, b = (stream(task, trained, *m) for m in (("NoT", 3), ("FT", 3)))
    c = stream(task, trained, "NoT", 3, layers=())
    assert same(c[-1].state, b[-1].state) and not same(a[-1].state, b[-1].state)


def test_negating_convolution_and_norm_scale_cancels(task, trained):
    # the first norm's scale is parameter 2; its shift is not negated, and the sign passes through GroupNorm
    x = task.inputs(task.x[:5])
    now = stream(task, trained, "NoT", layers=(0, 1, 2))[0].state
    before = task.load(trained.state)(x)
    assert torch.allclose(task.load(now)(x), before, atol=1e-12)
    assert not torch.allclose(task.load(stream(task, trained, "NoT", layers=(0, 1))[0].state)(x), before, atol=1e-3)


def test_negating_weight_and_bias_equals_negating_the_norms_scale(task, trained):
    x = task.inputs(task.x[:5])
    a = task.load(stream(task, trained, "NoT", layers=(0, 1))[0].state)(x)
    b = task.load(stream(task, trained, "NoT", layers=(2,))[0].state)(x)
    assert torch.allclose(a, b, atol=1e-12)


def test_conv_and_batch_norm_cancel_in_eval_mode_with_the_running_mean():
    task = tiny(model="resnet18", width=8, size=16, channels=3, n_train=80)
    state = next(lib.fedavg(task, "full", task.init("a"), phase="train")).state
    x, flip = task.inputs(task.x[:3]), ("conv1.weight", "bn1.weight", "bn1.running_mean")
    before = task.load(state)(x)
    after = task.load({k: -v if k in flip else v for k, v in state.items()})(x)
    assert torch.allclose(before, after, atol=1e-10)


def test_fine_tuning_starts_at_the_trained_state_for_nothing(task, trained):
    first = stream(task, trained, "FT")[0]
    assert same(first.state, trained.state) and first.cost == lib.Cost()


def test_not_costs_what_fine_tuning_costs(task, trained):
    a, b = (sum((r.cost._replace(seconds=0) for r in stream(task, trained, m, 3)), lib.Cost()) for m in ("NoT", "FT"))
    assert a == b and a.bytes == 2 * 2 * 3 * 4 * task.parameters


def test_retrain_starts_afresh(task, trained):
    now = stream(task, trained, "Retrain")[0].state
    assert not same(now, trained.init) and not same(now, trained.state)


def test_retrain_with_nothing_to_forget_repeats_training_bit_for_bit():
    task = keeping_all(tiny(forget="share", forget_share=0.1))
    state = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), 3))[-1].state
    again = list(islice(lib.unlearn(task, None, "Retrain", **{"name": "train"}), 4))[-1].state
    assert same(state, again)


def test_recovery_is_paired_between_methods(task, trained):
    # the same clients see the same minibatches in the same order, whatever the method
    orders = []
    for name in ("FT", "NoT"):
        seen = []
        work = lib.unlearn(task, trained, name)
        next(work)
        original = task.rng
        object.__setattr__(task, "rng", lambda *n, original=original, seen=seen: seen.append(n) or original(*n))
        next(work)
        object.__delattr__(task, "rng")
        orders.append(seen)
    assert orders[0] == orders[1] == [("recover", 1, k) for k in (1, 2, 3)]


def test_every_recovery_round_is_a_checkpoint(task, trained):
    whole = stream(task, trained, "NoT", 5)
    rest = list(islice(lib.recover(task, whole[2]), 2))
    assert same(whole[4].state, rest[-1].state) and whole[2].then.round == 2


def test_unknown_names_are_one_sentence_with_the_nearest(task, trained):
    with pytest.raises(Bad, match="NoT"):
        stream(task, trained, "NOT")
    with pytest.raises(Bad, match="layers"):
        stream(task, trained, "NoT", layer=(0,))
    with pytest.raises(Bad, match="needs"):
        lib.method("x", needs=("money",))


def test_what_ends_by_itself_and_what_recovers():
    ends = {"Original", "SSD", "FedEraser", "TIS-Reset", "Random-Reset"}
    ours = {name for name, f in lib.METHODS.items() if f.__module__.startswith("lib.")}
    assert {name for name in ours if not lib.METHODS[name].recovery} == ends and len(ours) > 15


def test_a_reader_adds_a_method_in_a_cell(task, trained):
    @lib.method("Halve")
    def halve(task, trained, *, by=0.5):
        yield lib.Round({k: v * by for k, v in trained.state.items()})
    try:
        now = stream(task, trained, "Halve", 2)
        assert torch.equal(now[0].state["0.bias"], trained.state["0.bias"] * 0.5) and len(now) == 2
    finally:
        del lib.METHODS["Halve"]


def test_what_can_work_is_not_refused():
    hp = {"Retrain/again": {"name": "again"}, "NoT/none": {"layers": []}, "NoT/last": {"layers": [-1]}, "FCU": {},
          "FedEraser": {}, "FUKD": {}, "PGD": {}, "MoDE": {}, "Perturb/rows": {"layers": ["0.weight[0:2]"]},
          "NR-Freeze": {}, "TIS-Reset/init": {"reset": "init"}}
    [task] = lib.tasks({"s": {**TINY, "history": "all", "methods": hp}}, [0])
    assert task.settings["methods"] == hp
