"""Cursors of the API's lists: sealed as SCIM's are (core/cursor.py), and bound to the query and to who asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel

from syncd.api.model import Page, Paging
from syncd.api.operation import Call
from syncd.core import cursor as cursors
from syncd.core.cursor import Cursor
from syncd.store.pages import Position

Listed = TypeVar("Listed", bound=Page[Any])


class _Row(Protocol):
    @property
    def id(self) -> str: ...


Row = TypeVar("Row", bound=_Row)


@dataclass(frozen=True, slots=True)
class Asked:
    """`after`: where the page before ended."""

    call: Call
    limit: int
    after: Position | None
    binding: bytes

    def page(self, model: type[Listed], items: Iterable[BaseModel], more: Position | None) -> Listed:
        return model(items=tuple(items), next=None if more is None else self._sealed(more))

    def cut(self, model: type[Listed], rows: Sequence[Row], shown: Callable[[Row], BaseModel]) -> Listed:
        """Of `rows` in the order of their ids, which are one more than `limit` where there are more."""
        here = rows[: self.limit]
        more = Position(None, here[-1].id) if len(rows) > self.limit else None
        return self.page(model, map(shown, here), more)

    def _sealed(self, more: Position) -> str:
        expires = int(self.call.now.timestamp()) + cursors.TIMEOUT_S
        return cursors.seal(Cursor(more.key, more.id, self.limit, None, expires), self.binding, self.call.cursor_key)


def asked(call: Call, query: Paging, listing: str) -> Asked:
    """`listing` names what is listed, such as `users`. Raises InvalidCursor, ExpiredCursor."""
    said = query.model_dump(mode="json", exclude={"cursor", "limit"})
    bearer = call.bearer
    who = (bearer.workspace, bearer.token_id or bearer.source)
    binding = cursors.digest("api", listing, who, dict(call.params), said)
    after = None
    if query.cursor:
        opened = cursors.unseal(query.cursor, binding, call.cursor_key, call.now)
        after = Position(opened.key, opened.id)
    return Asked(call, query.limit, after, binding)
