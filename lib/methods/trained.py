"""What training leaves behind, and a method is given: the models before and after, stored rounds, and curvature."""
import hashlib
from dataclasses import dataclass, field, replace

from ..fl.history import History
from ..fl.rounds import Round
from ..fl.task import State
from . import tis


@dataclass
class Trained:
    """The initial state, the trained state, and stored updates if they were asked for.

    history: None where none was kept (`history: none`); curve: what was measured along training, a dict a round;
    storage_bytes: size on disk of the whole history; resume: the round from which a method that was interrupted goes
    on, if it marks its rounds for that.
    """
    init: State
    state: State
    history: History | None
    curve: list
    storage_bytes: int = 0
    resume: Round | None = None
    known: dict = field(default_factory=dict, repr=False, compare=False)      # the curvature found so far

    def curvature(self, task, kind="ggn", path="auto"):
        """`({"all": h, "forget": h'}, cost)` of the trained state on a task's data, computed once: see
        `compute_curvature`. A sweep over gamma pays once."""
        state = fingerprint(self.state)
        found = self.known.get((kind, path))
        if found is None or found[0] is not task or found[1] != state:
            found = task, state, self.compute_curvature(task, kind, path)
            self.known[kind, path] = found
        return found[2]

    def compute_curvature(self, task, kind, path):
        return tis.compute_curvature(task, self.state, kind, path)

    def protected(self):
        """The same with states of its own: a method that changes them in place spoils nobody else's."""
        return replace(self, init=copied(self.init), state=copied(self.state))


def copied(state):
    """A state in memory of its own; None stays None."""
    return None if state is None else {k: v.clone() for k, v in state.items()}


def fingerprint(state):
    """Hash of the bytes of a state."""
    h = hashlib.sha256()
    for k, v in state.items():
        h.update(k.encode() + v.detach().cpu().contiguous().numpy().tobytes())
    return h.digest()
