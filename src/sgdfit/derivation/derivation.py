"""The gradient derived step by step, as one does it by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import sympy

from sgdfit.derivation import pages
from sgdfit.derivation.gradient_check import GradientCheck, check_gradient
from sgdfit.derivation.notation import (
    ONE,
    DerivationStep,
    Equation,
    Math,
    Writer,
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
from sgdfit.derivation.simplification import operations, tidy
from sgdfit.formula.formula import symbol
from sgdfit.formula.real import Logistic, Select, VoigtSlope, Where
from sgdfit.model.loss import PREDICTION, SCALE, TARGET

if TYPE_CHECKING:
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


class StepAhead(NamedTuple):
    """A step of a descent from where a gradient's numbers are of."""

    rate: float  # the learning rate
    theta: Sequence[float]  # where it leads
    plain: bool  # whether it is the rate times the gradient of all rows, and nothing else


class Paper:
    """One model on paper: which letters stand for what, and how each part is written."""

    def __init__(
        self, model: Model, weighted: bool = False, numbers: GradientCheck | None = None
    ) -> None:
        self.model, self.weighted = model, weighted
        formula = model.formula
        raws = {*formula.names, *formula.response_names, *model.parameters}
        self.index = index = free_letter("ijklmn", raws)
        spelled = spellings(raws)
        self.names = {
            raw: name(*look, index if raw in model.columns else "") for raw, look in spelled.items()
        }
        taken = {stem for stem, _ in spelled.values()} | raws
        self.rate, self.any = (name(free_letter(c, taken)) for c in ("ηγρ", "θφψω"))
        self.rows, self.total = (name(free_letter(c, taken)) for c in ("NnMm", "LℒJ"))
        self.divisor = name(free_letter("WVΩ", taken)) if weighted else self.rows
        self.weight = name(free_letter("wvω", taken), index=index)
        self.psi = name(free_letter("ψφχ", taken), index=index)
        self.logistic = free_letter(("σ", "logistic"), taken)
        self.prediction = name("ŷ", index=index)
        row = free_letter("ℓλρ", taken)
        # The loss's own symbols must not meet a column of the same name.
        own = [predicted, target, self.psi_symbol, spread] = [
            sympy.Dummy(real=True) for _ in range(4)
        ]
        self.scale = name(free_letter("sςκ", taken))
        nodes: dict[Expr, Math] = {symbol(raw): shown for raw, shown in self.names.items()}
        if numbers:
            self.rows, self.divisor = number(numbers.rows), number(numbers.total_weight)
            values = zip(numbers.names, numbers.theta, strict=True)
            nodes |= {symbol(raw): number(value) for raw, value in values}
            self.scale = self.scale if model.loss.scale is None else number(model.loss.scale)
        for raw, members in formula.families.items():
            code, column = symbol(formula.subscripts[raw][1]), formula.subscripts[raw][1]
            nodes[Select(code, *map(symbol, members))] = name(*spellings([raw])[raw], index)
            for k, level in enumerate(formula.levels[column]):
                nodes[sympy.Eq(code, k)] = relation(self.names[column], "=", name(level))
        order = [*own, *map(symbol, formula.names)]
        rank = {one: place - len(own) for place, one in enumerate(order)}
        self.writer = Writer(nodes, rank, frozenset(map(symbol, model.parameters)), self.logistic)
        self.write = self.writer.write
        no_response = formula.response is None
        self.target = name("y", index=index) if no_response else self.write(formula.response)
        shown = self.prediction, self.target, self.psi, self.scale
        nodes |= dict(zip(own, shown, strict=True))

        names = map(symbol, (PREDICTION, TARGET, SCALE))
        renamed = dict(zip(names, (predicted, target, spread), strict=True))
        self.loss = tidy(model.loss.expression.xreplace(renamed))  # of one row
        self.loss_grad = tidy(model.loss_grad.xreplace(renamed))  # its derivative to the prediction
        self.slopes = tuple(map(tidy, model.gradient))  # the prediction's to each free parameter
        self.row_loss = call(row, (self.prediction, self.target))
        self.to_prediction = over(partial(name(row)), partial(self.prediction))
        # What a sum over rows cannot let go before its sign.
        self.of_rows = {*own, *map(symbol, model.variables)}

    def mean(self, body: Math, constant: Expr = sympy.S.One) -> Math:
        """``constant`` times the mean of ``body`` over rows."""
        sign, lead = self.writer.signed(constant)
        top, *below = lead.parts if lead.kind == "fraction" else (lead,)
        if self.weighted:
            body = times([self.weight, body])
        total = summation(self.index, self.rows, brackets(body) if body.kind == "sum" else body)
        return signed(sign, times([over(top, times([self.divisor, *below])), total]))

    def gradient(self, position: int) -> Math:
        """The mean loss's derivative to one parameter, its constants before the sum."""
        grad = self.psi_symbol if _is_long(self.loss_grad) else self.loss_grad
        pair = (grad, self.slopes[position])
        parts = [e.as_independent(*self.of_rows, as_Add=False) for e in pair]
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

    Its steps are model, loss, chain rule, slope of the loss, gradient and update; with data also
    the numbers, and their check.
    """

    steps: tuple[DerivationStep, ...]
    check: GradientCheck | None = None

    def text(self, width: int = 80) -> str:
        """Return the steps in Unicode for a terminal ``width`` columns wide."""
        return pages.text(self.steps, width)

    def latex(self) -> str:
        """Return a sequence of ``align*`` blocks, for LaTeX (amsmath) and MathJax alike."""
        return pages.latex(self.steps)

    def html(self, page: bool = False) -> str:
        """Return HTML with presentation MathML: an element, or with ``page`` a whole document."""
        return pages.html(self.steps, page)

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
    ahead: StepAhead | None = None,
) -> Derivation:
    """Derive the gradient of ``model``'s mean loss to each free parameter.

    With columns of data, and ``theta`` and ``weights`` as `check_gradient` takes them, it ends with
    the gradient's numbers, checked; ``weighted`` writes a weighted mean without weights too. The
    numbers of the step ``ahead`` come last.

    Examples
    --------
    >>> from sgdfit.model.model import build
    >>> derivation = derive(build("y = a*x", ["x", "y"]))
    >>> [step.title for step in derivation.steps][2:5]
    ['The chain rule', 'The slope of the loss', 'The gradient']
    """
    paper = Paper(model, weighted or weights is not None)
    steps = (_model(paper), _loss(paper), *_gradient(paper))
    if columns is None:
        return Derivation(steps)
    check = check_gradient(model, columns, theta, weights)
    last = () if ahead is None else (_step(paper, check, ahead),)
    return Derivation((*steps, _numbers(paper, check), check.step, *last), check)


def _model(paper: Paper) -> DerivationStep:
    model, write = paper.model, paper.write
    kinds: dict[str, list[Math]] = {"linear in ": [], "not linear in ": []}
    for raw in model.free:
        kinds["linear in " if raw in model.linear else "not linear in "].append(paper.names[raw])
    says: Sentence = ["The prediction ", paper.prediction, " of ", paper.target, " in row "]
    says.append(name(paper.index))
    for words, names in kinds.items():
        says += [f", {words}", *_listed(names)] if names else []
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
    # Signs that not every reader knows, where they occur.
    legend: Sentence = []
    everything = [model.prediction, *paper.slopes, paper.loss, paper.loss_grad]
    if any(expression.has(Logistic) for expression in everything):
        u = name("u")
        meaning = over(ONE, add([("+", ONE), ("+", exponential(signed("-", u)))]))
        curve = relation(call(paper.logistic, (u,)), "=", meaning)
        legend += [curve, " is the logistic curve. "]
    if any(expression.has(VoigtSlope) for expression in everything):
        legend += ["Subscripts of voigt(x, σ, γ) say by what it is differentiated. "]
    if model.external is not None:
        called = model.external.label
        legend += [f"{called} is called, since {model.external.why}; its subscripts say by what it"]
        legend += [" is differentiated, and the numbers are computed. "]
    wheres = [where for expression in everything for where in expression.atoms(Where)]
    if any({*where.args[1:]} == {sympy.S.Zero, sympy.S.One} for where in wheres):
        legend += ["[…] is 1 where its condition holds and 0 elsewhere."]
    return DerivationStep("The model", [*says, "."], equations, remark=legend)


def _loss(paper: Paper) -> DerivationStep:
    kind, _, options = paper.model.loss.name.partition("(")
    known = ", ".join(filter(None, (_TITLES.get(kind), options.rstrip(")"))))
    title = f"The loss: {known}" if kind in _TITLES else "The loss"
    generic, own = paper.mean(paper.row_loss), paper.write(paper.loss)
    if _is_long(paper.loss):
        equations = [Equation(paper.row_loss, (own,)), Equation(paper.total, (generic,))]
    else:
        equations = [Equation(paper.total, (generic, paper.mean(own)))]
    if paper.weighted:
        weights = summation(paper.index, paper.rows, paper.weight)
        equations.append(Equation(paper.divisor, (weights,)))
    says = ["The weighted mean over " if paper.weighted else "The mean over ", paper.rows, " rows"]
    if paper.model.loss.is_relative:
        says += [", with the scale ", paper.scale, " of the residuals"]
    return DerivationStep(title, [*says, ":"], equations)


def _gradient(paper: Paper) -> Iterator[DerivationStep]:
    """The chain rule, its parts, the gradient that they give, and the step that follows from it."""
    theta, names = partial(paper.any), [paper.names[raw] for raw in paper.model.free]
    says = ("For each parameter ", paper.any, ", that is ", *_listed(names), ":")
    inner = times([paper.to_prediction, over(partial(paper.prediction), theta)])
    equation = Equation(over(partial(paper.total), theta), (paper.mean(inner),))
    yield DerivationStep("The chain rule", says, [equation])

    named = (paper.psi,) if _is_long(paper.loss_grad) else ()
    equation = Equation(paper.to_prediction, (*named, paper.write(paper.loss_grad)))
    yield DerivationStep("The slope of the loss", (), [equation])

    equations = []
    for k, slope in enumerate(paper.slopes):
        inner = paper.to_parameter(paper.prediction, k)
        equations.append(Equation(inner, (paper.write(slope),)))
        equations.append(Equation(paper.to_parameter(paper.total, k), (paper.gradient(k),)))
    yield DerivationStep("The gradient", (), equations)

    equations = []
    for k, before in enumerate(names):
        change = times([paper.rate, paper.to_parameter(paper.total, k)])
        equations.append(Equation(before, (add([("+", before), ("-", change)]),), sign="←"))
    says = ("A step against the gradient, with the learning rate ", paper.rate, ":")
    yield DerivationStep("The update", says, equations)


def _numbers(paper: Paper, check: GradientCheck) -> DerivationStep:
    """The prediction, the loss and the gradient once more, with the data's numbers in place."""
    filled = Paper(paper.model, paper.weighted, check)
    body = filled.row_loss if _is_long(filled.loss) else filled.write(filled.loss)
    equations = [
        Equation(filled.prediction, (filled.write(paper.model.prediction),)),
        Equation(paper.total, (filled.mean(body), number(check.loss, 8))),
    ]
    for k, value in enumerate(check.symbolic):
        rights = (filled.gradient(k), number(value))
        equations.append(Equation(paper.to_parameter(paper.total, k), rights))
    settings = zip(check.names, check.theta, strict=True)
    start = [relation(paper.names[raw], "=", number(value)) for raw, value in settings]
    if paper.model.loss.scale is not None:
        start.append(relation(paper.scale, "=", filled.scale))
    rows = f" = {check.rows} rows:"
    if paper.weighted:
        rows = f" = {check.total_weight:g}, the weight of {check.rows} rows:"
    says = ("At the start, ", *_listed(start), ", over ", paper.divisor, rows)
    return DerivationStep("With the data's numbers", says, equations)


def _step(paper: Paper, check: GradientCheck, ahead: StepAhead) -> DerivationStep:
    """The update with its numbers, where it is the rate times the gradient."""
    equations = []
    for name_, before, slope, after in zip(
        check.names, check.theta, check.symbolic, ahead.theta, strict=True
    ):
        change = times([number(ahead.rate), number(abs(slope))])
        moved = add([("+", number(before)), ("+" if slope < 0 else "-", change)])
        right = relation(moved, "=", number(after)) if ahead.plain else number(after)
        equations.append(Equation(paper.names[name_], (right,), sign="←"))
    says: Sentence = ["With the learning rate ", paper.rate, f" = {ahead.rate:.6g}"]
    says += [":"] if ahead.plain else [", by the optimizer's own update on the rows of its batch:"]
    return DerivationStep("The step that comes next", says, equations)
