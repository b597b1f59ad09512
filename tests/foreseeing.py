"""Whatever a run applies as its plan decided is decided anew beside it, and has to come to the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection

from syncd.store.drafts import Verdict
from syncd.store.foreseen import Foreseen
from syncd.store.plans import Item


@contextmanager
def both_ways() -> Iterator[list[bool]]:
    """Gives whether each batch since was applied as decided."""
    kept, seen = Foreseen.kept, []

    def compared(self: Foreseen, conn: Connection, number: int, items: Sequence[Item]) -> list[Verdict] | None:
        found = kept(self, conn, number, items)
        seen.append(found is not None)
        if found is not None:
            assert found == self.anew(conn, [item.edits for item in items])
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Foreseen, "kept", compared)
        yield seen
