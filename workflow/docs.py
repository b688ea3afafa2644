"""Write what is derived from the signatures: lib/signatures.py and docs/parameters.md.

python -m workflow.docs
"""
import argparse
import sys
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from lib import values
from lib.files import ROOT, write
from lib.registry import REQUIRED, arguments
from lib.settings import KEYS
from lib.values import described, is_row, plain

SIGNATURES = ROOT / "lib/signatures.py"
PARAMETERS = ROOT / "docs/parameters.md"

# A range or a row of fields that has a short name in lib.values is written by it.
NAMED = [(name, kind) for name, kind in vars(values).items()
         if get_origin(kind) is Annotated or is_row(kind) and kind is not values.Range]


def registries():
    """The registries of `lib` with all that it brings itself."""
    import lib.methods  # noqa: F401
    from lib.registry import DATASETS, METHODS, MODELS, PARTITIONS
    return METHODS, MODELS, DATASETS, PARTITIONS


# ---------------------------------------------------------------- lib/signatures.py

def code(kind):
    """An annotation as one would write it in Python: `Share`, `list[Whole]`, `Rate | None`."""
    for name, known in NAMED:
        if kind is known or kind == known:
            return name
    base, bounds = plain(kind)
    origin, args = get_origin(base), get_args(base)
    if bounds:
        return f"Annotated[{code(base)}, {bounds!r}]"
    if origin in (Union, UnionType):
        return " | ".join(map(code, args))
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, args))}]"
    if origin in (list, dict):
        return f"{origin.__name__}[{', '.join(map(code, args))}]"
    return {NoneType: "None", Any: "Any"}.get(base) or base.__name__


def signatures():
    """The text of lib/signatures.py."""
    lines = []
    for registry in registries():
        lines.append(f'    "{registry.kind}": {{')
        for name, f in sorted(registry.items()):
            lines += _signature(name, arguments(f))
        lines.append("    },")
    body = "\n".join(["SIGNATURES = {", *lines, "}"])
    return "\n".join([
        '"""What every registered function of `lib` takes, for those who must not wait for torch.',
        "",
        "Written by `python -m workflow.docs`: do not edit.",
        '"""',
        *_imports(body),
        "",
        body,
        ""])


def _signature(name, known):
    if not known:
        return [f'        "{name}": {{}},']
    lines = [f'        "{name}": {{']
    for argument, (kind, default) in known.items():
        text = "REQUIRED" if default is REQUIRED else repr(default)
        lines.append(f'            "{argument}": Argument({code(kind)}, {text}),')
    return [*lines, "        },"]


def _imports(body):
    def used(names):
        return ",\n    ".join(sorted(name for name in names if name in words))
    words = set(body.replace("[", " ").replace("(", " ").replace(",", " ").replace("]", " ").replace(")", " ").split())
    found = [(used(["Annotated", "Any", "Literal"]), "typing"), (used(["Argument", "REQUIRED"]), ".registry"),
             (used(["Range", *(name for name, _ in NAMED)]), ".values")]
    lines = [f"from {module} import (\n    {names})" for names, module in found if names]
    return [lines[0], "", *lines[1:]] if "typing" in lines[0] else lines


# ---------------------------------------------------------------- docs/parameters.md

ABOUT = {
    "method": "Under `methods` or `ablations`, as `NoT: {layers: [0]}`. A label after a slash, `NoT/head`, gives one "
              "method several places.",
    "model": "An argument that is a key above takes its value; null is the default here.",
    "dataset": "An argument that is a key above takes its value; `seed` is the seed of the run. One's own images are "
               "named by their path.",
    "partition": "An argument that is a key above takes its value.",
}


def parameters():
    """The text of docs/parameters.md."""
    lines = ["# Parameters", "", "Written by `python -m workflow.docs` from the code; do not edit.", "",
             "## Keys of a setting", "", *_table(("key", "type", "default", "meaning"), map(_key, KEYS.items()))]
    for registry in registries():
        lines += ["", f"## {registry.kind.capitalize()}s", "", ABOUT[registry.kind]]
        for name, f in sorted(registry.items()):
            lines += ["", f"### {name}", "", _sentence(f)]
            rows = [(argument, described(kind), _default(default)) for argument, (kind, default) in arguments(f).items()]
            lines += ["", *_table(("argument", "type", "default"), rows)] if rows else []
    return "\n".join([*lines, ""])


def _key(item):
    name, key = item
    return name, described(key.kind), _default(key.default), key.meaning


def _default(value):
    if value is REQUIRED:
        return "required"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else value


def _sentence(f):
    """The first paragraph of a docstring, on one line."""
    return " ".join((f.__doc__ or "").strip().split("\n\n")[0].split())


def _table(head, rows):
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for first, *rest in rows:
        cells = [f"`{first}`", *(str(cell).replace("|", "\\|") for cell in rest)]
        yield "| " + " | ".join(cells) + " |"


def texts():
    """`{path: text}` of all that is written."""
    return {SIGNATURES: signatures(), PARAMETERS: parameters()}


def main(argv=None):
    argparse.ArgumentParser(prog="python -m workflow.docs", description=__doc__.splitlines()[0]).parse_args(argv)
    for path, text in texts().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            write(path, text)
            print(f"written: {path.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
