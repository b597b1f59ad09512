"""What every HTTP edge is given to answer with."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, TypeVar

from starlette.types import Scope

from syncd.core.types import Types, shapes, while_remade
from syncd.core.workspace import Workspace
from syncd.errors import InvalidValue
from syncd.passwords import Passwords
from syncd.store import keys, remake
from syncd.store.engine import Database
from syncd.store.memory import Memory
from syncd.store.read import Connection, Reader
from syncd.throttle import Buckets

T = TypeVar("T")
CURSOR_KEY: Final = "cursor"
ROUTE: Final = "syncd.route"  # where an endpoint leaves its template in the scope, for the log
REQUEST_ID: Final = "syncd.request_id"
DRY_RUN: Final = "x-dry-run"
_NAMES: Final = "syncd.headers"  # by name, so that most questions for one are answered at once
_READERS: Final = 10_000


@dataclass(slots=True)
class Remade:
    """Whether the stored documents of a workspace are of its schemas (store/remake.py), as this process saw it last."""

    _seen: dict[str, bool] = field(default_factory=dict)

    def types(self, workspace: Workspace) -> Types:
        """The types of the workspace, as what is stored is to be read."""
        seen = self._seen.get(workspace.name)
        if seen or (seen is None and not shapes(workspace.types)):
            return workspace.types
        return while_remade(workspace.types)

    async def look(self, database: Database, workspaces: Mapping[str, Workspace]) -> None:
        """Raises DatabaseUnavailable."""
        known = await database.read(remake.stored)
        for name, workspace in workspaces.items():
            self._seen[name] = not remake.is_due(workspace, known)


@dataclass(frozen=True, slots=True)
class Context:
    """What the endpoints are given. `base_url` is the public URL of the edge, without a trailing slash."""

    database: Database
    workspaces: Mapping[str, Workspace]
    clock: Callable[[], datetime]
    ids: Callable[[], str]
    base_url: str
    passwords: Passwords = field(default_factory=Passwords, repr=False)
    attempts: Buckets = field(default_factory=Buckets, repr=False)  # to guess something, by whom it is about
    monotonic: Callable[[], float] = time.monotonic
    memory: Memory = field(default_factory=Memory, repr=False)
    remade: Remade = field(default_factory=Remade, repr=False)
    _keys: dict[str, bytes] = field(default_factory=dict, repr=False)
    _readers: dict[tuple[str, str], tuple[Reader, Reader]] = field(default_factory=dict, repr=False)

    def readers(self, workspace: str, source: str) -> tuple[Reader, Reader]:
        """What a connection sees: read in the transaction of a write, and with what this process remembers."""
        found = self._readers.get((workspace, source))
        if found is None:
            own = self.workspaces[workspace].source(source).sees == "own"
            plain = Reader(workspace, source, f"{self.base_url}/Users/", f"{self.base_url}/Groups/", own)
            found = plain, replace(plain, memory=self.memory)
            if len(self._readers) < _READERS:
                self._readers[workspace, source] = found
        return found

    async def cursor_key(self) -> bytes:
        """What cursors are sealed with, the same in all processes of this database."""
        key = self._keys.get(CURSOR_KEY)
        if key is None:
            key = await self.database.read(lambda conn: keys.find(conn, CURSOR_KEY))
            if key is None:
                key = await self.database.write(lambda conn: keys.make(conn, CURSOR_KEY, self.clock()))
            self._keys[CURSOR_KEY] = key
        return key

    async def scan(self, work: Callable[[Connection], T]) -> T:
        """A read that may walk over many rows, all of one moment: beside the loop on SQLite, so that others need not wait."""
        if self.database.dialect != "sqlite":
            return await self.database.read_at_one_moment(work)

        def beside() -> T:
            with self.database.reading() as conn:
                return work(conn)

        return await asyncio.to_thread(beside)


def has_one(scope: Scope, names: frozenset[bytes]) -> bool:
    """Whether the request has any of these headers."""
    return not names.isdisjoint(scope.get(_NAMES) or _names(scope))


def _names(scope: Scope) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = dict(scope["headers"])
    scope[_NAMES] = found
    return found


def header(scope: Scope, name: bytes) -> list[str]:
    """Every line of this header (its name in small letters), without making anything of the others."""
    names = scope.get(_NAMES) or _names(scope)
    value = names.get(name)
    if value is None:
        return []
    headers = scope["headers"]
    if len(headers) == len(names):  # none of them came twice
        return [value.decode("latin-1")]
    return [each.decode("latin-1") for given, each in headers if given == name]


def asks_for_dry_run(scope: Scope) -> bool:
    """Reading is what it is. Raises InvalidValue: whoever asks for a dry run in other words must not get a wet one."""
    lines = header(scope, b"x-dry-run")
    if not lines:
        return False
    said, *others = {line.strip().lower() for line in lines}
    if others or said not in ("true", "false"):
        raise InvalidValue(f"the header X-Dry-Run is true or false, not {said[:20]!r}; nothing was done")
    reads = scope["method"] in ("GET", "HEAD") or str(scope["path"]).endswith("/.search")
    return said == "true" and not reads
