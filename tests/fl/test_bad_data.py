"""Data that cannot be used: each row of bad_data.csv is refused in one sentence before anything trains.

A row names a place, how the data are spoilt there (a function of this file), with what, and what the sentence must
say, parts being joined by ` + `.
"""
import csv
import io
import os
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from conftest import TINY
from PIL import Image

import lib
from lib.errors import Bad
from lib.fl import memory
from lib.settings import check

TABLE = Path(__file__).with_name("bad_data.csv")
with TABLE.open(newline="", encoding="utf-8") as file:
    ROWS = list(csv.DictReader(file))
WHOLE = {**TINY, "clients": 2, "n_train": None, "n_test": None}


# ---- folders: pets/cat and pets/dog, five images each

def picture(mode="RGB", size=(9, 9)):
    return Image.new(mode, size)


def image(pets, value):
    for name in value.split(" + "):
        path = pets / name.replace("\\n", "\n")
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().save(path)


def text(pets, value):
    path = pets / value
    path.parent.mkdir(exist_ok=True)
    path.write_text("" if "empty" in value else "no image")


def empty_folder(pets, value):
    (pets / value).mkdir()


def split(pets, value):
    for c in ("cat", "dog"):
        for part in value.split():
            (pets / part / c).mkdir(parents=True)
            picture().save(pets / part / c / "a.png")
        for old in (pets / c).iterdir():
            old.unlink()
        (pets / c).rmdir()


def postscript(pets, value):
    (pets / value).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")


def cut(pets, value):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8)).save(pets / value)
    raw = (pets / value).read_bytes()
    (pets / value).write_bytes(raw[:len(raw) * 2 // 3])


def huge(pets, value):
    width, height = map(int, value.split("x"))
    header = struct.pack("<2sIHHI", b"BM", 54, 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 24, *[0] * 6)
    (pets / "cat" / "huge.bmp").write_bytes(header)


def mode(pets, value):
    kind, ending = value.split()
    picture(kind).save(pets / "cat" / f"odd.{ending}")


def inverted(pets, value):
    """White is zero, which Pillow does not heed in images of 16 bits."""
    picture("I;16").save(pets / "cat" / "odd.tiff", tiffinfo={262: 0})
    with Image.open(pets / "cat" / "odd.tiff") as found:
        if found.tag_v2[262] == 0:
            return
    path = pets / "cat" / "odd.tiff"        # Pillow writes its own value over the one it is given
    raw = path.read_bytes()
    entry = raw.index(struct.pack("<HHI", 262, 3, 1))
    path.write_bytes(raw[:entry + 8] + struct.pack("<H", 0) + raw[entry + 10:])


def turned(pets, value):
    picture().save(pets / "cat" / "odd.tiff", tiffinfo={274: int(value)})


def frames(pets, value):
    more = [Image.new("RGB", (9, 9), (k, 0, 0)) for k in (50, 100)]
    picture().save(pets / "cat" / f"odd.{value}", save_all=True, append_images=more)


def pipe(pets, value):
    os.mkfifo(pets / value if value else pets)


def device(pets, value):
    (pets / value).symlink_to("/dev/zero")


def link(pets, value):
    name, target = value.split()
    (pets / name).symlink_to(target)


def sizes(pets, value):
    picture(size=tuple(map(int, value.split("x")))).save(pets / "dog" / "9.png")


def only(pets, value):
    for c in {"cat", "dog"} - {value}:
        for old in (pets / c).iterdir():
            old.unlink()
        (pets / c).rmdir()


FOLDERS = {"image": image, "text": text, "folder": empty_folder, "split": split, "postscript": postscript, "cut": cut,
           "huge": huge, "mode": mode, "inverted": inverted, "frames": frames, "turned": turned, "pipe": pipe, "device": device,
           "link": link, "sizes": sizes, "only": only}


def in_folder(tmp_path, key, value):
    pets = tmp_path / "pets"
    for c in ("cat", "dog"):
        (pets / c).mkdir(parents=True)
        for i in range(5):
            picture().save(pets / c / f"{i}.png")
    FOLDERS[key](pets, value)
    return {**WHOLE, "dataset": str(pets)}


# ---- archives: 40 grey images of 8 x 8 pixels, labels 0 to 3

def arrays(shape=(40, 8, 8)):
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    return {"x": x, "y": np.arange(40) % 4}


def of_dtype(path, value):
    x, name = arrays()["x"], value.split()[0]
    x = np.array([{}] * 40) if name == "object" else x.astype(name)
    if "nan" in value:
        x[0] = np.nan
    np.savez(path, **{**arrays(), "x": x})


def of_shape(path, value):
    np.savez(path, **arrays([int(side) for side in value.split()]))


def labels(path, value):
    y = arrays()["y"]
    spoilt = {"one class": 0 * y, "word": y.astype(str), "column": y[:, None], "0.5": y + 0.5}
    if value not in spoilt:
        y[3] = int(value)
    np.savez(path, **{**arrays(), "y": spoilt.get(value, y)})


def classes(path, value):
    np.savez(path, **arrays(), classes=np.arange(4) if value == "1" else np.array(value.split()))


def rename(path, value):
    old, new = value.split()
    np.savez(path, **{new if key == old else key: a for key, a in arrays().items()})


def more_arrays(path, value):
    np.savez(path, **arrays(), **{value: arrays()["x"]})


def text_file(path, value):
    path.write_text(value)


def npy(path, value):
    with path.open("wb") as file:
        np.save(file, arrays()["x"])


def declares(path, value):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (int(value), 1, 1)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + bytes(100))
        archive.writestr("y.npy", header.getvalue() + bytes(100))


def zeros(path, value):
    np.savez_compressed(path, **{**arrays(), "x": np.zeros((40, int(value) // 40, 1), np.uint8)})


def member(path, value):
    np.savez(path, **arrays())
    with zipfile.ZipFile(path, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")     # of a name that is there twice
        archive.writestr(value, b"x")


def cut_archive(path, value):
    np.savez(path, **arrays())
    path.write_bytes(path.read_bytes()[:int(value)])


def special(path, value):
    path.symlink_to(path if value == "self" else value)


ARCHIVES = {"dtype": of_dtype, "shape": of_shape, "labels": labels, "classes": classes, "rename": rename,
            "more": more_arrays, "text": text_file, "npy": npy, "declares": declares, "zeros": zeros,
            "member": member, "cut": cut_archive, "pipe": pipe, "device": special, "link": special}


def in_archive(tmp_path, key, value):
    path = tmp_path / "own.npz"
    ARCHIVES[key](path, value)
    return {**WHOLE, "dataset": str(path)}


# ---- paths, and settings that the data do not allow

def as_path(tmp_path, key, value):
    return {**WHOLE, "dataset": value}


def in_task(tmp_path, key, value):
    path = tmp_path / "own.npz"
    shape = (40, 8, 8, 3) if key == "colour" else (40, 8, 8)
    np.savez(path, **arrays(shape))
    s = {**WHOLE, "dataset": str(path)}
    if key == "digits":
        return {**s, "dataset": "digits", "n_train": int(value)}
    if key == "input_size 3 for a net":
        np.savez(path, **arrays((40, 3, 3)))
        return {**s, "model": value}
    if key == "one image a client":
        return {**s, "model": value, "clients": 32, "val_share": 0.0}
    if key == "batch_size 1":
        return {**s, "model": value, "batch_size": 1}
    if key == "model":
        return {**s, "model": value, "patch": 3}
    if key == "colour":
        return {**s, "channels": 1}
    return {**s, key: value if value.isalpha() else float(value) if "." in value else int(value)}


PLACES = {"folder": in_folder, "archive": in_archive, "path": as_path, "task": in_task}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    monkeypatch.setenv("FU_DATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize("row", ROWS, ids=[f"{i + 2} {r['place']} {r['key']}" for i, r in enumerate(ROWS)])
def test_data_that_cannot_be_used(row, tmp_path):
    settings = PLACES[row["place"]](tmp_path, row["key"], row["value"])
    with pytest.raises(Bad) as caught:
        lib.make_task(settings, 0)
    sentence = str(caught.value)
    for words in row["words"].split(" + "):
        assert words in sentence, sentence
    assert "\n" not in sentence and "allow_pickle" not in sentence and len(sentence) < 700
    if row["place"] in ("folder", "archive") and "link" not in row["key"]:
        assert str(tmp_path) in sentence or sentence.startswith(("size:", "model:"))


@pytest.mark.parametrize("row", [r for r in ROWS if r["place"] == "path" and r["value"] != "lib"],
                         ids=lambda row: row["value"])
def test_the_settings_refuse_the_same_paths(row, tmp_path):
    with pytest.raises(Bad):
        check({"s": {"dataset": row["value"]}})


def test_paths_are_found_alike_by_settings_and_reader(tmp_path, monkeypatch):
    """From `~`, from the folder of the archives, from the repository and absolute; never from where one stands."""
    in_archive(tmp_path, "rename", "z z")
    (tmp_path / "here").mkdir()
    for name in ("~/own.npz", "own.npz", str(tmp_path / "own.npz"), os.path.relpath(tmp_path / "own.npz", lib.files.ROOT)):
        check({"s": {"dataset": name}})
        assert lib.load(name).name == "own"
    monkeypatch.chdir(tmp_path / "here")
    np.savez("local.npz", **arrays())
    with pytest.raises(Bad, match="unknown|no file"):
        check({"s": {"dataset": "local.npz"}})
    with pytest.raises(Bad, match="no folder or archive"):
        lib.load("local.npz")


def test_what_does_not_fit_into_memory_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available", lambda: 3000)
    for settings in (in_archive(tmp_path, "rename", "z z"), {**in_folder(tmp_path, "only", "cat"), "size": 64}):
        with pytest.raises(Bad, match="GB of memory are free"):
            lib.make_task(settings, 0)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path):
    settings = in_folder(tmp_path, "folder", "bird")
    (tmp_path / "pets" / "bird").chmod(0)
    with pytest.raises(Bad, match="bird: the folder cannot be read"):
        lib.make_task(settings, 0)
    (tmp_path / "pets" / "bird").rmdir()
    (tmp_path / "pets" / "cat" / "0.png").chmod(0)
    with pytest.raises(Bad, match="0.png: this image cannot be read"):
        lib.make_task(settings, 0)


def test_the_table_is_long_enough():
    assert len(ROWS) >= 40 and all(row["words"] for row in ROWS)
