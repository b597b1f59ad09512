"""Letters that are to be sent: one row, written in the transaction of what asks for it (store/mails.py sends them)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from syncd.store import tables as t
from syncd.store.rows import Rows


def post(
    rows: Rows,
    kind: str,
    to_id: str | None,
    about_id: str,
    said: Mapping[str, Any],
    now: datetime,
    ids: Callable[[], str],
) -> str:
    """This letter is to be sent, if the transaction ends well. Returns its id."""
    id = ids()
    rows.insert(t.mails, id=id, kind=kind, to_id=to_id, about_id=about_id, said=dict(said), created_at=now, next_at=now)
    return id
