"""Execute one notebook, atomically, and make its HTML page.

python -m workflow.execute SRC DST [-y '{"seeds": [0]}'] [--quiet]

DST appears only when every cell has run; a failed notebook is kept as <name>.failed.ipynb and its error is printed in
a few lines. When it is told to end, nothing of it stays: no kernel, no half-written file. The page beside it needs no
network: formulas become MathML and no script is left in it.
"""
import argparse
import contextlib
import hashlib
import os
import pprint
import re
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path

from . import ending

if __name__ == "__main__":
    ending.in_one_line()        # before the imports that take their time

from lib import extensions
from lib.checksums import beside, enter
from lib.errors import Bad
from lib.files import ROOT, alive, locked, runs_root, sweep, write
from lib.profiles import load, parsed, seeds_of, select

from .jobs import accepts, claim_gpu, fingerprint, parameters
from .page import page

EVERY = 5           # seconds between two lines of progress
QUIET = [           # a kernel's own machinery is not heard, as a socket that closes while it ends; what a cell logs is
    "--IPKernelApp.log_level=50",
    "--IPKernelApp.exec_lines=__import__('logging').getLogger('tornado').setLevel(50)"]


class Failed(RuntimeError):
    """A notebook that did not run to its end; the message is short."""


def execute(src, dst, values=None, show=True):
    """Run `src` with `values` in place of its parameters; writes `dst` and its .html. Raises Failed or Bad.

    Two processes on one `dst` wait for each other, and the second takes what the first has made of the same source,
    values and code. What stands at `dst` goes at once where it was made of others, and else when the new one is whole.
    """
    src, dst = Path(src).absolute(), Path(dst).absolute()
    if not src.is_file():
        raise Bad(f"there is no notebook {src}; check the path")
    accepts(src, values or {})
    begun = time.time()
    with locked(dst.with_name(f".{dst.stem}.lock")):
        made_of = _made_of(src, values)
        if _there(dst, made_of):
            if dst.stat().st_mtime > begun:
                return dst
        else:
            _remove(dst)
        _run(src, dst, values, made_of, show)
    return dst


MADE_OF = "made_of"     # in the metadata of an executed notebook


def _made_of(src, values):
    """A short hash of all that an executed notebook follows from."""
    parts = extensions.sources(filter(None, os.environ.get(extensions.VARIABLE, "").split(os.pathsep)))
    return fingerprint(src.read_text(encoding="utf-8"), pprint.pformat(values, sort_dicts=False), *parts)


def _there(dst, made_of):
    """Whether an executed notebook stands at `dst`, with its page, that was made of the same."""
    import nbformat
    try:
        return (nbformat.read(dst, as_version=4).metadata.get(MADE_OF) == made_of
                and dst.with_suffix(".html").exists())
    except Exception:       # none, or one that is damaged in whatever way
        return False


def _failed(dst):
    return dst.with_name(f"{dst.stem}.failed.ipynb")


def _remove(*notebooks):
    """Remove executed notebooks and their pages."""
    for path in notebooks:
        path.unlink(missing_ok=True)
        path.with_suffix(".html").unlink(missing_ok=True)
        beside(path).unlink(missing_ok=True)


def _run(src, dst, values, made_of, show):
    """Run a notebook and write what came of it: the page first, since a notebook without its page is not trusted."""
    import nbformat
    _remove(_failed(dst))
    gpu = claim_gpu()
    nb, error = _kernel(_injected(src, values), src.parent, dst.stem if show else None)
    if error:
        _remove(dst)
    nb.metadata[MADE_OF] = made_of
    final = _failed(dst) if error else dst
    write(final.with_suffix(".html"), page(nb))
    text = nbformat.writes(nb) + "\n"
    if not error:
        enter(dst, hashlib.sha256(text.encode()).hexdigest())
    write(final, text)
    del gpu
    if error:
        raise Failed(error)


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


def _kernel(nb, cwd, name):
    """Run a notebook object; the executed one, and None or what went wrong in a few lines. No kernel is left."""
    import logging

    import nbformat
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from traitlets.config import Config
    logging.getLogger("papermill").setLevel(logging.ERROR)
    error = None
    with _folder() as folder, _shown(folder / "progress", name):
        # sockets of its own in a folder of its own: no port to race for, no warning about an unencrypted connection
        # and no word of its own machinery: what a cell raises comes back as an output
        config = Config({"KernelManager": {"transport": "ipc", "ip": str(folder / "k")},
                         "NotebookClient": {"extra_arguments": QUIET}})
        source, done = folder / "in.ipynb", folder / "out.ipynb"
        nbformat.write(nb, source)
        try:
            papermill.execute_notebook(str(source), str(done), kernel_name="python3", cwd=str(cwd), progress_bar=False,
                                       start_timeout=300, config=config)
        except papermill.PapermillExecutionError as e:
            error = _error(nbformat.read(done, as_version=4), e)
        except (DeadKernelError, CellTimeoutError, RuntimeError) as e:
            error = f"the kernel stopped: {str(e).splitlines()[0]} (out of memory?)"
        finally:
            ending.of_children()
        return nbformat.read(done if done.exists() else source, as_version=4), error


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
    """A private folder with a path short enough for a socket (about 100 characters) and without braces, in which
    papermill would see parameters; those of killed processes go."""
    base = Path(tempfile.gettempdir())
    if len(str(base)) >= 60 or set("{}") & set(str(base)):
        base = Path("/tmp")
    for old in base.glob("fu-*-*"):
        writer = re.fullmatch(r"fu-(\d+)-\w+", old.name)
        if writer and not alive(int(writer[1])) and old.lstat().st_uid == os.getuid():
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"fu-{os.getpid()}-", dir=base))
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
    start, name, profile = time.time(), Path(a.dst).stem, None
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
    except (Bad, Failed, OSError) as e:
        print(f"{name} FAILED: {e}", file=sys.stderr, flush=True)
        return 1
    finally:
        sweep(runs_root() / profile["profile"] if profile else Path(a.dst).parent)
    print(f"{name}: done in {time.time() - start:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
