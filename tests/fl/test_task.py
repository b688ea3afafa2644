"""Who holds, keeps and forgets what; named randomness; fresh initialisations."""
from dataclasses import replace

import pytest
import torch
from conftest import same, tiny

import lib
from lib.errors import Bad


def test_splits_are_disjoint_and_complete(task):
    parts = [i for c in task.clients for i in (*c.retain.tolist(), *c.forget.tolist(), *c.val.tolist())]
    assert sorted(parts) == list(range(len(task.x)))
    assert [len(c.val) for c in task.clients] == [10] * 4


def test_one_split_for_all_repetitions():
    """Data, clients and what is forgotten are those of the split's seed, the rest is the run's."""
    split = dict(forget="share", forget_share=0.5, split_seed=3)
    one, other, own = tiny(0, **split), tiny(1, **split), tiny(3, forget="share", forget_share=0.5)
    for task in (one, other):
        assert torch.equal(task.x, own.x)
        assert all(torch.equal(*pair) for k in range(4) for pair in zip(task.clients[k], own.clients[k]))
    assert not same(one.init("train"), other.init("train"))
    assert not torch.equal(tiny(0).x, tiny(1).x)


def test_client_wise(task):
    assert task.targets == (0,) and len(task.clients[0].retain) == 0
    assert [j.client for j in task.jobs("retain")] == [1, 2, 3]
    assert [j.client for j in task.jobs("forget")] == [0]


def test_class_wise():
    task = tiny(forget="class", forget_class=3)
    assert (task.y[task.indices("forget")] == 3).all() and (task.y[task.indices("retain")] != 3).all()
    assert len(task.targets) == 4 and len(task.jobs("retain")) == 4


def test_instance_wise():
    task = tiny(forget="share", forget_share=0.25)
    assert [len(c.forget) for c in task.clients] == [10] * 4


def test_a_late_client_is_left_out_until_it_joins():
    task = tiny(joins={0: 5}, rounds=5)
    assert [j.client for j in task.jobs("full", 4)] == [1, 2, 3]
    assert [j.client for j in task.jobs("full", 5)] == [0, 1, 2, 3]
    assert [j.client for j in task.jobs("full")] == [0, 1, 2, 3]


def test_union_is_one_client_over_everything():
    task = tiny(training="union")
    job, = task.jobs("full")
    assert len(job.indices) == 160 and len(task.clients) == 4


def test_everything_is_a_function_of_the_seed(task):
    again, other = tiny(), tiny(seed=1)
    assert same(task.init("a"), again.init("a")) and not same(task.init("a"), task.init("b"))
    assert not same(task.init("a"), other.init("a"))
    assert task.fingerprint("full") == again.fingerprint("full") != other.fingerprint("full")


def test_initialising_and_building_leave_the_global_generator_alone(task):
    torch.manual_seed(3)
    a = torch.rand(3)
    torch.manual_seed(3)
    task.init("x")
    task.model  # noqa: B018
    assert torch.equal(a, torch.rand(3))


def test_the_fingerprint_sees_data_split_net_and_recipe(task):
    prints = [str(t.fingerprint("full", "retain")) for t in (
        task, tiny(n_train=204), tiny(targets=[1]), tiny(width=8), tiny(lr=0.1), tiny(noise=0.5),
        tiny(dtype="float32"))]
    assert len(set(prints)) == len(prints)
    assert task.fingerprint("full") == tiny(targets=[1]).fingerprint("full")  # one training


def test_validation_in_place_of_the_test_set(task):
    val = task.on_validation()
    assert torch.equal(val.x_test, task.x[task.indices("val")]) and len(val.y_test) == 40


def test_impossible_requests_are_one_sentence():
    with pytest.raises(Bad, match="targets"):
        tiny(targets=[7])
    with pytest.raises(Bad, match="forget_class"):
        tiny(forget="class", forget_class=12)


@pytest.mark.parametrize("model,more", [
    ("small_cnn", {}), ("small_cnn", {"norm": "none", "activation": "tanh"}), ("cnn", {"width": 4}), ("tis_cnn", {}),
    ("resnet18", {"width": 8, "size": 32}), ("resnet18_3x3", {"width": 8, "channels": 3}),
    ("small_vit", {"patch": 2, "dim": 8, "depth": 2, "heads": 2})])
def test_every_net_trains_a_step(model, more):
    task = tiny(model=model, **{"width": 8, **more})
    now = next(lib.fedavg(task, "full", task.init("a"), phase="train"))
    assert all(v.isfinite().all() for v in now.state.values())
    assert now.state.keys() == task.build().state_dict().keys()


def test_parameter_counts_of_the_papers_nets():
    def count(**s):
        s = {"width": 32, "norm": "group", "activation": "relu", **s}
        with torch.device("meta"):
            return sum(p.numel() for p in lib.build(s, *s["shape"]).parameters())
    assert count(model="cnn", shape=(3, 10, 32)) == 94_858
    assert count(model="resnet18", width=64, shape=(3, 10, 64)) == 11_181_642
    assert count(model="vit_b16", shape=(3, 101, 224)) == 85_876_325
    assert count(model="small_cnn", shape=(1, 10, 8)) == 21_578


def test_first_layer_is_the_first_convolution_also_in_a_vit():
    vit = tiny(model="small_vit", patch=2, dim=8, depth=1, heads=2)
    assert lib.first_layer(tiny().model) == 0 and lib.first_layer(vit.model) == 1
    assert list(dict(vit.model.named_parameters()))[1] == "conv_proj.weight"


def test_pooling_before_the_activation_changes_nothing(task):
    net = lib.build({"model": "cnn", "width": 4, "norm": "group", "activation": "relu"}, 1, 10, 8).double()
    a, b = torch.rand(5, 1, 8, 8, dtype=torch.float64), list(net)
    swapped = torch.nn.Sequential(*(b[:2] + [b[3], b[2]] + b[4:6] + [b[7], b[6]] + b[8:]))
    assert torch.equal(net(a), swapped(a))


def test_features_are_the_input_of_the_head(task):
    net = task.load(task.init("a"))
    logits, z = lib.features(net, task.inputs(task.x[:4]))
    assert torch.allclose(net[-1](z), logits)


@pytest.mark.parametrize("net, wanted", [(dict(model="small_cnn", width=4), 512),      # 64 numbers
                                         (dict(model="small_cnn", width=32, size=32), 256),      # 8,192
                                         (dict(model="cnn", width=32, size=32), 64),             # 32,768
                                         (dict(model="cnn", width=64, size=96), 32)])            # 589,824
def test_as_many_images_are_evaluated_at_once_as_stay_in_the_cache(net, wanted):
    task = tiny(**net, n_train=20, n_test=10)
    assert task.at_once == wanted


@pytest.mark.parametrize("net, wanted", [(dict(model="small_cnn", width=4), 8192),
                                         (dict(model="cnn", width=32, size=32), 8192),
                                         (dict(model="cnn", width=64, size=96), 256)])
def test_as_many_images_are_evaluated_at_once_as_fill_a_gpu(net, wanted):
    task = replace(tiny(**net, n_train=20, n_test=10), device=torch.device("cuda"))
    assert task.at_once == wanted


def test_logits_do_not_depend_on_how_many_are_evaluated_at_once():
    task = tiny(model="cnn", width=4, size=16, dtype="float32")
    state = task.init("a")
    few, many = (lib.predict(task, state, images=task.x_test, batch=batch) for batch in (64, 512))
    assert torch.equal(few, many) and torch.equal(many, lib.predict(task, state, images=task.x_test))


def test_images_and_net_have_the_layout_of_the_net():
    vit = tiny(model="small_vit", patch=4, dim=8, depth=1, heads=2, channels=3)
    cnn = tiny(channels=3)
    assert cnn.inputs(cnn.x[:2]).is_contiguous(memory_format=torch.channels_last)
    assert vit.inputs(vit.x[:2]).is_contiguous() and vit.model.conv_proj.weight.is_contiguous()


def test_a_layout_that_there_is_not_is_refused():
    with pytest.raises(lib.Bad, match="layout 'rows' is not known"):
        lib.model("mine", layout="rows")
