"""Recursive estimation: what is known of all rows so far, and the step that takes in further ones.

Where the loss is a quadratic of the parameters, the root of its curvature is all there is to know
of the rows, and this is recursive least squares (TSQR: Demmel, Grigori, Hoemmen & Langou 2012, SIAM
J. Sci. Comput. 34(1), A206-A239). Elsewhere a step takes the new rows as they look from the
estimates (the extended Kalman filter); the newest rows are kept, and looked at anew once the
estimates have moved; those before them are a quadratic, folded where the estimates were
(Bell & Cathey 1993, IEEE Trans. Automatic Control 38(2), 294-297).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.gauss_newton import bending, steering
from sgdfit.fitting.trust_region import Box, Point, advance, begin, box_of, relative_offset
from sgdfit.fitting.weights import SANDWICH, Weighting
from sgdfit.inference.quadratic import Quadratic, from_rows, from_sums, joined, step_within
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Kernel, Rows
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

# The newest rows that are kept: up to twice so many, of which the older half is folded then.
KEPT = 32_768
# Rows that are looked at at once: with all kept it takes four times as long.
BLOCK = 8_192
# The kept rows are looked at anew once one in so many came since, or the estimates moved by more
# than so many standard errors; up to so few, with every update.
SHARE, MOVED, FEW = 4, 0.2, 256
# From the minimum, in standard errors: where a walk ends, and where it ends for a result.
NEAR, NEAREST = 1e-3, 1e-9
STEPS = 100
# What is left of a row's weight when it is as good as forgotten.
FORGOTTEN = 1e-12
# A change is told where the noise has so many degrees of freedom, and the mean loss of a batch is
# so many standard deviations of normal noise above the usual one. A single row's loss has a long
# tail; of squared residuals the last is a residual of 5.6 standard deviations.
KNOWN, DEVIATIONS, TAIL = 10.0, 10.0, 30.0
# A Hessian whose condition is worse than this has lost too many digits to differences.
WELL_CONDITIONED = 1e8
# What the rows that are kept tell of the past's error is too little by a factor of 1.9 to 2.6 where
# a rate of decay jumped by 3 to 100% and the past was folded at several places. Of 42 streams drawn
# anew (seven rates, six seeds), 3 were farther off than told by a factor of 3, none by 3.5.
MARGIN = 3.5

Columns = tuple[np.ndarray, ...]


class OutsideError(DataError):
    """The formula or its gradient has no finite value on a row: its only argument, from 0."""


def factor_of(forgetting: float | str | None, names: tuple[str, ...] = ()) -> float:
    """Return by what share a row's weight fades with each row after it: 1 forgets nothing.

    >>> round(factor_of("half_life=1000") ** 1000, 9), factor_of(None)
    (0.5, 1.0)
    """
    if forgetting is None:
        return 1.0
    name, sign, value = str(forgetting).rpartition("=")
    try:
        factor = float(value)
        if sign:
            known = name.strip().replace("-", "_") == "half_life" and 0 < factor < math.inf
            factor = 0.5 ** (1 / factor) if known else math.nan
    except ValueError:
        factor = math.nan
    # two rows for one parameter at least; less would follow every row wherever it leads
    if isinstance(forgetting, bool) or not 0.5 <= factor <= 1:
        raise UsageError(
            f"forgetting is {forgetting!r}; it is a factor a row from 0.5 to 1, so that"
            " 1/(1 − factor) rows have a say (1,000 with 0.999), one more than there are parameters"
            " at least; or a half-life of 1 row or more, such as 'half_life=1000'"
        )
    least = len(names) / (len(names) + 1)
    if factor < least:
        half_life = math.ceil(100 * math.log(0.5) / math.log(least)) / 100
        raise UsageError(
            f"forgetting is {forgetting}, so that 1/(1 − factor) = {1 / (1 - factor):.3g} rows have"
            f" a say, which cannot determine {len(names)} parameters ({', '.join(names)}) and the"
            f" noise; give a factor from {math.ceil(1000 * least) / 1000} on and below 1, or a"
            f" half-life of {half_life} rows or more, better ten times that"
        )
    return factor


class Setting(NamedTuple):
    """What never changes."""

    model: Model
    kernel: Kernel
    box: Box
    weighting: Weighting
    factor: float  # of forgetting
    kept: int  # how many of the newest rows are kept when others are folded
    squared: bool  # whether the loss is the squared residual
    quadratic: bool  # whether it is a quadratic of all parameters
    robust: bool  # whether errors come from the rows' own gradients

    def fading(self, rows: int) -> np.ndarray:
        """Return what forgetting has left of the weights of so many rows, the newest last."""
        return np.asarray(self.factor ** np.arange(rows - 1.0, -1.0, -1.0))


def setting_of(model: Model, weighting: Weighting, forgetting: float | str | None) -> Setting:
    """Return what follows from what is fitted, and how its rows count."""
    factor, squared = factor_of(forgetting, model.free), model.loss.name == SQUARED
    robust = not squared or weighting.covariance == SANDWICH
    quadratic = squared and model.is_linear and not robust
    left = KEPT if factor == 1 else int(math.log(FORGOTTEN) / math.log(factor))
    kept = min(KEPT, max(FEW, left))
    kernel, box = make(model, None, "numpy"), box_of(model)
    return Setting(model, kernel, box, weighting, factor, kept, squared, quadratic, robust)


class Summary(NamedTuple):
    """What some rows tell of the loss near a point."""

    quadratic: Quadratic
    curvature: np.ndarray  # float64[p, p]: Σ d·w ℓ'' JJᵀ, which may be negative, unlike the root's
    # float64[p, p]: the covariance of the gradient; for least squares, in units of twice the
    # variance of a row of weight 1.
    scores: np.ndarray
    squares: float  # Σ d·w (y − prediction)²

    def faded(self, left: float) -> Summary:
        """Return what remains once forgetting has left a share of every weight."""
        q, root = self.quadratic, math.sqrt(left)
        whole = {name: getattr(q, name) * left for name in ("loss", "spread", "least", "blur")}
        faded = q._replace(root=q.root * root, offset=q.offset * root, **whole)
        return Summary(faded, self.curvature * left, self.scores * left**2, self.squares * left)

    def moved(self, step: np.ndarray) -> Summary:
        """Return the same, seen from where a step leads."""
        q = self.quadratic.after(step)
        spread = q.spread + 2 * (q.loss - self.quadratic.loss)
        return self._replace(quadratic=q._replace(spread=spread))


def _together(*parts: Summary) -> Summary:
    """Return what all rows tell, from what some each tell of one point."""
    parts = tuple(part for part in parts if part.quadratic.root.any()) or parts[:1]
    if len(parts) == 1:
        return parts[0]
    curvature = np.sum([part.curvature for part in parts], axis=0)
    scores = np.sum([part.scores for part in parts], axis=0)
    quadratic = joined([part.quadratic for part in parts])
    return Summary(quadratic, curvature, scores, sum(part.squares for part in parts))


class StreamState(NamedTuple):
    """What is known of all rows so far. Nothing in it changes; a step returns another one.

    d stands for what forgetting has left of a row's weight w.
    """

    theta: np.ndarray  # float64[p]: the estimates
    # All rows, and those that are kept no more, seen from the estimates.
    whole: Summary
    past: Summary
    # Where the rows that are kept were last looked at together, and where the past was folded, on
    # average.
    anchor: np.ndarray
    fold: np.ndarray
    begun: bool = False  # whether there are estimates
    # Rows that could be used, rows left out, and rows whose own weight is not 0.
    rows: int = 0
    dropped: int = 0
    used: int = 0
    # Σ d and Σ d·w over these, and without forgetting Σ ln w.
    mass: float = 0.0
    weight: float = 0.0
    logs: float = 0.0
    # Of the response: the weighted mean ȳ, and Σ d·w (y − ȳ)².
    mean: float = 0.0
    variation: float = 0.0
    # The rows that are kept, in the pieces in which they came; how many these are, and how many
    # there were when they were last looked at together.
    window: tuple[tuple[Columns, np.ndarray], ...] = ()
    kept: int = 0
    seen: int = 0
    turn: float = 0.0  # so many rows are kept when starting values are looked for again

    @property
    def loss(self) -> float:
        """The (weighted) mean over the rows, at the estimates."""
        return self.whole.quadratic.loss / self.weight

    def rows_kept(self) -> tuple[Columns, np.ndarray]:
        """Return the columns and weights of the rows that are kept."""
        columns = zip(*(columns for columns, _ in self.window), strict=True)
        weights = np.concatenate([weights for _, weights in self.window])
        return tuple(np.concatenate(pieces) for pieces in columns), weights

    def moved(self, step: np.ndarray, box: Box) -> StreamState:
        """Return the same, seen from where a step leads."""
        theta = box.clip(self.theta + step)
        return self._replace(theta=theta, whole=self.whole.moved(step), past=self.past.moved(step))


def first_state(setting: Setting) -> StreamState:
    """Return what is known without any row."""
    p = len(setting.model.free)
    nothing, square = np.zeros(p), np.zeros((p, p))
    empty = Summary(from_sums(nothing, square, 0.0, 0.0), square, square, 0.0)
    theta = setting.box.clip(nothing)
    return StreamState(theta, empty, empty, theta, theta)


def absorb(
    setting: Setting, state: StreamState, columns: Columns, weights: np.ndarray
) -> tuple[StreamState, tuple[float, float] | None]:
    """Return what is known with some rows more, at most `KEPT`, all of a weight above 0.

    Beside it, where noise does not explain how far these are from the curve: their mean loss, and
    the usual one. `OutsideError` tells of a row on which the formula has no finite value.
    """
    n, fading = len(weights), setting.fading(len(weights))
    with np.errstate(all="ignore"):
        rows = setting.kernel.rows(state.theta, Chunk(columns, None))
        new = _summary(setting, rows, weights, fading)
        if new is None and (state.begun or setting.quadratic):
            finite = np.isfinite(rows.loss) & np.isfinite(rows.jacobian).all(axis=0)
            raise OutsideError(int(np.argmin(finite)))
        change = _change(setting, state, rows, weights)
    state = _counted(state, weights, fading, rows.target, setting.factor**n)
    if setting.quadratic and new is not None:
        state = state._replace(whole=_together(state.whole, new), begun=True)
        return state.moved(_step(setting, state.theta, state.whole.quadratic), setting.box), change
    state = state._replace(window=(*state.window, (columns, weights)), kept=state.kept + n)
    if new is None or not state.begun:
        return state, change
    few = state.kept - state.seen <= max(64, state.seen // SHARE)
    if few and FEW < state.kept < 2 * setting.kept:
        found = state._replace(whole=_together(state.whole, new))
        found = found.moved(_step(setting, found.theta, found.whole.quadratic), setting.box)
        away = found.whole.quadratic.root @ (found.theta - state.anchor)
        noise = noise_of(setting, found.whole, state.mass)
        if away @ away <= MOVED**2 * len(away) * noise:
            return found, change
    state = walked(setting, state)
    return (_folded(setting, state) if state.kept >= 2 * setting.kept else state), change


def _counted(
    state: StreamState, weights: np.ndarray, fading: np.ndarray, target: np.ndarray, left: float
) -> StreamState:
    """Let the rows so far fade to what is left, and add to sums that no estimate changes.

    Chan, Golub & LeVeque 1983, The American Statistician 37(3), 242-247: means and variations of
    two samples give those of both without cancellation.
    """
    faded, before = weights * fading, state.weight * left
    here = float(faded.sum())
    mean = float(faded @ target) / here
    share, apart = here / (before + here), mean - state.mean
    variation = float(faded @ (target - mean) ** 2) + before * share * apart**2
    return state._replace(
        whole=state.whole if left == 1 else state.whole.faded(left),
        past=state.past if left == 1 else state.past.faded(left),
        used=state.used + len(weights),
        mass=state.mass * left + float(fading.sum()),
        weight=before + here,
        logs=state.logs + float(np.log(weights).sum()),
        mean=state.mean + share * apart,
        variation=state.variation * left + variation,
    )


def _change(
    setting: Setting, state: StreamState, rows: Rows, weights: np.ndarray
) -> tuple[float, float] | None:
    """Return the mean loss of rows and the usual one, where noise does not explain the former.

    A residual has the variance of the noise and of the prediction, which is larger where rows lie
    beyond those before them.
    """
    whole = state.whole
    if not state.begun or state.mass < len(setting.model.free) + KNOWN:
        return None
    loss, usual = rows.loss, state.loss
    if setting.squared:
        usual = noise_of(setting, whole, state.mass) / 2
        lengths = np.linalg.lstsq(whole.quadratic.root.T, rows.jacobian, rcond=None)[0]
        loss = loss * weights / (1 + 2 * weights * (lengths**2).sum(axis=0))
    n, mean = len(loss), float(loss.mean())
    most = usual * (1 + max(DEVIATIONS * math.sqrt(2 / n), TAIL / n))
    return (mean, usual) if 0 < usual < np.inf and mean > most else None


def _step(setting: Setting, theta: np.ndarray, quadratic: Quadratic) -> np.ndarray:
    """Return the step to where a quadratic is least within the bounds."""
    norms, box = quadratic.norms, setting.box
    if box.is_everywhere:
        return step_within(quadratic, norms, np.ones(len(theta), dtype=bool), np.inf).move
    from scipy.optimize import lsq_linear

    scales = np.where(norms > 0, norms, 1.0)
    bounds = (box.low - theta) * scales, (box.high - theta) * scales
    found = lsq_linear(quadratic.root / scales, -quadratic.offset, bounds, "bvls", tol=1e-15)
    return np.asarray(found.x / scales)


def walked(setting: Setting, state: StreamState, near: float = NEAR) -> StreamState:
    """Walk to the minimum, looking at all rows that are kept."""
    origin, past, box = state.theta, state.past, setting.box
    columns, weights = state.rows_kept()
    fading = setting.fading(len(weights))
    seen: dict[bytes, Summary] = {}

    def evaluate(theta: np.ndarray) -> Point | None:
        found = _looked_at(setting, theta, columns, weights, fading)
        if found is None:
            return None
        seen[theta.tobytes()] = whole = _together(past.moved(theta - origin), found)
        return Point(theta, whole.quadratic, whole.quadratic, np.empty(0, dtype=np.intp))

    with np.errstate(all="ignore"):
        point = evaluate(origin)
        if point is None:
            raise OutsideError(0)
        iterate, rows = begin(point), round(state.mass)
        while relative_offset(point.quadratic, point.theta, box, rows) > near:
            iterate = advance(iterate, evaluate, box)
            point = iterate.point
            if iterate.no_decrease or len(seen) >= STEPS:
                break
    theta = point.theta
    return state._replace(
        theta=theta,
        begun=True,
        whole=seen[theta.tobytes()],
        past=past.moved(theta - origin),
        window=((columns, weights),),
        seen=state.kept,
        anchor=theta,
    )


def _folded(setting: Setting, state: StreamState) -> StreamState:
    """Fold the older rows of those kept into the past; all have just been looked at.

    With the Hessian of their loss: Gauss and Newton leave out what residuals bend, which where the
    process changed is no noise, and which tells where estimates go once these rows are not looked
    at any more.
    """
    columns, weights = state.rows_kept()
    fading, cut = setting.fading(len(weights)), len(weights) - setting.kept
    ours, rest = tuple(c[:cut] for c in columns), tuple(c[cut:].copy() for c in columns)
    old = _looked_at(setting, state.theta, ours, weights[:cut], fading[:cut])
    if old is None:
        raise OutsideError(0)
    q, chunk = old.quadratic, Chunk(ours, (weights * fading)[:cut])
    hessian = old.curvature + cut * bending(setting.kernel, chunk, state.theta)
    bent = from_sums(q.gradient, hessian, q.loss, q.spread)
    values = bent.spectrum.values
    if values[0] * WELL_CONDITIONED > values[-1]:
        old = old._replace(quadratic=bent)
    share = float(fading[:cut].sum()) / (state.mass - float(fading[cut:].sum()))
    return state._replace(
        past=_together(state.past, old),
        window=((rest, weights[cut:].copy()),),
        kept=setting.kept,
        seen=setting.kept,
        fold=state.fold + share * (state.theta - state.fold),
    )


def approximation_error(setting: Setting, state: StreamState) -> float:
    """Return how far the quadratic of the past may lead the estimates astray, in standard errors.

    The rows that are kept stand for those of the past: what the quadratic of noiseless rows there,
    folded where the past was, leaves out of their gradient at the estimates, times how many rows
    the past has for each.
    """
    theta, fold, whole = state.theta, state.fold, state.whole
    if setting.quadratic or not state.past.quadratic.spread:
        return 0.0
    columns, weights = state.rows_kept()
    fading = setting.fading(len(weights))
    chunk = Chunk(columns, None)
    with np.errstate(all="ignore"):
        there, here = (setting.kernel.rows(point, chunk) for point in (fold, theta))
        weight = weights * fading * np.maximum(here.bend, 0.0)
        moved = here.prediction - there.prediction
        linear = there.jacobian.T @ (theta - fold)
        error = here.jacobian @ (weight * moved) - there.jacobian @ (weight * linear)
    error = MARGIN * error * max(0.0, state.mass / float(fading.sum()) - 1)
    noise = noise_of(setting, whole, state.mass)
    if not (np.isfinite(error).all() and noise > 0):
        return np.inf if error.any() else 0.0
    step = np.linalg.lstsq(whole.quadratic.root.T, error, rcond=None)[0]
    return float(np.sqrt(step @ step / len(error) / noise))


def noise_of(setting: Setting, summary: Summary, mass: float) -> float:
    """Return the variance of the gradient for a unit of curvature, twice that of a row of weight 1.

    The rows' losses at the minimum, over their number less that of what was fitted to them.
    """
    q, left = summary.quadratic, mass - fitted(setting, summary)
    return max(2 * q.loss if setting.squared else q.spread, q.blur) / left if left > 0 else np.inf


def fitted(setting: Setting, summary: Summary) -> float:
    """Return how many degrees of freedom the estimates take.

    With forgetting that is tr(H⁻¹M), M being Σ d²·w·JᵀJ beside H = Σ d·w·JᵀJ.
    """
    root = summary.quadratic.root
    if setting.robust or setting.factor == 1:
        return float(len(root))
    half = np.linalg.lstsq(root.T, summary.scores, rcond=None)[0]
    return float(np.trace(np.linalg.lstsq(root, half.T, rcond=None)[0]))


def _looked_at(
    setting: Setting, theta: np.ndarray, columns: Columns, weights: np.ndarray, fading: np.ndarray
) -> Summary | None:
    """Return what rows tell; None where that is not finite."""
    parts = []
    for first in range(0, len(weights), BLOCK):
        some = slice(first, first + BLOCK)
        rows = setting.kernel.rows(theta, Chunk(tuple(column[some] for column in columns), None))
        part = _summary(setting, rows, weights[some], fading[some])
        if part is None:
            return None
        parts.append(part)
    return _together(*parts)


def _summary(
    setting: Setting, rows: Rows, weights: np.ndarray, fading: np.ndarray
) -> Summary | None:
    """Return what rows that were evaluated tell; None where that is not finite."""
    weight, residual = weights * fading, rows.prediction - rows.target
    loss = float(weight @ rows.loss)
    if not (np.isfinite(loss) and np.isfinite(rows.jacobian.sum())):
        return None
    size = float(np.abs(rows.prediction).max() + np.abs(rows.target).max())
    quadratic = from_rows(rows.jacobian, rows.slope, steering(rows), weight, loss, size=size)
    if not (np.isfinite(quadratic.least) and np.isfinite(quadratic.root).all()):
        return None
    inner = (weight * rows.slope) ** 2 if setting.robust else 2 * weight * fading
    curvature, scores = (
        (rows.jacobian * each) @ rows.jacobian.T for each in (weight * rows.bend, inner)
    )
    return Summary(quadratic, curvature, scores, float(weight @ residual**2))
