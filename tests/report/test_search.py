"""The search for hyper-parameters: what it tries, and what it judges by."""
import math
import sys
from pathlib import Path

import pytest

from lib.errors import Bad
from lib.words import GAP

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import search  # noqa: E402


def run(method, *points, **more):
    curve = [{"round": r, **dict.fromkeys(GAP, float(v)), "bytes": 1.0 * r, "flops": 1.0 * r} for r, v in points]
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": {}, "seed": 100, "curve": curve, **more}


RETRAIN = run("Retrain", (0, 10), (20, 90))


def test_a_trial_is_judged_at_three_budgets():
    done = run("FT", (0, 50), (5, 80), (10, 88), (20, 91))
    assert search.at_budgets(done, RETRAIN) == {"quarter": 10.0, "half": 2.0, "full": 1.0}


def test_a_trial_that_diverged_has_no_gap_at_the_end():
    done = run("FT", (0, 50), (5, 80), (7, math.nan), diverged=7)
    found = search.at_budgets(done, RETRAIN)
    assert found["quarter"] == 10.0 and math.isnan(found["half"]) and math.isnan(found["full"])


@pytest.mark.parametrize("profile,most", [("quick", 4), ("reduced", 8)])
def test_every_method_has_as_many_different_trials(profile, most):
    for name, (_, candidates) in search.plan(profile).items():
        assert min(map(len, candidates.values())) >= most, name


def test_a_repeated_trial_is_refused(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("p: {a: {settings: {dataset: digits}, candidates: {PGD: [{}, {iterations: 10}]}}}", encoding="utf-8")
    with pytest.raises(Bad, match="PGD has .* twice"):
        search.plan("p", path=path)
