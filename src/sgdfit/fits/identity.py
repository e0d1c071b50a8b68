"""What a run is of, in words: by these a checkpoint tells one run from another."""

from __future__ import annotations

from typing import Any

from sgdfit import __version__
from sgdfit.fits.weighting import Weighting
from sgdfit.models.model import Model
from sgdfit.models.parameters import Parameter

__all__ = ["identity_of"]


def identity_of(model: Model, weighting: Weighting, options: dict[str, Any]) -> dict[str, str]:
    """Return what changes a result, but for the data: nouns and what they are of this run.

    Examples
    --------
    >>> from sgdfit.models.model import build
    >>> model = build("y = a*x", ["x", "y"], bounds="a > 0")
    >>> found = identity_of(model, Weighting(), {"seed": 0, "steps": None})
    >>> found["formula"], found["parameters"], found["options"]
    ('y = a*x', 'a in (0, inf)', 'seed=0')
    """
    said = {name: _words(value) for name, value in options.items() if value is not None}
    return {
        "formula": str(model.formula),
        "loss": f"{model.loss.name}: {model.loss.expression}",
        "parameters": ", ".join(map(_parameter, model.parameters.values())),
        "weights": weighting.text or "one for each row",
        "options": ", ".join(f"{name}={value}" for name, value in said.items()),
        "version of sgdfit": __version__,
    }


def _parameter(parameter: Parameter) -> str:
    if parameter.role == "tied":
        return f"{parameter.name} = {parameter.tie}"
    given = f" = {parameter.start!r}" if parameter.origin in ("given", "random", "fixed") else ""
    held = " (fixed)" if parameter.role == "fixed" else ""
    return f"{parameter.name}{given}{held} in ({parameter.low:g}, {parameter.high:g})"


def _words(value: Any) -> str:
    """Return a text that is the same in the next process, also for a function."""
    name = getattr(value, "name", None) or getattr(value, "__qualname__", None)
    if name is None:
        return str(value)
    settings = getattr(value, "options", None)
    return f"{name}{settings}" if settings else str(name)
