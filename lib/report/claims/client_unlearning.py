"""Claims of notebook 02: one client leaves, IID data (NoT, Table 1)."""
from ..summary import by_seed, rounds_to_retrain
from .verdicts import Untestable, claim

FLOOR = "Retrain name=again"        # a second, independent Retrain


def of_not(table):
    """The columns that are variants of NoT."""
    return table[[name for name in table if name.split()[0] == "NoT"]]


def rivals(table):
    """The columns that are methods of unlearning, NoT left out."""
    found = [name for name in table if name.split()[0] not in ("NoT", "Retrain", "Original")]
    if not found:
        raise Untestable("needs another method beside NoT")
    return table[found]


def nearest_at(df, stop):
    """Whether NoT is nearer to Retrain than every rival at one stop, and both in words."""
    gap = by_seed(df, "avg_gap", stop)
    ours, best = of_not(gap).min(axis=1), rivals(gap).min(axis=1)
    return f"gap {ours.mean():.1f}, best other {best.mean():.1f}", ours < best


@claim("N01", notebook="02")
def nearest_to_retrain(df):
    """When one client leaves under IID data, NoT has the smallest average gap to Retrain of all federated methods.

    Premise: NoT and another method. Test: each at its round with the smallest gap (an oracle), the nearest variant of
    NoT is nearer than the nearest rival.
    """
    return nearest_at(df, "oracle")


@claim("N01", notebook="02", place="02, quarter")
def nearest_for_a_quarter(df):
    """When one client leaves under IID data, NoT has the smallest average gap to Retrain of all federated methods.

    Premise: NoT and another method. Test: each at a quarter of Retrain's bytes and FLOPs, the nearest variant of NoT is
    nearer than the nearest rival.
    """
    return nearest_at(df, "quarter")


@claim("N01", notebook="02", place="02, half")
def nearest_for_half(df):
    """When one client leaves under IID data, NoT has the smallest average gap to Retrain of all federated methods.

    Premise: NoT and another method. Test: each at half of Retrain's bytes and FLOPs, the nearest variant of NoT is
    nearer than the nearest rival.
    """
    return nearest_at(df, "half")


@claim("N02", notebook="02")
def cheap(df):
    """NoT costs few bytes and few FLOPs compared with the other methods.

    Premise: NoT and another method. Test: at the round with the smallest gap (an oracle) NoT has sent no more bytes
    than the rival that sent the fewest.
    """
    ratio = by_seed(df, "comm_ratio")
    ours, cheapest = ratio["NoT"], rivals(ratio).min(axis=1)
    return f"bytes / Retrain {ours.mean():.2f}, cheapest {cheapest.mean():.2f}", ours <= cheapest


@claim("N07", notebook="02")
def at_chance(df, classes):
    """Right after one layer is negated the loss is high and the model predicts at chance.

    classes: {setting: number of classes}. Test: at round 0, before any recovery, NoT's accuracy on retained data is
    below twice that of guessing.
    """
    start = by_seed(df, "retain_acc", "curve").xs(0, level="round")
    chance = 100 / start.index.get_level_values("setting").map(classes)
    return f"retain accuracy {start['NoT'].mean():.1f} % at round 0", start["NoT"] < 2 * chance


@claim("N09", notebook="02")
def fine_tuning_is_slow(df):
    """Plain fine-tuning on what is retained forgets only slowly.

    Test: at the last round FT at the rate of training still knows the client's images more than five points better
    than Retrain.
    """
    forget = by_seed(df, "forget_acc", "last")
    fine, retrain = forget["FT"], forget["Retrain"]
    return f"FT {fine.mean():.0f} %, Retrain {retrain.mean():.0f} %", fine > retrain + 5


@claim("N11", notebook="02")
def recovers_sooner(df):
    """Recovering a negated model takes fewer rounds than training a new one.

    Test: NoT is within two points of Retrain's end, on retained and on test data, at an earlier evaluated round than
    Retrain itself. A run that never gets there fails.
    """
    rounds = rounds_to_retrain(df, within=2)
    ours, new = rounds["NoT"], rounds["Retrain"]
    return f"rounds: NoT {ours.mean():.0f}, Retrain {new.mean():.0f}", ours < new


def beats_early_retrain(df, stop):
    """Whether NoT is nearer to Retrain than a second Retrain stopped at the same budget, and the difference in words."""
    gap = by_seed(df, "avg_gap", stop)
    ours, early = gap["NoT"], gap[FLOOR]
    return f"gap {ours.mean():.1f}, Retrain stopped there {early.mean():.1f}", ours < early


@claim("N11", notebook="02", place="02, quarter")
def beats_retrain_stopped_at_a_quarter(df):
    """Recovering a negated model takes fewer rounds than training a new one.

    Premise: a second Retrain. Test: at a quarter of Retrain's bytes and FLOPs NoT, at the rate of training, is nearer to
    Retrain than the second one, stopped there.
    """
    return beats_early_retrain(df, "quarter")


@claim("N11", notebook="02", place="02, half")
def beats_retrain_stopped_at_half(df):
    """Recovering a negated model takes fewer rounds than training a new one.

    Premise: a second Retrain. Test: at half of Retrain's bytes and FLOPs NoT, at the rate of training, is nearer to
    Retrain than the second one, stopped there.
    """
    return beats_early_retrain(df, "half")


@claim("N12", notebook="02")
def attack_as_on_retrain(df):
    """A membership attack does no better on NoT than on Retrain, near 50 % when data are IID.

    Premise: a second Retrain. Test: at the last round the attack on NoT is off Retrain's by at most three points more
    than the attack on the second Retrain.
    """
    mia = by_seed(df, "mia", "last")
    off = mia.sub(mia["Retrain"], axis=0).abs()
    ours, noise = off["NoT"], off[FLOOR]
    return f"off by {ours.mean():.1f}, a second Retrain {noise.mean():.1f}", ours <= noise + 3
