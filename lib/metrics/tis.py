"""What the TIS paper measures: target accuracy, its membership attacks, NTA and NFS, and the best point of a sweep."""
import numpy as np
import torch

from ..errors import Bad
from .evaluate import accuracy, backdoor, logistic, losses, measured, mia, predict

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
    """`(metrics, losses of the target's training images, losses of the test images)`, accuracies in percent.

    `target_acc`: on the test images of `target_classes`, where there are any, else on the target's training images
    (TIS, 6.2.3); `rest_acc`: on the test images of the other classes; `asr`, `backdoor_acc`: see `backdoor`.
    """
    labels, chosen = task.y_test, target_classes(task)
    logits = predict(task, state, images=task.x_test)
    out, indices = {"test_acc": accuracy(logits, labels)}, task.indices("forget")
    own = predict(task, state, indices)
    out["forget_acc"] = accuracy(own, task.y[indices])
    theirs = torch.isin(labels, torch.tensor(chosen, device=labels.device))
    out["target_acc"] = accuracy(logits[theirs], labels[theirs]) if chosen else out["forget_acc"]
    if chosen:
        out["rest_acc"] = accuracy(logits[~theirs], labels[~theirs])
    if task.poison_label is not None:
        out |= backdoor(task, state)
    out |= measured(task, state)
    return out, losses(own, task.y[indices]), losses(logits, labels)


def measure_all(task, states):
    """`measure` of several states, with the membership attacks: `mia_acc` is the one that `mia` names, beside it all
    of `ATTACKS` (percent) and `mia_auc`. The paper's attacks face all target images with the whole test set."""
    found = [measure(task, state) for state in states]
    members, others = (np.stack([f[i] for f in found]) for i in (1, 2))
    nn = attack_nn(members, others)
    for k, (out, inside, outside) in enumerate(found):
        out |= {"mia_tis_nn": nn[k], "mia_tis_logistic": attack_logistic(inside, outside),
                "mia": mia(inside, outside, task.rng("mia"), draws=task.settings["mia_draws"]),
                "mia_auc": auc(inside, outside)}
        out["mia_acc"] = out[ATTACKS[task.settings["mia"]]]
    return [f[0] for f in found]


# ---------------------------------------------------------------- membership attacks

def held_out(n, seed=42, share=0.2):
    """`(fit, held out)`: positions of scikit-learn's `train_test_split(random_state=42)`, not stratified."""
    order, count = np.random.RandomState(seed).permutation(n), -int(-share * n // 1)
    return order[count:], order[:count]


def attack_nn(members, others, epochs=200, lr=0.01, hidden=16, seed=42):
    """The attack of TIS Table 2, accuracy in percent on the held-out fifth, for many models at once.

    members `[k, n]`, others `[k, m]`: losses under k models. A net 1-16-1 for each, from one initialisation: ReLU,
    Adam, full batches, threshold 0.5. Constant losses give the share of the larger class. NaN where not finite.
    """
    x = torch.from_numpy(np.concatenate([members, others], 1)).float()
    y = torch.cat([torch.ones(members.shape[1]), torch.zeros(others.shape[1])])
    fit, held = (torch.from_numpy(i) for i in held_out(x.shape[1], seed))
    good, gen = x.isfinite().all(1), torch.Generator().manual_seed(seed)
    first, last = ((torch.rand(2, hidden, generator=gen) * 2 - 1) * bound for bound in (1, hidden ** -0.5))
    out = np.full(len(x), np.nan)
    some = max(1, 2**23 // (hidden * x.shape[1]))  # models at a time, for memory
    for part in good.nonzero().flatten().split(some):
        z = x[part]
        params = [v.repeat(len(z), 1, 1).requires_grad_() for v in (first[:1], first[1:], last[:1], last[1:, :1])]
        optimiser = torch.optim.Adam(params, lr)

        def logits(z, params=params):
            w, b, v, c = params
            return ((z[..., None] * w + b).relu() * v).sum(-1) + c[..., 0]

        for _ in range(epochs):
            optimiser.zero_grad()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                logits(z[:, fit]), y[fit].expand(len(z), -1), reduction="none")
            loss.mean(1).sum().backward()
            optimiser.step()
        with torch.no_grad():
            right = (logits(z[:, held]) > 0) == (y[held] > 0)
        out[part.numpy()] = 100 * right.double().mean(1).numpy()
    return out.tolist()


def attack_logistic(members, others):
    """The authors' other attack: logistic regression on the loss, scored where it was fitted; percent."""
    x, y = np.concatenate([members, others]), np.repeat([1.0, -1.0], [len(members), len(others)])
    if not np.isfinite(x).all():
        return float("nan")
    w, b = logistic(x, y, np.ones((1, len(x))))
    return 100 * float(((w[0] * x + b[0] > 0) == (y > 0)).mean())


def auc(members, others):
    """Chance that a member's loss is below a non-member's; ties count half."""
    both = np.concatenate([others, members])
    _, place, counts = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place]
    n, m = len(others), len(members)
    return float((ranks[:n].sum() - n * (n + 1) / 2) / (n * m)) if n and m else float("nan")


# ---------------------------------------------------------------- against the retrained model

def relative(now, original, retrain):
    """NTA and NFS (TIS, 6.2), ratios: 1 is Retrain; NFS is 0 for the trained model. NaN where trained and retrained
    model are nearer than half a point; `nta_rest` is NTA on the classes that are not to be forgotten."""
    out = {"nta": now["test_acc"] / retrain["test_acc"]}
    if "rest_acc" in now:
        out["nta_rest"] = now["rest_acc"] / retrain["rest_acc"]
    for name, of in NFS.items():
        if of in now:
            whole = original[of] - retrain[of]
            out[name] = (original[of] - now[of]) / whole if abs(whole) >= SMALLEST else float("nan")
    return out


def headline(task):
    """The forgetting score that the paper's tables show: by the attack under IID, by target accuracy elsewhere."""
    s = task.settings
    iid = s["partition"] == "iid" and s["forget"] != "class" and s["poison_label"] is None
    return "nfs_mia" if iid or task.settings["forget"] == "share" else "nfs_target"


def best(points, nfs):
    """The point of a sweep nearest to (1, 1) in (`nfs`, `nta`), as the paper chooses gamma, with its `distance`. That
    choice is an oracle: it looks at the evaluation. The first point where none has a finite distance."""
    if not points:
        raise Bad("best: the sweep has no points; name at least one gamma")
    for p in points:
        p["distance"] = float(np.hypot(p["nta"] - 1, p[nfs] - 1))
    return min(points, key=lambda p: np.nan_to_num(p["distance"], nan=np.inf))


def at_level(points, nfs, level=0.9):
    """NTA where forgetting first reaches `level`, between two points of the sweep by interpolation; NaN if never.
    points: in order of gamma; the sweep starts at the trained model, at (0, its NTA)."""
    for a, b in zip(points, points[1:]):
        if a[nfs] < level <= b[nfs]:
            return a["nta"] + (b["nta"] - a["nta"]) * (level - a[nfs]) / (b[nfs] - a[nfs])
    return points[0]["nta"] if points and points[0][nfs] >= level else float("nan")
