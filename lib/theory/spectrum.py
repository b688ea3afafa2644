"""The spectrum of the gradient noise: sampled gradients, El Karoui's estimator, spectral content (NoT 13.8, Fig. 8)."""
import numpy as np
import torch

from ..errors import Bad
from ..fl.gradients import batch_gradient, trainable


def index_sets(model, size, count, rng, layers=None):
    """Random sets K_1..K_p of flat parameter positions (NoT 13.8).

    Positions count trainable entries in `named_parameters` order. `layers`: name prefixes to draw from (None: all).
    rng: torch.Generator on the CPU. Returns a list of `count` sorted LongTensors of `size` (or all, if fewer)."""
    prefixes = None if layers is None else tuple(f"{layer}." for layer in layers)
    start = 0
    pool = []
    for name, p in trainable(model).items():
        end = start + p.numel()
        if prefixes is None or f"{name}.".startswith(prefixes):
            pool.append(torch.arange(start, end))
        start = end
    if not pool:
        raise Bad(f"index_sets: no trainable parameter lies under layers={list(layers or [])}; "
                  "take names from model.named_parameters().")
    pool = torch.cat(pool)
    return [pool[torch.randperm(len(pool), generator=rng)[:size]].sort().values for _ in range(count)]


def gradient_matrix(model, x, y, batch_size, batches, index_sets, rng):
    """Gradients of the loss on random minibatches, restricted to each index set (NoT 13.8).

    x, y: normalised inputs and labels of the whole pool; batches are drawn without replacement inside, independently
    of each other. The model is left in the mode it came in, and evaluated with running statistics.
    Returns an iterator over float32 arrays [batches, |K_j|], one for each index set."""
    if not 1 <= batch_size <= len(x):
        raise Bad(f"gradient_matrix: batch_size {batch_size} does not fit a pool of {len(x)} samples.")
    # Only positions that some set asks for are kept: sets overlap, and a large net does not fit `batches` times.
    union, where = torch.unique(torch.cat(list(index_sets)), return_inverse=True)
    where = where.split([len(k) for k in index_sets])
    rows = np.empty((batches, len(union)), np.float32)
    for row in rows:
        pick = torch.randperm(len(x), generator=rng)[:batch_size].to(x.device)
        gradient = batch_gradient(model, x[pick], y[pick])
        flat = torch.cat([g.flatten() for g in gradient.values()])
        row[:] = flat[union.to(x.device)].cpu().numpy()
    return (rows[:, k.numpy()] for k in where)


def sample_eigenvalues(G):
    """All q eigenvalues of the sample covariance of the rows of G [b, q], descending, zeros included.

    Divisor b - 1; through the b x b Gram matrix when b < q. The estimator's n is b - 1: centring costs one row."""
    G = np.asarray(G, np.float64)
    b, q = G.shape
    if b < 2:
        raise Bad(f"sample_eigenvalues: a covariance needs at least 2 gradients, got {b}.")
    G = G - G.mean(0)
    smaller = G @ G.T if b < q else G.T @ G
    values = np.linalg.eigvalsh(smaller / (b - 1))[::-1]
    rank = min(b - 1, q)
    out = np.zeros(q)
    out[:rank] = values[:rank].clip(0)
    return out


def _companion(z, values, c):
    """Stieltjes transform of the companion matrix and its derivative at each z (values: all q eigenvalues)."""
    r = 1 / (values - z[:, None])
    transform = c * r.mean(1) - (1 - c) / z
    derivative = c * (r * r).mean(1) + (1 - c) / z**2
    return transform, derivative


def _invert(v, values, c):
    """Solve v(z) = v for z in the upper half plane, v close above the positive real axis."""
    # On z < 0 the transform falls from +inf (or its value at 0) to 0 monotonically as z goes to -inf: bisect there,
    # in log scale, and step off the axis with Newton. It always has a root, and always the one left of the spectrum.
    low, high = np.full(len(v), np.log(1e-12)), np.full(len(v), np.log(1e6))
    for _ in range(60):
        mid = (low + high) / 2
        above = _companion(-np.exp(mid), values, c)[0] > v.real
        low = np.where(above, mid, low)
        high = np.where(above, high, mid)
    z = -np.exp((low + high) / 2)
    z = z + 1j * v.imag / _companion(z, values, c)[1]
    for _ in range(30):
        value, slope = _companion(z, values, c)
        z = z - (value - v) / slope
    good = (z.imag > 0) & (np.abs(_companion(z, values, c)[0] - v) < 1e-9)
    return z[good], v[good]


def el_karoui(eigenvalues, n, q, keep_trace=False):
    """Population spectrum from a sample spectrum: El Karoui (2008), the L-infinity program (NoT 13.8).

    eigenvalues: the q (zeros included) or fewer (the rest is zero) eigenvalues of the covariance of n samples in q
    dimensions; keep_trace: hold the mean eigenvalue to the sample's. Returns (atoms, weights), atoms descending,
    weights adding to 1. With n far below q single spectra come out wrong by a factor of 2 and more now and then:
    average over index sets and read such a curve qualitatively."""
    from scipy.optimize import linprog

    values = np.zeros(q)
    values[:len(eigenvalues)] = np.sort(np.asarray(eigenvalues, np.float64))[::-1]
    scale = values[0]
    if not (np.isfinite(values).all() and scale > 0):
        raise Bad("el_karoui: the eigenvalues must be finite and the largest positive.")
    values, c = values / scale, q / n
    grid = np.linspace(0.02, 1, 50)
    z, v = _invert(np.concatenate([grid + 1e-2j, grid + 1e-3j]), values, c)
    floor = values[-1] if c < 1 else 0.0
    atoms = np.concatenate([np.linspace(floor, 1, 401), np.geomspace(max(floor, 1e-5), 1, 200)])
    atoms = np.unique(np.append(atoms, 0.0))         # 0: directions in which no gradient varies
    # Marchenko-Pastur: 1/v + z = c * integral of t / (1 + t v) dH(t), for every (z, v) of the grid.
    kernel = c * atoms / (1 + np.outer(v, atoms))
    target = 1 / v + z
    kernel = np.vstack([kernel.real, kernel.imag])
    target = np.concatenate([target.real, target.imag])
    # Unknown: the weights of the atoms and, last, the largest deviation, which is made as small as possible.
    bound = np.ones((len(target), 1))
    objective = np.append(np.zeros(len(atoms)), 1)
    inequalities = np.block([[kernel, -bound], [-kernel, -bound]]), np.concatenate([target, -target])
    equal = [np.append(np.ones(len(atoms)), 0)]
    right = [1.0]
    if keep_trace:
        equal.append(np.append(atoms, 0))
        right.append(values.mean())
    program = objective, *inequalities, np.array(equal), right
    # Neighbouring atoms are all but parallel columns; the solver sometimes gives up at the tightest tolerance.
    for method, tolerance in (("highs-ds", 1e-10), ("highs-ipm", 1e-10), ("highs-ds", 1e-9), ("highs-ds", 1e-7)):
        options = {"primal_feasibility_tolerance": tolerance, "dual_feasibility_tolerance": tolerance}
        result = linprog(*program, method=method, options=options)
        if result.success:
            break
    else:
        raise Bad(f"el_karoui: the linear program found no spectrum ({result.message}); give more gradients.")
    weights = result.x[:-1].clip(0)
    keep = weights > 1e-9
    return atoms[keep][::-1] * scale, weights[keep][::-1] / weights[keep].sum()


def _curve(atoms, weights):
    order = np.argsort(atoms)[::-1]
    atoms = np.asarray(atoms, float)[order]
    weights = np.asarray(weights, float)[order]
    keep = (atoms > 0) & (weights > 0)
    x = np.append(0, np.cumsum(weights[keep]) / weights.sum())
    y = np.append(0, np.cumsum(weights[keep] * atoms[keep]))
    if y[-1] <= 0:
        raise Bad("spectral content: the spectrum is zero; the gradients do not vary between batches.")
    return x, y / y[-1]


def content(atoms, weights, alpha):
    """Spectral content Psi(alpha), eq. 89: the share of the trace in the largest fraction alpha of eigenvalues.

    Linear inside an atom: many eigenvalues share its value. A sample spectrum goes in with equal weights."""
    return np.interp(alpha, *_curve(atoms, weights))


def alpha_at(atoms, weights, beta):
    """The smallest alpha with Psi(alpha) >= beta (NoT 13.8), the inverse of `content`; beta in [0, 1].

    For the paper's limit at 1 take 0.99: an estimated spectrum may have mass on atoms that are all but zero."""
    x, y = _curve(atoms, weights)
    return np.interp(beta, y, x)
