"""SymPy expressions to source text, common subexpressions shared.

The text holds generated names alone (``x0``, ``p1``, ``s_2``), so nothing that a user wrote ever
reaches the compiler. Of the dialects "numpy" and "torch" compute whole columns, "fast" and "libm"
one row at a time in compiled code. "fast" calls `sgdfit.kernel.elementary`, which stays in vector
registers; "libm" calls the library of C, which knows the value for every argument.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import sympy
from sympy.core.relational import Relational

from sgdfit.formula.external import Call
from sgdfit.formula.functions import FORMS, by_class
from sgdfit.formula.real import Select
from sgdfit.model.loss import PREDICTION, SCALE, TARGET
from sgdfit.model.model import Model

Expr = Any  # SymPy ships no types
Dialect = Literal["numpy", "torch", "fast", "libm"]

# Beyond this a power by multiplication is neither faster nor more accurate than pow.
LARGEST_PRODUCT = 16

# What the table's compiled forms are in the library of C, where ``math`` has no such function.
LIBM = {
    "elementary.power({0}, {1})": "math.pow({0}, {1})",
    "elementary.cbrt({0})": "numpy.cbrt({0})",
    "elementary.logistic({0})": "1.0/(1.0 + math.exp(-({0})))",
    "elementary.logaddexp({0}, {1})": "numpy.logaddexp({0}, {1})",
    "elementary.xlogy({0}, {1})": "(({0})*math.log({1}) if {0} != 0.0 else 0.0)",
}

# What the table's forms for NumPy are in torch, where its function of that name is another.
TORCH = {"numpy.cbrt({0})": "special.cbrt({0})", "numpy.sign({0})": "special.sign({0})"}

# How tightly the parts of an expression bind, in Python's order.
ANY, SUM, PRODUCT, POWER, NAME = range(5)


def emit(
    expressions: Sequence[Expr],
    names: Mapping[str, str],
    targets: Sequence[str],
    dialect: Dialect,
    prefix: str = "s",
) -> list[str]:
    """Return lines of source that assign each of the ``expressions`` to its target.

    ``names`` gives the Python name that holds each symbol; names of temporaries begin with
    ``prefix``. A number that is not finite and real raises ValueError.

    Examples
    --------
    >>> from sgdfit.formula.reading import as_formula
    >>> e = as_formula("a*exp(-b*x)").expression
    >>> emit([e], {"a": "p0", "b": "p1", "x": "x0"}, ["f"], "numpy")
    ['f = p0*numpy.exp(-p1*x0)']
    """
    temporaries = sympy.numbered_symbols(f"{prefix}_", real=True)
    divided = [_divided(expression) for expression in expressions]
    shared, reduced = sympy.cse(divided, symbols=temporaries, order="none")
    emitter = _Emitter(dict(names), dialect, prefix)
    for temporary, expression in shared:
        text = emitter.text(expression)
        emitter.lines.append(f"{temporary.name} = {text}")
        emitter.names[temporary.name] = temporary.name
        if text.startswith("1.0/"):
            emitter.powers[text[4:], -1] = temporary.name
    for target, expression in zip(targets, reduced, strict=True):
        emitter.lines.append(f"{target} = {emitter.text(expression)}")
    return emitter.lines


class Expressions(NamedTuple):
    """What the source of a model follows from."""

    columns: tuple[str, ...]
    free: tuple[str, ...]
    values: tuple[Expr, ...]  # prediction, target, and the derivative to each free parameter
    loss: tuple[Expr, ...]  # loss, grad and hess


def expressions_of(model: Model) -> Expressions:
    """Return the expressions of ``model``, equal for models that differ in data or starts alone."""
    values = (model.prediction, model.formula.response, *model.gradient)
    loss = (model.loss.expression, model.loss_grad, model.loss_hess)
    return Expressions(model.columns, model.free, values, loss)


@lru_cache(maxsize=256)
def emit_model(given: Expressions, dialect: Dialect) -> tuple[list[str], list[str]]:
    """Return the lines that compute prediction, target and Jacobian, and those of the loss.

    Columns are named ``x0``, … and free parameters ``p0``, …; the lines assign ``prediction``,
    ``target``, ``j0``, ``j1``, … and then ``loss``, ``grad`` and ``hess``, also of a ``scale`` if
    the loss is relative to that of the residuals.
    """
    names = {name: f"x{i}" for i, name in enumerate(given.columns)}
    names |= {name: f"p{i}" for i, name in enumerate(given.free)}
    targets = [PREDICTION, TARGET, *(f"j{i}" for i in range(len(given.free)))]
    own = {name: name for name in (PREDICTION, TARGET, SCALE)}
    return (
        emit(given.values, names, targets, dialect),
        emit(given.loss, own, ["loss", "grad", "hess"], dialect, prefix="r"),
    )


class _Quotient(sympy.Function):  # type: ignore[misc]
    """Of a divisor, how many times it divides, and factors: their product over the divisor's power.

    Slopes of N/D have a D² that may overflow where N and D do not, and 1/D² is 0 then.
    """


def _divided(expression: Expr) -> Expr:
    """Write products over powers as quotients, in which no such power is computed."""
    if expression.is_Atom or not expression.has(sympy.Pow):
        return expression
    args = tuple(map(_divided, expression.args))
    if not expression.is_Mul:
        return expression if args == expression.args else expression.func(*args)
    for factor in args:
        base, count = factor.as_base_exp()
        if not base.is_Atom and count.is_Integer and count < -1:
            rest = _divided(sympy.Mul(*(other for other in args if other != factor)))
            number, factors = rest.as_coeff_mul()
            # What is large comes last, and is divided at once.
            factors = sorted(factors, key=lambda part: not part.is_Symbol)
            return number * _Quotient(base, -count, *factors)
    return sympy.Mul(*args)


class _Emitter:
    """Prints one expression after another; integer powers become products of temporaries."""

    def __init__(self, names: dict[str, str], dialect: Dialect, prefix: str) -> None:
        self.names, self.dialect, self.prefix = names, dialect, prefix
        self.by_rows = dialect in ("fast", "libm")
        self.library = "math" if self.by_rows else dialect
        self.lines: list[str] = []
        self.powers: dict[tuple[str, int], str] = {}

    def text(self, expression: Expr, tightness: int = ANY) -> str:
        """Return the source of ``expression``, bracketed where it binds less tightly than asked."""
        text, binds = self._bound(expression)
        return f"({text})" if binds < tightness else text

    def _bound(self, expression: Expr) -> tuple[str, int]:
        """Return the source of ``expression`` and how tightly it binds."""
        if expression.is_Symbol:
            return self.names[expression.name], NAME
        if expression in (sympy.true, sympy.false):
            return str(bool(expression)), NAME
        if expression.is_number and (expression.is_comparable or not expression.is_Function):
            return _literal(expression)
        if expression.is_Add:
            return self._sum(expression), SUM
        if expression.is_Mul:
            return self._product(expression), PRODUCT
        if expression.is_Pow:
            return self._power(expression.base, expression.exp)
        if isinstance(expression, Relational):
            left, right = (self.text(arg, SUM) for arg in expression.args)
            return f"{left} {expression.rel_op} {right}", ANY
        if isinstance(expression, sympy.And | sympy.Or | sympy.Not):
            return self._logic(expression), ANY
        if isinstance(expression, _Quotient):
            return self._quotient(*expression.args), PRODUCT
        if isinstance(expression, Call):
            return f"{expression.key}({', '.join(map(self.text, expression.args))})", NAME
        if isinstance(expression, Select):
            code, *values = map(self.text, expression.args)
            if not self.by_rows:
                return f"select({code}, {', '.join(values)})", NAME
            # As branches the loop over rows stays in vector registers, not as a place in a tuple.
            cases = (f"{value} if {code} == {k}.0 else " for k, value in enumerate(values[:-1]))
            return f"({''.join(cases)}{values[-1]})", NAME
        function = FORMS[by_class[expression.func]]
        form = self._spelled(function.compiled if self.by_rows else function.numpy)
        plain = re.fullmatch(r"[\w.]*\(.*\)", form) is not None
        texts = [self.text(arg) for arg in expression.args]
        if form.startswith("torch."):  # which takes no number for an array
            numbers = [arg.is_number for arg in expression.args]
            texts = [f"number({t})" if n else t for t, n in zip(texts, numbers, strict=True)]
        return form.format(*texts), NAME if plain else PRODUCT

    def _spelled(self, form: str) -> str:
        if self.dialect == "torch":
            return TORCH.get(form) or form.replace("numpy.", "torch.")
        if self.dialect != "libm":
            return form
        return LIBM.get(form) or form.replace("elementary.", "math.")

    def _sum(self, total: Expr) -> str:
        # A positive term first, numbers after names: 1 - x, not -x + 1.
        terms = sorted(total.args, key=lambda t: (t.could_extract_minus_sign(), bool(t.is_number)))
        text = self.text(terms[0], PRODUCT)
        for term in terms[1:]:
            negative = term.could_extract_minus_sign() and not term.is_Add
            text += f" {'-' if negative else '+'} {self.text(-term if negative else term, PRODUCT)}"
        return text

    def _product(self, product: Expr) -> str:
        number, rest = product.as_coeff_Mul()
        over: list[Expr] = []
        under: list[Expr] = []
        for factor in sympy.Mul.make_args(rest):
            inverse = factor.is_Pow and factor.exp.is_number and factor.exp.is_negative
            (under if inverse else over).append(1 / factor if inverse else factor)
        numerator, denominator = number.as_numer_denom() if number.is_Rational else (number, 1)
        if abs(numerator) != 1 or not over:
            over.insert(0, abs(sympy.sympify(numerator)))
        if denominator != 1:
            under.insert(0, denominator)
        top = [self.text(factor, POWER if i else PRODUCT) for i, factor in enumerate(over)]
        bottom = [self.text(factor, POWER) for factor in under]
        text = ("-" if numerator < 0 else "") + "*".join(top)
        if not bottom:
            return text
        return f"{text}/{bottom[0]}" if len(bottom) == 1 else f"{text}/({'*'.join(bottom)})"

    def _power(self, base: Expr, exponent: Expr) -> tuple[str, int]:
        compiled = self.by_rows
        doubled = float(2 * exponent) if exponent.is_number else 0.5
        count, half = divmod(int(abs(doubled)), 2)
        # NumPy's own power of halves is no slower than a product and a root.
        by_products = (count > 0 and not half) or (half and (count == 0 or compiled))
        if not (doubled.is_integer() and by_products and count + half <= LARGEST_PRODUCT):
            if compiled:
                power = self._spelled("elementary.power({0}, {1})")
                return power.format(self.text(base), self.text(exponent)), NAME
            return f"{self.text(base, NAME)}**{self.text(exponent, POWER)}", POWER
        root = f"{self.library}.sqrt"
        if not count:
            text, binds = f"{root}({self.text(base)})", NAME
        else:
            held = self.text(base)
            held = held if held.isidentifier() else self._named(held)
            text, binds = self._repeated(held, count), NAME
            if half:
                text, binds = f"{text}*{root}({held})", PRODUCT
        if doubled > 0:
            return text, binds
        return f"1.0/({text})" if binds < NAME else f"1.0/{text}", PRODUCT

    def _quotient(self, divisor: Expr, count: Expr, *factors: Expr) -> str:
        parts = [self.text(factor, POWER) for factor in factors]
        base = self.text(divisor, POWER)
        if (base, -1) not in self.powers:
            self.powers[base, -1] = self._named(f"1.0/{base}")
        plain = max(len(parts) - int(count), 0)
        for i in range(int(count)):
            parts.insert(min(plain + 2 * i + 1, len(parts)), self.powers[base, -1])
        return "*".join(parts)

    def _named(self, text: str) -> str:
        name = f"{self.prefix}t{len(self.lines)}"
        self.lines.append(f"{name} = {text}")
        return name

    def _repeated(self, base: str, count: int) -> str:
        """Return base**count by repeated squaring, each square a name of its own."""
        if count == 1:
            return base
        if (base, count) not in self.powers:
            half = self._repeated(base, count // 2)
            text = f"{half}*{half}" + (f"*{base}" if count % 2 else "")
            self.powers[base, count] = self._named(text)
        return self.powers[base, count]

    def _logic(self, expression: Expr) -> str:
        parts = [self.text(arg, SUM) for arg in expression.args]
        if isinstance(expression, sympy.Not):
            return f"not {parts[0]}" if self.by_rows else f"~{parts[0]}"
        conjunction, disjunction = ("and", "or") if self.by_rows else ("&", "|")
        word = conjunction if isinstance(expression, sympy.And) else disjunction
        return f" {word} ".join(parts)


def _literal(number: Expr) -> tuple[str, int]:
    """Return a number as Python reads it back exactly; a negative one binds as a product does."""
    value = float(number) if number.is_comparable else math.nan
    if not math.isfinite(value):
        raise ValueError(f"{number} is no finite real number")
    return repr(value), NAME if value >= 0 else PRODUCT
