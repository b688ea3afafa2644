"""Arithmetic in bfloat16: what is rounded, what stays float32, and what is refused."""
from itertools import islice

import pytest
import torch
from conftest import same, tiny
from torch import nn
from torch.nn.functional import cross_entropy

import lib
from lib.errors import Bad
from lib.fl.models import features
from lib.fl.precision import Bfloat16
from lib.fl.rounds import worker
from lib.registry import MODELS


def trained(task, rounds=2):
    stream = lib.fedavg(task, "full", task.init("train"), phase="train")
    return list(islice(stream, rounds))[-1].state


def test_products_are_rounded_and_all_that_is_kept_is_float32():
    task = tiny(dtype="bfloat16", momentum=0.9)
    seen = []
    task.model[0].register_forward_hook(lambda layer, inputs, output: seen.append(output.dtype))
    state = trained(task)
    assert set(seen) == {torch.bfloat16}
    assert {v.dtype for v in state.values()} == {torch.float32}
    assert {v.dtype for v in worker(task, task.recipe).buffers().values()} == {torch.float32}
    assert lib.predict(task, state, images=task.x_test).dtype == torch.float32


def test_a_loss_gets_float32_logits_and_the_nets_own_names():
    task = tiny(dtype="bfloat16")
    seen = []

    def loss(model, x, y):
        logits = model(x)
        seen.append((logits.dtype, list(dict(model.named_parameters()))))
        return logits.square().mean()

    list(islice(lib.fedavg(task, "full", task.init("train"), phase="train", loss=loss), 1))
    assert all(found == (torch.float32, list(dict(task.model.named_parameters()))) for found in seen)


def test_it_is_near_float32_and_not_the_same():
    rounded, exact = trained(tiny(dtype="bfloat16")), trained(tiny(dtype="float32"))
    assert not same(rounded, exact)
    assert all(torch.allclose(rounded[k], exact[k], atol=0.02) for k in exact)


def test_evaluation_is_rounded_and_a_loaded_net_is_not():
    rounded, exact = tiny(dtype="bfloat16"), tiny(dtype="float32")
    state, x = exact.init("train"), exact.x_test
    assert torch.equal(rounded.load(state)(rounded.inputs(x)), exact.load(state)(exact.inputs(x)))
    assert not torch.equal(lib.predict(rounded, state, images=x), lib.predict(exact, state, images=x))


def test_curvature_is_the_one_of_float32():
    from lib.methods.tis import compute_curvature

    rounded, exact = tiny(dtype="bfloat16"), tiny(dtype="float32")
    state = exact.init("train")
    for group in ("all", "forget"):
        assert same(compute_curvature(rounded, state)[0][group], compute_curvature(exact, state)[0][group])


def test_a_teacher_is_rounded_too_and_takes_a_new_state():
    task = tiny(dtype="bfloat16")
    a, b = task.init("a"), task.init("b")
    teacher = task.frozen(a)
    assert isinstance(teacher, Bfloat16) and not any(p.requires_grad for p in teacher.parameters())
    teacher.load_state_dict(b)
    x = task.inputs(task.x[:4])
    assert torch.equal(teacher(x), task.frozen(b)(x))


def test_features_are_float32():
    task = tiny(dtype="bfloat16")
    logits, z = features(task.in_dtype(task.load(task.init("a"))), task.inputs(task.x[:4]))
    assert logits.dtype == z.dtype == torch.float32


def test_the_key_says_so_and_other_keys_have_not_moved():
    prints = [tiny(dtype=dtype).fingerprint("full") for dtype in ("float32", "float64", "bfloat16")]
    assert [found["dtype"] for found in prints] == ["torch.float32", "torch.float64", "torch.bfloat16"]


@pytest.mark.parametrize("method", ["NoT", "FUKD", "BadT", "FCU", "l1-sparse", "SSD", "MoDE"])
def test_methods_run_and_hand_out_float32(method, store):
    task = tiny(dtype="bfloat16", history="all")
    training = lib.train(task, store)
    for now in islice(lib.unlearn(task, training, method), 2):
        assert {v.dtype for v in now.state.values()} == {torch.float32}


def test_a_net_that_cannot_is_refused_in_one_sentence():
    @lib.model("only float32")
    def only_float32(channels, classes, size):
        class Summed(nn.Module):
            def __init__(self):
                super().__init__()
                self.head = nn.Linear(channels * size * size, classes)

            def forward(self, x):
                total = torch.zeros(len(x), classes, device=x.device)
                return total.index_add(0, torch.arange(len(x), device=x.device), self.head(x.flatten(1)))

        return Summed()

    try:
        with pytest.raises(Bad, match="dtype: bfloat16 fails for model only float32 .*set dtype: float32"):
            tiny(dtype="bfloat16", model="only float32")
    finally:
        del MODELS["only float32"]


RESNET = dict(model="resnet18", width=8, channels=3, dtype="bfloat16", n_train=100, n_test=100)


def test_a_stride_beyond_its_map_is_refused_on_a_cpu():
    """What torch makes of it depends on what stood in memory."""
    with pytest.raises(Bad, match="dtype: bfloat16: a convolution of stride 2 sees maps of 1 pixel"):
        tiny(**RESNET, size=16)
    assert not any(layer._forward_pre_hooks for layer in tiny(**RESNET, size=32).model.modules())


@pytest.mark.parametrize("net", [{**RESNET, "size": 32}, {"model": "cnn", "size": 16}, {"model": "tis_cnn", "size": 8},
                                 {"model": "small_cnn"}, {"model": "small_vit", "dim": 16, "depth": 2}],
                         ids=lambda net: net["model"])
def test_no_gradient_takes_from_memory_what_stood_there(net):
    task = tiny(**{**net, "dtype": "bfloat16"})
    x, y = task.inputs(task.x[:16]), task.y[:16]
    largest = []
    for model in (task.model, *[task.in_dtype(task.model)] * 3):
        task.model.load_state_dict(task.init("train"))
        task.model.train().zero_grad()
        for size in (10**3, 10**4, 10**5, 10**6):
            torch.full((size,), 1e30, dtype=torch.bfloat16), torch.full((size,), 1e30)      # written, and given back
        cross_entropy(model(x), y).backward()
        largest.append(max(float(p.grad.abs().max()) for p in task.model.parameters()))
    assert largest[1:] == pytest.approx([largest[1]] * 3, rel=1e-3)
    assert largest[1] == pytest.approx(largest[0], rel=0.5)
