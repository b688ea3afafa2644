"""Results on disk: small JSON records and safetensors beside them, atomic, checked, found again by what made them."""
import contextlib
import hashlib
import json
import os
import tempfile
from pathlib import Path

from safetensors.torch import load, load_file, save

from ..errors import Bad
from ..files import locked, sha256, writable, write, writer, writing
from .code import code_hash
from .syntax import Unhashable


def canonical(key):
    """Canonical JSON of a plain object, the same for equal content; what is not plain stands in it by its hash.

    Tensors and arrays are hashed by their bytes, functions by what they reach. Unhashable where that is impossible.
    """
    try:
        return json.dumps(key, sort_keys=True, separators=(",", ":"), default=_exact)
    except (TypeError, ValueError) as error:
        raise Unhashable(f"a key of the store cannot hold {error}") from None


def _exact(o):
    return {type(o).__qualname__: code_hash(o)}


def digest(plain):
    """SHA-256 of a plain object."""
    return hashlib.sha256(canonical(plain).encode()).hexdigest()


def as_bytes(state):
    """A state as the bytes of a safetensors file, and their SHA-256."""
    data = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
    return data, hashlib.sha256(data).hexdigest()


class Entry:
    """One result: `record` (a plain dict), and `tensors(name)`, checked against its SHA-256 when loaded.

    files: `{name: sha256}`, each of one state; states: `{"file/name": [start, bytes, sha256]}` of the files `.states`,
    which hold many states one after the other, each a whole safetensors.
    """

    def __init__(self, folder, body):
        self.folder = folder
        self.record = body["record"]
        self.files = body["files"]
        self.states = body.get("states", {})

    def tensors(self, name, device="cpu"):
        """The tensors of a file by its name, or of one of many states by `file/name`; no other is read."""
        if name in self.states:
            return {k: v.to(device) for k, v in load(self._one_of_many(name)).items()}
        path = self.folder / f"{name}.safetensors"
        if name not in self.files or not path.exists() or sha256(path) != self.files[name]:
            raise self._damaged(path)
        return load_file(path, device=str(device))

    def size(self, name):
        """How many bytes a state takes on disk."""
        if name in self.states:
            return self.states[name][1]
        return (self.folder / f"{name}.safetensors").stat().st_size

    def _one_of_many(self, name):
        start, size, sha = self.states[name]
        path = self.folder / f"{name.split('/')[0]}.states"
        data = b""
        if path.exists():
            with open(path, "rb") as f:
                f.seek(start)
                data = f.read(size)
        if hashlib.sha256(data).hexdigest() != sha:
            raise self._damaged(path)
        return data

    def _damaged(self, path):
        return Bad(f"{path}: missing or damaged; delete the folder {self.folder.name} and run again")


MADE_WITH = []      # the environments of all entries that stores have handed out in this process, each once


def note_environment(found):
    """Remember what a result was made with; it may have been on another machine."""
    if found and found not in MADE_WITH:
        MADE_WITH.append(found)


class Store:
    """A folder of entries, `<root>/<kind>/<hash of the key>/`. A key is any plain object."""

    def __init__(self, root):
        self.root = Path(root)

    def folder(self, kind, key):
        return self.root / kind / digest(key)[:20]

    def aside(self, kind):
        """A temporary folder for what has no key, named as a temporary file is: see `files.sweep`."""
        with writable(self.root):
            (self.root / kind).mkdir(parents=True, exist_ok=True)
            return tempfile.TemporaryDirectory(prefix=writer(), suffix=".part", dir=self.root / kind)

    def load(self, kind, key, mark="record"):
        """The entry, or None where there is none that can be trusted."""
        return read(self.folder(kind, key), mark)

    def save_tensors(self, kind, key, name, state):
        """Write one file of tensors of an entry to be; returns its SHA-256 for `save`."""
        data, sha = as_bytes(state)
        write(self.folder(kind, key) / f"{name}.safetensors", data)
        return sha

    def save(self, kind, key, record, tensors=None, files=None, states=None, mark="record"):
        """Write an entry; the record comes last and is the mark that everything before it is whole.

        tensors: `{name: state}` to write; files, states: those written before, see `Entry`; mark: `record`, or `part`
        for a checkpoint of a run that goes on.
        """
        files = dict(files or {})
        for name, state in (tensors or {}).items():
            files[name] = self.save_tensors(kind, key, name, state)
        body = {"key": json.loads(canonical(key)), "record": json.loads(json.dumps(record, default=float)),
                "files": files, "states": dict(states or {})}
        folder = self.folder(kind, key)
        write(folder / f"{mark}.json", json.dumps({"sha256": digest(body), "body": body}))
        if mark == "record":
            for old in (folder / "part.json", *folder.glob("part*.safetensors")):
                old.unlink(missing_ok=True)
        return Entry(folder, body)

    def get(self, kind, key, make):
        """The entry of a key; `make()` is called under a file lock where it is missing, and must `save` it."""
        found = self.load(kind, key)
        if not found:
            with locked(f"{self.folder(kind, key)}.lock"):
                found = self.load(kind, key) or make()
        note_environment(found.record.get("environment"))
        return found

    def asked(self, kind, key, by):
        """Note who asks for an entry, a plain dict: `asked.json` beside the record has one a line, and the time of the
        last. `python -m workflow.run --clean` reads it."""
        path, line = self.folder(kind, key) / "asked.json", canonical(by) + "\n"
        before = path.read_text(encoding="utf-8") if path.exists() else ""
        if line in before.splitlines(True):
            os.utime(path)
        else:
            write(path, before + line)


def read(folder, mark="record"):
    """The entry in a folder, or None where there is none that can be trusted."""
    try:
        outer = json.loads((folder / f"{mark}.json").read_text(encoding="utf-8"))
        body = outer["body"]
        if digest(body) != outer["sha256"]:
            return None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Entry(folder, body)


class Slot:
    """The place of one result while it is made: tensors and checkpoints first, its record last.

    part: the checkpoint of a killed run, or None; files, states: what was written so far, see `Entry`.
    """

    def __init__(self, store, kind, key):
        self.store, self.kind, self.key = store, kind, key
        self.part = store.load(kind, key, "part")
        self.files = dict(self.part.files) if self.part else {}
        self.states = dict(self.part.states) if self.part else {}

    def write(self, name, state):
        """Write tensors that belong to the result."""
        self.files[name] = self.store.save_tensors(self.kind, self.key, name, state)

    @contextlib.contextmanager
    def many(self, file):
        """One file of many states, for `with ... as put`: `put(name, state)` writes a state to its end and keeps nothing.

        The file is there, and counts, when the block ends; one fsync for all. Without a state there is none.
        """
        path = self.store.folder(self.kind, self.key) / f"{file}.states"
        found = {}
        f = None
        with contextlib.ExitStack() as opened:
            def put(name, state):
                nonlocal f
                f = f or opened.enter_context(writing(path))
                data, sha = as_bytes(state)
                found[f"{file}/{name}"] = [f.tell(), len(data), sha]
                with writable(path):
                    f.write(data)
            yield put
        self.states |= found

    def checkpoint(self, number, record, tensors):
        """A checkpoint in files of its own, then its mark; the files of the one before go only after that.

        tensors: `{name: state or None}`, read again by `restored(name)`.
        """
        old = [name for name in self.files if name.startswith("part_")]
        for name in old:
            del self.files[name]
        for name, state in tensors.items():
            if state:
                self.write(f"part_{name}_{number}", state)
        self.store.save(self.kind, self.key, record | {"number": number}, None, self.files, self.states, "part")
        for name in old:
            if name not in self.files:
                (self.store.folder(self.kind, self.key) / f"{name}.safetensors").unlink(missing_ok=True)

    def restored(self, name):
        """Tensors of the checkpoint, None where it has none of that name."""
        name = f"part_{name}_{self.part.record['number']}"
        return self.part.tensors(name) if name in self.part.files else None

    def finish(self, record, tensors=None):
        """Write the record, and nothing of the checkpoints; returns the entry."""
        files = {name: sha for name, sha in self.files.items() if not name.startswith("part_")}
        return self.store.save(self.kind, self.key, record, tensors, files, self.states)
