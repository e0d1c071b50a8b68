"""Emitted source, in all dialects and for every loss, against a walk over the same expressions."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sympy

from formulas import FORMULAS, SCALE, data, model_of, theta_of
from sgdfit.formula.evaluation import evaluate
from sgdfit.formula.functions import FUNCTIONS
from sgdfit.formula.reading import as_formula
from sgdfit.kernel.emission import emit, emit_model, expressions_of
from sgdfit.kernel.templates import header
from sgdfit.model.loss import LOSSES, PREDICTION, TARGET

PARTS = ("loss", "grad", "hess")


def lines(text, dialect):
    """Emit the formula ``text`` of a, b (p0, p1) and x, z (x0, x1)."""
    names = {"a": "p0", "b": "p1", "x": "x0", "z": "x1"}
    return emit([as_formula(text).expression], names, ["f"], dialect)


def test_the_table_holds_every_function():
    written = " ".join(case.formula for case in FORMULAS)
    assert [name for name in FUNCTIONS if not re.search(rf"\b{name}\(", written)] == []
    assert len({case.name for case in FORMULAS}) == len(FORMULAS) >= 40


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("a*x + b", ["f = p1 + p0*x0"]),
        ("-a - x", ["f = -p0 - x0"]),
        ("a*x**4", ["st0 = x0*x0", "st1 = st0*st0", "f = p0*st1"]),
        ("a*(x - b)/(2*z)", ["f = p0*(x0 - p1)/(2.0*x1)"]),
        ("x**(a + b)", ["f = elementary.power(x0, p0 + p1)"]),
        ("a*exp(-b*x)", ["f = p0*elementary.exp(-p1*x0)"]),
        ("(a + x)**-2.5", ["st0 = p0 + x0", "st1 = st0*st0", "f = 1.0/(st1*math.sqrt(st0))"]),
        ("a/cot(x)", ["f = p0/(1.0/elementary.tan(x0))"]),
        ("where(x > 1 and z < a, a, -2)", ["f = (p0 if (x0 > 1.0) and (x1 < p0) else -2.0)"]),
    ],
)
def test_the_compiled_text_reads_well(formula, expected):
    assert lines(formula, "fast") == expected


def test_the_dialects_differ_where_their_libraries_do():
    assert lines("where(x > 1 or not z == a, log(x), 1/x)", "numpy") == [
        "f = numpy.where((x0 > 1.0) | (x1 != p0), numpy.log(x0), 1.0/x0)"
    ]
    assert lines("log(x) + cbrt(x)**b", "libm") == [
        "f = math.pow(numpy.cbrt(x0), p1) + math.log(x0)"
    ]


def test_names_of_users_never_reach_the_text():
    hostile = ("__import__('os').system('x')", "s_0", "st1", "prediction", "math", "x0;p0", "λ")
    symbols = [sympy.Symbol(name, real=True) for name in hostile]
    names = {name: f"p{i}" for i, name in enumerate(hostile)}
    shared = sympy.exp(symbols[0] * symbols[1])
    expressions = [shared * sum(symbols) ** 3, shared + symbols[2] * symbols[-1]]
    text = "\n".join(emit(expressions, names, ["f", "g"], "numpy"))
    words = set(re.findall(r"[^\W\d]\w*", text))
    assert {w for w in words if not re.fullmatch(r"p\d|s_\d|st\d+|f|g|numpy|exp", w)} == set()
    space = {"numpy": np} | {f"p{i}": 0.1 * i for i in range(len(hostile))}
    exec(text, space)
    values = {name: 0.1 * i for i, name in enumerate(hostile)}
    for target, expression in zip("fg", expressions, strict=True):
        assert space[target] == pytest.approx(float(evaluate(expression, values)), rel=1e-14)


@pytest.mark.parametrize("number", [sympy.oo, sympy.I, sympy.nan])
def test_numbers_without_a_literal_are_refused(number):
    with pytest.raises(ValueError, match="no finite real number"):
        emit([sympy.Symbol("x") + number], {"x": "x0"}, ["f"], "numpy")


def losses_of(case):
    """Return the losses to try with a case: each in its turn, with one formula all."""
    i = FORMULAS.index(case)
    return list(LOSSES) if i == 1 else [list(LOSSES)[i % len(LOSSES)]]


def by_loss(case, dialect):
    """Emit a case with its losses: the lines of the row, which are the same, and of each loss."""
    models = (model_of(case, loss) for loss in losses_of(case))
    found = [emit_model(expressions_of(model), dialect) for model in models]
    rows = [row for row, _ in found]
    assert rows == rows[:1] * len(rows)
    return rows[0], [loss for _, loss in found]


def body(case, dialect, store):
    """Write what computes every value of every loss, each stored by ``store``."""
    row, losses = by_loss(case, dialect)
    jacobian = [f"j{i}" for i in range(len(model_of(case).free))]
    text = [*row, f"scale = {SCALE}"]
    text += [*(store(i, name) for i, name in enumerate([PREDICTION, TARGET, *jacobian]))]
    for k, loss in enumerate(losses):
        text += [*loss, *(store(2 + len(jacobian) + 3 * k + i, n) for i, n in enumerate(PARTS))]
    return text


def head(model, columns="x{i} = columns[{i}]"):
    read = [columns.format(i=i) for i in range(len(model.columns))]
    return [*read, *(f"p{i} = theta[{i}]" for i in range(len(model.free)))]


def in_numpy(case, columns, theta, out):
    from sgdfit.formula import special

    text = [*head(model_of(case)), *body(case, "numpy", lambda i, name: f"out[{i}] = {name}")]
    space = {"numpy": np, "special": special, "columns": columns, "theta": theta, "out": out}
    with np.errstate(all="ignore"):
        exec("\n".join(text), space)


def compiled(case, dialect, columns, theta, out):
    read = head(model_of(case), "x{i} = float(columns[{i}][i])")
    inner = [*read, *body(case, dialect, lambda i, name: f"out[{i}, i] = {name}")]
    text = header("special.") + '@njit(error_model="numpy", fastmath=FUSED)\n'
    text += "def values(columns, theta, out):\n    for i in range(len(columns[0])):\n"
    space = {}
    exec(text + "".join(f"        {line}\n" for line in inner), space)
    space["values"](tuple(columns), theta, out)


def walked(case, columns, theta, out):
    model = model_of(case)
    at = dict(zip(model.columns, columns, strict=True)) | dict(zip(model.free, theta, strict=True))
    for i, e in enumerate([model.prediction, model.formula.response, *model.gradient]):
        out[i] = evaluate(e, at)
    at = model_of(case).loss.values(out[0].copy(), out[1].copy())
    for k, loss in enumerate(losses_of(case)):
        other = model_of(case, loss)
        for i, e in enumerate([other.loss.expression, other.loss_grad, other.loss_hess]):
            out[2 + len(model.free) + 3 * k + i] = evaluate(e, at)


def terms(values, parameters, losses):
    """Return the terms of every sum: predictions, and of each loss the loss, grad J, hess J Jᵀ."""
    jacobian = values[2 : 2 + parameters]
    yield from zip(("prediction", "target"), values[:2], strict=True)
    for k, name in enumerate(losses):
        loss, grad, hess = values[2 + parameters + 3 * k :][:3]
        yield f"{name} loss", loss
        yield f"{name} gradient", grad * jacobian
        yield f"{name} curvature", hess * jacobian * jacobian[:, None]


@pytest.mark.parametrize("case", FORMULAS, ids=lambda case: case.name)
def test_every_formula_and_every_loss_agree_in_all_forms(case):
    """Each dialect and the walk, to 1e-12 of the sum of the absolute terms of each entry."""
    columns, theta = data(case, rows=64), theta_of(case, model_of(case))
    losses = losses_of(case)
    count = 2 + len(theta) + 3 * len(losses)
    dialects = ["fast", "libm"] if by_loss(case, "fast") != by_loss(case, "libm") else ["fast"]
    found = {d: np.full((count, len(columns[0])), np.nan) for d in ("numpy", *dialects, "")}
    in_numpy(case, columns, theta, found["numpy"])
    for dialect in dialects:
        compiled(case, dialect, columns, theta, found[dialect])
    expected = found.pop("")
    walked(case, columns, theta, expected)
    assert np.isfinite(expected).all()
    oracle = dict(terms(expected, len(theta), losses))
    for form, values in found.items():
        for name, value in terms(values, len(theta), losses):
            error = np.abs(value - oracle[name]).sum(axis=-1)
            scale = np.abs(oracle[name]).sum(axis=-1)
            assert (error <= 1e-12 * scale).all(), (form, name, error, scale)


def test_the_source_is_the_same_in_every_process():
    """Compiled kernels are kept by their source, which no hash may change."""
    program = (
        "import hashlib; from formulas import FORMULAS, model_of;"
        " from sgdfit.kernel.templates import panel_sums_source, sweep_source;"
        " from sgdfit.optimizers import sgd;"
        " models = [model_of(case, 'huber') for case in FORMULAS];"
        " one = [panel_sums_source(m, True, 'fast') for m in models];"
        " two = [sweep_source(m, True, 'libm', sgd(), single=True) for m in models];"
        " print(hashlib.sha256(''.join(one + two).encode()).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(__file__).parent)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1
