"""Flower's SuperExec with processes that are ready: a message is answered by a fork of this one.

    python -m flower.executor HOST:PORT     of a SuperNode with `--isolation process`

`flower-superexec` starts `flwr-clientapp` for every message, which takes seconds of a core to import before it does
anything. This imports once. It is all that is used here of what flwr does not document, and flwr is pinned for it.
"""
import os
import signal
import socket
import sys
import time
import traceback

from flwr.supercore.superexec import run_superexec as superexec
from flwr.supercore.superexec.executor.subprocess_executor import SubprocessExecutor
from flwr.supercore.superexec.executor.types import LaunchResult
from flwr.supernode.runtime.run_clientapp import run_clientapp


class Forking(SubprocessExecutor):
    """Runs a task in a fork instead of a new command."""

    def launch(self, spec):
        if os.fork() == 0:
            work(spec)
        return LaunchResult.accepted()


def work(spec):
    """In the fork: run the ClientApp for one message, and end, whatever comes."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        run_clientapp(runtime_api_address=spec.runtime_api_address, token=spec.token, insecure=spec.insecure,
                      certificates=None, parent_pid=spec.parent_pid, runtime_dependency_install=False)
    except SystemExit:
        pass        # it ends so
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)


def wait_for(address):
    """Wait until somebody takes connections: Flower's own retries become rare while a SuperNode is starting."""
    host, _, port = address.rpartition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
            return
        except OSError:
            time.sleep(0.2)


if __name__ == "__main__":
    wait_for(sys.argv[1])
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)       # forks that have ended are nobody's business
    superexec.get_executor = lambda *_, **__: Forking()
    superexec.run_superexec(sys.argv[1], insecure=True)
