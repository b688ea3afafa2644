"""What made a result: the hash of everything that code reaches, by value.

`code_hash(f)` follows `f` as it is loaded: its syntax tree, defaults and closure, the globals that it names, and theirs
in turn. A function gives its tree (without docstrings, comments and annotations), a class what is in it, a module of
ours the attributes that are used, anything else its value, tensors and arrays by their bytes. It ends at installed
packages and the standard library, which a key only names, and at the modules of `WORDS`, which hold words and files,
not arithmetic. What has no exact value, such as an open file, raises `Unhashable`. Not seen: what is looked up by a
name made at run time, and attributes of what a function is given, whose classes the caller adds.
"""
import builtins
import dataclasses
import functools
import hashlib
import inspect
import sys
import sysconfig
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, MethodWrapperType, ModuleType

import numpy as np
import torch

from ..registry import Registry
from ..sources import texts
from .syntax import Unhashable, chains_of, global_names, imports, text_of, trees

WORDS = {f"lib.{name}" for name in (
    "settings", "words", "files", "errors", "profiles", "values", "registry", "signatures", "extensions", "sources",
    "runs.progress", "runs.store", "runs.code", "runs.syntax")}
INSTALLED = [str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
PLAIN = (int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range)
OF_A_CLASS = {      # what every class has, and versions of Python differ in, or what pickling an object leaves there
    "__dict__", "__weakref__", "__doc__", "__module__", "__qualname__", "__orig_bases__", "__annotations__",
    "__annotate__", "__annotate_func__", "__annotations_cache__", "__conditional_annotations__", "__firstlineno__",
    "__static_attributes__", "__dataclass_params__", "__match_args__", "__parameters__", "__type_params__",
    "__classcell__", "__abstractmethods__", "_abc_impl", "__slotnames__"}


def code_hash(*objects, only=None):
    """Hash of all that functions, classes or values reach. only: `{kind: names}`, the entries of the registry of that
    kind that matter; all of them where a kind is not named."""
    reach = _Reach(only or {})
    for o in objects:
        reach.visit(o)
    return reach.hash.hexdigest()[:16]


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


def _ours(module):
    """Whether a module is neither installed nor of the standard library."""
    return not _installed(_file(module))


def _generated(name, member):
    """Whether dataclass or NamedTuple gave a class this member: the fields say it all, and versions differ."""
    if not isinstance(member, FunctionType):
        return False
    file = inspect.unwrap(member).__code__.co_filename
    return not any(texts(file)) or name.startswith("_") and _installed(file)


def _in_words(name, value):
    """Whether a name stands for what one of the modules of words holds under this name; numbers and texts count."""
    if isinstance(value, PLAIN):
        return False
    if getattr(value, "__module__", None) in WORDS or getattr(value, "__name__", None) in WORDS:
        return True
    modules = [sys.modules[m] for m in WORDS if m in sys.modules]
    return any(vars(m).get(name) is value for m in modules)


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
        self.writer(o)(o)

    def writer(self, o):
        """The method that writes an object of this kind."""
        kinds = ((torch.Tensor, self.tensor), ((np.ndarray, np.generic), self.array), (Registry, self.registry),
                 (list, self.collection), ((dict, MappingProxyType), self.mapping))
        for kind, write in kinds:
            if isinstance(o, kind):
                return write
        if hasattr(o, "__wrapped__"):
            return self.wrapped
        for kind, write in ((FunctionType, self.function), (type, self.type), (ModuleType, self.module)):
            if isinstance(o, kind):
                return write
        return self.other

    def registry(self, o):
        self.write("registry", o.kind)
        for name in sorted(self.only.get(o.kind, o)):
            self.visit((name, o.get(name)))

    def mapping(self, o):
        self.write("dict", type(o).__qualname__, len(o))
        for item in o.items():
            self.visit(item)

    def wrapped(self, o):
        """A decorated function: what the decorator made of it, where that is ours, and itself."""
        if isinstance(o, FunctionType) and not _installed(_file(o)):
            self.function(o)
        self.visit(o.__wrapped__)

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
            if getattr(sys.modules.get(f.__module__), f.__name__, None) is not f:       # made by a function of theirs
                self.visit([c.cell_contents for c in f.__closure__ or ()])
            return
        self.visit((f.__defaults__, f.__kwdefaults__))
        closure = dict(zip(f.__code__.co_freevars, f.__closure__ or ()))
        for tree in trees(f.__code__):
            self.write("function", text_of(tree))
            local, chains = imports(tree, f.__globals__.get("__package__"), _ours), chains_of(tree)
            decorators = [name for d in getattr(tree, "decorator_list", ()) for name in chains_of(d)]
            reached = {*global_names(f.__code__), *closure, *local, *decorators}
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
                if name in OF_A_CLASS or _generated(name, part) or inspect.isdatadescriptor(part):
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
