"""Committed figures are drawn again from committed rows, and what cannot be is said."""
import json
import shutil

import matplotlib

matplotlib.use("Agg")
import pytest

from lib.errors import Bad
from lib.files import ROOT
from lib.profiles import load
from lib.report import drawn, rows
from workflow import figures


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A repository with the audit's rows of the quick profile, and no figure."""
    (tmp_path / "results/quick").mkdir(parents=True)
    for file in (ROOT / "results/quick").glob("12.*"):
        shutil.copy(file, tmp_path / "results/quick")
    monkeypatch.setattr(figures, "ROOT", tmp_path)
    return tmp_path


def test_a_figure_is_drawn_of_rows_alone_and_knows_them(clone):
    table = figures.committed("quick", "12")
    assert figures.redraw_one("quick", "12_models", table, {}, [0]) == ""
    picture = clone / "figures/quick/12_models.png"
    assert picture.exists() and picture.with_suffix(".pdf").exists()
    assert drawn.outdated(picture, clone / "results/quick") == ""
    made = json.loads((clone / "figures/quick/12.json").read_text())["12_models"]
    assert set(made) == {"png", "pdf", "code", "rows"} and set(made["rows"]) == {"12.csv", "12.curves.csv"}


def test_a_profile_without_rows_says_so(clone):
    with pytest.raises(Bad, match="results/quick holds no table of 02"):
        figures.redraw(load("quick"), "02")


def test_what_is_drawn_of_models_stays_and_says_what_it_lacks(clone):
    where = clone / "figures/quick"
    where.mkdir(parents=True)
    (where / "09_pictures.png").write_bytes(b"old")
    why = figures.redraw_one("quick", "09_pictures", None, {}, [0])
    assert why == "it lacks trained models, which no row holds; run notebook 09"
    assert (where / "09_pictures.png").read_bytes() == b"old"
    assert drawn.outdated(where / "09_pictures.png", clone / "results/quick") == ""
    (where / "09_pictures.png").write_bytes(b"another")
    assert "not the one" in drawn.outdated(where / "09_pictures.png", clone / "results/quick")


def curves(ends):
    """A table of an older form: runs with the rounds that it keeps of each."""
    records = [{"setting": "a", "method": method, "seed": 0, "dataset": "digits", "model": "CNN", "metric": "retain_acc",
                "stop": "curve", "round": r, "value": 1.0} for method, kept in ends.items() for r in kept]
    return rows.rows(records, profile="quick", notebook="04")


@pytest.mark.parametrize("ends, whole", [
    ({"FT": (0, 4, 8), "NoT": (0, 4, 8), "Original": (0,)}, True),
    ({"FT": (0, 4, 8), "FedEraser": (0, 4, 7)}, True),                  # a run that ends earlier
    ({"FT": (0, 9, 18), "NoT": (0, 4, 8, 10)}, False)])
def test_runs_kept_at_different_rounds_lack_their_curves(tmp_path, ends, whole):
    table = curves(ends)
    assert bool(figures.lacking("04_layers", table, tmp_path)) != whole
    assert figures.is_thinned("04_layers", table, tmp_path)
    assert not figures.lacking("04_how_many_leave", table, tmp_path)    # of the ends alone
    (tmp_path / "04.curves.csv").write_text("")
    assert not figures.lacking("04_layers", table, tmp_path)
