"""Which parameters enter linearly together, against every subset of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import sympy

from sgdfit.formula.formula import derivative, symbol
from sgdfit.formula.parsing import parse_expression
from sgdfit.model.separation import linear_set, stepped_names

VARIABLES = {"x", "t"}
GAUSS = "b1*exp(-b2*x) + b3*exp(-(x - b4)**2/b5**2) + b6*exp(-(x - b7)**2/b8**2)"


def _linear(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    expression, names = parse_expression(text)
    parameters = tuple(name for name in names if name not in VARIABLES)
    slopes = [derivative(expression, name) for name in parameters]
    return parameters, linear_set(parameters, slopes, stepped_names(expression))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a*x**2 + b*x + c", ("a", "b", "c")),
        ("b1*(1 - exp(-b2*x))", ("b1",)),
        ("c*(a + b*x)", ("a", "b")),
        ("a*b*x", ("a",)),
        (GAUSS, ("b1", "b3", "b6")),
        ("(a + b*x)/(1 + c*x)", ("a", "b")),
        ("a*where(x > k, x, 0)", ("a",)),
        ("a*where(a > x, x, 0)", ()),
        ("exp(a*x)", ()),
        ("log(a*x) + floor(b*x) + c", ("c",)),
        ("a*b*x + b*c*t + c*d*x**2 + d*e*t**2 + e*a", ("a", "c")),
    ],
)
def test_the_largest_set_is_found(text: str, expected: tuple[str, ...]) -> None:
    assert _linear(text)[1] == expected


@pytest.mark.parametrize("seed", range(40))
def test_no_subset_that_is_linear_is_larger(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = [f"p{i}" for i in range(rng.integers(2, 9))]
    p, x = [symbol(name) for name in names], symbol("x")
    pairs = [pair for pair in combinations(p, 2) if rng.random() < 0.4]
    squares = [q**2 for q in p if rng.random() < 0.15]
    expression = sum((u * v * x**i for i, (u, v) in enumerate(pairs)), sum(p) + sum(squares))
    got = linear_set(names, [expression.diff(q) for q in p])

    def is_linear(subset: tuple[sympy.Symbol, ...]) -> bool:
        return all(expression.diff(u, v) == 0 for u in subset for v in subset)

    subsets = [s for size in range(len(p) + 1) for s in combinations(p, size)]
    assert is_linear(tuple(symbol(name) for name in got))
    assert len(got) == max(len(subset) for subset in subsets if is_linear(subset))


def test_many_parameters_are_not_searched_exhaustively() -> None:
    names = [f"p{i}" for i in range(80)]
    p = [symbol(name) for name in names]
    ring = sum(p[i] * p[(i + j) % 80] for i in range(80) for j in (1, 2))
    got = linear_set(names, [ring.diff(q) for q in p])
    assert len(got) >= 20
    assert all(ring.diff(symbol(u), symbol(v)) == 0 for u in got for v in got)
