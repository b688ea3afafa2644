"""Do the tests bite? Small mistakes are planted in `lib`, one at a time, and the tests that reach them must fail.

    python tests/mutants.py --count 160 --seed 0
    python tests/mutants.py --only lib/fl/rounds.py --count 40

Works in a temporary copy of the tree. First each test file runs once, to learn which function is reached by which test
and how long each test takes (kept in a file, until the code or the test file changes). Then for each mutant the tests
that reach its function run, the nearest and quickest first, up to the first that fails. Torch, pandas and pytest are
imported once; each run is a fork of that process. Tests that work in other processes, or of rooms that are not changed,
are left out. The numbers of what only draws are left alone.
"""
import argparse
import ast
import copy
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("fl", "methods", "metrics", "runs", "report")
DRAWN = ("ablations", "backdoor", "figures", "pictures", "style", "theory")  # of report: their numbers are only looks
LEFT_OUT = ("tests/workflow", "tests/crash", "tests/theory", "tests/test_determinism.py", "tests/test_house.py")
IMPORT = 0          # the "function" of what runs when a module is imported
FIRST = 12          # tests of a first try: of one or two files, so that most mutants die soon
REPEATS = 4         # a mutant that takes so many times longer, and PATIENCE seconds more, is stopped
PATIENCE = 30


class Mutant(NamedTuple):
    """A mistake: where it is, the first line of the function around it, what it says; the bytes that take a place."""
    path: str
    line: int
    function: int
    words: str
    begin: int
    end: int
    code: str

    def planted(self, text):
        """The module's text with the mistake; both in bytes."""
        return text[:self.begin] + self.code.encode() + text[self.end:]


# ---------------------------------------------------------------- mistakes

SWAPS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
         ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
         ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
         ast.And: ast.Or, ast.Or: ast.And}


def mistakes(node, drawn):
    """The replacements of one node of a syntax tree; `drawn`: the module draws, so that numbers are left alone."""
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield changed(node, ops=[SWAPS[type(node.ops[0])]()])
    elif isinstance(node, (ast.BinOp, ast.BoolOp, ast.AugAssign)) and type(node.op) in SWAPS:
        yield changed(node, op=SWAPS[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        yield node.operand
    elif isinstance(node, ast.Constant):
        yield from other_constants(node, drawn)
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield changed(node, test=ast.UnaryOp(ast.Not(), node.test))
    elif isinstance(node, ast.Call) and swappable(node.args):
        yield changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple) and swappable(node.value.elts):
        first, second, *rest = node.value.elts
        yield changed(node, value=ast.Tuple([second, first, *rest], ast.Load()))
    if removable(node):
        yield ast.Pass()


def changed(node, **fields):
    found = copy.copy(node)
    for name, value in fields.items():
        setattr(found, name, value)
    return found


def other_constants(node, drawn):
    if isinstance(node.value, bool):
        yield ast.Constant(not node.value)
    elif isinstance(node.value, (int, float)) and not drawn:
        yield ast.Constant(node.value + 1)
        yield ast.Constant(node.value - 1)
        if node.value:
            yield ast.Constant(node.value * 2)


def swappable(nodes):
    """Whether the first two of some expressions can change places, and differ."""
    some = nodes[:2]
    return len(some) == 2 and not any(isinstance(n, ast.Starred) for n in some) and ast.dump(some[0]) != ast.dump(some[1])


def removable(node):
    """Statements whose loss leaves a program that runs: an update in place, a call for its effect, a refusal."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    if isinstance(node, ast.Assign):
        return not any(isinstance(target, (ast.Name, ast.Tuple)) for target in node.targets)
    return isinstance(node, (ast.Raise, ast.AugAssign, ast.Break, ast.Continue, ast.Delete))


def sites(tree):
    """`(node, first line of the function around it)` of all nodes that may be changed: not annotations, not messages."""
    def walk(node, function):
        yield node, function
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns") or isinstance(node, ast.Raise) or isinstance(value, ast.JoinedStr):
                continue
            inside = function
            if isinstance(node, (ast.FunctionDef, ast.Lambda)) and name == "body":
                inside = first_line(node) if isinstance(node, ast.FunctionDef) else function
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and not isinstance(child, ast.JoinedStr):
                    yield from walk(child, inside)
    yield from walk(tree, IMPORT)


def first_line(function):
    """The first line of a function as its code object has it: that of its first decorator."""
    return min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)])


def mutants_of(path, text):
    """All mutants of a module."""
    module = Path(path)
    drawn = module.parent.name == "report" and module.stem in DRAWN
    starts = [0]
    for line in text.encode().splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    for node, function in sites(ast.parse(text)):
        for new in mistakes(node, drawn):
            yield replaced(path, starts, node, function, new)


def replaced(path, starts, node, function, new):
    """The mutant with one node written anew; starts: where each line begins, in bytes."""
    if isinstance(node, ast.If):        # only its condition: its body stays as it is written
        node, new = node.test, new.test
    code = ast.unparse(ast.fix_missing_locations(new))
    words = f"{short(ast.unparse(node))}  →  {short(code)}"
    if isinstance(node, ast.expr):
        code = f"({code})"
    begin = starts[node.lineno - 1] + node.col_offset
    end = starts[node.end_lineno - 1] + node.end_col_offset
    return Mutant(path, node.lineno, function, words, begin, end, code)


def short(code):
    line = " ".join(code.split())
    return line if len(line) <= 50 else line[:49] + "…"


def chosen(only, count, seed):
    """Mutants drawn at random: first a place, each with the same chance, then one of its mistakes."""
    by_place = {}
    for path in sorted(p for room in ROOMS for p in (ROOT / "lib" / room).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        if not only or any(name.startswith(o) for o in only):
            for mutant in mutants_of(name, path.read_text(encoding="utf-8")):
                before = mutant.words.partition("  →  ")[0]
                by_place.setdefault((name, mutant.line, before), []).append(mutant)
    rng = random.Random(seed)
    places = rng.sample(sorted(by_place), min(count, len(by_place)))
    return [rng.choice(by_place[p]) for p in places], len(by_place)


# ---------------------------------------------------------------- a tree and a process for each run

def copied(where):
    """A copy of what git knows or would add."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, text=True, capture_output=True,
                            check=True)
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (where / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, where / name)
    return where


def warm():
    """Import once what every test needs."""
    os.environ["OMP_NUM_THREADS"] = "1"
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"     # a mutant has the time and the size of the original
    os.environ["MPLBACKEND"] = "agg"
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.dont_write_bytecode = True
    for name in ("pytest", "torch", "torchvision", "backpack", "pandas", "sklearn.linear_model", "sklearn.datasets",
                 "scipy.stats", "scipy.optimize", "matplotlib.pyplot", "seaborn", "PIL.Image", "safetensors.torch",
                 "yaml", "filelock"):
        __import__(name)


def forked(tree, ids, limit, plugin=None):
    """Run tests in a fork of this process, in a tree: `passed`, `failed` or `time`."""
    child = os.fork()
    if child == 0:
        in_child(tree, ids, plugin)
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "passed" if status == 0 else "failed"
        time.sleep(0.02)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "time"


def in_child(tree, ids, plugin):
    """What a fork does: it never returns."""
    status = 1
    try:
        os.setsid()
        log = os.open(tree.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for stream in (1, 2):
            os.dup2(log, stream)
        os.chdir(tree)
        sys.path[:] = [str(tree), *(p for p in sys.path if Path(p or ".").resolve() not in (ROOT, ROOT / "tests"))]
        os.environ["PYTHONPATH"] = str(tree)
        import pytest
        status = int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", "--tb=no", *ids],
                                 plugins=[plugin] if plugin else []))
        if Path(sys.modules["lib"].__file__).parent.parent != tree:
            status = 99
    finally:
        sys.stdout.flush()
        os._exit(status)


# ---------------------------------------------------------------- which test reaches what

class Reached:
    """A pytest plugin that notes, for each test, its seconds and the functions of `lib` that it called."""

    def __init__(self, tree, out):
        self.prefix = str(tree / "lib")
        self.out = out
        self.shared, self.current, self.tests, self.codes = set(), None, {}, {}

    def trace(self, frame, event, arg):
        code = frame.f_code
        (self.shared if self.current is None else self.current).add(id(code))
        self.codes[id(code)] = code     # kept, or its number would be another's

    def pytest_collection(self, session):
        sys.settrace(self.trace)
        threading.settrace(self.trace)

    def pytest_runtest_logstart(self, nodeid, location):
        self.current, self.begin = set(), time.perf_counter()

    def pytest_runtest_logfinish(self, nodeid, location):
        self.tests[nodeid] = [time.perf_counter() - self.begin, self.current]
        self.current = None

    def fixture(self, scope):
        """Around a fixture: what one of a wider scope calls is shared by all tests of the file."""
        mine = self.current
        if scope != "function":
            self.current = None
        yield
        self.current = mine

    def pytest_sessionfinish(self, session, exitstatus):
        sys.settrace(None)
        found = {test: [seconds, self.named(codes | self.shared)] for test, (seconds, codes) in self.tests.items()}
        self.out.write_text(json.dumps(found))

    def named(self, numbers):
        """`path:first line` of the functions of lib among these code objects."""
        codes = [self.codes[n] for n in numbers]
        mine = [c for c in codes if c.co_filename.startswith(self.prefix)]
        return sorted({f"lib{c.co_filename.removeprefix(self.prefix)}:{c.co_firstlineno}" for c in mine})


def watched(tree, out):
    """The plugin, with its hook around fixtures."""
    import pytest

    class Watch(Reached):
        @pytest.hookimpl(hookwrapper=True)
        def pytest_fixture_setup(self, fixturedef, request):
            yield from self.fixture(fixturedef.scope)
    return Watch(tree, out)


def reach(tree, kept):
    """`{test: (seconds, functions)}` of all test files; `kept`: a file with those of earlier calls."""
    known = json.loads(kept.read_text()) if kept.exists() else {}
    code = digest([*tree.glob("lib/**/*.py"), tree / "tests/conftest.py", tree / "tests/toy.py"])
    found = {}
    for path in sorted(tree.glob("tests/**/test_*.py")):
        name = str(path.relative_to(tree))
        if name.startswith(LEFT_OUT):
            continue
        key = digest([path]) + code
        if known.get(name, [""])[0] != key:
            out = tree.with_suffix(".json")
            out.unlink(missing_ok=True)
            result = forked(tree, [name], 1800, watched(tree, out))
            if result != "passed":
                print(f"{name} does not pass without a mutant, and is left out", flush=True)
            known[name] = [key, json.loads(out.read_text()) if result == "passed" else {}]
            kept.write_text(json.dumps(known))
        found |= known[name][1]
    return found


def digest(paths):
    return hashlib.sha256(b"".join(p.read_bytes() for p in sorted(paths) if p.exists())).hexdigest()[:16]


def tests_for(mutant, tests, budget):
    """The tests that reach a mutant's function, `[(seconds, test)]`, as many as the budget in seconds allows: those of
    the module's own test file first, then those of its folder, the quickest first."""
    module = Path(mutant.path)
    own, folder = f"tests/{module.parent.name}/test_{module.stem}.py", f"tests/{module.parent.name}/"
    reaching = []
    for test, (seconds, functions) in tests.items():
        of_module = any(f.startswith(f"{mutant.path}:") for f in functions)
        if of_module if mutant.function == IMPORT else f"{mutant.path}:{mutant.function}" in functions:
            far = 0 if test.startswith(own) else 1 if test.startswith(folder) else 2
            reaching.append((far, seconds, test))
    some, total = [], 0
    for _, seconds, test in sorted(reaching):
        total += seconds
        if some and total > budget:
            break
        some.append((seconds, test))
    return some


# ---------------------------------------------------------------- the whole

def tried(mutant, tree, tests, budget):
    """`(what became of the mutant, seconds)`: killed, timeout, survived, or unreached where no test comes there."""
    some = tests_for(mutant, tests, budget)
    if not some:
        return "unreached", 0
    begin, file = time.monotonic(), tree / mutant.path
    original = file.read_bytes()
    file.write_bytes(mutant.planted(original))
    try:
        for part in (some[:FIRST], some[FIRST:]):
            limit = REPEATS * sum(seconds for seconds, _ in part) + PATIENCE
            result = forked(tree, [test for _, test in part], limit) if part else "passed"
            if result != "passed":
                break
    finally:
        file.write_bytes(original)
    return {"failed": "killed", "time": "timeout", "passed": "survived"}[result], time.monotonic() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=160, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", help="modules or folders, such as lib/fl/rounds.py")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time, each in a copy of its own")
    parser.add_argument("--budget", type=float, default=120, help="seconds of tests for one mutant (by their own time)")
    parser.add_argument("--map", type=Path, default=Path(tempfile.gettempdir()) / "mutants_map.json",
                        help="file that keeps which test reaches what")
    options = parser.parse_args()
    drawn, total = chosen(options.only, options.count, options.seed)
    warm()
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = Queue()
        for i in range(options.jobs):
            trees.put(copied(Path(folder).resolve() / f"tree{i}"))
        tests = reach(trees.queue[0], options.map)
        seconds = sum(t for t, _ in tests.values())
        print(f"{len(drawn)} mutants of {total} places, {len(tests)} tests of {seconds:.0f} s", flush=True)

        def one(mutant):
            tree = trees.get()
            try:
                return mutant, *tried(mutant, tree, tests, options.budget)
            finally:
                trees.put(tree)

        outcomes = Counter()
        with ThreadPoolExecutor(options.jobs) as pool:
            for mutant, outcome, seconds in pool.map(one, drawn):
                outcomes[outcome] += 1
                room = mutant.path.split("/")[1]
                outcomes[room, outcome in ("killed", "timeout")] += 1
                print(f"{outcome:10}{seconds:5.0f} s  {mutant.path}:{mutant.line}  {mutant.words}", flush=True)
    report(outcomes, len(drawn))


def report(outcomes, count):
    """The kill rate, whole and by folder."""
    dead = outcomes["killed"] + outcomes["timeout"]
    print(f"\nkilled {dead} of {count} ({100 * dead / max(1, count):.0f} %), {outcomes['timeout']} of them by time; "
          f"survived {outcomes['survived']}, reached by no test {outcomes['unreached']}")
    for room in ROOMS:
        killed, lived = outcomes[room, True], outcomes[room, False]
        if killed + lived:
            print(f"  lib/{room}: {killed} of {killed + lived}")


if __name__ == "__main__":
    main()
