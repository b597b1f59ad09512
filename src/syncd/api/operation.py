"""One operation of the API as a value, and the call its handler is given."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from syncd.api.model import Nothing
from syncd.core.actor import Actor
from syncd.core.change import Edit
from syncd.core.etag import etag, names
from syncd.core.workspace import Workspace
from syncd.errors import NotFound, StaleVersion, SyncdError
from syncd.serving import Context
from syncd.store.commit import Outcome, commit
from syncd.store.pages import Position
from syncd.store.read import Connection

PREFIX: Final = "/api/v1"
AUTHENTICATED: Final = ""  # the permission of what every token may ask
M = TypeVar("M", bound=BaseModel)
R = TypeVar("R")


class Recorded(Exception):
    """Refused by the door, and the record of that is to stay: the transaction ends well, then `error` is answered."""

    def __init__(self, error: SyncdError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class Answer:
    """`content` None: no body. `status` None: the operation's. `version` becomes the ETag."""

    content: BaseModel | None = None
    version: int | None = None
    location: str | None = None  # below /api/v1, such as `/users/01J...`
    status: int | None = None


Piece = Callable[[Connection, Position | None], tuple[bytes, Position | None]]


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer of any length. `piece` makes what follows a position and says where it ended; None: that was the last."""

    media: str
    filename: str
    piece: Piece


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated, permitted and validated request.

    `actor` states facts of people (source `local`); `bearer` is who the token says, with its own source. `ids` and `now`
    are the only id maker and clock. `seal` and `unseal` make and open the cursors of this very query.
    """

    workspace: Workspace
    actor: Actor
    bearer: Actor
    now: datetime
    ids: Callable[[], str]
    params: Mapping[str, str]
    query: BaseModel
    body: BaseModel
    if_match: str | None
    base_url: str
    cursor_key: bytes = b""
    prepared: object = None  # what the operation's `prepare` made

    @property
    def id(self) -> str:
        return self.param("id")

    def param(self, name: str) -> str:
        """A part of the path. Raises NotFound for what no database can look for."""
        found = self.params[name]
        if "\0" in found:
            raise NotFound("there is nothing of that name")
        return found

    def asked(self, model: type[M]) -> M:
        """The query, as the operation declares it."""
        assert isinstance(self.query, model)
        return self.query

    def said(self, model: type[M]) -> M:
        """The body, as the operation declares it."""
        assert isinstance(self.body, model)
        return self.body

    def ready(self, kind: type[R]) -> R:
        """What `prepare` made."""
        assert isinstance(self.prepared, kind)
        return self.prepared

    def must_match(self, version: int) -> None:
        """If-Match (RFC 7232 section 3.1). Raises StaleVersion."""
        if self.if_match is not None and not names(self.if_match, version):
            raise StaleVersion(f"this is at version {etag(version)}: read it again, then change it")

    def door(self, conn: Connection, edits: Sequence[Edit], expect: Mapping[str, int] | None = None) -> Outcome:
        """These edits as one change group. Raises Recorded for what the door refused."""
        outcome = commit(conn, self.workspace, self.actor, edits, self.now, self.ids, expect=expect)
        if outcome.error is not None:
            raise Recorded(outcome.error)
        return outcome


Prepare = Callable[[Call, Context], Awaitable[object]]
Handler = Callable[[Call, Connection], "BaseModel | Answer | Streamed"]


@dataclass(frozen=True, slots=True)
class Operation:
    """`path` is below /api/v1. `permission`: what the token needs, or AUTHENTICATED.

    `errors`: statuses it answers beside those of every operation. `beside`: a read that may walk over many rows, done
    where it makes nobody wait. `versioned`: it has an ETag, and obeys If-Match if it writes. `secret`: fields of the answer
    that are shown once and never kept, not even for a repeated Idempotency-Key. `once`: whether it takes one; not where the
    body is secret or each attempt counts. `prepare`: work that belongs in no transaction, such as hashing, done before.
    """

    method: str
    path: str
    permission: str
    handle: Handler
    summary: str
    answer: type[BaseModel] | None = None
    body: type[BaseModel] = Nothing
    query: type[BaseModel] = Nothing
    status: int = 200
    errors: tuple[int, ...] = ()
    beside: bool = False
    versioned: bool = False
    secret: tuple[str, ...] = ()
    media: str = "application/json"
    streams: tuple[str, ...] = ()
    once: bool = True
    prepare: Prepare | None = None

    @property
    def writes(self) -> bool:
        return self.method != "GET"

    @property
    def name(self) -> str:
        """`users_id_suspend_post`: unique and stable, for generators of clients."""
        words = [part.strip("{}").replace("-", "_").replace(".", "_") for part in self.path.split("/") if part]
        return "_".join([*words, self.method.lower()])


def dumped(content: BaseModel, without: Sequence[str] = ()) -> bytes:
    shown: Any = content.model_copy(update=dict.fromkeys(without)) if without else content
    text: str = shown.model_dump_json(by_alias=True)
    return text.encode()
