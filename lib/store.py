"""Results on disk: small JSON records and safetensors beside them, atomic, checked, found again by what made them."""
import ast
import hashlib
import inspect
import json
import os
import shutil
import sys
import tempfile
import textwrap
from functools import cache
from pathlib import Path

import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from .params import Bad
from .task import canonical

ROOT = Path(__file__).resolve().parents[1]
REGISTERED = "Call(func=Name(id='method'"


def runs_root():
    """Where runs are written: the environment's `FU_RUNS`, or `runs/` in the repository."""
    return Path(os.environ.get("FU_RUNS") or ROOT / "runs")


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_atomic(path, data):
    """Write bytes through a temporary file, fsync and rename; modes follow the umask, as shared folders expect."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


@cache
def _syntax(source):
    """The syntax tree of a piece of code, without docstrings, as text, and the names in it."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):  # being registered would make a method depend on all of lib.methods
            node.decorator_list = [d for d in node.decorator_list if not ast.dump(d).startswith(REGISTERED)]
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(getattr(body[0].value, "value", None), str):
                node.body = body[1:]
    return ast.dump(tree), sorted(n.id for n in ast.walk(tree) if isinstance(n, ast.Name))


def code_hash(*objects):
    """Hash of the syntax trees, without docstrings, of modules and of functions with the local helpers they use."""
    seen, texts = set(), []

    def visit(o):
        if o in seen:
            return
        seen.add(o)
        try:
            source = inspect.getsource(o)
        except (OSError, TypeError):
            source = repr(getattr(getattr(o, "__code__", o), "co_code", o))
            texts.append(source)
            return
        text, names = _syntax(source)
        texts.append(text)
        if inspect.isfunction(o):
            for name in names:
                other = o.__globals__.get(name)
                if inspect.isfunction(other) and other.__module__ == o.__module__:
                    visit(other)
                elif inspect.isfunction(other) and other.__module__.startswith("lib."):
                    visit(sys.modules[other.__module__])
    for o in objects:
        visit(o)
    return hashlib.sha256("".join(sorted(texts)).encode()).hexdigest()[:16]


class Entry:
    """One result: `record` (a plain dict), and `tensors(name)`, checked against its SHA-256 when loaded."""

    def __init__(self, folder, body):
        self.folder, self.record, self.files = folder, body["record"], body["files"]

    def tensors(self, name, device="cpu"):
        path = self.folder / f"{name}.safetensors"
        if name not in self.files or not path.exists() or sha256(path) != self.files[name]:
            raise Bad(f"{path}: missing or damaged; delete the folder {self.folder.name} and run again")
        return load_file(path, device=str(device))


class Store:
    """A folder of entries. A key is any plain object; `get(key, make)` computes what is missing, under a lock."""

    def __init__(self, root):
        self.root = Path(root)

    def folder(self, kind, key):
        return self.root / kind / hashlib.sha256(canonical(key).encode()).hexdigest()[:20]

    def load(self, kind, key, mark="record"):
        """The entry, or None where there is none that can be trusted."""
        folder = self.folder(kind, key)
        try:
            outer = json.loads((folder / f"{mark}.json").read_text())
            body = outer["body"]
            if hashlib.sha256(canonical(body).encode()).hexdigest() != outer["sha256"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return Entry(folder, body)

    def save_tensors(self, kind, key, name, state):
        """Write one file of tensors of an entry to be; returns its SHA-256 for `save`."""
        path = self.folder(kind, key) / f"{name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({k: v.detach().cpu().contiguous() for k, v in state.items()}, temporary)
        with open(temporary, "rb+") as f:
            os.fsync(f.fileno())
        digest = sha256(temporary)
        os.replace(temporary, path)
        return digest

    def save(self, kind, key, record, tensors=None, files=None, mark="record"):
        """Write an entry; the record comes last and is the mark that everything before it is whole.

        tensors: `{name: state}` to write; files: `{name: sha256}` written before; mark: `record`, or `part` for a
        checkpoint of a run that goes on.
        """
        files = dict(files or {})
        for name, state in (tensors or {}).items():
            files[name] = self.save_tensors(kind, key, name, state)
        body = {"key": json.loads(canonical(key)), "record": json.loads(json.dumps(record, default=float)),
                "files": files}
        outer = {"sha256": hashlib.sha256(canonical(body).encode()).hexdigest(), "body": body}
        folder = self.folder(kind, key)
        write_atomic(folder / f"{mark}.json", json.dumps(outer).encode())
        if mark == "record":
            for old in (folder / "part.json", *folder.glob("part*.safetensors")):
                old.unlink(missing_ok=True)
        return Entry(folder, body)

    def get(self, kind, key, make):
        """The entry of a key; `make()` is called under a file lock where it is missing, and must `save` it."""
        found = self.load(kind, key)
        if found:
            return found
        folder = self.folder(kind, key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{folder}.lock"):
            return self.load(kind, key) or make()

    def drop(self, kind, key):
        shutil.rmtree(self.folder(kind, key), ignore_errors=True)


def to_device(state, task):
    """A loaded state on the task's device."""
    return {k: v.to(task.device) for k, v in state.items()} if task.device != torch.device("cpu") else state
