"""Claims of notebook 05: the theory, measured (NoT, sections 4, 5, 12 and 13).

Tables: `study` has the rows of the studies, `settings` the notebook's parameters, of which the first net is tested and
the first ViT; `toys`, `noisy` and `lemmas` are the experiments without a net.
"""
from ..summary import by_seed, pick, settings_with
from .client_unlearning import FLOOR
from .verdicts import Untestable, claim

CONTROL = "NR-Freeze source=random"


# ---------------------------------------------------------------- reading the rows

def first(settings):
    """The first setting."""
    return next(iter(settings))


def vit(settings):
    """The first setting with a ViT."""
    found = [s for s in settings if "vit" in settings[s].get("model", "")]
    if not found:
        raise Untestable("needs a ViT")
    return found[0]


def cka(study, setting, method, when, to):
    """CKA of a method's layers with another model's: one row a seed, one column a layer, from the input on."""
    found = pick(study, "cka", method=method, when=when, to=to).xs(setting)
    return found.groupby(["seed", "place"]).mean().unstack()


def of_bound(study, settings, metric):
    """A number of Theorem 1 in the first net: one row a seed, a column each for FT and NoT."""
    return pick(study, metric).xs(first(settings)).unstack()


def freezing(df):
    """Gaps at the last round, where all were run: NR-Freeze, its control with a random layer, a second Retrain."""
    names = ["NR-Freeze", CONTROL, FLOOR]
    have = settings_with(df, *names)
    gap = by_seed(df, "avg_gap", "last")[names].query("setting in @have", local_dict={"have": have})
    frozen, control, floor = (gap[name] for name in gap)
    words = f"NR-Freeze {frozen.mean():.2f}, random layer {control.mean():.2f}, Retrain {floor.mean():.2f}"
    return words, frozen, control, floor


def moved(study, settings):
    """How far changes move the first layer's activations, and how far at most: a row a seed, a column a change."""
    far, slack = (pick(study, f"{kind}_ratio").loc[first(settings)] for kind in ("distance", "epsilon"))
    return (t.droplevel("method").unstack() for t in (far, slack))


def proved(lemmas, words):
    """Whether the numbers hold, of the statements that contain these words."""
    return lemmas[lemmas["statement"].str.contains(words)]["holds"]


# ---------------------------------------------------------------- is the negated layer a good one

@claim("N41", notebook="05")
def close_to_optimal(df):
    """With ReLU, too, a negated layer stays close to optimal for the layers above (a conjecture).

    Test: in every net with both controls NR-Freeze ends at most two points farther from Retrain than a second Retrain,
    and nearer than with a frozen random layer.
    """
    words, frozen, control, floor = freezing(df)
    return words, (frozen <= floor + 2) & (frozen < control)


@claim("N42", notebook="05")
def trains_as_well(df):
    """A frozen negated layer with fresh layers above it trains as well as a new network.

    Test: in every net with both controls NR-Freeze ends at most two points farther from Retrain than a second Retrain.
    """
    words, frozen, _, floor = freezing(df)
    return words, frozen <= floor + 2


# ---------------------------------------------------------------- similarity of layers

@claim("N43", notebook="05")
def similarity_drops(study, settings):
    """Just after negation, similarity to the original model is high at the negated layer and drops towards the output.

    Test: in the first net CKA behind the negated convolution is above a half, and above that of the head.
    """
    near = cka(study, first(settings), "NoT", "before", "Original")
    early, head = near[1], near[near.columns[-1]]
    return f"{early.mean():.2f}, head {head.mean():.2f}", (early > 0.5) & (early > head)


@claim("N44", notebook="05")
def more_like_retrain(study, settings):
    """A recovered NoT model is more similar to Retrain than to FT.

    Test: over the layers of the first net, NoT's CKA to the original model is off Retrain's by less than FT's is.
    """
    ends = {m: cka(study, first(settings), m, "after", "Original") for m in ("NoT", "FT", "Retrain")}
    ours, fine = ((ends[m] - ends["Retrain"]).abs().mean(axis=1) for m in ("NoT", "FT"))
    return f"off: NoT {ours.mean():.3f}, FT {fine.mean():.3f}", ours < fine


@claim("N45", notebook="05")
def alike_below_fresh_layers(study, settings):
    """The same random upper layers respond alike to a layer and to its negative.

    Test: in the first net the mean CKA of the two over the layers is above 0.8.
    """
    alike = cka(study, first(settings), "NR", "before", "NR").mean(axis=1)
    return f"mean CKA {alike.mean():.2f}", alike > 0.8


@claim("N46", notebook="05")
def skips_bring_it_back(study, settings):
    """Skip connections of a ViT bring similarity back in deeper blocks, even with random weights.

    Test: in the first ViT CKA to the original model is larger at the last block than at the first, both after negation
    and in a fresh net.
    """
    negated = cka(study, vit(settings), "NoT", "before", "Original")
    fresh = cka(study, vit(settings), "Retrain", "before", "Original")
    last = fresh.columns[-2]            # the head comes after it
    words = [f"{name} {t[1].mean():.2f} to {t[last].mean():.2f}" for name, t in (("NoT", negated), ("fresh", fresh))]
    return ", ".join(words), (negated[last] > negated[1]) & (fresh[last] > fresh[1])


@claim("N47", notebook="05")
def fewer_dimensions(study, settings):
    """The negated model's gradient noise occupies a fifth to a third fewer dimensions than a fresh model's.

    Test: in the first net the share of eigenvalues that holds 95 % of the variance, by the corrected spectrum, is at
    most 0.8 times the fresh net's.
    """
    alpha = pick(study, "alpha", beta=0.95).xs(first(settings)).groupby(["spectrum", "seed", "method"]).mean().unstack()
    ratio = alpha["NoT"] / alpha["Retrain"]
    raw, corrected = ratio.xs("raw"), ratio.xs("corrected")
    return f"NoT over fresh {corrected.mean():.2f}, raw {raw.mean():.2f}", corrected <= 0.8


# ---------------------------------------------------------------- the time that unlearning takes

@claim("N31", notebook="05", place="05, no noise")
def bound_without_noise(toys):
    """The time to change the loss gap is bounded below by the squared change over the squared gradient bound times the
    loss decrease.

    Test: along the gradient flow of each toy the bound is at most the time used.
    """
    return "two toys", [(toy["bound"] <= toy["time"] + 1e-9).all() for toy in toys.values()]


@claim("N31", notebook="05", place="05, noise")
def bound_with_noise(noisy):
    """The time to change the loss gap is bounded below by the squared change over the squared gradient bound times the
    loss decrease.

    Test: on a nearly flat loss with noise the bound is at most the time used.
    """
    return f"time 1, bound {noisy['bound']:.0f}", [noisy["bound"] <= noisy["time"]]


@claim("N32", notebook="05")
def far_larger_for_fine_tuning(study, settings):
    """This bound is far larger for FT than for NoT, and both stay far below the time actually spent.

    Test: in the first net FT's bound is ten times NoT's, and both are below a tenth of the time of the traced rounds.
    """
    time, used = of_bound(study, settings, "t_unlearn"), of_bound(study, settings, "used_ratio")
    words = ", ".join(f"{m} {time[m].mean():.2g} (of used: {used[m].mean():.2g})" for m in time)
    return words, (time["FT"] > 10 * time["NoT"]) & (used.max(axis=1) < 0.1)


@claim("N33", notebook="05")
def predicts_the_cost(df, study, settings):
    """The bounds predict the measured cost ratio of FT to NoT.

    Test: in the first net the ratio of the bounds is within a factor of two of the ratio of bytes up to the best round
    (an oracle).
    """
    time, sent = of_bound(study, settings, "t_unlearn"), by_seed(df, "comm_bytes").loc[first(settings)]
    said, real = time["FT"] / time["NoT"], sent["FT"] / sent["NoT"]
    return f"bound {said.mean():.3g}, bytes {real.mean():.2f}", (said / real).between(0.5, 2)


@claim("N34", notebook="05")
def negligible_noise(study, settings):
    """The noise term of the bound is negligible next to the loss that can be gained.

    Test: in the first net it is below a hundredth of it, for FT and for NoT.
    """
    share = of_bound(study, settings, "noise_A") / of_bound(study, settings, "room")
    return ", ".join(f"{m} {share[m].mean():.2f}" for m in share), share.max(axis=1) < 0.01


# ---------------------------------------------------------------- activations, Jacobians, the layer that makes up for it

@claim("N35", notebook="05")
def moves_furthest(study, settings):
    """Among changes of equal norm, negating a ReLU layer moves its activations furthest, if both signs carry similar
    norm.

    Test: on the first net's trained layer no change moves them farther than negation by more than the difference in
    norm that the theorem allows.
    """
    far, slack = moved(study, settings)
    beyond = far.sub(far["negate"] + slack["negate"], axis=0) - slack
    return ", ".join(f"{change} {v:.2f}" for change, v in far.mean().items()), beyond.max(axis=1) <= 0


@claim("N36", notebook="05")
def random_weights_cover(study, settings, lemmas):
    """Random new weights cover at most a share 1 - 1/pi of the greatest possible distance.

    Test: on Gaussian inputs they reach that share. The number beside it is that of the first net's trained layer.
    """
    far, _ = moved(study, settings)
    return f"trained layer: fresh weights {far['fresh'].mean():.2f}", proved(lemmas, "Lemma 2")


@claim("N37", notebook="05")
def step_and_odd(lemmas):
    """With step or odd activations no change of the layer moves further than negation.

    Test: for the step and for tanh no random output lies farther from the layer's than its negative.
    """
    return "step and tanh", proved(lemmas, "random outputs")


@claim("N38", notebook="05")
def same_distribution(study, settings):
    """In wide networks a pre-activation and its negative have nearly the same distribution, so Jacobians above keep
    their spectrum.

    Test: in a fresh layer of 64 channels a classifier finds a joint total variation below 0.2.
    """
    joint = pick(study, "tv", kind="joint", layer="fresh", width=64)
    if joint.empty:
        raise Untestable("needs the study variation")
    return f"joint distance at width 64: {joint.mean():.2f}", joint < 0.2


@claim("N39", notebook="05")
def no_blow_up(study, settings):
    """In and below the negated layer gradients may shrink but do not blow up.

    Test: in the first net the Jacobian of no tensor of the negated layer grows to twice its norm, in nine images of
    ten.
    """
    ratio = pick(study, "jacobian_ratio", quantile=0.9).xs(first(settings)).unstack("place")[[0, 1]]
    largest = ratio.groupby("seed").max().max(axis=1)
    return f"largest ratio {largest.mean():.2f}", largest < 2


@claim("N40", notebook="05")
def next_layer_cancels(lemmas):
    """With sigmoid-like, odd or even activations the following layer can cancel a negation exactly.

    Test: with the corrected formula the largest error of four nets is rounding.
    """
    return "error below 1e-6", proved(lemmas, "corrected")
