"""Images of one's own: folders of class folders, read by Pillow into arrays."""
import contextlib
from pathlib import Path

import numpy as np
import torch

from ..errors import Bad, short

IMAGES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}


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
        raise Bad(f"{file}: this image cannot be read ({short(error)}); replace or remove it") from error


def _image(file):
    """The header of an image file; pixels are read later."""
    from PIL import Image

    with _readable(file), Image.open(file) as image:
        return image


def _pixels(file, size, channels):
    from PIL import Image

    with _readable(file), Image.open(file) as image:
        return pixels_of(image, size, channels)


def pixels_of(image, size, channels):
    """uint8 [H, W, channels] of a Pillow image; with `size` the shorter side is resized to it and the centre cut out."""
    from PIL import Image

    image = image.convert("L" if channels == 1 else "RGB")
    if size:
        sides = [max(size, round(side * size / min(image.size))) for side in image.size]
        left, top = ((side - size) // 2 for side in sides)
        image = image.resize(sides, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)


# --- objects as torchvision has them ----------------------------------------------------------------------------


def read_samples(dataset, where, size=None):
    """Arrays `x`, `y` and perhaps `classes` of an object with a length and `dataset[i] -> (image, label)`.

    An image is a Pillow image, an array uint8 [H, W] or [H, W, C], or a tensor [C, H, W] of bytes or of 0 to 1.
    """
    if not (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")):
        raise Bad(f"{where}: it returns {type(dataset).__name__}; return arrays (x, y), (x_train, y_train, x_test, "
                  "y_test), or one or two objects with dataset[i] -> (image, label)")
    images, labels = [], []
    for i in range(len(dataset)):
        image, label = dataset[i]
        pixels = _sample(image, f"{where}: image {i}", size)
        if images and pixels.shape != images[0].shape:
            raise Bad(f"{where}: image {i} is {list(pixels.shape)} and the first one {list(images[0].shape)}; "
                      "set size, and convert all to one kind")
        images.append(pixels)
        labels.append(int(label))
    if not images:
        raise Bad(f"{where}: there are no images in it")
    found = {"x": np.stack(images), "y": np.array(labels)}
    names = getattr(dataset, "classes", None)
    return found | ({"classes": np.array([str(name) for name in names])} if names is not None else {})


def _sample(image, where, size):
    """uint8 [H, W, C] of one image."""
    if isinstance(image, torch.Tensor):
        return _from_tensor(image, where)
    if isinstance(image, np.ndarray):
        return image if image.ndim == 3 else image[..., None]
    return pixels_of(image, size, 1 if image.mode in ("1", "L") else 3)


def _from_tensor(image, where):
    if image.is_floating_point():
        if image.min() < 0 or image.max() > 1:
            raise Bad(f"{where} has values outside 0 to 1; give images before they are normalised")
        image = (image * 255).round().byte()
    return image.permute(1, 2, 0).numpy()
