"""One read of a source turned into a plan: entries stream through, what changed goes to a spool, the rest is ids.

Users come before groups, so that members resolve as they are read. No transaction is open while the source is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Protocol

import structlog

from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.correlation import Asked
from syncd.core.filter import compile as compile_filter
from syncd.core.filter import parse_filter
from syncd.core.groups import cycles
from syncd.core.plan import Plan
from syncd.core.resource import name_key, search_view
from syncd.core.snapshot import Certificate, Entry, SetAside, Source
from syncd.core.state import uid_hashes
from syncd.core.workspace import Workspace
from syncd.errors import InvalidValue
from syncd.ldap import dn
from syncd.ldap.accounts import Server
from syncd.reconcile import diff
from syncd.reconcile.adopting import Newcomers, correlate
from syncd.reconcile.believing import Word, believed, usable, what_changed
from syncd.reconcile.drift import Differences
from syncd.reconcile.mapping import DirectoryMapping, MappedUser, entry_hash, members, primary_group
from syncd.reconcile.surveying import Survey
from syncd.store import adoptions, linked, quarantine, run_records
from syncd.store.engine import Database
from syncd.store.spool import Spool

log = structlog.get_logger()

Ids = Callable[[], str]


class Progress(Protocol):
    def step(self, name: str, done: int, total: int | None) -> None: ...


# Group id -> groups in it, -> users in it, -> members nobody answers to; ids of groups that are there but were not read.
Stored = tuple[
    Mapping[str, frozenset[str]], Mapping[str, frozenset[str]], Mapping[str, tuple[str, ...]], frozenset[str]
]


OfEntry = tuple[Entry, str, str, MappedUser]  # entry, id, its hash


def weight(item: Entry | SetAside) -> int:
    """For how many people it counts in memory: a group may name 50,000."""
    return 1 + sum(map(len, item.attributes.values())) // 50 if isinstance(item, Entry) else 1


@dataclass(slots=True)
class Mapped:
    """The entries of a read that are to be looked at, as users; and what they are called (userNames, folded)."""

    known: Spool[OfEntry] = field(default_factory=Spool)
    new: Spool[OfEntry] = field(default_factory=Spool)
    names: dict[str, str] = field(default_factory=dict)  # id of who is known -> her name now
    new_names: dict[str, str] = field(default_factory=dict)  # of a new entry -> the id that the first of them gets
    new_ids: set[str] = field(default_factory=set)

    def add(self, entry: Entry, id: str, hashed: str, new: bool, user: MappedUser) -> None:
        name = name_key(str(user.values["userName"]))
        if new:
            self.new.append((entry, id, hashed, user))
            self.new_names.setdefault(name, id)
            self.new_ids.add(id)
        else:
            self.known.append((entry, id, hashed, user))
            self.names[id] = name

    def unnamed(self) -> dict[str, str | None]:
        """Ids of new entries whose name goes to whoever came first."""
        return dict.fromkeys(self.new_ids.difference(self.new_names.values()))


@dataclass(slots=True)
class Reader:
    """Reads a source into a plan. Entries stream through; what is kept is ids, and what changed goes to a spool."""

    database: Database
    workspace: Workspace
    source: Source
    mapping: DirectoryMapping
    only: str | None
    now: datetime
    run_id: str
    ids: Ids
    progress: Progress
    notes: list[str]  # what people should know of this read
    impact: bool = False  # show what this would come to in the end
    seen: diff.Seen = field(default_factory=diff.Seen)
    set_aside: list[SetAside] = field(default_factory=list)
    present: set[str] = field(default_factory=set)  # keys of user entries that were read or set aside
    present_groups: set[str] = field(default_factory=set)
    rekeyed: bool = False  # every entry has another kind of key than last time
    unread: set[str] = field(default_factory=set)  # ids of users whose names this read does not settle
    aside: set[str] = field(default_factory=set)  # of `present`: keys and ids that were not read
    users: dict[str, diff.Linked] = field(default_factory=dict)  # what the store linked, by key
    groups: dict[str, diff.Linked] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)  # keys of known users whose entries say that alone -> why
    changed: Spool[tuple[Entry, str, str, bool]] = field(default_factory=Spool)
    group_entries: Spool[Entry] = field(default_factory=lambda: Spool(weigh=weight))
    group_ids: dict[str, str] = field(default_factory=dict)
    goes: frozenset[str] = frozenset()  # ids of groups that are deleted
    fewer_by: str | None = None  # who says that a read which shows fewer entries than before is right
    word: Word = field(init=False)
    survey: Survey = field(init=False)
    asked: dict[str, Asked] = field(default_factory=dict)  # id of a new entry -> who it may be
    accepted: dict[str, str] = field(default_factory=dict)  # id of a new entry -> who said whose it is
    answered: frozenset[str] = frozenset()  # keys of entries of whom an admin said who they are, or are not
    differences: Differences | None = None  # from the store, if it is to be known which of them deltas had not told
    asks: bool = (
        False  # every loss of this run waits for a person (rule 4), those that the ladder would bring later too
    )

    def __post_init__(self) -> None:
        self.word = Word(self.fewer_by, self.notes)
        self.survey = Survey(self.database, self.workspace.name, self.source, self.word)

    def plan(self) -> Plan:
        """By a read of everything."""
        name, workspace = self.source.name, self.workspace.name
        with self.database.reading() as conn:
            state = linked.source_state(conn, workspace, name)
            before = linked.before(conn, workspace, name)
            self.answered = frozenset(adoptions.answers(conn, workspace, name))
            self.users = {row.key: linked_of(row) for row in linked.links(conn, workspace, name, "user")}
            self.groups = {row.key: linked_of(row) for row in linked.links(conn, workspace, name, "group")}
        for kind, known in (("user", self.users), ("group", self.groups)):
            self.seen.by_dn |= {row.dn_key: (kind, row.id) for row in known.values() if row.dn_key}
        certificate = self._read()
        owns = bool(self.users or self.groups)
        holds = None if self.impact else what_changed(self.workspace, name, state, certificate, owns)
        mapped = self._map(self.changed, Server(certificate.flavour, certificate.lockout))
        if not self.impact:
            policy, gone = self.workspace.source(name), set(self._gone_users())
            certificate = believed(
                certificate, before, policy, self.source, self.users, gone, holds is not None, self.word
            )
            certificate = usable(certificate, policy.bad, self.set_aside)
        self.asks = holds is not None
        self.rekeyed = state is not None and state.key_attribute not in (None, certificate.key_attribute)
        surveyed = certificate.complete and not self.impact
        if surveyed:
            self.survey.look_for(self._gone_groups(), certificate.key_attribute)
        edits = self._edits(certificate, mapped)
        beyond = self.survey.look_around(certificate.key_attribute) if surveyed else None
        return Plan(
            name,
            edits,
            certificate,
            tuple(self.set_aside),
            holds,
            self.impact,
            accepted="; ".join(self.word.said) or None,
            asked=tuple(self.asked.values()),
            answered_gone=self.answered - self.present,
            beyond=beyond,
            goes=self.goes,
        )

    def _read(self) -> Certificate:
        reading = self.source.read(self.now)
        done = 0
        for item in reading:
            done += 1
            if done % 500 == 0:
                self.progress.step("read", done, len(self.users) + len(self.groups) or None)
            self._take(item)
        self.progress.step("read", done, done)
        return reading.certificate()

    def _take(self, item: Entry | SetAside) -> None:
        if isinstance(item, SetAside):
            self._aside(item)
            return
        try:
            key = dn.normalize(item.dn)
            primary = primary_group(item) if item.kind == "user" else None
        except InvalidValue as exc:
            self._aside(SetAside(item.dn, str(exc), item.key))
            return
        if item.kind == "user":
            self.present.add(item.key)
            old = self.users.get(item.key)
            id = old.id if old else self.ids()
            self._name(("user", id), key, old)
            if primary is not None:
                self.seen.by_primary.setdefault(primary, set()).add(id)
            uids = diff.uids_of(item)
            self._uids(uids, id)
            hashed = entry_hash(item)
            if self.differences is not None:
                self.differences.entry(item.key, hashed, old)
            same = old is not None and old.entry_hash == hashed and old.mapping_digest == self.mapping.digest
            if old is None or not same or old.absent or old.uid_key != uids:
                self.changed.append((item, id, hashed, old is None))
        else:
            self.present_groups.add(item.key)
            known = self.groups.get(item.key)
            self.group_ids[item.key] = known.id if known else self.ids()
            self._name(("group", self.group_ids[item.key]), key, known)
            self.group_entries.append(item)

    def _name(self, resource: tuple[str, str], key: str, old: diff.Linked | None) -> None:
        """The DN of today. One that moved is no longer found by where it was, or the next run would find otherwise."""
        if old is not None and old.dn_key and old.dn_key != key and self.seen.by_dn.get(old.dn_key) == resource:
            del self.seen.by_dn[old.dn_key]
        self.seen.by_dn[key] = resource

    def _uids(self, uids: str | None, id: str) -> None:
        """Two entries of one uid: one of them is wrong, and neither leaves a group over it."""
        for uid in uid_hashes(uids):
            holder = self.seen.by_uid.setdefault(uid, id)
            if holder != id:
                self.unread |= {holder, id}

    def _aside(self, item: SetAside) -> None:
        """A bad entry is reported and counts as present: it is no leaver (rule 4), and leaves no group."""
        self.set_aside.append(item)
        if item.key:
            self.aside.add(item.key)
            self.present.add(item.key)
            self.present_groups.add(item.key)
            if item.key in self.users:
                self.unread.add(self.users[item.key].id)
        found = self.seen.find(item.entry)  # by DN too: a key that is on two entries is not to be believed
        if found is not None:
            self.aside.add(found[1])
            self.present.add(found[1])
            self.present_groups.add(found[1])
            self.unread.add(found[1])

    def _edits(self, certificate: Certificate, mapped: Mapped | None = None) -> Spool[ChangeGroup]:
        name = self.source.name
        if mapped is None:
            mapped = self._map(self.changed, Server(certificate.flavour, certificate.lockout))
        with self.database.reading() as conn:
            inside, in_groups, outside, placed = self._stored(conn)
            adopted = self._adoptions(conn, mapped)
            emptied = list(self._emptied(conn)) if certificate.groups_by_users and certificate.complete else []
            doomed, fading = self._missing_groups(conn, inside.keys() | in_groups.keys(), certificate)
            missing = list(self._missing_users(conn, certificate))
            closed = list(self._closed_users(conn))
        waiting = sum(edit.link is not None and edit.link.stage == "missing" for edit in missing)
        if waiting:
            after = self.workspace.source(name).ladder.suspend_after
            then = f"suspended when missing for {so_long(after)}" if after is not None else "never suspended"
            self.notes.append(f"{_were(waiting)} not found in {name}; nothing is taken from them yet ({then})")
        read_groups = [*self._groups(), *emptied]
        self._warn_of_cycles(read_groups)
        if self.differences is not None:
            self._compare_groups(self.differences, read_groups, inside, in_groups)
        edits: Spool[ChangeGroup] = Spool()
        digest = self.mapping.digest
        for group in diff.group_edits(name, read_groups, self.groups, inside, outside, doomed, digest, placed):
            edits.append(group)
        for fading_edit in fading:
            edits.append((fading_edit,))
        joins, leaves = diff.membership_moves(read_groups, lambda id: in_groups.get(id, frozenset()), doomed)
        # A group may name somebody by what was not read. While somebody who is missing may come back she keeps her groups, so
        # that roles return with her; deactivated, she leaves them.
        back = {each.id for each in missing if each.link and each.link.stage not in ("deactivated", "deleted")}
        for id in (self.unread | self._kept(leaves) | back) & leaves.keys():
            # But for a group that goes at the end of this plan, whoever is in it.
            leaves[id] = [group for group in leaves[id] if group in doomed and self.only is None]
        for edit in self._users([*missing, *closed], mapped, adopted, joins, leaves):
            edits.append((edit,))
        if self.only is None:
            self.goes = frozenset(doomed)
            for id, why in sorted(doomed.items()):
                edits.append((GroupEdit(id, name, delete=True, why=why),))
        return edits

    def _compare_groups(
        self,
        differences: Differences,
        read: Iterable[diff.GroupRead],
        inside: Mapping[str, frozenset[str]],
        in_groups: Mapping[str, frozenset[str]],
    ) -> None:
        read = list(read)
        for group in read:
            differences.entry(group.key, group.entry_hash, self.groups.get(group.key))
        keys = {old.id: key for known in (self.users, self.groups) for key, old in known.items()}
        differences.memberships(read, in_groups, inside, keys)
        differences.gone |= {key for key in self._gone_users() if not self.users[key].absent}
        differences.gone |= {key for key in self._gone_groups() if not self.groups[key].absent}

    def edited(self, edits: Iterable[ChangeGroup]) -> set[str]:
        """Keys of what these edits are of."""
        keys = {old.id: key for known in (self.users, self.groups) for key, old in known.items()}
        return {each.link.key if each.link else keys.get(each.id, "") for group in edits for each in group}

    def kept(self) -> set[str]:
        """Keys of those whom this read leaves as they were, whatever the directory says: missing, set aside, held."""
        with self.database.reading() as conn:
            shelved = quarantine.keys(conn, self.workspace.name, self.source.name)
            held = linked.held_subjects(conn, self.workspace.name, self.source.name)
        known = {**self.users, **self.groups}
        away = {key for key, old in known.items() if old.absent or old.id in held or old.id in self.unread}
        return shelved | away | self.aside | {each.key for each in self.set_aside if each.key}

    def _stored(self, conn: Any) -> Stored:
        """Of all groups; those that were not read are missing, and not to be placed anew."""
        name, workspace = self.source.name, self.workspace.name
        inside = linked.members(conn, workspace, name, "group")
        in_groups = linked.members(conn, workspace, name, "user")
        return inside, in_groups, linked.unresolved(conn, workspace, name), frozenset()

    def _kept(self, leaves: Mapping[str, Any]) -> set[str]:
        """Users of these who stay in their groups though no group that was read names them any more. Of those who are
        missing, `_edits` knows by itself."""
        return set()

    def _users(
        self,
        going: list[UserEdit],
        mapped: Mapped,
        adopted: Mapping[str, str],
        joins: dict[str, list[str]],
        leaves: dict[str, list[str]],
    ) -> Iterator[UserEdit]:
        """Who goes, who changes, who only moves between groups, who comes: seats are freed before they are taken."""
        named: set[str] = set()
        chosen = self._chooser()
        name = self.source.name

        def ready(edit: UserEdit) -> Iterator[UserEdit]:
            named.add(edit.id)
            whole = diff.with_moves(edit, joins, leaves)
            if chosen(whole):
                yield whole

        def edits(people: Iterable[OfEntry]) -> Iterator[UserEdit]:
            for entry, id, hashed, user in people:
                if id in self.asked:
                    continue
                old, real, adopt = self.users.get(entry.key), adopted.get(id, id), id in adopted
                digest = self.mapping.digest
                edit = diff.user_edit(name, real, entry, user, hashed, digest, self.seen, old, adopt, self.now)
                if id in self.accepted:
                    edit = replace(edit, adopt_approved=self.accepted[id], why=f"accepted by {self.accepted[id]}")
                yield edit

        for edit in going:
            yield from ready(edit)
        for edit in edits(mapped.known):
            yield from ready(edit)
        coming = {adopted.get(id, id) for id in mapped.new_ids - self.asked.keys()}
        for id in sorted((joins.keys() | {id for id, groups in leaves.items() if groups}) - named - coming):
            yield from ready(UserEdit(id, name, why=f"members changed in {name}"))
        for edit in edits(mapped.new):
            yield from ready(edit)
        if self.impact:
            for id in sorted({each.id for each in self.users.values()} - named):
                yield from ready(UserEdit(id, name, why="the configuration would change"))

    def _map(self, changed: Iterable[tuple[Entry, str, str, bool]], server: Server) -> Mapped:
        mapped = Mapped()
        refused: dict[str, str | None] = {}
        for entry, id, hashed, new in changed:
            try:
                user = self.mapping.user(entry, server)
            except InvalidValue as exc:
                self.set_aside.append(SetAside(entry.dn, str(exc), entry.key))
                if new:
                    refused[id] = None
                elif why := self.mapping.disabled(entry, server):
                    self.closed[entry.key] = why
                continue
            named = Entry(entry.kind, entry.key, entry.dn, {"uid": entry.attributes.get("uid", ())})
            mapped.add(named, id, hashed, new, user)  # of the rest nothing is asked any more
        self.seen.settle(refused)
        return mapped

    def _groups(self) -> list[diff.GroupRead]:
        read = []
        for entry in self.group_entries:
            try:
                values = self.mapping.group(entry)
                users, groups, unresolved = diff.resolve(members(entry), self.seen, self.mapping.nested)
                for sid in entry.attributes.get("objectsid", ()):
                    users |= self.seen.by_primary.get(sid, set())
            except InvalidValue as exc:
                self.set_aside.append(SetAside(entry.dn, str(exc), entry.key))
                continue
            self.survey.outside.members(str(values["displayName"]), unresolved)
            hashed = entry_hash(
                Entry(
                    "group", entry.key, entry.dn, {k: v for k, v in entry.attributes.items() if k not in _MEMBER_NAMES}
                )
            )
            read.append(
                diff.GroupRead(
                    self.group_ids[entry.key],
                    entry.key,
                    entry.dn,
                    values,
                    hashed,
                    frozenset(users),
                    frozenset(groups),
                    tuple(unresolved),
                )
            )
        return read

    def _emptied(self, conn: Any) -> Iterator[diff.GroupRead]:
        """Groups that no user names any more: they are there, without members."""
        gone = self._gone_groups()
        for id, link in linked.whole_links(conn, self.workspace.name, self.source.name, "group", gone):
            self.present_groups.add(link.key)
            dn_of, values = link.dn or link.key, link.values
            yield diff.GroupRead(id, link.key, dn_of, values, link.entry_hash, frozenset(), frozenset(), ())

    def _gone_users(self) -> list[str]:
        """Keys of users whose entries were not read."""
        return [key for key, old in self.users.items() if key not in self.present and old.id not in self.present]

    def _gone_groups(self) -> list[str]:
        there = self.present_groups
        return [key for key, old in self.groups.items() if key not in there and old.id not in there]

    def _missing_users(self, conn: Any, certificate: Certificate) -> Iterator[UserEdit]:
        if not certificate.complete:
            return
        gone = self._gone_users()
        ladder = self.workspace.source(self.source.name).ladder
        asked = linked.awaiting_approval(conn, self.workspace.name, self.source.name)[0]
        for id, link in linked.whole_links(conn, self.workspace.name, self.source.name, "user", gone):
            edit = diff.missing_edit(self.source.name, id, link, ladder, self.now, self.asks or id in asked)
            yield diff.gone_in_the_end(edit, ladder) if self.impact else edit

    def _closed_users(self, conn: Any) -> Iterator[UserEdit]:
        """Whoever leaves often loses an attribute first: that she is disabled is a statement all the same."""
        for id, link in linked.whole_links(conn, self.workspace.name, self.source.name, "user", self.closed):
            if link.enabled is not False:
                yield diff.closing_edit(self.source.name, id, link, self.closed[link.key])

    def _missing_groups(
        self, conn: Any, peopled: Set[str], certificate: Certificate
    ) -> tuple[dict[str, str], list[GroupEdit]]:
        """Groups that go (id -> why), and those that are missing but not long enough."""
        doomed: dict[str, str] = {}
        fading: list[GroupEdit] = []
        if not certificate.complete or self.only is not None:
            return doomed, fading
        gone = self._gone_groups()
        ladder = self.workspace.source(self.source.name).ladder
        asked = linked.awaiting_approval(conn, self.workspace.name, self.source.name)[1]
        for id, link in linked.whole_links(conn, self.workspace.name, self.source.name, "group", gone):
            climbed, goes = diff.group_gone(link, ladder, self.now)
            since = climbed.missing_since or self.now
            moved = self.survey.moved(link.key)
            if moved is not None and self.word.by is not None:
                doomed[id] = f"group is {moved.name} now, below no base of {self.source.name}"
                continue
            goes = goes and not self.survey.stays(link.key)
            if goes or self.impact or id in asked or (self.asks and id in peopled):
                doomed[id] = f"group not in {self.source.name} since {since:%Y-%m-%d}"
            else:
                fading.append(GroupEdit(id, self.source.name, link=climbed))
        return doomed, fading

    def _adoptions(self, conn: Any, mapped: Mapped) -> dict[str, str]:
        """New entries that are existing users: our new id -> that user's. The door judges whether they may be."""
        names = mapped.new_names
        held = {
            names[key]: holder
            for key, holder in linked.holders_of(conn, self.workspace.name, names).items()
            if mapped.names.get(holder, key) == key  # else the same plan frees the name
        }
        # Whom another entry of this very directory states, or stated, is another person: a name that was freed is given to
        # somebody new, and her predecessor's access must not go with it.
        here = self._stated(conn, held.values())
        found = correlate(
            conn, self.workspace, self.source.name, Newcomers(mapped.new), lambda ids: self._stated(conn, ids)
        )
        self.asked, self.accepted = found.asked, found.by
        self.set_aside += [SetAside(each.entry, each.why, each.key) for each in found.asked.values()]
        self._tell_of_names_used_again(sum(here.get(holder, False) for holder in held.values()))
        taken = {id: found.users.get(id) for id in held}
        self.seen.settle({**mapped.unnamed(), **taken, **found.users, **dict.fromkeys(found.asked)})
        return found.users

    def _tell_of_names_used_again(self, gone: int) -> None:
        if gone:
            self.notes.append(
                f"{gone} new entries have the userName of somebody whose entry is gone: other people, who can come in when "
                "the first are deleted, or renamed by hand"
            )

    def _stated(self, conn: Any, holders: Iterable[str]) -> dict[str, bool]:
        """Those of these users whom an entry of this directory states or stated, and whether it is gone."""
        wanted = set(holders)
        return {
            old.id: key not in self.present and old.id not in self.present
            for key, old in self.users.items()
            if old.id in wanted and (not self.rekeyed or key in self.present)
        }

    def _chooser(self) -> Callable[[UserEdit], bool]:
        if self.only is None:
            return lambda edit: True
        type = self.workspace.types.user
        matches = compile_filter(parse_filter(self.only, type))
        database, workspace = self.database, self.workspace

        def chosen(edit: UserEdit) -> bool:
            if edit.link is not None and matches(search_view(edit.link.values, type)):
                return True
            with database.reading() as conn:
                values = run_records.user_values(conn, workspace, edit.id)
            return values is not None and matches(search_view(values, type))

        return chosen

    def _warn_of_cycles(self, read: Iterable[diff.GroupRead]) -> None:
        names = {group.id: str(group.values["displayName"]) for group in read}
        for cycle in cycles({group.id: group.groups for group in read}):
            round = [names.get(id, id) for id in cycle[:-1]]
            first = round.index(min(round))
            text = " > ".join([*round[first:], *round[: first + 1]])
            self.notes.append(f"groups form a cycle: {text} (followed once, nobody is lost)")
            log.warning("group_cycle", run_id=self.run_id, source=self.source.name, groups=len(cycle) - 1)


_UNITS = ((86_400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


def _were(users: int) -> str:
    return "1 user was" if users == 1 else f"{users:,} users were"


def so_long(time: timedelta) -> str:
    seconds = time.total_seconds()
    size, unit = next(each for each in _UNITS if seconds % each[0] == 0 or each[0] == 1)
    return f"{seconds / size:g} {unit}{'s' * (seconds != size)}"


_MEMBER_NAMES = frozenset({"member", "uniquemember", "memberuid"})


def linked_of(row: Any) -> diff.Linked:
    absent = row.stage is not None or row.missing_since is not None
    return diff.Linked(row.resource_id, row.entry_hash, row.mapping_digest, row.dn_key, row.uid_key, row.stage, absent)
