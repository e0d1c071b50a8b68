"""Files that are written: never over what is read, and whole or not at all."""

import os
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pytest

import sgdfit
from permissions import files_of_at_most
from sgdfit import plot
from sgdfit.cli.app import main
from sgdfit.errors import UsageError

FORMULA = "y = a*x + b"
OTHER = "it is also a file that is read; name another file"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two files of one table, one of them with a second name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("p1", "p2"):
        rows = "".join(f"{x},{2 * x + 1}\n" for x in range(9))
        (tmp_path / "data" / f"{name}.csv").write_text("x,y\n" + rows)
    os.link("data/p2.csv", "same.csv")
    return tmp_path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*.*")}


DATA = ["data", "data/*.csv", "data/p2.csv"]


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("path", ["data/p2.csv", "same.csv"])
@pytest.mark.parametrize("option", ["--save", "--trace", "--checkpoint"])
def test_the_command_never_writes_over_what_it_fits(folder, capsys, data, path, option):
    before = contents(folder)
    assert main(["fit", data, FORMULA, option, path]) == 2
    assert "file that is read" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("data", DATA)
def test_predict_and_explain_never_write_over_what_they_read(folder, capsys, data):
    assert main(["fit", data, FORMULA, "-q", "--save", "fit.json"]) == 0
    before = contents(folder)
    assert main(["predict", "fit.json", data, "--output", "same.csv"]) == 2
    assert main(["explain", FORMULA, data, "--output", "same.csv"]) == 2
    assert capsys.readouterr().err.count("file that is read") == 2
    assert contents(folder) == before


@pytest.mark.parametrize("where", [None, "x > 1"])
def test_nothing_writes_over_the_files_of_a_scanner(folder, where):
    before = contents(folder)
    scanner = ds.dataset("data", format="csv").scanner
    fit = sgdfit.fit(FORMULA, scanner(), where=where)
    with pytest.raises(UsageError, match=OTHER):
        fit.save("same.csv")
    fit = sgdfit.fit(FORMULA, {"x": [1, 2, 3], "y": [1, 2, 4]})
    with pytest.raises(UsageError, match=OTHER):
        fit.write_predictions(scanner(), "same.csv")
    assert contents(folder) == before


@pytest.mark.parametrize("where", [None, "x > 1"])
@pytest.mark.parametrize("data", [*DATA, ["data/p1.csv", "data/p2.csv"], ds.dataset])
def test_no_call_writes_over_what_was_fitted(folder, data, where):
    before = contents(folder)
    data = data("data", format="csv") if callable(data) else data
    fit = sgdfit.fit(FORMULA, data, where=where)
    (folder / "fit.svg").symlink_to("data/p2.csv")
    for write in (
        lambda: fit.save("same.csv"),
        lambda: fit.trace.write("same.csv"),
        lambda: fit.write_predictions(data, "same.csv"),
        lambda: fit.write_predictions({"x": [1.0]}, "same.csv"),
        lambda: plot.save(fit, data, "fit.svg"),
        lambda: sgdfit.fit(FORMULA, data, checkpoint="same.csv"),
    ):
        with pytest.raises(UsageError, match=OTHER):
            write()
    (folder / "fit.svg").unlink()
    assert contents(folder) == before
    fit.save("fit.json")
    fit.trace.write("trace.csv")


@pytest.mark.parametrize("opened", [partial(open, mode="rb"), pa.OSFile, pa.memory_map])
def test_no_call_writes_over_an_open_file(folder, opened):
    with opened("data/p2.csv") as file:
        fit = sgdfit.fit(FORMULA, file)
    with pytest.raises(UsageError, match=OTHER):
        fit.save("same.csv")


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "-", FORMULA, "--save", "same.csv"],
        ["fit", "/dev/stdin", FORMULA, "--trace", "same.csv"],
        ["explain", FORMULA, "-", "--output", "same.csv"],
        ["predict", "data/fit.json", "-", "--output", "same.csv"],
        ["predict", "data/fit.json", "x=0,1", "--output", "same.csv"],
        ["fit", "-", FORMULA, "--plot", "fit.svg"],
    ],
)
def test_standard_input_and_the_data_of_a_saved_fit_are_inputs(
    folder, arguments, monkeypatch, capsys
):
    sgdfit.fit(FORMULA, "data/p2.csv").save("data/fit.json")
    (folder / "fit.svg").symlink_to("data/p2.csv")
    before = contents(folder)
    with pytest.raises(UsageError, match=OTHER):
        sgdfit.load("data/fit.json").save("same.csv")
    own = os.dup(0)
    try:
        with open("data/p2.csv") as data:
            os.dup2(data.fileno(), 0)
            monkeypatch.setattr("sys.stdin", data)
            assert main(arguments) == 2
    finally:
        os.dup2(own, 0)
        os.close(own)
    assert "file that is read" in capsys.readouterr().err
    assert contents(folder) == before


@pytest.mark.parametrize("moved", [False, True])
def test_a_saved_fit_knows_its_data_from_anywhere(folder, monkeypatch, moved):
    (folder / "fits").mkdir()
    sgdfit.fit(FORMULA, "data/p2.csv").save("fits/fit.json")
    (folder / "elsewhere").mkdir()
    if moved:
        for name in ("data", "fits"):
            (folder / name).rename(folder / "elsewhere" / name)
    monkeypatch.chdir("/")
    whole = folder / "elsewhere" if moved else folder
    with pytest.raises(UsageError, match=OTHER):
        sgdfit.load(whole / "fits/fit.json").save(whole / "data/p2.csv")


@pytest.mark.parametrize("name", ["fit.json", "trace.csv", "fit.png", "derived.html"])
@pytest.mark.parametrize("stands", [False, True])
def test_a_full_disk_leaves_what_stood_there_or_nothing(tmp_path, monkeypatch, name, stands):
    monkeypatch.chdir(tmp_path)
    x = np.linspace(0, 1, 50)
    data = {"x": x, "y": 2 * x + np.sin(9 * x)}
    fit = sgdfit.fit(FORMULA, data, learning_rate=0.1, steps=50)
    write = {
        "fit.json": fit.save,
        "trace.csv": fit.trace.write,
        "derived.html": lambda path: main(["explain", FORMULA, "--output", path]),
    }.get(name, lambda path: plot.save(fit, data, path))
    write(f"warm-{name}")
    os.unlink(f"warm-{name}")
    if stands:
        (tmp_path / name).write_text("before")
    with files_of_at_most(100):
        if name == "derived.html":
            assert write(name) == 2
        else:
            with pytest.raises(UsageError, match="cannot"):
                write(name)
    assert contents(tmp_path) == ({name: b"before"} if stands else {})
