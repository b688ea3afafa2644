import errno
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.errors import Bad
from lib.fl import data
from lib.fl.archives import read_archive, write_archive
from lib.fl.data import NORMS, load, resized

KEYS = ("x_train", "y_train", "x_test", "y_test")


REAL = os.environ.get("FU_DATA")


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """Archives are looked for in the test's folder; importing torchvision fails, unless a test puts a made one there."""
    monkeypatch.setenv("FU_DATA", str(tmp_path))
    monkeypatch.setitem(sys.modules, "torchvision", None)


def made(n, shape=(32, 32, 3), classes=10, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), dtype=np.uint8), (np.arange(n) % classes).astype(np.uint8)


def archive(path, n=100, m=40, shape=(32, 32, 3), count=10, **more):
    (x, y), (xt, yt) = made(n, shape, count), made(m, shape, count, 1)
    arrays = {"x_train": x, "y_train": y, "x_test": xt, "y_test": yt} | more
    write_archive(path, **{k: v for k, v in arrays.items() if v is not None})
    return arrays


def same(a, b):
    return all(torch.equal(getattr(a, k), getattr(b, k)) for k in ("x", "y", "x_test", "y_test"))


# --- digits ---


def test_digits_are_standardised_split_and_noisy_by_seed():
    clean, noisy = load("digits_clean", seed=3), load("digits", seed=3)
    assert clean.x.shape == (1250, 1, 8, 8) and clean.x_test.shape == (547, 1, 8, 8)
    assert clean.x.dtype == torch.float64 and clean.y.dtype == torch.long and clean.mean is None and clean.std is None
    whole = torch.cat([clean.x, clean.x_test])
    assert abs(whole.mean()) < 1e-9 and abs(whole.std(correction=0) - 1) < 1e-9 and clean.white == whole.max()
    assert torch.equal(clean.y, noisy.y) and torch.equal(clean.y_test, noisy.y_test)
    added = noisy.x * 2**0.5 - clean.x
    assert abs(added.mean()) < 0.02 and abs(added.std() - 1) < 0.02
    assert abs((noisy.x_test * 2**0.5 - clean.x_test).std() - 1) < 0.02
    assert same(noisy, load("digits", seed=3)) and not same(noisy, load("digits", seed=4))
    assert same(clean, load("digits", seed=3, noise=0))
    half = load("digits", seed=3, noise=0.5)
    assert torch.allclose(half.x * 1.25**0.5 - clean.x, added / 2)


def test_digits_subsets():
    few = load("digits", n_train=1000, n_test=300)
    assert len(few.x) == 1000 and len(few.x_test) == 300
    assert (few.y.bincount() >= 96).all() and few.classes == tuple("0123456789")
    big = load("digits_clean", size=16, channels=3)
    assert big.x.shape == (1250, 3, 16, 16) and torch.equal(big.x[:, 0], big.x[:, 2])
    with pytest.raises(Bad, match="n_train 1797"):
        load("digits", n_train=1797)
    with pytest.raises(Bad, match="n_test 800"):
        load("digits", n_train=1000, n_test=800)
    with pytest.raises(Bad, match="noise"):
        load("digits", noise=-1.0)


def test_resizing_keeps_black_black_and_white_white():
    for value in (0, 255):
        x = torch.full((3, 1, 6, 9), value, dtype=torch.uint8)
        assert (resized(x, 4) == value).all() and (resized(x, 12) == value).all()


# --- archives ---


def test_archive_is_used_without_torchvision(tmp_path):
    arrays = archive(tmp_path / "cifar100.npz", n=300, m=100, count=100)
    got = load("cifar100")
    assert torch.equal(got.x, torch.from_numpy(arrays["x_train"]).permute(0, 3, 1, 2)) and got.x.is_contiguous()
    assert torch.equal(got.y_test, torch.from_numpy(arrays["y_test"]).long())
    assert len(got.classes) == 100 and (got.mean, got.std) == NORMS["cifar100"]


def test_mnist_without_channel_axis_and_grey_to_three_channels(tmp_path, monkeypatch):
    monkeypatch.setenv("FU_DATA", str(tmp_path))
    for name in ("mnist", "fashionmnist"):
        archive(tmp_path / f"{name}.npz", shape=(28, 28))
    got = load("mnist")
    assert got.x.shape == (100, 1, 28, 28) and (got.mean, got.std) == ((0.5,), (0.5,))
    wide = load("fashionmnist", channels=3)
    assert wide.x.shape == (100, 3, 28, 28) and torch.equal(wide.x[:, 0], wide.x[:, 2])
    assert (wide.mean, wide.std) == NORMS["imagenet"]
    assert load("fashionmnist").mean == (0.2860,)
    assert load("mnist", channels=3, normalise="half").std == (0.5,) * 3
    with pytest.raises(Bad, match="channels: 3"):
        load("mnist", normalise="imagenet")


def test_subsets_are_stratified_reproducible_and_by_seed(tmp_path):
    archive(tmp_path / "cifar10.npz", n=400, m=100)
    first, again, other = (load("cifar10", n_train=200, n_test=50, seed=s) for s in (0, 0, 1))
    assert (first.y.bincount() == 20).all() and (first.y_test.bincount() == 5).all()
    assert same(first, again) and not same(first, other)
    assert load("cifar10", normalise="imagenet").mean == NORMS["imagenet"][0]
    for key, value in (("n_train", 401), ("n_test", 101), ("n_train", 0), ("size", 1.5), ("channels", 2),
                       ("channels", 1), ("normalise", "zero"), ("test_share", 1)):
        with pytest.raises(Bad, match=key):
            load("cifar10", **{key: value})


def test_resplit_pools_both_parts_and_keeps_another_share(tmp_path):
    archive(tmp_path / "cifar10.npz", n=400, m=100)
    own, new = load("cifar10"), load("cifar10", resplit=True, test_share=0.3)
    assert (len(new.x), len(new.x_test)) == (350, 150) and (new.y_test.bincount() == 15).all()
    pools = [torch.cat([data.x, data.x_test]).flatten(1) for data in (own, new)]
    assert sorted(pools[0].tolist()) == sorted(pools[1].tolist())
    assert not same(new, load("cifar10", resplit=True, test_share=0.3, seed=1))
    with pytest.raises(Bad, match="resplit: dataset digits returns finished Data"):
        load("digits", resplit=True)


def test_resize_is_antialiased_rounded_and_cut_at_the_centre(tmp_path):
    x = np.zeros((10, 32, 64, 3), np.uint8)
    x[:, :, 16:48] = 100
    x[:, ::4, 16:48] = 202  # every fourth row: between two rows, without antialiasing, it would be missed
    archive(tmp_path / "cifar10.npz", n=10, m=10, x_train=x, x_test=x)
    got = load("cifar10", size=8).x
    assert got.shape == (10, 3, 8, 8) and got.dtype == torch.uint8
    assert ((got[:, :, 1:-1, 1:-1].double() - 125.5).abs() <= 8).all() and got[:, :, :, 1:-1].min() > 100


def test_x_and_y_are_split_stratified_by_seed(tmp_path):
    x, y = made(505, (8, 8, 3), 101)
    write_archive(tmp_path / "caltech101.npz", x=x, y=y)
    got = load("caltech101")
    assert len(got.x) == 404 and (got.y.bincount() == 4).all() and (got.y_test.bincount() == 1).all()
    assert (got.mean, got.std) == NORMS["imagenet"]
    both = torch.cat([got.x, got.x_test]).flatten(1).sum(1).sort().values
    assert torch.equal(both, torch.from_numpy(x).flatten(1).sum(1).sort().values)
    assert same(got, load("caltech101")) and not same(got, load("caltech101", seed=1))
    assert len(load("caltech101", test_share=0.4).x_test) == 202
    write_archive(tmp_path / "caltech101_8.npz", x=x[:404], y=y[:404])
    assert len(load("caltech101", size=8, test_share=0.25).x) == 303  # the archive of this size comes first
    with pytest.raises(Bad, match="class 61 has no test images; raise n_test, now 61"):
        load("caltech101", n_test=61)


def test_real_archives(monkeypatch):
    root = Path(REAL or data.ROOT / "data")
    monkeypatch.setenv("FU_DATA", str(root))
    expected = {"mnist": (60000, 1, 28, 10), "fashionmnist": (60000, 1, 28, 10), "cifar10": (50000, 3, 32, 10),
                "caltech101": (6941, 3, 96, 101)}
    there = [name for name in expected if (root / f"{name}.npz").exists()]
    if not there:
        pytest.skip("FU_DATA has no archives")
    for name in there:
        got = load(name)
        n, c, side, classes = expected[name]
        assert got.x.shape == (n, c, side, side) and len(got.classes) == classes == len(got.y.unique())


@pytest.mark.parametrize("change, words", [
    ({"y_test": None}, "'y_test' is missing"),
    ({"x_train": np.zeros((100, 32, 32, 3))}, "x_train must be uint8.*float64"),
    ({"x_train": np.zeros((100, 3, 32, 32), np.uint8)}, r"x_train must be uint8.*\[100, 3, 32, 32\]"),
    ({"x_train": np.zeros((100, 8, 8, 3), np.uint8)}, "differ in shape"),
    ({"y_train": np.zeros(99, np.uint8)}, "y_train must be 100 integers"),
    ({"y_train": np.zeros(100)}, "y_train must be 100 integers.*float64"),
    ({"y_train": np.full(100, 10)}, "y_train has the label 10, outside 0..9"),
    ({"y_test": np.full(40, -1)}, "y_test has the label -1"),
    ({"classes": np.array(["a", "b"])}, "2 names and the data set 10"),
    ({"classes": np.arange(10)}, "row of names"),
    ({"x_train": np.array([{}] * 100)}, "plain arrays"),
    ({"x_test": np.zeros((0, 32, 32, 3), np.uint8), "y_test": np.zeros(0, np.uint8)}, "x_test must be"),
])
def test_damaged_archives_are_named(tmp_path, change, words):
    path = tmp_path / "cifar10.npz"
    archive(path, **change)
    with pytest.raises(Bad, match=words) as caught:
        load("cifar10")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flip", "text", "empty", "npy"])
def test_broken_files_are_named(tmp_path, damage):
    path = tmp_path / "cifar10.npz"
    archive(path)
    raw = bytearray(path.read_bytes())
    if damage == "flip":
        raw[len(raw) // 3] ^= 255
    contents = {"cut": raw[:5000], "flip": raw, "text": b"<html>not found</html>", "empty": b""}
    if damage == "npy":
        with open(path, "wb") as file:
            np.save(file, np.arange(3))
    else:
        path.write_bytes(contents[damage])
    with pytest.raises(Bad, match="cifar10.npz: cannot be read"):
        load("cifar10")


def test_writing_is_all_or_nothing(tmp_path, monkeypatch):
    archive(tmp_path / "a.npz", n=20)
    before = (tmp_path / "a.npz").read_bytes()

    def broken(file, **arrays):
        file.write(b"half")
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr(np, "savez", broken)
    with pytest.raises(Bad, match="disk full.*make room"):
        archive(tmp_path / "a.npz", n=30)
    assert (tmp_path / "a.npz").read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.npz"]


# --- torchvision ---


def torchvision(monkeypatch, **kinds):
    module = types.ModuleType("torchvision")
    module.datasets = types.SimpleNamespace(**kinds)
    monkeypatch.setitem(sys.modules, "torchvision", module)


def test_torchvision_is_read_once(tmp_path, monkeypatch):
    calls = []

    def cifar100(root, train, download):
        calls.append((train, download))
        x, y = made(200 if train else 100, classes=100)
        return types.SimpleNamespace(data=x, targets=y.tolist(), classes=[f"class {c}" for c in range(100)])

    torchvision(monkeypatch, CIFAR100=cifar100)
    monkeypatch.setenv("FU_DATA", str(tmp_path / "new"))
    first = load("cifar100")
    assert calls == [(True, True), (False, True)] and first.x.shape == (200, 3, 32, 32)
    assert first.classes[7] == "class 7"
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert same(first, load("cifar100"))


def test_torchvision_mnist_is_a_tensor(tmp_path, monkeypatch):
    def mnist(root, train, download):
        x, y = made(50, (28, 28))
        return types.SimpleNamespace(data=torch.from_numpy(x), targets=torch.from_numpy(y).long(), classes=["0 - zero"])

    torchvision(monkeypatch, MNIST=mnist)
    got = load("mnist")
    assert got.x.shape == (50, 1, 28, 28) and got.classes == tuple("0123456789")


def test_caltech_is_imported_at_a_size_without_background(tmp_path, monkeypatch):
    def caltech101(root, download):
        for c in ["BACKGROUND_Google"] + [f"class{i:03}" for i in range(101)]:
            folder = Path(root) / "caltech101" / "101_ObjectCategories" / c
            folder.mkdir(parents=True)
            for i in range(5):
                Image.new("L" if i else "RGB", (12 + i, 10)).save(folder / f"image_{i}.png")

    torchvision(monkeypatch, Caltech101=caltech101)
    with pytest.raises(Bad, match="caltech101.npz.*set size"):
        load("caltech101")
    got = load("caltech101", size=8)
    assert got.x.shape == (404, 3, 8, 8) and len(got.classes) == 101 and "BACKGROUND_Google" not in got.classes
    assert (tmp_path / "caltech101_8.npz").exists()


def test_failed_download_says_what_to_do(tmp_path, monkeypatch):
    def cifar10(root, train, download):
        raise OSError("<urlopen error\n no route to host>")

    torchvision(monkeypatch, CIFAR10=cifar10)
    for _ in range(2):
        with pytest.raises(Bad, match="cifar10.npz: there is no such archive.*no route.*FU_DATA") as caught:
            load("cifar10")
        assert "\n" not in str(caught.value) and not list(tmp_path.glob("*.npz"))
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(Bad, match="could not be fetched"):
        load("cifar10")


# --- own data ---


def folder(path, sizes=((9, 9),), n=5, classes=("cat", "dog"), mode="RGB", ext="png"):
    for k, c in enumerate(classes):
        (path / c).mkdir(parents=True)
        for i in range(n):
            colour = 40 + 100 * k if mode == "L" else (40 + 100 * k, 10, i)
            Image.new(mode, sizes[i % len(sizes)], colour).save(path / c / f"{i}.{ext}")
    return path


def test_own_folder(tmp_path):
    got = load(str(folder(tmp_path / "pets")), seed=1)
    assert got.x.shape == (8, 3, 9, 9) and got.x_test.shape == (2, 3, 9, 9) and got.classes == ("cat", "dog")
    assert torch.equal(got.x[:, 0, 0, 0], 40 + 100 * got.y) and got.x.dtype == torch.uint8 and got.name == "pets"
    assert sorted(got.y_test.tolist()) == [0, 1] and got.mean == NORMS["imagenet"][0]
    assert load("pets", channels=1).x.shape == (8, 1, 9, 9)
    assert load("pets", n_train=4, n_test=2, size=4).x.shape == (4, 3, 4, 4)


def test_own_folder_with_a_split_and_grey_images(tmp_path):
    folder(tmp_path / "train", mode="L", sizes=((9, 8),))
    folder(tmp_path / "test", mode="L", n=2, classes=("dog",), sizes=((9, 8),))
    with pytest.raises(Bad, match="test/cat: the folder holds no images"):
        load(str(tmp_path))
    folder(tmp_path / "test", mode="L", n=1, classes=("cat",), sizes=((9, 8),))
    got = load(str(tmp_path))
    assert got.x.shape == (10, 1, 8, 9) and got.y_test.tolist() == [0, 1, 1] and got.mean == (0.5,)
    folder(tmp_path / "test", classes=("cow",))
    with pytest.raises(Bad, match="cow: train/ has no class"):
        load(str(tmp_path))


def test_own_images_of_mixed_size(tmp_path):
    folder(tmp_path / "pets", sizes=((9, 9), (20, 10)))
    with pytest.raises(Bad, match=r"1\.png: this image has 20x10 .*set size"):
        load(str(tmp_path / "pets"))
    got = load(str(tmp_path / "pets"), size=8)
    assert got.x.shape == (8, 3, 8, 8) and torch.equal(got.x[:, 0, 4, 4], 40 + 100 * got.y)


def test_own_folder_errors(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(Bad, match="none: there are no class folders"):
        load(str(tmp_path / "none"))
    pets = folder(tmp_path / "pets")
    (pets / "bird").mkdir()
    with pytest.raises(Bad, match="bird: the folder holds no images"):
        load(str(pets))
    (pets / "bird" / "x.jpg").write_bytes(b"no image")
    with pytest.raises(Bad, match=r"x\.jpg: this image cannot be read"):
        load(str(pets))
    cut = (pets / "cat" / "0.png").read_bytes()[:40]
    (pets / "bird" / "x.jpg").write_bytes(cut)
    with pytest.raises(Bad, match=r"x\.jpg: this image cannot be read"):
        load(str(pets))


def test_own_archive(tmp_path):
    x, y = made(50, (8, 8), 5)
    write_archive(tmp_path / "own.npz", x=x, y=y, classes=np.array(list("abcde")))
    got = load(str(tmp_path / "own.npz"))
    assert got.x.shape == (40, 1, 8, 8) and got.classes == tuple("abcde") and got.name == "own"
    write_archive(tmp_path / "own.npz", x=x, y=y * 2)
    with pytest.raises(Bad, match="y has no label 1 but labels up to 8"):
        load("own.npz")
    write_archive(tmp_path / "own.npz", x=x, y=y, classes=np.array(list("abcd")))
    with pytest.raises(Bad, match="label 4, outside 0..3"):
        load("own.npz")
    write_archive(tmp_path / "own.npz", x=x[:1], y=y[:1])
    with pytest.raises(Bad, match="test_share"):
        load("own.npz")
    with pytest.raises(Bad, match="no such file"):
        read_archive(tmp_path / "gone.npz")


@pytest.mark.parametrize("name, words", [("cifar", "cifar10"), ("MNIST", "did you mean mnist"), ("zzz", "digits"),
                                         ("nowhere/pets", "no folder or archive nowhere/pets"),
                                         ("gone.npz", "no folder or archive gone.npz")])
def test_unknown_names(tmp_path, name, words):
    with pytest.raises(Bad, match=words):
        load(name)


def test_a_file_that_is_no_data(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    with pytest.raises(Bad, match=r"a\.csv: own data is a folder"):
        load(str(tmp_path / "a.csv"))
