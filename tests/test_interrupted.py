"""A run over files that is called off says at once what is known, and of which rows."""

import itertools
import json
import signal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.checkpoint.checkpoint import Checkpoint, read
from sgdfit.cli.terminal import stop_on_signal
from sgdfit.fitting import callbacks
from sgdfit.fitting.dataset import Reduction
from sgdfit.fitting.gauss_newton import Objective
from sgdfit.result.saved import from_dict

ROWS = 1_500_000  # 24 MB, of which 15 MB may be held
FORMULA = "y = a*exp(-b*x) + c"
OPTIONS = {
    "start": {"a": 2.1, "b": 0.6, "c": 0.4},
    "kernel": "numpy",
    "memory": "450MB",
    "threads": 2,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("interrupted") / "data.parquet"
    draw = np.random.default_rng(8)
    x = draw.uniform(0.0, 4.0, ROWS)
    y = 2 * np.exp(-0.7 * x) + 0.5 + draw.normal(0.0, 0.1, ROWS)
    pq.write_table(pa.table({"x": x, "y": y}), path, row_group_size=250_000)
    return path


@pytest.fixture
def passes(monkeypatch):
    """Return the kinds of pass so far; callbacks hear of every chunk of rows."""
    kinds = []
    sums = Reduction.sums

    def recorded(self):
        if self.data.rows == ROWS:
            kinds.append("scores" if self.scores else "sums")
        return sums(self)

    monkeypatch.setattr(Reduction, "sums", recorded)
    monkeypatch.setattr(callbacks, "SECONDS_A_LOOK", 0.0)
    return kinds


def run(data, **options):
    return sgdfit.fit(FORMULA, str(data), **{**OPTIONS, **options})


def held(checkpoint):
    return read(checkpoint).records


def facts(result):
    saved = result.to_dict()
    assert saved.pop("seconds") > 0
    return json.dumps(saved, sort_keys=True)


class Ender:
    """A callback that ends the run within a pass, once it has seen a third of the rows."""

    def __init__(self, passes, kind, count, how):
        self.passes, self.kind, self.count, self.how = passes, kind, count, how
        self.at = None

    def __call__(self, progress):
        reading = progress.reading
        if self.at is not None:
            raise AssertionError("it is asked again")
        right = self.passes[-1:] == [self.kind] and self.passes.count(self.kind) == self.count
        if reading is None or not right or not ROWS / 3 < reading.rows < ROWS:
            return False
        self.at = reading.rows
        if self.how == "interrupted":
            raise KeyboardInterrupt
        return True


def test_in_the_first_pass_it_speaks_of_a_sample(data, tmp_path, passes):
    how = "interrupted"
    ender = Ender(passes, "sums", 1, how)
    found = run(data, callback=ender, checkpoint=tmp_path / "run")
    assert passes == ["sums"]
    assert found.status.name == how
    assert found.drawn_from == from_dict(found.to_dict()).drawn_from == ROWS
    assert 100_000 < found.rows < ROWS / 4
    # What the chunks before it told, and the steps on samples: each sample at most as often as it
    # was looked at.
    samples = found.trace.rows[found.trace.rows < ROWS]
    assert ender.at <= found.rows_visited <= ender.at + 3 * samples.sum()
    assert found.epochs == 0
    assert found.steps == found.trace.step.max() > 0
    share = 100 * ender.at // ROWS
    assert 33 <= share < 100
    told = (
        f"the estimates and the standard errors are those of {found.rows:,} random rows of"
        f" {ROWS:,}, not of all: the run ended {share}% into its first pass through them"
    )
    assert told in found.warnings
    report = " ".join(found.report(full=True, width=200).split())
    for words in (
        f"standard errors from the optimum of {found.rows:,} random rows",
        f"standard errors of {found.rows:,} random rows; those of all {ROWS:,} are about",
        f"random rows, not yet all {ROWS:,} rows",
        "by passes and by steps on samples, 0.",
        f"times all {ROWS:,} rows",
        "the mean over the random rows",
    ):
        assert words in report
    # These are what a fit of as many rows knows, by the law of the square root.
    whole = run(data)
    for name, estimate in found.estimates.items():
        ratio = estimate.stderr / whole.estimates[name].stderr
        assert ratio == pytest.approx(np.sqrt(ROWS / found.rows), rel=0.03)
        assert abs(estimate.value - whole.values[name]) < 5 * estimate.stderr
    again = run(data, checkpoint=tmp_path / "run", resume=True)
    assert facts(again) == facts(whole)


def test_after_a_pass_it_speaks_of_all_rows(data, tmp_path, passes):
    """The second pass is called off; the first has told all that least squares need."""
    how = "stopped"
    found = run(data, callback=Ender(passes, "sums", 2, how), checkpoint=tmp_path / "run")
    assert passes == ["sums", "sums"]
    assert found.status.name == how
    assert (found.rows, found.drawn_from) == (ROWS, None)
    assert ROWS < found.rows_visited < 2.2 * ROWS
    whole = run(data)
    # Where it stands, and how far that is from all rows' optimum, in their standard errors.
    away = np.array([found.values[n] - whole.values[n] for n in found.free])
    left = away @ np.linalg.solve(whole.covariance, away)
    assert found.distance == pytest.approx(np.sqrt(left / len(away)), rel=0.05)
    assert ("still" in found.covariance_method) == (found.distance > 1)
    assert facts(run(data, checkpoint=tmp_path / "run", resume=True)) == facts(whole)


def test_in_the_pass_for_the_sandwich_it_gives_the_classical_errors(data, tmp_path, passes):
    how = "interrupted"
    options = {"covariance": "sandwich", "checkpoint": tmp_path / "run"}
    found = run(data, callback=Ender(passes, "scores", 1, how), **options)
    assert passes[-1] == "scores"
    assert found.status.name == how
    rows = [int(v["rows"]) for k, v in held(tmp_path / "run").items() if k.startswith("scores")]
    assert len(rows) == 1
    assert ROWS / 3 < rows[0] < ROWS  # kept, to go on from there
    assert found.drawn_from is None
    assert found.covariance_method == "classical"
    assert any("the standard errors are classical: the run ended" in w for w in found.warnings)
    plain = run(data)
    assert found.values == plain.values
    assert [e.stderr for e in found.estimates.values()] == [
        e.stderr for e in plain.estimates.values()
    ]
    before = len(passes)
    again = run(data, resume=True, **options)
    assert "sums" in passes[before:]  # recalled, not read
    assert again.status.name == "converged"
    assert facts(again) == facts(run(data, covariance="sandwich"))


def test_in_the_pass_for_scores_the_estimates_are_those_of_all_rows(data, tmp_path, passes):
    how = "stopped"
    options = {"loss": "huber(delta=0.1)", "checkpoint": tmp_path / "run"}
    ender = Ender(passes, "scores", 1, how)
    found = run(data, callback=ender, **options)
    assert passes[-1] == "scores"
    assert found.status.name == how
    whole = run(data, loss="huber(delta=0.1)")
    assert found.values == whole.values
    assert found.distance < 0.01
    assert found.drawn_from == ROWS
    assert found.epochs >= 1
    assert any(
        w.startswith(f"the loss and the standard errors are those of {found.rows:,} random rows")
        for w in found.warnings
    )
    report = " ".join(found.report(full=True, width=200).split())
    assert "from the optimum of" not in report
    assert f", then all {ROWS:,} rows" in report
    for name, estimate in found.estimates.items():
        ratio = estimate.stderr / whole.estimates[name].stderr
        assert ratio == pytest.approx(np.sqrt(ROWS / found.rows), rel=0.03)
    assert facts(run(data, resume=True, **options)) == facts(whole)


def test_it_is_written_down_before_it_is_told(data, tmp_path, passes, monkeypatch):
    """What the interrupted pass had found is in the file, though it was not time to write."""
    begin = Checkpoint.__init__

    def seldom(self, contents, path, every, announce):
        begin(self, contents, path, 1e9, announce)

    monkeypatch.setattr(Checkpoint, "__init__", seldom)
    ender = Ender(passes, "sums", 2, "interrupted")
    run(data, callback=ender, checkpoint=tmp_path / "run")
    kept = {k: v for k, v in held(tmp_path / "run").items() if k.startswith("sums")}
    assert sorted(int(record["rows"]) for record in kept.values()) == [ender.at, ROWS]


@pytest.mark.parametrize("options", [{}, {"loss": "huber(delta=0.1)"}], ids=["mse", "huber"])
def test_interrupted_at_every_part_it_goes_on_to_the_same_bits(data, tmp_path, passes, options):
    """Each process adds up one more part of the rows, and is called off."""
    few, checkpoint = tmp_path / "few.parquet", tmp_path / "run"
    pq.write_table(pq.read_table(data).slice(0, 230_000), few)

    def impatient(progress):
        if progress.reading is not None:
            raise KeyboardInterrupt

    ends = []
    for again in range(60):
        fit = run(few, checkpoint=checkpoint, resume=again > 0, callback=impatient, **options)
        ends.append(fit.status.name)
        if ends[-1] != "interrupted":
            break
    assert ends[-1] == "converged"
    assert len(ends) > 3
    assert facts(fit) == facts(run(few, **options))


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize("number", [1, 2])
def test_before_the_first_step_it_was_interrupted_all_the_same(
    data, number, in_memory, monkeypatch
):
    looks, evaluate = itertools.count(1), Objective.evaluate

    def called_off(surface, theta):
        if next(looks) == number:
            raise KeyboardInterrupt
        return evaluate(surface, theta)

    monkeypatch.setattr(Objective, "evaluate", called_off)
    rows = pq.read_table(data).slice(0, 200_000) if in_memory else str(data)
    found = sgdfit.fit(FORMULA, rows, **OPTIONS)
    assert (found.status.name, found.steps) == ("interrupted", 0)
    assert np.isfinite(found.loss)
    assert number == 2 or found.values == OPTIONS["start"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, None)])
def test_before_there_is_anything_it_says_so(capsys, number, code):
    expected = KeyboardInterrupt if code is None else SystemExit
    before = signal.getsignal(number)
    with pytest.raises(expected) as caught, stop_on_signal() as asked:
        signal.raise_signal(number)
    assert asked.by == number
    assert getattr(caught.value, "code", None) == code
    assert capsys.readouterr().err == "sgdfit: interrupted before there was anything to report\n"
    assert signal.getsignal(number) == before
