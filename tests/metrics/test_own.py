"""A metric of one's own: one decorator, and it stands in curves, rows, tables and figures."""
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import pytest
from conftest import tiny

import lib
from lib import words
from lib.errors import Bad
from lib.metrics import uses
from lib.report import figures, tables


@pytest.fixture
def confidence():
    @lib.metric("confidence", words="mean confidence", unit="percent", kind="share")
    def measure(task, state, *, temperature: float = 1.0):
        logits = lib.predict(task, state, images=task.x_test) / temperature
        return 100 * logits.softmax(1).max(1).values.mean()
    yield measure
    del words.MEASURES["confidence"]


def test_one_decorator_is_enough(confidence, store):
    task = tiny(metrics=["confidence"], rounds=1, unlearn_rounds=1)
    records = [lib.run(task, store, name, count=1, every=1) for name in ("Retrain", "FT")]
    point = records[1]["curve"][-1]
    assert 10 < point["confidence"] <= 100 and "retain_acc" in point

    df = lib.rows(records, profile="quick", notebook="02")
    own = df[df["metric"] == "confidence"]
    assert set(own["stop"]) >= {"curve", "last", "oracle", "half"} and set(own["unit"]) == {"percent"}

    assert "mean confidence, %" in tables.show(df, stop="last").data
    assert figures.curves(df, ["mia", "confidence"]).axes[1].get_title() == "mean confidence (%)"
    plt.close("all")


def test_it_is_measured_in_sweeps_too(confidence):
    task = tiny(metrics=["confidence"])
    state = task.init("a")
    found = lib.measure_all(task, [state])[0]
    assert found["confidence"] == pytest.approx(float(confidence(task, state)))


def test_only_settings_that_name_it_measure_it(confidence):
    task = tiny()
    assert "confidence" not in lib.evaluate(task, task.init("a")) and uses(task.settings) == []
    assert uses(tiny(metrics=["confidence"]).settings) == [confidence]


def test_settings_know_the_metrics(confidence):
    lib.check({"a": {"metrics": ["confidence"]}})
    with pytest.raises(Bad, match=r"a\.metrics: no metric 'confidense'; nearest metric: confidence"):
        lib.check({"a": {"metrics": ["confidense"]}})
    with pytest.raises(Bad, match="a list: a word each"):
        lib.check({"a": {"metrics": "confidence"}})


def test_a_metric_gives_one_number(confidence):
    @lib.metric("pair")
    def pair(task, state):
        return [1, 2]
    try:
        task = tiny(metrics=["pair"])
        with pytest.raises(Bad, match="metric 'pair' gave list"):
            lib.evaluate(task, task.init("a"))
    finally:
        del words.MEASURES["pair"]


def test_names_and_kinds_are_checked_where_they_are_given():
    with pytest.raises(Bad, match="'mia'.*there already"):
        lib.metric("mia")
    with pytest.raises(Bad, match="no kind 'percent'; there are accuracy"):
        lib.metric("mine", kind="percent")
