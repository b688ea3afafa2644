"""One grammar for what users bring: a decorator with a name on a function with typed, keyword-only arguments."""
import inspect
from typing import Any, NamedTuple, get_type_hints

from .errors import Bad, nearest
from .sources import remember


class Argument(NamedTuple):
    """A keyword-only argument of a registered function: its annotation (see `lib.values`) and its default."""
    kind: object
    default: object


class Registry(dict):
    """`{name: function}` of one kind, as `method` or `model`. The decorators of `lib` register, settings look up."""

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def __setitem__(self, name, f):
        super().__setitem__(name, remember(f))      # with its source as it is now

    def register(self, name, f, **about):
        """Put `f` under a name, with `about` as its attributes; Bad where the name is missing or somebody else's.

        The same function defined again, as by a cell that runs twice, replaces itself.
        """
        if not isinstance(name, str) or not name:
            raise Bad(f'@lib.{self.kind}: it needs a name; write @lib.{self.kind}("Mine")')
        old = self.get(name)
        if old is not None and (old.__module__, old.__qualname__) != (f.__module__, f.__qualname__):
            raise Bad(f"@lib.{self.kind}({name!r}): there is one of this name in {old.__module__}; choose another")
        f.name = name
        for key, value in about.items():
            setattr(f, key, value)
        self[name] = f
        return f

    def find(self, name, where=None):
        """The function of that name; an unknown one is an error that names the nearest."""
        if name not in self:
            raise Bad(f"{where or self.kind + 's'}: no {self.kind} {name!r}; {nearest(name, self, self.kind)}")
        return self[name]


def arguments(f):
    """`{name: Argument}` of a function's keyword-only arguments, from its signature."""
    hints = get_type_hints(f, include_extras=True)
    found = [p for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY]
    return {p.name: Argument(hints.get(p.name, Any), p.default) for p in found}
