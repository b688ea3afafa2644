"""Execute one notebook, atomically, and make its HTML page.

python -m workflow.execute SRC DST [-y '{"seeds": [0]}'] [--quiet]

DST appears only when every cell has run; a failed notebook is kept as <name>.failed.ipynb and its error is printed in
a few lines. The page beside it needs no network: formulas become MathML and no script is left in it.
"""
import argparse
import contextlib
import fcntl
import os
import pprint
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from lib import extensions
from lib.checksums import beside, enter
from lib.errors import Bad
from lib.files import ROOT, sha256, write
from lib.profiles import load, parsed, seeds_of, select

from .jobs import accepts, claim_gpu, parameters
from .page import page

EVERY = 5           # seconds between two lines of progress


class Failed(RuntimeError):
    """A notebook that did not run to its end; the message is short."""


def execute(src, dst, values=None, show=True):
    """Run `src` with `values` in place of its parameters; writes `dst` and its .html. Raises Failed or Bad.

    Two processes on one `dst` wait for each other; nothing stands at `dst` before the run is complete.
    """
    src, dst = Path(src).absolute(), Path(dst).absolute()
    if not src.is_file():
        raise Bad(f"there is no notebook {src}; check the path")
    accepts(src, values or {})
    dst.parent.mkdir(parents=True, exist_ok=True)
    part, failed = dst.with_name(f".{dst.stem}.part.ipynb"), dst.with_name(f"{dst.stem}.failed.ipynb")
    with open(dst.with_name(f".{dst.stem}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for old in (dst, failed, dst.with_suffix(".html"), failed.with_suffix(".html"), beside(dst)):
            old.unlink(missing_ok=True)
        gpu = claim_gpu()
        error = _kernel(_injected(src, values), part, src.parent, dst.stem if show else None)
        final = failed if error else dst
        write(final.with_suffix(".html"), page(part))
        if not error:
            enter(dst, sha256(part))
        os.replace(part, final)         # last: a notebook without its page is not trusted either
        del gpu
    if error:
        raise Failed(error)
    return dst


def _injected(src, values):
    """The notebook with a cell after the parameters cell that sets the values; papermill turns int keys into words."""
    import nbformat
    nb = nbformat.read(src, as_version=4)
    if values:
        at = next(i for i, c in enumerate(nb.cells) if "parameters" in c.metadata.get("tags", []))
        text = "\n".join(f"{k} = {pprint.pformat(v, width=110, sort_dicts=False)}" for k, v in values.items())
        cell = nbformat.v4.new_code_cell(text, metadata={"tags": ["injected-parameters"]}, id="injected")
        nb.cells.insert(at + 1, cell)
    return nb


def _kernel(nb, part, cwd, name):
    """Run a notebook object into the file `part`; None, or what went wrong in a few lines."""
    import logging

    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config
    logging.getLogger("papermill").setLevel(logging.ERROR)
    with _folder() as folder, _shown(folder / "progress", name):
        # sockets of its own in a folder of its own: no port to race for, no warning about an unencrypted connection
        config = Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "k")}})
        source = folder / "in.ipynb"
        nbformat.write(nb, source)
        try:
            papermill.execute_notebook(str(source), str(part), kernel_name="python3", cwd=str(cwd), progress_bar=False,
                                       start_timeout=300, config=config)
        except papermill.PapermillExecutionError as e:
            return _error(nbformat.read(part, as_version=4), e)
        except (DeadKernelError, CellTimeoutError, RuntimeError) as e:
            return f"the kernel stopped: {str(e).splitlines()[0]} (out of memory?)"
    return None


def _error(nb, e):
    """Cell, frames inside this repository, and the error, in at most four lines."""
    bare = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(e.traceback))
    where = re.findall(r"[/~\w.-]*/lib/([\w./]+\.py):(\d+)", bare)
    frame = [f"  in lib/{where[-1][0]}, line {where[-1][1]}"] if where else []
    added = {"papermill-error-cell-tag", "injected-parameters"}
    own = [c for c in nb.cells if not added & set(c.metadata.get("tags", []))]
    cell = next((i for i, c in enumerate(own) for o in c.get("outputs", []) if o.output_type == "error"), "?")
    value = "\n".join(e.evalue.splitlines()[:3])[:600]
    text = value if e.ename == "Bad" else f"{e.ename}: {value}"
    return "\n".join([f"cell {cell}: {text}", *frame])


@contextlib.contextmanager
def _folder():
    """A private folder with a path short enough for a socket (about 100 characters)."""
    base = tempfile.gettempdir() if len(tempfile.gettempdir()) < 60 else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="fu-", dir=base))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _shown(file, name):
    """While a kernel runs: the environment it sees, and its newest line of progress on stderr."""
    before = dict(os.environ)
    os.environ["FU_PROGRESS"] = str(file)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), before.get("PYTHONPATH")]))
    os.environ.pop("JUPYTER_PREFER_ENV_PATH", None)
    stop = threading.Event()

    def follow():
        last = ""
        while not stop.wait(EVERY):
            with contextlib.suppress(OSError):
                text = file.read_text(encoding="utf-8")
                if text and text != last:
                    print(f"{name}: {text}", file=sys.stderr, flush=True)
                    last = text
    thread = threading.Thread(target=follow, daemon=True)
    if name:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        os.environ.clear()
        os.environ.update(before)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m workflow.execute",
                                description="Execute one notebook and make its HTML page.")
    p.add_argument("src")
    p.add_argument("dst")
    p.add_argument("-y", "--yaml", help="values for the parameters cell, as YAML or JSON")
    p.add_argument("--profile", help="take the values from this profile")
    p.add_argument("--only", help="with --profile: a notebook or some of its settings, as 02 or 02.a,02.b")
    p.add_argument("-q", "--quiet", action="store_true", help="no progress")
    a = p.parse_args(argv)
    start, name = time.time(), Path(a.dst).stem
    try:
        values = parsed(a.yaml or "{}", "-y")
        if a.profile:
            profile = load(a.profile)
            extensions.hand_on(profile["extensions"])       # the kernel judges the settings again
            chosen = select(profile, a.only or Path(a.src).name[:2])
            if len(chosen) > 1:
                raise Bad(f"--only: {a.only} names {len(chosen)} notebooks; name one, or settings of one")
            [(number, settings)] = chosen.items()
            values = {"profile": profile["profile"], "seeds": seeds_of(profile, number), "settings": settings}
        if not isinstance(values, dict):
            raise Bad(f"-y: must be a map of parameters ({', '.join(parameters(a.src))})")
        if not a.quiet:
            print(f"{name}: started", file=sys.stderr, flush=True)
        execute(a.src, a.dst, values, not a.quiet)
    except (Bad, Failed) as e:
        print(f"{name} FAILED: {e}", file=sys.stderr, flush=True)
        return 1
    print(f"{name}: done in {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
