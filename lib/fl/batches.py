"""What a client's epoch looks like: in which order its images come, how each is augmented, and where batches end.

All of it is drawn on the CPU by the client's named generator, so that it is the same wherever the images are; one copy
an epoch takes it to the device, where images are gathered, cut and normalised by it.
"""
from itertools import count, pairwise
from typing import NamedTuple

import torch
from torch import Tensor

WHOLE = 2**22  # numbers in a client's images up to which an epoch is normalised at once: fewer small operations
WHOLE_ON_GPU = 2**28  # the same where launching operations is what costs: 1 GiB in float32


class Batch(NamedTuple):
    """A minibatch: its part of the epoch's plan `[4, n]` (see `plan`), labels `[n]` or `[n, k]`, and the images
    `[n, C, H, W]` as the net sees them, None where they are still to be made."""
    plan: Tensor
    labels: Tensor
    images: Tensor | None = None


def minibatches(task, recipe, job, rng, ahead=True):
    """Batches of a job's epochs, or without end where the job counts steps.

    ahead: let a small client's images be made for a whole epoch at once; otherwise none are made.
    """
    epochs = range(recipe.local_epochs) if job.steps is None else count()
    for _ in epochs:
        yield from epoch(task, recipe, job, rng, ahead)


def epoch(task, recipe, job, rng, ahead=True):
    """One permutation of a job's images in batches."""
    drawn, labels = plan(task, recipe, job, rng)
    whole = images(task, recipe, drawn) if ahead and is_small(task, recipe, len(labels)) else None
    for a, b in pairwise(bounds(len(labels), recipe.batch_size)):
        yield Batch(drawn[:, a:b], labels[a:b], None if whole is None else whole[a:b])


def plan(task, recipe, job, rng):
    """An epoch's plan `[4, n]` and its labels `[n]` or `[n, k]`, both on the device.

    A column for each image, in the order in which they come: its index into `task.x`, whether it is mirrored (0 or 1),
    and the row and the column in which its crop begins.
    """
    n = len(job.indices)
    order = torch.randperm(n, generator=rng)
    drawn = torch.zeros(4, n, dtype=torch.long)
    drawn[0] = job.indices[order]
    if recipe.flip:
        drawn[1] = torch.rand(n, generator=rng) < 0.5
    if spare := spare_pixels(task, recipe):
        drawn[2:] = torch.randint(0, spare + 1, (2, n), generator=rng)
    drawn = moved(drawn, task.device)
    if job.labels is None:
        return drawn, task.y[drawn[0]]
    return drawn, job.labels[order.to(job.labels.device)].to(task.device)


def images(task, recipe, drawn):
    """Images `[n, C, H, W]` as the net sees them, augmented as some columns of a plan say; nothing here waits for the
    device, so that it can be a part of a captured step."""
    index, mirrored, row, column = drawn
    offsets = (row, column) if spare_pixels(task, recipe) else None
    flips = mirrored.bool() if recipe.flip else None
    return task.inputs(task.x[index], offsets, flips, task.marks(index), recipe.crop)


def spare_pixels(task, recipe):
    """By how many pixels an image, with its border of zeros, is larger than what is cut out of it."""
    return task.side + 2 * recipe.crop - task.size


def is_small(task, recipe, n):
    """Whether the images of an epoch are made at once."""
    numbers = n * task.x.shape[1] * task.side ** 2
    limit = WHOLE_ON_GPU if task.x.is_cuda else WHOLE
    return numbers <= limit and not spare_pixels(task, recipe)


def moved(drawn, device):
    """What was drawn on the CPU for a whole epoch, on the device: one copy, which nobody waits for."""
    if device.type != "cuda":
        return drawn
    return drawn.pin_memory().to(device, non_blocking=True)


def bounds(n, size):
    """Where the batches of n samples begin and end; a last batch of one joins that before (BatchNorm needs two).

    >>> bounds(9, 4)
    [0, 4, 9]
    """
    cuts = [*range(0, n, size), n]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        del cuts[-2]
    return cuts
