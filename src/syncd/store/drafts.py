"""One user, and one change group, on their way through a decision; and what is said of them before it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from syncd.core.access import DENIAL, OWNER
from syncd.core.change import (
    Change,
    ChangeGroup,
    UserEdit,
)
from syncd.core.guards import Held
from syncd.core.resource import name_key
from syncd.core.rules import Refusal
from syncd.core.state import Group, User
from syncd.errors import SyncdError

FIRST_RUN = "first_run_after_change"
GUARDED = frozenset(
    {"deactivate", "suspend", "delete", "role"}
)  # what may not happen to a protected account or last owner


OWNING = ("active", "locked")  # a lock ends by itself: an owner whom somebody locks by wrong passwords is still one


_NOBODY = User("")


@dataclass(slots=True)
class Draft:
    """One user on her way through a decision."""

    id: str
    before: User | None
    edits: list[UserEdit] = field(default_factory=list)
    after: User = _NOBODY
    retain: set[str] = field(default_factory=set)
    owners: Mapping[str, str] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    side_effect: bool = False  # only served from a waiting list
    waits_for_approval: frozenset[str] = frozenset()  # kinds of loss that a guard held in an earlier plan
    kept: bool = False  # a held loss is still wanted
    kept_kinds: set[str] = field(default_factory=set)  # of these: role, seat

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
    seatless: list[str] = field(default_factory=list)  # pools of which somebody is to have a seat by it and gets none
    subject: str = ""  # of the first edit, as people name it

    @property
    def expected(self) -> dict[str, int]:
        """Versions at decision of what is there: a change whose version went stale is dropped when it is applied."""
        edited_ids = {edit.id for edit in self.edits}
        pairs = [*self.users, *self.groups]
        return {before.id: before.version for before, _ in pairs if before is not None and before.id in edited_ids}


def shown_in(member: User | Group | None) -> set[str]:
    """The groups whose members show this one; a deleted user is shown in none."""
    if member is None or (isinstance(member, User) and not member.present):
        return set()
    return {each.group for each in member.memberships}


def claims_name(draft: Draft) -> bool:
    return takes_name(draft.before, draft.after)


def takes_name(before: User | None, after: User) -> bool:
    return after.present and (before is None or not before.present or _renamed(before, after))


def gives_name_up(before: User, after: User) -> bool:
    return before.present and (not after.present or _renamed(before, after))


def _renamed(before: User, after: User) -> bool:
    return before.name != after.name and name_key(before.name) != name_key(after.name)


def keeps_access(draft: Draft) -> bool:
    """Whether she may do after it what she might do before: neither a gain nor a loss."""
    before, after = draft.before, draft.after
    return before is not None and before.status == after.status and before.grants is after.grants


def active_owner(user: User) -> bool:
    return user.status in OWNING and any(g.kind == "role" and g.value == OWNER for g in user.grants)


def guarded_loss(before: User, after: User) -> str | None:
    order = ("active", "locked", "pending", "suspended", "inactive", "deleted")
    if before.status in order[:4] and order.index(after.status) > max(2, order.index(before.status)):
        return after.status
    lost = sorted(_roles(before) - _roles(after))
    return f"loss of role {', '.join(lost)}" if lost else None


def _roles(user: User) -> set[str]:
    """Without the denials: that one ends is no loss."""
    return {each.value for each in user.grants if each.kind == "role" and not each.value.startswith(DENIAL)}
