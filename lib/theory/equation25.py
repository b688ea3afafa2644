"""TIS equation 25 on a trained layer: the closed form beside a Monte Carlo estimate."""
import numpy as np
import pandas as pd

from ..runs.run import train
from ..runs.sweep import curvatures
from .information import fisher_information, fisher_information_mc
from .time import loss_gradient


def equation25(task, store, samples=20_000, scales=(0.01, 0.1, 1.0)):
    """Fisher information about the target in the first convolution: rows {mean, C, closed form, Monte Carlo, error}.

    With a fixed mean, as in the paper, and with a mean that moves by -(N_T/N) g / h, as it does at a minimum.
    """
    state = train(task, store).state
    first = next(name for name, p in task.model.named_parameters() if p.dim() == 4)
    found = {who: h[first].flatten().numpy() for who, h in curvatures(task, store, state)[0].items()}
    alive, forget = found["all"] > 0, task.indices("forget")
    share = len(forget) / len(task.indices("full"))
    gradient = loss_gradient(task.load(state), task.inputs(task.x[forget]), task.y[forget])[first]
    h, target = found["all"][alive], share * found["forget"][alive]
    moves = -share * gradient.flatten().numpy()[alive] / h
    rows = []
    for mean, shift in (("fixed", None), ("moves", moves)):
        for scale in scales:
            drawn, error = fisher_information_mc(h, target, scale, samples, np.random.default_rng(0), shift)
            rows.append({"mean": mean, "C": scale, "closed form": fisher_information(h, target, scale, shift),
                         "Monte Carlo": drawn, "error": error})
    return pd.DataFrame(rows)
