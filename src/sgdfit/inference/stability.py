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

from dataclasses import dataclass

import numpy as np

__all__ = ["Descent", "best_heavy_ball", "steps_per_digit"]


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
