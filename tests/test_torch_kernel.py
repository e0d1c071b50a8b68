"""The form of the kernel that runs in torch, against NumPy's: sums, rows, steps, whole fits."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from formulas import FORMULAS, data, model_of, theta_of
from sgdfit.errors import UsageError
from sgdfit.kernel.forms import make
from sgdfit.kernel.kernel import Chunk
from sgdfit.model.loss import LOSSES
from test_kernel import ROWS, absolute_sums, assert_same_bits, assert_same_course, run, weights_of

# Cases with functions, or slopes of functions, that torch lacks.
LACKING = {"gamma functions", "beta function", "error functions", "Bessel", "sinc", "peaks"}
LACKING |= {"Bessel of the second kind"}
PAIRS = [(case, list(LOSSES)[i % len(LOSSES)]) for i, case in enumerate(FORMULAS)]
PAIRS = [pair for pair in PAIRS if pair[0].name not in LACKING]
DECAY = "y = a*exp(-b*x) + c"


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("case", "loss"), PAIRS, ids=lambda value: getattr(value, "name", value))
def test_sums_and_rows_are_those_of_numpy(torch, case, loss, weighted):
    model, columns = model_of(case, loss), data(case, rows=300)
    chunk = Chunk(tuple(columns), weights_of(300) if weighted else None)
    theta = theta_of(case, model)
    ours, known = make(model, None, "torch"), make(model, None, "numpy")
    scales = absolute_sums(model, theta, chunk)
    for one, other, scale in zip(
        ours.sums(theta, chunk), known.sums(theta, chunk), scales, strict=True
    ):
        assert (np.abs(one - other) <= 1e-12 * np.abs(scale)).all()
    for one, other in zip(ours.rows(theta, chunk), known.rows(theta, chunk), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("formula", ["voigt(x, a, b)", "a*gamma(b*x)", "a*sinc(b*x)"])
def test_what_torch_lacks_is_named(torch, formula):
    with pytest.raises(UsageError, match=r"torch has no .*; the special functions .* are erf, "):
        sgdfit.fit(f"y = {formula}", {"x": [1.0, 2.0], "y": [1.0, 2.0]}, kernel="torch")


@pytest.mark.parametrize("name", ["nesterov", "averaged adam"])
@pytest.mark.parametrize(("size", "kind"), [(1, "shuffled"), (64, "shuffled"), (ROWS, "in order")])
def test_steps_are_those_of_numpy_and_may_end_anywhere(torch, name, size, kind):
    whole = run("torch", name, size, kind, every=3)
    assert_same_course(whole, run("numpy", name, size, kind, every=3))
    assert_same_bits(run("torch", name, size, kind, every=3, cuts={5, 17, 64}), whole)


def drawn(rows):
    generator = np.random.default_rng(0)
    x = generator.uniform(0, 4, rows)
    return {"x": x, "y": 3 * np.exp(-1.3 * x) + 0.5 + generator.normal(0, 0.1, rows)}


def test_no_bit_depends_on_threads_or_on_how_rows_are_stored(torch, tmp_path):
    columns, path = drawn(300_007), str(tmp_path / "rows.parquet")
    pq.write_table(pa.table(columns), path, row_group_size=77_777)
    fits = [sgdfit.fit(DECAY, columns, kernel="torch", threads=count) for count in (1, 2)]
    fits.append(sgdfit.fit(DECAY, path, kernel="torch"))
    assert [fit.kernel for fit in fits] == ["torch"] * 3
    for fit in fits[1:]:
        assert fit.values == fits[0].values
        assert np.array_equal(fit.covariance, fits[0].covariance)
    known = sgdfit.fit(DECAY, columns, kernel="numpy")
    np.testing.assert_allclose(list(fits[0].values.values()), list(known.values.values()), 1e-12)


@pytest.mark.parametrize(
    "how",
    [
        {"loss": "huber"},
        {"loss": "mae"},
        {"dtype": "float32"},
        {"batch_size": 64, "epochs": 2, "learning_rate": 0.05},
    ],
)
def test_fits_are_those_of_numpy(torch, how):
    ours, known = (sgdfit.fit(DECAY, drawn(2000), kernel=k, **how) for k in ("torch", "numpy"))
    close = 1e-4 if "dtype" in how else 1e-5
    np.testing.assert_allclose(list(ours.values.values()), list(known.values.values()), rtol=close)


def test_a_slope_is_taken_by_its_limit(torch):
    x = np.linspace(0.0, 3.0, 40)
    start = {"a": 1.0, "p": 1.2}
    ours = sgdfit.fit("y = a*x**p", {"x": x, "y": 2 * x**1.5}, kernel="torch", start=start)
    np.testing.assert_allclose([ours.values["a"], ours.values["p"]], [2.0, 1.5], rtol=1e-9)


@pytest.mark.parametrize(("how", "sentence"), [
    ({"device": "cuda:99"}, "torch .* finds .* here; leave out device"),
    ({"device": "gpu"}, "write 'cpu', 'cuda'"),
    ({"device": 7}, "device=7"),
    ({"device": "mps"}, "mps lacks float64"),
    ({"device": "cuda", "kernel": "compiled"}, "needs kernel='torch', not 'compiled'"),
])  # fmt: skip
def test_a_device_that_is_not_there_is_refused(torch, how, sentence):
    with pytest.raises(UsageError, match=sentence):
        sgdfit.fit("y = a*x", {"x": [1.0, 2.0], "y": [1.0, 2.0]}, **how)
