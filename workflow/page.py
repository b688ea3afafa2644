"""A notebook as one HTML page that needs no network and no script."""
import re
from html import escape
from pathlib import Path
from typing import NamedTuple

from lib.files import write

from .facts import NUMBERED, Facts, duration, title
from .safe import POLICY, cleaned, inline, plain, tokens, with_formulas

HERE = Path(__file__).parent
FOLDED = {"parameters": "Settings in the notebook", "injected-parameters": "Settings of this run",
          "compute": "What was computed", "nbval-check-output": "How it is checked"}
SAVED = re.compile(r"save_figure\(\w+, profile, [\"']([\w.-]+)[\"']\)")
HEADING = re.compile(r'<h2 id="([^"]*)">(.*?)<a ', re.S)


class Around(NamedTuple):
    """What stands around a page: the profile's name, the facts of its notebook, and those of all with a page, in order."""
    profile: str
    here: Facts
    all: list

    @property
    def before(self):
        return self._beside(-1)

    @property
    def after(self):
        return self._beside(1)

    def _beside(self, step):
        place = [each.number for each in self.all].index(self.here.number) + step
        return self.all[place] if 0 <= place < len(self.all) else None


def page(nb, around=None):
    """A notebook object as one HTML page: formulas as MathML, images with alt text, settings and computation folded.

    around: an `Around`, for the way on and back and for what each table and figure comes from. What cells say and
    outputs hold may come from anywhere, as the name of a class does: of its HTML only what shows something is left.
    """
    formulas, parts, section = [], [], title(nb)
    injected = any("injected-parameters" in tags(cell) for cell in nb.cells)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            source = cell.source if parts else re.sub(r"\A\s*# .*\n?", "", cell.source)
            section = next(iter(re.findall(r"^#+ (.*)$", source, re.M)[-1:]), section)
            parts.append({"kind": "text", "html": markdown(source, formulas)})
        elif cell.cell_type == "code":
            parts.append(code_part(cell, formulas, plain(tokens(section, [])), injected))
    contents = [found for part in parts for found in HEADING.findall(part["html"])]
    html = template("page.html.j2").render(
        policy=POLICY, css=css(), title=plain(NUMBERED.sub("", title(nb))), heading=inline(NUMBERED.sub("", title(nb))),
        number=NUMBERED.match(title(nb)) and title(nb)[:2], parts=parts, contents=contents, around=around)
    return with_formulas(formulas, html)


def tags(cell):
    return cell.metadata.get("tags", [])


# ---------------------------------------------------------------- templates

def template(name):
    """A Jinja template of this folder; everything is escaped but what is said to be HTML."""
    from jinja2 import Environment, FileSystemLoader
    around = Environment(loader=FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    around.filters |= {"inline": inline, "duration": duration}
    return around.get_template(name)


def css():
    return (HERE / "pages.css").read_text(encoding="utf-8")


# ---------------------------------------------------------------- cells

def markdown(source, formulas):
    """Markdown as HTML, headings with anchors."""
    from nbconvert.filters.markdown_mistune import markdown2html_mistune
    return wrapped(cleaned(markdown2html_mistune(tokens(source, formulas))), "wide said")


def code_part(cell, formulas, section, injected):
    """A code cell: its source, folded under a word where it only sets up or checks, and its outputs.

    Bars of progress stay with the source. figures: the names of the files that it saves.
    """
    shown = [output(o, formulas, section) for o in cell.outputs]
    bars = [o for o in shown if "<progress" in o["html"]]
    shown = [o for o in shown if o not in bars and o["html"].strip()]
    folded = next((FOLDED[tag] for tag in FOLDED if tag in tags(cell)), "" if shown else "Set-up")
    settings = "injected-parameters" if injected else "parameters"
    return {"kind": "code", "html": highlighted(cell.source), "folded": folded, "bars": bars, "outputs": shown,
            "figures": SAVED.findall(cell.source), "id": "settings" if settings in tags(cell) else ""}


def highlighted(source):
    """Python as HTML."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer
    return highlight(source, PythonLexer(), HtmlFormatter())


def output(o, formulas, section):
    """`{"kind": "table" | "figure" | "text", "html"}` of an output: the richest form that a page without scripts shows."""
    data = o.get("data", {})
    for kind in ("text/html", "text/latex", "text/markdown"):
        if kind in data:
            html = wrapped(cleaned(data[kind])) if kind == "text/html" else markdown("".join(data[kind]), formulas)
            return {"kind": "table" if "<table" in html else "text", "html": html}
    for kind in ("image/png", "image/jpeg"):
        if kind in data:
            picture = escape("".join(data[kind]).strip().replace("\n", ""), quote=True)
            alt = escape(f"Figure: {section}", quote=True)
            return {"kind": "figure", "html": f'<img src="data:{kind};base64,{picture}" alt="{alt}">'}
    return {"kind": "text", "html": words(o)}


def words(o):
    """An output that is text: what was printed, an error, the text of an object."""
    from nbconvert.filters import ansi2html
    if o.output_type == "error":
        return f'<pre class="error">{ansi2html(chr(10).join(o.traceback))}</pre>'
    text = "".join(o.text if o.output_type == "stream" else o.get("data", {}).get("text/plain", ""))
    return f"<pre>{ansi2html(text)}</pre>" if text.strip() else ""


def wrapped(html, how="wide"):
    """HTML whose tables scroll inside themselves, also by the keyboard."""
    return re.sub(r"<table\b.*?</table>", lambda m: f'<div class="{how}" tabindex="0">{m[0]}</div>', html, flags=re.S)


# ---------------------------------------------------------------- the pages of a run

def render(profile, here, everywhere):
    """The page of a notebook that has run in a profile's run, in its place among the others; the path of it."""
    import nbformat
    file = here.shown.with_suffix(".html")
    return write(file, page(nbformat.read(here.shown, as_version=4), Around(profile, here, everywhere)))
