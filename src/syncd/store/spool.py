"""A list that lives in a temporary file: written once, read as often as wanted, in bounded memory.

Plans of 100,000 changes are decided twice when a guard holds something, and shown, and stored; none of that needs them
in memory.
"""

from __future__ import annotations

import pickle  # our own objects, in our own unlinked temporary file
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Generic, TypeVar

from syncd.errors import Retryable

T = TypeVar("T")
_IN_MEMORY = 4 * 1024 * 1024


class _Pickler(pickle.Pickler):
    """Makes calls of our frozen dataclasses. Of those with slots pickle asks `dataclasses.fields` each time, which takes longer
    than all the rest."""

    def reducer_override(self, item: object) -> Any:
        kind: Any = type(item)
        names = _arguments(kind)
        return NotImplemented if names is None else (kind, tuple([getattr(item, name) for name in names]))


@cache
def _arguments(kind: Any) -> tuple[str, ...] | None:
    """By which it is made again; None if it is not what was given to it."""
    own_way = any({"__reduce__", "__reduce_ex__"} & vars(each).keys() for each in kind.__mro__[:-1])
    if not is_dataclass(kind) or own_way or hasattr(kind, "__post_init__"):
        return None
    named = fields(kind)
    return tuple(each.name for each in named) if all(each.init and not each.kw_only for each in named) else None


class Spool(Generic[T]):
    def __init__(self, items: Iterable[T] = ()) -> None:
        self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - lives as long as the spool
        self._count = 0
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Raises Retryable when there is no room for it."""
        with self._room():
            self._file.seek(0, 2)
            _Pickler(self._file, pickle.HIGHEST_PROTOCOL).dump(item)
        self._count += 1

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        position = 0
        for _ in range(self._count):
            with self._room():  # what was appended last is written now
                self._file.seek(position)
            item = pickle.load(self._file)  # noqa: S301 - written above
            position = self._file.tell()
            yield item

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            with suppress(OSError):  # it tries once more to write what it has
                self._file.close()
            folder = tempfile.gettempdir()
            raise Retryable(
                f"temporary files in {folder} cannot be written ({exc.strerror or exc}): make room there, or let TMPDIR "
                "name a folder with room"
            ) from exc
