"""A list that lives in a temporary file: written once, read as often as wanted, in bounded memory.

Plans of 100,000 changes are decided twice when a guard holds something, and shown, and stored; none of that needs them
in memory.
"""

from __future__ import annotations

import pickle  # our own objects, in our own unlinked temporary file
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Generic, TypeVar

from syncd.errors import Retryable

T = TypeVar("T")
_IN_MEMORY = 4 * 1024 * 1024


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
            pickle.dump(item, self._file, pickle.HIGHEST_PROTOCOL)
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
