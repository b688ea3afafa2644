"""The stored training rounds that some methods ask for."""
from dataclasses import dataclass, field

import torch

from .task import State


@dataclass
class History:
    """Stored training rounds: global models before a round and clients' updates in it, read from disk when asked.

    Each state is read alone and not kept. Rounds count from 1, clients from 0; states come on the task's device and in
    its type. A round is one file, of the states `before`, `update_<client>` and `last_<client>`.
    """
    entry: object
    task: object
    read: set = field(default_factory=set)

    @property
    def rounds(self):
        """Numbers of the stored rounds, ascending."""
        return self.entry.record["history"]

    def before(self, t) -> State:
        """Global model before round t."""
        return self._read(t, "before")

    def update(self, t, client) -> State:
        """Client's local model after round t minus `before(t)`, buffers as well."""
        return self._read(t, f"update_{client}")

    def last(self, client) -> State:
        """Client's local model at the end of the last round."""
        t = self.rounds[-1]
        name = f"last_{client}"
        if stored_as(t, name) in self.entry.states:
            return self._read(t, name)
        update = self.update(t, client)
        return {k: v + update[k] for k, v in self.before(t).items()}

    def _read(self, t, name):
        name = stored_as(t, name)
        state = to_device(self.entry.tensors(name), self.task)
        self.read.add(name)
        return {k: v.to(self.task.dtype) if v.is_floating_point() else v for k, v in state.items()}

    @property
    def bytes_read(self):
        """Size on disk, in bytes, of all that was asked for so far: what a method makes the server keep."""
        return sum(self.entry.size(name) for name in self.read)

    def weight(self, t, client):
        """The client's FedAvg weight in round t, its share of the samples, in (0, 1]."""
        return self.entry.record["weights"][str(t)][str(client)]

    def clients(self, t):
        """Clients whose update of round t is stored."""
        return [int(k) for k in self.entry.record["stored"][str(t)]]


def file_of(t):
    """The name of the file of round t."""
    return f"round_{t:05d}"


def stored_as(t, name):
    """What a state of round t is called in the store."""
    return f"{file_of(t)}/{name}"


def to_device(state, task):
    """A loaded state on the task's device."""
    return {k: v.to(task.device) for k, v in state.items()} if task.device != torch.device("cpu") else state
