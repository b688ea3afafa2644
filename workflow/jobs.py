"""Notebooks as jobs: read their cells, run them as plain Python, share out GPUs, list what a profile holds."""
import ast
import contextlib
import copy
import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
import traceback
from pathlib import Path

from lib.errors import Bad, nearest
from lib.files import ROOT, runs_root, unlockable, write
from lib.profiles import seeds_of, select
from lib.sources import remember_cell

SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID")     # who sets CUDA_VISIBLE_DEVICES by himself


def notebook(number):
    """The path of notebooks/<number>_*.ipynb, or None."""
    found = sorted((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    return found[0] if found else None


def cells(path, *tags):
    """[(index, source)] of a notebook's code cells, of those with one of the tags if any are given."""
    out = []
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    except (ValueError, KeyError, TypeError, OSError):
        raise Bad(f"{path} is no notebook; name a file .ipynb") from None
    for i, c in enumerate(found):
        if c["cell_type"] == "code" and (not tags or set(tags) & set(c.get("metadata", {}).get("tags", []))):
            out.append((i, "".join(c["source"])))
    return out


def parameters(path):
    """The names assigned in the notebook's parameters cell, without those that others there are made of.

    A value comes in after the cell has run: a new `base` would change none of the settings made from the old one.
    """
    sources = [s for _, s in cells(path, "parameters")]
    if len(sources) != 1:
        raise Bad(f"{Path(path).name}: has {len(sources)} cells tagged parameters; it needs exactly one")
    tree = ast.parse(sources[0])
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    assigned = [t.id for a in tree.body if isinstance(a, ast.Assign) for t in a.targets if isinstance(t, ast.Name)]
    return [name for name in assigned if name not in used]


def accepts(path, values):
    """Refuse values whose names the parameters cell does not define."""
    names = parameters(path)
    for name in values:
        if name not in names:
            raise Bad(f"{Path(path).name}: no parameter {name!r}; {nearest(name, names, 'parameter')}")
    return values


def fingerprint(*texts):
    """Short hash of texts and of all code of lib: a job is done again when it changes."""
    h = hashlib.sha256()
    for file in sorted((ROOT / "lib").rglob("*.py")):
        h.update(file.read_bytes())
    for t in texts:
        h.update(json.dumps(t, sort_keys=True).encode())
    return h.hexdigest()[:16]


def claim_gpu():
    """Take one GPU for this process, shared by FU_JOBS_PER_GPU of them, as long as it lives; the open file holds it.

    Nothing to do without FU_GPUS (run_all.sh counts them), or where a scheduler has already chosen.
    """
    count = int(os.environ.get("FU_GPUS") or 0)
    if not count or any(v in os.environ for v in SCHEDULERS):
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    gpus = visible.split(",") if visible else [str(i) for i in range(count)]
    slots = [(gpu, k) for k in range(int(os.environ.get("FU_JOBS_PER_GPU") or 1)) for gpu in gpus]
    with _private_folder(Path(tempfile.gettempdir()) / f"fl-unlearning-gpus-{os.getuid()}") as folder:
        while True:
            for gpu, k in slots:
                held = _held(folder, f"{re.sub(r'[^A-Za-z0-9-]', '_', gpu)}.{k}")
                if held:
                    os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                    return held
            time.sleep(1)


@contextlib.contextmanager
def _private_folder(path):
    """An open folder in which this user alone can write, made if there is none; no link is followed. Bad otherwise."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise Bad(f"{path}: GPUs are shared out by files in it, and it is no folder of yours ({error.strerror}); "
                  f"remove it, or set TMPDIR") from None
    try:
        if os.fstat(folder).st_uid != os.getuid():
            raise Bad(f"{path}: GPUs are shared out by files in it, and it belongs to somebody else; set TMPDIR")
        os.fchmod(folder, 0o700)
        yield folder
    finally:
        os.close(folder)


def _held(folder, name):
    """The file of an open folder, locked by this process, or None where another holds it; nothing in it changes."""
    try:
        file = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    except OSError as error:
        raise Bad(f"the lock {name} of a GPU cannot be opened ({error.strerror}); remove it") from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    except OSError as error:
        os.close(file)
        raise Bad(unlockable(name, error).replace("FU_RUNS", "TMPDIR")) from None
    return os.fdopen(file, "r+")


def brief(error, path=None):
    """What went wrong in a few lines: the sentence of a Bad, else where in the notebook and in lib, and what."""
    if isinstance(error, Bad):
        return str(error)
    frames = [f for f in traceback.extract_tb(error.__traceback__)
              if f.filename.startswith(f"{path}#") or f.filename.startswith(str(ROOT / "lib"))]
    lines = [f"  {Path(f.filename).name}, line {f.lineno}, in {f.name}" for f in frames if f.name != "execute"]
    return "\n".join([f"{type(error).__name__}: {error}", *(lines[:1] + lines[-1:] if len(lines) > 2 else lines)])


def execute(path, values):
    """Run the parameters cell, put `values` in place of its own, run the compute cells; returns the namespace."""
    path = Path(path)
    accepts(path, values)
    space = {"__name__": "__main__"}
    tagged = cells(path, "parameters", "compute")
    first = cells(path, "parameters")[0][0]
    with contextlib.chdir(path.parent):
        for i, source in tagged:
            name = f"{path}#cell{i}"
            remember_cell(name, source)
            exec(compile(source, name, "exec"), space)
            if i == first:
                space.update(copy.deepcopy(values))
    return space


def job(profile, number, setting, seed):
    """One notebook's setting at one seed; leaves its mark under runs/<profile>/jobs/ when it is done."""
    path = notebook(number)
    settings = {setting: profile["notebooks"][number][setting]}
    values = {"profile": profile["profile"], "seeds": [seed], "settings": settings}
    mark = runs_root() / profile["profile"] / "jobs" / f"{number}.{setting}.s{seed}.done"
    failed = mark.with_suffix(".failed")
    failed.unlink(missing_ok=True)
    start = time.time()
    try:
        execute(path, values)
    except Exception as e:
        mark.unlink(missing_ok=True)
        write(failed, brief(e, path) + "\n")
        raise
    seconds = time.time() - start
    write(mark, json.dumps({"seconds": round(seconds, 1), "parameters": values}, sort_keys=True) + "\n")
    return seconds


def jobs_of_their_own(profile, number, settings):
    """Whether the chosen settings and seeds of a notebook are jobs; not where its report is as quick by itself."""
    one = len(seeds_of(profile, number)) == 1
    return not (one and (profile["profile"] == "quick" or len(settings) == 1))


def jobs(profile, only=None, seeds=None):
    """[(number, setting, seed)] in the order in which they run."""
    return [(n, s, seed) for n, settings in select(profile, only).items() for s in settings
            for seed in (seeds_of(profile, n) if seeds is None else seeds)]
