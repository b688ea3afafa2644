"""The audit: can somebody who knows the method tell an unlearned model from one that never saw the client, example by
example?

Everything here is about arrays `[models, examples]` of margins: `ours` of unlearned models, `theirs` of as many models
that were trained without the client.
"""
from math import ceil, floor, log
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import roc_auc_score

from ..errors import Bad

RATES = {"attack_tpr_1": 0.01, "attack_tpr_0.1": 0.001}     # false positive rates at which an attack is judged
DELTA = 1e-5            # of the competition, as are the four below
CAP = 50.0              # the largest epsilon
PEAKED = 0.01           # a sample so much narrower than the other one counts as told apart
SLACK = 2.0             # how far an interval may be from the narrower sample's
BUCKET = 0.5            # of the score: epsilon's width for which points halve
BINS = 20               # of KLoM, as are the two below
LARGEST = 100.0
LEAST = 1e-5


def margins(logits, labels):
    """The margin of each sample `[n]`: the true class's logit minus logsumexp of the others, in nats, float64.

    The logit of the true class's probability, which LiRA (Carlini et al. 2022), the competition and KLoM look at.

    >>> margins(torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([1]))
    tensor([-0.6931], dtype=torch.float64)
    """
    logits = logits.double()
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -torch.inf)
    return true[:, 0] - others.logsumexp(1)


def judge(ours, theirs, least=3):
    """The two as float64 arrays; Bad where they are not `[models, examples]` of one shape with enough models."""
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if ours.shape != theirs.shape or ours.ndim != 2:
        raise Bad(f"audit: margins {[*ours.shape]} and {[*theirs.shape]} cannot be compared; give two arrays "
                  "[models, examples] of one shape")
    if len(ours) < least:
        raise Bad(f"audit: {len(ours)} models are too few to tell two worlds apart; train at least {least}")
    return ours, theirs


# ---------------------------------------------------------------- the likelihood-ratio attack

class Scores(NamedTuple):
    """What an attack says, each `[models, examples]`: above zero is `unlearned`, below is `never saw it`."""
    ours: np.ndarray
    theirs: np.ndarray


def likelihood_ratio(ours, theirs):
    """The likelihood-ratio attack on every example, with one model of each world left out (LiRA, Carlini et al. 2022,
    Algorithm 1; against unlearning U-LiRA, Hayes et al. 2025, arXiv 2403.01218): `Scores`, log ratios in nats.

    An example's margins in each world are taken as normal, with the mean and the variance of the other models; the two
    of the same number, one of each world, are left out of both fits. Of two samples of one distribution an attack is
    right half of the time, at every number of models.
    """
    ours, theirs = judge(ours, theirs)
    mean, variance = without_one(ours)
    their_mean, their_variance = without_one(theirs)

    def ratio(x):
        return log_normal(x, mean, variance) - log_normal(x, their_mean, their_variance)
    return Scores(ratio(ours), ratio(theirs))


def without_one(sample):
    """Mean and variance over the models without the one of the line, `[models, examples]` each; n - 2 in the variance's
    denominator, and never below rounding."""
    n = len(sample)
    centre = sample.mean(0)
    off = sample - centre
    mean = centre - off / (n - 1)
    total = (off**2).sum(0) - off**2 * n / (n - 1)
    smallest = 1e-12 * (1 + centre**2)
    return mean, np.maximum(total / (n - 2), smallest)


def log_normal(x, mean, variance):
    """Log density of a normal distribution, without its constant."""
    return -((x - mean) ** 2) / (2 * variance) - np.log(variance) / 2


def attack(scores):
    """How well the attack does over all models and examples: accuracy (percent), AUC, and the true positive rates
    (percent) at 1 % and 0.1 % false positives; positive is `unlearned`."""
    ours, theirs = scores.ours.ravel(), scores.theirs.ravel()
    right = (above(ours).mean() + above(-theirs).mean()) / 2
    label = np.repeat([1, 0], [len(ours), len(theirs)])
    rates = true_positives(scores, list(RATES.values()))
    found = {"attack_acc": 100 * right, "attack_auc": roc_auc_score(label, np.concatenate([ours, theirs]))}
    return {**found, **dict(zip(RATES, 100 * rates))}


def above(scores):
    """1 above zero, a half at zero."""
    return (np.sign(scores) + 1) / 2


def true_positives(scores, rates):
    """The ROC curve: the share of ours that score above all but a share `rates` of the others', `[rates]`."""
    ours, theirs = scores.ours.ravel(), np.sort(scores.theirs.ravel())[::-1]
    found = []
    for rate in rates:
        allowed = floor(rate * len(theirs) + 1e-9)
        share = (ours > theirs[allowed]).mean() if allowed < len(theirs) else 1.0
        found.append(share)
    return np.array(found)


def bands(scores, statistic, rng, draws=200, level=0.95):
    """A bootstrap interval over models: `(low, high)` of `statistic(scores)`, an array, over draws with replacement.

    Models are drawn, each world for itself and all examples of a model together, since they depend on one another. The
    scores stay as they are: a model drawn twice would betray itself in a fit.
    """
    n = len(scores.ours)
    found = []
    for _ in range(draws):
        drawn = Scores(scores.ours[rng.integers(n, size=n)], scores.theirs[rng.integers(n, size=n)])
        found.append(statistic(drawn))
    tail = (1 - level) / 2
    return np.quantile(np.array(found), [tail, 1 - tail], axis=0)


# ---------------------------------------------------------------- KLoM

def klom(ours, theirs):
    """KLoM (Georgiev et al. 2024, arXiv 2410.23232): for each example the KL divergence of its margins, unlearned from
    retrained, over 20 bins between the smallest and the largest of both; `[examples]`, nats.

    As in the public code margins end at +-100, an empty bin of the retrained has the share 1e-5, and the largest margin
    itself, on the last edge, is not counted. Not zero for equal distributions: hold it beside a second Retrain's.
    """
    ours, theirs = judge(ours, theirs, least=2)
    ours, theirs = (np.clip(part, -LARGEST, LARGEST) for part in (ours, theirs))
    low = np.minimum(ours.min(0), theirs.min(0))
    high = np.maximum(ours.max(0), theirs.max(0))
    high = np.where(high > low, high, low + 1)
    p, q = (shares(binned(part, low, high)) for part in (ours, theirs))
    q = np.where(p > 0, np.maximum(q, LEAST), q)
    q = q / q.sum(0)
    ratio = np.where(p > 0, p, 1) / np.where(p > 0, q, 1)
    return (p * np.log(ratio)).sum(0)


def binned(sample, low, high):
    """How many models are in each bin, `[bins, examples]`; a margin on an edge is in the bin above it."""
    place = np.floor((sample - low) / (high - low) * BINS)
    return np.stack([(place == k).sum(0) for k in range(BINS)])


def shares(counts):
    """Counts as shares; none of none."""
    return counts / np.maximum(counts.sum(0), 1)


# ---------------------------------------------------------------- the competition's epsilon

def epsilon_of(false_positive, false_negative, delta=DELTA):
    """Epsilon of an attack with these error rates (Triantafillou et al. 2024; Kairouz et al. 2015), arrays.

    `max(log((1 - delta - fpr) / fnr), log((1 - delta - fnr) / fpr))`, at least 0; infinite where both are zero, NaN
    where one is, which the competition takes for too few models.
    """
    fpr, fnr = np.asarray(false_positive, float), np.asarray(false_negative, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = np.log(1 - delta - fpr) - np.log(fnr), np.log(1 - delta - fnr) - np.log(fpr)
        found = np.maximum(np.fmax(one, other), 0)
    found = np.where((fpr == 0) | (fnr == 0), np.nan, found)
    return np.where((fpr == 0) & (fnr == 0), np.inf, found)


def epsilon(ours, theirs, delta=DELTA):
    """The NeurIPS 2023 competition's epsilon of each example, `[examples]` (Triantafillou et al., arXiv 2406.09073):
    that of the best of two families of attacks on its margin, at most 50.

    One threshold, above which is the world with the larger median; or two, between which is the narrower world, about
    as far apart as that is wide. The public code tries a grid of a hundred thresholds a nat and stops at an assertion
    on an array; here every split that some threshold makes is tried once. Samples that differ a hundredfold in width
    get 50. It grows with the number of models, and of equal distributions as well: hold it beside a second Retrain's.
    """
    ours, theirs = judge(ours, theirs, least=2)
    return np.array([epsilon_of_one(a, b, delta) for a, b in zip(ours.T, theirs.T)])


def epsilon_of_one(ours, theirs, delta):
    """`epsilon` of one example from its margins under the models, `[models]` each."""
    positive, negative = (theirs, ours) if np.median(theirs) > np.median(ours) else (ours, theirs)
    width, other = np.ptp(positive), np.ptp(negative)
    if min(width, other) < PEAKED * max(width, other):
        return CAP
    narrow, wide = (negative, positive) if width >= other else (positive, negative)
    rates = np.concatenate([one_threshold(positive, negative), two_thresholds(narrow, wide)], 1)
    found = epsilon_of(*rates, delta)
    best = np.nanmax(found) if np.isfinite(found).any() or np.isinf(found).any() else 0.0
    return float(min(best, CAP))


def one_threshold(positive, negative):
    """`[2, thresholds]`: false positive and false negative rates of `at or above is positive`, for every split."""
    cuts = np.append(np.unique(np.concatenate([positive, negative])), np.inf)
    fnr = np.searchsorted(np.sort(positive), cuts) / len(positive)
    fpr = 1 - np.searchsorted(np.sort(negative), cuts) / len(negative)
    return np.stack([fpr, fnr])


def two_thresholds(narrow, wide):
    """`[2, intervals]`: false positive and false negative rates of `between them is the narrower`, for every split that
    an interval makes whose right end is near those of the narrower sample and which is about as wide as that."""
    x = np.unique(np.concatenate([narrow, wide]))
    inside, outside = (np.searchsorted(np.sort(part), x) for part in (narrow, wide))
    width = np.ptp(narrow)
    before, after = np.append(-np.inf, x[:-1]), np.append(x[1:], np.inf)
    least = np.maximum(x, narrow.min() + width - SLACK)         # where the right end may be, if x is the last inside
    most = np.minimum(after, narrow.max() + SLACK)
    shortest = least[None, :] - x[:, None]                      # from the first inside to the right end
    longest = most[None, :] - before[:, None]
    first, last = np.nonzero((shortest <= width + SLACK) & (longest > width - SLACK) & (most >= least)[None, :]
                             & (x[:, None] <= x[None, :]))
    ends = [np.append(counts, len(part))[1:] for counts, part in ((inside, narrow), (outside, wide))]
    tpr = (ends[0][last] - inside[first]) / len(narrow)
    fpr = (ends[1][last] - outside[first]) / len(wide)
    return np.stack([fpr, 1 - tpr])


def forgetting_score(epsilons, models):
    """The competition's forgetting quality of epsilons `[examples]` from so many models (Triantafillou et al. 2024).

    The mean of points that halve with each half of epsilon, 1 is best; none beyond what so many models resolve.

    >>> forgetting_score(np.array([0.2, 0.6, 40.0]), 32)
    0.5
    """
    buckets = int(ceil(log(models - 1)) / BUCKET) if models > 2 else 0
    place = np.floor(np.asarray(epsilons) / BUCKET)
    points = np.where(place < buckets, 2.0**-place, 0.0)
    return float(points.mean())


# ---------------------------------------------------------------- which examples

def memorised(original, *retrained, share=0.1):
    """Positions of the examples that the original model owes most to having seen them (after Feldman and Zhang 2020, in
    margins), `share` of them, at least one, in order.

    original, retrained: `[models, examples]`. Give both Retrains: with one alone, the other would look like a method.
    """
    gain = np.mean(original, 0) - np.mean(np.concatenate(retrained), 0)
    count = max(1, round(share * len(gain)))
    return np.sort(np.argsort(-gain, kind="stable")[:count])
