"""Progress of a long run: one bar in a notebook, a line now and then in a terminal."""
import os
import sys
import time
from html import escape

SECONDS = 10        # between two lines in a terminal


class progress:
    """progress(total, label): call `.update(n, text)` as often as you like.

    In a kernel one output that is updated in place, so that the executed notebook and its page keep a single bar.
    The newest state also goes to the file named by FU_PROGRESS, from which the terminal shows it.
    """

    def __init__(self, total, label=""):
        self.total, self.label, self.shown = total, label, time.monotonic()
        self.file = os.environ.get("FU_PROGRESS")
        self.handle = _handle()

    def update(self, n, text=""):
        words = f"{self.label} {n}/{self.total}{', ' + text if text else ''}".strip()
        if self.handle:
            self.handle.update(_html(f'<progress max="{self.total}" value="{n}"></progress> {escape(words)}'))
        if self.file:
            with open(self.file, "w", encoding="utf-8") as f:
                f.write(words)
        elif not self.handle and time.monotonic() - self.shown >= SECONDS:
            self.shown = time.monotonic()
            print(words, file=sys.stderr, flush=True)

    __call__ = update


def watched(point):
    """What the bar says of a point of a curve."""
    for metric, words in (("forget_acc", "forget accuracy"), ("test_acc", "test accuracy")):
        if metric in point:
            return f"{words} {point[metric]:.1f} %"
    return ""


def _html(text):
    from IPython.display import HTML
    return HTML(text)


def _handle():
    """A display handle in a kernel, None elsewhere; IPython is not imported where it is not in use."""
    ipython = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(ipython, "kernel", None) is None:
        return None
    from IPython.display import display
    return display(_html(""), display_id=True)
