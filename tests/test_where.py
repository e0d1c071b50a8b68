"""Which rows a condition chooses, against the three-valued logic of pandas' nullable columns."""

from __future__ import annotations

import datetime
import io
import math
import operator
import random

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sgdfit.data import formats
from sgdfit.data.readers import open_table
from sgdfit.data.where import mask_of, read_condition
from sgdfit.errors import DataError, FormulaError, UsageError

ROWS = 60
RANDOM = np.random.default_rng(7)
TIMES = [datetime.datetime(2024, 1, 1) + datetime.timedelta(hours=12 * k) for k in range(ROWS)]


def thinned(values, share=6):
    return [None if k % share == 5 else value for k, value in enumerate(values)]


TABLE = pa.table(
    {
        "row": pa.array(range(ROWS)),
        "x": pa.array(thinned(RANDOM.integers(-4, 5, ROWS) / 2.0, 7), pa.float64()),
        "k": pa.array(thinned(RANDOM.integers(-3, 4, ROWS).tolist(), 11), pa.int32()),
        "my site": pa.array(thinned(RANDOM.choice(["A", "B", "C d", "it's"], ROWS).tolist(), 9)),
        "t": pa.array(thinned(TIMES, 13), pa.timestamp("us")),
        "flag": pa.array(thinned(RANDOM.choice([True, False], ROWS).tolist(), 8)),
        "z": pa.array(thinned(RANDOM.integers(-4, 5, ROWS) / 4.0, 5), pa.float32()),
    }
)
TYPES = ("Int64", "Float64", "Int64", "string", "t", "boolean", "Float64")
FRAME = pd.DataFrame(
    {
        name: pd.to_datetime(TABLE[name].to_pylist())
        if name == "t"
        else pd.array(TABLE[name].to_pylist(), dtype=kind)
        for name, kind in zip(TABLE.column_names, TYPES, strict=True)
    }
)
SITE = FRAME["my site"]

CASES = {
    "x > 0": FRAME.x > 0,
    "x >= 0.5 and k != 2": (FRAME.x >= 0.5) & (FRAME.k != 2),
    "not (x > 0 and k < 1)": ~((FRAME.x > 0) & (FRAME.k < 1)),
    "NOT x > 0 OR k < 1": ~(FRAME.x > 0) | (FRAME.k < 1),
    "-1 < x <= k < 3": (FRAME.x > -1) & (FRAME.x <= FRAME.k) & (FRAME.k < 3),
    "`my site` == 'A'": SITE == "A",
    "`my site` != \"A\" and `my site` != 'it''s'": (SITE != "A") & (SITE != "it's"),
    "`my site` in ['A', \"it's\"]": SITE.isin(["A", "it's"]).astype("boolean").mask(SITE.isna()),
    "`my site` not in ('A',)": ~SITE.isin(["A"]).astype("boolean").mask(SITE.isna()),
    "`my site` > 'B'": SITE > "B",
    "k in [1, -2, 0.5]": FRAME.k.isin([1, -2]),
    "x is null": FRAME.x.isna(),
    "x is not null and `my site` is None": FRAME.x.notna() & SITE.isna(),
    "x + 2*z - 1 < k/2": FRAME.x + 2 * FRAME.z - 1 < FRAME.k / 2,
    "-(x - 1) <= +k · 2": -(FRAME.x - 1) <= FRAME.k * 2,
    "t >= '2024-01-10'": FRAME.t >= pd.Timestamp("2024-01-10"),
    "'2024-01-05T12:00' < t < '2024-01-20'": (FRAME.t > pd.Timestamp("2024-01-05T12"))
    & (FRAME.t < pd.Timestamp("2024-01-20")),
    "t in ['2024-01-05', '2024-01-06T12:00:00']": FRAME.t.isin(
        [pd.Timestamp("2024-01-05"), pd.Timestamp("2024-01-06T12")]
    ),
    "flag": FRAME.flag,
    "flag == true or flag = 0 and k > 1": FRAME.flag | (~FRAME.flag & (FRAME.k > 1)),
    "z == 0.25": FRAME.z == 0.25,
    "x > 99999999999999999999": FRAME.x > 1e20,
    "k < 99999999999999999999": FRAME.k < 1e20,
}
CHOSEN = {text: np.flatnonzero(mask.fillna(False).to_numpy(bool)) for text, mask in CASES.items()}


def rows_of(data, where):
    return open_table(data, where).load(["row"]).columns["row"].astype(int).tolist()


def test_many_small_row_groups_are_read_and_pruned_together(tmp_path, monkeypatch):
    monkeypatch.setattr(formats, "MANY_ROW_GROUPS", 10)
    monkeypatch.setattr(formats, "BATCH_ROWS", 12)
    path = parquet(TABLE, tmp_path, row_group_size=4)
    for text, groups in (("row < 8", 1), ("row == 30", 1), ("10 <= row < 20", 2), ("flag", 5)):
        table = open_table(path, text)
        assert len(table.dataset.row_groups) == groups
        expected = open_table(TABLE, text).load(["row"]).columns["row"]
        np.testing.assert_array_equal(table.load(["row"]).columns["row"], expected)


def parquet(table, tmp_path, **options):
    path = tmp_path / "data.parquet"
    pq.write_table(table, path, **options)
    return path


@pytest.mark.parametrize("text", CASES)
def test_rows_are_chosen_as_pandas_does_also_by_row_groups(text, tmp_path):
    (batch,) = TABLE.combine_chunks().to_batches()
    mask = mask_of(read_condition(text), batch)
    assert mask.null_count == 0
    assert np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist() == CHOSEN[text].tolist()
    for order in ("x", "k", "my site", "t", "row") if len(CHOSEN[text]) else ():
        path = parquet(TABLE.sort_by(order), tmp_path, row_group_size=4)
        assert sorted(rows_of(path, text)) == CHOSEN[text].tolist()


ZEROS = [-0.0, 0.0, 1.0, 2.0]
LONG = [2**53, 2**53 + 1, 2**53 + 2]


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize(
    ("values", "text", "expected"),
    [
        (ZEROS, "x in [0]", [0, 1]),
        (ZEROS, "{x} not in [-0.0, 1]", [3]),
        (LONG, f"x in [{2**53 + 1}, 2.5]", [1]),
        (LONG, f"x not in [{2**53 + 1}, 0.5]", [0, 2]),
        (LONG, f"x == {2**53}.0", [0]),
    ],
)
def test_lists_hold_zeros_and_long_integers_exactly(values, text, expected, size, tmp_path):
    table = pa.table({"x": values, "row": range(len(values))})
    assert rows_of(table, text) == expected
    assert rows_of(parquet(table, tmp_path, row_group_size=size), text) == expected


NEAR_53, NEAR_63 = [2**53 + k for k in range(-1, 4)], [2**63 + k for k in range(-3, 3)]
NEAR_83 = [2**83 + k for k in range(-1, 3)]
COLUMNS = {
    "i": (pa.int64(), [*NEAR_53, *(-v for v in NEAR_53), *NEAR_63[:3], -(2**63), 0, 1, None]),
    "u": (pa.uint64(), [*NEAR_53, *NEAR_63, 2**64 - 1, 0, 1, None]),
    "b": (pa.int8(), [-128, -1, 0, 1, 2, 127, None]),
    "f": (pa.float64(), [*map(float, NEAR_53), *map(float, NEAR_63), -(2.0**53), -(2.0**63), 0.5,
                         -0.0, 0.0, 2.0**64, 2.0**83, 1.0, np.nan, np.inf, -np.inf, 1e300, None]),
    "d": (pa.decimal128(38), [*NEAR_53, *(-v for v in NEAR_63), *NEAR_83, -10**30, 0, 1, None]),
    "g": (pa.float32(), [2.0**24, 2.0**53, 2.0**63, -0.0, 0.0, 0.5, np.nan, np.inf, None]),
    "s": (pa.string(), ["0", "0x10", "a", "", None]),
}  # fmt: skip
COMPARED = {"==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
            ">": operator.gt, ">=": operator.ge}  # fmt: skip


KINDS_OF_CONDITION = ("column", "constant", "constant", "in", "is", "not", "and", "or")


def written(source, depth=2):
    """Return a condition, and what it says of a row in Python: None where it is not known."""
    kind = source.choice(KINDS_OF_CONDITION[: 8 if depth else 5])
    if kind == "not":
        text, truth = written(source, depth - 1)
        return f"not ({text})", lambda row: None if truth(row) is None else not truth(row)
    if kind in ("and", "or"):
        parts = [written(source, depth - 1) for _ in range(2)]

        def joined(row):
            found = [truth(row) for _, truth in parts]
            sure = kind == "or"
            return sure if sure in found else None if None in found else not sure

        return f" {kind} ".join(f"({text})" for text, _ in parts), joined
    name, sign = source.choice([*COLUMNS]), source.choice([*COMPARED])
    alike = ["s"] if name == "s" else [n for n in COLUMNS if n != "s"]
    values = [v for n in alike for v in COLUMNS[n][1] if v is not None]
    if name != "s":
        values = [10**25 + 1, *(v for v in values if math.isfinite(v))]
    known = lambda value: value is not None and value == value  # noqa: E731
    if kind == "is":
        return f"{name} is null", lambda row: not known(row[name])
    if kind == "in":
        some = source.sample(values, 3)
        return f"{name} in {some}", lambda row: row[name] in some if known(row[name]) else None
    other = source.choice(alike if kind == "column" else values)

    def compared(row):
        right = row[other] if kind == "column" else other
        return COMPARED[sign](row[name], right) if known(row[name]) and known(right) else None

    return f"{name} {sign} {other if kind == 'column' else repr(other)}", compared


def test_random_conditions_choose_what_python_does(tmp_path):
    source = random.Random(11)
    rows = [{n: source.choice(values) for n, (_, values) in COLUMNS.items()} for _ in range(60)]
    arrays = {n: pa.array([row[n] for row in rows], kind) for n, (kind, _) in COLUMNS.items()}
    table = pa.table({**arrays, "row": range(60)})
    groups = parquet(table.sort_by("i"), tmp_path, row_group_size=4)
    for number in range(300):
        text, truth = written(source)
        expected = [k for k, row in enumerate(rows) if truth(row)]
        (batch,) = table.combine_chunks().to_batches()
        mask = mask_of(read_condition(text), batch)
        assert np.flatnonzero(mask.to_numpy(zero_copy_only=False)).tolist() == expected, text
        if number % 10 == 0 and expected:
            assert sorted(rows_of(groups, text)) == expected, text


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("row < 8", 2),
        ("row <= 8", 3),
        ("row == 30", 1),
        ("row != 30", 15),
        ("not row >= 8", 2),
        ("row in [0, 59]", 2),
        ("10 <= row < 20", 3),
        ("row < 8 or row > 55", 3),
        ("row < 8 and x > 1e9", 0),
        ("x + row < 8", 15),
        ("t < '2024-01-03'", 1),
        ("when < '2024-01-03'", 1),
        ("row is null", 0),
        ("nothing is not null", 0),
        ("nothing > 0", 0),
        ("word == 'w07'", 1),
        ("half > 29", 1),
        ("decimal >= 29.5", 1),
    ],
)
def test_only_row_groups_that_may_hold_a_row_are_read(text, groups, tmp_path):
    extra = {
        "t": pa.array(TIMES, pa.timestamp("ns", "UTC")),
        "when": pa.array([time.date() for time in TIMES]),
        "nothing": pa.nulls(ROWS, pa.float64()),
        "word": [f"w{k:02}" for k in range(ROWS)],
        "half": pa.array(np.arange(ROWS) / 2, pa.float32()),
        "decimal": pa.array(np.arange(ROWS) / 2).cast(pa.decimal128(8, 1)),
    }
    table = TABLE.drop_columns(["t"])
    for name, values in extra.items():
        table = table.append_column(name, pa.array(values))
    scan = open_table(parquet(table, tmp_path, row_group_size=4), text).dataset
    assert len(scan.row_groups) == groups


@pytest.mark.parametrize("statistics", [True, False])
def test_without_statistics_all_row_groups_are_read(statistics, tmp_path):
    path = parquet(TABLE, tmp_path, row_group_size=4, write_statistics=statistics)
    groups = open_table(path, "row >= 50").dataset.row_groups
    assert len(groups) == (3 if statistics else 15)
    assert rows_of(path, "row >= 50") == list(range(50, 60))


NEAR = 2**60 + 1
EXACT = {
    "x != 1": [2],
    "not x > 1": [1],
    "not x in [1]": [2],
    "x is null": [0, 3],
    f"id == {NEAR}": [1],
    f"id != {NEAR}": [0, 2, 3],
    f"id in [{NEAR}, 0.5]": [1],
    f"{NEAR} >= id": [0, 1],
    f"id < {2**63}": [0, 1, 2, 3],
    f"id < {10**30} and id > -{10**30}": [0, 1, 2, 3],
    f"id >= {2**63 - 1} and id > -1": [3],
    "t in ['2024-01-05', '2024-01-06']": [1],
    "t not in ['2024-01-05']": [0, 2],
}


@pytest.mark.parametrize("kind", [pa.int64(), pa.uint64()])
def test_long_integers_and_times_are_exact_and_nan_is_missing(kind, tmp_path):
    ids = pa.array([NEAR - 1, NEAR, NEAR + 1, 2**63 - 1], kind)
    table = pa.table({"row": range(4), "id": ids, "x": [np.nan, 1.0, 2.0, None]})
    days = np.array(["2024-01-05T00:00:00.000000001", "2024-01-05", "2024-01-07", "NaT"], "M8[ns]")
    table = table.append_column("t", pa.array(days, pa.timestamp("ns")))
    other = pa.uint64() if kind == pa.int64() else pa.int64()
    table = table.append_column("near", pa.array([NEAR] * 4, other))
    for text, rows in (EXACT | {"id == near": [1], "id > near": [2, 3]}).items():
        assert rows_of(table, text) == rows
        for size in (1, 2, 4):
            assert rows_of(parquet(table, tmp_path, row_group_size=size), text) == rows


def test_text_holds_integers_of_64_bits(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("row,id\n" + "".join(f"{k},{2**63 + k - 2}\n" for k in range(5)))
    assert rows_of(path, f"id >= {2**63 + 1}") == [3, 4]
    assert rows_of(path, f"id in [{2**63 - 1}, {2**63}]") == [1, 2]


def test_text_holds_longer_integers_and_floats_stay_floats(tmp_path):
    path = tmp_path / "data.csv"
    path.write_text("row,id,x\n" + "".join(f"{k},{2**83 + k},1e{20 + k}\n" for k in range(3)))
    assert rows_of(path, f"id == {2**83 + 1}") == [1]
    assert rows_of(path, f"id in [{2**83 + 2}, 1]") == [2]
    assert rows_of(path, "x == 1e21") == [1]
    assert open_table(path).arrow(["x"]).schema.types == [pa.float64()]


X = np.array([1.0, 2.0, 3.0, 4.0])
Y = np.array([5.0, 6.0, 7.0, 8.0])
S = ["a", "b", "a", "b"]
KINDS = {
    "dict": lambda: {"x": X, "y": Y, "s": S},
    "dict of lists": lambda: {"x": X.tolist(), "y": Y.tolist(), "s": S},
    "dict with a scalar": lambda: {"x": X, "y": Y, "s": S, "one": 1},
    "big-endian": lambda: {"x": X.astype(">f8"), "y": Y[:, None], "s": np.array(S)},
    "records": lambda: np.rec.fromarrays([X, Y, np.array(S)], names="x,y,s"),
    "pandas": lambda: pd.DataFrame({"x": X, "y": Y, "s": S}),
    "pandas categories": lambda: pd.DataFrame({"x": X, "y": Y, "s": pd.Categorical(S)}),
    "polars": lambda: pl.DataFrame({"x": X, "y": Y, "s": S}),
    "lazy": lambda: pl.LazyFrame({"x": X, "y": Y, "s": S}),
    "Arrow": lambda: pa.table({"x": X, "y": Y, "s": S}),
    "reader": lambda: pa.table({"x": X, "y": Y, "s": S}).to_reader(max_chunksize=3),
    "text": lambda: io.StringIO("x,y,s\n1,5,a\n2,6,b\n3,7,a\n4,8,b\n"),
    "table": lambda: open_table({"x": X, "y": Y, "s": S}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data_is_filtered(kind):
    source = open_table(KINDS[kind](), "s == 'a' and x > 1").load(["y"])
    assert list(source.columns) == ["y"]
    assert source.columns["y"].tolist() == [7.0]
    if kind not in ("reader", "text"):
        table = open_table(open_table(KINDS[kind](), "x > 1"), "y < 8 and s == 'b'")
        assert table.load(["x"]).columns["x"].tolist() == [2.0]


UNREADABLE = {
    "x >": ["ends where a column"],
    "x > 0 y < 1": ["'y' cannot stand here", "joins comparisons with and, or, not"],
    "my site == 'A'": ["'site' follows another name", "is written in curly brackets, {my site}"],
    "x & y": ["'&' has no place", "write and"],
    "x.y > 0": ["written in curly brackets, as in {my.column}"],
    "x == 'A": ["the quotation mark is never closed"],
    "`x > 0": ["the backtick is never closed"],
    "(x > 0": ["the bracket '(' is never closed"],
    "x > 0)": ["')' cannot stand here"],
    "x in (1, 2]": ["']' cannot stand here"],
    "(x > 0) == (k > 0)": ["'x' cannot stand here"],
    "x in []": ["a list after in holds numbers or text"],
    "x in [1 2]": ["'2' cannot stand here", "in [1, 2]"],
    "x in [y]": ["holds numbers or text"],
    "x == null": ["write is null"],
    "x not 3": ["'3' cannot stand here"],
    "__import__('os').system('x') > 0": ["'.' has no place"],
    "lambda: 0": ["':' has no place"],
    "x ** 2 > 1": ["'*' cannot stand here"],
    "x in [*x]": ["'*' cannot stand here"],
    "(" * 999 + "x" + ")" * 999: ["'(' cannot stand here"],
    "not " * 110 + "x > 1": ["nested more than 100 deep"],
    "-" * 90_000 + "x > 1": ["nested more than 100 deep"],
    "x" + "+1" * 200 + "> 0": ["nested more than 100 deep"],
}


NO_CONDITION = {
    "": "where='' is no condition",
    None: "where=None is no condition",
    3: "where=3 is no condition",
    "1 < 2": "names no column",
    "'my site' == 'A'": "what stands in quotation marks is text; a name with blanks is",
    "x > 0 or " * 20_000 + "x > 0": "at most 100,000",
}


@pytest.mark.parametrize("text", [*UNREADABLE, *NO_CONDITION])
def test_what_cannot_be_read(text):
    with pytest.raises((FormulaError, UsageError)) as caught:
        read_condition(text)
    for words in UNREADABLE.get(text, [NO_CONDITION.get(text)]):
        assert words in str(caught.value)
    assert ("^" in str(caught.value)) == (text in UNREADABLE)


MISMATCHES = {
    "xx > 0": ["the data has no column 'xx'", "Did you mean 'x'?"],
    "`my site` == A": ["no column 'A'", "in where='`my site` == A', write it in quotation marks"],
    "x == '3'": ["compares column 'x', which holds numbers, with '3'", "without quotation marks"],
    "`my site` > 3": ["which holds text, with 3", "write '3' in quotation marks"],
    "t > 3": ["which holds times, with 3", "'2024-03-01'"],
    "t > 'yesterday'": ["which holds times, with 'yesterday'"],
    "x and k > 1": ["takes column 'x' for true or false, but it holds numbers"],
    "`my site` < x": ["cannot be evaluated", "compare numbers with numbers"],
    "x > 1e9": ["no row of the data meets where='x > 1e9'"],
}


@pytest.mark.parametrize("text", MISMATCHES)
def test_what_cannot_be_compared(text):
    with pytest.raises(DataError) as caught:
        rows_of(TABLE, text)
    for words in MISMATCHES[text]:
        assert words in str(caught.value)


def test_bytes_that_are_no_text_cannot_be_compared():
    table = pa.table({"row": [1, 2], "s": pa.array([b"a", b"\xff"])})
    with pytest.raises(DataError, match=r"where=\"s == 'a'\" cannot be evaluated"):
        rows_of(table, "s == 'a'")


def test_a_row_is_named_by_where_it_stands_among_all(tmp_path):
    table = pa.table({"x": [1.0, 2.0, 3.0, 4.0], "y": [1.0, 2.0, None, 4.0]})
    for data in (table, parquet(table, tmp_path, row_group_size=2)):
        with pytest.raises(DataError, match=r"row 2 \(row 3 of all\)"):
            open_table(data, "x > 1").load(["x", "y"])
