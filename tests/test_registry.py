"""One grammar for methods, nets, data sets and partitions: names, arguments, and who is refused."""
from typing import Any

import pytest

import lib
from lib.errors import Bad
from lib.registry import REQUIRED, Registry, arguments, judge, taken
from lib.values import Count, Share

DECORATORS = ("method", "model", "dataset", "partition")


def f(x, *, needed: Count, share: Share = 0.5, plain=2, anything=None, maybe: Count | None = None):
    """A function."""


def test_arguments_are_those_after_the_star():
    known = arguments(f)
    assert list(known) == ["needed", "share", "plain", "anything", "maybe"]
    assert known["share"] == (Share, 0.5) and known["needed"] == (Count, REQUIRED)
    assert known["plain"] == (int | None, 2) and known["anything"] == (Any, None)


@pytest.mark.parametrize("given, words", [
    ({"neded": 1}, "here: no argument 'neded'; nearest argument: needed"),
    ({"needed": 0}, "here.needed: 0 is outside 1 to any"),
    ({"needed": 1, "share": float("nan")}, "here.share: nan must be a number from 0 to 1, not NaN"),
    ({"needed": 1, "plain": "x"}, "here.plain: 'x' must be a whole number or null"),
    ({}, "here: it needs the argument 'needed'; add it"),
])
def test_what_does_not_fit_is_one_sentence(given, words):
    with pytest.raises(Bad) as error:
        judge(arguments(f), given, "here")
    assert str(error.value) == words


def test_null_is_the_default_where_null_does_not_fit():
    assert taken(arguments(f), {"share": None, "maybe": None, "other": 1, "needed": 3}) == {
        "needed": 3, "share": 0.5, "plain": 2, "anything": None, "maybe": None}
    assert "needed" not in taken(arguments(f), {})


def test_a_name_is_needed_and_belongs_to_one():
    r = Registry("thing")
    assert r.named("f", note=1)(f) is f and r == {"f": f} and (f.name, f.note) == ("f", 1)
    r.named("f")(f)                                 # defined again, as by a cell that runs twice
    other = type(f)(f.__code__, {"__name__": "elsewhere"}, "f")
    with pytest.raises(Bad, match="there is one of this name in .*test_registry; choose another"):
        r.named("f")(other)
    with pytest.raises(Bad, match="no thing 'g'; nearest thing: f|things: f"):
        r.find("g")


@pytest.mark.parametrize("kind", DECORATORS)
def test_a_decorator_without_a_name_is_refused(kind):
    with pytest.raises(Bad, match=f'@lib.{kind}: it needs a name; write @lib.{kind}\\("Mine"\\)'):
        getattr(lib, kind)(f)


@pytest.mark.parametrize("kind, name, home", [("method", "FT", "lib.methods.federated"), ("model", "cnn", "lib.fl.models"),
                                              ("dataset", "mnist", "lib.fl.data"), ("partition", "iid", "lib.fl.part")])
def test_a_name_of_lib_is_taken(kind, name, home):
    with pytest.raises(Bad, match=f"there is one of this name in {home}"):
        getattr(lib, kind)(name)(f)


def test_the_arguments_of_a_method_are_judged_again_where_it_begins():
    for given, words in (({"lr": float("nan")}, "methods.FT.lr: nan"), ({"lr": -1}, "methods.FT.lr: -1 is outside 0"),
                         ({"schedule": ["cosine", 0.1, 0.01, 0]}, "methods.FT.schedule: .*rounds 0 is outside")):
        with pytest.raises(Bad, match=words):
            next(lib.unlearn(None, None, "FT", **given))
