"""Results on disk: small JSON records and safetensors beside them, atomic, checked, found again by what made them."""
import hashlib
import json
import os
from pathlib import Path

from safetensors.torch import load_file, save

from ..errors import Bad
from ..files import locked, sha256, write
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
    """A folder of entries, `<root>/<kind>/<hash of the key>/`. A key is any plain object."""

    def __init__(self, root):
        self.root = Path(root)

    def folder(self, kind, key):
        return self.root / kind / digest(key)[:20]

    def load(self, kind, key, mark="record"):
        """The entry, or None where there is none that can be trusted."""
        return read(self.folder(kind, key), mark)

    def save_tensors(self, kind, key, name, state):
        """Write one file of tensors of an entry to be; returns its SHA-256 for `save`."""
        data = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
        write(self.folder(kind, key) / f"{name}.safetensors", data)
        return hashlib.sha256(data).hexdigest()

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
        folder = self.folder(kind, key)
        write(folder / f"{mark}.json", json.dumps({"sha256": digest(body), "body": body}))
        if mark == "record":
            for old in (folder / "part.json", *folder.glob("part*.safetensors")):
                old.unlink(missing_ok=True)
        return Entry(folder, body)

    def get(self, kind, key, make):
        """The entry of a key; `make()` is called under a file lock where it is missing, and must `save` it."""
        found = self.load(kind, key)
        if found:
            return found
        with locked(f"{self.folder(kind, key)}.lock"):
            return self.load(kind, key) or make()

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

    part: the checkpoint of a killed run, or None; files: `{name: sha256}` of the tensors written so far.
    """

    def __init__(self, store, kind, key):
        self.store, self.kind, self.key = store, kind, key
        self.part = store.load(kind, key, "part")
        self.files = dict(self.part.files) if self.part else {}

    def write(self, name, state):
        """Write tensors that belong to the result."""
        self.files[name] = self.store.save_tensors(self.kind, self.key, name, state)

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
        self.store.save(self.kind, self.key, record | {"number": number}, files=self.files, mark="part")
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
        return self.store.save(self.kind, self.key, record, tensors, files)
