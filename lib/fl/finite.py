"""Whether a state and its logits still say anything: a model of NaN has no guess."""
import math

import torch

NO_GUESS = -1


@torch.no_grad()
def finite(state):
    """Whether all numbers of a state are finite: a sum that is finite has no other summands, and is soon taken."""
    tensors = [v for v in state.values() if v.is_floating_point()]
    total = torch.stack([v.sum() for v in tensors]).sum()
    if math.isfinite(total):
        return True
    return all(v.isfinite().all() for v in tensors)     # large numbers may have overflown in the sum


def guess(logits):
    """The class with the largest logit, `[n]`; NO_GUESS where a logit is not finite, since argmax of NaN is class 0.

    >>> guess(torch.tensor([[0.0, 1.0], [math.nan, 1.0]]))
    tensor([ 1, -1])
    """
    return logits.argmax(1).masked_fill(~logits.isfinite().all(1), NO_GUESS)


def share(guesses, labels):
    """How many guesses are the label (or labels `[n]`), in percent; NaN without guesses, and where one is NO_GUESS.

    >>> share(torch.tensor([1, 1, 0, 1]), 1)
    75.0
    """
    if not len(guesses) or (guesses == NO_GUESS).any():
        return math.nan
    return 100 * (guesses == labels).double().mean().item()
