"""Where things are, and how a file is written: whole, or not at all."""
import hashlib
import os
import tempfile
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).resolve().parents[1]


def _root(variable, default):
    """The folder that an environment variable names, `~` expanded, taken from the repository if it is relative."""
    return ROOT / Path(os.environ.get(variable) or default).expanduser()


def runs_root():
    """Where runs are written: `FU_RUNS`, or `runs/` in the repository."""
    return _root("FU_RUNS", "runs")


def data_root():
    """Where the archives of the data sets are: `FU_DATA`, or `data/` in the repository."""
    return _root("FU_DATA", "data")


def folder(profile, kind="results"):
    """Where the `results` or the `figures` of a profile's run go."""
    return runs_root() / profile / kind


def sha256(path):
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write(path, data):
    """Write text or bytes through a temporary file, fsync and rename; returns the path.

    Modes follow the umask, as shared folders expect.
    """
    return write_by(path, lambda f: f.write(data.encode() if isinstance(data, str) else data))


def write_by(path, fill):
    """`write` for what writes itself: `fill(f)` gets the open binary file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.{os.getpid()}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as f:
            fill(f)
            f.flush()
            os.fsync(f.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def locked(path, timeout=-1):
    """A lock between processes, to be used by `with`: the file is made, and its folder; timeout in seconds, -1: wait."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path, timeout=timeout)
