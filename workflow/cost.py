"""What a profile holds and costs: a table of its settings with estimated FLOPs, and the memory that a job asks for."""
from math import ceil

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
    many = f"{federations(s)} federations: " if federations(s) > 1 else ""
    mark = "" if there else "  [no notebook yet]"
    return (f"{s.get('dataset', '-')} {s.get('model', '-')}", f"{s.get('rounds', '-')}+{s.get('unlearn_rounds', '-')}",
            f"{cost:.2e}" if cost else "-", many + "; ".join(filter(None, methods)) + mark)


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
    s = complete(settings)
    channels, size, classes = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    both = sample_flops(s, s["channels"] or channels, classes, s["input_size"] or s["size"] or size)[1]
    return both * rounds_in_all(settings) * train_images(s) * s["local_epochs"]


def rounds_in_all(settings):
    """Rounds on all images at one seed, those of training and of the methods; recovery's count by what is left."""
    s = complete(settings)
    return federations(settings) * (s["rounds"] + kept_share(s) * sum(rounds_after(settings)))


def federations(settings):
    """How many federations a setting trains at one seed: the audit as many as `shadows`, every other setting one."""
    return settings.get("shadows", 1)


def methods_of(settings):
    """The names of a setting's methods; the audit compares with Retrain whether it is named or not."""
    named = settings.get("methods", {})
    return list({"Retrain": {}, **named}) if "shadows" in settings else list(named)


def rounds_after(settings):
    """The rounds of recovery of each method and each ablation."""
    from lib.methods import find  # torch, as above
    s = complete(settings)
    methods = [s["unlearn_rounds"] for name in methods_of(settings) if find(name.split("/")[0]).recovery]
    ablations = [s["ablation_rounds"] for name in s["ablations"] if find(name.split("/")[0]).recovery]
    return methods + ablations + rounds_after_unlearning(settings)


def rounds_after_unlearning(settings):
    """The rounds of notebook 13: those in which the others train on, and of each further request."""
    if "after_rounds" not in settings:
        return []
    s = complete(settings)
    further = [s["after_rounds"]] * len(s["methods"])
    anew = [s["unlearn_rounds"]] * max(0, len(s["leavers"]) - 1)        # the first is among the methods
    requests = [s["request_rounds"]] * len(s["leavers"]) * len(s["in_turn"])
    return further + requests + anew * sum(name.startswith("Retrain") for name in s["methods"])


def train_images(s):
    """How many images a round trains on."""
    n = (s["n_train"] or SIZES.get(s["dataset"], 50_000)) * (1 - s["val_share"])
    taking_part = s["participation"]
    if taking_part is None:
        return n
    share = taking_part if isinstance(taking_part, float) else taking_part / s["clients"]
    return n * share


def kept_share(s):
    """Which share of the images is left when those to be forgotten are gone."""
    if s["forget"] == "clients":
        return 1 - len(s["targets"]) / s["clients"]
    return 0.9 if s["forget"] == "class" else 1 - s["forget_share"]


# ---------------------------------------------------------------- what a job asks a scheduler for

BASE_MB = 1000          # Python with torch and all that lib brings
CUDA_MB = 3000          # what a CUDA context takes of the host's memory
STEP_MB = 500           # requests are rounded up to whole steps
STATES = 24             # copies of a net's numbers: weights, gradients, momentum, sums, curvature, a group of a sweep
CURVATURE_BATCH = 256   # images whose activations curvature holds at a time
# millions of parameters, and activations a pixel of an image that a training step holds; rough, for the usual width
NETS = {"small_cnn": (0.2, 40), "cnn": (0.2, 130), "tis_cnn": (1.7, 110), "resnet18": (11.2, 150),
        "resnet18_3x3": (11.2, 2000), "vit_b16": (86, 800), "small_vit": (0.5, 200)}
USUAL_WIDTH = {"resnet18": 64, "resnet18_3x3": 64}


def resources(settings, gpus):
    """`{"mem_mb", "gpu"}` that a job over some settings asks for; gpus: how many the machine has.

    Memory is the host's: on a GPU activations are in its own, and images are kept in the size in which they come.
    """
    on_gpu = [gpus > 0 and s.get("device", "auto") != "cpu" for s in settings]
    needed = [memory_mb(s, gpu) for s, gpu in zip(settings, on_gpu, strict=True)]
    return {"mem_mb": max(needed, default=BASE_MB), "gpu": int(any(on_gpu))}


def memory_mb(settings, gpu=False):
    """Megabytes of the host's memory that a setting takes at the most, estimated from above; own data and own nets
    count as CIFAR-10 and ResNet-18."""
    s = complete(settings)
    numbers = state_numbers(s)
    states = STATES + (0 if s["history"] == "none" else 3)     # a client's update, as it is, written and read back
    total = image_bytes(s, gpu) + 4 * states * numbers
    if gpu:
        base = BASE_MB + CUDA_MB
    else:
        base = BASE_MB
        total += 4 * activations(s)
    return STEP_MB * ceil((base + total / 2**20) / STEP_MB)


def image_bytes(s, gpu):
    """Bytes of all images: a byte a number, eight in the digits, whose noise is added to floats."""
    channels, native, _ = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    size = native if gpu else s["size"] or native
    train = s["n_train"] or SIZES.get(s["dataset"], 50000)
    test = s["n_test"] or SIZES.get(s["dataset"], 50000) // 4
    each = 8 if s["dataset"] in ("digits", "digits_clean") else 1
    return each * (train + test) * (s["channels"] or channels) * size ** 2


def state_numbers(s):
    """Numbers in a state of the net."""
    millions, _ = NETS.get(s["model"], NETS["resnet18"])
    return 1e6 * millions * widening(s) ** 2


def activations(s):
    """Numbers that a step, or curvature where a method of the setting asks for it, holds of a batch."""
    _, per_pixel = NETS.get(s["model"], NETS["resnet18"])
    size = s["input_size"] or s["size"] or SHAPES.get(s["dataset"], SHAPES["cifar10"])[1]
    scored = any(name.startswith(("TIS", "Random")) for name in s["methods"])
    batch = max(s["batch_size"], CURVATURE_BATCH) if scored else s["batch_size"]
    return batch * per_pixel * size ** 2 * widening(s)


def widening(s):
    """How many times as wide as usual the net is."""
    usual = USUAL_WIDTH.get(s["model"], 32)
    return (s["width"] or usual) / usual
