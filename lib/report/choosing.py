"""Which method for which request: what each needs, how near it comes at equal cost, and whether it can still be told."""
from ..methods import needs
from ..words import REFERENCE
from .by_example import audited
from .claims import NOT_YET
from .conclusions import OVER_EARLY, over_early
from .front import SAID, compared, gaps_of, in_order, with_budgets
from .numbers import number
from .reproduced import SCALES, committed, grid_of
from .statistics import AGAIN, BETTER, not_converged
from .stops import SHARES
from .summary import by_seed
from .tables import NEEDS

# a request: notebook, and what its setting's name contains
REQUESTS = {"a client": ("02", ""), "a client, labels skewed": ("03", "label_skew"), "a class": ("03", "class"),
            "single images": ("03", "instance"), "a backdoor": ("09", "")}
REFERENCES = ("Original", REFERENCE)
YES = SAID[BETTER]


def rows_of(request):
    """`(profile, rows)` of the setting of a request at the best scale that has equal budgets; `("", None)` without."""
    notebook, part = REQUESTS[request]
    for profile in SCALES:
        for name, here in with_budgets(profile, notebook):
            if part in name:
                return profile, here
    return "", None


def needs_of(name):
    """What a run needs, by its name `method option=value;…`: of `forget`, `history`, `init`, `target`."""
    method, _, variant = name.partition(" ")
    options = dict(option.split("=", 1) for option in variant.split(";") if option)
    return needs(method, **options)


def nearest_first(gaps):
    """The mean gap of each rival at half of the budget, a Series by name, the nearest first; who diverged in a seed is
    no rival."""
    table = gaps.at["half"]
    table = table[[name for name in table if name.partition(" ")[0] not in REFERENCES]]
    return table.mean(skipna=False).dropna().sort_values(kind="stable")


# ---------------------------------------------------------------- the README's table

def which_text():
    """A line a request: a Retrain stopped at half of its budget, and the nearest methods that spend as much."""
    head = ["to forget", "Retrain, stopped there", "nearest that needs nothing", "nearest of all", "what that needs", "rows"]
    return grid_of(head, [request_line(request) for request in REQUESTS])


def request_line(request):
    profile, df = rows_of(request)
    if df is None:
        return [request, NOT_YET, "–", "–", "–", "–"]
    gaps = gaps_of(df)
    names = nearest_first(gaps).index
    free = [name for name in names if not needs_of(name)]
    retrain = gaps.at["half"][AGAIN].mean()
    ended = not not_converged(df)
    where = f"{profile}, n = {df['seed'].nunique()}" + ("" if ended else ", training not converged")
    return [request, f"{retrain:.1f}", gap_cell(gaps, free[0], ended), gap_cell(gaps, names[0], ended), words_of(names[0]),
            where]


def gap_cell(gaps, name, ended=True):
    """`**NoT 2.9**`; bold where it is nearer than the Retrain stopped there, and training has ended."""
    text = f"{short(name, gaps.at['half'])} {gaps.at['half'][name].mean():.1f}"
    return f"**{text}**" if ended and compared(gaps, name, AGAIN, "half")[1] == YES else text


def short(name, table):
    """`FT (lr=0.4)`, or the method alone where it has one variant among the columns of a table."""
    method, _, variant = name.partition(" ")
    alone = sum(other.partition(" ")[0] == method for other in table) == 1
    return method if alone or not variant else f"{method} ({variant})"


def words_of(name):
    """What a run needs, in words."""
    return ", ".join(NEEDS[need] for need in needs_of(name)) or "nothing"


# ---------------------------------------------------------------- docs/choosing.md

INTRO = """# Which method should I use

Written by `python -m workflow.publish readme` from the committed rows and from what each method declares to need (which the tests check by taking it away); do not edit. One table a request, methods in the order of their average gap at half of Retrain's budget.

* **needs**: *the data to forget*, *stored updates* of the training, *the initial model*, *the target's help*: the client that leaves takes part once more. **stored** is what was read from disk.
* **gap**: mean distance to the same seed's Retrain in retain, forget and test accuracy and in the membership attack, in points, at a quarter, a half and all of Retrain's bytes and FLOPs; mean ± sd over seeds. **Bold**: nearer than a Retrain stopped there, by an interval that leaves out zero and by more than a second Retrain differs.
* **back after**: the bytes, as a share of Retrain's, until the remaining clients' validation accuracy is the original's minus a point (0: it never was below); mean over the seeds in which it is, with how many these are where it is not all.
* **told by**: how often a likelihood-ratio attack tells the model from a Retrain by one forgotten image, in percent, at half of Retrain's budget; 50 is guessing. Only where a client leaves; the audit has a scale of its own ({audit})."""


def page():
    """docs/choosing.md, from the committed rows."""
    parts = [INTRO.format(audit=audit_scale())]
    for request in REQUESTS:
        profile, df = rows_of(request)
        parts.append(f"## To forget {request}")
        if df is None:
            parts.append(f"{NOT_YET}: no committed rows have equal budgets.")
            continue
        first = df.iloc[0]
        parts += [f"`{first['setting']}`: {first['dataset']}, {first['model']}, {profile}, n = {df['seed'].nunique()} "
                  f"(notebook {first['notebook']}).", table(df, told=request == "a client")]
        if over := over_early(df):
            parts.append(f"{OVER_EARLY}: {', '.join(over)}.")
    return "\n\n".join(parts) + "\n"


def back(shares):
    """`0.21`, the mean over the seeds that are back, with how many these are where it is not all."""
    there = shares.dropna()
    many = f" ({len(there)} of {len(shares)})" if 0 < len(there) < len(shares) else ""
    return number(there.mean()) + many


def table(df, told):
    """One request: a line a method."""
    head = ["method", "needs", "stored", *(f"gap, {stop}" for stop in SHARES), "back after"]
    gaps = gaps_of(df)
    order = [*nearest_first(gaps).index, AGAIN]
    shares = by_seed(df, "comm_ratio", "recovered").reindex(gaps.at["half"].index)
    attacks = audit_at_half() if told else {}
    lines = []
    for name in order:
        line = [label(name), words_of(name), stored(df, name), *(gap_and_spread(gaps, name, stop) for stop in SHARES),
                back(shares[name]) if name in shares else number(float("nan"))]
        lines.append([*line, number(attacks.get(kind_of(name), float("nan")))] if told else line)
    return grid_of([*head, "told by"] if told else head, lines)


def label(name):
    """The name of a run; the second Retrain is the one that is stopped."""
    return "Retrain, stopped there" if name == AGAIN else name


def stored(df, name):
    """What a run read from disk."""
    method, _, variant = name.partition(" ")
    here = df[(df["metric"] == "storage_bytes") & (df["stop"] == "last") & (df["method"] == method) & (df["variant"] == variant)]
    return number(here["value"].max(), unit="bytes") if here["value"].max() > 0 else "–"


def gap_and_spread(gaps, name, stop):
    """`**2.91 ± 1.20**`, bold where it is nearer than the Retrain stopped there."""
    values = gaps.at[stop].get(name)
    if values is None:
        return "–"
    text = number(values.mean(), values.std())
    nearer = name != AGAIN and compared(gaps, name, AGAIN, stop)[1] == YES
    return f"**{text}**" if nearer else text


def audited_rows():
    """`(profile, rows)` of the audit's first setting at the best scale; `("", None)` without."""
    for profile in SCALES:
        df = committed(profile, "12")
        if df is not None:
            return profile, in_order(df, profile, "12")[0][1]
    return "", None


def audit_scale():
    profile, df = audited_rows()
    return NOT_YET if df is None else f"{profile}: {df['dataset'].iloc[0]}, {df['model'].iloc[0]}"


def audit_at_half():
    """The attack's accuracy on each method at half of Retrain's budget, `{kind: percent}`; of a kind the first."""
    _, df = audited_rows()
    found = {}
    if df is not None:
        for name, value in audited(df, "attack_acc", stop="half").mean().items():
            found.setdefault(kind_of(name), value)
    return found


def kind_of(name):
    """`(method, has options)` of a run's name: options are chosen at each scale, so that their values differ."""
    method, _, variant = name.partition(" ")
    return method, bool(variant)
