"""Every benchmark runs, in its smallest form: what is measured by hand, now and then, would rot in silence."""
import re
import runpy
import sys
import warnings
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALLEST = {
    "engine": ["--repeats", "1", "--only", "CNN, 16 px"],
    "curvature": ["--quick", "--nets", "tis_cnn", "--sizes", "64"],
    "evaluation": ["--repeats", "1", "--images", "32", "--only", "CNN, 8 px"],
    "results": ["--repeats", "1", "--times", "2", "--notebook", "01"],
    "bf16": ["--seeds", "1", "--rounds", "1", "--only", "TIS"],
    "steps": ["--repeats", "1", "--steps", "1", "--small", "--only", "TIS"],
}
BY_OTHER_TESTS = {"search": "report/test_search.py"}
OF_WHOLE_COMMANDS = {"startup", "table"}        # they start others, each tested by itself
SHARED = {"clock", "peers"}


def test_no_benchmark_is_forgotten():
    there = {path.stem for path in BENCHMARKS.glob("*.py")}
    assert there == {*SMALLEST, *BY_OTHER_TESTS, *OF_WHOLE_COMMANDS, *SHARED}
    for name, test in BY_OTHER_TESTS.items():
        assert f"import {name}" in (Path(__file__).parent / test).read_text(encoding="utf-8")


@pytest.fixture
def as_it_was(monkeypatch):
    """Threads, warnings and modules are afterwards as they were."""
    threads = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(BENCHMARKS)
    with warnings.catch_warnings():
        yield
    torch.set_num_threads(threads)
    for name in SHARED:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs_and_finds_the_same_numbers_on_all_ways(name, as_it_was, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SMALLEST[name]])
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    out = capsys.readouterr().out
    assert len(out.splitlines()) >= 2 and "DIFFER" not in out
    assert all(float(apart) < 1e-5 for apart in re.findall(r"largest difference .*: (\S+)", out))
