"""Claims of our own, of notebook 12: what an attacker who knows the method finds, example by example.

Everything is against the finished Retrains of the same seed, at all of their budget unless a claim says otherwise. The
second Retrain is the floor: above the upper end of its bootstrap interval a method is told from Retrain.
"""
from ...words import AVG_GAP, REFERENCE
from ..by_example import audited
from .client_unlearning import FLOOR as AGAIN
from .verdicts import Untestable, claim

ENDS = (REFERENCE, AGAIN, "Original")


def methods_in(table):
    """The columns that are methods of unlearning; Untestable without any."""
    found = [name for name in table if name not in ENDS]
    if not found:
        raise Untestable("needs a method beside Retrain")
    return table[found]


def floor(df, over="forget"):
    """The upper end of the second Retrain's interval; Untestable where that leaves out guessing."""
    ends = [audited(df, "attack_acc", over, bound=bound)[AGAIN] for bound in ("low", "high")]
    if not ((ends[0] <= 50) & (ends[1] >= 50)).all():
        raise Untestable("needs a second Retrain that cannot be told from the first")
    return ends[1]


def told(table, limit):
    """Which methods lie above a limit, seed by seed."""
    return methods_in(table).gt(limit, axis=0)


def below_in_words(table, limit):
    """The names that are not told apart in some seed, with their mean; `none`."""
    apart = told(table, limit)
    names = [f"{name} {table[name].mean():.1f}" for name in apart if not apart[name].all()]
    return ", ".join(names) or "none"


@claim("A01", notebook="12")
def none_within_the_floor(df):
    """By their forgotten examples, every method can be told from Retrain, though it has had all of Retrain's budget.

    Premise: the second Retrain's interval holds 50 %. Test: the attack's accuracy over the forgotten examples is above
    that interval for every method.
    """
    table, limit = audited(df, "attack_acc"), floor(df)
    words = f"floor up to {limit.mean():.1f} %, within it: {below_in_words(table, limit)}"
    return words, told(table, limit).all(axis=1)


@claim("A02", notebook="12")
def averages_flatter_not(df):
    """NoT stands better among the methods by its average gap than by its forgotten examples.

    Premise: NoT and two others. Test: NoT's place (1 is nearest) by average gap is before its place by the attack's
    accuracy.
    """
    table = methods_in(audited(df, "attack_acc"))
    gap = methods_in(audited(df, AVG_GAP, None))[list(table)]
    if len(list(table)) < 3:
        raise Untestable("needs NoT and two other methods")
    places = [one.rank(axis=1)["NoT"] for one in (gap, table)]
    words = f"place {places[0].mean():.1f} by average gap, {places[1].mean():.1f} by example, of {len(list(table))}"
    return words, places[0] < places[1]


@claim("A03", notebook="12")
def not_beats_early_retrain(df):
    """For half of Retrain's budget NoT is harder to tell from Retrain by forgotten examples than a Retrain
    stopped there.

    Premise: NoT and a second Retrain at half of the budget. Test: the attack's accuracy is lower for NoT.
    """
    table = audited(df, "attack_acc", stop="half")
    words = f"NoT {table['NoT'].mean():.1f} %, Retrain stopped there {table[AGAIN].mean():.1f} %"
    return words, table["NoT"] < table[AGAIN]


@claim("A04", notebook="12")
def the_memorised_stay(df):
    """What fine-tuning at the rate of training does not forget is what was memorised most.

    Premise: FT. Test: the attack's accuracy on FT is higher over the most memorised tenth of the forgotten examples
    than over all of them.
    """
    most, all_of_them = audited(df, "attack_acc", "memorised")["FT"], audited(df, "attack_acc")["FT"]
    return f"most memorised {most.mean():.1f} %, all {all_of_them.mean():.1f} %", most > all_of_them


@claim("A05", notebook="12")
def told_by_retained_examples(df):
    """NoT can be told from Retrain by what it says of retained examples.

    Premise: the second Retrain's interval over retained examples holds 50 %. Test: the attack's accuracy over them is
    above that interval for NoT.
    """
    value, limit = audited(df, "attack_acc", "retain")["NoT"], floor(df, "retain")
    return f"{value.mean():.1f} %, floor up to {limit.mean():.1f} %", value > limit


@claim("A06", notebook="12")
def test_examples_say_nothing(df):
    """By test examples, which no model has seen, no method can be told from Retrain.

    Premise: the second Retrain's interval over test examples holds 50 %. Test: the attack's accuracy over them is
    within it for every method.
    """
    table, limit = audited(df, "attack_acc", "test"), floor(df, "test")
    highest = methods_in(table).max(axis=1)
    words = f"highest {highest.mean():.1f} %, floor up to {limit.mean():.1f} %"
    return words, ~told(table, limit).any(axis=1)
