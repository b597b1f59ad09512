"""What happened, as security events of SCIM (RFC 9967, on RFC 8417): one row of the outbox for each resource of a batch.

The door calls this for everything it writes, so that a request, a run, a timer and a command are told alike. All are
notices: names of attributes, never a value and never an externalId, so that a purge need not look here. `payload` is the set
of claims without `iss` and `aud`, which depend on who is told, and without a signature. `txn` is one for a batch, or the
asynchronous request's. Members who join and leave are one event of their group, however many they are (RFC 9967 section 5).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from syncd.core import revocation
from syncd.core.actor import Actor
from syncd.core.change import Change
from syncd.core.schema import SYNCD_USER
from syncd.core.state import Group, User
from syncd.store import tables as t
from syncd.store.drafts import Verdict
from syncd.store.rows import Rows

PROV: Final = "urn:ietf:params:scim:event:prov:"
FEED_ADD: Final = "urn:ietf:params:scim:event:feed:add"
ASYNC_RESPONSE: Final = "urn:ietf:params:scim:event:misc:asyncresp"
PURGED: Final = "urn:syncd:params:event:purged"  # the standard has no name for data that are gone for good
REVOKED: Final = "urn:syncd:params:event:revoked"  # nor for what somebody lost by a change: core/revocation.py
OFFBOARDING: Final = "urn:syncd:params:event:offboarding"  # a date of leaving: due, cancelled, handover
OVERAGE: Final = "urn:syncd:params:event:seats-overage"  # a pool went beyond its limit: used, limit, capacity
SESSIONS_REVOKED: Final = "https://schemas.openid.net/secevent/caep/event-type/session-revoked"  # CAEP 1.0 section 3.1

Events = dict[str, dict[str, Any]]  # event URI -> what it says
_USABLE: Final = frozenset({"active", "locked"})  # a lock passes by itself: whoever is locked is not deactivated
_NAMES: Final[Mapping[str, tuple[str, ...]]] = {  # kind of change -> attributes of a user it is seen in
    "join": ("groups",),
    "leave": ("groups",),
    "seat": (f"{SYNCD_USER}:seats", f"{SYNCD_USER}:waiting"),
    "unseat": (f"{SYNCD_USER}:seats", f"{SYNCD_USER}:waiting"),
    "wait": (f"{SYNCD_USER}:seats", f"{SYNCD_USER}:waiting"),
    "suspend": (f"{SYNCD_USER}:status",),
    "unsuspend": (f"{SYNCD_USER}:status",),
    "deactivate": ("active", f"{SYNCD_USER}:status"),
    "reactivate": ("active", f"{SYNCD_USER}:status"),
}
_GRANTED: Final = {"role": "roles", "permission": "entitlements", "scope": "entitlements"}


def write(
    rows: Rows,
    actor: Actor,
    verdicts: Sequence[Verdict],
    joined_or_left: Iterable[str],
    now: datetime,
    ids: Callable[[], str],
    webhooks: Sequence[str] = (),
) -> None:
    """The events of one batch. `joined_or_left`: groups whose members changed; `webhooks`: who must hear of revocations."""
    changes: dict[str, list[Change]] = defaultdict(list)
    users: dict[str, tuple[User | None, User]] = {}
    groups: dict[str, tuple[Group | None, Group | None]] = {}
    for verdict in verdicts:  # whoever is in it twice is told of once, from the first state to the last
        for change in verdict.changes:
            changes[change.subject_id].append(change)
        for before, after in verdict.users:
            users[after.id] = (users.get(after.id, (before,))[0], after)
        for old, new in verdict.groups:
            if (known := new or old) is not None:
                groups[known.id] = (groups.get(known.id, (old,))[0], new)
    verb = "put" if actor.method == "PUT" else "patch"
    said = {("Users", id): _of_user(*pair, changes[id], verb) for id, pair in users.items()}
    if groups:
        said |= {("Groups", id): _of_group(*pair, changes[id], verb) for id, pair in groups.items()}
    for group in sorted(joined_or_left):
        _with_members(said.setdefault(("Groups", group), {}))
    txn = actor.txn
    for (endpoint, id), events in said.items():
        if events:
            jti = ids()
            txn = tell(rows, f"/{endpoint}/{id}", id, events, now, jti, txn)
            if REVOKED in events:
                owe(rows, webhooks, jti, id, users[id][1].version, now, ids)


def tell(rows: Rows, uri: str, subject_id: str, events: Events, now: datetime, jti: str, txn: str | None = None) -> str:
    """One event token about the resource at `uri`; returns its `txn`, which is its own id if none was given."""
    rows.add(t.outbox, _OUTBOX, (*row(uri, subject_id, events, now, jti, txn).values(), rows.workspace))
    return txn or jti


_OUTBOX: Final = ("id", "at", "topic", "subject_id", "payload", "state", "workspace")  # as `row` has them


def owe(
    rows: Rows,
    webhooks: Iterable[str],
    event_id: str,
    subject_id: str,
    version: int,
    now: datetime,
    ids: Callable[[], str],
) -> None:
    """Each of these is to be told of this event, and has to acknowledge it."""
    for name in webhooks:
        rows.insert(
            t.deliveries,
            id=ids(),
            webhook=name,
            event_id=event_id,
            subject_id=subject_id,
            version=version,
            created_at=now,
            next_at=now,
        )


def row(uri: str, subject_id: str, events: Events, now: datetime, jti: str, txn: str | None) -> dict[str, Any]:
    claims = {
        "jti": jti,
        "iat": int(now.timestamp()),
        "txn": txn or jti,
        "sub_id": {"format": "scim", "uri": uri},
        "events": events,
    }
    # A deactivation before the notice of what it changed.
    topic = min(events, key=lambda uri: "attributes" in events[uri]) if len(events) > 1 else next(iter(events))
    return {"id": jti, "at": now, "topic": topic, "subject_id": subject_id, "payload": claims, "state": "new"}


def _of_user(before: User | None, after: User, changes: Sequence[Change], verb: str) -> Events:
    was = before is not None and before.present
    lost = revocation.of(before, after, changes) if was else None
    revoked: Events = {} if lost is None else {REVOKED: lost}
    if not after.present:
        return {f"{PROV}delete": {}, **revoked} if was else {}
    usable = after.status in _USABLE
    if before is not None and not was:
        back: Events = {f"{PROV}activate": {}} if usable else {}
        return {FEED_ADD: {}, **back}  # its id was known, and it comes back
    names: set[str] = set()
    for change in changes:
        names.update(_NAMES.get(change.kind) or _names(change))
    if before is None:
        return {f"{PROV}create:notice": _notice({"id", *names}, after.version)}
    events: Events = {f"{PROV}{verb}:notice": _notice(names, after.version)} if names else {}
    if usable != (before.status in _USABLE):
        events[f"{PROV}{'activate' if usable else 'deactivate'}"] = {}
    return events | revoked


def _of_group(before: Group | None, after: Group | None, changes: Sequence[Change], verb: str) -> Events:
    if after is None:
        return {f"{PROV}delete": {}} if before is not None else {}
    names = {
        name for change in changes if change.kind in ("group_create", "group_update") for name in change.after or ()
    }
    if before is None:
        return {f"{PROV}create:notice": _notice({"id", *names}, after.version)}
    return {f"{PROV}{verb}:notice": _notice(names, after.version)} if names else {}


def _with_members(events: Events) -> None:
    if not events:
        events[f"{PROV}patch:notice"] = {"attributes": []}
    for notice in events.values():
        if "attributes" in notice:  # else it is gone
            notice["attributes"] = sorted({*notice["attributes"], "members"})


def _names(change: Change) -> Iterable[str]:
    match change.kind:
        case "create" | "update":
            stated = {**(change.before or {}), **(change.after or {})}
            shown = (name for name in stated if " " not in name)  # not a place on a waiting list, or the end of a grant
            return (f"{SYNCD_USER}:status" if name == "status" else name for name in shown)
        case "adopt":
            return ("externalId",)
        case "grant" | "revoke":
            granted = _GRANTED.get(str(change.after or change.before).partition(" ")[0])
            return () if granted is None else (granted,)  # a seat itself says when it comes or goes
    return ()


def _notice(names: Iterable[str], version: int) -> dict[str, Any]:
    return {"version": f'W/"{version}"', "attributes": sorted(names)}
