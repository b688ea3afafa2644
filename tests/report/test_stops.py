"""Which round of a curve a stop chooses, against choices made by hand."""
import pandas as pd
import pytest

import lib
from lib.report import stops, summary
from lib.words import GAP


def point(r, accuracy, val=0.0, cost=None):
    """An evaluated round whose gap to 90 is 90 - accuracy; a round costs 10 bytes and 10 FLOPs."""
    cost = r if cost is None else cost
    return {"round": r, **dict.fromkeys(GAP, float(accuracy)), "val_acc": float(val), "bytes": 10.0 * cost,
            "flops": 10.0 * cost, "seconds": 1.0 * r}


def run(method, curve, variant="", seed=0, **more):
    return {"setting": "a", "dataset": "MNIST", "model": "CNN", "distribution": "iid", "scenario": "client-wise",
            "method": method, "variant": variant, "seed": seed, "curve": curve, **more}


RETRAIN = run("Retrain", [point(0, 10), point(10, 60, 50), point(20, 90, 60)])
ORIGINAL = run("Original", [point(0, 99, 61)])


def table(*runs):
    return lib.rows([RETRAIN, ORIGINAL, *runs], profile="quick", notebook="02")


def rounds(df, method, variant=""):
    part = df[(df["method"] == method) & (df["variant"] == variant) & (df["stop"] != "curve")]
    return part.groupby("stop")["round"].first().to_dict()


def test_every_stop_of_one_curve():
    curve = [point(0, 10), point(5, 60, 59), point(10, 88, 60), point(15, 91, 61), point(20, 95, 61)]
    found = rounds(table(run("NoT", curve)), "NoT")
    assert found == {"last": 20, "quarter": 5, "half": 10, "full": 20, "recovered": 10, "oracle": 15, "best_test": 20}


def test_a_second_retrain_is_stopped_early_as_everybody_else():
    again = run("Retrain", [point(0, 10), point(5, 50), point(10, 91), point(20, 94)], "name=again")
    df = table(again)
    assert rounds(df, "Retrain", "name=again") | {"recovered": None} == {
        "last": 20, "quarter": 5, "half": 10, "full": 20, "oracle": 10, "best_test": 20, "recovered": None}
    gap = summary.by_seed(df, "avg_gap", "half")
    assert gap.loc[("a", 0), "Retrain name=again"] == 1.0 and gap.loc[("a", 0), "Retrain"] == 30.0


def test_a_budget_is_of_both_costs_and_forgives_a_hundredth():
    dear = [point(0, 10), point(5, 60) | {"flops": 60.0}, point(10, 88)]        # 60 of 200 FLOPs at round 5
    just = [point(0, 10), point(5, 60) | {"flops": 52.0}, point(10, 88)]
    assert rounds(table(run("PGD", dear)), "PGD")["quarter"] == 0
    assert rounds(table(run("PGD", just)), "PGD")["quarter"] == 5


def test_what_was_dearer_from_the_start_has_no_row_and_is_counted():
    df = table(run("MoDE", [point(0, 80, cost=6), point(5, 85, cost=11)]))
    assert "quarter" not in rounds(df, "MoDE") and rounds(df, "MoDE")["half"] == 0


def test_who_never_recovers_has_no_row():
    assert "recovered" not in rounds(table(run("GA", [point(0, 50, 59.9), point(20, 60, 59)])), "GA")
    assert rounds(table(run("FT", [point(0, 99, 61), point(20, 95, 61)])), "FT")["recovered"] == 0


def test_at_the_best_test_accuracy_retrain_stands_at_its_best_as_well():
    over = run("Retrain", [point(0, 10), point(10, 92), point(20, 90)])
    df = lib.rows([over, run("NoT", [point(0, 10), point(5, 91), point(20, 90)])], profile="quick", notebook="06")
    assert rounds(df, "Retrain")["best_test"] == 10
    assert summary.by_seed(df, "avg_gap", "best_test").loc[("a", 0), "NoT"] == 1.0
    assert summary.by_seed(df, "avg_gap", "last").loc[("a", 0), "NoT"] == 0.0


@pytest.mark.parametrize("stop", stops.STOPS[2:])
def test_values_are_those_of_the_chosen_round(stop):
    curve = [point(0, 10), point(5, 60, 59), point(10, 88, 60), point(15, 91, 61), point(20, 95, 61)]
    df = table(run("NoT", curve, storage_bytes=7))
    part = df[(df["method"] == "NoT") & (df["stop"] == stop)].set_index("metric")
    at = {p["round"]: p for p in curve}[part["round"].iloc[0]]
    assert part.loc["mia", "value"] == at["mia"] and part.loc["comm_bytes", "value"] == at["bytes"]
    assert part.loc["storage_bytes", "value"] == 7 and "seconds" not in part.index


@pytest.mark.parametrize("metric, value, there", [("asr_negated", 7.0, False), ("leaver_first", 1.0, False), ("storage_bytes", 64.0, True)])
def test_what_was_measured_of_the_last_model_alone_stands_at_no_other_stop(metric, value, there):
    """A probe of the last model says nothing of a model of an earlier round; the bytes stored are the run's."""
    curve = [point(0, 10), point(5, 60, 59), point(10, 88, 60), point(20, 95, 61)]
    df = table(run("NoT", curve))
    df = df[(df["stop"].isin(["last", "curve"])) & (df["metric"] != metric)]
    one = df[(df["method"] == "NoT") & (df["stop"] == "last")].iloc[[0]].assign(metric=metric, value=value)
    whole = stops.with_stops(pd.concat([df, one], ignore_index=True))
    found = set(whole.loc[(whole["method"] == "NoT") & (whole["metric"] == metric), "stop"])
    assert found == {"last"} if not there else {"last", "quarter", "half", "full", "oracle"} <= found
