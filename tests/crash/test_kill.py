"""kill -9 at any moment, two runs at once, a full disk, a read-only folder: the same bytes as an uninterrupted run."""
import hashlib
import json
import random
import signal
import subprocess
import sys

import pytest
from processes import TURNS, Started, by_hand, temporary
from toy import ROOT

from lib.errors import Bad
from lib.files import write

SETTING = ("{dataset: digits, model: small_cnn, width: 2, n_train: 120, n_test: 60, clients: 2, rounds: 3, "
           "unlearn_rounds: 3, every: 1, mia_draws: 2, methods: {Retrain: {}, NoT: {}}}")
TIMES = ("seconds", "environment", "sha256")


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    path = tmp_path_factory.mktemp("profile") / "crash.yaml"
    path.write_text(f"seeds: [0]\nnotebooks: {{02: {{tiny: {SETTING}}}}}\n")
    return path


def start(profile, runs):
    return Started(ROOT, sys.executable, "-m", "workflow.run", "--profile", profile, FU_RUNS=runs)


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def content(runs):
    """{file: what it holds, without times} of a store."""
    out = {}
    for path in sorted((runs / "crash/store").rglob("*")):
        name = str(path.relative_to(runs))
        if path.suffix == ".safetensors":
            out[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.name == "record.json":
            out[name] = without_times(json.loads(path.read_text()))
    return out


@pytest.fixture(scope="module")
def whole(profile, tmp_path_factory):
    runs = tmp_path_factory.mktemp("whole")
    status, out = start(profile, runs).end()
    assert status == 0 and content(runs), out
    return content(runs)


def complete(profile, runs, whole):
    """Two at once finish what is there, and neither spoils the other's."""
    both = [start(profile, runs) for _ in range(2)]
    assert [one.end()[0] for one in both] == [0, 0]
    assert content(runs) == whole and not temporary(runs)


def killed_at_random_moments(begin, longest):
    """Begin and kill -9 after one to so many seconds, TURNS times; nothing is left running."""
    moments = random.Random(0)
    for _ in range(TURNS):
        started = begin()
        try:
            started.child.wait(moments.uniform(1, longest))
        except subprocess.TimeoutExpired:
            started.signal(signal.SIGKILL)
        started.end()
        assert not started.left()


def test_kill_9_at_random_moments_and_two_runs_at_once(profile, tmp_path, whole):
    killed_at_random_moments(lambda: start(profile, tmp_path), 8)
    complete(profile, tmp_path, whole)


@pytest.fixture
def small(tmp_path):
    """A file system of its own, of 100 kB; read-only by `options`."""
    folder = tmp_path / "small"
    folder.mkdir()

    def mounted(options):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True).returncode:
            pytest.skip("no file system can be mounted here")
        return folder
    yield mounted
    subprocess.run(["umount", folder], capture_output=True)


def test_a_full_disk_is_one_sentence_and_the_old_file_stays(small):
    path = small("size=100k") / "x"
    write(path, "old")
    with pytest.raises(Bad, match="cannot be written .No space left on device."):
        write(path, bytes(10 ** 6))
    assert path.read_text() == "old" and [path] == list(path.parent.iterdir())


@by_hand
@pytest.mark.parametrize("first, then, word", [("size=100k", "size=100m", "No space left"), ("ro", "rw,size=100m", "Read-only")])
def test_a_full_or_a_read_only_disk(profile, small, whole, first, then, word):
    runs = small(first)
    status, out = start(profile, runs).end()
    assert status in (1, 2) and word in out and "Traceback" not in out, out
    assert not temporary(runs)
    subprocess.run(["mount", "-o", f"remount,{then}", runs], check=True)
    complete(profile, runs, whole)


def tables(runs):
    """{CSV: its bytes} of a profile's results, without those of seconds."""
    paths = (runs / "crash/results").glob("*.csv")
    return {path.name: path.read_bytes() for path in paths if not path.name.endswith(".timing.csv")}


def run_all(profile, runs):
    return Started(ROOT, "bash", "run_all.sh", "--profile", profile, "-j", "2", FU_RUNS=runs)


@by_hand
def test_kill_9_of_the_whole_script(profile, tmp_path, whole):
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    status, out = run_all(profile, straight).end()
    assert status == 0 and tables(straight), out
    killed_at_random_moments(lambda: run_all(profile, stopped), 40)
    status, out = run_all(profile, stopped).end()
    assert status == 0 and not temporary(stopped), out
    assert content(stopped).items() >= whole.items() and tables(stopped) == tables(straight)
