"""Folders of class folders: which image is of which class.

Passed over are only what systems leave behind (names with a dot in front, JUNK) and notes (NOTES); anything else that
is no image of a class is refused, so that no image is dropped in silence.
"""
import unicodedata
from pathlib import Path

import numpy as np

from ..errors import Bad, short
from .images import is_grey, read_images

IMAGES = {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
          ".webp"}
NOTES = {".csv", ".html", ".json", ".md", ".pdf", ".txt", ".xml", ".yaml", ".yml"}
JUNK = {"__macosx", "@eadir", "desktop.ini", "thumbs.db"}
SPLITS = {"train", "training", "val", "valid", "validation", "test", "testing"}


def read_folder(path, size=None, channels=None, skip=()):
    """Arrays of a folder of class folders of images, split already if it is made of train/ and test/."""
    parts, classes = _layout(Path(path), skip)
    files = {part: _files(folder, classes) for part, folder in parts.items()}
    if channels is None:
        channels = 1 if all(is_grey(file) for lists in files.values() for of_class in lists for file in of_class) else 3
    out, shape = {"classes": np.array(classes)}, None
    for part, lists in files.items():
        out[f"x{part}"] = read_images([file for of_class in lists for file in of_class], size, channels, shape)
        out[f"y{part}"] = np.repeat(np.arange(len(classes)), [len(of_class) for of_class in lists])
        shape = out[f"x{part}"].shape[1:]
    return out


def _layout(path, skip):
    """`({part: folder}, class names)`; the parts are "_train" and "_test", or "" where there is no split."""
    names = _folders(path, skip)
    if not _is_split(path, names):
        return {"": path}, names
    test, train = (path / name for name in sorted(names, key=str.casefold))
    classes = _folders(train, skip)
    extra = sorted(set(_folders(test, skip)) - set(classes))
    if extra:
        raise Bad(f"{test / extra[0]}: train/ has no class of this name; rename or remove the folder")
    return {"_train": train, "_test": test}, classes


def _is_split(path, names):
    """Whether the folders are train/ and test/; Bad for another split. A class may be called `train`, too."""
    words = [name for name in names if name.casefold() in SPLITS]
    nested = any(entry.is_dir() for word in words for entry in _entries(path / word))
    if not words or not nested and len(words) < len(names):
        return False
    if sorted(name.casefold() for name in names) == ["test", "train"]:
        return True
    raise Bad(f"{path}: of a split only train/ and test/ are understood, and here is {', '.join(words)}"
              f"{' among other folders' if len(words) < len(names) else ''}; validation images are drawn from those of "
              "train/ by val_share")


def _folders(path, skip):
    """Names of the folders in a folder; Bad where there are none, or images lie beside them."""
    names = []
    for entry in _entries(path):
        if entry.is_dir():
            names.append(entry.name)
        elif not _is_note(entry):
            raise Bad(f"{entry}: this lies beside the class folders; move an image into the folder of its class, and "
                      "anything else away")
    names = [name for name in names if name not in skip]
    if not names:
        raise Bad(f"{path}: there are no class folders in it; make one folder of images per class")
    _all_differ(path, names)
    return names


def _all_differ(path, names):
    """Bad where two names would be one on another system."""
    seen = {}
    for name in names:
        key = unicodedata.normalize("NFC", name).casefold()
        if key in seen:
            raise Bad(f"{path}: the class folders {seen[key]} and {name} differ in case or accents' form only; "
                      "put their images together or rename one")
        seen[key] = name


def _files(folder, classes):
    """The image files of each class, in the order of the classes."""
    files = [_images(folder / name) for name in classes]
    if not any(files):
        raise Bad(f"{folder}: the folders hold no images ({', '.join(sorted(IMAGES))}); check the path")
    for name, of_class in zip(classes, files, strict=True):
        if not of_class:
            raise Bad(f"{folder / name}: the folder holds no images; add some, or remove the class")
    return files


def _images(folder):
    """The image files of a class; Bad for what is neither an image nor a note."""
    if not folder.is_dir():
        return []
    files = [entry for entry in _entries(folder) if not _is_note(entry)]
    for file in files:
        if file.is_dir():
            raise Bad(f"{file}: a folder within a class folder; move its images up, or make it a class of its own")
        if not file.is_file():
            raise Bad(f"{file}: this is no ordinary file but a pipe, a device or a link to nothing; remove it")
        if file.suffix.lower() not in IMAGES:
            raise Bad(f"{file}: its ending is none of {', '.join(sorted(IMAGES))}; convert or remove it")
    return files


def _entries(folder):
    """What a folder holds, sorted, without what systems leave behind."""
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise Bad(f"{folder}: the folder cannot be read ({short(error)}); check its permissions") from error
    entries = [e for e in entries if not e.name.startswith(".") and e.name.casefold() not in JUNK]
    for entry in entries:
        if not entry.name.isprintable():
            raise Bad(f"{folder}: the name {ascii(entry.name)} holds letters that cannot be printed; rename it")
    return entries


def _is_note(entry):
    bare = entry.name.upper() in ("LICENSE", "README")
    return (bare or entry.suffix.lower() in NOTES) and not entry.is_dir()
