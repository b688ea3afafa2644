"""The headline questions, each answered in one sentence a setting from rows; where the rows lack what a sentence needs,
the answer is `not yet`."""
import numpy as np

from ..words import AVG_GAP, metric
from .claims import NOT_YET
from .numbers import number
from .statistics import AGAIN, ALIKE, noise_floor, not_converged, paired, verdict
from .stops import SHARES
from .summary import by_seed, each_run

ALONE = "preferential"          # the partition in which one client alone knows a class


def forgets(df, name):
    """Whether a method forgets: its forget accuracy and MIA minus those of the same seed's Retrain, at all of Retrain's
    budget, against the differences of the second Retrain."""
    parts = []
    for measured in ("forget_acc", "mia"):
        table = by_seed(df, measured, "full")
        ended = by_seed(df, measured, "last")
        ours = paired(table[name], ended["Retrain"])
        noise = (ended[AGAIN] - ended["Retrain"]).abs().mean()
        parts.append(f"{metric(measured).words} {ours.mean:+.2f} points{between(ours)} from Retrain's, where a second Retrain is off by "
                     f"{noise:.2f}: {word_of(ours, noise)}")
    return "; ".join(parts)


def word_of(found, floor):
    """`not told apart`, `above` or `below`."""
    if verdict(found, floor) == ALIKE:
        return ALIKE
    return "above" if found.mean > 0 else "below"


def between(found):
    """The 95 % interval and n, as ` [-1.20, 0.40], n = 10`."""
    interval = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.n > 1 else ""
    return f"{interval} (n = {found.n})"


def beats_retraining(df, name):
    """The gap of a method minus that of a Retrain stopped at the same budget, at a quarter, a half and all of it."""
    floor = noise_floor(df, "last").get(df["setting"].iloc[0], 0.0)
    parts = []
    for stop in SHARES:
        table = by_seed(df, AVG_GAP, stop)
        found = paired(table[name], table[AGAIN])
        parts.append(f"{stop} {found.mean:+.2f}{between(found)}: {verdict(found, floor)}")
    return "; ".join(parts)


def against(df, name, other):
    """The gap of one method minus that of another at half of Retrain's budget."""
    floor = noise_floor(df, "last").get(df["setting"].iloc[0], 0.0)
    table = by_seed(df, AVG_GAP, "half")
    found = paired(table[name], table[other])
    return f"half {found.mean:+.2f}{between(found)}: {verdict(found, floor)}"


# ---------------------------------------------------------------- the page's questions

def answers(tables):
    """`[(question, [sentences])]` of the page's head. tables: {notebook: rows}: of 02, of TIS's reset alone (07) and of
    the head to head (10); None where nothing is committed."""
    client, alone, both = (tables.get(notebook) for notebook in ("02", "07", "10"))
    both = client if both is None else both     # 02 has TIS with recovery as well, in NoT's protocol
    return [
        ("Does NoT forget?", over(client, forgets, "NoT")),
        ("Is NoT better than retraining for as long?", over(client, beats_retraining, "NoT")),
        ("And fine-tuning, as published and at a searched rate?", over(client, beats_retraining, "FT")),
        ("Does TIS forget without any training?", without_training(alone)),
        ("Is TIS with recovery better than retraining for as long?", over(both, beats_retraining, "TIS-Reset")),
        ("NoT or TIS, at half of Retrain's budget?", over(both, not_against, "TIS-Reset")),
    ]


def answers_nearer(tables):
    """The same for scales nearer to the papers', whose few seeds rank nothing: the gaps at equal budgets as they are.
    tables: {profile: rows of 02, or None where nothing is committed}."""
    said = []
    for profile, df in tables.items():
        for setting, here in () if df is None else df.groupby("setting", sort=True):
            if has_budgets(here):
                said.append(f"`{setting}` ({profile}, n = {here['seed'].nunique()}), gap for a quarter, half, all of "
                            f"Retrain's budget: {at_budgets(here)}.")
                said += doubts(here)
    return [("And on the paper's own data and net?", said)] if said else []


def at_budgets(df):
    """`a Retrain stopped there 4.5 / 1.9 / 0.1; NoT 2.9 / 1.3 / 1.4; …`, of every method that follows equal budgets."""
    means = {stop: by_seed(df, AVG_GAP, stop).mean() for stop in SHARES}
    names = [AGAIN, *(name for name in means["half"].index if name != AGAIN and not name.startswith(("Original", "Retrain")))]
    return "; ".join(f"{'a Retrain stopped there' if name == AGAIN else name} "
                     + " / ".join(f"{means[stop][name]:.1f}" for stop in SHARES) for name in names)


def not_against(df, name):
    """NoT against a variant of TIS Reset."""
    return "NoT minus it, " + against(df, "NoT", name)


def over(df, ask, method):
    """The sentences of one question, over all settings of a table and all variants of a method."""
    if df is None:
        return [f"{NOT_YET}: no rows are committed."]
    said, missing = [], []
    for setting, here in df.groupby("setting", sort=True):
        if has_budgets(here):
            said += [f"`{setting}`, {name}: {ask(here, name)}." for name in variants_of(here, method)]
            said += doubts(here)
        else:
            missing.append(f"`{setting}`")
    if missing:
        said.append(f"{NOT_YET} for {', '.join(missing)}: the committed rows have no budgets beside a second Retrain.")
    return said


def doubts(here):
    """That the answers of a setting are about models on their way, where training has not converged."""
    words = not_converged(here)
    return [f"{words}: what is said of this setting is no conclusion."] if words else []


def has_budgets(df):
    """Whether equal budgets and a second Retrain are among the rows."""
    names = set(named(df))
    return set(SHARES) <= set(df["stop"]) and AGAIN in names


def named(df):
    """The name of each row's run, as in `by_seed`."""
    return (df["method"] + " " + df["variant"]).str.strip()


def variants_of(df, method):
    """The names of a method's runs that follow equal budgets, the plain one first."""
    names = set(named(df[(df["method"] == method) & (df["stop"] == "half")]))
    return sorted(names, key=lambda name: (name != method, name))


def without_training(df):
    """NFS and NTA of TIS Reset at its best gamma, and of Random Reset, where a client alone knows a class."""
    if df is None:
        return [f"{NOT_YET}: no rows are committed."]
    said = ["At the best gamma of each run, an oracle; forgetting (NFS) and use (NTA) of Retrain are 1 and 1; one client "
            "alone knows a class."]
    for setting, here in df[df["distribution"] == ALONE].groupby("setting", sort=True):
        parts = [f"{method} {use_and_forgetting(here, method)}" for method in ("TIS-Reset", "Random-Reset")]
        said.append(f"`{setting}` (n = {here['seed'].nunique()}): {', '.join(parts)}.")
    return said


def use_and_forgetting(df, method):
    """`NFS 0.95 ± 0.02, NTA 0.81 ± 0.04` of a reset to zero."""
    runs = each_run(df, method, reset="zero")
    return " and ".join(f"{metric(name).words} {number(runs[name].mean(), runs[name].std())}" for name in ("nfs", "nta"))


def share_of_order(paper, ours):
    """Spearman's rank correlation of two Series over the same methods, and n; NaN for fewer than three."""
    from scipy.stats import spearmanr
    both = [(p, o) for p, o in zip(paper, ours) if np.isfinite(p) and np.isfinite(o)]
    if len(both) < 3:
        return np.nan, len(both)
    return float(spearmanr(*zip(*both)).statistic), len(both)
