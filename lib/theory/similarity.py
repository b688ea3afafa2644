"""Similarity of layers: activations and linear CKA (NoT 6.2 and 13.6, Fig. 3 and 7)."""
import math

import numpy as np
import torch
from torch.func import functional_call

from ..errors import Bad
from ..fl.gradients import evaluating


def _known(model, state):
    """The state as a dict; Bad for names that `functional_call` would ignore, leaving the model as it is."""
    state = dict(state or {})
    unknown = state.keys() - model.state_dict().keys()
    if unknown:
        raise Bad(f"the state has {min(unknown)!r}, which the model has not; its tensors are "
                  f"{sorted(model.state_dict())}.")
    return state


# Similarity of layers (NoT 6.2 and 13.6, Fig. 3 and 7)

def activations(model, x, layers=None, state=None):
    """Outputs of the named modules on one batch, each flattened to [m, p]; evaluation mode, no gradient.

    layers: names from model.named_modules() (None: every module without children); state: tensors that replace the
    model's own for this call. A module used several times gives its last output, a tuple its first entry."""
    modules = dict(model.named_modules())
    state = _known(model, state)
    if layers is None:
        layers = [n for n, m in modules.items() if n and not list(m.children())]
    unknown = [n for n in layers if n not in modules]
    if unknown:
        raise Bad(f"activations: no module is called {unknown[0]!r}; choose layers from {sorted(modules)[1:]}.")
    found = {}

    def hook(name):
        def save(module, args, out):
            first = out[0] if isinstance(out, tuple) else out
            # A copy: a later in-place activation would overwrite what is kept here.
            found[name] = first.detach().flatten(1).clone()
        return save

    handles = [modules[n].register_forward_hook(hook(n)) for n in layers]
    try:
        with torch.no_grad(), evaluating(model):
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
    K = K - torch.diag(K.diagonal())
    L = L - torch.diag(L.diagonal())
    rows_k, rows_l = K.sum(1), L.sum(1)
    middle = rows_k.sum() * rows_l.sum() / ((m - 1) * (m - 2)) - 2 / (m - 2) * rows_k @ rows_l
    return ((K * L).sum() + middle) / (m * (m - 3))


def _gram(X):
    """The Gram matrix of m representations, [m, m]."""
    X = torch.as_tensor(X).detach().flatten(1).double()
    X = X - X.mean(0)  # changes nothing in exact arithmetic and keeps digits when features have a large mean
    return X @ X.T


def _hsics(X, Y):
    K, L = _gram(X), _gram(Y)
    return np.array([float(hsic1(K, L)), float(hsic1(K, K)), float(hsic1(L, L))])


def _ratio(sums):
    product = sums[1] * sums[2]
    return float(sums[0] / math.sqrt(product)) if product > 0 else math.nan


def cka(batches):
    """Linear CKA between two representations, unbiased, summed over minibatches before the ratio (NoT 6.2).

    batches: iterable of (X [m, p1], Y [m, p2]), m >= 4 each; float64, memory O(m^2). May be slightly negative for
    unrelated features; nan where one of them does not vary."""
    sums = np.zeros(3)
    for X, Y in batches:
        sums = sums + _hsics(X, Y)
    return _ratio(sums)


def cka_profile(model_a, model_b, x, layers=None, batch=256):
    """{layer: CKA} between the same layers of two models over inputs x (NoT Fig. 3, 7).

    model_a, model_b: a module, or a pair (module, state) so that one module can serve both sides. A last batch of
    fewer than 4 samples is left out."""
    a, state_a = model_a if isinstance(model_a, tuple) else (model_a, None)
    b, state_b = model_b if isinstance(model_b, tuple) else (model_b, None)
    if a is b and state_a is None and state_b is None:
        raise Bad("cka_profile: both sides are the same module, so every value would be 1; "
                  "give pairs (module, state) or build a second module.")
    if min(len(x), batch) < 4:
        raise Bad("cka_profile: no batch has 4 samples; give more inputs or a larger batch.")
    sums = {}
    for part in x.split(batch):
        if len(part) < 4:
            continue
        left = activations(a, part, layers, state_a)
        right = activations(b, part, layers, state_b)
        for name in left:
            sums[name] = sums.get(name, 0) + _hsics(left[name], right[name])
    return {name: _ratio(value) for name, value in sums.items()}
