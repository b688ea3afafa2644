"""Overhead of federation: a round of FedAvg over 10 clients beside plain loops that do the same.

    python benchmarks/engine.py [--repeats 9] [--only "NoT CNN"]

Process time of one thread, interleaved: median (min to max). `centralised` is an epoch over the same samples in batches
of the same size, the floor; `by hand` is FedAvg as a tutorial writes it, its weights equal to ours but for rounding.
Other libraries join where they are installed, see peers.py.
"""
import argparse
from functools import partial

from clock import interleaved, ratios, spread
from peers import peers

import torch
from torch.nn.functional import cross_entropy

import lib

NETS = {
    "small CNN, digits, batch 25": dict(n_train=1250, batch_size=25, lr=0.1),
    "small CNN, 16 px, batch 25": dict(n_train=1250, batch_size=25, lr=0.1, norm="none", width=16, size=16),
    "NoT CNN, 32 px, colour, batch 64": dict(size=32, channels=3, n_train=1280, batch_size=64, model="cnn"),
    "TIS CNN, 28 px, batch 32": dict(size=28, n_train=1280, batch_size=32, model="tis_cnn"),
    "ResNet-18, 32 px, colour, batch 64": dict(size=32, channels=3, n_train=640, batch_size=64, model="resnet18"),
}


def sgd(net, recipe):
    return torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)


def epoch(net, optimiser, x, y, order, batch_size):
    """An epoch as a tutorial writes it: index, step."""
    for part in order.split(batch_size):
        optimiser.zero_grad()
        cross_entropy(net(x[part]), y[part]).backward()
        optimiser.step()


def by_hand(task, net, data, state, r):
    """A round of FedAvg in plain PyTorch; returns the mean of the clients' states."""
    total = {k: torch.zeros_like(v) for k, v in state.items()}
    samples = sum(len(y) for _, y in data)
    for client, (x, y) in enumerate(data):
        net.load_state_dict(state)
        order = torch.randperm(len(y), generator=task.rng("train", r, client))
        epoch(net, sgd(net, task.recipe), x, y, order, task.recipe.batch_size)
        for k, v in net.state_dict().items():
            total[k] += (v * (len(y) / samples)).to(total[k].dtype)
    return total


def candidates(settings):
    """`{name: function that does one round}`, all over the same samples."""
    task = lib.make_task({"dataset": "digits", "dtype": "float32", "device": "cpu", "clients": 10, **settings}, 0)
    jobs = task.jobs("full")
    data = [(task.inputs(task.x[job.indices]), task.y[job.indices]) for job in jobs]
    x, y = (torch.cat(parts) for parts in zip(*data))
    net, hand = task.build().train(), task.build().train()
    start = task.init("train")
    optimiser = sgd(net, task.recipe)
    ours = next(lib.fedavg(task, "full", start, phase="train")).state
    theirs = by_hand(task, hand, data, start, 1)
    worst = max(float((v - theirs[k]).abs().max()) for k, v in ours.items() if v.is_floating_point())
    print(f"    largest difference between a round of ours and by hand: {worst:.1e}")

    def centralised():
        epoch(net, optimiser, x, y, torch.randperm(len(y)), task.recipe.batch_size)

    stream = lib.fedavg(task, "full", start, phase="train")
    return {"centralised": centralised, "ours": partial(next, stream),
            "by hand": partial(by_hand, task, hand, data, start, 1), **peers(task, data, sgd)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--only", default="", help="nets whose name contains this")
    args = parser.parse_args()
    for name, settings in NETS.items():
        if args.only not in name:
            continue
        print(name)
        seconds = interleaved(candidates(settings), args.repeats)
        for who, values in seconds.items():
            ratio = spread(ratios(seconds, who, "centralised"), digits=3)
            print(f"    {who:12} {spread(values, 1000):>26} ms   {ratio} of centralised", flush=True)


if __name__ == "__main__":
    main()
