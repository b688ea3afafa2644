"""The backdoor of both papers: who is poisoned, where the trigger lands, and what attack success measures."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import same, tiny
from torch import nn

import lib
from lib.errors import Bad
from lib.fl.batches import epoch, images
from lib.fl.engine import labelled
from lib.fl.rounds import one_round
from lib.methods.federated import guided
from lib.metrics.evaluate import backdoor_of_own
from lib.metrics.tis import headline

BOX = ((-2, -2), (-3, -3), (-2, -4), (-4, -2))


def poisoned(**changes):
    return tiny(**{"poison_label": 9, "poison_share": 1.0, "targets": [1], **changes})


def has_trigger(x, white):
    """Whether each image of a batch shows the trigger."""
    return torch.stack([(x[:, :, i, j] == white).all(1) for i, j in BOX], 1).all(1)


@pytest.mark.parametrize("channels,side", [(1, 8), (1, 28), (3, 32)])
def test_trigger_is_that_of_the_adversarial_robustness_toolbox(channels, side):
    art = pytest.importorskip("art.attacks.poisoning.perturbations", reason="pip install .[dev] brings the toolbox")
    x = np.random.default_rng(0).integers(0, 256, (5, side, side, channels), dtype=np.uint8)
    theirs = np.rint(255 * art.add_pattern_bd(x / 255, pixel_value=1)).astype(np.uint8)
    ours = lib.add_trigger(torch.from_numpy(x.transpose(0, 3, 1, 2))).permute(0, 2, 3, 1).numpy()
    assert (ours == theirs).all() and (ours != x).any()


@pytest.mark.parametrize("share", [0.8, 1.0])
def test_the_share_counts_images_of_other_labels(share):
    clean, task = tiny(targets=[1]), poisoned(poison_share=share)
    own = task.clients[1].forget
    able = own[clean.y[own] != 9]
    assert int(task.marked.sum()) == round(share * len(able)) < len(own)
    assert (task.y[task.marked] == 9).all() and (clean.y[task.marked] != 9).all()
    assert torch.equal(task.y[~task.marked], clean.y[~task.marked])
    assert set(task.marked.nonzero()[:, 0].tolist()) <= set(able.tolist())


def test_what_is_forgotten_is_the_targets_whole_training_set_with_its_poisoned_labels():
    clean, task = tiny(targets=[1]), poisoned(poison_share=0.8)
    (job,) = task.jobs("forget")
    assert torch.equal(job.indices, clean.jobs("forget")[0].indices) and job.labels is None
    assert 0 < int(task.marked[job.indices].sum()) < len(job.indices)


def test_only_the_targets_training_images_are_poisoned():
    clean, task = tiny(targets=[1], val_share=0.2), poisoned(val_share=0.2)
    assert not task.marked[task.indices("retain")].any() and not task.marked[task.indices("val")].any()
    for which in ("retain", "val"):
        idx = task.indices(which)
        a, b = next(task.batches(idx)), next(clean.batches(idx))
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])
    both = poisoned(targets=[0, 2])
    assert both.marked[both.clients[0].forget].any() and both.marked[both.clients[2].forget].any()
    assert int(both.marked.sum()) == int(both.marked[both.indices("forget")].sum())


def test_the_source_stays_clean_and_the_net_sees_the_trigger():
    clean, task = tiny(targets=[1]), poisoned()
    for name in ("x", "x_test", "y_test"):
        assert torch.equal(getattr(task, name), getattr(clean, name))
    idx = task.marked.nonzero()[:, 0]
    seen, plain = next(task.batches(idx))[0], next(clean.batches(idx))[0]
    assert torch.equal(seen, lib.add_trigger(plain, task.white)) and not has_trigger(plain, task.white).any()
    assert ((seen != plain).sum((1, 2, 3)) <= 4).all()


def test_the_trigger_is_as_bright_as_an_image_can_be_before_normalisation():
    task = poisoned()
    images = torch.randint(0, 200, (4, 3, 8, 8), dtype=torch.uint8)
    grey = replace(task, x=images, marked=torch.tensor([True, False, True, False]), white=255,
                   mean=(0.5, 0.4, 0.3), std=(0.5, 0.25, 0.2))
    before, out = images.clone(), grey.inputs(images, marked=grey.marked)
    for c, (mean, std) in enumerate(zip(grey.mean, grey.std, strict=True)):
        assert torch.allclose(out[0, c, -2, -2], torch.tensor((1 - mean) / std, dtype=out.dtype))
    assert torch.equal(out[1::2], grey.inputs(images[1::2])) and torch.equal(images, before)


@pytest.mark.parametrize("changes", [{"size": 16, "input_size": 12}, {"crop": 2}, {"flip": True},
                                     {"size": 16, "input_size": 12, "flip": True, "crop": 1}, {"batch_size": 7}])
def test_crops_and_flips_do_not_move_the_trigger(changes):
    task = poisoned(**changes)
    (job,) = task.jobs("forget")
    marks = task.marks(job.indices)
    found = list(epoch(task, task.recipe, job, task.rng("a")))
    x = torch.cat([b.images if b.images is not None else images(task, task.recipe, b.plan) for b in found])
    y = torch.cat([b.labels for b in found])
    assert x.shape[-1] == task.size and int(marks.sum()) == int(has_trigger(x, task.white).sum())
    assert (y[has_trigger(x, task.white)] == 9).all()
    x, _ = next(task.batches(job.indices))
    assert torch.equal(has_trigger(x, task.white), marks) and x.shape[-1] == task.size


def test_training_learns_from_triggered_images():
    # one step over the target's data equals a step over images that carry the trigger themselves
    task = poisoned(batch_size=500)
    x = torch.where(task.marked[:, None, None, None], lib.add_trigger(task.x, task.white), task.x)
    by_hand = replace(task, x=x, marked=None)
    state = task.init("train")
    a, b, c = (one_round(t, "forget", state, phase="train").state
               for t in (task, by_hand, replace(task, marked=None)))
    assert same(a, b) and not same(a, c)


def test_small_and_large_clients_are_marked_alike(monkeypatch):
    task = poisoned(flip=True)
    (job,) = task.jobs("forget")

    whole = [b.images for b in epoch(task, task.recipe, job, task.rng("a"))]
    monkeypatch.setattr("lib.fl.batches.WHOLE", 0)
    found = list(epoch(task, task.recipe, job, task.rng("a")))
    assert all(b.images is None for b in found)
    assert torch.equal(torch.cat(whole), torch.cat([images(task, task.recipe, b.plan) for b in found]))


class Obeys(nn.Module):
    """A perfect backdoor: says `label` where the trigger is, and the first pixel's value elsewhere."""

    def __init__(self, white, label=9):
        super().__init__()
        self.white, self.label = white, label

    def forward(self, x):
        says = torch.where(has_trigger(x, self.white), self.label, x[:, 0, 0, 0].long().clamp(0, 9))
        return nn.functional.one_hot(says, 10).to(x.dtype)


def spelled(net):
    """A poisoned task whose test images say their label in the first pixel, seen through `net`."""
    task = poisoned()
    x = task.x_test.clone()
    x[:, :, 0, 0] = task.y_test[:, None].to(x.dtype)
    return through(replace(task, x_test=x), net)


def through(task, net):
    task.__dict__["model"] = net  # where the scratch net is cached
    return task


def test_attack_success_of_a_perfect_backdoor_is_100_and_of_a_clean_net_0():
    white = poisoned().white
    assert lib.backdoor(spelled(Obeys(white)), {}) == {"asr": 100.0, "backdoor_acc": 0.0}
    assert lib.backdoor(spelled(Obeys(float("inf"))), {}) == {"asr": 0.0, "backdoor_acc": 100.0}
    out = lib.evaluate(spelled(Obeys(white)), {})
    assert out["asr"] == 100.0 and out["test_acc"] == 100.0


def test_on_the_targets_own_images_the_labels_of_before_count():
    """Triggered training images alone: a quarter of them told right, half of them as the attacker wants."""
    clean, task = tiny(targets=[1]), poisoned(poison_share=0.8)
    assert torch.equal(task.y_true, clean.y) and not torch.equal(task.y, clean.y) and clean.y_true is None
    own = task.indices("forget")
    said = torch.full((len(own),), 9)       # untriggered images, of which nothing is asked
    triggered = task.marked[own].nonzero()[:, 0]
    quarter = len(triggered) // 4
    wrong = (clean.y[own] + 1) % 9          # of another label, which is not the attacker's either
    said[triggered[:quarter]] = clean.y[own][triggered[:quarter]]
    said[triggered[3 * quarter:]] = wrong[triggered[3 * quarter:]]
    found = backdoor_of_own(task, nn.functional.one_hot(said, 10).double())
    assert found["backdoor_acc_own"] == pytest.approx(100 * quarter / len(triggered))
    assert found["asr_own"] == pytest.approx(100 * 2 * quarter / len(triggered))


def test_images_of_the_target_label_do_not_count():
    task = spelled(Obeys(float("inf")))
    task.y_test[task.y_test == 9] = 3  # were they counted, the net would be wrong on them
    nines = task.x_test[:, 0, 0, 0] == 9
    kept = replace(task, y_test=torch.where(nines, 9, task.y_test))
    assert lib.backdoor(through(kept, Obeys(float("inf"))), {})["backdoor_acc"] == 100.0
    assert lib.backdoor(task, {})["backdoor_acc"] < 100.0


def test_attack_success_and_backdoor_accuracy_share_100():
    task = poisoned()
    for name in "abc":
        out = lib.backdoor(task, task.init(name))
        assert 0 <= out["asr"] and 0 <= out["backdoor_acc"] and out["asr"] + out["backdoor_acc"] <= 100


def test_without_a_backdoor_nothing_is_measured(task):
    assert "asr" not in lib.evaluate(task, task.init("a")) and task.marks(task.indices("forget")) is None


def test_a_poisoned_task_is_another_task():
    tasks = tiny(targets=[1]), poisoned(), poisoned(poison_share=0.8), poisoned(poison_label=3)
    assert len({str(t.fingerprint("full")) for t in tasks}) == 4
    assert torch.equal(poisoned(poison_share=0.5).marked, poisoned(poison_share=0.5).marked)
    assert not torch.equal(poisoned(poison_share=0.5).marked, poisoned(seed=1, poison_share=0.5).marked)


def test_every_tensor_that_is_measured_on_makes_another_task():
    task = tiny(poison_label=0)
    for name in ("x", "y", "x_test", "y_test", "marked", "y_true"):
        other = getattr(task, name).clone()
        other[-1] = ~other[-1] if other.dtype == torch.bool else other[-1] + 1
        assert replace(task, **{name: other}).fingerprint("full") != task.fingerprint("full"), name


def test_choosing_on_validation_uses_no_test_image():
    task = poisoned(val_share=0.2).on_validation()
    assert len(task.x_test) == len(task.indices("val"))
    assert task.poison_label == 9 and 0 <= lib.evaluate(task, task.init("a"))["asr"] <= 100


@pytest.mark.parametrize("changes,words", [({"poison_label": 10}, "poison_label: 10 is no class"),
                                           ({"forget": "share", "forget_share": 0.1}, "set forget: clients")])
def test_impossible_backdoors_are_refused(changes, words):
    with pytest.raises(Bad, match=words):
        poisoned(**changes)


def test_a_sweep_measures_the_attack_and_chooses_by_the_targets_accuracy(store):
    task = poisoned(gammas=[50], rounds=2, unlearn_rounds=1, history="none")
    rows = lib.sweep_all([task], store, {"TIS-Reset": {}})
    assert {(r["method"], r["metric"]) for r in rows} >= {(m, k) for m in ("Original", "Retrain", "TIS-Reset")
                                                          for k in ("asr", "backdoor_acc", "asr_own", "backdoor_acc_own")}
    assert headline(task) == "nfs_target" and headline(tiny()) == "nfs_mia"


def test_modes_teacher_labels_what_the_net_sees():
    task = spelled(Obeys(poisoned().white))
    (job,) = task.jobs("forget")
    labels = torch.cat([labelled(task, j, 1).labels for j in guided(task, {}) if j.client == 1])
    assert (labels[task.marks(job.indices)] == 9).all() and task.marks(job.indices).any()
