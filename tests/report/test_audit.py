"""The audit's rows, figures and table, from made-up margins: a method that keeps something, and a second Retrain."""
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pytest

import lib
from lib.errors import Bad
from lib.report import audit
from lib.report.by_example import chosen

TASK = SimpleNamespace(seed=0, name="a")
SIZES = {"forget": 30, "retain": 40, "test": 20}
WIDTH = {part: np.random.default_rng(1).normal(0, 2, n) for part, n in SIZES.items()}


class Made:
    """What `lib.runs.shadows.Seen` is, with normal margins, moved by `kept` on forgotten examples."""

    def __init__(self, number, label, method, kept=0.0, variant=None, shares=("quarter", "half", "full"), models=12):
        self.number, self.label, self.method, self.kept = number, label, method, kept
        self.shares, self.models = shares, models
        self.record = {"setting": "a", "seed": 0, "dataset": "digits", "model": "small CNN", "distribution": "iid",
                       "scenario": "client-wise", "method": method, "variant": variant or {}}

    def margins(self, part, share="full"):
        rng = np.random.default_rng([self.number, list(SIZES).index(part)])
        moved = self.kept * (part == "forget")
        return WIDTH[part] + moved + rng.normal(0, 1, (self.models, SIZES[part]))

    def values(self, metric, share="full"):
        return np.full(self.models, 50.0 + self.kept)


def seen():
    return {"Original": Made(0, "Original", "Original", 4.0), "Retrain": Made(1, "Retrain", "Retrain"),
            "Retrain/again": Made(2, "again", "Retrain", variant={"name": "again"}),
            "FT": Made(3, "FT", "FT", 3.0), "NoT": Made(4, "NoT", "NoT", 1.0),
            "PGD": Made(5, "PGD", "PGD", 2.0, shares=("half", "full"))}


@pytest.fixture(scope="module")
def df():
    return lib.rows(audit.audit_rows(TASK, seen()), profile="quick", notebook="12")


def test_the_second_retrain_is_within_its_interval_everywhere(df):
    for over in audit.OVER:
        low, high = (lib.audited(df, "attack_acc", over, bound=b)["Retrain name=again"].item() for b in ("low", "high"))
        value = lib.audited(df, "attack_acc", over)["Retrain name=again"].item()
        assert low <= value <= high and low - 3 < 50 < high + 3, over


def test_what_is_kept_is_found_and_in_order(df):
    found = lib.audited(df, "attack_acc").iloc[0]
    assert found["Retrain name=again"] < 55 < found["NoT"] < found["PGD"] < found["FT"] < found["Original"]
    assert lib.audited(df, "avg_gap", None).iloc[0].to_dict() == {
        "Original": 4, "Retrain": 0, "Retrain name=again": 0, "FT": 3, "NoT": 1, "PGD": 2}
    assert "PGD" not in lib.audited(df, "attack_acc", stop="quarter")       # it could not afford that


def test_the_statistics_over_all_models_are_the_statistics(df):
    some = chosen(df[df["metric"] == "klom"], over="forget", models=None)
    whole = some[(some["models"] == 12) & (some["method"] == "NoT")]["value"].item()
    assert whole == pytest.approx(lib.audited(df, "klom")["NoT"].item())
    floor = some[some["method"] == "Retrain"].set_index("models")["value"]
    assert floor[4] > floor[12]


@pytest.mark.parametrize("name", ["audit_accuracy", "audit_rocs", "audit_margins", "audit_models"])
def test_figures_are_functions_of_the_rows(df, name):
    fig = getattr(lib, name)(df)
    titles = " ".join(ax.get_title() for ax in fig.axes) + " ".join(t.get_text() for t in fig.axes[0].get_yticklabels())
    titles += " ".join(t.get_text() for legend in fig.legends for t in legend.get_texts())
    assert "NoT" in titles
    plt.close(fig)


def test_the_table_has_the_floor_and_every_method(df):
    table = lib.show_audit(df)
    assert list(table.index) == ["Retrain name=again (the floor)", "NoT", "PGD", "FT", "Original"]
    assert "[" in table["attack accuracy"].iloc[0] and table["average gap"]["NoT"] == "1.00"


def test_a_retrain_that_diverged_is_nothing_to_compare_with():
    lost = seen() | {"Retrain": Made(1, "Retrain", "Retrain", shares=())}
    with pytest.raises(Bad, match="a Retrain has diverged"):
        audit.audit_rows(TASK, lost)


def test_the_rows_are_the_same_each_time(df):
    again = lib.rows(audit.audit_rows(TASK, seen()), profile="quick", notebook="12")
    assert again.equals(df)
