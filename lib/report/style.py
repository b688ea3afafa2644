"""How figures look: one colour, marker and line for each method, the frame around the panels, the file."""
import textwrap
import zlib

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from ..words import CHANGES, METHODS, REFERENCE, Method
from . import colours
from .tables import lost_text, seeds_text

GOAL = {"color": METHODS[REFERENCE].color, "ls": (0, (4, 3)), "lw": 1.2}
PAPER = {"marker": "D", "ls": "", "mfc": "white", "mec": "#111111", "mew": 1.4, "ms": 6.5}
# For what has no row in lib/words.py; each is far from those before it for every kind of eyes.
SPARE = ("#9702F7", "#FAA033", "#66C3F6", "#8B125A", "#3E33B0", "#30540A", "#90C576", "#CC5DFB", "#D66218", "#872284",
         "#9A6593", "#09A069")
MARKERS = "osDv^P<>Xh"
UNDER = {"fc": "white", "ec": "none", "pad": 0.8, "alpha": 0.85}       # behind letters that stand on lines
TWINS = ((1, 1.2), (4, 1.2, 1, 1.2, 1, 1.2), (2, 3))    # dashes of a method's other variants
LETTERS = 14            # of a note, in an inch


def style():
    """Readable letters, a light grid, files small enough to commit."""
    sns.set_theme(style="whitegrid", rc={
        "font.family": "DejaVu Sans", "font.size": 10, "axes.titlesize": 11, "axes.labelsize": 10,
        "grid.color": "#E6E6E6",
        "axes.edgecolor": "#BBBBBB", "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "legend.fontsize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "figure.dpi": 90, "savefig.dpi": 110,
        "svg.hashsalt": "fixed", "axes.titleweight": "bold", "axes.axisbelow": True})


def note(fig, df, text="", many="", of=None):
    """One small line above the panels: how to read it, n, and which runs diverged in `of`, the whole table."""
    n = df.groupby(["setting", "method", "variant"])["seed"].nunique()
    words = [text, many if n.max() > 1 else "", seeds_text(n).replace("mean ± sd over ", ""),
             "" if of is None else lost_text(of)]
    say(fig, "; ".join(w for w in words if w))


def say(fig, text):
    """A small line above the panels, in several lines where the figure is narrow."""
    lines = textwrap.wrap(text, max(40, int(fig.get_figwidth() * LETTERS)))
    fig.suptitle("\n".join(lines), x=0.008, ha="left", fontsize=9, color="#555555")


# ---------------------------------------------------------------- how a method is drawn

def looks(names, methods=None):
    """`{name: how it is drawn}` for all lines of one figure, in order; two never look alike.

    names: methods, or labels; methods: {name: its method} where names stand for variants. All variants of a method have
    its colour; the first (the plain one) has its dashes, the others are thinner and have dashes of their own.
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
    return {"dashes": TWINS[place], "lw": 1.6 / (1 + lap / 2), "mfc": "white"}


def rows_of(names):
    """`{name: its row}`: those of lib/words.py; every other name gets a spare colour, nearly always the same one, and
    one that is far from those of this figure."""
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
    """The place in the palette that a name gets: its own by a checksum, or the next that is clear of what is taken, or
    that which is farthest from it."""
    first = zlib.crc32(name.encode()) % len(palette)
    places = [(first + i) % len(palette) for i in range(len(palette))]
    far = {place: colours.nearest(palette[place], taken) for place in places}
    clear = [place for place in places if far[place] >= colours.CLEAR]
    return clear[0] if clear else max(places, key=far.get)


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


def whole(axis):
    """Ticks of an axis at whole numbers alone, as rounds are."""
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))


def beyond(ax, x, y):
    """An arrow and a count at each edge of a panel beyond which some of these points lie; how far, too."""
    x, y = np.asarray(x, float), np.asarray(y, float)
    (left, right), (bottom, top) = sorted(ax.get_xlim()), sorted(ax.get_ylim())
    sides = {"right": (x > right, x, max, "→", (0.99, 0.93)), "left": (x < left, x, min, "←", (0.01, 0.02)),
             "top": (y > top, y, max, "↑", (0.5, 0.93)), "bottom": (y < bottom, y, min, "↓", (0.5, 0.02))}
    for side, (out, values, farthest, arrow, place) in sides.items():
        if out.any():
            words = f"{arrow} {out.sum()} of {len(x)} points, to {farthest(values[out]):.3g}"
            ax.text(*place, words, transform=ax.transAxes, ha=side if side in ("left", "right") else "center",
                    va="bottom", fontsize=7.5, color="#555555", zorder=9, bbox=UNDER)


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
