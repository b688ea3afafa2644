"""What happens along recovery: gradients, distances and the loss gap at each round, kept in the store like a run."""
import math
from functools import partial

import torch

from ..errors import Bad, nearest
from ..fl.gradients import loss_gradient
from ..fl.models import first_layer
from ..methods import unlearn
from ..methods.curvature import diagonal
from ..metrics.evaluate import losses, predict
from ..runs.loop import code_of, described, follow, kept, one_by_one
from ..runs.progress import progress
from ..runs.run import go_on, label_of, method_key, train, variant
from .spectrum import gradient_matrix
from .time import loss_gap_gradient_norm, noise_term

SAMPLES = 2000      # images of a gradient: enough for its norm, and a bound on memory


def some(task, which, limit=SAMPLES):
    """`(inputs, labels)` of the retain or forget data, or of a fixed random part of it."""
    index = task.indices(which)
    if len(index) > limit:
        order = torch.randperm(len(index), generator=task.rng("some", which))
        index = index[order[:limit]]
    return task.inputs(task.x[index], marked=task.marks(index)), task.y[index]


# Each is f(task, trained, state) -> {name: number}. Names end in what gives them a unit: _norm, _loss, _gap.

def gradient(task, trained, state):
    """Norm of the retain loss's gradient: of all parameters, and of each tensor as `<name>:gradient_norm`."""
    grads = loss_gradient(task.load(state), *some(task, "retain"))
    norms = {f"{name}:gradient_norm": float(g.norm()) for name, g in grads.items()}
    whole = math.sqrt(sum(v * v for v in norms.values()))
    return {"gradient_norm": whole, **norms}


def distance(task, trained, state):
    """Distance from the trained model: of all parameters, and of those behind the first layer (NoT 4.2, C1)."""
    names = [n for n, _ in task.model.named_parameters()]
    first, _, _ = names[first_layer(task.model)].rpartition(".")
    moved = {n: float((state[n] - trained.state[n]).double().square().sum()) for n in names}
    deeper = sum(v for n, v in moved.items() if not n.startswith(f"{first}."))
    return {"distance_norm": math.sqrt(sum(moved.values())), "deeper_distance_norm": math.sqrt(deeper)}


def gap(task, trained, state):
    """Losses, the loss gap and the norm of its gradient, whose largest value is L of NoT eq. 85."""
    retain = mean_loss(task, state, "retain")
    forget = mean_loss(task, state, "forget")
    norm = loss_gap_gradient_norm(task.load(state), *some(task, "retain"), *some(task, "forget"))
    return {"retain_loss": retain, "forget_loss": forget, "gap_gradient_norm": norm, "loss_gap": abs(retain - forget)}


def mean_loss(task, state, which):
    """Mean cross-entropy over the retain or forget data."""
    indices = task.indices(which)
    return float(losses(predict(task, state, indices), task.y[indices]).mean())


def noise(task, trained, state, batches=24):
    """Rate of the noise term A that NoT neglects (eq. 87), from minibatch gradients and the Gauss-Newton diagonal.

    A step of all clients at once is one of a batch as large as theirs together."""
    x, y = some(task, "retain", 1000)
    recipe = task.recipe
    model = task.load(state)
    size = min(recipe.batch_size * len(task.jobs("retain")), len(x))
    everything = [torch.arange(task.parameters)]
    G = next(gradient_matrix(model, x, y, size, batches, everything, task.rng("noise")))
    h = diagonal(model, x, y, kind="ggn_mc", rng=task.rng("noise", "labels"))
    flat = torch.cat([h[n].flatten() for n, _ in model.named_parameters()]).cpu().numpy()
    rate = recipe.lr / (1 - recipe.momentum)
    return {"noise_rate": noise_term(G, flat, rate)}


MEASURES = {f.__name__: f for f in (gradient, distance, gap, noise)}


def measured(task, trained, measures, state):
    """All the measures of a state, as one flat dict."""
    out = {}
    for m in measures:
        out |= MEASURES[m](task, trained, state)
    return out


def trace(task, store, name, hp=None, measures=("gradient", "distance"), rounds=None, every=1, trained=None, bar=None):
    """Measures (names of MEASURES) of a method's states, round 0 first: a record like that of `run`, from the store
    if it is there. `rounds`: default the setting's `trace_rounds`."""
    hp, rounds = dict(hp or {}), task.settings["trace_rounds"] if rounds is None else rounds
    for m in measures:
        if m not in MEASURES:
            raise Bad(f"trace: no measure {m!r}; {nearest(m, MEASURES, 'measure')}")
    bar = bar or progress(rounds, f"{task.name}, seed {task.seed}: trace of {name}")

    def key():
        return {"what": "trace", "rounds": rounds, "every": every, "measures": sorted(measures),
                "code": code_of(task, *(MEASURES[m] for m in measures)), **method_key(task, name, hp, trained)}

    def make(slot):
        start = trained or train(task, store)
        curve, _, lost = follow(task, slot, lambda: unlearn(task, start, name, **hp),
                          partial(go_on, task, start, name, hp), count=rounds, every=every, bar=bar,
                          measure=partial(measured, task, start, measures))
        return {"curve": curve, "diverged": lost}, None
    entry = kept(store, "traces", key, make, task, f"trace of {name}")
    return described(task) | {"method": name, "variant": variant(name, hp)} | entry.record


def trace_all(task_list, store, **options):
    """`trace` of every method or ablation that a task's settings name under `traced`, as records with `label`."""
    def one(task, label, name, hp, bar):
        return trace(task, store, name, hp, bar=bar, **options) | {"label": label}
    todo = []
    for task in task_list:
        known = {label_of(n): (n.split("/")[0], hp) for k in ("methods", "ablations")
                 for n, hp in task.settings[k].items()}
        for label in task.settings["traced"]:
            if label not in known:
                raise Bad(f"{task.name}.traced: no method or label {label!r}; {nearest(label, known, 'label')}")
            todo.append((f"{task.name}, seed {task.seed}, {label}", partial(one, task, label, *known[label])))
    return one_by_one(todo, "traces")
