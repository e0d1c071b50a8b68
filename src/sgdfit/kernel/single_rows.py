"""What a textbook step by one row computes, where each step waits for the one before.

Its time is that of the chain from the parameters to the residual and back to the parameters. So a
row's terms are arranged for little to be left to do once the parameters are known, and functions
of columns alone are computed for a whole buffer of rows beforehand, in vector registers.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import sympy

from sgdfit.formula.formula import symbol
from sgdfit.formula.functions import FUNCTIONS, by_class
from sgdfit.kernel.emission import LARGEST_PRODUCT, emit
from sgdfit.kernel.kernel import held
from sgdfit.kernel.lines import Lines, in_both_forms
from sgdfit.kernel.order import BUFFER
from sgdfit.model.loss import PREDICTION, TARGET
from sgdfit.model.model import Model

__all__ = ["ROW", "Terms", "parts_of", "terms_of"]

Expr = Any  # SymPy ships no types

RESIDUAL = symbol("residual")

# Where a single value is waited for, the library of C is sooner with all but these: sine and cosine
# of one angle share most of the way.
SOONER = ("sin", "cos")

# A function of columns alone, for all rows of a buffer.
KNOWN = """\
@njit(**INNER, fastmath=FUSED)
def $KNOWN(«c#C», out):
    for i in range(len(out)):
        x#X = c#X[i]
        $row
        out[i] = known


"""
KNOWN_AGAIN = """\
@njit(**INNER, fastmath=False)
def $KNOWN(«c#C», out):
    quick_$KNOWN(«c#C», out)
    if not math.isfinite(out.sum()):
        sure_$KNOWN(«c#C», out)


"""

TERMS = """\
@njit(**INNER, fastmath=FUSED, forceinline=True)
def $TERMS(«p#P», «c#C», «e#E»):
    $read
    $row
    $weigh
    return $VALUES, «gain*j#P»


"""
TERMS_AGAIN = """\
@njit(**INNER, fastmath=False, forceinline=True)
def terms(«p#P», «c#C», «e#E»):
    t, steep, «j#P» = quick_terms(«p#P», «c#C», «e#E»)
    if not math.isfinite($GRADIENT):
        t, steep, «j#P» = sure_terms(«p#P», «c#C», «e#E»)
    return t, steep, «j#P»


"""
COPY = """\
@njit(**INNER, fastmath=False)
def copy(column, out):
    for i in range(len(column)):
        out[i] = column[i]


"""

ROW = f"""\
if position < loaded or position >= end:
    if sequential:
        loaded = position//{BUFFER}*{BUFFER}
        end = min(loaded + {BUFFER}, rows)
        copy(c#C[loaded:end], b#C)
    else:
        loaded, end = gather(«c#C», «b#C», blocks, places, tail, position, rows)
    known#E(«b#C», e#E[:end - loaded])
k = position - loaded
t, steep, «j#P» = terms(«p#P», «b#C[k]», «e#E[k]»)
g#P = steep*j#P
"""


class Terms(NamedTuple):
    """What a step by one row takes.

    Attributes
    ----------
    known : list of sympy.Expr
        Functions of columns alone, which are computed before: ``e0``, ``e1``, …
    lines : Lines
        That compute ``loss``, ``steep``, ``gain`` and the Jacobian ``j0``, ``j1``, … The slope of
        the loss is ``gain * steep``, and ``gain`` does not depend on the parameters.
    """

    known: list[Expr]
    lines: Lines


def terms_of(model: Model) -> Terms:
    """Return what a step by one row of ``model`` takes."""
    found: dict[Expr, Expr] = {}
    free = {symbol(name) for name in model.free}
    loss, slope, needs = _of_residual(model.loss.expression, model.slope)
    gain, steep = slope.as_independent(*needs, as_Add=False)
    values = [model.prediction, model.formula.response]
    values = [values[0] - values[1]] if needs == (RESIDUAL,) else values
    wanted = [_beforehand(e, free, found) for e in (*values, *model.gradient)]
    names = held(model) | {known.name: f"e{i}" for i, known in enumerate(found.values())}
    own = {need.name: need.name for need in needs}
    jacobian = [f"j{i}" for i in range(len(model.free))]
    row = emit(wanted, names, [*own, *jacobian], "compiled", late=model.free)
    rest = emit([loss, steep, gain], own, ["loss", "steep", "gain"], "compiled", prefix="r")
    return Terms(list(found), in_both_forms([*row, *rest], wanted, SOONER))


def _of_residual(loss: Expr, slope: Expr) -> tuple[Expr, Expr, tuple[Expr, ...]]:
    """Return loss and slope, of the residual where they are, and what they are expressions of."""
    prediction, target = symbol(PREDICTION), symbol(TARGET)
    one, other = (e.xreplace({prediction: RESIDUAL + target}) for e in (loss, slope))
    if one.has(target) or other.has(target):
        return loss, slope, (prediction, target)
    return one, other, (RESIDUAL,)


def _beforehand(expression: Expr, free: set[Expr], found: dict[Expr, Expr]) -> Expr:
    """Return the expression with a symbol for all that is known before and takes long."""
    if not expression.args or not expression.free_symbols:
        return expression
    if expression.free_symbols & free:
        parts = expression.args
        if expression.is_Add or expression.is_Mul:
            parts = _known_together(expression, free)
        return expression.func(*(_beforehand(part, free, found) for part in parts))
    if not any(map(_takes_long, sympy.preorder_traversal(expression))):
        return expression
    # No name of a user's has a space.
    return found.setdefault(expression, symbol(f"known {len(found)}"))


def _known_together(expression: Expr, free: set[Expr]) -> list[Expr]:
    """Return the terms or factors, those that are known before as one."""
    known = [part for part in expression.args if not part.free_symbols & free]
    return [expression.func(*known), *(part for part in expression.args if part not in known)]


def _takes_long(expression: Expr) -> bool:
    if expression.is_Pow:
        return not (expression.exp.is_Integer and abs(expression.exp) <= LARGEST_PRODUCT)
    name = by_class.get(expression.func)
    return name is not None and "elementary." in FUNCTIONS[name].compiled


def parts_of(model: Model, terms: Terms) -> list[tuple[str, dict[str, list[str]]]]:
    """Return the templates that come before a sweep, each with what it is filled with."""
    parts: list[tuple[str, dict[str, list[str]]]] = []
    for k, expression in enumerate(terms.known):
        name, written = f"known{k}", emit([expression], held(model), ["known"], "compiled")
        lines = in_both_forms(written, [expression])
        if not lines.partial:
            parts.append((KNOWN, {"KNOWN": [name], "row": lines.quick}))
            continue
        for kind, row in (("quick", lines.quick), ("sure", lines.sure)):
            parts.append((KNOWN, {"KNOWN": [f"{kind}_{name}"], "row": row}))
        parts.append((KNOWN_AGAIN, {"KNOWN": [name]}))
    if not terms.lines.partial:
        return [*parts, (COPY, {}), (TERMS, {"TERMS": ["terms"], "row": terms.lines.quick})]
    for kind, row in (("quick", terms.lines.quick), ("sure", terms.lines.sure)):
        parts.append((TERMS, {"TERMS": [f"{kind}_terms"], "row": row}))
    return [*parts, (COPY, {}), (TERMS_AGAIN, {})]
