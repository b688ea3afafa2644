"""What stands beside a table: where it comes from."""
import json
import re
import socket
import subprocess
from pathlib import Path

import pytest
from conftest import TINY, tiny

from lib.files import ROOT
from lib.report import provenance as p
from lib.settings import DEFAULTS


def test_a_table_says_where_it_comes_from():
    about = p.provenance("quick", "02", [tiny(), tiny(seed=1)])
    assert about["command"] == "./run_all.sh --profile quick --only 02"
    assert re.fullmatch(r"[0-9a-f]{12}\+?", about["commit"]) and re.fullmatch(r"\d{4}-\d\d-\d\d", about["date"])
    assert about["dtype"] == ["float64"] and list(about["settings"]) == ["task"] and list(about["data"]) == ["digits"]
    assert len(about["data"]["digits"]) == 16 and "cores" in about["machine"]
    text = json.dumps(about)
    assert str(ROOT) not in text and str(Path.home()) not in text and socket.gethostname() not in about["machine"].split()


@pytest.mark.parametrize("environments, device, torch", [
    ([], "cpu", None), ([{"device": "cuda", "torch": "2.11"}], "cuda", "2.11"),
    ([{"device": "cuda", "torch": "2.11"}, {"device": "cpu", "torch": "2.15"}, {"device": "cpu", "torch": "2.11"}],
     "cpu, cuda", "2.11, 2.15")])
def test_results_of_another_machine_say_so(environments, device, torch, monkeypatch):
    monkeypatch.setattr(p, "MADE_WITH", environments)
    about = p.provenance("quick", "02", [tiny()])
    assert about["device"] == device and about["torch"] == (torch or p.versions()["torch"])


def test_a_store_remembers_what_its_entries_were_made_with(tmp_path, monkeypatch):
    from lib.runs import store as stores
    monkeypatch.setattr(stores, "MADE_WITH", [])
    there, here = {"environment": {"device": "cuda"}}, {"environment": {"device": "cpu"}}
    store = stores.Store(tmp_path)
    store.save("runs", {"a": 1}, there)
    for _ in range(2):
        store.get("runs", {"a": 1}, None)
        store.get("runs", {"b": 1}, lambda: store.save("runs", {"b": 1}, here))
        store.get("runs", {"c": 1}, lambda: store.save("runs", {"c": 1}, {}))
    assert stores.MADE_WITH == [{"device": "cuda"}, {"device": "cpu"}]


@pytest.mark.parametrize("changes, same", [
    ({"lr": 0.04}, False), ({"methods": {"NoT": {}}}, False), ({"n_train": 199}, False), ({"threads": 2}, True),
    ({"device": "cpu"}, True), ({"cuda_graphs": False}, True), ({"momentum": 0.9}, True)])
def test_settings_are_the_same_where_all_that_changes_a_number_is(changes, same):
    assert (p.settings_hash(TINY) == p.settings_hash({**TINY, **changes})) == same


def test_a_new_key_at_its_default_makes_no_table_old(monkeypatch):
    before = p.settings_hash(TINY)
    monkeypatch.setitem(DEFAULTS, "colour", 3)
    assert p.settings_hash(TINY) != before
    monkeypatch.setattr(p, "LATER", (*p.LATER, "colour"))
    assert p.settings_hash(TINY) == before != p.settings_hash({**TINY, "colour": 4})


def test_the_settings_are_those_that_committed_tables_were_made_with():
    assert p.settings_hash({}) == "f7559c7c11aef2ff", "a key is new: name it in LATER; or a default has changed: publish again"
    assert set(p.LATER) <= set(DEFAULTS)


def test_what_a_table_was_not_made_of():
    about = p.provenance("quick", "02", [tiny()])
    assert p.outdated(about, ["task"], {"task": TINY}) == []
    assert p.outdated(about, ["task"], {"task": {**TINY, "rounds": 9}, "other": TINY}) == ["task"]
    assert p.outdated(about, ["task", "gone"], {"task": TINY}) == ["gone"]
    assert p.outdated({}, ["task"], {"task": TINY}) == ["task"]


def test_outside_a_clone_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr(p, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert p.commit() is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert p.commit() is None


def test_a_changed_clone_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(p, "ROOT", tmp_path)
    words = ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm", "x"]
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", *words], cwd=tmp_path, check=True)
    assert not p.commit().endswith("+")
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/x.py").write_text("")
    assert p.commit().endswith("+")
