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


HEAD = ("setting", "seeds", "data, network", "rounds", "FLOPs a seed", "methods; ablations")


def listing(profile, only=None, seeds=None, flops=False):
    """A table of what a profile holds: one line a setting, with its seeds, net, methods, ablations and FLOPs."""
    rows, total = [HEAD], 0.0
    for number, settings in select(profile, only).items():
        chosen = seeds_of(profile, number) if seeds is None else seeds
        for name, s in settings.items():
            cost = _flops(s) if flops else None
            total += (cost or 0) * len(chosen)
            rows.append((f"{number}.{name}", _range(chosen), *_words(s, cost, notebook(number) is not None)))
    lines = _aligned(rows)
    lines.append(f"{len(rows) - 1} settings, {len(jobs(profile, only, seeds))} jobs"
                 + (f", {total:.2e} FLOPs in all" if total else ""))
    if profile["not_yet"]:
        lines.append(f"not yet there, left out: {', '.join(profile['not_yet'])}")
    return "\n".join(lines)


def _words(s, cost, there):
    """The columns of one setting from `data, network` on."""
    methods = [", ".join(s.get(key, {})) for key in ("methods", "ablations")]
    mark = "" if there else "  [no notebook yet]"
    return (f"{s.get('dataset', '-')} {s.get('model', '-')}", f"{s.get('rounds', '-')}+{s.get('unlearn_rounds', '-')}",
            f"{cost:.2e}" if cost else "-", "; ".join(filter(None, methods)) + mark)


def _aligned(rows):
    """Lines in columns of equal width; the last column is as long as it likes."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD) - 1)]
    return ["  ".join([*(c.ljust(w) for c, w in zip(row, widths)), row[-1]]).rstrip() for row in rows]


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
