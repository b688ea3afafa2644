"""Profiles: params/<name>.yaml read strictly, and the part of one that is asked for."""
import re
from pathlib import Path

import yaml

from .errors import Bad, nearest
from .files import ROOT
from .settings import _is, _list, check, methods


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

TOP = ("seeds", "seeds_of", "not_yet", "notebooks", "shared")    # shared: a place for anchors


def load(profile):
    """Read params/<profile>.yaml (or a path): {"profile", "seeds", "notebooks": {"01": {setting: {…}}}, …}.

    `seeds_of` gives single notebooks seeds of their own.
    `not_yet` names methods of the papers that `lib` does not have: they are listed, and left out of `methods`.
    """
    path = Path(profile) if str(profile).endswith((".yaml", ".yml")) else ROOT / "params" / f"{profile}.yaml"
    if not path.exists():
        there = sorted(p.stem for p in ROOT.glob("params/*.yaml"))
        raise Bad(f"no profile {str(profile)!r}; {nearest(profile, there, 'profile')}")
    source = f"params/{path.name}" if path.parent == ROOT / "params" else str(path)
    loader = _Loader(path.read_text(encoding="utf-8"))
    loader.name = source
    try:
        data = loader.get_single_data() or {}
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        raise Bad(f"{source}: line {mark.line + 1 if mark else '?'}: {getattr(e, 'problem', e)}") from None
    for key in data:
        if key not in TOP:
            raise Bad(f"{source}: {key}: unknown key; {nearest(key, TOP, 'key')}")
    books, missing, others = data.get("notebooks"), data.get("not_yet") or [], data.get("seeds_of") or {}
    if not isinstance(books, dict) or not books:
        raise Bad(f"{source}: notebooks: must be a map number: {{setting: {{keys}}}}")
    for key, seeds in [("seeds", data.get("seeds")), *((f"seeds_of.{n}", s) for n, s in others.items())]:
        if not (_list("", seeds) and seeds and all(_is("int", s) for s in seeds) and len(set(seeds)) == len(seeds)):
            raise Bad(f"{source}: {key}: {seeds!r} must be a list of different whole numbers")
    for number in others:
        if number not in books:
            raise Bad(f"{source}: seeds_of.{number}: unknown key; {nearest(number, books, 'notebook')}")
    known = methods() or {}
    for name in missing:
        if name in known:
            raise Bad(f"{source}: not_yet: {name} is there now; remove it from this list")
    out = {"profile": path.stem, "seeds": list(data["seeds"]), "not_yet": list(missing), "notebooks": {},
           "seeds_of": {n: list(s) for n, s in others.items()}}
    for number, settings in books.items():
        if not re.fullmatch(r"\d\d", str(number)):
            raise Bad(f"{source}: notebooks.{number}: a notebook is named by two digits, as 01")
        if isinstance(settings, dict):
            settings = {name: _without(flat, missing) for name, flat in settings.items()}
        out["notebooks"][number] = check(settings, f"{source}: {number}")
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
        source = f"params/{profile['profile']}.yaml"
        if number not in books:
            raise Bad(f"{source}: no notebook {number!r}; {nearest(number, books, 'notebook')}")
        if setting and setting not in books[number]:
            raise Bad(f"{source}: {number} has no setting {setting!r}; {nearest(setting, books[number], 'setting')}")
        chosen = [setting] if setting else books[number]
        out.setdefault(number, {}).update({s: books[number][s] for s in chosen})
    if not out:
        raise Bad(f"--only {only!r} names nothing; name notebooks or settings, as {next(iter(books))}")
    return out
