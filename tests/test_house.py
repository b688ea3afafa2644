"""The house is as it is drawn: imports run one way, without a circle, and the pictures name what is there."""
import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# from the bottom up; a room imports from those below it and from itself
FLOORS = (("checksums", "errors", "extensions", "files", "sources", "profiles", "registry", "settings", "signatures", "values", "words"),
          ("fl",), ("metrics", "methods"),
          ("runs",), ("theory",), ("report",), ("workflow",), ("flower",))
HEIGHT = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def modules():
    """`{dotted name: path}` of all modules of lib, workflow and flower."""
    paths = [*ROOT.glob("lib/**/*.py"), *ROOT.glob("workflow/*.py"), *ROOT.glob("flower/*.py")]
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in paths}


def imported(name, path, known):
    """The modules of the house that a module imports, at its top or inside its functions."""
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[:len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            found |= {f"{base}.{a.name}" if f"{base}.{a.name}" in known else base for a in node.names}
    return {f for f in found if f in known} - {name, "lib"}


KNOWN = modules()
ARROWS = {name: imported(name, path, KNOWN) for name, path in KNOWN.items()}


def room(name):
    return name.split(".")[1] if name.startswith("lib.") else name.split(".")[0]


@pytest.mark.parametrize("name", [n for n in ARROWS if n != "lib"])
def test_no_import_runs_upward(name):
    upward = [other for other in ARROWS[name] if HEIGHT[room(other)] > HEIGHT[room(name)]]
    assert not upward, f"{name} imports {', '.join(upward)} from a floor above"


def test_no_circle():
    """Modules can be put in an order in which each imports only those before it."""
    left = {name: set(others) for name, others in ARROWS.items()}
    while ready := [name for name, others in left.items() if not others]:
        for name in ready:
            del left[name]
        for others in left.values():
            others -= set(ready)
    assert not left, f"a circle among {sorted(left)}"


PACKAGES = sorted({path.parent for path in KNOWN.values() if path.name == "__init__.py"})


def public_names(tree):
    """The names that a package defines, or takes from a module."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (alias.asname or alias.name for alias in node.names)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Assign):
            yield from (name.id for target in node.targets for name in ast.walk(target) if isinstance(name, ast.Name))


def test_no_public_name_is_a_module_too():
    """Where both bear one name, whoever imports the module first takes the name away from everybody else."""
    for folder in PACKAGES:
        modules_of_it = {p.stem for p in folder.glob("*.py")} | {p.name for p in folder.iterdir() if p.is_dir()}
        texts = [path.read_text(encoding="utf-8") for path in folder.glob("__init__.py*")]
        both = modules_of_it & {name for text in texts for name in public_names(ast.parse(text))}
        assert not both, f"{folder.relative_to(ROOT)}: {', '.join(sorted(both))}"


def test_notebooks_import_lib_alone():
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r'"\s*(?:from|import) (?:lib\.|workflow)', text), path.name


def drawn(path):
    """`{folder: names}` of the picture of the house in a text: the block that begins with `notebooks/`."""
    [block] = re.findall(r"```\n(notebooks/.*?)```", path.read_text(encoding="utf-8"), re.S)
    picture, above = {}, ""
    for line in block.splitlines():
        words = re.split(r"\s+#", line)[0].split()
        if all(word.endswith("/") for word in words):       # folders without their contents
            above = words[0] if len(words) == 1 else ""
            picture |= {word: [] for word in words}
        else:
            place = above if line.startswith(" ") else ""
            picture[place + words[0]] = words[1:]
    return picture


def contents(folder):
    """The names of a folder in the picture: its modules, its packages with a slash, and the Snakefile."""
    names = {p.stem for p in folder.glob("*.py")} - {"__init__"}
    packages = {p.parent.name + "/" for p in folder.glob("*/__init__.py")}
    return names | packages | {p.name for p in folder.glob("Snakefile")}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_the_picture_of_the_house_is_the_house(page):
    picture = drawn(ROOT / page)
    assert [folder for folder in picture if not (ROOT / folder).is_dir()] == []
    rooms = {f"lib/{p.parent.name}/" for p in (ROOT / "lib").glob("*/__init__.py")}
    assert {folder for folder in picture if folder.startswith("lib/")} - {"lib/"} == rooms
    for folder, names in picture.items():
        if names:
            assert set(names) == contents(ROOT / folder), f"{page}: the contents of {folder}"


def test_no_committed_file_is_over_a_megabyte():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a clone")
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert [path for path in paths if path.exists() and path.stat().st_size > 10**6] == []
