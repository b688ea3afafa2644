"""Claims of notebook 08: reset parameters trained again, other requests, the premise (TIS, App. 2, equation 25).

`fisher` is the table of equation 25: closed form, Monte Carlo and its standard error.
"""
from ..summary import each_run, told
from .tis_reset import random, said, tis
from .verdicts import claim


@claim("T14", notebook="08")
def any_subset(df):
    """Any subset can be forgotten, including one that is scattered over clients.

    Test: for requests that are no client, TIS is nearer to (1, 1) than Random, and its NFS is above 0.8, at the best
    gamma (an oracle).
    """
    ours = told(tis(df).loc[["iid"]], "distance")
    ahead = random(df)["distance"][ours.index] - ours["distance"]
    return said("distance, Random minus TIS", ahead), (ahead > 0) & (ours["nfs"] > 0.8)


@claim("T16", notebook="08")
def moves_where_flat(df):
    """When data change, weights move most where the loss is flat, and a diagonal curvature describes this well enough.

    Test: over bootstrap samples the log variance of parameters falls with their log curvature, with a slope below -0.5.
    """
    slope = each_run(df, "Original", "last", repeats=8)["slope_flatness"].dropna()
    return said("slope of log variance", slope), slope < -0.5


@claim("T17", notebook="08")
def fisher_information(fisher):
    """What the weights reveal about the target is proportional to the summed squares of the curvature ratios.

    Test: Monte Carlo is within four standard errors of the closed form, in every row.
    """
    off = ((fisher["Monte Carlo"] - fisher["closed form"]) / fisher["error"]).abs()
    return said("Monte Carlo, standard errors off", off.head(1)), [(off < 4).all()]


@claim("T19", notebook="08")
def random_catches_up(df):
    """One epoch on the reset weights alone makes random reset nearly as good as scored reset.

    Test: after TRIM Random is less than 0.1 farther from (1, 1) than TIS, at the best gamma of each (an oracle).
    """
    ours, theirs = (told(each_run(df, f"{kind}-Reset+TRIM", reset="zero"), "distance") for kind in ("TIS", "Random"))
    apart = theirs["distance"] - ours["distance"]
    return said("distance, Random minus TIS, after TRIM", apart), apart < 0.1


@claim("T20", notebook="08")
def the_epoch_does_it(df):
    """Most of that unlearning is due to the epoch, not to which weights were chosen.

    Test: in the preferential partition an epoch on all weights, nothing reset (FT), reaches an NFS above 0.8.
    """
    epoch = each_run(df, "FT", "last").loc["preferential"]["nfs"]
    return said("NFS after an epoch on all weights", epoch), epoch > 0.8
