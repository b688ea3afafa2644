"""Equation 25 on a trained layer."""
from conftest import tiny

import lib


def test_monte_carlo_agrees_and_the_scale_cancels_for_a_fixed_mean_only(store):
    table = lib.equation25(tiny(), store, samples=4000, scales=(0.1, 1.0))
    assert ((table["Monte Carlo"] - table["closed form"]).abs() < 5 * table["error"]).all()
    fixed, moves = (table[table["mean"] == mean]["closed form"] for mean in ("fixed", "moves"))
    assert fixed.nunique() == 1 and moves.iloc[0] > moves.iloc[1] > fixed.iloc[0]
