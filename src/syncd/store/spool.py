"""A list in bounded memory: written once, read as often as wanted; beyond a few items it lives in a temporary file.

Plans of 100,000 changes are decided twice when a guard holds something, and shown, and stored; none of that needs them
in memory. A plan of a few changes never leaves it. Items go to the file some at a time, so that what they have in common is
written once.
"""

from __future__ import annotations

import pickle  # our own objects, in our own unlinked temporary file
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields, is_dataclass
from typing import IO, Any, Final, Generic, TypeVar

from syncd.core.quick import MADE
from syncd.errors import Retryable

T = TypeVar("T")
TOGETHER: Final = 200  # items that go to the file at once
_IN_MEMORY = 4 * 1024 * 1024  # bytes of the file
_Reducer = Callable[[Any], Any]


class _Reducers(dict[type, _Reducer]):
    """How an object of a class is written: of our frozen dataclasses as a call of the class with its fields, or of what makes
    the quick ones. What pickle does by itself asks `dataclasses.fields` for each object, which takes longer than all the
    rest."""

    def __missing__(self, kind: type) -> _Reducer:
        made = self[kind] = _reducer(kind)
        return made


def _reducer(kind: type) -> _Reducer:
    own_way = any({"__reduce__", "__reduce_ex__"} & vars(each).keys() for each in kind.__mro__[:-1])
    if not is_dataclass(kind) or own_way or hasattr(kind, "__post_init__"):
        return lambda item: item.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    named = fields(kind)
    if not all(each.init and not each.kw_only for each in named):
        return lambda item: item.__reduce_ex__(pickle.HIGHEST_PROTOCOL)
    space: dict[str, Any] = {"_kind": getattr(kind, MADE) if MADE in vars(kind) else kind}
    parts = "".join(f"item.{each.name}, " for each in named)
    exec(f"def reduce(item): return _kind, ({parts})", space)  # noqa: S102 - names of the class's fields
    reduce: _Reducer = space["reduce"]
    return reduce


_REDUCERS: Final = _Reducers()


class Spool(Generic[T]):
    """`together`: so many items are kept in memory before they are written, or fewer large ones: `weigh` says for how many an
    item counts."""

    def __init__(
        self, items: Iterable[T] = (), together: int = TOGETHER, weigh: Callable[[T], int] | None = None
    ) -> None:
        self._last: list[T] = []  # which are not in the file yet
        self._file: IO[bytes] | None = None
        self._written = 0  # lists of items in the file
        self._together, self._weigh = together, weigh
        self._weight = 0  # of `_last`
        self._count = 0
        for item in items:
            self.append(item)

    def append(self, item: T) -> None:
        """Raises Retryable when there is no room for it."""
        self._last.append(item)
        self._count += 1
        self._weight += 1 if self._weigh is None else self._weigh(item)
        if self._weight >= self._together:
            self._write()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        """Those that are in it when this begins."""
        last, written, position = [*self._last], self._written, 0
        for _ in range(written):
            assert self._file is not None
            with self._room():  # what was appended last is written now
                self._file.seek(position)
            some: list[T] = pickle.load(self._file)  # noqa: S301 - written by `_write`
            position = self._file.tell()
            yield from some
        yield from last

    def _write(self) -> None:
        with self._room():
            if self._file is None:
                self._file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115
            assert self._file is not None
            self._file.seek(0, 2)
            pickler = pickle.Pickler(self._file, pickle.HIGHEST_PROTOCOL)
            pickler.dispatch_table = _REDUCERS
            pickler.dump(self._last)
        self._last, self._weight = [], 0
        self._written += 1

    @contextmanager
    def _room(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            with suppress(OSError):  # it tries once more to write what it has
                if self._file is not None:
                    self._file.close()
            folder = tempfile.gettempdir()
            raise Retryable(
                f"temporary files in {folder} cannot be written ({exc.strerror or exc}): make room there, or let TMPDIR "
                "name a folder with room"
            ) from exc
