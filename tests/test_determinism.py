"""Hash seeds, locale, time zone, a job and a kernel change no key and no bit. `determinism.py` looks at more."""
import pytest
from determinism import BASE, Case, compared, ran

ODD = {"PYTHONHASHSEED": "77", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "TZ": "Asia/Kathmandu"}
ONE = {"nets": {"small_cnn": "width: 4"}}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return ran(BASE, tmp_path_factory.mktemp("base") / "runs", **ONE)


@pytest.mark.parametrize("how, table", [("job", "none is written"), ("kernel", "same")])
def test_hash_seed_locale_time_zone_job_and_kernel_change_no_bit(base, tmp_path, how, table):
    other = ran(Case(how, how, ODD), tmp_path / "runs", **ONE)
    assert len(base[0]) == 6        # one training, five methods
    assert compared(base, other) == ("same", "same", "same", table)


def test_the_comparison_sees_a_difference(base):
    entries, table = base
    changed = {}
    for what, (key, curve, files) in entries.items():
        points = [{name: value + 0.5 for name, value in point.items()} for point in curve]
        changed[what] = f"{key}0", points, files[::-1]
    keys, states, curves, csv = compared(base, (changed, table.replace(b"1", b"2")))
    assert keys == "small_cnn: 6 of 6 differ" and "differ, by up to " in states and csv.endswith("lines differ")
    assert curves == "small_cnn: losses by up to 0.5, percentages by up to 0.5"
    assert "others" in compared(base, ({}, table))[0]
