"""What a job asks a scheduler for follows from its setting."""
import pytest

from lib.profiles import load, select
from workflow.cost import estimate_flops, listing, memory_mb, resources

CIFAR = {"dataset": "cifar10", "model": "resnet18"}


@pytest.mark.parametrize("less, more", [
    ({}, {"size": 224}),
    ({"size": 256, "n_train": 5000, "n_test": 1000}, {"size": 256}),
    ({"model": "small_cnn"}, {"model": "vit_b16"}),
    ({"model": "resnet18", "width": 16}, {"model": "resnet18", "width": 128}),
    ({"model": "vit_b16", "history": "none"}, {"model": "vit_b16", "history": "all"}),
    ({"batch_size": 16, "size": 224, "n_train": 100, "n_test": 100}, {"batch_size": 256, "size": 224, "n_train": 100, "n_test": 100}),
    ({"methods": {"NoT": {}}, "size": 64}, {"methods": {"TIS-Reset": {}}, "size": 64}),
    ({"channels": 1, "dataset": "mnist", "size": 224}, {"channels": 3, "dataset": "mnist", "size": 224}),
])
def test_what_holds_more_asks_for_more(less, more):
    assert memory_mb({**CIFAR, **less}) < memory_mb({**CIFAR, **more})


def test_quick_fits_a_laptop_and_no_paper_setting_asks_for_more_than_a_node_has():
    for name, most in (("quick", 3000), ("reduced", 8000), ("paper", 64000)):
        for number, settings in select(load(name)).items():
            for setting, s in settings.items():
                assert 1000 < memory_mb(s) <= most, f"{name} {number}.{setting}"
                assert memory_mb(s, gpu=True) <= 32000, f"{name} {number}.{setting}"


def test_images_that_are_kept_resized_are_counted_and_on_a_gpu_they_are_not():
    large = {**CIFAR, "size": 256}
    kept = 62500 * 3 * 256 ** 2 / 2**20
    assert kept < memory_mb(large) < kept + 6000
    assert memory_mb(large, gpu=True) < memory_mb(large) - 5000


def test_a_gpu_is_asked_for_where_there_is_one_and_the_setting_wants_it():
    assert resources([CIFAR], gpus=0)["gpu"] == 0
    assert resources([CIFAR], gpus=2)["gpu"] == 1
    assert resources([{**CIFAR, "device": "cpu"}], gpus=2)["gpu"] == 0
    assert resources([{**CIFAR, "device": "cpu"}, CIFAR], gpus=2)["gpu"] == 1


def test_a_report_asks_for_what_its_largest_setting_does():
    large = {**CIFAR, "size": 256}
    assert resources([CIFAR, large], 0)["mem_mb"] == memory_mb(large) > memory_mb(CIFAR)


DIGITS = {"dataset": "digits", "model": "small_cnn", "width": 2, "n_train": 100, "val_share": 0.0, "clients": 4, "rounds": 2,
          "unlearn_rounds": 4, "methods": {"Original": {}, "FT": {}}}


@pytest.mark.parametrize("changes, factor", [
    # 2 rounds on all and 4 of FT on three quarters are 5; with a Retrain they are 8, in each federation
    ({"shadows": 4}, 4 * 8 / 5), ({"shadows": 32}, 32 * 8 / 5),
    ({"shadows": 4, "methods": {"Original": {}, "FT": {}, "Retrain": {}}}, 4 * 8 / 5),
    ({"shadows": 4, "methods": {"Original": {}}}, 4),
    ({"methods": {"Original": {}, "FT": {}, "Retrain": {}}}, 8 / 5),
    ({"local_epochs": 3}, 3), ({"n_train": 200}, 2), ({"participation": 1}, 1 / 4), ({"participation": 0.5}, 1 / 2),
    ({"forget": "share", "forget_share": 0.5}, 4 / 5),
    ({"ablations": {"NoT/head": {}}, "ablation_rounds": 4}, 8 / 5),
    # after unlearning: 4 further rounds of both methods, and 2 for each of two requests to FT
    ({"after_rounds": 4}, 11 / 5),
    ({"after_rounds": 4, "leavers": [0, 1], "in_turn": ["FT"], "request_rounds": 2}, 14 / 5),
    ({"after_rounds": 4, "leavers": [0, 1], "methods": {"Retrain": {}}}, 11 / 5)])
def test_estimated_flops_follow_the_setting(changes, factor):
    assert estimate_flops(DIGITS | changes) == pytest.approx(factor * estimate_flops(DIGITS))


def test_the_table_names_the_federations_of_an_audit():
    profile = {"profile": "x", "seeds": [0], "seeds_of": {}, "not_yet": [],
               "notebooks": {"02": {"a": DIGITS}, "12": {"a": DIGITS | {"shadows": 32}}}}
    head, one, audit, _ = listing(profile).splitlines()
    assert "2+4  " in one and "federations" not in one and "2+4  " in audit
    assert audit.endswith("32 federations: Original, FT")
    quick = listing(load("quick"), "12")
    assert "32 federations" in quick
