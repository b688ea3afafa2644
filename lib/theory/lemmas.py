"""The theorems without a net: toys, lemmas, and the estimator on known spectra."""
from functools import partial

import numpy as np
import torch
from torch import nn

from .negation import compensate, lemma1, lemma2, orthant_maximum
from .spectrum import alpha_at, el_karoui, sample_eigenvalues
from .time import gradient_flow

def toy_flows(dt=0.002, steps=2000):
    """Theorem 1 on gradient flows whose gap has bounded gradients: {name: arrays of gradient_flow}."""
    def logistic(examples):
        examples = torch.tensor(examples, dtype=torch.float64)
        return lambda v: nn.functional.softplus(-(examples @ v)).mean()

    def bowl(centre):
        centre = torch.tensor(centre, dtype=torch.float64)
        return lambda v: ((v - centre).square().sum() + 1).sqrt() - 1

    retain = logistic([[1.0, 0.2], [0.3, 1.0], [-0.5, 0.4]])
    forget = logistic([[-1.0, 0.8], [0.4, -1.2]])
    return {"logistic loss": gradient_flow(retain, forget, [-2.0, -1.0], 5 * dt, steps),
            "smooth cone": gradient_flow(bowl([0.0, 0.0]), bowl([2.0, 1.0]), [3.0, -1.0], dt, steps)}


def row(statement, ours, expected, holds):
    return {"statement": statement, "ours": ours, "expected": expected, "holds": bool(holds)}


def lemma_numbers(rng, samples=100_000):
    """Lemmas 1 and 2, the largest distance for step and odd activations, and Lemma 8, as rows
    {statement, ours, expected, holds}."""
    rows = []
    for n in (8, 64):
        rows += lemma1_numbers(n, samples, rng)
    share = lemma2(64, samples, rng)["ratio"]
    rows.append(row("Lemma 2: fresh weights reach this share of the largest distance (1 - 1/pi)", share, 1 - 1 / np.pi,
                    abs(share - 1 + 1 / np.pi) < 3e-3))
    return rows + odd_numbers(rng) + lemma8_numbers(rng)


def lemma1_numbers(n, samples, rng):
    """Rows for Lemma 1 and its eq. 23 in n dimensions."""
    one = lemma1(n, samples, rng)
    distance, norm = one["distance"], one["norm"]
    floor = one["maximum"] - one["epsilon"]
    s = torch.rand(2000, n, generator=rng, dtype=torch.float64)
    axis = nn.functional.one_hot(s.argmin(1), n) * s.norm(dim=1, keepdim=True)
    far = (s - axis).square().sum(1)
    ratio = far / s.square().sum(1)
    as_ours = torch.allclose(far, orthant_maximum(s))
    return [row(f"Lemma 1, n = {n}: distance of negation is at least the largest minus epsilon", distance, floor,
                distance >= floor),
            row(f"Lemma 1, n = {n}: it equals E||Y||^2", distance, norm, abs(distance - norm) < 1e-9 * norm),
            row(f"Eq. 23, n = {n}, all coordinates positive: largest distance over ||y||^2 (printed: 1)",
                float(ratio.mean()), 1.0, as_ours and float(ratio.min()) <= 1.0)]


def odd_numbers(rng):
    """Rows for the step and an odd activation: no outputs of that norm are farther than those of negation."""
    y = torch.randn(20_000, 64, generator=rng, dtype=torch.float64)
    z = torch.randn(20_000, 64, generator=rng, dtype=torch.float64)
    rows = []
    for name, f in (("step", lambda v: (v > 0).double()), ("tanh", torch.tanh)):
        ours, other = f(y), f(z)
        if name == "tanh":  # outputs of the same norm, as the statement wants
            other = other * (ours.norm(dim=1) / other.norm(dim=1))[:, None]
        most = (ours - f(-y)).square().sum(1)
        distance = (ours - other).square().sum(1)
        rows.append(row(f"{name}: largest distance of random outputs over that of negation (at most 1)",
                        float((distance / most).max()), 1.0, (distance <= most + 1e-9).all()))
    return rows


def lemma8_numbers(rng):
    """Lemma 8: largest error of the layer that undoes a negation; expected 0, or not, as the row says."""
    def normal(*shape):
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    def zero(statement, error):
        return row(statement, error, 0.0, error < 1e-6)

    dense = nn.functional.linear
    x = normal(50, 6)
    one = normal(9, 6), normal(9)
    two = normal(4, 9), normal(4)
    rows = []
    for name, psi, abc in (("sigmoid", torch.sigmoid, (1, 1, 1)), ("tanh", torch.tanh, (1, 1, 0)),
                           ("x^2", torch.square, (1, -1, 0)), ("sigmoid, a = 2", torch.sigmoid, (2, 2, 2))):
        error = compensation_error(dense, psi, x, one, two, *abc)
        rows.append(zero(f"Lemma 8, {name}: error of the corrected layer", error))

    _, bias = compensate(*two, 2, 2, 2)
    printed_bias = two[1] + 2 * two[0].sum(1)
    rows.append(zero("Lemma 8 as printed (c in place of c/a), a = 2: error", float((bias - printed_bias).abs().max())))

    image = normal(5, 2, 8, 8)
    one_conv = normal(3, 2, 3, 3), normal(3)
    two_conv = normal(4, 3, 3, 3), normal(4)
    for name, psi, abc, pad in (("tanh, padded", torch.tanh, (1, 1, 0), 1),
                                ("sigmoid, unpadded", torch.sigmoid, (1, 1, 1), 0),
                                ("sigmoid, padded", torch.sigmoid, (1, 1, 1), 1)):
        error = compensation_error(partial(_conv, pad), psi, image, one_conv, two_conv, *abc)
        rows.append(zero(f"Lemma 8, convolutions, {name}: error", error))

    rows.append(zero("ReLU: share of the output that no next layer restores", relu_rest(x, one, two)))
    return rows


def compensation_error(layer, psi, x, one, two, a, b, c):
    """Largest error of Lemma 8's second layer behind a negated first one; layer(x, weight, bias)."""
    corrected = compensate(*two, a, b, c)
    after = layer(psi(layer(x, -one[0], -one[1])), *corrected)
    before = layer(psi(layer(x, *one)), *two)
    return float((after - before).abs().max())


def relu_rest(x, one, two):
    """Share of a ReLU net's output that the best second layer behind a negated first one does not restore."""
    dense = nn.functional.linear
    hidden = torch.relu(dense(x, *one))
    negated = torch.relu(dense(x, -one[0], -one[1]))
    wanted = dense(hidden, *two)
    inputs = torch.cat([negated, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    best = torch.linalg.lstsq(inputs, wanted).solution
    return float((inputs @ best - wanted).norm() / wanted.norm())


def _conv(pad, x, w, b):
    return nn.functional.conv2d(x, w, b, padding=pad)


def estimator_check(rng, q=400):
    """El Karoui's estimator on known covariances: rows {spectrum, c, true, raw, corrected} of the alpha with content
    0.95. rng: numpy Generator; c = dimensions per sample."""
    flat = np.ones(q)
    two = np.where(np.arange(q) < q // 4, 1.0, 0.05)
    decay = 1.0 / np.arange(1, q + 1) ** 0.5
    equal = np.ones(q)
    rows = []
    for name, true in (("flat", flat), ("two levels", two), ("slow decay", decay)):
        for c in (0.98, 15.6):
            n = max(8, int(q / c))
            gradients = rng.standard_normal((n + 1, q)) * np.sqrt(true)
            values = sample_eigenvalues(gradients)
            corrected = el_karoui(values, n, q)
            rows.append({"spectrum": name, "c": c, "true": alpha_at(true, equal, 0.95),
                         "raw": alpha_at(values, equal, 0.95), "corrected": alpha_at(*corrected, 0.95)})
    return rows
