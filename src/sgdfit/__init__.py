"""Fit curves to data, without learning rate or starting values, and see every step.

>>> import sgdfit
>>> fit = sgdfit.fit("y = a*exp(-b*x)", {"x": [0, 1, 2, 3], "y": [8, 4, 2, 1]})
>>> round(fit.estimates["a"].value, 6), round(fit.estimates["b"].value, 6)
(8.0, 0.693147)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from sgdfit import errors as errors
    from sgdfit.fits.explaining import explain as explain
    from sgdfit.fits.fitting import fit as fit
    from sgdfit.language.formula import Formula as Formula
    from sgdfit.models import loss as losses
    from sgdfit.models.model import Model as Model
    from sgdfit.optimization import optimizer as optimizers
    from sgdfit.optimization import schedule as schedules
    from sgdfit.plots import plot as plot
    from sgdfit.results.result import Result as Result
    from sgdfit.results.saving import read as load
    from sgdfit.streams.updating import Fit as Fit

# Imported on first use, so that `import sgdfit` costs next to nothing.
_PUBLIC = {
    "Fit": ("streams.updating", "Fit"),
    "Formula": ("language.formula", "Formula"),
    "Model": ("models.model", "Model"),
    "Result": ("results.result", "Result"),
    "errors": ("errors", None),
    "explain": ("fits.explaining", "explain"),
    "fit": ("fits.fitting", "fit"),
    "load": ("results.saving", "read"),
    "losses": ("models.loss", None),
    "optimizers": ("optimization.optimizer", None),
    "plot": ("plots.plot", None),
    "schedules": ("optimization.schedule", None),
}

__all__ = [
    "Fit",
    "Formula",
    "Model",
    "Result",
    "__version__",
    "errors",
    "explain",
    "fit",
    "load",
    "losses",
    "optimizers",
    "plot",
    "schedules",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'sgdfit' has no attribute {name!r}")
    module, attribute = _PUBLIC[name]
    found = importlib.import_module(f"sgdfit.{module}")
    return found if attribute is None else getattr(found, attribute)


def __dir__() -> list[str]:
    return __all__
