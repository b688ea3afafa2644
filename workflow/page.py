"""A notebook as one HTML page that needs no network."""
import re
from html import escape
from pathlib import Path

# ---------------------------------------------------------------- the HTML page

# no script runs and nothing is fetched, whatever a label or an output holds
POLICY = ("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' data:; "
          "style-src 'unsafe-inline'; font-src data:\">")
MATH = re.compile(r"(```.*?```|`[^`\n]+`)|\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?!\d)", re.S)


def page(path):
    """A notebook as one HTML page without scripts and without network: formulas as MathML, images with alt text."""
    import nbformat
    from nbconvert import HTMLExporter
    nb, formulas, figures = nbformat.read(path, as_version=4), [], []
    heading = title(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = _tokens(cell.source, formulas)
            heading = next((w for w in re.findall(r"^#+ (.*)$", cell.source, re.M)[-1:]), heading)
        for o in cell.get("outputs", []):
            data = o.get("data", {})
            for kind in ("text/latex", "text/markdown"):
                if kind in data and "text/html" not in data:
                    data["text/markdown"] = _tokens(data.pop(kind), formulas)
            if "image/png" in data:
                figures.append(f"Figure: {escape(_plain(heading), quote=True)}")
    name = Path(path).stem.lstrip(".").removesuffix(".part")
    exporter = HTMLExporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.log.setLevel("ERROR")          # it warns of images without alt text, which follows here
    html, _ = exporter.from_notebook_node(nb, resources={"metadata": {"name": name}})
    html = re.sub(r"<script\b.*?</script\s*>", "", html, flags=re.S | re.I)
    html = re.sub(r"<link\b[^>]*https?:[^>]*>", "", html, flags=re.I)
    html = re.sub("No description has been provided for this image",
                  lambda _: figures.pop(0) if figures else "Figure", html)
    html = re.sub(r"<title>.*?</title>", f"<title>{escape(_plain(title(nb)))}</title>", html, count=1, flags=re.S)
    return re.sub(r"xMATHx(\d+)xMATHx", lambda m: formulas[int(m[1])], html)


def _tokens(text, formulas):
    """Put a word in place of every formula, so that Markdown leaves it alone, and collect its MathML."""
    def one(m):
        if m[1]:
            return m[0]
        formulas.append(_mathml(m[2] or m[3], "block" if m[2] else "inline"))
        return f"xMATHx{len(formulas) - 1}xMATHx"
    return MATH.sub(one, text)


def _mathml(tex, display):
    from latex2mathml.converter import convert
    try:
        return convert(tex.strip(), display=display)
    except Exception:       # the converter raises a dozen types; the source is better than no page
        return f"<code>{escape(tex)}</code>"


def inline(text):
    """One line of Markdown as HTML: formulas as MathML, emphasis and links as their text."""
    formulas = []
    text = escape(_plain_links(_tokens(text, formulas)))
    return re.sub(r"xMATHx(\d+)xMATHx", lambda m: formulas[int(m[1])], text)


def _plain_links(text):
    return re.sub(r"\[([^\]]*)\]\([^)]*\)|[*`]", lambda m: m[1] or "", text)


def _plain(text):
    return re.sub(r"xMATHx\d+xMATHx|[*_`#]", "", text).strip()


def title(nb):
    """The first heading of a notebook (of nbformat or of plain JSON)."""
    for cell in nb["cells"]:
        found = re.search(r"^# (.*)$", "".join(cell["source"]), re.M) if cell["cell_type"] == "markdown" else None
        if found:
            return found[1].strip()
    return "Notebook"
