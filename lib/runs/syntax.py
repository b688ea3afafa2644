"""The syntax of code as it is loaded: its tree without what does not compute, and the names in it."""
import ast
import dis
import functools
import importlib
import sys
from collections import defaultdict
from pathlib import Path
from types import CodeType

from ..sources import texts

REGISTERING = {"method", "model", "dataset", "partition", "metric", "claim", "study"}


class Unhashable(Exception):
    """Something that code reaches has no value that a key could hold."""


@functools.cache
def text_of(tree):
    """`dump(tree)`, once a tree: they are never changed, and every key of every run asks for hundreds of them."""
    return dump(tree)


def dump(node):
    """A syntax tree as text, the same in every version of Python: fields that are empty are left out."""
    if isinstance(node, list):
        return "[" + ",".join(map(dump, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [(k, v) for k, v in ast.iter_fields(node) if v is not None and v != [] and k not in ("ctx", "kind")]
    return f"{type(node).__name__}({','.join(f'{k}={dump(v)}' for k, v in fields)})"


def _bare(tree):
    """The tree without what does not compute: docstrings, annotations of arguments, and decorators that register."""
    for node in ast.walk(tree):
        if isinstance(getattr(node, "body", None), list):
            node.body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
        if isinstance(node, ast.arg):
            node.annotation = node.type_comment = None
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = node.type_comment = None
            node.decorator_list = [d for d in node.decorator_list if not _registers(d)]
    return tree


def _registers(decorator):
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return getattr(called, "id", getattr(called, "attr", None)) in REGISTERING


def _places(code):
    """Every code object inside one, by name and first line."""
    yield (code.co_name, code.co_firstlineno), code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _places(inner)


@functools.cache
def _parsed(filename, text):
    """`({(name, line): code objects}, {(name, line): syntax trees})` of all functions of a source."""
    codes, found = defaultdict(list), defaultdict(list)
    tree = ast.parse(text)
    units = [tree]
    if not Path(filename).is_file():        # a kernel compiles the statements of a cell one by one
        units += [ast.Module([statement], []) for statement in tree.body]
    for unit in units:
        for place, code in _places(compile(unit, filename, "exec", dont_inherit=True)):
            codes[place].append(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            found["<lambda>", node.lineno].append(node)         # two on one line cannot be told apart: both count
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min(n.lineno for n in (node, *node.decorator_list))
            found[node.name, line].append(node)
    _bare(tree)
    return codes, found


@functools.cache
def trees(code):
    """The syntax trees of a loaded code object; Unhashable where no source compiles to this very code."""
    place = code.co_name, code.co_firstlineno
    for text in texts(code.co_filename):
        try:
            codes, found = _parsed(code.co_filename, text)
        except SyntaxError:
            continue
        if code in codes[place] and found[place]:
            return tuple(found[place])
    raise Unhashable(f"the source of {code.co_name} is not there, or is not what runs")


@functools.cache
def global_names(code):
    """Global names in the code of a function and of all functions in it; those in annotations may be among them."""
    found = {i.argval for i in dis.get_instructions(code) if "GLOBAL" in i.opname or i.opname == "LOAD_NAME"}
    return found.union(*(global_names(c) for c in code.co_consts if isinstance(c, CodeType)))


@functools.cache
def chains_of(tree):
    """`{name: set of attribute chains}` of the names in a syntax tree: `{"models": {("build",)}}` for `models.build`."""
    found, inner = defaultdict(set), set()
    for node in ast.walk(tree):         # from the outside in: `a.b.c` comes before the `a.b` in it
        if isinstance(node, ast.Attribute) and node not in inner:
            chain, base = [], node
            while isinstance(base, ast.Attribute):
                inner.add(base)
                chain.insert(0, base.attr)
                base = base.value
            if isinstance(base, ast.Name):
                inner.add(base)
                found[base.id].add(tuple(chain))
        elif isinstance(node, ast.Name) and node not in inner:
            found[node.id].add(())
    return found


def imports(tree, package, ours):
    """`{name: object}` of the imports inside a function, of those that succeed and come from a module that is `ours`.

    The others stand in the tree by their names, whether they are installed or not.
    """
    found = {}
    for node in _imports_in(tree):
        for alias in node.names:
            try:
                source, value = _import(node, alias, package)
            except ImportError:
                continue
            if ours(source):
                found[alias.asname or alias.name.split(".")[0]] = value
    return found


@functools.cache
def _imports_in(tree):
    """The import statements in a syntax tree."""
    return [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]


def _import(node, alias, package):
    """`(module, object)`: where one name of an import comes from, and what it stands for."""
    if isinstance(node, ast.Import):
        module = importlib.import_module(alias.name)
        return module, module if alias.asname else sys.modules[alias.name.split(".")[0]]
    module = importlib.import_module("." * node.level + (node.module or ""), package or None)
    if hasattr(module, alias.name):
        return module, getattr(module, alias.name)
    inner = importlib.import_module(f"{module.__name__}.{alias.name}")
    return inner, inner
