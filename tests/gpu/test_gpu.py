"""What only a GPU can show: captured steps, draws that travel, bfloat16, and times that wait. Skipped without one."""
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import ALONE, same, tiny

import lib
from lib.fl.batches import images, minibatches
from lib.fl.rounds import clock, worker
from lib.metrics.evaluate import predict

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU with CUDA here")

AUGMENTED = {"size": 12, "input_size": 8, "crop": 1, "flip": True}
NETS = [{"model": "small_cnn"}, {"model": "cnn", "size": 16}, {"model": "resnet18", "width": 8, "size": 16, "channels": 3},
        {"model": "small_vit", "patch": 4, "dim": 16, "depth": 2, "heads": 2}]


def on_gpu(**changes):
    return tiny(**{"device": "cuda", "dtype": "float32", "momentum": 0.9, **changes})


def rounds(task, n, state=None, **kw):
    start = task.init("train") if state is None else state
    return list(islice(lib.fedavg(task, "full", start, phase="train", **kw), n))


def near(a, b, atol):
    return all(torch.allclose(a[k].double().cpu(), b[k].double().cpu(), rtol=0, atol=atol) for k in a)


@pytest.fixture(autouse=True)
def precision_as_before():
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


# -- the captured step --------------------------------------------------------------------------------------------

@pytest.mark.parametrize("net", NETS, ids=lambda net: net["model"])
@pytest.mark.parametrize("augmented", [{}, AUGMENTED], ids=["plain", "augmented"])
def test_a_captured_step_is_the_eager_one(net, augmented):
    settings = {**net, **(augmented if net["model"] == "small_cnn" else {}), "clients": 3, "n_train": 180}
    captured, eager = on_gpu(**settings, dtype="float64"), on_gpu(**settings, dtype="float64", cuda_graphs=False)
    a, b = (rounds(task, 3)[-1].state for task in (captured, eager))
    assert worker(captured, captured.recipe).graphs and not worker(eager, eager.recipe).graphs
    assert near(a, b, 1e-6)


@pytest.mark.parametrize("graphs", [True, False])
def test_training_on_a_gpu_is_training_on_a_cpu(graphs):
    settings = dict(dtype="float64", momentum=0.9, **AUGMENTED)
    gpu, cpu = tiny(device="cuda", cuda_graphs=graphs, **settings), tiny(**settings)
    assert near(rounds(gpu, 3)[-1].state, rounds(cpu, 3)[-1].state, 1e-8)


def test_a_kept_optimiser_lives_on_through_captured_steps():
    settings = dict(**ALONE, keep_optimizer=True, dtype="float64")
    captured, eager = on_gpu(**settings), on_gpu(**settings, cuda_graphs=False)
    assert near(rounds(captured, 4)[-1].state, rounds(eager, 4)[-1].state, 1e-8)


def test_two_recipes_share_a_pool_and_do_not_disturb_each_other():
    task, alone = on_gpu(dtype="float64"), on_gpu(dtype="float64")
    other = replace(task.recipe, batch_size=8, lr=0.01)
    a = rounds(task, 1)[0].state
    rounds(task, 1, recipe=other)
    b = rounds(task, 1, state=a, start=1)[0].state
    assert near(b, rounds(alone, 2)[-1].state, 1e-8)


# -- resuming -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("settings", [{}, AUGMENTED, {**ALONE, "keep_optimizer": True}], ids=["plain", "augmented", "kept"])
def test_resuming_is_going_straight_through(settings):
    """In a new task, which captures its steps anew."""
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = rounds(on_gpu(**settings), 5)
        part = rounds(on_gpu(**settings), 2)
        rest = rounds(on_gpu(**settings), 3, state=part[-1].state, start=2, extra=part[-1].extra)
    finally:
        torch.use_deterministic_algorithms(False)
    assert same(whole[-1].state, rest[-1].state)


# -- augmentation -------------------------------------------------------------------------------------------------

def test_images_made_on_the_device_are_those_made_on_the_host():
    settings = dict(dtype="float32", **AUGMENTED)
    gpu, cpu = tiny(device="cuda", **settings), tiny(**settings)
    job = cpu.jobs("full")[0]
    there, here = (minibatches(task, task.recipe, job, task.rng("a"), ahead=False) for task in (gpu, cpu))
    for a, b in zip(there, here, strict=True):
        assert a.plan.is_cuda and torch.equal(a.plan.cpu(), b.plan) and torch.equal(a.labels.cpu(), b.labels)
        assert torch.allclose(images(gpu, gpu.recipe, a.plan).cpu(), images(cpu, cpu.recipe, b.plan), atol=1e-6)


def test_images_resized_on_the_device_have_the_key_and_nearly_the_pixels_of_those_kept_resized(tmp_path):
    rng = np.random.default_rng(0)
    file = tmp_path / "photographs.npz"
    np.savez(file, x=rng.integers(0, 256, (200, 9, 12, 3), dtype=np.uint8), y=np.arange(200) % 10)
    settings = dict(dataset=str(file), size=16, n_train=None, n_test=None, dtype="float32")
    gpu, cpu = tiny(device="cuda", **settings), tiny(**settings)
    assert gpu.resize == 16 and gpu.x.shape[2:] == (9, 12)
    assert gpu.fingerprint("full") == cpu.fingerprint("full")
    moved = gpu.sized(gpu.x).cpu().int() - cpu.x.int()
    assert moved.abs().max() <= 1


# -- precision ----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("net", [net for net in NETS if net["model"] != "resnet18"], ids=lambda net: net["model"])
def test_bfloat16_stays_within_its_band(net):
    """After one round no weight is farther from where float32 takes it than a fifth of the largest step."""
    rounded, exact = on_gpu(**net, dtype="bfloat16"), on_gpu(**net)
    start = exact.init("train")
    a, b = (rounds(task, 1)[0].state for task in (rounded, exact))
    weights = [name for name, _ in exact.model.named_parameters()]
    assert {v.dtype for v in a.values() if v.is_floating_point()} == {torch.float32}
    far = max(float((a[k] - b[k]).abs().max()) for k in weights)
    step = max(float((b[k] - start[k]).abs().max()) for k in weights)
    assert 0 < far < 0.2 * step


@pytest.mark.parametrize("net", NETS, ids=lambda net: net["model"])
def test_a_step_in_bfloat16_goes_the_way_of_float32(net):
    """The cosine between the two first steps. A fresh ResNet turns it most: rounding its images alone moves the
    gradients of its first layers by a fifth."""
    exact = on_gpu(**net, n_train=120, clients=1, partition="iid", forget="share", forget_share=0.1, batch_size=120)
    rounded = replace(exact, settings={**exact.settings, "dtype": "bfloat16"})
    start = exact.init("train")
    weights = [name for name, _ in exact.model.named_parameters()]
    a, b = (torch.cat([(rounds(task, 1)[0].state[k] - start[k]).flatten() for k in weights]) for task in (rounded, exact))
    cosine = float(torch.nn.functional.cosine_similarity(a, b, dim=0))
    assert (0.9 if net["model"] == "resnet18" else 0.999) < cosine < 1


@pytest.mark.parametrize("net", NETS, ids=lambda net: net["model"])
def test_float32_is_not_rounded_unless_the_setting_says_so(net):
    """Logits in float32 beside those in float64: TF32 keeps ten bits of a factor, float32 twenty-three."""
    exact = on_gpu(**net, dtype="float64")
    start = rounds(exact, 1)[0].state       # a fresh ViT's logits are zeros
    wanted = predict(exact, start, images=exact.x_test)

    def off(**changes):
        task = on_gpu(**net, **changes)
        state = {k: v.to(task.dtype) if v.is_floating_point() else v for k, v in start.items()}
        found = predict(task, state, images=task.x_test)
        return float((found - wanted).norm() / wanted.norm())

    assert off() < 1e-5
    assert 1e-5 < off(matmul="high") < 1e-2


def test_a_captured_step_in_bfloat16_is_the_eager_one():
    captured, eager = on_gpu(dtype="bfloat16"), on_gpu(dtype="bfloat16", cuda_graphs=False)
    assert near(rounds(captured, 2)[-1].state, rounds(eager, 2)[-1].state, 1e-3)


# -- measuring ----------------------------------------------------------------------------------------------------

def test_a_clock_reads_when_the_device_is_done():
    task = on_gpu()
    x = torch.randn(4096, 4096, device="cuda")
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    for _ in range(20):
        x = x @ x / 64
    done.record()
    clock(task)
    assert done.query()


def test_attacks_on_the_device_are_those_on_the_host():
    from lib.metrics.evaluate import mia_of_many
    from lib.metrics.tis import attack_logistic, attack_nn

    gen = np.random.default_rng(0)
    members, others = gen.exponential(size=(3, 300)), gen.exponential(size=(3, 500)) + 0.2
    here, there = (mia_of_many(members, others, lib.generator("a"), device=device) for device in ("cpu", "cuda"))
    assert here == pytest.approx(there, abs=0.1)
    here, there = (attack_nn(members, others, device=device) for device in ("cpu", "cuda"))
    assert here == pytest.approx(there, abs=2)
    assert attack_logistic(members[0], others[0]) == pytest.approx(attack_logistic(members[0], others[0], "cuda"), abs=0.5)


def test_what_is_measured_on_the_device_is_what_is_measured_on_the_host():
    gpu, cpu = on_gpu(dtype="float64"), tiny(momentum=0.9)
    state = rounds(cpu, 2)[-1].state
    there = lib.evaluate(gpu, {k: v.to("cuda") for k, v in state.items()})
    assert there == pytest.approx(lib.evaluate(cpu, state), abs=0.5)
