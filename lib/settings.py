"""Strict settings: every key of every profile, its type, range, default and meaning, in one table.

A setting is a flat dict. `load` reads a profile, `check` judges the settings of a notebook's parameters cell by the
same rules, `complete` fills in the defaults. Nothing here imports torch: a mistake shows before anything starts.
"""
import ast
import inspect
import re
import sys
from collections import namedtuple
from functools import cache
from pathlib import Path

from .errors import Bad, nearest
from .files import ROOT
from .words import MEASURES

Key = namedtuple("Key", "kind default allowed meaning")     # kind?: may be null; allowed: (choices) or [low, high]
INF = float("inf")
DATASETS = ("digits", "digits_clean", "mnist", "fashionmnist", "cifar10", "cifar100", "caltech101")

KEYS = {name: Key(*row) for name, row in {
    # data
    "dataset": ("dataset", "digits", DATASETS, "a named data set, or the path of an .npz or a folder of class folders"),
    "size": ("int?", None, [4, 1024], "resize images to this side (null: as they are)"),
    "input_size": ("int?", None, [4, 1024], "side of the random crop; evaluation takes the centre (null: size)"),
    "channels": ("int?", None, [1, 3], "3 repeats grey images (null: as they are)"),
    "normalise": ("str?", None, ("half", "imagenet", "cifar10", "cifar100", "fashionmnist"),
                  "mean and deviation of the pixels (null: the data set's own)"),
    "test_share": ("float", 0.2, [0.01, 0.9], "share kept for testing where a data set has no split of its own"),
    "n_train": ("int?", None, [1, INF], "training images, drawn at random (null: all)"),
    "n_test": ("int?", None, [1, INF], "test images (null: all)"),
    "noise": ("float?", None, [0, 10], "standard deviation of the fixed pixel noise of the digits (null: 1)"),
    # model
    "model": ("str", "small_cnn", ("small_cnn", "cnn", "tis_cnn", "resnet18", "resnet18_3x3", "vit_b16", "small_vit"),
              "the network"),
    "width": ("int?", None, [1, 4096], "channels of the first convolution (null: 64 in a ResNet, else 32)"),
    "norm": ("str", "group", ("group", "none"), "normalisation of the small_cnn"),
    "activation": ("str", "relu", ("relu", "tanh", "gelu"), "activation of the small_cnn"),
    "patch": ("int", 4, [1, 64], "side of a patch (small_vit)"),
    "dim": ("int", 64, [1, 4096], "width of a token (small_vit)"),
    "depth": ("int", 4, [1, 64], "blocks (small_vit)"),
    "heads": ("int", 4, [1, 64], "attention heads (small_vit)"),
    # clients
    "clients": ("int", 10, [1, 10000], "number of clients"),
    "partition": ("str", "iid", ("iid", "dirichlet", "preferential", "tis_dirichlet"), "how images go to clients"),
    "beta": ("float", 0.1, [1e-3, 1e6], "concentration of the two Dirichlet partitions"),
    "min_size": ("int", 10, [0, INF], "smallest client of the dirichlet partition"),
    "val_share": ("float", 0.2, [0, 0.9], "share of each client's images kept for validation"),
    # what is forgotten
    "forget": ("str", "clients", ("clients", "class", "share"), "whole clients, one class, or a share of each client"),
    "targets": ("ints", [0], [0, INF], "the clients that leave, or that are attacked"),
    "forget_class": ("int?", None, [0, INF], "the class, for forget: class"),
    "forget_share": ("float?", None, [0, 1], "the share, for forget: share"),
    "joins": ("rounds", {}, [1, INF], "client: first round it takes part in"),
    "poison_share": ("float", 1.0, [0, 1], "share of the targets' images of other labels that get the trigger"),
    "poison_label": ("int?", None, [0, INF], "label of triggered images (null: no backdoor)"),
    # local training
    "lr": ("float", 0.01, [0, 100], "learning rate"),
    "momentum": ("float", 0.9, [0, 0.9999], "momentum"),
    "weight_decay": ("float", 0.0, [0, 1], "weight decay"),
    "batch_size": ("int", 64, [1, INF], "images a step"),
    "local_epochs": ("int", 1, [1, INF], "epochs of a client in a round"),
    "optimizer": ("str", "sgd", ("sgd", "adam"), "local optimiser"),
    "clip": ("float?", None, [0, INF], "largest gradient norm (null: no clipping)"),
    "flip": ("bool", False, None, "random horizontal flips"),
    "crop": ("int", 0, [0, 64], "pixels of padding before a random crop of the same side (0: none)"),
    "keep_optimizer": ("bool", False, None, "keep the optimiser's state from round to round"),
    "schedule": ("schedule?", None, None, "[cosine, first lr, last lr, rounds] (null: lr throughout)"),
    # the run
    "rounds": ("int", 20, [0, INF], "rounds of training"),
    "unlearn_rounds": ("int", 20, [0, INF], "rounds of every method after training, and of Retrain"),
    "every": ("int", 5, [1, INF], "evaluate every so many rounds"),
    "history": ("str", "none", ("none", "last", "targets", "all"), "client updates kept during training"),
    "history_limit_gb": ("float", 20.0, [0, INF], "a history that would take more on disk is refused"),
    "history_dtype": ("str", "float32", ("float32", "float16"), "their precision on disk"),
    "training": ("str", "fedavg", ("fedavg", "union"), "federated averaging, or SGD over all clients' data at once"),
    "dtype": ("str", "float32", ("float32", "float64"), "precision of the arithmetic"),
    "device": ("str", "auto", ("auto", "cpu", "cuda"), "where to compute"),
    "threads": ("int", 1, [1, 1024], "CPU threads of a job"),
    "cuda_graphs": ("bool", True, None, "capture the training step as a CUDA graph (GPU only)"),
    "mia_draws": ("int", 10, [1, 1000], "test subsamples averaged in the membership attack"),
    "methods": ("methods", {}, None, "method: {its arguments}"),
    "metrics": ("names", [], None, "metrics of one's own that are measured too, see @lib.metric"),
    # keys of single notebooks
    "gammas": ("floats", [30], [0, 100], "shares of the information to reset, in percent (07, 08, 09)"),
    "reset": ("str", "zero", ("zero", "init"), "reset entries to zero, or to their initial values (07, 08, 09)"),
    "curvature": ("str", "ggn", ("ggn", "ggn_mc", "hessian"), "exact or sampled Gauss-Newton, or Hessian diagonal"),
    "random_draws": ("int", 1, [1, 1000], "draws of Random Reset that are averaged (07, 08, 09)"),
    "trim_epochs": ("int", 1, [0, INF], "epochs of targeted retraining after a reset (08)"),
    "mia": ("str", "logistic", ("logistic", "tis_nn", "tis_logistic"), "the membership attack of the headline"),
    "ablations": ("methods", {}, None, "like methods, each for ablation_rounds only (04)"),
    "ablation_rounds": ("int", 10, [0, INF], "rounds after each of the ablations (04)"),
    "traced": ("names", [], None, "methods or labels whose gradients and distances are followed (04, 05)"),
    "trace_rounds": ("int", 10, [0, INF], "rounds for which they are followed (04, 05)"),
    "studies": ("names", [], None, "measurements of the theory that are made (05)"),
    "cka_batch": ("int", 256, [4, INF], "images of a CKA batch (05)"),
    "spectral_batch": ("int", 64, [1, INF], "images of a gradient sample (05)"),
    "spectral_samples": ("int", 128, [2, INF], "gradient samples (05)"),
    "spectral_entries": ("int", 2000, [2, INF], "parameters of an index set (05)"),
    "spectral_sets": ("int", 100, [1, INF], "index sets (05)"),
    "spectral_layers": ("str", "all", ("all", "first_block"), "layers the index sets are drawn from (05)"),
}.items()}
DEFAULTS = {name: key.default for name, key in KEYS.items()}


def complete(settings):
    """The flat settings with every default filled in."""
    return {**DEFAULTS, **settings}


def _is(kind, value):
    """Whether a value has one of the plain kinds; a bool is no number, a whole number is a float."""
    if kind in ("int", "float"):
        return isinstance(value, int if kind == "int" else (int, float)) and not isinstance(value, bool)
    if kind == "schedule":
        return _list("schedule", value) and len(value) == 4 and value[0] == "cosine" and all(
            _is("float", v) for v in value[1:])
    return isinstance(value, {"str": str, "bool": bool, "dataset": str}[kind])


def _list(_, value):
    return isinstance(value, (list, tuple))


WORDS = {"int": "a whole number", "float": "a number", "str": "a word", "bool": "true or false",
         "ints": "a list of whole numbers", "floats": "a list of numbers", "names": "a list of words",
         "rounds": "a map client: round", "named": "a map name: list", "methods": "a map method: {arguments}",
         "schedule": "[cosine, first lr, last lr, rounds]", "dataset": "a name or a path"}
ELEMENTS = {"ints": "int", "floats": "float", "names": "str"}


def _value(where, name, value):
    """Judge one value by its row of KEYS."""
    key = KEYS[name]
    kind, optional = key.kind.rstrip("?"), key.kind.endswith("?")
    if optional and value is None:
        return
    if kind in ELEMENTS:
        good = _list(kind, value) and all(_is(ELEMENTS[kind], v) for v in value)
    elif kind == "rounds":
        good = isinstance(value, dict) and all(_is("int", v) for kv in value.items() for v in kv)
    elif kind == "named":
        good = isinstance(value, dict) and all(_list(kind, v) for v in value.values())
    elif kind == "methods":
        good = isinstance(value, dict) and all(isinstance(v, dict) for v in value.values())
    else:
        good = _is(kind, value)
    if not good:
        raise Bad(f"{where}.{name}: {value!r} must be {WORDS[kind]}{' or null' if optional else ''} ({key.meaning})")
    single = value.values() if kind == "rounds" else value if kind in ELEMENTS else [value]
    for v in single if key.allowed else ():
        if isinstance(key.allowed, list):
            low, high = key.allowed
            if not low <= v <= high:
                raise Bad(f"{where}.{name}: {v!r} is outside {low} to {'any' if high == INF else high} ({key.meaning})")
        elif v not in key.allowed and not (kind == "dataset" and _path(where, v)):
            raise Bad(f"{where}.{name}: no {name} {v!r}; {nearest(v, key.allowed, 'name')}")


def _path(where, value):
    """Whether the data set is given as a path; a path that is not there is an error."""
    if not (value.endswith(".npz") or "/" in value):
        return False
    path = Path(value).expanduser()
    if not (path if path.is_absolute() else ROOT / path).exists():
        raise Bad(f"{where}.dataset: there is no file or folder {value}")
    return True


# ---------------------------------------------------------------- methods

@cache
def _written(folder):
    """{method: {argument: default}} as written in lib/methods, read without importing it; None without the folder."""
    if not folder.is_dir():
        return None
    table = {}
    for file in sorted(folder.glob("*.py")):
        for f in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(f, ast.FunctionDef):
                continue
            for d in f.decorator_list:
                call = d.func if isinstance(d, ast.Call) else d
                if getattr(call, "id", getattr(call, "attr", "")) == "method" and isinstance(d, ast.Call) and d.args:
                    table[ast.literal_eval(d.args[0])] = {
                        a.arg: _literal(v) for a, v in zip(f.args.kwonlyargs, f.args.kw_defaults)}
    return table


def _literal(node):
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None


def methods():
    """{method: {argument: default}}: those of lib/methods and those a running notebook has added; None if unknown."""
    table = _written(Path(__file__).parent / "methods")
    running = getattr(sys.modules.get("lib.methods"), "METHODS", {})
    for name, f in running.items():
        if name not in (table or {}):
            args = [p for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY]
            table = {**(table or {}), name: {p.name: None if p.default is p.empty else p.default for p in args}}
    return table


def _methods(where, chosen, known):
    for name, arguments in chosen.items():
        base = str(name).split("/")[0]                  # "NoT/conv2" is NoT under another label
        if base not in known:
            raise Bad(f"{where}: no method {base!r}; {nearest(base, known, 'method')}")
        for arg, value in arguments.items():
            if arg not in known[base]:
                raise Bad(f"{where}.{name}: no argument {arg!r}; {nearest(arg, known[base], 'argument')}")
            default = known[base][arg]
            kind = next((k for k in ("bool", "int", "float", "str") if default is not None and _is(k, default)), None)
            if not (value is None or kind is None or _is(kind, value)):
                raise Bad(f"{where}.{name}.{arg}: {value!r} must be {WORDS[kind]}")


# ---------------------------------------------------------------- settings

RULES = (     # (does not hold, what to say), of completed settings
    (lambda s: s["forget"] == "class" and s["forget_class"] is None, "forget: class needs forget_class"),
    (lambda s: s["forget"] == "share" and s["forget_share"] is None, "forget: share needs forget_share"),
    (lambda s: s["noise"] and s["dataset"] != "digits", "noise is for the data set digits only; remove it"),
    (lambda s: max(s["targets"], default=0) >= s["clients"], "targets must be below the number of clients"),
    (lambda s: max(s["joins"], default=0) >= s["clients"], "joins names a client that does not exist"),
    (lambda s: s["forget"] == "clients" and len(set(s["targets"])) >= s["clients"], "targets leave no client behind"),
    (lambda s: s["dim"] % s["heads"], "dim must be a multiple of heads"),
    (lambda s: s["size"] and s["input_size"] and s["input_size"] > s["size"], "input_size must not exceed size"),
)


def check(settings, source="settings"):
    """Judge `{setting: {key: value}}`; returns it unchanged. Raises Bad naming source, setting, key and the nearest."""
    if not isinstance(settings, dict):
        raise Bad(f"{source}: must be a map setting: {{keys}}, not {settings!r}")
    known = methods()
    for name, flat in settings.items():
        where = f"{source}: {name}"
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise Bad(f"{where}: a setting's name is made of letters, digits and _")
        if not isinstance(flat, dict):
            raise Bad(f"{where}: must be a map of keys, not {flat!r}")
        for key in flat:
            if key not in KEYS:
                raise Bad(f"{where}.{key}: unknown key; {nearest(key, KEYS, 'key')}")
            _value(where, key, flat[key])
        for wrong, words in RULES:
            if wrong(complete(flat)):
                raise Bad(f"{where}: {words}")
        for metric in flat.get("metrics", []):
            MEASURES.find(metric, f"{where}.metrics")
        if known is not None:
            for key in ("methods", "ablations"):
                _methods(f"{where}.{key}", flat.get(key, {}), known)
    return settings
