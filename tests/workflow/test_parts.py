"""Notebooks that are published in parts: nothing is lost, and each part says where it comes from."""
import json
from types import SimpleNamespace

import pandas as pd
import pytest
from tables import table

import lib
from lib.errors import Bad
from lib.files import folder, write
from lib.report import claims, provenance, reproduced, rows
from lib.report.claims.verdicts import Untestable
from workflow import parts, publish

SETTINGS = {"a": {}, "b": {}, "c": {}}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A repository without results, and a folder of runs."""
    monkeypatch.setenv("FU_RUNS", str(tmp_path / "runs"))
    for module in (parts, publish, reproduced):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    for name in ("_refuse_unfinished", "_merge_claims"):
        monkeypatch.setattr(publish, name, lambda *_: [])
    return tmp_path


def of(setting, seeds=2):
    """Rows of one setting, its methods' curves and their seconds."""
    df = table(seeds).assign(setting=setting)
    return pd.concat([df, df[df["stop"] == "last"].head(1).assign(metric="rtr", unit="ratio")])


def ran(monkeypatch, *settings, seeds=2, commit="new", judged=None):
    """What a run of these settings leaves among the runs. judged: the tables, beside rows, that claims are judged on."""
    monkeypatch.setattr(rows, "provenance", lambda *_: {
        "profile": "reduced", "notebook": "02", "device": "cpu", "dtype": ["float32"], "commit": commit,
        "settings": {name: f"hash of {name}" for name in settings}})
    df = pd.concat([of(name, seeds) for name in settings])
    lib.save_results("reduced", "02", df)
    if judged is not None:
        lib.save_claims("reduced", "02", lib.judge(rows.load_results("reduced", "02"), "02", **judged))
    figure = folder("reduced", "figures") / f"02_{settings[0]}.png"
    write(figure, settings[0])
    write(figure.with_name("02.json"), json.dumps({figure.stem: {"png": settings[0]}}))


def published(*chosen):
    profile = {"profile": "reduced", "notebooks": {"02": SETTINGS}, "seeds": [0]}
    select = {"02": {name: {} for name in chosen}}
    publish.select, before = lambda *_: select, publish.select
    publish.figures, drawn = SimpleNamespace(redraw=lambda *_, **__: None), publish.figures
    try:
        publish.copy(profile)
    finally:
        publish.select, publish.figures = before, drawn


def committed(home, timing=False):
    df = rows.load_results("reduced", "02", timing, where=home / "results/reduced")
    return {name: here.drop(columns="setting").reset_index(drop=True) for name, here in df.groupby("setting")}


def test_what_did_not_run_stays_and_what_ran_is_new(home, monkeypatch):
    ran(monkeypatch, "a", "b", "c", seeds=2, commit="old")
    published("a", "b", "c")
    before = committed(home), committed(home, timing=True)
    ran(monkeypatch, "b", seeds=3, commit="new")
    published("b")
    after = committed(home), committed(home, timing=True)
    for old, new in zip(before, after):
        assert list(new) == ["a", "b", "c"]
        for name in ("a", "c"):
            pd.testing.assert_frame_equal(new[name], old[name])
    assert after[0]["b"]["seed"].nunique() == 3 and before[0]["b"]["seed"].nunique() == 2


def test_each_part_says_where_it_comes_from(home, monkeypatch):
    for settings, seeds, commit in ((("a", "b", "c"), 2, "first"), (("b",), 3, "second"), (("c",), 5, "third")):
        ran(monkeypatch, *settings, seeds=seeds, commit=commit)
        published(*settings)
    about = json.loads((home / "results/reduced/02.meta.json").read_text())
    told = {tuple(part["settings"]): (part["commit"], part["n"]) for part in provenance.parts_of(about)}
    assert told == {("c",): ("third", 5), ("b",): ("second", 3), ("a",): ("first", 2)}
    named = {name: {} for name in SETTINGS}
    monkeypatch.setattr(provenance, "settings_hash", lambda settings: "hash of b")
    assert provenance.outdated(about, ["a", "b", "c"], named) == ["a", "c"]
    text = reproduced.provenance()
    assert "| 02 | 5 |" in text and "| 02: b | 3 |" in text and "| 02: a | 2 |" in text


def test_claims_are_judged_on_all_rows(home, monkeypatch):
    ran(monkeypatch, "a", judged={})
    published("a")
    ran(monkeypatch, "b", seeds=3, judged={})
    published("b")
    found = claims.verdicts.read_claims(home / "results/reduced/02.claims.csv")
    wanted = lib.judge(rows.load_results("reduced", "02", where=home / "results/reduced"), "02")
    assert found["value"].tolist() == wanted.sort_values(["id", "place"])["value"].tolist()


STUDIED = [     # what ran, one part after the other, each with or without the table of a study; what stands in the end
    ([("a", 5), ("b", None)], 5),                   # the run of today cannot test it: it stays as it was judged
    ([("a", 5), ("b", 7)], 5),                      # both could: it is about the first setting
    ([("b", 7), ("a", 5)], 5),
    ([("b", 7), ("a", None)], 7),
    ([("a", 5), ("b", None), ("c", None)], 5),
    ([("a", 5), ("a", 6)], 6),
    ([("b", None), ("c", 7)], 7),
    ([("c", 5), ("b", 7)], 7),                      # the first was never there: what ran last
    ([("b", None), ("c", None)], None)]


@pytest.fixture
def of_a_study():
    """Z1 asks for more than rows, Z2 for rows of three seeds."""
    before = dict(claims.verdicts.CLAIMS)

    @lib.claim("Z1", notebook="02", text="The study has found something.")
    def found(df, study):
        return f"found {study}", [study > 0]

    @lib.claim("Z2", notebook="02", text="Three seeds are enough.")
    def enough(df):
        if df.groupby("setting")["seed"].nunique().min() < 3:
            raise Untestable("needs three seeds")
        return "three", [True]
    yield
    claims.verdicts.CLAIMS.clear()
    claims.verdicts.CLAIMS.update(before)


@pytest.mark.parametrize("runs, stands", STUDIED)
def test_a_claim_that_asks_for_more_than_rows_stays_as_it_was_judged(home, monkeypatch, of_a_study, runs, stands):
    for setting, study in runs:
        ran(monkeypatch, setting, judged={} if study is None else {"study": study})
        published(setting)
    found = claims.verdicts.read_claims(home / "results/reduced/02.claims.csv").set_index("id").loc["Z1"]
    assert found["value"] == ("needs the table study" if stands is None else f"found {stands}")
    assert found["verdict"] == ("not testable at this scale" if stands is None else "holds in every seed")


def test_a_verdict_on_rows_that_have_changed_is_not_kept(home, monkeypatch, of_a_study):
    for setting, seeds, said in (("a", 3, "three"), ("b", 2, "needs three seeds"), ("b", 3, "three")):
        ran(monkeypatch, setting, seeds=seeds, judged={})
        published(setting)
        found = claims.verdicts.read_claims(home / "results/reduced/02.claims.csv").set_index("id").loc["Z2"]
        assert found["value"] == said


def test_figures_of_other_parts_stay(home, monkeypatch):
    ran(monkeypatch, "a")
    published("a")
    ran(monkeypatch, "b")
    (folder("reduced", "figures") / "02_a.png").unlink()
    published("b")
    where = home / "figures/reduced"
    assert {path.name for path in where.glob("*.png")} == {"02_a.png", "02_b.png"}
    assert set(json.loads((where / "02.json").read_text())) == {"02_a", "02_b"}
    ran(monkeypatch, "a", "b", "c")
    (folder("reduced", "figures") / "02_b.png").unlink()
    published("a", "b", "c")        # the whole notebook: what it no longer draws goes
    assert {path.name for path in where.glob("*.png")} == {"02_a.png"}


def test_a_part_that_cannot_be_kept_is_refused_before_anything_is_written(home, monkeypatch):
    """Of several notebooks, too: an older table has lines of which only some rounds were kept."""
    ran(monkeypatch, "a", "b")
    published("a", "b")
    ran(monkeypatch, "b", seeds=3)
    before = {path: path.read_bytes() for path in (home / "results").rglob("*") if path.is_file()}
    monkeypatch.setattr(parts.figures, "lacking", lambda *_: "whole curves")
    with pytest.raises(Bad, match="holds a in an older form.*--only 02.a"):
        published("b")
    assert {path: path.read_bytes() for path in (home / "results").rglob("*") if path.is_file()} == before
