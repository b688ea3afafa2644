"""The files of figures, PNG and PDF, and beside them what each was drawn of: which rows, by which code.

`<notebook>.json` among the figures holds `{name: {"png": checksum, "pdf": checksum, "code": hash of all that the drawing
reaches, "rows": {file: checksum}}}`; `rows` where the figure was drawn of the files of a table. A figure that today's code
cannot draw, since what it was drawn of was not kept, has `{"png": checksum, "lacks": what}`. `outdated` says what has
changed since.
"""
import io
import json

import matplotlib.pyplot as plt

from ..checksums import beside, read
from ..files import folder, sha256, write
from ..runs.code import code_hash
from ..words import CHANGES, METHODS
from .gallery import GALLERY
from .png import in_colours

KINDS = ("png", "pdf")


def save_figure(fig, profile, name, where=None, rows=()):
    """Write <name>.png and <name>.pdf among the profile's figures, or into the folder `where`, and enter both in the
    record; the same figure gives the same bytes. rows: the files of the table that it was drawn of. None, where there
    is nothing to draw, writes nothing. A notebook shows the PNG, so that it is not drawn once more."""
    if fig is None:
        return
    where = where or folder(profile, "figures")
    box = laid_out(fig)
    kept = {"png": as_png(fig, box), "pdf": as_pdf(fig, box)}
    for kind, data in kept.items():
        write(where / f"{name}.{kind}", data)
    enter(where, name, rows)
    if "inline" in plt.get_backend():
        show(fig, kept["png"])


def show(fig, png):
    """Show the picture of a figure in a notebook, in place of the figure."""
    from IPython.display import Image, display
    plt.close(fig)
    display(Image(png))


def laid_out(fig):
    """Lay a figure out, which takes as long as to draw it and is done once for both files; what is drawn of it, in
    inches."""
    dpi, saved = fig.dpi, plt.rcParams["savefig.dpi"]
    fig.set_dpi(dpi if saved == "figure" else saved)        # letters are as wide as whole pixels allow
    fig.draw_without_rendering()
    fig.set_layout_engine("none")
    box = fig.get_tightbbox()
    fig.set_dpi(dpi)
    return box.padded(plt.rcParams["savefig.pad_inches"])


def as_png(fig, box):
    """A figure as the bytes of a PNG; 256 colours are plenty for lines and letters, and a third of the size."""
    raw = io.BytesIO()
    fig.savefig(raw, format="png", bbox_inches=box, metadata={"Software": None})
    return in_colours(raw.getvalue(), 256)


def as_pdf(fig, box):
    """A figure as the bytes of a PDF, its letters as letters, without a date."""
    raw = io.BytesIO()
    with plt.rc_context({"pdf.fonttype": 42}):
        fig.savefig(raw, format="pdf", bbox_inches=box, metadata={"CreationDate": None, "Creator": None,
                                                                  "Producer": None})
    return raw.getvalue()


# ---------------------------------------------------------------- the record

def code_of(name):
    """Hash of all code and all colours that a figure of the gallery is drawn by; empty for one's own."""
    return code_hash(GALLERY[name].draw, colours()) if name in GALLERY else ""


def colours():
    """What of lib/words.py is seen in figures."""
    return [tuple(row) for table in (METHODS, CHANGES) for row in table.values()]


def enter(where, name, rows=()):
    """Put a figure that was just written into its notebook's record, `<notebook>.json` in the same folder."""
    path = record_of(where, name)
    made = {kind: sha256(where / f"{name}.{kind}") for kind in KINDS} | {"code": code_of(name)}
    if rows:
        made["rows"] = {file.name: sha256(file) for file in rows}
    write(path, json.dumps({**records(path), name: made}, indent=1, sort_keys=True) + "\n")


def keep(where, name, lacks):
    """Enter a figure that stays as an older code has drawn it, and what is lacking to draw it again."""
    path = record_of(where, name)
    (where / f"{name}.pdf").unlink(missing_ok=True)
    made = {"png": sha256(where / f"{name}.png"), "lacks": lacks}
    write(path, json.dumps({**records(path), name: made}, indent=1, sort_keys=True) + "\n")


def record_of(where, name):
    """The file that holds the record of a figure."""
    return where / f"{name.partition('_')[0]}.json"


def records(path):
    """`{figure: what it was made of}` of one notebook; empty where there is no record."""
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def rows_files(results, notebook):
    """The files that `load_results` reads of a notebook's table, in a folder of results."""
    found = [results / f"{notebook}.csv", results / f"{notebook}.curves.csv"]
    return [path for path in found if path.exists()]


def outdated(figure, results):
    """Why a figure (its PNG) is not what its rows and the code of today give, in words; empty where it is.

    results: the folder of the tables that it belongs to.
    """
    name = figure.stem
    made = records(record_of(figure.parent, name)).get(name)
    if made is None:
        return "nobody says what it was drawn of"
    for kind in KINDS:
        file = figure.with_suffix(f".{kind}")
        if kind in made and (not file.exists() or sha256(file) != made[kind]):
            return f"its {kind.upper()} is not the one that was drawn"
    if "lacks" in made:
        whole = GALLERY[name].of == "rows" and (results / f"{name[:2]}.curves.csv").exists()
        return "what it lacked is there now" if whole else ""
    if name in GALLERY and code_of(name) != made["code"]:
        return "older than the code that draws it"
    if name in GALLERY and GALLERY[name].of == "rows":
        return outdated_rows(made, results, name.partition("_")[0])
    return ""


def outdated_rows(made, results, notebook):
    """What of a record's rows is not what stands in the folder of results today."""
    if "rows" not in made:
        return "drawn while a notebook ran, not of the files of its table"
    sums = read(beside(results / f"{notebook}.csv")) if beside(results / f"{notebook}.csv").exists() else {}
    today = {file.name: sums.get(file.name) for file in rows_files(results, notebook)}
    return "" if made["rows"] == today else "older than its rows"
