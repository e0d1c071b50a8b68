"""What must not change a fit: units, the origin, the order and number of rows, their precision."""

import warnings
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import sgdfit
from nist_files import read_folder, shipped_folder
from nist_scores import equations
from oracles import as_function, least_squares_answer

SETS = {standard.name: standard for standard in read_folder(shipped_folder())}

# How each parameter changes with the units, as powers of x's and of y's; Bennett5 and DanWood
# raise x to a parameter's power, which their factor then bears.
DECAYS = {f"b{i}": (0, 1) if i % 2 else (-1, 0) for i in range(1, 7)}
PEAKS = {
    "b1": (0, 1), "b2": (-1, 0), "b3": (0, 1), "b4": (1, 0),
    "b5": (1, 0), "b6": (0, 1), "b7": (1, 0), "b8": (1, 0),
}  # fmt: skip
CUBICS = {
    "b1": (0, 1), "b2": (-1, 1), "b3": (-2, 1), "b4": (-3, 1),
    "b5": (-1, 0), "b6": (-2, 0), "b7": (-3, 0),
}  # fmt: skip
SATURATION = {"b1": (0, 1), "b2": (-1, 0)}
QUOTIENT = {"b1": (-1, 0), "b2": (0, -1), "b3": (-1, -1)}
# ENSO's formula fixes a period of 12 months, so that it is closed under a change of y alone.
WAVES = {f"b{i}": (0, 0) if i in (4, 7) else (0, 1) for i in range(1, 10)}

UNITS = {
    "Bennett5": {"b1": (lambda b: 1 / b["b3"], 1), "b2": (1, 0), "b3": (0, 0)},
    "BoxBOD": SATURATION,
    "Chwirut1": QUOTIENT,
    "Chwirut2": QUOTIENT,
    "DanWood": {"b1": (lambda b: -b["b2"], 1), "b2": (0, 0)},
    "Eckerle4": {"b1": (1, 1), "b2": (1, 0), "b3": (1, 0)},
    "ENSO": WAVES,
    "Gauss1": PEAKS,
    "Gauss2": PEAKS,
    "Gauss3": PEAKS,
    "Hahn1": CUBICS,
    "Kirby2": {"b1": (0, 1), "b2": (-1, 1), "b3": (-2, 1), "b4": (-1, 0), "b5": (-2, 0)},
    "Lanczos1": DECAYS,
    "Lanczos2": DECAYS,
    "Lanczos3": DECAYS,
    "MGH09": {"b1": (0, 1), "b2": (1, 0), "b3": (1, 0), "b4": (2, 0)},
    "MGH10": {"b1": (0, 1), "b2": (1, 0), "b3": (1, 0)},
    "MGH17": {"b1": (0, 1), "b2": (0, 1), "b3": (0, 1), "b4": (-1, 0), "b5": (-1, 0)},
    "Misra1a": SATURATION,
    "Misra1b": SATURATION,
    "Misra1c": SATURATION,
    "Misra1d": SATURATION,
    "Rat42": {"b1": (0, 1), "b2": (0, 0), "b3": (-1, 0)},
    "Rat43": {"b1": (0, 1), "b2": (0, 0), "b3": (-1, 0), "b4": (0, 0)},
    "Thurber": CUBICS,
}


def unit_changes(name):
    """Return the factors of x and y."""
    return (1.0 if name == "ENSO" else 1e9), 1e-12


def fit(formula, data, start=None, **options):
    """Fit with default settings; a warning is an error."""
    given = options if start is None else options | {"start": start}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sgdfit.fit(formula, data, **given)


def started(name, number):
    """Return NIST's start 1 or 2, or None for 0."""
    return SETS[name].starts[number - 1] if number else None


@cache
def plain(name, number):
    """Fit a set as it is."""
    return fit(SETS[name].formula, SETS[name].data, started(name, number))


def errors_of(result):
    return {name: estimate.stderr for name, estimate in result.estimates.items()}


def rescaled(name, values, x_unit, y_unit):
    """Return the parameters of the same curve in other units."""
    powers = {
        parameter: tuple(power(values) if callable(power) else power for power in pair)
        for parameter, pair in UNITS[name].items()
    }
    return {
        parameter: value * x_unit ** powers[parameter][0] * y_unit ** powers[parameter][1]
        for parameter, value in values.items()
    }


def assert_same_curve(found, expected, tolerance):
    """Compare two curves as fractions of the larger one's height."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.max(np.abs(expected)))


@pytest.mark.parametrize("name", SETS)
def test_the_table_of_units_gives_the_same_curve(name):
    standard, (x_unit, y_unit) = SETS[name], unit_changes(name)
    model = equations(standard)
    curve = model.predict(np.array(list(standard.certified.values())))
    theta = np.array(list(rescaled(name, standard.certified, x_unit, y_unit).values()))
    changed = model.function(*(x_unit * column for column in model.columns), *theta)
    assert_same_curve(changed / y_unit, curve, 1e-11)


@pytest.mark.parametrize("number", [0, 1], ids=["no start", "start 1"])
@pytest.mark.parametrize("name", SETS)
def test_other_units_give_the_same_curve(name, number):
    standard, start, (x_unit, y_unit) = SETS[name], started(name, number), unit_changes(name)
    data = {"x": standard.data["x"] * x_unit, "y": standard.data["y"] * y_unit}
    start = start and rescaled(name, start, x_unit, y_unit)
    result, expected = fit(standard.formula, data, start), plain(name, number)
    assert result.status.name == expected.status.name == "converged"
    assert_same_curve(result.predict(data) / y_unit, expected.predict(standard.data), 1e-8)


class Shifted(NamedTuple):
    """A curve and a start, which move along with the origin of x."""

    formula: str
    truth: dict[str, float]
    positions: tuple[str, ...] = ()


SHIFTED = {
    "line": Shifted("y = a + b*x", {"a": 2.0, "b": -0.3}),
    "quadratic": Shifted("y = a + b*x + c*x**2", {"a": 2.0, "b": -0.3, "c": 0.02}),
    "cubic": Shifted("y = a + b*x + c*x**2 + d*x**3", {"a": 2.0, "b": -0.3, "c": 0.02, "d": 1e-3}),
    "gauss": Shifted(
        "y = a*exp(-(x - m)**2/(2*s**2)) + c", {"a": 5.0, "m": 12.0, "s": 4.0, "c": 1.0}, ("m",)
    ),
    "lorentz": Shifted("y = a/(1 + ((x - m)/s)**2) + c", {"a": 5.0, "m": 12.0, "s": 4.0, "c": 1.0},
                       ("m",)),
    "logistic": Shifted("y = a/(1 + exp(-(x - m)/s))", {"a": 5.0, "m": 12.0, "s": 4.0}, ("m",)),
    "two peaks": Shifted(
        "y = a*exp(-(x - m)**2/s**2) + b*exp(-(x - n)**2/t**2) + c",
        {"a": 5.0, "m": -20.0, "s": 6.0, "b": 3.0, "n": 18.0, "t": 9.0, "c": 1.0},
        ("m", "n"),
    ),
}  # fmt: skip
SHIFT = 1e3


def simulated(formula, truth, columns, noise, seed=5):
    """Return the columns with a noisy response."""
    predicted = as_function(formula, columns, truth)(*columns.values(), *truth.values())
    rows = len(next(iter(columns.values())))
    errors = np.random.default_rng(seed).normal(0.0, noise, rows)
    return columns | {"y": predicted + errors}


@pytest.mark.parametrize("started_there", [True, False], ids=["start", "no start"])
@pytest.mark.parametrize("case", SHIFTED.values(), ids=SHIFTED)
def test_a_shift_of_x_keeps_polynomials_and_peaks(case, started_there):
    data = simulated(case.formula, case.truth, {"x": np.linspace(-50.0, 50.0, 101)}, 0.05)
    moved = data | {"x": data["x"] + SHIFT}
    near = {name: 1.1 * value for name, value in case.truth.items()}
    far = {name: value + SHIFT * (name in case.positions) for name, value in near.items()}
    here = fit(case.formula, data, near if started_there else None)
    there = fit(case.formula, moved, far if started_there else None)
    assert here.status.name == there.status.name == "converged"
    assert_same_curve(there.predict(moved), here.predict(data), 1e-8)
    oracle = least_squares_answer(case.formula, data, case.truth)
    assert here.residual_sum_of_squares == pytest.approx(oracle.residual_sum_of_squares, rel=1e-9)


@pytest.mark.parametrize("name", SETS)
def test_the_order_of_rows_does_not_matter(name):
    standard = SETS[name]
    order = np.random.default_rng(8).permutation(standard.observations)
    shuffled = {column: values[order] for column, values in standard.data.items()}
    result, expected = fit(standard.formula, shuffled, standard.starts[1]), plain(name, 2)
    # Another order rounds otherwise, and how far that moves an estimate depends on how well the
    # data determine it: so the promise is one in standard errors, five digits below the tolerance.
    for parameter, estimate in expected.estimates.items():
        allowed = 1e-7 * estimate.stderr + 1e-10 * abs(estimate.value)
        assert abs(result.values[parameter] - estimate.value) <= allowed, parameter
    assert_same_curve(result.predict(standard.data), expected.predict(standard.data), 1e-8)


COPIES = 3


# Of the three alike, Gauss1 alone.
@pytest.mark.parametrize("name", [name for name in SETS if name not in ("Gauss2", "Gauss3")])
def test_copies_of_every_row_keep_the_parameters_and_shrink_the_errors(name):
    standard = SETS[name]
    copied = {column: np.tile(values, COPIES) for column, values in standard.data.items()}
    result, expected = fit(standard.formula, copied, standard.starts[1]), plain(name, 2)
    n, p = standard.observations, len(standard.parameters)
    # Both the residual sum of squares and JᵀJ grow by k, so that what is left of the copies is
    # their degrees of freedom: k n - p instead of n - p.
    factor = np.sqrt((n - p) / (COPIES * n - p))
    smaller = {key: factor * error for key, error in errors_of(expected).items()}
    assert result.values == pytest.approx(expected.values, rel=1e-9)
    # Lanczos1's residuals are rounding errors to a thousandth.
    rel = 1e-2 if name == "Lanczos1" else 1e-7
    assert errors_of(result) == pytest.approx(smaller, rel=rel)


@pytest.mark.parametrize("name", ["DanWood", "Lanczos3", "MGH09", "Misra1a", "Rat43", "Thurber"])
def test_copies_shrink_absolute_errors_by_the_root_of_their_number(name):
    standard = SETS[name]
    deviation = standard.residual_standard_deviation
    data = standard.data | {"s": np.full(standard.observations, deviation)}
    copied = {column: np.tile(values, COPIES) for column, values in data.items()}
    options = {"start": standard.starts[1], "sigma": "s", "absolute_sigma": True}
    once, thrice = fit(standard.formula, data, **options), fit(standard.formula, copied, **options)
    smaller = {key: error / np.sqrt(COPIES) for key, error in errors_of(once).items()}
    assert thrice.values == pytest.approx(once.values, rel=1e-9)
    assert errors_of(thrice) == pytest.approx(smaller, rel=1e-7)
    assert errors_of(once) == pytest.approx(standard.standard_deviations, rel=1e-6)


@pytest.mark.parametrize("name", SETS)
def test_single_precision_columns_give_the_answer_of_the_same_numbers(name):
    standard = SETS[name]
    single = {column: values.astype("float32") for column, values in standard.data.items()}
    double = {column: values.astype("float64") for column, values in single.items()}
    assert any(np.any(double[column] != standard.data[column]) for column in double) or (
        name in ("BoxBOD", "Chwirut2", "MGH10")
    )
    result = fit(standard.formula, single, standard.starts[1])
    expected = fit(standard.formula, double, standard.starts[1])
    assert result.status.name == "converged"
    assert result.values == pytest.approx(expected.values, rel=1e-10)
    assert errors_of(result) == pytest.approx(errors_of(expected), rel=1e-8)


def peaks(count):
    """Return a curve of ``count`` parameters and their values: peaks on what remains of three."""
    terms, truth = [], {}
    for i in range(count // 3):
        terms.append(f"a{i}*exp(-(x - m{i})**2/(2*s{i}**2))")
        truth |= {f"a{i}": 4.0 + i, f"m{i}": 10.0 + 20.0 * i, f"s{i}": 2.5 + 0.5 * i}
    for name, value, term in (("c", 1.0, "c"), ("d", 0.02, "d*x"))[: count % 3]:
        terms.append(term)
        truth[name] = value
    return "y = " + " + ".join(terms), truth


def harmonics(count):
    """Return a curve of ``count`` parameters that all enter linearly."""
    truth = {f"k{i}": 0.3 * i - 1.0 for i in range(1, count + 1)}
    return "y = " + " + ".join(f"k{i}*cos({i}*x/30)" for i in range(1, count + 1)), truth


def exponential(count):
    """Return a curve over ``count`` variables and its parameters."""
    truth = {f"b{i}": 0.4 - 0.2 * i for i in range(1, count + 1)} | {"a": 2.0, "c": 0.5}
    inside = " + ".join(f"b{i}*u{i}" for i in range(1, count + 1))
    return f"y = a*exp({inside}) + c", truth


def plane(count):
    """Return a plane over ``count`` variables and its parameters."""
    truth = {f"b{i}": 0.4 - 0.2 * i for i in range(1, count + 1)} | {"c": 0.5}
    return "y = " + " + ".join([*(f"b{i}*u{i}" for i in range(1, count + 1)), "c"]), truth


def columns(count, rows=200, seed=6):
    random = np.random.default_rng(seed)
    return {f"u{i}": random.uniform(-1.0, 2.0, rows) for i in range(1, count + 1)}


X = {"x": np.linspace(0.0, 80.0, 241)}
PARAMETERS = (2, 3, 4, 8, 12)
VARIABLES = (1, 2, 5)
LINEAR = [
    *(pytest.param(*harmonics(count), X, id=f"{count} parameters") for count in PARAMETERS),
    *(pytest.param(*plane(count), columns(count), id=f"{count} variables") for count in VARIABLES),
]
NONLINEAR = [
    pytest.param("y = a*exp(-b*x)", {"a": 3.0, "b": 0.05}, X, id="2 parameters"),
    *(pytest.param(*peaks(count), X, id=f"{count} parameters") for count in PARAMETERS[1:]),
    *(
        pytest.param(*exponential(count), columns(count), id=f"{count} variables")
        for count in VARIABLES
    ),
]


def assert_answers(result, oracle):
    """Compare with an oracle in units of its standard errors."""
    assert result.status.name == "converged"
    assert set(result.values) == set(oracle.values)
    for name, value in oracle.values.items():
        error = oracle.errors[name]
        assert result.values[name] == pytest.approx(value, rel=0, abs=1e-6 * error), name
    assert errors_of(result) == pytest.approx(oracle.errors, rel=1e-5)


@pytest.mark.parametrize(("formula", "truth", "read"), LINEAR)
def test_linear_parameters_are_those_of_lstsq(formula, truth, read):
    data = simulated(formula, truth, read, 0.1)
    function = as_function(formula, read, truth)
    design = [function(*read.values(), *unit) for unit in np.eye(len(truth))]
    design = np.array(np.broadcast_arrays(*design, data["y"])[:-1]).T
    expected = np.linalg.lstsq(design, data["y"], rcond=None)[0]
    result = fit(formula, data)
    oracle = least_squares_answer(formula, data, truth)
    assert list(oracle.values.values()) == pytest.approx(expected.tolist(), rel=1e-8)
    assert_answers(result, oracle)


@pytest.mark.parametrize(("formula", "truth", "read"), NONLINEAR)
def test_nonlinear_parameters_are_those_of_minpack(formula, truth, read):
    data = simulated(formula, truth, read, 0.1)
    near = {name: 1.02 * value for name, value in truth.items()}
    assert_answers(fit(formula, data, near), least_squares_answer(formula, data, truth))


@pytest.mark.parametrize(("formula", "truth", "read"), NONLINEAR)
def test_no_start_is_needed_for_the_same_curve(formula, truth, read):
    data = simulated(formula, truth, read, 0.1)
    oracle = least_squares_answer(formula, data, truth)
    result = fit(formula, data)
    assert result.status.name == "converged"
    assert result.residual_sum_of_squares == pytest.approx(oracle.residual_sum_of_squares, rel=1e-9)
