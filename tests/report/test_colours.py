"""Colours that meet in one panel are told apart by eyes that lack one kind of cone, too."""
import itertools

import pytest

from lib import words
from lib.report import colours, gallery, style, theory

ROWS = {**words.METHODS, **words.CHANGES}
FEDERATED = ("Original", "Retrain", "FT", "FedEraser", "FUKD", "PGD", "MoDE", "FCU", "NoT", "TIS-Reset", "Random-Reset",
             "TIS-Reset+TRIM", "Random-Reset+TRIM")
PANELS = {      # names that meet in one panel of some figure
    "02, 03, 08, 09, 10, 12, 13": FEDERATED,
    "06": ("Original", "Retrain", "FT", "NoT", "RandL", "GA", "BadT", "l1-sparse", "SSD", "SalUn"),
    "04, layers of a CNN": ("Retrain", *gallery.CNN),
    "04, layers of a ViT": ("Retrain", *gallery.VIT),
    "04, several layers": ("Retrain", *gallery.SEVERAL),
    "04, changes": ("Retrain", *gallery.CHANGES),
    "04, traced": gallery.TRACED,
    "04, how many leave": gallery.LEAVING,
    "05": ("Retrain", "FT", "NoT", "NR-Freeze", "NR", "Original"),
    "08, scores": ("TIS-Reset", "Random-Reset", "shift score", "forget score"),
}
LEAST = 14


@pytest.mark.parametrize("names", PANELS.values(), ids=PANELS)
def test_every_pair_that_meets_is_far_apart(names):
    near = [(round(colours.distance(ROWS[a].color, ROWS[b].color), 1), a, b) for a, b in itertools.combinations(names, 2)]
    assert min(near)[0] >= LEAST, sorted(near)[:5]


def test_every_method_stands_in_a_panel_of_the_test():
    alone = {"TRIM", "Perturb"}         # in no figure under that name
    assert set(ROWS) - alone <= {name for names in PANELS.values() for name in names}


def test_colours_of_the_theory_are_apart():
    assert colours.distance(theory.JOINT, theory.SINGLE) >= LEAST
    for a, b in itertools.combinations(("#A6761D", "#0072B2", "#111111"), 2):       # of the estimator
        assert colours.distance(a, b) >= LEAST


@pytest.mark.parametrize("count", [1, 4, 8])
def test_methods_of_ones_own_are_clear_of_all_others(count):
    names = [*FEDERATED[:9], *(f"Mine {i}" for i in range(count))]
    drawn = style.looks(names)
    mine = [drawn[name]["color"] for name in names[9:]]
    others = [drawn[name]["color"] for name in names[:9]]
    least = min(colours.distance(a, b) for a, b in itertools.product(mine, others))
    assert least >= 6 and len(set(mine)) == count


def test_the_simulation_is_that_of_the_literature():
    """A neutral grey stays one for every kind of eyes; what deuteranopes confuse comes close; hand-computed CIELAB."""
    for eyes, matrix in colours.EYES.items():
        assert matrix.sum(axis=1) == pytest.approx([1, 1, 1], abs=1e-5), eyes
    assert colours.lab("#FFFFFF") == pytest.approx([100, 0, 0], abs=0.01)
    assert colours.lab("#FF0000") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    assert colours.distance("#9A9A9A", "#44AA99", ["all cones"]) > 30
    assert colours.distance("#9A9A9A", "#44AA99") == pytest.approx(3.5, abs=0.1)
    assert colours.nearest("#000000", []) == float("inf")
