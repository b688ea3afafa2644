"""Claims of notebook 04: which layer, which change of it, how many clients (NoT 5.3 and 6.3, Figures 4 to 6).

Tables: `named` and `followed` are the rows of the runs and of the traced runs with labels in place of methods,
`settings` the notebook's parameters, `convs` the names of the CNN's convolutions, first to last.
"""
import pandas as pd

from ...settings import complete
from ..summary import by_seed
from .verdicts import Untestable, claim

BOTH = "conv1 + conv2"
WEAK = ["FT", "noise 1", "re-initialise"]
VIT = ["FT", "NoT", "position embedding", "queries of block 1", "queries of block 2"]
CHANGES = ["FT", "NoT", "re-initialise", "noise 0.3", "noise 1", "noise 3", "mirror", "mirror upside down", "turn 90",
           "turn 180"]


# ---------------------------------------------------------------- reading the rows

def with_label(named, settings, label):
    """The settings that have a run of this label, in the notebook's order."""
    have = set(named[named["method"] == label]["setting"])
    found = [s for s in settings if s in have]
    if not found:
        raise Untestable(f"needs a setting with {label}")
    return found


def at(table, metric, setting, round):
    """One row a seed, one column a label: a metric of one setting at one round. Who has no row there has no column."""
    here = table[(table["setting"] == setting) & (table["round"].astype(int) == round)]
    return by_seed(here, metric, "curve").xs((setting, round), level=("setting", "round"))


def end(settings, setting):
    """The last round of the ablations."""
    return complete(settings[setting])["ablation_rounds"]


def in_cnn(named, settings, metric):
    """A metric in the first CNN whose layers are compared, at the last round of the ablations."""
    setting = with_label(named, settings, "conv2")[0]
    return at(named, metric, setting, end(settings, setting))


def in_vit(named, settings):
    """The average gap in the first ViT, at the last round of the ablations."""
    setting = with_label(named, settings, "position embedding")[0]
    return at(named, "avg_gap", setting, end(settings, setting))[VIT]


def by_change(named, settings):
    """The average gap after each change of the first layer, at the last round, in every net in which they were made."""
    found = {}
    for setting in with_label(named, settings, "re-initialise"):
        gap = at(named, "avg_gap", setting, end(settings, setting))
        found[setting] = gap[[c for c in CHANGES if c in gap]]
    return pd.concat(found)


def by_share(named, settings, metric):
    """A metric of each method at its best round (an oracle), and the settings with few, half and most clients leaving."""
    leaving = [s for s in settings if "leave" in s]
    if len(leaving) != 3:
        raise Untestable("needs three settings in which few, half and most of the clients leave")
    return by_seed(named[named["setting"].isin(leaving)], metric).unstack("setting"), leaving


def means(table):
    """The mean of each column in words."""
    return ", ".join(f"{name} {value:.1f}" for name, value in table.mean().items())


# ---------------------------------------------------------------- large gradients, large moves

def norms(followed, settings, metric, last):
    """A norm along recovery, at its beginning or at its end, in every net with re-initialised weights."""
    found = {}
    for setting in with_label(followed, settings, "re-initialise"):
        round = complete(settings[setting])["trace_rounds"] if last else 0
        found[setting] = at(followed, metric, setting, round)
    size = pd.concat(found)
    words = [f"{name} {size[name].mean():.2f}" for name in ["NoT", *WEAK]]
    return ", ".join(words), size["NoT"] > size[WEAK].max(axis=1)


@claim("N08", notebook="04", place="04, gradient")
def large_gradients(followed, settings):
    """The stronger the perturbation, the larger the gradients and the further the weights travel in recovery.

    Test: at round 0 the gradient after negation is larger than in FT, after noise and with fresh weights.
    """
    return norms(followed, settings, "gradient_norm", last=False)


@claim("N08", notebook="04", place="04, distance")
def large_moves(followed, settings):
    """The stronger the perturbation, the larger the gradients and the further the weights travel in recovery.

    Test: at the last traced round the layers behind the negated one are farther from where they were than in FT, after
    noise and with fresh weights.
    """
    return norms(followed, settings, "deeper_distance_norm", last=True)


# ---------------------------------------------------------------- which layer

@claim("N18", notebook="04")
def first_layer_alone(named, settings):
    """The first layer alone is enough to negate; later layers work less well.

    Test: at the last round, in the first CNN, NoT's gap is at most that of negating the second convolution or the head.
    """
    gap = in_cnn(named, settings, "avg_gap")
    deeper = gap[["conv2", "head"]].min(axis=1)
    return f"gap {gap['NoT'].mean():.1f}, deeper {deeper.mean():.1f}", gap["NoT"] <= deeper


@claim("N19", notebook="04")
def several_layers(named, settings):
    """Negating more than one layer forgets more and recovers more slowly.

    Test: at the last round, in the first CNN, two negated convolutions have lower retain accuracy than one, and forget
    accuracy that is not higher.
    """
    retain = in_cnn(named, settings, "retain_acc")
    forget = in_cnn(named, settings, "forget_acc")
    words = (f"retain {retain[BOTH].mean():.0f} %, one layer {retain['NoT'].mean():.0f} %; "
             f"forget {forget[BOTH].mean():.0f} %, {forget['NoT'].mean():.0f} %")
    return words, (retain[BOTH] < retain["NoT"]) & (forget[BOTH] <= forget["NoT"])


@claim("N20", notebook="04")
def small_gradients_between(named, followed, settings, convs):
    """After negating two layers, gradients are small in the layers above the first up to the second.

    Test: at round 0 the gradient of the second convolution is smaller after two negations than after one.
    """
    setting = with_label(named, settings, "conv2")[0]
    slope = at(followed, f"{convs[1]}:gradient_norm", setting, 0)
    ratio = slope[BOTH] / slope["NoT"]
    return f"gradient of conv2 is {ratio.mean():.2f} times that of one negation", ratio < 1


@claim("N21", notebook="04")
def signs_cancel(named, settings):
    """Negating a convolution and its normalisation at once leaves the model as it was.

    Test: at the last round the gap differs from FT's by less than 1.5 points.
    """
    gap = in_cnn(named, settings, "avg_gap")
    off = (gap["conv1 and its norm"] - gap["FT"]).abs()
    return f"gap differs from FT's by {off.mean():.2f} points", off < 1.5


@claim("N22", notebook="04")
def patch_projection(named, settings):
    """In a ViT the patch projection is the tensor to negate; the first block's queries also unlearn, though less.

    Test: at the last round NoT's gap is the smallest of the tensors, and that of the first block's queries below FT's.
    """
    gap = in_vit(named, settings)
    return means(gap), (gap["NoT"] <= gap.min(axis=1)) & (gap["queries of block 1"] < gap["FT"])


@claim("N23", notebook="04")
def position_embedding(named, settings):
    """Negating the position embedding widens the gap at first and finally matches fine-tuning.

    Test: its gap is at some round two points above FT's last one, and within two points of it at the last round.
    """
    gap = in_vit(named, settings)
    setting = with_label(named, settings, "position embedding")[0]
    curve = by_seed(named, "avg_gap", "curve").xs(setting)["position embedding"]
    largest = curve.groupby("seed").max()
    off = (gap["position embedding"] - gap["FT"]).abs()
    return means(gap), (largest > gap["FT"] + 2) & (off < 2)


@claim("N24", notebook="04")
def second_block(named, settings):
    """Negating the second block's queries unlearns far less than negating the first block's.

    Test: it raises the loss on retained data less at round 0, and leaves the larger gap at the last round.
    """
    gap = in_vit(named, settings)
    loss = at(named, "retain_loss", with_label(named, settings, "position embedding")[0], 0)
    one, two = "queries of block 1", "queries of block 2"
    return means(gap), (loss[two] < loss[one]) & (gap[two] > gap[one])


# ---------------------------------------------------------------- which change of the first layer

@claim("N25", notebook="04")
def negation_is_best(named, settings):
    """Negation leaves a smaller gap than every other perturbation of the first layer.

    Test: at the last round, in every net in which changes were made.
    """
    gap = by_change(named, settings)
    others = [name for name in gap if name not in ("FT", "NoT")]
    return means(gap), gap["NoT"] < gap[others].min(axis=1)


@claim("N26", notebook="04")
def noise_is_fine_tuning(named, settings):
    """Fresh weights or added noise in the first layer do no more than fine-tuning.

    Test: at the last round the gaps after both are within two points of FT's.
    """
    gap = by_change(named, settings)
    off = gap.sub(gap["FT"], axis=0).abs()
    return means(gap), off[WEAK].max(axis=1) < 2


@claim("N27", notebook="04")
def turns_help_somewhat(named, settings):
    """Flipping or rotating the kernels helps somewhat, but not as much as negating them.

    Premise: a mirrored or turned first layer. Test: at the last round their gaps all lie between NoT's and FT's.
    """
    gap = by_change(named, settings)
    moved = gap[[name for name in gap if name.split()[0] in ("mirror", "turn")]]
    if moved.empty:
        raise Untestable("needs a mirrored or a turned first layer")
    return means(gap), (moved.max(axis=1) < gap["FT"]) & (moved.min(axis=1) > gap["NoT"])


# ---------------------------------------------------------------- how many clients leave

@claim("N28", notebook="04")
def any_share(named, settings):
    """NoT keeps near Retrain whether 10, 50 or 90 % of the clients are forgotten.

    Test: the largest of its three gaps, each at the best round (an oracle), is below five points.
    """
    gap, _ = by_share(named, settings, "avg_gap")
    largest = gap["NoT"].max(axis=1, skipna=False)
    return f"largest gap {largest.mean():.1f} points", largest < 5


@claim("N29", notebook="04")
def fewer_bytes(named, settings):
    """Recovery sends fewer bytes the larger the share of clients that leave.

    Test: NoT's bytes up to its best round (an oracle) fall from few to half to most clients.
    """
    sent, leaving = by_share(named, settings, "comm_bytes")
    few, half, most = (sent["NoT"][s] for s in leaving)
    words = ", ".join(f"{b.mean():.2g}" for b in (few, half, most))
    return f"bytes {words}", (few > half) & (half > most)


@claim("N30", notebook="04")
def fcu_grows(named, settings):
    """FCU's FLOPs climb steeply with the share of leaving clients; NoT's do not.

    Test: from few to most clients, FLOPs up to the best round (an oracle) grow by half or more for FCU and not at all
    for NoT.
    """
    work, (few, _, most) = by_share(named, settings, "comp_flops")
    fcu, ours = (work[m][most] / work[m][few] for m in ("FCU", "NoT"))
    return f"FCU: times {fcu.mean():.2f}, NoT: times {ours.mean():.2f}", (fcu > 1.5) & (ours <= 1)
