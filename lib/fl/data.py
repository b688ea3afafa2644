"""Data sets as tensors: `load(name)`, and the registry of the data sets that settings can name.

A data set is a function with typed, keyword-only arguments, registered by `@dataset(name)`, that returns
* arrays `(x, y)`, or `(x_train, y_train, x_test, y_test)`, or a dict of them with perhaps the names of the `classes`:
  images uint8 `[N, H, W]` or `[N, H, W, C]`, labels from 0;
* one object, or two for training and testing, as torchvision has them: `dataset[i] -> (image, label)`;
* or `Data`, which is taken as it is.
An argument named like a key of a setting takes its value, `seed` is the seed of the run.
"""
import os
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Literal

import numpy as np
import torch

from ..errors import Bad
from ..files import ROOT, data_path, data_root
from ..registry import DATASETS, arguments, judge, taken
from ..settings import KEYS
from ..values import Count, Range, Side, misfit
from .archives import checked, known, read_archive
from .folders import read_folder
from .images import read_samples
from .memory import must_fit
from .partitions import stratified
from .rng import generator

# (mean, std) per channel for images in [0, 1]
NORMS = {"half": ((0.5,), (0.5,)),
         "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
         "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
         "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
         "fashionmnist": ((0.2860,), (0.3530,))}
PIECE = 512     # images resized at a time: floats of a whole set would not fit


@dataclass(frozen=True, eq=False)
class Data:
    """Images x [N, C, H, W] (uint8, or float64 digits that are standardised already) with labels y [N] (int64).

    `mean` and `std` hold one number per channel for x / 255, and are None for floats. `white` is the brightest value
    an image can take in x, that of a trigger pixel. `resize`: the side to which images are still to be `resized`, batch
    by batch; None where they have theirs.
    """
    name: str
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    classes: tuple
    mean: tuple | None
    std: tuple | None
    white: float = 255
    resize: int | None = None


def dataset(name=None):
    """Register a data set under the name by which settings choose it."""
    return DATASETS.named(name)


def load(name, *, seed=0, size=None, channels=None, normalise=None, test_share=0.2, resplit=False, n_train=None,
         n_test=None, later=False, **own):
    """The data set called `name`, or the one at the path `name`: a folder of class folders (in train/ and test/, or
    split here) or an .npz with x and y, or x_train, y_train, x_test, y_test, and perhaps classes. A relative path is
    taken from the repository, else from the folder of the archives.

    size: shorter side in pixels, then a centre crop to a square. channels: 3 repeats grey images. n_train, n_test:
    random subsets with the classes in proportion. test_share: where there is no split, or where `resplit` pools its two
    parts. normalise: a key of NORMS.
    later: where all images have one size, leave them as they are, to be `resized` in the batch (see `Data.resize`): on
    a GPU that takes less memory and no time. own: other arguments of the data set. Subsets, split and noise depend on the seed alone. Raises Bad.
    """
    name = str(name)
    asked = {"size": size, "channels": channels, "normalise": normalise, "test_share": test_share,
             "resplit": resplit, "n_train": n_train, "n_test": n_test}
    for key, value in asked.items():
        if reason := misfit(KEYS[key].kind, value):
            raise Bad(f"{key}: {value!r} {reason}")
    if name in DATASETS:
        where, found = f"dataset {name}", _made(name, seed, asked, own)
        if isinstance(found, Data):
            return _judged(found, where, asked)
        arrays = as_arrays(found, where, size)
    else:
        judge({}, own, f"dataset {name}")
        where = _own(name)
        arrays = read_folder(where, size, channels) if where.is_dir() else read_archive(where)
    arrays = pooled(arrays, where) if resplit else arrays
    parts = _split(where, arrays, test_share, generator(seed, "data", "split"))
    tensors = []
    sides = {parts[0][0].shape[1:3], parts[1][0].shape[1:3]}
    later = later and size is not None and sides != {(size, size)}
    for (x, y, indices), part, count in zip(parts, ("train", "test"), (n_train, n_test), strict=True):
        indices = _subset(where, y, indices, f"n_{part}", count, generator(seed, "data", part))
        _judge_classes(where, part, y[indices.numpy()], arrays["classes"], count)
        tensors += [_take(where, x, indices, None if later else size, channels), torch.from_numpy(y)[indices]]
    mean, std = _norm(name, normalise, tensors[0].shape[1])
    return Data(name if name in DATASETS else where.stem, *tensors, tuple(arrays["classes"]), mean, std,
                resize=size if later else None)


def _made(name, seed, asked, own):
    """What the function of a data set returns."""
    f = DATASETS[name]
    known = arguments(f)
    judge(known, own, f"dataset {name}")
    options = taken(known, {**asked, **own, "seed": seed})
    found = f(**options)
    for key in ("size", "channels", "n_train", "n_test"):
        if isinstance(found, Data) and asked[key] is not None and key not in known:
            raise Bad(f"{key}: dataset {name} returns finished Data and takes no {key}; set it to null")
    if isinstance(found, Data) and asked["resplit"]:
        raise Bad(f"resplit: dataset {name} returns finished Data, which is not split anew; remove resplit")
    return found


def as_arrays(found, where, size=None):
    """What the function of a data set returns, as the arrays of an archive; Bad, naming `where`, if it cannot be used."""
    if not isinstance(found, dict):
        parts = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if isinstance(parts[0], (np.ndarray, torch.Tensor)):
            names = ("x", "y") if len(parts) == 2 else ("x_train", "y_train", "x_test", "y_test")
            found = dict(zip(names, parts))
        elif len(parts) == 1:
            found = read_samples(parts[0], where, size)
        else:
            found = _both(*(read_samples(part, where, size) for part in parts[:2]))
    return checked({key: np.asarray(value) for key, value in found.items()}, where)


def _both(train, test):
    found = {f"{key}_train": train[key] for key in ("x", "y")}
    found |= {f"{key}_test": test[key] for key in ("x", "y")}
    return found | ({"classes": train["classes"]} if "classes" in train else {})


def _own(name):
    """The path of one's own data."""
    path = data_path(name)
    if path is not None:
        return path
    if os.sep in name or name.lower().endswith(".npz"):
        raise Bad(f"dataset: there is no folder or archive {name}; check the path, which is taken from {ROOT}, else "
                  f"from {data_root()}")
    near = get_close_matches(name.lower(), DATASETS, 3, 0.5) or DATASETS
    raise Bad(f"dataset: {name!r} is unknown; did you mean {' or '.join(near)}, or the path of your own data?")


def pooled(arrays, where):
    """Arrays whose training and test images are one part, to be split anew; Bad where their sides differ."""
    if "x" in arrays:
        return arrays
    x = [arrays[f"x_{part}"] for part in ("train", "test")]
    if x[0].shape[1:] != x[1].shape[1:]:
        raise Bad(f"resplit: {where} has training and test images of different sides; remove resplit")
    y = np.concatenate([arrays["y_train"], arrays["y_test"]])
    return {"x": np.concatenate(x), "y": y, "classes": arrays["classes"]}


def _split(where, arrays, test_share, rng):
    """`[(x, y, indices)]` of the training and the test images; split here where the arrays are not."""
    if "x" not in arrays:
        return [(arrays[f"x_{p}"], arrays[f"y_{p}"], torch.arange(len(arrays[f"y_{p}"]))) for p in ("train", "test")]
    total = len(arrays["y"])
    # the training part is rounded down, as in the 6,941 + 1,736 images of Caltech-101
    share = 1 - int(round((1 - test_share) * total, 6)) / total
    rest, chosen = stratified(arrays["y"], share, rng)
    if not len(rest) or not len(chosen):
        raise Bad(f"{where}: {total} images cannot be split by test_share {test_share}; add images")
    return [(arrays["x"], arrays["y"], rest), (arrays["x"], arrays["y"], chosen)]


def _subset(where, y, indices, key, count, rng):
    if count is None or count == len(indices):
        return indices
    if count > len(indices):
        raise Bad(f"{where}: {key} {count} is more than the {len(indices)} images there are; lower it or set null")
    return indices[stratified(y[indices.numpy()], count / len(indices), rng)[1]]


def _judge_classes(where, part, y, classes, count=None):
    """Bad unless there are two classes, each with images in this part; count: the n_train or n_test that was asked."""
    if len(classes) < 2:
        raise Bad(f"{where}: there is the class {classes[0]} alone; a net needs at least two to tell apart"
                  if len(classes) else f"{where}: there are no classes")
    empty = np.flatnonzero(np.bincount(y, minlength=len(classes)) == 0)
    if not len(empty):
        return
    remedy = f"raise n_{part}, now {count}" if count else "add some, raise test_share, or leave the class out"
    raise Bad(f"{where}: class {classes[empty[0]]} has no {'training' if part == 'train' else part} images; {remedy}")


def _take(where, x, indices, size, channels):
    """Images `indices` of x [N, H, W, C] as [n, C, H, W], resized, in one new tensor and nothing else."""
    images = torch.from_numpy(x)
    height, width = (size, size) if size else x.shape[1:3]
    channels = _channels(x.shape[3], channels, where)
    must_fit(len(indices) * channels * height * width, where, "set a smaller size, or n_train and n_test")
    out = torch.empty(len(indices), channels, height, width, dtype=torch.uint8)
    for piece, chosen in zip(out.split(PIECE), indices.split(PIECE), strict=True):
        piece.copy_(resized(images[chosen].permute(0, 3, 1, 2).contiguous(), size))     # grey is repeated
    return out


def resized(x, size):
    """Images x at the side `size`, antialiased: the shorter side of x [N, C, H, W] becomes `size`, then the centre is cut out."""
    if size is None or tuple(x.shape[2:]) == (size, size):
        return x
    height, width = (max(size, round(side * size / min(x.shape[2:]))) for side in x.shape[2:])
    top, left = (height - size) // 2, (width - size) // 2
    out = torch.nn.functional.interpolate(x if x.is_floating_point() else x.float(), (height, width), mode="bilinear",
                                          antialias=True)
    out = out[:, :, top:top + size, left:left + size]
    return out if x.is_floating_point() else out.round().clamp(0, 255).to(x.dtype)


def _channels(there, asked, where):
    """How many channels images of so many get."""
    if asked == 1 and there == 3:
        raise Bad(f"{where}: channels: 1 asks for grey images and these are in colour; set 3 or null")
    return asked or there


def _norm(name, normalise, channels):
    """(mean, std) per channel: those asked for, those of a data set of this name in DATASETS, or the usual ones."""
    if normalise is None and name in DATASETS and len(NORMS.get(name, [()])[0]) == channels:
        normalise = name
    if normalise is None:
        normalise = "imagenet" if channels == 3 and name != "mnist" else "half"
    mean, std = NORMS[normalise]
    if len(mean) not in (1, channels):
        raise Bad(f"normalise: {normalise} is for 3 channels and {name} has {channels}; set channels: 3")
    return (mean, std) if len(mean) == channels else (mean * channels, std * channels)


def _judged(data, where, asked):
    """Finished Data as it is; Bad where it is not what it says it is."""
    for x, y, part in ((data.x, data.y, "train"), (data.x_test, data.y_test, "test")):
        if x.ndim != 4 or x.shape[1:] != data.x.shape[1:] or not x.numel():
            raise Bad(f"{where}: its {part} images must be [N, C, H, W] of one shape, not {list(x.shape)}")
        if x.is_floating_point() and not x.isfinite().all():
            raise Bad(f"{where}: its {part} images hold values that are not finite; mend or leave out those images")
        if x.is_floating_point() == (data.mean is not None):
            raise Bad(f"{where}: images of bytes come with mean and std, floats with neither")
        if y.dtype != torch.int64 or y.shape != x.shape[:1]:
            raise Bad(f"{where}: its {part} labels must be {len(x)} of int64, not {y.dtype} {list(y.shape)}")
        if not 0 <= y.min() <= y.max() < len(data.classes):
            raise Bad(f"{where}: its {part} labels go from {y.min()} to {y.max()}, and there are {len(data.classes)} "
                      "classes; number them from 0")
        _judge_classes(where, part, y.numpy(), data.classes, asked[f"n_{part}"])
    return data


# --- the data sets that are known by name -----------------------------------------------------------------------


@dataset("mnist")
def mnist():
    """Handwritten digits: 60,000 and 10,000 grey images of 28 x 28 pixels, 10 classes."""
    return known("mnist")


@dataset("fashionmnist")
def fashionmnist():
    """Pieces of clothing: 60,000 and 10,000 grey images of 28 x 28 pixels, 10 classes."""
    return known("fashionmnist")


@dataset("cifar10")
def cifar10():
    """Small photographs: 50,000 and 10,000 colour images of 32 x 32 pixels, 10 classes."""
    return known("cifar10")


@dataset("cifar100")
def cifar100():
    """Small photographs: 50,000 and 10,000 colour images of 32 x 32 pixels, 100 classes."""
    return known("cifar100")


@dataset("caltech101")
def caltech101(*, size: Side | None = None):
    """Photographs of objects: 8,677 colour images of mixed size without a split, 101 classes."""
    return known("caltech101", size)


@dataset("digits_clean")
def digits_clean(*, size: Side | None = None, channels: Literal[1, 3] | None = None, n_train: Count | None = None,
                 n_test: Count | None = None, seed: int = 0):
    """scikit-learn's digits as they are, which a net learns without memorising any: nothing would be left to forget."""
    return _digits("digits_clean", size, channels, 0.0, n_train, n_test, seed)


@dataset("digits")
def digits(*, noise: Annotated[float, Range(0, 10)] = 1.0, size: Side | None = None,
           channels: Literal[1, 3] | None = None, n_train: Count | None = None, n_test: Count | None = None,
           seed: int = 0):
    """scikit-learn's 1,797 digits of 8 x 8 pixels with fixed pixel noise, which a small net memorises."""
    return _digits("digits", size, channels, noise, n_train, n_test, seed)


def _digits(name, size, channels, noise, n_train, n_test, seed):
    """scikit-learn's 1,797 digits [N, 1, 8, 8]: standardised by one mean and one deviation over all pixels, plus
    N(0, noise^2) per pixel, fixed per image and seed, over sqrt(1 + noise^2). 1,250 train unless n_train says else.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    y = torch.from_numpy(source.target).long()
    n_train = 1250 if n_train is None else n_train
    if n_train >= len(y):
        raise Bad(f"{name}: n_train {n_train} leaves no test images of the {len(y)} there are; take at most "
                  f"{len(y) - 1}")
    x = torch.from_numpy(source.images).double()[:, None]
    mean, std = source.images.mean(), source.images.std()       # NumPy's sums do not depend on the number of threads
    scale = (1 + noise**2) ** 0.5
    x = resized((x - mean) / std, size).repeat(1, _channels(1, channels, name), 1, 1)
    if noise:
        # drawn for all images whatever the subset: an image looks the same in every subset of one seed
        x = (x + noise * torch.randn(x.shape, dtype=x.dtype, generator=generator(seed, "data", "noise"))) / scale
    rest, train = stratified(y, n_train / len(y), generator(seed, "data", "split"))
    test = _subset(name, y.numpy(), rest, "n_test", n_test, generator(seed, "data", "test"))
    return Data(name, x[train], y[train], x[test], y[test], tuple("0123456789"), None, None,
                float((16 - mean) / std / scale))
