"""Edits state new facts; changes are what they turn out to mean. A plan is a list of change groups of edits.

An edit names one resource and carries the facts of one source (or of people); it never carries anything derived. The door
applies edits to the state, derives status, grants and seats, and `between` names every difference as a Change. The same
function serves dry run and real run, so that what is shown is what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal

from syncd.core.access import DENIAL
from syncd.core.actor import ADMIN_SOURCE
from syncd.core.denial import denials
from syncd.core.lifecycle import SEATED
from syncd.core.quick import changed, quick
from syncd.core.state import STAGES, Grant, Group, Link, Membership, Seat, User

KINDS = (
    *("create", "adopt", "update", "suspend", "unsuspend", "deactivate", "reactivate", "delete", "restore"),
    *("grant", "revoke", "seat", "unseat", "wait", "join", "leave"),
    *("group_create", "group_update", "group_delete", "yield"),
)


@quick
@dataclass(frozen=True, slots=True)
class UserEdit:
    """New facts about one user. Without any, the user is derived anew (a group above her changed)."""

    id: str
    source: str
    resource: Literal["user"] = "user"
    create: bool = False
    adopt: bool = False  # an existing user this source did not link before
    adopt_approved: str = ""  # by whom, if an admin said that this entry is she
    link: Link | None = None  # the whole new state of this source's link of that key
    drop_link: str | None = None  # the key of this source's link to forget
    join: tuple[str, ...] = ()  # ids of groups this source puts the user in
    leave: tuple[str, ...] = ()
    leave_all: tuple[str, ...] = ()  # groups that go away, whoever put the user in
    facts: Mapping[str, Any] = field(default_factory=dict)  # suspended, locked_until, invited, deleted_at, reclaimed
    grant: tuple[Grant, ...] = ()
    revoke: tuple[tuple[str, str, str, str], ...] = ()  # Grant.id
    priorities: tuple[tuple[str, int], ...] = ()  # (pool, place): whoever waits there is served by it, the lower first
    why: str = ""

    @property
    def comes_or_goes(self) -> bool:
        """Whether by it she may be deleted or back again, and so leave or enter groups that it does not name."""
        return "deleted_at" in self.facts or self.adopt or (self.link is not None and self.link.stage == "deleted")


@quick
@dataclass(frozen=True, slots=True)
class GroupEdit:
    """New facts about one group. Its members join and leave by edits of their own."""

    id: str
    source: str
    resource: Literal["group"] = "group"
    create: bool = False
    delete: bool = False
    link: Link | None = None
    join: tuple[str, ...] = ()
    leave: tuple[str, ...] = ()
    leave_all: tuple[str, ...] = ()
    unresolved: tuple[str, ...] | None = (
        None  # members that are not in the store, as the source names them; None: as is
    )
    unresolved_hashes: tuple[str, ...] = ()  # of these, in the same order: how they are found by name later
    grant: tuple[Grant, ...] = ()  # to whoever is in it
    revoke: tuple[tuple[str, str, str, str], ...] = ()  # Grant.id
    why: str = ""


_BY_HAND = ("direct", "override")
_ROLE_GRANTS = frozenset({"role", "permission", "scope"})  # what a loss of kind "role" covers
# What a group itself shows: which groups it is in is shown by those.
GROUP_SHOWS = frozenset({"group_create", "group_update", "group_delete", "grant", "revoke"})
WAITING = "waiting for "  # before the name of a pool, where a change is about a place in its line
STATUS_LOSSES = frozenset({"suspend", "deactivate", "delete"})
Edit = UserEdit | GroupEdit
ChangeGroup = tuple[Edit, ...]


@quick
@dataclass(frozen=True, slots=True)
class Change:
    """One observable difference. `loss` is the kind of loss it counts as, None for a gain or a neutral change."""

    kind: str
    subject: str  # userName, or `group NAME`
    before: Any
    after: Any
    why: str = ""
    subject_id: str = ""
    loss: str | None = None
    exempt: bool = False  # what the same source made within the window and now takes back is not a loss


def edited(user: User, edit: UserEdit, now: datetime) -> User:
    """The user's facts after `edit`; nothing derived is touched."""
    links = user.links
    if edit.link is not None:
        old = user.link(edit.source, edit.link.key)
        made = (old and old.created_at) or edit.link.created_at or now
        new = edit.link if edit.link.created_at == made else changed(edit.link, created_at=made)
        links = (*(each for each in links if each is not old), new)
    if edit.drop_link is not None:
        links = tuple(each for each in links if (each.source, each.key) != (edit.source, edit.drop_link))
    if len(links) > 1:
        links = tuple(sorted(links, key=_source_and_key))
    if not (edit.grant or edit.revoke or edit.priorities or edit.facts or user.denied):
        return changed(user, links=links, memberships=_memberships(user.memberships, edit, now))
    return changed(
        user,
        links=links,
        memberships=_memberships(user.memberships, edit, now),
        grants=_granted(user.stated, edit),
        denied=(),
        seats=_placed(user.seats, dict(edit.priorities)),
        **{"reclaimed": _still_reclaimed(user.reclaimed, edit), **edit.facts},
    )


def _source_and_key(link: Link) -> tuple[str, str]:
    return link.source, link.key


def _granted(current: tuple[Grant, ...], edit: Edit) -> tuple[Grant, ...]:
    if not (edit.grant or edit.revoke):
        return current
    added = {grant.id: grant for grant in edit.grant}
    kept = (grant for grant in current if grant.id not in added and grant.id not in edit.revoke)
    return (*kept, *added.values())


def _still_reclaimed(reclaimed: tuple[str, ...], edit: UserEdit) -> tuple[str, ...]:
    """A seat that is given anew is hers, whether or not she signed in."""
    given = {grant.value for grant in edit.grant if grant.kind == "seat"}
    return tuple(pool for pool in reclaimed if pool not in given) if given else reclaimed


def _placed(seats: tuple[Seat, ...], priorities: Mapping[str, int]) -> tuple[Seat, ...]:
    if not priorities:
        return seats
    return tuple(replace(seat, priority=priorities.get(seat.pool, seat.priority)) for seat in seats)


def _memberships(current: tuple[Membership, ...], edit: Edit, now: datetime) -> tuple[Membership, ...]:
    if not (edit.join or edit.leave or edit.leave_all):
        return current
    if not current:
        return tuple([Membership(group, edit.source, now) for group in sorted(set(edit.join))])
    gone = {(group, edit.source) for group in edit.leave}
    kept = {
        (each.group, each.origin): each
        for each in current
        if (each.group, each.origin) not in gone and each.group not in edit.leave_all
    }
    for group in edit.join:
        kept.setdefault((group, edit.source), Membership(group, edit.source, now))
    return tuple(kept[key] for key in sorted(kept))


def group_edited(group: Group, edit: GroupEdit, now: datetime) -> Group:
    link = group.link
    if edit.link is not None:
        link = replace(edit.link, created_at=(link and link.created_at) or now)
    return replace(
        group,
        link=link,
        values=dict(link.values) if link else group.values,
        memberships=_memberships(group.memberships, edit, now),
        grants=tuple(sorted(_granted(group.grants, edit), key=lambda each: each.id)),
    )


def retained(before: User, after: User, source: str, losses: frozenset[str]) -> User:
    """`after` without the losses of these kinds: what a guard holds stays as it was, everything else goes on.

    Grants that rules give are derived after this, and retained there. Reads that missed the entry stay counted.
    """
    if "membership" in losses:
        there = {(each.group, each.origin) for each in after.memberships}
        back = tuple(each for each in before.memberships if (each.group, each.origin) not in there)
        after = replace(after, memberships=(*after.memberships, *back))
    held_kinds = (_ROLE_GRANTS if "role" in losses else frozenset()) | ({"seat"} if "seat" in losses else frozenset())
    if held_kinds:
        granted = {grant.id for grant in after.grants}
        back_grants = tuple(each for each in before.grants if each.kind in held_kinds and each.id not in granted)
        after = replace(after, grants=(*after.grants, *back_grants))
    after = replace(after, links=tuple(_kept_link(before, link, source, losses) for link in after.links))
    if losses & STATUS_LOSSES:
        back_links = tuple(each for each in before.links if after.link(each.source, each.key) is None)
        after = replace(after, links=(*after.links, *back_links))
    elif "blank" in losses:  # of a link that is dropped; one under another key keeps its values above
        dropped = tuple(each for each in before.links if each.source == source and after.link(source) is None)
        after = replace(after, links=(*after.links, *dropped))
    if losses & STATUS_LOSSES:
        after = replace(after, suspended=before.suspended, deleted_at=before.deleted_at)
    return after


def _kept_link(before: User, link: Link, source: str, losses: frozenset[str]) -> Link:
    old = before.link(link.source, link.key)
    if link.source != source:
        return link
    if old is None:  # a source that is new to her: what it says is kept, but for what would take her access
        if not losses & STATUS_LOSSES:
            return link
        return replace(link, enabled=link.enabled or None, starts_at=None, ends_at=None, stage=None)
    values = {**old.values, **link.values} if "blank" in losses else link.values
    if not losses & STATUS_LOSSES:
        return replace(link, values=values)
    # Only what is worse than before is held: who comes back in the same run comes back, and missed reads stay counted.
    if _rung(link.stage) > _rung(old.stage):
        link = replace(link, stage=old.stage or "missing")
    if link.enabled is False:
        link = replace(link, enabled=old.enabled)
    if link.starts_at is not None and (old.starts_at is None or link.starts_at > old.starts_at):
        link = replace(link, starts_at=old.starts_at)
    if link.ends_at is not None and (old.ends_at is None or link.ends_at < old.ends_at):
        link = replace(link, ends_at=old.ends_at)
    return replace(link, values=values)


def _rung(stage: str | None) -> int:
    return STAGES.index(stage) if stage else -1


def between(
    before: User | None,
    after: User,
    name_of: Callable[[str], str],
    why: str,
    source: str,
    recent: tuple[datetime, datetime] | None,
    adopted: bool = False,
    excluders: Mapping[str, frozenset[str]] = MappingProxyType({}),
    taken_back: bool = False,
) -> tuple[Change, ...]:
    """Every observable difference, in the order to show it. Equal gives (), so that a repeated write makes no version.

    `name_of` turns a group's id into its display name; `recent` is the source's rolling window, from and until now: what it
    created itself within it is not a loss when it takes it back. (Later than now: the clock was set back.) `excluders`: of each
    pool those that exclude it: a seat that another takes the place of is no loss. `taken_back`: a group that she is in leaves
    another, and nothing else is changed, so what came by that within the window goes with it.
    """
    out: list[Change] = []
    subject = after.name

    def add(kind: str, old: Any, new: Any, reason: str, loss: str | None = None, exempt: bool = False) -> None:
        out.append(Change(kind, subject, old, new, reason, after.id, loss, exempt and loss is not None))

    def young(made: datetime | None) -> bool:
        return _within(made, recent)

    if before is None:
        add("create", None, after.values if after.status == "active" else {**after.values, "status": after.status}, why)
        before = User(after.id, status=after.status)
        own = True
    else:
        own_link = before.link(source)
        made_by_it = own_link is not None and _not_after(own_link.created_at, before.created_at)
        own = made_by_it and young(before.created_at)
        if adopted:
            add("adopt", None, {"source": source}, why)
        if not adopted and (old_key := _key(before, source)) != (new_key := _key(after, source)):
            add("update", {"externalId": old_key}, {"externalId": new_key}, why)
        was, now_is = before.values, after.values
        gone = {} if was.keys() <= now_is.keys() else {path: was[path] for path in was if path not in now_is}
        new = {path: value for path, value in now_is.items() if was.get(path) != value}
        if new:
            add("update", {path: before.values.get(path) for path in new}, new, why)
        if gone:
            add("update", gone, dict.fromkeys(gone), why, "blank", own)
        transition = transition_of(before.status, after.status)
        if transition:
            loss = transition if transition in STATUS_LOSSES else None
            add(transition, before.status, after.status, why, loss, own)
        elif _active_said(before) != _active_said(after):
            add("update", {"active": _active_said(before)}, {"active": _active_said(after)}, why)
        elif before.status != after.status:  # pending, locked and active differ, nothing is taken away for good
            add("update", {"status": before.status}, {"status": after.status}, why)
    for path, value in _yielding(before, after, source) if len(after.links) > 1 else ():
        add("yield", None, {path: value, "shown": after.values.get(path)}, f"another source owns {path}")
    # What is the very same object on both sides was not touched: an edit and the door keep what they leave as it is.
    if before.memberships is not after.memberships:
        _memberships_between(before, after, name_of, why, young, source, add)
        taken_back = _takes_back(before, after, source, young)
    if before.grants is not after.grants or before.denied is not after.denied or before.seats is not after.seats:
        _access_between(before, after, why, young, own, taken_back, source, excluders, add)
    return tuple(out)


def _within(made: datetime | None, recent: tuple[datetime, datetime] | None) -> bool:
    return made is not None and recent is not None and recent[0] < made <= recent[1]


def _not_after(made: datetime | None, then: datetime | None) -> bool:
    return made is not None and then is not None and made <= then


def _takes_back(before: User, after: User, source: str, young: Callable[[datetime | None], bool]) -> bool:
    """The source ends a membership that it made itself a moment ago, and what came by it goes with it."""
    still = {(each.group, each.origin) for each in after.memberships}
    gone = [each for each in before.memberships if (each.group, each.origin) not in still]
    return bool(gone) and all(each.origin == source and young(each.created_at) for each in gone)


def _key(user: User, source: str) -> str | None:
    """What the source calls her, beside the id that stands where it said nothing and the mark of a deletion."""
    keys = [
        link.key for link in user.links if link.source == source and link.stage != "deleted" and link.key != user.id
    ]
    return keys[0] if keys else None


def _active_said(user: User) -> bool | None:
    """Whether anybody says that she is, or is not, active: True, or None (a no shows in the status)."""
    return True if any([link.enabled is not None for link in user.links]) else None


def transition_of(old: str, new: str) -> str | None:
    """The kind of change from one status to another; None if nothing is taken away or given back."""
    match (old, new):
        case _ if old == new:
            return None
        case (_, "deleted"):
            return "delete"
        case ("deleted", _):
            return "restore"
        case (_, "inactive"):
            return "deactivate"
        case ("inactive", _):
            return "reactivate"
        case (_, "suspended"):
            return "suspend"
        case ("suspended", _):
            return "unsuspend"
    return None


def _yielding(before: User, after: User, source: str) -> Iterable[tuple[str, Any]]:
    """Values this source now states anew that another source's value outranks."""
    for link in after.links:
        if link.source != source:
            continue
        old = before.link(source, link.key)
        for path, value in link.values.items():
            if after.values.get(path) != value and (old is None or old.values.get(path) != value):
                yield path, value


def _memberships_between(
    before: User, after: User, name_of: Callable[[str], str], why: str, young: Any, source: str, add: Any
) -> None:
    if not before.memberships:
        for name, _ in sorted([(name_of(each.group), each.origin) for each in after.memberships]):
            add("join", None, name, why)
        return
    old = {(each.group, each.origin): each for each in before.memberships}
    new = {(each.group, each.origin): each for each in after.memberships}
    still = {each.group for each in after.memberships}
    for key in sorted(new.keys() - old.keys(), key=lambda each: (name_of(each[0]), each[1])):
        add("join", None, name_of(key[0]), why)
    for key in sorted(old.keys() - new.keys(), key=lambda each: (name_of(each[0]), each[1])):
        lost = None if key[0] in still else "membership"
        add("leave", name_of(key[0]), None, why, lost, key[1] == source and young(old[key].created_at))


def _access_between(
    before: User,
    after: User,
    why: str,
    young: Any,
    own: bool,
    taken_back: bool,
    source: str,
    excluders: Mapping[str, frozenset[str]],
    add: Any,
) -> None:
    def its(grant: Grant | None) -> bool:
        """What this source gave itself: by a membership, or (people) directly."""
        return taken_back or (grant is not None and grant.origin in _BY_HAND and source == ADMIN_SOURCE)

    old = {grant.id: grant for grant in before.grants if grant.kind != "seat"}
    new = {grant.id: grant for grant in after.grants if grant.kind != "seat"}
    still = {(grant.kind, grant.value) for grant in after.grants}
    for id in sorted(new.keys() - old.keys()):
        denies = id[0] == "permission" and id[1].startswith(DENIAL)  # of all else it shows in what is revoked
        add("grant", None, f"{id[0]} {id[1]}", new[id].why or why, "role" if denies and before.version else None)
    by_denial = denials(after.grants) if after.denied else {}
    for id in sorted(old.keys() - new.keys()):
        lost = None if id[:2] in still or id[1].startswith(DENIAL) else "role"
        denial = by_denial.get(id[:2])
        add(
            "revoke",
            f"{id[0]} {id[1]}",
            None,
            f"{_denied_by(denial)}: {why}" if denial else _lost_because(old[id], why),
            lost,
            own or (young(old[id].created_at) and its(old[id])),
        )
    _by_hand_between(before, after, why, add)
    held_before = {seat.pool: seat for seat in before.seats}
    held_after = {seat.pool: seat for seat in after.seats}
    entitled = {grant.value: grant for grant in after.grants if grant.kind == "seat"}
    was_entitled = {grant.value: grant for grant in before.grants if grant.kind == "seat"}
    for pool in sorted(held_before.keys() | held_after.keys()):
        was, now_is = held_before.get(pool), held_after.get(pool)
        reason = (entitled[pool].why if pool in entitled else "") or why or "a seat came free"
        if was is not None and now_is is not None and was.priority != now_is.priority:
            add("update", {f"priority in {pool}": was.priority}, {f"priority in {pool}": now_is.priority}, why)
        if now_is is not None and now_is.held and not (was and was.held):
            add("seat", "waiting" if was else None, pool, reason)
        elif now_is is not None and not now_is.held and not (was and not was.held):
            add("wait", pool if was else None, f"{WAITING}{pool}", reason, "seat" if was else None, own)
        elif was is not None and now_is is None:
            # The seat of someone who leaves goes with her: that loss is counted once, as the deactivation it is.
            instead = [other for other in held_after.values() if other.held and other.pool in excluders.get(pool, ())]
            counted = was.held and after.status in SEATED and not instead
            reason = why if after.status in SEATED else f"{after.status}: {why}"
            if (denial := by_denial.get(("seat", pool))) is not None:
                reason = f"{_denied_by(denial)}: {why}"
            reason = f"the seat in {instead[0].pool} excludes it: {why}" if instead else reason
            lost_seat = "seat" if counted else None
            exempt = own or (young(was.since) and its(was_entitled.get(pool)))
            add("unseat", pool if was.held else f"{WAITING}{pool}", None, reason, lost_seat, exempt)


def _denied_by(denial: Grant) -> str:
    return "denied by hand" if denial.origin == "direct" else f"denied by {denial.comes_from}"


def _by_hand_between(before: User, after: User, why: str, add: Any) -> None:
    """What people gave or took and nothing else tells: another end of a grant, and a seat that she has or waits for anyway, or
    holds none of now."""
    old, new = ({each.id: each for each in user.grants if each.origin in _BY_HAND} for user in (before, after))
    if not (old or new):
        return
    held_before, held_after = ({(each.pool, each.held) for each in user.seats} for user in (before, after))
    moved = {pool for pool, _ in held_before ^ held_after}
    for id in sorted(old.keys() ^ new.keys()):
        if id[0] == "seat" and id[1] not in moved:
            given = new.get(id)
            told = f"seat {id[1]}"
            add("revoke", told, None, why) if given is None else add("grant", None, told, given.why or why)
    for id in sorted(old.keys() & new.keys()):
        if (was := old[id].expires_at) != (now_is := new[id].expires_at):
            name = f"end of {id[0]} {id[1]}"
            ends = ({name: None if each is None else each.isoformat()} for each in (was, now_is))
            add("update", *ends, new[id].why or why)


def _lost_because(grant: Grant, why: str) -> str:
    match grant.origin:
        case "rule":
            return f"rule {grant.name} no longer matches: {why}"
        case "group":
            return f"no longer by {grant.why}: {why}"
    return why


def group_between(
    before: Group | None,
    after: Group | None,
    name_of: Callable[[str], str],
    why: str,
    source: str = "",
    recent: tuple[datetime, datetime] | None = None,
) -> tuple[Change, ...]:
    """Differences of a group's own values and parents; its members' differences are theirs. `recent`: as of `between`."""
    known = after or before
    if known is None:
        return ()
    subject = f"group {known.name}"
    if after is None:
        return (Change("group_delete", subject, dict(known.values), None, why, known.id),)
    out: list[Change] = []
    if before is None:
        out.append(Change("group_create", subject, None, dict(after.values), why, after.id))
        before = Group(after.id, after.source, values=after.values)
    else:
        was_shown, is_shown = _of_group(before), _of_group(after)
        paths = sorted(path for path in {*was_shown, *is_shown} if was_shown.get(path) != is_shown.get(path))
        if paths:
            old, new = ({path: each.get(path) for path in paths} for each in (was_shown, is_shown))
            out.append(Change("group_update", subject, old, new, why, after.id))
    had = {f"{grant.kind} {grant.value}": grant.why or why for grant in before.grants}
    has = {f"{grant.kind} {grant.value}": grant.why or why for grant in after.grants}
    out += [Change("grant", subject, None, given, has[given], after.id) for given in sorted(has.keys() - had.keys())]
    out += [Change("revoke", subject, taken, None, why, after.id) for taken in sorted(had.keys() - has.keys())]
    was = {(each.group, each.origin): each.created_at for each in before.memberships}
    now_in = {(each.group, each.origin) for each in after.memberships}
    out += [Change("join", subject, None, name_of(group), why, after.id) for group, _ in sorted(now_in - was.keys())]
    still = {group for group, _ in now_in}
    for group, origin in sorted(was.keys() - now_in):
        lost = None if group in still else "membership"
        own = lost is not None and origin == source and _within(was[group, origin], recent)
        out.append(Change("leave", subject, name_of(group), None, why, after.id, lost, own))
    return tuple(out)


def _of_group(group: Group) -> dict[str, Any]:
    """Its values, and what its source calls it beside the id that stands where it said nothing."""
    key = group.link.key if group.link is not None else group.id
    return {**group.values, **({} if key == group.id else {"externalId": key})}
