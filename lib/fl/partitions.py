"""Who holds which images: partitions over clients, and splits.

Pure functions of labels (1-D integers) and a torch.Generator. A partition is `f(labels, n, rng, *, arguments)`,
registered by `@partition(name)`, and gives one tensor of indices for each of `n` clients; no index appears twice.
"""
import numpy as np
import torch

from ..errors import Bad, short
from ..registry import PARTITIONS, arguments, judge
from ..values import Concentration, Whole
from .rng import _numpy

TRIES = 1000


def partition(name=None):
    """Register a partition under the name by which settings choose it."""
    return PARTITIONS.named(name)


def divide(name, labels, n, rng, **options):
    """The partition of that name: a list of `n` sorted LongTensors of indices. Raises Bad where one is none."""
    f = PARTITIONS.find(name, "partition")
    judge(arguments(f), options, f"partition {name}")
    try:
        parts = [torch.as_tensor(part, dtype=torch.long).sort().values for part in f(labels, n, rng, **options)]
    except (TypeError, ValueError, RuntimeError) as error:
        if isinstance(error, Bad):
            raise
        raise Bad(f"partition: {name} gives no indices ({short(error)}); it must give a row of whole numbers for each "
                  "client") from error
    if any(part.ndim != 1 for part in parts):
        raise Bad(f"partition: {name} gives tables of indices; it must give a row of whole numbers for each client")
    if len(parts) != n:
        raise Bad(f"partition: {name} gives {len(parts)} parts for {n} clients; it must give one for each")
    held = torch.cat(parts)
    if len(held.unique()) < len(held):
        raise Bad(f"partition: {name} gives an image to two clients, or twice to one; each must appear once at most")
    if len(held) and not 0 <= held.min() <= held.max() < len(labels):
        raise Bad(f"partition: {name} gives an image that is not there; indices go from 0 to {len(labels) - 1}")
    return parts


def _labels(labels):
    labels = torch.as_tensor(labels)
    if labels.ndim != 1 or labels.is_floating_point() or len(labels) and labels.min() < 0:
        raise Bad(f"labels must be a row of integers >= 0, not {labels.dtype} of shape {tuple(labels.shape)}")
    return labels.long()


def _clients(n, most, what):
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= most:
        raise Bad(f"clients: {n} must be a whole number from 1 to {most}, the number of {what}")


def _shuffled(indices, rng):
    return indices[torch.randperm(len(indices), generator=rng)]


def _members(labels, rng):
    """Shuffled indices of each class 0..C-1."""
    count = int(labels.max()) + 1 if len(labels) else 0
    return [_shuffled((labels == c).nonzero()[:, 0], rng) for c in range(count)]


def _join(parts):
    return torch.cat(parts).sort().values if parts else torch.empty(0, dtype=torch.long)


def _round(wanted, total):
    """Whole numbers >= 0 near `wanted` that sum to `total` (largest remainders)."""
    counts = np.floor(wanted).astype(np.int64)
    order = np.argsort(counts - wanted, kind="stable")
    counts[order[:max(0, total - counts.sum())]] += 1
    return counts


@partition("iid")
def iid(labels, n, rng):
    """NoT 14.1, TIS 6.1 (random): a shuffle cut into n parts whose sizes differ by at most one."""
    labels = _labels(labels)
    _clients(n, len(labels), "images")
    order = torch.randperm(len(labels), generator=rng)
    return [part.sort().values for part in order.tensor_split(n)]


@partition("dirichlet")
def dirichlet(labels, n, rng, *, beta: Concentration, min_size: Whole = 10):
    """NoT Table 4: class c is cut in proportions drawn from Dir(beta, ..., beta) over the clients; covers all images.

    Drawn again until every client holds `min_size` images, at most TRIES times.
    """
    labels = _labels(labels)
    _clients(n, len(labels), "images")
    if min_size * n > len(labels):
        raise Bad(f"min_size: {min_size} images for each of {n} clients are more than the {len(labels)} there are; "
                  "lower min_size or clients")
    draw, members = _numpy(rng), _members(labels, rng)
    sizes = np.array([len(m) for m in members])[:, None]
    for _ in range(TRIES):
        shares = draw.dirichlet(np.full(n, float(beta)), size=len(members))
        cuts = np.rint(np.cumsum(shares, 1)[:, :-1] * sizes).astype(np.int64)
        held = np.diff(cuts, axis=1, prepend=0, append=sizes).sum(0)
        if held.min() >= min_size:
            pieces = [m.tensor_split(c.tolist()) for m, c in zip(members, cuts, strict=True)]
            return [_join([piece[k] for piece in pieces]) for k in range(n)]
    raise Bad(f"no Dirichlet draw with beta {beta} gave each of {n} clients min_size {min_size} images "
              f"in {TRIES} tries; raise beta or lower min_size or clients")


@partition("preferential")
def preferential(labels, n, rng):
    """TIS 6.1 (preferential): of C classes the last n belong to one client each, C-n+i to client i; the others are
    shared equally. Ten balanced classes and five clients: 10 % of a client from each of 0..4, 50 % from 5+i.
    """
    labels = _labels(labels)
    members = _members(labels, rng)
    _clients(n, len(members), "classes of a preferential partition")
    first = len(members) - n
    empty = [first + k for k in range(n) if not len(members[first + k])]
    if empty:
        raise Bad(f"partition: preferential gives class {empty[0]} to one client and it has no images; use more images")
    held = [[members[first + k]] for k in range(n)]
    for c, shared in enumerate(members[:first]):
        for i, part in enumerate(shared.tensor_split(n)):
            held[(i + c) % n].append(part)  # rotated, so that the odd images do not all go to client 0
    return [_join(parts) for parts in held]


@partition("tis_dirichlet")
def tis_dirichlet(labels, n, rng, *, beta: Concentration):
    """TIS 6.1 (Dirichlet): each client has a class distribution from Dir(beta, ..., beta); all clients are of the one
    size that the scarcest class allows, and the images left over belong to nobody.
    """
    labels = _labels(labels)
    _clients(n, len(labels), "images")
    members = _members(labels, rng)
    sizes = np.array([len(m) for m in members])
    shares = _numpy(rng).dirichlet(np.full(len(members), float(beta)), size=n)
    demand = shares.sum(0)
    size = int((sizes[demand > 0] / demand[demand > 0]).min())
    while size and (sum(_round(row * size, size) for row in shares) > sizes).any():
        size -= 1  # rounding asked for an image too many
    counts = np.array([_round(row * size, size) for row in shares])
    ends = counts.cumsum(0)
    parts = [_join([m[e - c:e] for m, c, e in zip(members, counts[k], ends[k], strict=True)]) for k in range(n)]
    if not size:
        raise Bad(f"partition: tis_dirichlet with beta {beta} leaves {n} clients without images, as the smallest "
                  f"class has {sizes.min()}; use fewer clients, more images or a larger beta")
    return parts


def split_validation(indices, share, rng):
    """(train, validation), both sorted: `share` of the indices, rounded, is held out at random."""
    indices = torch.as_tensor(indices, dtype=torch.long)
    if not 0 <= share < 1:
        raise Bad(f"val_share: {share} must be a number >= 0 and < 1")
    held = round(share * len(indices))
    if held and held == len(indices):
        raise Bad(f"val_share: {share} of {len(indices)} images leaves none to train on")
    order = _shuffled(indices, rng)
    return order[held:].sort().values, order[:held].sort().values


def stratified(labels, share, rng):
    """(rest, chosen), both sorted positions in `labels`: round(share * N) are chosen, each class in proportion.

    A class's number is off by less than one from its exact share.
    """
    labels = _labels(labels)
    if not 0 <= share <= 1:
        raise Bad(f"share: {share} must be a number from 0 to 1")
    members = _members(labels, rng)
    counts = _round(np.array([len(m) * share for m in members]), round(share * len(labels)))
    pairs = list(zip(members, counts.tolist(), strict=True))
    return _join([m[c:] for m, c in pairs]), _join([m[:c] for m, c in pairs])
