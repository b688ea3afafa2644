"""HTML that a page may hold, whatever it comes from: without what runs or fetches, formulas as MathML."""
import re
from html import escape

# no script runs and nothing is fetched, whatever a label or an output holds
POLICY = ("<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src 'self' data:; "
          "style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'\">")
MATH = re.compile(r"(```.*?```|`[^`\n]+`)|\$\$(.+?)\$\$|(?<![\\$\w])\$(?!\s)([^$\n]+?)(?<![\s\\])\$(?!\d)", re.S)

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
        return tag == "img" and (value.startswith("data:image/") or ":" not in value and not value.startswith("//"))
    if name == "href":
        return tag == "a" and not value.startswith("data:")
    return name in PLAIN or name in OF_MATHML and tag.startswith("m")


# ---------------------------------------------------------------- formulas

def with_formulas(formulas, html):
    """HTML with the formulas in the place of their words."""
    def one(m):
        return formulas[int(m[1])] if int(m[1]) < len(formulas) else m[0]
    return re.sub(r"xMATHx(\d+)xMATHx", one, html)


def tokens(text, formulas):
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


EMPHASIS = re.compile(r"\[([^\]]*)\]\([^)]*\)|\*\*(.+?)\*\*|(?<![\w*])\*(?=\S)(.+?)(?<=\S)\*(?!\w)|`([^`]+)`")


def inline(text):
    """One line of Markdown as HTML: formulas as MathML, emphasis and links as their text."""
    formulas = []
    return with_formulas(formulas, escape(_unmarked(tokens(text, formulas))))


def _unmarked(text):
    """Text without the marks of links, emphasis and code; an asterisk that marks nothing, as in θ*, stays."""
    return EMPHASIS.sub(lambda m: _unmarked(next(part for part in m.groups() if part is not None)), text)


def plain(text):
    """A heading as words alone, for a title or an alternative text."""
    return re.sub(r"xMATHx\d+xMATHx|#", "", _unmarked(text)).strip()
