"""Where things are, and how a file is written: whole, or not at all."""
import contextlib
import errno
import hashlib
import os
import re
import shutil
import socket
import tempfile
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from .errors import Bad, shown


ROOT = Path(__file__).resolve().parents[1]
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.EINVAL)      # what flock says there


def _root(variable, default):
    """The folder that an environment variable names, `~` expanded, taken from the repository if it is relative."""
    return ROOT / Path(os.environ.get(variable) or default).expanduser()


def runs_root():
    """Where runs are written: `FU_RUNS`, or `runs/` in the repository."""
    return _root("FU_RUNS", "runs")


def data_root():
    """Where the archives of the data sets are: `FU_DATA`, or `data/` in the repository."""
    return _root("FU_DATA", "data")


def at(path):
    """The path with `~` expanded; None where it names nobody's home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        return None


def exists(path):
    """Whether something is there, also for what no file can be called."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def data_path(name):
    """The folder or .npz that a data set's name means as a path; None if there is none.

    A relative path is taken from the repository, else from the folder of the archives, never from where one stands: a
    notebook and its job would differ. Raises Bad where what is there is neither a folder nor an .npz.
    """
    try:
        path = Path(name).expanduser()
        found = [base / path for base in (ROOT, data_root()) if name.strip() and (base / path).exists()]
    except (OSError, ValueError, RuntimeError) as error:
        why = getattr(error, "strerror", None) or error
        raise Bad(f"dataset: {shown(name)} cannot be looked up ({why}); check the path") from None
    if not found:
        return None
    if found[0].is_dir() or found[0].is_file() and found[0].suffix.lower() == ".npz":
        return found[0]
    raise Bad(f"{found[0]}: own data is a folder of class folders or an .npz archive; convert the file")


def folder(profile, kind="results"):
    """Where the `results` or the `figures` of a profile's run go."""
    return runs_root() / profile / kind


def sha256(path):
    """SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write(path, data):
    """Write text or bytes through a temporary file, fsync and rename; returns the path.

    Modes follow the umask, as shared folders expect. Bad where it cannot be written: a full disk, a read-only folder.
    """
    return write_by(path, lambda f: f.write(data.encode() if isinstance(data, str) else data))


def write_by(path, fill):
    """`write` for what writes itself: `fill(f)` gets the open binary file."""
    with writing(path) as f, writable(path):
        fill(f)
    return Path(path)


@contextlib.contextmanager
def writing(path):
    """An open binary file that becomes `path` when the block ends, to be used by `with`: whole, or not at all."""
    path = Path(path)
    with writable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}{writer()}", suffix=".part", dir=path.parent)
    f = os.fdopen(handle, "wb")
    try:
        yield f
        with writable(path):
            f.flush()
            os.fsync(f.fileno())
            f.close()
            os.chmod(temporary, 0o666 & ~umask())
            os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):      # a full disk refuses what is left in the buffer once more
            f.close()
        Path(temporary).unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writable(path):
    """Bad, in one sentence, where the system refuses to write in the block: a full disk, a read-only folder."""
    try:
        yield
    except OSError as error:
        raise Bad(f"{path}: cannot be written ({error.strerror}); make room or let it be written, and run again") from error


def umask():
    """The bits that new files go without."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def writer():
    """What the name of a temporary file says of its writer: this machine and this process."""
    return f".{socket.gethostname()}.{os.getpid()}."


def sweep(folder):
    """Remove what killed processes of this machine had begun to write under a folder; those of others are left alone."""
    for path in sorted(Path(folder).rglob(".*.part")):
        if abandoned(path):
            remove(path)


def abandoned(path):
    """Whether a temporary file or folder is that of a process of this machine that runs no more."""
    found = re.search(rf"\.{re.escape(socket.gethostname())}\.(\d+)\.[^.]*\.part$", path.name)
    return found is not None and not alive(int(found[1]))


def remove(path):
    """Delete a file, or a folder with all that is in it; nothing where it is gone."""
    if path.is_dir():
        with contextlib.suppress(FileNotFoundError):        # another process removes it as well
            shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def alive(process):
    """Whether a process of this number runs on this machine."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True


@contextlib.contextmanager
def locked(path, timeout=-1):
    """A lock between processes, to be used by `with`: the file is made, and its folder; timeout in seconds, -1: wait.

    Timeout (of filelock) where another holds it for longer; Bad where the file system knows no locks.
    """
    path = Path(path)
    lock = FileLock(path, timeout=timeout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise
    except OSError as error:
        raise Bad(unlockable(path, error)) from error
    try:
        yield lock
    finally:
        lock.release()


def unlockable(path, error):
    """Why a file cannot be locked, in one sentence."""
    if error.errno in NO_LOCKS:
        return (f"{path}: its file system has no file locks (flock: {error.strerror}), without which two runs could "
                f"write one file; set FU_RUNS to a folder of another file system")
    return f"{path}: cannot be locked ({error.strerror}); let it be written, or set FU_RUNS to another folder"
