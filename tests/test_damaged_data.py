"""Damaged files are read as pandas reads them, or refused in a sentence."""

import gzip
import io
from random import Random

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

import fuzz
from sgdfit.data import formats
from sgdfit.data.readers import open_table
from sgdfit.errors import DataError, SgdfitError
from table_files import write

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
JUDGES = {**TEXTS, "blank": {"sep": r"\s+"}}


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
        path.write_bytes(fuzz.damaged(whole, random))
        found, table = read(path)
        # What is said to be left out or guessed pandas would have to be told.
        if found is None or table.notes or table.names != ("x", "y"):
            continue
        try:
            judge = pd.read_csv(path, **JUDGES[name]).astype(float)
        except (ValueError, OSError, EOFError):
            continue
        judge = judge[np.isfinite(judge).all(axis=1)]
        for column in table.names:
            np.testing.assert_allclose(
                found[column], judge[column], rtol=1e-15, err_msg=f"seed {seed}"
            )
        alike += 1
    assert alike > 5


def test_other_damaged_files_end_in_a_sentence_at_once_and_in_little_memory(monkeypatch):
    found = {}
    for number in range(700):
        monkeypatch.setattr(formats, "AT_ONCE", (number // len(fuzz.FILES) % 2) << 24)
        found[number] = fuzz.fault_in(number)
    assert not {number: fault for number, fault in found.items() if fault}


WAYS = {
    "by steps": lambda path: path,
    "at once": lambda path: path,
    "remote": lambda path: ds.dataset(
        path.name, filesystem=fs.SubTreeFileSystem(str(path.parent), fs.LocalFileSystem())
    ),
    "filtered": lambda path: ds.dataset(path).filter(ds.field("x") < 99),
    "other types": lambda path: ds.dataset(path, schema=pa.schema([("x", "float32")])),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_page_cannot_claim_more_than_its_column_has(way, tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "AT_ONCE", (way == "at once") << 24)
    path = write(pa.table(FRAME), tmp_path / "data.parquet")
    begin = pq.read_metadata(path).row_group(0).column(0).dictionary_page_offset
    content = bytearray(path.read_bytes())
    assert content[begin] == content[begin + 2] == content[begin + 5] == 0x15  # type, two sizes
    content[begin + 6 : begin + 11] = b"\xff\xff\xff\xff\x07"
    path.write_bytes(content)
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(
        DataError, match=r"data.parquet(: | is damaged in row group 1 \(rows 1 to 30)"
    ):
        open_table(WAYS[way](path)).load(["x"])
    assert pa.default_memory_pool().max_memory() < before + (1 << 26)
