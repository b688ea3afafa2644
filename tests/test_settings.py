"""Strict settings: what is refused, and that the message names file, key and the nearest valid word."""
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

import lib
from lib.errors import Bad
from lib.profiles import load, seeds_of, select
from lib.registry import METHODS
from lib.settings import DEFAULTS, KEYS, Study, check, complete
from lib.values import misfit

ROOT = Path(__file__).resolve().parents[1]


def says(*words, settings=None, profile=None):
    with pytest.raises(Bad) as e:
        load(profile) if profile else check({"s": settings}, "here")
    for w in words:
        assert w in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("settings, words", [
    ({"lrr": 0.1}, ["here: s.lrr", "nearest key: lr"]),
    ({"lr": "0.1"}, ["s.lr", "a number", "learning rate"]),
    ({"lr": True}, ["s.lr", "a number"]),
    ({"lr": None}, ["s.lr"]),
    ({"rounds": 2.0}, ["s.rounds", "whole number"]),
    ({"rounds": -1}, ["s.rounds", "outside"]),
    ({"flip": 1}, ["s.flip", "true or false"]),
    ({"dataset": "cifar"}, ["here: s.dataset: no dataset 'cifar'", "nearest dataset: cifar10"]),
    ({"dataset": "no/such.npz"}, ["no file or folder no/such.npz"]),
    ({"model": "resnet"}, ["s.model: no model 'resnet'", "nearest model: resnet18"]),
    ({"partition": "dirchlet"}, ["s.partition: no partition", "nearest partition: dirichlet"]),
    ({"targets": 0}, ["s.targets: 0 must be a list: a whole number >= 0 each", "clients that leave"]),
    ({"targets": [10]}, ["below the number of clients"]),
    ({"clients": 2, "targets": [0, 1]}, ["leave no client"]),
    ({"joins": {0: 1.5}}, ["map client: round"]),
    ({"forget": "class"}, ["needs forget_class"]),
    ({"dataset": "mnist", "noise": 1.0}, ["digits only"]),
    ({"schedule": ["cosine", 1]}, ["s.schedule", "must be [cosine, first, last, rounds] or null"]),
    ({"schedule": ["cosine", -1, 0, 3]}, ["s.schedule", "first -1 is outside 0 to 100"]),
    ({"schedule": ["cosine", 0.1, 0.01, 0]}, ["rounds 0 is outside 1 to any"]),
    ({"schedule": ["linear", 0.1, 0.01, 3]}, ["kind 'linear' must be cosine"]),
    ({"lr": float("nan")}, ["s.lr: nan must be a number from 0 to 100, not NaN (learning rate)"]),
    ({"optimizer": "sdg"}, ["s.optimizer: 'sdg' must be one of sgd, adam (local optimiser); nearest: sgd"]),
    ({"channels": 2}, ["s.channels: 2 must be one of 1, 3 or null"]),
    ({"beta": 0, "partition": "dirichlet"}, ["s.beta: 0 is outside 0.001 to 1e+06 (concentration"]),
    ({"joins": {99: 2}}, ["a client that does not exist"]),
    ({"dim": 10, "heads": 4}, ["multiple of heads"]),
    ({"size": 8, "input_size": 9}, ["must not exceed size"]),
    ({"gammas": [30, 101]}, ["101 is outside 0 to 100 (shares of the information"]),
    ({"methods": ["FT"]}, ["method: {arguments}"]),
    ({"methods": {"Retrian": {}}}, ["no method 'Retrian'", "nearest method: Retrain"]),
    ({"methods": {"NoT": {"layer": [0]}}}, ["methods.NoT", "'layer'", "nearest argument: layers"]),
    ({"methods": {"NoT": {"scale": "x"}}}, ["methods.NoT.scale", "a number"]),
    ({"methods": {"FT": {"lr": float("nan")}}}, ["methods.FT.lr: nan must be a number from 0 to 100 or null, not NaN"]),
    ({"methods": {"FT": {"lr": -0.1}}}, ["methods.FT.lr: -0.1 is outside 0 to 100"]),
    ({"methods": {"FCU": {"iterations": 0}}}, ["methods.FCU.iterations: 0 is outside 1 to any"]),
    ({"methods": {"SalUn": {"share": 1.5}}}, ["methods.SalUn.share: 1.5 is outside above 0 to 1"]),
    ({"methods": {"FedEraser": {"per": "clients"}}}, ["methods.FedEraser.per: 'clients' must be one of client, average",
                                                      "nearest: client"]),
    ({"ablations": {"TIS-Reset/a": {"reset": "zeros"}}}, ["ablations.TIS-Reset/a.reset", "nearest: zero"]),
    ({"methods": {"FT": None}}, ["s.methods: {'FT': None} must be a map method: {arguments}: None must be a map"]),
])
def test_a_mistake_is_named(settings, words):
    says(*words, settings=settings)


def test_good_settings_pass_and_defaults_fill_in():
    s = {"dataset": "digits", "lr": 1, "methods": {"NoT": {"layers": [0]}, "NoT/none": {"layers": []}}, "size": None}
    assert check({"s": s}) == {"s": s}
    assert complete(s)["lr"] == 1 and complete(s)["momentum"] == DEFAULTS["momentum"]
    check({"s": complete(s)})
    check({"s": {"dataset": str(ROOT)}})


def test_every_default_obeys_its_own_row():
    for name in KEYS:
        assert misfit(KEYS[name].kind, DEFAULTS[name]) is None, name


def test_a_method_added_while_running_counts(monkeypatch):
    def mine(task, trained, *, strength=1.0):
        pass
    monkeypatch.setitem(METHODS, "Mine", mine)
    says("methods.Mine.strength: 'x' must be a number or null", settings={"methods": {"Mine": {"strength": "x"}}})
    check({"s": {"methods": {"Mine": {"strength": 2.0}}}})
    says("'strenght'", "nearest argument: strength", settings={"methods": {"Mine": {"strenght": 2}}})


@pytest.mark.parametrize("text, words", [
    ("seeds: [0]\nnotebooks: {01: {a: {lr: 1, lr: 2}}}", ["line 2", "lr is given twice"]),
    ("seeds: [0]\nnotebooks: {01: {a: {lr: x}}}", [".yaml: 01: a.lr"]),
    ("seeds: [0]\nnotebook: {}", ["notebook: unknown key", "nearest key: notebooks"]),
    ("seeds: 0\nnotebooks: {01: {}}", ["seeds"]),
    ("seeds: [0, 0]\nnotebooks: {01: {}}", ["different"]),
    ("seeds: [0]\nseeds_of: {02: [1]}\nnotebooks: {01: {a: {}}}", ["seeds_of.02"]),
    ("seeds: [0]\nnotebooks: {1: {}}", ["two digits"]),
    ("seeds: [0]\nnotebooks: {01: {a-b: {}}}", ["letters, digits and _"]),
    ("seeds: [0]\nnot_yet: [FT]\nnotebooks: {01: {}}", ["FT is there now"]),
    ("seeds: [0\n", ["line"]),
])
def test_a_broken_profile_is_named(tmp_path, text, words):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    says("mine.yaml", *words, profile=str(path))


def test_yaml_without_traps(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("seeds: [0, 1]\nseeds_of: {08: [7]}\nshared: [&a {lr: 1e-3, momentum: 5e-1}]\nnot_yet: [Soon]\n"
                    "notebooks:\n  01: {a: {<<: *a, lr: 2E-2, methods: {FT: {}, Soon: {any: 1}}}}\n"
                    "  08: {no: {<<: *a}}\n")
    p = load(str(path))
    assert p["notebooks"] == {"01": {"a": {"lr": 0.02, "momentum": 0.5, "methods": {"FT": {}}}},
                              "08": {"no": {"lr": 0.001, "momentum": 0.5}}}
    assert (seeds_of(p, "01"), seeds_of(p, "08")) == ([0, 1], [7])


def merged(tmp_path, text):
    path = tmp_path / "mine.yaml"
    path.write_text(f"seeds: [0]\nshared: [&a {{lr: 1, rounds: 1}}, &b {{lr: 2, every: 2}}]\nnotebooks: {{01: {{s: {text}}}}}\n")
    return load(str(path))["notebooks"]["01"]["s"]


@pytest.mark.parametrize("text, found", [
    ("{<<: [*a, *b]}", {"lr": 1, "rounds": 1, "every": 2}),             # of several mappings the first counts
    ("{<<: [*b, *a]}", {"lr": 2, "rounds": 1, "every": 2}),
    ("{<<: [*a, *b], lr: 3}", {"lr": 3, "rounds": 1, "every": 2}),      # and a key of its own before them all
    ("{lr: 3, <<: *b}", {"lr": 3, "every": 2}),
    ("{<<: *b, <<: *a}", {"lr": 2, "rounds": 1, "every": 2}),
    ("{<<: {<<: *b, lr: 4}, rounds: 5}", {"lr": 4, "rounds": 5, "every": 2}),
    ("{<<: [{<<: *b, every: 7}, *a]}", {"lr": 2, "rounds": 1, "every": 7}),
    ("{<<: []}", {}),
])
def test_one_rule_for_merges(tmp_path, monkeypatch, text, found):
    # the library's rule differs between its versions: ours must not ask it
    monkeypatch.setattr(yaml.constructor.SafeConstructor, "flatten_mapping", None)
    assert merged(tmp_path, text) == found


def test_every_cnn_of_the_paper_keeps_its_history():
    books = load("paper")["notebooks"]
    kept = [s["history"] for settings in books.values() for s in settings.values() if s["model"] == "cnn"]
    assert kept == ["all"] * 9


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xef\xbb\xbfseeds: [0]\nnotebooks: {01: {a: {}}}")
    assert load(str(path))["seeds"] == [0]


def test_a_profile_may_be_called_by_digits(tmp_path):
    (tmp_path / "007.yaml").write_text("seeds: [0]\nnotebooks: {01: {a: {}}}")
    assert load(str(tmp_path / "007.yaml"))["profile"] == "007"


def test_the_studies_of_the_settings_are_those_there_are():
    assert set(get_args(Study)) == set(lib.STUDIES)


def test_the_defaults_of_what_is_chosen_come_before_those_of_the_table():
    assert DEFAULTS["width"] is None and complete({})["width"] == 32 and complete({"model": "resnet18"})["width"] == 64
    assert complete({"model": "vit_b16"})["width"] is None and complete({"dataset": "mnist"})["noise"] is None
    assert complete({"width": None})["width"] is None       # what is said stays as it is said
    assert "seed" not in complete({"dataset": "digits"})


def test_selection():
    p = {"profile": "x", "source": "x.yaml", "notebooks": {"01": {"a": {}}, "02": {"a": {}, "b": {}}}}
    assert select(p, "1,02.b") == {"01": {"a": {}}, "02": {"b": {}}}
    assert select(p) == p["notebooks"] == select(p, "01,02")
    for only, words in (("03", "no notebook '03'"), ("02.c", "no setting 'c'")):
        with pytest.raises(Bad, match=words):
            select(p, only)


@pytest.mark.parametrize("name", ["quick", "reduced", "paper"])
def test_the_profiles_load(name):
    p = load(name)
    assert p["profile"] == name and p["notebooks"]["01"]
    own = {"10", "11", "12", "13"}                                                   # which neither paper has
    assert set(p["notebooks"]) - own <= set(load("paper")["notebooks"])        # what runs small also stands there in full


@pytest.mark.parametrize("name", ["quick", "reduced", "paper"])
def test_every_profile_has_what_the_claims_name(name):
    books = load(name)["notebooks"]
    plain = {n: [s["methods"] | s.get("ablations", {}) for s in books[n].values()] for n in ("02", "03", "04", "05")}
    assert all(m.get("NoT", {}) == {} for there in plain.values() for m in there)   # else its column has another name
    assert {"label_skew", "class_wise", "instance_wise", "joined_first", "joined_halfway"} <= set(books["03"])
    for labels in (("NoT/conv1 and its norm", "NoT/conv2", "NoT/head", "NoT/conv1 + conv2"), ("Perturb/noise 1",
                   "Perturb/re-initialise"), ("Perturb/position embedding", "Perturb/queries of block 1")):
        assert any(set(labels) <= set(m) for m in plain["04"]), labels
    assert sum("leave" in s for s in books["04"]) == 3
    first, *_, vit = books["05"].values()
    assert len(first["studies"]) == 6 and "vit" in vit["model"] and "similarity" in vit["studies"]
    assert any(s["methods"].get("TIS-Reset/sampled") for s in books["07"].values())


def test_unknown_profile():
    says("no profile 'quik'", "nearest profile: quick", profile="quik")


def test_nothing_here_imports_torch():
    code = "import lib.profiles, workflow.run, workflow.execute, workflow.publish, sys; lib.profiles.load('quick'); print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True)
    assert out.stdout.strip() == "False", out.stderr


def test_an_empty_selection_is_one_sentence():
    with pytest.raises(Bad, match="names nothing"):
        select(load("quick"), ",")
