"""`--only`: some people looked up instead of everybody read, turned into a plan, with what was found of each step by step.

A directory that can be asked is asked (core/lookup.py); any other, and a filter that cannot be asked, is read whole and
sifted. Either way only the chosen users change: their values, their memberships in groups, and their rung if they are gone for
certain. Groups are made when a chosen user is in them, and otherwise left to whole reads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from syncd.core.change import Change, ChangeGroup, GroupEdit, UserEdit
from syncd.core.correlation import Asked
from syncd.core.filter import Filter, parse_filter
from syncd.core.filter import compile as compile_filter
from syncd.core.lookup import Answer, Elsewhere, Finder, GroupsOf, Known, Looked, Question, Step, TooWide
from syncd.core.plan import Plan, Report
from syncd.core.resource import search_view
from syncd.core.snapshot import Entry, SetAside, Source
from syncd.core.state import Link
from syncd.core.workspace import Workspace
from syncd.errors import InvalidValue
from syncd.ldap import dn
from syncd.ldap.accounts import Server
from syncd.reconcile import diff
from syncd.reconcile.adopting import Adopted, Newcomer, correlate
from syncd.reconcile.believing import what_changed
from syncd.reconcile.mapping import DirectoryMapping, MappedUser, entry_hash, members, primary_group
from syncd.reconcile.reading import Progress, linked_of, so_long
from syncd.reconcile.render import difference, short
from syncd.store import linked
from syncd.store.engine import Database

KIND = "only"
_MOST = 200  # linked users that a filter may match and still be looked up one by one
_MEMBER_NAMES = frozenset({"member", "uniquemember", "memberuid"})

Match = Callable[[Mapping[str, Any]], bool]


@dataclass(slots=True)
class LookupReader:
    """Looks some people up and plans for them. `looked` says of each how far it went."""

    database: Database
    workspace: Workspace
    source: Source
    mapping: DirectoryMapping
    only: str
    now: datetime
    run_id: str
    ids: Callable[[], str]
    progress: Progress
    notes: list[str]
    looked: list[Looked] = field(default_factory=list)
    asked: tuple[Asked, ...] = ()
    set_aside: list[SetAside] = field(default_factory=list)
    users: dict[str, diff.Linked] = field(default_factory=dict)  # by key
    closed: dict[str, str] = field(default_factory=dict)  # keys of those whose entries say that alone -> why
    groups: dict[str, diff.Linked] = field(default_factory=dict)
    seen: diff.Seen = field(default_factory=diff.Seen)

    def plan(self) -> Plan:
        with self.database.reading() as conn:
            state, owns = linked.source_state(conn, *self._mine), linked.owns(conn, *self._mine)
            question, chosen = self._question(conn, state)
        answer = self._ask(question)
        self.progress.step("read", len(answer.users), len(answer.users))
        holds = what_changed(self.workspace, self.source.name, state, answer.certificate, owns)
        with self.database.reading() as conn:
            edits = list(self._edits(conn, question, answer, chosen, holds is not None))
        set_aside = (*self.set_aside, *answer.set_aside)
        return Plan(self.source.name, edits, answer.certificate, set_aside, holds, kind=KIND, asked=self.asked)

    @property
    def _mine(self) -> tuple[str, str]:
        return self.workspace.name, self.source.name

    # -- asking ------------------------------------------------------------------------------------------------------

    def _question(self, conn: Any, state: Any) -> tuple[Question, dict[str, str]]:
        """The question, and whom the filter matches in the store: key -> id."""
        wanted = parse_filter(self.only, self.workspace.types.user)
        rows = linked.matching(conn, *self._mine, wanted, _MOST + 1)
        in_groups = linked.memberships_of(conn, *self._mine, [row.resource_id for row in rows])
        links = {link.key: link for _, link in linked.whole_links(conn, *self._mine, "user", [row.key for row in rows])}
        known = tuple(
            Known(row.key, links[row.key].dn, {key: name for _, key, name in in_groups.get(row.resource_id, ())})
            for row in rows
        )
        key_attribute = state.key_attribute if state is not None else None
        question = Question(wanted, self.mapping.names, known, key_attribute, self._neighbour)
        return question, {row.key: row.resource_id for row in rows}

    def _neighbour(self, known: Known) -> Known | None:
        if known.dn is None:
            return None
        with self.database.reading() as conn:
            row = linked.neighbour(conn, *self._mine, diff.reference(known.dn), known.key)
        return None if row is None else Known(row.key, row.dn)

    def _ask(self, question: Question) -> Answer:
        source = self.source
        if isinstance(source, Finder):
            try:
                if len(question.known) > _MOST:
                    raise TooWide(f"this filter matches more than {_MOST} users")
                return source.look_up(question, self.now)
            except TooWide as exc:
                self.notes.append(f"everything was read: {exc}")
        return Sieve(source, self.mapping, self.workspace).look_up(question, self.now, self.progress)

    # -- what it comes to --------------------------------------------------------------------------------------------

    def _edits(
        self, conn: Any, question: Question, answer: Answer, chosen: Mapping[str, str], asks: bool
    ) -> Iterator[ChangeGroup]:
        everybody = self._mapped(conn, question.filter, answer, chosen)
        found = self._adoptions(conn, everybody)
        self.asked, adopted = tuple(found.asked.values()), found.users
        for entry, id, _ in everybody:
            if id in found.asked:
                self._asks(entry, found.asked[id], answer)
        mapped = [each for each in everybody if each[1] not in found.asked]
        self._find_managers(conn, mapped)
        group_ids: dict[str, str] = {}
        for key in dict.fromkeys(group.key for entry, *_ in mapped for group in _named(answer, entry)):
            group_ids[key] = self.groups[key].id if key in self.groups else self.ids()
        yield from self._new_groups(answer, mapped, group_ids)
        yield from self._absent(conn, answer, chosen, asks)
        for id, link in linked.whole_links(conn, *self._mine, "user", self.closed):
            if link.enabled is not False:
                yield (diff.closing_edit(self.source.name, id, link, self.closed[link.key]),)
        in_groups = linked.memberships_of(conn, *self._mine, [id for _, id, *_ in mapped])
        late: list[ChangeGroup] = []
        for entry, id, user in mapped:
            old = self.users.get(entry.key)
            real = adopted.get(id, id)
            edit = self._user(entry, real, user, old, real != id)
            if id in found.by:
                edit = replace(edit, adopt_approved=found.by[id], why=f"accepted by {found.by[id]}")
            there = {group: key for group, key, _ in in_groups.get(id, ())}
            named = {group_ids[group.key] for group in _named(answer, entry) if group.key in group_ids}
            left = answer.groups.get(entry.key, GroupsOf()).left
            leave = tuple(sorted(group for group, key in there.items() if key in left))
            edit = _moved(edit, tuple(sorted(named - there.keys())), leave)
            self._looked_at(entry, real, user, old, real != id, answer)
            if edit.link is None and not (edit.join or edit.leave):
                continue
            if old is None:
                late.append((edit,))
            else:
                yield (edit,)
        yield from late
        if not self.looked:
            self._nobody(answer)

    def _mapped(
        self, conn: Any, wanted: Filter, answer: Answer, chosen: Mapping[str, str]
    ) -> list[tuple[Entry, str, MappedUser]]:
        """Entries in scope that the filter matches, as they are now or as the store shows them."""
        keys = {entry.key for entry in answer.users} | {
            group.key for each in answer.groups.values() for group in each.named
        }
        for row in linked.links_by_key(conn, *self._mine, keys):
            (self.users if row.resource == "user" else self.groups)[row.key] = linked_of(row)
        type = self.workspace.types.user
        matches = compile_filter(wanted)
        server = Server(answer.certificate.flavour, answer.certificate.lockout)
        mapped = []
        for entry in answer.users:
            old = self.users.get(entry.key)
            try:
                user = self.mapping.user(entry, server)
                dn.normalize(entry.dn)
            except InvalidValue as exc:
                self.set_aside.append(SetAside(entry.dn, str(exc), entry.key))
                steps = (*_found(entry, answer), Step("matched", False, f"set aside: {exc}"))
                self.looked.append(Looked(entry.dn, old.id if old else None, steps, entry.key))
                if old is not None and (why := self.mapping.disabled(entry, server)):
                    self.closed[entry.key] = why
                continue
            if entry.key in chosen or matches(search_view(user.values, type)):
                mapped.append((entry, old.id if old else self.ids(), user))
        return mapped

    def _user(self, entry: Entry, id: str, user: MappedUser, old: diff.Linked | None, adopt: bool) -> UserEdit:
        hashed = entry_hash(entry)
        same = (
            old is not None
            and (old.entry_hash, old.mapping_digest, old.uid_key) == (hashed, self.mapping.digest, diff.uids_of(entry))
            and not old.absent
        )
        if same:
            return UserEdit(id, self.source.name, why=f"members changed in {self.source.name}")
        digest = self.mapping.digest
        return diff.user_edit(self.source.name, id, entry, user, hashed, digest, self.seen, old, adopt, self.now)

    def _adoptions(self, conn: Any, mapped: Iterable[tuple[Entry, str, MappedUser]]) -> Adopted:
        new = [
            Newcomer(id, entry.key, entry.dn, user.values) for entry, id, user in mapped if entry.key not in self.users
        ]

        def stated(ids: Iterable[str]) -> dict[str, bool]:
            return {row.resource_id: False for row in linked.links_of(conn, *self._mine, ids)}

        return correlate(conn, self.workspace, self.source.name, new, stated)

    def _asks(self, entry: Entry, asked: Asked, answer: Answer) -> None:
        self.set_aside.append(SetAside(entry.dn, asked.why, entry.key))
        steps = (*_found(entry, answer), Step("matched", False, asked.why))
        self.looked.append(Looked(asked.user_name, None, steps, entry.key))

    def _find_managers(self, conn: Any, mapped: Iterable[tuple[Entry, str, MappedUser]]) -> None:
        people = list(mapped)
        names = {diff.reference(user.manager) for *_, user in people if user.manager}
        for row in linked.links_by_name(conn, *self._mine, names):
            if row.resource == "user" and row.dn_key:
                self.seen.by_dn[row.dn_key] = ("user", row.resource_id)
        for entry, id, _ in people:
            self.seen.by_dn[dn.normalize(entry.dn)] = ("user", id)

    def _new_groups(
        self, answer: Answer, mapped: Iterable[tuple[Entry, str, MappedUser]], ids: dict[str, str]
    ) -> Iterator[ChangeGroup]:
        """Groups of the chosen that the store does not have. Their other members come with the next read of everything."""
        new = {group.key: group for entry, *_ in mapped for group in _named(answer, entry)}
        for key, group in new.items():
            if key in self.groups:
                continue
            try:
                link = Link(
                    self.source.name,
                    key,
                    dn=group.dn,
                    dn_key=dn.normalize(group.dn),
                    values=self.mapping.group(group),
                    mapping_digest=self.mapping.digest,
                )
            except InvalidValue as exc:
                self.set_aside.append(SetAside(group.dn, str(exc), key))
                del ids[key]
                continue
            why = f"read from {self.source.name}"
            yield (GroupEdit(ids[key], self.source.name, create=True, link=link, why=why),)

    def _absent(self, conn: Any, answer: Answer, chosen: Mapping[str, str], asks: bool) -> Iterator[ChangeGroup]:
        """Whoever is in the store and not in scope. What is not certain changes nothing."""
        ladder = self.workspace.source(self.source.name).ladder
        asked = linked.awaiting_approval(conn, *self._mine)[0]
        there = {entry.key for entry in answer.users}
        missing = [key for key in chosen if key not in there]
        for id, link in linked.whole_links(conn, *self._mine, "user", missing):
            name = str(link.values.get("userName") or link.dn or link.key)
            where = answer.outside.get(link.key)
            certain = where is not None or link.key in answer.gone
            steps = _why_absent(link, where, certain, answer)
            if not (certain and answer.certificate.complete):
                self.looked.append(Looked(name, id, steps, link.key))
                continue
            edit = diff.missing_edit(self.source.name, id, link, ladder, self.now, asks or id in asked)
            after = ladder.suspend_after
            then = "never suspended" if after is None else f"suspended when missing for {so_long(after)}"
            self.looked.append(Looked(name, id, steps, link.key, f"{edit.why}; {then}"))
            yield (edit,)

    # -- what is said of it ------------------------------------------------------------------------------------------

    def _looked_at(
        self, entry: Entry, id: str, user: MappedUser, old: diff.Linked | None, adopt: bool, answer: Answer
    ) -> None:
        name = str(user.values["userName"])
        if old is not None:
            whom = f"user {id}, by its stable key {entry.key}"
        elif adopt:
            whom = f"user {id}, whom no entry of {self.source.name} states yet: to be adopted"
        else:
            whom = f"nobody in the store has its stable key {entry.key}: a new user"
        groups = answer.groups.get(entry.key)
        doubt = f"; {groups.because}" if groups is not None and groups.because else ""
        steps = (*_found(entry, answer), Step("matched", True, whom + doubt))
        self.looked.append(Looked(name, id, steps, entry.key))

    def _nobody(self, answer: Answer) -> None:
        incomplete = "; ".join(answer.certificate.because)
        if incomplete:
            steps: tuple[Step, ...] = (
                Step("found", False, f"the directory could not be asked to the end: {incomplete}"),
            )
        elif answer.strangers:
            names, whys = ([getattr(each, field) for each in answer.strangers] for field in ("dn", "why"))
            steps = (
                Step("found", True, "; ".join(names)),
                Step("in scope", False, "; ".join(dict.fromkeys(whys))),
            )
        else:
            asked = f": asked for {'; '.join(dict.fromkeys(answer.asked))}" if answer.asked else ""
            steps = (Step("found", False, f"no entry of {self.source.name}, and nobody it linked, matches{asked}"),)
        self.looked.append(Looked(self.only, None, steps))


def _named(answer: Answer, entry: Entry) -> tuple[Entry, ...]:
    return answer.groups.get(entry.key, GroupsOf()).named


def _moved(edit: UserEdit, join: tuple[str, ...], leave: tuple[str, ...]) -> UserEdit:
    return replace(edit, join=join, leave=leave)


def _found(entry: Entry, answer: Answer) -> tuple[Step, ...]:
    return Step("found", True, entry.dn), Step("in scope", True, answer.scope)


def _why_absent(link: Link, where: Elsewhere | None, certain: bool, answer: Answer) -> tuple[Step, ...]:
    if where is not None:
        return Step("found", True, where.dn), Step("in scope", False, where.why)
    if certain:
        was = f", last seen as {link.dn}" if link.dn else ""
        return (
            Step(
                "found",
                False,
                f"its entry ({link.key}{was}) is gone: looked for by its key, as is somebody who is there",
            ),
        )
    why = answer.unsure.get(link.key) or "; ".join(answer.certificate.because)
    return (
        Step(
            "found",
            False,
            f"its entry ({link.key}) was not found, and that is not certain: {why}; nothing is taken away",
        ),
    )


@dataclass(frozen=True, slots=True)
class Sieve:
    """A source that is read whole, so that some people can be looked up in it all the same."""

    source: Source
    mapping: DirectoryMapping
    workspace: Workspace

    def look_up(self, question: Question, now: datetime, progress: Progress) -> Answer:
        matches = compile_filter(question.filter)
        known = {each.key: each for each in question.known}
        people: dict[str, Entry] = {}
        groups: dict[str, GroupsOf] = {}
        aside: list[SetAside] = []
        named: dict[str, set[str]] = {}  # how groups name them -> their keys
        reading = self.source.read(now)
        for number, item in enumerate(reading):
            if number % 500 == 0:
                progress.step("read", number, None)
            if isinstance(item, SetAside):
                if item.key in known or any(item.entry == each.dn for each in question.known):
                    aside.append(item)
            elif item.kind == "user":
                if item.key in known or self._matches(item, matches):
                    people[item.key] = item
                    for name in _names(item):
                        named.setdefault(name, set()).add(item.key)
            else:
                self._sift_group(item, named, known, people, groups)
        certificate = reading.certificate()
        missing = known.keys() - people.keys()
        spared = {item.key for item in aside} | {key for key in missing if any(i.entry == known[key].dn for i in aside)}
        whole = certificate.complete
        return Answer(
            users=tuple(people.values()),
            groups=groups,
            outside={},
            strangers=(),
            gone=frozenset(missing - spared if whole else ()),
            unsure={key: "it was set aside" for key in missing & spared} if whole else {},
            set_aside=tuple(aside),
            certificate=certificate,
            asked=(),
            scope=f"read by source {self.source.name}",
        )

    def _matches(self, entry: Entry, matches: Match) -> bool:
        """Also of one that is set aside afterwards: whoever asks for her wants to know why."""
        try:
            return matches(search_view(self.mapping.user(entry).values, self.workspace.types.user))
        except InvalidValue:
            return False

    def _sift_group(
        self,
        group: Entry,
        named: Mapping[str, set[str]],
        known: Mapping[str, Known],
        people: Mapping[str, Entry],
        groups: dict[str, GroupsOf],
    ) -> None:
        try:
            found = members(group)
        except InvalidValue:
            return  # nobody leaves a group that cannot be read
        said = {*map(diff.reference, found.dns), *(f"uid:{uid.casefold()}" for uid in found.uids)}
        said |= {f"sid:{sid.hex()}" for sid in group.attributes.get("objectsid", ())}
        inside = {key for name in said & named.keys() for key in named[name]}
        bare = Entry(
            group.kind, group.key, group.dn, {k: v for k, v in group.attributes.items() if k not in _MEMBER_NAMES}
        )
        for key in people:
            before = groups.get(key, GroupsOf())
            if key in inside:
                groups[key] = replace(before, named=(*before.named, bare))
            elif key in known and group.key in known[key].groups:
                groups[key] = replace(before, left=before.left | {group.key})


def _names(entry: Entry) -> Iterator[str]:
    """How groups name this user."""
    yield diff.reference(entry.dn)
    for uid in entry.attributes.get("uid", ()):
        yield f"uid:{uid.decode('utf-8', 'replace').casefold()}"
    try:
        primary = primary_group(entry)
    except InvalidValue:
        return
    if primary is not None:
        yield f"sid:{primary.hex()}"


def ended(looked: Looked, report: Report, changes: Sequence[Change], run: str) -> Looked:
    """With what was planned for her and what became of it. `changes`: hers."""
    held = _held_of(looked, report)
    refused = next((each.why for each in report.set_aside if each.key and each.key == looked.key), None)
    if refused is not None:
        return looked.then(Step("planned", False, f"refused: {refused}")) if looked.going_on else looked
    said = [*(_said(change, report.names) for change in changes), *held]
    if not said and looked.rung:
        said = [looked.rung]
    if not said:
        nothing = Step("planned", True, "nothing: the store has all of it already")
        return looked.then(nothing) if looked.going_on else looked
    planned = Step("planned", not held, "; ".join(said))
    if not changes and held:
        return looked.then(planned)
    done = "not yet: this is a plan" if report.dry_run else f"by run {run}"
    return looked.then(planned, Step("applied", not report.dry_run, done))


def _held_of(looked: Looked, report: Report) -> list[str]:
    return [
        f"held: {each.why} (syncd runs approve {each.digest[:8]})" if each.digest else f"refused: {each.why}"
        for each in report.held
        if looked.subject in each.subjects
    ]


def _said(change: Change, names: Mapping[str, str]) -> str:
    return f"{change.kind.replace('_', ' ')} {short(difference(change, names), 120)}".rstrip()
