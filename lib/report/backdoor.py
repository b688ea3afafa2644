"""Figures of the backdoor: what models say of triggered images, and whether the trigger is only asleep."""
import matplotlib.pyplot as plt

from ..fl.backdoor import add_trigger
from ..fl.finite import NO_GUESS, guess
from ..metrics.evaluate import predict
from .figures import settings_of
from .pictures import shown
from .style import bare, color, grid, legend, note, proxy, say

HIT = "#F6B9A8"         # behind a label that is the attacker's
ASLEEP = {"asr": "as it is, with trigger", "clean_negated": "negated again, clean",
          "asr_negated": "negated again, with trigger"}
MARKS = ({"marker": "o"}, {"marker": "s", "mfc": "white"}, {"marker": "^"})


# ---------------------------------------------------------------- images

def triggered_images(task, states, count=8):
    """Test images with the trigger, their true classes, and below them what each model of {name: state} says; shaded:
    the attacker's label, a hit."""
    pick = (task.y_test != task.poison_label).nonzero()[:count, 0]
    triggered = add_trigger(task.x_test[pick], task.white)
    fig, axes = plt.subplots(2, len(pick), figsize=(1.15 * len(pick) + 1.4, 1.7 + 0.26 * len(states)), squeeze=False,
                             layout="constrained", height_ratios=[1.2, 0.26 * len(states)])
    said = {name: guess(predict(task, state, images=triggered)) for name, state in states.items()}
    for i, (top, bottom) in enumerate(axes.T):
        top.imshow(shown(triggered[i]), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        top.set_title(task.class_names[task.y_test[pick[i]]], fontsize=9)
        bottom.set(xlim=(0, 1), ylim=(len(states), 0))
        for y, labels in enumerate(said.values()):
            is_hit = labels[i] == task.poison_label
            bottom.text(0.5, y + 0.5, word(task, labels[i]), ha="center", va="center", fontsize=8.5,
                        fontweight="bold" if is_hit else "normal",
                        bbox={"fc": HIT if is_hit else "white", "ec": "none", "pad": 1.5})
        for ax in (top, bottom):
            ax.set(xticks=[], yticks=[])
            bare(ax)
    axes[0][0].set_ylabel("true class,\nwith trigger", rotation=0, ha="right", va="center", fontsize=9)
    axes[1][0].set_yticks([y + 0.5 for y in range(len(states))], [f"{name} says" for name in states], fontsize=9)
    say(fig, f"shaded: the attacker's label, {task.class_names[task.poison_label]}; one seed")
    return fig


def word(task, label):
    """The name of a class; what a diverged model says is none."""
    return "diverged" if label == NO_GUESS else task.class_names[label]


# ---------------------------------------------------------------- rows

def asleep(df, methods):
    """How often finished models say the attacker's label, as they are and negated once more; one panel a setting.

    Settings are those in which a model was negated again; each mark is a seed, a dash their mean.
    """
    settings = df[df["metric"] == "asr_negated"]["setting"].unique()
    part = df[(df["stop"] == "last") & (df["variant"] == "") & df["setting"].isin(settings)]
    part = part[part["method"].isin(methods) & part["metric"].isin(ASLEEP)]
    panels = settings_of(part)
    fig, axes = grid(1, len(panels), width=4.2, height=3.0, sharey=True)
    for ax, (setting, title) in zip(axes[0], panels):
        here = part[part["setting"] == setting]
        for x, method in enumerate(methods):
            for k, (metric, look) in enumerate(zip(ASLEEP, MARKS)):
                values = here[(here["method"] == method) & (here["metric"] == metric)]["value"]
                at = x + 0.24 * (k - 1)
                ax.plot([at] * len(values), values, ls="", ms=7, color=color(method), zorder=4, **look)
                if len(values) > 1:
                    ax.plot([at - 0.1, at + 0.1], [values.mean()] * 2, color="#111111", lw=1.5, zorder=5)
        ax.set_xticks(range(len(methods)), methods)
        ax.set(xlim=(-0.6, len(methods) - 0.4), ylim=(-3, 103), title=title)
    axes[0][0].set_ylabel("says the attacker's label (%)")
    note(fig, part, "low is good; high after a second negation: the trigger was only asleep", "each mark a seed, dash: mean",
         of=df)
    legend(fig, [proxy(words, ls="", ms=7, color="#777777", **look) for words, look in zip(ASLEEP.values(), MARKS)])
    return fig
