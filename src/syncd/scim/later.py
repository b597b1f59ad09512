"""Asynchronous requests (RFC 9967 section 2.5.1): kept, answered 202, done by this process or, if it dies, by another.

`Prefer: respond-async` on anything that writes; with `wait=N` the answer may come within N seconds all the same. `Set-Txn`
names the request, `Location` is where the event of its completion can be read by the connection that asked; of a bulk
request there is one for each operation, `TXN:INDEX`. What cannot be kept, because too much waits, is done at once. A kill
between two operations loses and repeats nothing: each is noted in its own transaction (store/requests.py).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

import orjson
import structlog
from starlette.responses import Response

from syncd.auth import OPERATIONS, TOLERANCES
from syncd.core.actor import Actor
from syncd.core.etag import etag
from syncd.errors import Conflict, DatabaseUnavailable, NotFound, SyncdError, Unauthorized
from syncd.scim import passwords
from syncd.scim.bulk import Bulk, Job
from syncd.scim.discovery import MAX_BULK_BYTES
from syncd.scim.endpoint import MEDIA_TYPE, Call, Handler, Note, error, tell_if_held
from syncd.scim.messages import list_response
from syncd.scim.references import parse_bulk
from syncd.scim.writes import Result, Write, Writes, failure
from syncd.serving import header
from syncd.store import leases, requests
from syncd.store.read import Connection
from syncd.store.requests import Accepted, AlreadyDone

BULK: Final = "/Bulk"
POLL_S: Final = 5.0  # for what another process left behind
MAX_WAIT_S: Final = 20
ATTEMPTS: Final = 10  # of a request whose process ends each time
TURN: Final = 50  # requests of one connection before another has its turn
RENEW_S: Final = 15.0
_KEPT: Final = tuple(  # of an actor, beside its permissions; the rest is of the request or of no use
    sorted({*Actor.__slots__} - {"door", "workspace", "source", "allow", "method", "txn", "run_id", "expires_at"})
)
_WAIT = re.compile(r"wait\s*=\s*\"?(\d{1,6})\"?", re.ASCII)
log = structlog.get_logger()


def preferred(headers: Sequence[str]) -> int | None:
    """How many seconds to wait before answering 202; None: `respond-async` is not preferred (RFC 7240)."""
    if not headers:
        return None
    said = [each.partition(";")[0].strip().lower() for header in headers for each in header.split(",")]
    if "respond-async" not in said:
        return None
    waits = [int(found[1]) for each in said if (found := _WAIT.fullmatch(each))]
    return min(waits[0] if waits else 0, MAX_WAIT_S)


@dataclass(slots=True)
class Later:
    """What this process accepts and does. `tolerated`: told which forms a request took that the standard does not have."""

    writes: Writes
    tolerated: Callable[[Actor, Iterable[str]], None]
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _expected: dict[str, asyncio.Future[Response]] = field(default_factory=dict)

    # -- accepting -------------------------------------------------------------------------------------------------------

    def or_now(self, endpoint: str, handle: Handler) -> Handler:
        """The handler, for a client that does not prefer to hear of it later."""

        async def asked(call: Call) -> Response:
            wait_s = preferred(header(call.request.scope, b"prefer"))
            if wait_s is None or call.dry_run or header(call.request.scope, b"if-none-match"):
                return await handle(call)  # of preconditions only If-Match is kept for later
            return await self._accept(call, endpoint, handle, wait_s)

        return asked

    async def _accept(self, call: Call, endpoint: str, handle: Handler, wait_s: int) -> Response:
        request, context, actor = call.request, self.writes.context, call.actor
        bulk = endpoint == BULK
        body = b""
        if request.method != "DELETE":
            body = await (call.body(MAX_BULK_BYTES, "maxPayloadSize") if bulk else call.body())
        operations = len(parse_bulk(body).operations) if bulk else None
        request.scope[OPERATIONS] = operations or 1
        id = None if bulk or request.method == "POST" else call.id
        query = bytes(request.scope["query_string"])
        if_match = ",".join(header(request.scope, b"if-match")) or None
        write = Write(request.method, endpoint, id, body, if_match, query)
        accepted = Accepted(
            actor.workspace,
            context.ids(),
            actor.source,
            {name: getattr(actor, name) for name in _KEPT} | {"allow": sorted(actor.allow)},
            write.method,
            write.endpoint,
            context.clock(),
            write.id,
            query.decode("utf-8", "replace"),
            write.if_match,
            write.body,
            operations,
        )
        at_once = operations == 0 or passwords.holds_one(body)  # a password is nowhere kept in clear
        if at_once or not await context.database.write(lambda conn: requests.accept(conn, accepted)):
            inner = replace(call, request=write.request(actor))
            try:
                return await handle(inner)
            finally:
                request.scope[TOLERANCES] = inner.request.scope.get(TOLERANCES, frozenset())
        if wait_s and (within := await self._within(accepted.id, wait_s)) is not None:
            return within
        self._wake.set()
        return self._underway(accepted.id, {"Preference-Applied": "respond-async"})

    async def _within(self, txn: str, wait_s: float) -> Response | None:
        """The answer, if this process has it by then."""
        expected = self._expected[txn] = asyncio.get_running_loop().create_future()
        self._wake.set()
        try:
            return await asyncio.wait_for(expected, wait_s)
        except TimeoutError:
            return None
        finally:
            del self._expected[txn]

    def _underway(self, txn: str, headers: Mapping[str, str]) -> Response:
        location = f"{self.writes.context.base_url}/Events/{txn}"
        return Response(status_code=202, headers={"Set-Txn": txn, "Location": location, **headers})

    # -- looking ---------------------------------------------------------------------------------------------------------

    async def event(self, call: Call) -> Response:
        """`GET /Events/TXN`: the claims of the completion's event, all of them of a bulk request; 202 until then."""
        txn, colon, index = call.id.partition(":")
        workspace, source = call.actor.workspace, call.actor.source

        def work(conn: Connection) -> tuple[Accepted | None, list[dict[str, Any]]]:
            asked = requests.find(conn, workspace, source, txn)
            if asked is None:
                return None, []
            names = [call.id] if index or asked.operations is None else [f"{txn}:{n}" for n in range(asked.operations)]
            found = requests.completions(conn, workspace, names)
            return asked, [found[name] for name in names if name in found]

        asked, found = await call.context.database.read(work)
        if asked is None or (asked.done_at is not None and not found) or (colon and not index):
            raise NotFound(f"there is no asynchronous request {txn[:64]} of this connection, or not any more")
        if index and (asked.operations is None or not index.isdecimal() or int(index) >= asked.operations):
            raise NotFound(f"the asynchronous request {txn[:64]} has no operation {index[:20]}")
        single = bool(index) or asked.operations is None
        if not found or not (single or asked.done_at is not None):
            return self._underway(txn, {"Retry-After": "1"})
        claims = [orjson.dumps(each | {"iss": call.context.base_url}) for each in found]
        return Response(claims[0] if single else list_response(len(claims), 1, claims), media_type=MEDIA_TYPE)

    # -- doing -----------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                done = await self.round()
            except SyncdError as exc:
                log.warning("requests_wait", why=str(exc))
                done = 0
            except Exception:
                log.exception("requests_stopped")
                done = 0
            if not done:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), POLL_S)
            self._wake.clear()

    async def round(self) -> int:
        """Do what waits, some of each connection; returns how many requests were done."""
        database, done = self.writes.context.database, 0
        for workspace, source in await database.read(requests.waiting):
            if workspace not in self.writes.context.workspaces:
                continue
            lease = _Lease(self.writes, workspace, f"requests {source}")
            if not await lease.take():
                continue  # another process is at it, and keeps the order
            try:
                for _ in range(TURN):
                    accepted = await database.read(partial(requests.following, workspace=workspace, source=source))
                    if accepted is None:
                        break
                    await self._do(accepted, lease)
                    done += 1
            finally:
                await lease.give_back()
        return done

    async def _do(self, accepted: Accepted, lease: _Lease) -> None:
        context = self.writes.context
        await lease.renew()
        await context.database.write(lambda conn: requests.begin(conn, accepted))
        record = _Record(self.writes, accepted, lease)
        refused: SyncdError | None = None
        if not await context.database.read(lambda conn: requests.may_still(conn, accepted.actor["token_id"])):
            refused = Unauthorized("the token this was asked with was revoked before it was done")
        elif accepted.source not in context.workspaces[accepted.workspace].connections:
            refused = Unauthorized("the connection this was asked by is not configured any more")
        elif accepted.attempts >= ATTEMPTS:
            refused = SyncdError(f"given up after {ATTEMPTS} attempts: the process ended each time")
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=accepted.id):
            if refused is not None:
                response = await self._refused(accepted, record, refused)
            elif accepted.operations is None:
                response = await self._single(accepted, record)
            else:
                response = await self._bulk(accepted, record)
            took_ms = round((time.perf_counter() - started) * 1000, 2)
            log.info(
                "async_done",
                method=accepted.method,
                route=accepted.endpoint,
                status=response.status_code,
                took_ms=took_ms,
            )
        if accepted.operations is not None:
            now = context.clock()
            await context.database.write(lambda conn: requests.end(conn, accepted.workspace, accepted.id, now))
        expected = self._expected.get(accepted.id)
        if expected is not None and not expected.done():
            expected.set_result(response)

    async def _refused(self, accepted: Accepted, record: _Record, exc: SyncdError) -> Response:
        if accepted.operations is None:
            location = self.writes.location(_write(accepted))
            await record.failed(0, accepted.endpoint, failure(accepted.method, exc, location))
        else:
            job = Job(self.writes, parse_bulk(accepted.body or b""), record.actor(0))
            await self._left_undone(job, record, exc)
        return error(exc)

    async def _left_undone(self, job: Job, record: _Record, why: SyncdError) -> None:
        """Each operation has its event, also one that was not tried."""
        for each in job.request.operations:
            if not record.has(each.index):
                result = failure(each.method, why, job.location(each), record.at(each.index))
                await record.failed(each.index, each.endpoint, replace(result, bulk_id=each.bulk_id))

    async def _single(self, accepted: Accepted, record: _Record) -> Response:
        write = _write(accepted)
        actor = record.actor(0)
        try:
            call, method = self.writes.call(write, actor, record.note(0))
            try:
                return await method.handle(call)
            finally:
                self.tolerated(actor, call.request.scope.get(TOLERANCES, ()))
        except (AlreadyDone, DatabaseUnavailable) as exc:
            if isinstance(exc, DatabaseUnavailable):
                raise
            return error(exc)  # it was done before its process ended, and only its end was not noted
        except Exception as exc:
            if isinstance(exc, SyncdError):
                tell_if_held(exc, actor)
                known = exc
            else:
                log.exception("async_failed", method=accepted.method, route=accepted.endpoint)
                known = SyncdError(f"something unexpected happened; the log has it under request {accepted.id}")
            await record.failed(0, write.endpoint, failure(write.method, known, self.writes.location(write)))
            return error(known)

    async def _bulk(self, accepted: Accepted, record: _Record) -> Response:
        request = parse_bulk(accepted.body or b"")
        await record.remember(len(request.operations))
        job = Job(self.writes, request, record.actor(0), record)
        results = await job.run()
        self.tolerated(job.actor, job.tolerated)
        await self._left_undone(job, record, Conflict("not tried: failOnErrors was reached before"))
        return Bulk.response(results)


def _write(accepted: Accepted) -> Write:
    return Write(
        accepted.method,
        accepted.endpoint,
        accepted.resource_id,
        accepted.body or b"",
        accepted.if_match,
        accepted.query.encode(),
    )


@dataclass(slots=True)
class _Lease:
    """One process at a time does the requests of a connection."""

    writes: Writes
    workspace: str
    name: str
    _fence: int = 0
    _renewed: float = 0.0

    async def take(self) -> bool:
        with suppress(Conflict):
            self._fence = await self.writes.context.database.write(
                lambda conn: leases.take(conn, self.workspace, self.name, "requests")
            )
            self._renewed = time.monotonic()
            return True
        return False

    async def renew(self) -> None:
        """Raises Conflict if another process has it now."""
        if time.monotonic() - self._renewed > RENEW_S:
            await self.writes.context.database.write(
                lambda conn: leases.renew(conn, self.workspace, self.name, self._fence)
            )
            self._renewed = time.monotonic()

    async def give_back(self) -> None:
        with suppress(SyncdError):  # it runs out by itself
            await self.writes.context.database.write(
                lambda conn: leases.release(conn, self.workspace, self.name, self._fence)
            )


@dataclass(slots=True)
class _Record:
    """What became of one request, kept operation by operation."""

    writes: Writes
    accepted: Accepted
    lease: _Lease
    _known: dict[int, Result] = field(default_factory=dict)
    _noted: set[int] = field(default_factory=set)

    def txn(self, index: int) -> str:
        return self.accepted.id if self.accepted.operations is None else f"{self.accepted.id}:{index}"

    def at(self, index: int) -> str:
        return "" if self.accepted.operations is None else f"Operations[{index}]: "

    def has(self, index: int) -> bool:
        return index in self._noted

    async def remember(self, n: int) -> None:
        """What was done of a bulk request before."""
        names = [self.txn(index) for index in range(n)]
        found = await self.writes.context.database.read(
            lambda conn: requests.completions(conn, self.accepted.workspace, names)
        )
        for index, name in enumerate(names):
            if name in found:
                self._noted.add(index)
                [said] = found[name]["events"].values()
                self._known[index] = Result(
                    said.get("method", ""),
                    int(said["status"]),
                    said.get("location"),
                    said.get("version"),
                    error=said.get("response"),
                )

    def known(self) -> Mapping[int, Result]:
        return self._known

    def actor(self, index: int) -> Actor:
        accepted = self.accepted
        kept = {**accepted.actor, "allow": frozenset(accepted.actor["allow"])}
        return Actor(
            door="scim",
            workspace=accepted.workspace,
            source=accepted.source,
            method=accepted.method,
            txn=self.txn(index),
            **kept,
        )

    def note(self, index: int, method: str = "", endpoint: str = "", bulk_id: str | None = None) -> Note:
        method, endpoint = method or self.accepted.method, endpoint or self.accepted.endpoint

        def noted(conn: Connection, status: int, id: str, version: int | None) -> None:
            location = self.writes.location(Write(method, endpoint, id))
            result = Result(method, status, location, None if version is None else etag(version), bulk_id)
            self._complete(conn, index, f"{endpoint}/{id}", result)
            self._noted.add(index)

        return noted

    async def failed(self, index: int, endpoint: str, result: Result) -> None:
        uri = endpoint or self.accepted.endpoint  # what was not made has no path of its own
        if result.location is not None:
            uri = result.location.removeprefix(self.writes.context.base_url)
        with suppress(AlreadyDone):
            await self.writes.context.database.write(lambda conn: self._complete(conn, index, uri, result))
        self._noted.add(index)

    async def alive(self) -> None:
        await self.lease.renew()

    def _complete(self, conn: Connection, index: int, uri: str, result: Result) -> None:
        now = self.writes.context.clock()
        requests.complete(conn, self.accepted.workspace, self.txn(index), uri, result.to_scim(), now)
        if self.accepted.operations is None:
            requests.end(conn, self.accepted.workspace, self.accepted.id, now)
