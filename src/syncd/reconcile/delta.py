"""What changed since a checkpoint, turned into a plan: as a whole read, but only what the changes touch is read from the store.

An entry that did not change may have to be looked at all the same, and is asked for by its stable key: a group that names
somebody who came, moved or took another's name; the group above one that is gone; whoever waits for a manager who is there
now; and whatever was set aside or dropped before (store/quarantine.py). What a whole read would then find is found here.
Who is reported gone is asked for by key, and whoever answers is not gone. The others begin the ladder; the rungs above are
climbed by whole reads, since a delta is told only once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, assert_never

from syncd.core.plan import Plan
from syncd.core.snapshot import Changes, Deltas, Entry, Gone, OnlyThese, PrimaryGroups, SetAside, Still
from syncd.core.state import name_hash, uid_hashes
from syncd.errors import FullReadNeeded, InvalidValue
from syncd.ldap import dn
from syncd.reconcile import diff
from syncd.reconcile.mapping import members, primary_group
from syncd.reconcile.reading import Reader, Stored, linked_of, weight
from syncd.store import linked, quarantine
from syncd.store.spool import Spool

_MOST_STRANGERS = 1000
_LEFT = ("deactivated", "deleted")  # rungs on which one leaves one's groups


@dataclass(slots=True)
class DeltaReader(Reader):
    """Reads what changed into a plan. Raises FullReadNeeded when that cannot be believed."""

    checkpoint: str = ""
    named: set[str] = field(default_factory=set)  # keys of entries that came, set aside or not
    gone: set[str] = field(default_factory=set)  # keys that were linked, and are not there any more
    still: dict[str, int | None] = field(default_factory=dict)  # key -> hash of its normalised name, if that was told
    unlike: set[str] = field(default_factory=set)  # keys of those who are there, and otherwise than the store says
    listed: list[OnlyThese] = field(default_factory=list)
    sids: set[bytes] = field(default_factory=set)  # objectSids of groups that came or were asked for
    came: Spool[Entry | SetAside] = field(default_factory=lambda: Spool(weigh=weight))
    absent: dict[str, str | None] = field(default_factory=dict)  # id of a missing user or group -> its rung
    were_shelved: set[str] = field(default_factory=set)  # keys of those in quarantine when this began
    shelved: set[str] = field(default_factory=set)  # ids of those among them that are not looked at
    known_groups: set[str] = field(default_factory=set)  # ids of groups that are there

    def plan(self) -> Plan:
        """By a read of what changed."""
        source = self.source
        assert isinstance(source, Deltas)
        with closing(source.changes(self.checkpoint, self.now)) as changes:
            self._listen(changes)
            retried = self._look_again(changes)
            self._learn_primary(changes)
            certificate = changes.certificate()
        if not certificate.complete or not (self.came or self.gone):
            # Of one that broke off not even what came is taken: what it means for others may not have been looked at, and
            # the next one tells it again, but not what it changed.
            return Plan(source.name, (), certificate, kind="delta", retried=retried)
        self._learn_names()
        for item in self.came:
            self._take(item)
        self.survey.look_for(self._gone_groups(), certificate.key_attribute)
        edits = self._edits(certificate)
        asked = tuple(self.asked.values())
        return Plan(
            source.name,
            edits,
            certificate,
            tuple(self.set_aside),
            kind="delta",
            asked=asked,
            goes=self.goes,
            retried=retried,
        )

    # -- what is said ------------------------------------------------------------------------------------------------

    def _listen(self, changes: Changes) -> None:
        done = 0
        for item in changes:
            done += 1
            if done % 500 == 0:
                self.progress.step("read", done, None)
            match item:
                case Entry() | SetAside():
                    self._came(item)
                case Gone():
                    self.gone.add(item.key)
                case Still():
                    self.still[item.key] = _name_hash(item.dn)
                case OnlyThese():
                    self.listed.append(item)
                case _:
                    assert_never(item)
        self.progress.step("read", done, done)

    def _came(self, item: Entry | SetAside) -> None:
        self.came.append(item)
        if item.key:
            self.named.add(item.key)

    def _look_again(self, changes: Changes) -> frozenset[str]:
        """Everything that has to be looked at because of what was said. Returns the keys of set aside entries among it."""
        with self.database.reading() as conn:
            due = set(quarantine.due(conn, *self._mine, self.now)) - self.gone
            shelved = self.were_shelved = quarantine.keys(conn, *self._mine)
            linked_keys: dict[str, set[str]] = {}  # of each kind that was listed
            for only in self.listed:
                self.gone |= self._unnamed(conn, only, linked_keys.setdefault(only.kind, set()))
            self._note_strangers(conn, shelved, linked_keys)
            self._know(linked.links_by_key(conn, *self._mine, self.named | self.gone))
            self.shelved = {row.resource_id for row in linked.links_by_key(conn, *self._mine, shelved - due)}
        self.gone = {key for key in self.gone - self.named if self._is_there(key)}
        self._require_likely()
        for item in changes.again(sorted(self.gone)) if self.gone else ():
            self._came(item)  # it was reported gone, and is there
        self.gone -= self.named
        retried = frozenset(due | (shelved & self.named))
        wanted, seen = (due | self.unlike | self._managed(changes)) - self.named, 0
        while True:
            for item in changes.again(sorted(wanted)) if wanted else ():
                self._came(item)
            before, seen = seen, len(self.came)
            keys = {each.key for each in islice(self.came, before, None) if each.key}
            with self.database.reading() as conn:
                self._know(linked.links_by_key(conn, *self._mine, keys - self.users.keys() - self.groups.keys()))
                wanted = self._touched(conn, islice(self.came, before, None)) - self.named - self.gone
            for item in self._others(changes, before, seen):
                self._came(item)
            self.gone -= self.named
            if not wanted and len(self.came) == seen:
                return retried
            self.named |= wanted  # asked for once, whether it is there or not

    def _managed(self, changes: Changes) -> set[str]:
        """Keys of those whose manager is gone, where her name in their entries followed her without a change of these."""
        gone = [self.users[key].id for key in self.gone if key in self.users]
        if (
            not gone
            or self.mapping.manager is None
            or not isinstance(changes, PrimaryGroups)
            or not changes.names_follow
        ):
            return set()
        with self.database.reading() as conn:
            return {row.key for row in linked.links_managed(conn, *self._mine, gone)}

    def _others(self, changes: Changes, start: int, stop: int) -> Iterator[Entry | SetAside]:
        """Entries of an Active Directory that say nothing of it themselves, for whoever came or came back: the group that she
        has as her primary one, the groups that have her as a member and the people who have her as manager, by a name that
        followed her from where she was. Of whoever was there before, it puts a changed primary group among the changes:
        `member` of the old one names her from then on.
        """
        sids: set[bytes] = set()
        names: set[str] = set()
        for item in islice(self.came, start, stop):
            if not isinstance(item, Entry) or "objectsid" not in item.attributes:
                continue
            if not isinstance(changes, PrimaryGroups):
                raise FullReadNeeded("who has which primary group (primaryGroupID) is only known of everybody at once")
            old = (self.users if item.kind == "user" else self.groups).get(item.key)
            if old is None or old.absent or item.key in self.were_shelved:
                names.add(item.dn)
                sids |= _primary(item) if item.kind == "user" else set()
            if item.kind == "group":
                self.sids |= set(_sids(item))
        sids -= self.sids
        self.sids |= sids
        if names:
            assert isinstance(changes, PrimaryGroups)
            people = changes.people_naming(self.mapping.managers, names) if self.mapping.managers else ()
            for other in (*changes.groups_of(sids), *changes.groups_naming(names), *people):
                if other.key not in self.named:
                    yield other

    def _learn_primary(self, changes: Changes) -> None:
        """Who has a group that came as her primary one, of those who did not come."""
        sids = {sid for item in self.came if isinstance(item, Entry) and item.kind == "group" for sid in _sids(item)}
        if not sids:
            return
        assert isinstance(changes, PrimaryGroups)
        had = {key: sid for sid, key in changes.people_of(sids)}
        with self.database.reading() as conn:
            for row in linked.links_by_key(conn, *self._mine, set(had) - self.named):
                self.seen.by_primary.setdefault(had[row.key], set()).add(row.resource_id)

    @property
    def _mine(self) -> tuple[str, str]:
        return self.workspace.name, self.source.name

    def _know(self, rows: Iterable[Any]) -> None:
        for row in rows:
            (self.users if row.resource == "user" else self.groups)[row.key] = linked_of(row)

    def _is_there(self, key: str) -> bool:
        """Linked, and not missing yet."""
        return any(key in known and not known[key].absent for known in (self.users, self.groups))

    def _note_strangers(self, conn: Any, shelved: set[str], linked_keys: Mapping[str, set[str]]) -> None:
        """Those who are there, and whom the store does not know, nor set aside: moved here with what they are below."""
        unknown = self.still.keys() - shelved - self.named if self.listed else set()
        for kind in ("user", "group"):
            if unknown and kind in linked_keys:
                unknown -= linked_keys[kind]
            elif unknown:
                unknown -= {row.key for row in linked.links(conn, *self._mine, kind)}
        if len(unknown) > _MOST_STRANGERS:
            raise FullReadNeeded(f"{len(unknown):,} entries are there that were never told")
        self.unlike |= unknown

    def _unnamed(self, conn: Any, only: OnlyThese, keys: set[str]) -> set[str]:
        """Keys of this kind below this base that were not named; `keys` gets those of everybody of this kind."""
        found = set()
        for row in linked.links(conn, *self._mine, only.kind):
            key = row.key
            keys.add(key)
            if key in self.still:
                told, absent = self.still[key], row.stage is not None or row.missing_since is not None
                if absent or (told is not None and told != hash(row.dn_key)):
                    self.unlike.add(key)
            elif (
                key not in self.named
                and row.dn_key is not None
                and (only.base is None or dn.is_within(row.dn_key, only.base, only.scope))
            ):
                found.add(key)
        return found

    # -- what it touches ---------------------------------------------------------------------------------------------

    def _touched(self, conn: Any, fresh: Iterable[Entry | SetAside]) -> set[str]:
        """Keys of entries that did not change by themselves and may mean something else now."""
        names: set[str] = set()  # that somebody has now and did not have
        uids: set[str] = set()  # the same of uids, by their hashes
        moved: set[str] = set()  # ids of those whose name or uid is another one
        for entry in fresh:
            if isinstance(entry, Entry):
                self._compare(entry, names, uids, moved)
        gone_groups = {self.groups[key].id for key in self.gone if key in self.groups}
        others = {row.resource_id for row in linked.links_by_name(conn, *self._mine, names)}
        others |= {row.resource_id for row in linked.links_by_uid(conn, *self._mine, uids)}
        groups = linked.groups_naming(conn, *self._mine, {*map(name_hash, names), *uids})
        groups |= linked.groups_of(conn, *self._mine, moved | others | gone_groups)
        found = {row.key for row in linked.links_of(conn, *self._mine, groups) if row.resource == "group"}
        found |= {row.key for row in linked.links_waiting(conn, *self._mine, names)}
        return found

    def _compare(self, entry: Entry, names: set[str], uids: set[str], moved: set[str]) -> None:
        try:
            name = dn.normalize(entry.dn)
        except InvalidValue:
            return
        old = (self.users if entry.kind == "user" else self.groups).get(entry.key)
        if old is None or old.dn_key != name:
            names.add(name)
        # Whoever was missing, or could not be read, kept the groups that no longer name her.
        if old is not None and (old.dn_key != name or old.absent or entry.key in self.were_shelved):
            moved.add(old.id)
        if entry.kind != "user":
            return
        had = uid_hashes(old.uid_key) if old else frozenset()
        have = uid_hashes(diff.uids_of(entry))
        uids |= have - had
        if old is not None and had - have:
            moved.add(old.id)

    # -- what names mean ---------------------------------------------------------------------------------------------

    def _learn_names(self) -> None:
        """Whoever is named by what came: by members and managers, and by entries that could not be read."""
        names: set[str] = set()
        uids: set[str] = set()
        for item in self.came:
            self._names_in(item, names, uids)
        read = {known.id for key, known in self.groups.items() if key in self.named}
        doomed = {self.groups[key].id for key in self.gone if key in self.groups}
        with self.database.reading() as conn:
            rows = list(linked.names_within(conn, *self._mine, read | doomed))
            rows += linked.links_by_name(conn, *self._mine, names - {row.dn_key for row in rows})
            by_uid = list(linked.links_by_uid(conn, *self._mine, uids))
        for row in (*rows, *by_uid):
            if row.stage is not None or row.missing_since is not None or row.key in self.gone:
                self.absent[row.resource_id] = row.stage
            elif row.resource == "group" and row.resource_id not in self.shelved:
                self.known_groups.add(row.resource_id)
        # As a whole read would have it: who is there before who is missing, groups before users.
        for row in sorted(rows, key=lambda row: (row.resource_id not in self.absent, row.resource == "group")):
            if row.dn_key:
                self.seen.by_dn[row.dn_key] = (row.resource, row.resource_id)
        for row in sorted(by_uid, key=lambda row: row.resource_id):
            if not (row.resource_id in self.absent or row.resource_id in self.shelved or row.key in self.named):
                self._uids(row.uid_key, row.resource_id)
        self.unread |= self.shelved

    def _names_in(self, item: Entry | SetAside, names: set[str], uids: set[str]) -> None:
        if isinstance(item, SetAside):
            names.add(diff.reference(item.entry))
            return
        try:
            if item.kind == "group":
                found = members(item)
                names |= {diff.reference(name) for name in found.dns}
                uids |= {name_hash(uid.casefold()) for uid in found.uids}
            elif self.mapping.manager is not None:
                names |= {diff.reference(name) for name in self.mapping.manager(item.attributes)[:1]}
        except InvalidValue:
            return  # said again, and set aside, when it is mapped

    def _require_likely(self) -> None:
        """More people gone than may be deactivated: the server is asked for everybody before any of it is believed."""
        gone = self._gone_users()
        limit = self.workspace.source(self.source.name).limits.of("deactivate")
        if len(gone) <= limit.floor:
            return
        with self.database.reading() as conn:
            linked_now = linked.present(conn, *self._mine, "user")
        if len(gone) > limit.allowed(linked_now):
            raise FullReadNeeded(f"{len(gone):,} of {linked_now:,} users were reported gone at once")

    # -- instead of everything: what was named ----------------------------------------------------------------------

    def _gone_users(self) -> list[str]:
        return sorted(key for key in self.gone if key in self.users and self.users[key].id not in self.present)

    def _gone_groups(self) -> list[str]:
        return sorted(key for key in self.gone if key in self.groups and self.groups[key].id not in self.present_groups)

    def _stored(self, conn: Any) -> Stored:
        ids = {*self.group_ids.values(), *(self.groups[key].id for key in self._gone_groups())}
        inside = linked.members(conn, *self._mine, "group", ids)
        in_groups = linked.members(conn, *self._mine, "user", ids)
        unread = self.aside | {self.groups[key].id for key in self.aside if key in self.groups}
        return inside, in_groups, linked.unresolved(conn, *self._mine, ids), frozenset(self.known_groups - unread)

    def _kept(self, leaves: Mapping[str, Any]) -> set[str]:
        with self.database.reading() as conn:
            known = {row.key: linked_of(row) for row in linked.links_of(conn, *self._mine, leaves)}
        missing = {
            old.id
            for key, old in known.items()
            if old.absent and old.stage not in _LEFT and key not in self.present and old.id not in self.present
        }
        return missing | (self.shelved & leaves.keys())

    def _stated(self, conn: Any, holders: Iterable[str]) -> dict[str, bool]:
        known = {row.key: linked_of(row) for row in linked.links_of(conn, *self._mine, holders)}
        return {old.id: key not in self.present and (old.absent or key in self.gone) for key, old in known.items()}


def _sids(entry: Entry) -> tuple[bytes, ...]:
    return entry.attributes.get("objectsid", ())


def _primary(entry: Entry) -> set[bytes]:
    try:
        found = primary_group(entry)
    except InvalidValue:
        return set()  # said again, and set aside, when it is taken
    return {found} if found is not None else set()


def _name_hash(name: str | None) -> int | None:
    try:
        return hash(dn.normalize(name)) if name is not None else None
    except InvalidValue:
        return None


def why_not(state: Any, digest: str, source: object) -> str | None:
    """Why a delta cannot be had, before anybody is asked for it; None if it can."""
    if not isinstance(source, Deltas):
        return "this kind of source is always read whole"
    if state is None or state.last_complete_at is None:
        return "it was never read whole"
    if state.digest != digest:
        return "its base, filter or mapping changed"
    if state.checkpoint is None:
        return "the last whole read left nothing to go on from; `syncd check` says why"
    return None
