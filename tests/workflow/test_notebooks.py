"""The committed notebooks: shape, parameters, clean outputs."""
import json
import re
from pathlib import Path

import pytest

from lib.profiles import load
from workflow.jobs import parameters

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
OF_PROFILE = {"14": "flower"}       # what needs more than the packages of pyproject.toml runs in a profile of its own
PATHS = re.compile(r"(/home/|/root/|/Users/|/tmp/|/work/|/opt/|[A-Z]:\\\\Users)")

if not NOTEBOOKS:
    pytest.skip("there is no notebook in notebooks/ yet", allow_module_level=True)
pytestmark = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def tagged(path, tag):
    return ["".join(c["source"]) for c in read(path) if tag in c["metadata"].get("tags", [])]


def code(path):
    return [c for c in read(path) if c["cell_type"] == "code"]


def test_the_parameters_are_those_of_the_profile(path):
    [source] = tagged(path, "parameters")
    values = {}
    exec(source, values)
    number = path.stem[:2]
    name = OF_PROFILE.get(number, "quick")
    profile = load(name)
    assert values["profile"] == name and values["seeds"] == profile["seeds_of"].get(number, profile["seeds"])
    assert values["settings"] == profile["notebooks"][number]
    assert sorted(parameters(path)) == ["profile", "seeds", "settings"]


def test_the_shape(path):
    cells = read(path)
    first, last = cells[0], cells[-1]
    assert first["cell_type"] == "markdown" and "".join(first["source"]).startswith("# ")
    assert any("make it yours" in "".join(c["source"]).lower() for c in cells[-3:] if c["cell_type"] == "markdown"), last
    assert len(code(path)) <= 15
    for c in code(path):
        source = "".join(c["source"])
        if "parameters" not in c["metadata"].get("tags", []):
            assert source.count("\n") < 12, source
        assert not re.search(r"^\s*class |^\s*[%!]", source, re.M), source
        assert max(map(len, source.splitlines())) <= 110, source
        assert not re.search(r"^[ \t]+$", source, re.M), source
        assert not re.search(r"from lib\.|import lib\.", source), source
    assert tagged(path, "compute")


def test_compute_cells_need_no_display(path):
    for source in tagged(path, "compute"):
        assert not re.search(r"matplotlib|plt\.|display\(|show\(|save_figure", source), source


def test_compute_cells_run_for_any_one_setting(path):
    for source in tagged(path, "compute"):  # a job has one setting; a cell that names another would fail there
        assert not re.search(r"""(?<![.\w])settings\[["']\w+["']\]""", source), source


def test_the_outputs_are_there_and_clean(path):
    assert path.stat().st_size < 750_000
    assert any(c["outputs"] for c in code(path))
    for c in code(path):
        assert c["execution_count"], "not executed"
        for o in c["outputs"]:
            assert o["output_type"] != "error" and o.get("name") != "stderr"
            assert "<progress" not in "".join(o.get("data", {}).get("text/html", ""))
            kept = {k: v for k, v in o.get("data", {}).items() if not k.startswith("image/")}
            assert not PATHS.search(json.dumps([kept, o.get("text", "")]))
    assert not PATHS.search("".join("".join(c["source"]) for c in read(path)))
    assert "papermill" not in json.loads(path.read_text(encoding="utf-8"))["metadata"]
