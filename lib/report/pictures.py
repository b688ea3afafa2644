"""Pictures of the data: who has what, and images."""
import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns

from ..words import METHODS
from .style import bare

LEAVES = METHODS["NoT"].color       # who asks to be forgotten


def clients_at_a_glance(counts, classes=None, targets=(), title=""):
    """Who has what: samples of each class at each client, counts [clients, classes], and each client's size. Clients in
    `targets` ask to be forgotten."""
    counts = np.asarray(counts)
    n, c = counts.shape
    names = [f"client {i}" + ("  (leaves)" if i in targets else "") for i in range(n)]
    wide = min(0.52 * c, 9) if c <= 20 else 7
    fig, (left, right) = plt.subplots(1, 2, figsize=(wide + 3.6, 0.34 * n + 1.3), width_ratios=[wide, 2.2], sharey=True,
                                      layout="constrained")
    shown = sns.light_palette("#0072B2", as_cmap=True)
    left.imshow(counts, cmap=shown, aspect="auto", vmin=0, vmax=max(counts.max(), 1))
    if c <= 20:
        for i, j in np.ndindex(n, c):
            left.text(j, i, counts[i, j] or "·", ha="center", va="center", fontsize=8.5,
                      color="white" if counts[i, j] > 0.6 * counts.max() else "#333333")
        labels = [str(k) for k in (classes if classes is not None else range(c))]
        long = max(map(len, labels)) > 4
        left.set_xticks(range(c), labels, rotation=40 if long else 0, ha="right" if long else "center")
    left.set_yticks(range(n), names)
    left.set_title(title or "samples of each class")
    left.set_xlabel("class")
    colors = [LEAVES if i in targets else "#8FA9BF" for i in range(n)]
    right.barh(range(n), counts.sum(1), color=colors, height=0.7)
    for i, total in enumerate(counts.sum(1)):
        right.text(total, i, f" {total:,}", va="center", fontsize=8.5)
    right.set_xlim(0, 1.25 * counts.sum(1).max())
    right.set_title("all samples")
    right.xaxis.set_visible(False)
    bare(left)
    bare(right)
    for i in targets:
        left.get_yticklabels()[i].set_color(LEAVES)
        left.get_yticklabels()[i].set_fontweight("bold")
    return fig


def images(grid, titles=None, captions=None):
    """Rows of pictures: grid[row][column] is [H, W], [C, H, W] or [H, W, C], bytes or numbers (scaled to their own
    range unless in 0..1); `titles` one text a row, `captions` one a picture."""
    n = max(len(row) for row in grid)
    fig, axes = plt.subplots(len(grid), n, figsize=(1.15 * n + 1.2, 1.15 * len(grid) + (0.25 * bool(captions))),
                             squeeze=False, layout="constrained")
    for i, row in enumerate(grid):
        for j, ax in enumerate(axes[i]):
            ax.set(xticks=[], yticks=[])
            bare(ax)
            if j >= len(row):
                continue
            x = np.asarray(row[j])
            x = x / 255.0 if x.dtype == np.uint8 else x.astype(float)
            if x.min() < 0 or x.max() > 1:
                x = (x - x.min()) / max(np.ptp(x), 1e-12)
            x = x.transpose(1, 2, 0) if x.ndim == 3 and x.shape[0] in (1, 3) else x
            ax.imshow(x.squeeze(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
            if captions:
                ax.set_title(captions[i][j], fontsize=8.5, fontweight="normal", pad=2)
        if titles:
            axes[i][0].set_ylabel(titles[i], rotation=0, ha="right", va="center", fontsize=10)
    return fig
