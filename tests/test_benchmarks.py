"""Every benchmark runs, in its smallest form: what is measured by hand, now and then, would rot in silence."""
import runpy
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
SMALLEST = {
    "engine": ["--repeats", "1", "--only", "16 px"],
    "curvature": ["--quick", "--nets", "not_cnn"],
    "evaluation": ["--repeats", "1", "--images", "32", "--only", "8 px"],
    "results": ["--repeats", "1", "--times", "2", "--notebook", "01"],
    "bf16": ["--seeds", "1", "--rounds", "1", "--only", "TIS"],
    "steps": ["--repeats", "1", "--steps", "1", "--small", "--only", "TIS"],
}
ELSEWHERE = {"search": "tests/report/test_search.py", "startup": "it starts whole commands, each tested by itself",
             "table": "it runs the others"}
SHARED = {"clock", "peers"}


def test_no_benchmark_is_forgotten():
    assert {path.stem for path in BENCHMARKS.glob("*.py")} == {*SMALLEST, *ELSEWHERE, *SHARED}


@pytest.mark.parametrize("name", SMALLEST)
def test_a_benchmark_runs(name, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *SMALLEST[name]])
    monkeypatch.syspath_prepend(BENCHMARKS)
    runpy.run_path(str(BENCHMARKS / f"{name}.py"), run_name="__main__")
    assert len(capsys.readouterr().out.splitlines()) >= 2
