"""Why negation works, taken apart: other changes of the same layer (NoT, 6.3), and a negated layer kept frozen (6.2)."""
import inspect
import re
from typing import Literal

import torch

from ..errors import Bad, nearest, short
from ..fl.models import first_layer
from ..fl.rounds import Round, Then
from ..values import NotNegative
from .grammar import method


def nr_freeze(state, fresh, names, sign=-1):
    """NR-Freeze (NoT, 13.7, Table 8): `names` are sign x state and frozen, all else is `fresh`.

    Returns `(state, mask)`; mask: True where an entry may be trained. sign=1 with another fresh state as `state` is
    the control the paper lacks: a frozen random layer. Bad where a state has no such tensor.

    >>> nr_freeze({"w": torch.ones(1)}, {"w": torch.zeros(1)}, ["w"])
    ({'w': tensor([-1.])}, {'w': tensor([False])})
    """
    unknown = [n for n in names if n not in state or n not in fresh]
    if unknown:
        raise Bad(f"nr_freeze: the state has no tensor {unknown[0]!r}; choose from {sorted(state)}.")
    new, mask = {}, {}
    for n, value in fresh.items():
        frozen = n in names
        new[n] = sign * state[n] if frozen else value.clone()
        mask[n] = torch.full_like(value, not frozen, dtype=torch.bool)
    return new, mask


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
    """The function of that name; Bad names the nearest."""
    if kind not in PERTURBATIONS:
        raise Bad(f"methods.Perturb.kind: no perturbation {kind!r}; {nearest(kind, PERTURBATIONS, 'perturbation')}")
    return PERTURBATIONS[kind]


def choose(model, layers, where="layers"):
    """`{name: slice of its rows}` of the chosen parameters of a model (the layers of NoT, Fig. 4).

    layers: indices into `model.parameters()`, names, or names with rows as `name[0:32]` (the queries of attention are
    the first third of the rows of `in_proj_weight`); None is the first convolution's weight. Bad begins with `where`
    and names the nearest.

    >>> choose(torch.nn.Linear(2, 3), [1, "weight[0:2]"])
    {'bias': slice(None, None, None), 'weight': slice(0, 2, None)}
    """
    names = [name for name, _ in model.named_parameters()]
    if layers is None:
        layers = [first_layer(model)]
    chosen = {}
    for layer in layers:
        name, rows = parse_layer(layer, names)
        if isinstance(layer, int) and name not in names:
            raise Bad(f"{where}: {layer} is no parameter; the net has {len(names)}, 0 to {len(names) - 1}")
        if name not in names:
            raise Bad(f"{where}: {layer!r} is no parameter; {nearest(name, names, 'parameter')}")
        chosen[name] = rows
    return chosen


def check_layers(name):
    """The check of a method whose argument `layers` chooses tensors of the net."""
    return lambda task, hp: choose(task.skeleton, hp["layers"], f"methods.{name}.layers")


def parse_layer(layer, names):
    """`(name, slice of rows)` of an index into `names`, a name, or a name with rows."""
    everything = slice(None, None)
    if isinstance(layer, int) and -len(names) <= layer < len(names):
        return names[layer], everything
    with_rows = re.fullmatch(r"(.*)\[(\d*):(\d*)\]", str(layer))
    if with_rows is None:
        return str(layer), everything
    name, start, stop = with_rows.groups()
    return name, slice(int(start) if start else None, int(stop) if stop else None)


def changed(kind, name, w, fresh, normal, rows):
    """The tensor w with its `rows` changed by a kind of perturbation; Bad, with its name, where it cannot be."""
    change = perturbation(kind)
    wanted = len(inspect.signature(change).parameters)
    given = w[rows], fresh[rows], normal
    new = w.clone()
    try:
        new[rows] = change(*given[:wanted])
    except (RuntimeError, IndexError) as error:
        raise Bad(f"methods.Perturb.kind: {kind} cannot change {name} of shape {tuple(w[rows].shape)} "
                  f"({short(error)}); choose other layers") from None
    return new


def check_perturb(task, hp):
    """The change is tried on tensors without memory."""
    tensors = dict(task.skeleton.named_parameters())
    for name, rows in choose(task.skeleton, hp["layers"], "methods.Perturb.layers").items():
        w = tensors[name].detach()
        if not w[rows].numel():
            raise Bad(f"methods.Perturb.layers: {name} has {len(w)} rows and none of those asked for; "
                      f"name rows from 0 to {len(w)}")
        changed(hp["kind"], name, w, w, w[rows], rows)
    perturbation(hp["kind"])


@method("Perturb", check=check_perturb)
def perturb(task, trained, *, kind: str = "negate", layers: list[int | str] | None = None,
            strength: NotNegative = 1.0):
    """Change chosen tensors, then fine-tune: the ablations of NoT's Fig. 4 (layers) and Fig. 5 (kinds of change).

    kind: a name of PERTURBATIONS; layers: see `choose`; strength: of kind `noise`, in standard deviations of the
    tensor.
    """
    state = dict(trained.state)
    fresh = task.init("perturb")
    for name, rows in choose(task.model, layers).items():
        w = state[name][rows]
        normal = torch.randn(w.shape, generator=task.rng("perturb", name), dtype=torch.float64).to(w) * strength
        state[name] = changed(kind, name, state[name], fresh[name], normal, rows)
    yield Round(state)


# What else makes a result of Perturb: part of its key in the store.
perturb.uses = lambda hp: [perturbation(hp.get("kind", "negate"))]


def check_whole(task, hp):
    """NR-Freeze freezes whole tensors."""
    for name, rows in choose(task.skeleton, hp["layers"], "methods.NR-Freeze.layers").items():
        if rows != slice(None):
            raise Bad(f"methods.NR-Freeze.layers: it freezes whole tensors; write {name} without rows")


@method("NR-Freeze", check=check_whole)
def nr_freeze_(task, trained, *, layers: list[int | str] | None = None, sign: float = -1.0,
               source: Literal["trained", "random"] = "trained"):
    """NR-Freeze (NoT, 6.2 and 13.7): negate a layer, freeze it, draw all others afresh and train them on retained data.

    layers: see `choose`, whole tensors; sign: what the frozen ones are multiplied by; source: `trained`, or `random`
    for the control the paper lacks, a layer that has never been trained. All else starts as Retrain does.
    """
    frozen = trained.state if source == "trained" else task.init("frozen")
    names = list(choose(task.model, layers))
    state, mask = nr_freeze(frozen, task.init("retrain"), names, sign)
    yield Round(state, mask=mask, then=Then(phase="retrain"))
