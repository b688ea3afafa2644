"""The membership attack, accuracies and the average gap, against hand-computed numbers and scikit-learn."""
import numpy as np
import pytest
import torch
from conftest import tiny
from sklearn.linear_model import LogisticRegression

import lib
import lib.metrics.evaluate as evaluation
from lib.metrics.evaluate import average_gap, logistic, losses, mean, mia, mia_draws, mia_of_many


def rng():
    return lib.generator("test")


def test_attack_on_exchangeable_losses_is_a_coin():
    gen = np.random.default_rng(0)
    assert mia(gen.exponential(size=4000), gen.exponential(size=4000), rng(), draws=2) == pytest.approx(50, abs=2)


def test_attack_on_separated_losses_is_certain():
    gen = np.random.default_rng(0)
    assert mia(gen.uniform(0, 1, 200), gen.uniform(5, 6, 300), rng()) == 100
    assert mia(gen.uniform(5, 6, 300), gen.uniform(0, 1, 200), rng()) == 100


def test_attack_on_constant_losses_is_a_coin():
    assert mia(np.ones(100), np.ones(100), rng()) == 50


def test_attack_is_balanced():
    gen = np.random.default_rng(1)  # unbalanced, "always the larger" would score 91
    assert mia(gen.exponential(size=400), gen.exponential(size=4000), rng()) == pytest.approx(50, abs=4)


def test_attack_needs_ten_samples_and_finite_losses():
    assert np.isnan(mia(np.ones(9), np.ones(100), rng()))
    assert np.isnan(mia(np.full(20, np.nan), np.ones(100), rng()))


def test_attack_is_possible_with_ten_samples():
    assert mia(np.ones(10), np.ones(100), rng()) == 50
    assert mia(np.ones(100), np.ones(10), rng()) == 50


def test_attack_is_scored_on_samples_it_was_not_fitted_on():
    """On few samples of noise a fitted line beats the coin where it was fitted, and only there."""
    gen = np.random.default_rng(4)
    scores = [mia(gen.exponential(size=10), gen.exponential(size=10), rng(), draws=1) for _ in range(100)]
    assert np.mean(scores) < 50


@pytest.mark.parametrize("n,held", [(10, 1), (40, 4), (46, 5)])
def test_attack_holds_out_a_tenth_of_each_set(monkeypatch, n, held):
    seen = []

    def spy(x, y, weight):
        seen.extend((y.numpy(), draw.numpy()) for draw in weight)
        return logistic(x, y, weight)
    monkeypatch.setattr(evaluation, "logistic", spy)
    gen = np.random.default_rng(5)
    mia(gen.exponential(size=n), gen.exponential(size=n + 30), rng(), draws=3, folds=7)
    assert len(seen) == 3
    for y, weight in seen:
        assert weight.shape == (7, 2 * n) and set(np.unique(weight)) == {0, 1}
        for label in (1, -1):
            assert ((weight[:, y == label] == 0).sum(1) == held).all()
        assert len({tuple(w) for w in weight}) == 7     # each fold holds out others


def test_attack_is_scikit_learns_on_the_same_splits():
    """Fitted again, one split after the other, and scored by its own `score` on what was held out."""
    gen = np.random.default_rng(6)
    members, others = gen.exponential(size=30), gen.exponential(size=50) + 0.4
    splits, scores = np.random.default_rng(rng().initial_seed()), []
    for _ in range(4):
        x = np.concatenate([splits.choice(s, 30, replace=False) for s in (members, others)])
        y = np.repeat([1, -1], 30)
        for _ in range(10):
            out = np.concatenate([splits.permutation(30)[:3], 30 + splits.permutation(30)[:3]])
            inside = np.setdiff1d(np.arange(60), out)
            model = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x[inside, None], y[inside])
            scores.append(model.score(x[out, None], y[out]))
    assert mia(members, others, rng(), draws=4) == pytest.approx(100 * np.mean(scores), abs=1e-9)


def test_models_are_attacked_with_the_same_draws_as_each_alone(monkeypatch):
    gen = np.random.default_rng(7)
    members, others = gen.exponential(size=(3, 40)), gen.exponential(size=(3, 90)) + 0.3
    members[1, 2] = np.nan
    alone = [mia(a, b, rng(), draws=3) for a, b in zip(members, others)]
    assert np.isnan(alone[1]) and len(set(alone)) == 3
    for fast in (1, 2**20):     # one draw at a time, all at once
        monkeypatch.setattr(evaluation, "FAST", fast)
        drawn = []
        monkeypatch.setattr(evaluation, "mia_draws", lambda *known: drawn.append(1) or mia_draws(*known))
        assert mia_of_many(members, others, rng(), draws=3) == pytest.approx(alone, abs=0, nan_ok=True)
        assert len(drawn) == 1


def test_attack_grows_with_the_separation():
    gen = np.random.default_rng(2)
    a, b = gen.exponential(size=500), gen.exponential(size=500)
    scores = [mia(a, b + shift, rng()) for shift in (0, 0.5, 2)]
    assert scores[0] < scores[1] < scores[2]


@pytest.mark.parametrize("scale,shift", [(1, 0), (30, 5), (0.01, 0)])
def test_logistic_regression_is_scikit_learns(scale, shift):
    gen = np.random.default_rng(3)
    x = np.concatenate([gen.exponential(size=60), gen.exponential(size=60) + 1]) * scale + shift
    y, weight = np.repeat([1.0, -1.0], 60), np.ones((3, 120))
    weight[1, :20], weight[2, 70:] = 0, 0
    w, b = (found.numpy() for found in logistic(*(torch.from_numpy(part) for part in (x, y, weight))))
    for i in range(3):
        used = weight[i] > 0
        ours = LogisticRegression(tol=1e-10, max_iter=10_000).fit(x[used, None], y[used])
        assert w[i] == pytest.approx(ours.coef_[0, 0], rel=1e-3, abs=1e-5)
        assert b[i] == pytest.approx(ours.intercept_[0], rel=1e-3, abs=1e-4)


def test_of_no_images_nothing_is_known():
    none = torch.empty(0, 10)
    assert np.isnan(lib.accuracy(none, torch.empty(0, dtype=torch.long))) and np.isnan(mean(np.empty(0)))


def test_losses_and_accuracy_by_hand():
    logits = torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0]])
    assert losses(logits, torch.tensor([0, 1])) == pytest.approx([np.log(2), np.log(4)])
    assert lib.accuracy(logits, torch.tensor([0, 1])) == 50


def test_gap_is_zero_for_the_reference_and_a_mean_of_absolute_differences():
    a = dict(retain_acc=90.0, forget_acc=80.0, test_acc=70.0, mia=50.0)
    b = dict(retain_acc=92.0, forget_acc=76.0, test_acc=70.0, mia=60.0)
    assert average_gap(a, a) == 0 and average_gap(a, b) == average_gap(b, a) == 4


def test_evaluation_counts_the_right_images(task):
    state = task.init("a")
    out = lib.evaluate(task, state)
    for name in ("retain", "forget"):
        idx = task.indices(name)
        right = lib.predict(task, state, idx).argmax(1) == task.y[idx]
        assert out[f"{name}_acc"] == pytest.approx(100 * right.double().mean().item())
    assert lib.evaluate(task, state) == out


def test_class_wise_test_leaves_the_class_out():
    task = tiny(forget="class", forget_class=0)
    net = {k: torch.zeros_like(v) for k, v in task.init("a").items()}
    last = list(net)[-1]
    net[last] = torch.eye(10, dtype=torch.float64)[0]  # always answers the forgotten class
    out = lib.evaluate(task, net)
    assert out["test_acc"] == 0 and out["forget_acc"] == 100
    assert out["test_acc_all"] == pytest.approx(100 * (task.y_test == 0).double().mean().item())


def test_validation_is_on_the_data_of_those_that_remain():
    task = tiny(val_share=0.2, targets=[0])
    state = task.init("a")
    others = torch.cat([client.val for client in task.clients[1:]])
    right = lib.predict(task, state, others).argmax(1) == task.y[others]
    assert lib.evaluate(task, state)["val_acc"] == pytest.approx(100 * right.double().mean().item())
    assert set(evaluation.validation(task).tolist()).isdisjoint(task.clients[0].val.tolist())
    kept = evaluation.validation(tiny(val_share=0.2, forget="class", forget_class=0))
    assert len(kept) and (task.y[kept] != 0).all()
    assert "val_acc" not in lib.evaluate(tiny(val_share=0.0), state)


def test_batched_prediction_is_whole_prediction(task):
    state, idx = task.init("a"), task.indices("full")
    assert torch.allclose(lib.predict(task, state, idx, batch=7), lib.predict(task, state, idx), atol=1e-12)
