"""A notebook as one HTML page that needs no network."""
import copy
import re
from html import escape

# ---------------------------------------------------------------- the HTML page

# no script runs and nothing is fetched, whatever a label or an output holds
POLICY = ("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' data:; "
          "style-src 'unsafe-inline'; font-src data:\">")
MATH = re.compile(r"(```.*?```|`[^`\n]+`)|\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?!\d)", re.S)


def page(nb, name="notebook"):
    """A notebook object as one HTML page without scripts and without network: formulas as MathML, images with alt text.

    What cells say and outputs hold may come from anywhere, as the name of a class does: of its HTML only what shows
    something is left.
    """
    nb, formulas, figures = copy.deepcopy(nb), [], []
    heading = title(nb)
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = _tokens(cell.source, formulas)
            heading = next((w for w in re.findall(r"^#+ (.*)$", cell.source, re.M)[-1:]), heading)
        for o in cell.get("outputs", []):
            if "data" in o:
                o.data, o.metadata = _shown(o.data, formulas), {}
            if "image/png" in o.get("data", {}):
                figures.append(f"Figure: {escape(_plain(heading), quote=True)}")
    html = _exported(nb, name)
    html = re.sub(r"<script\b.*?</script\s*>", "", html, flags=re.S | re.I)
    html = re.sub(r"<link\b[^>]*https?:[^>]*>", "", html, flags=re.I)
    html = re.sub("No description has been provided for this image",
                  lambda _: figures.pop(0) if figures else "Figure", html)
    about = f"{POLICY}<title>{escape(_plain(title(nb)))}</title>"
    html = re.sub(r"<title>.*?</title>", lambda _: about, html, count=1, flags=re.S)
    return _with(formulas, html)


def _exported(nb, name):
    """The page as nbconvert makes it, with what Markdown became cleaned."""
    from jinja2 import pass_context
    from nbconvert import HTMLExporter

    class Exporter(HTMLExporter):
        @pass_context
        def markdown2html(self, context, source):
            return cleaned(super().markdown2html(context, source))

    exporter = Exporter(template_name="lab", exclude_input_prompt=True, exclude_output_prompt=True)
    exporter.log.setLevel("ERROR")          # it warns of images without alt text, which follows
    return exporter.from_notebook_node(nb, resources={"metadata": {"name": name}})[0]


SHOWN = ("text/html", "text/markdown", "text/plain", "image/png", "image/jpeg", "image/svg+xml")


def _shown(data, formulas):
    """Of an output's forms those that a page without scripts can show."""
    data = dict(data)
    for kind in ("text/latex", "text/markdown"):
        if kind in data:
            data["text/markdown"] = _tokens(data.pop(kind), formulas)
    if "text/html" in data:
        data.pop("text/markdown", None)
        data["text/html"] = cleaned(data["text/html"])
    return {kind: data[kind] for kind in SHOWN if kind in data}


# ---------------------------------------------------------------- HTML from elsewhere

TEXT = "a abbr b blockquote br caption center cite code col colgroup dd del details div dl dt em figcaption figure"
TEXT += " h1 h2 h3 h4 h5 h6 hr i img kbd li mark ol p pre progress s small span strong style sub summary sup table tbody"
TEXT += " td tfoot th thead tr u ul var"
MATHML = "math menclose mfrac mi mn mo mover mpadded mphantom mroot mrow ms mspace msqrt mstyle msub msubsup msup mtable"
MATHML += " mtd mtext mtr munder munderover mmultiscripts mprescripts none mlabeledtr"
PLAIN = {"align", "alt", "border", "class", "colspan", "dir", "height", "id", "lang", "max", "open", "rowspan", "scope",
         "start", "style", "title", "type", "valign", "value", "width"}
OF_MATHML = {"accent", "accentunder", "columnalign", "columnlines", "columnspacing", "depth", "display", "displaystyle",
             "fence", "form", "linebreak", "linethickness", "lspace", "mathcolor", "mathsize", "mathvariant", "maxsize",
             "minsize", "movablelimits", "notation", "rowlines", "rowspacing", "rspace", "scriptlevel", "separator",
             "stretchy", "symmetric", "voffset", "xmlns"}


def cleaned(html):
    """HTML without what runs or fetches: no scripts, no handlers, links to pages and pictures that it brings alone."""
    import bleach
    from bleach.css_sanitizer import ALLOWED_CSS_PROPERTIES, CSSSanitizer
    style = CSSSanitizer([*ALLOWED_CSS_PROPERTIES, "caption-side", "margin", "padding", "border", "max-width", "opacity"])
    html = bleach.clean("".join(html), tags={*TEXT.split(), *MATHML.split()}, attributes=_attribute, css_sanitizer=style,
                        protocols=["http", "https", "mailto", "data"], strip=True)
    return re.sub(r"(<style\b[^>]*>)(.*?)(</style>)", lambda m: m[1] + m[2].replace("&gt;", ">") + m[3], html, flags=re.S)


def _attribute(tag, name, value):
    """Whether an attribute may stay."""
    value = value.strip().lower()
    if name == "src":
        return tag == "img" and (value.startswith("data:image/") or ":" not in value)
    if name == "href":
        return tag == "a" and not value.startswith("data:")
    return name in PLAIN or name in OF_MATHML and tag.startswith("m")


def _with(formulas, html):
    """HTML with the formulas in the place of their words."""
    def one(m):
        return formulas[int(m[1])] if int(m[1]) < len(formulas) else m[0]
    return re.sub(r"xMATHx(\d+)xMATHx", one, html)


# ---------------------------------------------------------------- formulas and titles

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
        return cleaned(convert(tex.strip(), display=display))
    except Exception:       # the converter raises a dozen types; the source is better than no page
        return f"<code>{escape(tex)}</code>"


def inline(text):
    """One line of Markdown as HTML: formulas as MathML, emphasis and links as their text."""
    formulas = []
    return _with(formulas, escape(_plain_links(_tokens(text, formulas))))


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
