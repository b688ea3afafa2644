"""What a profile holds and costs: a table of its settings, with estimated FLOPs."""

from lib.profiles import seeds_of, select
from lib.settings import complete

from .jobs import jobs, notebook


def _flops(settings):
    """Estimated FLOPs of a setting at one seed, or None where that cannot be told."""
    try:
        return float(estimate_flops(settings))
    except Exception:       # an estimate must not stop a listing
        return None


def listing(profile, only=None, seeds=None, flops=False):
    """A table of what a profile holds: one line a setting, with its seeds, net, methods, ablations and FLOPs."""
    rows, total = [("setting", "seeds", "data, network", "rounds", "FLOPs a seed", "methods; ablations")], 0.0
    for number, settings in select(profile, only).items():
        mark = "" if notebook(number) else "  [no notebook yet]"
        chosen = seeds_of(profile, number) if seeds is None else seeds
        for name, s in settings.items():
            f = _flops(s) if flops else None
            total += (f or 0) * len(chosen)
            rows.append((f"{number}.{name}", _range(chosen), f"{s.get('dataset', '-')} {s.get('model', '-')}",
                         f"{s.get('rounds', '-')}+{s.get('unlearn_rounds', '-')}", f"{f:.2e}" if f else "-",
                         "; ".join(filter(None, (", ".join(s.get(k, {})) for k in ("methods", "ablations")))) + mark))
    widths = [max(len(str(r[i])) for r in rows) for i in range(5)]
    lines = ["  ".join([*(str(c).ljust(w) for c, w in zip(r, widths)), r[5]]).rstrip() for r in rows]
    lines.append(f"{len(rows) - 1} settings, {len(jobs(profile, only, seeds))} jobs"
                 + (f", {total:.2e} FLOPs in all" if total else ""))
    if profile["not_yet"]:
        lines.append(f"not yet there, left out: {', '.join(profile['not_yet'])}")
    return "\n".join(lines)


def _range(seeds):
    whole = len(seeds) > 3 and list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if whole else " ".join(map(str, seeds))


SIZES = {"digits": 1797, "digits_clean": 1797, "mnist": 60000, "fashionmnist": 60000, "cifar10": 50000,
         "cifar100": 50000, "caltech101": 6941}
SHAPES = {"digits": (1, 8, 10), "digits_clean": (1, 8, 10), "mnist": (1, 28, 10), "fashionmnist": (1, 28, 10),
          "cifar10": (3, 32, 10), "cifar100": (3, 32, 100), "caltech101": (3, 96, 101)}


def estimate_flops(settings):
    """FLOPs of training and of every method's rounds at one seed, without data; own data counts as CIFAR-10."""
    from lib.fl.task import sample_flops  # torch: only where FLOPs are asked for
    from lib.methods import find
    s = complete(settings)
    channels, size, classes = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    both = sample_flops(s, s["channels"] or channels, classes, s["input_size"] or s["size"] or size)[1]
    n = (s["n_train"] or SIZES.get(s["dataset"], 50000)) * (1 - s["val_share"]) * s["local_epochs"]
    kept = 1 - (len(s["targets"]) / s["clients"] if s["forget"] == "clients" else 0.1)
    methods, ablations = ([find(name.split("/")[0]).recovery for name in s[k]] for k in ("methods", "ablations"))
    after = s["unlearn_rounds"] * sum(methods) + s["ablation_rounds"] * sum(ablations)
    return both * n * (s["rounds"] + kept * after)
