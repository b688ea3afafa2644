"""Overhead of federation: seconds of one FedAvg round over 10 clients against a plain centralised epoch.

Both see the same samples in batches of the same size, in one process, interleaved; the median ratio is printed.

    python benchmarks/engine.py [--repeats 15]
"""
import argparse
import statistics
import time

import torch
from torch.nn.functional import cross_entropy

import lib

NETS = {
    "small CNN, digits, 100 a client, batch 25": dict(dataset="digits", n_train=1250, batch_size=25, lr=0.1),
    "small CNN without norm, digits, batch 25": dict(dataset="digits", n_train=1250, batch_size=25, lr=0.1, norm="none",
                                                     width=16),
    "NoT CNN, 16 px, 128 a client, batch 64": dict(dataset="digits", size=16, n_train=1600, batch_size=64, model="cnn"),
    "TIS CNN, 28 px, 128 a client, batch 32": dict(dataset="digits", size=28, n_train=1600, batch_size=32,
                                                   model="tis_cnn"),
}


def plain_epoch(net, optimiser, x, y, batch_size):
    """A centralised epoch as a tutorial writes it: shuffle, index, step."""
    order = torch.randperm(len(y))
    for part in order.split(batch_size):
        optimiser.zero_grad()
        cross_entropy(net(x[part]), y[part]).backward()
        optimiser.step()


def measure(settings, repeats):
    task = lib.make_task(dict(settings, dtype="float32", clients=10), 0)
    x = torch.cat([task.inputs(task.x[j.indices]) for j in task.jobs("full")])
    y = torch.cat([task.y[j.indices] for j in task.jobs("full")])
    net = task.build().train()
    optimiser = torch.optim.SGD(net.parameters(), task.recipe.lr, task.recipe.momentum,
                                weight_decay=task.recipe.weight_decay)
    stream, ratios, rounds = lib.fedavg(task, "full", task.init("train"), phase="train"), [], []
    for i in range(repeats + 2):
        a = time.perf_counter()
        next(stream)
        b = time.perf_counter()
        plain_epoch(net, optimiser, x, y, task.recipe.batch_size)
        c = time.perf_counter()
        if i >= 2:
            ratios.append((b - a) / (c - b))
            rounds.append(b - a)
    return statistics.median(rounds), ratios


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    print(f"{'net':45} {'round, ms':>10} {'median ratio':>13} {'quartiles':>15}")
    for name, settings in NETS.items():
        seconds, ratios = measure(settings, repeats)
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(f"{name:45} {1000 * seconds:10.1f} {middle:13.3f} {low:7.3f}-{high:.3f}")


if __name__ == "__main__":
    main()
