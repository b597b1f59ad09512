"""Roles and what they permit. Access is the union of grants; a role's permissions are `module.action` with wildcards.

A permission that begins with `!` is a denial: what it matches is not permitted, whatever else is granted.
A role that may manage users or permissions is *privileged*: no source grants it unless its `may_grant` says so by name.
Built-in roles follow research/products.md line 9.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Final

DENIAL = "!"


@dataclass(frozen=True, slots=True)
class Role:
    name: str
    permissions: frozenset[str]
    where: str | None = None  # `config/syncd.yaml:12`; None: not configured
    made: bool = False  # by people, while syncd runs
    description: str = ""
    rank: int | None = None  # among the roles of rules of mode `highest`

    @property
    def built_in(self) -> bool:
        return self.where is None and not self.made

    @property
    def privileged(self) -> bool:
        return _privileged(self.permissions)


def privileged(permissions: Iterable[str]) -> bool:
    """Whether they let one manage users or permissions."""
    return _privileged(frozenset(permissions))


@lru_cache(1024)  # of each role it is asked for each user whom a rule gives it
def _privileged(permissions: frozenset[str]) -> bool:
    return any(allows(permissions, wanted) for wanted in ("users.manage", "permissions.manage"))


def allows(permissions: Iterable[str], wanted: str) -> bool:
    """Whether one of them matches and none denies it."""
    granted = False
    for each in permissions:
        if each.startswith(DENIAL):
            if fnmatchcase(wanted, each.removeprefix(DENIAL)):
                return False
        else:
            granted = granted or fnmatchcase(wanted, each)
    return granted


def permits(always: Iterable[str], permissions: Iterable[str], wanted: str) -> bool:
    """Whether an override gives it, or `allows` does."""
    return any(fnmatchcase(wanted, each) for each in always) or allows(permissions, wanted)


FLAGS = ("admin", "edit", "delete", "export")  # each is the permission `data.FLAG`


def flags(permissions: Iterable[str], always: Iterable[str] = ()) -> dict[str, bool]:
    """The four that any application knows: sees all, and may edit, delete and export (products.md line 22)."""
    held, over = tuple(permissions), tuple(always)
    return {name: permits(over, held, f"data.{name}") for name in FLAGS}


def listed(permissions: str) -> frozenset[str]:
    """As a role that people made keeps them: a JSON list."""
    return frozenset(json.loads(permissions))


_RANKS: Final = {"owner": 400, "admin": 300, "member": 200, "viewer": 100}
BUILT_IN: Mapping[str, Role] = {
    role.name: replace(role, rank=_RANKS[role.name])
    for role in (
        Role("owner", frozenset({"*"})),
        Role(
            "admin",
            frozenset(
                {
                    *("users.*", "permissions.*", "settings.*", "nav.*", "activity.*"),
                    *("assets.*", "licences.*", "reports.*", "dashboards.*", "data.*"),
                }
            ),
        ),
        Role(
            "member",
            frozenset(
                {
                    *("assets.view", "assets.create", "assets.be-assigned", "licences.view", "licences.create"),
                    *("reports.view", "dashboards.view", "nav.assets", "nav.licences", "nav.reports", "nav.dashboards"),
                }
            ),
        ),
        Role(
            "viewer",
            frozenset(
                {
                    *("assets.view", "licences.view", "reports.view", "dashboards.view"),
                    *("nav.assets", "nav.licences", "nav.reports", "nav.dashboards"),
                }
            ),
        ),
    )
}
OWNER = "owner"
