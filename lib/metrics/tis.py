"""What the TIS paper measures: target accuracy, its membership attacks, NTA and NFS, and the best point of a sweep."""
from itertools import pairwise

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from torch.nn.functional import binary_cross_entropy_with_logits

from ..errors import Bad
from .evaluate import accuracy, backdoor, backdoor_of_own, logistic, losses, measured, mia_of_many, predict

ATTACKS = {"tis_nn": "mia_tis_nn", "tis_logistic": "mia_tis_logistic", "logistic": "mia"}
NFS = {"nfs_target": "target_acc", "nfs_mia": "mia_acc", "nfs_mia_nn": "mia_tis_nn",
       "nfs_mia_logistic": "mia_tis_logistic", "nfs_mia_balanced": "mia"}
SMALLEST = 0.5  # points between the trained and the retrained model below which a ratio to them means nothing


def target_classes(task):
    """Classes that the target alone holds or that are to be forgotten; empty where the target is told by no class."""
    s = task.settings
    if s["forget"] == "class":
        return [s["forget_class"]]
    if s["forget"] == "clients" and s["partition"] == "preferential":
        return [task.classes - s["clients"] + k for k in task.targets]
    return []


def measure(task, state):
    """Accuracies (TIS, 6.2.2 and 6.2.3, percent), and the losses that the membership attacks look at.

    Returns `(metrics, losses of the target's training images, losses of the test images)`. `target_acc`: on the test
    images of `target_classes`, where there are any, else on the target's training images; `rest_acc`: on the test
    images of the other classes; `asr`, `backdoor_acc`: see `backdoor`, `asr_own`, `backdoor_acc_own`: see `backdoor_of_own`.
    """
    indices = task.indices("forget")
    own = predict(task, state, indices)
    own_labels = task.y[indices]
    logits = predict(task, state, images=task.x_test)
    labels = task.y_test
    out = {"test_acc": accuracy(logits, labels), "forget_acc": accuracy(own, own_labels)}
    chosen = target_classes(task)
    if chosen:
        theirs = torch.isin(labels, torch.tensor(chosen, device=labels.device))
        out["target_acc"] = accuracy(logits[theirs], labels[theirs])
        out["rest_acc"] = accuracy(logits[~theirs], labels[~theirs])
    else:
        out["target_acc"] = out["forget_acc"]
    if task.poison_label is not None:
        out |= backdoor(task, state) | backdoor_of_own(task, own)
    out |= measured(task, state)
    return out, losses(own, own_labels), losses(logits, labels)


def measure_all(task, states):
    """What the TIS paper measures of several states (6.2): `measure` and the membership attacks, a dict for each.

    states: any iterable; of each only its losses are kept for the attacks, which face all states side by side.
    `mia_acc` is the attack that the setting `mia` names, beside it are all of `ATTACKS` (percent) and `mia_auc`. The
    paper's attacks face all target images with the whole test set.
    """
    found, members, others = zip(*[measure(task, state) for state in states], strict=True)
    members, others = np.stack(members), np.stack(others)
    by_net = attack_nn(members, others, device=task.device)
    balanced = mia_of_many(members, others, task.rng("mia"), task.settings["mia_draws"], device=task.device)
    for i, (out, inside, outside) in enumerate(zip(found, members, others, strict=True)):
        out["mia_tis_nn"] = by_net[i]
        out["mia_tis_logistic"] = attack_logistic(inside, outside, task.device)
        out["mia"] = balanced[i]
        out["mia_auc"] = auc(inside, outside)
        out["mia_acc"] = out[ATTACKS[task.settings["mia"]]]
    return list(found)


# ---------------------------------------------------------------- membership attacks

def attack_nn(members, others, epochs=200, lr=0.01, hidden=16, seed=42, device="cpu"):
    """The attack of TIS Table 2, accuracy in percent on the held-out fifth, for many models at once.

    members `[k, n]`, others `[k, m]`: losses under k models; returns a list of k. A net 1-16-1 for each, from one
    initialisation: ReLU, Adam, full batches, threshold 0.5. Constant losses give the share of the larger class. NaN
    where not finite. The nets train side by side, on the device: scikit-learn's, one after the other, take 18 to 31
    times as long.
    """
    x = torch.from_numpy(np.concatenate([members, others], 1)).float().to(device)
    y = torch.cat([torch.ones(members.shape[1]), torch.zeros(others.shape[1])]).to(device)
    fit, held = train_test_split(np.arange(len(y)), test_size=0.2, random_state=seed)
    start = small_net(hidden, torch.Generator().manual_seed(seed))
    out = torch.full((len(x),), torch.nan, dtype=torch.float64, device=device)
    finite = x.isfinite().all(1).nonzero().flatten()
    some = max(1, 2**23 // (hidden * x.shape[1]))  # models at a time, for memory
    for part in finite.split(some):
        params = [p.to(device).repeat(len(part), 1, 1).requires_grad_() for p in start]
        fit_nets(params, x[part][:, fit], y[fit], epochs, lr)
        with torch.no_grad():
            guess = net_logits(params, x[part][:, held]) > 0
        right = guess == (y[held] > 0)
        out[part] = 100 * right.double().mean(1)
    return out.tolist()


def small_net(hidden, rng):
    """Weight and bias of a layer from 1 to `hidden`, of one from `hidden` to 1, as `nn.Linear` draws them: `[1, n]`."""
    first = torch.rand(2, hidden, generator=rng) * 2 - 1
    last = (torch.rand(2, hidden, generator=rng) * 2 - 1) * hidden ** -0.5
    return first[:1], first[1:], last[:1], last[1:, :1]


def net_logits(params, x):
    """Logits `[k, n]` of k nets on one feature each, x `[k, n]`."""
    w, b, v, c = params
    inside = (x[..., None] * w + b).relu()
    return (inside * v).sum(-1) + c[..., 0]


def fit_nets(params, x, y, epochs, lr):
    """Fit k nets in place by Adam on full batches; x `[k, n]`, y `[n]` of 0 and 1."""
    optimiser = torch.optim.Adam(params, lr)
    wanted = y.expand(len(x), -1)
    for _ in range(epochs):
        optimiser.zero_grad()
        loss = binary_cross_entropy_with_logits(net_logits(params, x), wanted, reduction="none")
        loss.mean(1).sum().backward()  # the nets share nothing, so the sum trains each as if alone
        optimiser.step()


def attack_logistic(members, others, device="cpu"):
    """The TIS authors' other attack: logistic regression on the loss, scored where it was fitted; percent.

    members `[n]`, others `[m]`: losses. NaN where not finite.

    >>> attack_logistic(np.array([0.1, 0.2]), np.array([0.8, 0.9]))
    100.0
    """
    x = np.concatenate([members, others])
    y = np.repeat([1.0, -1.0], [len(members), len(others)])
    if not np.isfinite(x).all():
        return float("nan")
    x, y = (torch.from_numpy(part).to(device) for part in (x, y))
    slope, intercept = logistic(x, y, torch.ones_like(x)[None])
    guess = slope * x + intercept > 0
    return 100 * (guess == (y > 0)).double().mean().item()


def auc(members, others):
    """Chance that a member's loss is below a non-member's, in [0, 1]; ties count half.

    members `[n]`, others `[m]`: losses. NaN where there are none or they are not finite.

    >>> auc(np.array([0.1, 0.5]), np.array([0.5, 0.9]))
    0.875
    """
    x = np.concatenate([members, others])
    if not (len(members) and len(others) and np.isfinite(x).all()):
        return float("nan")
    is_member = np.repeat([1, 0], [len(members), len(others)])
    return float(roc_auc_score(is_member, -x))


# ---------------------------------------------------------------- against the retrained model

def relative(now, original, retrain):
    """NTA (TIS, eq. 32) and NFS (eqs. 33 and 34) of measured dicts, ratios: 1 is Retrain, NFS 0 the trained model.

    NFS is NaN where trained and retrained model are nearer than half a point; `nta_rest` is NTA on the classes that are
    not to be forgotten.

    >>> original, retrain = {"test_acc": 90.0, "target_acc": 90.0}, {"test_acc": 80.0, "target_acc": 10.0}
    >>> relative({"test_acc": 72.0, "target_acc": 30.0}, original, retrain)
    {'nta': 0.9, 'nfs_target': 0.75}
    """
    out = {"nta": now["test_acc"] / retrain["test_acc"]}
    if "rest_acc" in now:
        out["nta_rest"] = now["rest_acc"] / retrain["rest_acc"]
    for name, metric in NFS.items():
        if metric in now:
            whole = original[metric] - retrain[metric]
            part = original[metric] - now[metric]
            out[name] = part / whole if abs(whole) >= SMALLEST else float("nan")
    return out


def headline(task):
    """The forgetting score that the tables of TIS show (6.2.3): by the attack under IID, by target accuracy elsewhere.

    The name of a key of `relative`: a random share of the data looks like the rest whatever the partition.
    """
    s = task.settings
    if s["forget"] == "share":
        return "nfs_mia"
    alike = s["partition"] == "iid" and s["forget"] != "class" and s["poison_label"] is None
    return "nfs_mia" if alike else "nfs_target"


def best(points, nfs):
    """The point of a sweep nearest to (1, 1) in (`nfs`, `nta`), as TIS chooses gamma (7.1), with its `distance`.

    That choice is an oracle: it looks at the evaluation. The first point where none has a finite distance. Bad
    without points.

    >>> best([{"nta": 1.0, "nfs": 0.5}, {"nta": 0.75, "nfs": 1.0}], "nfs")
    {'nta': 0.75, 'nfs': 1.0, 'distance': 0.25}
    """
    if not points:
        raise Bad("best: the sweep has no points; name at least one gamma")
    for p in points:
        p["distance"] = float(np.hypot(p["nta"] - 1, p[nfs] - 1))
    return min(points, key=lambda p: np.nan_to_num(p["distance"], nan=np.inf))


def at_level(points, nfs, level=0.9):
    """NTA where forgetting first reaches `level`, between two points of the sweep by interpolation; NaN if never.

    points: in order of gamma; the sweep starts at the trained model, at (0, its NTA).

    >>> at_level([{"nta": 1.0, "nfs": 0.5}, {"nta": 0.5, "nfs": 1.0}], "nfs", level=0.75)
    0.75
    """
    for a, b in pairwise(points):
        if a[nfs] < level <= b[nfs]:
            rise = b["nta"] - a["nta"]
            return a["nta"] + rise * (level - a[nfs]) / (b[nfs] - a[nfs])
    if points and points[0][nfs] >= level:
        return points[0]["nta"]
    return float("nan")
