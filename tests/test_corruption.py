"""A flipped bit anywhere is found, or changes nothing: 240 of them over all that numbers are kept in."""
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import same

import lib
from lib.checksums import seal, verify
from lib.errors import Bad
from lib.fl.archives import read_archive, write_archive
from lib.report.rows import to_csv
from lib.runs.store import Slot

ROOT = Path(__file__).resolve().parents[1]
FLIPS = 40          # of each of six kinds


def flipped(path, seed):
    """The file with one bit of one byte changed; the bytes it had."""
    rng = random.Random(seed)
    whole = path.read_bytes()
    place = rng.randrange(len(whole))
    damaged = bytearray(whole)
    damaged[place] ^= 1 << rng.randrange(8)
    path.write_bytes(damaged)
    return whole


def found_or_harmless(paths, read, equal):
    """Flip bits of the files in turn: `read()` raises Bad or gives None, or what `equal` accepts; how many were found."""
    found = 0
    for seed in range(FLIPS):
        path = paths[seed % len(paths)]
        whole = flipped(path, seed)
        try:
            got = read()
        except Bad as error:
            assert "\n" not in str(error)
            got = None
        path.write_bytes(whole)
        found += got is None
        assert got is None or equal(got), f"{path.name}, flip {seed}: another result without a word"
    assert equal(read()), "the file itself is not read any more"
    return found


def test_records_of_the_store(store):
    wanted = {"curve": [{"round": r, "test_acc": 80 + r / 7} for r in range(20)], "diverged": None}
    entry = store.save("runs", {"a": 1}, wanted)

    def read():
        found = store.load("runs", {"a": 1})
        return found and found.record
    assert found_or_harmless([entry.folder / "record.json"], read, lambda got: got == wanted) > FLIPS / 2


def test_tensors_of_the_store(store):
    state = {"w": torch.rand(20, 5), "n": torch.tensor(3)}
    entry = store.save("runs", {"a": 1}, {}, {"final": state})
    paths = [entry.folder / "final.safetensors"]
    assert found_or_harmless(paths, lambda: entry.tensors("final"), lambda got: same(got, state)) == FLIPS


def test_many_states_in_a_file_of_the_store(store):
    states = {name: {"w": torch.rand(20, 5)} for name in "abc"}
    slot = Slot(store, "training", {"a": 1})
    with slot.many("round") as put:
        for name, state in states.items():
            put(name, state)
    entry = slot.finish({})

    def read():
        return {name: entry.tensors(f"round/{name}") for name in "abc"}
    paths = [entry.folder / "round.states"]
    assert found_or_harmless(paths, read, lambda got: all(same(got[name], states[name]) for name in "abc")) == FLIPS


def test_archives(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a.npz"
    write_archive(path, x=rng.integers(0, 256, (12, 5, 5), dtype=np.uint8), y=np.arange(12) % 3)
    wanted = read_archive(path)

    def equal(got):
        return got.keys() == wanted.keys() and all(np.array_equal(got[k], wanted[k]) for k in wanted)
    assert found_or_harmless([path], lambda: read_archive(path), equal) > FLIPS / 3


def test_results(tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    records = [{"setting": "a", "method": "NoT", "seed": s, "metric": "test_acc", "value": 90 + s / 3} for s in range(9)]
    lib.save_results("quick", "02", lib.rows(records, profile="quick", notebook="02"))
    wanted = to_csv(lib.load_results("quick", "02"))
    folder = tmp_path / "quick" / "results"
    paths = [folder / "02.csv", folder / "02.curves.csv", folder / "02.sha256"]

    def read():
        return to_csv(lib.load_results("quick", "02"))
    assert found_or_harmless(paths, read, lambda got: got == wanted) >= FLIPS / 2


def test_an_executed_notebook(tmp_path):
    path = tmp_path / "02.ipynb"
    path.write_bytes((ROOT / "notebooks" / "01_train_fedavg.ipynb").read_bytes())
    seal(path)
    wanted = path.read_bytes()

    def read():
        return verify(path, "run it again").read_bytes()
    assert found_or_harmless([path], read, lambda got: got == wanted) == FLIPS


def committed():
    return sorted((ROOT / "results").rglob("*.csv")) + sorted((ROOT / "results").rglob("*.json"))


@pytest.mark.parametrize("path", committed(), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_committed_results_fit_their_checksums(path):
    verify(path, "restore the file")


def test_results_without_a_checksum_are_refused_in_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    record = {"setting": "a", "method": "NoT", "seed": 0, "metric": "test_acc", "value": 90}
    lib.save_results("quick", "02", lib.rows([record], profile="quick", notebook="02"))
    (tmp_path / "quick/results/02.sha256").unlink()
    with pytest.raises(Bad, match="no checksum of it in 02.sha256; run notebook 02 with profile quick again"):
        lib.load_results("quick", "02")


def test_claims_are_sealed_beside_the_results(tmp_path, monkeypatch):
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    table = lib.judge(lib.rows([{"setting": "a", "method": "NoT", "seed": 0, "metric": "test_acc", "value": 90}],
                               profile="quick", notebook="02"), "02")
    lib.save_claims("quick", "02", table)
    path = tmp_path / "quick/results/02.claims.csv"
    assert len(lib.merge_claims(path.parent))
    path.write_text(path.read_text().replace("0,0,", "3,3,", 1))
    with pytest.raises(Bad, match="02.claims.csv: damaged or edited"):
        lib.merge_claims(path.parent)
