"""A training step and an evaluated image of the papers' nets: eager and captured, in every precision.

    python benchmarks/steps.py [--repeats 5] [--steps 20] [--only "ViT"] [--small]

Milliseconds, as median (min to max) over repeats that are interleaved: all arms of a net in turn. Wall time read when the
device is done, because on a GPU the process only waits. Without a GPU nothing is captured. `--small` is for a rehearsal:
the same nets on small images, few at a time.
"""
import argparse
import time
from functools import partial

from clock import spread

import torch

import lib
from lib.fl.rounds import clock
from lib.metrics.evaluate import predict

NETS = {
    "NoT CNN, 32 px, batch 64": dict(model="cnn", norm="group", size=32, channels=3, batch_size=64, flip=True),
    "TIS CNN, 28 px, batch 32": dict(model="tis_cnn", size=28, batch_size=32),
    "ResNet-18, 64 px, batch 32": dict(model="resnet18", size=64, channels=3, batch_size=32),
    "ResNet-18, 224 px, batch 64": dict(model="resnet18", size=256, input_size=224, channels=3, batch_size=64, flip=True),
    "ViT-B/16, 224 px, batch 64": dict(model="vit_b16", size=256, input_size=224, channels=3, batch_size=64, flip=True),
}
PRECISIONS = {"float32": {}, "TF32": {"matmul": "high"}, "bfloat16": {"dtype": "bfloat16"}}
SMALL = {32: 32, 28: 28, 64: 32, 256: 64, 224: 48}


def arms(settings):
    """`{name: settings}` of what is compared on this machine."""
    graphs = {"eager": False, "captured": True} if torch.cuda.is_available() else {"eager": False}
    return {f"{how}, {precision}": {**settings, **changes, "cuda_graphs": captured}
            for precision, changes in PRECISIONS.items() for how, captured in graphs.items()}


def made(settings, images):
    """A task of so many images, of which its first client, who alone trains, has half."""
    return lib.make_task({"dataset": "digits_clean", "clients": 2, "partition": "iid", "val_share": 0.0, "n_train": images,
                          "n_test": 64, "lr": 0.001, "momentum": 0.9, **settings}, 0)


def training(task, steps):
    """A function that goes on training for so many steps."""
    jobs = [task.jobs("full")[0]._replace(steps=steps)]
    return partial(next, lib.fedavg(task, jobs, task.init("train"), phase="train"))


def evaluation(task):
    """A function that evaluates all the task's images."""
    state, indices = task.init("train"), torch.arange(len(task.x))
    return partial(predict, task, state, indices)


def timed(task, f):
    begin = clock(task)
    f()
    return clock(task) - begin


def measure(settings, repeats, steps):
    """`{arm: (seconds of a step, seconds of an evaluated image)}`, each a list over repeats."""
    images = min(1250, 8 * settings["batch_size"])
    found, work = {}, {}
    for name, own in arms(settings).items():
        task = made(own, images)
        train, look = training(task, steps), evaluation(task)
        for f in (train, look):     # captures, and chooses its kernels
            f()
        work[name] = task, train, look
        found[name] = [], []
    for _ in range(repeats):
        for name, (task, train, look) in work.items():
            found[name][0].append(timed(task, train) / steps)
            found[name][1].append(timed(task, look) / len(task.x))
    return found


def most():
    """The most memory that a GPU was asked for since this was last asked, in words."""
    if not torch.cuda.is_available():
        return "no GPU"
    used = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return f"{used / 1e9:.1f} GB of the GPU at most"


def smaller(settings):
    changed = {key: SMALL[settings[key]] for key in ("size", "input_size") if key in settings}
    return {**settings, **changed, "batch_size": 4}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--only", default="", help="nets whose name contains this")
    parser.add_argument("--small", action="store_true", help="small images, few at a time")
    args = parser.parse_args()
    for name, settings in NETS.items():
        if args.only not in name:
            continue
        begin = time.monotonic()
        print(name)
        chosen = smaller(settings) if args.small else settings
        for arm, (step, image) in measure(chosen, args.repeats, args.steps).items():
            print(f"    {arm:20} {spread(step, 1000, 2):>24} ms a step {spread(image, 1e6):>26} µs an evaluated image")
        print(f"    all arms at once: {most()}; {time.monotonic() - begin:.0f} s", flush=True)


if __name__ == "__main__":
    main()
