"""Parts of one's own, named in a profile: found, imported before anything is judged, and handed on."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lib.methods  # noqa: F401  what lib brings is there before a test adds to it
from lib import extensions
from lib.errors import Bad
from lib.profiles import load
from lib.registry import METHODS
from lib.settings import check

ROOT = Path(__file__).resolve().parents[1]
METHOD = 'import lib\n\n@lib.method("{0}")\ndef f(task, trained, *, by: float = 0.5):\n    """Ours."""\n    yield\n'
PROFILE = "extensions: [{0}]\nseeds: [0]\nnotebooks: {{02: {{a: {{methods: {{Ours: {{by: {1}}}}}}}}}}}\n"


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """Nothing that a test imports stays."""
    monkeypatch.delenv(extensions.VARIABLE, raising=False)
    methods, modules = dict(METHODS), set(sys.modules)
    yield
    METHODS.clear()
    METHODS.update(methods)
    for name in set(sys.modules) - modules:
        if name.startswith("ours"):
            del sys.modules[name]


def profile(folder, name="ours.py", by="0.3"):
    path = folder / "mine.yaml"
    path.write_text(PROFILE.format(name, by))
    return path


def says(path, *words):
    with pytest.raises(Bad) as error:
        load(str(path))
    for w in words:
        assert w in str(error.value), str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_beside_the_profile_counts(tmp_path):
    (tmp_path / "ours.py").write_text(METHOD.format("Ours"))
    p = load(str(profile(tmp_path)))
    assert p["profile"] == "mine" and p["extensions"] == [str(tmp_path / "ours.py")] and p["asked"] == str(tmp_path / "mine.yaml")
    assert load(str(profile(tmp_path)))["extensions"]       # a second time nothing is imported again
    says(profile(tmp_path, by="x"), "mine.yaml: 02: a.methods.Ours.by: 'x' must be a number")
    assert extensions.sources(p["extensions"]) == [METHOD.format("Ours")]


def test_a_module_counts(tmp_path, monkeypatch):
    (tmp_path / "ours_package").mkdir()
    (tmp_path / "ours_package/part.py").write_text(METHOD.format("Ours"))
    monkeypatch.syspath_prepend(str(tmp_path))
    p = load(str(profile(tmp_path, "ours_package.part")))
    assert p["extensions"] == ["ours_package.part"] and len(extensions.sources(p["extensions"])) == 1


@pytest.mark.parametrize("name, text, words", [
    ("gone.py", None, ["mine.yaml: extensions: there is no file gone.py in", "check the path"]),
    ("ours.missing", None, ["extensions: ours.missing cannot be imported (ModuleNotFoundError"]),
    ("ours.py", "def f(:\n", ["ours.py cannot be imported (SyntaxError", "mend or remove it"]),
    ("ours.py", "1 / 0", ["ours.py cannot be imported (ZeroDivisionError: division by zero)"]),
    ("ours.py", METHOD.format("FT"), ["ours.py: @lib.method('FT'): there is one of this name in lib.methods.federated"]),
    ("ours.py", "import lib\n\n@lib.method\ndef f(task, trained):\n    yield\n", ["ours.py: @lib.method: it needs a name"]),
    ("json.py", "", ["json.py: there is another module called json; rename the file"]),
    ("3", None, ["mine.yaml: extensions: [3] must be a list of files and modules"]),
])
def test_a_missing_or_broken_one_is_one_sentence(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    says(profile(tmp_path, name), *words)


def test_a_process_that_is_started_knows_them(tmp_path):
    (tmp_path / "ours.py").write_text(METHOD.format("Ours"))
    code = "from lib.settings import check; check({'a': {'methods': {'Ours': {'by': 1}}}}); print('good')"
    extensions.hand_on([str(tmp_path / "ours.py")])
    try:
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=dict(os.environ), text=True, capture_output=True)
    finally:
        extensions.hand_on([])
    assert done.stdout == "good\n", done.stderr
    assert extensions.VARIABLE not in os.environ
    with pytest.raises(Bad, match="no method 'Ours'"):
        check({"a": {"methods": {"Ours": {}}}})


def test_the_path_of_a_profile(tmp_path):
    quick = tmp_path / "quick.yaml"
    quick.write_text("seeds: [0]\nnotebooks: {02: {a: {}}}\n")
    says(quick, "params/ has a profile quick, whose results go to the same folder; rename the file")
    spaced = quick.rename(tmp_path / "a b.yaml")
    says(spaced, "its name is made of letters, digits, _ and -")
    says(tmp_path / "quik.yaml", "there is no such file; nearest profile: quick")
    assert load("params/quick.yaml")["asked"] == "quick"
