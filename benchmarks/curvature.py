"""Seconds of one curvature pass, as a multiple of one training pass over the same samples, and against BackPACK.

    python benchmarks/curvature.py [--quick] [--nets tis_cnn not_cnn resnet18] [--device cuda] [--exact-backpack]

Everything of a net runs interleaved in one process, each repetition once through all; a ratio is the median of the
ratios within a repetition, so what else the machine does cancels. Training: batches of 32, forward, backward, SGD with
momentum. Curvature: one diagonal over all samples, split in two groups (target and rest) as TIS needs it. BackPACK:
the fastest of the batch sizes tried; ours: at the last of --sizes. Last line of a net: RTR = (curvature + scores) / (epochs x training on 80 %).
"""

import argparse
import copy
import pathlib
import statistics
import sys
import time
import warnings

from clock import ratios, spread

import torch
import torch.nn.functional as F
import torchvision
from torch import nn

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from lib.methods.curvature import diagonals, mean, select, tis  # noqa: E402


def tis_cnn():
    return nn.Sequential(nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2),
                         nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10))


def not_cnn():
    return nn.Sequential(nn.Conv2d(3, 32, 5, padding=2), nn.GroupNorm(1, 32), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 5, padding=2), nn.GroupNorm(1, 64), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(4096, 10))


def resnet18():
    return torchvision.models.resnet18(num_classes=10)


NETS = {"tis_cnn": (tis_cnn, (1, 28, 28)), "not_cnn": (not_cnn, (3, 32, 32)), "resnet18": (resnet18, (3, 32, 32)),
        "resnet18_64": (resnet18, (3, 64, 64))}
EPOCHS = 40


def training_pass(model, x, y):
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    for index in torch.randperm(len(y)).split(32):
        optimiser.zero_grad()
        F.cross_entropy(model(x[index]), y[index]).backward()
        optimiser.step()


def curvature_pass(model, x, y, groups, **options):
    model.eval()
    return diagonals(model, x, y, groups, rng=torch.Generator().manual_seed(0), **options)


def backpack_pass(model, x, y, extension, batch_size):
    """BackPACK's own extension, summed over batches."""
    from backpack import backpack, extend
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    model = extend(model, use_converter=not isinstance(model, nn.Sequential)).eval()
    loss = extend(nn.CrossEntropyLoss())
    total = None
    for index in torch.arange(len(y)).split(batch_size):
        with backpack(extension):
            loss(model(x[index]), y[index]).backward()
        found = [getattr(p, extension.savefield) * len(index) for p in model.parameters()]
        total = found if total is None else [a.add_(b) for a, b in zip(total, found)]
    return total


def seconds(f, device):
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.process_time()
    f()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.process_time() - start


def measure(net, n, repeats, device, layout, sizes, with_exact):
    make, shape = NETS[net]
    torch.manual_seed(0)
    model = make().to(device, memory_format=layout)
    x = torch.randn(n, *shape, device=device).to(memory_format=layout)
    y, groups = torch.randint(10, (n,), device=device), (torch.arange(n) % 5 == 0).long()
    sums, counts = curvature_pass(model, x[:64], y[:64], groups[:64])

    def scoring():
        select(tis(mean(sums, counts, [1]), mean(sums, counts)), list(range(0, 101, 5)))

    jobs = {"training": lambda: training_pass(model, x, y), "scores, 21 gammas": scoring}
    for size in sizes:
        jobs[f"hooks mc {size}"] = lambda size=size: curvature_pass(model, x, y, groups, batch_size=size)
        jobs[f"hooks exact {size}"] = lambda size=size: curvature_pass(model, x, y, groups, kind="ggn_exact",
                                                                       batch_size=size)
    few = slice(0, min(n, 32))
    jobs["vmap mc"] = lambda: curvature_pass(model, x[few], y[few], groups[few], path="vmap", batch_size=16)
    scale = {"vmap mc": n / (few.stop - few.start)}
    try:
        from backpack.extensions import DiagGGNExact, DiagGGNMC
        backpack_pass(model, x[:2], y[:2], DiagGGNMC(), 2)
        for size in (16, 64):
            jobs[f"backpack mc {size}"] = lambda size=size: backpack_pass(model, x, y, DiagGGNMC(mc_samples=1), size)
        if with_exact:
            jobs["backpack exact 16"] = lambda: backpack_pass(model, x[few], y[few], DiagGGNExact(), 16)
            scale["backpack exact 16"] = n / (few.stop - few.start)
    except (ImportError, NotImplementedError, AttributeError) as reason:
        print(f"{net}: BackPACK has no DiagGGN for it: {type(reason).__name__}")
    for job in jobs.values():  # warm up, and let the memory formats settle
        job()
    times = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            times[name].append(seconds(job, device) * scale.get(name, 1))
    return times


def ratio(times, above, below):
    return statistics.median(ratios(times, above, below))


def fastest(times, prefix):
    names = [name for name in times if name.startswith(prefix)]
    return min(names, key=lambda name: statistics.median(times[name])) if names else None


def report(net, n, times, ours_at):
    """Print one net; ours_at: the rows a step of ours that stands beside the fastest of BackPACK's."""
    print(f"{net}: {n} samples, medians of {len(times['training'])} (min to max)")
    print(f"  {'':20}{'ms/sample':>10}{'x training':>24}")
    for name, values in times.items():
        apart = spread(ratios(times, name, "training"), digits=2)
        print(f"  {name:20}{1e3 * statistics.median(values) / n:10.3f}{apart:>24}")
    for kind in ("mc", "exact"):
        ours, theirs = f"hooks {kind} {ours_at}", fastest(times, f"backpack {kind}")
        if theirs:
            print(f"  {kind}: {ratio(times, theirs, ours):.2f} times as fast as BackPACK ({ours}; {theirs})")
        # scores are taken once, whatever the number of samples: 60000 as in the paper's data sets
        score = statistics.median(times["scores, 21 gammas"]) / 60000 * n / statistics.median(times["training"])
        print(f"  {kind}: RTR at {EPOCHS} epochs {(ratio(times, ours, 'training') + score) / (0.8 * EPOCHS):.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few samples, one repetition: does it run?")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=["tis_cnn", "not_cnn", "resnet18"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--samples", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256], help="rows of gradients per step, the library's default last")
    parser.add_argument("--contiguous", action="store_true", help="plain instead of channels_last memory format")
    parser.add_argument("--exact-backpack", action="store_true", help="time BackPACK's DiagGGNExact as well (slow)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    layout = torch.contiguous_format if options.contiguous else torch.channels_last
    for net in options.nets:
        n, repeats = (64, 1) if options.quick else (options.samples, options.repeats)
        times = measure(net, n, repeats, options.device, layout, options.sizes, options.exact_backpack)
        report(net, n, times, ours_at=options.sizes[-1])


if __name__ == "__main__":
    main()
