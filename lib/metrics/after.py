"""What is asked of a model after unlearning: its weights rounded, its first layer negated, and who has left."""
import torch
from torch.nn.functional import cosine_similarity

from ..fl.gradients import mean_gradient
from ..fl.models import first_layer
from .evaluate import losses, predict

ATTACKS = ("loss", "gradient", "first")


def rounded(state, names, bits):
    """The state with the tensors `names` of two dimensions and more rounded to `bits` bits: 2^bits - 1 levels around
    zero, up to the largest weight of each output channel. Biases and norms stay as they are.

    >>> rounded({"w": torch.tensor([[1.0, 0.4, -0.1]])}, ["w"], 2)["w"]
    tensor([[1., 0., -0.]])
    """
    out = dict(state)
    for name in names:
        if state[name].dim() > 1:
            out[name] = rounded_tensor(state[name], 2 ** (bits - 1) - 1)
    return out


def rounded_tensor(w, steps):
    """A tensor `[channels, ...]` with so many steps on each side of zero; a channel of zeros stays zero."""
    largest = w.flatten(1).abs().amax(1).view(-1, *[1] * (w.dim() - 1))
    step = torch.where(largest > 0, largest / steps, 1)
    return (w / step).round() * step


def first_weight(task):
    """The name of the tensor that NoT negates."""
    names = [name for name, _ in task.model.named_parameters()]
    return names[first_layer(task.model)]


def negated(task, state):
    """The state with its first layer's weight negated once more."""
    first = first_weight(task)
    return {**state, first: -state[first]}


# ---------------------------------------------------------------- who has left?

def suspicion(task, before, after, candidates):
    """`{attack: [scores of the candidates]}` from the models before and after unlearning; the highest is accused.

    The attacker has the candidates' training images. `loss`: by how much their mean loss has risen; `gradient`: the
    cosine of the change of all weights with the gradient of their loss before, along which unlearning would climb;
    `first`: the same of the first layer's weight alone. NaN where a candidate has no images.
    """
    first = first_weight(task)
    change = {name: after[name] - before[name] for name, _ in task.model.named_parameters()}
    found = {attack: [] for attack in ATTACKS}
    for client in candidates:
        indices = task.clients[client].indices("full")
        found["loss"].append(mean_loss(task, after, indices) - mean_loss(task, before, indices))
        gradient = mean_gradient(task.load(before), task.batches(indices), len(indices))
        found["gradient"].append(cosine(change, gradient, change))
        found["first"].append(cosine(change, gradient, [first]))
    return found


def mean_loss(task, state, indices):
    return float(losses(predict(task, state, indices), task.y[indices]).mean())


def cosine(a, b, names):
    """Of two states over some tensors, as one vector; 0 where one of them is zero."""
    one, other = (torch.cat([state[name].flatten() for name in names]) for state in (a, b))
    return float(cosine_similarity(one, other, dim=0))


def accused(leaver, others):
    """How an attack does that accuses the highest score: `leaver_auc`, the share of the others' scores below the
    leaver's, ties by half (0.5 is chance), and `leaver_first`, whether it is above them all (percent; chance is one of
    all).

    >>> accused(3.0, [1.0, 3.0])
    {'leaver_auc': 0.75, 'leaver_first': 0.0}
    """
    below = sum(score < leaver for score in others)
    ties = sum(score == leaver for score in others)
    return {"leaver_auc": (below + ties / 2) / len(others), "leaver_first": 100.0 * (below == len(others))}
