"""The space that a search covers: the rows, the scales of their columns, and points within these.

Dimensions are read off the expression as in physics (`model.roles`): a position is drawn within the
data's range, a width or a rate in lengths of it, a frequency up to the sampling limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import Model
from sgdfit.model.roles import RESPONSE, Role


class Scale(NamedTuple):
    """How far a column reaches.

    Attributes
    ----------
    low, high : float
        Its smallest and largest value.
    spacing : float
        The median distance of two neighbouring values.
    """

    low: float
    high: float
    spacing: float

    @property
    def range(self) -> float:
        """From the smallest to the largest value; their size where they are the same."""
        return (self.high - self.low) or self.size

    @property
    def size(self) -> float:
        """The largest absolute value; 1 where there is none but 0."""
        return max(abs(self.low), abs(self.high)) or 1.0

    @property
    def steps(self) -> float:
        """The range in units of the spacing, at least 2."""
        return max(2.0, self.range / self.spacing) if self.spacing > 0 else 2.0


@dataclass(frozen=True)
class Observations:
    """Rows as the search takes them.

    Attributes
    ----------
    names : tuple of str
        The columns, then the parameters that are given: all that is no unknown.
    data : tuple of float64[n] or float
        Their values.
    target : float64[n]
        The response over its own size, times ``root``.
    root : float64[n]
        Square root of the weights, over the response's size: what a residual is multiplied by.
    unit : float
        The response's size.
    scales : dict of str to Scale
        Of each variable, and of the response under `RESPONSE`.
    """

    names: tuple[str, ...]
    data: tuple[np.ndarray | float, ...]
    target: np.ndarray
    root: np.ndarray
    unit: float
    scales: dict[str, Scale]

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.target)

    def unit_of(self, role: Role) -> float:
        """Return what ``role``'s powers of the columns' sizes come to."""
        sizes = [np.float64(self.scales[name].size) ** float(count) for name, count in role.powers]
        return float(np.prod(sizes))


def observe(model: Model, chunk: Chunk, given: Mapping[str, float]) -> Observations:
    """Return the `Observations` of ``chunk``, rows with a value that is not finite left out."""
    columns = [np.asarray(column, dtype=np.float64) for column in chunk.columns]
    response = evaluator((model.formula.response,), (), model.columns)
    target = response(np.empty((1, 0)), columns)[0, 0]
    weights = np.ones(chunk.rows) if chunk.weights is None else chunk.weights
    fit = np.isfinite([target, weights, *columns]).all(axis=0)
    target, columns = target[fit], [column[fit] for column in columns]
    unit = float(np.abs(target).max(initial=0.0)) or 1.0
    root = np.sqrt(weights[fit]) / unit
    scales = dict(zip(model.columns, map(_scale, columns), strict=True))
    scales = {name: scales[name] for name in model.variables} | {RESPONSE: _scale(target)}
    data: tuple[np.ndarray | float, ...] = (*columns, *map(float, given.values()))
    return Observations((*model.columns, *given), data, target * root, root, unit, scales)


def _scale(column: np.ndarray) -> Scale:
    finite = np.unique(column[np.isfinite(column)])
    if not finite.size:
        return Scale(0.0, 0.0, 0.0)
    spacing = float(np.median(np.diff(finite))) if finite.size > 1 else 0.0
    return Scale(float(finite[0]), float(finite[-1]), spacing)


class Range(NamedTuple):
    """From where a parameter is drawn.

    Attributes
    ----------
    role : Role
    low, high : float
        The user's bounds.
    unit : float
        What one is in the data's own scale.
    knots : tuple of (float, float)
        Quantiles: (share of the points, log10 of the size in units); for a position, a phase, a
        frequency and a period (share of the points, places or turns in units).
    negative : float
        The share of points that are drawn below 0.
    text : str
        The same in words.
    """

    role: Role
    low: float
    high: float
    unit: float
    knots: tuple[tuple[float, float], ...]
    negative: float
    text: str

    @property
    def form(self) -> tuple[object, ...]:
        """What is equal for two parameters that are drawn alike."""
        return (self.role.kind, *self[1:-1])


def range_of(role: Role, low: float, high: float, seen: Observations) -> Range:
    """Return the `Range` of a parameter with ``role`` and bounds ``low`` and ``high``.

    Rates and frequencies count in one over the range of their column, lengths from a part of the
    spacing of neighbouring rows up to many ranges; what has no scale of its own spans nine
    decades.
    """
    unit, knots, negative, text = _KINDS[role.kind](role, seen)
    between = _between(low, high)
    return Range(role, low, high, unit, knots, negative, text + between)


def _between(low: float, high: float) -> str:
    if math.isfinite(low) and math.isfinite(high):
        return f" within {low:g} … {high:g}"
    if math.isfinite(low):
        return f" above {low:g}"
    return f" below {high:g}" if math.isfinite(high) else ""


_Parts = tuple[float, tuple[tuple[float, float], ...], float, str]


def _owner(role: Role, seen: Observations) -> Scale:
    assert role.variable is not None
    return seen.scales[role.variable]


def _position(role: Role, seen: Observations) -> _Parts:
    scale = _owner(role, seen)
    low, high = scale.low / scale.range, scale.high / scale.range
    knots = ((0.0, low - 0.05), (1.0, high + 0.05))
    return scale.range, knots, 0.0, f"position in {scale.low:.4g} … {scale.high:.4g} and beyond"


def _length(role: Role, seen: Observations) -> _Parts:
    scale = _owner(role, seen)
    fine = -math.log10(2.0 * scale.steps)
    knots = ((0.0, fine - 1.0), (0.05, fine), (0.8, 0.5), (1.0, 3.5))
    return scale.range, knots, 0.25, f"length, ±{scale.spacing:.3g} … {3e3 * scale.range:.3g}"


def _rate(role: Role, seen: Observations) -> _Parts:
    scale = _owner(role, seen)
    steep = max(2.0, math.log10(scale.steps) + 0.5)
    knots = ((0.0, -4.0), (0.15, -1.0), (0.85, 1.5), (1.0, steep))
    words = f"rate, ±1e-4 … {10**steep:.1e} / range of {role.variable}"
    return 1.0 / scale.range, knots, 0.5, words


def _frequency(role: Role, seen: Observations) -> _Parts:
    scale = _owner(role, seen)
    most = 0.5 * scale.steps
    knots = ((0.0, 0.02), (0.2, min(1.0, most / 2)), (1.0, most))
    unit = 1.0 / (scale.range * role.turns)
    words = f"frequency up to the sampling limit, {most:.3g} turns in the range of {role.variable}"
    return unit, knots, 0.0, words


def _period(role: Role, seen: Observations) -> _Parts:
    _, knots, negative, words = _frequency(role, seen)
    return _owner(role, seen).range * role.turns, knots, negative, f"period of a {words}"


def _phase(role: Role, seen: Observations) -> _Parts:
    return math.pi, ((0.0, -1.0), (1.0, 1.0)), 0.0, "phase in -π … π"


def _exponent(role: Role, seen: Observations) -> _Parts:
    knots = ((0.0, -3.0), (0.1, -1.0), (0.85, 1.0), (1.0, 2.0))
    return 1.0, knots, 0.5, "exponent, ±1e-3 … 100"


def _magnitude(role: Role, seen: Observations) -> _Parts:
    unit = seen.unit_of(role)
    knots = ((0.0, -5.0), (0.15, -2.0), (0.85, 1.5), (1.0, 4.0))
    return unit, knots, 0.5, f"size, ±1e-5 … 1e4 · {unit:.3g}"


def _intercept(role: Role, seen: Observations) -> _Parts:
    unit, knots, negative, words = _magnitude(role, seen)
    return unit, knots, negative, f"intercept: {words}, or zero of its sum among the rows"


_KINDS = {
    "position": _position,
    "length": _length,
    "rate": _rate,
    "frequency": _frequency,
    "period": _period,
    "phase": _phase,
    "exponent": _exponent,
    "magnitude": _magnitude,
    "intercept": _intercept,
}


Expr = Any  # SymPy ships no types

# Multiples of a share that fall as evenly as the share itself, and independently of it.
SECOND, THIRD = 7_919.0, 104_729.0
# The share of intercepts that make their sum 0 at a row, and of positions among the data.
CENTRED, AMONG = 0.7, 0.75


def low_discrepancy(count: int, dimension: int, seed: int) -> np.ndarray:
    """Return ``count`` points that fill the unit cube evenly: float64[count, dimension].

    The additive recurrence of the generalised golden ratio (M. Roberts, "The unreasonable
    effectiveness of quasirandom sequences", 2018), begun at a place that ``seed`` draws.

    Examples
    --------
    >>> points = low_discrepancy(64, 2, seed=0)
    >>> counts, *_ = np.histogram2d(*points.T, bins=4, range=((0, 1), (0, 1)))
    >>> int(counts.min()), int(counts.max())
    (3, 5)
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (dimension + 1))
    steps = ratio ** -np.arange(1.0, dimension + 1)
    shift = np.random.default_rng(seed).random(dimension)
    return (shift + np.arange(1, count + 1)[:, None] * steps) % 1.0


def draw_points(
    names: Sequence[str], ranges: Mapping[str, Range], seen: Observations, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return points and where they stand in the unit cube, both float64[count, len(names)]."""
    cube = low_discrepancy(count, len(names), seed)
    spans = [ranges[name] for name in names]
    columns = zip(spans, cube.T, strict=True)
    points = np.stack([_inside(at, _stretched(at, share), share) for at, share in columns], axis=1)
    for i, at in enumerate(spans):
        if at.role.kind in ("position", "intercept"):
            values = _centred(at.role.zero, names, points, i, cube[:, i], seen)
            points[:, i] = _inside(at, values, cube[:, i])
    return points, cube


def _stretched(at: Range, share: np.ndarray) -> np.ndarray:
    """Map shares of the points onto values."""
    minus = share < at.negative
    within = (share - at.negative) / (1.0 - at.negative)
    if at.negative:
        within = np.where(minus, share / at.negative, within)
    places = np.interp(within, *np.array(at.knots).T)
    if at.role.kind == "period":
        places = 1.0 / places
    elif at.role.kind not in ("position", "phase", "frequency"):
        places = 10.0**places
    return np.asarray(np.where(minus, -at.unit, at.unit) * places)


def _centred(
    zero: Expr,
    names: Sequence[str],
    points: np.ndarray,
    own: int,
    share: np.ndarray,
    seen: Observations,
) -> np.ndarray:
    """Take most values so that the sum that they stand in is 0 somewhere among the rows."""
    within = {str(name) for name in zero.free_symbols}
    drawn = [i for i, name in enumerate(names) if name in within]
    if not within <= {*names, *seen.names}:
        return np.asarray(points[:, own])
    evaluate = evaluator((zero,), tuple(names[i] for i in drawn), seen.names)
    if not drawn:
        zeros = evaluate(points[:1, drawn], seen.data)[0, 0]
        return _among(zeros[np.isfinite(zeros)], share)
    zeros = evaluate(points[:, drawn], seen.data)[:, 0]
    row = (share * SECOND % 1.0 * zeros.shape[1]).astype(np.int64)
    taken = zeros[np.arange(len(row)), row]
    return np.asarray(np.where(share * THIRD % 1.0 < CENTRED, taken, points[:, own]))


def _among(zeros: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spread most values evenly over the range of the zeros, and the rest beyond its ends."""
    low, high = zeros.min(initial=np.inf), zeros.max(initial=-np.inf)
    width = (high - low) or abs(high) or 1.0
    far = width * 10.0 ** np.interp(share, (AMONG, 1.0), (-2.0, 2.0))
    outside = np.where(share * THIRD % 1.0 < 0.5, low - far, high + far)
    return np.asarray(np.where(share < AMONG, low + (high - low) * share / AMONG, outside))


def _inside(at: Range, values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mirror what lies beyond a bound; between two bounds, spread what is still outside."""
    values = np.where(values < at.low, 2.0 * at.low - values, values)
    values = np.where(values > at.high, 2.0 * at.high - values, values)
    out = ~((values >= at.low) & (values <= at.high))
    if not out.any():
        return values
    if not (math.isfinite(at.low) and math.isfinite(at.high)):
        return np.asarray(np.clip(values, at.low, at.high))
    even = at.low + (at.high - at.low) * share
    if at.low > 0 and at.high > 100 * at.low:
        even = at.low * (at.high / at.low) ** share
    return np.asarray(np.where(out, even, values))
