"""One grammar for what users bring: a decorator with a name on a function with typed, keyword-only arguments."""
import functools
import inspect
from typing import Any, NamedTuple, get_type_hints

from .errors import Bad, nearest, short, shown
from .sources import remember
from .values import misfit, misfit_with_nearest, usable

REQUIRED = inspect.Parameter.empty      # the default of an argument that has none


class Argument(NamedTuple):
    """A keyword-only argument of a registered function: its annotation (see `lib.values`) and its default."""
    kind: object
    default: object


class Registry(dict):
    """`{name: function}` of one kind, as `method` or `model`. The decorators of `lib` register, settings look up."""

    def __init__(self, kind, takes=None):
        """takes: the positional arguments that all functions of the kind are called with, as `("task", "state")`."""
        super().__init__()
        self.kind = kind
        self.takes = takes

    def named(self, name=None, **about):
        """The decorator that registers a function under a name; Bad at once where the name is missing."""
        if not isinstance(name, str) or not name:
            raise Bad(f'@lib.{self.kind}: it needs a name; write @lib.{self.kind}("Mine")')
        return lambda f: self.register(name, f, **about)

    def __setitem__(self, name, f):
        super().__setitem__(name, remember(f))      # with its source as it is now

    def register(self, name, f, **about):
        """Put `f` under a name, with `about` as its attributes; Bad where the name is somebody else's.

        The same function defined again, as by a cell that runs twice, replaces itself.
        """
        old = self.get(name)
        if old is not None and (old.__module__, old.__qualname__) != (f.__module__, f.__qualname__):
            raise Bad(f"@lib.{self.kind}({name!r}): there is one of this name in {old.__module__}; choose another")
        self.judge_function(name, f)
        f.name = name
        for key, value in about.items():
            setattr(f, key, value)
        self[name] = f
        return f

    def judge_function(self, name, f):
        """Refuse a function that cannot be called as the kind is, or whose arguments no setting could be held against."""
        where = f"@lib.{self.kind}({name!r})"
        if self.takes is None:
            return
        if "/" in name:
            raise Bad(f"{where}: a name has no slash, which begins a label; choose another")
        head = ", ".join((*self.takes, "*", "argument: type = default"))
        try:
            known = arguments(f)
            inspect.signature(f).bind(*self.takes, **dict.fromkeys(known))
        except (TypeError, ValueError, NameError, SyntaxError) as error:
            raise Bad(f"{where}: it cannot be called ({short(error)}); write def f({head})") from error
        for argument, (kind, _) in known.items():
            if not usable(kind):
                raise Bad(f"{where}: no setting can be held against the type of {argument}, {shown(kind)}; "
                          "use int, float, bool, str, list[…], dict[…] or Literal[…]")

    def find(self, name, where=None):
        """The function of that name; an unknown one is an error that names the nearest."""
        if not isinstance(name, str) or name not in self:
            raise Bad(f"{where or self.kind + 's'}: no {self.kind} {shown(name)}; {nearest(name, self, self.kind)}")
        return self[name]


# Here, below everything that trains, so that settings can look things up without importing it.
METHODS = Registry("method", ("task", "trained"))
MODELS = Registry("model", ("channels", "classes", "size"))
DATASETS = Registry("dataset", ())
PARTITIONS = Registry("partition", ("labels", "n", "rng"))


@functools.cache        # every setting of every profile is held against them
def arguments(f):
    """`{name: Argument}` of a function's keyword-only arguments, from its signature; not to be changed."""
    hints = get_type_hints(f, include_extras=True)
    found = [p for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: Argument(hints.get(p.name, _like(p.default)), p.default) for p in found}


def _like(default):
    """The annotation of an argument that has none: the type of its default, or null."""
    return type(default) | None if isinstance(default, (bool, int, float, str)) else Any


def judge(known, given, where):
    """Refuse what is no argument, is missing or does not fit. known: `{name: Argument}`; given: `{name: value}`."""
    for name, value in given.items():
        if name not in known:
            raise Bad(f"{where}: no argument {shown(name)}; {nearest(name, known, 'argument')}")
        if reason := misfit_with_nearest(known[name].kind, value):
            raise Bad(f"{where}.{name}: {shown(value)} {reason}")
    for name, argument in known.items():
        if argument.default is REQUIRED and name not in given:
            raise Bad(f"{where}: it needs the argument {name!r}; add it")


def taken(known, values):
    """Of `values` those that the `known` arguments take; null is the argument's default where it does not fit."""
    out = {}
    for name, argument in known.items():
        value = values.get(name, argument.default)
        if value is None and misfit(argument.kind, None):
            value = argument.default
        if value is not REQUIRED:
            out[name] = value
    return out
