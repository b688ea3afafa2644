"""Results that travel: entries of a store in files of at most 15 MB, and into a store elsewhere again."""
import hashlib
import json
import os
from pathlib import Path

from lib.errors import Bad
from lib.files import sha256, write

PIECE = 15_000_000      # bytes; what carries files between machines often takes no more than 16 MB each
LIST = "entry.json"     # {file: {"sha256": of the whole, "pieces": how many}} beside the pieces of an entry
MARKS = ("record.json", "part.json")    # a result, or the checkpoint of one that is not done
BEHIND = ("training", "curvature")      # kinds of entries that results are made from and that no table or figure reads


def pack(store, folder, states=True):
    """Copy the entries of a store into a folder, in pieces; returns how many entries and how many bytes.

    states: whether trainings, curvatures and checkpoints go along, which are large, and without which results can be
    read and drawn but no run can go on from them.
    """
    entries, size = 0, 0
    for source in entries_of(store):
        done = (source / "record.json").exists()
        if not states and (source.parent.name in BEHIND or not done):
            continue
        size += pack_entry(source, Path(folder) / source.relative_to(store))
        entries += 1
    return entries, size


def entries_of(store):
    """The folders of a store that hold a result or a checkpoint."""
    found = {path.parent for mark in MARKS for path in Path(store).glob(f"*/*/{mark}")}
    return sorted(found)


def pack_entry(source, target):
    """One entry; its list is written last and is the mark that all pieces are there. Returns its bytes."""
    known = {}
    for path in sorted(source.iterdir()):
        if path.name.startswith("."):       # somebody writes it just now
            continue
        known[path.name] = {"sha256": sha256(path), "pieces": write_pieces(path, target)}
    write(target / LIST, json.dumps(known, indent=1, sort_keys=True) + "\n")
    return sum(path.stat().st_size for path in source.iterdir() if path.name in known)


def write_pieces(path, target):
    """`<name>.000`, `<name>.001`, … of a file; returns how many."""
    number = 0
    with path.open("rb") as f:
        while (data := f.read(PIECE)) or number == 0:
            write(target / f"{path.name}.{number:03d}", data)
            number += 1
    return number


def merge(folder, store):
    """Take what `pack` left into a store; returns how many entries were new, and how many were there already.

    A result replaces a checkpoint; what is there otherwise stays. Bad where a piece is missing or damaged: nothing of that
    entry is taken.
    """
    folder, store = Path(folder), Path(store)
    lists = sorted(folder.glob(f"*/*/{LIST}"))
    if not lists:
        raise Bad(f"{folder}: holds no packed results; name the folder that `python -m workflow.gpu run --to` filled")
    new = 0
    for path in lists:
        source = path.parent
        new += merge_entry(source, store / source.relative_to(folder))
    return new, len(lists) - new


def merge_entry(source, target):
    """Whether an entry was taken. Its marks come last, so that a killed merge leaves nothing that counts."""
    known = listed(source)
    done = (target / "record.json").exists()
    as_far = "record.json" not in known and (target / "part.json").exists()
    if done or as_far:
        return False
    files = {name: joined(source, name, known[name]) for name in known if name not in MARKS}
    for name, data in files.items():
        write(target / name, data)
    for name in reversed(MARKS):
        if name in known:
            write(target / name, joined(source, name, known[name]))
    if "record.json" in known:
        for old in (target / "part.json", *target.glob("part_*.safetensors")):
            old.unlink(missing_ok=True)
    return True


def listed(source):
    """What the list of a packed entry says. Bad where it cannot be read."""
    path = source / LIST
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        good = all(isinstance(one["sha256"], str) and isinstance(one["pieces"], int) for one in known.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good or any(os.path.basename(name) != name or name.startswith(".") for name in known):
        raise Bad(f"{path}: is no list of packed files; pack the results again")
    return known


def joined(source, name, one):
    """The bytes of a packed file, checked."""
    data = bytearray()
    for number in range(one["pieces"]):
        piece = source / f"{name}.{number:03d}"
        if not piece.exists():
            raise Bad(f"{piece}: is missing; fetch it, or pack the results again")
        data += piece.read_bytes()
    if hashlib.sha256(data).hexdigest() != one["sha256"]:
        raise Bad(f"{source / name}: its pieces are damaged; fetch them again")
    return bytes(data)
