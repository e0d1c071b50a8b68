"""A model on paper: which letter stands for what, and the parts that its derivation is made of."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import sympy

from sgdfit.derivation.notation import (
    MINUS,
    Call,
    Fence,
    Fraction,
    Name,
    Node,
    Number,
    Partial,
    Product,
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

__all__ = ["Paper"]

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
