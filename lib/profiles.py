"""Profiles: params/<name>.yaml read strictly, and the part of one that is asked for."""
import re
from pathlib import Path
from typing import Annotated

import yaml

from . import extensions
from .errors import Bad, bare, nearest, shown
from .files import ROOT, at, exists
from .registry import METHODS
from .settings import check, known
from .values import Whole, misfit


MERGE = "tag:yaml.org,2002:merge"
DEEPEST = 50        # mappings and lists inside each other; a profile has six


class _Loader(yaml.SafeLoader):
    """YAML without its traps: 1e-3 is a number, 01 and `no` are words, tags are not read, and an error are a key given
    twice, a key that is no word, and an anchor inside itself.

    `<<` is read as YAML specifies it, whatever the library does with it: of several mappings the first counts, and
    before them all a key of the mapping's own.
    """

    def __init__(self, text, source):
        super().__init__(text)
        self.source = source
        self.around = []        # the anchors, or None, of what the node that is read stands in

    def bad(self, node, sentence):
        return Bad(f"{self.source}: line {node.start_mark.line + 1}: {sentence}")

    def compose_node(self, parent, index):
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            if event.anchor in self.around:
                raise self.bad(event, f"*{event.anchor} stands inside itself; name another anchor")
            return super().compose_node(parent, index)
        if event.tag is not None:
            raise self.bad(event, f"the tag {event.tag} is not read; leave it out")
        if len(self.around) >= DEEPEST:
            raise self.bad(event, f"it is nested more than {DEEPEST} deep; a profile is notebook: setting: key: value")
        self.around.append(event.anchor)
        node = super().compose_node(parent, index)
        self.around.pop()
        return node

    def compose_mapping_node(self, anchor):
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.bad(key, "a list or a map cannot be a key; name the key by a word or a number")
            if key.value in seen and key.tag != MERGE:
                raise self.bad(key, f"{key.value} is given twice; keep one of them")
            seen.add(key.value)
        return node

    def flatten_mapping(self, node):
        pairs = {}
        for key, value in node.value:
            if key.tag == MERGE:
                for mapping in self._merged(value):
                    for one, given in mapping.value:
                        pairs.setdefault(one.value, (one, given))
        own = {key.value: (key, value) for key, value in node.value if key.tag != MERGE}
        node.value = list((pairs | own).values())

    def _merged(self, value):
        """The mappings that `<<` names, each with its own `<<` read."""
        found = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for mapping in found:
            if not isinstance(mapping, yaml.MappingNode):
                raise self.bad(value, "<< must name the anchor of a map, or a list of such anchors")
            self.flatten_mapping(mapping)
        return found

    def whole(self, node):
        try:
            return int(node.value)
        except ValueError:      # Python reads so many digits and no more
            raise self.bad(node, f"a number of {len(node.value)} digits cannot be read; shorten it") from None

    def number(self, node):
        return float(node.value.replace(".inf", "inf").replace(".nan", "nan"))


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
        ("null", r"null|~|", ["n", "~", ""]), ("bool", r"true|false", "tf"), ("merge", r"<<", "<"),
        ("int", r"[-+]?(0|[1-9][0-9]*)", "-+0123456789"),
        ("float", r"[-+]?([0-9]+\.[0-9]*([eE][-+]?[0-9]+)?|\.[0-9]+|[0-9]+[eE][-+]?[0-9]+|\.inf)|\.nan",
         "-+.0123456789")):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), list(_first))
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.number)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.whole)

TOP = ("seeds", "seeds_of", "not_yet", "extensions", "notebooks", "shared")     # shared: a place for anchors
SHAPES = {"seeds_of": Annotated[dict[str | int, list], "a map notebook: [seeds], as {07: [0, 1]}"],
          "not_yet": Annotated[list[str], "a list of names of methods"]}


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
    for key, value in data.items():
        if key not in TOP:
            raise Bad(f"{source}: {bare(key)}: unknown key; {nearest(key, TOP, 'key')}")
        if key in SHAPES and value is not None and (reason := misfit(SHAPES[key], value)):
            raise Bad(f"{source}: {key}: {shown(value)} {reason}")
    parts = extensions.resolved(data.get("extensions") or [], path.parent, source)
    extensions.extend(*parts)
    missing = data.get("not_yet") or []
    for name in missing:
        if name in known(METHODS):
            raise Bad(f"{source}: not_yet: {name} is there now; remove it from this list")
    seeds = _seeds(data.get("seeds"), f"{source}: seeds")
    books = _books(data.get("notebooks"), missing, source)
    return {"profile": path.stem, "source": source, "asked": path.stem if inside else str(path), "extensions": parts,
            "seeds": seeds, "not_yet": list(missing), "notebooks": books,
            "seeds_of": _seeds_of(data.get("seeds_of") or {}, books, source)}


def _path(profile):
    """The file of a profile: of that name in params/, or at that path, from here or from the repository."""
    there = {p.stem: p for p in sorted(ROOT.glob("params/*.yaml"))}
    if not str(profile).endswith((".yaml", ".yml")):
        if profile not in there:
            raise Bad(f"no profile {str(profile)!r}; {nearest(profile, there, 'profile')}")
        return there[profile]
    found = [path.resolve() for path in (at(profile), ROOT / profile) if path and exists(path) and path.is_file()]
    if not found:
        raise Bad(f"no profile {str(profile)!r}: there is no such file; {nearest(Path(profile).stem, there, 'profile')}")
    path = found[0]
    if not re.fullmatch(r"[\w-]+", path.stem):
        raise Bad(f"{path}: results go to runs/<name of the file>/, so its name is made of letters, digits, _ and -; rename it")
    if path.stem in there and path != there[path.stem]:
        raise Bad(f"{path}: params/ has a profile {path.stem}, whose results go to the same folder; rename the file")
    return path


def _read(path, source):
    """The map in a YAML file."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as e:
        line = e.object[:e.start].count(b"\n") + 1
        raise Bad(f"{source}: line {line}: it is no UTF-8 text; save the file as UTF-8") from None
    except OSError as e:
        raise Bad(f"{source}: it cannot be read ({e.strerror}); check the file's permissions") from None
    data = parsed(text, source)
    data = {} if data is None else data
    if not isinstance(data, dict):
        raise Bad(f"{source}: {shown(data)} must be a map with the keys {', '.join(TOP)}")
    return data


def parsed(text, source):
    """The value of a YAML text; Bad, naming the source and the line, where there is none."""
    try:
        return _Loader(text, source).get_single_data()
    except yaml.reader.ReaderError as e:
        line = text[:e.position].count("\n") + 1
        raise Bad(f"{source}: line {line}: the character {chr(e.character)!a} cannot stand in YAML; "
                  "save it as plain UTF-8 text") from None
    except yaml.YAMLError as e:
        mark = getattr(e, "problem_mark", None)
        problem = " ".join(str(getattr(e, "problem", None) or e).split())
        raise Bad(f"{source}: line {mark.line + 1 if mark else '?'}: {problem}; mend the YAML") from None


def _seeds(seeds, where):
    """A list of seeds, judged."""
    if misfit(list[Whole], seeds) or not seeds or len(set(seeds)) < len(seeds):
        raise Bad(f"{where}: {shown(seeds)} must be a list of different whole numbers >= 0, as [0, 1, 2]")
    return list(seeds)


def _seeds_of(others, books, source):
    """The seeds of single notebooks, judged."""
    others = {str(number): seeds for number, seeds in others.items()}
    for number in others:
        if number not in books:
            raise Bad(f"{source}: seeds_of.{number}: unknown key; {nearest(number, books, 'notebook')}")
    return {number: _seeds(seeds, f"{source}: seeds_of.{number}") for number, seeds in others.items()}


def _books(books, missing, source):
    """`{number: {setting: {…}}}`, judged, without the `missing` methods."""
    if not isinstance(books, dict) or not books:
        raise Bad(f"{source}: notebooks: {shown(books)} must be a map number: {{setting: {{keys}}}}")
    out = {}
    for number, settings in books.items():
        if not re.fullmatch("[0-9][0-9]", str(number)):
            raise Bad(f"{source}: notebooks: {shown(number)}: a notebook is named by two digits, as 01; rename it")
        if isinstance(settings, dict):
            settings = {name: _without(flat, missing) for name, flat in settings.items()}
        out[str(number)] = check(settings, f"{source}: {number}")
        if not settings:
            raise Bad(f"{source}: {number}: it has no setting; give it one, or leave {number} out")
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
