"""The index page of a profile's run: what is done, what has failed, and where it is shown."""
import json
import re
from html import escape

from lib.files import runs_root, write

from .jobs import notebook
from .page import POLICY, inline, title

CSS = """body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-weight:600}article{border-top:1px solid #ddd;padding:1rem 0}h2{font-size:1.15rem;margin:0}p{margin:.3rem 0}
a{color:#0b5394}img{height:9rem;margin:.4rem .6rem 0 0;border:1px solid #eee}small{color:#777}
pre{background:#fdf1ef;padding:.6rem;white-space:pre-wrap}.failed{color:#b3261e}.done{color:#1b7f3b}"""


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
    name, seeds = profile["profile"], profile["seeds"]
    states = {number: state(name, number) for number in profile["notebooks"]}
    parts = [_article(name, number, settings, *states[number])
             for number, settings in profile["notebooks"].items() if notebook(number)]
    words = f"Profile {escape(name)}, {len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
    write(runs_root() / name / "index.html",
          f"<!doctype html><html lang=en><meta charset=utf-8>{POLICY}<title>{words}</title><style>{CSS}</style>"
          f"<h1>Federated unlearning, reproduced</h1><p>{words}: {', '.join(map(str, seeds))}.</p>"
          + "\n".join(parts) + "</html>\n")
    return {number: word for number, (word, _) in states.items()}


def _article(profile, number, settings, word, shown):
    """One notebook on the index page."""
    nb = json.loads(notebook(number).read_text(encoding="utf-8"))
    heading, link = f"{number} · {inline(title(nb))}", ""
    if shown and shown.suffix == ".ipynb":
        page, file = escape(f"notebooks/{shown.stem}.html", quote=True), escape(f"notebooks/{shown.name}", quote=True)
        heading, link = f'<a href="{page}">{heading}</a>', f' · <a href="{file}">notebook</a>'
    lines = [f"<article><h2>{heading}</h2><p>{inline(first_sentence(nb))}</p>",
             f'<p><small class="{word}">{word}</small> <small>· {escape(", ".join(settings))}{link}</small></p>']
    if word == "failed":
        lines.append(f"<pre>{escape(failure(shown))}</pre>")
    if word == "done":
        lines += [_picture(f) for f in sorted((runs_root() / profile / "figures").glob(f"{number}_*.png"))]
    return "".join([*lines, "</article>"])


def _picture(file):
    source = escape(f"figures/{file.name}", quote=True)
    return f'<a href="{source}"><img src="{source}" alt="{escape(file.stem, quote=True)}"></a>'
