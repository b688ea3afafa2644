"""Every federated method and TIS over a Flower grid give the bits of the run in one process, and data stay where they are."""
import json

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install -e '.[flower]'")

import torch
from conftest import same
from flower_grid import Nodes, config_of, remember_tasks
from flwr.app import Context, RecordDict

from flower import server_app, setting
from flower.report import rows, verdict
from flower.run import differences, in_this_process, kept

METHODS = {"Original": {}, "Retrain": {}, "FT": {}, "NoT": {}, "FedEraser": {"recovery": True},
           "FUKD": {"lr": 0.01, "epochs": 1}, "PGD": {"iterations": 2, "updates": 2}, "MoDE": {"rounds": 2, "degrade": 1},
           "FCU": {"iterations": 4, "interval": 2}, "TIS-Reset": {}, "Random-Reset": {},
           "TIS-Reset+TRIM": {"curvature": "ggn_mc"}, "Random-Reset+TRIM": {}}
WITH_TARGET = {"PGD", "MoDE", "FCU", "TIS-Reset", "Random-Reset", "TIS-Reset+TRIM", "Random-Reset+TRIM"}


def served(config, grid=None):
    """`(grid, result, states)` of a run over a grid."""
    grid = grid or Nodes(config, config["nodes"])
    server_app.app(grid, Context(1, 1, {}, RecordDict(), dict(config)))
    out = setting.folder(config)
    return grid, json.loads((out / "result.json").read_text()), kept(out, setting.methods_of(config))


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All methods in one run."""
    with pytest.MonkeyPatch.context() as patch:
        remember_tasks(patch)
        config = config_of(tmp_path_factory.mktemp("flower"), METHODS)
        return config, *served(config), in_this_process(config)


def test_training_is_the_same_bits(whole):
    config, grid, result, states, here = whole
    assert same(states["trained"], here["trained"])


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_bits(whole, name):
    config, grid, result, states, here = whole
    mine = {k: v for k, v in here.items() if k.startswith(f"{name}/")}
    theirs = {k: v for k, v in states.items() if k.startswith(f"{name}/")}
    assert len(mine) > 0 and differences(mine, theirs) == {}
    steps = [x for phase in result["phases"] if phase["what"] == name for x in phase["log"]]
    asked = {client for x in steps for client in x["clients"]}
    assert (0 in asked) == (name in WITH_TARGET) or name.startswith("Random")    # its curvature is known from TIS


def test_what_is_sent_is_what_the_cost_formula_counts(whole):
    config, grid, result, states, here = whole
    sent = sum(x["out"] + x["back"] for phase in result["phases"] for x in phase["log"])
    assert sent < grid.bytes < 1.1 * sent       # Flower's own part of a message
    table = {row["phase"]: row for row in rows(result | {"size": 8})}
    assert all(1 < table[name]["ratio"] < 1.3 for name in ("training", "NoT", "FT", "Retrain"))    # small nets: heads count
    assert table["NoT"]["asked"] == "1, 2" and table["training"]["asked"] == "0, 1, 2"
    assert table["FCU"]["for"] == "contrast + labels none + fuse · cross-entropy"
    assert table["TIS-Reset"]["for"] == "the question curvature" and table["Original"]["asked"] == "nobody"


def test_the_verdict_says_what_differs():
    same = {"differences": {}, "models": 2, "tensors": 8}
    assert verdict(same) == "bit-equal: 2 models, 8 tensors"
    assert "1 of 8 tensors differ from the run in one process, by 0.25" in verdict(same | {"differences": {"a/b": 0.25}})


def test_a_class_is_forgotten_with_the_same_bits(tmp_path, monkeypatch):
    remember_tasks(monkeypatch)
    methods = {"NoT": {}, "MoDE": METHODS["MoDE"], "FCU": METHODS["FCU"], "TIS-Reset": {}}
    config = config_of(tmp_path, methods, {"forget": "class", "forget_class": 3, "targets": []})
    assert differences(in_this_process(config), served(config)[2]) == {}


def test_a_node_holds_its_own_images_and_the_server_none_that_a_client_trains_on(tmp_path):
    config = config_of(tmp_path, {"NoT": {}})
    task = setting.whole_task(config)
    for client, own in enumerate(task.clients):
        mine, _ = setting.of_client(json.dumps(config), client)
        held = mine.x.flatten(1).any(1).nonzero().flatten()
        assert set(held.tolist()) == set(own.indices("full").tolist()) | set(own.val.tolist())
        assert not len(mine.x_test)
    server, _ = setting.of_server(config)
    held = set(server.x.flatten(1).any(1).nonzero().flatten().tolist())
    assert held == {i for client in task.clients[1:] for i in client.val.tolist()}


def test_the_target_is_gone_during_requests_that_do_without_it(tmp_path, monkeypatch):
    remember_tasks(monkeypatch)
    config = config_of(tmp_path, {"NoT": {}, "TIS-Reset": {}, "FUKD": METHODS["FUKD"]}, **{"target-leaves": True})
    grid = Nodes(config)
    said = setting.folder(config) / "leave.json"
    ids = grid.get_node_ids
    grid.get_node_ids = lambda: grid.where.pop(10, None) and None or ids() if said.exists() else ids()
    _, result, states = served(config, grid)
    assert json.loads(said.read_text()) == result["left"] == [0]
    assert {phase["what"]: phase["left"] for phase in result["phases"]} == {
        "training": [], "TIS-Reset": [], "NoT": [0], "FUKD": [0]}
    assert differences(in_this_process(config), states) == {}


def test_a_target_that_stays_is_said(tmp_path, monkeypatch):
    remember_tasks(monkeypatch)
    config = config_of(tmp_path, {"NoT": {}}, **{"target-leaves": True, "wait": 0.5})
    with pytest.raises(Exception, match="client 0 should have left before the request and is still there after 0.5 s"):
        served(config)


def test_a_second_run_takes_the_training_of_the_first(tmp_path, monkeypatch):
    remember_tasks(monkeypatch)
    grid, *_ = served(config_of(tmp_path, {"FT": {}}))
    before = len([kind for _, kind in grid.asked if kind == "train"])
    config = config_of(tmp_path, {"NoT": {}})
    grid, result, states = served(config)
    assert 0 not in [client for client, kind in grid.asked if kind == "train"]
    assert before == 3 * 2 + 2 * 2 and len([kind for _, kind in grid.asked if kind == "train"]) == 2 * 2
    assert same(states["trained"], in_this_process(config)["trained"])


def test_an_array_is_the_bytes_that_went_in():
    from flower import wire
    data = bytes(range(256)) * 3
    held = wire.content(data)
    assert held["body"]["bytes"].data == data and torch.tensor(list(data)).numel() == 768
