"""People as CSV: imported with a plan first (X-Dry-Run), each line answered by itself, and exported as a stream.

A file with a fault changes nothing, and every fault is told by line and column.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from syncd.api.each import MOST
from syncd.api.model import Model, Reason, Text, Whole
from syncd.api.operation import Call, Operation, Streamed
from syncd.api.problem import Fault, Invalid, Problem, problem
from syncd.api.seats import CostShown
from syncd.core import userfile
from syncd.core.change import Change
from syncd.core.filter import parse_filter
from syncd.core.plan import PoolUse, moved
from syncd.core.seats import cost, number
from syncd.errors import SyncdError
from syncd.store import imports, userexport
from syncd.store.imports import Line
from syncd.store.pages import Position
from syncd.store.plans import pool_use
from syncd.store.read import Connection
from syncd.store.several import commit_each

_CSV = "text/csv; charset=utf-8"


class ImportUsers(Reason):
    """The file as text. `docs/people.md` names the columns."""

    csv: Annotated[str, StringConstraints(min_length=1, max_length=2**20)]
    delimiter: Literal[",", ";", "\t"] | None = Field(
        default=None, description="Default: comma, semicolon or tab, as the first line has it."
    )
    invite: bool = Field(default=False, description="Whoever is new is asked in by mail, and pending until then.")


class LineDone(Model):
    line: Whole
    user_id: str
    userName: str
    result: Literal["created", "changed", "unchanged", "refused", "held"]
    changes: tuple[str, ...] = Field(description="The kinds of change: `create`, `grant`, `seat`, `wait`, ...")
    problem: Problem | None = None


class PoolMoved(Model):
    pool: str
    limit: Whole | None
    used_before: Whole
    used_after: Whole
    waiting_before: Whole
    waiting_after: Whole


class Imported(Model):
    items: tuple[LineDone, ...]
    created: Whole
    changed: Whole
    unchanged: Whole
    refused: Whole
    held: Whole
    invited: Whole
    seats: tuple[PoolMoved, ...] = Field(description="Pools that are fuller or emptier by it.")
    cost_before: tuple[CostShown, ...] = Field(description="Of all pools, by currency and period.")
    cost_after: tuple[CostShown, ...]


class ExportUsers(Model):
    filter: Text | None = Field(default=None, description='SCIM filter, such as `title co "lead"`.')


def import_(call: Call, conn: Connection) -> Imported:
    said, workspace = call.said(ImportUsers), call.workspace
    why = said.reason or f"imported by {call.actor.name}"
    people = userfile.read(said.csv, workspace.types.user, said.delimiter)
    if len(people.rows) > MOST:
        people.faults.append(userfile.Fault(people.rows[MOST].at(""), f"a file has up to {MOST:,} people here"))
    lines: list[Line] = []
    if len(people.rows) <= MOST:
        made = imports.Import(conn, workspace, call.actor, people, call.now, call.ids, why, said.invite)
        lines = list(made.lines())
    if people.faults:
        told = tuple(Fault(pointer="/csv", detail=str(each)) for each in people.in_order())
        raise Invalid(f"the file has {len(told)} faults, so nothing is done: {told[0].detail}", told)
    before = pool_use(conn, workspace)
    going = [each for each in lines if each.edit is not None]
    groups = [(each.edit,) for each in going if each.edit is not None]
    outcomes = commit_each(conn, workspace, call.actor, groups, call.now, call.ids)
    changes: list[Change] = []
    done = {each.line: _done(each, "unchanged") for each in lines}
    for line, outcome in zip(going, outcomes, strict=True):
        if outcome.error is not None:
            done[line.line] = _refused(line, outcome.error)
            continue
        changes += outcome.changes
        done[line.line] = _done(line, "created" if line.new else "changed", outcome.changes)
    asked = 0
    if said.invite:
        ids = [each.user_id for each in done.values() if each.result not in ("refused", "held")]
        asked = imports.ask_in(conn, workspace, call.actor, ids, why, call.now, call.ids)
    items = tuple(done.values())
    after = moved(before, changes)
    numbers = {name: sum(each.result == name for each in items) for name in _RESULTS}
    seats = tuple(_moved(pool, before[pool], after[pool]) for pool in sorted(before) if before[pool] != after[pool])
    return Imported(
        items=items, invited=asked, seats=seats, cost_before=_cost(before), cost_after=_cost(after), **numbers
    )


_RESULTS = ("created", "changed", "unchanged", "refused", "held")


def _done(line: Line, result: Literal["created", "changed", "unchanged"], changes: tuple[Change, ...] = ()) -> LineDone:
    kinds = tuple(dict.fromkeys(each.kind for each in changes))
    return LineDone(line=line.line, user_id=line.id, userName=line.name, result=result, changes=kinds)


def _refused(line: Line, error: SyncdError) -> LineDone:
    return LineDone(
        line=line.line,
        user_id=line.id,
        userName=line.name,
        result="held" if error.status == 429 else "refused",
        changes=(),
        problem=problem(error),
    )


def _moved(pool: str, before: PoolUse, after: PoolUse) -> PoolMoved:
    return PoolMoved(
        pool=pool,
        limit=after.limit,
        used_before=before.used,
        used_after=after.used,
        waiting_before=before.waiting,
        waiting_after=after.waiting,
    )


def _cost(uses: Mapping[str, PoolUse]) -> tuple[CostShown, ...]:
    sums = cost((each.price, each.used) for each in uses.values())
    return tuple(
        CostShown.model_validate({"currency": currency, "per": per, "cost": number(sum)})
        for (currency, per), sum in sums.items()
    )


def export(call: Call, conn: Connection) -> Streamed:
    """By pages, each a read of its own, so that no other waits for a slow reader."""
    query = call.asked(ExportUsers)
    condition = parse_filter(query.filter, call.workspace.types.user) if query.filter else None

    def piece(conn: Connection, after: Position | None) -> tuple[bytes, Position | None]:
        text, more = userexport.piece(conn, call.workspace, condition, after, call.now)
        return (("\ufeff" if after is None else "") + text).encode(), more

    return Streamed(_CSV, f"users-{call.workspace.name}.csv", piece)


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "POST",
        "/users/import",
        "users:create",
        import_,
        "Make and change users by a CSV file; X-Dry-Run shows what it would come to",
        answer=Imported,
        body=ImportUsers,
        errors=(409,),
    ),
    Operation(
        "GET",
        "/users/export",
        "users:read",
        export,
        "Users as CSV, which /users/import reads",
        query=ExportUsers,
        beside=True,
        streams=(_CSV,),
    ),
)
