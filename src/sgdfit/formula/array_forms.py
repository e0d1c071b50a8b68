"""What each function of a formula is called in NumPy and in torch."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import sympy
from sympy.codegen import cfunctions

from sgdfit.formula import real

__all__ = ["Library", "library"]

Array = Any  # a NumPy array, a torch tensor or a number

# SymPy's names of the functions that NumPy and torch call something else.
_RENAMED = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2"} | {
    f"a{name}": f"arc{name}" for name in ("sinh", "cosh", "tanh")
}
_PLAIN = (
    *(sympy.exp, sympy.log, sympy.sin, sympy.cos, sympy.tan, sympy.asin, sympy.acos, sympy.atan),
    *(sympy.sinh, sympy.cosh, sympy.tanh, sympy.asinh, sympy.acosh, sympy.atanh, sympy.atan2),
    *(cfunctions.log1p, cfunctions.expm1, cfunctions.log2, cfunctions.log10),
)


class Library(NamedTuple):
    """What the walk needs of an array library."""

    array: Callable[[Array], Array]
    sqrt: Callable[[Array], Array]
    join: Callable[[Array, Array, Array], Array]
    forms: dict[Any, Callable[..., Array]]


@lru_cache(maxsize=2)
def library(backend: str) -> Library:
    """Return what the walk over an expression needs of ``numpy`` or ``torch``."""
    return {"numpy": _numpy, "torch": _torch}[backend]()


def _plain(module: Any) -> dict[Any, Callable[..., Array]]:
    """Forms that bear the same name in NumPy and torch."""
    named = {cls: getattr(module, _RENAMED.get(cls.__name__, cls.__name__)) for cls in _PLAIN}
    return named | {
        sympy.cot: lambda x: 1 / module.tan(x),
        sympy.coth: lambda x: 1 / module.tanh(x),
        real.Sign: module.sign,
        sympy.sign: module.sign,
        real.Absolute: module.abs,
        sympy.Abs: module.abs,
        real.Floor: module.floor,
        real.Ceil: module.ceil,
        real.Maximum: module.maximum,
        real.Minimum: module.minimum,
        real.Logaddexp: module.logaddexp,
    }


def _special(name: str) -> Callable[..., Array]:
    """Return a function of SciPy's, whose import takes as long as many a fit: at its first use."""

    def form(*arguments: Array) -> Array:
        from scipy import special

        return getattr(special, name)(*arguments)

    return form


def _numpy() -> Library:
    def join(holds: Array, yes: Array, no: Array) -> Array:
        out = np.empty(holds.shape)
        out[holds], out[~holds] = yes, no
        return out

    forms = _plain(np) | {
        real.Cbrt: np.cbrt,
        real.Logistic: _special("expit"),
        real.Xlogy: _special("xlogy"),
        sympy.erf: _special("erf"),
        sympy.erfc: _special("erfc"),
    }
    return Library(lambda x: np.asarray(x, dtype=float), np.sqrt, join, forms)


def _torch() -> Library:
    import torch

    def array(x: Array) -> Array:
        return x if isinstance(x, torch.Tensor) else torch.tensor(x, dtype=torch.float64)

    def join(holds: Array, yes: Array, no: Array) -> Array:
        out = torch.zeros(holds.shape, dtype=torch.float64)
        return out.masked_scatter(holds, _filled(holds, yes)).masked_scatter(
            ~holds, _filled(~holds, no)
        )

    def _filled(mask: Array, value: Array) -> Array:
        return array(value).expand(int(mask.sum())).contiguous()

    forms = _plain(torch) | {
        real.Cbrt: lambda x: torch.sign(x) * torch.abs(x) ** (1 / 3),
        real.Logistic: torch.sigmoid,
        real.Xlogy: torch.xlogy,
        sympy.erf: torch.erf,
        sympy.erfc: torch.erfc,
    }
    return Library(array, torch.sqrt, join, forms)
