"""One reconcile: lease -> read -> map -> diff -> decide -> (apply) -> finish. A dry run is the same without apply.

No transaction is open while a source is read. Nothing is taken away by absence unless the read's certificate is complete. A
run that was killed while it applied is finished first, from its stored items. The rule set is reconciled the same way
under the reserved name `rules`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import structlog

from syncd.core.actor import Actor
from syncd.core.change import ChangeGroup, GroupEdit, UserEdit
from syncd.core.filter import compile as compile_filter
from syncd.core.filter import parse_filter
from syncd.core.groups import cycles
from syncd.core.plan import Plan, Report, fingerprint
from syncd.core.resource import fold, search_view
from syncd.core.schema import USER
from syncd.core.snapshot import Certificate, Entry, SetAside, Source
from syncd.core.state import Link
from syncd.core.workspace import Workspace
from syncd.errors import HeldByGuard, InvalidValue, SyncdError
from syncd.ldap import dn
from syncd.reconcile import diff
from syncd.reconcile.mapping import MANAGER, DirectoryMapping, MappedUser, entry_hash, members
from syncd.store import linked, runs
from syncd.store.commit import RULES, upsert
from syncd.store.engine import Database
from syncd.store.spool import Spool
from syncd.store.tables import source_states

log = structlog.get_logger()

Clock = Callable[[], datetime]
Ids = Callable[[], str]


class Progress(Protocol):
    def step(self, name: str, done: int, total: int | None) -> None: ...


class Quiet:
    def step(self, name: str, done: int, total: int | None) -> None:
        pass


def reconcile(
    database: Database,
    workspace: Workspace,
    source: Source,
    mapping: DirectoryMapping,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    plan: str | None = None,
    only: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Bring what `source` states into the store, or say what that would do.

    `plan`: the digest of an earlier plan; the run is refused if it would take away what that plan did not show.
    `only`: a SCIM filter over users. Raises SourceUnreachable, Conflict (another run), HeldByGuard (`plan`).
    """

    def make(run: _Run) -> Plan:
        reader = _Reader(run, source, mapping, only)
        return reader.plan()

    return _Run(database, workspace, source.name, actor, clock, ids, dry_run, plan, only, progress or Quiet()).go(make)


def rederive(
    database: Database,
    workspace: Workspace,
    actor: Actor,
    clock: Clock,
    ids: Ids,
    *,
    dry_run: bool,
    plan: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Every user derived anew by the configured rule set (`syncd plan rules`, `syncd sync rules`)."""

    def make(run: _Run) -> Plan:
        with database.reading() as conn:
            everyone = linked.all_users(conn, workspace.name)
            changed = runs.rules_differ(conn, workspace)
        edits: Spool[ChangeGroup] = Spool((UserEdit(id, RULES, why="the rules changed"),) for id in everyone)
        return Plan(
            RULES, edits, Certificate(users_read=len(everyone)), (), "the rule set changed" if changed else None
        )

    return _Run(database, workspace, RULES, actor, clock, ids, dry_run, plan, None, progress or Quiet()).go(make)


@dataclass(slots=True)
class _Run:
    """One run from lease to last line."""

    database: Database
    workspace: Workspace
    source: str
    actor: Actor
    clock: Clock
    ids: Ids
    dry_run: bool
    shown_plan: str | None
    only: str | None
    progress: Progress
    id: str = ""
    now: datetime = field(init=False)
    fence: int = 0
    notes: list[str] = field(default_factory=list)

    def go(self, make: Callable[[_Run], Plan]) -> Report:
        self.id, self.now = self.ids(), self.clock()
        started = time.monotonic()
        shown = None
        if self.shown_plan is not None:
            with self.database.reading() as conn:
                shown = runs.shown_losses(conn, self.workspace.name, self.source, self.shown_plan)
        with self.database.writing() as conn:
            if not self.dry_run:
                self.fence = runs.lease(conn, self.workspace.name, self.source, self.id, self.now)
            runs.begin(conn, self.workspace, self.id, self.source, self.dry_run, self.actor.name, self.now)
        try:
            if not self.dry_run:
                self._finish_interrupted()
            report = self._plan_and_apply(make(self), shown)
        except BaseException as exc:
            self._failed(exc)
            raise
        report = replace(report, took_s=round(time.monotonic() - started, 3), notes=tuple(self.notes))
        log.info(
            "run_finished",
            run_id=self.id,
            source=self.source,
            dry_run=self.dry_run,
            status=report.status,
            held=sum(each.changes for each in report.held),
            took_s=report.took_s,
            **{kind: n for kind, n in report.counts.items() if n},
        )
        return report

    def _plan_and_apply(self, plan: Plan, shown: set[bytes] | None) -> Report:
        with self.database.reading() as conn:
            size = runs.batch_size(conn, self.workspace.name)
            decided = runs.decide(conn, self.workspace, plan, self.now, self.id, size, self.progress.step)
        decided.whole = decided.whole and self.only is None
        for each in decided.held_items:
            log.warning(
                "guard_held", run_id=self.id, source=self.source, guard=each.guard, kind=each.kind, n=each.changes
            )
        if shown is not None and (new := decided.fingerprints - shown):
            examples = [change.subject for change in decided.changes() if change.loss and _print(change) in new][:3]
            raise HeldByGuard(
                f"source {self.source}: {len(new)} losses were not in plan {self.shown_plan} "
                f"({', '.join(examples)}): look at a new `syncd plan {self.source}` first"
            )
        if not self.dry_run:
            self._apply(plan, decided, size)
        return self._end(plan, decided)

    def _apply(self, plan: Plan, decided: runs.Decided, size: int) -> None:
        runs.store(self.database, self.workspace.name, self.id, decided, plan, size, self.now)
        dropped, late = self._apply_items(
            runs.Numbered(decided.items),
            len(decided.items),
            frozenset(each.kind for each in decided.held),
            plan.certificate is not None and not plan.certificate.complete,
        )
        decided.set_aside += late
        if dropped:
            self.notes.append(
                f"{dropped} changes were dropped because their user changed meanwhile; the next run plans them anew"
            )

    def _apply_items(
        self, items: Any, total: int, retain: frozenset[str], incomplete: bool
    ) -> tuple[int, list[SetAside]]:
        return runs.apply_items(
            self.database,
            self.workspace,
            replace(self.actor, door="run", source=self.source, run_id=self.id),
            items,
            retain,
            incomplete,
            self.fence,
            self.clock,
            self.now,
            self.ids,
            self.progress.step,
            total,
        )

    def _finish_interrupted(self) -> None:
        """A run killed while it applied is finished before anything new is read."""
        left = runs.unfinished(self.database, self.workspace.name, self.source)
        if left is None:
            return
        old_id, items, row = left
        mine, self.id = self.id, old_id
        retain = frozenset(each["kind"] for each in row["held"] or ())
        dropped, _ = self._apply_items(items, len(items), retain, not row["complete"])
        with self.database.writing() as conn:
            message = f"resumed by run {mine}: {len(items) - dropped} changes applied, {dropped} dropped"
            runs.end(conn, self.workspace.name, old_id, "applied", self.clock(), message=message)
        self.id = mine
        self.notes.append(f"finished run {old_id}, which was interrupted ({len(items)} changes were left)")
        log.warning("run_resumed", run_id=old_id, source=self.source, left=len(items), by=mine)

    def _end(self, plan: Plan, decided: runs.Decided) -> Report:
        certificate = plan.certificate or Certificate()
        counts = dict(decided.counts.by_kind)
        counts["read"] = certificate.users_read + certificate.groups_read
        counts["set_aside"] = len(decided.set_aside)
        held = (*decided.held_items, *decided.waiting)
        if held:
            status = "held"
        elif not certificate.complete:
            status = "incomplete"
        elif decided.counts.changes == 0:
            status = "clean"
        else:
            status = "pending" if self.dry_run else "applied"
        report = Report(
            self.id,
            self.source,
            self.dry_run,
            status,
            certificate.complete,
            certificate.because,
            decided.digest.text,
            counts,
            held,
            tuple(decided.set_aside),
            runs.Changes(decided),
            decided.seats_before,
            decided.seats_after,
            self._names(decided),
        )
        with self.database.writing() as conn:
            runs.end(
                conn,
                self.workspace.name,
                self.id,
                status,
                self.clock(),
                digest=report.digest,
                complete=report.complete,
                incomplete_because=list(report.incomplete_because),
                counts=counts,
                held=[{"guard": each.guard, "kind": each.kind, "why": each.why} for each in report.held],
                losses=b"".join(sorted(decided.fingerprints)),
            )
            if not self.dry_run:
                self._remember(conn, certificate)
                runs.release(conn, self.workspace.name, self.source, self.fence)
        return report

    def _names(self, decided: runs.Decided) -> dict[str, str]:
        """userNames of the managers that changed values name by id, so that people can read the plan."""
        wanted = {
            each[MANAGER]
            for change in decided.changes()
            if change.kind == "update"
            for each in (change.before, change.after)
            if isinstance(each, Mapping) and each.get(MANAGER)
        }
        if not wanted:
            return {}
        with self.database.reading() as conn:
            known = runs.user_names(conn, self.workspace.name, wanted)
        coming = {
            each.subject_id: each.subject for each in decided.changes() if each.subject_id in wanted - known.keys()
        }
        return known | coming

    def _remember(self, conn: Any, certificate: Certificate) -> None:
        """What the next run compares with. Only a complete read of everything moves it."""
        if not certificate.complete or self.only is not None:
            return
        digest = self.workspace.rules_digest if self.source == RULES else self.workspace.source(self.source).digest
        upsert(
            conn,
            source_states,
            {"workspace": self.workspace.name, "source": self.source},
            {
                "digest": digest,
                "last_complete_at": self.now,
                "last_users": certificate.users_read,
                "last_groups": certificate.groups_read,
                # What a read does not say stays as it was known: another answer later is a change all the same.
                **({"server_identity": certificate.server_identity} if certificate.server_identity else {}),
                **({"key_attribute": certificate.key_attribute} if certificate.key_attribute else {}),
            },
        )

    def _failed(self, exc: BaseException) -> None:
        message = str(exc) if isinstance(exc, SyncdError) else type(exc).__name__
        log.warning("source_failed", run_id=self.id, source=self.source, why=message)
        with self.database.writing() as conn:
            # A run that had begun to apply stays `applying`: its stored items are finished by the next one.
            runs.failed(conn, self.workspace.name, self.id, message, self.clock())
            if not self.dry_run:
                runs.release(conn, self.workspace.name, self.source, self.fence)


@dataclass(slots=True)
class _Reader:
    """Reads a source into a plan. Entries stream through; what is kept is ids, and what changed goes to a spool."""

    run: _Run
    source: Source
    mapping: DirectoryMapping
    only: str | None
    seen: diff.Seen = field(default_factory=diff.Seen)
    set_aside: list[SetAside] = field(default_factory=list)
    present: set[str] = field(default_factory=set)  # keys of user entries that were read or set aside
    present_groups: set[str] = field(default_factory=set)
    unread: set[str] = field(default_factory=set)  # ids of users whose names this read does not settle
    asks: bool = (
        False  # every loss of this run waits for a person (rule 4), those that the ladder would bring later too
    )

    def plan(self) -> Plan:
        name, workspace = self.source.name, self.run.workspace.name
        with self.run.database.reading() as conn:
            state = linked.source_state(conn, workspace, name)
            users = {row.key: _linked(row) for row in linked.links(conn, workspace, name, "user")}
            groups = {row.key: _linked(row) for row in linked.links(conn, workspace, name, "group")}
        for kind, known in (("user", users), ("group", groups)):
            self.seen.by_dn |= {row.dn_key: (kind, row.id) for row in known.values() if row.dn_key}
        changed: Spool[tuple[Entry, str, str, bool]] = Spool()
        group_entries: Spool[Entry] = Spool()
        group_ids: dict[str, str] = {}
        certificate = self._read(users, groups, changed, group_entries, group_ids)
        holds = _what_changed(self.run.workspace, name, state, certificate)
        self.asks = holds is not None
        return Plan(
            name,
            self._edits(users, groups, changed, group_entries, group_ids, certificate),
            certificate,
            tuple(self.set_aside),
            holds,
        )

    def _read(
        self,
        users: Mapping[str, diff.Linked],
        groups: Mapping[str, diff.Linked],
        changed: Spool[tuple[Entry, str, str, bool]],
        group_entries: Spool[Entry],
        group_ids: dict[str, str],
    ) -> Certificate:
        reading = self.source.read(self.run.now)
        done = 0
        for item in reading:
            done += 1
            if done % 500 == 0:
                self.run.progress.step("read", done, len(users) + len(groups) or None)
            if isinstance(item, SetAside):
                self._aside(item, users)
                continue
            try:
                key = dn.normalize(item.dn)
            except InvalidValue as exc:
                self._aside(SetAside(item.dn, str(exc), item.key), users)
                continue
            if item.kind == "user":
                self.present.add(item.key)
                old = users.get(item.key)
                id = old.id if old else self.run.ids()
                self._name(("user", id), key, old)
                self._uids(item, id)
                hashed = entry_hash(item)
                same = old is not None and old.entry_hash == hashed and old.mapping_digest == self.mapping.digest
                if old is None or not same or old.absent:
                    changed.append((item, id, hashed, old is None))
            else:
                self.present_groups.add(item.key)
                known = groups.get(item.key)
                group_ids[item.key] = known.id if known else self.run.ids()
                self._name(("group", group_ids[item.key]), key, known)
                group_entries.append(item)
        self.run.progress.step("read", done, done)
        return reading.certificate()

    def _name(self, resource: tuple[str, str], key: str, old: diff.Linked | None) -> None:
        """The DN of today. One that moved is no longer found by where it was, or the next run would find otherwise."""
        if old is not None and old.dn_key and old.dn_key != key and self.seen.by_dn.get(old.dn_key) == resource:
            del self.seen.by_dn[old.dn_key]
        self.seen.by_dn[key] = resource

    def _uids(self, entry: Entry, id: str) -> None:
        """Two entries of one uid: one of them is wrong, and neither leaves a group over it."""
        for uid in entry.attributes.get("uid", ()):
            holder = self.seen.by_uid.setdefault(uid.decode("utf-8", "replace").casefold(), id)
            if holder != id:
                self.unread |= {holder, id}

    def _aside(self, item: SetAside, users: Mapping[str, diff.Linked]) -> None:
        """A bad entry is reported and counts as present: it is no leaver (rule 4), and leaves no group."""
        self.set_aside.append(item)
        if item.key:
            self.present.add(item.key)
            self.present_groups.add(item.key)
            if item.key in users:
                self.unread.add(users[item.key].id)
        found = self.seen.find(item.entry)  # by DN too: a key that is on two entries is not to be believed
        if found is not None:
            self.present.add(found[1])
            self.present_groups.add(found[1])
            self.unread.add(found[1])

    def _edits(
        self,
        users: Mapping[str, diff.Linked],
        groups: Mapping[str, diff.Linked],
        changed: Spool[tuple[Entry, str, str, bool]],
        group_entries: Spool[Entry],
        group_ids: Mapping[str, str],
        certificate: Certificate,
    ) -> Spool[ChangeGroup]:
        name, workspace = self.source.name, self.run.workspace.name
        mapped = self._map(changed)
        with self.run.database.reading() as conn:
            inside = linked.members(conn, workspace, name, "group")
            in_groups = linked.members(conn, workspace, name, "user")
            outside = linked.unresolved(conn, workspace, name)
            adopted = self._adoptions(conn, users, mapped)
            doomed, fading = self._missing_groups(conn, groups, inside.keys() | in_groups.keys(), certificate)
            missing = list(self._missing_users(conn, users, certificate))
        waiting = sum(edit.link is not None and edit.link.stage == "missing" for edit in missing)
        if waiting:
            after = self.run.workspace.source(name).ladder.suspend_after
            then = f"suspended when missing for {after}" if after is not None else "never suspended"
            self.run.notes.append(f"{waiting} users were not found in {name}; nothing is taken from them yet ({then})")
        read_groups = self._groups(group_entries, group_ids)
        self._warn_of_cycles(read_groups)
        edits: Spool[ChangeGroup] = Spool()
        for group in diff.group_edits(name, read_groups, groups, inside, outside, doomed, self.mapping.digest):
            edits.append(group)
        for fading_edit in fading:
            edits.append((fading_edit,))
        joins, leaves = diff.membership_moves(read_groups, lambda id: in_groups.get(id, frozenset()), doomed)
        for id in self.unread:
            leaves.pop(id, None)  # a group may name her by what was not read
        for edit in self._users(users, missing, mapped, adopted, joins, leaves):
            edits.append((edit,))
        if self.only is None:
            for id, why in sorted(doomed.items()):
                edits.append((GroupEdit(id, name, delete=True, why=why),))
        return edits

    def _users(
        self,
        users: Mapping[str, diff.Linked],
        missing: list[UserEdit],
        mapped: Spool[tuple[Entry, str, str, bool, MappedUser]],
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

        for edit in missing:
            # While she may come back she keeps her groups, so that roles return with her; deactivated, she leaves them.
            if edit.link is not None and edit.link.stage not in ("deactivated", "deleted"):
                leaves.pop(edit.id, None)
            yield from ready(edit)
        late: Spool[UserEdit] = Spool()
        for entry, id, hashed, new, user in mapped:
            old = users.get(entry.key)
            adopt = new and id in adopted
            real = adopted.get(id, id)
            edit = diff.user_edit(name, real, entry, user, hashed, self.mapping.digest, self.seen, old, adopt)
            if new:
                late.append(edit)
            else:
                yield from ready(edit)
        coming = {edit.id for edit in late}
        for id in sorted((joins.keys() | leaves.keys()) - named - coming):
            yield from ready(UserEdit(id, name, why=f"members changed in {name}"))
        for edit in late:
            yield from ready(edit)

    def _map(self, changed: Iterable[tuple[Entry, str, str, bool]]) -> Spool[tuple[Entry, str, str, bool, MappedUser]]:
        mapped: Spool[tuple[Entry, str, str, bool, MappedUser]] = Spool()
        refused: dict[str, str | None] = {}
        for entry, id, hashed, new in changed:
            try:
                mapped.append((entry, id, hashed, new, self.mapping.user(entry)))
            except InvalidValue as exc:
                self.set_aside.append(SetAside(entry.dn, str(exc), entry.key))
                if new:
                    refused[id] = None
        self.seen.settle(refused)
        return mapped

    def _groups(self, entries: Iterable[Entry], ids: Mapping[str, str]) -> list[diff.GroupRead]:
        read = []
        for entry in entries:
            try:
                values = self.mapping.group(entry)
                users, groups, unresolved = diff.resolve(members(entry), self.seen, self.mapping.nested)
            except InvalidValue as exc:
                self.set_aside.append(SetAside(entry.dn, str(exc), entry.key))
                continue
            hashed = entry_hash(
                Entry(
                    "group", entry.key, entry.dn, {k: v for k, v in entry.attributes.items() if k not in _MEMBER_NAMES}
                )
            )
            read.append(
                diff.GroupRead(
                    ids[entry.key],
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

    def _missing_users(
        self, conn: Any, users: Mapping[str, diff.Linked], certificate: Certificate
    ) -> Iterator[UserEdit]:
        if not certificate.complete:
            return
        gone = [key for key, old in users.items() if key not in self.present and old.id not in self.present]
        ladder = self.run.workspace.source(self.source.name).ladder
        asked = linked.awaiting_approval(conn, self.run.workspace.name, self.source.name)[0]
        for id, link in linked.whole_links(conn, self.run.workspace.name, self.source.name, "user", gone):
            yield diff.missing_edit(self.source.name, id, link, ladder, self.run.now, self.asks or id in asked)

    def _missing_groups(
        self, conn: Any, groups: Mapping[str, diff.Linked], peopled: Set[str], certificate: Certificate
    ) -> tuple[dict[str, str], list[GroupEdit]]:
        """Groups that go (id -> why), and those that are missing but not long enough."""
        doomed: dict[str, str] = {}
        fading: list[GroupEdit] = []
        if not certificate.complete or self.only is not None:
            return doomed, fading
        gone = [
            key for key, old in groups.items() if key not in self.present_groups and old.id not in self.present_groups
        ]
        ladder = self.run.workspace.source(self.source.name).ladder
        asked = linked.awaiting_approval(conn, self.run.workspace.name, self.source.name)[1]
        for id, link in linked.whole_links(conn, self.run.workspace.name, self.source.name, "group", gone):
            climbed, goes = diff.group_gone(link, ladder, self.run.now)
            since = climbed.missing_since or self.run.now
            if goes or id in asked or (self.asks and id in peopled):
                doomed[id] = f"group not in {self.source.name} since {since:%Y-%m-%d}"
            else:
                fading.append(GroupEdit(id, self.source.name, link=climbed))
        return doomed, fading

    def _adoptions(
        self,
        conn: Any,
        users: Mapping[str, diff.Linked],
        mapped: Iterable[tuple[Entry, str, str, bool, MappedUser]],
    ) -> dict[str, str]:
        """New entries whose userName an existing user holds: our new id -> that user's. The door judges whether."""
        names: dict[str, str] = {}
        settled: dict[str, str | None] = {}
        renamed: dict[str, str] = {}
        for _, id, _, new, user in mapped:
            key = fold(str(user.values["userName"]))
            if not new:
                renamed[id] = key
            elif names.setdefault(key, id) != id:
                settled[id] = None  # the name goes to whoever came first
        held = {
            names[key]: holder
            for key, holder in linked.holders_of(conn, self.run.workspace.name, names).items()
            if renamed.get(holder, key) == key  # else the same plan frees the name
        }
        may = self.run.workspace.source(self.source.name).adopt != "never"
        # Whom another entry of this very directory states is no account to adopt: one of the two is wrong.
        here = {old.id for key, old in users.items() if key in self.present or old.id in self.present} if held else ()
        adopted = {id: holder for id, holder in held.items() if may and holder not in here}
        self.seen.settle({**settled, **{id: adopted.get(id) for id in held}})
        return adopted

    def _chooser(self) -> Callable[[UserEdit], bool]:
        if self.only is None:
            return lambda edit: True
        matches = compile_filter(parse_filter(self.only, USER))
        database, workspace = self.run.database, self.run.workspace

        def chosen(edit: UserEdit) -> bool:
            if edit.link is not None and matches(search_view(edit.link.values, USER)):
                return True
            with database.reading() as conn:
                values = runs.user_values(conn, workspace, edit.id)
            return values is not None and matches(search_view(values, USER))

        return chosen

    def _warn_of_cycles(self, read: Iterable[diff.GroupRead]) -> None:
        names = {group.id: str(group.values["displayName"]) for group in read}
        for cycle in cycles({group.id: group.groups for group in read}):
            text = " > ".join(names.get(id, id) for id in cycle)
            self.run.notes.append(f"groups form a cycle: {text} (followed once, nobody is lost)")
            log.warning("group_cycle", run_id=self.run.id, source=self.source.name, groups=len(cycle) - 1)


_MEMBER_NAMES = frozenset({"member", "uniquemember", "memberuid"})


def _linked(row: Any) -> diff.Linked:
    absent = row.stage is not None or row.missing_since is not None
    return diff.Linked(row.resource_id, row.entry_hash, row.mapping_digest, row.dn_key, absent)


def _print(change: Any) -> bytes:
    return fingerprint(change)[:8]


def _what_changed(workspace: Workspace, source: str, state: Any, certificate: Certificate) -> str | None:
    """Rule 4: why every loss of this run waits for approval."""
    if state is None or state.last_complete_at is None:
        return None
    if state.digest != workspace.source(source).digest:
        return f"the base, filter or mapping of source {source} changed"
    known, now_is = state.server_identity, certificate.server_identity
    if known is not None and now_is is not None and known != now_is:
        return f"another server answers for source {source}: {now_is} instead of {known}"
    known, now_is = state.key_attribute, certificate.key_attribute
    if known is not None and now_is is not None and known != now_is:
        return f"source {source} names its entries by {now_is} instead of {known}"
    return None


def approve(database: Database, workspace: Workspace, digest: str, actor: Actor, clock: Clock, ids: Ids) -> Report:
    """Apply stored held items, each re-checked."""
    run_id, now = ids(), clock()
    with database.writing() as conn:
        decided, source = runs.approve(conn, workspace, digest, replace(actor, run_id=run_id), now, ids)
        runs.begin(conn, workspace, run_id, source, False, actor.name, now)
        counts = dict(decided.counts.by_kind) | {"set_aside": len(decided.set_aside)}
        status = "held" if decided.held_items else "applied" if decided.counts.changes else "clean"
        runs.end(
            conn, workspace.name, run_id, status, clock(), digest=decided.digest.text, complete=True, counts=counts
        )
    return Report(
        run_id,
        source,
        False,
        status,
        True,
        (),
        decided.digest.text,
        counts,
        decided.held_items,
        tuple(decided.set_aside),
        runs.Changes(decided),
        decided.seats_before,
        decided.seats_after,
    )


def discard(database: Database, workspace: Workspace, digest: str, actor: Actor, clock: Clock, ids: Ids) -> int:
    """Forget held items. Returns how many."""
    with database.writing() as conn:
        return runs.discard(conn, workspace.name, digest, actor, clock(), ids)


__all__ = ["Link", "Progress", "Report", "approve", "discard", "reconcile", "rederive"]
