"""What is measured: accuracies, losses, membership inference, and the backdoor, all from one pass of logits per set."""
import numpy as np
import torch
from torch.nn.functional import cross_entropy, logsigmoid

from ..errors import Bad
from ..fl.finite import finite, guess, share
from ..words import GAP
from . import uses

FAST, FAST_ON_GPU = 2**15, 2**25    # numbers of an attack at a time: what a cache holds, what fills a GPU


@torch.no_grad()
def predict(task, state, indices=None, images=None, batch=None, triggered=False):
    """Logits `[n, classes]` of `task.x[indices]`, or of raw `images`, in eval mode without augmentation.

    batch: how many at once, None as many as suit the net (`task.at_once`); triggered: put the backdoor trigger into
    all the `images`.
    """
    batch = batch or task.at_once
    net = task.in_dtype(task.load(state))
    if indices is None:
        inputs = (task.inputs(x, marked=torch.ones(len(x), dtype=torch.bool) if triggered else None)
                  for x in images.split(batch))
    else:
        inputs = (x for x, _ in task.batches(indices, batch))
    out = [net(x) for x in inputs]
    return torch.cat(out) if out else torch.empty(0, task.classes, device=task.device, dtype=task.dtype)


def accuracy(logits, labels):
    """Top-1 accuracy in percent; NaN without samples, and where logits are not finite."""
    return share(guess(logits), labels)


def losses(logits, labels):
    """Cross-entropy of each sample, float64 numpy; NaN where a logit is not finite."""
    found = cross_entropy(logits.double(), labels, reduction="none")
    return found.masked_fill(~logits.isfinite().all(1), torch.nan).cpu().numpy()


def evaluate(task, state):
    """Everything that is measured of one model, as a flat dict: accuracies (percent), mean losses (nats), NoT's
    membership attack (percent), with a backdoor `asr` and `backdoor_acc`, and the metrics that the settings name.

    `val_acc` is what a server can ask for: accuracy on the validation data of those that remain, where there are any.

    Class-wise forgetting leaves the forgotten class out of `test` and out of the attack's non-members
    (`test_acc_all` is the other number).
    """
    everything = predict(task, state, images=task.x_test)
    asked = not_forgotten(task)
    parts = {"retain": answers(task, state, "retain"),
             "forget": answers(task, state, "forget"),
             "test": (everything[asked], task.y_test[asked])}
    loss = {name: losses(*part) for name, part in parts.items()}

    out = {f"{name}_acc": accuracy(*part) for name, part in parts.items()}
    out |= {f"{name}_loss": mean(values) for name, values in loss.items()}
    out |= validated(task, state)
    out["mia"] = mia(loss["forget"], loss["test"], task.rng("mia"), task.settings["mia_draws"], device=task.device)
    if task.settings["forget"] == "class":
        out["test_acc_all"] = accuracy(everything, task.y_test)
    if task.poison_label is not None:
        out |= backdoor(task, state) | backdoor_of_own(task, parts["forget"][0])
    return out | measured(task, state)


def answers(task, state, which):
    """`(logits [n, classes], labels [n])` on a part of the training data, `retain` or `forget`."""
    indices = task.indices(which)
    return predict(task, state, indices), task.y[indices]


def not_forgotten(task):
    """Which test images count, `[n]` of bool: all of them, without the class that is to be forgotten."""
    if task.settings["forget"] == "class":
        return task.y_test != task.settings["forget_class"]
    return torch.ones_like(task.y_test, dtype=torch.bool)


def validated(task, state):
    """`{"val_acc": percent}` on the validation data that count; empty without any."""
    indices = validation(task)
    if not len(indices):
        return {}
    return {"val_acc": accuracy(predict(task, state, indices), task.y[indices])}


def validation(task):
    """Indices of the validation data of those that remain, without a class that is to be forgotten, `[n]`."""
    remaining = [client.val for client in task.clients if len(client.retain)]
    indices = torch.cat(remaining)
    if task.settings["forget"] == "class":
        indices = indices[(task.y[indices] != task.settings["forget_class"]).cpu()]
    return indices.sort().values


def mean(values):
    """The mean as a float; NaN of none."""
    return float(values.mean()) if len(values) else float("nan")


def measured(task, state):
    """`{name: number}` of the settings' own metrics (see `lib.metric`); Bad where one gives something else.

    NaN of a state that is not finite, of which nobody is asked: what counts arg-maxima would give a number.
    """
    wanted = uses(task.settings)
    if wanted and not finite(state):
        return {f.name: float("nan") for f in wanted}
    return {f.name: number(f.name, f(task, state)) for f in wanted}


def number(name, value):
    """The value as a float; Bad where a metric gave something else."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise Bad(f"metric {name!r} gave {type(value).__name__}, where one number is wanted; "
                  "return a float, NaN where there is none") from None


def backdoor(task, state):
    """Attack success rate and backdoor accuracy (percent) on triggered test images whose true label is another."""
    others = task.y_test != task.poison_label
    said = guess(predict(task, state, images=task.x_test[others], triggered=True))
    return {"asr": share(said, task.poison_label), "backdoor_acc": share(said, task.y_test[others])}


def backdoor_of_own(task, logits):
    """Attack success rate and backdoor accuracy (percent) on the targets' own triggered training images, where the
    authors of TIS measure in their code; logits `[n, classes]`: of all that the targets forget."""
    own = task.indices("forget")
    triggered = task.marked[own]
    said = guess(logits[triggered])
    return {"asr_own": share(said, task.poison_label), "backdoor_acc_own": share(said, task.y_true[own][triggered])}


def mia(forget, test, rng, draws=10, folds=10, device="cpu"):
    """NoT's membership attack: logistic regression on the loss, balanced, cross-validated; accuracy in percent.

    forget, test: per-sample losses. Both sets are subsampled to the smaller size `draws` times; each draw is scored
    by `folds` stratified shuffle splits of 10 percent. 50 means that forget and test data look alike.
    NaN with fewer than 10 samples in either set. device: where the regressions are fitted.
    """
    return mia_of_many([forget], [test], rng, draws, folds, device)[0]


def mia_of_many(forget, test, rng, draws=10, folds=10, device="cpu"):
    """`mia` of several models, a list: they are attacked with the same draws, which are made once.

    forget `[k, n]`, test `[k, m]`: losses of the same samples under k models.
    """
    forget, test = (torch.as_tensor(np.asarray(part), dtype=torch.float64) for part in (forget, test))
    n = min(forget.shape[1], test.shape[1])
    finite_ones = forget.isfinite().all(1) & test.isfinite().all(1)
    out = [float("nan")] * len(forget)
    if n < 10:
        return out
    chosen, fit = (part.to(device) for part in mia_draws(forget.shape[1], test.shape[1], rng, draws, folds))
    losses = torch.cat([forget, test], 1).to(device)
    y = torch.tensor([1.0, -1.0], dtype=torch.float64, device=device).repeat_interleave(n)
    fast = FAST if torch.device(device).type == "cpu" else FAST_ON_GPU
    some = max(1, fast // (folds * 2 * n))
    for i in finite_ones.nonzero().flatten().tolist():
        x = losses[i, chosen]
        scores = [held_out_accuracy(*part, y) for part in zip(x.split(some), fit.split(some), strict=True)]
        out[i] = 100 * float(np.mean(torch.cat(scores).cpu().numpy()))
    return out


def mia_draws(members, others, rng, draws, folds):
    """What `mia` draws: positions `[draws, 2 n]` among the members and the others behind them, n of each, and which of
    them a fold is fitted on, `[draws, folds, 2 n]` of 1 and 0."""
    n = min(members, others)
    held = max(1, round(0.1 * n))
    gen = np.random.default_rng(rng.initial_seed())
    chosen = np.empty((draws, 2 * n), dtype=np.int64)
    fit = np.ones((draws, folds, 2 * n))
    for d in range(draws):
        chosen[d, :n] = gen.choice(members, n, replace=False)
        chosen[d, n:] = members + gen.choice(others, n, replace=False)
        for f in range(folds):
            fit[d, f, gen.permutation(n)[:held]] = 0
            fit[d, f, n + gen.permutation(n)[:held]] = 0
    return torch.from_numpy(chosen), torch.from_numpy(fit)


def held_out_accuracy(x, fit, y):
    """Share of held-out samples on the right side of regressions on the others, over all folds: `[draws]`.

    x `[draws, n]`: the feature; fit `[draws, folds, n]`: 1 where a fold is fitted; y `[n]` in {-1, 1}.
    """
    slopes, intercepts = logistic(x, y, fit)
    right = (slopes[..., None] * x[:, None] + intercepts[..., None] > 0) == (y > 0)
    out = 1 - fit
    return (right * out).sum((1, 2)) / out.sum((1, 2))


def logistic(x, y, weight, steps=100, tol=1e-9):
    """L2-regularised logistic regression on one feature, many at once, by damped Newton.

    x `[..., n]`, y `[n]` in {-1, 1}, weight `[..., problems, n]`. Minimises
    `w^2/2 + sum weight log(1 + exp(-y (wx + b)))`, as scikit-learn's `LogisticRegression()` does. Returns slopes and
    intercepts `[..., problems]`.
    """
    centre = x.mean(-1, keepdim=True)
    spread = x.std(-1, correction=0, keepdim=True)
    spread = spread.where(spread > 0, 1.0)
    z = (x - centre) / spread
    yz = y * z
    slopes = torch.stack([yz, y.expand_as(z)], -1)      # a sum over samples is a product with these
    curvatures = torch.stack([z * z, z, torch.ones_like(z)], -1)
    yz = yz[..., None, :]
    w = torch.zeros(weight.shape[:-1], dtype=x.dtype, device=x.device)
    b = torch.zeros_like(w)

    def objective(w, b):
        margin = w[..., None] * yz + b[..., None] * y
        return (w / spread) ** 2 / 2 - torch.linalg.vecdot(weight, logsigmoid(margin)), margin

    value, margin = objective(w, b)
    for _ in range(steps):
        p = torch.sigmoid(-margin)      # chance of the wrong side
        wrong = weight * p
        gw, gb = (-wrong @ slopes).unbind(-1)
        gw = gw + w / spread**2
        hww, hwb, hbb = ((wrong - wrong * p) @ curvatures).unbind(-1)
        hww = hww + 1 / spread**2
        hbb = hbb + 1e-12
        det = hww * hbb - hwb**2
        dw = -(hbb * gw - hwb * gb) / det
        db = -(hww * gb - hwb * gw) / det
        if (dw * gw + db * gb).abs().max() < tol:
            break
        rate = torch.ones_like(w)
        for _ in range(30):
            new, margin = objective(w + rate * dw, b + rate * db)
            worse = new > value + 1e-12 * value.abs()
            if not worse.any():
                break
            rate = rate.where(~worse, rate / 2)
        w = w + rate * dw
        b = b + rate * db
        value = new
    return w / spread, b - w * centre / spread


def average_gap(metrics, reference):
    """Mean absolute difference to Retrain over retain, forget, test accuracy and the attack, in percent points."""
    for name in GAP:
        if name not in metrics or name not in reference:
            raise Bad(f"average gap: {name} was not measured")
    return float(np.mean([abs(metrics[name] - reference[name]) for name in GAP]))
