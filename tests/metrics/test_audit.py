"""The audit's statistics: what they say of two samples of one normal, and of arrays whose answer is known."""
import numpy as np
import pytest
import torch
from scipy.stats import entropy, norm

from lib.errors import Bad
from lib.metrics import audit


def normals(seed, models=24, examples=400, shift=0.0):
    rng = np.random.default_rng(seed)
    centre, width = rng.normal(0, 3, examples), rng.uniform(0.5, 2, examples)
    ours = centre + width * rng.normal(shift, 1, (models, examples))
    return ours, centre + width * rng.normal(0, 1, (models, examples))


def test_a_margin_is_the_logit_of_the_true_class():
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 3, 1, 2, 2])
    p = logits.double().softmax(1)[range(5), labels]
    assert torch.allclose(audit.margins(logits, labels), torch.logit(p))
    sure = torch.tensor([[900.0, 0.0]])
    assert audit.margins(sure, torch.tensor([0])) == 900 and audit.margins(sure, torch.tensor([1])) == -900


# ---------------------------------------------------------------- the attack

@pytest.mark.parametrize("models", [4, 24])
def test_two_samples_of_one_normal_cannot_be_told_apart(models):
    found = [audit.attack(audit.likelihood_ratio(*normals(seed, models))) for seed in range(20)]
    mean = {name: np.mean([f[name] for f in found]) for name in found[0]}
    assert abs(mean["attack_acc"] - 50) < 0.6 and abs(mean["attack_auc"] - 0.5) < 0.01
    assert abs(mean["attack_tpr_1"] - 1) < 0.25 and mean["attack_tpr_0.1"] < 0.3


def test_the_attack_finds_what_a_shift_leaves():
    scores = audit.likelihood_ratio(*normals(0, models=200, examples=200, shift=1.0))
    found = audit.attack(scores)
    assert abs(found["attack_acc"] - 100 * norm.cdf(0.5)) < 1       # the best there is
    assert abs(found["attack_auc"] - norm.cdf(np.sqrt(0.5))) < 0.01


def test_the_ratio_is_that_of_normals_fitted_without_the_model():
    ours, theirs = normals(1, models=6, examples=3)
    scores = audit.likelihood_ratio(ours, theirs)
    for i in range(6):
        a, b = np.delete(ours, i, 0), np.delete(theirs, i, 0)
        fits = [norm(part.mean(0), part.std(0, ddof=1)) for part in (a, b)]
        for given, said in ((ours, scores.ours), (theirs, scores.theirs)):
            assert np.allclose(said[i], fits[0].logpdf(given[i]) - fits[1].logpdf(given[i]))


def test_rates_by_hand():
    scores = audit.Scores(np.array([[3.0, 1.0], [-1.0, 2.5]]), np.array([[-3.0, 2.0], [-2.0, 0.0]]))
    found = audit.attack(scores)
    assert found["attack_acc"] == 100 * (3 / 4 + 2.5 / 4) / 2
    assert found["attack_auc"] == 13 / 16
    assert np.array_equal(audit.true_positives(scores, [0.0, 0.25, 0.5, 1.0]), [0.5, 0.75, 1.0, 1.0])
    assert found["attack_tpr_1"] == 50


def test_bands_hold_the_number_and_shrink_with_models():
    def accuracy(scores):
        return audit.attack(scores)["attack_acc"]
    widths = []
    for models in (8, 64):
        scores = audit.likelihood_ratio(*normals(2, models))
        low, high = audit.bands(scores, accuracy, np.random.default_rng(0), draws=100)
        assert low <= accuracy(scores) <= high and low < 50 < high
        widths.append(high - low)
    assert widths[1] < widths[0]


def test_arrays_that_do_not_go_together_are_refused():
    with pytest.raises(Bad, match="one shape"):
        audit.likelihood_ratio(np.zeros((4, 2)), np.zeros((4, 3)))
    with pytest.raises(Bad, match="too few"):
        audit.likelihood_ratio(np.zeros((2, 2)), np.zeros((2, 2)))


# ---------------------------------------------------------------- KLoM

def binned_divergence(p, q):
    """The public definition, one example, bin by bin."""
    p, q = np.clip(p, -100, 100), np.clip(q, -100, 100)
    edges = np.linspace(min(p.min(), q.min()), max(p.max(), q.max()), 21)
    counts = [np.array([(np.digitize(part, edges) == i).sum() for i in range(1, 21)]) for part in (p, q)]
    p, q = (c / c.sum() for c in counts)
    return entropy(p, np.where(p > 0, np.maximum(q, 1e-5), q))


def test_klom_is_the_public_definition():
    ours, theirs = normals(3, models=30, examples=20, shift=0.7)
    ours[0, 0] = 400.0
    expected = [binned_divergence(*both) for both in zip(ours.T, theirs.T)]
    assert np.allclose(audit.klom(ours, theirs), expected, rtol=0, atol=1e-12)


def test_klom_by_hand():
    ours = np.array([[0.0], [0.0], [1.0], [20.0]])
    theirs = np.array([[0.0], [1.0], [1.0], [2.0]])
    p, q = np.array([2, 1]) / 3, np.array([0.25, 0.5])
    assert np.allclose(audit.klom(ours, theirs), (p * np.log(p / q)).sum())     # the largest is not counted


def test_klom_of_equal_distributions_falls_with_models():
    floors = [np.mean(audit.klom(*normals(4, models))) for models in (16, 64, 256)]
    assert floors[0] > floors[1] > floors[2] > 0 and floors[2] < 0.2
    assert np.mean(audit.klom(*normals(4, 256, shift=1.0))) > floors[2] + 0.2


# ---------------------------------------------------------------- epsilon

def test_epsilon_of_rates_by_hand():
    fpr, fnr = np.array([0.25, 0.1, 0.5, 0.0, 0.0]), np.array([0.5, 0.1, 0.5, 0.0, 0.5])
    expected = [np.log((1 - 1e-5 - 0.5) / 0.25), np.log((1 - 1e-5 - 0.1) / 0.1), 0.0, np.inf, np.nan]
    assert np.allclose(audit.epsilon_of(fpr, fnr), expected, rtol=0, atol=1e-12, equal_nan=True)


def test_epsilon_of_one_threshold_by_hand():
    ours, theirs = np.arange(4.0), np.arange(4.0) + 2.5
    # at or above 2.5: all of theirs, 1 of 4 of ours, which no rate of zero tells; at 3.5: 1 of 4 wrong, 0 of ours
    rates = audit.one_threshold(theirs, ours)
    assert [0.25, 0.0] in rates.T.tolist() and [0.0, 0.25] in rates.T.tolist()
    ours, theirs = np.array([0.0, 1.0, 2.0, 9.0]), np.array([1.5, 7.0, 8.0, 10.0])
    assert audit.epsilon(ours[:, None], theirs[:, None]) == pytest.approx([np.log((0.75 - 1e-5) / 0.25)], abs=1e-12)


def test_worlds_that_do_not_overlap_have_the_largest_epsilon():
    ours = np.arange(5.0)[:, None]
    assert audit.epsilon(ours, ours + 100) == audit.CAP
    assert audit.epsilon(ours * 1e-3, ours) == audit.CAP                # a peak
    assert audit.epsilon(np.ones((4, 1)), np.ones((4, 1))) < audit.CAP


def test_two_thresholds_find_the_narrower_world():
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0, 1, (60, 1)), rng.normal(0, 12, (60, 1))
    one = audit.epsilon_of(*audit.one_threshold(narrow[:, 0], wide[:, 0]))
    assert audit.epsilon(narrow, wide)[0] > np.nanmax(one) + 0.5
    assert np.allclose(audit.epsilon(narrow, wide), audit.epsilon(wide, narrow))


def grid_of_thresholds(narrow, wide):
    """The public code's intervals, one after the other."""
    width = np.ptp(narrow)
    found = []
    for right in np.arange(narrow.min() + width - 2, narrow.max() + 2, 0.01):
        for left in np.arange(right - width - 2, right - width + 2, 0.05):
            inside = [((left <= part) & (part <= right)).mean() for part in (narrow, wide)]
            found.append((inside[1], 1 - inside[0]))
    return set(found)


def test_every_interval_of_the_public_grid_is_tried_and_none_beside_it():
    rng = np.random.default_rng(1)
    narrow, wide = rng.normal(0, 1, 8), rng.normal(0, 4, 8)
    ours = {tuple(np.round(r, 9)) for r in audit.two_thresholds(narrow, wide).T}
    grid = {tuple(np.round(r, 9)) for r in grid_of_thresholds(narrow, wide)}
    assert grid - {(0.0, 1.0)} <= ours
    assert len(ours - grid) <= 2        # what falls between two lines of the grid


def test_the_score_halves_with_each_half_of_epsilon():
    assert audit.forgetting_score(np.array([0.0, 0.49]), 64) == 1.0
    assert audit.forgetting_score(np.array([0.5, 1.0]), 64) == 0.375
    assert audit.forgetting_score(np.array([4.9, 5.0]), 64) == 2.0**-9 / 2      # ceil(log 63) = 5


def test_the_most_memorised_by_hand():
    original = np.array([[5.0, 1.0, 9.0, 2.0]] * 3)
    retrain = np.array([[1.0, 1.0, 0.0, 2.0]] * 3)
    assert audit.memorised(original, retrain, retrain, share=0.5).tolist() == [0, 2]
    assert audit.memorised(original, retrain, share=0.01).tolist() == [2]
