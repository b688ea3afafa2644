"""Cleaning up a store: what no process writes any more, and what no setting of any profile asks for.

An entry is asked for where one of the settings that have asked for it (`asked.json`) is still in a profile, with the
same values, seed and, for a run or a trace, arguments of the method. Of entries that differ in code alone the one that
was used last counts. What a process holds the lock of is left alone.
"""
import json
import re
import time
from pathlib import Path
from typing import NamedTuple

from filelock import Timeout

from .. import files
from ..files import alive, locked
from ..methods import METHODS, defaults
from ..profiles import seeds_of
from ..settings import complete
from .loop import NOT_OF_A_TASK
from .store import canonical, read

HOUR = 3600
ALWAYS = ("Original", "Retrain", "FT", "NoT")       # sweeps and studies run them without being told


class Waste(NamedTuple):
    """A file or a folder that nobody needs, why, and its size in bytes."""
    path: Path
    why: str
    bytes: int


def waste(root, profiles):
    """What can go from the store at `root`, given all loaded profiles: a list of `Waste`."""
    root, wanted = Path(root), _wanted(profiles)
    found = [Waste(path, f"temporary {kind} of a dead process", _size(path)) for path, kind in _temporary(root)]
    newest = {}
    for folder in _entries(root):
        entry = read(folder)
        if entry is not None:
            same = folder.parent.name, _without_code(_key(folder))
            newest[same] = max(newest.get(same, (0, folder)), (_last_used(folder), folder))
    for folder in _entries(root):
        why = _reason(folder, wanted, newest)
        if why:
            found.append(Waste(folder, why, _size(folder)))
        elif read(folder) is not None:
            found += [Waste(part, "checkpoint of a result that is complete", _size(part))
                      for part in (*folder.glob("part.json"), *folder.glob("part_*.safetensors"))]
    return [w for w in found if not _held(w.path, root)]


def remove(found, root):
    """Delete what `waste` found, each under the lock of its entry; what is held by now stays. Returns bytes freed."""
    freed = 0
    for item in found:
        try:
            with locked(_lock(item.path, Path(root)), timeout=0):
                files.remove(item.path)
                freed += item.bytes
        except Timeout:
            continue
    return freed


def described(found, root):
    """The list as text, the largest first, with sizes."""
    largest = sorted(found, key=lambda w: -w.bytes)
    lines = [f"{_words(w.bytes):>9}  {w.path.relative_to(root)}  ({w.why})" for w in largest]
    return "\n".join([*lines, f"{_words(sum(w.bytes for w in found)):>9}  in all, {len(found)} files and folders"])


# ---------------------------------------------------------------- what is asked for

def _wanted(profiles):
    """`[(seeds, plain settings, {method: [arguments]})]` of every setting of every notebook."""
    out = []
    for profile in profiles:
        for number, settings in profile["notebooks"].items():
            for flat in settings.values():
                s = complete(flat)
                plain = json.loads(canonical({k: v for k, v in s.items() if k not in NOT_OF_A_TASK}))
                out.append((seeds_of(profile, number), plain, _arguments(s)))
    return out


def _arguments(settings):
    """`{method: [its arguments, defaults among them]}` of a setting."""
    out = {name: [json.loads(canonical(defaults(name)))] for name in ALWAYS}
    for label, hp in [*settings["methods"].items(), *settings["ablations"].items()]:
        name = label.split("/")[0]
        if name in METHODS:
            out.setdefault(name, []).append(json.loads(canonical({**defaults(name), **hp})))
    return out


def _reason(folder, wanted, newest):
    """Why nobody needs an entry, None where somebody does."""
    entry = read(folder) or read(folder, "part")
    if entry is None:
        return "tensors of nothing"
    key, kind = _key(folder), folder.parent.name
    last = newest.get((kind, _without_code(key)))
    if last and last[1] != folder and read(folder) is not None:
        return "made by code of the past"
    asked = _asked(folder)
    if not asked:
        return "nobody has asked for it"
    if not any(_is_wanted(by, key, kind, one) for by in asked for one in wanted):
        return "no setting of any profile asks for it"
    return None


def _is_wanted(by, key, kind, one):
    """Whether a setting of today is the one that asked, and still asks for this method with these arguments."""
    seeds, plain, methods = one
    if by["seed"] not in seeds or any(plain.get(k, v) != v for k, v in by["settings"].items()):
        return False
    if kind in ("runs", "traces"):
        return key["hp"] in methods.get(key["method"], [])
    return kind != "sweep" or key["method"] in methods


def _asked(folder):
    """The lines of `asked.json`; one that is damaged is as good as none."""
    out = []
    if (folder / "asked.json").exists():
        for line in (folder / "asked.json").read_text(encoding="utf-8").splitlines():
            try:
                out.append(json.loads(line))
            except ValueError:
                continue
    return out


def _key(folder):
    """The key of an entry or of a checkpoint, as it was saved."""
    name = "record.json" if read(folder) is not None else "part.json"
    return json.loads((folder / name).read_text(encoding="utf-8"))["body"]["key"]


def _without_code(key):
    return canonical({k: v for k, v in key.items() if k not in ("code", "method_code")})


def _last_used(folder):
    path = folder / "asked.json"
    return path.stat().st_mtime if path.exists() else 0


# ---------------------------------------------------------------- files

def _entries(root):
    return sorted(path for path in root.glob("*/*") if path.is_dir() and not path.name.startswith("."))


def _temporary(root):
    """`(path, "file" or "folder")` of what was begun by a process that is gone. Files are old enough for other machines'
    processes to be done as well; folders, in which a run takes its time, are of this machine."""
    for path in sorted(root.rglob(".*.part")):
        if path.is_dir():
            if files.abandoned(path):
                yield path, "folder"
            continue
        if any(parent.suffix == ".part" for parent in path.parents):
            continue        # goes with its folder
        process = re.search(r"\.(\d+)\.[^.]*\.part$", path.name)
        dead = process is None or not alive(int(process[1]))
        if dead and time.time() - path.stat().st_mtime > HOUR:
            yield path, "file"


def _lock(path, root):
    """The lock of the entry that a path is, or is in."""
    kind, name = path.relative_to(root).parts[:2]
    return root / kind / f"{name}.lock"


def _held(path, root):
    lock = _lock(path, root)
    if not lock.exists():
        return False
    try:
        with locked(lock, timeout=0):
            return False
    except Timeout:
        return True


def _size(path):
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def _words(size):
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000 or unit == "GB":
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return None
