"""Labels, titles and outputs that would run something; planted links; what is imported is declared."""
import ast
import json
import re
import sys
import tomllib

import nbformat
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from lib.errors import Bad
from lib.files import ROOT, locked, write
from lib.report.tables import styled
from workflow import facts, index, jobs, page, safe

LABELS = ["<img src=x onerror=alert(1)>", "<a href='javascript:alert(1)'>x</a>", "<script>alert(1)</script>",
          "<svg/onload=alert(1)>", "<math><mtext href=javascript:alert(1)>x</mtext></math>", "</style><img/src=x/onerror=alert(1)>",
          "<details open ontoggle=alert(1)>", "<iframe src=javascript:alert(1)></iframe>", "<a href=' JaVaScRiPt:alert(1)'>x</a>",
          "$\\text{<img/src=x/onerror=alert(1)>}$", "<form action=javascript:alert(1)><input type=submit></form>", "<base href=//x>"]
RUN = ("script", "svg", "iframe", "form", "base", "input", "object", "embed")


def runs(html):
    """The elements of a page that would run or fetch something."""
    return [str(e) for e in BeautifulSoup(html, "html.parser").find_all(True)
            if e.name in RUN or any(k.startswith("on") or str(v).strip().lower().startswith("javascript:") for k, v in e.attrs.items()
                                    if k not in ("alt", "title", "content"))]


def notebook(label):
    new = nbformat.v4
    outputs = [new.new_output("display_data", {kind: label, "text/plain": label}, metadata={"image/png": {"alt": label}})
               for kind in ("text/html", "text/markdown", "text/latex", "application/javascript", "image/unknown")]
    outputs.append(new.new_output("stream", text=label))
    return new.new_notebook(cells=[new.new_markdown_cell(f"# Title {label}\n\n{label}"), new.new_code_cell("1", outputs=outputs)])


@pytest.mark.parametrize("label", LABELS)
def test_nothing_runs_on_a_page(label):
    html = page.page(notebook(label))
    body = html[html.index("<body"):]
    assert not runs(body)
    assert safe.POLICY in html and html.index(safe.POLICY) < html.index("<body")


def test_what_shows_something_stays():
    picture = '<img src="data:image/png;base64,AA==" alt="a">'
    table = '<style type="text/css">#T td > a { color: red; }</style><table id="T"><tr><td style="text-align: right;">1</td></tr></table>'
    html = safe.cleaned(table + picture + '<progress max="3" value="1"></progress>')
    for part in ("#T td > a { color: red; }", '<td style="text-align: right;">1</td>', 'base64,AA==', '<progress max="3" value="1">'):
        assert part in html
    assert "<mfrac>" in safe.inline(r"$\frac{1}{2}$") and "<a href=" in safe.cleaned("<a href='https://x.org'>x</a>")


@pytest.mark.parametrize("label", LABELS)
def test_nothing_runs_in_a_table_or_a_line_of_the_index(label):
    table = styled(pd.DataFrame({label: [label]}, index=pd.Index([label], name="method")), {}, label)
    assert not runs(table.to_html()) and not runs(safe.inline(label))


@pytest.mark.parametrize("label", LABELS)
def test_nothing_runs_on_the_index(label, monkeypatch, tmp_path):
    """Whatever stands in a title, a claim, the name of a file, what is said of a table, a key table or an error."""
    nb = notebook(label)
    nb.cells[1].metadata["tags"] = ["key"]
    nb.cells[1].outputs[0].data["text/html"] = f"<table><tr><td>{label}</td></tr></table>"
    source, root = tmp_path / "01_x.ipynb", tmp_path / "run"
    for path in (source, root / "notebooks/01_x.ipynb"):
        write(path, nbformat.writes(nb))
    claim = {"id": label, "text": label, "value": label, "n": "1", "verdict": label}
    pd.DataFrame([claim]).to_csv(write(root / "results/01.claims.csv", ""), index=False)
    write(root / "results/01.meta.json", json.dumps({"commit": label, "date": label, "machine": label, "n": label}))
    write(root / "figures" / f"01_{label.replace('/', '_')}.png", b"")
    write(root / "jobs" / "02.a.failed", label)
    monkeypatch.setenv("FU_RUNS", str(tmp_path))
    for module in (index, facts):
        monkeypatch.setattr(module, "notebook", lambda number: source)
    index.index({"profile": "run", "seeds": [label], "notebooks": {"01": {}, "02": {}}})
    for path in (root / "index.html", root / "notebooks/01_x.html"):
        html = path.read_text(encoding="utf-8")
        assert not runs(html[html.index("<body"):]) and safe.POLICY in html


def test_a_planted_link_is_not_followed(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("FU_GPUS", "1")
    for name in (*jobs.SCHEDULERS, "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    victim, elsewhere = tmp_path / "victim", tmp_path / "elsewhere"
    victim.write_text("mine")
    elsewhere.mkdir()
    folder = tmp_path / f"fl-unlearning-gpus-{jobs.os.getuid()}"
    folder.symlink_to(elsewhere)
    with pytest.raises(Bad, match="remove it, or set TMPDIR"):
        jobs.claim_gpu()
    folder.unlink()
    folder.mkdir()
    (folder / "0.0").symlink_to(victim)
    with pytest.raises(Bad, match="lock 0.0"):
        jobs.claim_gpu()
    assert victim.read_text() == "mine" and not list(elsewhere.iterdir()) and folder.stat().st_mode & 0o777 == 0o700
    (folder / "0.0").unlink()
    jobs.claim_gpu().close()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")


def test_a_file_system_without_locks_is_called_that(monkeypatch, tmp_path):
    import errno
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOTSUP, "Operation not supported")
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(Bad, match="has no file locks"), locked(tmp_path / "x.lock"):
        pass


NAMES = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml", "IPython": "ipython", "backpack": "backpack-for-pytorch"}


def test_what_is_imported_is_declared():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    for path in [*ROOT.glob("lib/**/*.py"), *ROOT.glob("workflow/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for top in {name.split(".")[0] for name in names} - {"lib", "workflow", *sys.stdlib_module_names}:
                assert NAMES.get(top, top) in declared, f"{path}: {top} is not declared in pyproject.toml"
