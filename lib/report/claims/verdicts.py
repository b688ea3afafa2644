"""How a claim is registered, judged on the rows of a notebook, shown and written."""
import inspect
import re
from functools import cache
from pathlib import Path

import pandas as pd

from ...checksums import seal, verify
from ...errors import Bad, nearest
from ...files import ROOT, folder, write
from ...registry import Registry
from ..rows import to_csv

VERDICTS = ("holds in every seed", "fails in every seed", "mixed", "not testable at this scale")
HOLDS, FAILS, MIXED, NOT_TESTABLE = VERDICTS
LACKS = "needs the table"        # what a claim says that was given rows alone
NOT_YET = "not yet"
CLAIM_COLUMNS = ["id", "place", "text", "value", "n", "n_holds", "verdict"]
CLAIMS = Registry("claim")


class Untestable(Exception):
    """The premise of a claim is not met; the message says what is missing."""


@cache
def claim_texts():
    """The papers' claims, one a row: id (index), paper, place, claim."""
    return pd.read_csv(ROOT / "paper" / "claims.csv", dtype=str).set_index("id")


# ---------------------------------------------------------------- registering

def claim(id=None, *, notebook=None, place=None, text=None):
    """Decorator: the function tests a claim on the tables of a notebook.

    It takes tables by name (`df`, the notebook's rows, and what the notebook gives to `judge`) and returns the number
    in words and one True, False or None (not testable) for each seed. Where a method or a setting is not in the
    tables, or `Untestable` is raised, the verdict is that the claim is not testable, and why.

    id: of paper/claims.csv, whose sentence is then shown, or one of your own; place: where our number stands, the
    notebook if it is not given; text: the sentence of a claim of your own, or else the first of the docstring.
    """
    if not isinstance(id, str) or not isinstance(notebook, str):
        raise Bad('@lib.claim: it needs an id and a notebook; write @lib.claim("mine", notebook="02")')

    def register(f):
        said = text or _sentence(f)
        if not said and id not in claim_texts().index:
            raise Bad(f"@lib.claim({id!r}): {nearest(id, claim_texts().index, 'claim')}; a claim of your own needs text=")
        name = id if place is None else f"{id}, {place}"
        return CLAIMS.register(name, f, id=id, notebook=notebook, place=place or notebook, text=said)
    return register


def _sentence(f):
    """The first paragraph of a docstring on one line."""
    first = (inspect.getdoc(f) or "").split("\n\n")[0]
    return " ".join(first.split())


# ---------------------------------------------------------------- judging

def judge(df, notebook, **tables):
    """All claims of a notebook, tested on its rows and on further tables that the claims take by name.

    A run that diverged has NaN for every number, and no comparison with NaN is true: what a sentence praises does not
    hold in that seed, and a rival that diverged is neither nearer nor cheaper.

    Returns a table: id, place, text, value (the number in words), n (seeds or cases tested), n_holds, verdict.
    """
    claims = [f for f in CLAIMS.values() if f.notebook == notebook]
    taken = {name for f in claims for name in inspect.signature(f).parameters}
    for name in tables:
        if name not in taken:
            raise Bad(f"judge: no claim of notebook {notebook} takes {name!r}; {nearest(name, sorted(taken), 'table')}")
    given = {"df": df, **tables}
    return pd.DataFrame([judged(f, given) for f in claims], columns=CLAIM_COLUMNS)


def judged(f, given):
    """The row of one claim, tested on the tables {name: table}."""
    try:
        value, holds = _called(f, given)
    except Untestable as e:
        value, holds = str(e), []
    except KeyError as e:       # pandas: a method, a setting or a metric that is not in the tables
        value, holds = f"needs {_missing(e)}", []
    tested = [bool(h) for h in holds if h is not None]
    text = claim_texts()["claim"].get(f.id, f.text)
    return {"id": f.id, "place": f.place, "text": text, "value": str(value), "n": len(tested), "n_holds": sum(tested),
            "verdict": _verdict(tested)}


def _called(f, given):
    wanted = inspect.signature(f).parameters.values()
    missing = [p.name for p in wanted if p.name not in given and p.default is p.empty]
    if missing:
        raise Untestable(f"{LACKS} {' and '.join(missing)}")
    return f(**{p.name: given[p.name] for p in wanted if p.name in given})


def _verdict(tested):
    if not tested:
        return NOT_TESTABLE
    if all(tested):
        return HOLDS
    return MIXED if any(tested) else FAILS


def _missing(error):
    """What a KeyError of pandas did not find, in words."""
    key = error.args[0] if error.args else "what is not there"
    if not isinstance(key, str):
        return " at ".join(map(str, key)) if isinstance(key, tuple) else str(key)
    listed = re.search(r"\[('.*?')\]", key)         # "['head'] not in index", "None of [Index(['head'], ..."
    return listed[1].replace("'", "") if listed else key


# ---------------------------------------------------------------- showing, writing, merging

def show_claims(claims):
    """The claims as a table to look at."""
    shown = claims[["id", "text", "value", "n", "verdict"]].style.hide(axis="index").set_uuid("claims")
    return shown.set_table_styles([{"selector": "td", "props": "text-align: left; vertical-align: top"}])


def save_claims(profile, notebook, claims, where=None):
    """Write what `judge` returns as <notebook>.claims.csv beside the results, or in the folder `where`, with its
    checksum; the same id may stand at several places."""
    if claims.duplicated(["id", "place"]).any():
        raise Bad(f"claims of notebook {notebook}: one row for each id and place, as lib.judge returns them")
    claims = claims[CLAIM_COLUMNS].sort_values(["id", "place"], kind="stable")
    seal(write((where or folder(profile)) / f"{notebook}.claims.csv", to_csv(claims)))


def merge_claims(where):
    """All <notebook>.claims.csv of one folder of results in the papers' order, with a column `notebook`; a claim that
    none of them tests is there too, as `not yet`."""
    found = [read_claims(path) for path in sorted(Path(where).glob("*.claims.csv"))]
    done = {i for f in found for i in f["id"]}
    rest = pd.DataFrame([{"id": i, "place": "", "text": t, "value": "", "n": 0, "n_holds": 0, "verdict": NOT_YET,
                          "notebook": ""} for i, t in claim_texts()["claim"].items() if i not in done])
    merged = pd.concat([*found, rest])[[*CLAIM_COLUMNS, "notebook"]]
    return merged.sort_values(["id", "notebook", "place"], kind="stable", ignore_index=True)


def read_claims(path):
    """What `save_claims` wrote, with a column `notebook`. Bad where it is not what its checksum says."""
    verify(path, f"run notebook {path.name.split('.')[0]} again, or restore the file")
    claims = pd.read_csv(path, dtype={"value": str, "place": str}, keep_default_na=False)
    return claims.assign(notebook=path.name.split(".")[0])
