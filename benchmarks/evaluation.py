"""Seconds of an evaluation by the number of images at once, and by the memory layout; beside it what `task.at_once` chose.

    python benchmarks/evaluation.py [--repeats 5] [--images 1024] [--only ViT]

Process time of one thread, interleaved: median (min to max) in milliseconds. The logits of all batches are compared.
"""
import argparse
from functools import partial

from clock import interleaved, spread

import torch

import lib
from lib.fl.models import LAYOUTS

NETS = {
    "small CNN, 8 px": dict(model="small_cnn", size=8),
    "small CNN, 28 px": dict(model="small_cnn", size=28),
    "NoT CNN, 32 px, colour": dict(model="cnn", size=32, channels=3),
    "TIS CNN, 28 px": dict(model="tis_cnn", size=28),
    "ResNet-18, 32 px, colour": dict(model="resnet18", size=32, channels=3),
    "small ViT, 16 px": dict(model="small_vit", size=16, patch=4, dim=64, depth=4, heads=4),
}
BATCHES = (32, 64, 128, 256, 512)


@torch.no_grad()
def logits(net, x, batch):
    return torch.cat([net(part) for part in x.split(batch)])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--only", default="", help="nets whose name contains this")
    args = parser.parse_args()
    for name, settings in NETS.items():
        if args.only not in name:
            continue
        task = lib.make_task({"dataset": "digits", "dtype": "float32", "device": "cpu", **settings}, 0)
        raw = task.x[torch.arange(args.images) % len(task.x)]
        todo = {}
        for layout, format in LAYOUTS.items():
            net = task.build().to(memory_format=format).eval()
            net.load_state_dict(task.init("a"))
            x = task.inputs(raw).contiguous(memory_format=format)
            outs = [logits(net, x, batch) for batch in BATCHES]
            same = all(torch.equal(out, outs[-1]) for out in outs)
            print(f"{name}, {layout}: logits of all batches {'equal' if same else 'DIFFER'}")
            todo |= {(layout, batch): partial(logits, net, x, batch) for batch in BATCHES}
        for (layout, batch), seconds in interleaved(todo, args.repeats, warm=1).items():
            chosen = layout == "channels_last" and batch == task.at_once
            print(f"    {layout:14} {batch:4} {spread(seconds, 1000):>24} ms{'   <- chosen' if chosen else ''}", flush=True)


if __name__ == "__main__":
    main()
