"""The backdoor: a trigger in four pixels, and who plants it."""
import torch

from ..errors import Bad
from .rng import generator


def poison(settings, y, clients, seed):
    """`(marked, labels)` of the backdoor: which images carry the trigger, and all labels with theirs replaced.

    Each target gives the trigger and the label `poison_label` to `poison_share` of its training images of any other
    label (NoT, 13.5: 0.8; TIS, 6.1.1: 1). Its other images and all other clients stay as they are.

    y: labels `[N]`; clients: as in a `Task`. Both results are `[N]`, bool and long.
    """
    label = settings["poison_label"]
    marked = torch.zeros(len(y), dtype=torch.bool)
    for k in settings["targets"]:
        own = clients[k].indices("full")
        others = own[y[own] != label]
        count = round(settings["poison_share"] * len(others))
        order = torch.randperm(len(others), generator=generator(seed, "poison", k))
        marked[others[order[:count]]] = True
    return marked, torch.where(marked, label, y)


def add_trigger(x, value=None):
    """A copy of the batch x `[N, C, H, W]` with the backdoor trigger of NoT 13.5 and TIS 6.1.1 in every image.

    Four pixels, a checkerboard in the 3x3 box one pixel off the lower right corner, are set to `value` in all
    channels. For images before normalisation: by default 255 (uint8) or the maximum of x (floats). Bad below 8x8.

    >>> add_trigger(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).nonzero()[:, 2:].tolist()
    [[4, 6], [5, 5], [6, 4], [6, 6]]
    """
    if x.ndim != 4 or min(x.shape[2:]) < 8:
        raise Bad(f"the trigger needs a batch [N, C, H, W] of images of 8x8 or more, not shape {tuple(x.shape)}")
    marked = x.clone()
    if not x.numel():
        return marked
    if value is None:
        value = x.max() if x.is_floating_point() else torch.iinfo(x.dtype).max
    for row, column in ((-2, -2), (-3, -3), (-2, -4), (-4, -2)):
        marked[:, :, row, column] = value
    return marked
