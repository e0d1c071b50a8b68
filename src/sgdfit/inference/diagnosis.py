"""What the curvature at one point says of gradient descent: limits and rates, and notes on them.

Along an eigenvector of curvature λ, torch's update with momentum β, dampening d and rate η,

    buffer ← β·buffer + (1 − d)·g,  step = buffer (Nesterov: g + β·buffer),  θ ← θ − η·step,

is the linear recursion e(k+1) = t·e(k) − q·e(k−1) of the error e, whose growth is that of
the roots of z² − t·z + q. With x = (1 − d)·η·λ,

    plain or heavy ball   t = 1 + β − x,        q = β
    Nesterov              t = (1 + β)(1 − x),   q = β(1 − x)

Sources: Polyak 1964, USSR Comput. Math. Math. Phys. 4(5), 1-17; Lessard, Recht & Packard
2016, SIAM J. Optim. 26(1), 57-95. The limits follow from |t| < 1 + q and |q| < 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Context
from typing import NamedTuple

import numpy as np

from sgdfit.inference.spectrum import ScaledSpectrum, combination, eigen, named, scaled_spectrum

SLOW = 1e5  # steps per decimal digit
ILL_CONDITIONED, CORRELATED = 1e6, 1e4  # condition numbers, of the curvature and of the scaled one
FAR_APART = 100.0  # a better unit must gain this much to be worth the trouble
NEGLIGIBLE = 0.01  # standard errors


@dataclass(frozen=True)
class Descent:
    """The constants of an update: momentum β, gain (1 − dampening), and Nesterov or not."""

    momentum: float = 0.0
    gain: float = 1.0
    nesterov: bool = False

    @property
    def converges(self) -> bool:
        """Whether any learning rate converges."""
        return self.gain > 0 and abs(self.momentum) < 1

    def limit(self, largest: float) -> float:
        """Return the largest rate that does not diverge where the curvature is ``largest``."""
        # 2 for plain descent
        beta = self.momentum
        return 2 * (1 + beta) / (1 + 2 * beta if self.nesterov else 1.0) / self.gain / largest

    def smooth(self, largest: float) -> float:
        """Return the largest rate below which no error oscillates: where t² = 4q."""
        beta = self.momentum
        root = (1 - beta) / (1 + beta) if self.nesterov else 1 - np.sqrt(beta)
        return float(root**2) / self.gain / largest

    def _recursion(self, rate_curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return t, q and x."""
        x, beta = self.gain * np.asarray(rate_curvature, dtype=float), self.momentum
        if self.nesterov:
            return (1 + beta) * (1 - x), beta * (1 - x), x
        return 1 + beta - x, np.full_like(x, beta), x

    def log_radius(self, rate_curvature: np.ndarray) -> np.ndarray:
        """Return log of the growth per step, in the long run, for η·λ of any shape.

        Written so that 1 − growth keeps its digits when η·λ is far below rounding.
        """
        t, q, x = self._recursion(rate_curvature)
        s = np.sqrt(np.maximum(q, 0.0))
        root = np.where(
            q < 0,
            np.hypot(t, 2 * np.sqrt(np.maximum(-q, 0.0))),
            np.sqrt(np.maximum(np.abs(t) - 2 * s, 0.0)) * np.sqrt(np.abs(t) + 2 * s),
        )
        # 2 − t without cancellation
        lag = 1 - self.momentum + x * (1 + self.momentum if self.nesterov else 1.0)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slow = np.log1p(-np.minimum(2 * x / (lag + root), 1.0))
            large = np.log(np.abs(t) / 2 + root / 2)
            swinging = np.log(s)
        real = np.where((t >= 0) & (x >= 0), slow, large)
        return np.asarray(np.where(np.abs(t) < 2 * s, swinging, real))

    def fastest(self, smallest: float, largest: float) -> float:
        """Return the rate whose slowest direction is fastest, for this momentum.

        Plain and heavy ball: the growth rises with |t|, so both ends balance at
        2(1 + β)/((1 − d)(λmin + λmax)). Nesterov: where the growth at both ends is equal.
        """
        if not self.nesterov:
            return self.limit(smallest / 2 + largest / 2) / 2
        ratio = smallest / largest
        low, high = 1.0, min(self.limit(1.0), 1 / ratio)
        for _ in range(60):
            middle = (low + high) / 2
            slow, steep = self.log_radius(np.array([middle * ratio, middle]))
            low, high = (middle, high) if slow > steep else (low, middle)
        return low / largest

    def excess(self, rate: float, curvature: np.ndarray, decay: float = 0.0) -> np.ndarray:
        """Return the excess loss per direction that gradient noise of variance 2·λ sustains.

        It is ½·λ times the stationary variance of the error: η·λ/(2 − η·λ) for plain descent
        (Mandt, Hoffman & Blei 2017, JMLR 18(134), section 3.2); with momentum that of the
        ARMA(2, 1) process which the recursion then is (Brockwell & Davis 1991, section 3.3). Weight
        decay adds to the curvature in the update but not in the noise.
        """
        t, q, _ = self._recursion(rate * (curvature + decay))
        now = self.gain + (self.momentum if self.nesterov else 0.0)
        before = -self.momentum if self.nesterov else 0.0
        power = (now**2 + before**2) * (1 + q) + 2 * now * before * t
        variance = power / ((1 - q) * (1 + q + t))
        share = rate * curvature * curvature / (curvature + decay) / self.gain
        return np.asarray(share * variance)


@dataclass(frozen=True)
class Diagnosis:
    """What the curvature at one point says about a run of gradient descent.

    Figures of rates count the weight decay as curvature; directions that are not determined
    and negative curvatures are left out of ``fastest_rate`` and what follows from it.
    """

    names: tuple[str, ...]  # the free parameters, p of them
    # float64[p]: of the curvature, ascending, in units of loss/parameter²; those that cannot be
    # told from zero are 0.0; NaN where the curvature is not finite.
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray  # float64[p, p]: columns of unit length, the largest part positive
    condition_number: float  # largest over smallest eigenvalue; infinite unless all are positive
    # The largest constant learning rate with which full-batch descent does not diverge; steps on
    # few rows can need less. None for adaptive optimizers, without positive curvature, and where
    # the momentum alone diverges.
    stability_limit: float | None = None
    fastest_rate: float | None = None  # the constant rate that converges fastest at this momentum
    # Steps for one decimal digit of parameter error at the fastest rate; 0 when a single step lands
    # on the minimum, None also where the loss is not convex.
    steps_per_digit: float | None = None
    # By which a step at the given rate multiplies the error along the steepest direction, in the
    # long run: |1 − ηλmax| without momentum. Above 1 the run diverges.
    growth_factor: float | None = None
    steps_per_digit_at_rate: float | None = None  # infinite if the given rate does not converge
    # The (rate, momentum) of heavy ball that converges fastest (Polyak 1964, p. 13).
    best_momentum: tuple[float, float] | None = None
    # Roughly the excess of the mean loss over its minimum, as a fraction of the minimum, at which
    # steps on batches hover; exact for mean squared error with rows drawn independently and small
    # steps, smaller when rows are shuffled. None for a full batch.
    noise_floor: float | None = None
    noise_distance: float | None = None  # the same in standard errors, root mean square
    smooth_rate: float | None = None  # no error oscillates at a constant rate below this one
    undetermined: tuple[str, ...] = ()  # combinations of parameters without effect on the loss
    local: bool = False  # the model is not linear, so that the figures hold near here only
    notes: tuple[str, ...] = ()  # sentences, the most important first

    def along(self, direction: int) -> str:
        """Name an eigenvector."""
        return combination(self.names, self.eigenvectors[:, direction])

    @property
    def allowed_rates(self) -> str:
        """``at most 0.2215, best 0.2042``, or an empty string where there is no limit."""
        limit, best = self.stability_limit, self.fastest_rate
        if limit is None or best is None:
            return ""

        def rounded(value: float) -> float:
            """Round to 4 digits, down where rounding up would leave the allowed range."""
            near = float(f"{value:.4g}")
            # A value that is itself a short decimal, to rounding, stays what it is.
            if near <= value * (1 + 1e-9):
                return near
            return float(Context(prec=4, rounding=ROUND_FLOOR).create_decimal(value))

        return f"at most {rounded(limit):.4g}, best {rounded(best):.4g}"


class _Run(NamedTuple):
    """How a run steps, from a point of which curvature (p, p) and mean loss."""

    curvature: np.ndarray
    update: Descent
    decay: float
    adaptive: bool
    rate: float | None
    batch: int | None
    rows: int
    loss: float


def diagnose(
    curvature: np.ndarray,
    names: Sequence[str],
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    adaptive: bool = False,
    learning_rate: float | None = None,
    batch_size: int | None = None,
    rows: int,
    loss: float,
    local: bool,
) -> Diagnosis:
    """Say what gradient descent will do from here.

    ``curvature`` is that of the mean ``loss`` over all ``rows``, in units of loss/parameter²;
    ``adaptive`` optimizers rescale the gradient (adagrad, rmsprop, adam, adamw); ``learning_rate``
    is constant, or None; ``batch_size`` None is all rows; the other options are torch's.
    """
    names, G = tuple(names), np.array(curvature, dtype=float)
    G = G / 2 + G.T / 2
    update = Descent(momentum, 1 - dampening if momentum else 1.0, nesterov)
    run = _Run(G, update, weight_decay, adaptive, learning_rate, batch_size, rows, loss)
    if not np.isfinite(G).all():
        unknown = np.full(len(names), np.nan), np.full(G.shape, np.nan)
        bad = ~np.isfinite(G).all(axis=0)
        alone = bad & ~np.isfinite(np.diag(G))
        blamed = [names[i] for i in np.flatnonzero(alone if alone.any() else bad).tolist()]
        note = (
            f"the curvature of the loss is not finite for {', '.join(blamed)} here, so nothing can"
            " be said of learning rates; start where the model can be computed on every row."
        )
        return Diagnosis(names, *unknown, np.inf, local=local, notes=(note,))
    spectrum = scaled_spectrum(G)
    null = spectrum.null_rows() if G.any() else np.zeros((0, len(names)))
    values, vectors = _eigen(G, null / spectrum.scales)
    with np.errstate(over="ignore"):
        positive = values.size > 0 and values[0] > 0
        condition = float(values[-1] / values[0]) if positive else np.inf
    undetermined = named(names, null, spectrum.scales)
    found = Diagnosis(names, values, vectors, condition, undetermined=undetermined, local=local)
    if not adaptive and values.max(initial=0.0) > 0:
        found = _with_noise(_with_rates(found, run), run)
    return replace(found, notes=tuple(_notes(found, run, spectrum)))


def _eigen(G: np.ndarray, null: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors; those that span the ``null`` rows (k, p) have 0."""
    values, vectors = eigen(G)
    if len(null):
        # Beside a large eigenvalue rounding leaves a zero one larger than an honest small one, so
        # that direction, not size, tells which are zero.
        unit = null / np.abs(null).max(axis=1, keepdims=True)
        basis, _ = np.linalg.qr((unit / np.linalg.norm(unit, axis=1, keepdims=True)).T)
        values[np.argsort(-np.linalg.norm(basis.T @ vectors, axis=0))[: len(null)]] = 0.0
    order = np.argsort(values, kind="stable")
    return values[order], vectors[:, order]


def _with_rates(found: Diagnosis, run: _Run) -> Diagnosis:
    effective, update = found.eigenvalues + run.decay, run.update
    smallest, largest = float(effective[effective > 0].min()), float(effective.max())
    # Polyak 1964, p. 13: the heavy ball that converges fastest.
    root = np.sqrt(smallest / largest)
    best = float((2 / (1 + root)) ** 2 / largest), float(((1 - root) / (1 + root)) ** 2)
    found = replace(found, best_momentum=best)
    if run.rate is not None:
        with np.errstate(over="ignore"):
            logs = update.log_radius(run.rate * effective[effective != 0])
            growth = float(np.exp(logs[-1]))
        slowest = _steps_per_digit(float(logs.max()))
        found = replace(found, growth_factor=growth, steps_per_digit_at_rate=slowest)
    if not update.converges:
        return found
    fastest = update.fastest(smallest, largest)
    # Both ends balance; the small one keeps its digits where the large one rounds to 1.
    shrink = float(update.log_radius(np.array([fastest * smallest]))[0])
    return replace(
        found,
        stability_limit=update.limit(largest),
        smooth_rate=update.smooth(largest),
        fastest_rate=fastest,
        steps_per_digit=None if (effective < 0).any() else _steps_per_digit(shrink),
    )


def _steps_per_digit(log_radius: float) -> float:
    """Return the steps per decimal digit of error; 0 for an instant, ``inf`` for never."""
    return float(-np.log(10) / log_radius) if log_radius < 0 else np.inf


def _with_noise(found: Diagnosis, run: _Run) -> Diagnosis:
    """Noise of variance 2σ²λ(1 − B/N)/B sustains an excess loss in units of σ², the minimum."""
    stable = found.growth_factor is not None and found.growth_factor < 1 and run.update.converges
    if run.rate is None or run.batch is None or run.batch >= run.rows or not stable:
        return found
    curvature = found.eigenvalues[found.eigenvalues > 0]
    excess = run.update.excess(run.rate, curvature, run.decay)
    floor = float(excess.sum()) / run.batch * (1 - run.batch / run.rows)
    # In standard errors SE² = 2σ²/(Nλ), so each excess counts N times.
    distance = float(np.sqrt(run.rows * floor / len(curvature)))
    return replace(found, noise_floor=floor, noise_distance=distance)


def explain_divergence(diagnosis: Diagnosis, displacement: np.ndarray) -> str:
    """Say along which combination of parameters a diverged run left.

    ``diagnosis`` is that of the start, with the run's rate; ``displacement`` the last finite
    parameters less the first, or one of the last steps.
    """
    size, growth = np.abs(displacement).max(initial=0.0), diagnosis.growth_factor
    if not (np.isfinite(diagnosis.eigenvectors).all() and np.isfinite(size) and size > 0):
        return "The run diverged at once, before a direction could be told."
    shares = (diagnosis.eigenvectors.T @ (displacement / size)) ** 2
    main = int(shares.argmax())
    unforeseen = ", which did not foresee this:"
    if diagnosis.eigenvalues[main] < 0:
        why = ": the loss is not convex there, and descent runs away from the start along it."
    elif growth is not None and growth > 1 and main == len(diagnosis.names) - 1:
        why = f": each step multiplies the error along it by {growth:.4g}."
    elif diagnosis.local:
        why = f" at the start{unforeseen} the loss is steeper further out."
    elif diagnosis.noise_floor is None:
        why = f"{unforeseen} the optimizer's steps were too long."
    else:
        why = f"{unforeseen} single batches are steeper than all rows together."
    return (
        f"The run left along {diagnosis.along(main)}, which makes up"
        f" {shares[main] / shares.sum():.0%} of its displacement and has curvature"
        f" {diagnosis.eigenvalues[main]:.4g}{why}"
    )


def rate_advice(diagnosis: Diagnosis) -> str:
    """Say in one sentence which learning rate to use after a run that diverged."""
    if not diagnosis.allowed_rates:
        return "use a learning rate ten times smaller"
    if diagnosis.growth_factor is None or diagnosis.growth_factor > 1:
        return f"use a learning rate of {diagnosis.allowed_rates}"
    if not diagnosis.local and diagnosis.noise_floor is not None:
        return "use larger batches, or a learning rate ten times smaller"
    return (
        "use a learning rate ten times smaller, or start nearer to the answer: the limit at the"
        f" start, {diagnosis.stability_limit:.4g}, does not hold on the way"
    )


def _notes(found: Diagnosis, run: _Run, spectrum: ScaledSpectrum) -> Iterator[str]:
    """Yield the notes that apply, the most important first."""
    if not found.names:
        yield "no parameter is free, so there is nothing to descend along."
        return
    if not run.curvature.any():
        yield (
            "this loss has no curvature here (mean absolute error has none anywhere), so the limits"
            " of the learning rate do not apply; let the learning rate decay so that steps shrink."
        )
        return
    here = " here" * found.local
    yield from _on_rate(found, run)
    if (spectrum.values < -spectrum.tolerance).any():
        yield (
            f"the loss is not convex here: its curvature along {found.along(0)} is"
            f" {found.eigenvalues[0]:.4g}, so descent runs away from here along it until the"
            " curvature turns positive."
        )
    if found.undetermined:
        which = "them" if found.undetermined[1:] else "it"
        yield (
            f"the data do not determine {' and '.join(found.undetermined)}{here}: moving along"
            f" {which} leaves the loss unchanged; fix or tie one parameter of each."
        )
    yield from _on_scaling(found, run, spectrum)
    floor, distance = found.noise_floor, found.noise_distance
    if floor is not None and distance is not None and distance >= NEGLIGIBLE and run.loss != 0:
        yield (
            f"steps on {run.batch} of {run.rows:,} rows hover above the minimum of the loss,"
            f" at a constant rate of {run.rate:g} by roughly {100 * floor:.4g}% of it, or"
            f" {distance:.4g} standard errors of the parameters (less when rows are shuffled, not"
            " drawn); to get closer, average the iterates, let the learning rate decay, or take"
            " larger batches."
        )
    if run.adaptive:
        yield (
            "this optimizer rescales the gradient as it goes, so no stability limit follows from"
            " the curvature; its learning rate is the size of a step in units of the parameters."
        )
    if found.local:
        yield "the model is not linear in its parameters, so these figures hold near here only."


def _on_rate(found: Diagnosis, run: _Run) -> Iterator[str]:
    """Say that the learning rate is above its limit, or far below the best."""
    rate, limit, update = run.rate, found.stability_limit, run.update
    if not run.adaptive and update.gain <= 0:
        yield f"dampening {1 - update.gain:g} leaves no descent in the steps; use one below 1."
    elif not run.adaptive and not update.converges:
        yield (
            f"momentum {update.momentum:g} is not below 1, so old steps never fade and no"
            " learning rate converges; use 0.9, say."
        )
    if rate is None or limit is None or found.fastest_rate is None:
        return
    if rate > limit:
        steepest = f"(λmax + {run.decay:g})" if run.decay else "λmax"
        below, how, lasting = steepest, f"by |1 − η{steepest}| = ", ""
        if update.momentum:
            how, lasting = "by ", " in the long run"
        if update.nesterov:
            below = f"((1 + 2β){steepest})"
        elif update.gain != 1:
            below = f"((1 − {1 - update.gain:g}){steepest})"
        above = "2(1 + β)" if update.momentum else "2"
        yield (
            f"learning rate {rate:g} is above the stability limit {above}/{below} = {limit:.4g}:"
            f" each step multiplies the error along {found.along(-1)} {how}"
            f"{found.growth_factor:.4g}{lasting}, so the run diverges"
            f"{' at first' * found.local}; use {found.allowed_rates}."
        )
    steps, best = found.steps_per_digit_at_rate, found.steps_per_digit
    if steps is None or best is None or rate >= found.fastest_rate or steps < max(SLOW, 2 * best):
        return
    effective = found.eigenvalues + run.decay
    slowest = int(np.where(effective > 0, effective, np.inf).argmin())
    yield (
        f"learning rate {rate:g} is far too small: the error along {found.along(slowest)} needs"
        f" {steps:.4g} steps for each decimal digit; the best rate, {found.fastest_rate:.4g}, needs"
        f" {best:.4g}."
    )


def _on_scaling(found: Diagnosis, run: _Run, spectrum: ScaledSpectrum) -> Iterator[str]:
    """Say that other units would help, or that none can."""
    raw, scaled = _spread(found.eigenvalues), _spread(spectrum.values[spectrum.positive])
    if raw > ILL_CONDITIONED and raw > FAR_APART * scaled:
        powers, used = np.log10(spectrum.scales), run.curvature.any(axis=0)
        # One parameter keeps its unit, and as many others as can.
        middle = np.sort(powers[used])[(used.sum() - 1) // 2]
        powers = np.where(used, np.round(powers - middle), 0)
        changed = [(f"{10.0**p:g}·{n}", n) for n, p in zip(found.names, powers, strict=True) if p]
        new, old = (", ".join(names) for names in zip(*changed, strict=True))
        columns = "" if found.local else " (divide the columns that they multiply by these factors)"
        yield (
            f"the parameters are badly scaled: the condition number is {raw:.4g}, but {scaled:.4g}"
            f" with each parameter in its own unit; rescale: fit {new} in place of {old}{columns}."
        )
    if scaled > CORRELATED and max(raw, scaled) > ILL_CONDITIONED:
        weakest = spectrum.vectors[:, [int(spectrum.positive.argmax())]].T
        (where,) = named(found.names, weakest, spectrum.scales)
        yield (
            "the parameters are strongly correlated: even with each in its own unit the condition"
            f" number is {scaled:.4g}, and the data hardly determine {where}; centre the variables,"
            " or write the formula with fewer or less alike terms."
        )


def _spread(values: np.ndarray) -> float:
    """Return the largest over the smallest of the positive values."""
    positive = values[values > 0]
    with np.errstate(over="ignore"):
        return float(positive.max() / positive.min()) if positive.size else 1.0
