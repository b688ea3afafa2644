"""Keys tell the truth: what code reaches is hashed by value, as it is loaded, and nothing else is."""
import copy
import inspect
import json
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import get_type_hints

import numpy as np
import pytest
import torch
from conftest import tiny

import lib
from lib.fl import rounds
from lib.fl.rounds import Cost, Then
from lib.methods import METHODS
from lib.methods.trained import Trained
from lib.registry import Registry
from lib.runs.code import code_hash
from lib.runs.run import run_key
from lib.runs.store import Store, canonical
from lib.runs.syntax import Unhashable
from lib.sources import remember_cell

ROOT = Path(__file__).parents[2]
numbers = count()


class Used:
    """An object like most: pickling one leaves a name in its class."""
    x = 1


class Slotted:
    __slots__ = ("x",)



def cell(text, name="f", **space):
    """What a cell of a notebook defines under a name, and the space it lives in."""
    file = f"<cell {next(numbers)}>"
    text = textwrap.dedent(text)
    remember_cell(file, text)
    space = {"__name__": "__main__", **space}
    exec(compile(text, file, "exec"), space)
    return space[name]


def key(text, name="f", **space):
    return code_hash(cell(text, name, **space))


# Each: a cell, and the same with another value in a place that f's result depends on.
KINDS = {
    "a constant": ("def f(v): return v * 0.3", "0.3", "0.5"),
    "a global number": ("FACTOR = 0.5\ndef f(v): return v * FACTOR", "0.5", "0.01"),
    "a global dict": ("P = {'a': [1, {'b': 2}]}\ndef f(v): return v * P['a'][1]['b']", "2}", "3}"),
    "a global set": ("S = {1, 2}\ndef f(v): return v in S", "2}", "3}"),
    "a global array": ("import numpy as np\nA = np.arange(3)\ndef f(v): return v * A", "(3)", "(4)"),
    "a global tensor": ("import torch\nA = torch.ones(3)\ndef f(v): return v * A", "ones", "zeros"),
    "a class attribute": ("class P:\n    lr = 0.1\ndef f(v): return v * P.lr", "0.1", "0.2"),
    "a method of a class": ("class P:\n    def g(self, v): return v + 1\ndef f(v): return P().g(v)", "+ 1", "+ 2"),
    "a base class": ("class B:\n    x = 1\nclass P(B): pass\ndef f(v): return v * P.x", "x = 1", "x = 2"),
    "a property": ("class P:\n    @property\n    def x(self): return 1\ndef f(v): return P().x", "return 1", "return 2"),
    "a static method": ("class P:\n    @staticmethod\n    def g(v): return 1\ndef f(v): return P.g(v)", "n 1", "n 2"),
    "a dataclass": ("from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int = 1\ndef f(v): return P().x",
                    "= 1", "= 2"),
    "a field's default": ("from dataclasses import dataclass, field\n@dataclass\nclass P:\n"
                          "    x: list = field(default_factory=lambda: [1])\ndef f(v): return P().x", "[1]", "[2]"),
    "a named tuple": ("from typing import NamedTuple\nclass P(NamedTuple):\n    x: int = 1\ndef f(v): return P().x",
                      "= 1", "= 2"),
    "an object": ("class P:\n    def __init__(self, x): self.x = x\np = P(1)\ndef f(v): return p.x", "P(1)", "P(2)"),
    "a partial": ("from functools import partial\ndef g(v, k): return v * k\nh = partial(g, k=2)\ndef f(v): return h(v)",
                  "k=2", "k=3"),
    "what a partial calls": ("from functools import partial\ndef g(v, k): return v * k\nh = partial(g, k=2)\n"
                             "def f(v): return h(v)", "v * k", "v + k"),
    "a bound method": ("class P:\n    k = 2\n    def g(self, v): return v * self.k\ng = P().g\ndef f(v): return g(v)",
                       "k = 2", "k = 3"),
    "a closure": ("def make(k):\n    def f(v): return v * k\n    return f\nf = make(2)", "make(2)", "make(3)"),
    "a default": ("K = 2\ndef f(v, k=K): return v * k", "K = 2", "K = 3"),
    "a default by keyword": ("K = 2\ndef f(v, *, k=K): return v * k", "K = 2", "K = 3"),
    "a helper": ("def g(v): return v + 1\ndef f(v): return g(v)", "+ 1", "+ 2"),
    "a helper's global": ("K = 1\ndef g(v): return v + K\ndef f(v): return g(v)", "K = 1", "K = 2"),
    "a lambda": ("g = lambda v: v + 1\ndef f(v): return g(v)", "+ 1", "+ 2"),
    "functions in a list": ("def g(v): return v + 1\nL = [g]\ndef f(v): return L[0](v)", "+ 1", "+ 2"),
    "a function inside": ("K = 1\ndef f(v):\n    def g(): return v * K\n    return g()", "K = 1", "K = 2"),
    "a comprehension": ("K = 1\ndef f(v): return [K * i for i in v]", "K = 1", "K = 2"),
    "under a decorator of torch": ("import torch\nK = 1\n@torch.no_grad()\ndef f(v): return v * K", "K = 1", "K = 2"),
    "a helper under a decorator of torch": ("import torch\n@torch.no_grad()\ndef g(v): return v * 1\ndef f(v): return g(v)",
                                            "* 1", "* 2"),
    "under a cache": ("from functools import cache\n@cache\ndef f(v): return v * 1", "* 1", "* 2"),
    "a decorator of one's own": ("def d(g):\n    def h(v): return g(v) + 1\n    return h\n@d\ndef f(v): return v",
                                 "+ 1", "+ 2"),
    "a decorator that wraps": ("import functools\ndef d(g):\n    @functools.wraps(g)\n    def h(v): return g(v) + 1\n"
                               "    return h\n@d\ndef f(v): return v", "+ 1", "+ 2"),
    "what is decorated": ("def d(g):\n    def h(v): return g(v)\n    return h\n@d\ndef f(v): return v + 1", "+ 1", "+ 2"),
    "a decorator's argument": ("K = 1\ndef d(k):\n    def e(g): g.k = k; return g\n    return e\n@d(K)\n"
                               "def f(v): return f.k", "K = 1", "K = 2"),
    "a registry": ("import lib.registry\nR = lib.registry.Registry('net')\ndef g(v): return v + 1\nR['g'] = g\n"
                   "def f(v): return R['g'](v)", "+ 1", "+ 2"),
    "another function of lib": ("import lib\ndef f(v): return lib.average(v, 1)", "average", "accuracy"),
    "another builtin": ("def f(v): return min(v)", "min", "max"),
    "another function of a package": ("import numpy as np\ng = np.mean\ndef f(v): return g(v)", "mean", "sum"),
    "what a function of a package was made from": ("import contextlib\n@contextlib.contextmanager\ndef g(): yield 1\n"
                                                   "def f(v):\n    with g() as x: return x", "yield 1", "yield 2"),
    "in a function made by a package": ("import operator, functools\ndef g(v): return v + 1\n"
                                        "h = functools.reduce(lambda a, b: lambda v: a(b(v)), [g, abs])\n"
                                        "def f(v): return h(v)", "+ 1", "+ 2"),
    "an import inside": ("def f(v):\n    from lib.fl.rounds import average as g\n    return g(v)", "average", "accumulate"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_value_that_the_code_depends_on_changes_the_key(kind):
    text, old, new = KINDS[kind]
    assert old in text and key(text) == key(text) != key(text.replace(old, new))


SAME = {
    "docstrings": ('def f(v):\n    """One."""\n    return v', 'def f(v):\n    """Two."""\n    return v  # why'),
    "annotations": ("def f(v): return v", "def f(v: float) -> 'word': return v"),
    "the registering decorator": ("import lib\ndef f(v): return v",
                                  "import lib\nfrom lib.registry import Registry\nR = Registry('method')\n"
                                  "def method(name): return lambda f: R.register(name, f)\n@method('x')\n"
                                  "def f(v): return v"),
    "space": ("def f(v): return v+1", "\n\n\ndef f( v ):\n\n    return (v + 1)"),
    "a local name that is also a global": ("task = 1\ndef f(task): return task", "task = 2\ndef f(task): return task"),
    "an attribute's name": ("x = 1\ndef f(v): return v.x", "x = 2\ndef f(v): return v.x"),
    "help texts": ("import lib\nfrom lib.settings import KEYS\ndef f(v): return KEYS['lr'].default",
                   "import lib\nKEYS = None\nfrom lib.settings import KEYS\ndef f(v): return KEYS['lr'].default"),
}


@pytest.mark.parametrize("kind", SAME)
def test_what_computes_the_same_has_the_same_key(kind):
    a, b = SAME[kind]
    assert key(a) == key(b)


IMPORTS = ["import backpack", "import backpack as b", "import backpack.extensions", "import backpack.extensions as e",
           "from backpack import backpack", "from backpack import backpack, extend as x", "from backpack import extensions",
           "from backpack.extensions import DiagGGNExact", "import seaborn", "import json", "import torch"]


@pytest.mark.parametrize("line", IMPORTS)
def test_a_key_does_not_ask_whether_a_package_is_there(line, monkeypatch):
    """What is imported inside a function may be lacking where another machine computes."""
    text = f"def f(v):\n    {line}\n    return v"
    known = key(text)
    for name in [name for name in sys.modules if name.split(".")[0] in ("backpack", "seaborn")] + ["backpack", "seaborn"]:
        monkeypatch.setitem(sys.modules, name, None)
    assert key(text) == known != key("def f(v):\n    return v")


def test_the_help_text_of_a_setting_is_in_no_key(monkeypatch):
    from lib import settings
    task = tiny()
    before = run_key(task, "TIS-Reset", {}, 3, 1)
    row = settings.KEYS["gammas"]
    monkeypatch.setitem(settings.KEYS, "gammas", row._replace(meaning="something else"))
    monkeypatch.setattr(settings, "nearest", lambda *a: "another message")
    assert run_key(task, "TIS-Reset", {}, 3, 1) == before


@pytest.mark.parametrize("text", [
    "g = (i for i in [1])\ndef f(v): return next(g)",
    "g = open('/dev/null')\ndef f(v): return g.read()",
    "import threading\nlock = threading.Lock()\ndef f(v): return lock",
    "import torch\ng = torch.ones(2, 2).to_sparse()\ndef f(v): return g",
    "g = eval('lambda v: v')\ndef f(v): return g(v)"])
def test_what_has_no_exact_value_cannot_be_hashed(text):
    with pytest.raises(Unhashable):
        key(text)


def test_a_module_that_is_handed_on_counts_with_all_that_is_in_it(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    keys = []
    for text in ("X = 1", "X = 2", "X = 1", "X = 1\n__version__ = 'b'"):
        (tmp_path / "handed_on.py").write_text(text)
        monkeypatch.delitem(sys.modules, "handed_on", raising=False)
        keys.append(key("def f(v): return v(m)", m=import_module("handed_on")))
    assert keys[0] == keys[2] == keys[3] != keys[1]


USED = {
    "copied": copy.copy,
    "copied deeply": copy.deepcopy,
    "pickled": pickle.dumps,
    "reduced": lambda o: o.__reduce_ex__(2),
    "shown": repr,
    "looked into": lambda o: (inspect.signature(type(o)), get_type_hints(type(o)), inspect.getmembers(o)),
    "asked for its kind": lambda o: (isinstance(o, Mapping), issubclass(type(o), Mapping)),
    "derived from": lambda o: type("Derived", (type(o),), {}),
}


@pytest.mark.parametrize("use", USED)
@pytest.mark.parametrize("thing", [Cost(), Then(), Store("somewhere"), tiny().recipe, Registry("kind"), Used(), Slotted()],
                         ids=lambda thing: type(thing).__name__)
def test_using_an_object_leaves_its_class_s_key_as_it_was(thing, use):
    before = code_hash(type(thing))
    USED[use](thing)
    assert code_hash(type(thing)) == before


def test_training_leaves_the_keys_of_what_trains_as_they_were(task):
    before = code_hash(rounds.Worker), code_hash(type(task))
    worker = rounds.worker(task, task.recipe)
    rounds.one_round(task, "full", task.init(), phase="train")
    for o in (worker, task):
        code_hash(o.__class__)
        o.__reduce_ex__(2)
    assert (code_hash(rounds.Worker), code_hash(type(task))) == before


def test_recursion_and_cycles_end():
    assert key("def f(v): return g(v)\ndef g(v): return f(v)") == key("def f(v): return g(v)\ndef g(v): return f(v)")
    assert key("a = []\na.append(a)\ndef f(v): return a") != key("a = []\ndef f(v): return a")


def test_only_the_named_entries_of_a_registry_count():
    text = "def f(v): return R['a'](v)"
    a, b, c = (cell(f"def g(v): return v + {i}", "g") for i in range(3))
    keys = []
    for entries in ({"a": a, "b": b}, {"a": a, "b": c}, {"a": c, "b": b}):
        R = Registry("net")
        R.update(entries)
        keys.append(code_hash(cell(text, R=R), only={"net": ["a"]}))
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("a,b", [
    (torch.zeros(10**5), torch.zeros(10**5).index_fill(0, torch.tensor(5000), 1)),
    (np.zeros(10**5), np.eye(1, 10**5, 5000)[0]), (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
    (torch.zeros(4), torch.zeros(2, 2)), (np.float32(1), np.float32(2)), ({1, 2}, {1, 3})])
def test_arguments_are_in_a_key_exactly(a, b):
    assert canonical({"x": a}) == canonical({"x": a}) != canonical({"x": b})


@pytest.mark.parametrize("value", [(i for i in [1]), open(__file__), {(1, 2): 3}])
def test_a_key_refuses_what_it_cannot_hold(value):
    with pytest.raises(Unhashable):
        canonical({"x": value})


# ---------------------------------------------------------------- keys of runs

def method(text, name="Mine"):
    return cell(f"import lib\n@lib.method({name!r}, recovery=False)\n{text}", "f")


@pytest.fixture
def mine():
    yield "Mine"
    METHODS.pop("Mine", None)


def test_a_global_that_a_method_reads_makes_another_result(store, mine):
    text = "def f(task, trained):\n    yield lib.Round({k: v * FACTOR for k, v in trained.state.items()})"
    task, losses = tiny(rounds=1), []
    for factor in (0.5, 0.01):
        f = method(text)
        f.__globals__["FACTOR"] = factor
        losses.append(lib.run(task, store, mine)["curve"][-1]["test_loss"])
        again = lib.run(task, lib.Store(store.root.parent / f"empty{factor}"), mine)
        assert again["curve"][-1]["test_loss"] == losses[-1]
    assert losses[0] != losses[1]


def test_what_cannot_be_hashed_is_computed_each_time_and_said(store, mine, capsys):
    method("def f(task, trained):\n    next(numbers)\n    yield lib.Round(trained.state)").__globals__["numbers"] = (
        i for i in count())
    task = tiny(rounds=1)
    record = lib.run(task, store, mine)
    said = capsys.readouterr().err
    assert "Mine is not kept: generator cannot be hashed" in said and said.count("\n") == 1
    assert record["curve"] and record["entry"].tensors("final")
    assert not list((store.root / "runs").glob("[!.]*"))


def test_another_trained_model_is_another_result(task, store):
    a, b = (Trained(task.init(n), task.init(n), None, []) for n in "ab")
    c = Trained(task.init("b"), a.state, None, [])
    losses = [lib.run(task, store, "Original", trained=t)["curve"][-1]["test_loss"] for t in (a, b)]
    assert losses[0] != losses[1]
    assert len({canonical(run_key(task, "FT", {}, 3, 1, t)) for t in (None, a, b, c)}) == 4


def test_a_method_that_changes_its_state_in_place_spoils_no_other(task, store, mine):
    method("def f(task, trained):\n    trained.state['0.bias'].add_(1)\n    trained.init['0.bias'].add_(1)\n"
           "    h = trained.curvature(task)[0]\n    yield lib.Round(trained.state)")
    trained = lib.train(task, store)
    before = lib.run(task, lib.Store(store.root.parent / "other"), "TIS-Reset", trained=trained)["entry"]
    first = [{k: v.clone() for k, v in s.items()} for s in (trained.state, trained.init)]
    lib.run(task, store, mine, trained=trained)
    after = lib.run(task, store, "TIS-Reset", trained=trained)["entry"]
    assert all(torch.equal(s[k], t[k]) for s, t in zip(first, (trained.state, trained.init)) for k in s)
    assert all(torch.equal(v, after.tensors("final")[k]) for k, v in before.tensors("final").items())


def test_whether_recovery_follows_is_in_the_key(task, mine, monkeypatch):
    f = method("def f(task, trained):\n    yield lib.Round(trained.state)")
    before = run_key(task, mine, {}, 3, 1)
    monkeypatch.setattr(f, "recovery", True)
    assert run_key(task, mine, {}, 3, 1) != before


def test_the_loop_and_the_evaluation_are_in_the_key_and_one_method_is_not_in_anothers(task, monkeypatch):
    from lib.metrics import evaluate
    from lib.runs import loop
    keys = [canonical(run_key(task, "NoT", {}, 3, 1))]
    monkeypatch.setitem(METHODS, "FT", METHODS["NoT"])
    assert canonical(run_key(task, "NoT", {}, 3, 1)) == keys[0]
    for module, name in ((loop, "_restored"), (evaluate, "accuracy")):
        with monkeypatch.context() as m:
            m.setattr(module, name, cell(f"def {name}(*a): return 0", name))
            keys.append(canonical(run_key(task, "NoT", {}, 3, 1)))
    assert len(set(keys)) == 3


def test_curvature_is_computed_once_for_a_state_and_a_task(task, monkeypatch):
    calls = []
    monkeypatch.setattr(Trained, "compute_curvature", lambda self, *a: calls.append(a) or a)
    trained = Trained(None, task.init("a"), None, [])
    assert trained.curvature(task) is trained.protected().curvature(task) and len(calls) == 1
    other = tiny(targets=[1])
    trained.curvature(other)
    trained.curvature(other, "ggn_mc")
    assert len(calls) == 3
    trained.state["0.bias"] += 1
    trained.curvature(other)
    assert len(calls) == 4


# ---------------------------------------------------------------- kernels, jobs, and files that change

CELL = """\
import lib
FACTOR = {factor}

@lib.method("Cell")
def halve(task, trained, *, by=0.5):
    '''Halve.'''
    scaled = lambda v: v * by * FACTOR * 0.3
    yield lib.Round({{k: scaled(v) for k, v in trained.state.items()}})

from lib.runs.code import code_hash
found = code_hash(halve)
"""


def notebook(path, source):
    cells = [{"cell_type": "code", "id": t, "metadata": {"tags": [t]}, "source": s, "outputs": [], "execution_count": None}
             for t, s in (("parameters", "seeds = [0]"), ("compute", source))]
    path.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    return path


def test_a_kernel_and_a_job_have_the_same_key_for_a_method_in_a_cell(tmp_path):
    from workflow.jobs import execute
    found = {}
    try:
        for factor in (0.3, 0.5):
            text = CELL.format(factor=factor)
            found["job", factor] = execute(notebook(tmp_path / f"{factor}.ipynb", text), {"seeds": [1]})["found"]
            shell = ("from IPython.core.interactiveshell import InteractiveShell\n"
                     f"s = InteractiveShell.instance(); s.run_cell('a = 1'); s.run_cell({text!r}); print(s.user_ns['found'])")
            out = subprocess.run([sys.executable, "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=120,
                                 env={**os.environ, "IPYTHONDIR": str(tmp_path)})
            found["kernel", factor] = out.stdout.split()[-1]
    finally:
        METHODS.pop("Cell", None)
    assert found["job", 0.3] == found["kernel", 0.3] != found["job", 0.5] == found["kernel", 0.5]
    text = CELL.format(factor=0.3).replace("* 0.3", "* 0.5")
    try:
        assert execute(notebook(tmp_path / "c.ipynb", text), {})["found"] != found["job", 0.3]
    finally:
        METHODS.pop("Cell", None)


def test_lib_edited_while_a_process_lives_leaves_its_keys_as_they_are(tmp_path):
    shutil.copytree(ROOT / "lib", tmp_path / "lib", ignore=shutil.ignore_patterns("__pycache__"))
    script = textwrap.dedent("""
        import pathlib, lib
        from lib.runs.code import code_hash
        from lib.fl import rounds
        path = pathlib.Path(rounds.__file__)
        def edit(path, old, new):
            assert old in path.read_text()
            path.write_text(path.read_text().replace(old, new))
        edit(path, "BYTES = 4", "BYTES = 8")
        edit(path, "return lr\\n", "return 2 * lr\\n")
        late = path.parents[1] / "metrics" / "evaluate.py"      # not imported yet: what is loaded is the new text
        edit(late, "return share(guess(logits), labels)", "return share(guess(logits), labels) / 2")
        print(code_hash(rounds.learning_rate), code_hash(rounds.Worker), code_hash(lib.accuracy))
    """)

    def keys():
        out = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120,
                             env={**os.environ, "PYTHONPATH": str(tmp_path)})
        assert out.returncode == 0, out.stderr
        return out.stdout.split()
    while_it_lived = keys()
    assert while_it_lived[:2] == [code_hash(rounds.learning_rate), code_hash(rounds.Worker)]
    assert while_it_lived[2] != code_hash(lib.accuracy)
    script = "import lib\nfrom lib.fl import rounds\nfrom lib.runs.code import code_hash\n" \
             "print(code_hash(rounds.learning_rate), code_hash(rounds.Worker), code_hash(lib.accuracy))"
    edited = keys()
    assert edited[0] != while_it_lived[0] and edited[2] == while_it_lived[2]


def test_a_module_of_ones_own_edited_after_it_registered_keeps_its_key(tmp_path, monkeypatch, mine):
    file = tmp_path / "my_methods.py"
    text = ("import lib\n\ndef helper(v):\n    return v * 1\n\n@lib.method('Mine')\ndef f(task, trained):\n"
            "    yield lib.Round({k: helper(v) for k, v in trained.state.items()})\n")
    file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    import my_methods
    file.write_text(text.replace("* 1", "* 2"))
    before = code_hash(my_methods.f)
    del sys.modules["my_methods"]
    METHODS.pop("Mine")
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "my_methods2.py").write_text(text)
    monkeypatch.syspath_prepend(other)
    import my_methods2
    assert code_hash(my_methods2.f) == before


def test_the_trees_are_the_same_in_every_version():
    """Known numbers: whoever runs the tests under another Python finds out here."""
    assert key("def f(v, *a, k=(1, None), **b):\n    x: int = 3\n    return f'{v:>{k}} {x!r}', v[1:, ::2], {**b, 'a': 1}") \
        == "ed8fb215de02e163"
