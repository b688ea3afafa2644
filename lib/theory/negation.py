"""What negation does: activations, Lemma 8, total variation and Jacobians (NoT Theorems 2 and 3, 12, 13)."""
import math

import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap

from ..errors import Bad
from ..fl.gradients import evaluating
from .similarity import _known, activations

# Activations (NoT Theorem 2, Lemmas 1 and 2)


def orthant_maximum(s):
    """max of ||s - y||^2 over y >= 0 with ||y|| = ||s||, for s >= 0 along the last axis: NoT eqs. 22 and 23 corrected.

    2||s||^2 - 2||s|| min_i s_i, reached at the axis of the smallest coordinate; eq. 23 prints ||s||^2."""
    norm = s.square().sum(-1)
    return 2 * norm - 2 * norm.sqrt() * s.amin(-1)


def _gaussians(n, samples, rng):
    for start in range(0, samples, 50_000):
        yield torch.randn(min(50_000, samples - start), n, generator=rng, dtype=torch.float64)


def lemma1(n, samples, rng):
    """NoT Lemma 1 on Gaussian Y in R^n: {distance, norm, maximum, epsilon}; distance >= maximum - epsilon.

    distance E||relu(Y) - relu(-Y)||^2, norm E||Y||^2 (equal: disjoint supports), maximum the corrected right side."""
    sums = dict.fromkeys(("distance", "norm", "maximum", "epsilon"), 0.0)
    for Y in _gaussians(n, samples, rng):
        up, down = Y.relu(), (-Y).relu()
        gap = up.square().sum(1) - down.square().sum(1)
        sums["distance"] += float((up - down).square().sum())
        sums["norm"] += float(Y.square().sum())
        sums["maximum"] += float(orthant_maximum(up).sum())
        sums["epsilon"] += float(gap.abs().sum())
    return {name: total / samples for name, total in sums.items()}


def lemma2(n, samples, rng):
    """NoT Lemma 2: E||relu(Y1) - relu(Y2)||^2 over 2 E||relu(Y1)||^2 ("ratio", 1 - 1/pi) and over the exact maximum.

    The two denominators differ for small n, where all coordinates are often positive."""
    distance = twice_norm = maximum = 0.0
    for Y in _gaussians(n, samples, rng):
        one = Y.relu()
        two = torch.randn(Y.shape, generator=rng, dtype=Y.dtype).relu()
        distance += float((one - two).square().sum())
        twice_norm += float((2 * one.square()).sum())
        maximum += float(orthant_maximum(one).sum())
    return {"ratio": distance / twice_norm, "ratio_to_maximum": distance / maximum}


def activation_distance(pre_a, pre_b):
    """(E||relu(a) - relu(b)||^2, epsilon = E| ||relu(a)||^2 - ||relu(b)||^2 |) of pre-activations [m, ...], Theorem 2."""
    a = torch.as_tensor(pre_a).flatten(1).double().relu()
    b = torch.as_tensor(pre_b).flatten(1).double().relu()
    gap = a.square().sum(1) - b.square().sum(1)
    return float((a - b).square().sum(1).mean()), float(gap.abs().mean())


def layer_perturbations(weight, bias, rng):
    """{name: (weight, bias)}: ways to change one layer that keep the norm of its parameters (NoT 12.2, Fig. 5).

    negate; fresh: Gaussian of the same norm; permute: output units shuffled; orthogonal: a random rotation of the
    outputs. bias may be None; rng: torch.Generator on the CPU."""
    rows = weight.flatten(1)
    if bias is not None:
        rows = torch.cat([rows, bias[:, None]], 1)
    n = len(rows)
    draw = torch.randn(rows.shape, generator=rng).to(rows)
    square = torch.randn(n, n, generator=rng, dtype=torch.float64)
    rotation = torch.linalg.qr(square).Q.to(rows)
    order = torch.randperm(n, generator=rng).to(rows.device)
    new = {"negate": -rows, "fresh": draw * (rows.norm() / draw.norm()), "orthogonal": rotation @ rows,
           "permute": rows[order]}
    inputs = weight[0].numel()
    out = {}
    for name, changed in new.items():
        changed_bias = None if bias is None else changed[:, -1]
        out[name] = changed[:, :inputs].reshape(weight.shape), changed_bias
    return out


def compare_perturbations(model, layer, x, rng, at=None, state=None):
    """Theorem 2 on a real layer: {perturbation: {distance, epsilon}} and "norm" E||relu(Y)||^2, all per input.

    layer: a module with weight (and bias); at: the module whose output enters the ReLU (None: the layer itself).
    Other perturbations are scaled so that E||relu(Y')||^2 matches the layer's, as the theorem wants: a ReLU layer is
    positively homogeneous. Theorem 2 then says distance(negate) >= distance(p) - epsilon(negate) - epsilon(p)."""
    at = at or layer
    state = state or {}
    tensors = {k: v.detach() for k, v in model.named_parameters()} | state
    if f"{layer}.weight" not in tensors:
        raise Bad(f"compare_perturbations: no layer {layer!r} with a weight; choose from {sorted(tensors)}.")
    weight, bias = tensors[f"{layer}.weight"], tensors.get(f"{layer}.bias")

    def outputs(changed):
        return activations(model, x, [at], state | changed)[at].double()

    before = outputs({})
    norm = float(before.relu().square().sum(1).mean())
    out = {"norm": norm}
    for name, (changed_weight, changed_bias) in layer_perturbations(weight, bias, rng).items():
        changed = {f"{layer}.weight": changed_weight}
        if changed_bias is not None:
            changed[f"{layer}.bias"] = changed_bias
        after = outputs(changed)
        if name != "negate":
            after = after * math.sqrt(norm / float(after.relu().square().sum(1).mean()))
        distance, epsilon = activation_distance(before, after)
        out[name] = {"distance": distance, "epsilon": epsilon}
    return out


# Layer-wise optimality (NoT Lemma 8, 13.7)

def compensate(w2, b2, a, b, c):
    """Lemma 8: the layer after psi that undoes a negation of the layer before it, given a psi(x) + b psi(-x) = c.

    l3(x) = c/a - (b/a) x (the paper prints c): weight -(b/a) W2, bias b2 + (c/a) W2 1. Weight and bias of the layer
    before must both be negated. w2: [out, in] or a convolution's [out, in, kh, kw]; then, unless c = 0, without
    zero padding, which is no value of psi. b2 may be None. Returns (weight, bias)."""
    shift = (c / a) * w2.flatten(1).sum(1)
    return -(b / a) * w2, shift if b2 is None else b2 + shift


# Jacobians and total variation (NoT Theorem 3)

def tv_units(y, rng, bins=31):
    """TV between each unit of Y and of -Y, from histograms of y [m, ...] (Theorem 3); an array over units.

    Only a lower bound of the joint distance: units may look symmetric while Y does not. One half of the samples
    chooses the set of bins, the other half measures it, so a symmetric unit averages 0 (single values may be < 0)."""
    y = torch.as_tensor(y).detach().flatten(1).double().cpu().numpy()
    y = y[rng.permutation(len(y))]
    units = y.shape[1]
    edge = np.abs(y).max(0) + 1e-12
    # An odd number of bins, symmetric about 0: those of -y are these in reverse, and exact zeros are their own mirror.
    bins += 1 - bins % 2
    slots = np.minimum(((y / edge + 1) / 2 * bins).astype(int), bins - 1)
    slots += bins * np.arange(units)

    def asymmetry(part):
        histogram = np.bincount(part.ravel(), minlength=bins * units).reshape(units, bins) / len(part)
        return histogram - histogram[:, ::-1]

    choose, measure = map(asymmetry, np.array_split(slots, 2))
    return (measure * (choose > 0)).sum(1)


def tv_joint(y, rng, classifier="mlp", components=32):
    """Lower bound of the joint TV(Y, -Y) by a classifier two-sample test (Theorem 3): 2 x held-out accuracy - 1.

    y [m, ...]: pre-activations of m inputs, half of them held out (y and -y always together); reduced to the leading
    uncentred principal directions, which can only lower the bound. classifier: "mlp" or "logistic" (odd: it sees a
    direction along which Y is mostly positive). Where Y lies on a hyperplane off 0, as a layer with a bias and more
    outputs than inputs, the true TV is 1. Returns {tv, sd}; sd is the standard error from the held-out sample."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier

    y = torch.as_tensor(y).detach().flatten(1).double().cpu().numpy()
    y = y[rng.permutation(len(y))]
    train, test = np.array_split(y / (np.abs(y).max() + 1e-12), 2)
    # Principal directions through the Gram matrix: there are far more units than inputs.
    values, vectors = np.linalg.eigh(train @ train.T)
    keep = values > 1e-10 * values[-1]
    whiten = (vectors[:, keep] / values[keep])[:, ::-1][:, :components] * math.sqrt(len(train))
    directions = train.T @ whiten
    train, test = train @ directions, test @ directions
    make = {"logistic": lambda: LogisticRegression(fit_intercept=False, C=0.1),
            "mlp": lambda: MLPClassifier((64,), alpha=1e-2, learning_rate_init=3e-3, max_iter=300,
                                         early_stopping=True, random_state=int(rng.integers(2**31)))}
    if classifier not in make:
        raise Bad(f"tv_joint: classifier {classifier!r} is unknown; choose from {sorted(make)}.")
    model = make[classifier]().fit(np.concatenate([train, -train]), np.repeat([1, 0], len(train)))
    # Each held-out input gives the pair (y, -y); pairs, not points, are independent.
    right = (model.predict(test) == 1).astype(float)
    mirrored_right = (model.predict(-test) == 0).astype(float)
    score = right + mirrored_right - 1
    return {"tv": float(score.mean()), "sd": float(score.std() / math.sqrt(len(score)))}


def jacobian_norms(model, x, state=None, chunk=8):
    """{parameter: norm of d output / d parameter for each input [m]}, evaluation mode (NoT Theorem 3, C2a).

    state: tensors that replace the model's own. Memory: chunk x classes x parameters."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers()) | _known(model, state)
    params = {n: tensors.pop(n).detach() for n, _ in model.named_parameters()}

    def one(p, sample):
        return functional_call(model, p | tensors, (sample[None],))[0]

    norms = {n: [] for n in params}
    with evaluating(model):
        for part in x.split(chunk):
            jacobians = vmap(jacrev(one), (None, 0))(params, part)
            for n, jacobian in jacobians.items():
                norms[n].append(jacobian.detach().flatten(1).norm(dim=1))
    return {n: torch.cat(v) for n, v in norms.items()}
