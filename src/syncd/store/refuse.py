"""What must not be: a name that is taken, a value that another source owns, a protected account or the last owner going, an
adoption that the policy does not allow. Judged on the result, in plan order; each takes the decision it judges in.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, distinct, func, select

from syncd.core.access import OWNER, privileged
from syncd.core.guards import Held
from syncd.core.resource import fold, name_key, shown
from syncd.core.rules import view
from syncd.core.state import Grant, Group, User
from syncd.errors import Mutability, Refused, SyncdError, Uniqueness
from syncd.store import fact_queries as queries
from syncd.store import facts, raw
from syncd.store import tables as t
from syncd.store.drafts import (
    GUARDED,
    OWNING,
    Draft,
    Verdict,
    active_owner,
    claims_name,
    gives_name_up,
    guarded_loss,
    keeps_access,
)

if TYPE_CHECKING:
    from syncd.store.decide import Decision


def settle_unique(decision: Decision, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
    """userName is unique among undeleted users, and so is what the workspace's own schemas call unique. What one user of a
    batch gives up another may take, also in exchange; of two who want the same the first in plan order gets it."""
    unique = decision.workspace.types.user.unique
    if not unique and all([_keeps_name(draft) for _, people in drafts for draft in people]):
        return
    names = _Names(decision, drafts)
    values = _Values(decision, drafts) if unique else None
    while names.refuses() or (values is not None and values.refuses()):
        pass  # who was refused keeps what she had, so that nobody else gets it
    names.settle()
    if values is not None:
        values.settle()


def _keeps_name(draft: Draft) -> bool:
    before, after = draft.before, draft.after
    return before is not None and before.present == after.present and before.name == after.name


class _Names:
    def __init__(self, decision: Decision, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
        self.decision, self.drafts = decision, drafts
        self.wanting = [
            (verdict, draft, name_key(draft.after.name))
            for verdict, people in drafts
            for draft in people
            if claims_name(draft)
        ]
        asked = {key for _, _, key in self.wanting} - decision.taken.keys()
        if asked:
            bound = {"workspace": decision.workspace.name, "ids": queries.as_list(asked)}
            found = {key: id for key, id in raw.rows(decision.conn, queries.named(decision.conn.dialect.name), bound)}
            decision.taken |= {key: found.get(key) for key in asked}
        self.freed: dict[str, str] = {}
        self.given: dict[str, str] = {}

    def refuses(self) -> bool:
        """Refuses the first who cannot have her name; False when nobody is refused."""
        decision = self.decision
        freed = {
            name_key(draft.before.name): draft.id
            for verdict, people in self.drafts
            for draft in people
            if verdict.error is None and draft.before is not None and gives_name_up(draft.before, draft.after)
        }
        given: dict[str, str] = {}
        for verdict, draft, key in self.wanting:
            if verdict.error is not None:
                continue
            holder = given.get(key, decision.taken.get(key))
            if not draft.after.values.get("userName"):
                verdict.error = Refused(f"user {draft.id} has no userName: every user needs one")
            elif holder not in (None, draft.id) and (key in given or freed.get(key) != holder):
                verdict.error = _name_taken(decision, draft.after.name, holder)
            if verdict.error is not None:
                return True
            given[key] = draft.id
        self.freed, self.given = freed, given
        return False

    def settle(self) -> None:
        self.decision.taken |= dict.fromkeys(self.freed)
        self.decision.taken |= self.given


def _name_taken(decision: Decision, name: str, holder: str) -> Uniqueness:
    """Another entry of the same directory is another person, whom nobody adopts: a name that was given to somebody new."""
    entry = _entry(decision, "user", holder, decision.source)
    if entry is None:
        return Uniqueness(
            f"userName {name!r} is taken by another user; rename or delete that one first, "
            f"or let source {decision.source} adopt it (`adopt` in the configuration)"
        )
    return Uniqueness(
        f"userName {name!r} is that of another person, the entry {entry} of source {decision.source}; if it is gone, the name "
        "is free when she is deleted (`missing` in the configuration, or `syncd user delete`)"
    )


def _entry(decision: Decision, resource: str, id: str, source: str) -> str | None:
    """The entry by which a directory states this user or group: its name and key, since another may have that name now."""
    k = t.links.c
    mine = (k.workspace == decision.workspace.name, k.resource == resource, k.resource_id == id, k.source == source)
    row = decision.conn.execute(select(k.dn, k.key).where(*mine, k.dn.is_not(None)).limit(1)).one_or_none()
    return None if row is None else f"{row.dn} ({row.key})"


class _Values:
    def __init__(self, decision: Decision, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
        self.decision = decision
        types = decision.workspace.types
        self.moves = [
            (verdict, draft, facts.claims(draft.before, types), facts.claims(draft.after, types))
            for verdict, people in drafts
            for draft in people
        ]
        asked: dict[str, set[str]] = defaultdict(set)
        for _, _, old, new in self.moves:
            for path, key in (new.keys() - old.keys()) - decision.values_taken.keys():
                asked[path].add(key)
        for path, keys in asked.items():
            decision.values_taken |= _holders(decision, "user", path, keys)
        self.freed: dict[tuple[str, str], str] = {}
        self.given: dict[tuple[str, str], str] = {}

    def refuses(self) -> bool:
        """Refuses the first who cannot have a value; False when nobody is refused."""
        standing = [each for each in self.moves if each[0].error is None]
        freed = {key: draft.id for _, draft, old, new in standing for key in old.keys() - new.keys()}
        given: dict[tuple[str, str], str] = {}
        for verdict, draft, old, new in standing:
            for key in sorted(new.keys() - old.keys()):
                holder = given.get(key, self.decision.values_taken.get(key))
                if holder not in (None, draft.id) and (key in given or freed.get(key) != holder):
                    what = f"{key[0]} {shown(new[key])!r}"
                    verdict.error = Uniqueness(f"{what} is another user's; give that one another value first")
                    return True
                given[key] = draft.id
        self.freed, self.given = freed, given
        return False

    def settle(self) -> None:
        self.decision.values_taken |= dict.fromkeys(self.freed)
        self.decision.values_taken |= self.given


def _holders(decision: Decision, resource: str, path: str, keys: Collection[str]) -> dict[tuple[str, str], str | None]:
    """Who has these values of a unique attribute; None: nobody."""
    query, name = queries.unique_holders(decision.conn.dialect.name), decision.workspace.name
    bound = {"workspace": name, "resource": resource, "path": path, "ids": queries.as_list(keys)}
    found = dict(map(tuple, raw.rows(decision.conn, query, bound)))
    return {(path, key): found.get(key) for key in keys}


def group_values_taken(decision: Decision, before: Group | None, after: Group | None) -> SyncdError | None:
    """What the workspace's own schemas call unique of groups; the first in plan order gets it."""
    types, known = decision.workspace.types, decision.group_values
    if not types.group.unique:
        return None
    old, new = facts.claims(before, types), facts.claims(after, types)
    for path, key in sorted(new.keys() - old.keys()):
        if (path, key) not in known:
            known |= _holders(decision, "group", path, [key])
        if known[path, key] not in (None, after and after.id):
            return Uniqueness(f"{path} {shown(new[path, key])!r} is another group's; give that one another value first")
    if before is not None:
        known |= {each: None for each in old.keys() - new.keys() if known.get(each, before.id) == before.id}
    if after is not None:
        known |= dict.fromkeys(new.keys() - old.keys(), after.id)
    return None


def display_taken(decision: Decision, group: Group) -> SyncdError | None:
    key = (group.source, fold(group.name))
    if key not in decision.displays:
        asked = {"workspace": decision.workspace.name, "source": key[0], "key": key[1]}
        holder = raw.one(decision.conn, queries.group_named(), asked)
        if holder is not None:
            decision.displays[key] = holder
    holder = decision.displays.get(key)
    if holder is not None and holder != group.id:
        entry = _entry(decision, "group", holder, group.source)
        freed = "if that is gone, the name is free after `missing.suspend_after`"
        gone = f", the entry {entry}; {freed}" if entry is not None else ""
        return Uniqueness(f"a group named {group.name!r} of source {group.source} exists already{gone}")
    decision.displays[key] = group.id
    return None


def owned_elsewhere(decision: Decision, draft: Draft) -> SyncdError | None:
    """With `on_conflict: refuse`, a value that another source owns is an error, not a value kept aside."""
    if decision.policy.on_conflict != "refuse" or draft.before is None:
        return None
    for link in draft.after.links:
        old = draft.before.link(link.source, link.key)
        if link.source != decision.source:
            continue
        for path, value in link.values.items():
            if draft.after.values.get(path) != value and (old is None or old.values.get(path) != value):
                return Mutability(f"{path} is owned by source {draft.owners[path]}; change it there")
    return None


def guard_people(decision: Decision, drafts: list[tuple[Verdict, list[Draft]]]) -> None:
    """Protected accounts, the last owner and adoption, judged on the result."""
    for _, people in drafts:  # who becomes an owner in this batch stands in for one who stops
        for draft in people:
            if not keeps_access(draft) and active_owner(draft.after):
                decision.owners_gone -= not (draft.before and active_owner(draft.before))
    for verdict, people in drafts:
        for draft in people:
            if draft.before is None or verdict.error is not None:
                continue
            adoption = _adoption(decision, draft)
            if adoption is not None:
                verdict.error = adoption
                continue
            if keeps_access(draft):
                continue
            for held in (_protected(decision, draft), _last_owner(decision, draft)):
                if held is not None:
                    verdict.held.append(held)
                    draft.retain |= GUARDED
                    decision.derive(draft)


def _protected(decision: Decision, draft: Draft) -> Held | None:
    assert draft.before is not None
    lost = guarded_loss(draft.before, draft.after)
    if lost is None or not decision.workspace.protected:
        return None
    seen = _seen(decision, draft.before)
    for text, matches in decision.workspace.protected:
        if matches(seen):
            why = f"{draft.before.name} is protected ({text}): {lost} refused"
            return Held("protected", "deactivate", why, (draft.before.name,))
    return None


def _last_owner(decision: Decision, draft: Draft) -> Held | None:
    assert draft.before is not None
    if not active_owner(draft.before):
        return None
    if active_owner(draft.after):
        return None
    decision.owners_gone += 1
    if decision.lock:
        facts.lock(
            decision.conn, decision.workspace.name, "owners"
        )  # two owners who leave at once do not see each other
    g, u = t.grants.c, t.users.c
    owners = decision.conn.scalar(
        select(func.count(distinct(g.user_id)))
        .select_from(t.grants.join(t.users, and_(u.workspace == g.workspace, u.id == g.user_id)))
        .where(
            g.workspace == decision.workspace.name,
            g.kind == "role",
            g.value == OWNER,
            g.denied.is_(False),
            u.status.in_(OWNING),
        )
    )
    if owners is None or owners - decision.owners_gone > 0:
        return None
    decision.owners_gone -= 1
    why = f"{draft.before.name} is the last active owner: make another user owner first"
    return Held("last_owner", "deactivate", why, (draft.before.name,))


def _adoption(decision: Decision, draft: Draft) -> SyncdError | None:
    edits = [edit for edit in draft.edits if edit.adopt]
    if not edits or draft.before is None:
        return None
    edit = edits[0]
    name = draft.before.name
    if any(_privileged(decision, grant) for grant in draft.before.stated):
        return Refused(f"{name} holds a privileged role or permission: no source may adopt that account")
    if edit.adopt_approved:
        return None
    if decision.policy.adopt == "never":
        return Uniqueness(
            f"userName {name!r} exists and is not linked to source {decision.source}; its `adopt` is `never`"
        )
    if decision.policy.adopt == "ask" and (draft.id, "adopt") not in decision.approved:
        return Refused(f"{name} exists already: source {decision.source} asks before it adopts (`adopt: ask`)")
    if decision.policy.may_adopt is not None and not decision.policy.may_adopt(_seen(decision, draft.before)):
        return Uniqueness(f"userName {name!r} exists and does not match `adopt` of source {decision.source}")
    return None


def _seen(decision: Decision, user: User) -> dict[str, Any]:
    """The user as conditions see her."""
    paths = decision.graph.closure(each.group for each in user.memberships)
    return view(user, paths, decision.graph, decision.workspace.types.rule_user)


def _privileged(decision: Decision, grant: Grant) -> bool:
    if grant.kind == "permission":
        return privileged([grant.value])
    role = decision.roles().get(grant.value) if grant.kind == "role" else None
    return role is not None and role.privileged
