"""What made a result: the hash of everything that code reaches, by value.

`code_hash(f)` follows `f` as it is loaded: its syntax tree, defaults and closure, the globals that it names, and theirs
in turn. A function gives its tree (without docstrings, comments and annotations), a class what is in it, a module of
ours the attributes that are used, anything else its value, tensors and arrays by their bytes. It ends at installed
packages and the standard library, which a key only names, and at the modules of `WORDS`, which hold words and files,
not arithmetic. What has no exact value, such as an open file, raises `Unhashable`.
"""
import ast
import builtins
import dataclasses
import dis
import functools
import hashlib
import importlib
import inspect
import sys
import sysconfig
from collections import defaultdict
from pathlib import Path
from types import (BuiltinFunctionType, CodeType, FunctionType, MappingProxyType, MethodType, MethodWrapperType,
                   ModuleType)

import numpy as np
import torch

from ..registry import Registry
from ..sources import texts

WORDS = {f"lib.{name}" for name in ("settings", "words", "files", "errors", "profiles", "values", "registry",
                                    "sources", "runs.progress",
                                    "runs.store", "runs.code")}
REGISTERING = {"method", "model", "dataset", "partition", "metric", "claim", "study"}
INSTALLED = {str(Path(p).resolve()) for k, p in sysconfig.get_paths().items() if k in ("stdlib", "platstdlib",
                                                                                       "purelib", "platlib")}
PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range)
OF_A_CLASS = {"__dict__", "__weakref__", "__doc__", "__module__", "__annotations__", "__annotate__", "__orig_bases__",
              "__annotate_func__", "__annotations_cache__", "__firstlineno__", "__static_attributes__",
              "__dataclass_params__", "__match_args__", "__abstractmethods__", "_abc_impl", "__qualname__",
              "__parameters__", "__type_params__", "__classcell__"}


class Unhashable(Exception):
    """Something that code reaches has no value that a key could hold."""


def code_hash(*objects, only=None):
    """Hash of all that functions, classes or values reach. only: `{kind: names}`, the entries of the registry of that
    kind that matter; all of them where a kind is not named."""
    reach = _Reach(only or {})
    for o in objects:
        reach.visit(o)
    return reach.hash.hexdigest()[:16]


# ---------------------------------------------------------------- the syntax tree of loaded code

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
    codes, trees = defaultdict(list), defaultdict(list)
    tree = ast.parse(text)
    units = [tree]
    if not Path(filename).is_file():        # a kernel compiles the statements of a cell one by one
        units += [ast.Module([statement], []) for statement in tree.body]
    for unit in units:
        for place, code in _places(compile(unit, filename, "exec", dont_inherit=True)):
            codes[place].append(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.Lambda):
            trees["<lambda>", node.lineno].append(node)         # two on one line cannot be told apart: both count
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            line = min(n.lineno for n in (node, *node.decorator_list))
            trees[node.name, line].append(node)
    _bare(tree)
    return codes, trees


@functools.cache
def _trees(code):
    """The syntax trees of a loaded code object; Unhashable where no source compiles to this very code."""
    place = code.co_name, code.co_firstlineno
    for text in texts(code.co_filename):
        try:
            codes, trees = _parsed(code.co_filename, text)
        except SyntaxError:
            continue
        if code in codes[place] and trees[place]:
            return tuple(trees[place])
    raise Unhashable(f"the source of {code.co_name} is not there, or is not what runs")


@functools.cache
def _names(code):
    """Global names in the code of a function and of all functions in it; those in annotations may be among them."""
    found = {i.argval for i in dis.get_instructions(code) if "GLOBAL" in i.opname or i.opname == "LOAD_NAME"}
    return found.union(*(_names(c) for c in code.co_consts if isinstance(c, CodeType)))


@functools.cache
def _chains(tree):
    """`{name: set of attribute chains}` of all names in a syntax tree: `{"models": {("build",)}}` for `models.build`."""
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


def _imported(tree, package):
    """`{name: object}` of the imports inside a function."""
    found = {}
    for node in ast.walk(tree):
        for alias in node.names if isinstance(node, (ast.Import, ast.ImportFrom)) else ():
            if isinstance(node, ast.Import):
                module = importlib.import_module(alias.name)
                found[alias.asname or alias.name.split(".")[0]] = (
                    module if alias.asname else sys.modules[alias.name.split(".")[0]])
                continue
            module = importlib.import_module("." * node.level + (node.module or ""), package or None)
            value = getattr(module, alias.name, None)
            found[alias.asname or alias.name] = (
                importlib.import_module(f"{module.__name__}.{alias.name}") if value is None else value)
    return found


# ---------------------------------------------------------------- what is whose

def _file(o):
    """The file that an object was defined in, or what stands for it."""
    if hasattr(o, "__code__"):
        return o.__code__.co_filename
    module = o if isinstance(o, ModuleType) else sys.modules.get(getattr(o, "__module__", None))
    name = getattr(module, "__name__", "")      # "__main__" is a notebook or a script, whoever runs it
    return name if name == "__main__" else getattr(module, "__file__", None) or ""


@functools.cache
def _installed(file):
    """Whether a file belongs to an installed package or to the standard library; builtins have none."""
    if not file or file.startswith("<frozen"):
        return True
    path = Path(file)
    if {"site-packages", "dist-packages"} & set(path.parts):
        return True
    return path.is_absolute() and any(path.resolve().is_relative_to(p) for p in INSTALLED)


def _generated(o):
    """Whether a function was written by dataclass or NamedTuple: it has no source, and the fields say it all."""
    o = inspect.unwrap(o) if isinstance(o, FunctionType) else o
    return isinstance(o, FunctionType) and not any(texts(o.__code__.co_filename))


def _in_words(name, value):
    """Whether a global is a name of one of the modules that hold words."""
    if getattr(value, "__module__", None) in WORDS or getattr(value, "__name__", None) in WORDS:
        return True
    modules = (sys.modules.get(m) for m in WORDS)
    return any(m is not None and vars(m).get(name) is value for m in modules if not isinstance(value, PLAIN[:1]))


class _Reach:
    """A walk over all that is reached: everything writes itself into one hash, what was seen before by its number."""

    def __init__(self, only):
        self.only, self.hash, self.seen, self.alive = only, hashlib.sha256(), {}, []

    def write(self, *words):
        self.hash.update(("\x1f".join(map(str, words)) + "\x1e").encode())

    def visit(self, o):
        if isinstance(o, PLAIN):
            return self.write(type(o).__name__, repr(o))
        if isinstance(o, (tuple, frozenset, set)):
            return self.collection(o)
        if id(o) in self.seen:
            return self.write("seen", self.seen[id(o)])
        self.seen[id(o)] = len(self.seen)
        self.alive.append(o)            # or its id would be another object's
        if isinstance(o, torch.Tensor):
            self.tensor(o)
        elif isinstance(o, (np.ndarray, np.generic)):
            self.array(o)
        elif isinstance(o, Registry):
            self.write("registry", o.kind)
            for name in sorted(self.only.get(o.kind, o)):
                self.visit((name, o.get(name)))
        elif isinstance(o, list):
            self.collection(o)
        elif isinstance(o, (dict, MappingProxyType)):
            self.write("dict", type(o).__qualname__, len(o))
            for item in o.items():
                self.visit(item)
        elif hasattr(o, "__wrapped__"):
            if isinstance(o, FunctionType) and not _installed(_file(o)):
                self.function(o)
            self.visit(o.__wrapped__)
        elif isinstance(o, FunctionType):
            self.function(o)
        elif isinstance(o, type):
            self.type(o)
        elif isinstance(o, ModuleType):
            self.module(o)
        else:
            self.other(o)

    def collection(self, o):
        self.write(type(o).__qualname__, len(o))
        for item in sorted(o, key=lambda v: code_hash(v, only=self.only)) if isinstance(o, (set, frozenset)) else o:
            self.visit(item)

    def tensor(self, o):
        if o.layout != torch.strided or o.is_quantized or o.device.type == "meta":
            raise Unhashable(f"a tensor of layout {o.layout} on {o.device} cannot be hashed")
        self.write("tensor", o.dtype, tuple(o.shape))
        self.hash.update(o.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())

    def array(self, o):
        if o.dtype.hasobject:
            return self.visit(o.tolist())
        self.write("array", o.dtype.str, o.shape)
        self.hash.update(np.ascontiguousarray(o).tobytes())

    def function(self, f):
        if f.__module__ in WORDS:
            return
        if _installed(f.__code__.co_filename):
            self.write("installed", f.__module__, f.__qualname__)
            return
        self.visit((f.__defaults__, f.__kwdefaults__))
        closure = dict(zip(f.__code__.co_freevars, f.__closure__ or ()))
        for tree in _trees(f.__code__):
            self.write("function", dump(tree))
            local, chains = _imported(tree, f.__globals__.get("__package__")), _chains(tree)
            decorators = [n.id for d in getattr(tree, "decorator_list", ()) for n in ast.walk(d)
                          if isinstance(n, ast.Name)]
            reached = {*_names(f.__code__), *closure, *local, *decorators}
            for name in sorted(reached & chains.keys()):
                self.name(name, chains[name], local, closure, f.__globals__)

    def name(self, name, chains, local, closure, space):
        """A name in a function: an import of its own, a variable around it, a global, or a builtin."""
        if name in local:
            value = local[name]
        elif name in closure:
            try:
                value = closure[name].cell_contents
            except ValueError:          # not set yet
                return
        elif name in space:
            value = space[name]
        else:
            return self.write("builtin" if hasattr(builtins, name) else "missing", name)
        self.write("name", name)
        self.used(name, value, chains)

    def used(self, name, value, chains):
        """The value of a name, or of a module of ours the attributes that are used of it."""
        if not isinstance(value, Registry) and _in_words(name, value):
            return
        if not isinstance(value, ModuleType) or _installed(_file(value)) or () in chains:
            return self.visit(value)
        for chain in sorted(chains):
            found = getattr(value, chain[0], None)
            self.write("attribute", chain[0])
            self.used(chain[0], found, {chain[1:]})

    def module(self, o):
        if o.__name__ in WORDS:
            return
        self.write("module", o.__name__)
        if not _installed(_file(o)):    # as a whole: any of its functions may be meant
            for name, value in sorted(vars(o).items()):
                if not name.startswith("__") and not isinstance(value, ModuleType):
                    self.used(name, value, {()})

    def type(self, o):
        if o.__module__ in WORDS:
            return
        self.write("class", o.__module__ if _installed(_file(o)) else "", o.__qualname__)
        if _installed(_file(o)):
            return
        self.visit(o.__bases__)
        for name, value in sorted(vars(o).items()):
            if isinstance(value, (staticmethod, classmethod, functools.cached_property)):
                value = getattr(value, "__func__", getattr(value, "func", None))
            parts = (value.fget, value.fset, value.fdel) if isinstance(value, property) else (value,)
            for part in parts:
                if name in OF_A_CLASS or _generated(part) or inspect.isdatadescriptor(part):
                    continue
                self.write("member", name)
                self.visit(part)

    def other(self, o):
        """Bound methods, partials, builtins, and any object that can say what it is made of."""
        if isinstance(o, MethodType):
            return self.visit((o.__func__, o.__self__))
        if isinstance(o, dataclasses.Field):        # but for its annotation
            return self.visit(("field", o.name, o.default, o.default_factory))
        if isinstance(o, functools.partial):
            return self.visit(("partial", o.func, o.args, o.keywords))
        if isinstance(o, (BuiltinFunctionType, MethodWrapperType)) or inspect.ismethoddescriptor(o):
            self.write("builtin", o.__qualname__)
            owner = getattr(o, "__self__", None)
            return None if owner is None or isinstance(owner, ModuleType) else self.visit(owner)
        try:
            made = o.__reduce_ex__(4)
        except Exception as error:
            raise Unhashable(f"{type(o).__qualname__} cannot be hashed ({error})") from None
        if isinstance(made, str):
            return self.write("global", type(o).__qualname__, made)
        self.visit(tuple(list(part) if i in (3, 4) and part is not None else part for i, part in enumerate(made)))
