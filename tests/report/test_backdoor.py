"""Figures of the backdoor."""
import matplotlib.pyplot as plt
from conftest import tiny

import lib


def test_captions_are_what_the_models_say(store):
    task = tiny(poison_label=9, poison_share=1.0)
    state = lib.train(task, store).state
    fig = lib.triggered_images(task, {"Original": state}, count=3)
    pick = (task.y_test != 9).nonzero()[:3, 0]
    said = lib.predict(task, state, images=task.x_test[pick]).argmax(1)
    assert [ax.get_title() for ax in fig.axes[:3]] == [f"Original: {task.class_names[i]}" for i in said]
    plt.close(fig)


def test_each_setting_that_was_negated_again_has_a_panel():
    found = [{"setting": s, "method": m, "metric": k, "value": 10.0, "seed": seed}
             for s, metrics in (("a", ("asr", "asr_negated", "clean_negated")), ("b", ("asr",)))
             for k in metrics for m in ("Retrain", "NoT") for seed in (0, 1)]
    fig = lib.asleep(lib.rows(found, profile="quick", notebook="09"), ("Retrain", "NoT"))
    assert [ax.get_title() for ax in fig.axes] == ["a"]
    assert fig.legends[0].get_title().get_text() == "each dot a seed, n = 2"
    plt.close(fig)
