"""How long a job will take here: its training steps and evaluated images, times what each is measured to take."""
from typing import NamedTuple

from lib.fl.rounds import clock, fedavg
from lib.fl.task import make_task, options
from lib.methods import find
from lib.metrics.evaluate import predict
from lib.settings import complete

from .cost import SHAPES, SIZES

STEPS = 20          # that are timed, after as many that are not
TEST_IMAGES = {"digits": 547, "digits_clean": 547, "caltech101": 1736}      # 10,000 of the others


class Work(NamedTuple):
    """What a job does: steps of training, and images that nets only look at."""
    steps: float
    images: float


class Speed(NamedTuple):
    """Seconds of a training step, and of an image in an evaluation."""
    step: float
    image: float


def work(settings):
    """The `Work` of a setting at one seed: training, every method's rounds, evaluations, resets of a sweep."""
    s = complete(settings)
    n = train_images(s)
    rounds = s["rounds"] + kept_share(s) * sum(rounds_after(s))
    steps = rounds * n * s["local_epochs"] / s["batch_size"]
    evaluated = n + (s["n_test"] or TEST_IMAGES.get(s["dataset"], 10_000))
    points = sum(1 + count / s["every"] for count in [s["rounds"], *rounds_after(s)])
    points += len(s["gammas"]) * sum(draws_of(s, name) for name in s["methods"] if "Reset" in name)
    return Work(steps, points * evaluated)


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


def rounds_after(s):
    """The rounds of recovery of each method and each ablation."""
    methods = [s["unlearn_rounds"] for name in s["methods"] if find(name.split("/")[0]).recovery]
    ablations = [s["ablation_rounds"] for name in s["ablations"] if find(name.split("/")[0]).recovery]
    return methods + ablations


def draws_of(s, name):
    return s["random_draws"] if name.startswith("Random") else 1


SAME = ("model", "batch_size", "optimizer", "momentum", "weight_decay", "clip", "dtype", "matmul", "device",
        "cuda_graphs", "input_size", "flip", "crop")


def like(settings):
    """A small setting whose steps take as long: the same net and images of the same shape, of a data set at hand."""
    s = complete(settings)
    channels, size, _ = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    same = {k: s[k] for k in SAME} | options(s)["model"]
    return same | {"dataset": "digits", "channels": s["channels"] or channels, "size": s["size"] or size,
                   "n_train": min(1250, max(4 * s["batch_size"], 64)), "n_test": 128, "clients": 2, "partition": "iid",
                   "rounds": 1, "methods": {}}


def measured(settings):
    """The `Speed` of a setting on this machine; takes some seconds, and no data set."""
    task = make_task(like(settings), 0, "timing")
    jobs = [task.jobs("full")[0]._replace(steps=STEPS)]
    rounds = fedavg(task, jobs, task.init("timing"), phase="timing")
    state = next(rounds).state
    begin = clock(task)
    state = next(rounds).state
    step = (clock(task) - begin) / STEPS
    predict(task, state, task.indices("full")[:task.at_once])
    begin = clock(task)
    indices = task.indices("full")
    predict(task, state, indices)
    return Speed(step, (clock(task) - begin) / len(indices))


def seconds(settings, speed):
    """Estimated seconds of a setting at one seed, without curvature and attacks."""
    todo = work(settings)
    return todo.steps * speed.step + todo.images * speed.image
