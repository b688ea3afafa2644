"""Strict settings: every key of every profile, its type, range, default and meaning, in one table.

A setting is a flat dict. `check` judges the settings of a profile or of a notebook's parameters cell, `complete` fills
in the defaults. A net, a data set or a partition may bring keys of its own: the arguments of its function that are not
in KEYS. Nothing here imports torch: a mistake shows before anything starts.
"""
import re
from typing import Annotated, Literal, NamedTuple

from . import extensions
from .errors import Bad, bare, nearest, shown
from .files import ROOT, data_path, data_root
from .registry import DATASETS, METHODS, MODELS, PARTITIONS, REQUIRED, arguments, judge
from .signatures import SIGNATURES
from .values import (
    Concentration,
    Count,
    Momentum,
    NotNegative,
    Percent,
    ProperShare,
    Range,
    Rate,
    Schedule,
    Share,
    Side,
    Small,
    Whole,
    Width,
    misfit,
    misfit_with_nearest,
)
from .words import MEASURES


class Key(NamedTuple):
    """A key of a setting: its type (see `lib.values`), its default, and what it means."""
    kind: object
    default: object
    meaning: str


Pixels = Annotated[int, Range(0, 64)]
Participation = Annotated[float, Range(0, 1, above=True)] | Count
Repeats = Annotated[int, Range(1, 1000)]
Shadows = Annotated[int, Range(4, 10000)]
AtLeastTwo = Annotated[int, Range(2)]
Bits = Annotated[int, Range(2, 16)]
Methods = Annotated[dict[str, dict], "a map method: {arguments}"]
Study = Literal["similarity", "bound", "spectra", "perturbed_activations", "variation", "jacobians"]

KEYS = {
    # data
    "dataset": Key(str, "digits", "a named data set, or the path of an .npz or a folder of class folders"),
    "size": Key(Side | None, None, "resize images to this side (null: as they are)"),
    "input_size": Key(Side | None, None, "side of the random crop; evaluation takes the centre (null: size)"),
    "channels": Key(Literal[1, 3] | None, None, "3 repeats grey images (null: as they are)"),
    "normalise": Key(Literal["half", "imagenet", "cifar10", "cifar100", "fashionmnist"] | None, None,
                     "mean and deviation of the pixels (null: the data set's own)"),
    "test_share": Key(Annotated[float, Range(0.01, 0.9)], 0.2,
                      "share kept for testing where a data set has no split of its own, or resplit"),
    "resplit": Key(bool, False, "pool a data set's own training and test images and keep test_share of all for testing"),
    "split_seed": Key(Whole | None, None,
                      "seed of all that is drawn of the data: subset, split, clients, what is forgotten (null: the run's own)"),
    "n_train": Key(Count | None, None, "training images, drawn at random (null: all)"),
    "n_test": Key(Count | None, None, "test images (null: all)"),
    "noise": Key(Annotated[float, Range(0, 10)] | None, None,
                 "standard deviation of the fixed pixel noise of the digits (null: 1)"),
    # model
    "model": Key(str, "small_cnn", "the network"),
    "width": Key(Width | None, None, "channels of the first convolution (null: 64 in a ResNet, else 32)"),
    "norm": Key(Literal["group", "none"], "group", "normalisation of the small_cnn"),
    "activation": Key(Literal["relu", "tanh", "gelu"], "relu", "activation of the small_cnn"),
    "patch": Key(Small, 4, "side of a patch (small_vit)"),
    "dim": Key(Width, 64, "width of a token (small_vit)"),
    "depth": Key(Small, 4, "blocks (small_vit)"),
    "heads": Key(Small, 4, "attention heads (small_vit)"),
    # clients
    "clients": Key(Annotated[int, Range(1, 10000)], 10, "number of clients"),
    "partition": Key(str, "iid", "how images go to clients"),
    "beta": Key(Concentration, 0.1, "concentration of the two Dirichlet partitions"),
    "min_size": Key(Whole, 10, "smallest client of the dirichlet partition"),
    "val_share": Key(Annotated[float, Range(0, 0.9)], 0.2, "share of each client's images kept for validation"),
    # what is forgotten
    "forget": Key(Literal["clients", "class", "share"], "clients",
                  "whole clients, one class, or a share of each client"),
    "targets": Key(list[Whole], [0], "the clients that leave, or that are attacked"),
    "forget_class": Key(Whole | None, None, "the class, for forget: class"),
    "forget_share": Key(ProperShare | None, None, "the share, for forget: share"),
    "joins": Key(Annotated[dict[Whole, Count], "a map client: round"], {}, "client: first round it takes part in"),
    "poison_share": Key(Share, 1.0, "share of the targets' images of other labels that get the trigger"),
    "poison_label": Key(Whole | None, None, "label of triggered images (null: no backdoor)"),
    # local training
    "lr": Key(Rate, 0.01, "learning rate"),
    "momentum": Key(Momentum, 0.9, "momentum"),
    "weight_decay": Key(Share, 0.0, "weight decay"),
    "batch_size": Key(Count, 64, "images a step"),
    "local_epochs": Key(Count, 1, "epochs of a client in a round"),
    "optimizer": Key(Literal["sgd", "adam"], "sgd", "local optimiser"),
    "clip": Key(NotNegative | None, None, "largest gradient norm (null: no clipping)"),
    "flip": Key(bool, False, "random horizontal flips"),
    "crop": Key(Pixels, 0, "pixels of padding before a random crop of the same side (0: none)"),
    "keep_optimizer": Key(bool, False, "keep the optimiser's state from round to round"),
    "schedule": Key(Schedule | None, None, "cosine from the first rate to the last in so many rounds (null: lr throughout)"),
    # the run
    "rounds": Key(Whole, 20, "rounds of training"),
    "unlearn_rounds": Key(Whole, 20, "rounds of every method after training, and of Retrain"),
    "every": Key(Count, 5, "evaluate every so many rounds"),
    "history": Key(Literal["none", "last", "targets", "all"], "none", "client updates kept during training"),
    "history_limit_gb": Key(NotNegative, 20.0, "a history that would take more on disk is refused"),
    "history_dtype": Key(Literal["float32", "float16"], "float32", "their precision on disk"),
    "training": Key(Literal["fedavg", "union"], "fedavg", "federated averaging, or SGD over all clients' data at once"),
    "participation": Key(Participation | None, None,
                         "clients drawn for each round: a share as 0.1, or a number as 100 (null: all)"),
    "dtype": Key(Literal["float32", "float64", "bfloat16"], "float32",
                 "precision of the arithmetic; bfloat16 is for training's and evaluation's products alone, all that is "
                 "kept, summed or derived (losses, averages, momentum, curvature) stays float32"),
    "matmul": Key(Literal["highest", "high"], "highest", "precision of float32 products and convolutions; high is TF32 on a GPU"),
    "device": Key(Literal["auto", "cpu", "cuda"], "auto", "where to compute"),
    "threads": Key(Annotated[int, Range(1, 1024)], 1, "CPU threads of a job"),
    "cuda_graphs": Key(bool, True, "capture the training step as a CUDA graph (GPU only)"),
    "mia_draws": Key(Repeats, 10, "test subsamples averaged in the membership attack"),
    "methods": Key(Methods, {}, "method: {its arguments}"),
    "metrics": Key(list[str], [], "metrics of one's own that are measured too, see @lib.metric"),
    # keys of single notebooks
    "gammas": Key(list[Percent], [30], "shares of the information to reset, in percent (07, 08, 09)"),
    "reset": Key(Literal["zero", "init"], "zero", "reset entries to zero, or to their initial values (07, 08, 09)"),
    "curvature": Key(Literal["ggn", "ggn_mc", "hessian"], "ggn",
                     "exact or sampled Gauss-Newton, or Hessian diagonal"),
    "random_draws": Key(Repeats, 1, "draws of Random Reset that are averaged (07, 08, 09)"),
    "trim_epochs": Key(Whole, 1, "epochs of targeted retraining after a reset (08)"),
    "mia": Key(Literal["logistic", "tis_nn", "tis_logistic"], "logistic", "the membership attack of the headline"),
    "ablations": Key(Methods, {}, "like methods, each for ablation_rounds only (03, 04)"),
    "ablation_rounds": Key(Whole, 10, "rounds after each of the ablations (03, 04)"),
    "traced": Key(list[str], [], "methods or labels whose gradients and distances are followed (04, 05)"),
    "trace_rounds": Key(Whole, 10, "rounds for which they are followed (04, 05)"),
    "studies": Key(list[Study], [], "measurements of the theory that are made (05)"),
    "shadows": Key(Shadows, 32, "models of each kind that the audit compares (12)"),
    "after_rounds": Key(Count, 40, "further rounds on the retained data, after unlearning (13)"),
    "relearn_images": Key(list[Count], [5, 25], "how many of the forgotten images are learnt again (13)"),
    "relearn_rounds": Key(Count, 10, "rounds for which they are (13)"),
    "bits": Key(list[Bits], [8, 4], "bits that the weights are rounded to (13)"),
    "leavers": Key(list[Whole], [], "clients that leave one after another (13)"),
    "in_turn": Key(list[str], [], "methods or labels that forget them, one after another (13)"),
    "request_rounds": Key(Count, 10, "rounds that they take for each (13)"),
    "cka_batch": Key(Annotated[int, Range(4)], 256, "images of a CKA batch (05)"),
    "spectral_batch": Key(Count, 64, "images of a gradient sample (05)"),
    "spectral_samples": Key(AtLeastTwo, 128, "gradient samples (05)"),
    "spectral_entries": Key(AtLeastTwo, 2000, "parameters of an index set (05)"),
    "spectral_sets": Key(Count, 100, "index sets (05)"),
    "spectral_layers": Key(Literal["all", "first_block"], "all", "layers the index sets are drawn from (05)"),
}
DEFAULTS = {name: key.default for name, key in KEYS.items()}
CHOICES = {"dataset": DATASETS, "model": MODELS, "partition": PARTITIONS}      # keys that name a registered function


# ---------------------------------------------------------------- what is registered

def known(registry):
    """`{name: {argument: Argument}}` of a registry: what `lib` itself brings, and what has been registered since."""
    extensions.honour()
    running = {name: arguments(f) for name, f in registry.items()}
    return {**SIGNATURES[registry.kind], **running}


def entries(settings):
    """`{key: {argument: Argument}}` of the net, the data set and the partition that a setting chooses.

    A data set given by its path has no arguments; `seed` is given by the run, not by a setting.
    """
    found = {}
    for key, registry in CHOICES.items():
        name = settings.get(key, DEFAULTS[key])
        found[key] = {argument: a for argument, a in known(registry).get(name, {}).items() if argument != "seed"}
    return found


def own(settings):
    """`{argument: Argument}` of the chosen entries that are no keys of KEYS: the keys of its own a setting may give."""
    found = {}
    for taken in entries(settings).values():
        found |= {name: argument for name, argument in taken.items() if name not in KEYS}
    return found


def complete(settings):
    """The flat settings with every default filled in: that of a chosen entry's argument, else that of KEYS."""
    defaults = dict(DEFAULTS)
    for taken in entries(settings).values():
        defaults |= {name: a.default for name, a in taken.items() if a.default is not REQUIRED}
    return {**defaults, **settings}


# ---------------------------------------------------------------- rules between keys

RULES = []      # (a function of completed settings that says whether they are wrong, the sentence that is said then)


def rule(sentence):
    """Register what must not be, with the sentence that is said when it is."""
    def register(wrong):
        RULES.append((wrong, sentence))
        return wrong
    return register


@rule("forget: class needs forget_class; add it, as forget_class: 0")
def class_unnamed(s):
    return s["forget"] == "class" and s["forget_class"] is None


@rule("forget: share needs forget_share; add it, as forget_share: 0.1")
def share_unnamed(s):
    return s["forget"] == "share" and s["forget_share"] is None


@rule("noise is for the data set digits only; remove it")
def noise_on_images(s):
    return s["noise"] and "noise" not in entries(s)["dataset"]


@rule("targets must be below the number of clients; name others, or raise clients")
def target_beyond_clients(s):
    return max(s["targets"], default=0) >= s["clients"]


@rule("targets names no client, so nothing is to be forgotten; name one, as [0]")
def nobody_leaves(s):
    return s["forget"] == "clients" and not s["targets"]


@rule("targets leave no client behind; name fewer, or raise clients")
def nobody_left(s):
    return s["forget"] == "clients" and len(set(s["targets"])) >= s["clients"]


@rule("joins names a client that does not exist; name clients below clients")
def late_client_beyond_clients(s):
    return max(s["joins"], default=0) >= s["clients"]


@rule("joins leaves round 1 without a client; let one take part from the start")
def nobody_begins(s):
    return len(s["joins"]) >= s["clients"] and min(s["joins"].values()) > 1


@rule("joins lets a client in after the last of the rounds; lower its round, or raise rounds")
def nobody_comes(s):
    return max(s["joins"].values(), default=1) > max(s["rounds"], 1)


@rule("poison_label plants the backdoor at whole clients; set forget: clients, or poison_label: null")
def backdoor_without_clients(s):
    return s["poison_label"] is not None and s["forget"] != "clients"


@rule("poison_share: 0 plants no trigger for poison_label; raise it, or set poison_label: null")
def backdoor_without_trigger(s):
    return s["poison_label"] is not None and s["poison_share"] == 0


@rule("keep_optimizer: only one client can keep its optimiser; set clients: 1 or training: union")
def optimisers_of_many(s):
    return s["keep_optimizer"] and s["clients"] > 1 and s["training"] == "fedavg"


@rule("history: nothing is stored in rounds: 0; raise rounds, or set history: none")
def history_of_nothing(s):
    return s["history"] != "none" and s["rounds"] == 0


@rule("gammas names no share to reset; name one, as [30]")
def nothing_reset(s):
    return not s["gammas"]


@rule("traced names no method or label among methods and ablations; name one of theirs")
def traced_unknown(s):
    labels = {name.partition("/")[2] or name for key in ("methods", "ablations") for name in s[key]}
    return not labels.issuperset(s["traced"])


@rule("ablation_rounds must be a multiple of every: there methods and ablations are compared; change one of them")
def ablations_out_of_step(s):
    both = s["methods"] and s["ablations"]
    return both and s["unlearn_rounds"] > s["ablation_rounds"] and s["ablation_rounds"] % s["every"] != 0


@rule("in_turn names what is not among methods; name one of them, with its label")
def in_turn_unknown(s):
    return not set(s["methods"]).issuperset(s["in_turn"])


@rule("leavers names a client twice, or one that does not exist; name different clients below clients")
def leavers_unknown(s):
    return len(set(s["leavers"])) < len(s["leavers"]) or max(s["leavers"], default=0) >= s["clients"]


@rule("leavers leave no client behind; name fewer, or raise clients")
def nobody_left_in_the_end(s):
    return len(set(s["leavers"])) >= s["clients"]


@rule("leavers leave with all their images; set forget: clients and training: fedavg, or leavers: []")
def leavers_of_a_class(s):
    return s["leavers"] and (s["forget"] != "clients" or s["training"] != "fedavg")


@rule("request_rounds must not exceed unlearn_rounds where clients leave in turn; lower it")
def requests_beyond_retrain(s):
    return s["leavers"] and s["request_rounds"] > s["unlearn_rounds"]


@rule("dim must be a multiple of heads; change one of them")
def heads_uneven(s):
    return s["dim"] % s["heads"] != 0


@rule("input_size must not exceed size; lower it, or raise size")
def crop_beyond_image(s):
    return s["size"] and s["input_size"] and s["input_size"] > s["size"]


# ---------------------------------------------------------------- judging

def check(settings, source="settings"):
    """Judge `{setting: {key: value}}`; returns it unchanged. Raises Bad naming source, setting, key and the nearest."""
    if not isinstance(settings, dict):
        raise Bad(f"{source}: must be a map setting: {{keys}}, not {shown(settings)}")
    for name, flat in settings.items():
        if not isinstance(name, str) or not re.fullmatch(r"\w+", name):
            raise Bad(f"{source}: {shown(name)}: a setting's name is made of letters, digits and _; rename it")
        where = f"{source}: {name}"
        if not isinstance(flat, dict):
            raise Bad(f"{where}: must be a map of keys, not {shown(flat)}")
        _check_keys(flat, where)
        for wrong, sentence in RULES:
            if wrong(complete(flat)):
                raise Bad(f"{where}: {sentence}")
        for metric in flat.get("metrics", []):
            MEASURES.find(metric, f"{where}.metrics")
        for key in ("methods", "ablations"):
            _check_methods(flat.get(key, {}), f"{where}.{key}")
    return settings


def _check_keys(flat, where):
    """Judge the keys of one setting, first those that decide which others there may be."""
    for key, registry in CHOICES.items():
        if key in flat:
            _check_choice(key, registry, flat[key], where)
    brought = own(flat)
    for key, value in flat.items():
        if key in KEYS:
            _check_value(KEYS[key].kind, value, f"{where}.{key}", f" ({KEYS[key].meaning})")
        elif key not in brought:
            raise Bad(f"{where}.{bare(key)}: unknown key; {nearest(key, [*KEYS, *brought], 'key')}")
    for key, taken in entries(flat).items():
        _check_entry(taken, flat, where, f" (as {key} {flat.get(key, DEFAULTS[key])} takes it)")


def _check_choice(key, registry, value, where):
    """Judge the name of a registered function; a data set may be a path."""
    _check_value(KEYS[key].kind, value, f"{where}.{key}", f" ({KEYS[key].meaning})")
    names = known(registry)
    if value not in names and not (key == "dataset" and _path(where, value)):
        raise Bad(f"{where}.{key}: no {key} {shown(value)}; {nearest(value, names, key)}")


def _path(where, value):
    """Whether the data set is given as a path; a path that is not there is an error."""
    try:
        found = data_path(value)
    except Bad as error:
        raise Bad(f"{where}.dataset: {error}") from None
    if found is None and ("/" in value or value.lower().endswith(".npz")):
        raise Bad(f"{where}.dataset: there is no file or folder {bare(value)}; a relative path is taken from {ROOT}, else "
                  f"from {data_root()}")
    return found is not None


def _check_value(kind, value, where, meaning):
    if reason := misfit(kind, value):
        close = misfit_with_nearest(kind, value).removeprefix(reason)
        raise Bad(f"{where}: {shown(value)} {reason}{meaning}{close}")


def _check_entry(taken, flat, where, meaning):
    """Judge what a chosen entry takes of a setting; null for a key of KEYS leaves the entry its own default."""
    for name, argument in taken.items():
        if name not in flat:
            if argument.default is REQUIRED and name not in KEYS:
                raise Bad(f"{where}: it needs the key {name}{meaning}")
        elif not (name in KEYS and flat[name] is None):
            _check_value(argument.kind, flat[name], f"{where}.{name}", meaning)


def _check_methods(chosen, where):
    """Judge a map method: {arguments}. `NoT/conv2` is NoT under another label."""
    methods = known(METHODS)
    for name, given in chosen.items():
        base = name.split("/")[0]
        if base not in methods:
            raise Bad(f"{where}: no method {shown(base)}; {nearest(base, methods, 'method')}")
        judge(methods[base], given, f"{where}.{name}")
