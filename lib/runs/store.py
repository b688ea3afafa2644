"""Results on disk: small JSON records and safetensors beside them, atomic, checked, found again by what made them."""
import hashlib
import json
import os
from pathlib import Path

from safetensors.torch import load_file, save_file

from ..errors import Bad
from ..files import locked, sha256, write


def canonical(key):
    """Canonical JSON of a plain object, the same for equal content."""
    return json.dumps(key, sort_keys=True, separators=(",", ":"), default=str)


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
        write(folder / f"{mark}.json", json.dumps(outer))
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
        with locked(f"{folder}.lock"):
            return self.load(kind, key) or make()
