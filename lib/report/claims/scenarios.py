"""Claims of notebook 03: other requests (NoT, Tables 4 to 6), and a client that joined late."""
from ..summary import by_seed, gap_over
from .client_unlearning import FLOOR
from .verdicts import Untestable, claim, claim_texts

WITH_CLASS = ("retain_acc", "forget_acc", "test_acc_all", "mia")      # the forgotten class stays in the test set


def smallest(gap):
    """Whether NoT's gap is below that of every other method, and both in words."""
    others = [name for name in gap if not name.startswith(("NoT", "Retrain", "Original"))]
    best = gap[others].min(axis=1)
    return f"gap {gap['NoT'].mean():.1f}, best of the others {best.mean():.1f}", gap["NoT"] < best


STOPS = {"oracle": ("", "at its round with the smallest gap (an oracle)"),
         "half": (", half", "at half of Retrain's bytes and FLOPs")}


def smallest_in(setting, stop):
    """The test of whether NoT's gap is the smallest in a setting at one stop."""
    def test(df):
        return smallest(by_seed(df, "avg_gap", stop).loc[setting])

    test.__doc__ = f"Test: each method {STOPS[stop][1]}, in the setting `{setting}`."
    return test


for id, setting in (("N13", "label_skew"), ("N14", "class_wise"), ("N15", "instance_wise")):
    for stop, (suffix, _) in STOPS.items():
        register = claim(id, notebook="03", place=f"03 {setting}{suffix}", text=claim_texts()["claim"][id])
        register(smallest_in(setting, stop))


@claim("N14", notebook="03", place="03 class_wise, class in the test set")
def class_wise_class_left_in(df):
    """For forgetting a whole class NoT has the smallest gap.

    Test: each method at its round with the smallest gap (an oracle), with the forgotten class left in the test set.
    """
    return smallest(gap_over(df, WITH_CLASS).loc["class_wise"])


@claim("N04", notebook="03", place="03 joined_first")
def replay_is_dear_and_far(df):
    """If the target was there from round 1, FedEraser and FUKD cost about as much as Retrain and end further from it.

    Premise: a second Retrain in the setting `joined_first`. Test: at the last round both end farther from Retrain than
    the second Retrain does, and both have sent more than nine tenths of its bytes.
    """
    gap = by_seed(df, "avg_gap", "last").loc["joined_first"]
    sent = by_seed(df, "comm_ratio", "last").loc["joined_first"]
    replays = [name for name in gap if name.startswith(("FedEraser", "FUKD"))]
    if len(replays) < 2:
        raise Untestable("needs FedEraser and FUKD in joined_first")
    nearer, floor = gap[replays].min(axis=1), gap[FLOOR]
    dear = (sent[replays] > 0.9).all(axis=1)
    return f"smaller gap {nearer.mean():.1f}, a second Retrain {floor.mean():.1f}", (nearer > floor) & dear
