"""How long a job will take here: its training steps and evaluated images, times what each is measured to take."""
from typing import NamedTuple

from lib.fl.rounds import clock, fedavg
from lib.fl.task import make_task, options
from lib.metrics.evaluate import predict
from lib.runs.shadows import SHARES
from lib.settings import complete

from .cost import SHAPES, federations, methods_of, rounds_after, rounds_in_all, train_images

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
    steps = rounds_in_all(settings) * n * s["local_epochs"] / s["batch_size"]
    evaluated = n + (s["n_test"] or TEST_IMAGES.get(s["dataset"], 10_000))
    looks = looks_of_audit(settings) if "shadows" in settings else looks_along(settings)
    return Work(steps, looks * evaluated)


def looks_along(settings):
    """How often all images are looked at, along training and methods and at the points of a sweep."""
    s = complete(settings)
    looks = sum(1 + count / s["every"] for count in [s["rounds"], *rounds_after(settings)])
    return looks + len(s["gammas"]) * sum(draws_of(s, name) for name in s["methods"] if "Reset" in name)


def looks_of_audit(settings):
    """The same of the audit: along each federation's training, and at each method's stops, for metrics and margins."""
    s = complete(settings)
    return federations(settings) * (1 + s["rounds"] / s["every"] + 2 * len(SHARES) * len(methods_of(settings)))


def draws_of(s, name):
    return s["random_draws"] if name.startswith("Random") else 1


SAME = ("model", "batch_size", "optimizer", "momentum", "weight_decay", "clip", "dtype", "matmul", "device",
        "cuda_graphs", "input_size", "flip", "crop")


def like(settings):
    """A small setting whose steps take as long: the same net and images of the same shape, of a data set at hand that is
    quickly made."""
    s = complete(settings)
    channels, size, _ = SHAPES.get(s["dataset"], SHAPES["cifar10"])
    same = {k: s[k] for k in SAME} | options(s)["model"]
    return same | {"dataset": "digits_clean", "channels": s["channels"] or channels, "size": s["size"] or size,
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
