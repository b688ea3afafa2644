"""The stored training rounds that some methods ask for."""
from dataclasses import dataclass, field

import torch

from .task import State


@dataclass
class History:
    """Stored training rounds: global models before a round and clients' updates in it, read from disk when asked.

    Rounds count from 1, clients from 0; states come on the task's device and in its type.
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
        return self._read(f"before_{t:05d}")

    def update(self, t, client) -> State:
        """Client's local model after round t minus `before(t)`, buffers as well."""
        return self._read(f"update_{t:05d}_{client}")

    def last(self, client) -> State:
        """Client's local model at the end of the last round."""
        if f"last_{client}" in self.entry.files:
            return self._read(f"last_{client}")
        t = self.rounds[-1]
        update = self.update(t, client)
        return {k: v + update[k] for k, v in self.before(t).items()}

    def _read(self, name):
        state = to_device(self.entry.tensors(name), self.task)
        self.read.add(name)
        return {k: v.to(self.task.dtype) if v.is_floating_point() else v for k, v in state.items()}

    @property
    def bytes_read(self):
        """Size on disk, in bytes, of all that was asked for so far: what a method makes the server keep."""
        return sum((self.entry.folder / f"{name}.safetensors").stat().st_size for name in self.read)

    def weight(self, t, client):
        """The client's FedAvg weight in round t, its share of the samples, in (0, 1]."""
        return self.entry.record["weights"][str(t)][str(client)]

    def clients(self, t):
        """Clients whose update of round t is stored."""
        return [int(k) for k in self.entry.record["stored"][str(t)]]


def to_device(state, task):
    """A loaded state on the task's device."""
    return {k: v.to(task.device) for k, v in state.items()} if task.device != torch.device("cpu") else state
