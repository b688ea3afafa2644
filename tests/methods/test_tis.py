"""TIS Reset, Random Reset and TRIM, what the TIS paper measures, and sweeps over gamma."""
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from conftest import keeping_all, same, tiny
from sklearn.model_selection import train_test_split
from torch.func import functional_call

import lib
from lib.errors import Bad
from lib.methods.trained import Trained
from lib.methods import curvature, needs
from lib.methods import tis as estimation
from lib.metrics import tis as tis_metrics
from lib.runs import sweep as gammas
from lib.theory import time

NAMES = ("TIS-Reset", "Random-Reset", "TIS-Reset+TRIM", "Random-Reset+TRIM")
SMALL = dict(norm="none", val_share=0, clients=4, n_train=160)


@pytest.fixture(scope="module")
def task():
    return tiny(**SMALL)


@pytest.fixture(scope="module")
def trained(task):
    state = list(islice(lib.fedavg(task, "full", task.init("train"), phase="train"), 3))[-1].state
    return Trained(task.init("train"), state, None, [])


def start(task, trained, name="TIS-Reset", n=1, **hp):
    return list(islice(lib.unlearn(task, trained, name, **hp), n))[-1]


def parameters(task):
    return [k for k, _ in task.model.named_parameters()]


# ---------------------------------------------------------------- TIS Reset

def test_gamma_0_changes_nothing_and_100_resets_every_entry_with_a_score(task, trained):
    score = estimation.scores(task, trained)[0]
    assert same(start(task, trained, gamma=0).state, trained.state)
    now = start(task, trained, gamma=100).state
    for k in score:
        assert torch.equal(now[k] != trained.state[k], (score[k] > 0) & (trained.state[k] != 0))
    assert any((score[k] > 0).any() for k in score)


def test_reset_sets_grow_with_gamma_and_hold_their_share_of_each_tensors_score(task, trained):
    score, last = estimation.scores(task, trained)[0], None
    for gamma in (10, 30, 60, 90):
        mask = start(task, trained, gamma=gamma).mask
        for k, m in mask.items():
            total, held = score[k].sum(), score[k][m].sum()
            assert held >= gamma / 100 * total * (1 - 1e-9)
            assert held - score[k][m].min() < gamma / 100 * total  # one entry fewer would not do
            assert last is None or (m | ~last[k]).all()
        last = mask


def test_the_reset_value_is_zero_or_the_value_before_training(task, trained):
    zero, init = (start(task, trained, reset=r) for r in ("zero", "init"))
    for k, m in zero.mask.items():
        assert (zero.state[k][m] == 0).all() and torch.equal(init.state[k][m], trained.init[k][m])
        assert torch.equal(zero.state[k][~m], trained.state[k][~m])
    assert not same(zero.state, init.state)


def test_the_score_is_one_where_the_target_is_everything():
    task = tiny(**SMALL)
    task = replace(task, clients=tuple(c._replace(retain=c.retain[:0], forget=c.indices("full")) for c in task.clients))
    trained = Trained(None, task.init("a"), None, [])
    score = estimation.scores(task, trained)[0]
    h = trained.curvature(task)[0]["all"]
    for k, v in score.items():
        live = h[k] > 0
        assert torch.allclose(v[live], torch.ones_like(v[live])) and (v[~live] == 0).all() and live.any()


def test_the_score_stays_between_zero_and_its_bound_and_ignores_the_losss_scale(task, trained):
    h = trained.curvature(task)[0]
    bound = (len(task.indices("full")) / len(task.indices("forget"))) ** 2
    score = curvature.tis(h["forget"], h["all"])
    scaled = curvature.tis(*({k: 7.5 * v for k, v in h[w].items()} for w in ("forget", "all")))
    for k, v in score.items():
        assert (v >= 0).all() and (v <= bound * (1 + 1e-9)).all() and torch.allclose(v, scaled[k])


@pytest.mark.parametrize("kind", ["ggn", "ggn_mc"])
@pytest.mark.parametrize("request_", [{}, {"forget": "class", "forget_class": 3}, {"forget": "share",
                                                                                  "forget_share": 0.3}])
def test_what_the_server_adds_up_is_the_curvature_of_the_pooled_data(kind, request_):
    task = tiny(**SMALL, **request_)
    state = task.init("a")
    h = estimation.compute_curvature(task, state, kind)[0]
    for name, which in (("all", "full"), ("forget", "forget")):
        indices = task.indices(which)
        if kind == "ggn_mc":  # the draws belong to samples in the order in which clients hold them
            order = torch.cat([p for c in task.clients for p in c[:2]])
            draws = torch.rand(1, len(order), generator=task.rng("curvature"), dtype=torch.float64)
            rng = draws[:, [order.tolist().index(i) for i in indices.tolist()]]
        else:
            rng = None
        pooled = curvature.diagonal(task.load(state), task.inputs(task.x[indices]), task.y[indices],
                                    kind=estimation.KINDS[kind], rng=rng)
        assert all(torch.allclose(h[name][k], pooled[k], rtol=1e-9) for k in pooled)


@pytest.mark.parametrize("name", NAMES)
def test_scores_depend_on_whose_data_is_to_be_forgotten(name, trained, task):
    other = tiny(**SMALL, targets=[1])
    a, b = (start(t, trained, name).state for t in (task, other))
    assert not same(a, b)
    with pytest.raises(Bad, match="no client has data"):
        start(keeping_all(task), trained, name)


def test_other_scores_choose_other_entries(task, trained):
    masks = [start(task, trained, score=s).mask for s in estimation.SCORES]
    assert not any(same(a, b) for i, a in enumerate(masks) for b in masks[:i])
    h = trained.curvature(task)[0]
    assert same(masks[1], curvature.select(h["forget"], 30.0))


def test_the_shift_score_is_the_dropped_term_of_the_fisher_information(task, trained):
    found, cost = estimation.scores(task, trained, score="shift")
    h, forget = trained.curvature(task)[0]["all"], task.indices("forget")
    gradient = time.loss_gradient(task.load(trained.state), task.inputs(task.x[forget]), task.y[forget])
    assert all(torch.allclose(found[k], torch.where(h[k] > 0, gradient[k]**2 / h[k], 0)) for k in h)
    assert cost.bytes == 5 * 4 * task.parameters


@pytest.mark.parametrize("hp,word", [({"reset": "one"}, "zero"), ({"curvature": "gnn"}, "ggn"),
                                     ({"score": "tiss"}, "tis"), ({"gamma": 101}, "outside 0 to 100")])
def test_mistakes_are_named(task, trained, hp, word):
    with pytest.raises(Bad, match=word):
        start(task, trained, **hp)


def test_the_initial_values_are_read_only_where_they_are_needed(task, trained):
    without = Trained(None, trained.state, None, [])
    for name in NAMES:
        start(task, without, name)
        with pytest.raises(TypeError):
            start(task, without, name, reset="init")
        assert "init" not in needs(name) and "init" in needs(name, reset="init")


def test_costs(task, trained):
    begin = start(task, trained)
    n, p = len(task.indices("full")), task.parameters
    forward, both = task.flops
    # the target's data is all forgotten, the others' all kept: one diagonal each
    assert begin.cost.bytes == 4 * 4 * p and begin.cost.flops == n * (forward + 10 * (both - forward))
    fresh = tiny(**SMALL)
    assert start(fresh, trained, curvature="ggn_mc").cost.flops == n * both
    split = tiny(**SMALL, forget="share", forget_share=0.5)
    assert start(split, trained).cost.bytes == 2 * 4 * 4 * p
    k = sum(int(m.sum()) for m in begin.mask.values())
    first = start(task, trained, "TIS-Reset+TRIM")
    assert first.cost.bytes == begin.cost.bytes + 3 * 4 * k  # the list of entries, once to each remaining client
    assert start(task, trained, "TIS-Reset+TRIM", 2).cost.bytes == pytest.approx(3 * 2 * 4 * k)


# ---------------------------------------------------------------- Random Reset

def test_random_reset_takes_as_many_entries_of_each_tensor_elsewhere(task, trained):
    a, b, c = start(task, trained), *(start(task, trained, "Random-Reset", draw=d) for d in (0, 1))
    for k in a.mask:
        assert a.mask[k].sum() == b.mask[k].sum() == c.mask[k].sum()
        assert (b.state[k][b.mask[k]] == 0).all()
    assert not same(a.mask, b.mask) and not same(b.mask, c.mask)
    assert same(b.state, start(task, trained, "Random-Reset").state)


def test_random_reset_of_everything_is_tis_reset_of_everything(task, trained):
    h = {k: torch.rand_like(trained.state[k]) + 0.1 for k in parameters(task)}

    class Everywhere(Trained):
        def compute_curvature(self, task, kind, path):
            return {"all": h, "forget": h}, lib.Cost()
    trained = Everywhere(trained.init, trained.state, None, [])
    a, b = (start(task, trained, name, gamma=100).state for name in ("TIS-Reset", "Random-Reset"))
    assert same(a, b) and not any(a[k].any() for k in h)


@pytest.mark.parametrize("name", NAMES[:2])
def test_recovery_is_fine_tuning_of_all_weights_after_the_reset(task, trained, name):
    begin = start(task, trained, name)
    plain = list(islice(lib.recover(task, lib.Round(begin.state)), 2))
    found = list(islice(lib.unlearn(task, trained, name, recovery=True), 3))
    assert same(found[0].state, begin.state) and same(found[2].state, plain[1].state)
    assert found[2].cost.bytes == plain[1].cost.bytes
    assert len(list(islice(lib.unlearn(task, trained, name), 3))) == 1
    faster = list(islice(lib.unlearn(task, trained, name, recovery=True, lr=2 * task.recipe.lr), 3))[2]
    assert not same(faster.state, found[2].state)


@pytest.mark.parametrize("name", NAMES[:2])
def test_recovery_of_a_reset_resumes(store, name, monkeypatch):
    from lib.runs.store import Slot
    task = tiny(**SMALL, unlearn_rounds=3)
    whole = lib.run(task, store, name, {"recovery": True}, count=3)
    assert [point["round"] for point in whole["curve"]] == [0, 1, 2, 3]
    other, real = lib.Store(store.root.with_name("other")), Slot.checkpoint

    def dying(self, number, *rest):
        real(self, number, *rest)
        if self.kind == "runs" and number == 2:
            raise KeyboardInterrupt
    with monkeypatch.context() as for_now, pytest.raises(KeyboardInterrupt):
        for_now.setattr(Slot, "checkpoint", dying)
        lib.run(task, other, name, {"recovery": True}, count=3)
    again = lib.run(task, other, name, {"recovery": True}, count=3)
    assert same(again["entry"].tensors("final"), whole["entry"].tensors("final"))


# ---------------------------------------------------------------- TRIM

@pytest.mark.parametrize("name", NAMES[2:])
def test_trim_starts_at_the_reset_and_trains_the_reset_entries_alone(task, trained, name):
    begin, plain = start(task, trained, name), start(task, trained, name.removesuffix("+TRIM"))
    end = start(task, trained, name, 3)
    assert same(begin.state, plain.state)
    for k, m in begin.mask.items():  # the average of equal numbers may differ in the last bit
        assert torch.allclose(end.state[k][~m], trained.state[k][~m], rtol=0, atol=1e-14)
    alone = next(lib.recover(tiny(**SMALL, training="union", weight_decay=0.1), begin)).state
    assert all(torch.equal(alone[k][~m], trained.state[k][~m]) for k, m in begin.mask.items())
    assert all((end.state[k] != begin.state[k])[m].any() for k, m in begin.mask.items() if m.sum() > 3)


def test_trim_of_all_entries_is_ordinary_training_from_the_reset(task, trained):
    begin = start(task, trained, "TIS-Reset+TRIM")
    all_of_it = {k: torch.ones_like(m) for k, m in begin.mask.items()}
    a, b = (list(islice(lib.recover(task, begin._replace(mask=m)), 2))[-1] for m in (all_of_it, None))
    assert same(a.state, b.state) and a.cost.bytes == b.cost.bytes


def test_trims_learning_rate(task, trained):
    a, b, c = (start(task, trained, "TIS-Reset+TRIM", 2, lr=lr).state for lr in (None, task.recipe.lr, 0.01))
    assert same(a, b) and not same(a, c)


def test_trim_as_a_mask_is_trim_as_scattered_values():
    """The authors' form: a vector of trainable values, scattered into frozen tensors, trained by SGD."""
    task = tiny(**SMALL, momentum=0.9)
    trained = Trained(task.init("train"), task.init("train"), None, [])
    begin = start(task, trained, "TIS-Reset+TRIM")
    job = task.jobs("retain")[0]._replace(steps=3)
    masked = lib.one_round(task, [job], begin.state, phase="p", mask=begin.mask).state

    names, net = parameters(task), task.build()
    values = {k: begin.state[k][begin.mask[k]].clone().requires_grad_() for k in names}
    optimiser = torch.optim.SGD(list(values.values()), task.recipe.lr, 0.9)
    order = torch.randperm(len(job.indices), generator=task.rng("p", 1, job.client))
    for batch in order.split(task.recipe.batch_size)[:3]:
        now = {k: begin.state[k].masked_scatter(begin.mask[k], values[k]) for k in names}
        chosen = job.indices[batch]
        loss = torch.nn.functional.cross_entropy(functional_call(net, now, (task.inputs(task.x[chosen]),)),
                                                 task.y[chosen])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    for k in names:
        assert torch.allclose(masked[k], begin.state[k].masked_scatter(begin.mask[k], values[k]), atol=1e-12)
        assert not begin.mask[k].any() or not torch.equal(masked[k], begin.state[k])


# ---------------------------------------------------------------- membership attacks

def test_the_attacks_split_is_the_one_that_the_printed_benchmarks_show():
    # a model whose losses say nothing: whoever answers "member" for all scores the held-out share of members
    members, others = np.full((1, 12_000), 0.3), np.full((1, 10_000), 0.3)
    assert tis_metrics.attack_nn(members, others) == [pytest.approx(55.43, abs=0.006)]


def test_constant_losses_score_the_share_of_the_larger_side_and_separate_ones_100():
    n, m = 240, 200
    flat, low, high = np.full((1, n), 0.3), np.full((1, n), 0.01), np.full((1, m), 3.0)
    held = train_test_split(np.arange(n + m), test_size=0.2, random_state=42)[1]
    assert tis_metrics.attack_nn(flat, np.full((1, m), 0.3)) == [pytest.approx(100 * (held < n).mean())]
    assert tis_metrics.attack_nn(low, high) == [100.0]
    assert tis_metrics.attack_logistic(flat[0], np.full(m, 0.3)) == pytest.approx(100 * n / (n + m))
    assert tis_metrics.attack_logistic(low[0], high[0]) == 100.0
    assert tis_metrics.auc(low[0], high[0]) == 1.0 and tis_metrics.auc(flat[0], np.full(m, 0.3)) == 0.5
    assert np.isnan(tis_metrics.attack_nn(np.full((1, n), np.nan), high)[0])


def test_the_net_attacks_many_models_as_it_attacks_one():
    draw = np.random.default_rng(0)
    members, others = draw.exponential(0.3, (3, 200)), draw.exponential(1.0, (3, 150))
    together = tis_metrics.attack_nn(members, others)
    alone = [tis_metrics.attack_nn(members[i:i + 1], others[i:i + 1])[0] for i in range(3)]
    assert together == pytest.approx(alone, abs=1.5) and min(together) > 60


def test_auc_counts_pairs():
    draw = np.random.default_rng(1)
    members, others = draw.integers(0, 6, 40) / 2, draw.integers(0, 6, 30) / 2
    pairs = (members[:, None] < others) + 0.5 * (members[:, None] == others)
    assert tis_metrics.auc(members, others) == pytest.approx(pairs.mean())


# ---------------------------------------------------------------- NTA, NFS, sweeps

def test_nta_and_nfs():
    original = {"test_acc": 90.0, "target_acc": 80.0, "mia_acc": 60.0, "mia": 50.2}
    retrain = {"test_acc": 80.0, "target_acc": 0.0, "mia_acc": 50.0, "mia": 50.0}
    same_as = tis_metrics.relative(retrain, original, retrain)
    assert same_as["nta"] == same_as["nfs_target"] == same_as["nfs_mia"] == 1
    nothing = tis_metrics.relative(original, original, retrain)
    assert nothing["nta"] == 1.125 and nothing["nfs_target"] == nothing["nfs_mia"] == 0
    assert np.isnan(nothing["nfs_mia_balanced"])  # 0.2 points apart
    half = tis_metrics.relative({**original, "target_acc": 40.0}, original, retrain)
    assert half["nfs_target"] == 0.5
    rest = tis_metrics.relative({**original, "rest_acc": 45.0}, original, {**retrain, "rest_acc": 90.0})
    assert rest["nta_rest"] == 0.5 and "nta_rest" not in half
    edge = tis_metrics.relative({**original, "mia": 50.25}, {**original, "mia": 50.5}, retrain)
    assert edge["nfs_mia_balanced"] == 0.5      # just far enough apart


@pytest.mark.parametrize("changes,classes,score", [
    ({"partition": "preferential"}, [6], "nfs_target"), ({"partition": "preferential", "targets": [1, 3]}, [7, 9],
                                                         "nfs_target"),
    ({"partition": "dirichlet", "beta": 1.0, "min_size": 1}, [], "nfs_target"), ({}, [], "nfs_mia"),
    ({"forget": "class", "forget_class": 3}, [3], "nfs_target"), ({"forget": "share", "forget_share": 0.2}, [],
                                                                 "nfs_mia")])
def test_what_tells_the_target(changes, classes, score):
    task = tiny(**{**SMALL, **changes})
    assert tis_metrics.target_classes(task) == classes and tis_metrics.headline(task) == score
    state = task.init("a")
    out = tis_metrics.measure(task, state)[0]
    if classes:
        at = torch.isin(task.y_test, torch.tensor(classes))
        guess = lib.predict(task, state, images=task.x_test).argmax(1)
        assert out["target_acc"] == pytest.approx(100 * (guess == task.y_test)[at].double().mean().item())
        assert "preferential" not in changes.values() or all(
            task.counts()[k, c] == 0 for c in classes for k in range(4) if k not in task.targets)
    else:
        assert out["target_acc"] == out["forget_acc"] and "rest_acc" not in out


def test_the_best_point_and_accuracy_at_a_level_of_forgetting():
    points = [{"nta": 1.1, "nfs_target": 0.0}, {"nta": 1.0, "nfs_target": 0.8}, {"nta": 0.8, "nfs_target": 1.0}]
    assert tis_metrics.best(points, "nfs_target") is points[1] and points[1]["distance"] == pytest.approx(0.2)
    assert tis_metrics.at_level(points, "nfs_target") == pytest.approx(0.9)
    assert np.isnan(tis_metrics.at_level(points[:2], "nfs_target"))
    assert tis_metrics.at_level(points[2:], "nfs_target") == 0.8        # the first point has reached it
    assert tis_metrics.at_level(points, "nfs_target", level=0.8) == 1.0
    unknown = [{"nta": np.nan, "nfs_target": 1.0}, {"nta": 0.5, "nfs_target": 0.5}]
    assert tis_metrics.best(unknown, "nfs_target") is unknown[1]
    with pytest.raises(Bad, match="no points"):
        tis_metrics.best([], "nfs_target")


def test_a_sweep_computes_the_curvature_once_and_the_store_serves_it_again(store):
    task = tiny(**SMALL, gammas=[10, 50], random_draws=2, rounds=2, unlearn_rounds=2, mia="tis_nn",
                methods={"TIS-Reset": {}, "TIS-Reset/init": {"reset": "init"}, "Random-Reset": {}, "FT": {}})
    rows = gammas.sweep(task, store)
    made = {p: p.stat().st_mtime_ns for p in store.root.rglob("record.json")}
    again = gammas.sweep(tiny(**{**SMALL, **task.settings}), store)
    assert made == {p: p.stat().st_mtime_ns for p in store.root.rglob("record.json")}
    assert len(list((store.root / "curvature").glob("*/record.json"))) == 1
    drop = ("time", "rtr")
    assert str([r for r in rows if r["metric"] not in drop]) == str([r for r in again if r["metric"] not in drop])
    df = lib.rows(rows, profile="quick", notebook="07", setting="s")
    swept = df[(df["method"] == "TIS-Reset") & (df["stop"] == "last")]
    assert set(swept["variant"]) == {f"gamma={g};reset={r}" for g in (10, 50) for r in ("zero", "init")}
    retrain = df[(df["method"] == "Retrain") & (df["metric"] == "nta")]["value"]
    assert (retrain == 1).all()
    one = df[(df["metric"] == "test_acc") & (df["variant"] == "gamma=50;reset=zero")].set_index("method")["value"]
    trained = lib.train(task, store)
    state = start(task, trained, gamma=50).state
    assert one["TIS-Reset"] == pytest.approx(tis_metrics.measure(task, state)[0]["test_acc"])
    draws = [tis_metrics.measure(task, start(task, trained, "Random-Reset", gamma=50, draw=d).state)[0]["test_acc"]
             for d in (0, 1)]
    assert one["Random-Reset"] == pytest.approx(np.mean(draws))


def test_the_anatomy_of_the_scores(store):
    task = tiny(**SMALL, rounds=2, unlearn_rounds=2)
    rows = gammas.anatomy(task, store)
    df = lib.rows(rows, profile="quick", notebook="07", setting="s").pivot(index="metric", columns="variant",
                                                                           values="value")
    exact, sampled = df["curvature=ggn"], df["curvature=ggn_mc"]
    score = estimation.scores(task, lib.train(task, store))[0]
    held = {k: v.flatten().sort(descending=True).values for k, v in score.items() if v.sum() > 0}
    part = [(v[:-(-len(v) // 20)].sum() / v.sum()).item() * len(v) for v in held.values()]
    assert exact["top_ratio"] == pytest.approx(sum(part) / sum(map(len, held.values())))
    assert 0.05 < exact["top_ratio"] < 1 and exact["latency_seconds"] > 0
    assert 0.2 < sampled["rank_correlation"] < 1 and 0 < sampled["overlap_ratio"] <= 1


def test_flatness_finds_a_slope_and_keeps_it(store, monkeypatch):
    task = tiny(**SMALL, rounds=2, unlearn_rounds=2)
    rows = gammas.flatness(task, store, repeats=3)
    values = {r["metric"]: r["value"] for r in rows}
    assert set(values) == {"slope_flatness", "rank_correlation"} and -1 <= values["rank_correlation"] <= 1
    monkeypatch.setattr(lib.Store, "save", None)  # the store serves it again
    assert {r["metric"]: r["value"] for r in gammas.flatness(task, store, repeats=3)} == values


def test_the_slope_is_found():
    h = {"a": torch.rand(400, dtype=torch.float64) + 0.01, "b": torch.rand(300, dtype=torch.float64) + 0.01}
    ends = [{k: 3 * torch.randn(len(v), dtype=torch.float64) / v.sqrt() for k, v in h.items()} for _ in range(400)]
    found = gammas.slope(h | {"dead": torch.zeros(5)}, [e | {"dead": torch.ones(5)} for e in ends])
    assert found["slope_flatness"] == pytest.approx(-1, abs=0.03) and found["rank_correlation"] < -0.9


def test_a_row_for_each_run():
    task = {"dataset": "d", "model": "m", "distribution": "iid", "scenario": "client-wise", "seed": 0}
    records = [task | {"setting": s, "method": "TIS-Reset", "variant": v, "stop": "oracle", "metric": "nta", "value": x}
               for s, v, x in (("a", {"reset": "zero"}, 1.0), ("a", {"reset": "init"}, 2.0),
                               ("b", {"reset": "zero"}, 3.0))]
    df = lib.rows(records, profile="quick", notebook="07")
    found = lib.each_run(df, "TIS-Reset", reset="zero")
    assert found.nta.to_dict() == {("iid", "a", 0): 1.0, ("iid", "b", 0): 3.0}
    assert lib.each_run(df, "TIS-Reset").empty


def test_scores_agree_in_rank_where_one_of_them_scores():
    a, b = torch.tensor([1.0, 2, 3, 4]), torch.tensor([2.0, 1, 4, 3])
    alone = gammas.rank_agreement(a, b)
    assert gammas.rank_agreement(a, a) == 1 and gammas.rank_agreement(a, -a + 5) == -1 and alone == pytest.approx(0.6)
    zeros = torch.zeros(100)        # entries that both leave at zero say nothing
    assert gammas.rank_agreement(torch.cat([zeros, a]), torch.cat([zeros, b])) == alone
    tied = gammas.rank_agreement(torch.tensor([1.0, 1, 2]), torch.tensor([1.0, 2, 3]))
    assert tied == pytest.approx(0.866, abs=1e-3)
