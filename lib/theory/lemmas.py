"""The theorems without a net: toys, lemmas, and the estimator on known spectra."""
from functools import partial

import numpy as np
import torch
from torch import nn

from .negation import compensate, lemma1, lemma2, orthant_maximum
from .spectrum import alpha_at, el_karoui, sample_eigenvalues
from .time import gradient_flow

# ---------------------------------------------------------------- experiments without a net


def toy_flows(dt=0.002, steps=2000):
    """Theorem 1 on gradient flows whose gap has bounded gradients: {name: arrays of gradient_flow}."""
    def logistic(a):
        a = torch.tensor(a, dtype=torch.float64)
        return lambda v: nn.functional.softplus(-(a @ v)).mean()

    def bowl(at):
        at = torch.tensor(at, dtype=torch.float64)
        return lambda v: ((v - at).square().sum() + 1).sqrt() - 1
    retain, forget = [[1.0, 0.2], [0.3, 1.0], [-0.5, 0.4]], [[-1.0, 0.8], [0.4, -1.2]]
    return {"logistic loss": gradient_flow(logistic(retain), logistic(forget), [-2.0, -1.0], 5 * dt, steps),
            "smooth cone": gradient_flow(bowl([0.0, 0.0]), bowl([2.0, 1.0]), [3.0, -1.0], dt, steps)}


def lemma_numbers(rng, samples=100_000):
    """Lemmas 1 and 2, the largest distance for step and odd activations, and Lemma 8, as rows
    {statement, ours, expected, holds}."""
    out = []

    def add(statement, ours, expected, holds):
        out.append({"statement": statement, "ours": ours, "expected": expected, "holds": bool(holds)})
    for n in (8, 64):
        one = lemma1(n, samples, rng)
        floor = one["maximum"] - one["epsilon"]
        add(f"Lemma 1, n = {n}: distance of negation is at least the largest minus epsilon", one["distance"], floor,
            one["distance"] >= floor)
        add(f"Lemma 1, n = {n}: it equals E||Y||^2", one["distance"], one["norm"],
            abs(one["distance"] - one["norm"]) < 1e-9 * one["norm"])
        s = torch.rand(2000, n, generator=rng, dtype=torch.float64)
        axis = nn.functional.one_hot(s.argmin(1), n) * s.norm(dim=1, keepdim=True)
        far = (s - axis).square().sum(1)
        add(f"Eq. 23, n = {n}, all coordinates positive: largest distance over ||y||^2 (printed: 1)",
            float((far / s.square().sum(1)).mean()), 1.0,
            torch.allclose(far, orthant_maximum(s)) and float((far / s.square().sum(1)).min()) <= 1.0)
    two = lemma2(64, samples, rng)["ratio"]
    add("Lemma 2: fresh weights reach this share of the largest distance (1 - 1/pi)", two, 1 - 1 / np.pi,
        abs(two - 1 + 1 / np.pi) < 3e-3)
    y, z = (torch.randn(20_000, 64, generator=rng, dtype=torch.float64) for _ in range(2))
    for name, f in (("step", lambda v: (v > 0).double()), ("tanh", torch.tanh)):
        a, other = f(y), f(z)
        if name == "tanh":                      # outputs of the same norm, as the statement wants
            other = other * (a.norm(dim=1) / other.norm(dim=1))[:, None]
        most = (a - f(-y)).square().sum(1)
        add(f"{name}: largest distance of random outputs over that of negation (at most 1)",
            float(((a - other).square().sum(1) / most).max()), 1.0, ((a - other).square().sum(1) <= most + 1e-9).all())
    return out + lemma8_numbers(rng)


def lemma8_numbers(rng):
    """Lemma 8: largest error of the layer that undoes a negation; expected 0, or not, as the row says."""
    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def error(f, psi, x, one, two, a, b, c):
        new = compensate(*two, a, b, c)
        return float((f(psi(f(x, -one[0], -one[1])), *new) - f(psi(f(x, *one)), *two)).abs().max())
    dense, square = nn.functional.linear, torch.square
    x, one, two = normal(50, 6), (normal(9, 6), normal(9)), (normal(4, 9), normal(4))
    out = []
    for name, psi, abc in (("sigmoid", torch.sigmoid, (1, 1, 1)), ("tanh", torch.tanh, (1, 1, 0)),
                           ("x^2", square, (1, -1, 0)), ("sigmoid, a = 2", torch.sigmoid, (2, 2, 2))):
        e = error(dense, psi, x, one, two, *abc)
        out.append({"statement": f"Lemma 8, {name}: error of the corrected layer", "ours": e, "expected": 0.0,
                    "holds": e < 1e-6})
    printed = float((compensate(*two, 2, 2, 2)[1] - (two[1] + 2 * two[0].sum(1))).abs().max())
    out.append({"statement": "Lemma 8 as printed (c in place of c/a), a = 2: error", "ours": printed, "expected": 0.0,
                "holds": printed < 1e-6})
    image, k1, k2 = normal(5, 2, 8, 8), (normal(3, 2, 3, 3), normal(3)), (normal(4, 3, 3, 3), normal(4))
    for name, psi, abc, pad in (("tanh, padded", torch.tanh, (1, 1, 0), 1), ("sigmoid, unpadded", torch.sigmoid,
                                (1, 1, 1), 0), ("sigmoid, padded", torch.sigmoid, (1, 1, 1), 1)):
        e = error(partial(_conv, pad), psi, image, k1, k2, *abc)
        out.append({"statement": f"Lemma 8, convolutions, {name}: error", "ours": e, "expected": 0.0,
                    "holds": e < 1e-6})
    hidden = [torch.relu(dense(x, s * one[0], s * one[1])) for s in (1, -1)]
    left = torch.cat([hidden[1], torch.ones(50, 1, dtype=x.dtype)], 1)
    best = torch.linalg.lstsq(left, dense(hidden[0], *two)).solution
    rest = float((left @ best - dense(hidden[0], *two)).norm() / dense(hidden[0], *two).norm())
    out.append({"statement": "ReLU: share of the output that no next layer restores", "ours": rest, "expected": 0.0,
                "holds": rest < 1e-6})
    return out


def _conv(pad, x, w, b):
    return nn.functional.conv2d(x, w, b, padding=pad)


def estimator_check(rng, q=400):
    """El Karoui's estimator on known covariances: rows {spectrum, c, true, raw, corrected} of the alpha with content
    0.95. rng: numpy Generator; c = dimensions per sample."""
    flat = np.ones(q)
    two = np.where(np.arange(q) < q // 4, 1.0, 0.05)
    decay = 1.0 / np.arange(1, q + 1) ** 0.5
    out = []
    for name, true in (("flat", flat), ("two levels", two), ("slow decay", decay)):
        for c in (0.98, 15.6):
            n = max(8, int(q / c))
            values = sample_eigenvalues(rng.standard_normal((n + 1, q)) * np.sqrt(true))
            out.append({"spectrum": name, "c": c, "true": alpha_at(true, np.ones(q), 0.95),
                        "raw": alpha_at(values, np.ones(q), 0.95),
                        "corrected": alpha_at(*el_karoui(values, n, q), 0.95)})
    return out
