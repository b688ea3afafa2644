"""Executing, failing, the HTML page, publishing."""
import json
import re

import pytest
import toy

from lib.errors import Bad
from workflow import jobs, publish, safe

FIGURE = ("import sys, matplotlib.pyplot as plt\nfrom lib.runs.progress import progress\nbar = progress(3, 'rounds')\n"
          "for i in range(4): bar.update(i, 'loss 1')\nprint(total, settings['a']['joins'])\n"
          "print('careful', file=sys.stderr)\nprint(object(), sys.prefix)\nplt.plot([1, 2]); plt.show()")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A copy of the repository in which notebook 01 has run with other values than its own."""
    where = toy.clone(tmp_path_factory.mktemp("clone"))
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show=FIGURE)
    status, out = toy.python(where, "workflow.execute", "notebooks/01_toy.ipynb", "runs/quick/notebooks/01_toy.ipynb",
                             "--profile", "quick")
    assert status == 0, out
    assert re.search(r"01_toy: done in \d+ s", out), out
    assert all(line.startswith("01_toy: ") for line in out.splitlines()), out       # no warnings
    return where


def test_the_executed_notebook_is_complete(done):
    folder = done / "runs/quick/notebooks"
    assert {f.name for f in folder.iterdir()} == {"01_toy.ipynb", "01_toy.html", "01_toy.sha256", ".01_toy.lock"}
    ran = json.loads((folder / "01_toy.ipynb").read_text())
    text = json.dumps(ran)
    assert "[0.1] {1: 2}" in text                   # values arrived, with whole numbers as keys
    assert text.count("</progress>") == 1 and "rounds 3/3, loss 1" in text
    assert publish.ran_with(folder / "01_toy.ipynb")["settings"]["a"]["joins"] == {1: 2}


def test_the_page_needs_no_network(done):
    html = (done / "runs/quick/notebooks/01_toy.html").read_text()
    assert not re.search(r"<script|(src|href)=.https?:", html)
    assert html.count("<math") == 3 and "xMATHx" not in html and "$5 or $6" in html
    assert "<title>Toy 01</title>" in html
    images = re.findall(r"<img[^>]*>", html)
    assert images and all('alt="Figure: Toy 01"' in i for i in images)


def test_publishing_cleans(done):
    ran = publish._plain(done / "runs/quick/notebooks/01_toy.ipynb")
    source = publish._plain(done / "notebooks/01_toy.ipynb")
    clean = publish.clean(source, ran)
    text = json.dumps([c.pop("outputs", 0) for c in json.loads(json.dumps(clean))["cells"]] + [clean["metadata"]])
    assert "careful" in json.dumps(ran["cells"][4]["outputs"])
    assert "</progress>" in json.dumps(ran) and "</progress>" not in text
    assert "careful" not in text and "papermill" not in text and "injected" not in text and "execution\"" not in text
    assert not re.search(r"0x[0-9a-f]{6}", text) and str(done) not in text
    assert "0x\\u2026" in text and "[0.1]" in text and "image/png" in text
    assert [c["execution_count"] for c in clean["cells"] if c["cell_type"] == "code"] == [1, 2, 3]
    source["cells"][3]["source"] += "\n"
    with pytest.raises(Bad, match="changed since it ran"):
        publish.clean(source, ran)


def test_publish_copies_whole_notebooks_or_nothing(done):
    (done / "runs/quick/results").mkdir()
    (done / "runs/quick/figures").mkdir()
    (done / "runs/quick/results/01.csv").write_text("a\n1\n")
    (done / "runs/quick/results/02.csv").write_text("a\n2\n")
    (done / "runs/quick/figures/01_x.png").write_bytes(b"png")
    status, out = toy.python(done, "workflow.publish", "copy")
    assert status == 2 and "nothing is published: notebook 02 has not run" in out
    assert not (done / "results").exists()
    status, out = toy.python(done, "workflow.publish", "copy", "--only", "01")
    assert status == 0, out
    assert [f.name for f in (done / "results/quick").iterdir()] == ["01.csv"]
    assert [f.name for f in (done / "figures/quick").iterdir()] == ["01_x.png"]
    published = json.loads((done / "notebooks/01_toy.ipynb").read_text())
    assert published["cells"][3]["outputs"] and str(done) not in json.dumps(published)


def test_what_ran_with_other_settings_is_not_published(tmp_path):
    where = toy.clone(tmp_path)
    (where / "runs/more/results").mkdir(parents=True)
    (where / "runs/more/results/02.csv").write_text("setting\na\n")
    target = where / "runs/more/notebooks/02_toy.ipynb"
    assert toy.python(where, "workflow.execute", "notebooks/02_toy.ipynb", target, "--profile", "more", "--only", "02.a")[0] == 0
    status, out = toy.python(where, "workflow.publish", "copy", "--profile", "more", "--only", "02")
    assert status == 2 and "ran last with other settings or seeds; use ./run_all.sh --profile more --only 02 --publish" in out
    (where / "results/more").mkdir(parents=True)
    (where / "results/more/02.csv").write_text("setting\na\ngone\n")     # no longer a setting of the profile
    assert toy.python(where, "workflow.publish", "readme", "--profile", "more")[0] == 2
    status, out = toy.python(where, "workflow.publish", "copy", "--profile", "more", "--only", "02.a")
    assert status == 0 and (where / "results/more/02.csv").read_text() == "setting\na\n", out


def test_the_index_names_every_state(done):
    status, out = toy.python(done, "workflow.publish", "index")
    assert status == 0 and "not run: 02" in out and "1 of 2 notebooks done" in out
    html = (done / "runs/quick/index.html").read_text()
    assert 'href="notebooks/01_toy.html"' in html and "<math" in html and "Shows that " in html and "not run" in html


def test_a_failed_notebook_is_kept_as_failed(tmp_path):
    where = toy.clone(tmp_path)
    (where / "lib/deep.py").write_text("def f():\n    raise ValueError('too bad\\nmore')\n")
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show="from lib.deep import f\nf()")
    folder = where / "runs/quick/notebooks"
    folder.mkdir(parents=True)
    (folder / "01_toy.ipynb").write_text("an older run")
    status, out = toy.python(where, "workflow.execute", "notebooks/01_toy.ipynb", folder / "01_toy.ipynb", "--profile", "quick")
    assert status == 1 and "01_toy FAILED: cell 3: ValueError: too bad\nmore\n  in lib/deep.py, line 2" in out
    assert "Traceback" not in out
    assert {f.name for f in folder.iterdir()} == {"01_toy.failed.ipynb", "01_toy.failed.html", ".01_toy.lock"}
    assert "failed: 01" in toy.python(where, "workflow.publish", "index")[1]
    assert "ValueError: too bad" in (where / "runs/quick/index.html").read_text()
    status, out = toy.python(where, "workflow.publish", "copy", "--only", "01")
    assert status == 2 and "notebook 01 has failed" in out


def test_a_kernel_says_nothing_of_its_own_machinery(tmp_path):
    """What a socket says that closes as the kernel ends, for one; what a cell logs is heard."""
    where = toy.clone(tmp_path)
    show = """import logging
names = ["tornado.general", "tornado.application", "zmq", "asyncio", "mine"]
print([name for name in names if logging.getLogger(name).isEnabledFor(logging.ERROR)])"""
    toy.notebook(where / "notebooks/01_toy.ipynb", "01", show=show)
    status, out = toy.python(where, "workflow.execute", "notebooks/01_toy.ipynb", "out.ipynb", "--profile", "quick")
    assert status == 0, out
    assert "['zmq', 'asyncio', 'mine']" in (where / "out.ipynb").read_text()


def test_wrong_parameters_never_reach_a_kernel(tmp_path):
    where = toy.clone(tmp_path)
    status, out = toy.python(where, "workflow.execute", "notebooks/01_toy.ipynb", "out/x.ipynb", "-y", '{"seed": [1]}')
    assert status == 1 and "no parameter 'seed'; nearest parameter: seeds" in out
    assert not (where / "out").exists()


def test_what_others_are_made_of_is_no_parameter(tmp_path):
    source = 'profile = "quick"\nbase = {"lr": 0.1}\nsettings = {"a": {**base}, "b": {k: 1 for k in base}}\n'
    cell = {"cell_type": "code", "source": source, "metadata": {"tags": ["parameters"]}}
    path = tmp_path / "one.ipynb"
    path.write_text(json.dumps({"cells": [cell]}))
    assert jobs.parameters(path) == ["profile", "settings"]
    with pytest.raises(Bad, match="no parameter 'base'"):
        jobs.accepts(path, {"base": {}})


@pytest.mark.parametrize("text, formulas", [
    ("a $x$ b", ["x"]), ("costs $5 and $6", []), ("`$x$` and ```\n$y$\n```", []), ("$$a\n+b$$", ["a\n+b"]),
    (r"\$5 and $z$", ["z"]), ("$ x$", []),
])
def test_what_counts_as_a_formula(text, formulas):
    assert [m[2] or m[3] for m in safe.MATH.finditer(text) if not m[1]] == formulas


def test_progress_outside_a_kernel(monkeypatch, tmp_path, capsys):
    from lib.runs import progress as module
    monkeypatch.setenv("FU_PROGRESS", str(tmp_path / "p"))
    module.progress(5, "rounds").update(2, "ok")
    assert (tmp_path / "p").read_text() == "rounds 2/5, ok" and capsys.readouterr().err == ""
    monkeypatch.delenv("FU_PROGRESS")
    monkeypatch.setattr(module, "SECONDS", 0)
    module.progress(5, "rounds").update(3)
    assert capsys.readouterr().err == "rounds 3/5\n"
