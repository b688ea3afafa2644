"""Archives of arrays: one .npz a data set, one's own or made by torchvision, read with pickles forbidden.

One exemption: torchvision unpickles the CIFAR files that it has downloaded and checked against its own checksums,
once; from then on the .npz archive is used.
"""
import math
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import Bad, short
from ..files import data_root, locked, write_by
from .folders import read_folder
from .memory import must_fit

# name in torchvision and number of classes
TORCHVISION = {"mnist": ("MNIST", 10), "fashionmnist": ("FashionMNIST", 10), "cifar10": ("CIFAR10", 10),
               "cifar100": ("CIFAR100", 100), "caltech101": ("Caltech101", 101)}

# no photographs or drawings are packed as tightly as this; an array of zeros is
BOMB_BYTES, BOMB_RATIO = 2**28, 200


def read_archive(path, count=None):
    """The arrays of an .npz: x [N, H, W, C] and y (or x_train, ...), checked, and classes; `count` classes if given.

    What the archive declares is judged before anything of it is read.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise Bad(f"{path}: this is no ordinary file but a folder, a pipe or a device; give an .npz archive")
    try:
        with zipfile.ZipFile(path) as archive:
            headers = _headers(path, archive)
        headers = {key: header for key, header in headers.items() if key in (*_wanted(headers, path), "classes")}
        _judge_headers(path, headers)
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in headers}
    except FileNotFoundError:
        raise Bad(f"{path}: there is no such file; check the path") from None
    except Bad:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise many kinds over damaged bytes
        raise Bad(f"{path}: cannot be read as an .npz archive ({short(error)}); delete it and fetch or make it "
                  "again") from error
    return checked(arrays, path, count)


class Header(NamedTuple):
    """What a member of an archive declares: its array, the bytes of that, those in the zip, and those packed."""
    shape: tuple
    dtype: np.dtype
    declared: int
    stored: int
    packed: int


def _headers(path, archive):
    """`{key: Header}` of the arrays in an .npz; Bad for a member that is no array of it."""
    headers = {}
    for info in archive.infolist():
        key = info.filename.removesuffix(".npy")
        if key == info.filename or not key.isprintable() or {"/", "\\"} & set(key) or key in headers:
            raise Bad(f"{path}: the member {ascii(info.filename)} is no array of its own name; an archive is what "
                      "numpy.savez writes: make it again")
        with archive.open(info) as member:
            headers[key] = _header(member, info)
    return headers


def _header(member, info):
    version = np.lib.format.read_magic(member)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
    shape, _, dtype = read(member)
    return Header(shape, dtype, math.prod(shape) * dtype.itemsize, info.file_size - member.tell(), info.compress_size)


def _judge_headers(path, headers):
    """Bad where the arrays cannot be read as they are declared."""
    for key, header in headers.items():
        if header.dtype.hasobject:
            raise Bad(f"{path}: {key} holds Python objects; save plain arrays, not objects")
        if header.declared != header.stored:
            raise Bad(f"{path}: {key} declares {header.declared:,} bytes and holds {header.stored:,}; delete it and "
                      "fetch or make it again")
        if header.stored > BOMB_BYTES and header.stored > BOMB_RATIO * header.packed:
            raise Bad(f"{path}: {key} unpacks {header.packed:,} bytes to {header.stored:,}, as no images do; make the "
                      "archive of real images")
    packed = sum(header.packed for header in headers.values())
    if packed > path.stat().st_size:
        raise Bad(f"{path}: its arrays take {packed:,} bytes and the file has {path.stat().st_size:,}; delete it and "
                  "fetch or make it again")
    # twice: as they are in the archive, and as tensors
    must_fit(2 * sum(header.declared for header in headers.values()), path, "make a smaller archive")


def _wanted(keys, path):
    """The keys of the arrays that are read; Bad where one is missing, or images would be left out."""
    wanted = ("x", "y") if "x" in keys else ("x_train", "y_train", "x_test", "y_test")
    missing = [key for key in wanted if key not in keys]
    if missing:
        raise Bad(f"{path}: key {missing[0]!r} is missing (there: {', '.join(keys) or 'none'}); "
                  "an archive holds x and y, or x_train, y_train, x_test and y_test")
    for key in keys:
        if key.startswith("x") and key not in wanted:
            raise Bad(f"{path}: the images {key!r} would not be used beside {wanted[0]!r}; an archive holds x and y, "
                      "or x_train, y_train, x_test and y_test")
    return wanted


def checked(arrays, path, count=None):
    """The arrays as `read_archive` gives them; Bad, naming `path`, where they are none that can be used."""
    wanted = _wanted(arrays, path)
    out = {}
    for key in wanted[::2]:
        label = key.replace("x", "y")
        out[key] = _images(path, key, arrays[key])
        out[label] = _labels(path, label, arrays[label], key, len(out[key]))
    if len({out[key].shape[1:] for key in wanted[::2]}) > 1:
        raise Bad(f"{path}: x_train and x_test differ in shape; make the images of one size and kind")
    labels = {key: out[key] for key in wanted[1::2]}
    names = _names(path, arrays.get("classes"), count)
    out["classes"] = _numbered(path, labels, count) if names is None else names
    _judge_labels(path, labels, len(out["classes"]))
    return out


def _images(path, key, x):
    """x as [N, H, W, C]."""
    grey = x.ndim == 3 or x.ndim == 4 and x.shape[3] == 1
    colour = x.ndim == 4 and x.shape[3] == 3
    if x.dtype != np.uint8 or not (grey or colour) or not x.size:
        raise Bad(f"{path}: {key} must be uint8 [N, H, W], [N, H, W, 1] or [N, H, W, 3], "
                  f"not {x.dtype} {list(x.shape)}; convert it")
    return x if x.ndim == 4 else x[..., None]


def _labels(path, label, y, key, count):
    if y.dtype.kind not in "iu" or y.shape != (count,):
        raise Bad(f"{path}: {label} must be {count} integers, one per image of {key}, "
                  f"not {y.dtype} {list(y.shape)}; convert it")
    return y.astype(np.int64)


def _names(path, names, count):
    """Names of the classes as words, or None."""
    if names is None:
        return None
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise Bad(f"{path}: classes must be a row of names, not {names.dtype} {list(names.shape)}; convert it")
    if count not in (None, len(names)):
        raise Bad(f"{path}: classes has {len(names)} names and the data set {count} classes; make the archive again")
    words = [name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names]
    twice = [word for word in words if words.count(word) > 1]
    if twice:
        raise Bad(f"{path}: classes has the name {twice[0]!r} twice; name each class once")
    return words


def _numbered(path, labels, count):
    """Numbers as names of the classes: of `count`, else of as many as there are labels without a gap."""
    if count is not None:
        return [str(c) for c in range(count)]
    first, y = next(iter(labels.items()))
    total = int(y.max()) + 1
    gap = np.setdiff1d(np.arange(min(total, len(y) + 1)), y)
    if len(gap):
        raise Bad(f"{path}: {first} has no label {gap[0]} but labels up to {total - 1}; number the classes from 0 "
                  "without gaps, or name them in a key 'classes'")
    return [str(c) for c in range(total)]


def _judge_labels(path, labels, total):
    for key, y in labels.items():
        if y.min() < 0 or y.max() >= total:
            raise Bad(f"{path}: {key} has the label {y.min() if y.min() < 0 else y.max()}, outside 0..{total - 1}; "
                      "number the classes from 0 without gaps")


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
