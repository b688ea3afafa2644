"""Gradients of the mean cross-entropy: over all of some data, and over one minibatch. The model is left as it came."""
from contextlib import contextmanager

import torch
from torch.nn.functional import cross_entropy


@contextmanager
def evaluating(model):
    """The model in evaluation mode; afterwards in the mode it came in."""
    training = model.training
    model.eval()
    try:
        yield model
    finally:
        model.train(training)


def trainable(model):
    """`{name: parameter}` of those that have a gradient, in the order of `named_parameters`."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def batch_gradient(model, x, y):
    """`{parameter: gradient}` of the mean cross-entropy of one minibatch, in evaluation mode.

    x: inputs `[n, ...]` as the model sees them; y: labels `[n]`.

    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(net.weight)
    >>> batch_gradient(net, torch.tensor([[1.0]]), torch.tensor([0]))["weight"].flatten().tolist()
    [-0.5, 0.5]
    """
    params = trainable(model)
    with evaluating(model):
        loss = cross_entropy(model(x), y)
        gradients = torch.autograd.grad(loss, list(params.values()))
    return dict(zip(params, gradients, strict=True))


def mean_gradient(model, batches, samples):
    """`{parameter: gradient}` of the mean cross-entropy over all of `batches`, `(x, y)` with `samples` in all.

    One batch at a time is in memory. Evaluation mode.
    """
    params = trainable(model)
    total = {name: torch.zeros_like(p) for name, p in params.items()}
    with evaluating(model):
        for x, y in batches:
            loss = cross_entropy(model(x), y, reduction="sum")
            gradients = torch.autograd.grad(loss, list(params.values()))
            for name, gradient in zip(params, gradients, strict=True):
                total[name] += gradient / samples
    return total


def loss_gradient(model, x, y, batch=512):
    """`{parameter: gradient}` of the mean cross-entropy over all of x, y, `batch` samples at a time.

    x: inputs `[n, ...]` as the model sees them; y: labels `[n]`. Evaluation mode.

    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> _ = torch.nn.init.zeros_(net.weight)
    >>> loss_gradient(net, torch.ones(4, 1), torch.tensor([0, 0, 0, 1]), batch=3)["weight"].flatten().tolist()
    [-0.25, 0.25]
    """
    return mean_gradient(model, zip(x.split(batch), y.split(batch), strict=True), len(x))
