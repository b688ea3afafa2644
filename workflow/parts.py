"""A notebook that is published in parts: the committed rows of settings that did not run now stay, with where they come
from, and its claims are judged on all rows.
"""
import json
from typing import Any, NamedTuple

from lib.errors import Bad
from lib.files import ROOT, write

from . import figures


class Part(NamedTuple):
    """What is kept of a committed table: rows and seconds of some settings, what its meta.json says of them, and the
    claims as they were judged with them."""
    table: Any      # pandas is not imported where nothing is kept
    about: list
    claims: Any


def kept(name, number, settings):
    """The `Part` of a notebook's committed table that holds these settings; None where there are none.

    Bad where the table is of an older form, in which curves are not whole: today's stops could not be found in them.
    """
    if not settings:
        return None
    import pandas as pd

    from lib.report.claims.verdicts import read_claims
    from lib.report.provenance import narrowed, parts_of
    from lib.report.rows import as_written
    where = ROOT / "results" / name
    table = pd.concat([as_written(name, number, timing, where) for timing in (False, True)])
    if figures.lacking(f"{number}_curves", table, where):
        again = ",".join(f"{number}.{setting}" for setting in sorted(settings))
        raise Bad(f"nothing is published: results/{name}/{number}.csv holds {min(settings)} in an older form, without "
                  f"whole curves; run it again as well: ./run_all.sh --profile {name} --only {again}")
    about = json.loads((where / f"{number}.meta.json").read_text(encoding="utf-8"))
    found = [narrowed(part, settings) for part in parts_of(about, sorted(set(table["setting"])))]
    judged = where / f"{number}.claims.csv"
    return Part(table[table["setting"].isin(settings)], [part for part in found if part["settings"]],
                read_claims(judged) if judged.exists() else None)


def join(name, number, part, has_first):
    """Put a `Part` beside the rows of a notebook that were just copied into results/<profile>. has_first: whether it
    holds the notebook's first setting."""
    import pandas as pd

    from lib.report.claims import save_claims
    from lib.report.claims.verdicts import read_claims
    from lib.report.rows import as_written, write_results
    where = ROOT / "results" / name
    fresh = [as_written(name, number, timing, where) for timing in (False, True)]
    about = json.loads((where / f"{number}.meta.json").read_text(encoding="utf-8"))
    write_results(where, number, pd.concat([*fresh, part.table]), {**about, "kept": part.about})
    path = where / f"{number}.claims.csv"
    if path.exists():
        judged = [claims for claims in (read_claims(path), part.claims) if claims is not None]
        save_claims(name, number, judged_anew(name, number, where, judged[::-1] if has_first else judged), where)


def judged_anew(name, number, where, before):
    """The claims of a notebook on all rows of its table. Those that ask for more than rows, as the tables of a study of
    the first setting, are as the first of `before` has them that could test them."""
    from lib.report.claims import judge
    from lib.report.claims.verdicts import LACKS, NOT_TESTABLE
    from lib.report.rows import load_results
    before = [claims.set_index(["id", "place"], drop=False) for claims in before]
    claims = judge(load_results(name, number, where=where), number)
    for i, claim in claims.iterrows():
        if not claim["value"].startswith(LACKS):
            continue
        place = claim["id"], claim["place"]
        found = [older.loc[place] for older in before if place in older.index]
        tested = [older for older in found if older["verdict"] != NOT_TESTABLE]
        for older in (tested or found)[:1]:
            claims.loc[i] = older[claims.columns]
    return claims


def join_figures(name, number, fresh):
    """Put the figures of a run, in the folder `fresh`, beside those committed, and their records into one."""
    from lib.report.drawn import records
    where = ROOT / "figures" / name
    found = [*fresh.glob(f"{number}_*.png"), *fresh.glob(f"{number}_*.pdf")]
    files = [write(where / file.name, file.read_bytes()) for file in sorted(found)]
    path = where / f"{number}.json"
    both = {**records(path), **records(fresh / path.name)}
    return [*files, write(path, json.dumps(both, indent=1, sort_keys=True) + "\n")]
