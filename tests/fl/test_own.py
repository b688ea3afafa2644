"""Nets, data sets and partitions of one's own: what they are given, what they may return, and what is refused."""
from typing import Literal

import numpy as np
import pytest
import torch
from conftest import tiny
from PIL import Image
from torch import nn

import lib
import lib.fl.task  # noqa: F401  what lib brings is there before a test adds to it
from lib.errors import Bad
from lib.fl.partitions import divide
from lib.fl.rng import generator
from lib.registry import DATASETS, MODELS, PARTITIONS, arguments
from lib.settings import KEYS, check, complete
from lib.values import Count, Share


@pytest.fixture(autouse=True)
def as_before():
    """Nothing that a test registers stays."""
    kept = [(r, dict(r)) for r in (MODELS, DATASETS, PARTITIONS)]
    yield
    for registry, entries in kept:
        registry.clear()
        registry.update(entries)


def says(settings, *words):
    with pytest.raises(Bad) as error:
        check({"s": settings}, "here")
    for w in words:
        assert w in str(error.value), str(error.value)


def test_what_lib_brings_takes_all_that_a_setting_may_say():
    for registry in (MODELS, DATASETS, PARTITIONS):
        for f in registry.values():
            for name, (kind, _) in arguments(f).items():
                assert name == "seed" or kind == KEYS[name].kind or (kind | None) == KEYS[name].kind, (f.name, name)


# ---- nets

def register_net():
    @lib.model("own")
    def own(channels, classes, size, *, width: Count = 3, dilation: Count = 1, activation: Literal["relu"] = "relu"):
        return nn.Sequential(nn.Conv2d(channels, width, 3, dilation=dilation), nn.Flatten(), nn.LazyLinear(classes))


def test_a_net_takes_keys_and_brings_its_own():
    register_net()
    assert complete({"model": "own"})["width"] == 3 and complete({"model": "own"})["dilation"] == 1
    assert "dilation" not in complete({})
    check({"s": {"model": "own", "dilation": 2}})
    says({"model": "own", "dilation": 0}, "here: s.dilation: 0 is outside 1 to any (as model own takes it)")
    says({"model": "own", "dilatoin": 2}, "here: s.dilatoin: unknown key; nearest key: dilation")
    says({"model": "cnn", "dilation": 2}, "here: s.dilation: unknown key")
    says({"model": "own", "activation": "tanh"}, "s.activation: 'tanh' must be relu (as model own takes it)")


def test_what_a_net_is_built_with_is_part_of_the_fingerprint():
    @lib.model("wide")
    def wide(channels, classes, size, *, width: Count, hidden: Count = 5):
        return nn.Sequential(nn.Flatten(), nn.Linear(channels * size * size, hidden * width), nn.Linear(hidden * width, classes))
    a, b = tiny(model="wide", hidden=5), tiny(model="wide", hidden=7)
    assert a.parameters == 65 * 20 + 21 * 10 and b.parameters == 65 * 28 + 29 * 10
    assert a.fingerprint("full") != b.fingerprint("full")
    assert a.fingerprint("full") == tiny(model="wide").fingerprint("full")
    assert a.fingerprint("full")["options"]["model"] == {"width": 4, "hidden": 5}


def test_an_argument_without_a_default_has_to_be_given():
    @lib.model("strict")
    def strict(channels, classes, size, *, hidden: Count):
        return nn.Linear(1, 1)
    says({"model": "strict"}, "here: s: it needs the key hidden (as model strict takes it)")
    check({"s": {"model": "strict", "hidden": 3}})
    with pytest.raises(Bad, match="model strict: it needs the argument 'hidden'"):
        lib.build({"model": "strict"}, 1, 2, 8)


# ---- data sets

X = np.arange(60 * 8 * 8, dtype=np.uint8).reshape(60, 8, 8)
Y = np.arange(60) % 3


class Objects:
    """As torchvision has them."""

    def __init__(self, images, labels=Y, classes=None):
        self.images, self.labels = images, labels
        if classes:
            self.classes = classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], int(self.labels[i])


def register_data(found):
    DATASETS.pop("own", None)

    @lib.dataset("own")
    def own():
        return found


@pytest.mark.parametrize("found", [
    (X, Y), (torch.from_numpy(X), torch.from_numpy(Y)), {"x": X, "y": Y}, (X[..., None], Y.tolist()),
    Objects([Image.fromarray(x) for x in X]), Objects(X), Objects(torch.from_numpy(X)[:, None]),
    Objects(torch.from_numpy(X)[:, None] / 255)], ids=["arrays", "tensors", "dict", "list", "pillow", "numpy", "bytes", "floats"])
def test_every_form_without_a_split_is_the_same_data(found):
    register_data((X, Y))
    wanted = lib.load("own", seed=3, n_test=6)
    register_data(found)
    got = lib.load("own", seed=3, n_test=6)
    assert got.x.shape == (48, 1, 8, 8) and len(got.x_test) == 6 and got.classes == ("0", "1", "2")
    assert all(torch.equal(getattr(got, k), getattr(wanted, k)) for k in ("x", "y", "x_test", "y_test"))


def test_a_split_of_ones_own_is_kept():
    for found in ((X[:40], Y[:40], X[40:], Y[40:]), (Objects(X[:40], classes=["a", "b", "c"]), Objects(X[40:], Y[40:]))):
        register_data(found)
        got = lib.load("own", test_share=0.5)
        assert torch.equal(got.x[:, 0], torch.from_numpy(X[:40])) and torch.equal(got.y_test, torch.from_numpy(Y[40:]))
    assert got.classes == ("a", "b", "c")


def test_images_of_mixed_size_need_a_size():
    register_data(Objects([Image.fromarray(x).resize((8 + i % 2, 8)) for i, x in enumerate(X)]))
    with pytest.raises(Bad, match=r"dataset own: image 1 is \[8, 9, 1\] and the first one \[8, 8, 1\]; set size"):
        lib.load("own")
    assert lib.load("own", size=4).x.shape == (48, 1, 4, 4)


@pytest.mark.parametrize("found, words", [
    (3, "dataset own: it returns int; return arrays"),
    ((X.astype(float), Y), "dataset own: x must be uint8"),
    ((X, Y[:5]), "dataset own: y must be 60 integers"),
    ((X, Y * 2), "dataset own: y has no label 1"),
    ((X, Y, X), "dataset own: key 'y_test' is missing"),
    (Objects(torch.from_numpy(X)[:, None] / 25.0), "values outside 0 to 1; give images before they are normalised"),
    (Objects([]), "dataset own: there are no images"),
])
def test_what_cannot_be_used_is_one_sentence(found, words):
    register_data(found)
    with pytest.raises(Bad, match=words) as error:
        lib.load("own")
    assert "\n" not in str(error.value)


def test_finished_data_know_the_seed_and_are_taken_as_they_are():
    @lib.dataset("finished")
    def finished(*, n_train: Count | None = None, shift: float = 0.0, seed: int = 0):
        x = torch.rand(n_train or 40, 1, 8, 8, generator=generator(seed), dtype=torch.float64) + shift
        return lib.Data("finished", x, torch.arange(len(x)) % 2, x[:10], torch.arange(10) % 2, ("a", "b"), None, None, 1.0)
    a, b = tiny(dataset="finished", n_test=None, n_train=80), tiny(dataset="finished", n_test=None, n_train=80, shift=1.0)
    assert len(a.x) == 80 and torch.allclose(a.x + 1, b.x) and a.classes == 2
    assert a.fingerprint("full") != b.fingerprint("full")
    assert not torch.equal(a.x, tiny(1, dataset="finished", n_test=None, n_train=80).x)
    with pytest.raises(Bad, match="n_test: dataset finished returns finished Data and takes no n_test"):
        tiny(dataset="finished")
    says({"dataset": "finished", "shift": "x"}, "s.shift: 'x' must be a number (as dataset finished takes it)")
    says({"dataset": "finished", "seed": 3}, "s.seed: unknown key")


# ---- partitions

def test_a_partition_of_ones_own():
    @lib.partition("blocks")
    def blocks(labels, n, rng, *, keep: Share = 1.0):
        return [part[:round(keep * len(part))].flip(0) for part in torch.arange(len(labels)).chunk(n)]
    task = tiny(partition="blocks", keep=0.5, val_share=0.0)
    assert [len(c.retain) + len(c.forget) for c in task.clients] == [25] * 4
    assert torch.equal(task.clients[1].retain, torch.arange(50, 75))
    assert task.fingerprint("full") != tiny(partition="blocks", val_share=0.0).fingerprint("full")
    says({"partition": "blocks", "keep": 2}, "s.keep: 2 is outside 0 to 1 (as partition blocks takes it)")


@pytest.mark.parametrize("parts, words", [
    ([[0, 1]], "own gives 1 parts for 2 clients"), ([[0, 1], [1, 2]], "an image to two clients"),
    ([[0], [10]], "an image that is not there; indices go from 0 to 9")])
def test_a_partition_that_is_none(parts, words):
    @lib.partition("own")
    def own(labels, n, rng):
        return parts
    with pytest.raises(Bad, match=words):
        divide("own", torch.zeros(10, dtype=torch.long), 2, generator(0))


# ---- finished data that are not what they say

@pytest.mark.parametrize("spoilt, words", [
    ({"x": torch.full((40, 1, 8, 8), float("nan"))}, "train images hold values that are not finite"),
    ({"x_test": torch.zeros(10, 1, 8, 9)}, "test images must be"),
    ({"x_test": torch.zeros(0, 1, 8, 8), "y_test": torch.zeros(0, dtype=torch.long)}, "test images must be"),
    ({"y": torch.arange(40) % 3}, "train labels go from 0 to 2, and there are 2 classes"),
    ({"y": torch.zeros(40)}, "train labels must be 40 of int64"),
    ({"y_test": torch.zeros(10, dtype=torch.long)}, "class b has no test images"),
    ({"classes": ("a",), "y": torch.zeros(40, dtype=torch.long), "y_test": torch.zeros(10, dtype=torch.long)}, "the class a alone"),
    ({"mean": (0.5,), "std": (0.5,)}, "images of bytes come with mean and std"),
])
def test_finished_data_that_cannot_be_used(spoilt, words):
    whole = {"x": torch.zeros(40, 1, 8, 8), "y": torch.arange(40) % 2, "x_test": torch.zeros(10, 1, 8, 8),
             "y_test": torch.arange(10) % 2, "classes": ("a", "b"), "mean": None, "std": None}
    found = lib.Data("finished", **{**whole, **spoilt})

    @lib.dataset("finished")
    def finished():
        return found
    with pytest.raises(Bad, match=words):
        lib.load("finished")
