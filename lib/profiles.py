"""Profiles: params/<name>.yaml read strictly, and the part of one that is asked for."""
import re
from pathlib import Path

import yaml

from . import extensions
from .errors import Bad, nearest
from .files import ROOT
from .registry import METHODS
from .settings import check, known
from .values import misfit


class _Loader(yaml.SafeLoader):
    """YAML without its traps: 1e-3 is a number, 01 and `no` are words, a key given twice is an error."""

    def compose_mapping_node(self, anchor):
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if key.value in seen and key.value != "<<":
                raise Bad(f"{self.name}: line {key.start_mark.line + 1}: {key.value} is given twice")
            seen.add(key.value)
        return node


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
        ("null", r"null|~|", ["n", "~", ""]), ("bool", r"true|false", "tf"), ("merge", r"<<", "<"),
        ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
        ("float", r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+[eE][-+]?[0-9]+|\.inf)", "-+.0123456789")):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", lambda loader, node: float(node.value.replace(".inf", "inf")))

TOP = ("seeds", "seeds_of", "not_yet", "extensions", "notebooks", "shared")     # shared: a place for anchors


def load(profile):
    """Read params/<profile>.yaml, or the file at a path: {"profile", "seeds", "notebooks": {"01": {setting: {…}}}, …}.

    `extensions`, files beside the profile or in the repository and modules, are imported before anything is judged.
    `seeds_of` gives single notebooks seeds of their own.
    `not_yet` names methods of the papers that `lib` does not have: they are listed, and left out of `methods`.
    `asked` is what other processes are told to find the same profile by.
    """
    path = _path(profile)
    inside = path.parent == ROOT / "params"
    source = f"params/{path.name}" if inside else str(path)
    data = _read(path, source)
    for key in data:
        if key not in TOP:
            raise Bad(f"{source}: {key}: unknown key; {nearest(key, TOP, 'key')}")
    parts = extensions.resolved(data.get("extensions") or [], path.parent, source)
    extensions.extend(*parts)
    missing = data.get("not_yet") or []
    for name in missing:
        if name in known(METHODS):
            raise Bad(f"{source}: not_yet: {name} is there now; remove it from this list")
    books = _books(data.get("notebooks"), missing, source)
    return {"profile": path.stem, "source": source, "asked": path.stem if inside else str(path), "extensions": parts,
            "seeds": _seeds(data.get("seeds"), f"{source}: seeds"), "not_yet": list(missing), "notebooks": books,
            "seeds_of": _seeds_of(data.get("seeds_of") or {}, books, source)}


def _path(profile):
    """The file of a profile: of that name in params/, or at that path, from here or from the repository."""
    there = {p.stem: p for p in sorted(ROOT.glob("params/*.yaml"))}
    if not str(profile).endswith((".yaml", ".yml")):
        if profile not in there:
            raise Bad(f"no profile {str(profile)!r}; {nearest(profile, there, 'profile')}")
        return there[profile]
    found = [path.resolve() for path in (Path(profile).expanduser(), ROOT / profile) if path.is_file()]
    if not found:
        raise Bad(f"no profile {str(profile)!r}: there is no such file; {nearest(Path(profile).stem, there, 'profile')}")
    path = found[0]
    if not re.fullmatch(r"[\w-]+", path.stem):
        raise Bad(f"{path}: results go to runs/<name of the file>/, so its name is made of letters, digits, _ and -")
    if path.stem in there and path != there[path.stem]:
        raise Bad(f"{path}: params/ has a profile {path.stem}, whose results go to the same folder; rename the file")
    return path


def _read(path, source):
    """The map in a YAML file."""
    loader = _Loader(path.read_text(encoding="utf-8"))
    loader.name = source
    try:
        data = loader.get_single_data() or {}
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise Bad(f"{source}: line {mark.line + 1 if mark else '?'}: {getattr(e, 'problem', e)}") from None
    if not isinstance(data, dict):
        raise Bad(f"{source}: must be a map with the keys {', '.join(TOP)}")
    return data


def _seeds(seeds, where):
    """A list of seeds, judged."""
    if misfit(list[int], seeds) or not seeds or len(set(seeds)) < len(seeds):
        raise Bad(f"{where}: {seeds!r} must be a list of different whole numbers")
    return list(seeds)


def _seeds_of(others, books, source):
    """The seeds of single notebooks, judged."""
    for number in others:
        if number not in books:
            raise Bad(f"{source}: seeds_of.{number}: unknown key; {nearest(number, books, 'notebook')}")
    return {number: _seeds(seeds, f"{source}: seeds_of.{number}") for number, seeds in others.items()}


def _books(books, missing, source):
    """`{number: {setting: {…}}}`, judged, without the `missing` methods."""
    if not isinstance(books, dict) or not books:
        raise Bad(f"{source}: notebooks: must be a map number: {{setting: {{keys}}}}")
    out = {}
    for number, settings in books.items():
        if not re.fullmatch(r"\d\d", str(number)):
            raise Bad(f"{source}: notebooks.{number}: a notebook is named by two digits, as 01")
        if isinstance(settings, dict):
            settings = {name: _without(flat, missing) for name, flat in settings.items()}
        out[number] = check(settings, f"{source}: {number}")
    return out


def _without(flat, missing):
    """The flat settings without the methods that are not there yet."""
    if not isinstance(flat, dict):
        return flat
    return flat | {key: {m: a for m, a in flat[key].items() if str(m).split("/")[0] not in missing}
                   for key in ("methods", "ablations") if isinstance(flat.get(key), dict)}


def seeds_of(profile, number):
    """The seeds of one notebook of a loaded profile."""
    return profile["seeds_of"].get(number, profile["seeds"])


def select(profile, only=None):
    """The part of a loaded profile named by `only`, as "01,02.cifar10_cnn" (None: everything)."""
    books = profile["notebooks"]
    if not only:
        return books
    out = {}
    for item in filter(None, re.split(r"[,\s]+", only)):
        number, _, setting = item.partition(".")
        number = number.zfill(2)
        source = profile["source"]
        if number not in books:
            raise Bad(f"{source}: no notebook {number!r}; {nearest(number, books, 'notebook')}")
        if setting and setting not in books[number]:
            raise Bad(f"{source}: {number} has no setting {setting!r}; {nearest(setting, books[number], 'setting')}")
        chosen = [setting] if setting else books[number]
        out.setdefault(number, {}).update({s: books[number][s] for s in chosen})
    if not out:
        raise Bad(f"--only {only!r} names nothing; name notebooks or settings, as {next(iter(books))}")
    return out
