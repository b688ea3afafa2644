"""Reading data and making tasks needs no network, and a run writes nowhere but where it is told to."""
import hashlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny
from PIL import Image

from lib.errors import Bad
from lib.fl.data import load
from lib.fl.task import Task

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_network(monkeypatch):
    """Every way to a socket raises."""
    def refused(*args, **kwargs):
        raise AssertionError("the network was asked for")
    for name in ("socket", "create_connection", "getaddrinfo", "gethostbyname"):
        monkeypatch.setattr(socket, name, refused)


def own(folder):
    """A folder of images and an archive."""
    x = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(folder / "own.npz", x=x, y=np.arange(40) % 2)
    for i, pixels in enumerate(x):
        (folder / "pets" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / "pets" / "ab"[i % 2] / f"{i}.png")
    return ["own.npz", "pets"]


def test_data_and_tasks_need_no_network(no_network, tmp_path, monkeypatch):
    monkeypatch.setenv("FU_DATA", str(tmp_path))
    with pytest.raises(AssertionError):
        socket.create_connection(("localhost", 1))
    sets = own(tmp_path)
    for name in (*sets, "digits", "digits_clean"):
        small = {"n_train": 32, "n_test": 8} if name in sets else {}
        task = tiny(dataset=name, clients=2, **small)
        assert task.init("a") and task.fingerprint("full")
    with pytest.raises(Bad, match="did you mean"):
        load("digit")


RUN = """
import lib, sys
store = lib.Store(sys.argv[1])
for name in sys.argv[2:]:
    settings = dict(dataset=name, clients=2, rounds=1, unlearn_rounds=1, width=4, device="cpu", mia_draws=2)
    lib.run(lib.make_task(settings, 0), store, "FT")
"""


def snapshot(folder):
    """`{path: (bytes, time)}` of the files of a folder that Python itself and tools of development do not write."""
    left_out = {".git", "__pycache__", ".pytest_cache", ".ruff_cache", "runs", "data", ".venv", ".snakemake"}
    found = {}
    for above, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if f not in left_out]
        for name in files:
            about = os.lstat(os.path.join(above, name))
            found[os.path.join(above, name)] = about.st_size, about.st_mtime_ns
    return found


def test_a_run_writes_only_where_it_is_told_to(tmp_path):
    places = {name: tmp_path / name for name in ("home", "temporary", "runs", "data", "here")}
    for place in places.values():
        place.mkdir()
    own(places["data"])
    env = {**os.environ, "HOME": str(places["home"]), "TMPDIR": str(places["temporary"]), "PYTHONPATH": str(ROOT),
           "FU_RUNS": str(places["runs"]), "FU_DATA": str(places["data"]), "PYTHONDONTWRITEBYTECODE": "1"}
    watched = (ROOT, places["home"], places["here"], places["data"])
    before = [snapshot(place) for place in watched]
    subprocess.run([sys.executable, "-c", RUN, str(places["runs"] / "store"), "own.npz", "pets"], env=env,
                   cwd=places["here"], check=True, capture_output=True, timeout=600)
    assert [snapshot(place) for place in watched] == before
    assert snapshot(places["runs"]) and not snapshot(places["temporary"])


# ---- the bits of what is built in

HASHES = {"float32": "19795e839f1a8496", "float64": "af4508ab75f40679"}


@pytest.mark.parametrize("dtype", HASHES)
def test_the_bits_of_digits_as_a_net_sees_them(dtype):
    task = tiny(dtype=dtype)
    seen = task.inputs(task.x).contiguous()
    assert hashlib.sha256(seen.numpy().tobytes()).hexdigest()[:16] == HASHES[dtype]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name, more, wanted", [
    ("digits", {}, "aae705456f07fd5b"), ("digits", {"size": 16, "channels": 3}, "98bc21dc8d573341"),
    ("digits", {"n_train": 200, "n_test": 200, "seed": 1}, "35f15d8fe46e879e"), ("digits_clean", {}, "18dbd4d116dedd71")])
def test_the_bits_of_digits_for_any_number_of_threads(name, more, wanted, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        data = load(name, **more)
    finally:
        torch.set_num_threads(before)
    digest = hashlib.sha256()
    for t in (data.x, data.y, data.x_test, data.y_test):
        digest.update(t.contiguous().numpy().tobytes())
    assert digest.hexdigest()[:16] == wanted


@pytest.mark.parametrize("n", [1, 5000, 8192])
def test_the_hash_in_pieces_is_that_of_the_whole(n):
    def task(x):
        return Task("t", {}, 0, x, torch.zeros(n), x[:1], torch.zeros(1), ("a",), None, None, (), None, marked=x[:, 0] > 0)
    x = torch.arange(n * 2, dtype=torch.float64).view(n, 2)
    whole = hashlib.sha256()
    for t in (x, torch.zeros(n), x[:1], torch.zeros(1), x[:, 0] > 0):
        whole.update(str((t.dtype, tuple(t.shape))).encode() + t.contiguous().numpy().tobytes())
    assert task(x)._data_hash == whole.hexdigest() == task(x.t().contiguous().t())._data_hash
