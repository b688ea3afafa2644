"""A notebook that is published in parts: the committed rows of settings that did not run now stay, with where they come
from, and its claims are judged on all rows.
"""
import json
from typing import Any, NamedTuple

from lib.errors import Bad
from lib.files import ROOT, write

from . import figures


class Part(NamedTuple):
    """What is kept of a committed table: rows and seconds of some settings, and what its meta.json says of them."""
    table: Any      # pandas is not imported where nothing is kept
    about: list


def kept(name, number, settings):
    """The `Part` of a notebook's committed table that holds these settings; None where there are none.

    Bad where the table is of an older form, in which curves are not whole: today's stops could not be found in them.
    """
    if not settings:
        return None
    import pandas as pd

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
    return Part(table[table["setting"].isin(settings)], [part for part in found if part["settings"]])


def join(name, number, part):
    """Put a `Part` beside the rows of a notebook that were just copied into results/<profile>."""
    import pandas as pd

    from lib.report.claims import save_claims
    from lib.report.rows import as_written, write_results
    where = ROOT / "results" / name
    fresh = [as_written(name, number, timing, where) for timing in (False, True)]
    about = json.loads((where / f"{number}.meta.json").read_text(encoding="utf-8"))
    write_results(where, number, pd.concat([*fresh, part.table]), {**about, "kept": part.about})
    if (where / f"{number}.claims.csv").exists():
        save_claims(name, number, judged_anew(name, number, where), where)


def judged_anew(name, number, where):
    """The claims of a notebook on all rows of its table. Those that ask for more than rows stay as they were judged."""
    from lib.report.claims import judge
    from lib.report.claims.verdicts import NOT_TESTABLE, read_claims
    from lib.report.rows import load_results
    before = read_claims(where / f"{number}.claims.csv").set_index(["id", "place"], drop=False)
    claims = judge(load_results(name, number, where=where), number)
    for i, claim in claims.iterrows():
        place = claim["id"], claim["place"]
        if claim["verdict"] == NOT_TESTABLE and place in before.index:
            claims.loc[i] = before.loc[[place]].iloc[0][claims.columns]
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
