"""From where each nonlinear parameter is drawn: its role's range, in the data's own scale."""

from __future__ import annotations

import math
from typing import NamedTuple

from sgdfit.model.roles import Role
from sgdfit.starts.observations import Observations, Scale

__all__ = ["Range", "range_of"]


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
