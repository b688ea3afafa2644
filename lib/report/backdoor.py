"""Figures of the backdoor: what models say of triggered images, and whether the trigger is only asleep."""
import seaborn as sns

from ..fl.backdoor import add_trigger
from ..fl.finite import NO_GUESS, guess
from ..metrics.evaluate import predict
from .pictures import images

ASLEEP = {"asr": "as it is, triggered", "clean_negated": "negated again, clean", "asr_negated": "negated again, triggered"}


def triggered_images(task, states, count=8):
    """Test images as they are and with the trigger, and what each model of {name: state} says of them."""
    pick = (task.y_test != task.poison_label).nonzero()[:count, 0]
    clean = task.x_test[pick]
    grid = [clean, add_trigger(clean, task.white)]
    captions = []
    for row in grid:
        said = {name: guess(predict(task, state, images=row)) for name, state in states.items()}
        captions.append(["\n".join(f"{name}: {word(task, labels[i])}" for name, labels in said.items())
                         for i in range(len(pick))])
    return images(grid, ["clean", "with trigger"], captions)


def word(task, label):
    """The name of a class; what a diverged model says is none."""
    return "diverged" if label == NO_GUESS else task.class_names[label]


def asleep(df, methods):
    """How often finished models say the attacker's label, as they are and negated once more; one panel a setting.

    Settings are those in which a model was negated again; each dot is a seed.
    """
    settings = df[df["metric"] == "asr_negated"]["setting"].unique()
    part = df[(df["stop"] == "last") & (df["variant"] == "") & df["setting"].isin(settings)]
    part = part[part["method"].isin(methods) & part["metric"].isin(ASLEEP)]
    panels = sns.catplot(part.assign(image=part["metric"].map(ASLEEP)), x="method", y="value", hue="image",
                         hue_order=list(ASLEEP.values()), col="setting", order=list(methods), height=3, aspect=1.2,
                         kind="strip", dodge=True, jitter=False, size=8, alpha=0.8)
    panels.set_titles("{col_name}").set(ylim=(-3, 103), ylabel="says the attacker's label (%)", xlabel="")
    panels.legend.set_title(f"each dot a seed, n = {part['seed'].nunique()}")
    return panels.figure
