"""NIST's nonlinear regression sets: files, judge, and the certified answers from every start."""

import warnings
from collections import Counter
from functools import cache

import numpy as np
import pytest

import sgdfit
from nist_files import parse, read_folder, shipped_folder
from nist_scores import FLOAT64_DIGITS, MOST_DIGITS, Score, digits, equations, relabellings
from oracles import jacobian, standard_errors
from sgdfit.model.model import build
from sgdfit.model.symmetry import canonical_theta

SETS = read_folder(shipped_folder())
BY_NAME = {standard.name: standard for standard in SETS}
MISRA = shipped_folder() / "low_difficulty" / "Misra1a.dat"

# NIST's Nelson, whose response is transformed and whose predictors are two, down to eight rows;
# and Roszman1's way of writing arctan and pi.
NELSON = """NIST/ITL StRD
Dataset Name:  Nelson            (Nelson.dat)
Data:          1 Response   ( y = dialectric breakdown strength)
               2 Predictors (x1 = time; x2 = temperature)
               8 Observations
Model:         Exponential Class
               3 Parameters (b1 to b3)

               log[y] = b1 - b2*x1 * exp[-b3*x2]  +  e

          Starting values                  Certified Values

        Start 1     Start 2           Parameter     Standard Deviation
  b1 =    2           2.5          2.5906836021E+00  1.9149996413E-02
  b2 =    0.0001      0.000000005  5.6177717026E-09  6.1124096540E-09
  b3 =   -0.01       -0.05        -5.7701013174E-02  3.9572366543E-03

Residual Sum of Squares:                    3.7976833176E+00
Residual Standard Deviation:                1.7430280130E-01
Degrees of Freedom:                                 5
Number of Observations:                             8

Data:   y              x1            x2
       15.00E0         1E0         180E0
       17.00E0         1E0         180E0
       15.50E0         1E0         225E0
       16.50E0         1E0         225E0
       15.50E0         2E0         180E0
       15.00E0         2E0         180E0
       16.00E0         2E0         225E0
       14.50E0         2E0         225E0
"""
ROSZMAN = NELSON.replace(
    "               log[y] = b1 - b2*x1 * exp[-b3*x2]  +  e\n",
    "               pi = 3.141592653589793238462643383279E0\n"
    "               y =  b1 - b2*x1 - arctan[b3/(x1-x2)]/pi  +  e\n",
)


def named(standards):
    return [pytest.param(standard, id=standard.name) for standard in standards]


def vector(standard, numbers):
    return np.array([numbers[name] for name in standard.parameters])


@pytest.mark.parametrize("standard", named(SETS))
def test_a_file_is_read_as_its_header_describes_it(standard):
    assert len(SETS) == len(BY_NAME) == 25
    assert list(standard.data) == ["y", "x"]
    assert {len(column) for column in standard.data.values()} == {standard.observations}
    assert standard.parameters == tuple(f"b{i + 1}" for i in range(len(standard.parameters)))
    for numbers in (*standard.starts, standard.certified, standard.standard_deviations):
        assert tuple(numbers) == standard.parameters
    # Rat43 has 15 rows and 4 parameters: its 9 is a misprint, as its deviation shows.
    misprint = 2 if standard.name == "Rat43" else 0
    degrees = standard.observations - len(standard.parameters)
    assert standard.degrees_of_freedom == degrees - misprint
    assert standard.residual_standard_deviation == pytest.approx(
        np.sqrt(standard.residual_sum_of_squares / degrees), rel=1e-9
    )


@pytest.mark.parametrize("standard", named(SETS))
def test_the_formula_gives_the_certified_sum_of_squares_and_standard_deviations(standard):
    model, theta = equations(standard), vector(standard, standard.certified)
    found = model.residual_sum_of_squares(theta)
    if standard.name == "Lanczos1":
        # Eleven digits of parameters up to 5 leave errors of 5e-11, far above the residuals.
        assert found < standard.observations * 5e-11**2
    else:
        assert found == pytest.approx(standard.residual_sum_of_squares, rel=1e-9)
    errors = standard_errors(jacobian(model.predict, theta), standard.residual_standard_deviation)
    certified = vector(standard, standard.standard_deviations)
    np.testing.assert_allclose(errors, certified, rtol=2e-9)


def test_brackets_left_sides_several_predictors_arctan_and_pi_are_read():
    standard = parse(NELSON)
    assert standard.formula == "log(y) = b1 - b2*x1 * exp(-b3*x2)"
    assert list(standard.data) == ["y", "x1", "x2"]
    assert standard.starts[1] == {"b1": 2.5, "b2": 5e-9, "b3": -0.05}
    model = equations(standard)
    np.testing.assert_array_equal(model.response, np.log(standard.data["y"]))
    expected = 2 - 3 * standard.data["x1"] * np.exp(-0.01 * standard.data["x2"])
    np.testing.assert_allclose(model.predict(np.array([2, 3, 0.01])), expected, rtol=1e-14)
    assert parse(ROSZMAN).formula == "y = b1 - b2*x1 - arctan(b3/(x1-x2))/pi"


def test_a_folder_is_searched_for_official_files(tmp_path):
    (tmp_path / "other.dat").write_text("1 2 3\n", encoding="ascii")
    with pytest.raises(ValueError, match=r"no NIST \.dat file"):
        read_folder(tmp_path)
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "some.dat").write_bytes(MISRA.read_bytes())
    (tmp_path / "nelson.dat").write_text(NELSON, encoding="ascii")
    assert [standard.name for standard in read_folder(tmp_path)] == ["Misra1a", "Nelson"]


@pytest.mark.parametrize(
    ("estimate", "certified", "count"),
    [
        (1.0, 1.0, MOST_DIGITS),
        (1.0 + 1e-13, 1.0, MOST_DIGITS),
        (-2.0002, -2.0, 4.0),
        (3.000003, 3.0, 6.0),
        (2.5, 1.0, 0.0),
        (-1.0, 1.0, 0.0),
        (float("nan"), 1.0, 0.0),
        (float("inf"), 1.0, 0.0),
    ],
)
def test_digits_are_the_log_relative_error(estimate, certified, count):
    assert digits(estimate, certified) == pytest.approx(count, abs=1e-6)


# What the formulas show: exchanged decays (3! orders), exchanged peaks with the sign of each
# width, the signs of a peak's area and width, exchanged waves with the sign of each period.
SYMMETRIES = {
    **dict.fromkeys(("Lanczos1", "Lanczos2", "Lanczos3"), 6),
    **dict.fromkeys(("Gauss1", "Gauss2", "Gauss3", "ENSO"), 8),
    **dict.fromkeys(("MGH17", "Eckerle4"), 2),
}


@pytest.mark.parametrize("standard", named(SETS))
def test_every_equivalent_form_of_the_answer_is_found(standard):
    model = equations(standard)
    known = relabellings(standard, model)
    assert len(set(known)) == len(known) == SYMMETRIES.get(standard.name, 1)
    assert not known[0].changes
    theta = vector(standard, standard.certified)
    for relabelling in known:
        np.testing.assert_allclose(
            model.predict(relabelling.of(theta)), model.predict(theta), rtol=1e-9
        )


def scored(standard, values, errors):
    model = equations(standard)
    return Score.of(standard, model, relabellings(standard, model), values, errors)


@pytest.mark.parametrize("standard", named(SETS))
def test_the_worst_parameter_and_the_worst_error_count(standard):
    values, errors = dict(standard.certified), dict(standard.standard_deviations)
    assert scored(standard, values, errors)[:2] == (MOST_DIGITS, MOST_DIGITS)
    values["b2"] *= 1 + 1e-5
    errors["b1"] *= 1 + 1e-3
    score = scored(standard, values, errors)
    assert score.parameters == pytest.approx(5.0, abs=1e-4)
    assert score.errors == pytest.approx(3.0, abs=1e-3)
    assert not score.relabelled
    assert scored(standard, values, errors | {"b1": None}).errors is None
    nowhere = dict.fromkeys(standard.parameters, float("nan"))
    assert scored(standard, nowhere, nowhere)[:2] == (0.0, 0.0)


def test_the_table_counts_what_the_rows_show(capsys, monkeypatch):
    import nist
    from nist_solvers import Answer, Solver

    def prepare(standard):
        """Answer rightly from start 1, wrongly but proudly from start 2, and fail without."""

        def fit(start):
            if start is None:
                raise ArithmeticError("nothing found")
            right = start == standard.starts[0]
            values = standard.certified if right else start
            return Answer(values, standard.standard_deviations, True, "fine")

        return fit

    monkeypatch.setattr(nist, "SGDFIT", Solver("sgdfit", (), prepare))
    monkeypatch.setattr(nist, "PEERS", (Solver("absent", ("no_such_package",), prepare),))
    monkeypatch.setattr("sys.argv", ["nist.py", str(MISRA.parent)])
    nist.main()
    lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 100 and line == line.rstrip() for line in lines)
    summary = next(line for line in lines if line.startswith("sgdfit"))
    cells = summary.split()
    sets = len(read_folder(MISRA.parent))
    assert cells[1:5] + cells[6:7] == [str(sets), "/", str(sets), str(sets), "0"]
    assert cells[7:11] + cells[12:13] == ["0", "/", "0", str(sets), str(sets)]
    assert cells[13:17] + cells[18:19] == ["0", "/", "0", "-", "0"]
    assert "absent: left out, no_such_package must be installed" in lines
    statuses = Counter(line.split()[-1] for line in lines if line.startswith("Misra1a"))
    assert statuses["fine"] == 2
    assert statuses["ArithmeticError"] == 1


# --- every set with default settings, from both starts and from none

STARTS = ("start 1", "start 2", "no start")


@cache
def fitted(name, start):
    standard = BY_NAME[name]
    given = {} if start == "no start" else {"start": standard.starts[STARTS.index(start)]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return sgdfit.fit(standard.formula, standard.data, **given)


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("name", BY_NAME)
def test_six_certified_digits_of_every_parameter_and_four_of_every_error(name, start):
    standard, result = BY_NAME[name], fitted(name, start)
    assert result.status.name == "converged"
    # Rounding of its fourteen digits leaves Lanczos1 a thousandth of its tiny standard errors.
    assert result.distance <= (1e-2 if name == "Lanczos1" else 1e-6)
    errors = {estimate.name: estimate.stderr for estimate in result.estimates.values()}
    score = scored(standard, result.values, errors)
    assert score.parameters >= 6.0
    assert score.errors is not None
    assert score.errors >= FLOAT64_DIGITS.get(name, 4.0)
    assert result.degrees_of_freedom == standard.observations - len(standard.parameters)
    if name != "Lanczos1":
        least = pytest.approx(standard.residual_sum_of_squares, rel=1e-8)
        assert result.residual_sum_of_squares == least


@pytest.mark.parametrize("name", BY_NAME)
def test_all_starts_lead_to_equivalent_minima_of_which_a_search_gives_the_canonical_one(name):
    *given, searched = (fitted(name, start) for start in STARTS)
    model = build(BY_NAME[name].formula, [*BY_NAME[name].data])
    theta = np.array([searched.values[n] for n in model.free])
    assert canonical_theta(model, theta, model.free)[0] == pytest.approx(theta, rel=1e-12)
    for other in given:
        point = np.array([other.values[n] for n in model.free])
        found = canonical_theta(model, point, model.free)[0]
        assert found == pytest.approx(theta, rel=1e-6)
