"""Start a command, interrupt it, and see what it leaves."""
import os
import signal
import subprocess
import sys
import time
import uuid

import psutil
import pytest
from toy import ROOT

TURNS = int(os.environ.get("CRASH_TURNS", "5"))     # by hand: CRASH_TURNS=100 pytest tests/crash
by_hand = pytest.mark.skipif("CRASH_TURNS" not in os.environ, reason="takes long; by hand: CRASH_TURNS=100")


def hear_signals():
    """In a process just begun: signals mean what they do in a terminal, also where the tests run in the background."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Started:
    """A command in a session of its own, with all its children and theirs, told by a word in their environment."""

    def __init__(self, where, *command, **env):
        self.word = uuid.uuid4().hex
        clean = {k: v for k, v in os.environ.items() if not k.startswith("FU_")}
        env = {**clean, "REPRO_PYTHON": sys.executable, "REPRO_NO_INSTALL": "1", "PYTHONPATH": str(where),
               "PYTHONPYCACHEPREFIX": str(ROOT / "runs/.cache/pycache"), "OMP_NUM_THREADS": "1",
               "CRASH_WORD": self.word, **{k: str(v) for k, v in env.items()}}
        self.child = subprocess.Popen([str(c) for c in command], cwd=where, env=env, text=True, start_new_session=True,
                                      preexec_fn=hear_signals,
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def signal(self, number, group=False):
        (os.killpg if group else os.kill)(self.child.pid, number)

    def end(self, seconds=600):
        """(exit status, all that was said)"""
        out, _ = self.child.communicate(timeout=seconds)
        return self.child.returncode, out

    def left(self, seconds=20):
        """What of it still runs after so many seconds at most."""
        limit = time.monotonic() + seconds
        while (found := list(filter(self._is_ours, psutil.process_iter()))) and time.monotonic() < limit:
            time.sleep(0.2)
        return [" ".join(p.cmdline()) for p in found if p.is_running()]

    def _is_ours(self, process):
        try:
            return process.status() != psutil.STATUS_ZOMBIE and process.environ().get("CRASH_WORD") == self.word
        except psutil.Error:
            return False


def wait_for(condition, seconds=120):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "it did not begin"
        time.sleep(0.05)


def temporary(folder):
    """Half-written files."""
    return [str(p) for p in folder.rglob("*.part*") if p.is_file()]
