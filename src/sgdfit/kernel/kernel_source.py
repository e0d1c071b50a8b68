"""Writes the source of the compiled form.

Every parameter, gradient and optimizer slot is a local name, so that it lives in a register. The
programs stand in `sgdfit.kernel.programs`; what depends on the model is filled in here.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np

from sgdfit.kernel.kernel import emitted, held
from sgdfit.kernel.lines import Lines, in_both_forms
from sgdfit.kernel.programs import (
    BATCH,
    BATCH_AGAIN,
    HEADER,
    IMPORTS,
    ORDER,
    PARTIALS,
    ROWS,
    SUMS,
    SUMS_AGAIN,
    SWEEP,
    TERMS,
)
from sgdfit.kernel.single_rows import ROW, parts_of, terms_of
from sgdfit.kernel.template import filled
from sgdfit.model.model import Model
from sgdfit.optimizers import Optimizer
from sgdfit.optimizers.updates import sgd_update

__all__ = ["partials_source", "single_source", "sweep_source"]

Parts = list[tuple[str, dict[str, list[str]]]]


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
    """Write ``sweep`` for batches of two rows and more, and what it calls."""
    texts = {"VALUES": [_values(weighted)], "DIRECTION": ["g#P"], "RATE": ["rate"]}
    texts["GRADIENT"] = [" + ".join(["t", *(f"g{i}" for i in range(len(model.free)))])]
    loops = _loops("batch", BATCH, BATCH_AGAIN, _lines(model, weighted))
    return _sweep(model, weighted, optimizer, loops, texts, ROWS, 0)


def single_source(model: Model, weighted: bool, optimizer: Optimizer) -> str:
    """Write ``sweep`` for batches of one row, and what it calls."""
    terms = terms_of(model)
    texts = {"VALUES": ["w*loss, steep" if weighted else "loss, steep"]}
    # Where a step is the rate times the gradient, all of it that is known comes first.
    plain = _is_plain(optimizer)
    texts |= {"DIRECTION": ["steep" if plain else "g#P"], "RATE": ["rate*j#P" if plain else "rate"]}
    texts["GRADIENT"] = [" + ".join(["t", *(f"j{i}" for i in range(len(model.free)))])]
    texts["weigh"] = ["gain = w*gain"] if weighted else []
    texts["read"] = _read(model, weighted)
    parts = parts_of(model, terms)
    return _sweep(model, weighted, optimizer, parts, texts, ROW, len(terms.known))


def _sweep(
    model: Model,
    weighted: bool,
    optimizer: Optimizer,
    parts: Parts,
    texts: dict[str, list[str]],
    rows: str,
    known: int,
) -> str:
    """Write ``sweep``, of which ``rows`` are the lines that compute a batch's loss and gradient."""
    slots = len(optimizer.init(np.zeros(1), optimizer.options))
    bounded = "low[#P] if n#P < low[#P] else high[#P] if n#P > high[#P] else n#P"
    repeats = _repeats(model, weighted) | {
        "S": [str(k) for k in range(slots)],
        "E": [str(k) for k in range(known)],
        "X": [str(k) for k in range(len(model.columns))],
    }
    texts = texts | {
        "UPDATE": [optimizer.update.__name__],
        "OPTIONS": [_settled(optimizer)],
        "FINITE": [" + ".join(f"n{i}" for i in range(len(model.free)))],
        "PARAMETERS": [str(len(model.free))],
        "BOUNDED": [bounded if _has_bounds(model) else "n#P"],
        "rows": rows.splitlines(),
    }
    header = HEADER.replace("import njit\n", f"import njit\n{IMPORTS}")
    return header + _written([(ORDER, {}), *parts, (SWEEP, {})], texts, repeats)


def _loops(name: str, template: str, again: str, lines: Lines) -> Parts:
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


def _lines(model: Model, weighted: bool) -> Lines:
    row, loss = emitted(model, "compiled", held(model))
    lines = [*_read(model, weighted), *row, *loss]
    return in_both_forms(lines, [model.prediction, model.formula.response])


def _read(model: Model, weighted: bool) -> list[str]:
    names = [*(f"x{i}" for i in range(len(model.columns))), *(["w"] if weighted else [])]
    return [f"{name} = numpy.float64(c{i})" for i, name in enumerate(names)]


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


def _is_plain(optimizer: Optimizer) -> bool:
    """Return whether a step is the rate times the gradient and nothing else."""
    chosen = dict(zip(optimizer.option_names, optimizer.options, strict=True))
    return optimizer.update is sgd_update and not (chosen["momentum"] or chosen["weight_decay"])
