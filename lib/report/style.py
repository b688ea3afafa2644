"""How figures look: one colour, marker and line for each method, the frame around the panels, the file."""
import io
import zlib

import matplotlib.pyplot as plt
import seaborn as sns
from matplotlib.lines import Line2D

from ..files import folder, write
from ..words import rank
from .tables import seeds_text

# One colour for each method, everywhere. The federated and the centralised methods are two colour-blind-safe sets
# (Okabe and Ito's, and Tol's muted one); NoT, in both, is the accent. Markers and lines tell them apart in print.
COLORS = {"Original": "#9A9A9A", "Retrain": "#111111", "NoT": "#D7263D", "FT": "#0072B2",
          "FedEraser": "#009E73", "FUKD": "#CC79A7", "PGD": "#56B4E9", "MoDE": "#E69F00", "FCU": "#5E3C99",
          "RandL": "#44AA99", "GA": "#AA4499", "BadT": "#999933", "l1-sparse": "#332288", "SSD": "#88CCEE",
          "SalUn": "#DDA15E", "NR-Freeze": "#8C564B",
          "TIS-Reset": "#0B7A75", "Random-Reset": "#B5651D", "TIS-Reset+TRIM": "#5CC8B8",
          "Random-Reset+TRIM": "#E3B778", "TRIM": "#6C757D"}
MARKERS = dict(zip(COLORS, "s*osv^DPXphdH<>8oshdv"))
DASHES = dict(zip(COLORS, [(1, 1), "", ""] + [(5, 1), (3, 1), (5, 1, 1, 1), (3, 1, 1, 1), (2, 1), (6, 2), (4, 1)]
                  + ["", (5, 1), (3, 1), (2, 1), (5, 1, 1, 1), (6, 2), "", (4, 2), "", (4, 2), (2, 1)]))
GOAL = {"color": COLORS["Retrain"], "ls": (0, (4, 3)), "lw": 1.2}
PAPER = {"marker": "D", "ls": "", "mfc": "white", "mec": "#111111", "mew": 1.4, "ms": 6.5}
SPARE = ("#1F77B4", "#7F7F00", "#C71585", "#2F4F4F", "#B8860B", "#4B0082")


def color(method):
    """The colour of a method; a new method gets one of the spare colours, always the same."""
    return COLORS.get(method) or SPARE[zlib.crc32(method.encode()) % len(SPARE)]


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


# ---------------------------------------------------------------- around the panels

def note(fig, df, text="", many=""):
    """One small line above the panels: how to read it, and n."""
    n = df.groupby(["setting", "method", "variant"])["seed"].nunique()
    words = [text, many if n.max() > 1 else "", seeds_text(n).replace("mean ± sd over ", "")]
    fig.suptitle("; ".join(w for w in words if w), x=0.008, ha="left", fontsize=9, color="#666666")


def line(method, marker=True, **more):
    """How a method is drawn."""
    return {"color": color(method), "dashes": DASHES.get(method) or (None, None),
            "marker": MARKERS.get(method, "o") if marker else None, **more}


TWINS = ((1, 1.2), (4, 1.2, 1, 1.2, 1, 1.2), (2, 3))    # dashes of a method's other variants


def looks(named):
    """How each `name` is drawn, in the methods' order: the first of a method's variants (the plain one) in full colour,
    the others paler and in dashes of their own."""
    known = named.drop_duplicates("name").sort_values(["method", "variant"], key=rank, kind="stable")
    found = {}
    for name, method, k in zip(known["name"], known["method"], known.groupby("method").cumcount()):
        found[name] = line(method, lw=2.8 if method == "NoT" else 1.7, zorder=5 if method == "NoT" else 4)
        if k:
            found[name] |= {"dashes": TWINS[(k - 1) % 3], "alpha": 0.75, "color": sns.desaturate(color(method), 0.6)}
    return found


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
