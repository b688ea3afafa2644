"""Fisher information about the target (TIS, 4.2 and appendix 1)."""
import math

import numpy as np


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
