"""Mail that is to be sent: written with the change that asks for it, and made readable only when it is sent.

A row says which letter, to which user, about whom; names, addresses and links are looked up at sending, so that nothing
personal waits here, a purge need not look far, and a link that is a secret is never stored. What a server refuses for good,
and what could not be sent for too long, ends and stays visible. Mail whose reason is gone is not sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select, update

from syncd.core.mail import Envelope, address_of, language_of, shown_name
from syncd.core.offboarding import Handover
from syncd.core.state import User
from syncd.core.workspace import Workspace
from syncd.errors import Conflict, NotFound
from syncd.store import email_changes, facts, offboarding
from syncd.store import tables as t

SENT, REFUSED, FAILED, VOID, DISCARDED = "sent", "refused", "failed", "void", "discarded"
STATES = ("waiting", SENT, REFUSED, FAILED, VOID, DISCARDED)
_m = t.mails.c


@dataclass(frozen=True, slots=True)
class Sending:
    """What letters say beside what the store knows. `base_url`: where links lead, without a trailing slash."""

    application: str
    base_url: str
    timezone: tzinfo


@dataclass(frozen=True, slots=True)
class Taken:
    workspace: str
    id: str
    attempts: int
    created_at: datetime
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one attempt. `ended_as` None: again at `again_at`."""

    workspace: str
    id: str
    code: int | None
    error: str | None
    ended_as: str | None
    again_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    id: str
    kind: str
    state: str
    to_id: str | None
    about_id: str
    created_at: datetime
    attempts: int
    next_at: datetime | None
    last_at: datetime | None
    last_code: int | None
    last_error: str | None
    ended_at: datetime | None


# -- sending -----------------------------------------------------------------------------------------------------------------


def waiting(conn: Connection, now: datetime, horizon: timedelta) -> bool:
    return conn.execute(select(_m.id).where(_due(now, horizon)).limit(1)).first() is not None


def take(
    conn: Connection,
    workspaces: Mapping[str, Workspace],
    sending: Sending,
    now: datetime,
    until: datetime,
    limit: int,
    horizon: timedelta,
) -> list[Taken]:
    """Up to `limit` that are due, made readable; nobody else takes them before `until`. What has no reason or no address any
    more ends here."""
    query = select(t.mails).where(_m.workspace.in_(list(workspaces)), _due(now, horizon))
    rows = conn.execute(query.order_by(_m.next_at, _m.id).limit(limit).with_for_update(skip_locked=True)).all()
    found = []
    for row in rows:
        where = (_m.workspace == row.workspace, _m.id == row.id)
        written = _COMPOSE[row.kind](conn, workspaces[row.workspace], row, sending, now)
        if isinstance(written, str):
            ended = {"ended_at": now, "ended_as": VOID, "last_error": written}
            conn.execute(update(t.mails).where(*where).values(**ended))
            continue
        taken = {"next_at": until, "last_at": now, "last_code": None, "last_error": None, "attempts": row.attempts + 1}
        conn.execute(update(t.mails).where(*where).values(**taken))
        found.append(Taken(row.workspace, row.id, row.attempts + 1, row.created_at, written))
    return found


def _due(now: datetime, horizon: timedelta) -> Any:
    return and_(_m.ended_at.is_(None), or_(_m.next_at <= now, _m.next_at > now + horizon))


def note(conn: Connection, results: Iterable[Result], now: datetime) -> None:
    for each in results:
        values: dict[str, Any] = {"last_code": each.code, "last_error": each.error}
        if each.ended_as is not None:
            values |= {"ended_at": now, "ended_as": each.ended_as}
        else:
            values["next_at"] = each.again_at
        where = (_m.workspace == each.workspace, _m.id == each.id, _m.ended_at.is_(None))
        conn.execute(update(t.mails).where(*where).values(**values))


# -- what letters say --------------------------------------------------------------------------------------------------------

Compose = Callable[[Connection, Workspace, Any, Sending, datetime], "Envelope | str"]


def _leaving(conn: Connection, workspace: Workspace, row: Any, sending: Sending, now: datetime) -> Envelope | str:
    """To whom takes over: she leaves, stays after all, or has left. A str says why it is not sent."""
    people = facts.load_users(conn, workspace.name, [row.about_id, row.to_id], workspace.precedence)
    about, to = people.get(row.about_id), people.get(row.to_id)
    if about is None or to is None:
        return "the user is not there any more"
    address = address_of(to.values)
    if address is None:
        return f"{to.name} has no e-mail address"
    if row.kind == "leaving":
        known = offboarding.find(conn, workspace, about, now)
        if known.leave is None or int(known.leave.ends_at.timestamp()) != row.said["ends_at"]:
            return "the date has changed since"
    return Envelope(
        row.id, row.kind, address, language_of(to.values), now, _values(conn, workspace, row, about, to, sending, now)
    )


def _values(
    conn: Connection, workspace: Workspace, row: Any, about: User, to: User, sending: Sending, now: datetime
) -> dict[str, str]:
    ends = datetime.fromtimestamp(row.said["ends_at"], sending.timezone)
    what = offboarding.find(conn, workspace, about, now).handed_over
    if what is None:
        what = Handover.of(about, offboarding.reports(conn, workspace.name, about.id), now)
    return {
        "application": sending.application,
        "recipient": shown_name(to.values),
        "name": shown_name(about.values),
        "user_name": about.name,
        "date": f"{ends:%Y-%m-%d %H:%M %Z}",
        "hand_over_to": shown_name(to.values),
        "handover": _listed(conn, workspace, what),
    }


def _listed(conn: Connection, workspace: Workspace, what: Handover) -> str:
    people = offboarding.user_names(conn, workspace.name, what.reports)
    groups = offboarding.group_names(conn, workspace.name, what.groups)
    lines = {
        "roles": what.roles,
        "data": what.data_scopes,
        "seats": what.seats,
        "groups": [groups.get(id, id) for id in what.groups],
        "people she manages": [people.get(id, id) for id in what.reports],
    }
    found = [f"  {name}: {', '.join(values)}\n" for name, values in lines.items() if values]
    return "\n" + "".join(found or ["  nothing that syncd knows of\n"])


def _test(conn: Connection, workspace: Workspace, row: Any, sending: Sending, now: datetime) -> Envelope | str:
    return Envelope(row.id, "test", row.said["address"], "", now, {"application": sending.application})


def _invitation(conn: Connection, workspace: Workspace, row: Any, sending: Sending, now: datetime) -> Envelope | str:
    """Its link is made here and nowhere kept: who reads the database cannot come in."""
    from syncd.store import invitations  # noqa: PLC0415 - it ends letters, and so needs this module

    made = invitations.link(conn, workspace.name, row.said["invitation"], row.id, now)
    if made is None:
        return "the invitation has ended, or was sent anew"
    token, invitation = made
    expires = invitation.expires_at.astimezone(sending.timezone)
    values = {
        "application": sending.application,
        "recipient": invitation.address,
        "inviter": invitation.invited_by,
        "link": f"{sending.base_url}/invitation?token={token}",
        "expires": f"{expires:%Y-%m-%d %H:%M %Z}",
    }
    return Envelope(row.id, "invitation", invitation.address, "", now, values)


def _reset(conn: Connection, workspace: Workspace, row: Any, sending: Sending, now: datetime) -> Envelope | str:
    from syncd.store import resets  # noqa: PLC0415 - it writes letters, and so needs what this module does

    made = resets.letter(conn, workspace, row, now)
    if isinstance(made, str):
        return made
    user, address, token, until = made
    values = {
        "application": sending.application,
        "recipient": shown_name(user.values),
        "name": shown_name(user.values),
        "user_name": user.name,
        "link": f"{sending.base_url}/password-reset?token={token}",
        "expires": f"{until.astimezone(sending.timezone):%Y-%m-%d %H:%M %Z}",
    }
    return Envelope(row.id, "reset", address, language_of(user.values), now, values)


def _email_change(conn: Connection, workspace: Workspace, row: Any, sending: Sending, now: datetime) -> Envelope | str:
    """To the new address, with the link, or a word about it to the old one."""
    from syncd.store import addresses  # noqa: PLC0415 - it ends letters, and so needs this module

    user = facts.load_users(conn, workspace.name, [row.about_id], workspace.precedence).get(row.about_id)
    confirming = row.kind == addresses.CONFIRMING
    made = addresses.link(conn, workspace, row.about_id, row.id, now) if confirming else None
    change = email_changes.find(conn, workspace.name, row.about_id, now)
    if user is None or change is None or (confirming and made is None):
        return "the change has ended, or was sent anew"
    if not confirming and row.said["asked_at"] != int(change.asked_at.timestamp()):
        return "the change has ended"
    address = change.address if confirming else address_of(user.values)
    if address is None:
        return f"{user.name} has no e-mail address"
    values = {
        "application": sending.application,
        "recipient": shown_name(user.values),
        "name": shown_name(user.values),
        "user_name": user.name,
        "address": change.address,
        "asked_by": change.asked_by,
        "link": f"{sending.base_url}/email-change?token={made[0]}" if made else "",
        "expires": f"{change.expires_at.astimezone(sending.timezone):%Y-%m-%d %H:%M %Z}",
    }
    return Envelope(row.id, row.kind, address, language_of(user.values), now, values)


_COMPOSE: dict[str, Compose] = {
    **{"leaving": _leaving, "staying": _leaving, "handover": _leaving},
    **{"invitation": _invitation, "reset": _reset, "test": _test},
    **{"email_change": _email_change, "email_changing": _email_change},
}


# -- people ------------------------------------------------------------------------------------------------------------------


def listed(
    conn: Connection,
    workspace: str,
    state: str | None = "waiting",
    after: str | None = None,
    limit: int | None = None,
    about: str | None = None,
) -> list[Mail]:
    """In the order of their ids, which is that of time; `after`: the id before the first."""
    query = _rows(workspace)
    if state is not None:
        query = query.where(_m.ended_at.is_(None) if state == "waiting" else _m.ended_as == state)
    if after is not None:
        query = query.where(_m.id > after)
    if about is not None:
        query = query.where(_m.about_id == about)
    return [_mail(row) for row in conn.execute(query.order_by(_m.id).limit(limit))]


def find(conn: Connection, workspace: str, id: str) -> Mail:
    """Raises NotFound."""
    row = conn.execute(_rows(workspace).where(_m.id == id)).first()
    if row is None:
        raise NotFound(f"there is no mail {id[:64]!r}")
    return _mail(row)


def _rows(workspace: str) -> Select[Any]:
    return select(t.mails).where(_m.workspace == workspace)


def _mail(row: Any) -> Mail:
    return Mail(
        row.id,
        row.kind,
        row.ended_as or "waiting",
        row.to_id,
        row.about_id,
        row.created_at,
        row.attempts,
        None if row.ended_at else row.next_at,
        row.last_at,
        row.last_code,
        row.last_error,
        row.ended_at,
    )


def retry(conn: Connection, workspace: str, id: str, now: datetime) -> Mail:
    """Now, also what was refused or given up. Raises NotFound; Conflict if it was sent."""
    found = find(conn, workspace, id)
    if found.state not in ("waiting", REFUSED, FAILED):
        raise Conflict(f"mail {id} is {found.state}: there is nothing to send")
    again = {"next_at": now, "ended_at": None, "ended_as": None, "created_at": now}
    conn.execute(update(t.mails).where(_m.workspace == workspace, _m.id == id).values(**again))
    return find(conn, workspace, id)


def end(conn: Connection, workspace: str, ids: Sequence[str], ended_as: str, now: datetime) -> int:
    """Those of these that wait are not sent. Returns how many."""
    where = (_m.workspace == workspace, _m.id.in_(list(ids)), _m.ended_at.is_(None))
    return conn.execute(update(t.mails).where(*where).values(ended_at=now, ended_as=ended_as)).rowcount


@dataclass(frozen=True, slots=True)
class MailSeen:
    """How the mail of a workspace stands. `refused`: within a week, for good."""

    waiting: int = 0
    since: datetime | None = None
    refused: int = 0


def standing(conn: Connection, workspaces: Sequence[str], now: datetime) -> dict[str, MailSeen]:
    refused = and_(_m.ended_as.in_((REFUSED, FAILED)), _m.ended_at > now - timedelta(days=7))
    open_ = _m.ended_at.is_(None)
    query = (
        select(
            _m.workspace,
            func.count().filter(open_).label("waiting"),
            func.min(_m.created_at).filter(open_).label("since"),
            func.count().filter(refused).label("refused"),
        )
        .where(_m.workspace.in_(workspaces), or_(open_, refused))
        .group_by(_m.workspace)
    )
    return {row.workspace: MailSeen(row.waiting, row.since, row.refused) for row in conn.execute(query)}
