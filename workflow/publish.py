"""After a run: the index page of a profile, and the copy of its results into the repository.

python -m workflow.publish index|copy|figures --profile P [--only 02,05]
python -m workflow.publish readme|results
"""
import argparse
import ast
import base64
import csv
import json
import re
import sys
from pathlib import Path

from . import ending

if __name__ == "__main__":
    ending.in_one_line()        # before the imports that take their time

from lib.checksums import beside, seal, verify
from lib.errors import Bad
from lib.files import ROOT, runs_root, write
from lib.profiles import load, seeds_of, select
from lib.report.png import in_colours

from . import figures, parts
from .facts import state
from .index import index
from .jobs import cells, notebook
from .readme import choosing_text, readme_text, tables_text
from .tidy import KERNEL, cell_metadata

TOLD = ("quick", "flower")      # profiles whose outputs are those of the committed notebooks


# ---------------------------------------------------------------- the copy into the repository

def clean(source, ran):
    """The notebook `source` with the outputs of its executed twin `ran` (both as JSON), fit to be committed.

    Left out: the injected parameters, time stamps, stderr, bars of progress, machine paths, addresses, execution
    metadata.
    """
    done = [c for c in ran["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
    if [c["source"] for c in done] != [c["source"] for c in source["cells"]]:
        raise Bad("a notebook has changed since it ran; run again")
    count, out = 0, []
    for old, new in zip(source["cells"], done):
        cell = {**old, "metadata": cell_metadata(old["metadata"])}
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = [_output(o, count) for o in new["outputs"] if not _is_passing(o)]
        out.append(cell)
    return {"cells": out, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}


def _is_passing(o):
    """Whether an output was for who waited: stderr, or a bar of progress, which is empty once it is done."""
    if o.get("name") == "stderr":
        return True
    if "text/html" not in o.get("data", {}):
        return False
    html = "".join(o["data"]["text/html"])
    return "<progress" in html or not html.strip()


def _output(o, count):
    o = {k: v for k, v in o.items() if k != "metadata"}
    if "execution_count" in o:
        o["execution_count"] = count
    if "data" in o:
        o["data"] = {k: smaller(v) if k == "image/png" else scrub(v) for k, v in o["data"].items()}
        o["metadata"] = {}
    if "text" in o:
        o["text"] = scrub(o["text"])
    return o


def smaller(png):
    """A picture (base64) in 64 colours, more than lines and letters need, where that is less to commit."""
    return base64.b64encode(in_colours(base64.b64decode("".join(png)), 64)).decode()


def scrub(text):
    """Text without this machine's paths and addresses."""
    if isinstance(text, list):
        return [scrub(t) for t in text]
    if not isinstance(text, str):
        return text
    for path, word in ((f"{ROOT}/", ""), (str(ROOT), "."), (sys.prefix, "<env>"), (str(Path.home()), "~")):
        text = text.replace(path, word) if len(path) > 1 else text
    return re.sub(r"\b0x[0-9a-f]{6,}\b", "0x…", text)


def ran_with(path):
    """The values that an executed notebook was given."""
    text = cells(path, "injected-parameters")
    tree = ast.parse(text[0][1]).body if text else []
    return {a.targets[0].id: ast.literal_eval(a.value) for a in tree}


def published(name, number):
    """The settings of a notebook that the committed results of a profile hold."""
    path = ROOT / "results" / name / f"{number}.csv"
    if not path.exists():
        return set()
    with open(path, encoding="utf-8", newline="") as f:
        return {row["setting"] for row in csv.DictReader(f)}


def _parts(number, settings):
    """As --only wants it; without settings the whole notebook."""
    return ",".join(f"{number}.{s}" for s in sorted(settings)) or number


def copy(profile, only=None):
    """Copy results, figures and claims of the chosen settings, with TOLD the notebooks' outputs too; nothing if one is
    missing. Returns the files written.

    Committed rows of a notebook's other settings stay. Figures of rows are then drawn again, of the rows as they were
    copied."""
    name, chosen = profile["profile"], select(profile, only)
    numbers = [n for n in chosen if notebook(n)]
    for number in numbers:
        _refuse_unfinished(profile, number, chosen[number])
    pages = _clean_notebooks(name, numbers) if name in TOLD else {}
    kept = {number: parts.kept(name, number, _others(profile, number, chosen[number])) for number in numbers}
    written = []
    for number in numbers:
        written += _replace(ROOT / "results" / name, f"{number}.*", runs_root() / name / "results")
        if kept[number]:
            first = next(iter(profile["notebooks"][number]))
            parts.join(name, number, kept[number], has_first=first in set(kept[number].table["setting"]))
            written += parts.join_figures(name, number, runs_root() / name / "figures")
            continue
        for pattern in (f"{number}_*.png", f"{number}_*.pdf", f"{number}.json"):
            written += _replace(ROOT / "figures" / name, pattern, runs_root() / name / "figures")
    written += _merge_claims(ROOT / "results" / name)
    for source, text in pages.items():
        written.append(write(source, text))
    for number in numbers:
        if (ROOT / "figures" / name / f"{number}.json").exists():
            figures.redraw(profile, number, of=("rows",))
    return written


def _refuse_unfinished(profile, number, settings):
    """Bad where a notebook has not run with just these settings and seeds."""
    name, everything = profile["profile"], profile["notebooks"][number]
    word, path = state(name, number)
    if word != "done":
        happened = "has failed" if path else "has not run"
        raise Bad(f"nothing is published: notebook {number} {happened} with profile {name}")
    verify(path, f"run notebook {number} again: ./run_all.sh --profile {name} --only {number}")
    for table in sorted((runs_root() / name / "results").glob(f"{number}.*csv")):
        if beside(table).exists():
            verify(table, f"run notebook {number} again: ./run_all.sh --profile {name} --only {number}")
    whole = settings == everything
    if name in TOLD and not whole:
        raise Bad(f"nothing is published: with {name}, the outputs of notebook {number} are committed as a whole; "
                  f"use --only {number}")
    again = f"use ./run_all.sh --profile {name} --only"
    given = ran_with(path)
    if given.get("seeds") != seeds_of(profile, number) or given.get("settings") != settings:
        part = _parts(number, () if whole else settings)
        raise Bad(f"nothing is published: notebook {number} ran last with other settings or seeds; "
                  f"{again} {part} --publish")


def _others(profile, number, settings):
    """The settings of a notebook that are committed, that the profile still has, and that did not run now."""
    return (published(profile["profile"], number) & set(profile["notebooks"][number])) - set(settings)


def _clean_notebooks(name, numbers):
    """`{path: text}` of the notebooks with the outputs of their run."""
    pages = {}
    for number in numbers:
        source = notebook(number)
        ran = runs_root() / name / "notebooks" / source.name
        pages[source] = _dumps(clean(_plain(source), _plain(ran)))
    return pages


def _replace(folder, pattern, fresh):
    """Put the files of `fresh` that match a pattern in the place of those in `folder`; the new files."""
    written = [write(folder / f.name, f.read_bytes()) for f in sorted(fresh.glob(pattern))]
    for old in folder.glob(pattern):
        if old not in written:
            old.unlink()
    return written


def _merge_claims(results):
    """One table of the claims of all notebooks, if there are any."""
    if not list(results.glob("*.claims.csv")):
        return []
    from lib.report.claims import merge_claims
    path = write(results / "claims.csv", merge_claims(results).to_csv(index=False, lineterminator="\n"))
    seal(path)
    return [path]


def results_text():
    """RESULTS.md, the two papers beside the committed results."""
    from lib.report.reproduced import page
    return page()


PAGES = {"readme": {"README.md": readme_text, "docs/tables.md": tables_text, "docs/choosing.md": choosing_text},
         "results": {"RESULTS.md": results_text}}


def _plain(path):
    """A notebook as JSON with sources and texts in single strings, as nbformat reads them."""
    import nbformat
    return json.loads(json.dumps(nbformat.read(path, as_version=4)))


def _dumps(nb):
    import nbformat
    return nbformat.writes(nbformat.from_dict(nb)) + "\n"


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("index", "copy", "figures", "readme", "results"))
    p.add_argument("--profile", help="default: quick")
    p.add_argument("--only", help="as 02 or 02.cifar10_cnn,05")
    a = p.parse_args(argv)
    try:
        if a.what in PAGES:
            if a.profile or a.only:
                raise Bad(f"{a.what}: it shows every profile with committed results; leave out --profile and --only")
            for file, text in PAGES[a.what].items():
                write(ROOT / file, text())
            return 0
        profile = load(a.profile or "quick")
        if a.what == "figures":
            figures.tell(*figures.redraw(profile, a.only))
            return 0
        if a.what == "copy":
            print(f"published {len(copy(profile, a.only))} files of profile {profile['profile']}", file=sys.stderr)
            return 0
        states = index(profile)
        wanted = {n: states[n] for n in select(profile, a.only)}
    except Bad as e:
        print(e, file=sys.stderr)
        return 2
    for word in ("failed", "not run", "no notebook yet"):
        numbers = [n for n, s in wanted.items() if s == word]
        if numbers:
            print(f"{word}: {', '.join(numbers)}", file=sys.stderr)
    where = runs_root() / profile["profile"]
    print(f"{sum(s == 'done' for s in wanted.values())} of {len(wanted)} notebooks done; see {where / 'index.html'} "
          f"(rows in results/, figures in figures/ beside it)", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
