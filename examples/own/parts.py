"""Parts of one's own, for every notebook and without a change to `lib`: a data set, a net, a method, a metric, a claim.

./run_all.sh --profile examples/own/own.yaml        # imports this file, since the profile names it under `extensions`
"""
import csv
from typing import Annotated, Literal

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn

import lib
from lib.files import data_root, locked, write
from lib.values import Count, Range, Share  # the types of arguments: what does not fit is refused at once


# ---- a data set: a table of file names and labels, and the images beside it

def export(folder, count=400):
    """Write what one would bring: some of scikit-learn's digits as image files, and labels.csv."""
    digits, lines = load_digits(n_class=4), ["file,label"]
    for i in range(count):
        Image.fromarray((digits.images[i] * 15.9).astype(np.uint8)).save(folder / f"{i:03}.png")
        lines.append(f"{i:03}.png,{digits.target[i]}")
    write(folder / "labels.csv", "\n".join(lines) + "\n")


@lib.dataset("own_digits")
def own_digits(*, labels: Literal["all", "even"] = "all"):
    """Images [N, 8, 8] of bytes, and labels from 0; split, subset, resizing and normalisation follow by themselves."""
    folder = data_root() / "own_digits"
    with locked(folder / ".lock"):          # several jobs may start at once
        if not (folder / "labels.csv").exists():
            export(folder)
    with open(folder / "labels.csv", encoding="utf-8") as table:
        rows = list(csv.DictReader(table))
    if labels == "even":
        rows = [row | {"label": int(row["label"]) // 2} for row in rows if int(row["label"]) % 2 == 0]
    x = np.stack([np.asarray(Image.open(folder / row["file"])) for row in rows])
    return x, np.array([int(row["label"]) for row in rows])


# ---- a net: of images [channels, size, size] for so many classes

@lib.model("own_net")
def own_net(channels, classes, size, *, width: Count = 16, dropout: Annotated[float, Range(0, 0.9)] = 0.0):
    """One convolution and a hidden layer. `width` is a key that every setting has, `dropout` is one of this net alone."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(width * (size // 2) ** 2, 32), nn.ReLU(), nn.Dropout(dropout), nn.Linear(32, classes))


# ---- an unlearning method: from where recovery starts; FedAvg on the retained data follows

@lib.method("Shrink")
def shrink(task, trained, *, by: Share = 0.5):
    """Every weight becomes smaller by the same factor."""
    yield lib.Round({k: v * by if v.is_floating_point() else v for k, v in trained.state.items()})


# ---- a metric: measured wherever a model is, where a setting names it under `metrics`

@lib.metric("confidence", words="mean confidence on the forgotten images", unit="percent", kind="share")
def confidence(task, state):
    """How sure the model is of what it says about the data to forget."""
    logits = lib.predict(task, state, task.indices("forget"))
    return 100 * logits.softmax(1).amax(1).mean().item()


# ---- a claim: judged seed by seed on the rows of a notebook, beside those of the papers

@lib.claim("A1", notebook="02", text="Shrinking all weights ends nearer to Retrain than fine-tuning.")
def shrinking_is_better_than_fine_tuning(df):
    """Average gap at the last round, seed by seed."""
    gaps = lib.by_seed(df, "avg_gap", "last")
    shrink, ft = gaps["Shrink by=0.3"], gaps["FT"]
    return f"gap {shrink.mean():.1f}, FT {ft.mean():.1f}", shrink < ft
