"""Runs, and what a guard held in them or in a request: shown, approved as `syncd runs approve` does, or discarded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final, Literal

from pydantic import Field

from syncd.api.model import Instant, Model, Page, Paging, Text
from syncd.api.operation import Call, Operation
from syncd.api.paging import asked
from syncd.errors import NotFound
from syncd.store import held, quarantine, run_records
from syncd.store.held import HeldRow, HeldSummary
from syncd.store.read import Connection
from syncd.store.run_records import RunRow

Status = (
    Literal["reading", "deciding", "applying", "clean", "pending", "applied", "held"]
    | Literal["incomplete", "failed", "stopped", "missed"]
)
_SHOWN: Final = 1000  # entries set aside of one run, and names of one digest


class RunShown(Model):
    id: str
    source: str
    dry_run: bool
    status: Status
    actor: str
    started_at: Instant
    finished_at: Instant | None
    digest: str | None
    complete: bool | None = Field(description="Whether the whole source was read; null: it was not known yet.")
    incomplete_because: tuple[str, ...]
    counts: dict[str, int]
    held: tuple[dict[str, Any], ...]
    message: str | None


class SetAsideShown(Model):
    entry: str
    why: str


class RunWhole(RunShown):
    set_aside: tuple[SetAsideShown, ...] = Field(description=f"Entries that could not be read, up to {_SHOWN:,}.")


class QuarantineShown(Model):
    """An entry that could not be used; it is looked at again by itself."""

    source: str
    entry: str
    why: str
    key: str
    since: Instant
    tries: int
    next_at: Instant


class QuarantineList(Model):
    items: tuple[QuarantineShown, ...] = Field(description=f"The longest first, up to {_SHOWN:,}.")


class ListQuarantine(Model):
    source: Text | None = None


class RunPage(Page[RunShown]):
    pass


class ListRuns(Paging):
    source: Text | None = None
    status: Status | None = None


class HeldShown(Model):
    """What is held of one kind of loss, to be decided together."""

    digest: str
    source: str
    kind: str = Field(description="The kind of loss.")
    guard: str
    why: str
    since: Instant
    run: str | None
    changes: int
    subjects: tuple[str, ...] = Field(description="Whose, the first 20.")


class HeldList(Model):
    items: tuple[HeldShown, ...]


class HeldItemShown(Model):
    id: str
    subject: str
    kind: str
    why: str
    since: Instant


class HeldPage(Page[HeldItemShown]):
    pass


class Approved(Model):
    """What became of it: each item was judged again on today's facts."""

    run: str
    source: str
    status: str
    counts: dict[str, int]
    held: tuple[str, ...] = Field(description="What is refused still, and why.")


class Discarded(Model):
    discarded: int


def list_(call: Call, conn: Connection) -> RunPage:
    query = call.asked(ListRuns)
    wanted = asked(call, query, "runs")
    found = run_records.page(conn, call.workspace.name, wanted.limit, wanted.after, query.source, query.status)
    return wanted.page(RunPage, (RunShown.model_validate(_run(each)) for each in found.rows), found.more)


def show(call: Call, conn: Connection) -> RunWhole:
    found = run_records.show_run(conn, call.workspace.name, call.id)
    aside = [SetAsideShown(entry=each.entry, why=each.why) for each in found.set_aside[:_SHOWN]]
    return RunWhole.model_validate({**_run(found), "set_aside": aside})


def list_quarantine(call: Call, conn: Connection) -> QuarantineList:
    found = quarantine.listed(conn, call.workspace.name, call.asked(ListQuarantine).source)
    return QuarantineList(items=tuple(QuarantineShown.model_validate(asdict(each)) for each in found[:_SHOWN]))


def list_held(call: Call, conn: Connection) -> HeldList:
    return HeldList(items=tuple(_held(each) for each in held.list_held(conn, call.workspace.name)))


def show_held(call: Call, conn: Connection) -> HeldPage:
    wanted = asked(call, call.asked(Paging), "held")
    found = held.page_of_held(conn, call.workspace.name, call.param("digest"), wanted.limit, wanted.after)
    if not found.rows and wanted.after is None:
        raise NotFound(f"nothing is held under digest {call.param('digest')[:64]!r}")
    return wanted.page(HeldPage, map(_item, found.rows), found.more)


def approve(call: Call, conn: Connection) -> Approved:
    done = held.approve_as_run(conn, call.workspace, call.param("digest"), call.actor, lambda: call.now, call.ids)
    return Approved(
        run=done.run_id,
        source=done.source,
        status=done.status,
        counts=dict(done.counts),
        held=tuple(each.why for each in done.decided.held_items),
    )


def discard(call: Call, conn: Connection) -> Discarded:
    gone = held.discard(conn, call.workspace.name, call.param("digest"), call.actor, call.now, call.ids)
    return Discarded(discarded=gone)


def _run(row: RunRow) -> dict[str, Any]:
    names: Sequence[str] = tuple(RunShown.model_fields)
    return {name: getattr(row, name) for name in names}


def _held(each: HeldSummary) -> HeldShown:
    return HeldShown(
        digest=each.digest,
        source=each.source,
        kind=each.kind,
        guard=each.guard,
        why=each.why,
        since=each.since,
        run=each.run_id,
        changes=len(each.subjects),
        subjects=each.subjects[:20],
    )


def _item(each: HeldRow) -> HeldItemShown:
    return HeldItemShown(id=each.subject_id, subject=each.subject, kind=each.kind, why=each.why, since=each.since)


OPERATIONS = (
    Operation("GET", "/runs", "runs:read", list_, "Runs, the last first", answer=RunPage, query=ListRuns),
    Operation("GET", "/runs/{id}", "runs:read", show, "One run", answer=RunWhole),
    Operation(
        "GET",
        "/quarantine",
        "runs:read",
        list_quarantine,
        "Entries of directories that could not be used, by name and reason",
        answer=QuarantineList,
        query=ListQuarantine,
        beside=True,
    ),
    Operation("GET", "/held", "runs:read", list_held, "What guards hold", answer=HeldList, beside=True),
    Operation(
        "GET", "/held/{digest}", "runs:read", show_held, "The items under one digest", answer=HeldPage, query=Paging
    ),
    Operation(
        "POST",
        "/held/{digest}/approve",
        "runs:write",
        approve,
        "Apply what is held, each item judged again",
        answer=Approved,
    ),
    Operation(
        "POST",
        "/held/{digest}/discard",
        "runs:write",
        discard,
        "Forget what is held; it is held anew if it is still wanted",
        answer=Discarded,
    ),
)
