"""What a value may be: the types of settings and of arguments, and one sentence about a value that does not fit.

An annotation is a plain type, `Literal` for a choice, `list[T]`, `dict[K, T]`, `T | None`, a row of named fields as
`Schedule`, or a number with a range: `Annotated[float, Range(0, 1)]`, which has the short name `Share` here.
A text beside the type, `Annotated[dict, "a map of …"]`, is how messages call it.
"""
import math
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from .errors import shown

INF = float("inf")


class Range(NamedTuple):
    """The smallest and the largest value of a number, both included; above, below: that end is itself left out."""
    low: float
    high: float = INF
    above: bool = False
    below: bool = False


Whole = Annotated[int, Range(0)]
Count = Annotated[int, Range(1)]
Positive = Annotated[float, Range(0, above=True)]
NotNegative = Annotated[float, Range(0)]
Rate = Annotated[float, Range(0, 100)]          # a learning rate
Momentum = Annotated[float, Range(0, 0.9999)]   # of an optimiser: what is kept of the past
Share = Annotated[float, Range(0, 1)]
SomeShare = Annotated[float, Range(0, 1, above=True)]               # of which something is left to do
ProperShare = Annotated[float, Range(0, 1, above=True, below=True)]     # some, and not all
Percent = Annotated[float, Range(0, 100), "a percentage from 0 to 100"]
Side = Annotated[int, Range(4, 1024)]           # of an image, in pixels
Width = Annotated[int, Range(1, 4096)]          # channels, or entries of a token
Small = Annotated[int, Range(1, 64)]            # blocks, heads, pixels of a patch
Concentration = Annotated[float, Range(1e-3, 1e6)]      # of a Dirichlet distribution


class Schedule(NamedTuple):
    """Learning rates that fall along half a cosine from the first to the last within so many rounds."""
    kind: Literal["cosine"]
    first: Rate
    last: Rate
    rounds: Count


WORDS = {int: "a whole number", float: "a number", str: "a word", bool: "true or false", list: "a list", dict: "a map",
         NoneType: "null", Any: "anything"}


def plain(kind):
    """`(type without its range, Range or None)` of an annotation."""
    if get_origin(kind) is Annotated:
        base, *more = get_args(kind)
        return base, next((m for m in more if isinstance(m, Range)), None)
    return kind, None


def is_row(base):
    """Whether a type is a row of named fields, each of a type of its own."""
    return isinstance(base, type) and issubclass(base, tuple) and hasattr(base, "_fields")


# ---------------------------------------------------------------- judging

def misfit(kind, value):
    """Why a value does not fit an annotation, as the end of a sentence that begins with the value; None if it fits."""
    base, bounds = plain(kind)
    origin = get_origin(base)
    if base is Any:
        return None
    if origin in (Union, UnionType):
        return _misfit_union(kind, value)
    if origin is Literal:
        return _misfit_literal(kind, value)
    if origin in (list, tuple):
        return _misfit_list(kind, value)
    if origin is dict:
        return _misfit_dict(kind, value)
    if is_row(base):
        return _misfit_row(kind, value)
    if not _is(base, value):
        return f"must be {described(kind)}"
    if base is float and not _finite(value):
        return f"must be {described(kind)}, not {'NaN' if value != value else 'infinite'}"
    if bounds and not _inside(bounds, value):
        return f"is outside {_interval(bounds)}"
    return None


def _is(base, value):
    """Whether a value has a plain type; a bool is no number, a whole number is a float."""
    if base in (int, float):
        return isinstance(value, (int, float) if base is float else int) and not isinstance(value, bool)
    return isinstance(value, base)


def _finite(value):
    """Whether a number is one to count with: not NaN, not infinite, and no whole number too large for a float."""
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _inside(bounds, value):
    if bounds.above and value == bounds.low or bounds.below and value == bounds.high:
        return False
    return bounds.low <= value <= bounds.high


def _interval(bounds):
    low = f"above {bounds.low:g}" if bounds.above else f"{bounds.low:g}"
    high = "any" if bounds.high == INF else f"{'below ' * bounds.below}{bounds.high:g}"
    return f"{low} to {high}"


def _misfit_union(kind, value):
    kinds = get_args(plain(kind)[0])
    reasons = [misfit(one, value) for one in kinds]
    if None in reasons:
        return None
    for one, reason in zip(kinds, reasons):
        if reason.startswith("is outside"):
            return reason
        if detail := reason.removeprefix(f"must be {described(one)}"):      # of the right type, with a wrong part
            return f"must be {described(kind)}{detail}"
    return f"must be {described(kind)}"


def _misfit_literal(kind, value):
    for choice in get_args(plain(kind)[0]):
        if type(value) is type(choice) and value == choice:
            return None
    return f"must be {described(kind)}"


def _misfit_list(kind, value):
    element = get_args(plain(kind)[0])[0]
    if not isinstance(value, (list, tuple)):
        return f"must be {described(kind)}"
    for one in value:
        if reason := misfit(element, one):
            return f"must be {described(kind)}: {shown(one)} {reason}"
    return None


def _misfit_dict(kind, value):
    key_kind, value_kind = get_args(plain(kind)[0])
    if not isinstance(value, dict):
        return f"must be {described(kind)}"
    for key, one in value.items():
        if reason := misfit(key_kind, key):
            return f"must be {described(kind)}: {shown(key)} {reason}"
        if reason := misfit(value_kind, one):
            return f"must be {described(kind)}: {shown(one)} {reason}"
    return None


def _misfit_row(kind, value):
    fields = plain(kind)[0].__annotations__
    if not isinstance(value, (list, tuple)) or len(value) != len(fields):
        return f"must be {described(kind)}"
    for (name, field), one in zip(fields.items(), value):
        if reason := misfit(field, one):
            return f"must be {described(kind)}: {name} {shown(one)} {reason}"
    return None


def usable(kind):
    """Whether values can be held against an annotation at all."""
    try:
        for value in (None, 0, 0.5, "x", [0], {"x": 0}):
            misfit(kind, value)
        return bool(described(kind))
    except (TypeError, IndexError, ValueError):
        return False


# ---------------------------------------------------------------- words

def described(kind):
    """An annotation in words, for messages and for docs/parameters.md: `a number from 0 to 1 or null`."""
    for more in get_args(kind)[1:] if get_origin(kind) is Annotated else ():
        if isinstance(more, str):
            return more
    base, bounds = plain(kind)
    origin, args = get_origin(base), get_args(base)
    if origin in (Union, UnionType):
        return " or ".join(described(a) for a in args)
    if origin is Literal:
        return "one of " + ", ".join(map(str, args)) if len(args) > 1 else str(args[0])
    if origin in (list, tuple):
        return f"a list: {described(args[0])} each"
    if origin is dict:
        return f"a map from {described(args[0])} to {described(args[1])}"
    if is_row(base):
        return "[" + ", ".join(_field(name, field) for name, field in base.__annotations__.items()) + "]"
    words = WORDS.get(base) or getattr(base, "__name__", str(base))
    return words if bounds is None else f"{words} {_bounds(bounds)}"


def _field(name, kind):
    """A field of a row: its only word, or its name."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    return str(choices[0]) if len(choices) == 1 else name


def _bounds(bounds):
    if bounds.above and bounds.high < INF:
        return f"> {bounds.low:g} and {'<' if bounds.below else '<='} {bounds.high:g}"
    if bounds.high < INF:
        return f"from {bounds.low:g} to {bounds.high:g}"
    return f"{'>' if bounds.above else '>='} {bounds.low:g}"


def choices(kind):
    """The words among which an annotation lets one choose; none for any other."""
    base = plain(kind)[0]
    if get_origin(base) is Literal:
        return [word for word in get_args(base) if isinstance(word, str)]
    if get_origin(base) in (Union, UnionType):
        return [word for one in get_args(base) for word in choices(one)]
    return []


def misfit_with_nearest(kind, value):
    """`misfit`, and the nearest of the words one may choose, where there is one."""
    reason = misfit(kind, value)
    close = get_close_matches(str(value), choices(kind), 1, 0.5) if reason else []
    return f"{reason}; nearest: {close[0]}" if close else reason
