"""Committed figures are those of the committed rows and of today's code; the record says so, and notices what is not."""
import json
import re
import shutil

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest

import lib
from lib import checksums
from lib.errors import Bad
from lib.files import ROOT
from lib.report import drawn, gallery

PICTURES = sorted((ROOT / "figures").glob("*/*.png"))
COMMITTED = [path for path in PICTURES if path.stem in gallery.GALLERY]


@pytest.mark.parametrize("figure", COMMITTED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_committed_figure_is_not_older_than_its_rows_or_its_code(figure):
    why = drawn.outdated(figure, ROOT / "results" / figure.parent.name)
    remedy = f"python -m workflow.publish figures --profile {figure.parent.name} --only {figure.stem[:2]}"
    assert not why, f"{why}; {remedy}"


def test_no_other_figure_is_committed():
    assert {path.stem for path in PICTURES} - set(gallery.GALLERY) <= {"14_bytes"}


def test_every_figure_of_the_notebooks_has_its_home_here():
    named = set()
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            source = "".join(cell["source"])
            if "save_figure" in source:
                named |= set(re.findall(r'"(\d\d_\w+)"', source))
    assert named - {"14_bytes"} == set(gallery.GALLERY)


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A figure of the quick profile's audit, drawn of a copy of its rows."""
    results = tmp_path / "results"
    results.mkdir()
    for file in (ROOT / "results" / "quick").glob("12.*"):
        shutil.copy(file, results)
    fig = plt.figure()
    fig.add_subplot().plot([1, 2])
    where = tmp_path / "figures"
    drawn.save_figure(fig, "quick", "12_models", where, drawn.rows_files(results, "12"))
    plt.close("all")
    return where / "12_models.png", results, monkeypatch


def test_a_figure_of_today_is_not_outdated(kept):
    figure, results, _ = kept
    assert drawn.outdated(figure, results) == ""
    assert drawn.outdated(figure.with_name("12_other.png"), results) == "nobody says what it was drawn of"


def test_other_rows_make_a_figure_old(kept):
    figure, results, _ = kept
    lines = (results / "12.csv").read_text().splitlines(True)
    (results / "12.csv").write_text("".join(lines[:-1]))
    checksums.seal(results / "12.csv")
    assert drawn.outdated(figure, results) == "older than its rows"


def test_other_code_and_other_colours_make_a_figure_old(kept):
    figure, results, patch = kept
    patch.setattr(gallery.audit, "grid", lambda *a, **k: None)
    assert drawn.outdated(figure, results) == "older than the code that draws it"
    patch.undo()
    assert drawn.outdated(figure, results) == ""
    patch.setitem(drawn.METHODS, "NoT", drawn.METHODS["NoT"]._replace(color="#000000"))
    assert drawn.outdated(figure, results) == "older than the code that draws it"


def test_an_exchanged_picture_and_one_without_rows_are_noticed(kept):
    figure, results, _ = kept
    record = figure.with_name("12.json")
    made = json.loads(record.read_text())
    assert set(made["12_models"]["rows"]) == {"12.csv", "12.curves.csv"}
    del made["12_models"]["rows"]
    record.write_text(json.dumps(made))
    assert "not of the files" in drawn.outdated(figure, results)
    figure.write_bytes(b"another")
    assert drawn.outdated(figure, results) == "its PNG is not the one that was drawn"


def test_what_cannot_be_drawn_of_rows_says_so():
    with pytest.raises(Bad, match="no figure '02_kurves'; nearest figure: 02_curves"):
        lib.draw("02_kurves", None)
    with pytest.raises(Bad, match="drawn of models"):
        lib.draw("09_pictures", None)
    drawn.save_figure(None, "quick", "02_curves")       # nothing to draw, nothing written
