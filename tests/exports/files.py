"""Exported files, read as rows; and how many readings the large ones have."""

import csv
import io

import pyarrow
from pyarrow import parquet

EXPORT = "/v1/export/readings"
MANY = 300_000  # readings: more than all buffers between Postgres and the client hold


def csv_rows(text: str) -> list[dict]:
    return list(csv.DictReader(io.StringIO(text)))


def parquet_rows(data: bytes) -> list[dict]:
    return parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
