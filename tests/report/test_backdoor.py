"""Figures of the backdoor."""
import matplotlib.pyplot as plt
from conftest import tiny
from matplotlib.colors import to_hex

import lib
from lib.report import backdoor


def test_labels_are_what_the_models_say_and_hits_are_shaded(store):
    task = tiny(poison_label=9, poison_share=1.0)
    state = lib.train(task, store).state
    fig = lib.triggered_images(task, {"Original": state, "NoT": lib.train(task, store).init}, count=3)
    pick = (task.y_test != 9).nonzero()[:3, 0]
    assert [ax.get_title() for ax in fig.axes[:3]] == [task.class_names[i] for i in task.y_test[pick]]
    said = lib.predict(task, state, images=lib.add_trigger(task.x_test[pick], task.white)).argmax(1)
    below = [ax.texts[0] for ax in fig.axes[3:]]
    assert [t.get_text() for t in below] == [task.class_names[i] for i in said]
    shaded = [to_hex(t.get_bbox_patch().get_facecolor()).upper() == backdoor.HIT for t in below]
    assert shaded == [int(i) == 9 for i in said]
    assert [t.get_text() for t in fig.axes[3].get_yticklabels()] == ["Original says", "NoT says"]
    assert "the attacker's label, 9" in fig.get_suptitle()
    plt.close(fig)


def test_each_setting_that_was_negated_again_has_a_panel():
    found = [{"setting": s, "method": m, "metric": k, "value": 10.0, "seed": seed}
             for s, metrics in (("a", ("asr", "asr_negated", "clean_negated")), ("b", ("asr",)))
             for k in metrics for m in ("Retrain", "NoT") for seed in (0, 1)]
    fig = lib.asleep(lib.rows(found, profile="quick", notebook="09"), ("Retrain", "NoT"))
    assert [ax.get_title() for ax in fig.axes] == ["a"]
    assert "each mark a seed" in fig.get_suptitle() and "n = 2 seeds" in fig.get_suptitle()
    seeds = [x for x in fig.axes[0].lines if x.get_marker() == "o"]
    assert [len(x.get_ydata()) for x in seeds] == [2, 2]
    plt.close(fig)
