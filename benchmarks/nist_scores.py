"""How many digits of NIST's certified answer an answer has."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import sympy
from numpy.typing import NDArray

from nist_files import StandardSet
from sgdfit.formula.reading import as_formula

__all__ = [
    "FLOAT64_DIGITS",
    "MOST_DIGITS",
    "Equations",
    "Relabelling",
    "Score",
    "digits",
    "equations",
    "relabellings",
]

# NIST certifies eleven digits; to agree with all of them is to agree.
MOST_DIGITS = 11.0
# Lanczos1's residuals are 9e-14 on predictions of up to 2.5, which float64 rounds by 4e-16: half a
# percent of each residual, and so of the standard errors, at the very best parameters.
FLOAT64_DIGITS = {"Lanczos1": 2.3}
# Two answers are the same curve where their predictions agree to this fraction of the largest.
SAME_CURVE = 1e-12
# No symmetry of a curve exchanges or mirrors more pairs at once than three (two peaks of three).
MOST_PAIRS = 3


class Equations(NamedTuple):
    """A set's model in NumPy: the formula's left side and right side.

    Attributes
    ----------
    response : ndarray of float64, shape (rows,)
        The left side.
    function : callable
        The right side as a function of the variables, then the parameters, by name or position.
    variables : tuple of str
        The columns on the right side.
    columns : tuple of ndarray of float64, each of shape (rows,)
        These columns.
    """

    response: NDArray[np.float64]
    function: Callable[..., Any]
    variables: tuple[str, ...]
    columns: tuple[NDArray[np.float64], ...]

    def predict(self, theta: NDArray[Any]) -> NDArray[Any]:
        """Return the curve at the parameters ``theta``, in the order of the file."""
        return np.asarray(self.function(*self.columns, *theta))

    def residual_sum_of_squares(self, theta: NDArray[np.float64]) -> float:
        """Return the sum of squared residuals of the left side."""
        return float(np.sum((self.response - self.predict(theta)) ** 2))


def equations(standard: StandardSet, modules: str = "numpy") -> Equations:
    """Return the model of a set as functions that SymPy prints, not sgdfit's kernels.

    Parameters
    ----------
    standard : StandardSet
        The set.
    modules : str
        Whose arrays the function takes, ``"numpy"`` or ``"jax"``.
    """
    formula = as_formula(standard.formula)
    variables = tuple(name for name in standard.data if name in formula.names)
    names = (*variables, *standard.parameters)
    return Equations(
        response=_function(formula.response, tuple(standard.data))(*standard.data.values()),
        function=_function(formula.expression, names, modules),
        variables=variables,
        columns=tuple(standard.data[name] for name in variables),
    )


def _function(expression: Any, names: tuple[str, ...], modules: str = "numpy") -> Any:
    arguments = [sympy.Symbol(name, real=True) for name in names]
    return sympy.lambdify(arguments, expression, modules=modules, cse=True)


def digits(estimate: float, certified: float) -> float:
    """Return the log relative error -log10(|estimate - certified|/|certified|), 0 to 11.

    Zero stands for none, NaN included.

    Examples
    --------
    >>> round(digits(2.0002, 2.0), 6)
    4.0
    """
    error = abs(estimate - certified) / abs(certified)
    if not error < 1.0:
        return 0.0
    return MOST_DIGITS if error == 0.0 else min(MOST_DIGITS, -math.log10(error))


class Relabelling(NamedTuple):
    """A signed permutation of the parameters: ``signs * theta[order]``."""

    order: tuple[int, ...]
    signs: tuple[int, ...]

    def of(self, theta: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the relabelled parameters."""
        return np.asarray(self.signs) * theta[list(self.order)]

    def after(self, other: Relabelling) -> Relabelling:
        """Return the relabelling that does ``other`` first."""
        return Relabelling(
            tuple(other.order[i] for i in self.order),
            tuple(sign * other.signs[i] for sign, i in zip(self.signs, self.order, strict=True)),
        )

    @property
    def changes(self) -> bool:
        """Whether it does anything."""
        return self.order != tuple(range(len(self.order))) or -1 in self.signs


def relabellings(standard: StandardSet, model: Equations) -> list[Relabelling]:
    """Return every relabelling that leaves the certified curve as it is, found by trying.

    Exchanges of up to three pairs of parameters and changes of up to three signs are tried on
    the data, and combined; the first one changes nothing.
    """
    theta = np.array([standard.certified[name] for name in standard.parameters])
    curve = model.predict(theta)
    near = SAME_CURVE * float(np.max(np.abs(curve)))

    def same(relabelling: Relabelling) -> bool:
        with np.errstate(all="ignore"):
            return bool(np.max(np.abs(model.predict(relabelling.of(theta)) - curve)) <= near)

    generators = [relabelling for relabelling in _simple(len(theta)) if same(relabelling)]
    identity = Relabelling(tuple(range(len(theta))), (1,) * len(theta))
    return [element for element in _closed(identity, generators) if same(element)]


def _simple(count: int) -> Iterator[Relabelling]:
    """Yield changes of up to three signs, and exchanges of up to three pairs."""
    order, signs = tuple(range(count)), (1,) * count
    for size in range(1, MOST_PAIRS + 1):
        for chosen in combinations(order, size):
            yield Relabelling(order, tuple(-1 if i in chosen else 1 for i in order))
    pairs = list(combinations(order, 2))
    for size in range(1, MOST_PAIRS + 1):
        for chosen_pairs in combinations(pairs, size):
            partner = {i: j for a, b in chosen_pairs for i, j in ((a, b), (b, a))}
            if len(partner) == 2 * size:
                yield Relabelling(tuple(partner.get(i, i) for i in order), signs)


def _closed(identity: Relabelling, generators: list[Relabelling]) -> list[Relabelling]:
    """Return all that the generators make together."""
    found = {identity: None}
    for element in (queue := [identity]):
        for generator in generators:
            if (made := generator.after(element)) not in found:
                found[made] = None
                queue.append(made)
    return list(found)


class Score(NamedTuple):
    """Digits of the worst parameter and of the worst standard error, and how good the curve is.

    Attributes
    ----------
    parameters : float
        The fewest certified digits of any parameter.
    errors : float or None
        The fewest certified digits of any standard error; None where there are none.
    ratio : float
        Residual sum of squares by the certified one.
    relabelled : bool
        Whether the answer was compared with a relabelled form of the certified one.
    """

    parameters: float
    errors: float | None
    ratio: float
    relabelled: bool

    @classmethod
    def of(
        cls,
        standard: StandardSet,
        model: Equations,
        known: list[Relabelling],
        values: Mapping[str, float],
        errors: Mapping[str, float | None] | None,
    ) -> Score:
        """Compare an answer with whichever form of the certified one it is nearest to."""
        names = standard.parameters
        certified = np.array([standard.certified[name] for name in names])
        theta = np.array([values[name] for name in names])
        counts = [_fewest(theta, relabelling.of(certified)) for relabelling in known]
        best = known[int(np.argmax(counts))]
        deviations = np.array([standard.standard_deviations[name] for name in names])
        with np.errstate(all="ignore"):
            ratio = model.residual_sum_of_squares(theta) / standard.residual_sum_of_squares
        return cls(
            max(counts),
            None
            if errors is None or any(errors[name] is None for name in names)
            else _fewest([errors[name] for name in names], deviations[list(best.order)]),
            ratio,
            best.changes,
        )


def _fewest(estimates: Any, certified: Any) -> float:
    return min(digits(a, b) for a, b in zip(estimates, certified, strict=True))
