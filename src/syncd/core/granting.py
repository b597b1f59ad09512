"""Who may give what: nobody more than she holds herself.

Judged for people (a token that bears a user) and for applications (a token that bears none). An application that may do
everything gives everything; another gives nothing that is privileged. What a person holds is her access at that moment.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from syncd.core import scopes as data_scopes
from syncd.core.access import DENIAL, OWNER, Role, allows, flags, privileged
from syncd.core.resource import shown
from syncd.errors import InvalidValue

KINDS: Final = ("role", "permission", "scope", "seat")
_WORD = r"[A-Za-z0-9_*-]+"
_PERMISSION: Final = re.compile(rf"!?(\*|{_WORD}(\.{_WORD})+)", re.ASCII)
_SCOPE: Final = re.compile(r"[^\s=\x00-\x1f][^=\x00-\x1f]{0,99}=[^\x00-\x1f]{1,200}")
MANAGES: Final[Mapping[str, str]] = {"seat": "users.manage"}  # what a person needs to give by hand; else:
_MANAGES_ACCESS: Final = "permissions.manage"
_EVERYTHING: Final = "a token that may do everything (`*`), since it manages users or permissions"
ROLE_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"


def checked(
    kind: str,
    value: str,
    roles: Collection[str],
    pools: Collection[str],
    scopes: Collection[str] = data_scopes.KINDS.keys(),
) -> str:
    """The value, if it is one that can be granted. Raises InvalidValue, saying what can be chosen."""
    named = value if kind == "permission" else value.removeprefix(DENIAL)
    match kind:
        case "role" if value == DENIAL + OWNER:
            raise InvalidValue("the role owner cannot be denied: it is taken back, or handed over")
        case "role" if named not in roles:
            raise InvalidValue(f"there is no role {shown(named)}: choose of {', '.join(sorted(roles))}")
        case "seat" if named not in pools:
            raise InvalidValue(f"there is no seat pool {shown(named)}: {_choice(pools)}")
        case "permission" if not _PERMISSION.fullmatch(value):
            raise InvalidValue(
                f"{shown(value)} is no permission: write module.action, such as invoices.view or invoices.*; a `!` in "
                "front denies it"
            )
        case "scope" if not _SCOPE.fullmatch(named):
            raise InvalidValue(f"{shown(value)} is no data scope: write kind=value, such as unit=north")
        case "scope" if named.partition("=")[0] not in scopes:
            unknown = shown(named.partition("=")[0])
            raise InvalidValue(f"there is no kind of data scope {unknown}: choose of {', '.join(sorted(scopes))}")
    return value


def _choice(names: Collection[str]) -> str:
    return f"choose of {', '.join(sorted(names))}" if names else "none is configured"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who gives. `person` False: an application, which gives what is not privileged."""

    name: str
    person: bool = False
    roles: frozenset[str] = frozenset()
    permissions: tuple[str, ...] = ()
    scopes: Mapping[str, Collection[str]] = field(default_factory=dict)
    known: Mapping[str, Role] = field(default_factory=dict)  # what roles there are

    def manages(self, kind: str) -> bool:
        """Whether she may give and take that kind by hand at all."""
        return not self.person or allows(self.permissions, MANAGES.get(kind, _MANAGES_ACCESS))

    def lacks(self, kind: str, value: str, roles: Mapping[str, Role]) -> str | None:
        """What is missing to give this, or to deny it, in words; None: nothing."""
        value = value.removeprefix(DENIAL)
        permitted = roles[value].permissions if kind == "role" and value in roles else frozenset()
        if not self.person:
            above = kind == "permission" and privileged([value])
            above = above or (kind == "role" and (value == OWNER or privileged(permitted)))
            return _EVERYTHING if above else None
        if kind == "role":
            if value in self.roles:
                return None
            if value == OWNER:
                return "the role owner"
            missing = self.lacks_any(permitted)
            return f"the role {value}, or {missing}" if missing else None
        if kind == "permission":
            return None if self._holds(value) else f"the permission {value}"
        if kind == "scope":
            name, _, part = value.partition("=")
            held = self.scopes.get(name, ())
            own = part in held or data_scopes.EVERY in held or flags(self.permissions)["admin"]
            return None if own else f"the data scope {value}"
        return None

    def lacks_any(self, permissions: Iterable[str]) -> str | None:
        """What is missing to put these into a role, or to take them out of one; None: nothing."""
        wanted = sorted(permissions)
        if not self.person:
            return _EVERYTHING if privileged(each.removeprefix(DENIAL) for each in wanted) else None
        missing = [each for each in wanted if not self._holds(each)]
        return ", ".join(missing[:3]) if missing else None

    def _holds(self, permission: str) -> bool:
        return covers(self.permissions, permission.removeprefix(DENIAL))


def covers(held: Iterable[str], wanted: str) -> bool:
    """Whether everything that the pattern `wanted` matches is permitted by one of `held` and denied by none."""
    covered = False
    for each in held:
        if each.startswith(DENIAL):
            if _meet(each.removeprefix(DENIAL), wanted):
                return False
        else:
            covered = covered or each == wanted or _within(wanted, each)
    return covered


def _within(wanted: str, held: str) -> bool:
    """Whether `held` matches all that `wanted` does. A class or a single wildcard in `held` is taken as no match."""
    if "?" in held or "[" in held:
        return False
    pattern = ".*".join(re.escape(part) for part in held.split("*"))
    return re.fullmatch(pattern, wanted, re.DOTALL) is not None


@lru_cache(4096)
def _meet(one: str, other: str) -> bool:
    """Whether some text is matched by both patterns; a class or a single wildcard counts as if it were `*`."""
    one, other = (re.sub(r"[\[?].*", "*", each) for each in (one, other))
    seen = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if i == len(one) and j == len(other):
            return True
        a, b = one[i : i + 1], other[j : j + 1]
        steps = []
        if a == "*":
            steps += [(i + 1, j), (i, j + 1)] if b else [(i + 1, j)]
        if b == "*":
            steps += [(i, j + 1), (i + 1, j)] if a else [(i, j + 1)]
        if a and a == b and a != "*":
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in seen:
                seen.add(step)
                todo.append(step)
    return False
