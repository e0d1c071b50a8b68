"""Damaged files are read as pandas reads them, or refused in a sentence."""

import gzip
import io
from random import Random

import numpy as np
import pandas as pd
import pytest

from sgdfit.data.readers import open_table
from sgdfit.errors import SgdfitError
from table_files import KINDS, write

RANDOM = np.random.default_rng(3)
FRAME = pd.DataFrame({"x": RANDOM.normal(size=40).round(3), "y": RANDOM.integers(-999, 999, 40)})
# How a text is written, and read by pandas.
TEXTS = {
    "comma": {},
    "semicolon": {"sep": ";", "decimal": ","},
    "tab": {"sep": "\t"},
    "blank": {"sep": " "},
    "UTF-16": {"encoding": "utf-16"},
    "quoted": {},
}
PIECES = [
    *(bytes([code]) for code in b'0123456789.,-+e %;\t\n\r"#<\0'),
    b"\xe9",
    b"NA",
    b"0x",
    b"1,000",
]


def damaged(content, random):
    """Return bytes of which some are others, gone, twice there, or more than before."""
    found = bytearray(content)
    for _ in range(random.choice([1, 1, 2, 4])):
        at, length = random.randrange(len(found) + 1), random.randrange(1, 30)
        way = random.choice(["other", "other", "bit", "gone", "twice", "cut"])
        if way == "other":
            found[at : at + 1] = random.choice(PIECES)
        elif way == "bit" and at < len(found):
            found[at] ^= 1 << random.randrange(8)
        elif way == "gone":
            del found[at : at + length]
        elif way == "twice":
            found[at:at] = found[at : at + length]
        elif way == "cut" and random.random() < 0.3:
            del found[at:]
    return bytes(found)


def read(path):
    """Return all columns of a file, and its table; None where it is refused."""
    try:
        table = open_table(path)
        return table.load(list(dict.fromkeys(table.names)), missing="drop").columns, table
    except SgdfitError:
        return None, None


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_texts_are_read_as_pandas_does_or_refused(name, tmp_path):
    made = io.BytesIO()
    FRAME.to_csv(made, index=False, quoting=int(name == "quoted"), **TEXTS[name])
    alike = 0
    for seed in range(250):
        random = Random(seed)
        packed = random.random() < 0.2
        whole = gzip.compress(made.getvalue(), mtime=0) if packed else made.getvalue()
        path = tmp_path / ("data.csv.gz" if packed else "data.csv")
        path.write_bytes(damaged(whole, random))
        found, table = read(path)
        # What is said to be left out or guessed pandas would have to be told.
        if found is None or table.notes or table.names != ("x", "y"):
            continue
        try:
            judge = pd.read_csv(path, **TEXTS[name]).astype(float)
        except (ValueError, OSError, EOFError):
            continue
        judge = judge[np.isfinite(judge).all(axis=1)]
        for column in table.names:
            np.testing.assert_allclose(
                found[column], judge[column], rtol=1e-15, err_msg=f"seed {seed}"
            )
        alike += 1
    assert alike > 5


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "csv" not in kind])
def test_damaged_files_of_columns_end_in_a_sentence(kind, tmp_path):
    import pyarrow as pa

    whole = write(pa.table(FRAME), tmp_path / f"data.{kind}").read_bytes()
    for seed in range(200):
        path = tmp_path / f"bad.{kind}"
        path.write_bytes(damaged(whole, Random(seed)))
        found, _ = read(path)
        assert found is None or all(np.isfinite(column).all() for column in found.values())
