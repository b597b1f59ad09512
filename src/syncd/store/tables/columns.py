"""The kinds of columns that neither engine has, and the set of all tables."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import JSON, BigInteger, Dialect, MetaData, Text, TypeDecorator
from sqlalchemy.dialects.postgresql import JSONB

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


_MICROSECOND = timedelta(microseconds=1)


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _micros_or_none(moment: datetime | None) -> int | None:
    return None if moment is None else (moment - _EPOCH) // _MICROSECOND


def instant(micros: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, stored as microseconds since 1970."""

    impl = BigInteger
    cache_ok = True

    @property
    def python_type(self) -> type[Any]:
        return datetime

    def bind_processor(self, dialect: Dialect) -> Callable[[datetime | None], int | None]:
        return _micros_or_none  # without the layers around `process_bind_param`

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        return _micros_or_none(value)

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else instant(value)


class Encoded:
    """JSON that is written already, with sorted keys, for a column of `JsonText`."""

    __slots__ = ("text",)

    def __init__(self, text: bytes) -> None:
        self.text = text.decode()


def _sorted_json(value: Any) -> str | None:
    if value.__class__ is Encoded:
        text: str = value.text
        return text
    return None if value is None else orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


class JsonText(TypeDecorator[Any]):
    """JSON kept as text with sorted keys, so that equal values are equal bytes."""

    impl = Text
    cache_ok = True

    def bind_processor(self, dialect: Dialect) -> Callable[[Any], str | None]:
        return _sorted_json

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return _sorted_json(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(value)


class SearchJson(TypeDecorator[Any]):
    """The comparable values of a resource: JSONB on PostgreSQL, JSON text on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(JSONB() if dialect.name == "postgresql" else JSON())


# A comparable text that is searched by its beginning and sorted by: its index must be in the order of code points.
Ordered = Text().with_variant(Text(collation="C"), "postgresql")

metadata = MetaData()
