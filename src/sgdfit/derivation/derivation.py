"""The gradient derived step by step, as one does it by hand: facts, which the layouts draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy

from sgdfit.derivation.notation import (
    MINUS,
    Call,
    Equation,
    Exponential,
    Fence,
    Fraction,
    Name,
    Node,
    Number,
    Partial,
    Product,
    Relation,
    Step,
    Terms,
    Total,
    free_letter,
    names_of,
)
from sgdfit.derivation.writer import Writer, number, operations, split_constant, tidy
from sgdfit.formula import real
from sgdfit.formula.formula import symbol
from sgdfit.model.loss import PREDICTION, TARGET

if TYPE_CHECKING:
    from sgdfit.derivation.gradient_check import GradientCheck
    from sgdfit.model.model import Model


Expr = Any  # SymPy ships no types

SIMPLE = 12  # operations up to which the loss's slope is written out inside of the sum


class Paper:
    """One model on paper: which letters stand for what, and each step."""

    def __init__(
        self, model: Model, weighted: bool = False, numbers: GradientCheck | None = None
    ) -> None:
        self.model, self.weighted = model, weighted
        taken = {*model.formula.names, *model.formula.response_names, *model.parameters}
        self.index = free_letter("ijklmn", taken)
        self.names = names_of([*taken], {*model.columns}, self.index)
        looks = {name.text for name in self.names.values()} | taken
        self.rate, self.any = free_letter("ηγρ", looks), free_letter("θφψω", looks)
        self.rows, self.weight = free_letter(("N", "n", "M", "m"), looks), free_letter("wvω", looks)
        self.sum_of_weights = free_letter(("W", "V", "Ω"), looks)
        self.total = Name(free_letter(("L", "ℒ", "J"), looks))
        self.row, self.psi = (
            free_letter("ℓλρ", looks),
            Name(free_letter("ψφχ", looks), "", self.index),
        )
        self.logistic = Name(free_letter(("σ", "logistic"), looks))
        self.prediction = Name("y", "", self.index, hat=True)
        self.numbers = numbers
        # The loss's own symbols must not meet a column of the same name.
        self.residual = {PREDICTION: sympy.Dummy(real=True), TARGET: sympy.Dummy(real=True)}
        self.psi_symbol = sympy.Dummy(real=True)
        self.writer = self._writer()

    def _writer(self) -> Writer:
        model = self.model
        order = [symbol(name) for name in model.formula.names]
        nodes: dict[Expr, Node] = {symbol(raw): name for raw, name in self.names.items()}
        if self.numbers:
            values = dict(zip(self.numbers.names, self.numbers.theta, strict=True))
            nodes |= {symbol(name): number(value) for name, value in values.items()}
        plain = Writer(nodes, order, map(symbol, model.parameters), (), self.logistic)
        nodes[self.residual[PREDICTION]] = self.prediction
        nodes[self.residual[TARGET]] = self._target(plain)
        nodes[self.psi_symbol] = self.psi
        front = [*self.residual.values(), self.psi_symbol]
        return Writer(nodes, order, map(symbol, model.parameters), front, self.logistic)

    def _target(self, plain: Writer) -> Node:
        response = self.model.formula.response
        return Name("y", "", self.index) if response is None else plain.write(response)

    # Parts

    def residual_form(self, expression: Expr) -> Expr:
        """Put the letters of the derivation in place of the loss's own symbols."""
        return expression.xreplace({symbol(n): dummy for n, dummy in self.residual.items()})

    @cached_property
    def loss(self) -> Expr:
        """The loss of one row."""
        return tidy(self.residual_form(self.model.loss.expression))

    @cached_property
    def slope(self) -> Expr:
        """The derivative of one row's loss to the prediction."""
        return tidy(self.residual_form(self.model.slope))

    @cached_property
    def slopes(self) -> tuple[Expr, ...]:
        """The derivative of the prediction to each free parameter."""
        return tuple(map(tidy, self.model.gradient))

    @property
    def named_slope(self) -> bool:
        """Whether the slope bears a name of its own inside of sums."""
        return self.slope.has(real.Where) or operations(self.slope) > SIMPLE

    def count_of_rows(self) -> Node:
        """What the sum is divided by: the number of rows, or their weight."""
        return Name(self.sum_of_weights if self.weighted else self.rows)

    def divisor(self) -> Node:
        """The same, or its number where numbers are put in."""
        if self.numbers is None:
            return self.count_of_rows()
        return number(self.numbers.total_weight if self.weighted else self.numbers.rows)

    def row_loss(self) -> Node:
        """ℓ(ŷᵢ, yᵢ)."""
        target = self.writer.names[self.residual[TARGET]]
        return Call(Name(self.row), (self.prediction, target))

    @property
    def loss_body(self) -> Node:
        """The loss of one row as it stands in a sum."""
        return self.row_loss() if self.named_loss else self.writer.write(self.loss)

    @property
    def named_loss(self) -> bool:
        """Whether the loss of one row bears a name of its own inside of sums."""
        return bool(self.loss.has(real.Where)) or operations(self.loss) > SIMPLE

    def mean(self, body: Node, constant: Expr = sympy.S.One) -> Node:
        """``constant`` times the mean of ``body`` over rows."""
        sign, lead = self.writer.signed(constant)
        top, bottom = (lead.top, lead.bottom) if isinstance(lead, Fraction) else (lead, None)
        below = [self.divisor()] if bottom is None else [self.divisor(), bottom]
        factors: list[Node] = [Name(self.weight, "", self.index)] if self.weighted else []
        factors += [] if self.weighted and body == Number("1") else [body]
        count: Node = Name(self.rows) if self.numbers is None else number(self.numbers.rows)
        inner = self.writer.times(factors)
        total = Total(self.index, count, Fence(inner) if isinstance(inner, Terms) else inner)
        whole = Product((Fraction(top, self.writer.times(below)), total))
        return Terms(((MINUS, whole),)) if sign == "-" else whole

    def gradient(self, position: int) -> Node:
        """The mean loss's derivative to one parameter, its constants before the sum."""
        slope = self.psi_symbol if self.named_slope else self.slope
        rows = {*map(symbol, self.model.variables), *self.residual.values(), self.psi_symbol}
        parts = [split_constant(e, rows) for e in (slope, self.slopes[position])]
        constant = tidy(parts[0][0] * parts[1][0])
        body = sympy.Mul(*(factor for _, rest in parts for factor in sympy.Mul.make_args(rest)))
        if constant == 0 or body == 0:
            return Number("0")
        sign, node = self.writer.signed(body)
        return self.mean(node, -constant if sign == "-" else constant)

    def by_parameter(self, top: Node, position: int) -> Node:
        """∂top/∂θ."""
        return Fraction(Partial(top), Partial(self.names[self.model.free[position]]))

    def slope_sign(self) -> Fraction:
        """∂ℓ/∂ŷᵢ."""
        return Fraction(Partial(Name(self.row)), Partial(self.prediction))

    def listed(self, names: Sequence[str]) -> list[str | Node]:
        """``a, b and c``."""
        said: list[str | Node] = []
        for i, name in enumerate(names):
            said += ["" if i == 0 else " and " if i == len(names) - 1 else ", ", self.names[name]]
        return said


Columns = Mapping[str, Any]

_TITLES = {
    "mse": "mean squared error",
    "mae": "mean absolute error",
    "huber": "Huber's loss",
    "soft_l1": "soft L1",
    "cauchy": "Cauchy's loss",
    "log_cosh": "log-cosh",
    "quantile": "the pinball loss of a quantile",
    "poisson": "the Poisson likelihood",
}


@dataclass(frozen=True)
class Derivation:
    """A model's gradient, derived.

    Attributes
    ----------
    steps : tuple of Step
        Model, loss, chain rule, slope of the loss, gradient, update; with data also the numbers.
    check : GradientCheck or None
        The gradient's numbers, where data were given.
    """

    steps: tuple[Step, ...]
    check: GradientCheck | None = None

    def text(self, width: int = 80) -> str:
        """Return the steps in Unicode for a terminal ``width`` columns wide."""
        from sgdfit.derivation.text import render

        return render(self.steps, width)

    def latex(self) -> str:
        """Return a sequence of ``align*`` blocks, for LaTeX (amsmath) and MathJax alike."""
        from sgdfit.derivation.tex import render

        return render(self.steps)

    def html(self, page: bool = False) -> str:
        """Return HTML with presentation MathML: an element, or with ``page`` a whole document."""
        from sgdfit.derivation.html import render

        return render(self.steps, page=page)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()


def derive(
    model: Model,
    columns: Columns | None = None,
    *,
    theta: Sequence[float] | None = None,
    weights: Any = None,
    weighted: bool = False,
) -> Derivation:
    """Derive the gradient of ``model``'s mean loss to each free parameter.

    Parameters
    ----------
    model : Model
        See `sgdfit.model.model.build`.
    columns : mapping of str to array of shape (rows,), optional
        With data the derivation ends with the gradient's numbers, checked.
    theta, weights
        See `sgdfit.derivation.gradient_check.check_gradient`.
    weighted : bool
        Write a weighted mean although no weights are given.

    Returns
    -------
    Derivation
        Drawn by its methods `~Derivation.text`, `~Derivation.latex` and `~Derivation.html`.

    Raises
    ------
    DataError
        When a column is missing or the columns differ in length.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> derivation = derive(build("y = a*x", ["x", "y"]))
    >>> [step.title for step in derivation.steps][2:5]
    ['The chain rule', 'The slope of the loss', 'The gradient']
    """
    paper = Paper(model, weighted or weights is not None)
    steps = tuple(make(paper) for make in _STEPS)
    if columns is None:
        return Derivation(steps)
    from sgdfit.derivation.gradient_check import check_gradient

    check = check_gradient(model, columns, theta, weights)
    return Derivation((*steps, _numbers(model, check, paper), *check.steps), check)


def _numbers(model: Model, check: GradientCheck, paper: Paper) -> Step:
    """The prediction, the loss and the gradient once more, with the data's numbers in place."""
    filled = Paper(model, paper.weighted, check)
    settings = [
        Equation(paper.names[name], (number(value),))
        for name, value in zip(check.names, check.theta, strict=True)
    ]
    equations = [
        Equation(filled.prediction, (filled.writer.write(model.prediction),)),
        Equation(paper.total, (filled.mean(filled.loss_body), number(check.loss, 8))),
    ]
    for position, value in enumerate(check.symbolic):
        left = paper.by_parameter(paper.total, position)
        equations.append(Equation(left, (filled.gradient(position), number(value))))
    says: list[str | Node] = ["At the start, "]
    for i, setting in enumerate(settings):
        glue = "" if i == 0 else " and " if i == len(settings) - 1 else ", "
        says += [glue, Relation(setting.left, "=", setting.rights[0])]
    says += [", over ", paper.count_of_rows(), f" = {check.rows} rows:"]
    if paper.weighted:
        says[-1] = f" = {check.total_weight:g}, the weight of {check.rows} rows:"
    return Step("With the data's numbers", tuple(says), tuple(equations))


def _model(paper: Paper) -> Step:
    model, write = paper.model, paper.writer.write
    says: list[str | Node] = ["The prediction ", paper.prediction, " of "]
    says += [paper.writer.names[paper.residual[TARGET]], " in row "]
    says += [Name(paper.index), ", ", *_linearity(paper), "."]
    equations = [Equation(paper.prediction, (write(model.formula.expression),))]
    for parameter in model.parameters.values():
        name = paper.names[parameter.name]
        if parameter.role == "fixed":
            equations.append(Equation(name, (number(parameter.start),), note="fixed"))
        elif parameter.role == "tied":
            tie = write(tidy(model.ties[parameter.name]))
            equations.append(Equation(name, (tie,), note="tied"))
    if len(equations) > 1:
        settled = write(tidy(model.prediction))
        equations.append(Equation(paper.prediction, (settled,), note="with these in place"))
    return Step("The model", tuple(says), tuple(equations), remark=_legend(paper))


def _linearity(paper: Paper) -> list[str | Node]:
    model = paper.model
    slopes = dict(zip(model.free, model.gradient, strict=True))
    linear = [name for name in model.free if name in model.linear]
    others = [name for name in model.free if name not in linear]
    curved = [name for name in others if symbol(name) in slopes[name].free_symbols]
    alone = [name for name in others if name not in curved]
    kinds = (("linear in ", linear), ("by itself in ", alone), ("not linear in ", curved))
    said: list[str | Node] = []
    for words, names in kinds:
        said += [", " if said else "", words, *paper.listed(names)] if names else []
    return said


def _legend(paper: Paper) -> tuple[str | Node, ...]:
    """Signs that not every reader knows, where they occur."""
    parts: list[str | Node] = []
    everything = [paper.model.prediction, *paper.slopes, paper.loss, paper.slope]
    if any(e.has(real.Logistic) for e in everything):
        u: Node = Name("u")
        decay = Exponential(Terms(((MINUS, u),)))
        below = Terms((("+", Number("1")), ("+", decay)))
        meaning = Fraction(Number("1"), below)
        parts += [Relation(Call(paper.logistic, (u,)), "=", meaning), " is the logistic curve. "]
    if any(_has_bracket(e) for e in everything):
        parts += ["[…] is 1 where its condition holds and 0 elsewhere."]
    return tuple(parts)


def _loss(paper: Paper) -> Step:
    generic, own = paper.mean(paper.row_loss()), paper.writer.write(paper.loss)
    if paper.named_loss:
        equations = [Equation(paper.row_loss(), (own,)), Equation(paper.total, (generic,))]
    else:
        equations = [Equation(paper.total, (generic, paper.mean(own)))]
    says: tuple[str | Node, ...] = ("The mean over ", Name(paper.rows), " rows:")
    if paper.weighted:
        says = ("The weighted mean over ", Name(paper.rows), " rows:")
        weights = Total(paper.index, Name(paper.rows), Name(paper.weight, "", paper.index))
        equations.append(Equation(Name(paper.sum_of_weights), (weights,)))
    return Step(_loss_title(paper.model.loss.name), says, tuple(equations))


def _loss_title(name: str) -> str:
    kind, _, options = name.partition("(")
    known = ", ".join(filter(None, (_TITLES.get(kind), options.rstrip(")"))))
    return f"The loss: {known}" if kind in _TITLES else "The loss"


def _chain(paper: Paper) -> Step:
    theta = Name(paper.any)
    product = Product((paper.slope_sign(), Fraction(Partial(paper.prediction), Partial(theta))))
    left = Fraction(Partial(paper.total), Partial(theta))
    says = ("For each parameter ", theta, ", that is ", *paper.listed(paper.model.free), ":")
    return Step("The chain rule", says, (Equation(left, (paper.mean(product),)),))


def _slope(paper: Paper) -> Step:
    names = (paper.psi,) if paper.named_slope else ()
    equation = Equation(paper.slope_sign(), (*names, paper.writer.write(paper.slope)))
    return Step("The slope of the loss", (), (equation,))


def _gradient(paper: Paper) -> Step:
    equations = []
    for position, slope in enumerate(paper.slopes):
        inner = paper.by_parameter(paper.prediction, position)
        equations.append(Equation(inner, (paper.writer.write(slope),)))
        whole = paper.by_parameter(paper.total, position)
        equations.append(Equation(whole, (paper.gradient(position),)))
    return Step("The gradient", (), tuple(equations))


def _update(paper: Paper) -> Step:
    says = ("A step against the gradient, with the learning rate ", Name(paper.rate), ":")
    equations = []
    for position, raw in enumerate(paper.model.free):
        change = Product((Name(paper.rate), paper.by_parameter(paper.total, position)))
        after = Terms((("+", paper.names[raw]), (MINUS, change)))
        equations.append(Equation(paper.names[raw], (after,), sign="←"))
    return Step("The update", says, tuple(equations))


_STEPS = (_model, _loss, _chain, _slope, _gradient, _update)


def _has_bracket(expression: Expr) -> bool:
    values = [set(part.args[1:]) for part in expression.atoms(real.Where)]
    return {sympy.S.One, sympy.S.Zero} in values
