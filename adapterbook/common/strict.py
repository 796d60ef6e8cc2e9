"""Read JSON and Parquet files that came from elsewhere, so that nothing in them needs a second check."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq


# Measured values lie between these; beyond them sums and quotients overflow.
SMALLEST, LARGEST = 1e-100, 1e18
MAX_DEPTH = 50  # later code may be recursive
MAX_BYTES = 64 * 1024**2  # of a file that is read whole: a million steps of training take about as much


def load_json(path: Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not UTF-8 or not JSON, or holds a value that no record can hold.
    """
    text = read_limited(path)
    try:
        content = json.loads(text, parse_constant=_refuse_number, parse_float=_to_float, parse_int=_to_int)
    except RecursionError:
        raise ValueError(f"more than {MAX_DEPTH} levels") from None
    _check_depth(content)
    json.dumps(content, ensure_ascii=False).encode()  # raises for half of a surrogate pair, which no page can hold
    return content


def read_limited(path: Path) -> str:
    """Return a file's text, if it has a size that a run can make.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is too large, or not UTF-8.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"it has {size / 1024**2:,.0f} MiB; no run writes more than {MAX_BYTES // 1024**2}")
    return path.read_text("utf-8")


def _check_depth(content: object) -> None:
    """Refuse what is nested more than `MAX_DEPTH` levels deep, level by level: a function that calls itself may not."""
    level = [content]
    for _ in range(MAX_DEPTH):
        level = [
            item
            for value in level
            for item in (value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())
        ]
        if not level:
            return
    raise ValueError(f"more than {MAX_DEPTH} levels")


def _to_float(text: str) -> float:
    number = float(text)
    return number if number == 0 or SMALLEST <= abs(number) <= LARGEST else _refuse_number(text)


def _to_int(text: str) -> int:
    number = int(text)
    return number if abs(number) <= LARGEST else int(_refuse_number(text))


def _refuse_number(text: str) -> float:
    raise ValueError(f"{text[:20]} is not a number that a run can measure")


ColumnType = Callable[["pa.DataType"], bool]
MAX_ROWS = 1_000_000  # a small file can claim billions
MAX_TABLE_BYTES = 1024**3


def is_integer(kind: pa.DataType) -> bool:
    """Return whether a column holds whole numbers."""
    import pyarrow as pa  # imported here: a report with nothing new to read does not need it

    return bool(pa.types.is_integer(kind))


def is_float(kind: pa.DataType) -> bool:
    """Return whether a column holds floating-point numbers."""
    import pyarrow as pa

    return bool(pa.types.is_floating(kind))


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column holds texts."""
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def load_table(path: Path, columns_of: Callable[[int], Mapping[str, ColumnType]]) -> pd.DataFrame:
    """Read a Parquet file with a value in every row of every column.

    Parameters
    ----------
    columns_of : callable
        Returns the columns that a file with so many columns must have, in order.

    Raises
    ------
    OSError
        If it cannot be read.
    ValueError
        If it is not Parquet, or has other columns or types, missing values, or more than `MAX_ROWS` rows.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists() and not path.is_file():  # pyarrow would read a whole folder
        raise ValueError("it is not a file")
    try:
        with pq.ParquetFile(path) as file:
            _check_schema(file, columns_of(len(file.schema_arrow.names)))
            table: pd.DataFrame = file.read().replace_schema_metadata(None).to_pandas()
    except (LookupError, MemoryError, pa.ArrowException) as error:
        raise ValueError(f"it is truncated or not Parquet ({error})") from error
    if table.isna().to_numpy().any():
        raise ValueError("a value is missing")
    return table


def _check_schema(file: pq.ParquetFile, columns: Mapping[str, ColumnType]) -> None:
    schema = file.schema_arrow
    if schema.names != list(columns):
        raise ValueError(f"expected the columns {list(columns)}, got {schema.names[:10]}")
    for field in schema:
        if not columns[field.name](field.type):
            raise ValueError(f"the column {field.name} has the type {field.type}")
    if file.metadata.num_rows > MAX_ROWS:
        raise ValueError(f"more than {MAX_ROWS:,} rows")
    unpacked = sum(file.metadata.row_group(i).total_byte_size for i in range(file.metadata.num_row_groups))
    if unpacked > MAX_TABLE_BYTES:
        raise ValueError(f"more than {MAX_TABLE_BYTES // 1024**2} MiB when unpacked")
