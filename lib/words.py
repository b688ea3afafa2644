"""The words of the results: one place for the names of data sets, nets, methods and metrics, and their units."""
from pathlib import Path

from .errors import Bad

GAP = ("retain_acc", "forget_acc", "test_acc", "mia")
REFERENCE = "Retrain"
RENAME = {"bytes": "comm_bytes", "flops": "comp_flops"}
TIMING = ("seconds", "time", "rtr")  # differ from run to run, so they are kept out of the result tables
UNITS = {"avg_gap": "percent points", "avg_gap_of_means": "percent points", "mia": "percent", "asr": "percent",
         "test_acc_all": "percent",
         "gamma_removal": "percent", "reset_params": "percent", "nta": "ratio", "nfs_target": "ratio",
         "nfs_mia": "ratio", "nta_rest": "ratio", "nta_at_0.9": "ratio", "distance": "ratio", "nfs_mia_nn": "ratio",
         "nfs": "ratio", "rank_correlation": "ratio", "slope_flatness": "ratio", "nfs_mia_logistic": "ratio",
         "nfs_mia_balanced": "ratio",
         "mia_tis_nn": "percent", "mia_tis_logistic": "percent", "rtr": "ratio", "cka": "ratio", "time": "seconds",
         "seconds": "seconds",
         "asr_negated": "percent", "clean_negated": "percent", "t_unlearn": "learning_rate*steps"}
SUFFIXES = {"_acc": "percent", "_loss": "nats", "_gap": "nats", "_bytes": "bytes", "_flops": "FLOPs",
            "_ratio": "ratio", "_auc": "ratio", "_norm": "norm", "_seconds": "seconds"}
LABELS = {"retain_acc": "retain accuracy", "forget_acc": "forget accuracy", "test_acc": "test accuracy", "mia": "MIA",
          "test_acc_all": "test accuracy with the forgotten class",
          "avg_gap": "average gap", "avg_gap_of_means": "gap of means", "comm_bytes": "bytes", "comp_flops": "FLOPs",
          "comm_ratio": "bytes / Retrain", "comp_ratio": "FLOPs / Retrain", "storage_bytes": "stored bytes",
          "nta": "NTA", "nfs_target": "NFS (target)", "nfs_mia": "NFS (MIA)", "asr": "attack success",
          "nfs": "NFS", "mia_acc": "MIA (paper's)", "nta_rest": "NTA, other classes",
          "nta_at_0.9": "NTA at NFS 0.9", "distance": "distance to (1, 1)", "mia_auc": "MIA, AUC",
          "nfs_mia_nn": "NFS (net)", "nfs_mia_logistic": "NFS (logistic)", "nfs_mia_balanced": "NFS (MIA)",
          "top_ratio": "score in the top 5 %", "rank_correlation": "rank correlation",
          "overlap_ratio": "overlap of the resets", "latency_seconds": "latency, seconds",
          "time": "seconds", "rtr": "RTR", "mia_tis_nn": "MIA (net)", "mia_tis_logistic": "MIA (logistic, in sample)",
          "backdoor_acc": "backdoor accuracy", "asr_negated": "attack success, negated again",
          "clean_negated": "attacker's label on clean images, negated again", "target_acc": "target accuracy",
          "reset_params": "parameters reset",
          "gamma_removal": "gamma", "t_unlearn": "time bound"}
METHOD_ORDER = ("Original", "Retrain", "FT", "FedEraser", "FUKD", "PGD", "MoDE", "FCU", "RandL", "GA", "BadT",
                "l1-sparse", "SSD", "SalUn", "Random-Reset", "TIS-Reset", "Random-Reset+TRIM", "TIS-Reset+TRIM",
                "TRIM", "NR-Freeze", "NoT")
DATASETS = {"digits_clean": "digits (clean)", "mnist": "MNIST", "fashionmnist": "FashionMNIST",
            "cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "caltech101": "Caltech-101"}
MODELS = {"cnn": "CNN", "tis_cnn": "CNN", "small_cnn": "small CNN", "small_vit": "small ViT",
          "resnet18": "ResNet-18", "resnet18_3x3": "ResNet-18 (3x3 stem)", "vit_b16": "ViT-B/16"}
WIDTHS = {"cnn": 32, "tis_cnn": 32, "small_cnn": 32, "resnet18": 64, "resnet18_3x3": 64}
PAPER_SIZES = {"resnet18": (64, 256), "vit_b16": (256,)}    # ResNet-18: of TIS, of NoT


# ---------------------------------------------------------------- rows

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


def unit_of(metric, units=None):
    """Unit of a metric; Bad if nobody has said."""
    known = {**UNITS, **(units or {})}
    if metric in known:
        return known[metric]
    for suffix, unit in SUFFIXES.items():
        if metric.endswith(suffix):
            return unit
    raise Bad(f"metric {metric!r} has no unit: pass units={{{metric!r}: '...'}}")


def rank(column):
    """Sort key that puts methods in METHOD_ORDER, new ones behind."""
    if column.name != "method":
        return column
    order = {m: i for i, m in enumerate(METHOD_ORDER)}
    return column.map(lambda m: (order.get(m, len(order)), m))
