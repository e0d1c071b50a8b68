"""A model: a formula, a loss and parameters, with their symbolic derivatives."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, NoReturn

import numpy as np
import sympy

import sgdfit
from sgdfit.errors import FormulaError, UsageError, as_column, closest_name, did_you_mean, listed
from sgdfit.formula.external import External, external_in
from sgdfit.formula.formula import Formula, derivative, ordered_names, stable, symbol, to_text
from sgdfit.formula.functions import ALIASES, CONSTANTS, FUNCTIONS
from sgdfit.formula.parsing import parse_expression
from sgdfit.formula.reading import as_formula
from sgdfit.formula.real import MAX_EXPONENT, Select, Special, as_real
from sgdfit.model.loss import PREDICTION, TARGET, Loss, as_loss
from sgdfit.model.parameters import (
    DEFAULT_START,
    Assignments,
    Bounds,
    Parameter,
    declare,
    resolve_ties,
)
from sgdfit.model.separation import linear_set, stepped_names

Expr = Any  # SymPy ships no types

# What people call variables.
VARIABLE = r"[xtXT]\d*|time"


@dataclass(frozen=True)
class Model:
    """A formula that met its data: what is a variable, what is a parameter, and the derivatives."""

    formula: Formula  # as the user wrote it
    loss: Loss  # an expression of ``prediction`` and ``target``, averaged over the rows
    variables: tuple[str, ...]  # the columns on the right side
    parameters: dict[str, Parameter]  # all of them, in the order of the formula

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read: the variables, then what only the response needs."""
        return tuple(dict.fromkeys((*self.variables, *self.formula.response_names)))

    @cached_property
    def external(self) -> External | None:
        """The function that is called, where the formula is no other."""
        return external_in(self.formula.expression)

    @cached_property
    def free(self) -> tuple[str, ...]:
        """The parameters that are estimated."""
        return tuple(p.name for p in self.parameters.values() if p.role == "free")

    @cached_property
    def ties(self) -> dict[str, Expr]:
        """Tied parameters as expressions of those that are not."""
        return resolve_ties({p.name: p.tie for p in self.parameters.values() if p.tie})

    @cached_property
    def _fixed(self) -> dict[str, float]:
        return {p.name: p.start for p in self.parameters.values() if p.role == "fixed"}

    @cached_property
    def prediction(self) -> Expr:
        """The right side, an expression of variables and free parameters alone.

        It is written so that extreme arguments neither overflow nor cancel (see
        `sgdfit.formula.formula`); the formula keeps the form that the user gave it.
        """
        expression = self.formula.expression.xreplace(
            {symbol(name): tie for name, tie in self.ties.items()}
        )
        for name, value in self._fixed.items():
            # Small whole numbers exactly: x**2.0 is x**2.
            small = value.is_integer() and abs(value) <= MAX_EXPONENT
            number = sympy.Integer(int(value)) if small else sympy.Float(value)
            expression = expression.xreplace({symbol(name): number})
        try:
            return _computed(expression, frozenset(map(symbol, self.free)))
        except FormulaError:
            raise UsageError(
                f"with its fixed and tied parameters put in, '{self.formula}' has no finite value"
            ) from None

    @cached_property
    def gradient(self) -> tuple[Expr, ...]:
        """The derivative of the prediction to each free parameter."""
        slopes = []
        for name in self.free:
            try:
                slopes.append(derivative(self.prediction, name))
            except FormulaError:
                raise FormulaError(
                    f"the derivative of '{self.formula}' to {name!r} has no finite real value"
                ) from None
            except RecursionError:
                raise FormulaError(
                    "the formula is nested too deeply to be differentiated"
                ) from None
        return tuple(slopes)

    @cached_property
    def loss_grad(self) -> Expr:
        """The derivative of the loss to the prediction."""
        return _slope(self.loss.expression)

    @cached_property
    def loss_hess(self) -> Expr:
        """The second derivative of the loss to the prediction."""
        return _loss_hess(self.loss.expression) if self.loss.hess is None else self.loss.hess

    @cached_property
    def linear(self) -> tuple[str, ...]:
        """Free parameters that enter linearly together (see `separation.linear_set`)."""
        return linear_set(self.free, self.gradient, stepped_names(self.prediction))

    @property
    def is_linear(self) -> bool:
        """Whether every free parameter enters linearly."""
        return len(self.linear) == len(self.free)

    @property
    def start(self) -> list[float]:
        """Where the free parameters start."""
        return [self.parameters[name].start for name in self.free]

    @cached_property
    def base(self) -> Model:
        """The model of one level: ``a`` for each ``a[site]``, its start that of the first level.

        What is held alike in all levels stays so. Without subscripts it is the model itself.
        """
        formula = self.formula
        if not formula.families:
            return self
        choices, own_of = dict[Expr, Expr](), dict[str, str]()
        for name, members in formula.families.items():
            own, column = formula.subscripts[name]
            choices[Select(symbol(column), *map(symbol, members))] = symbol(own)
            own_of |= dict.fromkeys(members, own)
        names = (own_of.get(name, name) for name in formula.names if name not in formula.levels)
        plain = Formula(
            formula.expression.xreplace(choices), formula.response, tuple(dict.fromkeys(names))
        )
        alike: dict[str, list[Parameter]] = {}
        for parameter in self.parameters.values():
            own = own_of.get(parameter.name, parameter.name)
            alike.setdefault(own, []).append(parameter)
        parameters = {own: _common(own, some, own_of.keys()) for own, some in alike.items()}
        variables = tuple(name for name in self.variables if name not in formula.levels)
        return Model(plain, self.loss, variables, parameters)

    def values(self, theta: Sequence[float]) -> dict[str, float]:
        """Return every parameter's value when the free ones are ``theta``."""
        known = dict(zip(self.free, map(float, theta), strict=True))
        known |= self._fixed
        if self.ties:
            at = {symbol(name): sympy.Float(value) for name, value in known.items()}
            for name, tie in self.ties.items():
                value = complex(tie.xreplace(at).evalf())
                known[name] = value.real if value.imag == 0 else math.nan
        return {name: known[name] for name in self.parameters}

    def named(self, columns: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return `columns` by their names, float64."""
        pairs = zip(self.columns, columns, strict=True)
        return {name: column.astype(np.float64, copy=False) for name, column in pairs}

    def _repr_html_(self) -> str:
        return str(sgdfit.higher("derive")(self).html())


# What follows from expressions alone is worked out once: starts and data differ, formulas recur.
@lru_cache(maxsize=256)
def _computed(expression: Expr, parameters: frozenset[Expr]) -> Expr:
    """Return the form in which a prediction is computed."""
    return stable(as_real(expression), parameters)


@lru_cache(maxsize=64)
def _slope(loss: Expr) -> Expr:
    return sympy.factor_terms(stable(derivative(loss, PREDICTION)))


@lru_cache(maxsize=64)
def _loss_hess(loss: Expr) -> Expr:
    return sympy.factor_terms(derivative(_slope(loss), PREDICTION))


def build(
    formula: str | Callable[..., Any] | Formula,
    columns: Sequence[str] | None = None,
    *,
    response: str | None = None,
    jacobian: Callable[..., Any] | None = None,
    loss: str | Callable[..., Any] | Loss = "mse",
    start: Assignments = None,
    bounds: Bounds = None,
    fixed: Assignments = None,
    tied: Assignments = None,
    seed: int = 0,
    constant: bool = True,
    levels: Mapping[str, Sequence[str]] | None = None,
) -> Model:
    """Return the `Model` of ``formula`` for data with ``columns``.

    Without ``columns``, ``x``, ``t`` and ``time`` (and ``x1``, ``t2``, …) are taken for variables;
    for the other options see `sgdfit.fit`. A column that indexes parameters, as ``site`` does in
    ``a[site]``, has ``levels``, and holds codes that say how many of them come before.

    Raises
    ------
    FormulaError
        When the response is no column or predicts itself, when there is nothing to estimate, or
        when the curve holds no column and ``constant`` is false.
    UsageError
        When an option does not fit the formula.

    Examples
    --------
    >>> model = build("y = a*exp(-b*x)", ["x", "y"], fixed={"b": 2})
    >>> model.variables, model.free, model.gradient
    (('x',), ('a',), (exp(-2*x),))
    >>> build("y = a[site]*x", ["x", "y", "site"], levels={"site": ["A", "B"]}).free
    ('a[A]', 'a[B]')
    """
    read = as_formula(formula, response, jacobian)
    known = _guessed(read) if columns is None else tuple(columns)
    # A column's own spelling: code turns the micro sign µ into the Greek letter μ.
    own = {unicodedata.normalize("NFKC", column): column for column in known}
    others = {*read.names, *read.response_names} - set(known)
    if others & own.keys():
        read = read.renamed({name: own[name] for name in others & own.keys()})
    if columns is not None and read.subscripts and not read.levels:
        read = with_subscripts(read, known)
        unknown = {column for _, column in read.subscripts.values()} - {*(levels or ())}
        if unknown:
            raise FormulaError(
                f"'{read}' has parameters with a value for each level of {listed(sorted(unknown))},"
                " which only sgdfit.fit and explain take (sgdfit fit and explain on the command"
                " line); write them without brackets"
            )
        read = read.with_levels(levels or {})
    _check_response(read, known, given=columns is not None)
    variables = tuple(name for name in read.names if name in known)
    names = tuple(name for name in read.names if name not in known)
    read = read.with_columns(variables)
    _check_names(read, names, known, given=columns is not None)
    if names and not variables and not constant:
        _refuse_constant(read, names, known)
    said: dict[str, Any] = {"start": start, "bounds": bounds, "fixed": fixed, "tied": tied}
    parameters = declare(read, names, **said, seed=seed)
    _check_euler(read, parameters)
    model = Model(read, as_loss(loss), variables, parameters)
    if not names:
        raise FormulaError(
            f"every name in '{read}' is a column of the data, so there is nothing to estimate;"
            " write the parameters out, as in y = a + b*x"
        )
    if not model.free:
        raise FormulaError(f"every parameter of '{read}' is fixed or tied; leave at least one free")
    _ = model.base.gradient  # what is fixed or tied may leave it without a value
    return model


def with_subscripts(formula: Formula, columns: Sequence[str]) -> Formula:
    """Return a formula whose subscripts are columns; what is a column as a whole is none.

    Raises
    ------
    FormulaError
        When brackets name no column, follow one, or a parameter stands without them as well.
    """
    found = {n: some for n, some in formula.subscripts.items() if n not in columns}
    owners, names = [own for own, _ in found.values()], {*formula.names, *formula.response_names}
    for name, (own, column) in found.items():
        if own in columns:
            trouble = (
                f"{own!r} is a column of the data; only a parameter has a value for each level"
            )
        elif column not in columns:
            near = did_you_mean(column, columns, as_column)
            if "," in column:
                near = " Of two columns give the data a third one that joins their values"
            trouble = (
                f"the data have no column {column!r}; its columns are {listed(columns)}.{near}"
            )
        elif own in names or owners.count(own) > 1:
            trouble = f"{own!r} stands without these brackets as well; give each a name of its own"
        elif column in names:
            trouble = (
                f"{column!r} cannot index a parameter and be a number in the same formula; give"
                " the data a second column with its values"
            )
        else:
            continue
        raise FormulaError(f"in {name!r} of '{formula}': {trouble}")
    return replace(formula, subscripts=found)


def _common(own: str, some: Sequence[Parameter], members: Set[str]) -> Parameter:
    """Return what a parameter's levels are in the model of one: free unless all are held alike."""
    first = next((p for p in some if p.role == "free"), some[0])
    indexed = first.tie is not None and not members.isdisjoint(parse_expression(first.tie)[1])
    if indexed or (first.role != "free" and len({str(replace(p, name=own)) for p in some}) > 1):
        return Parameter(own, DEFAULT_START, f"default {DEFAULT_START}")
    return replace(first, name=own, low=min(p.low for p in some), high=max(p.high for p in some))


def _guessed(formula: Formula) -> tuple[str, ...]:
    """Without data: the names that people give to variables, and those of the left side."""
    usual = [name for name in formula.names if re.fullmatch(VARIABLE, name)]
    if not usual:
        raise UsageError(
            f"without data it is not known which names of '{formula}' are variables;"
            " say so, as in variables=['u'] (--variables u)"
        )
    return (*usual, *formula.response_names)


def _check_response(formula: Formula, columns: Sequence[str], *, given: bool) -> None:
    if formula.response is None and given:
        text = str(formula)
        written = text.replace("==", "=", 1) if "==" in text else f"y = {text}"
        is_call = external_in(formula.expression) is not None  # of a function, which is no text
        write = "pass" if is_call else f"write '{written}' or pass"
        raise FormulaError(
            f"the formula '{formula}' does not say which column it describes;"
            f" {write} response='y' (--response y)"
        )
    if formula.response is not None and not formula.response_names:
        raise FormulaError(f"the left side of '{formula}' names no column")
    for name in formula.response_names:
        if name not in columns:
            raise FormulaError(
                f"the left side of '{formula}' uses {name!r}, which is no column of the data;"
                f" its columns are {listed(columns)}."
                f"{did_you_mean(name, columns, as_column)}"
            )
    # In y - x = a + b*(x + y) the response is no column that predicts itself.
    if len(formula.response_names) == 1 and formula.response_names[0] in formula.names:
        raise FormulaError(
            f"the response {formula.response_names[0]!r} stands on both sides of '{formula}', so it"
            " would predict itself; leave it out on the right side or, where that is meant, give"
            " the data a second column with its values"
        )


def _refuse_constant(formula: Formula, names: Sequence[str], columns: Sequence[str]) -> NoReturn:
    """Say that no column stands on the right side: a misnamed one has become a parameter."""
    others = [column for column in columns if column not in formula.response_names]
    hints: dict[str, str] = {}
    for name in sorted(names, key=lambda name: not re.fullmatch(VARIABLE, name)):
        alone = re.fullmatch(VARIABLE, name) and len(others) == 1
        near = others[0] if alone else closest_name(name, others)
        if near:
            hint = f" Did you mean {as_column(near)} where {name!r} stands?"
            hints.setdefault(near, hint)
    raise FormulaError(
        f"no column of the data stands on the right side of '{formula}', so it would fit a"
        f" constant: the data hold {listed(columns)} and not {listed(names)}."
        f"{''.join([*hints.values()][:3])} For a constant on purpose pass constant=True"
        " (--constant)"
    )


def _check_euler(formula: Formula, parameters: Mapping[str, Parameter]) -> None:
    """Refuse e**(…) where Euler's number is meant, and the fit would take e for a parameter."""
    euler = [symbol(name) for name in ("e", "E") if name in parameters]
    for power in formula.expression.atoms(sympy.Pow) if euler else ():
        base, others = power.base, {s.name for s in power.exp.free_symbols}
        # Beside c and d it is a letter as they are.
        letter = {"c", "d"} <= parameters.keys() and others.isdisjoint(parameters)
        if base in euler and others and not letter and not parameters[base.name].is_named:
            raise FormulaError(
                f"{base.name!r} in '{formula}' would be a parameter; for Euler's number write"
                f" {to_text(sympy.exp(power.exp))}, or hold it by fixed='{base}=2.718281828459045'"
                " (--fix on the command line). If a parameter is meant, give it a start"
            )


def _check_names(
    formula: Formula, names: Sequence[str], columns: Sequence[str], *, given: bool
) -> None:
    present = set(ordered_names(formula.expression))
    sides = [side for side in (formula.expression, formula.response) if side is not None]
    for name, constant in CONSTANTS.items():
        if name in columns and any(side.has(constant) for side in sides):
            raise FormulaError(
                f"{name!r} is a constant and a column of the data; write the column in curly"
                f" brackets, {{{name}}}, or rename it"
            )
    members = {m: formula.subscripts[n][0] for n, some in formula.families.items() for m in some}
    for name in names:
        own = members.get(name, name)
        form = FUNCTIONS.get(ALIASES.get(own, own))
        # Many a rate is called gamma or k1.
        if form and form.symbolic not in Special.__subclasses__():
            raise FormulaError(
                f"{own!r} is a function and no column of the data; write {own}(…),"
                " or rename the parameter"
            )
        if given and not own.isidentifier() and name not in {*formula.start, *formula.fixed}:
            raise FormulaError(
                f"{as_column(name)} is written as a column, but the data have none of that name;"
                f" its columns are {listed(columns)}.{did_you_mean(name, columns, as_column)}"
            )
        if name in (PREDICTION, TARGET):
            raise FormulaError(f"the name {name!r} is taken; rename that parameter")
        if name not in present:
            raise FormulaError(
                f"{name!r} has no effect on '{formula}'; leave it out."
                f"{did_you_mean(name, columns, as_column)}"
            )
    for name in sorted(set(formula.fixed) - set(names)):
        raise FormulaError(
            f"the argument {name!r} is bound to a value and a column of the data as well;"
            " rename one of them"
        )
