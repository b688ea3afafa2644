"""After a run: the index page of a profile, and the copy of its results into the repository.

python -m workflow.publish index|copy --profile P [--only 02,05]
python -m workflow.publish readme
"""
import argparse
import ast
import base64
import csv
import io
import json
import re
import shutil
import sys
from html import escape
from pathlib import Path

from lib.errors import Bad
from lib.files import ROOT, runs_root, write
from lib.profiles import load, seeds_of, select

from .jobs import cells, notebook
from .page import inline, title

CSS = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-weight:600}article{border-top:1px solid #ddd;padding:1rem 0}h2{font-size:1.15rem;margin:0}p{margin:.3rem 0}
a{color:#0b5394}img{height:9rem;margin:.4rem .6rem 0 0;border:1px solid #eee}small{color:#777}
pre{background:#fdf1ef;padding:.6rem;white-space:pre-wrap}.failed{color:#b3261e}.done{color:#1b7f3b}"""


SHOWN = {"paper": "At the paper's own scale", "reduced": "In the reduced profile"}     # in the README


# ---------------------------------------------------------------- the index page

def first_sentence(nb):
    """The first sentence below the title."""
    for cell in nb["cells"]:
        if cell["cell_type"] == "markdown":
            lines = [s for s in "".join(cell["source"]).split("\n\n") if s.strip() and not s.lstrip().startswith("#")]
            if lines:
                return re.split(r"(?<=[.!?])\s", " ".join(lines[0].split()))[0]
    return ""


def state(profile, number):
    """('done' | 'failed' | 'not run' | 'no notebook yet', the file that shows it) of a notebook in a profile's run."""
    root, source = runs_root() / profile, notebook(number)
    if source is None:
        return "no notebook yet", None
    for word, found in (("failed", [root / "notebooks" / f"{source.stem}.failed.ipynb"]),
                        ("failed", sorted((root / "jobs").glob(f"{number}.*.failed"))),
                        ("done", [root / "notebooks" / source.name])):
        for path in found:
            if path.exists():
                return word, path
    return "not run", None


def failure(path):
    """The error of a failed notebook or job, in a few lines."""
    if path.suffix == ".failed":
        return f"{path.stem}: {path.read_text(encoding='utf-8')}"
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for o in cell.get("outputs", []):
            if o["output_type"] == "error":
                return f"{o['ename']}: " + "\n".join(o["evalue"].splitlines()[:3])
    return "the kernel stopped"


def index(profile):
    """Write runs/<profile>/index.html; returns {number: state}."""
    root, states, parts = runs_root() / profile["profile"], {}, []
    for number, settings in profile["notebooks"].items():
        states[number], shown = state(profile["profile"], number)
        if states[number] == "no notebook yet":
            continue
        nb = json.loads(notebook(number).read_text(encoding="utf-8"))
        link = f"notebooks/{shown.stem}.html" if shown and shown.suffix == ".ipynb" else None
        name = f"{number} · {inline(title(nb))}"
        figures = sorted((root / "figures").glob(f"{number}_*.png")) if states[number] == "done" else []
        parts.append(
            f'<article><h2>{f"<a href={link!r}>{name}</a>" if link else name}</h2><p>{inline(first_sentence(nb))}</p>'
            f'<p><small class="{states[number]}">{states[number]}</small> <small>· {escape(", ".join(settings))}'
            + (f' · <a href="notebooks/{shown.name}">notebook</a>' if link else "") + "</small></p>"
            + (f"<pre>{escape(failure(shown))}</pre>" if states[number] == "failed" else "")
            + "".join(f'<a href="figures/{f.name}"><img src="figures/{f.name}" alt="{escape(f.stem)}"></a>'
                      for f in figures) + "</article>")
    seeds = profile["seeds"]
    words = f"Profile {profile['profile']}, {len(seeds)} seed{'s' * (len(seeds) > 1)}"
    write(root / "index.html", f"<!doctype html><html lang=en><meta charset=utf-8><title>{words}</title><style>{CSS}"
          f"</style><h1>Federated unlearning, reproduced</h1><p>{words}: {', '.join(map(str, seeds))}.</p>"
          + "\n".join(parts) + "</html>\n")
    return states


# ---------------------------------------------------------------- the copy into the repository

def clean(source, ran):
    """The notebook `source` with the outputs of its executed twin `ran` (both as JSON), fit to be committed.

    Left out: the injected parameters, time stamps, stderr, machine paths, addresses, execution metadata.
    """
    done = [c for c in ran["cells"] if "injected-parameters" not in c["metadata"].get("tags", [])]
    if [c["source"] for c in done] != [c["source"] for c in source["cells"]]:
        raise Bad("a notebook has changed since it ran; run again")
    count, out = 0, []
    for old, new in zip(source["cells"], done):
        cell = {**old, "metadata": {k: v for k, v in old["metadata"].items() if k in ("tags", "collapsed", "editable")}}
        if cell["cell_type"] == "code":
            count += 1
            cell["execution_count"] = count
            cell["outputs"] = [_output(o, count) for o in new["outputs"] if o.get("name") != "stderr"]
        out.append(cell)
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
              "language_info": {"name": "python"}}
    return {"cells": out, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}


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
    """A picture (base64) in 256 colours, which lines and letters do not miss, where that is less to commit."""
    from PIL import Image
    raw, out = base64.b64decode("".join(png)), io.BytesIO()
    Image.open(io.BytesIO(raw)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(out, "png", optimize=True)
    return base64.b64encode(min(raw, out.getvalue(), key=len)).decode()


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
    """Copy results, figures and claims of the chosen settings, and with quick the notebooks' outputs; nothing if one is
    missing, or if committed results of another setting would be lost."""
    name, chosen = profile["profile"], select(profile, only)
    root, todo = runs_root() / name, {n: notebook(n) for n in chosen if notebook(n)}
    for number in todo:
        word, path = state(name, number)
        if word != "done":
            raise Bad(f"nothing is published: notebook {number} {'has failed' if path else 'has not run'} "
                      f"with profile {name}")
        whole = chosen[number] == profile["notebooks"][number]
        if name == "quick" and not whole:
            raise Bad(f"nothing is published: with quick, the outputs of notebook {number} are committed as a whole; "
                      f"use --only {number}")
        given, rest = ran_with(path), set(profile["notebooks"][number]) - set(chosen[number])
        if given.get("seeds") != seeds_of(profile, number) or given.get("settings") != chosen[number]:
            raise Bad(f"nothing is published: notebook {number} ran last with other settings or seeds; use ./run_all.sh"
                      f" --profile {name} --only {_parts(number, () if whole else chosen[number])} --publish")
        if lost := published(name, number) & rest:
            raise Bad(f"nothing is published: results/{name}/{number}.csv holds {min(lost)}, too, which would be lost; "
                      f"use ./run_all.sh --profile {name} --only {_parts(number, {*chosen[number], *lost})} --publish")
    written, pages = [], {}
    if name == "quick":
        pages = {s: clean(*(_plain(p) for p in (s, root / "notebooks" / s.name))) for s in todo.values()}
    results, figures = ROOT / "results" / name, ROOT / "figures" / name
    for folder in (results, figures):
        folder.mkdir(parents=True, exist_ok=True)
    for number in todo:
        for pattern, here, there in (("results/{}.*", root, results), ("figures/{}_*.png", root, figures)):
            for old in there.glob(Path(pattern).name.format(number)):
                old.unlink()
            for f in sorted(here.glob(pattern.format(number))):
                written.append(shutil.copyfile(f, there / f.name))
    if list(results.glob("*.claims.csv")):
        from lib.report.claims import merge_claims
        write(results / "claims.csv", merge_claims(results).to_csv(index=False, lineterminator="\n"))
        written.append(results / "claims.csv")
    for source, nb in pages.items():
        write(source, _dumps(nb))
        written.append(source)
    return written


def readme_text():
    """README.md with the tables of the committed results between its two marks."""
    from lib.report.tables import readme
    text, marks = (ROOT / "README.md").read_text(encoding="utf-8"), ("<!-- results -->", "<!-- /results -->")
    before, _, rest = text.partition(marks[0])
    _, end, after = rest.partition(marks[1])
    if not end:
        raise Bad(f"README.md: the marks {marks[0]} and {marks[1]} are missing; put them where the tables shall stand")
    parts = [f"### {title}\n\n{readme(p)}" for p, title in SHOWN.items() if (ROOT / "results" / p).exists()]
    return before + marks[0] + "\n" + "\n\n".join(parts) + "\n" + marks[1] + after


def _plain(path):
    """A notebook as JSON with sources and texts in single strings, as nbformat reads them."""
    import nbformat
    return json.loads(json.dumps(nbformat.read(path, as_version=4)))


def _dumps(nb):
    import nbformat
    return nbformat.writes(nbformat.from_dict(nb)) + "\n"


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.publish", description=__doc__.splitlines()[0])
    p.add_argument("what", choices=("index", "copy", "readme"))
    p.add_argument("--profile", help="default: quick")
    p.add_argument("--only", help="as 02 or 02.cifar10_cnn,05")
    a = p.parse_args(argv)
    try:
        if a.what == "readme":
            if a.profile or a.only:
                raise Bad("readme: it shows every profile with committed results, so leave out --profile and --only")
            write(ROOT / "README.md", readme_text())
            return 0
        profile = load(a.profile or "quick")
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
    print(f"{sum(s == 'done' for s in wanted.values())} of {len(wanted)} notebooks done; "
          f"see {runs_root() / profile['profile'] / 'index.html'}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
