"""The space that a search covers: the rows, the scales of their columns, and points within these.

Dimensions are read off the expression as in physics (`model.roles`): a position is drawn within the
data's range, a width or a rate in lengths of it, a frequency up to the sampling limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from sgdfit.kernel.kernel import Chunk
from sgdfit.kernel.numpy_kernel import evaluator
from sgdfit.model.model import Model
from sgdfit.model.roles import RESPONSE, Role, derived_columns, roles_of


class Scale(NamedTuple):
    """How far a column reaches."""

    low: float  # its smallest and largest value
    high: float
    spacing: float  # the median distance of two neighbouring values

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


class Observations(NamedTuple):
    """Rows as the search takes them."""

    names: tuple[str, ...]  # the columns, then the parameters that are given: all that is known
    data: tuple[np.ndarray | float, ...]  # their values
    target: np.ndarray  # float64[n]: the response over its own size, times ``root``
    # float64[n]: square root of the weights, over the response's size: what a residual is
    # multiplied by.
    root: np.ndarray
    unit: float  # the response's size
    scales: dict[str, Scale]  # of each variable, and of the response under `RESPONSE`

    @property
    def rows(self) -> int:
        """How many rows."""
        return len(self.target)


def observations_of(model: Model, chunk: Chunk, given: Mapping[str, float]) -> Observations:
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
    derived = derived_columns(model.prediction, model.variables)[1]
    if derived:
        made = evaluator(tuple(derived.values()), (), model.columns)(np.empty((1, 0)), columns)[0]
        scales |= dict(zip(derived, map(_scale, made), strict=True))
    data: tuple[np.ndarray | float, ...] = (*columns, *map(float, given.values()))
    return Observations((*model.columns, *given), data, target * root, root, unit, scales)


def _scale(column: np.ndarray) -> Scale:
    values = np.sort(column[np.isfinite(column)])
    if not values.size:
        return Scale(0.0, 0.0, 0.0)
    apart = np.diff(values)
    apart = np.sort(apart[apart > 0])
    middle = apart[(len(apart) - 1) // 2 : len(apart) // 2 + 1]
    spacing = float(middle.sum()) / len(middle) if len(middle) else 0.0
    return Scale(float(values[0]), float(values[-1]), spacing)


Knots = tuple[tuple[float, float], ...]
# Shares of the points below the data, by decades of the distance; half as many lie above.
BELOW = (0.0, 0.1, 0.25, 0.5, 0.66)


class Range(NamedTuple):
    """From where a parameter is drawn."""

    role: Role
    low: float  # the user's bounds
    high: float
    unit: float  # what one is in the data's own scale
    # Quantiles: (share of the points, log10 of the size in units); for a position, a phase, a
    # frequency and a period (share of the points, places or turns in units).
    knots: Knots
    negative: float  # the share of points that are drawn below 0
    text: str  # the same in words

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
    variable = seen.scales.get(role.variable or "")
    along = _along_a_column(role, variable) if variable else _without_a_column(role, seen)
    unit, knots, negative, text = along
    unit *= role.factor
    if role.kind in ("magnitude", "intercept"):
        text += f" · {unit:.3g}"
    elif not 0.01 < role.factor < 100:
        text += f", times {role.factor:.3g}"
    if math.isfinite(low) and math.isfinite(high):
        text += f" within {low:g} … {high:g}"
    elif math.isfinite(low):
        text += f" above {low:g}"
    elif math.isfinite(high):
        text += f" below {high:g}"
    return Range(role, low, high, unit, knots, negative, text)


def ranges_of(model: Model, names: Sequence[str], seen: Observations) -> list[Range]:
    """Return the `Range` of each of the parameters ``names``."""
    roles = roles_of(model.prediction, model.free, model.variables)
    known = model.parameters
    return [range_of(roles[name], known[name].low, known[name].high, seen) for name in names]


def _along_a_column(role: Role, at: Scale) -> tuple[float, Knots, float, str]:
    """Return unit, knots, share below 0 and words for what is measured along a variable."""
    knots: Knots
    if role.kind == "position":
        knots = ((0.0, at.low / at.range - 0.05), (1.0, at.high / at.range + 0.05))
        return at.range, knots, 0.0, f"position in {at.low:.4g} … {at.high:.4g}"
    if role.kind == "pole":
        low, high, away = at.low / at.range, at.high / at.range, (100.0, 10.0, 1.0, 0.1, 0.01)
        below = [(share, low - far) for share, far in zip(BELOW, away, strict=True)]
        above = [(1 - share / 2, high + far) for share, far in zip(BELOW, away, strict=True)]
        return at.range, (*below, *above[::-1]), 0.0, f"outside of {at.low:.4g} … {at.high:.4g}"
    if role.kind == "length":
        fine = -math.log10(2.0 * at.steps)
        knots = ((0.0, fine - 1.0), (0.05, fine), (0.8, 0.5), (1.0, 3.5))
        return at.range, knots, 0.25, f"length, ±{at.spacing:.3g} … {3e3 * at.range:.3g}"
    if role.kind == "rate":
        steep = max(2.0, math.log10(at.steps) + 0.5)
        knots = ((0.0, -4.0), (0.15, -1.0), (0.85, 1.5), (1.0, steep))
        words = f"rate, ±1e-4 … {10**steep:.1e} / range of {role.variable}"
        return 1.0 / at.range, knots, 0.5, words
    most = 0.5 * at.steps
    knots = ((0.0, 0.02), (0.2, min(1.0, most / 2)), (1.0, most))
    words = f"frequency up to the sampling limit, {most:.3g} turns in the range of {role.variable}"
    if role.kind == "period":
        return at.range / (2 * math.pi), knots, 0.0, f"period of a {words}"
    return 2 * math.pi / at.range, knots, 0.0, words


def _without_a_column(role: Role, seen: Observations) -> tuple[float, Knots, float, str]:
    """Return the same for phases, exponents, and what has the size of powers of columns."""
    if role.kind == "phase":
        return math.pi, ((0.0, -1.0), (1.0, 1.0)), 0.0, "phase in -π … π"
    if role.kind == "exponent":
        knots = ((0.0, -3.0), (0.1, -1.0), (0.85, 1.0), (1.0, 2.0))
        return 1.0, knots, 0.5, "exponent, ±1e-3 … 100"
    sizes = [np.float64(seen.scales[name].size) ** float(count) for name, count in role.powers]
    spans = [(seen.scales[name], float(count)) for name, count in role.spans]
    unit = float(np.prod([*sizes, *((at.range / at.size) ** count for at, count in spans)]))
    knots = ((0.0, -5.0), (0.15, -2.0), (0.85, 1.5), (1.0, 4.0))
    word = "intercept" if role.kind == "intercept" else "size"
    return unit, knots, 0.5, f"{word}, ±1e-5 … 1e4"


@lru_cache(maxsize=16)
def low_discrepancy(count: int, dimension: int, seed: int) -> np.ndarray:
    """Return ``count`` points that fill the unit cube evenly: float64[count, dimension].

    The additive recurrence of the generalised golden ratio (M. Roberts, "The unreasonable
    effectiveness of quasirandom sequences", 2018), begun at a place that ``seed`` draws.
    """
    ratio = 2.0
    for _ in range(64):
        ratio = (1.0 + ratio) ** (1.0 / (dimension + 1))
    steps = ratio ** -np.arange(1.0, dimension + 1)
    shift = np.random.default_rng(seed).random(dimension)
    return (shift + np.arange(1, count + 1)[:, None] * steps) % 1.0


def draw_points(ranges: Sequence[Range], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return points and where they stand in the unit cube, both float64[count, len(ranges)]."""
    cube = low_discrepancy(count, len(ranges), seed)
    columns = zip(ranges, cube.T, strict=True)
    return np.stack([placed(at, share) for at, share in columns], axis=1), cube


def placed(at: Range, share: np.ndarray) -> np.ndarray:
    """Map shares of the points (`draw_points`) onto values, inside the bounds."""
    minus = share < at.negative
    within = (share - at.negative) / (1.0 - at.negative)
    if at.negative:
        within = np.where(minus, share / at.negative, within)
    places = np.interp(within, *np.array(at.knots).T)
    if at.role.kind == "period":
        places = 1.0 / places
    elif at.role.kind not in ("position", "pole", "phase", "frequency"):
        places = 10.0**places
    values = np.where(minus, -at.unit, at.unit) * places
    # Mirrored at a bound; between two bounds, what is still outside is spread.
    values = np.where(values < at.low, 2.0 * at.low - values, values)
    values = np.where(values > at.high, 2.0 * at.high - values, values)
    out = ~((values >= at.low) & (values <= at.high))
    if not (math.isfinite(at.low) and math.isfinite(at.high)):
        return np.asarray(np.clip(values, at.low, at.high))
    even = at.low + (at.high - at.low) * share
    if at.low > 0 and at.high > 100 * at.low:
        even = at.low * (at.high / at.low) ** share
    return np.asarray(np.where(out, even, values))
