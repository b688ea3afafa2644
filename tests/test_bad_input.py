"""Bad input as a table, `bad_input.csv`: no row ends in a traceback, none trains, each is told in one sentence.

Columns: `place`, a key of PLACES below; `key` and `value`, what the place reads; `names`, what the sentence must name,
parts of it between bars. Texts of files and of code are written with escapes, as \\n and \\xff.
"""
import csv
import os
import shlex
import subprocess
from pathlib import Path

import pytest
from conftest import TINY

import lib
import lib.methods
import workflow.docs
import workflow.execute
import workflow.publish
import workflow.run
from lib import profiles
from lib.errors import Bad
from lib.fl.rounds import Worker
from lib.registry import DATASETS, METHODS, MODELS, PARTITIONS
from lib.report.claims.verdicts import CLAIMS
from lib.settings import check
from lib.words import MEASURES

# A sentence ends in what to do, or says what a value must be; the others are argparse's and the script's.
REMEDIES = "; ", " must ", "is outside", "invalid", "expected", "required", "unrecognized", "needs a", "already"
ROOT = Path(__file__).resolve().parents[1]
REGISTRIES = METHODS, MODELS, DATASETS, PARTITIONS, MEASURES, CLAIMS
MODULES = {"run": workflow.run, "execute": workflow.execute, "publish": workflow.publish, "docs": workflow.docs}
with open(Path(__file__).with_suffix("").with_name("bad_input.csv"), newline="", encoding="utf-8") as table:
    ROWS = list(csv.DictReader(table))


def raw(text):
    """The bytes of a text with escapes."""
    return text.encode("latin-1").decode("unicode_escape").encode("latin-1")


def yaml(text):
    return profiles.parsed(text, "the table")


def sentence(f, *args):
    """What the Bad says that a function ends in; any other error is the test's."""
    with pytest.raises(Bad) as error:
        f(*args)
    return str(error.value)


# ---------------------------------------------------------------- places: f(key, value, folder, capsys) -> the sentence

def profile(key, value, folder, capsys):
    """The file `key` with the text `value`, read as a profile."""
    path = folder / key
    path.write_bytes(raw(value))
    return sentence(profiles.load, str(path))


def setting(key, value, folder, capsys):
    """A setting with one key, or with several in a map where `key` is empty."""
    flat = {key: yaml(value)} if key else yaml(value)
    return sentence(check, {"s": flat}, "here")


def method(key, value, folder, capsys):
    """A method and its arguments, in a setting."""
    return sentence(check, {"s": {"methods": {key: yaml(value)}}}, "here")


def task(key, value, folder, capsys):
    """A setting that needs its data to be judged: `value` beside those of a tiny one; key: what it is held against."""
    return sentence(lib.tasks, {"s": {**TINY, **yaml(value)}}, [0])


def seeds(key, value, folder, capsys):
    return sentence(lib.tasks, {"s": TINY}, yaml(value))


def part(key, value, folder, capsys):
    """Code of one's own, and the map of settings `key` that uses it."""
    def use():
        exec(compile(raw(value).decode(), "own.py", "exec"), {"lib": lib, "__name__": "own"})
        lib.tasks({"s": {**TINY, **(yaml(key) or {})}}, [0])
    return sentence(use)


def extension(key, value, folder, capsys):
    """A file `key` that a profile names among its extensions."""
    (folder / key).write_bytes(raw(value))
    path = folder / "mine.yaml"
    path.write_text(f"extensions: [{key}]\nseeds: [0]\nnotebooks: {{02: {{a: {{}}}}}}\n")
    return sentence(profiles.load, str(path))


def command(key, value, folder, capsys):
    """`python -m workflow.<key> <value>`, in this process; argparse says how a command is used, then what is wrong."""
    capsys.readouterr()
    try:
        status = MODULES[key].main(shlex.split(value.replace("FOLDER", str(folder))))
    except SystemExit as end:
        status = end.code
        said = capsys.readouterr()
        assert not said.out
        return _refused(status, said.err.splitlines()[-1])
    said = capsys.readouterr()
    assert not said.out
    return _refused(status, said.err.strip())


def script(key, value, folder, capsys):
    """`./run_all.sh <value>`, as a process."""
    done = subprocess.run(["bash", "run_all.sh", *shlex.split(value)], cwd=ROOT, text=True, capture_output=True,
                          env={**os.environ, "REPRO_NO_INSTALL": "1", "REPRO_PYTHON": "/bin/false",
                               "FU_RUNS": str(folder)})
    return _refused(done.returncode, done.stderr.strip())


def _refused(status, said):
    assert status in (1, 2)
    return said


PLACES = {"profile": profile, "setting": setting, "method": method, "task": task, "seeds": seeds, "part": part,
          "extension": extension, "command": command, "run_all.sh": script}


# ---------------------------------------------------------------- the test

@pytest.fixture
def nothing_trains(monkeypatch, tmp_path):
    """A step of training fails the test, and what is registered or written goes with it."""
    def trains(*args, **kw):
        pytest.fail("it trains")
    monkeypatch.setattr(Worker, "train", trains)
    monkeypatch.setenv("FU_RUNS", str(tmp_path / "runs"))
    before = [dict(r) for r in REGISTRIES]
    yield
    for registry, entries in zip(REGISTRIES, before):
        registry.clear()
        registry.update(entries)


@pytest.mark.parametrize("row", ROWS, ids=[f"{i}-{r['place']}-{r['key'][:30]}" for i, r in enumerate(ROWS, 2)])
def test_bad_input_is_one_sentence(row, nothing_trains, tmp_path, capsys):
    said = PLACES[row["place"]](row["key"], row["value"], tmp_path, capsys)
    assert "\n" not in said and "Traceback" not in said and len(said) < 600, said
    for words in row["names"].split(" | "):
        assert words in said, said
    assert any(mark in said for mark in REMEDIES), said


def test_the_table_is_large_and_has_no_row_twice():
    assert len(ROWS) >= 150 and {r["place"] for r in ROWS} == set(PLACES)
    assert len({tuple(r.values()) for r in ROWS}) == len(ROWS)
