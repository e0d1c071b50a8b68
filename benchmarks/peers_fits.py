"""Other libraries' fits of a curve with parameters a, b and c, each as its manual has it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from speed_clock import Contender, peer
from speed_data import Curve

__all__ = ["NAMES", "fit_peers"]

NAMES = ("a", "b", "c")
# What curve_fit begins at by default; the others get the same.
START = (1.0, 1.0, 1.0)


def fit_peers(curve: Curve, x: np.ndarray, y: np.ndarray) -> list[Contender]:
    """Return fits that hand back (a, b, c), all from ones, with default settings."""
    needs: dict[str, tuple[str, str, Callable[..., Contender]]] = {
        "scipy curve_fit": ("scipy", "scipy", _scipy),
        "scipy curve_fit, Jacobian given": ("scipy", "scipy", _scipy_jacobian),
        "lmfit": ("lmfit", "lmfit", _lmfit),
        "nlsq": ("nlsq", "nlsq (Python 3.12 or newer)", _nlsq),
        "optimistix Levenberg-Marquardt": ("optimistix", "optimistix", _optimistix),
        "torch LBFGS": ("torch", "torch", _torch),
    }
    found = [
        peer(name, module, package, lambda make=make: make(curve, x, y))
        for name, (module, package, make) in needs.items()
    ]
    return [*found, _lstsq(x, y)] if curve.name == "linear" else found


def _lstsq(x: np.ndarray, y: np.ndarray) -> Contender:
    return Contender("numpy lstsq", lambda: np.linalg.lstsq(np.vander(x, 3), y, rcond=None)[0])


def _scipy(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    from scipy.optimize import curve_fit

    def model(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return np.asarray(curve.function(np, x, a, b, c))

    return Contender("", lambda: curve_fit(model, x, y)[0])


def _scipy_jacobian(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    from scipy.optimize import curve_fit

    def model(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return np.asarray(curve.function(np, x, a, b, c))

    def jacobian(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return np.column_stack(curve.jacobian(x, a, b, c))

    return Contender("", lambda: curve_fit(model, x, y, jac=jacobian)[0])


def _lmfit(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    import lmfit

    def model(x: np.ndarray, a: float, b: float, c: float) -> np.ndarray:
        return np.asarray(curve.function(np, x, a, b, c))

    made, start = lmfit.Model(model), dict(zip(NAMES, START, strict=True))

    def turn() -> Any:
        found = made.fit(y, x=x, **start)
        return [found.best_values[name] for name in NAMES]

    return Contender("", turn)


def _nlsq(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    import jax.numpy as jnp
    import nlsq

    def model(x: Any, a: Any, b: Any, c: Any) -> Any:
        return curve.function(jnp, x, a, b, c)

    def turn() -> Any:
        values, _ = nlsq.curve_fit(model, x, y, p0=START)
        return np.asarray(values)

    return Contender("", turn)


def _optimistix(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    import jax
    import jax.numpy as jnp
    import optimistix

    jax.config.update("jax_enable_x64", True)
    # Its tolerances have no default; these are those of curve_fit.
    method = optimistix.LevenbergMarquardt(rtol=1e-8, atol=1e-8)
    data = (jnp.asarray(x), jnp.asarray(y))

    def residuals(theta: Any, data: Any) -> Any:
        return curve.function(jnp, data[0], *theta) - data[1]

    @jax.jit
    def solve(theta: Any, data: Any) -> Any:
        found = optimistix.least_squares(residuals, method, theta, args=data, throw=False)
        return found.value

    theta = jnp.asarray(START)
    return Contender("", lambda: np.asarray(solve(theta, data)))


def _torch(curve: Curve, x: np.ndarray, y: np.ndarray) -> Contender:
    import torch

    columns, targets = torch.from_numpy(x), torch.from_numpy(y)

    def turn() -> Any:
        theta = torch.tensor(START, dtype=torch.float64, requires_grad=True)
        optimizer = torch.optim.LBFGS([theta], max_iter=100, line_search_fn="strong_wolfe")

        def loss() -> Any:
            optimizer.zero_grad()
            value = ((curve.function(torch, columns, *theta) - targets) ** 2).mean()
            value.backward()
            return value

        optimizer.step(loss)
        return theta.detach().numpy()

    return Contender("", turn, note=f"{torch.get_num_threads()} threads, 100 iterations at most")
