"""A client's process that lives on: it has torch and the data ready, where Flower starts a process for every message.

    python -m flower.worker SOCKET
"""
import json
import sys
import time
from multiprocessing.connection import Client, Listener


def ask(path, config, client, kind, data):
    """What the worker at a socket answers, see `node.answer`; an error where it does not."""
    with connected(path) as line:
        line.send_bytes(json.dumps([config, client, kind]).encode())
        line.send_bytes(data)
        return line.recv_bytes()


def connected(path, seconds=60):
    """A connection to a worker, which may still be starting."""
    end = time.monotonic() + seconds
    while True:
        try:
            return Client(path, family="AF_UNIX")
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def serve(path):
    """Answer one message after the other, for ever."""
    from .node import answer
    with Listener(path, family="AF_UNIX") as door:
        while True:
            try:
                with door.accept() as line:
                    head = json.loads(line.recv_bytes())
                    line.send_bytes(answer(*head, line.recv_bytes()))
            except (EOFError, OSError):
                continue        # whoever asked has gone


if __name__ == "__main__":
    serve(sys.argv[1])
