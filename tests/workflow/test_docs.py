"""What is derived from the signatures is fresh, and spares the listings torch."""
import subprocess
import sys
import time
from typing import Any, Literal

import pytest

from lib.files import ROOT
from lib.registry import arguments
from lib.settings import KEYS
from lib.signatures import SIGNATURES
from lib.values import Rate, Schedule, Whole
from workflow import docs


def test_what_the_command_would_write_is_there():
    lib_brings = {r.kind: {n: f for n, f in r.items() if f.__module__.startswith("lib.")} for r in docs.registries()}
    for kind, functions in lib_brings.items():
        assert functions and SIGNATURES[kind] == {n: arguments(f) for n, f in functions.items()}, "run python -m workflow.docs"
    for path, text in docs.texts().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is old: run python -m workflow.docs"


def test_every_key_and_every_entry_is_described():
    text = docs.PARAMETERS.read_text(encoding="utf-8")
    assert all(f"| `{key}` |" in text for key in KEYS)
    for registry in docs.registries():
        for name, f in registry.items():
            assert f"### {name}\n\n{f.__doc__.strip().splitlines()[0]}" in text, name


@pytest.mark.parametrize("kind, text", [
    (Rate | None, "Rate | None"), (list[Whole | str], "list[Whole | str]"), (Literal["a", 1], "Literal['a', 1]"),
    (Schedule, "Schedule"), (Any, "Any"), (dict[str, Whole], "dict[str, Whole]"), (bool, "bool")])
def test_annotations_as_code(kind, text):
    assert docs.code(kind) == text


def test_listings_wait_for_nothing():
    code = ("import sys\nfrom workflow.run import main\nmain(['--profile', 'reduced', '--dry-run'])\n"
            "print([m for m in ('torch', 'torchvision', 'pandas') if m in sys.modules])")
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert done.stdout.endswith("[]\n"), done.stdout + done.stderr
    assert time.perf_counter() - begin < 5              # 0.3 s on an idle machine
