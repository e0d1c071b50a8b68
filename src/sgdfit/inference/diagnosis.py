"""What (momentum) gradient descent does along one direction of a quadratic: closed forms.

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

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_FLOOR, Context

import numpy as np

from sgdfit.errors import UsageError
from sgdfit.inference.spectrum import ScaledSpectrum, combination, eigen, named, scaled_spectrum


@dataclass(frozen=True)
class Descent:
    """The constants of an update: momentum β, gain (1 − dampening), and Nesterov or not.

    Examples
    --------
    >>> Descent().limit(2.0), Descent().fastest(1.0, 3.0)
    (1.0, 0.5)
    >>> float(np.exp(Descent().log_radius(np.array([2.5]))[0])).__round__(12)
    1.5
    """

    momentum: float = 0.0
    gain: float = 1.0
    nesterov: bool = False

    @property
    def converges(self) -> bool:
        """Whether any learning rate converges."""
        return self.gain > 0 and abs(self.momentum) < 1

    @property
    def limit_x(self) -> float:
        """The limit of (1 − d)·η·λ: 2 for plain descent."""
        beta = self.momentum
        return 2 * (1 + beta) / ((1 + 2 * beta) if self.nesterov else 1.0)

    def limit(self, largest: float) -> float:
        """Return the largest rate that does not diverge where the curvature is ``largest``."""
        return self.limit_x / self.gain / largest

    def log_radius(self, rate_curvature: np.ndarray) -> np.ndarray:
        """Return log of the growth per step, in the long run, for η·λ of any shape.

        Written so that 1 − growth keeps its digits when η·λ is far below rounding.
        """
        t, q, x = self._recursion(rate_curvature)
        beta, s = self.momentum, np.sqrt(np.maximum(q, 0.0))
        root = np.where(
            q < 0,
            np.hypot(t, 2 * np.sqrt(np.maximum(-q, 0.0))),
            np.sqrt(np.maximum(np.abs(t) - 2 * s, 0.0)) * np.sqrt(np.abs(t) + 2 * s),
        )
        lag = 1 - beta + x * (1 + beta if self.nesterov else 1.0)  # 2 − t without cancellation
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            slow = np.log1p(-np.minimum(2 * x / (lag + root), 1.0))
            large = np.log(np.abs(t) / 2 + root / 2)
            swinging = np.log(s)
        real = np.where((t >= 0) & (x >= 0), slow, large)
        return np.asarray(np.where(np.abs(t) < 2 * s, swinging, real))

    def _recursion(self, rate_curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, beta = self.gain * np.asarray(rate_curvature, dtype=float), self.momentum
        if self.nesterov:
            return (1 + beta) * (1 - x), beta * (1 - x), x
        return 1 + beta - x, np.full_like(x, beta), x

    def fastest(self, smallest: float, largest: float) -> float:
        """Return the rate whose slowest direction is fastest, for this momentum.

        Plain and heavy ball: the growth rises with |t|, so both ends balance at
        2(1 + β)/((1 − d)(λmin + λmax)). Nesterov: where the growth at both ends is equal.
        """
        if not self.nesterov:
            return self.limit_x / self.gain / (smallest / 2 + largest / 2) / 2
        ratio = smallest / largest
        low, high = 1.0, min(self.limit_x, 1 / ratio)
        for _ in range(60):
            middle = (low + high) / 2
            slow, steep = self.log_radius(np.array([middle * ratio, middle]))
            low, high = (middle, high) if slow > steep else (low, middle)
        return low / largest

    def excess(self, rate: float, curvature: np.ndarray, decay: float = 0.0) -> np.ndarray:
        """Return the excess loss per direction that unit gradient noise 2·λ sustains.

        The stationary variance V of the error, ½·λ·V with noise of variance 2·λ added to
        each gradient: η·λ/(2 − η·λ) for plain descent (the solution of
        ΣG + GΣ − ηGΣG = ηS; Mandt, Hoffman & Blei 2017, JMLR 18(134), section 3.2);
        with momentum that of the ARMA(2, 1) process which the recursion then is
        (Brockwell & Davis 1991, section 3.3).

        Parameters
        ----------
        rate : float
            η, stable.
        curvature : array, shape (p,)
            λ of the loss.
        decay : float
            Weight decay, added to the curvature in the update but not in the noise.
        """
        t, q, _ = self._recursion(rate * (curvature + decay))
        now = self.gain + (self.momentum if self.nesterov else 0.0)
        before = -self.momentum if self.nesterov else 0.0
        power = (now**2 + before**2) * (1 + q) + 2 * now * before * t
        variance = power / ((1 - q) * (1 + q + t))
        share = rate * curvature * curvature / (curvature + decay) / self.gain
        return np.asarray(share * variance)


def best_heavy_ball(smallest: float, largest: float) -> tuple[float, float]:
    """Return the (rate, momentum) that converges fastest on a quadratic (Polyak 1964, p. 13).

    Examples
    --------
    >>> rate, momentum = best_heavy_ball(1.0, 9.0)
    >>> round(rate, 12), round(momentum, 12)
    (0.25, 0.25)
    """
    root = np.sqrt(smallest / largest)
    return float((2 / (1 + root)) ** 2 / largest), float(((1 - root) / (1 + root)) ** 2)


def steps_per_digit(log_radius: float) -> float:
    """Return the steps per decimal digit of error; 0 for an instant, ``inf`` for never.

    Examples
    --------
    >>> steps_per_digit(float(-np.log(10) / 5))
    5.0
    """
    return float(-np.log(10) / log_radius) if log_radius < 0 else float("inf")


@dataclass(frozen=True)
class Diagnosis:
    """What the curvature at one point says about a run of gradient descent.

    Figures of rates count the weight decay as curvature; directions that are not determined
    and negative curvatures are left out of ``fastest_rate`` and what follows from it.

    Attributes
    ----------
    names : tuple of str, length p
        The free parameters.
    eigenvalues : array, shape (p,)
        Of the curvature, ascending, in units of loss/parameter²; those that cannot be told
        from zero are 0.0; NaN where the curvature is not finite.
    eigenvectors : array, shape (p, p)
        Columns of unit length, the largest component positive.
    condition_number : float
        Largest over smallest eigenvalue; ``inf`` unless all are positive.
    stability_limit : float or None
        The largest constant learning rate with which full-batch descent does not diverge;
        steps on few rows can need less. None for adaptive optimizers, without positive
        curvature, and where the momentum alone diverges.
    fastest_rate : float or None
        The constant rate that converges fastest at the given momentum.
    steps_per_digit : float or None
        Steps for one decimal digit of parameter error at ``fastest_rate``; 0 when a single
        step lands on the minimum, None also where the loss is not convex.
    growth_factor : float or None
        Factor by which a step at the given rate multiplies the error along the steepest
        direction, in the long run: |1 − ηλmax| without momentum. Above 1 the run diverges.
    steps_per_digit_at_rate : float or None
        The same as ``steps_per_digit`` at the given rate; ``inf`` if it does not converge.
    best_momentum : (float, float) or None
        The (rate, momentum) of heavy ball that converges fastest (Polyak 1964).
    noise_floor : float or None
        Roughly the excess of the mean loss over its minimum, as a fraction of the minimum,
        at which steps on batches hover; exact for mean squared error with rows drawn
        independently and small steps, smaller when rows are shuffled. None for a full batch.
    noise_distance : float or None
        The same as a distance in standard errors, the root mean square over parameters.
    undetermined : tuple of str
        Combinations of parameters along which the data leave the loss unchanged.
    local : bool
        The model is not linear in its parameters, so the figures hold near this point only.
    notes : tuple of str
        Sentences, the most important first; may be empty.
    """

    names: tuple[str, ...]
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray
    condition_number: float
    stability_limit: float | None = None
    fastest_rate: float | None = None
    steps_per_digit: float | None = None
    growth_factor: float | None = None
    steps_per_digit_at_rate: float | None = None
    best_momentum: tuple[float, float] | None = None
    noise_floor: float | None = None
    noise_distance: float | None = None
    undetermined: tuple[str, ...] = ()
    local: bool = False
    notes: tuple[str, ...] = ()


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

    Parameters
    ----------
    curvature : array, shape (p, p)
        G, of the mean loss over all rows, in units of loss/parameter².
    names : sequence of str, length p
        The free parameters.
    momentum, dampening, nesterov, weight_decay
        As in ``torch.optim.SGD``.
    adaptive : bool
        The optimizer rescales the gradient (adagrad, rmsprop, adam, adamw).
    learning_rate : float, optional
        The constant rate of the run; without it nothing is said of a particular rate.
    batch_size : int, optional
        Rows of one step; None for all.
    rows : int
        Rows of the data, N.
    loss : float
        The mean loss at this point.
    local : bool
        The model is not linear in its parameters.

    Raises
    ------
    UsageError
        When the shapes differ, or Nesterov's momentum is given a dampening.

    Examples
    --------
    >>> x = np.linspace(-2, 2, 20)
    >>> J = np.stack([x**2, x, np.ones(20)], axis=1)
    >>> d = diagnose(2 / 20 * J.T @ J, "abc", learning_rate=0.23, rows=20, loss=41.75, local=False)
    >>> print(d.notes[0])
    learning rate 0.23 is above the stability limit 2/λmax = 0.2215: each step multiplies the
    error along 0.92·a + 0.39·c by |1 − ηλmax| = 1.076, so the run diverges; use at most
    0.2215, best 0.2042.
    """
    names = tuple(names)
    G = _checked(curvature, names, nesterov, dampening)
    update = Descent(momentum, 1 - dampening if momentum else 1.0, nesterov)
    about = Circumstances(G, update, weight_decay, adaptive, learning_rate, batch_size, rows, loss)
    if not np.isfinite(G).all():
        unknown = np.full(len(names), np.nan)
        bare = Diagnosis(names, unknown, np.full(G.shape, np.nan), float("inf"), local=local)
        return replace(bare, notes=write_notes(bare, about, None))
    spectrum = scaled_spectrum(G)
    found = _spectral_facts(G, names, spectrum, local)
    if not adaptive and found.eigenvalues.max(initial=0.0) > 0:
        found = _with_rates(found, about)
        found = _with_noise(found, about)
    return replace(found, notes=write_notes(found, about, spectrum))


def _checked(
    curvature: np.ndarray, names: tuple[str, ...], nesterov: bool, dampening: float
) -> np.ndarray:
    G = np.array(curvature, dtype=float)
    if G.shape != (len(names), len(names)):
        raise UsageError(
            f"the curvature has shape {G.shape}, but the {len(names)} parameters"
            f" {', '.join(names)} need ({len(names)}, {len(names)})"
        )
    if nesterov and dampening:
        raise UsageError(f"Nesterov's momentum takes no dampening, not {dampening}; set it to 0")
    return G / 2 + G.T / 2


def _spectral_facts(
    G: np.ndarray, names: tuple[str, ...], spectrum: ScaledSpectrum, local: bool
) -> Diagnosis:
    values, vectors = eigen(G)
    rows = spectrum.null_rows() if G.any() else np.zeros((0, len(names)))
    values[_nearest(vectors, rows / spectrum.scales)] = 0.0
    order = np.argsort(values, kind="stable")
    values, vectors = values[order], vectors[:, order]
    with np.errstate(over="ignore"):
        positive = values.size > 0 and values[0] > 0
        condition = float(values[-1] / values[0]) if positive else float("inf")
    undetermined = named(names, rows, spectrum.scales)
    return Diagnosis(names, values, vectors, condition, undetermined=undetermined, local=local)


def _nearest(vectors: np.ndarray, null_rows: np.ndarray) -> np.ndarray:
    """Return which columns of ``vectors`` span the null rows.

    Beside a large eigenvalue rounding leaves a zero one larger than an honest small one, so
    that size alone cannot tell.
    """
    if not len(null_rows):
        return np.zeros(0, dtype=int)
    unit = null_rows / np.abs(null_rows).max(axis=1, keepdims=True)
    basis, _ = np.linalg.qr((unit / np.linalg.norm(unit, axis=1, keepdims=True)).T)
    return np.argsort(-np.linalg.norm(basis.T @ vectors, axis=0))[: len(null_rows)]


def _with_rates(found: Diagnosis, about: Circumstances) -> Diagnosis:
    effective = found.eigenvalues + about.weight_decay
    smallest, largest = float(effective[effective > 0].min()), float(effective.max())
    found = replace(found, best_momentum=best_heavy_ball(smallest, largest))
    if about.learning_rate is not None:
        found = _at_rate(found, about.update, about.learning_rate, effective)
    if not about.update.converges:
        return found
    fastest = about.update.fastest(smallest, largest)
    # Both ends balance; the small one keeps its digits where the large one rounds to 1.
    growth = about.update.log_radius(np.array([fastest * smallest]))[0]
    return replace(
        found,
        stability_limit=about.update.limit(largest),
        fastest_rate=fastest,
        steps_per_digit=None if (effective < 0).any() else steps_per_digit(float(growth)),
    )


def _at_rate(found: Diagnosis, update: Descent, rate: float, effective: np.ndarray) -> Diagnosis:
    with np.errstate(over="ignore"):
        logs = update.log_radius(rate * effective[effective != 0])
        growth = float(np.exp(logs[-1]))
    slowest = steps_per_digit(float(logs.max()))
    return replace(found, growth_factor=growth, steps_per_digit_at_rate=slowest)


def _with_noise(found: Diagnosis, about: Circumstances) -> Diagnosis:
    """Noise of variance 2σ²λ(1 − B/N)/B sustains an excess loss in units of σ², the minimum."""
    rate, batch, rows = about.learning_rate, about.batch_size, about.rows
    stable = found.growth_factor is not None and found.growth_factor < 1
    if rate is None or batch is None or batch >= rows or not stable or not about.update.converges:
        return found
    curvature = found.eigenvalues[found.eigenvalues > 0]
    excess = about.update.excess(rate, curvature, about.weight_decay)
    floor = float(excess.sum()) / batch * (1 - batch / rows)
    # In standard errors SE² = 2σ²/(Nλ), so each excess counts N times.
    distance = float(np.sqrt(rows * floor / len(curvature)))
    return replace(found, noise_floor=floor, noise_distance=distance)


def explain_divergence(diagnosis: Diagnosis, displacement: np.ndarray) -> str:
    """Say along which combination of parameters a diverged run left, and which rate to use.

    Parameters
    ----------
    diagnosis : Diagnosis
        From the start of the run, with its learning rate.
    displacement : array, shape (p,)
        The last finite parameters less the first, or one of the last steps.

    Returns
    -------
    str
        One or two sentences.

    Examples
    --------
    >>> d = diagnose(
    ...     np.diag([1.0, 9.0]), "ab", learning_rate=0.3, rows=20, loss=1.0, local=False
    ... )
    >>> print(explain_divergence(d, np.array([0.01, 1e9])))
    The run left along b, which makes up 100% of its displacement and has curvature 9: each step
    multiplies the error along it by 1.7. Use a learning rate of at most 0.2222, best 0.2.
    """
    displacement = np.asarray(displacement, dtype=float)
    size = np.abs(displacement).max(initial=0.0)
    usable = np.isfinite(diagnosis.eigenvectors).all() and np.isfinite(size) and size > 0
    if not usable:
        return (
            f"The run diverged at once, before a direction could be told. {rate_advice(diagnosis)}"
        )
    shares = (diagnosis.eigenvectors.T @ (displacement / size)) ** 2
    main = int(shares.argmax())
    where = combination(diagnosis.names, diagnosis.eigenvectors[:, main])
    value = diagnosis.eigenvalues[main]
    advice = rate_advice(diagnosis)
    return (
        f"The run left along {where}, which makes up {shares[main] / shares.sum():.0%} of its"
        f" displacement and has curvature {value:.4g}{_reason(diagnosis, main)} {advice}"
    )


def _reason(diagnosis: Diagnosis, main: int) -> str:
    growth = diagnosis.growth_factor
    if diagnosis.eigenvalues[main] < 0:
        return ": the loss is not convex there, and descent runs away from the start along it."
    if growth is not None and growth > 1 and main == len(diagnosis.names) - 1:
        return f": each step multiplies the error along it by {growth:.4g}."
    if not diagnosis.local:
        cause = "single batches are steeper than all rows together"
        cause = (
            cause if diagnosis.noise_floor is not None else "the optimizer's steps were too long"
        )
        return f", which did not foresee this: {cause}."
    return " at the start, which did not foresee this: the loss is steeper further out."


def rate_advice(diagnosis: Diagnosis) -> str:
    """Say in one sentence which learning rate to use after a run that diverged."""
    rates = allowed_rates(diagnosis)
    if not rates:
        return "Use a learning rate ten times smaller."
    foreseen = diagnosis.growth_factor is None or diagnosis.growth_factor > 1
    if foreseen:
        return f"Use a learning rate of {rates}."
    if not diagnosis.local and diagnosis.noise_floor is not None:
        return "Use larger batches, or a learning rate ten times smaller."
    return (
        f"The limit at the start, {diagnosis.stability_limit:.4g}, does not hold on the way:"
        " use a learning rate ten times smaller, or start nearer to the answer."
    )


SLOW = 1e5  # steps per decimal digit
ILL_CONDITIONED = 1e6
CORRELATED = 1e4
FAR_APART = 100.0  # a better unit must gain this much to be worth the trouble
NEGLIGIBLE = 0.01  # standard errors


@dataclass(frozen=True)
class Circumstances:
    """What is diagnosed: the curvature (p, p) and how the run will step."""

    curvature: np.ndarray
    update: Descent
    weight_decay: float
    adaptive: bool
    learning_rate: float | None
    batch_size: int | None
    rows: int
    loss: float

    @property
    def steepest(self) -> str:
        """How λmax is written, weight decay included."""
        return f"(λmax + {self.weight_decay:g})" if self.weight_decay else "λmax"

    @property
    def limit_formula(self) -> str:
        """How the stability limit is written for this update."""
        beta, gain = self.update.momentum, self.update.gain
        if beta == 0:
            return f"2/{self.steepest}"
        below = "(1 + 2β)" if self.update.nesterov else f"(1 − {1 - gain:g})" if gain != 1 else ""
        steepest = f"{below}{self.steepest}"
        return f"2(1 + β)/({steepest})" if below else f"2(1 + β)/{steepest}"


def allowed_rates(found: Diagnosis) -> str:
    """Return ``at most 0.2215, best 0.2042``, or an empty string where there is no limit."""
    limit, best = found.stability_limit, found.fastest_rate
    if limit is None or best is None:
        return ""
    return f"at most {_rounded_down(limit):.4g}, best {_rounded_down(best):.4g}"


def _rounded_down(value: float) -> float:
    """Round to 4 digits, down where rounding up would leave the allowed range."""
    rounded = float(f"{value:.4g}")
    # A value that is itself a short decimal, to rounding, stays what it is.
    if rounded <= value * (1 + 1e-9):
        return rounded
    return float(Context(prec=4, rounding=ROUND_FLOOR).create_decimal(value))


Note = Callable[["Diagnosis", Circumstances, ScaledSpectrum], str | None]


def write_notes(
    found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum | None
) -> tuple[str, ...]:
    """Return the notes that apply, the most important first.

    ``spectrum`` is None where the curvature is not finite, which then is the only note.
    """
    if spectrum is None:
        return (_not_finite(found, about),)
    if not about.curvature.any():
        return (_flat(found, about),)
    notes = (note(found, about, spectrum) for note in NOTES)
    return tuple(note for note in notes if note)


def _not_finite(found: Diagnosis, about: Circumstances) -> str:
    bad = ~np.isfinite(about.curvature).all(axis=0)
    alone = bad & ~np.isfinite(np.diag(about.curvature))
    blamed = np.flatnonzero(alone if alone.any() else bad).tolist()
    names = [found.names[i] for i in blamed]
    return (
        f"the curvature of the loss is not finite for {', '.join(names)} here, so nothing can"
        " be said of learning rates; start where the model can be computed on every row."
    )


def _flat(found: Diagnosis, about: Circumstances) -> str:
    if not found.names:
        return "no parameter is free, so there is nothing to descend along."
    return (
        "this loss has no curvature here (mean absolute error has none anywhere), so the limits"
        " of the learning rate do not apply; let the learning rate decay so that steps shrink."
    )


def _diverges(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    rate, limit, growth = about.learning_rate, found.stability_limit, found.growth_factor
    if rate is None or limit is None or growth is None or rate <= limit:
        return None
    if about.update.momentum:
        how, lasting = "by ", " in the long run"
    else:
        how, lasting = f"by |1 − η{about.steepest}| = ", ""
    end = "so the run diverges at first" if found.local else "so the run diverges"
    return (
        f"learning rate {rate:g} is above the stability limit {about.limit_formula} ="
        f" {limit:.4g}: each step multiplies the error along {_steepest(found)} {how}"
        f"{growth:.4g}{lasting}, {end}; use {allowed_rates(found)}."
    )


def _never_converges(
    found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum
) -> str | None:
    if about.adaptive or about.update.converges:
        return None
    if about.update.gain <= 0:
        taken = 1 - about.update.gain
        return f"dampening {taken:g} leaves no descent in the steps; use one below 1."
    return (
        f"momentum {about.update.momentum:g} is not below 1, so old steps never fade and no"
        " learning rate converges; use 0.9, say."
    )


def _not_convex(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not (spectrum.values < -spectrum.tolerance).any():
        return None
    where = combination(found.names, found.eigenvectors[:, 0])
    return (
        f"the loss is not convex here: its curvature along {where} is"
        f" {found.eigenvalues[0]:.4g}, so descent runs away from here along it until the"
        " curvature turns positive."
    )


def _without_effect(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    idle = _idle(found, about)
    if not idle:
        return None
    cure = "start elsewhere or fix" if found.local else "fix"
    which = "it" if len(idle) == 1 else "them"
    return f"the loss does not depend on {' and '.join(idle)} here; {cure} {which}."


def _idle(found: Diagnosis, about: Circumstances) -> list[str]:
    return [name for name, row in zip(found.names, about.curvature, strict=True) if not row.any()]


def _undetermined(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    idle = _idle(found, about)
    combinations = [name for name in found.undetermined if name not in idle]
    if not combinations:
        return None
    here = " here" if found.local else ""
    return (
        f"the data do not determine {' and '.join(combinations)}{here}: moving along"
        f" {'it' if len(combinations) == 1 else 'them'} leaves the loss unchanged; fix or tie"
        " one parameter of each."
    )


def _near_limit(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    rate, limit, growth = about.learning_rate, found.stability_limit, found.growth_factor
    if rate is None or limit is None or growth is None or not 0.95 * limit <= rate <= limit:
        return None
    return (
        f"learning rate {rate:g} is within 5% of the stability limit {about.limit_formula} ="
        f" {limit:.4g}: each step leaves {growth:.4g} of the error along {_steepest(found)};"
        f" best {found.fastest_rate:.4g}."
    )


def _too_slow(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    steps, best = found.steps_per_digit_at_rate, found.steps_per_digit
    rate, fastest = about.learning_rate, found.fastest_rate
    if steps is None or best is None or rate is None or fastest is None:
        return None
    if rate >= fastest or steps < max(SLOW, 2 * best):
        return None
    effective = found.eigenvalues + about.weight_decay
    slowest = found.eigenvectors[:, int(np.where(effective > 0, effective, np.inf).argmin())]
    return (
        f"learning rate {rate:g} is far too small: the error along"
        f" {combination(found.names, slowest)} needs {steps:.4g} steps for each decimal digit;"
        f" the best rate, {fastest:.4g}, needs {best:.4g}."
    )


def _spread(values: np.ndarray) -> float:
    """Largest over smallest of the positive ``values``."""
    positive = values[values > 0]
    with np.errstate(over="ignore"):
        return float(positive.max() / positive.min()) if positive.size else 1.0


def _is_ill_scaled(found: Diagnosis, spectrum: ScaledSpectrum) -> bool:
    raw, scaled = _spread(found.eigenvalues), _spread(spectrum.values[spectrum.positive])
    return raw > ILL_CONDITIONED and raw > FAR_APART * scaled


def _ill_scaled(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not _is_ill_scaled(found, spectrum):
        return None
    powers = np.log10(spectrum.scales)
    used = about.curvature.any(axis=0)
    # One parameter keeps its unit, and as many others as can.
    powers = np.where(used, np.round(powers - np.sort(powers[used])[(used.sum() - 1) // 2]), 0)
    changed = [(f"{10.0**p:g}·{n}", n) for n, p in zip(found.names, powers, strict=True) if p]
    columns = "" if found.local else " (divide the columns that they multiply by these factors)"
    return (
        f"the parameters are badly scaled: the condition number is"
        f" {_spread(found.eigenvalues):.4g}, but {_spread(spectrum.values[spectrum.positive]):.4g}"
        f" with each parameter in its own unit{_pace(found)}; rescale: fit"
        f" {', '.join(new for new, _ in changed)} in place of"
        f" {', '.join(old for _, old in changed)}{columns}."
    )


def _correlated(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    raw, scaled = _spread(found.eigenvalues), _spread(spectrum.values[spectrum.positive])
    if scaled <= CORRELATED or max(raw, scaled) <= ILL_CONDITIONED:
        return None
    pace = "" if _is_ill_scaled(found, spectrum) else _pace(found)
    weakest = spectrum.vectors[:, [int(spectrum.positive.argmax())]].T
    (where,) = named(found.names, weakest, spectrum.scales)
    return (
        f"the parameters are strongly correlated: even with each in its own unit the condition"
        f" number is {scaled:.4g}, and the data hardly determine {where}{pace}; centre"
        " the variables, or write the formula with fewer or less alike terms."
    )


def _pace(found: Diagnosis) -> str:
    if found.steps_per_digit is None or found.best_momentum is None:
        return ""
    rate, momentum = found.best_momentum
    pace = f", so that even the best rate needs {found.steps_per_digit:.4g} steps for each digit"
    if not 0 < momentum < 1 - 1e-6:  # nobody writes that many nines
        return pace
    with_momentum = steps_per_digit(float(np.log(momentum)) / 2)
    return f"{pace} ({with_momentum:.4g} with momentum {momentum:.6g} and rate {rate:.4g})"


def _noisy(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    floor, distance = found.noise_floor, found.noise_distance
    if floor is None or distance is None or distance < NEGLIGIBLE or about.loss == 0:
        return None
    return (
        f"steps on {about.batch_size} of {about.rows:,} rows hover above the minimum of the loss,"
        f" at a constant rate of {about.learning_rate:g} by roughly {100 * floor:.4g}% of it, or"
        f" {distance:.4g} standard errors of the parameters (less when rows are shuffled, not"
        " drawn); to get closer, average the iterates, let the learning rate decay, or take"
        " larger batches."
    )


def _adaptive(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not about.adaptive:
        return None
    return (
        "this optimizer rescales the gradient as it goes, so no stability limit follows from"
        " the curvature; its learning rate is the size of a step in units of the parameters."
    )


def _local(found: Diagnosis, about: Circumstances, spectrum: ScaledSpectrum) -> str | None:
    if not found.local:
        return None
    return "the model is not linear in its parameters, so these figures hold near here only."


def _steepest(found: Diagnosis) -> str:
    return combination(found.names, found.eigenvectors[:, -1])


NOTES: tuple[Note, ...] = (
    _diverges,
    _never_converges,
    _not_convex,
    _without_effect,
    _undetermined,
    _near_limit,
    _too_slow,
    _ill_scaled,
    _correlated,
    _noisy,
    _adaptive,
    _local,
)
