"""Rows of the activity record as lines of text: for a spreadsheet, or for a program."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from datetime import datetime
from io import StringIO
from typing import Any, Final

import orjson

FIELDS: Final = (
    *(
        "at",
        "actor",
        "door",
        "action",
        "subject",
        "before",
        "after",
        "why",
        "source",
        "run",
        "subject_id",
        "id",
        "address",
    ),
)
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute

Line = Callable[[Mapping[str, Any]], str]


def csv_head() -> str:
    return _csv(FIELDS)


def csv_line(row: Mapping[str, Any]) -> str:
    return _csv([_cell(row[name]) for name in FIELDS])


def json_line(row: Mapping[str, Any]) -> str:
    return orjson.dumps({name: row[name] for name in FIELDS}, option=orjson.OPT_UTC_Z).decode() + "\n"


def _csv(cells: Any) -> str:
    out = StringIO()
    csv.writer(out, lineterminator="\n").writerow(cells)
    return out.getvalue()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    text = value if isinstance(value, str) else orjson.dumps(value, option=orjson.OPT_UTC_Z).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text
