"""A node that dies, is late, or answers what cannot be used: one sentence, and the run ends or goes on; it never hangs."""
import json
import time
from dataclasses import replace

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install -e '.[flower]'")

import torch
from flower_grid import Nodes, config_of, remember_tasks
from flwr.app import Context, RecordDict

import lib
from flower import server_app, setting, wire
from flower.engine import Federation
from flower.setting import of_server
from lib.errors import Bad
from lib.fl.messages import packed, unpacked


@pytest.fixture
def config(tmp_path, monkeypatch):
    remember_tasks(monkeypatch)
    return config_of(tmp_path, {"NoT": {}})


def federation(config, least=0, seconds=1.0, clients=3):
    """`(grid, engine, task)`, introduced to each other."""
    task, mark = of_server(config)
    grid = Nodes(config, clients)
    engine = Federation(grid, mark, seconds, least, say=lambda sentence: None)
    engine.meet(clients, 1.0)
    return grid, engine, replace(task, engine=engine)


def changed(change):
    """A reply whose state a function has changed."""
    def spoil(message, reply):
        sent = unpacked(wire.bytes_of(reply))
        return wire.reply(packed(sent | {"state": change(sent["state"])}), message)
    return spoil


def with_nan(state):
    return {k: v * float("nan") if v.is_floating_point() else v for k, v in state.items()}


def silent(message, reply):
    return None


def noise(message, reply):
    return wire.reply(b"what is this", message)


def bigger(state):
    return {k: torch.cat([v, v]) if v.dim() else v for k, v in state.items()}


def fewer(state):
    return dict(list(state.items())[1:])


FAULTS = {"late": (silent, "did not answer within 1 s"),
          "NaN": (changed(with_nan), "answered with numbers that are not finite"),
          "shape": (changed(bigger), "answered with tensors of other names, shapes or types than the net's"),
          "names": (changed(fewer), "answered with tensors of other names"),
          "type": (changed(lambda s: {k: v.float() for k, v in s.items()}), "names, shapes or types"),
          "noise": (noise, "answered what is no reply")}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_client_that_cannot_be_used_ends_the_run_in_one_sentence(config, fault):
    grid, engine, task = federation(config)
    grid.spoil[1], words = FAULTS[fault]
    with pytest.raises(Bad) as said:
        lib.one_round(task, "full", task.init("a"), phase="train")
    text = str(said.value)
    assert text.startswith("train, round 1: client 1 ") and words in text and "\n" not in text
    assert "2 of 3 clients answered where 3 must" in text and "--min-clients" in text


@pytest.mark.parametrize("fault", FAULTS)
def test_or_the_round_goes_on_with_the_others(config, fault):
    grid, engine, task = federation(config, least=2)
    grid.spoil[1], words = FAULTS[fault]
    now = lib.one_round(task, "full", task.init("a"), phase="train")
    [sentence] = engine.lost
    assert words in sentence and sentence.endswith("; the round went on without it")
    whole = setting.whole_task(config)
    others = [job for job in whole.jobs("full") if job.client != 1]
    wanted = lib.one_round(whole, others, whole.init("a"), phase="train").state
    assert all(torch.allclose(now.state[k], wanted[k], rtol=0, atol=1e-12) for k in wanted)
    assert engine.log[-1]["clients"] == [0, 2]


def test_a_client_that_is_late_is_waited_for_once_a_round_and_may_come_back(config):
    grid, engine, task = federation(config, least=2)
    grid.spoil[1] = silent
    begin = time.monotonic()
    stream = lib.fedavg(task, "full", task.init("a"), phase="train")
    next(stream)
    assert time.monotonic() - begin < 10
    grid.spoil.clear()
    next(stream)
    assert len(engine.lost) == 1 and engine.log[-1]["clients"] == [0, 1, 2]


def test_a_node_that_dies_in_a_round_is_not_waited_for(config):
    grid, engine, task = federation(config, least=2, seconds=60.0)

    def die(message, reply):
        grid.where.pop(11, None)

    grid.spoil[1] = die
    begin = time.monotonic()
    lib.one_round(task, "full", task.init("a"), phase="train")
    assert time.monotonic() - begin < 30
    assert engine.lost == ["train, round 1: client 1 left; the round went on without it"]


def test_a_node_that_comes_back_takes_part_again(config):
    grid, engine, task = federation(config, least=2)
    del grid.where[11]
    stream = lib.fedavg(task, "full", task.init("a"), phase="train")
    next(stream)
    assert engine.log[-1]["clients"] == [0, 2] and "client 1 has no node" in engine.lost[0]
    grid.where[21] = 1
    next(stream)
    assert engine.log[-1]["clients"] == [0, 1, 2]


def test_an_error_in_the_client_app_is_said(config):
    grid, engine, task = federation(config)
    with pytest.raises(Bad, match="train, round 1: client 0 answered: .*no labels 'nothing'"):
        jobs = [job._replace(labels=lib.Call("nothing", {})) for job in task.jobs("full")]
        lib.one_round(task, jobs, task.init("a"), phase="train")


def test_nobody_is_too_few_whatever_the_least(config):
    grid, engine, task = federation(config, least=1)
    grid.spoil = dict.fromkeys(range(3), silent)
    with pytest.raises(Bad, match="0 of 3 clients answered where 1 must"):
        lib.one_round(task, "full", task.init("a"), phase="train")


def test_a_question_that_one_client_answers_with_nan(config):
    grid, engine, task = federation(config)
    grid.spoil[2] = changed(with_nan)
    trained = lib.Trained(task.init("a"), task.init("b"), None, [])
    with pytest.raises(Bad, match="the question 'curvature': client 2 answered with numbers that are not finite"):
        list(lib.unlearn(task, trained, "TIS-Reset"))


def test_federaser_cannot_do_without_a_client_in_its_replay(config):
    grid, engine, task = federation(config, least=1)
    trained = lib.train(task, lib.Store(setting.folder(config) / "store"))
    grid.spoil[2] = silent
    with pytest.raises(Bad, match="methods.FedEraser: client 2 has not answered in the replay of round 2"):
        list(lib.unlearn(task, trained, "FedEraser"))
    assert "federaser, round 2: client 2 did not answer" in engine.lost[0]


class Restarted(Nodes):
    """A SuperLink that is started anew after some calls: it knows neither run nor messages, and refuses the token."""
    left = 4

    def pull_messages(self, ids):
        self.left -= 1
        if self.left < 0:
            raise ConnectionError("401 Unauthorized")
        return super().pull_messages(ids)


def test_a_superlink_that_is_started_anew_ends_the_run_in_one_sentence(config):
    grid = Restarted(config)
    with pytest.raises(Bad, match="SuperLink: it does not answer, or has been started anew and has forgotten this run"):
        server_app.app(grid, Context(1, 1, {}, RecordDict(), dict(config)))
    result = json.loads((setting.folder(config) / "result.json").read_text())
    assert result["error"].startswith("SuperLink: it does not answer")


def test_a_run_over_an_ended_one_goes_on(config):
    """Training is resumed from its last checkpoint, bit for bit."""
    from flower.run import differences, in_this_process, kept
    long = config | {"rounds": 4}
    grid = Restarted(long)
    grid.left = 3
    with pytest.raises(Bad):
        server_app.app(grid, Context(1, 1, {}, RecordDict(), dict(long)))
    again = Nodes(long)
    server_app.app(again, Context(1, 1, {}, RecordDict(), dict(long)))
    trained = [kind for client, kind in again.asked if kind == "train" and client == 0]
    assert 0 < len(trained) < 4
    assert differences(in_this_process(long), kept(setting.folder(long), ["NoT"])) == {}


def test_nodes_that_do_not_come_are_named(config):
    task, mark = of_server(config)
    engine = Federation(Nodes(config, 2), mark, 1.0)
    with pytest.raises(Bad, match="nodes: no node of client 2 has come within 0.5 s; start them, and run again"):
        engine.meet(3, 0.5)


def test_a_node_that_says_nothing_is_asked_again_and_one_of_another_app_is_not(config, monkeypatch):
    task, mark = of_server(config)
    grid = Nodes(config, 3)
    answer = grid.answer
    grid.answer = lambda message: None if message.metadata.dst_node_id == 11 else answer(message)
    engine = Federation(grid, mark, 0.3, say=lambda sentence: None)
    with pytest.raises(Bad, match="no node of client 1 has come .*a node did not answer within 0.3 s"):
        engine.meet(3, 0.2)
    grid.answer = answer
    engine.meet(3, 0.2)
    grid = Nodes(config, 3)
    grid.answer = lambda message: noise(message, None)
    with pytest.raises(Bad, match="no node of clients 0, 1, 2 has come .*does not say who it is"):
        Federation(grid, mark, 1.0, say=lambda sentence: None).meet(3, 0.2)


def test_two_nodes_of_one_client_and_a_node_with_another_task_are_strangers(config):
    task, mark = of_server(config)
    grid = Nodes(config, 3)
    grid.where[11] = 0
    said = []
    with pytest.raises(Bad, match="no node of client 1 has come .*two nodes say that they are client 0"):
        Federation(grid, mark, 1.0, say=said.append).meet(3, 0.1)
    assert len(said) == 1
    other = Nodes(config | {"seed": 1}, 3)
    with pytest.raises(Bad, match="another task than the server"):
        Federation(other, mark, 1.0, say=said.append).meet(3, 0.1)


def test_a_method_that_reads_the_history_is_refused_where_training_lost_somebody(config):
    lossy = config | {"min-clients": 2, "methods": json.dumps({"FedEraser": {}})}
    grid = Nodes(lossy)
    grid.spoil[1] = changed(with_nan)
    with pytest.raises(Bad, match="methods.FedEraser: it needs every client's updates of training"):
        server_app.app(grid, Context(1, 1, {}, RecordDict(), dict(lossy)))
    with pytest.raises(Bad, match="methods.FedEraser"):     # also by a later run, which finds the training
        server_app.app(Nodes(lossy), Context(1, 1, {}, RecordDict(), dict(lossy)))


BAD = [({"methods": "NoT"}, "no JSON"), ({"methods": "{}"}, "must be a map of methods"),
       ({"methods": '{"Not": {}}'}, "nearest method: NoT"), ({"setting": "tinny"}, "nearest setting: tiny"),
       ({"min-clients": 4}, "more than the 3 nodes"), ({"timeout": 0.0}, "timeout: 0.0 must be above 0"),
       ({"methods": '{"TIS-Reset": {"score": "shift"}}'}, "gradient of all forget data in one place")]


@pytest.mark.parametrize("change, words", BAD)
def test_bad_input_is_refused_before_anybody_is_asked(config, change, words):
    grid = Nodes(config)
    with pytest.raises(Bad, match=words):
        server_app.app(grid, Context(1, 1, {}, RecordDict(), config | change))
    assert not grid.asked
