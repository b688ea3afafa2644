"""What the README says of the results: one short answer a question, each with n, interval, scale and links, from rows.

A question is put to the best scale that is committed; of several settings the profile's first is told in full, of the
others the verdict alone.
"""
import json
from typing import NamedTuple

import pandas as pd

from ..files import ROOT
from ..profiles import load
from ..words import AVG_GAP, REFERENCE
from .answers import ALONE, has_budgets, variants_of, word_of
from .beside import found_after, part_of
from .by_example import audited
from .claims import NOT_YET, claim_texts
from .claims.verdicts import FAILS, HOLDS, MIXED
from .exhibits import EXHIBITS
from .numbers import number
from .papers import compare
from .provenance import parts_of
from .reproduced import SCALES, age, best_scale, committed, grid_of, judged
from .statistics import AGAIN, ALIKE, BETTER, WORSE, noise_floor, not_converged, paired, verdict
from .stops import SHARES
from .summary import by_seed, each_run

SHARE_WORDS = {"quarter": "At a quarter of the budget", "half": "half", "full": "all"}
SAID = {BETTER: "yes", WORSE: "no", ALIKE: ALIKE}
KNOWS = {ALIKE: "Yes, as far as this tells", "above": "Not wholly", "below": "More than Retrain"}
THEORY = "Theorem|Lemma"
LEDGER = "RESULTS.md#the-ledger-of-statements"


# ---------------------------------------------------------------- which rows

def in_order(df, profile, notebook):
    """`[(setting, rows but curves)]` of a table, in the profile's order; settings that it no longer has come last."""
    df = df[df["stop"] != "curve"]
    wanted = list(load(profile)["notebooks"].get(notebook, {}))
    names = list(df["setting"].unique())
    names.sort(key=lambda name: wanted.index(name) if name in wanted else len(wanted))
    return [(name, df[df["setting"] == name]) for name in names]


def with_budgets(profile, notebook):
    """The settings of committed rows that have equal budgets and a second Retrain."""
    df = committed(profile, notebook)
    found = [] if df is None else in_order(df, profile, notebook)
    return [(name, here) for name, here in found if has_budgets(here)]


def of_notebook(notebook):
    """`(profile, settings with budgets)` of the best scale that has any; `("", [])` without."""
    for profile in SCALES:
        found = with_budgets(profile, notebook)
        if found:
            return profile, found
    return "", []


# ---------------------------------------------------------------- words

def points(value):
    """`+4.6`; of what would round to zero two digits."""
    return f"{value:+.1f}" if abs(value) >= 0.05 else f"{value:+.2f}"


def told(found):
    """`-2.7 [-3.5, -2.0]`, a `Paired` in words."""
    interval = f" [{points(found.low)}, {points(found.high)}]" if found.n > 1 else ""
    return points(found.mean) + interval


def source(profile, notebook, here):
    """`(CIFAR-10, reduced, n = 10; [rows](…), [02](…))`, where an answer comes from."""
    return f"({here['dataset'].iloc[0]}, {profile}, n = {here['seed'].nunique()}; {links(profile, notebook)})"


def links(profile, notebook):
    """Links to the rows and to the notebook."""
    [page] = (ROOT / "notebooks").glob(f"{notebook}_*.ipynb")
    return f"[rows](results/{profile}/{notebook}.csv), [{notebook}](notebooks/{page.name})"


def named(name):
    """`as published`, `searched (lr=0.2)`, `with recovery`, of a run's name."""
    method, _, variant = name.partition(" ")
    if "recovery=True" in variant:
        return "with recovery"
    return f"searched ({variant})" if variant else "as published"


# ---------------------------------------------------------------- the answers

def answered(notebook, say, short):
    """An answer from the first setting with budgets, then the verdicts of the others."""
    profile, settings = of_notebook(notebook)
    if not settings:
        return f"{NOT_YET}."
    _, here = settings[0]
    whole = committed(profile, notebook)
    others = [f"{rest['dataset'].iloc[0]}{doubtful(whole[whole['setting'] == name])}: {short(rest)}"
              for name, rest in settings[1:]]
    return ". ".join([f"{say(here)} {source(profile, notebook, here)}", *others]) + "."


def doubtful(here):
    """` (not converged)`, where training has not."""
    return " (not converged)" if not_converged(here) else ""


def knowledge(df, metric):
    """NoT minus Retrain at all of Retrain's budget, and by how much a second Retrain is off."""
    ended = by_seed(df, metric, "last")
    noise = (ended[AGAIN] - ended[REFERENCE]).abs().mean()
    return paired(by_seed(df, metric, "full")["NoT"], ended[REFERENCE]), noise


def forgets(df):
    """Whether NoT forgets, by what it knows of the forgotten images and by the membership attack."""
    known, noise = knowledge(df, "forget_acc")
    attacked, chance = knowledge(df, "mia")
    return (f"{KNOWS[word_of(known, noise)]}: with all of Retrain's budget, accuracy on forgotten images {told(known)} from "
            f"Retrain's (a second Retrain: {noise:.1f}), {word_of(known, noise)}; membership attack {told(attacked)} "
            f"({chance:.1f}), {word_of(attacked, chance)}")


def forgets_in_short(df):
    known, noise = knowledge(df, "forget_acc")
    return f"accuracy {told(known)}, {word_of(known, noise)}"


class Gaps(NamedTuple):
    """The average gaps of one setting, `[seeds] x runs` for each share of the budget, and the noise floor."""
    at: dict
    floor: float


def gaps_of(df):
    """The `Gaps` of one setting's rows."""
    floor = noise_floor(df, "last").get(df["setting"].iloc[0], 0.0)
    return Gaps({stop: by_seed(df, AVG_GAP, stop) for stop in SHARES}, floor)


def compared(gaps, name, other, stop):
    """The gap of one run minus another's at a share of the budget, and the verdict as yes or no."""
    found = paired(gaps.at[stop][name], gaps.at[stop][other])
    return found, SAID[verdict(found, gaps.floor)]


def against_retraining(df):
    """NoT against a Retrain stopped at the same budget."""
    parts, gaps = [], gaps_of(df)
    for stop in SHARES:
        found, word = compared(gaps, "NoT", AGAIN, stop)
        parts.append(f"{SHARE_WORDS[stop]}: {word}, {told(found)}")
    return "; ".join(parts)


def against_retraining_in_short(df):
    """One word where it is the same at every share of the budget."""
    gaps = gaps_of(df)
    words = {stop: compared(gaps, "NoT", AGAIN, stop) for stop in SHARES}
    said = [word for _, word in words.values()]
    if len(set(said)) == 1:
        return said[0]
    return "; ".join(f"{'all' if stop == 'full' else stop} {found.mean:+.1f}, {word}" for stop, (found, word) in words.items())


def against(method):
    """What NoT's gap is, at half of Retrain's budget, minus that of each variant of a method."""
    def say(df):
        parts, gaps = [], gaps_of(df)
        for name in variants_of(df, method):
            found, word = compared(gaps, "NoT", name, "half")
            parts.append(f"{named(name)}: {word}, {told(found)}")
        return f"At half of the budget, {'; '.join(parts)}" if parts else NOT_YET

    def short(df):
        gaps = gaps_of(df)
        return ", ".join(f"{named(name)} {compared(gaps, 'NoT', name, 'half')[1]}" for name in variants_of(df, method)) or NOT_YET
    return say, short


def tis_alone():
    """NTA and NFS of TIS Reset without training, in the first setting in which a client alone knows a class."""
    profile = next((p for p in SCALES if committed(p, "07") is not None), "")
    if not profile:
        return ""
    df = committed(profile, "07")
    here = in_order(df[df["distribution"] == ALONE], profile, "07")[0][1]
    runs = each_run(here, "TIS-Reset", reset="zero")
    kept, forgotten = (number(runs[name].mean(), runs[name].std()) for name in ("nta", "nfs"))
    return (f"Alone, without training, at each run's best strength: {kept} of Retrain's accuracy, {forgotten} of its forgetting "
            f"{source(profile, '07', here)}.")


def backdoor():
    """Attack success before and after, of NoT under FedAvg and of TIS on its own protocol."""
    parts = []
    for method, variant in (("NoT", ""), ("TIS-Reset", "reset=zero")):
        for profile in SCALES:
            said = attack(profile, method, variant)
            if said:
                parts.append(said)
                break
    return " ".join(parts) or f"{NOT_YET}."


def attack(profile, method, variant):
    """One method's attack success beside Retrain's, in the profile's first setting that has it; empty without one."""
    df = committed(profile, "09")
    for _, here in [] if df is None else in_order(df, profile, "09"):
        stop = "oracle" if (here["metric"] == "gamma_removal").any() else "last"
        table = by_seed(here, "asr", stop)
        name = f"{method} {variant}".strip()
        if name in table:
            found = paired(table[name], table[REFERENCE])
            oracle = ", at each run's best strength" if stop == "oracle" else ""
            return (f"{method}: attack success from {table['Original'].mean():.1f} % to {table[name].mean():.1f} %, "
                    f"{told(found)} from Retrain's{oracle}{printed(here, method)} {source(profile, '09', here)}.")
    return ""


def printed(here, method):
    """`; the paper: 10.1 %`, where its table has the same data and net; empty elsewhere."""
    first = here.iloc[0]
    if first["profile"] != "paper" or not first["table"]:
        return ""
    both = compare(here, first["table"], stop="oracle")
    line = both[(both["method"] == method) & (both["metric"] == "asr")].dropna(subset="paper")
    return f"; the paper: {line['paper'].iloc[0]:.1f} %" if len(line) else ""


def theorems():
    """What became of the statements that are theorems and lemmas."""
    texts = claim_texts()
    proved = list(texts.index[texts["place"].fillna("").str.contains(THEORY)])
    profile = next((p for p in SCALES if len(tested_in(p, "05", proved))), "")
    if not profile:
        return f"{NOT_YET}."
    found = tested_in(profile, "05", proved)
    failed = [failing(line, texts.loc[line.id, "place"]) for line in found[found["verdict"] == FAILS].itertuples()]
    word = "Not all" if failed else "Yes"
    which = f": {'; '.join(failed)}" if failed else ""
    return (f"{word}. Of {len(found)} checks {fared(found)}{which} ({profile}, no interval; [each]({LEDGER}), "
            f"{links(profile, '05')}).")


def failing(line, place):
    """`Theorem 1 / 5, noise (N31)`, of a statement that fails; place: where the paper has it."""
    theorem = next(part.strip() for part in place.split(";") if "Theorem" in part or "Lemma" in part)
    case = line.place.partition(", ")[2]
    return f"{theorem}{', ' + case if case else ''} ({line.id})"


def tested_in(profile, notebook, ids=None):
    """The tested statements of the papers in a profile, of one notebook or of all."""
    found = judged(profile)
    found = found[(found["verdict"] != NOT_YET) & found["id"].isin(claim_texts().index if ids is None else ids)]
    if notebook:
        found = found[found["notebook"].astype(str).str.zfill(2) == notebook]
    return found


def audit():
    """How often the likelihood-ratio attack tells NoT from Retrain by the forgotten images."""
    profile = next((p for p in SCALES if committed(p, "12") is not None), "")
    if not profile:
        return f"{NOT_YET}."
    here = in_order(committed(profile, "12"), profile, "12")[0][1]
    numbers = {bound: audited(here, "attack_acc", **({"bound": bound} if bound else {})) for bound in ("", "low", "high")}
    said = {name: told_apart(numbers, name) for name in ("NoT", AGAIN)}
    others = numbers[""].mean().drop([AGAIN, "Original"], errors="ignore")
    models = load(profile)["notebooks"]["12"][here["setting"].iloc[0]]["shadows"]
    sure = numbers["low"]["NoT"].mean() > numbers["high"][AGAIN].mean()
    word = "Yes" if sure else "Not told apart"
    first = here.iloc[0]
    return (f"{word}: an attacker who knows the method tells NoT from Retrain by one forgotten image in {said['NoT']} %, a "
            f"second Retrain in {said[AGAIN]}, the nearest method, {others.idxmin()}, in {others.min():.1f}; a coin: 50 ({first['dataset']}, {profile}, n = {models} models; "
            f"{links(profile, '12')}).")


def in_turn():
    """NoT's gap where clients leave one after another, minus that of a Retrain which is stopped as early each time."""
    profile = next((p for p in SCALES if committed(p, "13") is not None), "")
    if not profile:
        return f"{NOT_YET}."
    df = committed(profile, "13")
    here = df[df["setting"] == in_order(df, profile, "13")[0][0]]
    first, last = (paired(found_after(here, "in_turn", AVG_GAP, at)["NoT"],
                          found_after(here, "in_turn", AVG_GAP, at, stopped="early")[AGAIN]) for at in ("first", "last"))
    many = part_of(here, "in_turn")["round"].max()
    return (f"NoT's gap minus that of a Retrain that is stopped as early: at the first request {told(first)}, at the last of "
            f"{many} {told(last)} {source(profile, '13', here)}.")


def told_apart(numbers, name):
    """`56.8 [55.4, 58.1]`, from the tables of the attack and of its bounds."""
    value, low, high = (numbers[bound][name].mean() for bound in ("", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def answers_text():
    """The README's questions with their answers, a list in Markdown."""
    tis, tis_short = against("TIS-Reset")
    lines = [
        ("Does NoT forget?", answered("02", forgets, forgets_in_short)),
        ("Does NoT beat retraining for as many rounds?", answered("02", against_retraining, against_retraining_in_short)),
        ("Does NoT beat fine-tuning (FT)?", answered("02", *against("FT"))),
        ("Does NoT beat TIS?", f"{answered('02', tis, tis_short)} {tis_alone()}"),
        ("Does a backdoor go?", backdoor()),
        ("Do the theorems hold as printed?", theorems()),
        ("Can somebody still tell?", audit()),
        ("And when one client after another leaves?", in_turn())]
    return "\n".join(f"* **{question}** {answer.strip()}" for question, answer in lines)


# ---------------------------------------------------------------- status

def status_text():
    """How many tables and figures there are at which scale, one line."""
    parts = []
    for kind, wanted in (("tables", True), ("figures", False)):
        here = [e for e in EXHIBITS.values() if e.is_table == wanted]
        parts.append(f"{len(here)} {kind}: {scales_of(here)}")
    old = sum(bool(is_old(e)) for e in EXHIBITS.values())
    older = f" Computed with older settings than today's: {old} of {len(EXHIBITS)}." if old else ""
    return f"{'; '.join(parts)}.{older} [RESULTS.md](RESULTS.md) shows each beside the paper's, with its command."


def scales_of(exhibits):
    """`12 at reduced scale, 1 at the paper's`, of the best that is committed of each."""
    found = pd.Series([best_scale(e)[0] or NOT_YET for e in exhibits]).value_counts()
    words = {"paper": "at the paper's scale", "reduced": "at reduced scale", "quick": "at quick scale", NOT_YET: "not yet"}
    return ", ".join(f"{found[scale]} {said}" for scale, said in words.items() if scale in found)


def is_old(exhibit):
    """Whether an exhibit's rows are older than the profile's settings."""
    profile, df = best_scale(exhibit)
    return df is not None and age(exhibit.notebook, profile, df)


# ---------------------------------------------------------------- notebooks

def notebooks_text(titles):
    """The notebooks with what they reproduce and how long their runs took; titles: `{number: (title, file)}`."""
    head = ["notebook", "reproduces", "`quick`, s", "`reduced`, min a seed"]
    lines = [[f"{book} [{title}](notebooks/{file})", shows(book), seconds("quick", book), minutes(book)]
             for book, (title, file) in sorted(titles.items())]
    return grid_of(head, lines)


def shows(notebook):
    """`NoT Table 1, Fig. 1; TIS Table 4`, of the exhibits of a notebook."""
    return "; ".join(f"{paper} {', '.join(found)}" for paper in ("NoT", "TIS") if (found := shown_of(notebook, paper))) or "–"


def shown_of(notebook, paper):
    """`["Tables 1, 2", "Fig. 3"]`, what a notebook reproduces of one paper."""
    parts = []
    for word, one, many in (("Table", "Table", "Tables"), ("Figure", "Fig.", "Figs.")):
        names = [e.name for e in EXHIBITS.values() if (e.notebook, e.paper) == (notebook, paper)]
        numbers = [name.split()[1] for name in names if word in name]
        if numbers:
            parts.append(f"{one if len(numbers) == 1 else many} {', '.join(numbers)}")
    return parts


def spent(profile, notebook):
    """Seconds of training and unlearning a seed that the committed rows took; None where they do not say."""
    df = committed(profile, notebook, timing=True)
    if df is None:
        return None
    times = df[df["metric"].isin(["seconds", "time"])]
    if times.empty:
        return None
    return times.groupby(["setting", "seed", "method", "variant"])["value"].max().sum() / times["seed"].nunique()


def seconds(profile, notebook):
    found = spent(profile, notebook)
    return "–" if found is None else f"{found:.0f}"


def minutes(notebook):
    found = spent("reduced", notebook)
    return "–" if found is None else f"{found / 60:.1f}"


# ---------------------------------------------------------------- how sure

def sure_text():
    """Seeds, search and statements, each from committed files."""
    lines = []
    for profile in ("paper", "reduced"):
        tables = (ROOT / "results" / profile).glob("[0-9][0-9].meta.json")
        seeds = [part["n"] for path in tables for part in parts_of(json.loads(path.read_text(encoding="utf-8")))]
        tested = tested_in(profile, None)
        if seeds and len(tested):
            many = f"{min(seeds)}" if min(seeds) == max(seeds) else f"{min(seeds)} to {max(seeds)}"
            lines.append(f"* `{profile}`: {many} seeds a notebook; {tested['id'].nunique()} of the papers' {len(claim_texts())} "
                         f"statements tested, at {len(tested)} places: {fared(tested)}.")
    return "\n".join([*lines, searched()])


def fared(tested):
    """`25 hold in every seed, 31 in some, 18 in none`."""
    words = {HOLDS: "hold in every seed", MIXED: "in some", FAILS: "in none"}
    found = tested["verdict"].value_counts()
    return ", ".join(f"{found.get(verdict, 0)} {said}" for verdict, said in words.items())


def searched():
    """How many trials each method had in the search, and on which seed."""
    df = pd.read_csv(ROOT / "results" / "reduced" / "search.csv", keep_default_na=False)
    trials = df[df["method"] != REFERENCE].groupby(["setting", "method"]).size()
    low, high = trials.min(), trials.max()
    many = f"{low}" if low == high else f"{low} to {high}"
    seeds = ", ".join(map(str, sorted(df["seed"].unique())))
    return (f"* Rates and strengths are searched: {many} trials, as many for every method of a setting, on validation data of "
            f"seed {seeds}, which no table shows ([trials](results/reduced/search.csv)).")


