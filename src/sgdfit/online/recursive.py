"""The recursion: what is known of all rows so far, and the step that takes in further ones.

Where the loss is a quadratic of the parameters, the root of its curvature is all there is to know
of the rows, and the recursion is least squares itself (TSQR: Demmel, Grigori, Hoemmen & Langou
2012, SIAM J. Sci. Comput. 34(1), A206-A239). Elsewhere a step takes the new rows as they look from
the estimates (the extended Kalman filter); the newest rows are kept, and looked at anew once the
estimates have moved; those before them are a quadratic, folded where the estimates were
(Bell & Cathey 1993, IEEE Trans. Automatic Control 38(2), 294-297).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from sgdfit.errors import DataError
from sgdfit.fitting.gauss_newton import bending, steering
from sgdfit.fitting.trust_region import Box, Point, advance, begin
from sgdfit.fitting.weights import SANDWICH, Weighting
from sgdfit.inference.quadratic import Quadratic, from_rows, from_sums, joined, step_within
from sgdfit.kernel.kernel import Chunk, Kernel, Rows, make
from sgdfit.model.loss import SQUARED
from sgdfit.model.model import Model
from sgdfit.online.forgetting import Forgetting

# The newest rows that are kept: up to twice so many, of which the older half is folded then.
KEPT = 32_768
# Rows whose Jacobian is decomposed at once.
BLOCK = 8_192
# The kept rows are looked at anew once one in so many came since, or the estimates moved by more
# than so many standard errors.
SHARE, MOVED = 4, 0.2
# Up to so many rows are looked at anew with every update.
FEW = 256
# From the minimum, in standard errors: where a walk ends, and where it ends for a result.
NEAR, NEAREST = 1e-3, 1e-9
STEPS = 100
# What is left of a row's weight when it is as good as forgotten.
FORGOTTEN = 1e-12
# A change is told from noise where the noise has so many degrees of freedom, and the mean loss of a
# batch is so many standard deviations above the usual one. A single row's loss has a long tail;
# of squared residuals the last is a residual of 5.6 standard deviations.
KNOWN, DEVIATIONS, TAIL = 10.0, 10.0, 30.0
# A column whose part that no other column has is larger than this share of it has a margin.
REGULAR = 1e-8
# A Hessian whose condition is worse than this has lost too many digits to differences.
WELL_CONDITIONED = 1e8
# What the rows that are kept tell of the past's error is too little by a factor of 1.9 to 2.6 where
# a rate of decay jumped by 3 to 100% and the past was folded at several places. Of 42 streams drawn
# anew (seven rates, six seeds), 3 were farther off than told by a factor of 3, none by 3.5.
MARGIN = 3.5
NOTHING = np.empty(0, dtype=np.intp)

Columns = tuple[np.ndarray, ...]


class Setting(NamedTuple):
    """What never changes.

    Attributes
    ----------
    squared, quadratic, robust : bool
        Whether the loss is the squared residual; whether it is a quadratic of all parameters; and
        whether errors come from the rows' own gradients.
    """

    model: Model
    kernel: Kernel
    box: Box
    forgetting: Forgetting
    squared: bool
    quadratic: bool
    robust: bool

    @property
    def bounded(self) -> bool:
        """Whether any parameter has a bound."""
        return not (np.isinf(self.box.low).all() and np.isinf(self.box.high).all())

    @property
    def kept(self) -> float:
        """How many of the newest rows are kept when others are folded."""
        if self.forgetting.factor == 1:
            return KEPT
        return min(KEPT, max(FEW, math.log(FORGOTTEN) / self.forgetting.log))


def setting_of(model: Model, weighting: Weighting, forgetting: Forgetting) -> Setting:
    """Return what follows from what is fitted and how rows count."""
    low, high = (
        np.array([getattr(model.parameters[name], side) for name in model.free])
        for side in ("low", "high")
    )
    squared = model.loss.name == SQUARED
    robust = not squared or weighting.covariance == SANDWICH
    box = Box(low, high, np.zeros(len(low), dtype=bool))
    quadratic = squared and model.is_linear and not robust
    kernel = make(model, None, "numpy")
    return Setting(model, kernel, box, forgetting, squared, quadratic, robust)


class Local(NamedTuple):
    """The loss of some rows near a point.

    Attributes
    ----------
    quadratic : Quadratic
    middle : float64[p, p]
        The covariance of the gradient; for least squares, in units of twice the variance of a row
        of weight 1.
    squares : float
        Σ d·w (y − prediction)².
    """

    quadratic: Quadratic
    middle: np.ndarray
    squares: float

    def aged(self, left: float) -> Local:
        """Return what remains once forgetting has left a share of every weight."""
        q, root = self.quadratic, np.sqrt(left)
        faded = q._replace(
            loss=q.loss * left,
            root=q.root * root,
            offset=q.offset * root,
            spread=q.spread * left,
            least=q.least * left,
            blur=q.blur * left,
        )
        return Local(faded, self.middle * left**2, self.squares * left)

    def moved(self, step: np.ndarray) -> Local:
        """Return the same, seen from where a step leads."""
        return self._replace(quadratic=self.quadratic.after(step))


class State(NamedTuple):
    """What is known of all rows so far. Nothing in it changes; a step returns another one.

    d stands for what forgetting has left of a row's weight w.

    Attributes
    ----------
    rows, dropped, used : int
        Rows that could be used, rows left out, and rows whose own weight is not 0.
    mass, weight, logs : float
        Σ d and Σ d·w over these, and without forgetting Σ ln w.
    mean, variation : float
        Of the response: the weighted mean ȳ, and Σ d·w (y − ȳ)².
    calm, squares : float
        Σ d and Σ d·loss² of rows that noise explained, before the curve knew them.
    theta : float64[p] or None
        The estimates; None until there are any.
    whole, past, known : Local or None
        All rows, those that are kept no more, and those that are kept, seen from the estimates.
    window : tuple of (columns, weights)
        The rows that are kept, in the pieces in which they came.
    kept, seen : int
        How many these are, and how many there were when they were last looked at together.
    anchor, fold : float64[p] or None
        Where that was; and where the past was folded, on average.
    start : float64[p] or None
        The fit of the first rows, from where the recursion went on.
    turn : float
        So many rows are kept when starting values are looked for again.
    steps, visited : int
        Steps of the descent, and rows looked at.
    """

    rows: int = 0
    dropped: int = 0
    used: int = 0
    mass: float = 0.0
    weight: float = 0.0
    logs: float = 0.0
    mean: float = 0.0
    variation: float = 0.0
    calm: float = 0.0
    squares: float = 0.0
    theta: np.ndarray | None = None
    whole: Local | None = None
    past: Local | None = None
    known: Local | None = None
    window: tuple[tuple[Columns, np.ndarray], ...] = ()
    kept: int = 0
    seen: int = 0
    anchor: np.ndarray | None = None
    fold: np.ndarray | None = None
    start: np.ndarray | None = None
    turn: float = 0.0
    steps: int = 0
    visited: int = 0

    def rows_kept(self) -> tuple[Columns, np.ndarray]:
        """Return the columns and weights of the rows that are kept."""
        columns = zip(*(columns for columns, _ in self.window), strict=True)
        weights = np.concatenate([weights for _, weights in self.window])
        return tuple(np.concatenate(pieces) for pieces in columns), weights


def absorbed(
    setting: Setting, state: State, columns: Columns, weights: np.ndarray
) -> tuple[State, tuple[float, float] | None]:
    """Return what is known with some rows more, at most `KEPT`, all of a weight above 0.

    Beside it, where noise does not explain how far these are from the curve: their mean loss, and
    the usual one.

    Raises
    ------
    OutsideError
        When the formula has no finite value on a row.
    """
    theta = setting.box.clip(np.zeros(len(setting.model.free)))
    theta = theta if state.theta is None else state.theta
    with np.errstate(all="ignore"):
        rows = setting.kernel.rows(theta, Chunk(columns, None))
    if state.theta is not None:
        _check_domain(rows)
    forgetting = setting.forgetting
    decay = forgetting.weights(len(weights))
    change, calm, squares = _compared(setting, state, rows, weights, decay)
    left = forgetting.after(len(weights))
    state = _counted(state, weights, decay, rows.target, left)
    state = state._replace(
        past=None if state.past is None else state.past.aged(left),
        known=None if state.known is None else state.known.aged(left),
        calm=state.calm * left + calm,
        squares=state.squares * left + squares,
    )
    if not setting.quadratic:
        state = state._replace(
            window=(*state.window, (columns, weights)), kept=state.kept + len(weights)
        )
        if state.theta is None:
            return state, change
    return _updated(setting, state, theta, rows, weights, decay), change


class OutsideError(DataError):
    """The formula or its gradient has no finite value on a row, counted from 0 by ``row``."""

    def __init__(self, row: int) -> None:
        super().__init__("the formula or its gradient has no finite value")
        self.row = row


def _check_domain(rows: Rows) -> None:
    if np.isfinite(rows.loss.sum() + rows.jacobian.sum()):
        return
    bad = ~(np.isfinite(rows.loss) & np.isfinite(rows.jacobian).all(axis=0))
    if bad.any():
        raise OutsideError(int(np.argmax(bad)))


def _counted(
    state: State, weights: np.ndarray, decay: np.ndarray, target: np.ndarray, left: float
) -> State:
    """Add to the sums that do not depend on the estimates.

    Chan, Golub & LeVeque 1983, The American Statistician 37(3), 242-247: means and variations of
    two samples give those of both without cancellation.
    """
    aged = weights * decay
    here, before = float(aged.sum()), state.weight * left
    mean = float(aged @ target) / here
    share, apart = here / (before + here), mean - state.mean
    variation = float(aged @ (target - mean) ** 2)
    return state._replace(
        used=state.used + len(weights),
        mass=state.mass * left + float(decay.sum()),
        weight=before + here,
        logs=state.logs + float(np.log(weights).sum()),
        mean=state.mean + share * apart if before else mean,
        variation=state.variation * left + variation + before * share * apart**2,
    )


def _compared(
    setting: Setting, state: State, rows: Rows, weights: np.ndarray, decay: np.ndarray
) -> tuple[tuple[float, float] | None, float, float]:
    """Compare rows with the noise: an alarm, or what they add to what is known of the noise.

    A residual has the variance of the noise and of the prediction, which is larger where rows lie
    beyond those before them.
    """
    whole = state.whole
    if whole is None or state.mass < len(setting.box.low) + KNOWN:
        return None, 0.0, 0.0
    loss = rows.loss
    usual = whole.quadratic.loss / state.weight
    if setting.squared:
        usual = noise_of(setting, whole, state.mass) / 2
        try:
            lengths = np.linalg.solve(whole.quadratic.root.T, rows.jacobian)
        except np.linalg.LinAlgError:
            return None, 0.0, 0.0
        loss = loss * weights / (1 + 2 * weights * (lengths**2).sum(axis=0))
    if not 0 < usual < np.inf:
        return None, 0.0, 0.0
    deviation = np.sqrt(2.0) * usual
    if state.calm > 0:
        deviation = max(deviation, np.sqrt(state.squares / state.calm))
    n, mean = len(loss), float(loss.mean())
    if mean > usual + max(DEVIATIONS * deviation / np.sqrt(n), TAIL * usual / n):
        return (mean, usual), 0.0, 0.0
    return None, float(decay.sum()), float(decay @ (loss - usual) ** 2)


def _updated(
    setting: Setting,
    state: State,
    theta: np.ndarray,
    rows: Rows,
    weights: np.ndarray,
    decay: np.ndarray,
) -> State:
    """Step to the minimum with further rows: as they look from here, or with a look at all."""
    local = _of_rows(rows, weights, decay, setting.robust)
    if setting.quadratic:
        if local is None:
            raise OutsideError(0)
        whole = local if state.past is None else _both(state.past, local)
        found, steps = _least(setting, theta, whole.quadratic)
        whole = whole.moved(found - theta)
        whole = whole._replace(squares=whole.quadratic.loss)
        return state._replace(
            theta=found,
            whole=whole,
            past=whole,
            steps=state.steps + steps,
            visited=state.visited + len(weights),
        )
    few = state.kept > FEW and state.kept - state.seen <= max(64, state.seen // SHARE)
    if local is not None and few and state.known is not None:
        known = _both(state.known, local)
        whole = known if state.past is None else _both(state.past, known)
        found, steps = _least(setting, theta, whole.quadratic)
        step = found - theta
        whole = whole.moved(step)
        noise = noise_of(setting, whole, state.mass)
        away = whole.quadratic.root @ (found - state.anchor)
        if away @ away <= MOVED**2 * len(found) * noise:
            return state._replace(
                theta=found,
                whole=whole,
                past=None if state.past is None else state.past.moved(step),
                known=known.moved(step),
                steps=state.steps + steps,
                visited=state.visited + len(weights),
            )
    looked = walked(setting, state)
    if looked is None:
        raise OutsideError(0)
    return _folded(setting, looked) if looked.kept >= 2 * setting.kept else looked


def walked(setting: Setting, state: State, near: float = NEAR) -> State | None:
    """Walk to the minimum, looking at all rows that are kept; None where the start has no loss."""
    origin, past = state.theta, state.past
    assert origin is not None  # the caller has looked
    columns, weights = state.rows_kept()
    decay = setting.forgetting.weights(len(weights))
    seen: dict[bytes, Local] = {}

    def evaluate(theta: np.ndarray) -> Point | None:
        found = _looked_at(setting, theta, columns, weights, decay)
        if found is None:
            return None
        seen[theta.tobytes()] = found
        whole = found if past is None else _both(past.moved(theta - origin), found)
        return Point(theta, whole.quadratic, whole.quadratic, NOTHING)

    with np.errstate(all="ignore"):
        point = evaluate(origin)
        if point is None:
            return None
        iterate, steps = begin(point), 0
        while steps < STEPS and (
            distance(setting, point.theta, point.quadratic, state.mass) > near
        ):
            iterate = advance(iterate, evaluate, setting.box)
            if iterate.rests:
                break
            point, steps = iterate.point, steps + 1
    theta = point.theta
    known = seen[theta.tobytes()]
    past = None if past is None else past.moved(theta - origin)
    return state._replace(
        theta=theta,
        whole=known if past is None else _both(past, known),
        past=past,
        known=known,
        window=((columns, weights),),
        seen=state.kept,
        anchor=theta,
        steps=state.steps + steps,
        visited=state.visited + len(seen) * len(weights),
    )


def _folded(setting: Setting, state: State) -> State:
    """Fold the older rows of those kept into the past; all have just been looked at."""
    theta, before = state.theta, state.past
    assert theta is not None  # set by the walk that led here
    columns, weights = state.rows_kept()
    decay, cut = setting.forgetting.weights(len(weights)), len(weights) - int(setting.kept)
    old, new = (
        _looked_at(
            setting, theta, tuple(column[some] for column in columns), weights[some], decay[some]
        )
        for some in (slice(0, cut), slice(cut, None))
    )
    if old is None or new is None:
        raise OutsideError(0)
    ours = tuple(column[:cut] for column in columns)
    old = _with_hessian(setting, theta, Chunk(ours, (weights * decay)[:cut]), old)
    mass, share = state.mass - float(decay[cut:].sum()), float(decay[:cut].sum())
    fold = theta if state.fold is None else state.fold + share / mass * (theta - state.fold)
    past = old if before is None else _both(before, old)
    kept = tuple(column[cut:].copy() for column in columns), weights[cut:].copy()
    return state._replace(
        whole=_both(past, new),
        past=past,
        known=new,
        window=(kept,),
        kept=len(kept[1]),
        seen=len(kept[1]),
        fold=fold,
    )


def _with_hessian(setting: Setting, theta: np.ndarray, chunk: Chunk, local: Local) -> Local:
    """Return rows with the Hessian of their loss, where that is a minimum's.

    Gauss and Newton leave out what residuals bend, which where the process changed is no noise, and
    which tells where estimates go once these rows are not looked at any more.
    """
    sums = setting.kernel.sums(theta, chunk)
    hessian = sums.curvature + chunk.rows * bending(setting.kernel, chunk, theta)
    found = from_sums(sums.gradient, hessian, sums.loss, local.quadratic.spread)
    values = found.spectrum.values
    if values[0] * WELL_CONDITIONED <= values[-1]:
        found = from_sums(sums.gradient, sums.curvature, sums.loss, local.quadratic.spread)
    return local._replace(quadratic=found)


def curved(
    setting: Setting, theta: np.ndarray, columns: Columns, weight: np.ndarray, local: Local
) -> Local:
    """Return rows with the curvature that their loss has, rather than one that steers.

    A robust loss bends less than the quadratic that lies above it, which takes steps well and would
    overstate what rows far from the curve say.
    """
    if setting.squared:
        return local
    sums = setting.kernel.sums(theta, Chunk(columns, weight))
    spread = local.quadratic.spread
    return local._replace(quadratic=from_sums(sums.gradient, sums.curvature, sums.loss, spread))


def bent(setting: Setting, state: State) -> Local:
    """Return all rows, those that are kept with the curvature of their loss."""
    assert state.whole is not None  # the caller has looked
    if setting.squared or state.known is None or state.theta is None:
        return state.whole
    columns, weights = state.rows_kept()
    weight = weights * setting.forgetting.weights(len(weights))
    known = curved(setting, state.theta, columns, weight, state.known)
    return known if state.past is None else _both(state.past, known)


def doubt(setting: Setting, state: State) -> float:
    """Return how far the quadratic of the past may lead the estimates astray, in standard errors.

    The rows that are kept stand for those of the past: what the quadratic of noiseless rows there,
    folded where the past was, leaves out of their gradient at the estimates, times how many rows
    the past has for each.
    """
    theta, fold, whole = state.theta, state.fold, state.whole
    if fold is None or theta is None or whole is None or setting.quadratic:
        return 0.0
    columns, weights = state.rows_kept()
    decay = setting.forgetting.weights(len(weights))
    chunk = Chunk(columns, None)
    with np.errstate(all="ignore"):
        there, here = (setting.kernel.rows(point, chunk) for point in (fold, theta))
        weight = weights * decay * np.maximum(here.bend, 0.0)
        moved = here.prediction - there.prediction
        linear = there.jacobian.T @ (theta - fold)
        error = here.jacobian @ (weight * moved) - there.jacobian @ (weight * linear)
    error = MARGIN * error * max(0.0, state.mass / float(decay.sum()) - 1)
    noise = noise_of(setting, whole, state.mass)
    if not (np.isfinite(error).all() and noise > 0):
        return np.inf if error.any() else 0.0
    step = np.linalg.lstsq(whole.quadratic.root.T, error, rcond=None)[0]
    return float(np.sqrt(step @ step / len(error) / noise))


def distance(setting: Setting, theta: np.ndarray, quadratic: Quadratic, mass: float) -> float:
    """Return how far a point is from its quadratic's minimum, in standard errors."""
    free = setting.box.free(theta, quadratic.gradient)
    if not free.any():
        return 0.0
    step = step_within(quadratic, quadratic.norms, free, np.inf)
    gain = max(0.0, -quadratic.change(step.move))
    if gain == 0:
        return 0.0
    total = 2 * quadratic.least if setting.squared else quadratic.spread - 2 * gain
    noise = max(total, quadratic.blur) / max(1.0, mass - len(theta))
    return float(np.sqrt(2 * gain / len(theta) / noise)) if noise > 0 else np.inf


def noise_of(setting: Setting, local: Local, mass: float) -> float:
    """Return the variance of the gradient for a unit of curvature, twice that of a row of weight 1.

    The rows' losses at the minimum, over their number less that of what was fitted to them.
    """
    q = local.quadratic
    left = mass - fitted(setting, local)
    total = 2 * q.least if setting.squared else q.spread
    return max(total, q.blur) / left if left > 0 else np.inf


def fitted(setting: Setting, local: Local) -> float:
    """Return how many degrees of freedom the estimates take.

    With forgetting that is tr(H⁻¹M), M being Σ d²·w·JᵀJ beside H = Σ d·w·JᵀJ.
    """
    root = local.quadratic.root
    if setting.robust or setting.forgetting.factor == 1:
        return float(len(root))
    half = np.linalg.lstsq(root.T, local.middle, rcond=None)[0]
    return float(np.trace(np.linalg.lstsq(root, half.T, rcond=None)[0]))


def _least(setting: Setting, theta: np.ndarray, quadratic: Quadratic) -> tuple[np.ndarray, int]:
    """Return where a quadratic is least within the bounds, and how many steps led there."""
    if not setting.bounded:
        free = np.ones(len(theta), dtype=bool)
        return theta + step_within(quadratic, quadratic.norms, free, np.inf).move, 1

    def known(other: np.ndarray) -> Point:
        there = quadratic.after(other - theta)
        return Point(other, there, there, NOTHING)

    iterate = begin(known(theta))._replace(radius=np.inf)
    steps = 0
    while not iterate.rests and steps < STEPS:
        iterate, steps = advance(iterate, known, setting.box), steps + 1
    return iterate.point.theta, steps


def _both(*parts: Local) -> Local:
    """Return what all rows tell, from what some each tell of one point."""
    if len(parts) == 1:
        return parts[0]
    found = joined(part.quadratic for part in parts)
    sizes = np.sqrt((found.root * found.root).sum(axis=0))
    margin = bool((np.abs(found.root.diagonal()) > REGULAR * sizes).all())
    found = found._replace(regular=margin and bool(np.isfinite(sizes).all()))
    middle = np.sum([part.middle for part in parts], axis=0)
    return Local(found, middle, sum(part.squares for part in parts))


def _looked_at(
    setting: Setting, theta: np.ndarray, columns: Columns, weights: np.ndarray, decay: np.ndarray
) -> Local | None:
    """Return what rows tell; None where the loss is not finite."""
    parts = []
    for first in range(0, len(weights), BLOCK):
        some = slice(first, first + BLOCK)
        chunk = Chunk(tuple(column[some] for column in columns), None)
        rows = setting.kernel.rows(theta, chunk)
        part = _of_rows(rows, weights[some], decay[some], setting.robust)
        if part is None:
            return None
        parts.append(part)
    return _both(*parts)


def _of_rows(rows: Rows, weights: np.ndarray, decay: np.ndarray, robust: bool) -> Local | None:
    """Return what rows that were evaluated tell; None where the loss is not finite."""
    weight, residual = weights * decay, rows.prediction - rows.target
    loss = float(weight @ rows.loss)
    if not (np.isfinite(loss) and np.isfinite(rows.jacobian.sum())):
        return None
    size = float(np.abs(rows.prediction).max() + np.abs(rows.target).max())
    quadratic = from_rows(rows.jacobian, rows.slope, steering(rows), weight, loss, size=size)
    if not (np.isfinite(quadratic.least) and np.isfinite(quadratic.root).all()):
        return None
    inner = (weight * rows.slope) ** 2 if robust else 2 * weight * decay
    return Local(quadratic, (rows.jacobian * inner) @ rows.jacobian.T, float(weight @ residual**2))
