"""Parameters: starts, fixed values, bounds and ties, in Python and as text."""

import math

import numpy as np
import pytest

from sgdfit.errors import SgdfitError
from sgdfit.formula.reading import as_formula
from sgdfit.model.model import build
from sgdfit.model.parameters import DEFAULT_START, declare

FORMULA = as_formula("y = a*x + b*z + c + d")
NAMES = ("a", "b", "c", "d")
INF = math.inf


def declared(**options):
    return declare(FORMULA, NAMES, **options)


def summary(parameters):
    return {
        p.name: (p.role, p.origin, p.start, p.low, p.high, p.tie)
        for p in parameters.values()
        if (p.origin, p.low, p.high) != (f"default {DEFAULT_START}", -INF, INF)
    }


def free(origin, start, low=-INF, high=INF):
    return ("free", origin, start, low, high, None)


def fixed(value):
    return ("fixed", "fixed", value, -INF, INF, None)


TABLE = [
    ({}, {}),
    ({"start": ""}, {}),
    ({"start": {"a": 4}}, {"a": free("given", 4.0)}),
    ({"start": "a=4"}, {"a": free("given", 4.0)}),
    ({"start": "a = 4, b=-5e-1,c=+7"},
     {"a": free("given", 4.0), "b": free("given", -0.5), "c": free("given", 7.0)}),
    ({"start": ["a=4", "b=5, c=7"]},
     {"a": free("given", 4.0), "b": free("given", 5.0), "c": free("given", 7.0)}),
    ({"start": {"a": np.float32(0.5)}}, {"a": free("given", 0.5)}),
    ({"start": "`a`=4"}, {"a": free("given", 4.0)}),
    ({"fixed": "c=3"}, {"c": fixed(3.0)}),
    ({"fixed": "c=3", "start": "c=7, a=1"}, {"c": fixed(3.0), "a": free("given", 1.0)}),
    ({"fixed": "c=3", "bounds": "0 < c < 10"}, {"c": fixed(3.0)}),
    ({"bounds": {"b": (0, 10)}}, {"b": free("default 1.0", 1.0, 0.0, 10.0)}),
    ({"bounds": "0 < b < 10"}, {"b": free("default 1.0", 1.0, 0.0, 10.0)}),
    ({"bounds": "b > 0"}, {"b": free("default 1.0", 1.0, 0.0)}),
    ({"bounds": "b > 0, b < 10"}, {"b": free("default 1.0", 1.0, 0.0, 10.0)}),
    ({"bounds": ["b > 0", "b < 10 and a < 5"]},
     {"b": free("default 1.0", 1.0, 0.0, 10.0), "a": free("default 1.0", 1.0, -INF, 5.0)}),
    ({"bounds": {"b": (None, 5)}}, {"b": free("default 1.0", 1.0, -INF, 5.0)}),
    ({"bounds": {"b": [0, np.float64(4)]}}, {"b": free("default 1.0", 1.0, 0.0, 4.0)}),
    ({"bounds": "b > 1"}, {"b": free("bound", 2.0, 1.0)}),
    ({"bounds": "b < -3"}, {"b": free("bound", -4.0, -INF, -3.0)}),
    ({"bounds": "2 < b < 8"}, {"b": free("bound", 5.0, 2.0, 8.0)}),
    ({"bounds": "0 < b < 10", "start": "b=10"}, {"b": free("given", 10.0, 0.0, 10.0)}),
    ({"tied": "d = 2*a"}, {"d": ("tied", "tied", None, -INF, INF, "2*a")}),
    ({"tied": "d = 2*3"}, {"d": ("tied", "tied", None, -INF, INF, "6")}),
    ({"tied": "d = max(a, b), c = d + 1", "start": "d=7"},
     {"d": ("tied", "tied", None, -INF, INF, "maximum(a, b)"),
      "c": ("tied", "tied", None, -INF, INF, "d + 1")}),
]  # fmt: skip


@pytest.mark.parametrize(("options", "expected"), TABLE, ids=[str(o) for o, _ in TABLE])
def test_what_was_said(options, expected):
    parameters = declared(**options)
    assert tuple(parameters) == NAMES
    found = summary(parameters)
    for name, (role, origin, start, *rest) in expected.items():
        shown = found.pop(name)
        assert (shown[0], shown[1], *shown[3:]) == (role, origin, *rest)
        assert math.isnan(shown[2]) if start is None else shown[2] == start
    assert found == {}


def test_random_starts_are_seeded_standard_normals():
    first, again = declared(start="random", seed=3), declared(start=" random ", seed=3)
    other = declared(start="random", seed=4)
    drawn = [p.start for p in first.values()]
    assert drawn == [p.start for p in again.values()]
    assert drawn != [p.start for p in other.values()]
    assert drawn == np.random.default_rng(3).standard_normal(4).tolist()
    assert {p.origin for p in first.values()} == {"random"}
    parameters = declared(start="random", seed=0, bounds="5 < a < 6", fixed="b=2", tied="c=a")
    assert (parameters["a"].start, parameters["a"].origin) == (5.5, "bound")
    assert [parameters[n].origin for n in "bcd"] == ["fixed", "tied", "random"]
    many = [p.start for seed in range(500) for p in declared(start="random", seed=seed).values()]
    assert abs(np.mean(many)) < 0.1
    assert abs(np.std(many) - 1) < 0.1


def test_a_function_s_own_values_stand_where_nothing_else_is_said():
    import functools

    def line(a, x, b=5.0, c=6.0):
        return a * x + b + c

    formula = as_formula(functools.partial(line, 2.0))
    parameters = declare(formula, ("a", "b", "c"), start="b=7")
    assert [(p.role, p.origin, p.start) for p in parameters.values()] == [
        ("fixed", "fixed", 2.0), ("free", "given", 7.0), ("free", "given", 6.0),
    ]  # fmt: skip
    assert declare(formula, ("a", "b", "c"), fixed={"a": 9})["a"].start == 9.0
    assert declare(formula, ("b", "c"))["b"].start == 5.0


def test_the_values_of_ties():
    model = build(FORMULA, ["x", "y", "z"], tied="d = 2*c, c = a**2 + log(a)", fixed="b=0.5")
    assert model.free == ("a",)
    assert model.values([1.0]) == {"a": 1.0, "b": 0.5, "c": 1.0, "d": 2.0}
    assert math.isnan(model.values([-1.0])["d"])


REFUSED = [
    ({"start": "aa=1"}, "Did you mean 'a'"),
    ({"start": {"q": 1}}, "'q', which is no parameter of the formula.*a, b, c, d"),
    ({"start": "x=1"}, "'x', which is no parameter.*a column of the data is none"),
    ({"start": {5: 1}}, "5, which is no parameter"),
    ({"start": "a"}, "write name=value"),
    ({"start": "a=4 b=5"}, "number is needed"),
    ({"start": "a=4, a=5"}, "'a' twice"),
    ({"start": "a=four"}, "start of 'a' is 'four'; a number is needed"),
    ({"start": "a=nan"}, "finite number is needed"),
    ({"start": {"a": 10**400}}, "a number is needed"),
    ({"start": 4}, "start is 4; write text"),
    ({"fixed": "c=30", "bounds": "0 < c < 10"},
     "fixed value c = 30 lies outside of its bounds 0 to 10"),
    ({"start": "b=30", "bounds": "0 < b < 10"},
     "start b = 30 lies outside of its bounds 0 to 10"),
    ({"bounds": {"b": (10, 0)}}, "leave no room between 10 and 0"),
    ({"bounds": {"b": (1, 1)}}, "leave no room between 1 and 1; to hold it at a value, fix it"),
    ({"bounds": {"b": 5}}, r"give \(low, high\)"),
    ({"bounds": {"b": ("x", 2)}}, r"give \(low, high\)"),
    ({"bounds": {"b": (math.nan, 2)}}, "leave no room between nan and 2"),
    ({"bounds": "b"}, "the bound 'b' cannot be read; write '0 < b < 10'"),
    ({"bounds": "b == 2"}, "cannot be read; write '0 < b < 10'"),
    ({"bounds": "b**2 < 4"}, "cannot be read; write '0 < b < 10'"),
    ({"bounds": 7}, "the bound is 7"),
    ({"tied": "d = 2*q"}, "tie d = 2.q names 'q', which is no parameter"),
    ({"tied": "d = 2*x"}, "'x', which is no parameter.*a column of the data is none"),
    ({"tied": "d = d + 1"}, "go round in a circle"),
    ({"tied": "d = c, c = b, b = d + 1"}, "go round in a circle"),
    ({"tied": "d = 2*a", "fixed": "d=3"}, "'d' is both fixed and tied"),
    ({"tied": "d = 2*a", "bounds": "d > 0"}, r"'d' is tied \(d = 2\*a\) and bounded"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=[str(o) for o, _ in REFUSED])
def test_what_is_refused(options, sentence):
    with pytest.raises(SgdfitError, match=sentence):
        declared(**options)


def test_names_that_are_no_identifiers():
    formula = as_formula("y = `my rate`*x")
    for start in ("`my rate`=4", {"my rate": 4}):
        assert declare(formula, ("my rate",), start=start)["my rate"].start == 4.0
    parameters = declare(formula, ("my rate",), bounds="0 < `my rate` < 2")
    assert parameters["my rate"].high == 2.0
