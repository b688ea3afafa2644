"""What a value may be: the types of settings and of arguments, and one sentence about a value that does not fit.

An annotation is a plain type, `Literal` for a choice, `list[T]`, `dict[K, T]`, `T | None`, or a number with a range:
`Annotated[float, Range(0, 1)]`, which has the short name `Share` here.
"""
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

INF = float("inf")


class Range(NamedTuple):
    """The smallest and the largest value of a number, both included."""
    low: float
    high: float = INF


Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
NotNegative = Annotated[float, Range(0)]
Rate = Annotated[float, Range(0, 100)]          # a learning rate
Share = Annotated[float, Range(0, 1)]
Percent = Annotated[float, Range(0, 100)]
WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", list: "a list", dict: "a map",
         NoneType: "null"}


def plain(kind):
    """`(type without its range, Range or None)` of an annotation."""
    if get_origin(kind) is Annotated:
        base, *more = get_args(kind)
        return base, next((m for m in more if isinstance(m, Range)), None)
    return kind, None


def misfit(kind, value):
    """Why a value does not fit an annotation, as the end of a sentence that begins with the value; None if it fits."""
    base, bounds = plain(kind)
    origin = get_origin(base)
    if base is Any:
        return None
    if origin in (Union, UnionType):
        return _misfit_union(get_args(base), value)
    if origin is Literal:
        return None if value in get_args(base) and not isinstance(value, bool) else f"must be {described(base)}"
    if origin in (list, tuple):
        return _misfit_list(get_args(base), value)
    if origin is dict:
        return _misfit_dict(*get_args(base), value)
    if not _is(base, value):
        return f"must be {described(kind)}"
    if bounds and not bounds.low <= value <= bounds.high:      # NaN is in no range
        return f"is outside {bounds.low:g} to {'any' if bounds.high == INF else f'{bounds.high:g}'}"
    if base is float and value != value:
        return "must be a number that is finite"
    return None


def _is(base, value):
    """Whether a value has a plain type; a bool is no number, a whole number is a float."""
    if base in (int, float):
        return isinstance(value, (int, float) if base is float else int) and not isinstance(value, bool)
    return isinstance(value, base)


def _misfit_union(kinds, value):
    reasons = [misfit(kind, value) for kind in kinds]
    if None in reasons:
        return None
    nearest = [r for kind, r in zip(kinds, reasons) if kind is not NoneType and r.startswith("is outside")]
    return nearest[0] if nearest else "must be " + " or ".join(described(kind) for kind in kinds)


def _misfit_list(kinds, value):
    if not isinstance(value, (list, tuple)):
        return f"must be a list of {described(kinds[0])}"
    for one in value:
        if reason := misfit(kinds[0], one):
            return f"must be a list of {described(kinds[0])}: {one!r} {reason}"
    return None


def _misfit_dict(key_kind, value_kind, value):
    if not isinstance(value, dict):
        return f"must be a map from {described(key_kind)} to {described(value_kind)}"
    for kind, ones in ((key_kind, value), (value_kind, value.values())):
        for one in ones:
            if reason := misfit(kind, one):
                return f"must be a map from {described(key_kind)} to {described(value_kind)}: {one!r} {reason}"
    return None


def described(kind):
    """An annotation in words, for messages and for docs/parameters.md: `a number, 0 to 1, or null`."""
    base, bounds = plain(kind)
    origin, args = get_origin(base), get_args(base)
    if origin in (Union, UnionType):
        return " or ".join(described(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args))
    if origin in (list, tuple):
        return f"a list of {described(args[0])}"
    if origin is dict:
        return f"a map from {described(args[0])} to {described(args[1])}"
    words = WORDS.get(base, getattr(base, "__name__", str(base)))
    if bounds is None:
        return words
    return words + (f" >= {bounds.low:g}" if bounds.high == INF else f" from {bounds.low:g} to {bounds.high:g}")
