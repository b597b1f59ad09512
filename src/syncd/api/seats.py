"""Seat pools: used, limit, who holds and who waits in which order; seats assigned and released by hand."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from syncd.api.each import Id
from syncd.api.grants import GrantMade, GrantShown, direct_of, grant_of, must_have, shown
from syncd.api.model import Instant, Model, Page, Paging, Reason, Text, Whole
from syncd.api.operation import Answer, Call, Operation
from syncd.api.paging import asked
from syncd.api.users import found
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.change import UserEdit
from syncd.core.seats import Price, cost, number
from syncd.errors import NotFound
from syncd.store import holders, listing
from syncd.store.holders import SeatHolder
from syncd.store.listing import Idle, PoolReport
from syncd.store.read import Connection


class PriceShown(Model):
    """Of one seat that is taken. For the arithmetic: nothing is charged here."""

    amount: str = Field(description="A decimal number as text, such as 12.50.")
    currency: str
    per: Literal["month", "year"]


class CostShown(Model):
    currency: str
    per: Literal["month", "year"]
    cost: str


class PoolShown(Model):
    name: str
    kind: str = Field(description="`internal`, `portal` or `add-on`; `removed`: still in use, no longer configured.")
    used: int
    limit: int | None = Field(description="null: unlimited.")
    free: int | None = Field(description="null: unlimited.")
    over: int = Field(description="How many more than the limit are used.")
    waiting: int
    when_full: Literal["refuse", "waitlist", "overage"]
    requires: tuple[str, ...] = Field(description="Pools in which one must hold a seat to hold one here.")
    required: bool = Field(description="Without a seat here the whole person is refused.")
    excludes: tuple[str, ...] = Field(description="Pools in which nobody holds a seat who holds one here.")
    pending_counts: bool = Field(description="Whether who was invited and has not come yet holds a seat.")
    price: PriceShown | None
    cost: str | None = Field(description="The price times the seats that are used.")
    idle: int | None = Field(description="Seats of people who have not signed in for `idle_days`; null: not asked for.")


class PoolsShown(Model):
    items: tuple[PoolShown, ...]
    cost: tuple[CostShown, ...] = Field(description="Of all pools together, by currency and period.")


class ListPools(Model):
    idle_days: int | None = Field(default=None, ge=1, le=10_000, description="Count seats that have been idle so long.")


class SeatHolderShown(Model):
    id: str
    userName: str
    status: str
    since: Instant
    priority: int = Field(description="The lower is served first.")


class SeatHolderPage(Page[SeatHolderShown]):
    pass


class ListHolders(Paging):
    state: Literal["held", "waiting"] = Field(
        default="held", description="`waiting`: in the order they will be served."
    )


class SeatAssigned(Model):
    user: Id = Field(description="Her id.")
    expires: Instant | None = Field(default=None, description="When it ends by itself.")
    reason: Text = ""


class SeatPlaced(Model):
    priority: Whole = Field(ge=0, le=1_000_000, description="The lower is served first; 100 is where everybody starts.")
    reason: Text = ""


def list_(call: Call, conn: Connection) -> PoolsShown:
    days = call.asked(ListPools).idle_days
    idle = {}
    if days is not None:
        idle = listing.seats_idle(conn, call.workspace.name, call.now - timedelta(days=days))
    pools = listing.seat_pools(conn, call.workspace)
    none = None if days is None else Idle()
    sums = cost((each.price, each.used) for each in pools)
    return PoolsShown.model_validate(
        {
            "items": [_shown(each, call, idle.get(each.pool, none)) for each in pools],
            "cost": [{"currency": key[0], "per": key[1], "cost": number(total)} for key, total in sums.items()],
        }
    )


def show(call: Call, conn: Connection) -> PoolShown:
    return _shown(pool(call, conn), call)


def list_holders(call: Call, conn: Connection) -> SeatHolderPage:
    query = call.asked(ListHolders)
    known = pool(call, conn)
    wanted = asked(call, query, "seat holders")
    here = holders.of_pool(conn, call.workspace.name, known.pool, query.state == "held", wanted.limit, wanted.after)
    return wanted.page(SeatHolderPage, map(_holder, here.rows), here.more)


def assign(call: Call, conn: Connection) -> GrantShown:
    """A seat, or a place on the waiting list."""
    said = call.said(SeatAssigned)
    known = pool(call, conn)
    user = found(call, conn, said.user)
    made = grant_of(call, conn, GrantMade(kind="seat", value=known.pool, expires=said.expires, reason=said.reason))
    why = said.reason or f"assigned by {call.actor.name}"
    outcome = call.door(conn, [UserEdit(user.id, ADMIN_SOURCE, grant=(made,), why=why)])
    after = outcome.users.get(user.id, user)
    must_have(call, conn, after, known.pool)
    return next(each for each in shown(after, call) if (each.kind, each.value, each.origin, each.name) == made.id)


def release(call: Call, conn: Connection) -> Answer:
    known = pool(call, conn)
    user = found(call, conn, call.id)
    why = call.asked(Reason).reason or f"released by {call.actor.name}"
    call.door(conn, [UserEdit(user.id, ADMIN_SOURCE, revoke=direct_of(user, "seat", known.pool), why=why)])
    return Answer()


def place(call: Call, conn: Connection) -> SeatHolderShown:
    """Whoever waits is served by her place: the lower the earlier, then by how long she waits."""
    known = pool(call, conn)
    user = found(call, conn, call.id)
    seat = next((each for each in user.seats if each.pool == known.pool), None)
    if seat is None:
        raise NotFound(f"{user.name} neither holds a seat in {known.pool} nor waits for one")
    said = call.said(SeatPlaced)
    why = said.reason or f"placed by {call.actor.name}"
    call.door(conn, [UserEdit(user.id, ADMIN_SOURCE, priorities=((known.pool, said.priority),), why=why)])
    return SeatHolderShown(id=user.id, userName=user.name, status=user.status, since=seat.since, priority=said.priority)


def pool(call: Call, conn: Connection) -> PoolReport:
    name = call.param("pool")
    known = {each.pool: each for each in listing.seat_pools(conn, call.workspace)}
    if name not in known:
        raise NotFound(f"there is no seat pool {name[:64]!r}: there are {', '.join(sorted(known)) or 'none'}")
    return known[name]


def _shown(report: PoolReport, call: Call, idle: Idle | None = None) -> PoolShown:
    known = call.workspace.pools.get(report.pool)
    return PoolShown.model_validate(
        {
            **{"name": report.pool, "kind": report.kind, "used": report.used, "limit": report.limit},
            "free": report.free,
            **{"over": report.over, "waiting": report.waiting, "requires": report.requires},
            "when_full": known.when_full if known else "refuse",
            "required": known is not None and known.required,
            "excludes": known.excludes if known else (),
            "pending_counts": known is None or known.pending_counts,
            "price": None if report.price is None else _price(report.price),
            "cost": None if report.cost is None else number(report.cost),
            "idle": None if idle is None else idle.idle,
        }
    )


def _price(price: Price) -> dict[str, str]:
    return {"amount": number(price.amount), "currency": price.currency, "per": price.per}


def _holder(each: SeatHolder) -> SeatHolderShown:
    return SeatHolderShown(
        id=each.id, userName=each.user_name, status=each.status, since=each.since, priority=each.priority
    )


OPERATIONS = (
    Operation(
        "GET",
        "/seats",
        "seats:read",
        list_,
        "Seat pools with their numbers",
        answer=PoolsShown,
        query=ListPools,
        beside=True,
    ),
    Operation("GET", "/seats/{pool}", "seats:read", show, "One seat pool", answer=PoolShown),
    Operation(
        "GET",
        "/seats/{pool}/holders",
        "seats:read",
        list_holders,
        "Who holds a seat, or waits for one",
        answer=SeatHolderPage,
        query=ListHolders,
        beside=True,
    ),
    Operation(
        "POST",
        "/seats/{pool}/holders",
        "seats:write",
        assign,
        "Assign a seat, or a place on the waiting list",
        answer=GrantShown,
        body=SeatAssigned,
    ),
    Operation(
        "DELETE",
        "/seats/{pool}/holders/{id}",
        "seats:write",
        release,
        "Release a seat that was assigned by hand",
        query=Reason,
    ),
    Operation(
        "PATCH",
        "/seats/{pool}/holders/{id}",
        "seats:write",
        place,
        "Move somebody who waits up or down the waiting list",
        answer=SeatHolderShown,
        body=SeatPlaced,
    ),
)
