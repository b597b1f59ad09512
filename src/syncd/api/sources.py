"""Sources: where facts come from, how the last reads went, and what is held of each."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from syncd.api.model import Instant, Model
from syncd.api.operation import Call, Operation
from syncd.core.workspace import SourcePolicy
from syncd.errors import NotFound
from syncd.store import letting_go, standing
from syncd.store.read import Connection
from syncd.store.standing import SourceSeen, WorkspaceSeen


class LastRun(Model):
    id: str
    status: str
    started_at: Instant
    finished_at: Instant | None
    scheduled_at: Instant | None
    message: str | None


class SourceShown(Model):
    name: str
    kind: str = Field(description="`ldap` and `ldif` are read; `scim` pushes; `local` is people.")
    authoritative: bool = Field(description="Whether what it says of a person decides her status.")
    may_grant: tuple[str, ...] | None = Field(
        description="Roles it may lead to; null: every one that is not privileged."
    )
    sees: str
    held: int = Field(description="Items a guard holds of it.")
    last_complete_at: Instant | None = Field(description="When the whole of it was last read.")
    users: int | None = Field(description="How many it had then.")
    groups_outside: tuple[str, ...] | None = Field(
        description="Groups below no base that it came upon then, each in a line; null: nobody looked."
    )
    last_run: LastRun | None
    in_a_row: int = Field(description="How many of the last runs ended as the very last one did.")


class SourcesShown(Model):
    items: tuple[SourceShown, ...]


def list_(call: Call, conn: Connection) -> SourcesShown:
    return SourcesShown(items=tuple(_all(call, conn)))


def show(call: Call, conn: Connection) -> SourceShown:
    found = next((each for each in _all(call, conn) if each.name == call.param("name")), None)
    if found is None:
        raise NotFound(f"there is no source {call.param('name')[:64]!r}")
    return found


def _all(call: Call, conn: Connection) -> list[SourceShown]:
    [seen] = standing.read(conn, [call.workspace], call.now).workspaces
    read = {each.name: each for each in seen.sources}
    return [_shown(policy, read.get(name), seen) for name, policy in sorted(call.workspace.sources.items())]


def _shown(policy: SourcePolicy, read: SourceSeen | None, seen: WorkspaceSeen) -> SourceShown:
    last = read.last_run if read else None
    return SourceShown(
        name=policy.name,
        kind=policy.kind,
        authoritative=policy.authoritative,
        may_grant=None if policy.may_grant is None else tuple(sorted(policy.may_grant)),
        sees=policy.sees,
        held=seen.held_of(policy.name),
        last_complete_at=read.last_complete_at if read else None,
        users=read.users if read else None,
        groups_outside=read.groups_outside if read else None,
        last_run=LastRun(
            id=last.id,
            status=last.status,
            started_at=last.started_at,
            finished_at=last.finished_at,
            scheduled_at=last.scheduled_at,
            message=last.message,
        )
        if last
        else None,
        in_a_row=read.in_a_row if read else 0,
    )


class LetGoHeld(Model):
    digest: str = Field(
        description="For `POST /held/{digest}/approve`; ask again afterwards. Empty: it is refused for good."
    )
    kind: str = Field(description="The kind of loss.")
    guard: str
    why: str
    changes: int


class LetGoDone(Model):
    """A run of its own in the record."""

    run: str
    status: Literal["clean", "applied", "held"]
    counts: dict[str, int]
    held: tuple[LetGoHeld, ...]


def let_go(call: Call, conn: Connection) -> LetGoDone:
    done = letting_go.as_run(conn, call.workspace, call.param("name"), call.actor, lambda: call.now, call.ids)
    held = tuple(
        LetGoHeld(digest=each.digest, kind=each.kind, guard=each.guard, why=each.why, changes=each.changes)
        for each in done.held
    )
    return LetGoDone.model_validate({"run": done.run_id, "status": done.status, "counts": done.counts, "held": held})


OPERATIONS = (
    Operation("GET", "/sources", "sources:read", list_, "Sources and how they stand", answer=SourcesShown, beside=True),
    Operation("GET", "/sources/{name}", "sources:read", show, "One source", answer=SourceShown, beside=True),
    Operation(
        "POST",
        "/sources/{name}/let-go",
        "runs:write",
        let_go,
        "Take away what a source still owns that is not in the configuration any more; X-Dry-Run shows what goes",
        answer=LetGoDone,
        errors=(409,),
    ),
)
