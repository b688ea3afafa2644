"""Unlearning time: Theorems 1 and 5, the bound, its noise term, and toys (NoT 13.1, Table 3)."""
import math

import numpy as np
import torch

from ..fl.gradients import loss_gradient

# Unlearning time (NoT Theorem 1 and 5, 13.1, Table 3)


def unlearning_time(delta_ret, delta_0, L, loss_0, loss_best, A=0.0, noise=0.0):
    """Lower bound on gradient-flow time (learning rate x steps) to move the loss gap, eq. 82.

    delta_ret, delta_0: target and initial loss gap; L: Lipschitz constant of the gap; loss_0, loss_best: initial and
    best retain loss; A: the noise term of eq. 9. `noise` corrects the theorem: the proof drops the martingale part of
    theta, whose root mean square is sqrt(noise), noise = integral of E Tr Sigma^2 ds; 0 gives the printed bound."""
    if delta_ret == delta_0:
        return 0.0
    distance = math.inf
    if L > 0:
        distance = max(abs(delta_ret - delta_0) / L - math.sqrt(noise), 0.0)
    room = abs(loss_0 - loss_best) + A
    if room > 0:
        return distance**2 / room
    return math.inf if distance > 0 else 0.0


def flow_steps(time, lr, momentum=0.0):
    """Steps of SGD that advance the gradient flow by `time`: one step advances it by lr / (1 - momentum)."""
    return time * (1 - momentum) / lr


def loss_gap_gradient_norm(model, x_r, y_r, x_u, y_u, batch=512):
    """Norm of the gradient of the loss gap delta = |L_r - L_u| over the full data (NoT eq. 85).

    Its largest value over the checkpoints of one fine-tuning path estimates L, from below."""
    retain = loss_gradient(model, x_r, y_r, batch)
    forget = loss_gradient(model, x_u, y_u, batch)
    squares = [float((retain[n] - forget[n]).double().square().sum()) for n in retain]
    return math.sqrt(sum(squares))


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
    theta = torch.as_tensor(start, dtype=torch.float64)
    rows = []
    for _ in range(steps + 1):
        theta = theta.detach().requires_grad_()
        retain = loss_r(theta)
        forget = loss_u(theta)
        g_r, = torch.autograd.grad(retain, theta)
        g_u, = torch.autograd.grad(forget, theta)
        gap = (retain - forget).detach().abs()
        rows.append((float(retain.detach()), float(gap), float((g_r - g_u).norm())))
        theta = theta - dt * g_r
    loss, delta, gradient = np.array(rows).T
    if L is None:
        L = gradient.max()
    bound = [unlearning_time(d, delta[0], L, loss[0], v) for d, v in zip(delta, loss)]
    return {"time": dt * np.arange(steps + 1), "loss": loss, "delta": delta, "gradient": gradient,
            "bound": np.array(bound)}


def noisy_counterexample(rng, time=1.0, sigma=1.0, scale=0.01, paths=20_000, steps=200):
    """Theorem 1 with noise is false as printed: L_r = scale (sqrt(1 + x^2) - 1), L_u = L_r + x, start 0.

    The gap is |x| (L = 1), which noise moves while L_r hardly falls. rng: numpy Generator. Returns the elapsed time,
    the printed bound (above it), the corrected bound (below it), its parts."""
    x = np.zeros(paths)
    a = 0.0
    dt = time / steps
    for _ in range(steps):
        a += dt / 2 * sigma**2 * scale * float(((1 + x * x)**-1.5).mean())
        drift = dt * scale * x / np.sqrt(1 + x * x)
        x = x - drift + sigma * math.sqrt(dt) * rng.standard_normal(paths)
    loss = scale * float((np.sqrt(1 + x * x) - 1).mean())
    gap = math.sqrt((x * x).mean())
    printed = unlearning_time(gap, 0, 1, 0, loss, a)
    corrected = unlearning_time(gap, 0, 1, 0, loss, a, noise=sigma**2 * time)
    return {"time": time, "bound": printed, "loss": loss, "A": a, "gap": gap, "corrected": corrected}
