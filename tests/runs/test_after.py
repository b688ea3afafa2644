"""What happens after unlearning: each part does what its name says, is kept, and goes on where it was killed."""
import json

import pytest
import torch
from conftest import same, tiny

import lib
from lib.errors import Bad
from lib.methods import unlearn
from lib.metrics.after import accused, first_weight, negated, rounded, suspicion
from lib.runs import after as module
from lib.runs.after import further, in_few_bits, relearnt, request, unlearned

METHODS = {"Original": {}, "Retrain": {}, "Retrain/again": {"name": "again"}, "FT/fast": {"lr": 0.1}, "NoT": {}}
SMALL = dict(n_train=80, n_test=40, width=2, rounds=2, unlearn_rounds=2, after_rounds=2, relearn_images=[2, 99],
             relearn_rounds=2, bits=[8], leavers=[0, 2], in_turn=["NoT"], request_rounds=1, methods=METHODS)


class Silent:
    def update(self, *words):
        pass


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """`(task, store, rows)` of everything, once."""
    task, store = tiny(**SMALL), lib.Store(tmp_path_factory.mktemp("after"))
    return task, store, lib.rows(lib.after_all([task], store), profile="quick", notebook="13")


def told(df, then, metric, method="NoT"):
    """`{variant without then: values by round}` of a part."""
    part = df[(df["method"] == method) & (df["metric"] == metric) & df["variant"].str.contains(f"then={then}(?:;|$)")]
    return {v.replace(f"then={then}", "").strip(";"): list(rows.sort_values("round")["value"])
            for v, rows in part.groupby("variant")}


def states(task, store, name="NoT"):
    return unlearned(task, store, name, {}, Silent())


# ---------------------------------------------------------------- the parts

def test_further_rounds_begin_where_the_method_ended_and_are_everybodys(made):
    task, store, df = made
    [curve] = told(df, "further", "test_acc").values()
    left = states(task, store)
    assert curve[0] == lib.evaluate(task, left.end)["test_acc"] and len(curve) == 3
    rounds = lib.recover(task, lib.Round(left.end, then=lib.Then(phase="after")))
    next(rounds)
    assert curve[2] == lib.evaluate(task, next(rounds).state)["test_acc"]


def test_the_gap_is_to_retrain_after_the_same(made):
    _, _, df = made
    ours, theirs = ({m: told(df, "further", m, name)[""] for m in ("retain_acc", "forget_acc", "test_acc", "mia")}
                    for name in ("NoT", "Retrain"))
    expected = sum(abs(ours[m][1] - theirs[m][1]) for m in ours) / 4
    assert told(df, "further", "avg_gap")[""][1] == pytest.approx(expected)
    gaps = told(df, "in_few_bits", "avg_gap", "Retrain")
    assert gaps["bits=8"] == gaps["bits=32"] == [0.0]
    assert set(gaps) == {"bits=8", "bits=32", "bits=8;name=again", "bits=32;name=again"}


def test_relearning_shows_the_same_images_to_all_and_counts_the_others(made):
    task, _, df = made
    known, others = told(df, "relearnt", "forget_acc"), told(df, "relearnt", "others_acc")
    n = len(task.indices("forget"))
    assert set(known) == {"images=2", f"images={n}"} and set(others) == {"images=2"}    # of all there are no others
    assert len(known["images=2"]) == 3


def test_relearning_learns_what_it_is_shown():
    task = tiny(**SMALL | {"relearn_images": [99], "relearn_rounds": 80, "lr": 0.1, "width": 8})
    end = task.init("x")
    points = relearnt(task, module.Unlearned(end, end, end, None), None, Silent())
    assert points[0].values["forget_acc"] < 50 and points[-1].values["forget_acc"] > 95


def test_what_diverged_says_so_and_nothing_else(made, monkeypatch):
    task, store, _ = made
    monkeypatch.setattr(module, "unlearned", lambda *_: module.Unlearned({}, {}, {}, 1))
    [point] = module.measured(task, lib.Store(store.root / "other"), "NoT", {}, further, Silent())
    assert point.values == {"diverged": 1} and point.words == {"then": "further"}


# ---------------------------------------------------------------- rounding and negating

def test_rounding_keeps_what_it_can_say_and_is_within_half_a_step():
    w = torch.tensor([[4.0, -1.9, 0.3], [0.0, 0.0, 0.0]])
    found = rounded({"w": w, "b": w[0]}, ["w", "b"], 4)
    assert same({"b": found["b"]}, {"b": w[0]})                              # biases stay
    assert ((found["w"] - w).abs() <= w.abs().amax(1, keepdim=True) / 14 + 1e-12).all()
    assert len(found["w"].unique()) <= 15 and found["w"][0, 0] == 4
    assert same(rounded(found, ["w"], 4), found)                             # rounding twice is rounding once


def test_fewer_bits_move_a_model_more(made):
    task, store, _ = made
    left = states(task, store)
    names = [name for name, _ in task.model.named_parameters()]
    moved = [sum((rounded(left.end, names, bits)[n] - left.end[n]).square().sum() for n in names) for bits in (2, 4, 8)]
    assert moved[0] > moved[1] > moved[2] > 0
    kept = in_few_bits(task, left, None, Silent())[0]
    assert kept.words["bits"] == 32 and kept.values["test_acc"] == lib.evaluate(task, left.end)["test_acc"]


def test_negating_twice_is_no_change(made):
    task, store, _ = made
    end = states(task, store).end
    once = negated(task, end)
    assert same(negated(task, once), end) and not same(once, end)
    assert [n for n in end if not torch.equal(once[n], end[n])] == [first_weight(task)]


# ---------------------------------------------------------------- who has left

def test_nots_step_is_the_same_whoever_leaves():
    steps = []
    for leaver in (0, 1):
        task = tiny(**SMALL | {"targets": [leaver]})
        trained = lib.Trained(task.init("train"), task.init("trained"), None, [])
        steps.append(next(unlearn(task, trained, "NoT")).state)
    assert same(*steps)
    first = first_weight(task)
    assert torch.equal(steps[0][first] - trained.state[first], -2 * trained.state[first])


def test_an_attacker_finds_whose_loss_was_climbed():
    task = tiny(**SMALL)
    before = task.init("x")
    job = task.jobs("forget")
    climb = lib.fedavg(task, job, before, phase="climb", loss=lambda model, x, y: -torch.nn.functional.cross_entropy(model(x), y))
    after = next(climb).state
    scores = suspicion(task, before, after, range(4))
    assert set(scores) == {"loss", "gradient", "first"}
    for attack in ("loss", "gradient"):
        assert max(range(4), key=scores[attack].__getitem__) == 0, attack


def test_without_a_change_nobody_is_accused():
    task = tiny(**SMALL)
    state = task.init("x")
    for scores in suspicion(task, state, state, range(4)).values():
        assert accused(scores[0], scores[1:]) == {"leaver_auc": 0.5, "leaver_first": 0.0}
    assert accused(2.0, [1.0, 1.5]) == {"leaver_auc": 1.0, "leaver_first": 100.0}


def test_where_a_class_is_forgotten_nobody_leaves():
    task = tiny(**SMALL | {"leavers": [], "in_turn": [], "forget": "class", "forget_class": 0})
    assert module.who_left(task, None, None, Silent()) == []


# ---------------------------------------------------------------- one request after another

def test_the_second_request_knows_nothing_of_the_first_leaver():
    task = tiny(**SMALL)
    first, second = request(task, 0), request(task, 1)
    assert torch.equal(first.indices("forget"), task.clients[0].indices("full"))
    assert torch.equal(second.indices("forget"), task.clients[2].indices("full"))
    assert not set(second.indices("full").tolist()) & set(task.clients[0].indices("full").tolist())
    assert first.fingerprint("full", "retain", "forget", "val") == task.fingerprint("full", "retain", "forget", "val")


def test_requests_go_on_from_each_other_and_costs_add_up(made):
    task, _, df = made
    spent = told(df, "in_turn", "comm_bytes")[""]
    assert len(spent) == 2 and spent[1] == pytest.approx(spent[0] * 5 / 3)      # three clients remain, then two
    whole, early = (told(df, "in_turn", "comm_bytes", "Retrain")[key] for key in ("", "name=again;stopped=early"))
    assert whole[1] == pytest.approx(2 * early[1])
    assert told(df, "in_turn", "avg_gap", "Retrain")[""] == [0.0, 0.0]
    assert len(told(df, "in_turn", "gone_acc")[""]) == 2
    methods = set(df[df["variant"].str.contains("then=in_turn")]["method"])
    assert methods == {"Retrain", "NoT"}


def test_a_second_negation_starts_from_what_the_first_request_left(made):
    task, store, _ = made
    found = [json.loads(path.read_text())["body"] for path in store.root.glob("runs/*/record.json")]
    chained = [body for body in found if body["key"]["method"] == "NoT" and "trained" in body["key"]]
    assert len(chained) == 1 and chained[0]["key"]["rounds"] == 1


# ---------------------------------------------------------------- kept, and refused

def test_everything_is_kept(made):
    task, store, df = made
    written = {path: path.stat().st_mtime_ns for path in store.root.glob("*/*/record.json")}
    again = lib.rows(lib.after_all([task], store), profile="quick", notebook="13")
    assert again.equals(df)
    assert written == {path: path.stat().st_mtime_ns for path in store.root.glob("*/*/record.json")}


@pytest.mark.parametrize("changes, words", [
    ({"methods": {"NoT": {}}, "in_turn": []}, "everything is compared with Retrain"),
    ({"methods": METHODS | {"FUKD": {}}, "in_turn": ["FUKD"], "history": "all"}, "in_turn: FUKD needs the updates"),
])
def test_what_cannot_work_is_refused_before_anything_trains(store, changes, words):
    task = tiny(**SMALL | changes)
    with pytest.raises(Bad, match=words):
        lib.after_all([task], store)
    assert not store.root.exists()


@pytest.mark.parametrize("changes, words", [
    ({"in_turn": ["PGD"]}, "in_turn names what is not among methods"),
    ({"leavers": [0, 0]}, "leavers names a client twice"),
    ({"leavers": [0, 1, 2, 3]}, "leavers leave no client behind"),
    ({"forget": "class", "forget_class": 1}, "leavers leave with all their images"),
    ({"request_rounds": 3}, "request_rounds must not exceed"),
    ({"bits": [1]}, "bits"),
])
def test_settings_that_do_not_go_together(changes, words):
    with pytest.raises(Bad, match=words):
        tiny(**SMALL | changes)
