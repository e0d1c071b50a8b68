"""The gradient derived step by step, as one does it by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy

from sgdfit.derivation.notation import (
    Equation,
    Math,
    Step,
    add,
    brackets,
    call,
    exponential,
    figures,
    free_letter,
    name,
    number,
    over,
    partial,
    relation,
    signed,
    spellings,
    summation,
    times,
)
from sgdfit.derivation.writer import Writer, operations, tidy
from sgdfit.formula.formula import symbol
from sgdfit.formula.real import Logistic, Where
from sgdfit.model.loss import PREDICTION, TARGET

if TYPE_CHECKING:
    from sgdfit.derivation.gradient_check import GradientCheck
    from sgdfit.model.model import Model


Expr = Any  # SymPy ships no types
Sentence = list[str | Math]

SIMPLE = 12  # operations up to which the loss and its slope are written out inside of the sum
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


class Paper:
    """One model on paper: which letters stand for what, and each step."""

    def __init__(
        self, model: Model, weighted: bool = False, numbers: GradientCheck | None = None
    ) -> None:
        self.model, self.weighted, self.numbers = model, weighted, numbers
        raws = {*model.formula.names, *model.formula.response_names, *model.parameters}
        self.index = free_letter("ijklmn", raws)
        spelled = spellings(raws)
        self.names = {
            raw: name(*look, self.index if raw in model.columns else "")
            for raw, look in spelled.items()
        }
        taken = {stem for stem, _ in spelled.values()} | raws
        self.rate, self.any = (name(free_letter(c, taken)) for c in ("ηγρ", "θφψω"))
        self.rows, self.total = (name(free_letter(c, taken)) for c in ("NnMm", "LℒJ"))
        self.sum_of_weights = name(free_letter("WVΩ", taken))
        self.weight = name(free_letter("wvω", taken), index=self.index)
        self.row = free_letter("ℓλρ", taken)
        self.psi = name(free_letter("ψφχ", taken), index=self.index)
        self.logistic = free_letter(("σ", "logistic"), taken)
        self.prediction = name("y", index=self.index, hat=True)
        self.target = name("y", index=self.index)
        # The loss's own symbols must not meet a column of the same name.
        self.residual = {PREDICTION: sympy.Dummy(real=True), TARGET: sympy.Dummy(real=True)}
        self.psi_symbol = sympy.Dummy(real=True)
        nodes: dict[Expr, Math] = {symbol(raw): shown for raw, shown in self.names.items()}
        if numbers:
            values = zip(numbers.names, numbers.theta, strict=True)
            nodes |= {symbol(raw): number(value) for raw, value in values}
        front = [*self.residual.values(), self.psi_symbol]
        order = [*front, *map(symbol, model.formula.names)]
        rank = {one: place - len(front) for place, one in enumerate(order)}
        self.writer = Writer(nodes, rank, map(symbol, model.parameters), self.logistic)
        self.write = self.writer.write
        if model.formula.response is not None:
            self.target = self.write(model.formula.response)
        nodes |= dict(zip(front, (self.prediction, self.target, self.psi), strict=True))

    def _of_residual(self, expression: Expr) -> Expr:
        return tidy(expression.xreplace({symbol(n): dummy for n, dummy in self.residual.items()}))

    @cached_property
    def loss(self) -> Expr:
        """The loss of one row."""
        return self._of_residual(self.model.loss.expression)

    @cached_property
    def slope(self) -> Expr:
        """The derivative of one row's loss to the prediction."""
        return self._of_residual(self.model.slope)

    @cached_property
    def slopes(self) -> tuple[Expr, ...]:
        """The derivative of the prediction to each free parameter."""
        return tuple(map(tidy, self.model.gradient))

    def count(self) -> Math:
        """What the sum is divided by: the number of rows, or their weight."""
        if self.numbers:
            return number(self.numbers.total_weight if self.weighted else self.numbers.rows)
        return self.sum_of_weights if self.weighted else self.rows

    def row_loss(self) -> Math:
        """ℓ(ŷᵢ, yᵢ)."""
        return call(self.row, (self.prediction, self.target))

    def loss_body(self) -> Math:
        """The loss of one row as it stands in a sum."""
        return self.row_loss() if _is_long(self.loss) else self.write(self.loss)

    def mean(self, body: Math, constant: Expr = sympy.S.One) -> Math:
        """``constant`` times the mean of ``body`` over rows."""
        sign, lead = self.writer.signed(constant)
        top, *below = lead.parts if lead.kind == "fraction" else (lead,)
        if self.weighted:
            body = times([self.weight, body])
        rows = number(self.numbers.rows) if self.numbers else self.rows
        inner = brackets(body) if body.kind == "sum" else body
        total = summation(self.index, rows, inner)
        return signed(sign, times([over(top, times([self.count(), *below])), total]))

    def gradient(self, position: int) -> Math:
        """The mean loss's derivative to one parameter, its constants before the sum."""
        slope = self.psi_symbol if _is_long(self.slope) else self.slope
        rows = {*map(symbol, self.model.variables), *self.residual.values(), self.psi_symbol}
        parts = [e.as_independent(*rows, as_Add=False) for e in (slope, self.slopes[position])]
        constant = tidy(parts[0][0] * parts[1][0])
        # Not multiplied by SymPy, which might put the factors of both together.
        body = sympy.Mul(*(factor for _, rest in parts for factor in sympy.Mul.make_args(rest)))
        if constant == 0 or body == 0:
            return figures("0")
        sign, shown = self.writer.signed(body)
        return self.mean(shown, -constant if sign == "-" else constant)

    def to_parameter(self, top: Math, position: int) -> Math:
        """∂top/∂θ."""
        return over(partial(top), partial(self.names[self.model.free[position]]))

    def to_prediction(self) -> Math:
        """∂ℓ/∂ŷᵢ."""
        return over(partial(name(self.row)), partial(self.prediction))


def _is_long(expression: Expr) -> bool:
    """Whether it bears a name of its own inside of sums."""
    return bool(expression.has(Where)) or operations(expression) > SIMPLE


def _listed(parts: Sequence[Math]) -> Sentence:
    """``a, b and c``."""
    said: Sentence = []
    for i, part in enumerate(parts):
        said += ["" if i == 0 else " and " if i == len(parts) - 1 else ", ", part]
    return said


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

        return render(self.steps, page)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return self.html()


def derive(
    model: Model,
    columns: Mapping[str, Any] | None = None,
    *,
    theta: Sequence[float] | None = None,
    weights: Any = None,
    weighted: bool = False,
) -> Derivation:
    """Derive the gradient of ``model``'s mean loss to each free parameter.

    With columns of data, and ``theta`` and ``weights`` as `check_gradient` takes them, it ends with
    the gradient's numbers, checked; ``weighted`` writes a weighted mean without weights too.

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
    return Derivation((*steps, _numbers(paper, check), check.step), check)


def _model(paper: Paper) -> Step:
    model, write = paper.model, paper.write
    says: Sentence = ["The prediction ", paper.prediction, " of ", paper.target, " in row "]
    says += [name(paper.index), ", ", *_linearity(paper), "."]
    equations = [Equation(paper.prediction, (write(model.formula.expression),))]
    for parameter in model.parameters.values():
        left = paper.names[parameter.name]
        if parameter.role == "fixed":
            equations.append(Equation(left, (number(parameter.start),), note="fixed"))
        elif parameter.role == "tied":
            tie = write(tidy(model.ties[parameter.name]))
            equations.append(Equation(left, (tie,), note="tied"))
    if len(equations) > 1:
        settled = write(tidy(model.prediction))
        equations.append(Equation(paper.prediction, (settled,), note="with these in place"))
    return Step("The model", says, equations, remark=_legend(paper))


def _linearity(paper: Paper) -> Sentence:
    kinds: dict[str, list[Math]] = {"linear in ": [], "by itself in ": [], "not linear in ": []}
    for raw, slope in zip(paper.model.free, paper.model.gradient, strict=True):
        kind = "not linear in " if symbol(raw) in slope.free_symbols else "by itself in "
        kinds["linear in " if raw in paper.model.linear else kind].append(paper.names[raw])
    said: Sentence = []
    for words, names in kinds.items():
        said += [", " if said else "", words, *_listed(names)] if names else []
    return said


def _legend(paper: Paper) -> Sentence:
    """Signs that not every reader knows, where they occur."""
    said: Sentence = []
    everything = [paper.model.prediction, *paper.slopes, paper.loss, paper.slope]
    if any(expression.has(Logistic) for expression in everything):
        u, one = name("u"), figures("1")
        meaning = over(one, add([("+", one), ("+", exponential(signed("-", u)))]))
        said += [relation(call(paper.logistic, (u,)), "=", meaning), " is the logistic curve. "]
    wheres = [where for expression in everything for where in expression.atoms(Where)]
    if any({*where.args[1:]} == {sympy.S.Zero, sympy.S.One} for where in wheres):
        said += ["[…] is 1 where its condition holds and 0 elsewhere."]
    return said


def _loss(paper: Paper) -> Step:
    kind, _, options = paper.model.loss.name.partition("(")
    known = ", ".join(filter(None, (_TITLES.get(kind), options.rstrip(")"))))
    title = f"The loss: {known}" if kind in _TITLES else "The loss"
    generic, own = paper.mean(paper.row_loss()), paper.write(paper.loss)
    if _is_long(paper.loss):
        equations = [Equation(paper.row_loss(), (own,)), Equation(paper.total, (generic,))]
    else:
        equations = [Equation(paper.total, (generic, paper.mean(own)))]
    if paper.weighted:
        weights = summation(paper.index, paper.rows, paper.weight)
        equations.append(Equation(paper.sum_of_weights, (weights,)))
    mean = "The weighted mean over " if paper.weighted else "The mean over "
    return Step(title, (mean, paper.rows, " rows:"), equations)


def _chain(paper: Paper) -> Step:
    theta = partial(paper.any)
    inner = times([paper.to_prediction(), over(partial(paper.prediction), theta)])
    names = [paper.names[raw] for raw in paper.model.free]
    says = ("For each parameter ", paper.any, ", that is ", *_listed(names), ":")
    equation = Equation(over(partial(paper.total), theta), (paper.mean(inner),))
    return Step("The chain rule", says, (equation,))


def _slope(paper: Paper) -> Step:
    named = (paper.psi,) if _is_long(paper.slope) else ()
    rights = (*named, paper.write(paper.slope))
    return Step("The slope of the loss", (), (Equation(paper.to_prediction(), rights),))


def _gradient(paper: Paper) -> Step:
    equations = []
    for k, slope in enumerate(paper.slopes):
        inner = Equation(paper.to_parameter(paper.prediction, k), (paper.write(slope),))
        equations += [inner, Equation(paper.to_parameter(paper.total, k), (paper.gradient(k),))]
    return Step("The gradient", (), equations)


def _update(paper: Paper) -> Step:
    says = ("A step against the gradient, with the learning rate ", paper.rate, ":")
    equations = []
    for k, raw in enumerate(paper.model.free):
        change = times([paper.rate, paper.to_parameter(paper.total, k)])
        after = add([("+", paper.names[raw]), ("-", change)])
        equations.append(Equation(paper.names[raw], (after,), sign="←"))
    return Step("The update", says, equations)


_STEPS: tuple[Callable[[Paper], Step], ...] = (_model, _loss, _chain, _slope, _gradient, _update)


def _numbers(paper: Paper, check: GradientCheck) -> Step:
    """The prediction, the loss and the gradient once more, with the data's numbers in place."""
    filled = Paper(paper.model, paper.weighted, check)
    loss = (filled.mean(filled.loss_body()), number(check.loss, 8))
    equations = [
        Equation(filled.prediction, (filled.write(paper.model.prediction),)),
        Equation(paper.total, loss),
    ]
    for k, value in enumerate(check.symbolic):
        rights = (filled.gradient(k), number(value))
        equations.append(Equation(paper.to_parameter(paper.total, k), rights))
    settings = zip(check.names, check.theta, strict=True)
    start = [relation(paper.names[raw], "=", number(value)) for raw, value in settings]
    rows = f" = {check.rows} rows:"
    if paper.weighted:
        rows = f" = {check.total_weight:g}, the weight of {check.rows} rows:"
    says = ("At the start, ", *_listed(start), ", over ", paper.count(), rows)
    return Step("With the data's numbers", says, equations)
