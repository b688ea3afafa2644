"""Images as bytes: files and Pillow images, and objects as torchvision has them.

What Pillow's own conversions would change in silence is settled here:
* 16 bits a channel: the upper byte is kept, in grey as Pillow does it in colour. 32 bits and floats have no known
  white and are refused.
* Transparent pixels are laid on white.
* The orientation that a camera notes in EXIF is applied; a TIFF that is to be turned is refused.
* An image of several frames is refused; a palette becomes colours; CMYK becomes RGB without a colour profile.
"""
import contextlib
import warnings
from pathlib import Path

import numpy as np
import torch

from ..errors import Bad, short
from .memory import must_fit

# what Pillow may decode; left out is what starts other programs, as EPS does
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
GREY = {"1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"}
DEEP = GREY - {"1", "L", "LA", "La"}
BITS_PER_SAMPLE, PHOTOMETRIC, BLACK_IS_ZERO, ORIENTATION = 258, 262, 1, 274     # of TIFF


def read_images(files, size, channels, shape=None):
    """uint8 [N, H, W, channels] of image files; shape: the [H, W, channels] that all must have, else that of the first."""
    out = None
    for i, file in enumerate(files):
        with _opened(file) as image:
            pixels = pixels_of(image, size, channels, file)
        shape = shape or pixels.shape
        if pixels.shape != shape:
            raise Bad(f"{file}: this image has {pixels.shape[1]}x{pixels.shape[0]} pixels and the first one "
                      f"{shape[1]}x{shape[0]}; set size to resize and crop all of them")
        if out is None:
            must_fit(len(files) * pixels.size, Path(file).parent.parent, "set a smaller size, or take fewer images")
            out = np.empty((len(files), *shape), np.uint8)
        out[i] = pixels
    return out


def is_grey(file):
    """Whether an image file holds no colours; its pixels are not read."""
    with _opened(file) as image:
        return image.mode in GREY


@contextlib.contextmanager
def _opened(file):
    """An image file; Bad, naming it, for all that goes wrong while it is open."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file, formats=FORMATS) as image:
                yield image
    except Bad:
        raise
    except Exception as error:  # Pillow raises many kinds: OSError, SyntaxError, ValueError, its bomb check
        raise Bad(f"{file}: this image cannot be read ({short(error)}); replace or remove it") from error


def pixels_of(image, size, channels, where):
    """uint8 [H, W, channels] of a Pillow image; with `size` the shorter side is resized to it and the centre cut out."""
    from PIL import Image, ImageOps

    _judge(image, where)
    image = ImageOps.exif_transpose(image)
    image = _opaque(_shallow(image))
    image = image.convert("L" if channels == 1 else "RGB")
    if size:
        sides = [max(size, round(side * size / min(image.size))) for side in image.size]
        left, top = ((side - size) // 2 for side in sides)
        image = image.resize(sides, Image.Resampling.BILINEAR).crop((left, top, left + size, top + size))
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)


def _judge(image, where):
    """Bad where it is unknown which picture is meant, which way is up, or which value is white."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":    # a camera's JPEG with a preview behind it
        raise Bad(f"{where}: this image has {frames} frames; save the one that is meant as an image of its own")
    if image.format == "TIFF" and image.tag_v2.get(ORIENTATION, 1) != 1:    # Pillow turns them, but not all
        raise Bad(f"{where}: this TIFF is to be turned by orientation {image.tag_v2[ORIENTATION]}; save it upright")
    image.load()
    if image.mode in DEEP and not _white_is_65535(image):
        raise Bad(f"{where}: grey values of this depth (mode {image.mode}) have no known white; save the image with "
                  "8 bits, or with 16 of which 65535 is white")


def _white_is_65535(image):
    """Whether an image of DEEP holds 0 (black) to 65535 (white), without a transparent value among them."""
    if "transparency" in image.info:
        return False
    if image.format == "TIFF":
        tags = image.tag_v2
        return tags.get(BITS_PER_SAMPLE) == (16,) and tags.get(PHOTOMETRIC) == BLACK_IS_ZERO and image.mode != "I"
    if image.format == "PPM":       # Pillow stretches every largest value to 65535
        return image.mode == "I"
    return image.mode.startswith("I;16")


def _shallow(image):
    """An image of 16 bits with the upper byte of each value; any other as it is."""
    from PIL import Image

    if image.mode not in DEEP:
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


def _opaque(image):
    """An image with transparent pixels, laid on white; any other as it is."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)


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
        image, label = _pair(dataset[i], f"{where}: image {i}")
        pixels = _sample(image, f"{where}: image {i}", size)
        if images and pixels.shape != images[0].shape:
            raise Bad(f"{where}: image {i} is {list(pixels.shape)} and the first one {list(images[0].shape)}; "
                      "set size, and convert all to one kind")
        images.append(pixels)
        labels.append(label)
    if not images:
        raise Bad(f"{where}: there are no images in it")
    found = {"x": np.stack(images), "y": np.array(labels)}
    names = getattr(dataset, "classes", None)
    return found | ({"classes": np.array([str(name) for name in names])} if names is not None else {})


def _pair(sample, where):
    """`(image, label)` of a sample, the label a whole number."""
    try:
        image, label = sample
        number = int(label)
    except (TypeError, ValueError, RuntimeError):
        raise Bad(f"{where} comes without a label; a sample is (image, label), the label a whole number") from None
    if number != label:
        raise Bad(f"{where} has the label {label}; a label is a whole number from 0")
    return image, number


def _sample(image, where, size):
    """uint8 [H, W, C] of one image."""
    if isinstance(image, torch.Tensor):
        return _from_tensor(image, where)
    if isinstance(image, np.ndarray):
        return image if image.ndim == 3 else image[..., None]
    if not hasattr(image, "mode"):
        raise Bad(f"{where} is of type {type(image).__name__}; give a Pillow image, an array or a tensor")
    return pixels_of(image, size, 1 if image.mode in GREY else 3, where)


def _from_tensor(image, where):
    if image.ndim != 3 or not image.numel():
        raise Bad(f"{where} is a tensor of shape {list(image.shape)}; give [C, H, W]")
    if image.is_floating_point():
        if not bool((image >= 0).logical_and(image <= 1).all()):    # NaN is neither
            raise Bad(f"{where} has values outside 0 to 1; give images before they are normalised")
        image = (image * 255).round().byte()
    return image.permute(1, 2, 0).numpy()
