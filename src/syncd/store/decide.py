"""Decide, the first half of the door: what edits turn out to mean, judged, without writing anything.

Facts are read once per batch (a constant number of statements). For every user a batch touches, and every user whose
effective groups it changes: edits -> what a guard holds stays -> closure -> rules -> status -> seats -> changes. Apply runs the
same code in a write transaction and then writes the difference; a dry run stops here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, and_, select

from syncd.core.access import DENIAL, Role
from syncd.core.change import (
    GROUP_SHOWS,
    STATUS_LOSSES,
    Change,
    ChangeGroup,
    Edit,
    GroupEdit,
    UserEdit,
    between,
    edited,
    group_between,
    group_edited,
    retained,
    transition_of,
)
from syncd.core.denial import counted
from syncd.core.groups import Graph, GroupName
from syncd.core.lifecycle import status
from syncd.core.ownership import merge
from syncd.core.quick import changed, same
from syncd.core.resource import fold
from syncd.core.rules import MayGrant, evaluate, through_groups
from syncd.core.state import Grant, Group, User
from syncd.core.workspace import Workspace
from syncd.store import fact_queries as queries
from syncd.store import facts, locking, raw
from syncd.store import tables as t
from syncd.store.allocate import settle_seats
from syncd.store.drafts import FIRST_RUN, Draft, Verdict, active_owner
from syncd.store.made_roles import known
from syncd.store.opening import Opened
from syncd.store.refuse import display_taken, group_values_taken, guard_people, owned_elsewhere, settle_unique


class Decision:
    """One decision over one connection; `batch` may be called many times, in the order of the plan."""

    def __init__(
        self,
        conn: Connection,
        workspace: Workspace,
        source: str,
        now: datetime,
        *,
        incomplete: bool = False,
        retain: frozenset[str] = frozenset(),
        approved: frozenset[tuple[str, str]] = frozenset(),
        lock: bool = False,
        graph: Graph | None = None,
        defer: set[str] | None = None,
        rules_changed: bool = False,
        run_id: str | None = None,
        opened: Opened | None = None,
        goes: frozenset[str] | None = None,
    ) -> None:
        self.conn, self.workspace, self.source, self.now = conn, workspace, source, now
        self.policy = workspace.source(source)
        # Rule 1: without a complete read nothing goes by absence. Disabled and dated accounts are statements and go on.
        self.by_absence = frozenset({"membership", "blank", "stage"}) if incomplete else frozenset()
        self.retain = retain
        self.approved = approved
        self.lock = lock
        self.whole_graph = graph is not None
        self.opened = opened or Opened()
        self.graph = graph or self.opened.graph
        self.defer = defer  # a run derives users below a changed group later, each once
        self.rules_changed = rules_changed
        self.run_id = run_id
        self.goes = goes  # Plan.goes
        self.overlay: dict[str, User] = {}  # users as decided so far, where a later batch must see it
        self.taken = dict(self.opened.names)  # userName key -> id, as decided so far
        self.values_taken: dict[tuple[str, str], str | None] = {}  # what is unique -> id, as decided so far
        self.group_values: dict[tuple[str, str], str | None] = {}  # the same of groups
        self.displays: dict[tuple[str, str], str] = {}
        # Groups as decided so far, with their parents and who says so.
        self.placed: dict[str, tuple[GroupName | None, frozenset[tuple[str, str]]]] = {}
        self.left_names: dict[str, str] = {}  # of groups that go, for those who leave them
        self.shared: frozenset[str] | None = None
        self.used: dict[str, int] | None = None
        self.used_at_first: Mapping[str, int] = {}  # when they were read
        self.every_role: Mapping[str, Role] | None = None
        self.owners_gone = 0
        self.left: dict[str, set[str]] = defaultdict(set)  # group -> users who leave it in this plan
        self.entered: dict[str, set[str]] = defaultdict(set)  # group that may go at the end -> users who come into it
        self.released: set[str] = set()  # users of whom nothing that was held is wanted any more
        self.awaiting: set[str] = set()  # users of whom a role or seat is kept that was held before
        self.superseded: set[str] = set()  # users of whom a push of this source was held before
        self.awaited: set[str] = set()  # groups whose leaving a group waits for approval
        self.still_wanted: set[str] = set()  # groups that a guard keeps in a group
        self.prints: dict[str, bytes] | None = None  # of everybody as first read, for whoever asks (facts.printed)
        self.certain = False  # of a plan: the last batch rested on nothing but what store/foreseen.py compares

    # -- the pipeline ------------------------------------------------------------------------------------------------

    def batch(self, groups: Sequence[ChangeGroup]) -> list[Verdict]:
        verdicts = [Verdict(edits) for edits in groups]
        if self.lock:
            self._one_at_a_time([edit for edits in groups for edit in edits])
            if self.whole_graph:
                facts.refresh_graph(self.conn, self.workspace.name, self.graph)
        self._groups(verdicts)
        drafts = self._drafts(verdicts)
        for verdict, people in drafts:
            self._derive_all(verdict, people)
        guard_people(self, drafts)
        settle_unique(self, drafts)
        settle_seats(self, drafts)
        for verdict, people in drafts:
            self._finish(verdict, people)
        self.certain = not self.lock and _certain(verdicts, drafts)
        return verdicts

    def _one_at_a_time(self, edits: Sequence[Edit]) -> None:
        """Whoever joins a group sees its nesting as it is: who changes groups waits for who joins, and the other way. The
        groups that get another version by these edits are locked before any of their members. Raises raw.Crossing."""
        nesting = None
        if any([isinstance(edit, GroupEdit) for edit in edits]):
            nesting = "alone"
        elif self.whole_graph or any([edit.join for edit in edits]):
            nesting = "shared"
        if nesting is not None and not self.whole_graph:
            self.graph = Graph()  # what was read before the lock may be gone
        if self.conn.dialect.name != "postgresql":
            return
        named = [edit for edit in edits if isinstance(edit, GroupEdit)]
        groups = {group for edit in edits for group in (*edit.join, *edit.leave, *edit.leave_all)}
        going = frozenset(edit.id for edit in named if edit.delete)
        people = {edit.id for edit in edits if isinstance(edit, UserEdit) and edit.comes_or_goes}
        needed = locking.Needed(
            self.workspace.name,
            nesting,
            frozenset(groups.union(edit.id for edit in named)),
            going | (people - self.opened.users.keys()),
            going,
        )
        locking.before_users(self.conn, needed, self.opened.locked)

    def _groups(self, verdicts: list[Verdict]) -> None:
        edits = [edit for verdict in verdicts for edit in verdict.edits if isinstance(edit, GroupEdit)]
        if not edits:
            return
        current = facts.load_groups(self.conn, self.workspace.name, [edit.id for edit in edits], self.lock)
        announce(self.graph, edits)
        self._extend({*(edit.id for edit in edits), *(group for edit in edits for group in edit.join)})
        self.awaited |= self._leaving_awaited({edit.id for edit in edits if edit.leave})
        for verdict in verdicts:
            changed_groups: set[str] = set()
            above: set[str] = set()  # with those that they are and were in
            for edit in verdict.edits:
                if isinstance(edit, GroupEdit):
                    were_in = self.graph.closure([edit.id])
                    if self._group(verdict, edit, current):
                        changed_groups.add(edit.id)
                        above.update(were_in, self.graph.closure([edit.id]))
            if changed_groups:
                within = facts.users_within(self.conn, self.workspace.name, changed_groups)
                self._touch(verdict, within.union(*(self.entered[id] for id in above & self.entered.keys())))

    def _group(self, verdict: Verdict, edit: GroupEdit, current: dict[str, Group]) -> bool:
        """Decide one group; returns whether its members must be derived anew. Those of a group that it is in need not be."""
        before = current.get(edit.id)
        if before is None and not edit.create:
            return False  # gone meanwhile
        if edit.delete:
            return self._delete_group(verdict, edit, before, current)
        start = before or Group(edit.id, edit.source, created_at=self.now)
        after = group_edited(start, edit, self.now)
        after = replace(after, memberships=tuple(each for each in after.memberships if each.group in self.graph.names))
        if edit.id in self.awaited or "membership" in self.by_absence | self.retain:
            there = {(each.group, each.origin) for each in after.memberships}
            back = tuple(each for each in start.memberships if (each.group, each.origin) not in there)
            after = replace(after, memberships=(*after.memberships, *back))
            if back:
                self.still_wanted.add(edit.id)
        conflict = display_taken(self, after) or group_values_taken(self, before, after)
        if conflict:
            verdict.error = conflict
            return False
        changes = group_between(before, after, self._name_of, edit.why)
        seen = any(change.kind in GROUP_SHOWS for change in changes)
        after = replace(after, version=start.version + 1 if seen else start.version)
        verdict.groups.append((before, after))
        current[edit.id] = after
        old_name, old_parents = self.graph.names.get(edit.id), self.graph.parents.get(edit.id, set())
        key, dn = (after.link.key, after.link.dn) if after.link else (None, None)
        name = GroupName(edit.id, after.name, after.source, key, dn, _given(after))
        moved = {each.group for each in after.memberships} ^ old_parents
        restated = {(each.group, each.origin) for each in after.memberships} ^ {
            (each.group, each.origin) for each in start.memberships
        }
        self._place(edit.id, name, after)
        return before is not None and bool(moved or restated or self._counts(old_name, name))

    def _counts(self, old: GroupName | None, new: GroupName) -> bool:
        """Whether it matters to a group's members that it is called otherwise, or gives something else."""
        if old == new:
            return False
        return (
            old is None
            or old.source != new.source
            or bool(old.grants or new.grants)
            or any(rule.reads_groups for rule in self.workspace.rules)
        )

    def _delete_group(self, verdict: Verdict, edit: GroupEdit, before: Group | None, current: dict[str, Group]) -> bool:
        """A group that goes away takes its memberships along, those of users and those of groups inside it. Returns as
        `_group`."""
        assert before is not None
        m = t.memberships.c
        members = self.conn.scalars(
            select(m.member_id)
            .distinct()
            .where(m.workspace == self.workspace.name, m.group_id == edit.id, m.member == "user")
        )
        staying = sorted(set(members) - self.left.get(edit.id, set()))
        inside = {
            id
            for id in facts.groups_inside(self.conn, self.workspace.name, [edit.id])
            if id not in self.placed
            or edit.id in {parent for parent, _ in self.placed[id][1]}  # else it left earlier in this plan
        }
        if (staying or inside) and "membership" in self.by_absence | self.retain:
            return False  # its members' leaving is held, so the group stays
        if self._leaving_awaited({*staying, *inside}):
            return False
        verdict.groups.append((before, None))
        for id, group in facts.load_groups(self.conn, self.workspace.name, inside, self.lock).items():
            start = current.get(id, group)
            after = group_edited(start, GroupEdit(id, edit.source, leave_all=(edit.id,)), self.now)
            current[id] = after
            verdict.groups.append((start, after))
            self._place(id, self.graph.names.get(id), after)
        leaving = tuple(UserEdit(id, edit.source, leave_all=(edit.id,), why=edit.why) for id in staying)
        verdict.edits = (*verdict.edits, *leaving)
        group_values_taken(self, before, None)
        self.left_names[edit.id] = before.name
        self._place(edit.id, None, None)
        current.pop(edit.id)
        return bool(staying or inside)

    def _touch(self, verdict: Verdict, ids: set[str]) -> None:
        named = {edit.id for edit in verdict.edits if isinstance(edit, UserEdit)}
        if self.defer is not None:
            self.defer |= ids - named
            return
        why = next((edit.why for edit in verdict.edits if edit.why), "")
        verdict.edits = (*verdict.edits, *(UserEdit(id, self.source, why=why) for id in sorted(ids - named)))

    def _drafts(self, verdicts: list[Verdict]) -> list[tuple[Verdict, list[Draft]]]:
        wanted = {edit.id for verdict in verdicts for edit in verdict.edits if isinstance(edit, UserEdit)}
        read = self.opened.users
        missing = wanted - self.overlay.keys() - read.keys()
        loaded: dict[str, User] = {}
        if missing:
            loaded = facts.load_users(
                self.conn, self.workspace.name, missing, self.workspace.precedence, self.lock, self.prints
            )
        loaded |= {id: user for id in wanted & read.keys() if (user := read[id]) is not None}
        if self.overlay:
            loaded |= {id: self.overlay[id] for id in wanted & self.overlay.keys()}
        held = self._awaiting_approval(loaded)
        drafts: list[tuple[Verdict, list[Draft]]] = []
        seen: dict[str, Draft] = {}
        for verdict in verdicts:
            people: dict[str, Draft] = {}
            for edit in verdict.edits if verdict.error is None else ():
                if not isinstance(edit, UserEdit):
                    continue
                if edit.id not in loaded and not edit.create:
                    continue  # gone meanwhile
                if edit.id not in people:
                    # A user in two change groups of one batch: the second sees what the first decided.
                    earlier = seen.get(edit.id)
                    waits = frozenset(held[edit.id]) if edit.id in held else _NOTHING
                    people[edit.id] = Draft(edit.id, loaded.get(edit.id), retain=set(waits), waits_for_approval=waits)
                    if earlier is not None:
                        people[edit.id].edits = [*earlier.edits]
                        earlier.edits = []
                people[edit.id].edits.append(edit)
                seen[edit.id] = people[edit.id]
            drafts.append((verdict, list(people.values())))
        reached = {edit_group for verdict in verdicts for edit in verdict.edits for edit_group in edit.join}
        reached |= {each.group for user in loaded.values() for each in user.memberships}
        self._extend(reached)
        return drafts

    def _derive_all(self, verdict: Verdict, people: list[Draft]) -> None:
        for draft in people:
            self.derive(draft)
            conflict = owned_elsewhere(self, draft)
            if conflict is not None and verdict.error is None:
                verdict.error = conflict

    def derive(self, draft: Draft) -> None:
        before = draft.before or User(draft.id, created_at=self.now)
        after = before
        losing = draft.retain
        if self.retain:
            losing = losing | (self.retain - {kind for id, kind in self.approved if id == draft.id})
        for edit in draft.edits:
            after = edited(after, edit, self.now)
        names = self.graph.names
        if any([each.group not in names for each in after.memberships]):
            # A group that was refused, or went meanwhile, has no members.
            there = tuple(each for each in after.memberships if each.group in names)
            after = replace(after, memberships=there)
        if draft.before is not None:
            if self.by_absence:
                for source in {edit.source for edit in draft.edits}:
                    after = self._kept_by_absence(before, after, source)
            if losing:
                state = status(after, self.workspace.authoritative, self.now)[0]
                # Only the loss that is held: a suspension over its limit holds nobody's deactivation.
                held = losing if transition_of(before.status, state) in losing else losing - STATUS_LOSSES
                for source in {edit.source for edit in draft.edits}:
                    wanted = after
                    after = retained(before, after, source, frozenset(held))
                    draft.kept |= after != wanted
        values, draft.owners = merge(after.links, self.workspace.precedence)
        seen = changed(after, values=values) if self.workspace.rules else after
        paths = self.graph.closure([each.group for each in after.memberships])
        grants = self._grants(draft, seen, paths, losing)
        state, next_at = status(after, self.workspace.authoritative, self.now)
        moments = [grant.expires_at for grant in grants if grant.expires_at is not None]
        result = counted(grants)
        draft.after = changed(
            after,
            values=values,
            grants=same(before.grants, result.grants),
            denied=same(before.denied, result.denied),
            status=state,
            next_status_at=min([*([next_at] if next_at else []), *moments]) if moments else next_at,
            # A deleted user is no member anywhere; her memberships stay stated, for the day she is restored.
            groups=same(before.groups, frozenset(paths if state != "deleted" else ())),
        )

    def _kept_by_absence(self, before: User, after: User, source: str) -> User:
        after = retained(before, after, source, self.by_absence - {"stage"})
        links = []
        for link in after.links:
            old = before.link(link.source, link.key)
            if link.source == source and old is not None and link.missing_reads > old.missing_reads:
                links.append(old)
            else:
                links.append(link)
        return replace(after, links=tuple(links))

    def _grants(
        self,
        draft: Draft,
        after: User,
        paths: Mapping[str, tuple[str, ...]],
        losing: set[str] | frozenset[str],
    ) -> tuple[Grant, ...]:
        ruled: dict[tuple[str, str, str, str], Grant] = {}
        if self.workspace.rules or any([self.graph.names[id].grants for id in paths if id in self.graph.names]):
            may = self._may_grant(paths)
            ruled, draft.refusals = evaluate(
                self.workspace.rules, after, draft.owners, self.graph, may, self.workspace.types.rule_user, paths
            )
            by_group, refused = through_groups(after, paths, self.graph, may)
            ruled |= by_group
            draft.refusals += refused
        if not (ruled or after.stated):
            return ()
        grants = []
        for grant in after.stated:
            if grant.expires_at is not None and grant.expires_at <= self.now:
                continue
            if grant.origin not in ("rule", "group"):
                grants.append(grant)
            elif grant.id in ruled:
                grants.append(changed(grant, why=ruled.pop(grant.id).why))
            elif ("seat" if grant.kind == "seat" else "role") in losing:
                grants.append(grant)
                draft.kept = True
                draft.kept_kinds.add("seat" if grant.kind == "seat" else "role")
            elif self.rules_changed and grant.origin == "rule":
                grants.append(grant)
        for grant in ruled.values():
            if grant.value.startswith(DENIAL) and self._kept_from(grant, losing):
                draft.kept |= not self.rules_changed
            else:
                grants.append(changed(grant, run_id=self.run_id, created_at=self.now))
        return tuple(sorted(grants, key=lambda each: each.id))

    def _kept_from(self, denial: Grant, losing: set[str] | frozenset[str]) -> bool:
        """A denial takes away: it waits while that loss is held, or until changed rules are gone through (`sync rules`)."""
        held = ("seat" if denial.kind == "seat" else "role") in losing
        return held or (self.rules_changed and denial.origin == "rule")

    def _may_grant(self, paths: Iterable[str]) -> MayGrant:
        """What sources may grant; of a role that people made it is looked up what it permits."""
        may = self.workspace.may_grant
        given = {
            value
            for group in paths
            if group in self.graph.names
            for kind, value in self.graph.names[group].grants
            if kind == "role" and value not in may.roles
        }
        return replace(may, roles=self.roles()) if given else may

    def roles(self) -> Mapping[str, Role]:
        if self.every_role is None:
            self.every_role = known(self.conn, self.workspace)
        return self.every_role

    def _finish(self, verdict: Verdict, people: list[Draft]) -> None:
        verdict.subject = _subject(verdict, people)
        if verdict.error is not None:
            verdict.users, verdict.groups, verdict.changes = [], [], ()
            return
        changes: list[Change] = []
        # A provider that pushes may take back its own trial users. A directory that no longer shows people it showed
        # an hour ago is exactly what the limits are for.
        recent = (self.now - self.policy.limits.window, self.now) if self.run_id is None else None
        for old, new in verdict.groups:
            why = next((edit.why for edit in verdict.edits if edit.why), "")
            changes += group_between(old, new, self._name_of, why, self.source, recent)
        only_taken_back = bool(changes) and all(change.exempt for change in changes)
        for draft in people:
            if not draft.edits and not draft.side_effect:
                continue  # a later change group of this batch carries her
            adopted = any([edit.adopt for edit in draft.edits])
            found = between(
                draft.before,
                draft.after,
                self._name_of,
                draft.why,
                self.source,
                recent,
                adopted,
                self.workspace.excluders,
                only_taken_back and all(map(_says_nothing, draft.edits)),
            )
            start = draft.before.version if draft.before else 0
            seen = any([change.kind != "yield" for change in found])  # a value that yields is seen by nobody
            draft.after = changed(draft.after, version=start + 1 if seen else start)
            if draft.retain or self.retain or self.by_absence:
                draft.after = _unread(draft.after, self.source)
            changes += found
            verdict.users.append((draft.before, draft.after))
            if draft.before is not None and draft.before.memberships is not draft.after.memberships:
                kept = {each.group for each in draft.after.memberships}
                for each in draft.before.memberships:
                    if each.group not in kept:
                        self.left[each.group].add(draft.id)
            if draft.waits_for_approval and not draft.kept:
                self.released.add(draft.id)
            if draft.waits_for_approval & draft.kept_kinds:
                self.awaiting.add(draft.id)
            if not self.lock:
                self._remember(draft)
        verdict.changes = tuple(changes)

    def _remember(self, draft: Draft) -> None:
        """In a plan: as decided so far, where a later batch must see it."""
        # Whoever waits, or waited: a later batch finds her in the store's queue as she was before.
        queued = (*draft.after.seats, *(draft.before.seats if draft.before else ()))
        waits = any(not seat.held for seat in queued)
        again = draft.id in self.overlay or draft.side_effect or not self._mixed().isdisjoint(_groups_of(draft))
        again = again or any(edit.leave_all for edit in draft.edits)  # she is below a changed group, and comes again
        if waits or again:
            self.overlay[draft.id] = draft.after
        for group in self._mixed() & (draft.after.groups - (draft.before.groups if draft.before else frozenset())):
            self.entered[group].add(draft.id)

    def _mixed(self) -> frozenset[str]:
        """Of this source's groups that may go at the end of a plan those in which others put members too: users are then
        touched who were decided before."""
        if self.lock or (self.goes is not None and not self.goes):
            return frozenset()
        if self.shared is None:
            m, g = t.memberships.c, t.groups.c
            others = (
                select(m.group_id)
                .distinct()
                .join(t.groups, and_(g.workspace == m.workspace, g.id == m.group_id))
                .where(m.workspace == self.workspace.name, g.source == self.source, m.origin != self.source)
            )
            shared = frozenset(self.conn.scalars(others))
            self.shared = shared if self.goes is None else shared & self.goes
        return self.shared

    # -- small things ------------------------------------------------------------------------------------------------------

    def _awaiting_approval(self, users: Mapping[str, User]) -> dict[str, set[str]]:
        """Roles and seats a run's guard holds stay, whoever derives the user next, until someone decides; so does every
        loss of a first run after a changed configuration. Other held losses are judged again by each run, and a push
        that was refused by each new request: whatever the connection says next of that user takes its place."""
        found: dict[str, set[str]] = defaultdict(set)
        rows = [*self.opened.held]
        if others := users.keys() - self.opened.users.keys():
            asked = {"workspace": self.workspace.name, "ids": queries.as_list(others)}
            rows += raw.rows(self.conn, queries.held_of(self.conn.dialect.name), asked)
        for id, kind, guard, source, run_id in rows:
            if run_id is None and source == self.source:
                self.superseded.add(id)
            lasting = (kind in ("role", "seat") and run_id is not None) or (
                source == self.source and (guard == FIRST_RUN or (bool(self.approved) and run_id is None))
            )  # of a push, one kind of loss may be approved before another
            if lasting and (id, kind) not in self.approved:
                found[id].add(kind)
        return found

    def _leaving_awaited(self, members: set[str]) -> set[str]:
        """Users and groups of these whose leaving a group a first run after a change held, as `_awaiting_approval`."""
        h = t.held.c
        found: set[str] = set()
        for ids in facts.batched(sorted(members)):
            waiting = select(h.subject_id).where(
                h.workspace == self.workspace.name,
                h.source == self.source,
                h.subject_id.in_(ids),
                h.kind == "membership",
                h.guard == FIRST_RUN,
            )
            found |= {id for id in self.conn.scalars(waiting) if (id, "membership") not in self.approved}
        return found

    def _extend(self, groups: set[str]) -> None:
        if not self.whole_graph and groups - self.graph.names.keys():
            facts.extend_graph(self.conn, self.workspace.name, self.graph, groups)
            for id, (name, stated) in self.placed.items():
                self._show(id, name, stated)

    def _place(self, id: str, name: GroupName | None, after: Group | None) -> None:
        """One group as decided so far, whatever of it is read from the store later."""
        stated = frozenset((each.group, each.origin) for each in after.memberships) if after else frozenset()
        self.placed[id] = name, stated
        self._show(id, name, stated)

    def _show(self, id: str, name: GroupName | None, stated: Iterable[tuple[str, str]]) -> None:
        self.graph.set_parents(id, stated)
        if name is not None:
            self.graph.names[id] = name
        elif id in self.left_names:
            self.graph.names.pop(id, None)

    def _name_of(self, group: str) -> str:
        return self.graph.names[group].display if group in self.graph.names else self.left_names.get(group, group)


def _certain(verdicts: Sequence[Verdict], drafts: Sequence[tuple[Verdict, Sequence[Draft]]]) -> bool:
    """Only people, all of them named by the plan, of whom nothing was refused and no owner may have gone."""
    return not any(
        verdict.error is not None or verdict.held or any(isinstance(edit, GroupEdit) for edit in verdict.edits)
        for verdict in verdicts
    ) and not any(
        draft.side_effect or draft.waits_for_approval or (draft.before is not None and active_owner(draft.before))
        for _, people in drafts
        for draft in people
    )


_NOTHING: frozenset[str] = frozenset()


def _given(group: Group) -> tuple[tuple[str, str], ...]:
    return tuple((grant.kind, grant.value) for grant in group.grants)


def _says_nothing(edit: UserEdit) -> bool:
    """She is derived anew for what changed elsewhere."""
    return edit == UserEdit(edit.id, edit.source, why=edit.why)


def announce(graph: Graph, edits: Iterable[GroupEdit]) -> None:
    """The names of groups about to be created: a group may join one that comes later in the plan, unless its name is taken."""
    taken = {(each.source, fold(each.display)): id for id, each in graph.names.items()}
    for edit in edits:
        if edit.create and edit.link is not None and edit.id not in graph.names:
            name = Group(edit.id, edit.source, values=edit.link.values).name
            if taken.setdefault((edit.source, fold(name)), edit.id) == edit.id:
                graph.names[edit.id] = GroupName(edit.id, name, edit.source, edit.link.key, edit.link.dn)
                graph.coming[edit.id] = graph.names[edit.id]


def _unread(user: User, source: str) -> User:
    """Something of this entry was held: the next read must look at it again, so its hash is forgotten."""
    links = tuple(replace(link, entry_hash="") if link.source == source else link for link in user.links)
    return replace(user, links=links)


def _subject(verdict: Verdict, people: Sequence[Draft]) -> str:
    if not verdict.edits:
        return ""
    first = verdict.edits[0]
    if isinstance(first, GroupEdit):
        known = next((old or new for old, new in verdict.groups if (old or new)), None)
        name = known.name if known else first.link.values.get("displayName") if first.link else None
        return f"group {name or first.id}"
    draft = next((each for each in people if each.id == first.id), None)
    return (draft.before or draft.after).name if draft else first.id


def _groups_of(draft: Draft) -> frozenset[str]:
    return draft.after.groups | (draft.before.groups if draft.before else frozenset())
