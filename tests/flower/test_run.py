"""The command: what it takes, how it ends, and, by hand, real processes on the loopback: FLOWER_SLOW=1 pytest tests/flower."""
import json
import os
import signal
import subprocess
import sys
import time
import tomllib

import pytest

pytest.importorskip("flwr", reason="flwr is not installed: pip install -e '.[flower]'")

import psutil
import torch
from processes import Started, wait_for
from toy import ROOT

from flower import worker
from flower.processes import WORD, Local, end, started_with, toml
from flower.run import arguments, differences
from flower.setting import of_profile
from lib.errors import Bad

slow = pytest.mark.skipif("FLOWER_SLOW" not in os.environ, reason="takes minutes; by hand: FLOWER_SLOW=1")
DEFAULTS = tomllib.loads((ROOT / "flower/pyproject.toml").read_text())["tool"]["flwr"]["app"]["config"]


def test_the_run_config_has_the_keys_that_flower_knows():
    given = arguments(["--method", "NoT", "FCU", "--arguments", '{"FCU": {"iterations": 4}}'])
    assert given.keys() == DEFAULTS.keys()
    assert all(type(given[key]) is type(DEFAULTS[key]) for key in given)
    assert json.loads(given["methods"]) == {"NoT": {}, "FCU": {"iterations": 4}}
    assert given["target-leaves"] and not arguments(["--target-stays"])["target-leaves"]


@pytest.mark.parametrize("text", ["{", "[1]", '{"FT": {}}'])
def test_arguments_of_a_method_that_is_not_asked_for_are_refused(text):
    with pytest.raises(Bad, match="--arguments: "):
        arguments(["--method", "NoT", "--arguments", text])


@pytest.mark.parametrize("value", [True, 3, 0.5, "a b", 'a "quoted" \\ word', json.dumps({"NoT": {"lr": 0.1}})])
def test_values_come_through_toml(value):
    assert tomllib.loads(f"x = {toml(value)}")["x"] == value


def test_the_settings_are_found_by_name():
    assert of_profile("quick", "02.digits_small_cnn")["methods"]["FCU"] == {"iterations": 60}
    assert of_profile("quick", "digits_small_cnn").get("methods") is None     # of 01, the first that has it
    with pytest.raises(Bad, match="nearest setting: digits_small_cnn"):
        of_profile("quick", "digits_smal_cnn")


def test_differences_are_found_tensor_by_tensor():
    a = {"x": {"w": torch.zeros(2), "n": torch.tensor(1)}}
    b = {"x": {"w": torch.tensor([0.0, 0.5]), "n": torch.tensor(1)}, "y": {"w": torch.zeros(1)}}
    assert differences(a, a) == {} and differences(a, b) == {"x/w": 0.5, "y": float("inf")}


def test_a_mistake_is_one_sentence_and_nothing_starts():
    run = Started(ROOT, sys.executable, "-m", "flower.run", "--method", "Not", "--nodes", "3")
    status, said = run.end()
    assert status == 2 and "nearest method: NoT" in said and len(said.strip().splitlines()) == 1, said
    assert run.left() == []


def test_a_worker_answers_many_messages(tmp_path):
    from flower_grid import config_of
    from lib.fl.messages import unpacked
    config = json.dumps(config_of(tmp_path, {"NoT": {}}))
    path = str(tmp_path / "w.sock")
    process = subprocess.Popen([sys.executable, "-m", "flower.worker", path], cwd=ROOT,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        wait_for(lambda: os.path.exists(path))
        for client in (1, 1, 7):
            answers = unpacked(worker.ask(path, config, client, "who", b"?"))
            assert "bad" in answers if client == 7 else answers["client"] == client
        assert "no client of 3" in answers["bad"]
    finally:
        process.kill()
        process.wait()


def test_what_was_started_is_ended_with_all_its_children(tmp_path):
    federation = Local(0, 60.0)
    federation.folder = tmp_path
    program = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)']); time.sleep(99)"
    federation.start("one", sys.executable, "-c", program)
    wait_for(lambda: len(started_with(federation.word)) == 2)
    end(started_with(federation.word))
    assert started_with(federation.word) == []
    with pytest.raises(Bad, match="one: it has ended with status"):
        federation.see("one")


def test_the_leash_ends_what_was_started_when_its_holder_has_been_killed(tmp_path):
    holder = ("import sys, time\nfrom pathlib import Path\nfrom flower.processes import Local\nf = Local(0, 9.0)\n"
              f"f.folder = Path({str(tmp_path)!r})\nf.start('leash', sys.executable, '-m', 'flower.processes', f.word)\n"
              "f.start('one', sys.executable, '-c', 'import time; time.sleep(99)')\nprint(f.word, flush=True)\ntime.sleep(99)")
    process = subprocess.Popen([sys.executable, "-c", holder], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                               env={**os.environ, "PYTHONPATH": str(ROOT)})
    word = process.stdout.readline().strip()
    wait_for(lambda: len(started_with(word)) == 2)
    process.kill()
    process.wait()
    wait_for(lambda: not started_with(word), 60)


# -- real processes, by hand -----------------------------------------------------------------------------------------------

def command(*words):
    return Started(ROOT, sys.executable, "-m", "flower.run", "--rounds", "1", "--wait", "600", "--timeout", "300", *words)


def left_of(run):
    """What of it, and of what it started, still runs."""
    found = run.left()
    return found + [p.pid for p in psutil.process_iter(["environ"]) if WORD in (p.info["environ"] or {}) and
                    (p.info["environ"] or {}).get("CRASH_WORD") == run.word]


@slow
def test_real_processes_give_the_same_bits():
    run = command("--method", "NoT", "TIS-Reset", "--nodes", "3")
    status, said = run.end(1200)
    assert status == 0 and "bit-equal: " in said and "no node of client 0 was there during NoT" in said, said
    assert left_of(run) == []


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("seconds", [3, 25, 60])
def test_nothing_is_left_after_a_signal(number, seconds):
    run = command("--method", "NoT", "--nodes", "2")
    time.sleep(seconds)
    run.signal(number)
    status, said = run.end(60)
    assert status == 128 + number and said.splitlines()[-1].startswith("interrupted; "), said
    assert left_of(run) == []


@slow
@pytest.mark.parametrize("victim, words, at", [
    ("flower-superlink", "superlink: it has ended", "SuperLink on"), ("flower-superlink", "superlink: it has ended", "answered"),
    ("supernode-1", "supernode-1: it has ended", "SuperLink on"), ("supernode-1", "client 1 ", "answered")])
def test_a_process_that_is_killed_ends_the_run_in_one_sentence(victim, words, at):
    run = command("--method", "NoT", "--nodes", "2", "--rounds", "9")
    while at not in run.child.stdout.readline():
        assert run.child.poll() is None

    def found():
        return [p for p in psutil.process_iter() if is_victim(p, run.word, victim)]

    wait_for(found, 300)
    for process in found():
        process.kill()
        process.wait()
    status, said = run.end(900)
    assert status == 2 and words in said.splitlines()[-1], said
    assert left_of(run) == []


def is_victim(process, word, victim):
    try:
        if process.environ().get("CRASH_WORD") != word:
            return False
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    if victim == "supernode-1":
        return "flower-supernode" in line and "partition-id=1 " in line
    return victim in line

