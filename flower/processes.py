"""A SuperLink and SuperNodes on the loopback, each with a home of its own, and an end to all of them.

    python -m flower.processes WORD     the leash: ends all that carry the word when its standard input closes, which it
                                        does when who holds the other end has been killed
"""
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import uuid
from pathlib import Path

import psutil

from lib.errors import Bad
from lib.files import ROOT

APP = Path(__file__).resolve().parent
HOST = "127.0.0.1"
KINDS = "supernode", "executor", "worker"       # what a node is made of
WORD = "FLOWER_RUN_WORD"       # in the environment of all that was started, and of all that they start


def command(name):
    """The path of one of Flower's commands, beside the Python that runs this; Bad where there is none."""
    beside = Path(sysconfig.get_path("scripts")) / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Bad(f"flwr: there is no command {name}; install it with pip install -e '.[flower]'")
    return found


def free_port():
    with socket.socket() as s:
        s.bind((HOST, 0))
        return s.getsockname()[1]


class Local:
    """A federation on this machine, to be used in a `with`: whatever it started has ended when the block has.

    folder: temporary, with a home and a log for each process; seconds: until a process must answer.
    """

    def __init__(self, nodes, seconds):
        self.count, self.seconds = nodes, seconds
        self.word = uuid.uuid4().hex
        self.started = {}       # name: process

    def __enter__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="fl-"))
        try:
            self.start("leash", sys.executable, "-m", "flower.processes", self.word)
            self.start_superlink()
            for client in range(self.count):
                self.start_node(client)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        end(started_with(self.word))
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- starting ----------------------------------------------------------------------------------------------

    def start_superlink(self):
        """The SuperLink on a port of its own; waits until it answers."""
        self.port = free_port()
        self.start("superlink", command("flower-superlink"), "--insecure", "--host", HOST, "--port", self.port,
                   "--disable-runtime-dependency-installation")
        self.wait_for_port("superlink", self.port)

    def start_node(self, client):
        """A client's SuperNode, and two processes that live on: the worker with its data, and Flower's executor."""
        door = self.folder / f"{client}.sock"
        runtime = f"{HOST}:{free_port()}"
        config = f'partition-id={client} num-partitions={self.count} worker="{door}"'
        self.start(f"supernode-{client}", command("flower-supernode"), "--insecure", "--isolation", "process",
                   "--superlink", f"{HOST}:{self.port}", "--host", HOST, "--port", runtime.partition(":")[2],
                   "--node-config", config)
        self.start(f"worker-{client}", sys.executable, "-m", "flower.worker", door)
        self.start(f"executor-{client}", sys.executable, "-m", "flower.executor", runtime)

    def start_run(self, config):
        """`flwr run` with a run-config, which ends when the run has."""
        home = self.home("cli")
        connection = f'[superlink]\ndefault = "local"\n\n[superlink.local]\naddress = "{HOST}:{self.port}"\ninsecure = true\n'
        (home / "config.toml").write_text(connection)
        file = self.folder / "run.toml"
        file.write_text("".join(f"{key} = {toml(value)}\n" for key, value in config.items()))
        return self.start("cli", command("flwr"), "run", APP, "local", "--stream", "--run-config", file)

    def home(self, name):
        home = self.folder / f"home-{name}"
        home.mkdir(exist_ok=True)
        return home

    def start(self, name, *words):
        """A process in a session of its own, so that a signal from the terminal reaches this process alone."""
        path = f"{ROOT}{os.pathsep}{os.environ['PYTHONPATH']}" if os.environ.get("PYTHONPATH") else str(ROOT)
        scripts = f"{Path(command('flwr')).parent}{os.pathsep}{os.environ.get('PATH', '')}"
        env = {**os.environ, "FLWR_HOME": str(self.home(name)), "FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1",
               "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.25", "FLWR_DISABLE_UPDATE_CHECK": "1", WORD: self.word,
               "PYTHONPATH": path, "PATH": scripts, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
        with open(self.log(name), "ab") as out:
            self.started[name] = subprocess.Popen([str(w) for w in words], env=env, stdin=subprocess.PIPE, stdout=out,
                                                  stderr=out, start_new_session=True)
        return self.started[name]

    def wait_for_port(self, name, port):
        """Wait until a process takes connections; Bad where it has ended or does not after so many seconds."""
        end = time.monotonic() + self.seconds
        while time.monotonic() < end:
            self.see(name)
            with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
                return
            time.sleep(0.1)
        raise Bad(f"{name}: it takes no connection after {self.seconds:g} s ({self.last_words(name)}); give it more "
                  "with --wait")

    # -- seeing ------------------------------------------------------------------------------------------------

    def log(self, name):
        return self.folder / f"{name}.log"

    def last_words(self, name):
        """The last line of a process's log."""
        text = self.log(name).read_text(errors="replace") if self.log(name).exists() else ""
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return lines[-1][-300:] if lines else "it said nothing"

    def see(self, name):
        """Bad where a process has ended."""
        code = self.started[name].poll()
        if code is not None:
            raise Bad(f"{name}: it has ended with status {code} ({self.last_words(name)}); run again")

    # -- ending ------------------------------------------------------------------------------------------------

    def stop_node(self, client):
        """End a client's SuperNode, which says goodbye to the SuperLink, and what works for it."""
        for kind in KINDS:
            process = self.started.pop(f"{kind}-{client}")
            end(family(process.pid))
            process.wait()


def started_with(word):
    """All processes that carry a word in their environment, as those do that they start; without this one."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get(WORD) == word and process.pid != os.getpid():
                found.append(process)
    return found


def end(processes, seconds=8):
    """Ask processes to end, and end those that have not after so many seconds."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, left = psutil.wait_procs(processes, seconds)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, 5)


def family(pid):
    """A process that was started here, and its children."""
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.Error:
        return []


def toml(value):
    """A number, a text or a truth value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'''" + value + "'''" if "\\" in value or '"' in value else f'"{value}"'
    return repr(value)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end(started_with(sys.argv[1]))
