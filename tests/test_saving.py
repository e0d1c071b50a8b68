"""Results saved as JSON read back to the last bit, and nothing else is taken for one."""

import json
import os
import stat
from dataclasses import fields, is_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from example_results import EXAMPLES, converged, decay, diverged
from sgdfit.errors import DataError, UsageError
from sgdfit.result.saving import from_dict, read, summary


def assert_same(one, other):
    """Compare facts exactly: types, bits of floats (NaN equals NaN), shapes."""
    assert type(one) is type(other)
    if is_dataclass(one):
        for part in fields(one):
            assert_same(getattr(one, part.name), getattr(other, part.name))
    elif isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other, strict=True)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(tuple(one.values()), tuple(other.values()))
    elif isinstance(one, tuple):
        for pair in zip(one, other, strict=True):
            assert_same(*pair)
    else:
        # a NaN bears no sign in JSON; a zero does
        assert repr(one) == repr(other)


def strictly(text):
    def refuse(name):
        raise AssertionError(name)

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_saved_fit_reads_back_exactly(name, tmp_path):
    result = EXAMPLES[name]()
    result.save(tmp_path / "fit.json")
    back = read(tmp_path / "fit.json")
    assert_same(result, back)
    assert str(back) == str(result)
    assert strictly(back.to_json()) == result.to_dict()
    strictly(json.dumps(summary(result), allow_nan=False))
    # keys of a later sgdfit are left aside
    assert_same(result, from_dict({**result.to_dict(), "colour": "blue"}))


SAVED = Path(__file__).parent / "saved"


@pytest.mark.parametrize("path", sorted(SAVED.glob("*.json")), ids=lambda path: path.stem)
def test_results_that_version_0_1_0_saved_still_load(path):
    before = json.loads(path.read_text(encoding="utf-8"))
    assert before["format"] == "sgdfit"
    after = json.loads(read(path).to_json())
    assert {name: after[name] for name in before} == before


def test_every_fact_is_saved_and_one_that_was_not_known_yet_has_its_default():
    result = converged()
    saved = result.to_dict()
    assert (saved.pop("format"), saved.pop("version")) == ("sgdfit", 1)
    assert list(saved) == [field.name for field in fields(result)]
    for name, part in (("trace", result.trace), ("diagnosis", result.diagnosis)):
        assert list(saved[name]) == [field.name for field in fields(part)]
    early = {k: v for k, v in result.to_dict().items() if k not in ("sigma", "absolute_sigma")}
    assert (from_dict(early).sigma, from_dict(early).absolute_sigma) == (None, False)


@given(
    st.floats(),
    st.sampled_from([None, np.nan]) | st.floats(min_value=0),
    st.text(alphabet=st.characters(codec="utf-8")),
)
def test_any_number_and_text_survives(value, error, label):
    estimate = replace(converged().estimates["a"], value=value, stderr=error)
    result = replace(converged(), estimates={"a": estimate}, free=("a",), data_label=label)
    result = replace(result, covariance=None, correlation=None)
    assert_same(result, from_dict(strictly(result.to_json())))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "other", 'does not say "format": "sgdfit"'),
        ("version", 2, r"newer sgdfit \(format version 2, this one reads up to 1\); update"),
        ("version", "1", "its version is '1'"),
        ("version", True, "its version is True"),
        ("loss", KeyError, "the fit lacks 'loss'"),
        ("loss", "much", "the fit.loss is 'much', where a number is needed"),
        ("loss", True, "the fit.loss is True, where a number is needed"),
        ("loss", None, "the fit.loss is None, where a number is needed"),
        ("loss", 10**400, "the fit.loss is 1000.*…, where a number is needed"),
        ("rows", 20.0, "the fit.rows is 20.0, where a whole number is needed"),
        ("formula", 3, "the fit.formula is 3, where a text is needed"),
        ("formula", "y = q*x", "the fit.estimates has 'amplitude', which the formula 'y = q"),
        ("formula", "y = q*(x", "the fit.formula cannot be read: this '\\(' is never closed"),
        ("warnings", "none", "the fit.warnings is 'none', where a list is needed"),
        ("warnings", [1], r"the fit.warnings\[0\] is 1, where a text is needed"),
        ("estimates", [], r"the fit.estimates is \[\], where an object is needed"),
        ("estimates.d.value", KeyError, "the fit.estimates.d lacks 'value'"),
        ("estimates.d.at_bound", 0, "d.at_bound is 0, where true or false is needed"),
        ("estimates.d.interval", [1.0], "d.interval has 1 entries, where 2 are needed"),
        ("estimates.d.stderr", -0.5, "the fit.estimates.d.stderr is -0.5, below 0"),
        ("estimates.d.role", "king", "d.role is 'king', where one of free, fixed, tied"),
        ("estimates.d.name", "e", "the fit.estimates.d.name is 'e'"),
        ("free", ["amplitude", "zeta", "x", "y"], "the fit.free names 'zeta'"),
        ("covariance", [[1.0]], r"the fit.covariance has shape \(1, 1\), where \(4, 4\) is"),
        ("correlation", [[1.0, 2.0]], r"the fit.correlation has shape \(1, 2\), where"),
        ("status.name", "fine", "no status is called 'fine'"),
        ("trace.loss", [1.0], "the trace's loss has shape"),
        ("trace.loss", ["1.0"], r"the fit.trace.loss\[0\] is '1.0', where a number is needed"),
        ("trace.step", [0, 1, 2, 2**70], "the fit.trace.step holds a number that is too"),
        ("trace.parameters", [[1.0]], r"parameters has shape \(1, 1\), where \(4, 3\) is"),
        ("trace.gradient", [[1.0], [], []], "the fit.trace.gradient has lists of different"),
        ("diagnosis.names", KeyError, "the fit.diagnosis lacks 'names'"),
    ],
)
def test_what_is_no_saved_fit_is_refused_with_its_place(path, value, message):
    saved = decay().to_dict()
    *parents, last = path.split(".")
    place = saved
    for key in parents:
        place = place[key]
    place[last] = value
    if value is KeyError:
        del place[last]
    with pytest.raises(DataError, match=message) as caught:
        from_dict(saved)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b" \n", "the file is empty"),
        (b"a,b\n1,2\n", r"it is not JSON \(line 1"),
        (b"PAR1\x00\xff\xfe", "it is not strict JSON"),
        (b'{"format": "sgdfit", "version": 1, "loss": NaN}', "it is not strict JSON"),
        (b"[" * 100_000, "is not a saved fit"),
        (b"[]", "is not a saved fit"),
        (b'{"format": "sgdfit", "version": 1}', "lacks 'formula', 'loss_name'"),
        (b'{"x": ' + b"9" * 5000 + b"}", "it is not strict JSON"),
    ],
)
def test_other_files_are_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "fit.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(path)
    assert repr(str(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    text = decay().to_json()
    path = tmp_path / "fit.json"
    for length in [*range(1, len(text) - 2, 41), len(text) - 2]:
        path.write_text(text[:length], encoding="utf-8")
        with pytest.raises(DataError, match="is not a whole saved fit: the file is cut off"):
            read(path)


def test_a_missing_file_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot read '.*nowhere\.json': No such file"):
        read(tmp_path / "nowhere.json")
    with pytest.raises(UsageError, match=r"cannot save to '.*fit\.json': No such file"):
        converged().save(tmp_path / "nowhere" / "fit.json")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "fit.json"
    converged().save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UsageError, match="No space left on device"):
        decay().save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["fit.json"]


def test_a_saved_file_has_the_permissions_of_any_new_one_and_links_and_devices_stay(tmp_path):
    (tmp_path / "other").touch()
    (tmp_path / "link.json").symlink_to(tmp_path / "fit.json")
    converged().save(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("other", "fit.json")}
    assert len(modes) == 1
    converged().save(os.devnull)
    assert stat.S_ISCHR(os.stat(os.devnull).st_mode)


def test_the_summary_holds_what_programs_ask_for():
    found = summary(converged())
    assert list(found)[:3] == ["formula", "status", "parameters"]
    assert set(found["status"]) == {"name", "cause", "cure"}
    assert found["parameters"]["a"]["value"] == converged().values["a"]
    assert found["parameters"]["a"]["interval"] == list(converged().estimates["a"].interval)
    assert found["diagnosis"]["stability_limit"] == pytest.approx(0.2215286, abs=1e-7)
    assert found["learning_rate"] == 0.2
    assert found["batch_size"] is None
    assert "trace" not in found
    # null for what is not finite or not known, but not for a text that reads like a number
    assert summary(diverged())["parameters"]["a"]["stderr"] is None
    assert summary(diverged())["diagnosis"]["steps_per_digit_at_rate"] is None
    assert summary(decay())["aic"] is summary(decay())["bic"] is None
    assert summary(replace(converged(), warnings=("NaN",)))["warnings"] == ["NaN"]
