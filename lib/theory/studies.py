"""The theory measured on the nets at hand: one study a question, its rows kept in the store (NoT 5, 6.2, 12, 13)."""
from functools import partial

import numpy as np
import torch
from torch import nn

from ..errors import Bad, nearest
from ..fl.models import first_layer
from ..runs.loop import code_of, described, kept, one_by_one
from ..runs.run import run, train
from .along import some, trace
from .negation import compare_perturbations, jacobian_norms, tv_joint, tv_units
from .similarity import activations, cka_profile
from .spectrum import alpha_at, content, el_karoui, gradient_matrix, index_sets, sample_eigenvalues
from .time import flow_steps, unlearning_time

STUDIES = {}
ALPHAS = np.linspace(0, 1, 51)


def study(f):
    """Register f(task, store) -> rows; a row has method, variant, metric, value."""
    STUDIES[f.__name__] = f
    return f


def study_all(task_list, store):
    """The rows of the studies that each task's settings name, from the store if they are there."""
    todo = []
    for task in task_list:
        for name in task.settings["studies"]:
            if name not in STUDIES:
                raise Bad(f"{task.name}.studies: no study {name!r}; {nearest(name, STUDIES, 'study')}")
            todo.append((f"{task.name}, seed {task.seed}, {name}", partial(_studied, task, store, name)))
    return [row for rows in one_by_one(todo, "studies") for row in rows]


def _studied(task, store, name, bar):
    """The rows of one study."""
    s, f = task.settings, STUDIES[name]

    def key():
        own = {k: v for k, v in s.items() if k.startswith(("cka_", "spectral_", "trace_", "ablation"))}
        return {"what": "study", "study": name, "task": task.fingerprint("full", "retain", "forget", "val"),
                "rounds": [s["rounds"], s["schedule"], s["unlearn_rounds"], s["every"]], "own": own,
                "code": code_of(task, f, methods=["NoT", "FT", "Retrain"])}
    entry = kept(store, "studies", key, lambda slot: ({"rows": list(f(task, store))}, None), task, f"study {name}")
    return [described(task) | {"variant": {}} | row for row in entry.record["rows"]]


# ---------------------------------------------------------------- the states that the paper compares

def finished(task, store, name):
    """The run of a method with its defaults; where it is among the ablations, for their rounds."""
    count = task.settings["ablation_rounds"] if name in task.settings["ablations"] else None
    return run(task, store, name, count=count)


def layers_of(model):
    """{module: short name} of the places where representations are read, in the order of the net."""
    return chain_layers(model) if isinstance(model, nn.Sequential) else block_layers(model)


def chain_layers(model):
    """`layers_of` a plain chain: convolutions, what follows them, and the head."""
    out = {}
    convolutions = 0
    for name, module in model.named_modules():
        kind = type(module).__name__
        if kind == "Conv2d":
            convolutions += 1
            out[name] = f"conv{convolutions}"
        elif kind == "Linear":
            out[name] = "head"
        elif kind in ("ReLU", "Tanh", "GELU"):
            out[name] = f"{kind.lower()}{convolutions}"
    return out


def block_layers(model):
    """`layers_of` a ResNet or a ViT: the first layer, the blocks behind it, and the head."""
    out = {}
    if hasattr(model, "conv_proj"):
        out["conv_proj"] = "patches"
    if hasattr(model, "conv1"):
        out["conv1"] = "conv1"
    for name, module in model.named_modules():
        if type(module).__name__ in ("EncoderBlock", "BasicBlock"):
            out[name] = f"block {len(out)}"
    linear = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return out | {linear[-1]: "head"}


def first_names(model):
    """Names of the first convolution: its module, its weight, and its bias if it has one."""
    names = [n for n, _ in model.named_parameters()]
    weight = names[first_layer(model)]
    module = weight.rpartition(".")[0]
    return module, [n for n in names if n in (weight, f"{module}.bias")]


def both_signs(task, state):
    """The trained first layer, as it is and negated, below the same fresh layers (NR of NoT 6.2)."""
    fresh = task.init("above")
    _, names = first_names(task.model)
    return [fresh | {name: sign * state[name] for name in names} for sign in (1, -1)]


@study
def similarity(task, store):
    """CKA of each layer with the same layer of the trained model, before and after recovery (NoT Fig. 3 and 7)."""
    state = train(task, store).state
    entry = {n: finished(task, store, n)["entry"] for n in ("NoT", "FT", "Retrain")}
    seen = {(n, w): entry[n].tensors(t) for n in entry for w, t in (("before", "start"), ("after", "final"))}
    seen["Retrain", "fresh"] = task.init("again")
    x, layers = task.inputs(task.x_test[:1000]), layers_of(task.model)
    model, order = task.load(state), list(layers)

    def rows(a, b, method, **words):
        found = cka_profile((model, a), (model, b), x, order, task.settings["cka_batch"])
        return [{"method": method, "metric": "cka", "value": v,
                 "variant": {"layer": layers[n], "place": order.index(n), **words}} for n, v in found.items()]

    for (name, when), s in seen.items():
        yield from rows(s, state, name, to="Original", when=when)
    for name in ("NoT", "FT"):
        yield from rows(seen[name, "after"], seen["Retrain", "after"], name, to="Retrain", when="after")
    plus, minus = both_signs(task, state)
    yield from rows(plus, minus, "NR", to="NR", when="before")
    yield from rows(plus, seen["Retrain", "before"], "NR", to="fresh", when="before")


@study
def bound(task, store):
    """Least flow time to unlearn, eq. 82, with the term A that the paper neglects (NoT 13.1, Table 3)."""
    count = task.settings["unlearn_rounds"]
    best = run(task, store, "Retrain", count=2 * count)["curve"][-1]["retain_loss"]
    end = run(task, store, "Retrain")["curve"][-1]
    goal, recipe = abs(end["retain_loss"] - end["forget_loss"]), task.recipe
    rounds = task.settings["trace_rounds"]
    per_round = max(len(j.indices) for j in task.jobs("retain")) / recipe.batch_size * recipe.local_epochs
    for name in ("FT", "NoT"):
        curve = trace(task, store, name, measures=("gap", "noise"), every=max(1, rounds // 5),
                              rounds=rounds)["curve"]
        first, L = curve[0], max(p["gap_gradient_norm"] for p in curve)
        args = goal, first["loss_gap"], L, first["retain_loss"], best
        time = unlearning_time(*args)
        flow = per_round * recipe.lr / (1 - recipe.momentum)                    # flow time of a round
        A = flow * np.trapezoid([p["noise_rate"] for p in curve], [p["round"] for p in curve])
        values = {"t_unlearn": time, "t_steps": flow_steps(time, recipe.lr, recipe.momentum), "noise_A": A,
                  "room": abs(first["retain_loss"] - best), "gap_gradient_norm": L, "loss_gap": first["loss_gap"],
                  "used_ratio": time / (flow * rounds)}
        yield from ({"method": name, "metric": k, "value": v} for k, v in values.items())


@study
def spectra(task, store):
    """Spectral content of the gradient noise right after negation and at two fresh starts (NoT 13.8, Fig. 8)."""
    s = task.settings
    x, y = some(task, "retain", 10**6)
    batch = min(s["spectral_batch"], len(x))
    layers = first_block(task) if s["spectral_layers"] == "first_block" else None
    sets = index_sets(task.model, s["spectral_entries"], s["spectral_sets"], task.rng("sets"), layers)
    starts = [("NoT", {}, finished(task, store, "NoT")["entry"].tensors("start")),
              ("Retrain", {}, task.init("retain")),
              ("Retrain", {"init": "fresh"}, task.init("again"))]
    for method, variant, state in starts:
        matrices = gradient_matrix(task.load(state), x, y, batch, s["spectral_samples"], sets, task.rng("spectra"))
        for kind, spectra_found in estimated(matrices).items():
            yield from content_rows(method, {"spectrum": kind} | variant, spectra_found)


def first_block(task):
    """The first block of a ResNet or ViT, in a list; None where the net has no blocks."""
    blocks = [name for name in layers_of(task.model) if "." in name]
    return blocks[:1] or None


def estimated(matrices):
    """{kind: [(eigenvalues, weights)]} of gradient matrices, as sampled and corrected; those without variation left out.

    Nothing comes through the head of a fresh ViT, which is zero."""
    found = {"raw": [], "corrected": []}
    for gradients in matrices:
        values = sample_eigenvalues(gradients)
        if values.any():
            samples, size = gradients.shape
            found["raw"].append((values, np.ones(len(values))))
            found["corrected"].append(el_karoui(values, samples - 1, size))
    return found


def content_rows(method, variant, estimates):
    """Rows of the mean spectral content, and of the fraction of eigenvalues that holds 95 and 99 percent of the trace."""
    if not estimates:
        return
    psi = np.mean([content(*one, ALPHAS) for one in estimates], axis=0)
    for alpha, value in zip(ALPHAS, psi, strict=True):
        yield {"method": method, "variant": variant | {"at": round(float(alpha), 2)}, "metric": "psi", "value": value}
    for beta in (0.95, 0.99):
        mean = np.mean([alpha_at(*one, beta) for one in estimates])
        yield {"method": method, "variant": variant | {"beta": beta}, "metric": "alpha", "value": float(mean)}


@study
def perturbed_activations(task, store):
    """Theorem 2 on the trained first layer: how far norm-matched changes move what leaves the ReLU, at most 1."""
    if task.settings["activation"] != "relu" or not isinstance(task.model, nn.Sequential):
        return
    state = train(task, store).state
    x = task.inputs(task.x_test[:1000])
    layer, _ = first_names(task.model)
    before_relu = "1" if isinstance(task.model[1], nn.GroupNorm) else layer
    found = compare_perturbations(task.load(state), layer, x, task.rng("theorem 2"), before_relu, state)
    most = 2 * found.pop("norm")
    for name, pair in found.items():
        for metric, value in pair.items():
            yield {"method": "NoT", "variant": {"change": name}, "metric": f"{metric}_ratio", "value": value / most}


@study
def variation(task, store):
    """Theorem 3: TV between Y and -Y of the first layer, per unit and joint, trained and fresh at several widths."""
    if not isinstance(task.model, nn.Sequential):
        return
    state = train(task, store).state
    x = task.inputs(task.x_test[:1000])
    module, _ = first_names(task.model)
    layer = task.model.get_submodule(module)
    outputs = {("trained", layer.out_channels): activations(task.load(state), x, [module])[module]}
    for width in (4, 16, 64):
        outputs["fresh", width] = fresh_outputs(task, layer, width, x)
    for (kind, width), y in outputs.items():
        rng = np.random.default_rng(task.rng("tv", kind, width).initial_seed() % 2**63)
        joint = [tv_joint(y, rng, classifier)["tv"] for classifier in ("mlp", "logistic")]
        unit = float(np.mean(tv_units(y, rng)))
        for how, value in (("unit", unit), ("joint", max(joint))):
            yield {"method": "NoT", "variant": {"layer": kind, "width": width, "kind": how}, "metric": "tv",
                   "value": value}


@torch.no_grad()
def fresh_outputs(task, layer, width, x):
    """What a fresh convolution like `layer` but with `width` channels gives for x, [m, p]."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.rng("width", width).initial_seed() % 2**63)
        fresh = nn.Conv2d(layer.in_channels, width, layer.kernel_size, layer.stride, layer.padding,
                          bias=False)     # a bias alone would tell Y from -Y
    return fresh.to(x)(x).flatten(1)


@study
def jacobians(task, store):
    """Theorem 3, C2: norm of d output / d tensor after negating weight and bias, over that before; quantiles."""
    state = train(task, store).state
    x = task.inputs(task.x_test[:64])
    model = task.load(state)
    _, names = first_names(task.model)
    before = jacobian_norms(model, x)
    after = jacobian_norms(model, x, {name: -state[name] for name in names})
    for place, n in enumerate(before):
        ratio = after[n] / before[n].clamp(min=1e-30)
        for q in (0.1, 0.5, 0.9):
            value = float(ratio.quantile(q))
            yield {"method": "NoT", "variant": {"tensor": n, "place": place, "quantile": q},
                   "metric": "jacobian_ratio", "value": value}
