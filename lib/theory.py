"""Numbers behind the two papers' theory: similarity of layers, unlearning time, activations, total variation, scores.

Pure functions of arrays, modules and states; nothing here knows a task. Corrected statements are marked as such."""

import math
from contextlib import contextmanager

import numpy as np
import torch
from torch.func import functional_call, jacrev, vmap
from torch.nn import functional as F

from .params import Bad


@contextmanager
def _evaluating(model):
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)


def _known(model, state):
    # functional_call ignores names that it does not know, and the model would silently stay as it is.
    unknown = set(state or {}) - set(model.state_dict())
    if unknown:
        raise Bad(f"the state has {min(unknown)!r}, which the model has not; its tensors are "
                  f"{sorted(model.state_dict())}.")
    return dict(state or {})


# Similarity of layers (NoT 6.2 and 13.6, Fig. 3 and 7)

def activations(model, x, layers=None, state=None):
    """Outputs of the named modules on one batch, each flattened to [m, p]; evaluation mode, no gradient.

    layers: names from model.named_modules() (None: every module without children); state: tensors that replace the
    model's own for this call. A module used several times gives its last output, a tuple its first entry."""
    modules, state = dict(model.named_modules()), _known(model, state)
    if layers is None:
        layers = [n for n, m in modules.items() if n and not list(m.children())]
    unknown = [n for n in layers if n not in modules]
    if unknown:
        raise Bad(f"activations: no module is called {unknown[0]!r}; choose layers from {sorted(modules)[1:]}.")
    found = {}

    def hook(name):
        def save(module, args, out):
            # A copy: a later in-place activation would overwrite what is kept here.
            found[name] = (out[0] if isinstance(out, tuple) else out).detach().flatten(1).clone()
        return save

    handles = [modules[n].register_forward_hook(hook(n)) for n in layers]
    try:
        with torch.no_grad(), _evaluating(model):
            functional_call(model, state, (x,))
    finally:
        for handle in handles:
            handle.remove()
    return {n: found[n] for n in layers if n in found}


def hsic1(K, L):
    """Unbiased HSIC of two m x m Gram matrices, m >= 4 (linear CKA of NoT Fig. 3, summed over minibatches)."""
    m = len(K)
    if m < 4 or K.shape != L.shape:
        raise Bad(f"hsic1: two Gram matrices of the same m >= 4 samples are needed, got {list(K.shape)} "
                  f"and {list(L.shape)}; use batches of at least 4.")
    K, L = K - torch.diag(K.diagonal()), L - torch.diag(L.diagonal())
    rows_k, rows_l = K.sum(1), L.sum(1)
    middle = rows_k.sum() * rows_l.sum() / ((m - 1) * (m - 2)) - 2 / (m - 2) * rows_k @ rows_l
    return ((K * L).sum() + middle) / (m * (m - 3))


def _hsics(X, Y):
    X, Y = (torch.as_tensor(v).detach().flatten(1).double() for v in (X, Y))
    # Centring changes nothing in exact arithmetic and keeps digits when features have a large mean.
    X, Y = X - X.mean(0), Y - Y.mean(0)
    K, L = X @ X.T, Y @ Y.T
    return np.array([float(hsic1(K, L)), float(hsic1(K, K)), float(hsic1(L, L))])


def _ratio(sums):
    product = sums[1] * sums[2]
    return float(sums[0] / math.sqrt(product)) if product > 0 else math.nan


def cka(batches):
    """Linear CKA between two representations, unbiased, summed over minibatches before the ratio (NoT 6.2).

    batches: iterable of (X [m, p1], Y [m, p2]), m >= 4 each; float64, memory O(m^2). May be slightly negative for
    unrelated features; nan where one of them does not vary."""
    return _ratio(sum((_hsics(X, Y) for X, Y in batches), np.zeros(3)))


def cka_profile(model_a, model_b, x, layers=None, batch=256):
    """{layer: CKA} between the same layers of two models over inputs x (NoT Fig. 3, 7).

    model_a, model_b: a module, or a pair (module, state) so that one module can serve both sides. A last batch of
    fewer than 4 samples is left out."""
    (a, state_a), (b, state_b) = (m if isinstance(m, tuple) else (m, None) for m in (model_a, model_b))
    if a is b and state_a is None and state_b is None:
        raise Bad("cka_profile: both sides are the same module, so every value would be 1; "
                  "give pairs (module, state) or build a second module.")
    if min(len(x), batch) < 4:
        raise Bad("cka_profile: no batch has 4 samples; give more inputs or a larger batch.")
    sums = {}
    for part in x.split(batch):
        if len(part) >= 4:
            left, right = activations(a, part, layers, state_a), activations(b, part, layers, state_b)
            for name in left:
                sums[name] = sums.get(name, 0) + _hsics(left[name], right[name])
    return {name: _ratio(value) for name, value in sums.items()}


def cka_normalised(profile, baseline):
    """(CKA_Q - CKA_0) / (1 - CKA_0) for each layer, CKA_0 of an untrained model (NoT 13.6, Fig. 7)."""
    return {name: (value - baseline[name]) / (1 - baseline[name]) for name, value in profile.items()}


# Unlearning time (NoT Theorem 1 and 5, 13.1, Table 3)

def unlearning_time(delta_ret, delta_0, L, loss_0, loss_best, A=0.0, noise=0.0):
    """Lower bound on gradient-flow time (learning rate x steps) to move the loss gap, eq. 82.

    delta_ret, delta_0: target and initial loss gap; L: Lipschitz constant of the gap; loss_0, loss_best: initial and
    best retain loss; A: the noise term of eq. 9. `noise` corrects the theorem: the proof drops the martingale part of
    theta, whose root mean square is sqrt(noise), noise = integral of E Tr Sigma^2 ds; 0 gives the printed bound."""
    distance = max(abs(delta_ret - delta_0) / L - math.sqrt(noise), 0.0) if L > 0 else math.inf
    room = abs(loss_0 - loss_best) + A
    if delta_ret == delta_0:
        return 0.0
    return distance**2 / room if room > 0 else math.inf if distance > 0 else 0.0


def flow_steps(time, lr, momentum=0.0):
    """Steps of SGD that advance the gradient flow by `time`: one step advances it by lr / (1 - momentum)."""
    return time * (1 - momentum) / lr


def loss_gradient(model, x, y, batch=512):
    """{parameter: gradient of the mean cross-entropy over all of x, y}; evaluation mode, the model is unchanged."""
    names, params = zip(*[(n, p) for n, p in model.named_parameters() if p.requires_grad])
    total = [torch.zeros_like(p) for p in params]
    with _evaluating(model):
        for xb, yb in zip(x.split(batch), y.split(batch)):
            grads = torch.autograd.grad(F.cross_entropy(model(xb), yb, reduction="sum"), params)
            total = [t + g / len(x) for t, g in zip(total, grads)]
    return dict(zip(names, total))


def loss_gap_gradient_norm(model, x_r, y_r, x_u, y_u, batch=512):
    """Norm of the gradient of the loss gap delta = |L_r - L_u| over the full data (NoT eq. 85).

    Its largest value over the checkpoints of one fine-tuning path estimates L, from below."""
    retain, forget = loss_gradient(model, x_r, y_r, batch), loss_gradient(model, x_u, y_u, batch)
    return math.sqrt(sum(float((retain[n] - forget[n]).double().square().sum()) for n in retain))


def noise_term(gradients, curvature, lr):
    """Rate of the term A, eq. 87: |Tr(Sigma^2 H)| / 2, both diagonal; times the elapsed flow time it gives A.

    gradients [b, P]: minibatch gradients at one checkpoint; curvature [P]: diagonal of the Hessian or its
    Gauss-Newton stand-in. SGD is d theta = -grad dt + sqrt(lr Cov) dW (Mandt et al. 2017), so Sigma^2 = lr x variance;
    with momentum give lr / (1 - momentum)."""
    variance = np.asarray(gradients, np.float64).var(0, ddof=1)
    return abs(float(lr * variance @ np.asarray(curvature, np.float64))) / 2


def gradient_flow(loss_r, loss_u, start, dt, steps, L=None):
    """Theorem 1 on a toy: Euler steps of d theta = -grad L_r dt, and the bound at each of them.

    loss_r, loss_u: scalar functions of a float64 tensor; L: the Lipschitz constant of the gap (None: the largest
    gradient along the path). Returns a dict of arrays: time, loss, delta, gradient (norm of the gap's), bound."""
    theta, rows = torch.as_tensor(start, dtype=torch.float64), []
    for _ in range(steps + 1):
        theta = theta.detach().requires_grad_()
        retain, forget = loss_r(theta), loss_u(theta)
        g_r, = torch.autograd.grad(retain, theta)
        g_u, = torch.autograd.grad(forget, theta)
        rows.append((float(retain.detach()), float((retain - forget).detach().abs()), float((g_r - g_u).norm())))
        theta = theta - dt * g_r
    loss, delta, gradient = np.array(rows).T
    L = gradient.max() if L is None else L
    bound = [unlearning_time(d, delta[0], L, loss[0], v) for d, v in zip(delta, loss)]
    return {"time": dt * np.arange(steps + 1), "loss": loss, "delta": delta, "gradient": gradient,
            "bound": np.array(bound)}


def noisy_counterexample(rng, time=1.0, sigma=1.0, scale=0.01, paths=20_000, steps=200):
    """Theorem 1 with noise is false as printed: L_r = scale (sqrt(1 + x^2) - 1), L_u = L_r + x, start 0.

    The gap is |x| (L = 1), which noise moves while L_r hardly falls. rng: numpy Generator. Returns the elapsed time,
    the printed bound (above it), the corrected bound (below it), its parts."""
    x, a, dt = np.zeros(paths), 0.0, time / steps
    for _ in range(steps):
        a += dt / 2 * sigma**2 * scale * float(((1 + x * x)**-1.5).mean())
        x = x - dt * scale * x / np.sqrt(1 + x * x) + sigma * math.sqrt(dt) * rng.standard_normal(paths)
    loss, gap = scale * float((np.sqrt(1 + x * x) - 1).mean()), math.sqrt((x * x).mean())
    return {"time": time, "bound": unlearning_time(gap, 0, 1, 0, loss, a), "loss": loss, "A": a, "gap": gap,
            "corrected": unlearning_time(gap, 0, 1, 0, loss, a, noise=sigma**2 * time)}


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
    sums = torch.zeros(4, dtype=torch.float64)
    for Y in _gaussians(n, samples, rng):
        up, down = Y.relu(), (-Y).relu()
        gap = up.square().sum(1) - down.square().sum(1)
        sums += torch.stack([v.sum() for v in ((up - down).square(), Y.square(), orthant_maximum(up), gap.abs())])
    return dict(zip(("distance", "norm", "maximum", "epsilon"), (sums / samples).tolist()))


def lemma2(n, samples, rng):
    """NoT Lemma 2: E||relu(Y1) - relu(Y2)||^2 over 2 E||relu(Y1)||^2 ("ratio", 1 - 1/pi) and over the exact maximum.

    The two denominators differ for small n, where all coordinates are often positive."""
    sums = torch.zeros(3, dtype=torch.float64)
    for Y in _gaussians(n, samples, rng):
        one, two = Y.relu(), torch.randn(Y.shape, generator=rng, dtype=Y.dtype).relu()
        sums += torch.stack([v.sum() for v in ((one - two).square(), 2 * one.square(), orthant_maximum(one))])
    return {"ratio": float(sums[0] / sums[1]), "ratio_to_maximum": float(sums[0] / sums[2])}


def activation_distance(pre_a, pre_b):
    """(E||relu(a) - relu(b)||^2, epsilon = E| ||relu(a)||^2 - ||relu(b)||^2 |) of pre-activations [m, ...], Theorem 2."""
    a, b = (torch.as_tensor(v).flatten(1).double().relu() for v in (pre_a, pre_b))
    gap = a.square().sum(1) - b.square().sum(1)
    return float((a - b).square().sum(1).mean()), float(gap.abs().mean())


def layer_perturbations(weight, bias, rng):
    """{name: (weight, bias)}: ways to change one layer that keep the norm of its parameters (NoT 12.2, Fig. 5).

    negate; fresh: Gaussian of the same norm; permute: output units shuffled; orthogonal: a random rotation of the
    outputs. bias may be None; rng: torch.Generator on the CPU."""
    rows = weight.flatten(1) if bias is None else torch.cat([weight.flatten(1), bias[:, None]], 1)
    draw = torch.randn(rows.shape, generator=rng).to(rows)
    turn = torch.linalg.qr(torch.randn(len(rows), len(rows), generator=rng, dtype=torch.float64))[0].to(rows)
    new = {"negate": -rows, "fresh": draw * (rows.norm() / draw.norm()), "orthogonal": turn @ rows,
           "permute": rows[torch.randperm(len(rows), generator=rng).to(rows.device)]}
    split = {name: (r[:, :weight[0].numel()].reshape(weight.shape), r[:, -1]) for name, r in new.items()}
    return {name: (w, None if bias is None else b) for name, (w, b) in split.items()}


def compare_perturbations(model, layer, x, rng, at=None, state=None):
    """Theorem 2 on a real layer: {perturbation: {distance, epsilon}} and "norm" E||relu(Y)||^2, all per input.

    layer: a module with weight (and bias); at: the module whose output enters the ReLU (None: the layer itself).
    Other perturbations are scaled so that E||relu(Y')||^2 matches the layer's, as the theorem wants: a ReLU layer is
    positively homogeneous. Theorem 2 then says distance(negate) >= distance(p) - epsilon(negate) - epsilon(p)."""
    at, tensors = at or layer, dict(model.named_parameters()) | (state or {})
    if f"{layer}.weight" not in tensors:
        raise Bad(f"compare_perturbations: no layer {layer!r} with a weight; choose from {sorted(tensors)}.")
    weight, bias = tensors[f"{layer}.weight"].detach(), tensors.get(f"{layer}.bias")

    def outputs(changed):
        return activations(model, x, [at], (state or {}) | changed)[at].double()

    before = outputs({})
    norm = float(before.relu().square().sum(1).mean())
    out = {"norm": norm}
    for name, (w, b) in layer_perturbations(weight, None if bias is None else bias.detach(), rng).items():
        after = outputs({f"{layer}.weight": w} | ({} if b is None else {f"{layer}.bias": b}))
        if name != "negate":
            after = after * math.sqrt(norm / float(after.relu().square().sum(1).mean()))
        out[name] = dict(zip(("distance", "epsilon"), activation_distance(before, after)))
    return out


# Layer-wise optimality (NoT Lemma 8, 13.7)

def compensate(w2, b2, a, b, c):
    """Lemma 8: the layer after psi that undoes a negation of the layer before it, given a psi(x) + b psi(-x) = c.

    l3(x) = c/a - (b/a) x (the paper prints c): weight -(b/a) W2, bias b2 + (c/a) W2 1. Weight and bias of the layer
    before must both be negated. w2: [out, in] or a convolution's [out, in, kh, kw]; then, unless c = 0, without
    zero padding, which is no value of psi. b2 may be None. Returns (weight, bias)."""
    shift = (c / a) * w2.flatten(1).sum(1)
    return -(b / a) * w2, shift if b2 is None else b2 + shift


def nr_freeze(state, fresh, names, sign=-1):
    """NR-Freeze (NoT 13.7, Table 8): `names` are sign x state and frozen, all else is `fresh`. Returns (state, mask).

    mask: True where an entry may be trained. sign=1 with another fresh state as `state` is the control the paper
    lacks: a frozen random layer."""
    unknown = [n for n in names if n not in state or n not in fresh]
    if unknown:
        raise Bad(f"nr_freeze: the state has no tensor {unknown[0]!r}; choose from {sorted(state)}.")
    new = {n: sign * state[n] if n in names else v.clone() for n, v in fresh.items()}
    return new, {n: torch.full_like(v, n not in names, dtype=torch.bool) for n, v in fresh.items()}


# Jacobians and total variation (NoT Theorem 3)

def tv_units(y, rng, bins=31):
    """TV between each unit of Y and of -Y, from histograms of y [m, ...] (Theorem 3); an array over units.

    Only a lower bound of the joint distance: units may look symmetric while Y does not. One half of the samples
    chooses the set of bins, the other half measures it, so a symmetric unit averages 0 (single values may be < 0)."""
    y = torch.as_tensor(y).detach().flatten(1).double().cpu().numpy()
    y = y[rng.permutation(len(y))]
    edge = np.abs(y).max(0) + 1e-12
    # An odd number of bins, symmetric about 0: those of -y are these in reverse, and exact zeros are their own mirror.
    bins += 1 - bins % 2
    slots = np.minimum(((y / edge + 1) / 2 * bins).astype(int), bins - 1)
    slots += bins * np.arange(y.shape[1])
    halves = [np.bincount(part.ravel(), minlength=bins * y.shape[1]).reshape(-1, bins) / len(part)
              for part in np.array_split(slots, 2)]
    choose, measure = (h - h[:, ::-1] for h in halves)
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
    train, test = train @ (train.T @ whiten), test @ (train.T @ whiten)
    make = {"logistic": lambda: LogisticRegression(fit_intercept=False, C=0.1),
            "mlp": lambda: MLPClassifier((64,), alpha=1e-2, learning_rate_init=3e-3, max_iter=300,
                                         early_stopping=True, random_state=int(rng.integers(2**31)))}
    if classifier not in make:
        raise Bad(f"tv_joint: classifier {classifier!r} is unknown; choose from {sorted(make)}.")
    model = make[classifier]().fit(np.concatenate([train, -train]), np.repeat([1, 0], len(train)))
    # Each held-out input gives the pair (y, -y); pairs, not points, are independent.
    score = (model.predict(test) == 1) * 1.0 + (model.predict(-test) == 0) - 1.0
    return {"tv": float(score.mean()), "sd": float(score.std() / math.sqrt(len(score)))}


def jacobian_norms(model, x, state=None, chunk=8):
    """{parameter: norm of d output / d parameter for each input [m]}, evaluation mode (NoT Theorem 3, C2a).

    state: tensors that replace the model's own. Memory: chunk x classes x parameters."""
    tensors = dict(model.named_parameters()) | dict(model.named_buffers()) | _known(model, state)
    params = {n: tensors.pop(n).detach() for n, _ in model.named_parameters()}

    def one(p, sample):
        return functional_call(model, p | tensors, (sample[None],))[0]

    norms = {n: [] for n in params}
    with _evaluating(model):
        for part in x.split(chunk):
            for n, J in vmap(jacrev(one), (None, 0))(params, part).items():
                norms[n].append(J.detach().flatten(1).norm(dim=1))
    return {n: torch.cat(v) for n, v in norms.items()}


# Fisher information about the target (TIS 4.2, appendix 1)

def fisher_information(h, h_prime, C=1.0, shift=None):
    """TIS eq. 25 with its constant: 1/2 sum (h'/h)^2, free of C. shift: d mean / dt of each parameter, which adds
    C^-2 sum h shift^2; the paper leaves it out, yet it dominates as C -> 0 (shift = -(N_T/N) g / h)."""
    h, h_prime = np.asarray(h, np.float64), np.asarray(h_prime, np.float64)
    moved = 0.0 if shift is None else float((h * np.square(shift)).sum()) / C**2
    return float(((h_prime / h)**2).sum()) / 2 + moved


def fisher_information_mc(h, h_prime, C, n, rng, shift=None, step=1e-4):
    """Monte Carlo of TIS eq. 24 for independent normals of variance C^2 / h(t), h(t) = h + (t - 1) h'.

    The score is a central difference of the log density at t = 1, not the paper's algebra, so that it can disagree
    with it. shift: d mean / dt (None: a fixed mean); rng: numpy Generator. Returns (information, standard error)."""
    h, h_prime = np.asarray(h, np.float64), np.asarray(h_prime, np.float64)
    shift = np.zeros_like(h) if shift is None else np.asarray(shift, np.float64)
    theta = rng.standard_normal((n, len(h))) * C / np.sqrt(h)

    def log_density(dt):
        now = h + dt * h_prime
        return (np.log(now) / 2 - now * (theta - dt * shift)**2 / (2 * C**2)).sum(1)

    squared = ((log_density(step) - log_density(-step)) / (2 * step))**2
    return float(squared.mean()), float(squared.std() / math.sqrt(n))


def shift_score(g, h):
    """The score of the term TIS drops: g^2 / h, g the target's gradient at the trained parameters, h the curvature of
    all data; 0 where h <= 0. Times C^-2 (N_T/N)^2 it is each parameter's share of the Fisher information."""
    return g * g / (h + (h <= 0)) * (h > 0)
