"""Moves of parameters that may leave a prediction as it is, and the points that put it to the test.

A move permutes parameters, flips signs and turns phases by half their period. The moves of a
formula that leave its prediction unchanged are the symmetries of its loss surface.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from sgdfit.formula.evaluation import evaluate

__all__ = ["Move", "Probe", "flip", "probe", "then", "wrapped"]

Expr = Any  # SymPy ships no types

ROWS = 48
FEWEST = 5


class Move(NamedTuple):
    """θ'[i] = signs[i]·θ[source[i]] + turns[i]·half a period.

    Attributes
    ----------
    source : tuple of int, length p
        A permutation of the parameters.
    signs : tuple of int, length p
        1 or -1.
    turns : tuple of int, length p
        1 where a phase is shifted by half its period, else 0.
    """

    source: tuple[int, ...]
    signs: tuple[int, ...]
    turns: tuple[int, ...]

    @property
    def touched(self) -> frozenset[int]:
        """The parameters that this changes."""
        rows = enumerate(zip(*self, strict=True))
        return frozenset(i for i, row in rows if row != (i, 1, 0))

    def apply(self, theta: Sequence[float], halves: Sequence[float]) -> list[float]:
        """Return the image of ``theta``; phases (those with a half period) come wrapped."""
        return [
            wrapped(sign * theta[i] + turn * half, half) if half else sign * theta[i]
            for i, sign, turn, half in zip(*self, halves, strict=True)
        ]


def flip(parameters: int, mask: int, source: Sequence[int] | None = None) -> Move:
    """Return the move of a bit mask: bit i flips the sign of i, bit p + i turns its phase.

    Examples
    --------
    >>> flip(2, 0b1001).signs, flip(2, 0b1001).turns
    ((-1, 1), (0, 1))
    """
    rank = range(parameters)
    return Move(
        tuple(source or rank),
        tuple(-1 if mask >> i & 1 else 1 for i in rank),
        tuple(mask >> (parameters + i) & 1 for i in rank),
    )


def then(first: Move, second: Move) -> Move:
    """Return the move that makes ``first``, and then ``second``."""
    return Move(
        tuple(first.source[i] for i in second.source),
        tuple(sign * first.signs[i] for i, sign in zip(second.source, second.signs, strict=True)),
        tuple(turn ^ first.turns[i] for i, turn in zip(second.source, second.turns, strict=True)),
    )


def wrapped(value: float, half: float) -> float:
    """Return a phase within (−half, half]; a ``half`` of 0 stands for no phase.

    Examples
    --------
    >>> wrapped(7.5, 1.0), wrapped(-1.0, 1.0), wrapped(7.5, 0.0)
    (-0.5, 1.0, 7.5)
    """
    if not half or -half < value <= half or not math.isfinite(value):
        return value
    turned = math.remainder(value, 2 * half)
    return turned if turned > -half else half


class Probe(NamedTuple):
    """An expression at random points where it is finite.

    Attributes
    ----------
    expression : sympy.Expr
    names : tuple of str, length p
        The parameters.
    theta : float64[p, rows]
    variables : dict of str to float64[rows]
    values : float64[rows]
        Of the expression.
    near : bool[rows]
        Where every magnitude is about one.
    """

    expression: Expr
    names: tuple[str, ...]
    theta: np.ndarray
    variables: dict[str, np.ndarray]
    values: np.ndarray
    near: np.ndarray

    @property
    def is_usable(self) -> bool:
        """Whether there are points enough to tell anything."""
        return bool(self.near.sum() >= FEWEST)

    def images(self, moves: Sequence[Move], halves: Sequence[float], rows: int) -> np.ndarray:
        """Return float64[moves, rows]: the expression after each move, at the first points."""
        source = np.array([move.source for move in moves])
        signs = np.array([move.signs for move in moves])[:, :, None]
        turns = (np.array([move.turns for move in moves]) * np.asarray(halves))[:, :, None]
        moved = self.theta[:, :rows][source] * signs + turns
        shape = (len(moves), rows)
        known = {n: np.broadcast_to(v[:rows], shape).ravel() for n, v in self.variables.items()}
        known |= {name: moved[:, i].ravel() for i, name in enumerate(self.names)}
        value = evaluate(self.expression, known)
        return np.asarray(np.broadcast_to(value, len(moves) * rows).reshape(shape))

    def agrees(
        self, moves: Sequence[Move], halves: Sequence[float], near: bool = False
    ) -> list[bool]:
        """Whether the expression is the same after a move, to rounding, at all (or near) points."""
        if not (moves and self.is_usable):
            return [False] * len(moves)
        images = self.images(moves, halves, len(self.values))
        size = np.maximum(np.abs(self.values), np.median(np.abs(self.values[self.near])))
        alike = np.abs(images - self.values) <= 1e-12 * size
        # Far out a half turn is lost in the argument's own rounding.
        turned = np.array([near or any(move.turns) for move in moves])
        return [bool(same) for same in (alike | (turned[:, None] & ~self.near)).all(axis=1)]


def probe(expression: Expr, names: Sequence[str]) -> Probe:
    """Draw points, half of them about one and half over six decades, of either sign and positive.

    A quantity that saturates at one point, such as tanh(50*b), does not at another.
    """
    others = sorted({s.name for s in expression.free_symbols} - set(names))
    random = np.random.default_rng(20)
    shape = (len(names) + len(others), 2 * ROWS)
    near = np.arange(2 * ROWS) < ROWS
    size = np.where(near, random.uniform(0.4, 1.6, shape), 10.0 ** random.uniform(-3, 3, shape))
    signs = np.where(np.arange(2 * ROWS) % 3 > 0, 1.0, random.choice([-1.0, 1.0], shape))
    drawn = size * signs
    theta, variables = drawn[: len(names)], drawn[len(names) :]
    known = dict(zip((*names, *others), drawn, strict=True))
    values = np.broadcast_to(evaluate(expression, known), 2 * ROWS)
    with np.errstate(invalid="ignore"):
        kept = np.isfinite(values) & (np.abs(values) < 1e150)
    fields = {name: row[kept] for name, row in zip(others, variables, strict=True)}
    return Probe(expression, tuple(names), theta[:, kept], fields, values[kept], near[kept])
