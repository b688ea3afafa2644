"""The words of the results: one row a method, one row a metric; the order of the rows is the order everywhere."""
from pathlib import Path
from typing import NamedTuple

from .errors import Bad
from .registry import Registry

REFERENCE = "Retrain"
AVG_GAP = "avg_gap"
DIVERGED = "diverged"       # the round in which a run stopped being finite; runs that did not have no such row
GAP = ("retain_acc", "forget_acc", "test_acc", "mia")                   # the average gap is over these
RATIOS = {"comm_bytes": "comm_ratio", "comp_flops": "comp_ratio"}       # a cost, and the cost over Retrain's


# ---------------------------------------------------------------- methods

class Method(NamedTuple):
    """How a method is drawn; dashes are lengths of line and gap, none for a solid line."""
    name: str
    color: str
    marker: str
    dashes: tuple = ()


# Colours that meet in one panel are far apart for colour-blind eyes as well (lib/report/colours.py measures it): those of
# the federated methods with TIS's, those of the centralised ones, and those of each figure of the ablations. NoT, in all
# of them, is the accent. Markers and dashes tell them apart in print.
METHODS = {row.name: row for row in (
    Method("Original", "#9A9A9A", "s", (1, 1)),
    Method("Retrain", "#111111", "*"),
    Method("FT", "#0072B2", "s", (5, 1)),
    Method("FedEraser", "#0BBD7D", "v", (3, 1)),
    Method("FUKD", "#EF99F3", "^", (5, 1, 1, 1)),
    Method("PGD", "#732CC4", "D", (3, 1, 1, 1)),
    Method("MoDE", "#8FCE32", "P", (2, 1)),
    Method("FCU", "#630082", "X", (6, 2)),
    Method("RandL", "#8FCD8A", "p", (4, 1)),
    Method("GA", "#ABA601", "h"),
    Method("BadT", "#55009A", "d", (5, 1)),
    Method("l1-sparse", "#A182FF", "H", (3, 1)),
    Method("SSD", "#6F4E63", "<", (2, 1)),
    Method("SalUn", "#B1B6EB", ">", (5, 1, 1, 1)),
    Method("Random-Reset", "#8A0207", "s", (4, 2)),
    Method("TIS-Reset", "#0C595C", "o"),
    Method("Random-Reset+TRIM", "#F341FF", "d", (4, 2)),
    Method("TIS-Reset+TRIM", "#0200D6", "h"),
    Method("TRIM", "#B98A2E", "v", (2, 1)),
    Method("NR-Freeze", "#780700", "8", (6, 2)),
    Method("NoT", "#D7263D", "o"),
    Method("NR", "#D59965", "x", (3, 1)),
    Method("Perturb", "#4A0FA2", "^", (1, 1)),
)}

# Labels of the ablations: changes of the model that stand in place of methods there.
CHANGES = {row.name: row for row in (
    Method("re-initialise", "#000FFA", "o"),
    Method("noise 0.3", "#99A1D7", "s"),
    Method("noise 1", "#00CDB6", "D"),
    Method("noise 3", "#034D00", "v"),
    Method("mirror", "#BBB572", "^"),
    Method("mirror upside down", "#CF4A7E", "P"),
    Method("turn 90", "#9C6FFF", "<"),
    Method("turn 180", "#1F2A9C", ">"),
    Method("conv1 + conv2", "#C2A000", "X"),
    Method("conv1 + conv2 + head", "#7F1D55", "h"),
    Method("conv1 and its bias", "#2125C4", "P", (2, 1)),
    Method("conv1 and its norm", "#780700", "X", (3, 3)),
    Method("conv2", "#7FBF96", "D"),
    Method("head", "#7AC0FF", "v"),
    Method("position embedding", "#7FBF96", "D"),
    Method("queries of block 1", "#7AC0FF", "v"),
    Method("queries of block 2", "#7F1D55", "^", (3, 3)),
    Method("shift score", "#EF99F3", "D"),
    Method("forget score", "#732CC4", "^"),
)}


def rank(column):
    """Sort key of a column named `method`: the table's order, others behind it; other columns as they are."""
    if column.name != "method":
        return column
    order = {name: i for i, name in enumerate(METHODS)}
    return column.map(lambda name: (order.get(name, len(order)), name))


# ---------------------------------------------------------------- metrics

class Metric(NamedTuple):
    """A metric in words. kind: `accuracy`, `attack` (a share of attacks that succeed), `loss`, `gap` (zero is best),
    `cost`, `cost ratio` (over Retrain's), `time` (differs from run to run), `norm`, `score` (1 is Retrain), `ratio`,
    `share` (of parameters, of a score), `time bound` (of Theorem 1) or `end` (of a run that diverged)."""
    name: str
    words: str
    unit: str
    kind: str


METRICS = {row.name: row for row in (
    Metric("retain_acc", "retain accuracy", "percent", "accuracy"),
    Metric("forget_acc", "forget accuracy", "percent", "accuracy"),
    Metric("test_acc", "test accuracy", "percent", "accuracy"),
    Metric("val_acc", "validation accuracy", "percent", "accuracy"),
    Metric("mia", "MIA", "percent", "attack"),
    Metric("test_acc_all", "test accuracy with the forgotten class", "percent", "accuracy"),
    Metric("avg_gap", "average gap", "percent points", "gap"),
    Metric("avg_gap_of_means", "gap of means", "percent points", "gap"),
    Metric("comm_bytes", "data sent", "bytes", "cost"),
    Metric("comp_flops", "computation", "FLOPs", "cost"),
    Metric("comm_ratio", "bytes / Retrain", "ratio", "cost ratio"),
    Metric("comp_ratio", "FLOPs / Retrain", "ratio", "cost ratio"),
    Metric("storage_bytes", "stored bytes", "bytes", "cost"),
    Metric("diverged", "diverged in round", "rounds", "end"),
    # of TIS
    Metric("nta", "NTA", "ratio", "score"),
    Metric("nfs_target", "NFS (target)", "ratio", "score"),
    Metric("nfs_mia", "NFS (MIA)", "ratio", "score"),
    Metric("asr", "attack success", "percent", "attack"),
    Metric("nfs", "NFS", "ratio", "score"),
    Metric("mia_acc", "MIA (paper's)", "percent", "attack"),
    Metric("nta_rest", "NTA, other classes", "ratio", "score"),
    Metric("nta_at_0.9", "NTA at NFS 0.9", "ratio", "score"),
    Metric("distance", "distance to (1, 1)", "ratio", "ratio"),
    Metric("mia_auc", "MIA, AUC", "ratio", "ratio"),
    Metric("nfs_mia_nn", "NFS (net)", "ratio", "score"),
    Metric("nfs_mia_logistic", "NFS (logistic)", "ratio", "score"),
    Metric("nfs_mia_balanced", "NFS (MIA)", "ratio", "score"),
    Metric("top_ratio", "score in the top 5 %", "ratio", "ratio"),
    Metric("rank_correlation", "rank correlation", "ratio", "ratio"),
    Metric("overlap_ratio", "overlap of the resets", "ratio", "ratio"),
    Metric("latency_seconds", "latency, seconds", "seconds", "time"),
    Metric("time", "seconds", "seconds", "time"),
    Metric("rtr", "RTR", "ratio", "time"),
    Metric("mia_tis_nn", "MIA (net)", "percent", "attack"),
    Metric("mia_tis_logistic", "MIA (logistic, in sample)", "percent", "attack"),
    Metric("backdoor_acc", "backdoor accuracy", "percent", "accuracy"),
    Metric("asr_own", "attack success on the target's own images", "percent", "attack"),
    Metric("backdoor_acc_own", "backdoor accuracy on the target's own images", "percent", "accuracy"),
    Metric("asr_negated", "attack success, negated again", "percent", "attack"),
    Metric("clean_negated", "attacker's label on clean images, negated again", "percent", "attack"),
    Metric("target_acc", "target accuracy", "percent", "accuracy"),
    Metric("reset_params", "parameters reset", "percent", "share"),
    Metric("gamma_removal", "gamma", "percent", "share"),
    Metric("t_unlearn", "time bound", "learning_rate*steps", "time bound"),
    Metric("rest_acc", "accuracy on other classes", "percent", "accuracy"),
    Metric("slope_flatness", "slope of variance over curvature", "ratio", "ratio"),
    # of the audit
    Metric("attack_acc", "attack accuracy", "percent", "attack"),
    Metric("attack_auc", "attack, AUC", "ratio", "ratio"),
    Metric("attack_tpr_1", "found at 1 % false positives", "percent", "attack"),
    Metric("attack_tpr_0.1", "found at 0.1 % false positives", "percent", "attack"),
    Metric("attack_tpr", "found", "percent", "attack"),
    Metric("klom", "KLoM", "nats", "gap"),
    Metric("epsilon", "epsilon", "nats", "gap"),
    Metric("forgetting_score", "forgetting score", "ratio", "ratio"),
    Metric("margin", "margin", "nats", "ratio"),
    # after unlearning
    Metric("others_acc", "accuracy on the other forgotten images", "percent", "accuracy"),
    Metric("gone_acc", "accuracy on all that have left", "percent", "accuracy"),
    Metric("leaver_auc", "other clients below the leaver", "ratio", "ratio"),
    Metric("leaver_first", "leaver found", "percent", "attack"),
    # of training, and along recovery
    Metric("train_acc", "train accuracy", "percent", "accuracy"),
    Metric("train_loss", "train loss", "nats", "loss"),
    Metric("test_loss", "test loss", "nats", "loss"),
    Metric("retain_loss", "loss on retained data", "nats", "loss"),
    Metric("forget_loss", "loss on forgotten data", "nats", "loss"),
    Metric("seconds", "seconds", "seconds", "time"),
    Metric("gradient_norm", "gradient norm", "norm", "norm"),
    Metric("distance_norm", "distance from before", "norm", "norm"),
    Metric("deeper_distance_norm", "of it, deeper layers", "norm", "norm"),
    # of the theory
    Metric("loss_gap", "loss gap", "nats", "gap"),
    Metric("gap_gradient_norm", "gradient norm of the loss gap", "norm", "norm"),
    Metric("noise_rate", "rate of the noise", "nats/time", "ratio"),
    Metric("noise_A", "noise that the bound neglects", "nats", "loss"),
    Metric("room", "room of the bound", "nats", "loss"),
    Metric("t_steps", "least steps", "steps", "time bound"),
    Metric("used_ratio", "least time / time used", "ratio", "ratio"),
    Metric("cka", "CKA", "ratio", "ratio"),
    Metric("cka_normalised", "CKA, normalised", "ratio", "ratio"),
    Metric("psi", "spectral content", "ratio", "ratio"),
    Metric("alpha", "alpha", "ratio", "ratio"),
    Metric("epsilon_ratio", "epsilon", "ratio", "ratio"),
    Metric("tv", "total variation", "ratio", "ratio"),
    Metric("distance_ratio", "distance of the activations / largest", "ratio", "ratio"),
    Metric("jacobian_ratio", "Jacobian norm, after / before", "ratio", "ratio"),
)}

# A metric that has no row is told by how its name ends: (unit, kind).
ENDINGS = {"_acc": ("percent", "accuracy"), "_loss": ("nats", "loss"), "_gap": ("nats", "gap"),
           "_bytes": ("bytes", "cost"), "_flops": ("FLOPs", "cost"), "_ratio": ("ratio", "ratio"),
           "_auc": ("ratio", "ratio"), "_norm": ("norm", "norm"), "_seconds": ("seconds", "time")}
KINDS = tuple(dict.fromkeys(row.kind for row in METRICS.values()))
SHORT = {"percent": "%", "percent points": "points", "ratio": "", "norm": "", "bytes": "", "FLOPs": "", "seconds": ""}

MEASURES = Registry("metric", ("task", "state"))       # one's own, by @lib.metric: functions with `words`, `unit` and `kind`


def metric(name, units=None):
    """The row of a metric; Bad if nobody has said its unit.

    One's own by @lib.metric has a row as well; `3.weight:gradient_norm` is the gradient norm of one tensor. units:
    {metric: unit} of metrics that have no row.
    """
    if name in METRICS:
        return METRICS[name]
    if name in MEASURES:
        f = MEASURES[name]
        return Metric(name, f.words, f.unit, f.kind)
    if name in (units or {}):
        return Metric(name, spelt(name), units[name], "time" if units[name] == "seconds" else "ratio")
    tensor, colon, base = name.rpartition(":")
    if colon and base in METRICS:
        row = METRICS[base]
        return row._replace(name=name, words=f"{row.words} of {tensor}")
    for ending, (unit, kind) in ENDINGS.items():
        if name.endswith(ending):
            return Metric(name, spelt(name), unit, kind)
    raise Bad(f"metric {name!r} has no unit: pass units={{{name!r}: '...'}}, or register it by @lib.metric")


def spelt(name):
    """A name in words where nobody has chosen better ones."""
    return name.replace("_", " ")


def known(name):
    """The row of a metric, or one that holds its name alone where nobody has described it."""
    try:
        return metric(name)
    except Bad:
        return Metric(name, spelt(name), "", "ratio")


def titled(name, unit=None):
    """A metric in words with its unit, as over a panel: `forget accuracy (%)`. unit: of one that has no row."""
    row = known(name)
    unit = row.unit or unit or ""
    short = SHORT.get(unit, unit)
    return f"{row.words} ({short})" if short else row.words


def column_order():
    """Names of all metrics in the order in which tables show them, one's own behind."""
    return [*METRICS, *MEASURES]


# ---------------------------------------------------------------- settings

DATASETS = {"digits_clean": "digits (clean)", "mnist": "MNIST", "fashionmnist": "FashionMNIST",
            "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "caltech101": "Caltech-101"}
MODELS = {"cnn": "CNN", "tis_cnn": "CNN", "small_cnn": "small CNN", "small_vit": "small ViT",
          "resnet18": "ResNet-18", "resnet18_3x3": "ResNet-18 (3x3 stem)", "vit_b16": "ViT-B/16"}
WIDTHS = {"cnn": 32, "tis_cnn": 32, "small_cnn": 32, "resnet18": 64, "resnet18_3x3": 64}
PAPER_SIZES = {"resnet18": (64, 256), "vit_b16": (256,)}    # ResNet-18: of TIS, of NoT


def describe(settings):
    """The schema's words (dataset, model, distribution, scenario) for one flat setting. A net that differs from
    the papers' in width or input size is another model."""
    s, name = settings, settings.get("model")
    model = MODELS.get(name, str(name or ""))
    model += f" w{s['width']}" if s.get("width") not in (None, WIDTHS.get(name)) else ""
    model += f" @{s['size']}" if s.get("size") not in (None, *PAPER_SIZES.get(name, ())) else ""
    partition = s.get("partition", "")
    spread = f"dirichlet_{s.get('beta', 0):g}" if partition.endswith("dirichlet") else partition
    scenario = {"clients": "client-wise", "class": "class-wise", "share": "instance-wise"}.get(s.get("forget"), "")
    scenario = "centralised" if s.get("clients") == 1 else "backdoor" if s.get("poison_label") is not None else scenario
    data = str(s.get("dataset", ""))
    return {"dataset": DATASETS.get(data, Path(data).stem), "model": model, "distribution": spread,
            "scenario": scenario}
