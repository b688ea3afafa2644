"""The backdoor: a trigger in four pixels, and who plants it."""
import torch

from ..errors import Bad
from .rng import generator


def poison(settings, y, clients, seed):
    """`(marked, labels)` of the backdoor: which images carry the trigger, and all labels with theirs replaced.

    Each target gives the trigger and the label `poison_label` to `poison_share` of its training images of any other
    label (NoT, 14.2: 0.8; TIS, 7.2.4: 1). Its other images and all other clients stay as they are.
    """
    label, marked = settings["poison_label"], torch.zeros(len(y), dtype=torch.bool)
    for k in settings["targets"]:
        own = torch.cat(clients[k][:2]).sort().values
        able = own[y[own] != label]
        count = round(settings["poison_share"] * len(able))
        marked[able[torch.randperm(len(able), generator=generator(seed, "poison", k))[:count]]] = True
    return marked, torch.where(marked, label, y)


def add_trigger(x, value=None):
    """A copy of the batch x [N, C, H, W] with the backdoor trigger of NoT 14.2 and TIS 6.1 in every image.

    Four pixels, a checkerboard in the 3x3 box one pixel off the lower right corner, are set to `value` in all
    channels. For images before normalisation: by default 255 (uint8) or the maximum of x (floats).
    """
    if x.ndim != 4 or min(x.shape[2:]) < 8:
        raise Bad(f"the trigger needs a batch [N, C, H, W] of images of 8x8 or more, not shape {tuple(x.shape)}")
    if value is None and x.numel():
        value = x.max() if x.is_floating_point() else torch.iinfo(x.dtype).max
    marked = x.clone()
    if x.numel():
        for row, column in ((-2, -2), (-3, -3), (-2, -4), (-4, -2)):
            marked[:, :, row, column] = value
    return marked
