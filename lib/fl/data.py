"""Data sets as tensors: archives, torchvision downloads, scikit-learn's digits and one's own images.

Everything is read with pickles forbidden, with one exemption: torchvision unpickles the CIFAR files that it has
downloaded and checked against its own checksums, once; from then on the .npz archive is used.
"""
import contextlib
import difflib
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ..errors import Bad
from ..files import ROOT, data_root, locked, write_by
from .partitions import stratified
from .rng import generator

# name in torchvision and number of classes
TORCHVISION = {"mnist": ("MNIST", 10), "fashionmnist": ("FashionMNIST", 10), "cifar10": ("CIFAR10", 10),
               "cifar100": ("CIFAR100", 100), "caltech101": ("Caltech101", 101)}
NAMES = ("digits", "digits_clean", *TORCHVISION)
# (mean, std) per channel for images in [0, 1]
NORMS = {"half": ((0.5,), (0.5,)),
         "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
         "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
         "cifar100": ((0.5071, 0.4866, 0.4409), (0.2673, 0.2564, 0.2762)),
         "fashionmnist": ((0.2860,), (0.3530,))}
IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


@dataclass(frozen=True, eq=False)
class Data:
    """Images x [N, C, H, W] (uint8, or float64 digits that are standardised already) with labels y [N] (int64).

    `mean` and `std` hold one number per channel for x / 255, and are None for floats. `white` is the brightest value
    an image can take in x, that of a trigger pixel.
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


def load(name, *, root=None, size=None, channels=None, noise=1.0, n_train=None, n_test=None, test_share=0.2,
         normalise=None, seed=0, download=True):
    """The data set called `name`, or the one at the path `name`: a folder of class folders (in train/ and test/, or
    split here) or an .npz with x and y, or x_train, y_train, x_test, y_test, and perhaps classes.

    root: folder of the archives (default $FU_DATA, else data/ beside lib/). size: shorter side in pixels, then a
    centre crop to a square. channels: 3 repeats grey images. noise: sigma of the fixed pixel noise of `digits`.
    n_train, n_test: random subsets with the classes in proportion. test_share: where there is no split.
    normalise: a key of NORMS. Subsets, split and noise depend on the seed alone. Raises Bad.
    """
    name, root = str(name), Path(root or data_root())
    for key, number in (("size", size), ("n_train", n_train), ("n_test", n_test)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise Bad(f"{key}: {number!r} must be a whole number >= 1 or null")
    if channels not in (None, 1, 3):
        raise Bad(f"channels: {channels!r} must be 1, 3 or null")
    if not isinstance(test_share, int | float) or not 0 < test_share < 1:
        raise Bad(f"test_share: {test_share!r} must be a number > 0 and < 1")
    if normalise is not None and normalise not in NORMS:
        raise Bad(f"normalise: {normalise!r} is unknown; choose one of {', '.join(NORMS)} or null")
    if name in ("digits", "digits_clean"):
        return _digits(name, size, channels, noise if name == "digits" else 0.0, n_train, n_test, seed)
    if name in NAMES:
        path = _archive(name, root, size, download)
        arrays = read_archive(path, TORCHVISION[name][1])
    else:
        path = _own(name, root)
        name = path.stem
        arrays = read_folder(path, size, channels) if path.is_dir() else read_archive(path)
    return _assemble(name, path, arrays, size, channels, n_train, n_test, test_share, normalise, seed)


def _assemble(name, path, arrays, size, channels, n_train, n_test, test_share, normalise, seed):
    """Split, subset, resize and turn the arrays [N, H, W, C] into Data."""
    if "x" in arrays:
        total = len(arrays["y"])
        # the training part is rounded down, as in the 6,941 + 1,736 images of Caltech-101
        share = 1 - int(round((1 - test_share) * total, 6)) / total
        rest, chosen = stratified(arrays["y"], share, generator(seed, "data", "split"))
        if not len(rest) or not len(chosen):
            raise Bad(f"{path}: {total} images cannot be split by test_share {test_share}; add images")
        parts = [(arrays["x"], arrays["y"], rest), (arrays["x"], arrays["y"], chosen)]
    else:
        parts = [(arrays[f"x_{p}"], arrays[f"y_{p}"], torch.arange(len(arrays[f"y_{p}"]))) for p in ("train", "test")]
    out = []
    for (x, y, indices), part, count in zip(parts, ("train", "test"), (n_train, n_test), strict=True):
        indices = _subset(path, y, indices, f"n_{part}", count, generator(seed, "data", part))
        x = torch.from_numpy(np.ascontiguousarray(x[indices.numpy()].transpose(0, 3, 1, 2)))
        out += [_channels(_resize(x, size), channels, path), torch.from_numpy(y)[indices]]
    count = out[0].shape[1]
    norm = NORMS[normalise or (name if name in NORMS and len(NORMS[name][0]) == count else
                               "imagenet" if count == 3 and name != "mnist" else "half")]
    if len(norm[0]) not in (1, count):
        raise Bad(f"normalise: {normalise} is for 3 channels and {name} has {count}; set channels: 3")
    mean, std = (values * count if len(values) == 1 else values for values in norm)
    return Data(name, *out, tuple(arrays["classes"]), mean, std)


def _subset(path, y, indices, key, count, rng):
    if count is None or count == len(indices):
        return indices
    if count > len(indices):
        raise Bad(f"{path}: {key} {count} is more than the {len(indices)} images there are; lower it or set null")
    return indices[stratified(y[indices.numpy()], count / len(indices), rng)[1]]


def _resize(x, size):
    """Antialiased: the shorter side of x [N, C, H, W] becomes `size`, then the centre is cut out."""
    if size is None or tuple(x.shape[2:]) == (size, size):
        return x
    height, width = (max(size, round(side * size / min(x.shape[2:]))) for side in x.shape[2:])
    top, left = (height - size) // 2, (width - size) // 2
    out = torch.empty(*x.shape[:2], size, size, dtype=x.dtype)
    for i in range(0, len(x), 512):  # in pieces: floats of a whole set would not fit
        piece = x[i:i + 512] if x.is_floating_point() else x[i:i + 512].float()
        piece = torch.nn.functional.interpolate(piece, (height, width), mode="bilinear", antialias=True)
        piece = piece[:, :, top:top + size, left:left + size]
        out[i:i + 512] = piece if x.is_floating_point() else piece.round().clamp(0, 255).to(x.dtype)
    return out


def _channels(x, channels, path):
    if channels in (None, x.shape[1]):
        return x
    if channels == 1:
        raise Bad(f"{path}: channels: 1 asks for grey images and these are in colour; set 3 or null")
    return x.repeat(1, channels, 1, 1)


def _digits(name, size, channels, noise, n_train, n_test, seed):
    """scikit-learn's 1,797 digits [N, 1, 8, 8]: standardised by one mean and one deviation over all pixels, plus
    N(0, noise^2) per pixel, fixed per image and seed, over sqrt(1 + noise^2). 1,250 train unless n_train says else.
    """
    from sklearn.datasets import load_digits

    if not isinstance(noise, int | float) or isinstance(noise, bool) or not 0 <= noise < float("inf"):
        raise Bad(f"noise: {noise!r} must be a number >= 0")
    source = load_digits()
    y = torch.from_numpy(source.target).long()
    n_train = 1250 if n_train is None else n_train
    if n_train >= len(y):
        raise Bad(f"{name}: n_train {n_train} leaves no test images of the {len(y)} there are; take at most "
                  f"{len(y) - 1}")
    x = torch.from_numpy(source.images).double()[:, None]
    mean, std, scale = x.mean(), x.std(correction=0), (1 + noise**2) ** 0.5
    x = _channels(_resize((x - mean) / std, size), channels, name)
    if noise:
        # drawn for all images whatever the subset: an image looks the same in every subset of one seed
        x = (x + noise * torch.randn(x.shape, dtype=x.dtype, generator=generator(seed, "data", "noise"))) / scale
    rest, train = stratified(y, n_train / len(y), generator(seed, "data", "split"))
    test = _subset(name, y.numpy(), rest, "n_test", n_test, generator(seed, "data", "test"))
    return Data(name, x[train], y[train], x[test], y[test], tuple("0123456789"), None, None,
                float((16 - mean) / std / scale))


# --- archives ---------------------------------------------------------------------------------------------------


def read_archive(path, count=None):
    """The arrays of an .npz: x [N, H, W, C] and y (or x_train, ...), checked, and classes; `count` classes if given."""
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise Bad(f"{path}: there is no such file; check the path") from None
    except (OSError, EOFError, ValueError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        remedy = ("save plain arrays, not objects" if "allow_pickle" in str(error) and zipfile.is_zipfile(path) else
                  "delete it and fetch or make it again")
        raise Bad(f"{path}: cannot be read as an .npz archive ({_short(error)}); {remedy}") from error
    wanted = ("x", "y") if "x" in arrays else ("x_train", "y_train", "x_test", "y_test")
    missing = [key for key in wanted if key not in arrays]
    if missing:
        raise Bad(f"{path}: key {missing[0]!r} is missing (there: {', '.join(arrays) or 'none'}); "
                  "an archive holds x and y, or x_train, y_train, x_test and y_test")
    out = {}
    for key in wanted[::2]:
        x, y = arrays[key], arrays[key.replace("x", "y")]
        if x.dtype != np.uint8 or x.ndim not in (3, 4) or x.ndim == 4 and x.shape[3] not in (1, 3) or not x.size:
            raise Bad(f"{path}: {key} must be uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], "
                      f"not {x.dtype} {list(x.shape)}; convert it")
        out[key] = x if x.ndim == 4 else x[..., None]
        label = key.replace("x", "y")
        if y.dtype.kind not in "iu" or y.shape != x.shape[:1]:
            raise Bad(f"{path}: {label} must be {len(x)} integers, one per image of {key}, "
                      f"not {y.dtype} {list(y.shape)}; convert it")
        out[label] = y.astype(np.int64)
    if len({x.shape[1:] for key, x in out.items() if key.startswith("x")}) > 1:
        raise Bad(f"{path}: x_train and x_test differ in shape; make the images of one size and kind")
    out["classes"] = _classes(path, arrays.get("classes"), {k: y for k, y in out.items() if k[0] == "y"}, count)
    return out


def _classes(path, names, labels, count):
    """Names of the classes, after a check that the labels are among them."""
    first = next(iter(labels))
    if names is not None and (names.ndim != 1 or names.dtype.kind not in "US"):
        raise Bad(f"{path}: classes must be a row of names, not {names.dtype} {list(names.shape)}; convert it")
    if names is not None and count not in (None, len(names)):
        raise Bad(f"{path}: classes has {len(names)} names and the data set {count} classes; make the archive again")
    total = count or (len(names) if names is not None else int(labels[first].max()) + 1)
    for key, y in labels.items():
        if y.min() < 0 or y.max() >= total:
            raise Bad(f"{path}: {key} has the label {y.min() if y.min() < 0 else y.max()}, outside 0..{total - 1}; "
                      "number the classes from 0 without gaps")
    gap = np.setdiff1d(np.arange(min(total, len(labels[first]) + 1)), labels[first])
    if names is None and count is None and len(gap):
        raise Bad(f"{path}: {first} has no label {gap[0]} but labels up to {total - 1}; number the classes from 0 "
                  "without gaps, or name them in a key 'classes'")
    if names is None:
        return [str(c) for c in range(total)]
    return [c.decode() if isinstance(c, bytes) else str(c) for c in names]


def write_archive(path, **arrays):
    """Write an .npz whole or not at all."""
    write_by(path, lambda file: np.savez(file, **arrays))


def _archive(name, root, size, download):
    """Path of the archive of a known data set, made by torchvision where it is missing.

    Caltech-101's images are of mixed size, so what torchvision fetches is stored per size; an archive
    caltech101.npz without a size in its name serves every size.
    """
    sized = root / (f"{name}_{size}.npz" if name == "caltech101" and size else f"{name}.npz")
    for path in (sized, root / f"{name}.npz"):
        if path.exists():
            return path
    if name == "caltech101" and size is None:
        raise Bad(f"{sized}: there is no such archive and the original images are of mixed size; "
                  "set size to import them, or put an archive there")
    try:
        root.mkdir(parents=True, exist_ok=True)
        with locked(root / f".{name}.lock"):
            if not sized.exists():
                write_archive(sized, **_torchvision(name, root / "torchvision", size, download))
    except Bad:
        raise
    except Exception as error:  # whatever goes wrong in torchvision, the network or the disk
        raise Bad(f"{sized}: there is no such archive and {name} could not be fetched ({_short(error)}); put the "
                  "archive there, set FU_DATA to a folder that has it, or run once with network") from error
    return sized


def _torchvision(name, folder, size, download):
    """Arrays of a data set of torchvision, whose own files stay in `folder`."""
    from torchvision import datasets

    kind = getattr(datasets, TORCHVISION[name][0])
    if name == "caltech101":
        kind(str(folder), download=download)
        return read_folder(folder / "caltech101" / "101_ObjectCategories", size, 3, skip=("BACKGROUND_Google",))
    out = {}
    for part in ("train", "test"):
        source = kind(str(folder), train=part == "train", download=download)
        out[f"x_{part}"] = np.asarray(source.data, dtype=np.uint8)
        out[f"y_{part}"] = np.asarray(source.targets, dtype=np.int64)
    return out | {"classes": np.array(list("0123456789") if name == "mnist" else source.classes)}


def _short(error):
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:157] + '...' if len(text) > 160 else text}"


# --- one's own images -------------------------------------------------------------------------------------------


def _own(name, root):
    for base in (Path(), ROOT, root):
        path = base / Path(name).expanduser()
        if path.is_dir() or path.is_file() and path.suffix == ".npz":
            return path
        if path.is_file():
            raise Bad(f"{path}: own data is a folder of class folders or an .npz archive; convert the file")
    if os.sep in name or name.endswith(".npz"):
        raise Bad(f"dataset: there is no folder or archive {name}; check the path (tried {Path.cwd()}, {ROOT}, {root})")
    near = difflib.get_close_matches(name.lower(), NAMES, 3, 0.5) or NAMES
    raise Bad(f"dataset: {name!r} is unknown; did you mean {' or '.join(near)}, or the path of your own data?")


def read_folder(path, size=None, channels=None, skip=()):
    """Arrays of a folder of class folders of images, split already if it is made of train/ and test/."""
    path = Path(path)
    subfolders = _subfolders(path, skip)
    if {"train", "test"} == set(subfolders):
        classes, where = _subfolders(path / "train", skip), {"_train": path / "train", "_test": path / "test"}
        extra = sorted(set(_subfolders(path / "test", skip)) - set(classes))
        if extra:
            raise Bad(f"{path / 'test' / extra[0]}: train/ has no class of this name; rename or remove the folder")
    else:
        classes, where = subfolders, {"": path}
    files, out = {}, {"classes": np.array(classes)}
    for part, folder in where.items():
        files[part] = [(file, label) for label, c in enumerate(classes) for file in _images(folder / c)]
        for label, c in enumerate(classes):
            if part != "_test" and not any(found == label for _, found in files[part]):
                raise Bad(f"{folder / c}: the folder holds no images; add some or remove it")
        if not files[part]:
            raise Bad(f"{folder}: the folders hold no images ({', '.join(sorted(IMAGES))}); check the path")
    if channels is None:
        channels = 1 if all(_image(file).mode in ("1", "L") for f in files.values() for file, _ in f) else 3
    shape = None
    for part, pairs in files.items():
        images = []
        for file, _ in pairs:
            pixels = _pixels(file, size, channels)
            shape = shape or pixels.shape
            if pixels.shape != shape:
                raise Bad(f"{file}: this image has {pixels.shape[1]}x{pixels.shape[0]} pixels and the first one "
                          f"{shape[1]}x{shape[0]}; set size to resize and crop all of them")
            images.append(pixels)
        out[f"x{part}"], out[f"y{part}"] = np.stack(images), np.array([label for _, label in pairs])
    return out


def _subfolders(path, skip):
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith(".") and p.name not in skip)
    if not names:
        raise Bad(f"{path}: there are no class folders in it; make one folder of images per class")
    return names


def _images(folder):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES) if folder.is_dir() else []


@contextlib.contextmanager
def _readable(file):
    try:
        yield
    except Exception as error:  # Pillow raises many kinds: OSError, SyntaxError, ValueError, its bomb check
        raise Bad(f"{file}: this image cannot be read ({_short(error)}); replace or remove it") from error


def _image(file):
    """The header of an image file; pixels are read later."""
    from PIL import Image

    with _readable(file), Image.open(file) as image:
        return image


def _pixels(file, size, channels):
    """uint8 [H, W, channels]; with `size` the shorter side is resized to it and the centre cut out."""
    from PIL import Image

    with _readable(file), Image.open(file) as image:
        image = image.convert("L" if channels == 1 else "RGB")
        if size:
            sides = [max(size, round(side * size / min(image.size))) for side in image.size]
            left, top = ((side - size) // 2 for side in sides)
            image = image.resize(sides, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
        return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)
