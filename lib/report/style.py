"""How figures look: one colour, marker and line for each method, the frame around the panels, the file."""
import io
import zlib

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.lines import Line2D

from ..files import folder, write
from ..words import CHANGES, METHODS, REFERENCE, Method
from .tables import lost_text, seeds_text

GOAL = {"color": METHODS[REFERENCE].color, "ls": (0, (4, 3)), "lw": 1.2}
PAPER = {"marker": "D", "ls": "", "mfc": "white", "mec": "#111111", "mew": 1.4, "ms": 6.5}
# For what has no row in lib/words.py; none is near a method's colour.
SPARE = ("#E7298A", "#17BECF", "#66A61E", "#7570B3", "#D95F02", "#8B0000", "#FF6F61", "#2F4F4F", "#7F7F00", "#8DA0CB")
MARKERS = "osDv^P<>Xh"
TWINS = ((1, 1.2), (4, 1.2, 1, 1.2, 1, 1.2), (2, 3))    # dashes of a method's other variants


def style():
    """Readable letters, a light grid, files small enough to commit."""
    sns.set_theme(style="whitegrid", rc={
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10,
        "grid.color": "#E6E6E6",
        "axes.edgecolor": "#BBBBBB", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "legend.fontsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "figure.dpi": 90, "savefig.dpi": 110,
        "svg.hashsalt": "fixed", "axes.titleweight": "bold", "axes.axisbelow": True})


def save_figure(fig, profile, name):
    """Write <name>.png among the profile's figures: the same figure gives the same bytes."""
    from PIL import Image
    raw, small = io.BytesIO(), io.BytesIO()
    fig.savefig(raw, format="png", bbox_inches="tight", metadata={"Software": None})
    # 256 colours are plenty for lines and letters and a third of the size
    Image.open(raw).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(small, "png", optimize=True)
    write(folder(profile, "figures") / f"{name}.png", min(raw.getvalue(), small.getvalue(), key=len))


def note(fig, df, text="", many="", of=None):
    """One small line above the panels: how to read it, n, and which runs diverged in `of`, the whole table."""
    n = df.groupby(["setting", "method", "variant"])["seed"].nunique()
    words = [text, many if n.max() > 1 else "", seeds_text(n).replace("mean ± sd over ", ""),
             "" if of is None else lost_text(of)]
    fig.suptitle("; ".join(w for w in words if w), x=0.008, ha="left", fontsize=9, color="#666666")


# ---------------------------------------------------------------- how a method is drawn

def looks(names, methods=None):
    """`{name: how it is drawn}` for all lines of one figure, in order; two never look alike.

    names: methods, or labels; methods: {name: its method} where names stand for variants. The first of a method's
    variants (the plain one) has its full colour, the others are paler and have dashes of their own.
    """
    methods = methods or {}
    of = {name: methods.get(name, name) for name in names}
    rows = rows_of(set(of.values()))
    drawn, count = {}, {}
    for name, method in of.items():
        drawn[name] = plain_look(rows[method])
        k = count.get(method, 0)
        if k:
            drawn[name] |= twin_look(rows[method], k)
        count[method] = k + 1
    return drawn


def plain_look(row):
    """How a method is drawn; NoT is the accent."""
    accent = row.name == "NoT"
    return {"color": row.color, "marker": row.marker, "dashes": row.dashes or (None, None),
            "lw": 2.8 if accent else 1.7, "zorder": 5 if accent else 4}


def twin_look(row, k):
    """What differs for the k-th further variant of a method."""
    lap, place = divmod(k - 1, len(TWINS))
    return {"color": sns.desaturate(row.color, 0.6 / (1 + lap)), "dashes": TWINS[place], "alpha": 0.75}


def rows_of(names):
    """`{name: its row}`: those of lib/words.py; every other name gets a spare colour, nearly always the same one, and
    none that another name of this figure has."""
    table = {**METHODS, **CHANGES}
    found = {name: table[name] for name in names if name in table}
    others = sorted(set(names) - set(table))
    taken = {row.color for row in found.values()}
    palette = SPARE
    if len(others) > len(set(SPARE) - taken):
        palette = sns.husl_palette(len(others) + len(found)).as_hex()
    for name in others:
        place = free_place(name, palette, taken)
        found[name] = Method(name, palette[place], MARKERS[place % len(MARKERS)])
        taken.add(palette[place])
    return found


def free_place(name, palette, taken):
    """The place in the palette that a name gets: its own by a checksum, or the next that is not taken."""
    place = zlib.crc32(name.encode()) % len(palette)
    while palette[place] in taken:
        place = (place + 1) % len(palette)
    return place


def color(method):
    """The colour of a method; one without a row gets a spare one, always the same."""
    return rows_of([method])[method].color


# ---------------------------------------------------------------- around the panels

def proxy(label, **look):
    """An entry of the legend."""
    return Line2D([], [], label=str(label), **look)


def bare(ax, names=None):
    """No frame, no ticks; with names: one line of the panel for each, first on top."""
    ax.grid(False, axis="both" if names is None else "y")
    ax.tick_params(axis="both" if names is None else "y", length=0)
    if names is None:
        ax.spines[:].set_visible(False)
    else:
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)


def legend(fig, handles, **more):
    """One legend below the panels, in rows of equal length."""
    rows = -(-len(handles) // max(3, int(fig.get_figwidth() / 1.3)))
    fig.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, 0.0), ncol=-(-len(handles) // rows),
               handlelength=2.6, columnspacing=1.4, **more)


def grid(n_rows, n_cols, width=3.1, height=2.8, **more):
    """A figure and its panels [n_rows, n_cols]; width and height of one panel in inches."""
    fig, axes = plt.subplots(n_rows, n_cols, figsize=(width * n_cols, height * n_rows), squeeze=False,
                             layout="constrained", **more)
    return fig, axes
