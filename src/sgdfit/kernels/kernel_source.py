"""Writes the source of the compiled form.

Every parameter, gradient and optimizer slot is a local name, so that it lives in a register. The
programs stand in `sgdfit.kernels.programs`; what depends on the model is filled in here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import sympy

from sgdfit.kernels.instructions import fuses
from sgdfit.kernels.kernel import emitted, held
from sgdfit.kernels.programs import (
    BATCH,
    BATCH_AGAIN,
    HEADER,
    IMPORTS,
    ORDER,
    PARTIALS,
    SUMS,
    SUMS_AGAIN,
    SWEEP,
    TERMS,
)
from sgdfit.kernels.template import filled
from sgdfit.language.functions import FUNCTIONS, Where
from sgdfit.language.real import Xlogy
from sgdfit.models.model import Model
from sgdfit.optimization.optimizer import Optimizer

__all__ = ["partials_source", "sweep_source"]

# Functions whose quick form has a limit (`sgdfit.kernels.elementary.LARGEST_ANGLE`), and what may
# hide the NaN that they say beyond it.
ANGLES = ("sin", "cos", "tan", "cot")
HIDING = (Where, Xlogy, sympy.Piecewise)


class _Lines(NamedTuple):
    """The lines that compute the terms of one row.

    Attributes
    ----------
    quick : list of str
        By functions that stay in vector registers.
    sure : list of str
        By the library of C.
    partial : bool
        Whether ``quick`` has rows for which it says NaN though ``sure`` knows the value.
    """

    quick: list[str]
    sure: list[str]
    partial: bool


def partials_source(model: Model, weighted: bool, scores: bool = False) -> str:
    """Write ``partials``; with ``scores``, squares of the slopes stand in front of J Jᵀ."""
    pairs = list(itertools.combinations_with_replacement(range(len(model.free)), 2))
    names = ["t0", "t1", *(f"g{i}" for i in range(len(model.free)))]
    names += [f"h{i}_{j}" for i, j in pairs]
    texts = {
        "VALUES": [_values(weighted)],
        "SIZE": [str(len(names))],
        "FACTOR": ["slope*slope" if scores else "bend"],
        "products": [f"h{i}_{j} += b*j{i}*j{j}" for i, j in pairs],
        "total": [f"total[{k}] = {name}" for k, name in enumerate(names)],
    }
    repeats = _repeats(model, weighted) | {"H": [f"{i}_{j}" for i, j in pairs]}
    loops = _loops("sums", SUMS, SUMS_AGAIN, _lines(model, weighted))
    return HEADER + _written([*loops, (PARTIALS, {})], texts, repeats)


def sweep_source(model: Model, weighted: bool, optimizer: Optimizer) -> str:
    """Write ``sweep`` and what it calls."""
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    repeats = _repeats(model, weighted) | {"S": [str(k) for k in range(slots)]}
    bounded = "low[#P] if n#P < low[#P] else high[#P] if n#P > high[#P] else n#P"
    texts = {
        "VALUES": [_values(weighted)],
        "UPDATE": [optimizer.update.__name__],
        "OPTIONS": [_settled(optimizer)],
        "GRADIENT": [" + ".join(["t", *(f"g{i}" for i in range(len(model.free)))])],
        "FINITE": [" + ".join(f"n{i}" for i in range(len(model.free)))],
        "PARAMETERS": [str(len(model.free))],
        "BOUNDED": [bounded if _has_bounds(model) else "n#P"],
    }
    lines = _lines(model, weighted)
    loops = _loops("batch", BATCH, BATCH_AGAIN, lines)
    if not lines.partial:
        loops.append((TERMS, {"TERMS": ["sure_terms"], "row": lines.sure}))
    header = HEADER.replace("import njit\n", f"import njit\n{IMPORTS}")
    return header + _written([*loops, (ORDER, {}), (SWEEP, {})], texts, repeats)


Parts = list[tuple[str, dict[str, list[str]]]]


def _loops(name: str, template: str, again: str, lines: _Lines) -> Parts:
    """Return the parts that make the loop ``name``, each with what it is filled with."""
    quick = {"TERMS": ["quick_terms"], "row": lines.quick}
    named = name.upper()
    if not lines.partial:
        return [(TERMS, quick), (template, quick | {named: [name]})]
    sure = {"TERMS": ["sure_terms"], "row": lines.sure}
    parts: Parts = []
    for kind, texts in (("quick", quick), ("sure", sure)):
        parts += [(TERMS, texts), (template, texts | {named: [f"{kind}_{name}"]})]
    return [*parts, (again, {})]


def _written(
    parts: Parts, texts: dict[str, list[str]], repeats: Mapping[str, Sequence[str]]
) -> str:
    return "".join(filled(template, texts | own, repeats) for template, own in parts)


def _lines(model: Model, weighted: bool) -> _Lines:
    row, loss = emitted(model, "compiled", held(model))
    read = [f"x{i} = numpy.float64(c{i})" for i in range(len(model.columns))]
    weight = [f"w = numpy.float64(c{len(read)})"] if weighted else []
    quick = [*read, *weight, *row, *loss]
    sure = [line.replace("elementary.", "library.") for line in quick]
    hidden = not all(map(_is_shown, (model.prediction, model.formula.response)))
    if hidden or not fuses():
        return _Lines(sure, sure, False)
    return _Lines(
        quick, sure, any(f"elementary.{name}(" in line for name in ANGLES for line in quick)
    )


def _is_shown(expression: Any) -> bool:
    """Return whether NaN from a function of `ANGLES` makes the whole expression NaN."""
    for part in sympy.preorder_traversal(expression):
        hides = isinstance(part, HIDING) or (part.is_Pow and not part.exp.is_number)
        if hides and part.has(*(FUNCTIONS[name].symbolic for name in ANGLES)):
            return False
    return True


def _values(weighted: bool) -> str:
    return "w, w*loss, w*slope, w*bend" if weighted else "1.0, loss, slope, bend"


def _repeats(model: Model, weighted: bool) -> dict[str, list[str]]:
    return {
        "P": [str(i) for i in range(len(model.free))],
        "C": [str(i) for i in range(len(model.columns) + weighted)],
    }


def _has_bounds(model: Model) -> bool:
    bounds = [(model.parameters[name].low, model.parameters[name].high) for name in model.free]
    return bool(np.isfinite(bounds).any())


def _settled(optimizer: Optimizer) -> str:
    """Write the options; those that are 0 or 1 literally, so that branches fall away."""
    return ", ".join(
        repr(float(value)) if value in (0, 1) else f"options[{k}]"
        for k, value in enumerate(optimizer.options)
    )
