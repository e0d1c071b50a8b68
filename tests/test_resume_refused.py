"""A checkpoint is gone on with by the run that wrote it and no other, and is not lost to one."""

import errno
import os
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import sgdfit
from sgdfit.checkpoint.checkpoint import read
from sgdfit.errors import CheckpointError, CheckpointWarning

FORMULA = "y = a*exp(-b*x)"
START = {"a": 2.0, "b": 0.6}
ROWS = 4_000


def table():
    draw = np.random.default_rng(3)
    x = draw.uniform(0.0, 4.0, ROWS)
    y = 2 * np.exp(-0.7 * x) + draw.normal(0.0, 0.1, ROWS)
    return {"x": x, "y": y, "s": draw.uniform(0.5, 1.5, ROWS)}


@pytest.fixture
def data(tmp_path):
    """Return a file of plain values, so that one can be changed where it stands."""
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table(table()), path, compression="none", use_dictionary=False)
    return path


def run(data, checkpoint, **options):
    given = {"start": START, **options}
    return sgdfit.fit(given.pop("formula", FORMULA), str(data), checkpoint=checkpoint, **given)


def refusal(data, checkpoint, **options):
    """Return the sentence of a refusal, which leaves the file as it was."""
    before = checkpoint.read_bytes()
    with pytest.raises(CheckpointError) as caught:
        run(data, checkpoint, **options)
    assert checkpoint.read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


def begun(data, checkpoint, **options):
    """Run until the first look of a callback, and leave the rest undone."""
    result = run(data, checkpoint, callback=lambda _: True, callback_every=1, **options)
    assert result.status.name == "stopped"
    assert f"resume=True (--resume on the command line), which goes on from {checkpoint}" in (
        result.status.cure
    )
    assert not read(checkpoint).finished


# ---- by another run

TEXTBOOK = {"optimizer": "sgd", "learning_rate": 0.01, "batch_size": 50, "epochs": 3}


@pytest.mark.parametrize(
    ("first", "then", "words"),
    [
        ({}, {"formula": "y = a*exp(-b*x) + 1"}, ["formula", FORMULA, "+ 1"]),
        ({}, {"seed": 7}, ["the seed '0', this run of '7'"]),
        ({"loss": "huber"}, {"loss": "huber(delta=2)"}, ["delta=2"]),
        ({}, {"where": "x > 1"}, ["of no where, this run of where 'x > 1'", "other data"]),
        ({}, {"weights": "s"}, ["the weights 'one for each row', this run of 's'"]),
        ({"sigma": "s"}, {"sigma": "s", "absolute_sigma": True}, ["absolute sigma 'False'"]),
        ({}, {"bounds": "0 < b < 1"}, ["parameters", "b = 0.6 in (0.0, 1.0)"]),
        ({}, {"fixed": "b=0.7"}, ["parameters", "b = 0.7 (fixed)"]),
        ({}, {"tolerance": 1e-4}, ["of no tolerance, this run of tolerance '0.0001'"]),
        ({}, {"missing": "drop"}, ["the missing 'error', this run of 'drop'"]),
        ({}, {"covariance": "sandwich"}, ["the covariance 'auto', this run of 'sandwich'"]),
        (TEXTBOOK, {**TEXTBOOK, "learning_rate": 0.02}, ["learning rate '0.01'", "'0.02'"]),
        (TEXTBOOK, {**TEXTBOOK, "epochs": 4}, ["epochs '3', this run of '4'"]),
        (TEXTBOOK, {**TEXTBOOK, "shuffle": False}, ["shuffle 'True', this run of 'False'"]),
    ],
    ids=lambda case: " ".join(case) if isinstance(case, dict) else None,
)
def test_a_run_with_another_option_is_refused(data, tmp_path, first, then, words):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **first)
    text = refusal(data, checkpoint, resume=True, **then)
    assert [word for word in words if word not in text] == []
    assert text.endswith("run it with the same, or name another file")
    # It is not refused for itself, and ends as if nothing had happened.
    again = run(data, checkpoint, resume=True, **first)
    assert again.values == run(data, tmp_path / "other", **first).values


# ---- on other data


def one_value(path):
    """Change the last bit of one number in the middle of a file, where it stands."""
    content = bytearray(path.read_bytes())
    y = pq.read_table(path)["y"].to_numpy()[ROWS // 2]
    content[content.index(struct.pack("<d", y))] ^= 1
    path.write_bytes(content)
    assert pq.read_table(path)["y"].to_numpy()[ROWS // 2] != y


def appended(path):
    found = pq.read_table(path)
    pq.write_table(pa.concat_tables([found, found.slice(0, 1)]), path)


@pytest.mark.parametrize("change", [one_value, appended])
def test_other_data_are_refused(data, tmp_path, change):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint)
    change(data)
    os.utime(data, ns=(1, 2))  # a clock may be too coarse to tell
    assert "the checkpoint is of other data, or of other rows of them; " in refusal(
        data, checkpoint, resume=True
    )


@pytest.mark.parametrize("options", [{}, {"weights": "s"}, TEXTBOOK], ids=str)
def test_other_values_are_refused_though_size_and_time_are_the_same(data, tmp_path, options):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **options)
    before = data.stat()
    one_value(data)
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (data.stat().st_size, data.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    text = refusal(data, checkpoint, resume=True, **options)
    assert "of other data: data.parquet has the name, the size and the time that it had" in text
    one_value(data)
    os.utime(data, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(data, checkpoint, resume=True, **options).status.name != "stopped"


def test_the_same_data_elsewhere_are_not_refused(data, tmp_path):
    """Also with other memory and other threads, which change no result."""
    checkpoint = tmp_path / "run"
    begun(data, checkpoint)
    (tmp_path / "there").mkdir()
    there = shutil.copy2(data, tmp_path / "there")
    again = run(there, checkpoint, resume=True, memory="2GB", threads=1)
    assert again.values == run(data, tmp_path / "other").values


# ---- by a run that does not resume


@pytest.mark.parametrize("options", [{}, TEXTBOOK], ids=["auto", "sgd"])
def test_an_unfinished_run_is_not_lost_to_one_that_begins_anew(data, tmp_path, options):
    checkpoint = tmp_path / "run"
    begun(data, checkpoint, **options)
    for other in ({}, {"formula": "y = a"}, {"start": {"a": 3.0}}):
        text = refusal(data, checkpoint, **{**options, "start": None, **other})
        assert f"{str(checkpoint)!r} holds an unfinished run of 'y = a*exp(-b*x)' (written" in text
        assert text.endswith("or remove the file or name another")
    run(data, checkpoint, resume=True, **options)
    assert read(checkpoint).finished
    assert run(data, checkpoint, formula="y = a", start=None).status.name == "converged"


# ---- on a disk that is full


def test_a_full_disk_costs_no_result(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    whole = run(data, tmp_path / "other")
    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(CheckpointWarning, match="No space left on device; free some space") as told:
        found = run(data, tmp_path / "run")
    assert found.values == whole.values
    assert len(told) == 2  # during the run, and at its end
    assert not (tmp_path / "run").exists()
