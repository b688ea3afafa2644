"""Texts that can be held against the code: names of settings, arguments and equations, and who calls whom by which name."""
import re

import pytest

from lib.files import ROOT
from lib.methods import METHODS
from lib.profiles import load
from lib.registry import arguments
from lib.settings import KEYS

PROFILES = sorted(path.stem for path in (ROOT / "params").glob("*.yaml"))
KIND = ("training", "forget", "partition", "poison_label")     # by which two experiments differ, whatever their size and data


def kinds(name):
    """`{(notebook, setting): what kind of experiment it is}` of a profile."""
    found = {}
    for notebook, settings in load(name)["notebooks"].items():
        for setting, s in settings.items():
            found[notebook, setting] = tuple(s.get(key, KEYS[key].default) for key in KIND)
    return found


@pytest.mark.parametrize("other", PROFILES)
@pytest.mark.parametrize("name", PROFILES)
def test_a_setting_s_name_stands_for_one_experiment(name, other):
    ours, theirs = kinds(name), kinds(other)
    assert {place: ours[place] for place in ours.keys() & theirs} == {place: theirs[place] for place in ours.keys() & theirs}


# What the papers number, as they were printed; a docstring that names another number sends its reader astray.
CITED = {
    "lib/methods/tis.py": {"28"},                   # the score
    "lib/methods/curvature.py": {"28", "29", "30"},     # the score's two curvatures, and how they are added
    "lib/metrics/tis.py": {"32"},                   # the forgetting score
    "lib/methods/federated.py": {"3"},              # NoT
    "lib/theory/negation.py": {"22"},
    "lib/theory/time.py": {"85"},
    "lib/theory/along.py": {"85"},
    "lib/theory/information.py": {"24", "25"},
    "lib/runs/sweep.py": {"17"},
}


@pytest.mark.parametrize("file", CITED)
def test_equations_are_cited_by_their_printed_numbers(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    assert set(re.findall(r"(?:NoT|TIS),? eqs?\. (\d+)", text)) == CITED[file]


def test_no_other_file_cites_an_equation():
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "lib").rglob("*.py")
             if re.search(r"(?:NoT|TIS),? eqs?\. \d", path.read_text(encoding="utf-8"))}
    assert files == set(CITED)


def words_of_the_code():
    """Keys of settings, arguments of methods, and the settings themselves, by their names."""
    settings = {setting for name in PROFILES for _, setting in kinds(name)}
    return settings.union(KEYS, *(arguments(f) for f in METHODS.values()))


def told_arguments():
    """The arguments that docs/deviations.md names, with the values that it gives them: `rule: code`, `fusion="code"`."""
    text = (ROOT / "docs/deviations.md").read_text(encoding="utf-8")
    return sorted(set(re.findall(r"`([a-z_]+)(?:(?:: |=)[^`]*)?`", text)) - set(PROFILES))


@pytest.mark.parametrize("name", told_arguments())
def test_what_the_deviations_name_can_be_set(name):
    assert name in words_of_the_code()


@pytest.mark.parametrize("name", ["rule", "patience", "passes", "fusion", "squared", "weight_of", "resplit", "test_share",
                                  "split_seed", "interval", "per"])
def test_every_reading_of_the_papers_that_can_be_chosen_is_told(name):
    assert name in told_arguments()
