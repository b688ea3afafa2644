"""What fits an annotation, and the sentence about what does not."""
from typing import Any, Literal

import pytest

from lib.values import (
    Count,
    Momentum,
    NotNegative,
    Percent,
    Positive,
    ProperShare,
    Rate,
    Schedule,
    Share,
    SomeShare,
    Whole,
    described,
    misfit,
    misfit_with_nearest,
)

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("kind, good, bad", [
    (int, [0, -3], [True, 1.0, "1", None]),
    (float, [0, 1.5, -3], [NAN, INF, -INF, 10**400, True, "1", None]),
    (bool, [True], [1, "true"]),
    (Count, [1, 7], [0, -1, 1.0, True]),
    (Whole, [0], [-1]),
    (Share, [0, 1, 0.5], [1.01, -0.01, NAN]),
    (Positive, [1e-9, 1e300], [0, -1, NAN, INF]),
    (NotNegative, [0], [-1e-9, NAN, INF]),
    (ProperShare, [0.5], [0, 1, NAN]),
    (SomeShare, [1], [0]),
    (Rate, [0, 100], [101, NAN, INF]),
    (Momentum, [0], [1]),
    (Count | None, [None, 1], [0, "x"]),
    (Literal["a", "b"], ["a"], ["c", None, ["a"]]),
    (Literal[1, 3], [1], [True, 1.0, 2]),
    (list[Whole], [[], [1], (0, 2)], [[-1], 3, [True], "12"]),
    (list[int | str] | None, [None, [1, "a"]], [[1.5]]),
    (dict[str, Count], [{}, {"a": 1}], [{"a": 0}, {1: 1}, []]),
    (Schedule, [["cosine", 0.1, 0, 5], ("cosine", 1, 1, 1)],
     [["cosine", 0.1, 0], ["cosine", -1, 0, 5], ["cosine", 0.1, 0, 0], ["cosine", 0.1, 0, 2.5], ["step", 1, 1, 1],
      ["cosine", NAN, 0, 5], None, "cosine"]),
    (Any, [None, NAN, "x"], []),
])
def test_what_fits(kind, good, bad):
    for value in good:
        assert misfit(kind, value) is None, value
    for value in bad:
        assert misfit(kind, value), value


@pytest.mark.parametrize("kind, value, words", [
    (Share | None, 2, "is outside 0 to 1"),
    (Positive, 0, "is outside above 0 to any"),
    (ProperShare, 1, "is outside above 0 to below 1"),
    (float, INF, "must be a number, not infinite"),
    (Percent, "x", "must be a percentage from 0 to 100"),
    (list[Count], [3, 0], "must be a list: a whole number >= 1 each: 0 is outside 1 to any"),
    (dict[str, Count], {"a": 0}, "must be a map from a word to a whole number >= 1: 0 is outside 1 to any"),
    (Schedule | None, "x", "must be [cosine, first, last, rounds] or null"),
])
def test_the_sentence(kind, value, words):
    assert misfit(kind, value) == words


def test_the_nearest_word_is_named_where_there_is_one():
    kind = Literal["zero", "init"] | None
    assert misfit_with_nearest(kind, "zer") == "must be one of zero, init or null; nearest: zero"
    assert misfit_with_nearest(kind, "other") == "must be one of zero, init or null"
    assert misfit_with_nearest(kind, "zero") is None


def test_annotations_in_words():
    assert described(Rate | None) == "a number from 0 to 100 or null"
    assert described(Positive) == "a number > 0" and described(Whole) == "a whole number >= 0"
    assert described(ProperShare) == "a number > 0 and < 1" and described(SomeShare) == "a number > 0 and <= 1"
    assert described(list[int | str]) == "a list: a whole number or a word each"
