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
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from sgdfit.errors import DataError, UsageError
from sgdfit.fitting.gauss_newton import nonnegative_hess, second_order_term
from sgdfit.fitting.robust import robust_scale
from sgdfit.fitting.trust_region import Point, advance, begin, box_of, relative_offset
from sgdfit.fitting.weights import SANDWICH, Weighting
from sgdfit.inference.quadratic import Quadratic, from_rows, from_sums, step_within, sum_quadratics
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk, Rows
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model

# The newest rows that are kept: up to twice so many, of which the older half is folded then.
WINDOW_ROWS = 32_768
# Rows that are looked at at once: with all kept it takes four times as long.
WINDOW_BLOCK = 8_192
# The kept rows are looked at anew once one in so many came since, or the estimates moved by more
# than so many standard errors; up to so few, with every update.
SHARE, MOVED, FEW = 4, 0.2, 256
# From the minimum, in standard errors: where a walk ends, and where it ends for a result.
NEAR, NEAREST = 1e-3, 1e-9
WALK_STEPS = 100
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

ColumnArrays = tuple[np.ndarray, ...]


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
            f"forgetting is {forgetting!r}; it is a factor a row from 0.5 to 1, such as 0.999, or a"
            " half-life of 1 row or more, such as 'half_life=1000'"
        )
    least = len(names) / (len(names) + 1)
    if factor < least:
        half_life = math.ceil(100 * math.log(0.5) / math.log(least)) / 100
        raise UsageError(
            f"forgetting is {forgetting}, so that 1/(1 − factor) = {1 / (1 - factor):.3g} rows have"
            f" a say, which cannot determine {len(names)} parameters ({', '.join(names)}) and the"
            f" noise; give a factor from {math.ceil(1000 * least) / 1000} on, or a half-life of"
            f" {half_life} rows or more"
        )
    return factor


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
        whole = {n: getattr(q, n) * left for n in ("loss", "noise_sum", "least", "rounding")}
        faded = q._replace(root=q.root * root, offset=q.offset * root, **whole)
        return Summary(faded, self.curvature * left, self.scores * left**2, self.squares * left)

    def moved(self, step: np.ndarray) -> Summary:
        """Return the same, seen from where a step leads."""
        q = self.quadratic.after(step)
        noise_sum = q.noise_sum + 2 * (q.loss - self.quadratic.loss)
        return self._replace(quadratic=q._replace(noise_sum=noise_sum))


def _together(*parts: Summary) -> Summary:
    """Return what all rows tell, from what some each tell of one point."""
    parts = tuple(part for part in parts if part.quadratic.root.any()) or parts[:1]
    if len(parts) == 1:
        return parts[0]
    curvature = np.sum([part.curvature for part in parts], axis=0)
    scores = np.sum([part.scores for part in parts], axis=0)
    quadratic = sum_quadratics([part.quadratic for part in parts])
    return Summary(quadratic, curvature, scores, sum(part.squares for part in parts))


class Recursion:
    """What is known of all rows so far. It grows; who wants to keep how it stands takes a copy.

    Nothing that it holds is ever changed in place. d stands for what forgetting has left of a row's
    weight w.
    """

    def __init__(self, model: Model, weighting: Weighting, forgetting: float | str | None) -> None:
        self.model, self.weighting = model, weighting
        self.kernel, self.box = make(model, None, "numpy"), box_of(model)
        self.factor = factor_of(forgetting, model.free)
        self.squared = model.loss.name == SQUARED
        # whether errors come from the rows' own gradients
        self.robust = not self.squared or weighting.covariance == SANDWICH
        # whether the loss is a quadratic of all parameters
        self.quadratic = self.squared and model.is_linear and not self.robust
        p = len(model.free)
        square = np.zeros((p, p))
        # All rows, and those that are kept no more, seen from the estimates.
        self.whole = Summary(from_sums(np.zeros(p), square, 0.0, 0.0), square, square, 0.0)
        self.past = self.whole
        # float64[p]: the estimates, once there are any; where the rows that are kept were last
        # looked at together; where the past was folded, on average.
        self.theta = self.anchor = self.fold = self.box.clip(np.zeros(p))
        self.begun = False
        # Rows that could be used, rows left out, and rows whose own weight is not 0.
        self.rows = self.dropped = self.used = 0
        # Σ d and Σ d·w over these, and without forgetting Σ ln w.
        self.mass = self.weight = self.logs = 0.0
        # Of the response: the weighted mean ȳ, and Σ d·w (y − ȳ)².
        self.mean = self.variation = 0.0
        # The rows that are kept, in the pieces in which they came; how many these are, how many
        # there were when they were last looked at together, and the fewest of them.
        self.window: tuple[tuple[ColumnArrays, np.ndarray], ...] = ()
        self.kept = self.seen = 0
        left = WINDOW_ROWS if self.factor == 1 else int(math.log(FORGOTTEN) / math.log(self.factor))
        self.fewest = min(WINDOW_ROWS, max(FEW, left))
        self.turn = 0.0  # so many rows are kept when starting values are looked for again

    def __copy__(self) -> Recursion:
        other = object.__new__(Recursion)
        vars(other).update(vars(self))
        return other

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: all but the kernel, which holds functions made of text."""
        return {name: value for name, value in vars(self).items() if name != "kernel"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.kernel = make(self.model, None, "numpy")

    @property
    def loss(self) -> float:
        """The (weighted) mean over the rows, at the estimates."""
        return self.whole.quadratic.loss / self.weight

    @property
    def fitted(self) -> float:
        """How many degrees of freedom the estimates take: the rank, of parameters off their bounds.

        With forgetting that is tr(H⁻¹M), M being Σ d²·w·JᵀJ beside H = Σ d·w·JᵀJ.
        """
        quadratic = self.whole.quadratic
        free = self.box.free_on(quadratic, self.theta)
        if self.robust or self.factor == 1:
            return float(quadratic.spectrum_of(free).positive.sum())
        root = quadratic.root[:, free]
        half = np.linalg.lstsq(root.T, self.whole.scores[np.ix_(free, free)], rcond=None)[0]
        return float(np.trace(np.linalg.lstsq(root, half.T, rcond=None)[0]))

    @property
    def noise(self) -> float:
        """The variance of the gradient for a unit of curvature, twice that of a row of weight 1."""
        q, left = self.whole.quadratic, self.mass - self.fitted
        noise = max(2 * q.loss if self.squared else q.noise_sum, q.rounding)
        return noise / left if left > 0 else np.inf

    def fading(self, rows: int) -> np.ndarray:
        """Return what forgetting has left of the weights of so many rows, the newest last."""
        return np.asarray(self.factor ** np.arange(rows - 1.0, -1.0, -1.0))

    def rows_kept(self) -> tuple[ColumnArrays, np.ndarray, np.ndarray]:
        """Return the columns and weights of the rows that are kept, and what is left of these."""
        columns = zip(*(columns for columns, _ in self.window), strict=True)
        weights = np.concatenate([weights for _, weights in self.window])
        return tuple(map(np.concatenate, columns)), weights, self.fading(len(weights))

    def absorb(self, columns: ColumnArrays, weights: np.ndarray) -> tuple[float, float] | None:
        """Take in some rows more, at most `WINDOW_ROWS`, all of a weight above 0.

        Where noise does not explain how far these are from the curve, their mean loss and the usual
        one are returned. `OutsideError` tells of a row on which the formula has no finite value.
        """
        n, fading = len(weights), self.fading(len(weights))
        with np.errstate(all="ignore"):
            rows = self.kernel.rows(self.theta, Chunk(columns, weights))
            new = self._summary(rows, weights, fading)
            if new is None and (self.begun or self.quadratic):
                finite = np.isfinite(rows.loss) & np.isfinite(rows.jacobian).all(axis=0)
                raise OutsideError(int(np.argmin(finite)))
            change = self._change(rows, weights)
        self._count(weights, fading, rows.target)
        if not self.quadratic:
            self.window = (*self.window, (columns, weights))
            self.kept += n
        if new is None or not (self.begun or self.quadratic):
            return change
        few = FEW < self.kept < 2 * self.fewest
        if self.quadratic or (few and self.kept - self.seen <= max(64, self.seen // SHARE)):
            before = self.theta, self.past
            self.begun, self.whole = True, _together(self.whole, new)
            step = self._step()
            self.theta = self.box.clip(self.theta + step)
            self.whole, self.past = self.whole.moved(step), self.past.moved(step)
            away = self.whole.quadratic.root @ (self.theta - self.anchor)
            if self.quadratic or away @ away <= MOVED**2 * len(away) * self.noise:
                return change
            self.theta, self.past = before  # where all rows are known to have a finite value
        self.walk()
        if self.kept >= 2 * self.fewest:
            self._fold()
        return change

    def _count(self, weights: np.ndarray, fading: np.ndarray, target: np.ndarray) -> None:
        """Let the rows so far fade, and add to sums that no estimate changes.

        Chan, Golub & LeVeque 1983, The American Statistician 37(3), 242-247: means and variations
        of two samples give those of both without cancellation.
        """
        faded, left = weights * fading, self.factor ** len(weights)
        if left < 1:
            self.whole, self.past = self.whole.faded(left), self.past.faded(left)
        before, here = self.weight * left, float(faded.sum())
        mean = float(faded @ target) / here
        share, apart = here / (before + here), mean - self.mean
        variation = float(faded @ (target - mean) ** 2) + before * share * apart**2
        self.variation = self.variation * left + variation
        self.mean += share * apart
        self.used += len(weights)
        self.mass = self.mass * left + float(fading.sum())
        self.weight = before + here
        self.logs += float(np.log(weights).sum())

    def _change(self, rows: Rows, weights: np.ndarray) -> tuple[float, float] | None:
        """Return the mean loss of rows and the usual one, where noise does not explain the former.

        A residual has the variance of the noise and of the prediction, which is larger where rows
        lie beyond those before them.
        """
        if not self.begun or self.mass < len(self.model.free) + KNOWN:
            return None
        loss, usual = rows.loss, self.loss
        if self.squared:
            usual = self.noise / 2
            root = self.whole.quadratic.root
            lengths = np.linalg.lstsq(root.T, rows.jacobian, rcond=None)[0]
            loss = loss * weights / (1 + 2 * weights * (lengths**2).sum(axis=0))
        n, mean = len(loss), float(loss.mean())
        most = usual * (1 + max(DEVIATIONS * math.sqrt(2 / n), TAIL / n))
        return (mean, usual) if 0 < usual < np.inf and mean > most else None

    def _step(self) -> np.ndarray:
        """Return the step to where the quadratic of all rows is least within the bounds."""
        quadratic, box = self.whole.quadratic, self.box
        norms = quadratic.norms
        if box.is_everywhere:
            return step_within(quadratic, norms, np.ones(len(norms), dtype=bool), np.inf).move
        from scipy.optimize import lsq_linear

        scales = np.where(norms > 0, norms, 1.0)
        bounds = (box.low - self.theta) * scales, (box.high - self.theta) * scales
        found = lsq_linear(quadratic.root / scales, -quadratic.offset, bounds, "bvls", tol=1e-15)
        return np.asarray(found.x / scales)

    def walk(self, near: float = NEAR) -> None:
        """Walk to the minimum, looking at all rows that are kept, whose residuals set the scale."""
        for _ in range(WALK_STEPS):
            self._walk(near)
            loss = self.model.loss
            if not loss.is_relative:
                return
            columns, weights, fading = self.rows_kept()
            with np.errstate(all="ignore"):
                rows = self.kernel.rows(self.theta, Chunk(columns, weights))
            scale = robust_scale(rows.sizes(weights), rows.target, fading)
            self.take_scale(scale)
            if loss.scale is not None and abs(scale - loss.scale) <= near * loss.scale:
                return

    def take_scale(self, scale: float) -> None:
        """Take a scale of the residuals for the rows that are looked at from now on."""
        self.model = replace(self.model, loss=self.model.loss.scaled(scale))
        self.kernel = make(self.model, None, "numpy")

    def _walk(self, near: float) -> None:
        origin, past, rows = self.theta, self.past, round(self.mass)
        columns, weights, fading = self.rows_kept()
        seen: dict[bytes, Summary] = {}

        def evaluate(theta: np.ndarray) -> Point | None:
            found = self._looked_at(theta, columns, weights, fading)
            if found is None:
                return None
            seen[theta.tobytes()] = whole = _together(past.moved(theta - origin), found)
            return Point(theta, whole.quadratic, whole.quadratic, np.empty(0, dtype=np.intp))

        with np.errstate(all="ignore"):
            point = evaluate(origin)
            if point is None:
                raise OutsideError(0)
            iterate = begin(point)
            while relative_offset(point.quadratic, point.theta, self.box, rows) > near:
                iterate = advance(iterate, evaluate, self.box)
                point = iterate.point
                if iterate.no_decrease or len(seen) >= WALK_STEPS:
                    break
        self.theta = self.anchor = point.theta
        self.whole, self.past = seen[point.theta.tobytes()], past.moved(point.theta - origin)
        self.window, self.seen, self.begun = ((columns, weights),), self.kept, True

    def _fold(self) -> None:
        """Fold the older rows of those kept into the past; all have just been looked at.

        With the Hessian of their loss: Gauss and Newton leave out what residuals bend, which where
        the process changed is no noise, and which tells where estimates go once these rows are not
        looked at any more.
        """
        columns, weights, fading = self.rows_kept()
        cut = len(weights) - self.fewest
        ours, rest = tuple(c[:cut] for c in columns), tuple(c[cut:].copy() for c in columns)
        old = self._looked_at(self.theta, ours, weights[:cut], fading[:cut])
        if old is None:
            raise OutsideError(0)
        q, chunk = old.quadratic, Chunk(ours, (weights * fading)[:cut])
        hessian = old.curvature + cut * second_order_term(self.kernel, chunk, self.theta)
        bent = from_sums(q.gradient, hessian, q.loss, q.noise_sum)
        values = bent.spectrum.values
        # Of rows that fade it would not know the scale, which their weights tell.
        known = self.factor == 1 or not self.model.loss.is_relative
        if known and values[0] * WELL_CONDITIONED > values[-1]:
            old = old._replace(quadratic=bent)
        self.past = _together(self.past, old)
        self.window, self.kept, self.seen = (
            ((rest, weights[cut:].copy()),),
            self.fewest,
            self.fewest,
        )
        share = float(fading[:cut].sum()) / (self.mass - float(fading[cut:].sum()))
        self.fold = self.fold + share * (self.theta - self.fold)

    def approximation_error(self) -> float:
        """Return how far the quadratic of the past may lead estimates astray, in standard errors.

        The rows that are kept stand for those of the past: what the quadratic of noiseless rows
        there, folded where the past was, leaves out of their gradient at the estimates, times how
        many rows the past has for each.
        """
        theta, fold = self.theta, self.fold
        if self.quadratic or not self.past.quadratic.noise_sum:
            return 0.0
        columns, weights, fading = self.rows_kept()
        chunk = Chunk(columns, weights)
        with np.errstate(all="ignore"):
            there, here = (self.kernel.rows(point, chunk) for point in (fold, theta))
            weight = weights * fading * np.maximum(here.hess, 0.0)
            moved = here.prediction - there.prediction
            linear = there.jacobian.T @ (theta - fold)
            error = here.jacobian @ (weight * moved) - there.jacobian @ (weight * linear)
        error = MARGIN * error * max(0.0, self.mass / float(fading.sum()) - 1)
        noise = self.noise
        if not (np.isfinite(error).all() and noise > 0):
            return np.inf if error.any() else 0.0
        step = np.linalg.lstsq(self.whole.quadratic.root.T, error, rcond=None)[0]
        return float(np.sqrt(step @ step / len(error) / noise))

    def _looked_at(
        self, theta: np.ndarray, columns: ColumnArrays, weights: np.ndarray, fading: np.ndarray
    ) -> Summary | None:
        """Return what rows tell; None where that is not finite."""
        parts = []
        for first in range(0, len(weights), WINDOW_BLOCK):
            k = slice(first, first + WINDOW_BLOCK)
            rows = self.kernel.rows(theta, Chunk(tuple(c[k] for c in columns), weights[k]))
            part = self._summary(rows, weights[k], fading[k])
            if part is None:
                return None
            parts.append(part)
        return _together(*parts)

    def _summary(self, rows: Rows, weights: np.ndarray, fading: np.ndarray) -> Summary | None:
        """Return what rows that were evaluated tell; None where that is not finite."""
        weight, residual = weights * fading, rows.prediction - rows.target
        loss = float(weight @ rows.loss)
        if not (np.isfinite(loss) and np.isfinite(rows.jacobian.sum())):
            return None
        size = float(np.abs(rows.prediction).max() + np.abs(rows.target).max())
        hess = nonnegative_hess(rows)
        quadratic = from_rows(rows.jacobian, rows.grad, hess, weight, loss, size=size)
        if not (np.isfinite(quadratic.least) and np.isfinite(quadratic.root).all()):
            return None
        inner = (weight * rows.grad) ** 2 if self.robust else 2 * weight * fading
        curvature, scores = (
            (rows.jacobian * each) @ rows.jacobian.T for each in (weight * rows.hess, inner)
        )
        return Summary(quadratic, curvature, scores, float(weight @ residual**2))
