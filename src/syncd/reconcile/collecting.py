"""While runs go on, the interpreter looks seldom for cycles of garbage: they make many objects and hardly a cycle, and the
looking is an eighth of a run's processor time. The setting is the process's, so runs at once share it and are counted.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

MADE = 400_000  # objects, before the interpreter looks again; it is 700 otherwise


class Seldom:
    """One for a process: of runs at once the first sets it, and the last to end puts back what was there."""

    def __init__(self) -> None:
        self._lock, self._runs, self._usual = Lock(), 0, (0, 0, 0)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        with self._lock:
            if not self._runs:
                self._usual = gc.get_threshold()
                gc.set_threshold(max(MADE, self._usual[0]), *self._usual[1:])
            self._runs += 1
        try:
            yield
        finally:
            with self._lock:
                self._runs -= 1
                if not self._runs:
                    gc.set_threshold(*self._usual)


SELDOM = Seldom()
