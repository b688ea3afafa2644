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
    out, seen = {}, {"Conv2d": 0, "Linear": 0}
    if not isinstance(model, nn.Sequential):
        blocks = [n for n, m in model.named_modules() if type(m).__name__ in ("EncoderBlock", "BasicBlock")]
        names = [n for n in ("conv_proj", "conv1") if hasattr(model, n)] + blocks
        head = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1]
        return {n: n if n in ("conv1",) else "patches" if n == "conv_proj" else f"block {i}"
                for i, n in enumerate(names)} | {head: "head"}
    for name, m in model.named_modules():
        kind = type(m).__name__
        if kind in seen:
            seen[kind] += 1
            out[name] = f"conv{seen[kind]}" if kind == "Conv2d" else "head"
        elif kind in ("ReLU", "Tanh", "GELU"):
            out[name] = f"{kind.lower()}{seen['Conv2d']}"
    return out


def first_names(model):
    """Names of the first convolution: its module, its weight, and its bias if it has one."""
    names = [n for n, _ in model.named_parameters()]
    weight = names[first_layer(model)]
    module = weight.rpartition(".")[0]
    return module, [n for n in names if n in (weight, f"{module}.bias")]


def both_signs(task, state):
    """The trained first layer, as it is and negated, below the same fresh layers (NR of NoT 6.2)."""
    fresh, (_, names) = task.init("above"), first_names(task.model)
    return [{k: sign * state[k] if k in names else v for k, v in fresh.items()} for sign in (1, -1)]


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
    s, blocks = task.settings, [n for n in layers_of(task.model) if "." in n or n == "layer1.0"]
    x, y = some(task, "retain", 10**6)
    states = {"NoT": finished(task, store, "NoT")["entry"].tensors("start"), "Retrain": task.init("retain"),
              "Retrain fresh": task.init("again")}
    sets = index_sets(task.model, s["spectral_entries"], s["spectral_sets"], task.rng("sets"),
                      blocks[:1] if s["spectral_layers"] == "first_block" and blocks else None)
    for who, state in states.items():
        grads = gradient_matrix(task.load(state), x, y, min(s["spectral_batch"], len(x)), s["spectral_samples"], sets,
                                task.rng("spectra"))
        found = {"raw": [], "corrected": []}
        for G in grads:
            values = sample_eigenvalues(G)
            if not values.any():        # nothing comes through the head of a fresh ViT, which is zero
                continue
            found["raw"].append((values, np.ones(len(values))))
            found["corrected"].append(el_karoui(values, len(G) - 1, G.shape[1]))
        name, _, other = who.partition(" ")
        for kind, estimates in found.items() if found["raw"] else ():
            base = {"spectrum": kind} | ({"init": other} if other else {})
            psi = np.mean([content(*one, ALPHAS) for one in estimates], axis=0)
            yield from ({"method": name, "variant": base | {"at": round(float(a), 2)}, "metric": "psi", "value": p}
                        for a, p in zip(ALPHAS, psi))
            for beta in (0.95, 0.99):
                mean = np.mean([alpha_at(*one, beta) for one in estimates])
                yield {"method": name, "variant": base | {"beta": beta}, "metric": "alpha", "value": float(mean)}


@study
def perturbed_activations(task, store):
    """Theorem 2 on the trained first layer: how far norm-matched changes move what leaves the ReLU, at most 1."""
    if task.settings["activation"] != "relu" or not isinstance(task.model, nn.Sequential):
        return
    state, (layer, _) = train(task, store).state, first_names(task.model)
    normed = isinstance(task.model[1], nn.GroupNorm)
    got = compare_perturbations(task.load(state), layer, task.inputs(task.x_test[:1000]), task.rng("theorem 2"),
                                       "1" if normed else layer, state)
    most = 2 * got.pop("norm")
    for name, pair in got.items():
        yield from ({"method": "NoT", "variant": {"change": name}, "metric": f"{k}_ratio", "value": v / most}
                    for k, v in pair.items())


@study
def variation(task, store):
    """Theorem 3: TV between Y and -Y of the first layer, per unit and joint, trained and fresh at several widths."""
    module, names = first_names(task.model)
    if not isinstance(task.model, nn.Sequential):
        return
    state, x = train(task, store).state, task.inputs(task.x_test[:1000])
    layer, outputs = task.model.get_submodule(module), {}
    outputs["trained", layer.out_channels] = activations(task.load(state), x, [module])[module]
    for width in (4, 16, 64):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(task.rng("width", width).initial_seed() % 2**63)
            fresh = nn.Conv2d(layer.in_channels, width, layer.kernel_size, layer.stride, layer.padding,
                              bias=False)     # a bias alone would tell Y from -Y
        with torch.no_grad():
            outputs["fresh", width] = fresh.to(x)(x).flatten(1)
    for (kind, width), y in outputs.items():
        rng = np.random.default_rng(task.rng("tv", kind, width).initial_seed() % 2**63)
        joint = {c: tv_joint(y, rng, c) for c in ("mlp", "logistic")}
        values = {"unit": float(np.mean(tv_units(y, rng))), "joint": max(j["tv"] for j in joint.values())}
        yield from ({"method": "NoT", "variant": {"layer": kind, "width": width, "kind": k}, "metric": "tv",
                     "value": v} for k, v in values.items())


@study
def jacobians(task, store):
    """Theorem 3, C2: norm of d output / d tensor after negating weight and bias, over that before; quantiles."""
    state, x = train(task, store).state, task.inputs(task.x_test[:64])
    model, (_, names) = task.load(state), first_names(task.model)
    before, after = (jacobian_norms(model, x, s) for s in (None, {n: -state[n] for n in names}))
    for place, n in enumerate(before):
        for q in (0.1, 0.5, 0.9):
            value = float((after[n] / before[n].clamp(min=1e-30)).quantile(q))
            yield {"method": "NoT", "variant": {"tensor": n, "place": place, "quantile": q},
                   "metric": "jacobian_ratio", "value": value}
