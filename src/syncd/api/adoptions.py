"""New entries that may be people who are known: who asks, and an answer, as `syncd adopt` gives it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Text
from syncd.api.operation import Call, Operation
from syncd.store import adoptions
from syncd.store.adoptions import Waiting
from syncd.store.read import Connection


class CandidateShown(Model):
    id: str
    user_name: str
    score: int = Field(description="Of 100, by the rules in `by` together.")
    by: tuple[str, ...]
    barred: str | None = Field(description="Why the source may not take her over by itself.")


class AdoptionShown(Model):
    """An entry of a directory that is linked to nobody yet."""

    source: str
    key: str = Field(description="The entry's stable key.")
    entry: str = Field(description="Its DN.")
    user_name: str
    since: Instant
    candidates: tuple[CandidateShown, ...]
    decision: Literal["accepted", "refused"] | None = Field(description="Followed by the next read of the entry.")
    user: str | None = Field(description="The id of whose it is, when accepted.")
    decided_by: str | None
    decided_at: Instant | None


class AdoptionList(Model):
    items: tuple[AdoptionShown, ...]


class ListAdoptions(Model):
    source: Text | None = None
    undecided: bool = Field(False, description="Only what waits for an answer.")


class Accept(Model):
    user: Text | None = Field(None, description="The id of whose it is; needed where there are several candidates.")


def list_(call: Call, conn: Connection) -> AdoptionList:
    asked = call.asked(ListAdoptions)
    found = adoptions.list_(conn, call.workspace.name, asked.source, asked.undecided)
    return AdoptionList(items=tuple(map(_shown, found)))


def accept(call: Call, conn: Connection) -> AdoptionShown:
    user = call.said(Accept).user
    return _shown(adoptions.accept(conn, call.workspace, _found(call, conn), user, call.actor, call.now, call.ids))


def refuse(call: Call, conn: Connection) -> AdoptionShown:
    return _shown(adoptions.refuse(conn, call.workspace, _found(call, conn), call.actor, call.now, call.ids))


def _found(call: Call, conn: Connection) -> Waiting:
    return adoptions.find(conn, call.workspace.name, call.param("key"), call.param("source"))


def _shown(each: Waiting) -> AdoptionShown:
    return AdoptionShown(
        source=each.source,
        key=each.key,
        entry=each.entry,
        user_name=each.user_name,
        since=each.since,
        candidates=tuple(
            CandidateShown(id=one.id, user_name=one.name, score=one.score, by=one.by, barred=one.barred)
            for one in each.candidates
        ),
        decision="accepted" if each.decision == "accepted" else "refused" if each.decision else None,
        user=each.user_id,
        decided_by=each.by,
        decided_at=each.decided_at,
    )


OPERATIONS = (
    Operation(
        "GET",
        "/adoptions",
        "runs:read",
        list_,
        "New entries of directories that may be people who are known",
        answer=AdoptionList,
        query=ListAdoptions,
        beside=True,
    ),
    Operation(
        "POST",
        "/adoptions/{source}/{key}/accept",
        "runs:write",
        accept,
        "It is this user: the next read of the entry takes her over",
        answer=AdoptionShown,
        body=Accept,
        errors=(409,),
    ),
    Operation(
        "POST",
        "/adoptions/{source}/{key}/refuse",
        "runs:write",
        refuse,
        "It is none of them: the next read of the entry makes a new user",
        answer=AdoptionShown,
    ),
)
