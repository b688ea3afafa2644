"""The page that everybody opens: every table and figure of the two papers beside ours, made from committed rows."""
import json
from functools import lru_cache

import numpy as np
import pandas as pd

from ..checksums import verify
from ..errors import Bad, nearest
from ..files import ROOT
from ..profiles import load
from ..words import REFERENCE, metric
from .answers import answers, answers_nearer, share_of_order
from .claims import NOT_YET, claim_texts
from .claims.verdicts import HOLDS
from .exhibits import EXHIBITS
from .numbers import number, over_seeds
from .papers import compare, paper_table
from .provenance import outdated, parts_of
from .rows import load_results
from .statistics import not_converged
from .tables import signed
from .unasked import QUESTIONS, answered

SCALES = ("paper", "reduced", "quick")          # the first that is committed is shown
BETWEEN = {                                     # shown below it, few seeds as they are; how each is to be read
    "long": "the paper's data and net at ten times its rate and a tenth of its rounds, in bfloat16"}
EVERY_SCALE = ("paper", *BETWEEN, "reduced", "quick")
OWN_DATA = ("paper", *BETWEEN)
GAP_OF_MEANS = "avg_gap_of_means"
RESET_VALUES = ("reset=zero", "reset=init")     # of TIS: what the authors' code and what their text resets to
COMMAND = "./run_all.sh --profile {} --only {}"
REPETITIONS = {"NoT": "", "TIS": " (the paper: 20)"}       # NoT does not say how many
WHY_NOT = "the paper's own scale needs GPUs and has not been run"


# ---------------------------------------------------------------- what is committed

@lru_cache(maxsize=None)
def committed(profile, notebook, timing=False):
    """The committed rows of a notebook; None where there are none."""
    where = ROOT / "results" / profile
    name = f"{notebook}.timing.csv" if timing else f"{notebook}.csv"
    if not (where / name).exists():
        return None
    return load_results(profile, notebook, timing=timing, where=where)


@lru_cache(maxsize=None)
def rows_for(exhibit, profile):
    """Our rows for a table or a figure at one scale; None where there are none.

    Of a profile with the papers' own data and nets only those of the table count: another data set is another experiment.
    """
    df = committed(profile, exhibit.notebook, timing=exhibit.id == "tis_table5")
    if df is None:
        return None
    settings = df.loc[df["table"] == (exhibit.drawn_of or exhibit.id), "setting"].unique()
    df = df[df["setting"].isin(settings)]
    if exhibit.is_table:
        df = of_the_table(df, paper_table(exhibit.id), profile)
    return df if len(df) else None


def of_the_table(df, printed, profile):
    """The settings that are of a kind with a printed table."""
    spread = set(printed["distribution"].replace("random_iid", "iid")) - {"", "backdoor"}
    if spread:
        df = df[df["distribution"].isin(spread)]
    if profile in OWN_DATA:
        own = set(zip(printed["dataset"], printed["model"]))
        df = df[[pair in own for pair in zip(df["dataset"], df["model"])]]
    return df


def best_scale(exhibit):
    """`(profile, rows)` of the first scale that is committed; `("", None)` where none is."""
    for profile in SCALES:
        df = rows_for(exhibit, profile)
        if df is not None:
            return profile, df
    return "", None


def settings_of(df):
    """The names of a table's settings, sorted."""
    return sorted(df["setting"].unique())


# ---------------------------------------------------------------- one exhibit

@lru_cache(maxsize=None)
def beside_paper(exhibit, profile, setting):
    """One setting of a profile beside the printed table (see `compare`)."""
    df = rows_for(exhibit, profile)
    both = compare(df[df["setting"] == setting], exhibit.id, stop=exhibit.stop)
    wanted = both["metric"].isin(exhibit.metrics) & (both["paper"].notna() | both["ours"].notna())
    if exhibit.paper == "TIS":
        wanted &= both["variant"].isin(["", *RESET_VALUES]) & ~both["method"].str.startswith("Random")
    return both[wanted]


def order_of(both):
    """Spearman's correlation of the methods' gaps with the paper's, and over how many methods.

    Of a method with several variants the first counts; the paper's gap is that of its own rows, where it has them.
    """
    gaps = both[(both["metric"] == GAP_OF_MEANS) & ~both["method"].isin([REFERENCE, "Original"])]
    gaps = gaps.dropna(subset=["paper", "ours"]).drop_duplicates("method")
    return share_of_order(gaps["recomputed"].fillna(gaps["paper"]), gaps["ours"])


def claims_of(exhibit):
    """The ids of the statements that name a table or a figure as their place."""
    kind, count = exhibit.name.split()
    pattern = rf"{kind}s? {count}\b|Fig\. {count}(?!\d)" if kind == "Figure" else rf"Table {count}\b"
    texts = claim_texts()
    named = texts["place"].fillna("").str.contains(pattern) & (texts["paper"] == exhibit.paper)
    return list(texts.index[named])


def judged(profile):
    """The verdicts of a profile, a table; empty where none are committed."""
    path = ROOT / "results" / profile / "claims.csv"
    if not path.exists():
        return pd.DataFrame(columns=["id", "place", "text", "value", "n", "n_holds", "verdict", "notebook"])
    verify(path, f"publish profile {profile} again, or restore the file")
    return pd.read_csv(path, dtype={"value": str, "place": str}, keep_default_na=False)


def verdicts_of(exhibit, profile):
    """The tested statements of an exhibit in one profile."""
    found = judged(profile)
    found = found[found["id"].isin(claims_of(exhibit)) & (found["verdict"] != NOT_YET)]
    return found[found["notebook"].astype(str).str.zfill(2) == exhibit.notebook]


def reproduced():
    """The status of all tables and figures, one a row: shows, scale, n, ours, notebook; ours: how the order of methods
    goes with the paper's, or what became of the statements that name it."""
    lines = {}
    for exhibit in EXHIBITS.values():
        profile, df = best_scale(exhibit)
        n = 0 if df is None else df["seed"].nunique()
        lines[f"{exhibit.paper} {exhibit.name}"] = {
            "shows": exhibit.says, "scale": profile or NOT_YET, "n": n, "ours beside the paper": in_short(exhibit, profile, df),
            "notebook": exhibit.notebook}
    return pd.DataFrame(lines).T.rename_axis(None)


def in_short(exhibit, profile, df):
    """What came out, in a few words."""
    if df is None:
        return NOT_YET
    words = orders_in_words(exhibit, profile, df) if exhibit.is_table and GAP_OF_MEANS in exhibit.metrics else ""
    if not words and exhibit.is_table and exhibit.paper == "TIS":
        words = first_number(exhibit, profile, df)
    tested = verdicts_of(exhibit, profile)
    held = f"{(tested['verdict'] == HOLDS).sum()} of {len(tested)} statements hold in every seed" if len(tested) else ""
    return "; ".join(filter(None, [words, held])) or "see below"


def orders_in_words(exhibit, profile, df):
    """`order of 7 methods: rho 0.43`, over the settings."""
    found = [order_of(beside_paper(exhibit, profile, setting)) for setting in settings_of(df)]
    words = [f"{rho:+.2f} ({n} methods)" for rho, n in found if np.isfinite(rho)]
    return f"rank correlation {', '.join(words)}" if words else ""


def first_number(exhibit, profile, df):
    """The first ratio or percentage of TIS Reset in the first setting, beside the paper's."""
    setting = settings_of(df)[0]
    both = beside_paper(exhibit, profile, setting)
    both = both[(both["method"] == "TIS-Reset")].dropna(subset=["paper", "ours"])
    if both.empty:
        return ""
    line = both.iloc[-1]
    return f"{metric(line['metric']).words} {number(line['paper'])} → {number(line['ours'])} (`{setting}`)"


# ---------------------------------------------------------------- Markdown

def grid_of(head, lines):
    """A Markdown table of texts."""
    rule = "|" + "---|" * len(head)
    rows = ["| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in (head, *lines)]
    return "\n".join([rows[0], rule, *rows[1:]])


def table_of(exhibit, profile, setting):
    """One setting beside the paper's table: a line a method, of each metric paper, ours and the difference."""
    both = beside_paper(exhibit, profile, setting)
    shown = [name for name in exhibit.metrics if name in set(both["metric"])]
    head = ["method", *(f"{metric(name).words}, {what}" for name in shown for what in ("paper", "ours", "difference"))]
    lines, seen = [], set()
    for (method, variant), here in both.groupby(["method", "variant"], sort=False):
        here = here.set_index("metric")
        again = method in seen and exhibit.paper == "NoT"       # the paper's number stands beside the first variant
        cells = [f"{method} ({variant})" if variant else method]
        for name in shown:
            cells += cells_of(here, name, again)
        seen.add(method)
        lines.append(cells)
    return grid_of(head, lines)


def cells_of(here, name, again):
    """Paper, ours and difference of one metric; dashes for what is not there."""
    if name not in here.index:
        return ["–", "–", "–"]
    line = here.loc[name]
    ours = over_seeds(number(line["ours"], line["sd"], line["unit"]), line["n"], line["diverged"], line["of"])
    if again:
        return ["–", ours, "–"]
    paper = number(line["paper"], line["paper_sd"], line["unit"])
    apart = "–" if line["unit"] == "seconds" else signed(line["difference"])        # other machines
    return [paper + corrected(line), ours, apart]


def corrected(line):
    """In brackets the gap that follows from the paper's own rows, where it is another."""
    off = abs(line["recomputed"] - line["paper"]) > 0.045
    return f" ({line['recomputed']:.2f})" if off else ""


def statements(exhibit, profile):
    """The statements that an exhibit is printed for, and what became of them, a Markdown table; empty without any."""
    tested = verdicts_of(exhibit, profile)
    lines = [[line.id, line.text, line.place, line.value, f"{line.n_holds} of {line.n}", line.verdict]
             for line in tested.itertuples()]
    return grid_of(["id", "statement", "tested in", "ours", "holds in", "verdict"], lines) if lines else ""


def exhibit(name):
    """One table or figure of a paper beside ours, as `not_table1` or `tis_figure2`: Markdown."""
    if name not in EXHIBITS:
        raise Bad(f"exhibit: {nearest(name, EXHIBITS, 'table or figure')}")
    return section(EXHIBITS[name])


def age(notebook, profile, df):
    """A sentence where rows were not made with what the profile says today; empty otherwise."""
    path = ROOT / "results" / profile / f"{notebook}.meta.json"
    about = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    old = outdated(about, settings_of(df), load(profile)["notebooks"].get(notebook, {}))
    if not old:
        return ""
    return (f"**Older settings**: {', '.join(f'`{name}`' for name in old)} {'was' if len(old) == 1 else 'were'} computed "
            f"before `params/{profile}.yaml` became what it is; the command above makes other rows.")


def section(exhibit):
    """One section of the page: the best scale that is committed, and those between it and the paper's."""
    profile, df = best_scale(exhibit)
    head = f"### {exhibit.paper}, {exhibit.name}\n\n{exhibit.says}"
    if df is None:
        return f"{head}\n\n{NOT_YET}: {WHY_NOT}."
    parts = [head, *at_scale(exhibit, profile, df)]
    for name in BETWEEN if exhibit.is_table else ():
        between = rows_for(exhibit, name)
        if between is not None:
            parts += at_scale(exhibit, name, between)
    return "\n\n".join(filter(None, parts))


def at_scale(exhibit, profile, df):
    """An exhibit at one scale: where its rows come from, its tables, its statements; a list of Markdown."""
    why = "" if profile == "paper" else f" ({BETWEEN.get(profile, WHY_NOT)})"
    about = [f"Scale: **{profile}**{why}", f"n = {seeds_in_words(df)}{REPETITIONS[exhibit.paper]}",
             f"notebook {exhibit.notebook}",
             picture(exhibit, profile), f"`{COMMAND.format(profile, exhibit.notebook)}`"]
    parts = ["; ".join(filter(None, about)) + ".", age(exhibit.notebook, profile, df)]
    if exhibit.is_table:
        for setting in settings_of(df):
            parts += [setting_line(exhibit, profile, setting, df), table_of(exhibit, profile, setting)]
    elif df["setting"].iloc[0]:
        parts.append(f"Settings: {', '.join(f'`{name}`' for name in settings_of(df))}.")
    return [*parts, statements(exhibit, profile)]


def seeds_in_words(df):
    n = df["seed"].nunique()
    return "1 seed, which says nothing of a spread" if n == 1 else f"{n} seeds"


def picture(exhibit, profile):
    """A link to our picture."""
    path = f"figures/{profile}/{exhibit.figure}.png"
    return f"[figure]({path})" if exhibit.figure and (ROOT / path).exists() else ""


def setting_line(exhibit, profile, setting, df):
    """The line above a table: what is compared with what, at which round, and how the orders go together."""
    both = beside_paper(exhibit, profile, setting)
    rho, n = order_of(both)
    order = f" Order of {n} methods by gap, Spearman's correlation with the paper's: {rho:+.2f}." if np.isfinite(rho) else ""
    seeds = df.loc[df["setting"] == setting, "seed"].nunique()
    doubt = not_converged(df[df["setting"] == setting])
    doubt = f" {doubt}." if doubt else ""
    return f"**`{setting}`** (n = {seeds}). {both.attrs['caption']}.{order}{doubt}"


def ledger():
    """All statements and what became of them, at each scale, a Markdown table."""
    found = {profile: judged(profile) for profile in EVERY_SCALE}
    lines = []
    for id, text in claim_texts()["claim"].items():
        cells = [verdicts_in_words(found[profile], id) for profile in EVERY_SCALE]
        lines.append([id, text, *cells])
    return grid_of(["id", "statement", *EVERY_SCALE], lines)


def verdicts_in_words(claims, id):
    """`mixed (2 of 6), 03`, of every place at which a statement was tested."""
    here = claims[(claims["id"] == id) & (claims["verdict"] != NOT_YET)]
    return "; ".join(f"{line.place}: {line.verdict}" + (f" ({line.n_holds} of {line.n})" if line.n else "")
                     for line in here.itertuples()) or "–"


def counts(profile):
    """How many statements were tested in a profile and how they fared, in one sentence."""
    tested = judged(profile)
    tested = tested[tested["id"].isin(claim_texts().index) & (tested["verdict"] != NOT_YET)]
    if tested.empty:
        return ""
    words = ", ".join(f"{n} {verdict}" for verdict, n in tested["verdict"].value_counts().items())
    return f"{profile}: {tested['id'].nunique()} of {len(claim_texts())} statements tested, at {len(tested)} places: {words}"


def elsewhere():
    """What others have reported of NoT, beside ours: gaps in centralised random forgetting."""
    others = pd.read_csv(ROOT / "paper" / "reported_elsewhere.csv", keep_default_na=False)
    wide = others.pivot_table(index=["forget_share", "dataset", "model"], columns="method", values="mean", sort=False)
    methods = ["FT", "NegGrad+", "l1-sparse", "SalUn", "NoT", "CoUn"]
    lines = [[f"{share} %", data, net, *(f"{value:.2f}" for value in row)]
             for (share, data, net), row in zip(wide.index, wide[methods].to_numpy())]
    lines += our_lines(methods)
    notes = sorted(set(others["note"]) - {""})
    source = others["source"].iloc[0]
    text = (f"Average gap as printed ({source}, Tables 2 and 3, 10 trials; it shares its first author with NoT), and ours "
            "for a random tenth (the gap of means, at the round with the smallest gap).")
    marks = [f"NegGrad+ on {line.dataset} at {line.forget_share} %: {line.note}." for line in
             others[others["note"].isin(notes)].itertuples()]
    return "\n\n".join([text, grid_of(["forgotten", "data", "net", *methods], lines), *marks])


def our_lines(methods):
    """The gaps of notebook 06 under the same heads."""
    exhibit = EXHIBITS["not_table2"]
    profile, df = best_scale(exhibit)
    lines = []
    for setting in () if df is None else settings_of(df):
        both = beside_paper(exhibit, profile, setting)
        gaps = both[both["metric"] == GAP_OF_MEANS].drop_duplicates("method").set_index("method")["ours"]
        here = df[df["setting"] == setting]
        first = here.iloc[0]
        cells = [number(gaps.get(name, np.nan)) for name in methods]
        lines.append([f"10 %, ours ({profile}, n = {here['seed'].nunique()})", first["dataset"], first["model"], *cells])
    return lines


def provenance():
    """With what the committed rows were made, a Markdown table."""
    lines = []
    for profile in EVERY_SCALE:
        for path in sorted((ROOT / "results" / profile).glob("*.meta.json")):
            about = json.loads(path.read_text(encoding="utf-8"))
            book = about["notebook"]
            sums = path.with_name(f"{book}.sha256").read_text(encoding="utf-8").splitlines()
            rows = next(line.split()[0][:12] for line in sums if line.endswith(f" {book}.csv"))
            for i, part in enumerate(parts_of(about)):
                made = [part["device"], part["dtype"], *(part.get(key, "–") for key in ("torch", "commit", "date"))]
                name = f"{book}: {', '.join(part['settings'])}" if i else book
                lines.append([profile, name, part["n"], *made, f"`{rows}`"])
    return grid_of(["profile", "notebook", "seeds", "device", "dtype", "torch", "commit", "date", "SHA-256 of the rows"],
                   lines)


def headline():
    """The questions of the page's head and their answers, a list in Markdown."""
    tables = {notebook: committed("reduced", notebook) for notebook in ("02", "07", "10")}
    nearer = {profile: committed(profile, "02") for profile in BETWEEN}
    lines = []
    for asked, said in [*answers(tables), *answers_nearer(nearer)]:
        lines.append(f"* **{asked}**" + (f" {said[0]}" if len(said) == 1 else ""))
        lines += [f"  * {sentence}" for sentence in said if len(said) > 1]
    return "\n".join(lines)


def unasked():
    """What neither paper asks: three lines and a picture for each notebook of ours, Markdown."""
    parts = []
    for question in QUESTIONS:
        found = ((profile, committed(profile, question.notebook)) for profile in SCALES)
        profile, df = next(((profile, df) for profile, df in found if df is not None), ("", None))
        head = f"**{question.asks}**"
        if df is None:
            parts.append(f"{head} {NOT_YET}: no rows are committed.")
            continue
        about = (f"{head} Scale: **{profile}**; {many(profile, question.notebook, df)}; notebook {question.notebook}; "
                 f"`{COMMAND.format(profile, question.notebook)}`.")
        parts += [about, "\n".join(f"* {line}" for line in answered(question.lines, df)), shown(question, profile)]
    return "\n\n".join(filter(None, parts))


def many(profile, notebook, df):
    """`n = 3`, or of an audit, whose intervals are over models, `n = 64 models of one seed`."""
    first = load(profile)["notebooks"].get(notebook, {}).get(df["setting"].iloc[0], {})
    seeds = df["seed"].nunique()
    if "shadows" not in first:
        return f"n = {seeds}"
    return f"n = {first['shadows']} models of {'one seed' if seeds == 1 else f'each of {seeds} seeds'}"


def shown(question, profile):
    """The picture itself, where it is committed."""
    path = f"figures/{profile}/{question.figure}.png"
    return f"![notebook {question.notebook}]({path})" if (ROOT / path).exists() else ""


def own_ledger():
    """The statements of our own and what became of them, at each scale, a Markdown table; empty without any."""
    found = {profile: judged(profile) for profile in EVERY_SCALE}
    texts = {line.id: line.text for claims in found.values() for line in claims.itertuples()
             if line.id not in claim_texts().index}
    lines = [[id, texts[id], *(verdicts_in_words(found[profile], id) for profile in EVERY_SCALE)] for id in sorted(texts)]
    return grid_of(["id", "statement", *EVERY_SCALE], lines) if lines else ""


INTRO = """# The two papers beside ours

Made by `python -m workflow.publish results` from the committed rows under [results/](results); nothing here is written by hand. **Scale**: `paper` is the paper's own data, net, rounds; `long` has its data and net and a tenth of its rounds; `reduced` is real data at a size for CPUs, `quick` is for reading. **Better** and **worse** need an interval without zero and a difference above the setting's second Retrain's own gap; else two are not told apart. **Rank correlation** is Spearman's, of the order of methods by average gap with the paper's order. **Stops**: the papers' tables are read at the round with the smallest gap, an oracle; the answers below use equal budgets, differences are paired by seed, with a 95 % interval."""


def page():
    """RESULTS.md, from the committed rows."""
    status = reproduced()
    lines = [[f"[{name}](#{anchor(name)})", *row] for name, row in status.iterrows()]
    tables = [section(e) for e in EXHIBITS.values() if e.is_table]
    figures = [section(e) for e in EXHIBITS.values() if not e.is_table]
    tested = [text for text in map(counts, EVERY_SCALE) if text]
    parts = [INTRO, "## In a minute", headline(), "## What neither paper asks", unasked(), "## Status", grid_of(["", *status.columns], lines),
             "## Tables", *tables, "## Figures",
             "The papers print no numbers beside their curves: what stands here is what became of the statements that "
             "name the figure.", *figures,
             "## The ledger of statements", ". ".join(tested) + ".", ledger(), "### Our own", own_ledger(),
             "## What others report of NoT", elsewhere(), "## Where the rows come from", provenance()]
    return "\n\n".join(parts) + "\n"


def anchor(name):
    """The anchor that GitHub makes of a section's heading, of a name as `NoT Table 1`."""
    return name.lower().replace(" ", "-")
