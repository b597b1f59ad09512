"""`syncd user offboard`, `handover` and `leaving`: who leaves when, and what is handed over to whom."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import typer

from syncd.cli.session import (
    Session,
    cell,
    confirmed,
    duration,
    moment,
    print_json,
    report,
    say,
    session,
    show,
    show_rows,
    when,
)
from syncd.cli.users import AsJson, Reason, Who, Yes
from syncd.core.offboarding import dated
from syncd.core.state import User
from syncd.errors import UsageError
from syncd.reconcile import render
from syncd.store import describe, offboarding
from syncd.store.commit import Outcome, commit
from syncd.store.offboarding import Offboarding, Report

To = Annotated[str | None, typer.Option("--hand-over-to", metavar="USER", help="Who takes over. Default: her manager.")]


def offboard(
    ctx: typer.Context,
    who: Who,
    at: Annotated[
        str | None, typer.Option(help="14d, or a date or instant (UTC without a zone). Default: now.")
    ] = None,
    hand_over_to: To = None,
    cancel: Annotated[bool, typer.Option("--cancel", help="She stays: take back a date that was set here.")] = False,
    reason: Reason = "",
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """She leaves: at that instant her access ends and her seats are released; the application and her manager are told."""
    current = session(ctx)
    if cancel and (at is not None or hand_over_to is not None):
        raise UsageError("--cancel takes the date back; it goes with neither --at nor --hand-over-to")
    if cancel:
        outcome = _cancel(current, who, reason or "stays, at the command line")
    else:
        date = None if at is None else moment(at, current.now(), ahead=True)
        outcome = _schedule(current, who, date, hand_over_to, reason or "leaves, at the command line", yes)
    outcome.check()
    if outcome.changes and not as_json:
        report(outcome)
    _show(current, who, as_json)


def _schedule(current: Session, who: str, at: datetime | None, to: str | None, why: str, yes: bool) -> Outcome:
    workspace, now, ids = current.workspace, current.now(), current.app.ids

    def schedule(conn: describe.Conn) -> Outcome:
        known = _known(conn, current, who)
        taker = None if to is None else describe.find_user(conn, workspace.name, to)
        return offboarding.schedule(conn, workspace, current.actor, known, at, taker, why, now, ids)

    with current.database.reading() as conn:
        known = _known(conn, current, who)
        then = commit(conn, workspace, current.actor, [dated(known, now, why)], now, ids, dry_run=True)
    released = sorted({str(each.before) for each in then.changes if each.kind == "unseat"})
    seats = f", seats released: {', '.join(released)}" if released else ""
    confirmed(f"{known.name} leaves {'now' if at is None else f'on {when(at)} UTC'}{seats}. Do this?", yes)
    return current.database.write_now(schedule)


def _cancel(current: Session, who: str, why: str) -> Outcome:
    def cancel(conn: describe.Conn) -> Outcome:
        known = _known(conn, current, who)
        return offboarding.cancel(conn, current.workspace, current.actor, known, why, current.now(), current.app.ids)

    return current.database.write_now(cancel)


def handover(
    ctx: typer.Context,
    who: Who,
    to: Annotated[str | None, typer.Option(metavar="USER", help="Choose who takes over.")] = None,
    as_json: AsJson = False,
) -> None:
    """What must be handed over, and to whom: as it was told when she left, else what is hers now."""
    current = session(ctx)
    if to is not None:

        def choose(conn: describe.Conn) -> None:
            taker = describe.find_user(conn, current.workspace.name, to)
            known = _known(conn, current, who)
            offboarding.choose(conn, current.workspace, current.actor, known, taker, current.now(), current.app.ids)

        current.database.write_now(choose)
    _show(current, who, as_json)


def leaving(
    ctx: typer.Context,
    within: Annotated[str, typer.Option(help="How far ahead to look, such as 30d.")] = "30d",
    as_json: AsJson = False,
) -> None:
    """Who leaves when, the first first; whoever states it."""
    current, span = session(ctx), duration(within)
    if span is None:
        raise UsageError(f"--within {within}: not a time such as 30d or 12w")
    now = current.now()
    with current.database.reading() as conn:
        found = offboarding.leaving(conn, current.workspace, now, now + span)
    if as_json:
        print_json([_standing(each) for each in found])
        return
    rows = (
        (each.name, each.leave and each.leave.ends_at, each.leave and each.leave.source, each.status, each.reason)
        for each in found
    )
    show_rows(("user", "leaves", "by", "status", "because"), rows, f"nobody leaves within {within}")


def _known(conn: describe.Conn, current: Session, who: str) -> User:
    return describe.user_facts(conn, current.workspace, describe.find_user(conn, current.workspace.name, who))


def _show(current: Session, who: str, as_json: bool) -> None:
    with current.database.reading() as conn:
        found = offboarding.report(conn, current.workspace, _known(conn, current, who), current.now())
    if as_json:
        print_json(_json(found))
        return
    known, what = found.standing, found.what
    listed = {
        "roles": what.roles,
        "permissions": what.permissions,
        "data scopes": what.data_scopes,
        "seats": what.seats,
        "groups": [found.groups.get(id, id) for id in what.groups],
        "manages": [found.people.get(id, id) for id in what.reports],
    }
    to = f"{found.to.name} ({found.to.because})" if found.to else "nobody: choose with `syncd user handover --to`"
    say(f"{known.name} {_date(known)}; {'was handed over' if found.then else 'to hand over'} to {to}")
    shown = render.table("", "")
    render.fill(shown, ((name, cell(list(values))) for name, values in listed.items() if values))
    shown.show_header = False
    if shown.row_count:
        show(shown)


def _date(known: Offboarding) -> str:
    if known.leave is None:
        return "has no date of leaving"
    verb = "has left" if known.status in ("inactive", "deleted") else "leaves"
    return f"{verb} on {when(known.leave.ends_at)} UTC, as {known.leave.source} states"


def _standing(each: Offboarding) -> dict[str, Any]:
    return {
        **{"id": each.user_id, "userName": each.name, "status": each.status, "reason": each.reason},
        **{"ends_at": each.leave and each.leave.ends_at, "source": each.leave and each.leave.source},
        **{"set_by": each.set_by, "done_at": each.done_at},
        "warned_before_s": None if each.warned is None else int(each.warned.total_seconds()),
    }


def _json(found: Report) -> dict[str, Any]:
    what, to = found.what, found.to
    return {
        **_standing(found.standing),
        "hand_over_to": to and {"id": to.id, "userName": to.name, "because": to.because},
        "handover": {
            "as_of": "leaving" if found.then else "now",
            **{name: list(getattr(what, name)) for name in ("roles", "permissions", "data_scopes", "seats")},
            "groups": [{"id": id, "display": found.groups.get(id)} for id in what.groups],
            "reports": [{"id": id, "userName": found.people.get(id)} for id in what.reports],
        },
    }
