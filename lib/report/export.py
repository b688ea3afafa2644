"""A table to take away: LaTeX for a paper, CSV for another program, Markdown for an issue."""
import re
from html import unescape
from pathlib import Path

import pandas as pd

from ..errors import Bad, nearest
from ..files import folder, runs_root, write
from ..words import metric
from .numbers import number
from .provenance import in_words
from .rows import origin, to_csv
from .statistics import Paired, told_of_pairs
from .summary import summary
from .tables import seeds_text, show

FORMS = ("tex", "csv", "md")
# What LaTeX reads otherwise, and what pdflatex has no letter for.
LETTERS = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "±": r"$\pm$",
    "−": "$-$", "×": r"$\times$", "→": r"$\to$", "≤": r"$\leq$", "≥": r"$\geq$", "–": "--", "α": r"$\alpha$",
    "β": r"$\beta$", "γ": r"$\gamma$", "δ": r"$\delta$", "Δ": r"$\Delta$", "ε": r"$\epsilon$", "θ": r"$\theta$",
    "λ": r"$\lambda$"})
AT = {"last": "After the last round", "oracle": "At the round with the smallest average gap (an oracle)",
      "quarter": "At a quarter of Retrain's cost", "half": "At half of Retrain's cost", "full": "At Retrain's cost",
      "recovered": "At the first round with the old validation accuracy", "best_test": "At the best test accuracy"}
MINUS = re.compile(r"(?<![\w.-])-(?=\d)")


def export(df, name, form="tex", *, caption="", metrics=None, stop="oracle", where=None):
    """Write a table as `<name>.tex`, `.csv` or `.md` below `runs/<profile>/tables`, or in the folder `where`; the path.

    df: what `show` takes, rows, a `summary` or a `compare`: one line a method, `metrics` and `stop` as there; or
    `pairs`, one line a pair with its interval; or any other table, as it is. tex (`\\usepackage{booktabs}`) and md are
    text to read, with n, the interval and where it comes from in the caption; csv has numbers, not rounded.
    """
    if form not in FORMS:
        raise Bad(f"export: form {form!r}; {nearest(str(form), FORMS, 'form')}")
    if not re.fullmatch(r"[\w.-]+", name):
        raise Bad(f"export: {name!r} is to be the name of a file; use letters, digits, dots, dashes and underscores")
    come = origin(df)
    text = numbers_of(df, stop) if form == "csv" else readable(df, caption, metrics, stop, name, form, come)
    return write(place(where, come) / f"{name}.{form}", text)


def place(where, come):
    """The folder in which a table is written."""
    if where is not None:
        return Path(where)
    return folder(come["profile"], "tables") if come else runs_root() / "tables"


# ---------------------------------------------------------------- the three forms

def numbers_of(df, stop):
    """CSV: of rows the mean, sd and n of every method and metric, else the table as it is."""
    table = summary(df, stop) if "value" in df and "metric" in df else df
    return to_csv(table if is_default(table.index) else table.reset_index())


def readable(df, caption, metrics, stop, name, form, come):
    """LaTeX or Markdown of a table as a reader sees it."""
    if "metric" in df:
        table = show(df, caption or (AT[stop] if "value" in df else ""), metrics, stop)
        words = unescape(table.caption)
    elif set(Paired._fields) <= set(df.columns):
        table = told_of_pairs(df).style.hide(axis="index")
        words = ". ".join(filter(None, [caption, count_of_pairs(df)]))
    else:
        table = df.map(lambda v: number(v) if isinstance(v, float) else v).style
        table = table.hide(axis="index") if is_default(df.index) else table
        words = caption
    words = ". ".join(filter(None, [words.rstrip("."), in_words(**come, settings=settings_in(df)) if come else ""])) + "."
    return latex(table, words, name) if form == "tex" else markdown(table, words)


def settings_in(df):
    """The settings of a table of rows or pairs; none where it has no such column."""
    return set(df["setting"]) if "setting" in df else ()


def count_of_pairs(df):
    """What the caption says of an interval between pairs, and n."""
    settings = " and ".join(sorted(set(df["setting"])))
    stop = df.attrs.get("stop", "")
    of = [metric(df.attrs["metric"]).words, AT.get(stop, stop).lower().replace("retrain", "Retrain")] if stop else []
    return (f"{', '.join([settings, *of])}: mean difference, first minus second, with the 95 % interval of paired seeds "
            f"(Student's t); {count(df['n'])}")


def count(n):
    return seeds_text(n).replace("mean ± sd over ", "") if len(n) else "n = 0"


def is_default(index):
    """Whether an index only counts rows."""
    return isinstance(index, pd.RangeIndex) or index.nlevels == 1 and index.name is None and index.dtype.kind == "i"


def latex(table, caption, label):
    """A Styler as a LaTeX table with the rules of booktabs; what is bold stays bold."""
    told = table.export()
    kept = {"apply": told["apply"], "hide_index": told["hide_index"]}       # its table styles are CSS
    data = table.data.rename_axis([n and tex(n) for n in table.index.names])
    fresh = data.style.use(kept).format(tex).format_index(tex).format_index(tex, axis="columns")
    levels = 0 if all(fresh.hide_index_) else data.index.nlevels
    return fresh.to_latex(hrules=True, convert_css=True, caption=tex(caption), label=f"tab:{label}", position="t",
                          position_float="centering", column_format="l" * levels + alignment(data),
                          multicol_align="c", multirow_align="naive")


def alignment(data):
    """Numbers to the right, words to the left."""
    return "".join("r" if is_of_numbers(data.iloc[:, i]) else "l" for i in range(data.shape[1]))


def is_of_numbers(column):
    """Whether a column's cells begin as numbers do, or are dashes."""
    return column.astype(str).str.fullmatch(r"(?:[-+−]?\d.*|–|nan|)").all()


def tex(value):
    """A cell's text as LaTeX."""
    return MINUS.sub("$-$", str(value).translate(LETTERS))


def markdown(table, caption):
    """A Styler as a Markdown table with its caption below."""
    data = table.data if all(table.hide_index_) else table.data.reset_index()
    heads = [" ".join(filter(None, map(str, c))) if isinstance(c, tuple) else str(c) for c in data.columns]
    lines = [heads, ["---:" if is_of_numbers(data.iloc[:, i]) else "---" for i in range(len(heads))],
             *data.astype(str).values.tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines) + f"\n\n{caption}\n"
