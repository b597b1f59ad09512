"""`syncd seat report`: the same rows as a table for people, CSV for a sheet and JSON for a program."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, TextIO

from rich.console import Group, RenderableType
from rich.text import Text

from syncd.cli.session import cell
from syncd.core.seats import money, number
from syncd.reconcile.render import fill, table
from syncd.store.listing import Idle, PoolReport

Row = dict[str, Any]
COLUMNS = (
    *("pool", "kind", "used", "limit", "free", "over", "waiting", "waiting_since", "idle"),
    *("price", "currency", "per", "cost"),
)


def row(pool: PoolReport, idle: Idle, told: bool) -> Row:
    """`told`: whether the application reports sign-ins; where it does not, nobody knows who is idle."""
    price = pool.price
    return {
        **{"pool": pool.pool, "kind": pool.kind, "used": pool.used, "limit": pool.limit, "free": pool.free},
        **{"over": pool.over, "waiting": pool.waiting, "waiting_since": idle.waits_since},
        "idle": idle.idle if told else None,
        "price": None if price is None else number(price.amount),
        "currency": None if price is None else price.currency,
        "per": None if price is None else price.per,
        "cost": None if pool.cost is None else number(pool.cost),
    }


def as_json(rows: Sequence[Row], totals: Mapping[tuple[str, str], Decimal], idle: str) -> Row:
    cost = [{"currency": currency, "per": per, "cost": number(sum_)} for (currency, per), sum_ in totals.items()]
    return {"pools": list(rows), "cost": cost, "idle_for": idle}


def write_csv(out: TextIO, rows: Sequence[Row]) -> None:
    """RFC 4180 with a header; an empty field is unlimited, unpriced or unknown."""
    written = csv.writer(out)
    written.writerow(COLUMNS)
    for each in rows:
        moment = each["waiting_since"]
        shown = each | {"waiting_since": None if moment is None else moment.isoformat()}
        written.writerow(["" if shown[name] is None else shown[name] for name in COLUMNS])


def as_table(rows: Sequence[Row], totals: Mapping[tuple[str, str], Decimal], idle: str) -> RenderableType:
    if not rows:
        return Text("no seat pools are configured")
    shown = table(
        *("pool", "kind", "used", "limit", "free", "over", "waiting", "since"), f"idle {idle}", "price", "cost"
    )
    fill(shown, (_cells(each) for each in rows))
    for (currency, per), total in totals.items():
        fill(shown, [("all pools", *[""] * 9, f"{money(total)} {currency}/{per}")], style="bold")
    if all(each["idle"] is None for each in rows):
        return Group(shown, Text("idle: unknown, since the application reports no sign-ins"))
    return shown


def _day(moment: datetime | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d}"


def _cells(each: Row) -> tuple[str, ...]:
    unlimited = each["kind"] != "removed" and each["limit"] is None
    counted = (each["used"], "unlimited" if unlimited else each["limit"], each["free"], each["over"] or None)
    priced = each["price"] is not None
    return (
        *(each["pool"], each["kind"]),
        *map(cell, (*counted, each["waiting"] or None, _day(each["waiting_since"]), each["idle"])),
        f"{money(Decimal(each['price']))} {each['currency']}/{each['per']}" if priced else "",
        f"{money(Decimal(each['cost']))} {each['currency']}/{each['per']}" if priced else "",
    )
