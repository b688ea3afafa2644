"""Archives of arrays: one .npz a data set, one's own or made by torchvision, read with pickles forbidden.

One exemption: torchvision unpickles the CIFAR files that it has downloaded and checked against its own checksums,
once; from then on the .npz archive is used.
"""
import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import Bad, short
from ..files import data_root, locked, write_by
from .images import read_folder

# name in torchvision and number of classes
TORCHVISION = {"mnist": ("MNIST", 10), "fashionmnist": ("FashionMNIST", 10), "cifar10": ("CIFAR10", 10),
               "cifar100": ("CIFAR100", 100), "caltech101": ("Caltech101", 101)}


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
        raise Bad(f"{path}: cannot be read as an .npz archive ({short(error)}); {remedy}") from error
    return checked(arrays, path, count)


def checked(arrays, path, count=None):
    """The arrays as `read_archive` gives them; Bad, naming `path`, where they are none that can be used."""
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


def known(name, size=None):
    """The arrays of a data set that torchvision knows, from its archive, which is made where it is missing."""
    return read_archive(_archive(name, data_root(), size), TORCHVISION[name][1])


def _archive(name, root, size):
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
                write_archive(sized, **_torchvision(name, root / "torchvision", size))
    except Bad:
        raise
    except Exception as error:  # whatever goes wrong in torchvision, the network or the disk
        raise Bad(f"{sized}: there is no such archive and {name} could not be fetched ({short(error)}); put the "
                  "archive there, set FU_DATA to a folder that has it, or run once with network") from error
    return sized


def _torchvision(name, folder, size):
    """Arrays of a data set of torchvision, whose own files stay in `folder`."""
    from torchvision import datasets

    kind = getattr(datasets, TORCHVISION[name][0])
    if name == "caltech101":
        kind(str(folder), download=True)
        return read_folder(folder / "caltech101" / "101_ObjectCategories", size, 3, skip=("BACKGROUND_Google",))
    out = {}
    for part in ("train", "test"):
        source = kind(str(folder), train=part == "train", download=True)
        out[f"x_{part}"] = np.asarray(source.data, dtype=np.uint8)
        out[f"y_{part}"] = np.asarray(source.targets, dtype=np.int64)
    return out | {"classes": np.array(list("0123456789") if name == "mnist" else source.classes)}
