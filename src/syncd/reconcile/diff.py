"""What a read says against what the store linked: the edits of a plan, in the order that seats and names need. Pure.

Groups first (created, renamed, nested), then users: those who go, those who change, those who come; emptied groups last.
An unchanged entry costs one comparison of hashes. An entry that is missing climbs its ladder only on a complete read; an
entry that was set aside counts as present; a renamed or moved entry keeps its key and is an update.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.lifecycle import Ladder, climb
from syncd.core.quick import changed
from syncd.core.snapshot import Entry
from syncd.core.state import STAGES, Link, name_hash, uids_key
from syncd.errors import InvalidValue
from syncd.ldap import dn
from syncd.reconcile.mapping import MANAGER, MappedUser, Members


@dataclass(frozen=True, slots=True)
class Linked:
    """What the store holds of one entry of this source: enough to see that nothing changed."""

    id: str
    entry_hash: str
    mapping_digest: str
    dn_key: str | None
    uid_key: str | None
    stage: str | None
    absent: bool  # missing, or at a rung of the ladder


@dataclass(slots=True)
class Seen:
    """Directory names of everything read, and of what was linked before: how members and managers are resolved."""

    by_dn: dict[str, tuple[str, str]] = field(default_factory=dict)  # normalised DN -> ("user" | "group", id)
    by_uid: dict[str, str] = field(default_factory=dict)  # hash of a folded uid -> user id
    by_primary: dict[bytes, set[str]] = field(
        default_factory=dict
    )  # a group's objectSid -> users whose primary group it is

    def find(self, name: str) -> tuple[str, str] | None:
        try:
            return self.by_dn.get(dn.normalize(name))
        except InvalidValue:
            return None

    def settle(self, ids: Mapping[str, str | None]) -> None:
        """Ids made for new entries that turn out to be another user's, or (None) nobody's manager and in no group."""
        for dn_key, (kind, id) in list(self.by_dn.items()) if ids else ():
            if id in ids:
                self._put(self.by_dn, dn_key, (kind, real) if (real := ids[id]) else None)
        for uid, id in list(self.by_uid.items()) if ids else ():
            if id in ids:
                self._put(self.by_uid, uid, ids[id])
        for people in self.by_primary.values() if ids else ():
            for id in people & ids.keys():
                people.discard(id)
                if real := ids[id]:
                    people.add(real)

    @staticmethod
    def _put(names: dict[str, Any], name: str, value: Any) -> None:
        if value is None:
            del names[name]
        else:
            names[name] = value


@dataclass(frozen=True, slots=True)
class GroupRead:
    """A group entry of this read; its members are sets of ids by now."""

    id: str
    key: str
    dn: str
    values: Mapping[str, Any]
    entry_hash: str
    users: frozenset[str]
    groups: frozenset[str]
    unresolved: tuple[str, ...]


def resolve(members: Members, seen: Seen, nested: bool) -> tuple[set[str], set[str], list[str]]:
    """User ids, group ids and the names nobody answers to (outside the bases, or dangling)."""
    users: set[str] = set()
    groups: set[str] = set()
    unresolved: list[str] = []
    for name in members.dns:
        found = seen.find(name)
        match found:
            case ("user", id):
                users.add(id)
            case ("group", id):
                if nested:
                    groups.add(id)
            case _:
                unresolved.append(name)
    for uid in members.uids:
        user = seen.by_uid.get(name_hash(uid.casefold()))
        if user is None:
            unresolved.append(uid)
        else:
            users.add(user)
    return users, groups, unresolved


def reference(name: str) -> str:
    """A DN in the one form in which names are compared; what is none stays as it is."""
    try:
        return dn.normalize(name)
    except InvalidValue:
        return name


def reference_hash(name: str) -> str:
    """Of a member that nobody answers to, a DN or a uid: how whoever has that name later finds the group."""
    return name_hash(reference(name) if "=" in name else name.casefold())


def uids_of(entry: Entry) -> str | None:
    """The names by which a memberUid finds this user (Link.uid_key)."""
    return uids_key(uid.decode("utf-8", "replace").casefold() for uid in entry.attributes.get("uid", ()))


def user_edit(
    source: str,
    id: str,
    entry: Entry,
    mapped: MappedUser,
    hashed: str,
    digest: str,
    seen: Seen,
    linked: Linked | None,
    adopt: bool,
    now: datetime,
) -> UserEdit:
    """The whole new state of one entry's link."""
    values, account = dict(mapped.values), mapped.account
    waits_for = None
    if mapped.manager:
        manager = seen.find(mapped.manager)
        if manager is not None and manager[0] == "user":
            values[MANAGER] = manager[1]
        else:
            hashed = ""  # look again next time: the manager may be read then
            waits_for = name_hash(reference(mapped.manager))
    link = Link(
        source,
        entry.key,
        enabled=account.enabled,
        dn=entry.dn,
        dn_key=dn.normalize(entry.dn),
        uid_key=uids_of(entry),
        waits_for=waits_for,
        values=values,
        entry_hash=hashed,
        mapping_digest=digest,
        starts_at=account.starts_at,
        ends_at=account.ends_at,
        locked_until=account.locked_until,
        created_at=now if linked is None else None,
    )
    why = f"read from {source}" if linked is None else f"changed in {source}"
    if account.why and account.bars(now):
        why = account.why
    if linked is not None and linked.absent:
        why = f"found again in {source}"
    return UserEdit(id, source, create=linked is None and not adopt, adopt=adopt, link=link, why=why)


def closing_edit(source: str, id: str, link: Link, why: str) -> UserEdit:
    """Disabled, by an entry of which nothing else can be used: the rest stays as it was, and is looked at again."""
    closed = replace(link, enabled=False, entry_hash="")
    return UserEdit(id, source, link=closed, why=f"{why}; nothing else of the entry can be used")


def missing_edit(source: str, id: str, link: Link, ladder: Ladder, now: datetime, at_once: bool) -> UserEdit:
    """One more complete read without the entry. `at_once`: a person will be asked, so the first rung is asked for now."""
    climbed = climb(link, ladder, now)
    if at_once and climbed.stage == "missing":
        climbed = replace(climbed, stage=ladder.first)
    since = climbed.missing_since or now
    reads = "complete read" if climbed.missing_reads == 1 else "complete reads"
    return UserEdit(
        id,
        source,
        link=climbed,
        why=f"not in {source} since {since:%Y-%m-%d} ({climbed.missing_reads} {reads})",
    )


def gone_in_the_end(edit: UserEdit, ladder: Ladder) -> UserEdit:
    """The same when she has been missing long enough to be deactivated, or for the last rung there is before."""
    rungs = [stage for stage, _ in ladder.rungs]
    last = "deactivated" if "deactivated" in rungs else (rungs or ["missing"])[-1]
    assert edit.link is not None
    return replace(edit, link=replace(edit.link, stage=max(edit.link.stage or "missing", last, key=STAGES.index)))


def group_gone(link: Link, ladder: Ladder, now: datetime) -> tuple[Link, bool]:
    """A missing group's link after this read, and whether the group goes: when a missing user would be suspended."""
    climbed = climb(link, ladder, now)
    return climbed, climbed.stage is not None and STAGES.index(climbed.stage) >= STAGES.index("suspended")


def group_edits(
    source: str,
    read: Iterable[GroupRead],
    linked: Mapping[str, Linked],
    inside: Mapping[str, frozenset[str]],
    outside: Mapping[str, tuple[str, ...]],
    doomed: Mapping[str, str],
    digest: str,
    placed: Set[str],
) -> Iterator[ChangeGroup]:
    """Groups created, changed and nested. Members that are users come with the users.

    `inside`: group id -> ids of groups this source put in it; `outside`: group id -> its unresolved members as stored;
    `doomed`: group id -> why it goes: it is taken out of the nesting here, and deleted when its users have left it;
    `placed`: ids of groups that are there but were not read, as in a delta.
    """
    reads = list(read)
    parents: dict[str, set[str]] = defaultdict(set)  # child -> parents, as this source states it
    for group in reads:
        for child in group.groups - {group.id}:
            if group.id not in doomed and child not in doomed:
                parents[child].add(group.id)
    read_ids = {group.id for group in reads}
    before: dict[str, set[str]] = defaultdict(set)
    for parent in inside.keys() & (read_ids | doomed.keys()):  # any other parent was not read and keeps its members
        for child in inside[parent]:
            before[child].add(parent)
    for group in reads:
        old = linked.get(group.key)
        join = tuple(sorted(parents[group.id] - before[group.id]))
        leave = tuple(sorted(before[group.id] - parents[group.id]))
        changed = old is None or old.entry_hash != group.entry_hash or old.mapping_digest != digest or old.absent
        unresolved = tuple(sorted(set(group.unresolved)))
        moved = unresolved != outside.get(group.id, ())
        if not (changed or join or leave or moved):
            continue
        link = Link(
            source,
            group.key,
            dn=group.dn,
            dn_key=dn.normalize(group.dn),
            values=group.values,
            entry_hash=group.entry_hash,
            mapping_digest=digest,
        )
        yield (
            GroupEdit(
                group.id,
                source,
                create=old is None,
                link=link if changed else None,
                join=join,
                leave=leave,
                unresolved=unresolved if moved else None,
                unresolved_hashes=tuple(map(reference_hash, unresolved)) if moved else (),
                why=f"read from {source}" if old is None else f"changed in {source}",
            ),
        )
    for id in sorted(placed - read_ids - doomed.keys()):
        join = tuple(sorted(parents[id] - before[id]))
        leave = tuple(sorted(before[id] - parents[id]))
        if join or leave:
            yield (GroupEdit(id, source, join=join, leave=leave, why=f"changed in {source}"),)
    for id, why in sorted(doomed.items()):
        if id not in read_ids and before[id]:
            yield (GroupEdit(id, source, leave=tuple(sorted(before[id])), why=why),)
        for child in sorted(inside.get(id, frozenset()) - read_ids - doomed.keys()):
            yield (GroupEdit(child, source, leave=(id,), why=why),)


def membership_moves(
    read: Iterable[GroupRead], current: Callable[[str], frozenset[str]], doomed: Iterable[str]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """user id -> groups to join, user id -> groups to leave, for the memberships this source states.

    `current(group id)` gives the users this source put in it. A group that was not read keeps its members, unless doomed.
    """
    joins: dict[str, list[str]] = defaultdict(list)
    leaves: dict[str, list[str]] = defaultdict(list)
    for group in read:
        now_in = current(group.id)
        for user in group.users - now_in:
            joins[user].append(group.id)
        for user in now_in - group.users:
            leaves[user].append(group.id)
    for id in doomed:
        for user in current(id):
            leaves[user].append(id)
    return joins, leaves


def with_moves(edit: UserEdit, joins: Mapping[str, list[str]], leaves: Mapping[str, list[str]]) -> UserEdit:
    return changed(edit, join=tuple(sorted(joins.get(edit.id, ()))), leave=tuple(sorted(leaves.get(edit.id, ()))))
