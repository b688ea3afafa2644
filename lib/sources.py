"""The text of code as it was loaded: what is edited on disk afterwards changes nothing here.

The first module that `lib` imports: it reads the files of `lib` once, before any of them runs.
"""
import linecache
from pathlib import Path

LOADED = {str(path): path.read_text(encoding="utf-8") for path in Path(__file__).resolve().parent.rglob("*.py")}


def remember(f):
    """Keep the text of the file that a function comes from; called where users register their own."""
    name = getattr(getattr(f, "__code__", None), "co_filename", "")
    if name and name not in LOADED and Path(name).is_file():
        LOADED[name] = Path(name).read_text(encoding="utf-8")
    return f


def remember_cell(name, text):
    """Give code that is compiled from a text under a made-up file name its source, as a kernel does for its cells."""
    linecache.cache[name] = len(text), None, text.splitlines(True), name


def texts(name):
    """The candidates for the source of a file or a cell, the one at loading time first."""
    if name in LOADED:
        yield LOADED[name]
    if Path(name).is_file():        # imported after it was edited, perhaps: whoever asks compares with what runs
        yield Path(name).read_text(encoding="utf-8")
    elif name in linecache.cache:
        yield "".join(linecache.getlines(name))
