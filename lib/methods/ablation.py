"""Why negation works, taken apart: other changes of the same layer (NoT, 6.3), and a negated layer kept frozen (6.2)."""
import inspect
import re

import torch

from ..errors import Bad, nearest
from ..fl.models import first_layer
from ..fl.rounds import Round, Then
from . import method


def nr_freeze(state, fresh, names, sign=-1):
    """NR-Freeze (NoT 13.7, Table 8): `names` are sign x state and frozen, all else is `fresh`. Returns (state, mask).

    mask: True where an entry may be trained. sign=1 with another fresh state as `state` is the control the paper
    lacks: a frozen random layer."""
    unknown = [n for n in names if n not in state or n not in fresh]
    if unknown:
        raise Bad(f"nr_freeze: the state has no tensor {unknown[0]!r}; choose from {sorted(state)}.")
    new = {n: sign * state[n] if n in names else v.clone() for n, v in fresh.items()}
    return new, {n: torch.full_like(v, n not in names, dtype=torch.bool) for n, v in fresh.items()}


def none(w):
    """No change: plain fine-tuning."""
    return w


def negate(w):
    """NoT."""
    return -w


def reinit(w, fresh):
    """A fresh initialisation."""
    return fresh


def noise(w, fresh, normal):
    """Gaussian noise, in units of the tensor's standard deviation."""
    return w + normal * w.std()


def flip_h(w):
    """Mirror every kernel left to right."""
    return w.flip(-1)


def flip_v(w):
    """Mirror every kernel top to bottom."""
    return w.flip(-2)


def rot90(w):
    """Turn every kernel by a quarter; sides must be equal."""
    return w.rot90(1, (-2, -1))


def rot180(w):
    """Turn every kernel upside down."""
    return w.flip((-2, -1))


# Functions of a tensor: f(w), f(w, fresh) or f(w, fresh, normal). fresh: the same tensor at a fresh initialisation;
# normal: standard normal numbers of its shape times `strength`. Add one in a line.
PERTURBATIONS = {f.__name__: f for f in (none, negate, reinit, noise, flip_h, flip_v, rot90, rot180)}


def perturbation(kind):
    if kind not in PERTURBATIONS:
        raise Bad(f"methods.Perturb.kind: no perturbation {kind!r}; {nearest(kind, PERTURBATIONS, 'perturbation')}")
    return PERTURBATIONS[kind]


def choose(model, layers):
    """{name: slice of its rows} of the chosen parameters of a model.

    layers: indices into `model.parameters()`, names, or names with rows as `name[0:32]` (the queries of attention are
    the first third of the rows of `in_proj_weight`); None is the first convolution's weight.
    """
    names, out = [n for n, _ in model.named_parameters()], {}
    for layer in [first_layer(model)] if layers is None else layers:
        name, start, stop = re.fullmatch(r"(.*?)(?:\[(\d*):(\d*)\])?", str(layer)).groups()
        if isinstance(layer, int) and -len(names) <= layer < len(names):
            name = names[layer]
        if name not in names:
            raise Bad(f"layers: {layer!r} is no parameter; {nearest(name, names, 'parameter')}")
        out[name] = slice(int(start) if start else None, int(stop) if stop else None)
    return out


@method("Perturb")
def perturb(task, trained, *, kind="negate", layers=None, strength=1.0):
    """Change chosen tensors, then fine-tune: the ablations of NoT's Fig. 4 (layers) and Fig. 5 (kinds of change).

    kind: a name of PERTURBATIONS; layers: see `choose`; strength: of kind `noise`, in standard deviations of the
    tensor.
    """
    change, state, fresh = perturbation(kind), dict(trained.state), task.init("perturb")
    wanted = len(inspect.signature(change).parameters)
    for name, rows in choose(task.model, layers).items():
        w = state[name][rows]
        normal = torch.randn(w.shape, generator=task.rng("perturb", name), dtype=torch.float64).to(w) * strength
        new = state[name].clone()
        try:
            new[rows] = change(*(w, fresh[name][rows], normal)[:wanted])
        except (RuntimeError, IndexError) as error:
            raise Bad(f"methods.Perturb: {kind} cannot change {name} of shape {tuple(w.shape)} ({error})") from None
        state[name] = new
    yield Round(state)


# What else makes a result of Perturb: part of its key in the store.
perturb.uses = lambda hp: [perturbation(hp.get("kind", "negate"))]


@method("NR-Freeze")
def nr_freeze_(task, trained, *, layers=None, sign=-1.0, source="trained"):
    """NR-Freeze (NoT, 6.2 and 13.7): negate a layer, freeze it, draw all others afresh and train them on retained data.

    layers: see `choose`, whole tensors; sign: what the frozen ones are multiplied by; source: `trained`, or `random`
    for the control the paper lacks, a layer that has never been trained. All else starts as Retrain does.
    """
    if source not in ("trained", "random"):
        raise Bad(f"methods.NR-Freeze.source: {source!r} must be trained or random")
    frozen = trained.state if source == "trained" else task.init("frozen")
    state, mask = nr_freeze(frozen, task.init("retrain"), list(choose(task.model, layers)), sign)
    yield Round(state, mask=mask, then=Then(phase="retrain"))
