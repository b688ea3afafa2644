"""Images as they are meant: depth, transparency, orientation, palettes, and what else an image file may hold."""
import numpy as np
import pytest
import torch
from PIL import Image

from lib.errors import Bad
from lib.fl.archives import write_archive
from lib.fl.data import NORMS, load
from lib.fl.folders import IMAGES, JUNK, read_folder
from lib.fl.images import read_samples

RAMP = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)


@pytest.fixture(autouse=True)
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("FU_DATA", str(tmp_path))


def read(tmp_path, image, name="a.png", channels=None, **how):
    """One image file, as it is read."""
    for c in ("cat", "dog"):
        (tmp_path / "pets" / c).mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "pets" / c / name, **how)
    return read_folder(tmp_path / "pets", channels=channels)["x"][0]


@pytest.mark.parametrize("name", ["a.png", "a.tiff", "a.pgm"])
@pytest.mark.parametrize("channels", [None, 1, 3])
def test_16_bits_keep_their_upper_byte(tmp_path, name, channels):
    got = read(tmp_path, Image.fromarray(RAMP), name, channels)
    assert got.shape == (16, 16, channels or 1)
    assert all(np.array_equal(got[..., c], RAMP >> 8) for c in range(got.shape[2]))
    assert got.min() == 0 and got.max() == 255 and len(np.unique(got)) == 256


def test_16_bits_of_the_other_byte_order(tmp_path):
    got = read(tmp_path, Image.frombytes("I;16B", (16, 16), RAMP.astype(">u2").tobytes()), "a.tiff")
    assert np.array_equal(got[..., 0], RAMP >> 8)


def test_16_bits_in_colour_keep_their_upper_byte(tmp_path):
    """Pillow reads them so but does not write them."""
    import struct
    import zlib
    rgb = np.stack([RAMP, RAMP[::-1], 0 * RAMP], -1).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in rgb)
    png = b"\x89PNG\r\n\x1a\n"
    for kind, body in ((b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")):
        png += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    for c in ("cat", "dog"):
        (tmp_path / "pets" / c).mkdir(parents=True)
        (tmp_path / "pets" / c / "a.png").write_bytes(png)
    assert np.array_equal(read_folder(tmp_path / "pets")["x"][0], rgb.astype(np.uint16) >> 8)


@pytest.mark.parametrize("name, mode, colours, expected", [
    ("a.png", "RGBA", [(200, 0, 0, 0), (200, 0, 0, 255), (0, 0, 0, 128)], [(255,) * 3, (200, 0, 0), (127,) * 3]),
    ("a.webp", "RGBA", [(200, 0, 0, 0), (200, 0, 0, 0), (9, 9, 9, 0)], [(255,) * 3] * 3),
    ("a.png", "LA", [(60, 0), (60, 255), (0, 128)], [(255,), (60,), (127,)]),
    ("a.tiff", "LA", [(60, 0), (60, 255), (0, 128)], [(255,), (60,), (127,)]),
])
def test_transparent_pixels_are_white(tmp_path, name, mode, colours, expected):
    image = Image.new(mode, (3, 1))
    for i, colour in enumerate(colours):
        image.putpixel((i, 0), colour)
    assert read(tmp_path, image, name)[0].tolist() == [list(e) for e in expected]


@pytest.mark.parametrize("mode, hidden, shown", [("RGB", (9, 8, 7), (1, 2, 3)), ("L", 9, 7)])
def test_the_colour_that_means_transparent_is_white(tmp_path, mode, hidden, shown):
    image = Image.new(mode, (2, 1), hidden)
    image.putpixel((1, 0), shown)
    got = read(tmp_path, image, transparency=hidden)
    assert got[0, 0].tolist() == [255] * got.shape[2] and got[0, 1].ravel().tolist() == list(np.atleast_1d(shown))


@pytest.mark.parametrize("ending", ["png", "gif"])
def test_a_palette_becomes_its_colours(tmp_path, ending):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((1, 0), 1)
    assert read(tmp_path, image, f"a.{ending}").tolist() == [[[10, 20, 30], [200, 100, 50]]]
    clear = read(tmp_path, image, f"a.{ending}", transparency=0)
    assert clear.tolist() == [[[255] * 3, [200, 100, 50]]]


def test_print_colours_and_black_and_white(tmp_path):
    assert read(tmp_path, Image.new("CMYK", (1, 1), (255, 0, 0, 0)), "a.tiff").tolist() == [[[0, 255, 255]]]
    print_jpeg = read(tmp_path / "jpeg", Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "a.jpg")
    assert np.abs(print_jpeg.astype(int) - [0, 255, 255]).max() <= 3
    bits = Image.new("1", (2, 1))
    bits.putpixel((1, 0), 1)
    assert read(tmp_path / "bits", bits).tolist() == [[[0], [255]]]


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
def test_a_camera_held_upright_is_upright(tmp_path, name):
    image = Image.new("L", (16, 8))
    image.paste(255, (0, 0, 8, 8))      # white on the left
    exif = Image.Exif()
    exif[0x0112] = 6                    # to be turned by 90 degrees, clockwise
    got = read(tmp_path, image, name, channels=1, exif=exif)
    assert got.shape == (16, 8, 1) and got[:6].min() > 200 and got[-6:].max() < 50


def test_the_first_picture_of_a_cameras_pair_is_taken(tmp_path):
    got = read(tmp_path, Image.new("RGB", (8, 8), "white"), "a.jpg", format="MPO", save_all=True,
               append_images=[Image.new("RGB", (8, 8))])
    assert got.min() == 255


@pytest.mark.parametrize("ending", sorted(IMAGES))
@pytest.mark.parametrize("upper", [False, True])
def test_every_ending_is_read(tmp_path, ending, upper):
    kind = {".jfif": "JPEG", ".jpe": "JPEG", ".pbm": "PPM", ".pgm": "PPM", ".pnm": "PPM"}.get(ending)
    mode = {".pbm": "1", ".pgm": "L"}.get(ending, "RGB")
    name = f"a{ending.upper() if upper else ending}"
    assert read(tmp_path, Image.new(mode, (8, 8), "white"), name, format=kind).min() > 250


def test_what_systems_leave_behind_and_notes_are_passed_over(tmp_path):
    read(tmp_path, Image.new("L", (8, 8)))
    pets = tmp_path / "pets"
    for folder in (pets, pets / "cat"):
        for name in ("._a.png", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "labels.csv", "README"):
            (folder / name).write_text("no image")
        for name in ("__MACOSX", ".ipynb_checkpoints"):
            (folder / name).mkdir()
            (folder / name / "b.png").write_text("no image")
    got = read_folder(pets)
    assert got["x"].shape == (2, 8, 8, 1) and got["classes"].tolist() == ["cat", "dog"] and "thumbs.db" in JUNK


@pytest.mark.parametrize("train, test", [("train", "test"), ("Train", "test"), ("train", "TEST")])
def test_a_split_in_any_case(tmp_path, train, test):
    for part, value in ((train, 10), (test, 20)):
        for c in ("cat", "dog"):
            (tmp_path / "pets" / part / c).mkdir(parents=True)
            Image.new("L", (8, 8), value).save(tmp_path / "pets" / part / c / "a.png")
    got = load("pets")
    assert (got.x == 10).all() and (got.x_test == 20).all() and got.y.tolist() == got.y_test.tolist() == [0, 1]


def test_a_class_may_be_called_train(tmp_path):
    for c in ("car", "plane", "train"):
        (tmp_path / "traffic" / c).mkdir(parents=True)
        Image.new("L", (8, 8)).save(tmp_path / "traffic" / c / "a.png")
    assert read_folder(tmp_path / "traffic")["classes"].tolist() == ["car", "plane", "train"]


@pytest.mark.parametrize("name", [n for n in NORMS if len(NORMS[n][0]) == 3] + ["mnist"])
def test_the_name_of_ones_own_file_chooses_no_normalisation(tmp_path, name):
    (tmp_path / "mine").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    write_archive(tmp_path / "mine" / f"{name}.npz", x=x, y=np.arange(40) % 4)
    got = load(str(tmp_path / "mine" / f"{name}.npz"))
    assert (got.mean, got.std) == NORMS["imagenet"] and got.name == name
    grey = tmp_path / "mine" / "fashionmnist.npz"
    write_archive(grey, x=x[..., 0], y=np.arange(40) % 4)
    assert load(str(grey)).mean == (0.5,)


class Pairs(list):
    """As torchvision has them."""


@pytest.mark.parametrize("sample, words", [
    ((Image.new("F", (4, 4)), 0), "image 1: grey values of this depth"),
    ((torch.full((1, 4, 4), float("nan")), 0), "image 1 has values outside 0 to 1"),
    ((torch.zeros(4, 4), 0), "image 1 is a tensor of shape"),
    ((Image.new("L", (4, 4)), 0.5), "image 1 has the label 0.5"),
    ((Image.new("L", (4, 4)), "cat"), "image 1 comes without a label"),
    (Image.new("L", (4, 4)), "image 1 comes without a label"),
    (("a.png", 0), "image 1 is of type str"),
])
def test_samples_that_cannot_be_used(sample, words):
    with pytest.raises(Bad, match=words):
        read_samples(Pairs([(Image.new("L", (4, 4)), 0), sample]), "dataset own")


def test_samples_of_16_bits():
    got = read_samples(Pairs([(Image.fromarray(RAMP), 0)]), "dataset own")
    assert np.array_equal(got["x"][0, ..., 0], RAMP >> 8)
