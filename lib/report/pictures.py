"""Pictures of the data: who has what, and images."""
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from ..words import METHODS
from .style import bare

LEAVES = METHODS["NoT"].color       # who asks to be forgotten


FEW_CLASSES = 20                    # whose numbers and names can be read


def clients_at_a_glance(counts, classes=None, targets=(), title=""):
    """Who has what: samples of each class at each client, counts [clients, classes], and each client's size. Clients in
    `targets` ask to be forgotten."""
    counts = np.asarray(counts)
    n, c = counts.shape
    wide = min(0.52 * c, 9) if c <= FEW_CLASSES else 7
    fig, (left, right) = plt.subplots(1, 2, figsize=(wide + 3.6, 0.34 * n + 1.3), width_ratios=[wide, 2.2], sharey=True,
                                      layout="constrained")
    left.imshow(counts, cmap=sns.light_palette("#0072B2", as_cmap=True), aspect="auto", vmin=0,
                vmax=max(counts.max(), 1))
    if c <= FEW_CLASSES:
        write_counts(left, counts)
        name_classes(left, range(c) if classes is None else classes)
    left.set_title(title or "samples of each class")
    left.set_xlabel("class")
    draw_sizes(right, counts.sum(1), targets)
    bare(left)
    bare(right)
    name_clients(left, n, targets)
    return fig


def write_counts(ax, counts):
    """Each number into its square, a dot for none."""
    for (i, j), count in np.ndenumerate(counts):
        dark = count > 0.6 * counts.max()
        ax.text(j, i, count or "·", ha="center", va="center", fontsize=8.5, color="white" if dark else "#333333")


def name_classes(ax, classes):
    """Names of the classes below, aslant where they are long."""
    labels = [str(name) for name in classes]
    long = max(map(len, labels)) > 4
    ax.set_xticks(range(len(labels)), labels, rotation=40 if long else 0, ha="right" if long else "center")


def name_clients(ax, n, targets):
    """The clients at the left; those that leave in colour."""
    ax.set_yticks(range(n), [f"client {i}" + ("  (leaves)" if i in targets else "") for i in range(n)])
    for i in targets:
        ax.get_yticklabels()[i].set(color=LEAVES, fontweight="bold")


def draw_sizes(ax, sizes, targets):
    """Samples of each client as bars, with their number."""
    colors = [LEAVES if i in targets else "#8FA9BF" for i in range(len(sizes))]
    ax.barh(range(len(sizes)), sizes, color=colors, height=0.7)
    for i, size in enumerate(sizes):
        ax.text(size, i, f" {size:,}", va="center", fontsize=8.5)
    ax.set_xlim(0, 1.25 * sizes.max())
    ax.set_title("all samples")
    ax.xaxis.set_visible(False)


def images(grid, titles=None, captions=None):
    """Rows of pictures: grid[row][column] is [H, W], [C, H, W] or [H, W, C], bytes or numbers (scaled to their own
    range unless in 0..1); `titles` one text a row, `captions` one a picture."""
    n = max(len(row) for row in grid)
    fig, axes = plt.subplots(len(grid), n, figsize=(1.15 * n + 1.2, 1.15 * len(grid) + (0.25 * bool(captions))),
                             squeeze=False, layout="constrained")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
        bare(ax)
    for i, row in enumerate(grid):
        for j, image in enumerate(row):
            axes[i][j].imshow(shown(image), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if captions:
                axes[i][j].set_title(captions[i][j], fontsize=8.5, fontweight="normal", pad=2)
        if titles:
            axes[i][0].set_ylabel(titles[i], rotation=0, ha="right", va="center", fontsize=10)
    return fig


def shown(image):
    """An image as matplotlib draws it: numbers from 0 to 1, [H, W] or [H, W, 3]."""
    x = np.asarray(image)
    x = x / 255.0 if x.dtype == np.uint8 else x.astype(float)
    if x.min() < 0 or x.max() > 1:
        x = (x - x.min()) / max(np.ptp(x), 1e-12)
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = x.transpose(1, 2, 0)
    return x.squeeze()
