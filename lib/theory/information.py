"""Fisher information about the target (TIS, 4.2 and appendix 1)."""
import math

import numpy as np
import pandas as pd

from ..fl.gradients import loss_gradient
from ..runs.run import train


def fisher_information(h, h_prime, C=1.0, shift=None):
    """TIS eq. 25 with its constant: 1/2 sum (h'/h)^2, free of C. shift: d mean / dt of each parameter, which adds
    C^-2 sum h shift^2; the paper leaves it out, yet it dominates as C -> 0 (shift = -(N_T/N) g / h)."""
    h = np.asarray(h, np.float64)
    h_prime = np.asarray(h_prime, np.float64)
    scaled = float(((h_prime / h)**2).sum()) / 2
    if shift is None:
        return scaled
    return scaled + float((h * np.square(shift)).sum()) / C**2


def fisher_information_mc(h, h_prime, C, n, rng, shift=None, step=1e-4):
    """Monte Carlo of TIS eq. 24 for independent normals of variance C^2 / h(t), h(t) = h + (t - 1) h'.

    The score is a central difference of the log density at t = 1, not the paper's algebra, so that it can disagree
    with it. shift: d mean / dt (None: a fixed mean); rng: numpy Generator. Returns (information, standard error)."""
    h = np.asarray(h, np.float64)
    h_prime = np.asarray(h_prime, np.float64)
    shift = np.zeros_like(h) if shift is None else np.asarray(shift, np.float64)
    theta = rng.standard_normal((n, len(h))) * C / np.sqrt(h)

    def log_density(dt):
        now = h + dt * h_prime
        return (np.log(now) / 2 - now * (theta - dt * shift)**2 / (2 * C**2)).sum(1)

    score = (log_density(step) - log_density(-step)) / (2 * step)
    squared = score**2
    return float(squared.mean()), float(squared.std() / math.sqrt(n))


def equation25(task, store, samples=20_000, scales=(0.01, 0.1, 1.0)):
    """Fisher information about the target in the first convolution: rows {mean, C, closed form, Monte Carlo, error}.

    With a fixed mean, as in the paper, and with a mean that moves by -(N_T/N) g / h, as it does at a minimum.
    """
    trained = train(task, store)
    first = next(name for name, p in task.model.named_parameters() if p.dim() == 4)
    curvature, _ = trained.curvature(task)
    everyone, targets = (curvature[who][first].flatten().numpy() for who in ("all", "forget"))
    forget = task.indices("forget")
    share = len(forget) / len(task.indices("full"))
    gradient = loss_gradient(task.load(trained.state), task.inputs(task.x[forget]), task.y[forget])[first]
    alive = everyone > 0
    h = everyone[alive]
    target = share * targets[alive]
    moves = -share * gradient.flatten().numpy()[alive] / h
    rows = []
    for mean, shift in (("fixed", None), ("moves", moves)):
        for scale in scales:
            drawn, error = fisher_information_mc(h, target, scale, samples, np.random.default_rng(0), shift)
            rows.append({"mean": mean, "C": scale, "closed form": fisher_information(h, target, scale, shift),
                         "Monte Carlo": drawn, "error": error})
    return pd.DataFrame(rows)
