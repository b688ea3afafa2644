"""What is asked of finished models."""
from conftest import tiny

import lib


class Entry:
    def __init__(self, state):
        self.state = state

    def tensors(self, name):
        return self.state


def record(state):
    return {"method": "NoT", "curve": [{"round": 3}], "entry": Entry(state)}


def test_a_model_that_is_negated_twice_says_what_it_said(store):
    task = tiny(poison_label=9, poison_share=1.0)
    state = lib.train(task, store).state
    first = [name for name, _ in task.model.named_parameters()][lib.first_layer(task.model)]
    rows = lib.negated_again(task, record({**state, first: -state[first]}))
    images = task.x_test[task.y_test != 9]
    for row, triggered in zip(rows, (True, False)):
        said = lib.predict(task, state, images=images, triggered=triggered).argmax(1) == 9
        assert row["value"] == 100 * said.double().mean().item()
    assert [row["metric"] for row in rows] == ["asr_negated", "clean_negated"]
    assert rows[0]["round"] == 3 and rows[0]["stop"] == "last" and rows[0]["method"] == "NoT"


def test_the_first_layer_alone_is_negated(store):
    task = tiny(poison_label=9, poison_share=1.0)
    state = lib.train(task, store).state
    head = [name for name, _ in task.model.named_parameters()][-1]
    biased = {**state, head: state[head].clone()}
    biased[head][9] = 1e6                       # says the attacker's label whatever the layers below do
    assert [row["value"] for row in lib.negated_again(task, record(biased))] == [100.0, 100.0]
