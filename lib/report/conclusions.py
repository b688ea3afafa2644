"""What a notebook's rows say, in sentences. Each function below says one thing of one setting, and says nothing where its
premise is not met: methods are compared only where training has converged and there are seeds enough for a spread.

Differences are paired by seed: `-2.05 [-3.02, -1.08]` is a mean and its 95 % interval (Student's t over seeds).
"""
import numpy as np

from ..errors import Bad, nearest
from ..words import AVG_GAP, REFERENCE, metric
from .answers import named, word_of
from .budgets import savings
from .numbers import number
from .papers import paper_table
from .statistics import AGAIN, ALIKE, BETTER, WORSE, converged, in_order, knows, noise_floor, paired, tiers, verdict
from .stops import SHARES
from .summary import after, by_seed, diverged_runs, each_run

ENOUGH = 3      # seeds; with fewer no spread is claimed and no method is called better
RIGHT = 5.0     # points: within them of Retrain's end a backdoor counts as taken out
OVER_EARLY = "Over before all of Retrain's budget was spent, so that at the later budgets their last round stands"
NEARLY_ALL = 0.9        # of Retrain's bytes and FLOPs: a run that has spent less was over before
PLANTED = 90.0  # percent: below it there is no backdoor whose removal could be judged
BUDGETS = {"quarter": "a quarter of", "half": "half of", "full": "all of"}


class Conclusions(list):
    """`(setting, [sentences])` of a table; a notebook shows them as nested bullets."""

    def __str__(self):
        lines = []
        for setting, said in self:
            lines.append(f"* **`{setting}`**")
            lines += [f"  * {sentence}" for sentence in said]
        return "\n".join(lines)

    __repr__ = _repr_markdown_ = __str__


def conclude(df, notebook=None):
    """The conclusions of a notebook, made from its rows: `Conclusions`, which a cell shows as text.

    df: rows with whole curves, of any data; notebook: as "02", the rows' own where it is not given.
    """
    notebook = notebook or df["notebook"].iloc[0]
    if notebook not in CONCLUSIONS:
        raise Bad(f"conclude: {nearest(notebook, CONCLUSIONS, 'notebook with conclusions')}")
    found = Conclusions()
    for setting, here in df.groupby("setting", sort=False):
        said = [sentence for f in CONCLUSIONS[notebook] for sentence in f(here)]
        if said:
            found.append((setting, said))
    return found


# ---------------------------------------------------------------- premises

def seeds_of(here):
    return here["seed"].nunique()


def has_converged(here):
    """Whether training has ended in a setting, as far as its curves tell; one without whole curves of Retrain is no
    ground for a comparison either."""
    found = converged(here)
    return REFERENCE in set(found["run"]) and bool(found["converged"].all())


def has_budgets(here):
    """Whether there is a second Retrain, to be stopped early, and equal budgets."""
    return set(SHARES) <= set(here["stop"]) and AGAIN in set(named(here))


def comparable(here):
    """Whether methods may be compared with each other and with a Retrain stopped early."""
    return has_budgets(here) and has_converged(here) and seeds_of(here) >= ENOUGH


# ---------------------------------------------------------------- what every notebook begins with

def about_convergence(here):
    """Whether the setting is fit for conclusions."""
    found = converged(here)
    if REFERENCE not in set(found["run"]):
        return
    ends = ", ".join(f"{line.run} {knows(line.accuracy)} %{still_moving(line)}" for line in found.itertuples())
    if has_converged(here):
        yield f"Training has converged (n = {seeds_of(here)}); known of the data to be retained: {ends}."
    else:
        yield (f"Training has not converged (n = {seeds_of(here)}), so that no method is compared with another; known of the "
               f"data to be retained: {ends}.")


def still_moving(line):
    """By how much the curve of a run that has not converged still moves."""
    if line.converged or np.isnan(line.moved):
        return ""
    return f", which moved by {line.moved:.1f} points over the last fifth of the rounds"


def about_diverged(here):
    """Which runs diverged, and that they stand in no mean."""
    lost, short = diverged_runs(here), short_names(here)
    for name, runs in lost.groupby(named(lost)):
        of = here.loc[named(here) == name, "seed"].nunique()
        yield f"{short[name]} diverged in {runs['seed'].nunique()} of {of} seeds, which stand in no mean."


def about_few_seeds(here):
    """With fewer seeds than a spread needs: the gaps alone, and that they rank nothing."""
    if seeds_of(here) >= ENOUGH or not has_budgets(here) or not has_converged(here):
        return
    gaps, short = by_seed(here, AVG_GAP, "half"), short_names(here)
    nearest_first = gaps[in_order(gaps)].mean().sort_values(kind="stable")
    words = [f"{short[name]} {gap:.2f}" for name, gap in nearest_first.items()]
    yield (f"For half of Retrain's budget the gaps are {', '.join(words)}. With {count_of_seeds(here)} there is no spread, "
           "so that this is no ranking.")


def count_of_seeds(here):
    n = seeds_of(here)
    return "one seed" if n == 1 else f"{n} seeds"


def short_names(here):
    """`{name of a run: what a sentence calls it}`: without its arguments where its method was run with no others; the
    second Retrain is the one that was stopped at a budget."""
    runs = here[["method", "variant"]].drop_duplicates()
    often = runs["method"].value_counts()
    said = {}
    for name, method in zip(named(runs), runs["method"]):
        said[name] = method if often[method] == 1 else name
    return said | {AGAIN: "Retrain stopped there"}


# ---------------------------------------------------------------- methods beside a Retrain stopped early

def about_the_floor(here):
    """The noise floor, below which no difference counts."""
    if comparable(here):
        yield f"A second Retrain ends {floor_of(here):.2f} points from the first: smaller differences tell nothing apart."


def floor_of(here):
    return next(iter(noise_floor(here, "last").values()), 0.0)


def about_budgets(here):
    """Which methods beat a Retrain stopped at a quarter, a half and all of its budget."""
    if not comparable(here):
        return
    short = short_names(here)
    for stop, share in BUDGETS.items():
        table = by_seed(here, AVG_GAP, stop)
        rivals = [name for name in in_order(table) if name != AGAIN]
        pairs = {short[name]: paired(table[name], table[AGAIN]) for name in rivals}
        yield (f"For {share} Retrain's budget, gap minus that of a Retrain stopped there ({among(here)}): "
               f"{by_verdict(pairs, here)}.")


def about_ends(here):
    """Whose runs were over before Retrain's budget was spent: at the later budgets their last round stands."""
    over = over_early(here) if comparable(here) else []
    if over:
        yield f"{OVER_EARLY}: {', '.join(over)}."


def over_early(here):
    """The names of runs that ended with less than nearly all of Retrain's budget."""
    ended = here[here["stop"] == "last"]
    costs = [cost for cost in ("comm_bytes", "comp_flops") if cost in set(ended["metric"])]      # one owner sends nothing
    spent = [by_seed(here, cost, "last").mean() for cost in costs]
    short = short_names(here)
    rivals = [name for name in in_order(by_seed(here, AVG_GAP, "last")) if name not in (AGAIN, "Original")]
    return [short[name] for name in rivals if max(cost[name] / cost[REFERENCE] for cost in spent) < NEARLY_ALL]


def among(here):
    """`n = 10`: over how many seeds a sentence's differences are, where one does not say otherwise."""
    return f"n = {seeds_of(here)}"


def by_verdict(pairs, here):
    """`better: A -2.05 [-3.02, -1.08]; not told apart: B …; worse: C …` of `{name: Paired}`, against the noise floor."""
    parts, floor, of = [], floor_of(here), seeds_of(here)
    for word in (BETTER, ALIKE, WORSE):
        some = [f"{name} {difference(found, of)}" for name, found in pairs.items() if found.n and verdict(found, floor) == word]
        if some:
            parts.append(f"{word}: {', '.join(some)}")
    return "; ".join(parts)


def difference(found, of):
    """`-2.05 [-3.02, -1.08]`; with fewer seeds than a spread needs no interval, and n where it is not that `of` all."""
    interval = f" [{found.low:+.2f}, {found.high:+.2f}]" if found.n >= ENOUGH else ""
    fewer = "" if found.n == of else f" (n = {found.n})"
    return f"{found.mean:+.2f}{interval}{fewer}"


def about_tiers(here):
    """The ranking in tiers at half of Retrain's budget."""
    if not comparable(here):
        return
    found = tiers(here, "half")
    short = short_names(here)
    lines = [f"({tier}) {', '.join(short[name] for name in some['method'])}" for tier, some in found.groupby("tier")]
    yield f"Tiers by gap for half of Retrain's budget, whoever is not told apart in one: {'; '.join(lines)}."


def about_not(here):
    """NoT against every other method at half of Retrain's budget."""
    if not comparable(here) or "NoT" not in set(named(here)):
        return
    table, short = by_seed(here, AVG_GAP, "half"), short_names(here)
    rivals = [name for name in in_order(table) if name not in (AGAIN, "NoT", "Original")]
    pairs = {short[name]: paired(table["NoT"], table[name]) for name in rivals}
    yield (f"NoT against the others for half of Retrain's budget, its gap minus theirs ({among(here)}): "
           f"{by_verdict(pairs, here)}.")


def about_memory(here):
    """Who still knows the forgotten data, or knows them worse than Retrain, after all of Retrain's budget."""
    if not comparable(here):
        return
    table, ended = by_seed(here, "forget_acc", "full"), by_seed(here, "forget_acc", "last")
    noise = (ended[AGAIN] - ended[REFERENCE]).abs().mean()
    short = short_names(here)
    parts = {"above": [], ALIKE: [], "below": []}
    for name in in_order(table):
        if name not in (AGAIN, "Original"):
            found = paired(table[name], ended[REFERENCE])
            parts[word_of(found, noise)].append(f"{short[name]} {difference(found, seeds_of(here))}")
    said = "; ".join(f"{word}: {', '.join(some)}" for word, some in parts.items() if some)
    yield (f"After all of Retrain's budget, {metric('forget_acc').words} minus Retrain's (a second Retrain is off by "
           f"{noise:.2f}; {among(here)}): {said}.")


def about_savings(here):
    """What NoT and the others save to get as near as a Retrain stopped at half."""
    if not comparable(here):
        return
    found = savings(here)
    found = found[(found["at"] == 0.5) & found["saving"].notna()]
    words = [saved(name, some["saving"], seeds_of(here)) for name, some in found.groupby("name", sort=False)]
    if words:
        yield ("Saved to get as near as a Retrain stopped at half of its budget, share of what that one cost, over the seeds "
               f"that get there: {', '.join(words)}.")


def saved(name, share, of):
    """`NoT 31 ± 6 % (9 of 10 seeds)`, over the seeds that get there."""
    n = share.count()
    spread = f" ± {100 * share.std():.0f}" if n >= ENOUGH else ""
    return f"{name} {100 * share.mean():.0f}{spread} % ({n} of {of} seeds)"


# ---------------------------------------------------------------- 10: right after a method's own step

def about_the_first_step(here):
    """Test accuracy right after a method's own step, before any recovery."""
    if not has_converged(here) or seeds_of(here) < ENOUGH:
        return
    test, short = after(here, 0, "test_acc"), short_names(here)
    names = [name for name in in_order(test) if name not in (AGAIN, "Original")]
    words = [f"{short[name]} {number(test[name].mean(), test[name].std())} (n = {test[name].count()})" for name in names]
    yield f"Right after its own step, before any recovery, each keeps a test accuracy of: {', '.join(words)}."


# ---------------------------------------------------------------- 07 and 09: sweeps over gamma

def is_swept(here):
    return (here["metric"] == "gamma_removal").any()


def to_zero(here, method):
    """A reset to zero at its best gamma, a row a run: by the text's selection, or where only that was run by the code's."""
    runs = each_run(here, method, reset="zero")
    return runs if len(runs) else each_run(here, method, reset="zero", rule="code")


def about_the_score(here):
    """TIS Reset against Random Reset, each at the gamma nearest to (1, 1)."""
    if not is_swept(here):
        return
    scored, random = (to_zero(here, method) for method in ("TIS-Reset", "Random-Reset"))
    if scored.empty or random.empty:
        return
    found = paired(scored["distance"], random["distance"].reindex(scored.index))
    ends = [f"{name} {number(runs['distance'].mean(), spread(runs['distance']))}"
            for name, runs in (("TIS Reset", scored), ("Random Reset", random))]
    said = f": {verdict(found)}" if found.n >= ENOUGH else ", which ranks nothing"
    yield (f"Distance to Retrain in use and forgetting at the best gamma of each, an oracle ({among(here)}): "
           f"{', '.join(ends)}, difference {difference(found, seeds_of(here))}{said}.")


def spread(values):
    """The standard deviation over seeds; NaN, which is not shown, for fewer than a spread needs."""
    return values.std() if values.count() >= ENOUGH else np.nan


# ---------------------------------------------------------------- 09: the backdoor

def about_the_attack(here):
    """Whether a backdoor was planted at all."""
    asr = by_seed(here, "asr", "last")
    if asr.empty or "Original" not in asr:
        return
    planted = asr["Original"]
    said = "planted" if planted.mean() > PLANTED else "not planted in full, so that its removal is not judged here"
    yield f"The backdoor was {said}: attack success of Original {percent(planted)} (n = {planted.count()})."


def about_removal(here):
    """Which methods take the backdoor out: attack success and backdoor accuracy within five points of Retrain's end."""
    asr, right = by_seed(here, "asr", "last"), by_seed(here, "backdoor_acc", "last")
    if asr.empty or "Original" not in asr or not has_converged(here) or asr["Original"].mean() <= PLANTED:
        return
    short = short_names(here)
    out = asr.lt(asr[REFERENCE] + RIGHT, axis=0) & right.gt(right[REFERENCE] - RIGHT, axis=0)
    groups = {"in every seed": [], "in some": [], "in none": []}
    for name in in_order(asr):
        if name not in ("Original", AGAIN):
            held, of = int(out[name].sum()), int(asr[name].size)
            word = "in every seed" if held == of else "in some" if held else "in none"
            groups[word].append(f"{short[name]} ({held} of {of})")
    words = "; ".join(f"{word}: {', '.join(some)}" for word, some in groups.items() if some)
    yield f"At the last round attack success and backdoor accuracy are both within {RIGHT:.0f} points of Retrain's {words}."


def about_sleep(here):
    """Whether the finished model of NoT, negated once more, answers the trigger again, beside Retrain's."""
    seen, clean = (by_seed(here, name, "last") for name in ("asr_negated", "clean_negated"))
    if "NoT" not in seen or not has_converged(here):
        return
    words = [f"{name}'s {percent(seen[name])} of triggered and {percent(clean[name])} of clean images"
             for name in ("NoT", REFERENCE)]
    yield f"Negated once more, finished models give the attacker's label to: {', '.join(words)} ({among(here)})."


def percent(values):
    """`23.58 %`, or with its spread where there are seeds enough."""
    return f"{number(values.mean(), spread(values))} %"


def about_triggered_images(here):
    """What TIS Reset and Random Reset leave of the attack, at their best gamma."""
    if not is_swept(here):
        return
    for method in ("TIS-Reset", "Random-Reset"):
        runs = to_zero(here, method)
        if {"asr", "backdoor_acc"} <= set(runs):
            words = [f"{metric(name).words} {percent(runs[name])}" for name in ("asr", "backdoor_acc")]
            yield f"At the best gamma of {method} (an oracle): {', '.join(words)} (n = {len(runs)})."


def about_own_images(here):
    """Whether it matters that the authors of TIS measure on the target's own training images."""
    runs = to_zero(here, "TIS-Reset") if is_swept(here) else {}
    if "backdoor_acc_own" not in runs:
        return
    own, unseen = runs["backdoor_acc_own"], runs["backdoor_acc"]
    yield (f"On the target's own triggered training images, where the authors' code measures, {metric('backdoor_acc').words} "
           f"after TIS-Reset is {percent(own)} instead of {percent(unseen)} on test images, difference "
           f"{difference(paired(own, unseen), seeds_of(here))} ({among(here)}).")


def about_the_papers_pair(here):
    """Whether some gamma leaves both the attack success and the backdoor accuracy that TIS prints in its Table 4."""
    if not is_swept(here) or "asr" not in set(here["metric"]) or here["dataset"].iloc[0] != "MNIST":
        return
    printed = paper_table("tis_table4")
    printed = printed[printed["method"] == "TIS-Reset"].set_index("metric")["mean"]
    right = at_attack_success(here, printed["asr"])
    outside = right.min() > printed["backdoor_acc"] or right.max() < printed["backdoor_acc"]
    so = "no choice of gamma makes the paper's pair here" if outside else "the paper's pair is within the range of these runs"
    yield (f"At the gamma whose attack success is nearest to the paper's {printed['asr']:.2f} %, backdoor accuracy is "
           f"{percent(right)}, between {right.min():.2f} and {right.max():.2f} % ({among(here)}); the paper prints "
           f"{printed['backdoor_acc']:.2f} %: {so}.")


def at_attack_success(here, wanted):
    """Backdoor accuracy at the gamma whose attack success is nearest to a percentage, by seed."""
    swept = here[(here["method"] == "TIS-Reset") & (here["stop"] == "last") & here["variant"].str.contains("gamma=")]
    points = swept.pivot(index=["seed", "variant"], columns="metric", values="value")[["asr", "backdoor_acc"]]
    nearest_ones = (points["asr"] - wanted).abs().groupby("seed").idxmin()
    return points.loc[nearest_ones, "backdoor_acc"].droplevel("variant")


BEGIN = (about_convergence, about_diverged, about_few_seeds)
BESIDE_RETRAIN = (about_the_floor, about_budgets, about_ends, about_tiers, about_not, about_memory, about_savings)
CONCLUSIONS = {
    "02": (*BEGIN, *BESIDE_RETRAIN),
    "03": (*BEGIN, *BESIDE_RETRAIN),
    "06": (*BEGIN, *BESIDE_RETRAIN),
    "07": (about_diverged, about_the_score),
    "09": (*BEGIN, about_the_attack, about_removal, about_sleep, about_triggered_images, about_own_images,
           about_the_papers_pair, about_the_score),
    "10": (*BEGIN, about_the_first_step, *BESIDE_RETRAIN),
}
