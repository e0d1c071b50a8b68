"""Textbook descent that is stopped and resumed: the bits of the run that nobody stopped."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.fitting import options

# So many that an epoch of rows that do not fit into memory takes several buffers.
ROWS = 200_000
FORMULA = "y = a*x + b"
# Each stops within a buffer and in both epochs.
CASES = {
    "one row": {"batch_size": 1, "epochs": 2, "kernel": "compiled"},
    "batches": {"batch_size": 64, "epochs": 2, "kernel": "compiled"},
    "batches in numpy": {"batch_size": 64, "epochs": 2, "kernel": "numpy"},
    "in order": {"batch_size": 100, "epochs": 2, "shuffle": False, "kernel": "compiled"},
    "averaged momentum": {
        "batch_size": 64, "epochs": 2, "kernel": "compiled",
        "optimizer": "averaged(sgd(momentum=0.5), start=1000)",
    },
    "all rows": {"steps": 12, "kernel": "compiled"},
}  # fmt: skip


@pytest.fixture
def little(monkeypatch):
    """Leave so little room for columns that nothing fits."""
    monkeypatch.setattr(options, "SHARE", 1e-6)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    draw = np.random.default_rng(8)
    x = np.sort(draw.uniform(-1.0, 1.0, ROWS))
    table = pa.table({"x": x, "y": 2.0 * x - 1.0 + draw.normal(0.0, 0.1, ROWS)})
    found = tmp_path_factory.mktemp("resumed") / "rows.parquet"
    pq.write_table(table, found, row_group_size=30_000)
    return found


def fitted(path, **options):
    return sgdfit.fit(FORMULA, path, learning_rate=0.005, seed=5, memory="450MB", **options)


def facts(fit):
    """Return all numbers that a run makes."""
    numbers = [e.value for e in fit.estimates.values()] + [e.stderr or 0.0 for e in
               fit.estimates.values()]  # fmt: skip
    trace = fit.trace
    return np.concatenate(
        [numbers, [fit.loss, fit.distance, fit.steps], trace.loss, trace.parameters.ravel()]
    )


@pytest.mark.parametrize("name", CASES)
def test_stopped_and_resumed_it_ends_with_the_same_bits(name, path, tmp_path, little):
    options = CASES[name]
    whole, checkpoint = fitted(path, **options), tmp_path / "run"
    stops = []
    for share in (0.1, 0.33, 0.37, 0.8):
        moment = int(share * whole.steps)

        def impatient(progress, moment=moment):
            if progress.step >= moment:
                raise KeyboardInterrupt

        fit = fitted(
            path,
            checkpoint=checkpoint,
            resume=bool(stops),
            callback=impatient,
            callback_every=max(1, whole.steps // 50),
            **options,
        )
        assert fit.status.name == "interrupted"
        stops.append(fit.steps)
    assert stops == sorted(set(stops))
    assert stops[-1] < whole.steps
    resumed = fitted(path, checkpoint=checkpoint, resume=True, **options)
    assert resumed.status == whole.status
    np.testing.assert_array_equal(facts(resumed), facts(whole))


@pytest.mark.parametrize("rows", ["memory", "file"])
def test_a_checkpoint_does_not_grow_with_the_steps(rows, path, tmp_path, little):
    """Of full batches: what each step found is dropped once the next one stands on it."""
    table = pq.read_table(path)
    data = path if rows == "file" else {name: table[name].to_numpy() for name in ("x", "y")}
    sizes = []
    for steps in (6, 24):
        checkpoint = tmp_path / f"{steps}"
        options = {"steps": steps, "checkpoint": checkpoint, "kernel": "compiled"}

        def impatient(progress, last=steps - 1):
            if progress.step == last:
                raise KeyboardInterrupt

        fit = fitted(data, trace_every=steps, callback=impatient, callback_every=1, **options)
        assert fit.status.name == "interrupted"
        sizes.append(checkpoint.stat().st_size)
    assert sizes[1] <= sizes[0] + 64
