"""Decide, the first half of the door: what edits turn out to mean, judged, without writing anything.

Facts are read once per batch (a constant number of statements). For every user a batch touches, and every user whose
effective groups it changes: edits -> what a guard holds stays -> closure -> rules -> status -> seats -> changes. Apply runs the
same code in a write transaction and then writes the difference; a dry run stops here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy import Connection, and_, distinct, exists, func, select

from syncd.core.access import OWNER
from syncd.core.change import (
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
from syncd.core.groups import Graph, GroupName
from syncd.core.guards import Held
from syncd.core.lifecycle import SEATED, status
from syncd.core.ownership import merge
from syncd.core.resource import fold
from syncd.core.rules import Refusal, evaluate, view
from syncd.core.seats import Claim, settle
from syncd.core.state import Group, User
from syncd.core.workspace import Workspace
from syncd.errors import Mutability, PoolFull, Refused, SyncdError, Uniqueness
from syncd.store import facts
from syncd.store import tables as t

FIRST_RUN = "first_run_after_change"
GUARDED = frozenset(
    {"deactivate", "suspend", "delete", "role"}
)  # what may not happen to a protected account or last owner


@dataclass(slots=True)
class Draft:
    """One user on her way through a decision."""

    id: str
    before: User | None
    edits: list[UserEdit] = field(default_factory=list)
    after: User = field(default_factory=lambda: User(""))
    retain: set[str] = field(default_factory=set)
    owners: Mapping[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    side_effect: bool = False  # only served from a waiting list
    waits_for_approval: frozenset[str] = frozenset()  # kinds of loss that a guard held in an earlier plan
    kept: bool = False  # a held loss is still wanted

    @property
    def why(self) -> str:
        return next((edit.why for edit in self.edits if edit.why), "a group above changed")


@dataclass(slots=True)
class Verdict:
    """What one change group comes to. `error` set: nothing of it is done, and it says why."""

    edits: ChangeGroup
    changes: tuple[Change, ...] = ()
    error: SyncdError | None = None
    held: list[Held] = field(default_factory=list)
    users: list[tuple[User | None, User]] = field(default_factory=list)
    groups: list[tuple[Group | None, Group | None]] = field(default_factory=list)
    subject: str = ""  # of the first edit, as people name it

    @property
    def expected(self) -> dict[str, int]:
        """Versions at decision of what is there: a change whose version went stale is dropped when it is applied."""
        edited_ids = {edit.id for edit in self.edits}
        pairs = [*self.users, *self.groups]
        return {before.id: before.version for before, _ in pairs if before is not None and before.id in edited_ids}


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
    ) -> None:
        self.conn, self.workspace, self.source, self.now = conn, workspace, source, now
        self.policy = workspace.source(source)
        # Rule 1: without a complete read nothing goes by absence. Disabled and dated accounts are statements and go on.
        self.by_absence = frozenset({"membership", "blank", "stage"}) if incomplete else frozenset()
        self.retain = retain
        self.approved = approved
        self.lock = lock
        self.whole_graph = graph is not None
        self.graph = graph or Graph()
        self.defer = defer  # a run derives users below a changed group later, each once
        self.rules_changed = rules_changed
        self.run_id = run_id
        self.overlay: dict[str, User] = {}  # users as decided so far, where a later batch must see it
        self.taken: dict[str, str | None] = {}  # userName key -> id, as decided so far
        self.displays: dict[tuple[str, str], str] = {}
        # Groups as decided so far, with their parents and who says so.
        self.placed: dict[str, tuple[GroupName | None, frozenset[tuple[str, str]]]] = {}
        self.left_names: dict[str, str] = {}  # of groups that go, for those who leave them
        self.shared: frozenset[str] | None = None
        self.used: dict[str, int] | None = None
        self.owners_gone = 0
        self.left: dict[str, set[str]] = defaultdict(set)  # group -> users who leave it in this plan
        self.released: set[str] = set()  # users of whom nothing that was held is wanted any more
        self.superseded: set[str] = set()  # users of whom a push of this source was held before
        self.awaited: set[str] = set()  # groups whose leaving a group waits for approval
        self.still_wanted: set[str] = set()  # groups that a guard keeps in a group

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
        self._guard_people(drafts)
        self._names(drafts)
        self._seats(drafts)
        for verdict, people in drafts:
            self._finish(verdict, people)
        return verdicts

    def _one_at_a_time(self, edits: Sequence[Edit]) -> None:
        """Whoever joins a group sees its nesting as it is: who changes groups waits for who joins, and the other way."""
        if any(isinstance(edit, GroupEdit) for edit in edits):
            facts.lock(self.conn, self.workspace.name, "groups")
        elif self.whole_graph or any(edit.join for edit in edits):
            facts.lock(self.conn, self.workspace.name, "groups", shared=True)

    def _groups(self, verdicts: list[Verdict]) -> None:
        edits = [edit for verdict in verdicts for edit in verdict.edits if isinstance(edit, GroupEdit)]
        if not edits:
            return
        current = facts.load_groups(self.conn, self.workspace.name, [edit.id for edit in edits], self.lock)
        announce(self.graph, edits)
        self._extend({*(edit.id for edit in edits), *(group for edit in edits for group in edit.join)})
        self.awaited |= self._leaving_awaited({edit.id for edit in edits if edit.leave})
        for verdict in verdicts:
            affected: set[str] = set()
            for edit in verdict.edits:
                if isinstance(edit, GroupEdit):
                    affected |= self._group(verdict, edit, current)
            if affected:
                self._touch(verdict, facts.users_within(self.conn, self.workspace.name, affected))

    def _group(self, verdict: Verdict, edit: GroupEdit, current: dict[str, Group]) -> set[str]:
        """Decide one group; returns the groups whose members must be derived anew."""
        before = current.get(edit.id)
        if before is None and not edit.create:
            return set()  # gone meanwhile
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
        conflict = self._display_taken(after)
        if conflict:
            verdict.error = conflict
            return set()
        changes = group_between(before, after, self._name_of, edit.why)
        after = replace(after, version=start.version + 1 if changes else start.version)
        verdict.groups.append((before, after))
        current[edit.id] = after
        old_name, old_parents = self.graph.names.get(edit.id), self.graph.parents.get(edit.id, set())
        key, dn = (after.link.key, after.link.dn) if after.link else (None, None)
        name = GroupName(edit.id, after.name, after.source, key, dn)
        moved = {each.group for each in after.memberships} ^ old_parents
        restated = {(each.group, each.origin) for each in after.memberships} ^ {
            (each.group, each.origin) for each in start.memberships
        }
        affected = set(self.graph.closure([edit.id])) if (moved or restated) and before else set()
        self._place(edit.id, name, after)
        if (moved or restated) and before:
            affected |= set(self.graph.closure([edit.id]))
        if before and old_name != name:
            affected.add(edit.id)
        return affected

    def _delete_group(
        self, verdict: Verdict, edit: GroupEdit, before: Group | None, current: dict[str, Group]
    ) -> set[str]:
        """A group that goes away takes its memberships along, those of users and those of groups inside it."""
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
            return set()  # its members' leaving is held, so the group stays
        if self._leaving_awaited({*staying, *inside}):
            return set()
        verdict.groups.append((before, None))
        for id, group in facts.load_groups(self.conn, self.workspace.name, inside, self.lock).items():
            start = current.get(id, group)
            after = group_edited(start, GroupEdit(id, edit.source, leave_all=(edit.id,)), self.now)
            after = replace(after, version=start.version + 1)
            current[id] = after
            verdict.groups.append((group, after))
            self._place(id, self.graph.names.get(id), after)
        leaving = tuple(UserEdit(id, edit.source, leave_all=(edit.id,), why=edit.why) for id in staying)
        verdict.edits = (*verdict.edits, *leaving)
        affected = set(self.graph.closure([edit.id])) if staying or inside else set()
        self.left_names[edit.id] = before.name
        self._place(edit.id, None, None)
        current.pop(edit.id)
        return affected

    def _touch(self, verdict: Verdict, ids: set[str]) -> None:
        named = {edit.id for edit in verdict.edits if isinstance(edit, UserEdit)}
        if self.defer is not None:
            self.defer |= ids - named
            return
        why = next((edit.why for edit in verdict.edits if edit.why), "")
        verdict.edits = (*verdict.edits, *(UserEdit(id, self.source, why=why) for id in sorted(ids - named)))

    def _drafts(self, verdicts: list[Verdict]) -> list[tuple[Verdict, list[Draft]]]:
        wanted = {edit.id for verdict in verdicts for edit in verdict.edits if isinstance(edit, UserEdit)}
        loaded = facts.load_users(
            self.conn, self.workspace.name, wanted - self.overlay.keys(), self.workspace.precedence, self.lock
        )
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
                    waits = frozenset(held.get(edit.id, ()))
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
            self._derive(draft)
            conflict = self._yields(draft)
            if conflict is not None and verdict.error is None:
                verdict.error = conflict

    def _derive(self, draft: Draft) -> None:
        before = draft.before or User(draft.id, created_at=self.now)
        after = before
        losing = draft.retain | (self.retain - {kind for id, kind in self.approved if id == draft.id})
        for edit in draft.edits:
            after = edited(after, edit, self.now)
        # A group that was refused, or went meanwhile, has no members.
        after = replace(after, memberships=tuple(each for each in after.memberships if each.group in self.graph.names))
        if draft.before is not None:
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
        after = replace(after, values=values)
        after = self._grants(draft, before, after, losing)
        state, next_at = status(after, self.workspace.authoritative, self.now)
        expiring = [grant.expires_at for grant in after.grants if grant.expires_at is not None]
        after = replace(
            after,
            status=state,
            next_status_at=min([*([next_at] if next_at else []), *expiring], default=None),
            # A deleted user is no member anywhere; her memberships stay stated, for the day she is restored.
            groups=frozenset(
                self.graph.closure(each.group for each in after.memberships) if state != "deleted" else ()
            ),
        )
        draft.after = after

    def _kept_by_absence(self, before: User, after: User, source: str) -> User:
        if not self.by_absence:
            return after
        after = retained(before, after, source, self.by_absence - {"stage"})
        links = []
        for link in after.links:
            old = before.link(link.source, link.key)
            if link.source == source and old is not None and link.missing_reads > old.missing_reads:
                links.append(old)
            else:
                links.append(link)
        return replace(after, links=tuple(links))

    def _grants(self, draft: Draft, before: User, after: User, losing: set[str] | frozenset[str]) -> User:
        ruled, draft.refusals = evaluate(
            self.workspace.rules, after, draft.owners, self.graph, self.workspace.may_grant
        )
        grants = []
        for grant in after.grants:
            if grant.expires_at is not None and grant.expires_at <= self.now:
                continue
            if grant.origin != "rule":
                grants.append(grant)
            elif grant.id in ruled:
                grants.append(replace(grant, why=ruled.pop(grant.id).why))
            elif ("seat" if grant.kind == "seat" else "role") in losing:
                grants.append(grant)
                draft.kept = True
            elif self.rules_changed:
                grants.append(grant)
        grants += [replace(grant, run_id=self.run_id, created_at=self.now) for grant in ruled.values()]
        return replace(after, grants=tuple(sorted(grants, key=lambda each: each.id)))

    def _finish(self, verdict: Verdict, people: list[Draft]) -> None:
        verdict.subject = _subject(verdict, people)
        if verdict.error is not None:
            verdict.users, verdict.groups, verdict.changes = [], [], ()
            return
        changes: list[Change] = []
        for old, new in verdict.groups:
            why = next((edit.why for edit in verdict.edits if edit.why), "")
            changes += group_between(old, new, self._name_of, why)
        # A provider that pushes may take back its own trial users. A directory that no longer shows people it showed
        # an hour ago is exactly what the limits are for.
        since = self.now - self.policy.limits.window if self.run_id is None else None
        for draft in people:
            if not draft.edits and not draft.side_effect:
                continue  # a later change group of this batch carries her
            adopted = any(edit.adopt for edit in draft.edits)
            found = between(draft.before, draft.after, self._name_of, draft.why, self.source, since, adopted)
            start = draft.before.version if draft.before else 0
            seen = any(change.kind != "yield" for change in found)  # a value that yields is seen by nobody
            draft.after = replace(draft.after, version=start + 1 if seen else start)
            if draft.retain or self.retain or self.by_absence:
                draft.after = _unread(draft.after, self.source)
            changes += found
            verdict.users.append((draft.before, draft.after))
            for each in draft.before.memberships if draft.before else ():
                if each.group not in {kept.group for kept in draft.after.memberships}:
                    self.left[each.group].add(draft.id)
            if draft.waits_for_approval and not draft.kept:
                self.released.add(draft.id)
            waits = any(not seat.held for seat in draft.after.seats)
            again = draft.id in self.overlay or draft.side_effect or not self._mixed().isdisjoint(_groups_of(draft))
            if not self.lock and (waits or again):
                self.overlay[draft.id] = draft.after
        verdict.changes = tuple(changes)

    def _mixed(self) -> frozenset[str]:
        """This source's groups in which others put members too: when such a group goes, at the end of a plan, users are
        touched who were decided before."""
        if self.lock:
            return frozenset()
        if self.shared is None:
            m, g = t.memberships.c, t.groups.c
            others = (
                select(m.group_id)
                .distinct()
                .join(t.groups, and_(g.workspace == m.workspace, g.id == m.group_id))
                .where(m.workspace == self.workspace.name, g.source == self.source, m.origin != self.source)
            )
            self.shared = frozenset(self.conn.scalars(others))
        return self.shared

    # -- what must not be ----------------------------------------------------------------------------------------------

    def _names(self, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
        """userName is unique among undeleted users. What one user of a batch gives up another may take, also in exchange;
        of two who want one name the first in plan order gets it."""
        asked = {fold(draft.after.name) for _, people in drafts for draft in people if _claims_name(draft)}
        asked -= self.taken.keys()
        u = t.users.c
        for keys in facts.batched(sorted(asked)):
            found = {
                row.user_name_key: row.id
                for row in self.conn.execute(
                    select(u.user_name_key, u.id).where(
                        u.workspace == self.workspace.name, u.user_name_key.in_(keys), u.status != "deleted"
                    )
                )
            }
            self.taken |= {key: found.get(key) for key in keys}
        wanting = [
            (verdict, draft, fold(draft.after.name))
            for verdict, people in drafts
            for draft in people
            if _claims_name(draft)
        ]
        while self._refused_name(drafts, wanting):
            pass  # who was refused keeps her old name, so that nobody else gets it

    def _refused_name(
        self, drafts: list[tuple[Verdict, list[Draft]]], wanting: list[tuple[Verdict, Draft, str]]
    ) -> bool:
        """Refuses the first who cannot have her name. When nobody is refused, the names are settled."""
        freed = {
            fold(draft.before.name): draft.id
            for verdict, people in drafts
            for draft in people
            if verdict.error is None and draft.before is not None and _gives_name_up(draft.before, draft.after)
        }
        given: dict[str, str] = {}
        for verdict, draft, key in wanting:
            if verdict.error is not None:
                continue
            holder = given.get(key, self.taken.get(key))
            if not draft.after.values.get("userName"):
                verdict.error = Refused(f"user {draft.id} has no userName: every user needs one")
            elif holder not in (None, draft.id) and (key in given or freed.get(key) != holder):
                verdict.error = Uniqueness(
                    f"userName {draft.after.name!r} is taken by another user; rename or delete that one first, "
                    f"or let source {self.source} adopt it (`adopt` in the configuration)"
                )
            if verdict.error is not None:
                return True
            given[key] = draft.id
        self.taken |= dict.fromkeys(freed)
        self.taken |= given
        return False

    def _display_taken(self, group: Group) -> SyncdError | None:
        key = (group.source, fold(group.name))
        g = t.groups.c
        if key not in self.displays:
            holder = self.conn.scalar(
                select(g.id).where(g.workspace == self.workspace.name, g.source == key[0], g.display_key == key[1])
            )
            if holder is not None:
                self.displays[key] = holder
        holder = self.displays.get(key)
        if holder is not None and holder != group.id:
            return Uniqueness(f"a group named {group.name!r} of source {group.source} exists already")
        self.displays[key] = group.id
        return None

    def _yields(self, draft: Draft) -> SyncdError | None:
        """With `on_conflict: refuse`, a value that another source owns is an error, not a value kept aside."""
        if self.policy.on_conflict != "refuse" or draft.before is None:
            return None
        for link in draft.after.links:
            old = draft.before.link(link.source, link.key)
            if link.source != self.source:
                continue
            for path, value in link.values.items():
                if draft.after.values.get(path) != value and (old is None or old.values.get(path) != value):
                    return Mutability(f"{path} is owned by source {draft.owners[path]}; change it there")
        return None

    def _guard_people(self, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
        """Protected accounts, the last owner and adoption, judged on the result."""
        for _, people in drafts:  # who becomes an owner in this batch stands in for one who stops
            self.owners_gone -= sum(
                _active_owner(draft.after) and not (draft.before and _active_owner(draft.before)) for draft in people
            )
        for verdict, people in drafts:
            for draft in people:
                if draft.before is None or verdict.error is not None:
                    continue
                adoption = self._adoption(draft)
                if adoption is not None:
                    verdict.error = adoption
                    continue
                for held in (self._protected(draft), self._last_owner(draft)):
                    if held is not None:
                        verdict.held.append(held)
                        draft.retain |= GUARDED
                        self._derive(draft)

    def _protected(self, draft: Draft) -> Held | None:
        assert draft.before is not None
        lost = _guarded_loss(draft.before, draft.after)
        if lost is None or not self.workspace.protected:
            return None
        seen = view(draft.before, self.graph.closure(each.group for each in draft.before.memberships), self.graph)
        for text, matches in self.workspace.protected:
            if matches(seen):
                why = f"{draft.before.name} is protected ({text}): {lost} refused"
                return Held("protected", "deactivate", why, (draft.before.name,))
        return None

    def _last_owner(self, draft: Draft) -> Held | None:
        assert draft.before is not None
        if not _active_owner(draft.before):
            return None
        if _active_owner(draft.after):
            return None
        self.owners_gone += 1
        if self.lock:
            facts.lock(self.conn, self.workspace.name, "owners")  # two owners who leave at once do not see each other
        g, u = t.grants.c, t.users.c
        owners = self.conn.scalar(
            select(func.count(distinct(g.user_id)))
            .select_from(t.grants.join(t.users, and_(u.workspace == g.workspace, u.id == g.user_id)))
            .where(g.workspace == self.workspace.name, g.kind == "role", g.value == OWNER, u.status == "active")
        )
        if owners is None or owners - self.owners_gone > 0:
            return None
        self.owners_gone -= 1
        why = f"{draft.before.name} is the last active owner: make another user owner first"
        return Held("last_owner", "deactivate", why, (draft.before.name,))

    def _adoption(self, draft: Draft) -> SyncdError | None:
        edit = next((edit for edit in draft.edits if edit.adopt), None)
        if edit is None or draft.before is None:
            return None
        name = draft.before.name
        if any(grant.kind == "role" and self._privileged(grant.value) for grant in draft.before.grants):
            return Refused(f"{name} holds a privileged role: no source may adopt that account")
        if self.policy.adopt == "never":
            return Uniqueness(
                f"userName {name!r} exists and is not linked to source {self.source}; its `adopt` is `never`"
            )
        if self.policy.adopt == "ask" and (draft.id, "adopt") not in self.approved:
            return Refused(f"{name} exists already: source {self.source} asks before it adopts (`adopt: ask`)")
        if self.policy.may_adopt is not None and not self.policy.may_adopt(
            view(draft.before, self.graph.closure(each.group for each in draft.before.memberships), self.graph)
        ):
            return Uniqueness(f"userName {name!r} exists and does not match `adopt` of source {self.source}")
        return None

    def _privileged(self, role: str) -> bool:
        return role in self.workspace.roles and self.workspace.roles[role].privileged

    # -- seats -----------------------------------------------------------------------------------------------------------

    def _seats(self, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
        while True:
            people = {
                draft.id: draft for verdict, each in drafts if verdict.error is None for draft in each if draft.edits
            }
            claims = {
                id: Claim(id, self._wanted(draft.after), {s.pool: s for s in draft.after.seats})
                for id, draft in people.items()
            }
            if not any(_unsettled(claim) for claim in claims.values()) and not self._room_for_waiting():
                return
            used = dict(self._pools())
            refused = settle(
                self.workspace.pool_order,
                used,
                claims,
                lambda pool, n, claims=claims: self._waiting(pool, n, claims),  # type: ignore[misc]
                self.now,
            )
            if not self._refused_person(drafts, people, refused, used):
                break  # else all seats are settled again without those who may not come in
        self.used = used
        served: list[Draft] = []
        for id, claim in claims.items():
            seats = tuple(sorted(claim.seats.values(), key=lambda each: each.pool))
            if id in people:
                people[id].after = replace(people[id].after, seats=seats)
            else:
                before = self.overlay[id]
                served.append(Draft(id, before, after=replace(before, seats=seats), side_effect=True, edits=[]))
        if served:
            next(each for verdict, each in drafts if verdict.error is None).extend(served)

    def _refused_person(
        self,
        drafts: list[tuple[Verdict, list[Draft]]],
        people: Mapping[str, Draft],
        refused: Iterable[tuple[str, str]],
        used: Mapping[str, int],
    ) -> bool:
        """Nobody comes into a `required` pool that is full; whoever was entitled before without a seat stays as she is."""
        found = False
        for id, pool in refused:
            before = people[id].before if id in people else None
            if id not in people or not self.workspace.pools[pool].required:
                continue
            if before is not None and pool in self._wanted(before):
                continue
            verdict = next(verdict for verdict, each in drafts if people[id] in each)
            limit = self.workspace.pools[pool].limit
            verdict.error = PoolFull(
                f"pool {pool} is full: {used[pool]} of {limit} seats are taken and every user needs one"
            )
            found = True
        return found

    def _wanted(self, user: User) -> frozenset[str]:
        if user.status not in SEATED:
            return frozenset()
        granted = {grant.value for grant in user.grants if grant.kind == "seat"}
        return frozenset(granted & self.workspace.pools.keys())

    def _pools(self) -> dict[str, int]:
        """Seats held per pool; the rows are locked in name order by whoever is about to change them."""
        if self.used is None or self.lock:
            p = t.seat_pools.c
            query = select(p.name, p.used, p.waiting).where(p.workspace == self.workspace.name).order_by(p.name)
            rows = self.conn.execute(query.with_for_update() if self.lock else query).all()
            self.used = {row.name: row.used for row in rows}
        return self.used

    def _room_for_waiting(self) -> bool:
        """A limit was raised: users wait although there is room."""
        if self.lock and self.run_id is None:
            return False
        if self.used is not None:
            return False
        p = t.seat_pools.c
        rows = self.conn.execute(
            select(p.name, p.used, p.waiting).where(p.workspace == self.workspace.name, p.waiting > 0)
        )
        pools = self.workspace.pools
        return any(
            row.name in pools and ((room := pools[row.name].capacity) is None or row.used < room) for row in rows
        )

    def _waiting(self, pool: str, most: int, claims: Mapping[str, Claim]) -> Iterable[Claim]:
        """Users outside this batch who wait for `pool`, in queue order, ready to be served."""
        s, holding = t.seats.c, t.seats.alias()
        requires = self.workspace.pools[pool].requires
        query = (
            select(s.user_id)
            .where(
                s.workspace == self.workspace.name,
                s.pool == pool,
                s.held.is_(False),
                *(
                    exists().where(
                        holding.c.workspace == s.workspace,
                        holding.c.pool == needed,
                        holding.c.user_id == s.user_id,
                        holding.c.held.is_(True),
                    )
                    for needed in requires
                ),
            )
            .order_by(s.priority, s.since, s.user_id)
            .limit(most + len(claims) + len(self.overlay))
        )
        ids = [id for id in self.conn.scalars(query) if id not in claims and id not in self.overlay][:most]
        found = facts.load_users(self.conn, self.workspace.name, ids, self.workspace.precedence, self.lock)
        fresh = [found[id] for id in ids if id in found]
        decided = [
            user
            for id, user in self.overlay.items()
            if id not in claims
            and any(seat.pool == pool and not seat.held for seat in user.seats)
            and all(any(seat.pool == need and seat.held for seat in user.seats) for need in requires)
        ]
        users = [user for user in (*fresh, *decided) if pool in self._wanted(user)]
        for user in users:
            self.overlay[user.id] = user
        return [Claim(user.id, self._wanted(user), {seat.pool: seat for seat in user.seats}) for user in users]

    # -- small things ------------------------------------------------------------------------------------------------------

    def _awaiting_approval(self, users: Mapping[str, User]) -> dict[str, set[str]]:
        """Roles and seats a run's guard holds stay, whoever derives the user next, until someone decides; so does every
        loss of a first run after a changed configuration. Other held losses are judged again by each run, and a push
        that was refused by each new request: whatever the connection says next of that user takes its place."""
        h = t.held.c
        found: dict[str, set[str]] = defaultdict(set)
        for ids in facts.batched(sorted(users)):
            for row in self.conn.execute(
                select(h.subject_id, h.kind, h.guard, h.source, h.run_id).where(
                    h.workspace == self.workspace.name, h.subject_id.in_(ids)
                )
            ):
                if row.run_id is None and row.source == self.source:
                    self.superseded.add(row.subject_id)
                lasting = (row.kind in ("role", "seat") and row.run_id is not None) or (
                    row.source == self.source
                    and (row.guard == FIRST_RUN or (bool(self.approved) and row.run_id is None))
                )  # of a push, one kind of loss may be approved before another
                if lasting and (row.subject_id, row.kind) not in self.approved:
                    found[row.subject_id].add(row.kind)
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


def _claims_name(draft: Draft) -> bool:
    if not draft.after.present:
        return False
    before = draft.before
    return before is None or not before.present or fold(before.name) != fold(draft.after.name)


def _gives_name_up(before: User, after: User) -> bool:
    return before.present and (not after.present or fold(after.name) != fold(before.name))


def _active_owner(user: User) -> bool:
    return user.status == "active" and any(g.kind == "role" and g.value == OWNER for g in user.grants)


def _guarded_loss(before: User, after: User) -> str | None:
    order = ("active", "locked", "pending", "suspended", "inactive", "deleted")
    if before.status in order[:4] and order.index(after.status) > max(2, order.index(before.status)):
        return after.status
    old = {grant.value for grant in before.grants if grant.kind == "role"}
    lost = sorted(old - {grant.value for grant in after.grants if grant.kind == "role"})
    return f"loss of role {', '.join(lost)}" if lost else None


def _unsettled(claim: Claim) -> bool:
    held = {pool for pool, seat in claim.seats.items() if seat.held}
    return claim.wanted != held or not claim.seats.keys() <= claim.wanted  # she waits for what she no longer wants
