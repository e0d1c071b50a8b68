"""Where a nonlinear parameter may lie: quasi-random points, stretched over its role's own scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from sgdfit.kernels.candidates import evaluator
from sgdfit.models.roles import Role
from sgdfit.starts.observations import Observations, Scale

__all__ = ["Range", "draw_points", "low_discrepancy", "range_of"]


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
        Quantiles of its size: (share of the points, log10 of size over unit), or for a position
        and a phase (share, place in units).
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
    points = np.empty_like(cube)
    ordered = sorted(range(len(names)), key=lambda i: ranges[names[i]].role.kind == "intercept")
    for i in ordered:
        at = ranges[names[i]]
        values = _stretched(at, cube[:, i])
        if at.role.zero is not None and at.role.kind in ("position", "intercept"):
            values = _around(at, names, points, values, cube[:, i], seen)
        points[:, i] = _inside(at, values, cube[:, i])
    return points, cube


def _stretched(at: Range, share: np.ndarray) -> np.ndarray:
    """Map shares of the points onto values."""
    shares, places = np.array(at.knots).T
    if at.role.kind in ("position", "phase"):
        return at.unit * np.interp(share, shares, places)
    minus = share < at.negative
    within = np.where(minus, share / max(at.negative, 1e-9), share - at.negative)
    within = np.where(minus, within, within / (1.0 - at.negative))
    if at.role.kind == "frequency":
        return at.unit * np.interp(within, shares, places)
    if at.role.kind == "period":
        return at.unit / np.interp(within, shares, places)
    return np.where(minus, -1.0, 1.0) * at.unit * 10.0 ** np.interp(within, shares, places)


def _around(
    at: Range,
    names: Sequence[str],
    points: np.ndarray,
    values: np.ndarray,
    share: np.ndarray,
    seen: Observations,
) -> np.ndarray:
    """Take most points so that the parameter's sum is 0 somewhere among the rows.

    What the sum holds besides has been drawn; where it holds more, the values stay.
    """
    zero = at.role.zero
    held = {str(name) for name in zero.free_symbols} & {*names}
    if not {str(name) for name in zero.free_symbols} <= {*names, *seen.names}:
        return values
    if not held:
        zeros = evaluator((zero,), (), seen.names)(points[:1, :0], seen.data)[0, 0]
        return _within(at, zeros[np.isfinite(zeros)], values, share)
    own = [names.index(name) for name in sorted(held)]
    zeros = evaluator((zero,), tuple(sorted(held)), seen.names)(points[:, own], seen.data)[:, 0]
    row = (share * 7919.0 % 1.0 * zeros.shape[1]).astype(int)
    return np.where(share * 104729.0 % 1.0 < 0.7, zeros[np.arange(len(row)), row], values)


def _within(at: Range, zeros: np.ndarray, values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Spread three quarters evenly over the range of the zeros, and the rest beyond its ends."""
    if not zeros.size:
        return values
    low, high = zeros.min(), zeros.max()
    width = (high - low) or at.unit
    far = width * 10.0 ** np.interp(share, (0.75, 1.0), (-2.0, 2.0))
    outside = np.where(share * 104729.0 % 1.0 < 0.5, low - far, high + far)
    return np.where(share < 0.75, low + (high - low) * share / 0.75, outside)


def _inside(at: Range, values: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Mirror what lies beyond a bound; between two bounds, spread what is still outside."""
    values = np.where(values < at.low, 2.0 * at.low - values, values)
    values = np.where(values > at.high, 2.0 * at.high - values, values)
    out = ~((values >= at.low) & (values <= at.high))
    if not out.any():
        return values
    if not (math.isfinite(at.low) and math.isfinite(at.high)):
        return np.clip(values, at.low, at.high)
    even = at.low + (at.high - at.low) * share
    if at.low > 0 and at.high > 100 * at.low:
        even = at.low * (at.high / at.low) ** share
    return np.where(out, even, values)


def range_of(role: Role, low: float, high: float, seen: Observations) -> Range:
    """Return the `Range` of a parameter with ``role`` and bounds ``low`` and ``high``."""
    unit, knots, negative, text = _KINDS[role.kind](role, seen)
    between = f" within {low:g} … {high:g}" if math.isfinite(low) or math.isfinite(high) else ""
    return Range(role, low, high, unit, knots, negative, text + between)


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
    return (
        _owner(role, seen).range * role.turns,
        knots,
        negative,
        words.replace("freq", "period, freq"),
    )


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
