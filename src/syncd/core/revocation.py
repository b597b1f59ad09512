"""What somebody loses by a change, said so that whoever let her in can act on it at once.

Names of roles, permissions and pools only, and never a reason that somebody typed: it is kept apart from the person's data
and outlives them. What is still had by another way (a second rule, a second group) is not lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from syncd.core.access import DENIAL
from syncd.core.change import WAITING, Change
from syncd.core.lifecycle import SEATED
from syncd.core.state import User

# The gravest first: what one change group comes to is told once.
GRAVEST: Final = (("delete", "deleted"), ("deactivate", "deactivated"), ("suspend", "suspended"))
_LOSING: Final = frozenset({"delete", "deactivate", "suspend", "revoke", "unseat", "wait", "grant"})
_GRANTED: Final = {"role": "roles", "permission": "permissions", "scope": "data_scopes"}


def of(before: User | None, after: User, changes: Sequence[Change]) -> dict[str, Any] | None:
    """`kind` (deleted, deactivated, suspended or access), the status now, whether she could sign in and cannot any more, and
    what she lost; None if she lost nothing. What follows from the status alone (the roles of somebody suspended) is not
    listed: she has them again when she comes back."""
    if not any([change.kind in _LOSING for change in changes]):
        return None
    lost: dict[str, set[str]] = {name: set() for name in (*_GRANTED.values(), "seats")}
    for change in changes:
        match change.kind:
            case "revoke" if change.loss:
                granted, _, value = str(change.before).partition(" ")
                if not value.startswith(DENIAL):
                    lost[_GRANTED[granted]].add(value)
            case "unseat" if not str(change.before).startswith(WAITING):
                lost["seats"].add(str(change.before))
            case "wait" if change.before:
                lost["seats"].add(str(change.before))
    for grant in after.grants:  # a batch may give back what it took
        if grant.kind in _GRANTED:
            lost[_GRANTED[grant.kind]].discard(grant.value)
    lost["permissions"] |= {
        denied for change in changes if change.kind == "grant" and (denied := _denied(str(change.after)))
    }
    lost["seats"] -= {seat.pool for seat in after.seats if seat.held}
    kinds = {change.kind for change in changes} if after.status not in SEATED else set()
    kind = next((name for change, name in GRAVEST if change in kinds), "access")
    if kind == "access" and not any(lost.values()):
        return None
    signed_in = before is not None and before.status in SEATED
    ended = signed_in and after.status not in SEATED
    return {
        "kind": kind,
        "status": after.status,
        "version": after.version,
        "sign_in": ended,
        **{name: sorted(values) for name, values in lost.items()},
    }


def _denied(granted: str) -> str | None:
    """The permission that this one takes away (`permission !x.y`)."""
    kind, _, value = granted.partition(" ")
    return value.removeprefix(DENIAL) if kind == "permission" and value.startswith(DENIAL) else None
