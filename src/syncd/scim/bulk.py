"""`POST /Bulk` (RFC 7644 section 3.7): each operation is what the single request would be, in a transaction of its own.

Operations that refer to each other in a circle are made in one transaction, all or none. One whose reference failed is 409,
one that refers to nothing is 400. What fails changes nothing and, without `failOnErrors`, stops nothing else; once the
database is away, the rest is answered without being tried. Results stand in the order of the request. A dry run does all of
it in one transaction that is rolled back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

import orjson
import structlog
from starlette.responses import Response

from syncd.auth import OPERATIONS, TOLERANCES
from syncd.core.actor import Actor
from syncd.core.change import Edit
from syncd.core.etag import etag
from syncd.core.resource import shown
from syncd.errors import Conflict, DatabaseUnavailable, InvalidValue, SyncdError
from syncd.scim import groups, passwords, users
from syncd.scim.discovery import MAX_BULK_BYTES
from syncd.scim.endpoint import MEDIA_TYPE, Call, Note, tell_if_held
from syncd.scim.messages import ABSENT
from syncd.scim.references import BulkOperation, BulkRequest, parse_bulk, resolved, steps
from syncd.scim.statements import Statement, stated
from syncd.scim.writes import Result, Write, Writes, failure
from syncd.store.commit import Outcome, commit
from syncd.store.read import Connection

RESPONSE_URN: Final = "urn:ietf:params:scim:api:messages:2.0:BulkResponse"
_KINDS: Final = {"/Users": "user", "/Groups": "group"}
log = structlog.get_logger()


class Record(Protocol):
    """Who keeps what became of each operation, so that a killed bulk request goes on where it was."""

    def known(self) -> Mapping[int, Result]:
        """What became of operations before."""

    def actor(self, index: int) -> Actor: ...

    def note(self, index: int, method: str, endpoint: str, bulk_id: str | None) -> Note:
        """Keeps a success, in its transaction."""

    async def failed(self, index: int, endpoint: str, result: Result) -> None: ...

    async def alive(self) -> None:
        """Raises Conflict once another process is at it."""


@dataclass(frozen=True, slots=True)
class Bulk:
    writes: Writes

    async def handle(self, call: Call) -> Response:
        request = parse_bulk(await call.body(MAX_BULK_BYTES, "maxPayloadSize"))
        call.request.scope[OPERATIONS] = len(request.operations)
        job = Job(self.writes, request, call.actor, dry_run=call.dry_run)
        async with call.context.database.staged() if call.dry_run else nullcontext():
            results = await job.run()
        if job.tolerated and not call.dry_run:
            call.request.scope[TOLERANCES] = job.tolerated | call.request.scope.get(TOLERANCES, frozenset())
        return self.response(results)

    @staticmethod
    def response(results: Sequence[Result]) -> Response:
        body = {"schemas": [RESPONSE_URN], "Operations": [each.to_scim() for each in results]}
        return Response(orjson.dumps(body), media_type=MEDIA_TYPE)


@dataclass(slots=True)
class Job:
    """One bulk request being done."""

    writes: Writes
    request: BulkRequest
    actor: Actor
    record: Record | None = None
    dry_run: bool = False
    tolerated: frozenset[str] = frozenset()
    _ids: dict[str, str] = field(default_factory=dict)  # bulkId -> id, of what is there
    _results: dict[int, Result] = field(default_factory=dict)
    _away: DatabaseUnavailable | None = None

    async def run(self) -> list[Result]:
        """Results of what was processed, in the order of the request."""
        operations = self.request.operations
        for each in operations:
            there = each.method != "POST" and each.id is not None and each.fault is None
            if each.bulk_id is not None and each.id is not None and there and not each.refers:
                self._ids[each.bulk_id] = each.id  # it is there already, and may be referred to all the same
        if self.record is not None:
            for index, result in self.record.known().items():
                self._keep(operations[index], result)
        errors = sum(not each.done for each in self._results.values())
        for step in steps(operations):
            if self.request.fail_on_errors is not None and errors >= self.request.fail_on_errors:
                break
            todo = [operations[index] for index in step if index not in self._results]
            if not todo:
                continue
            if self.record is not None:
                await self.record.alive()
            circle = len(step) > 1 or todo[0].bulk_id in todo[0].refers
            found = await (self._circle(todo) if circle else self._single(todo[0]))
            if self.record is not None and self._away is not None:
                raise self._away  # nothing is known of it: it is tried again later
            for each in todo:
                result = found[each.index]
                self._keep(each, result)
                errors += not result.done
                if self.record is not None and not result.done:
                    await self.record.failed(each.index, each.endpoint, self._results[each.index])
        return [self._results[index] for index in sorted(self._results)]

    def _keep(self, operation: BulkOperation, result: Result) -> None:
        self._results[operation.index] = replace(result, bulk_id=operation.bulk_id)
        if operation.bulk_id is not None and result.done and result.location is not None:
            self._ids[operation.bulk_id] = result.location.rpartition("/")[2]

    # -- one by one ----------------------------------------------------------------------------------------------------

    async def _single(self, operation: BulkOperation) -> dict[int, Result]:
        try:
            self._check(operation, self._ids)
            write = _write(operation, self._ids)
            call, method = self.writes.call(write, self._actor(operation), self._note(operation))
            try:
                result = self.writes.result(write, await method.handle(call))
            finally:
                self.tolerated |= call.request.scope.get(TOLERANCES, frozenset())
        except Exception as exc:
            result = self._failed(operation, exc)
        return {operation.index: result}

    def _check(self, operation: BulkOperation, known: Mapping[str, str]) -> None:
        """Raises what is wrong with it before it is tried."""
        if self._away is not None:
            raise self._away
        if operation.fault is not None:
            raise operation.fault
        lacking = operation.refers - known.keys()
        if unknown := lacking - self.request.bulk_ids:
            raise InvalidValue(f"no operation of this request has the bulkId {shown(min(unknown))}")
        if lacking:
            raise Conflict(
                f"the operation with the bulkId {shown(min(lacking))} failed, and this one needs what it makes"
            )

    def _failed(self, operation: BulkOperation, exc: Exception) -> Result:
        if isinstance(exc, DatabaseUnavailable):
            self._away = exc
        if isinstance(exc, SyncdError):
            if not self.dry_run:
                tell_if_held(exc, self.actor)
        else:
            log.error("bulk_operation_failed", index=operation.index, method=operation.method, exc_info=exc)
            exc = SyncdError("something unexpected happened; the log has it under the id of this request")
        return failure(operation.method, exc, self.location(operation), f"Operations[{operation.index}]: ")

    def location(self, operation: BulkOperation) -> str | None:
        """Of what was not done: where it was to be done. Of a POST there is none (RFC 7644 section 3.7.3)."""
        if operation.method == "POST" or not operation.endpoint:
            return None
        id = operation.id
        if id is not None and id.startswith("bulkId:"):
            id = self._ids.get(id.removeprefix("bulkId:"), id)
        return self.writes.location(Write(operation.method, operation.endpoint, id)) or (
            f"{self.writes.context.base_url}{operation.endpoint}"
        )

    def _actor(self, operation: BulkOperation) -> Actor:
        return self.actor if self.record is None else self.record.actor(operation.index)

    def _note(self, operation: BulkOperation) -> Note | None:
        if self.record is None:
            return None
        return self.record.note(operation.index, operation.method, operation.endpoint, operation.bulk_id)

    # -- in a circle ---------------------------------------------------------------------------------------------------

    async def _circle(self, operations: Sequence[BulkOperation]) -> dict[int, Result]:
        inside = {str(each.bulk_id): "" for each in operations}
        calls: dict[int, Call] = {}
        failures: dict[int, Result] = {}
        for each in operations:
            try:
                self._check(each, self._ids | inside)
                calls[each.index], _ = self.writes.call(_write(each, None), self._actor(each), self._note(each))
            except Exception as exc:
                failures[each.index] = self._failed(each, exc)
        made: dict[int, tuple[str, int]] = {}
        if not failures:
            try:
                outcome, made = await self.writes.context.database.write(
                    lambda conn: self._make(conn, operations, calls)
                )
                outcome.check()
            except _Failed as exc:
                failures[exc.index] = self._failed(operations[0] if exc.index < 0 else self._at(exc.index), exc.cause)
            except Exception as exc:  # of all of them together: the door says of whom
                return {each.index: self._failed(each, exc) for each in operations}
            finally:
                for call in calls.values():
                    self.tolerated |= call.request.scope.get(TOLERANCES, frozenset())
        if failures:
            culprit = min(failures)
            why = Conflict(
                f"it refers in a circle to Operations[{culprit}], which failed, and is made with it or not at all"
            )
            return {each.index: failures.get(each.index) or self._failed(each, why) for each in operations}
        return {
            each.index: Result("POST", 201, self._url(each, made[each.index][0]), etag(made[each.index][1]))
            for each in operations
        }

    def _at(self, index: int) -> BulkOperation:
        return self.request.operations[index]

    def _url(self, operation: BulkOperation, id: str) -> str:
        return f"{self.writes.context.base_url}{operation.endpoint}/{id}"

    def _make(
        self, conn: Connection, operations: Sequence[BulkOperation], calls: Mapping[int, Call]
    ) -> tuple[Outcome, dict[int, tuple[str, int]]]:
        """All of a circle as one change group. The ids are known first: of who is adopted, her own."""
        ids = dict(self._ids)
        for each in operations:
            with _blamed(each.index):
                call, data = calls[each.index], orjson.dumps(each.data)
                type = call.types.user
                if each.endpoint == "/Users" and passwords.are_kept(call) and passwords.holds_one(data):
                    raise InvalidValue(
                        "who refers in a circle is made without a password: send it in another operation"
                    )
                said = stated(call.document(data, type), type) if each.endpoint == "/Users" else None
                ids[str(each.bulk_id)] = users.creation(conn, call, said).id if said else call.context.ids()
        beside = {ids[str(each.bulk_id)]: _KINDS[each.endpoint] for each in operations}
        edits: list[Edit] = []
        for each in operations:
            with _blamed(each.index):
                call, id = calls[each.index], ids[str(each.bulk_id)]
                edits += _edits(conn, call, _stated(call, each, ids), id, beside)
        first = calls[operations[0].index]
        context = first.context
        outcome = commit(conn, first.workspace, first.actor, _merged(edits), context.clock(), context.ids)
        made: dict[int, tuple[str, int]] = {}
        for each in operations if outcome.error is None else ():
            id = ids[str(each.bulk_id)]
            known = outcome.users.get(id) or outcome.groups[id]
            assert known is not None
            made[each.index] = id, known.version
            if (note := calls[each.index].note) is not None:
                note(conn, 201, id, known.version)
        return outcome, made


def _write(operation: BulkOperation, ids: Mapping[str, str] | None) -> Write:
    """`ids` None: with its references as they are."""
    data, id = operation.data, operation.id
    if ids is not None:
        data, id = resolved(data, ids), resolved(id, ids)
    body = b"" if data is ABSENT else orjson.dumps(data)
    return Write(operation.method, operation.endpoint, id, body, operation.version)


def _stated(call: Call, operation: BulkOperation, ids: Mapping[str, str]) -> Statement:
    resource_type = call.types.user if operation.endpoint == "/Users" else call.types.group
    return stated(call.document(orjson.dumps(resolved(operation.data, ids)), resource_type), resource_type)


def _edits(conn: Connection, call: Call, said: Statement, id: str, beside: Mapping[str, str]) -> list[Edit]:
    if beside[id] == "user":
        return [users.creation(conn, call, said, id)]
    return groups.creation(conn, call, said, id, beside)


def _merged(edits: Sequence[Edit]) -> list[Edit]:
    """Who is made joins as she is made: the door passes over an edit of somebody who is not there yet."""
    made = {edit.id: edit for edit in edits if edit.create}
    others: list[Edit] = []
    for edit in edits:
        if edit.create:
            continue
        if edit.id in made:
            fresh = made[edit.id]
            made[edit.id] = replace(fresh, join=(*fresh.join, *edit.join))
        else:
            others.append(edit)
    return [*made.values(), *others]


class _Failed(Exception):
    def __init__(self, index: int, cause: Exception) -> None:
        self.index, self.cause = index, cause


@dataclass(frozen=True, slots=True)
class _blamed:
    """What is raised within is the fault of this operation."""

    index: int

    def __enter__(self) -> None: ...

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        if isinstance(exc, SyncdError):
            raise _Failed(self.index, exc) from exc
