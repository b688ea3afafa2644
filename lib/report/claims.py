"""The papers' claims and our verdicts."""
import difflib
from pathlib import Path

import pandas as pd

from ..errors import Bad
from ..files import ROOT, folder, write
from .rows import to_csv

VERDICTS = ("holds in every seed", "fails in every seed", "mixed", "not testable at this scale")
NOT_YET = "not yet"
CLAIM_COLUMNS = ["id", "place", "text", "value", "n", "n_holds", "verdict"]


# ---------------------------------------------------------------- claims

def claim_texts():
    """The papers' claims, one a row: id (index), paper, place, claim."""
    return pd.read_csv(ROOT / "paper" / "claims.csv", dtype=str).set_index("id")


def claim(id, place, value, holds):
    """One row of claims: `place` is where our number stands, `value` the number in words, `holds` one True, False or
    None (not testable) for each seed."""
    texts = claim_texts()["claim"]
    if id not in texts.index:
        near = difflib.get_close_matches(str(id), texts.index, 1)
        raise Bad(f"paper/claims.csv: no claim {id!r}" + (f", did you mean {near[0]!r}?" if near else ""))
    tested = [bool(h) for h in holds if h is not None]
    yes = sum(tested)
    verdict = VERDICTS[3] if not tested else VERDICTS[0] if yes == len(tested) else VERDICTS[2] if yes else VERDICTS[1]
    return {"id": id, "place": place, "text": texts[id], "value": str(value), "n": len(tested), "n_holds": yes,
            "verdict": verdict}


def show_claims(claims):
    """The claims as a table to look at."""
    df = pd.DataFrame(list(claims), columns=CLAIM_COLUMNS)
    return df[["id", "text", "value", "n", "verdict"]].style.hide(axis="index").set_uuid("claims").set_table_styles(
        [{"selector": "td", "props": "text-align: left; vertical-align: top"}])


def save_claims(profile, notebook, claims):
    """Write <notebook>.claims.csv beside the results; the same id may stand at several places. Returns the path."""
    df = pd.DataFrame(list(claims), columns=CLAIM_COLUMNS).sort_values(["id", "place"], kind="stable")
    if df.duplicated(["id", "place"]).any() or df["verdict"].isna().any():
        raise Bad(f"claims of notebook {notebook}: one row for each id and place, made by claim(...)")
    write(folder(profile) / f"{notebook}.claims.csv", to_csv(df))


def merge_claims(where):
    """All <notebook>.claims.csv of one folder of results in the papers' order, with a column `notebook`; a claim that
    none of them tests is there too, as `not yet`."""
    found = [pd.read_csv(p, dtype={"value": str, "place": str}, keep_default_na=False).assign(notebook=p.name.split(".")[0])
             for p in sorted(Path(where).glob("*.claims.csv"))]
    texts = claim_texts()["claim"]
    done = {i for f in found for i in f["id"]}
    rest = pd.DataFrame([{"id": i, "place": "", "text": t, "value": "", "n": 0, "n_holds": 0, "verdict": NOT_YET,
                          "notebook": ""} for i, t in texts.items() if i not in done])
    return pd.concat([*found, rest])[[*CLAIM_COLUMNS, "notebook"]].sort_values(
        ["id", "notebook", "place"], kind="stable", ignore_index=True)
